"""What the information matrix at an estimate says: covariance, rank, and directions the data do not determine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton import linalg
from jaxnewton.loop import over_lanes
from jaxnewton.regression.data import Columns, back, power_of_two
from jaxnewton.regression.fit import Fields
from jaxnewton.regression.model import Model
from jaxnewton.regression.scrutiny import Closer, scrutinise
from jaxnewton.regression.stack import Stack, of_some
from jaxnewton.solvers.common import resolution
from jaxnewton.types import Array, Needs, Outcome, Status, succeeded

VAGUE = -3 / 8  # the power of eps that is the variance of a standardised coefficient from which rows are looked at
SURE = 1e-6  # how far, of its terms, a row of a block may stand on the wrong side of a direction that separates


class Curvature(NamedTuple):
    """Of one information matrix, in the coordinates it was solved in."""

    inverse: Array  # (d, d); nan where the information is singular or not positive definite
    rank: Array  # () int32, without the ridge
    null: Array  # (d,) what the information takes to 0 where it is singular; 0 elsewhere


def invert(H: Array) -> tuple[Array, Array]:
    """H^-1 of the information matrices H (B, d, d), nan where one is not positive definite, and whether it is (B,).

    Rows and columns are brought to a diagonal of 1, so that no unit of a coefficient counts.
    """
    d = H.shape[-1]
    units = _units(H)
    square = units[:, :, None] * units[:, None, :]
    if H.shape[0] == 1:  # quick to compile, and what loops over a batch has no derivative
        inverse, definite = (leaf[None] for leaf in _inverse_by_cholesky(H[0] / square[0]))
    elif linalg.unrolls(linalg.UNROLL_LDL, d):
        inverse, definite = over_lanes(_inverse_unrolled)(jnp.moveaxis(H / square, 0, -1))
        inverse = jnp.moveaxis(inverse, -1, 0)
    else:
        inverse, definite = linalg.each(_inverse_by_cholesky, H / square)
    return jnp.where(definite[:, None, None], inverse / square, jnp.nan), definite


def curvature(H: Array, ridge: Array) -> Curvature:
    """Of one information matrix H (d, d), to which a ridge has added (d, d)."""
    d = H.shape[0]
    inverse, definite = invert(H[None])
    known = jnp.all(jnp.isfinite(H))

    def spectrum(H: Array) -> tuple[Array, Array, Array]:
        units = _units(H)
        usable = jnp.where(known, H / (units[:, None] * units[None, :]), jnp.eye(d, dtype=H.dtype))
        lam, V = jnp.linalg.eigh(usable)
        return lam, V[:, 0] / units, resolution(lam[-1], d)

    _, null, _ = spectrum(H)
    lam, _, zero = spectrum(H - ridge)
    return Curvature(inverse[0], jnp.sum(lam > zero, dtype=jnp.int32), jnp.where(known & ~definite[0], null, 0.0))


def _units(H: Array) -> Array:
    """Powers of 2 near the roots of the diagonal of H (..., d, d); 1 where it is 0."""
    diagonal = jnp.diagonal(H, axis1=-2, axis2=-1)
    return power_of_two(jnp.sqrt(jnp.where((diagonal > 0) & jnp.isfinite(diagonal), diagonal, 1.0)))


def _inverse_unrolled(H: Array) -> tuple[Array, Array]:
    """H^-1 (d, d) of a positive definite H, and whether it is one beyond rounding."""
    d = H.shape[0]
    zero = resolution(linalg.max_norm(H), d)
    columns, smallest, _ = jax.vmap(lambda e: linalg.ldl_solve(H, e, zero))(jnp.eye(d, dtype=H.dtype))
    return columns, smallest[0] > zero


def _inverse_by_cholesky(H: Array) -> tuple[Array, Array]:
    d = H.shape[0]
    eye = jnp.eye(d, dtype=H.dtype)
    L = jnp.linalg.cholesky(H)
    definite = jnp.all(jnp.isfinite(L)) & (jnp.min(jnp.diagonal(L)) ** 2 > resolution(linalg.max_norm(H), d))
    return jax.scipy.linalg.cho_solve((jnp.where(definite, L, eye), True), eye), definite


class Conclusion(NamedTuple):
    """Of one fit, or with a leading axis."""

    theta: Array  # (d,) in the columns of X, as all that follows
    covariance: Array  # (d, d) for a dispersion of 1
    rank: Array  # () int32
    status: Array  # () int32
    direction: Array  # (d,)


class Evidence(NamedTuple):
    """What decides a status, beside the solver's: () bool each."""

    known: Array  # all that went in and came out is finite
    singular: Array  # some coefficients are not determined
    settled: Array  # a further step would change nothing that can be told
    separated: Array
    restless: Any = np.False_  # it would move some mean for good, as where no estimate exists


def conclude(
    model: Model,
    look: bool,
    stack: Stack,
    columns: Columns,
    axes: Any,
    args: Any,
    found: Outcome,
) -> tuple[Conclusion, Outcome, Array]:
    """What a solve has come to, its end, and which fits are in doubt.

    Args:
        look: whether these are looked at more closely, which makes their ends more precise; else what is said of them
            is not to be used.
        axes: of args.
    """
    of, H = stack.axis, found.H
    if not stack.lead:  # a batch is not differentiable; one fit is, its uncertainty too
        H = model.evaluate(found.x, args, Needs.HESSIAN).H
    d, penalty = found.x.shape[-1], args[-1]
    inverse, definite = (leaf if stack.lead else leaf[0] for leaf in invert(H.reshape(-1, d, d)))

    def by_data_alone() -> Array:
        bare = H - jnp.broadcast_to(model.penalties(penalty), H.shape)
        return invert(bare.reshape(-1, d, d))[1].reshape(definite.shape)

    determined = lax.cond(jnp.any(penalty > 0), by_data_alone, lambda: definite)
    known = jnp.isfinite(found.fun) & jnp.all(jnp.isfinite(found.x), axis=-1)
    doubtful = known & (~succeeded(found.status) | ~definite | ~determined | (model.separable & vague(inverse)))

    to_columns_of_X = functools.partial(back, columns.frame, columns.intercept)
    if not look:
        status = jnp.where(known, found.status, jnp.int32(Status.NONFINITE))
        rank, nowhere = jnp.full(status.shape, d, jnp.int32), jnp.zeros_like(found.x)
        return conclusion(to_columns_of_X, found.x, inverse, rank, status, nowhere), found, doubtful

    def closer(columns: Columns, theta: Array, status: Array, *args: Any) -> Closer:
        return scrutinise(model, columns, theta, status, args)

    its_axes = (stack.axes.X, of, of, *axes[1:])
    seen = of_some(closer, doubtful, its_axes, (columns, found.x, found.status, *args[1:]))
    theta = jnp.where(doubtful[..., None], found.x + lax.stop_gradient(seen.theta - found.x), found.x)
    fun = jnp.where(doubtful, found.fun + lax.stop_gradient(seen.fun - found.fun), found.fun)
    if not stack.lead:
        seen = seen._replace(inverse=seen.inverse - seen.inverse @ (H - lax.stop_gradient(H)) @ seen.inverse)
    inner = jnp.where(doubtful[..., None, None], seen.inverse, inverse)
    evidence = Evidence(known, seen.singular, seen.settled, seen.separated, seen.restless & model.separable)
    status = jnp.where(doubtful | ~known, verdict(found.status, evidence), found.status)
    rank = jnp.where(doubtful, seen.rank, d)
    end = conclusion(to_columns_of_X, theta, inner, rank, status, seen.direction)
    return end, found._replace(x=theta, fun=fun), doubtful


def verdict(status: Array, evidence: Evidence) -> Array:
    """A status, by what else is known of its end."""
    known, singular, settled, separated, restless = evidence
    well = succeeded(status)
    at_end = well | (settled & ~restless)
    for happened, better in (  # a later line outweighs an earlier one
        (~well & at_end, Status.NOISE_FLOOR),
        (well & restless, Status.DIVERGED),
        (~at_end & ~singular & (status == Status.SINGULAR), Status.LINE_SEARCH_FAILED),  # it was the steps' rounding
        (at_end & singular, Status.SINGULAR),
        (separated, Status.SEPARATED),
        (~known, Status.NONFINITE),
    ):
        status = jnp.where(happened, jnp.int32(better), status)
    return status


def conclusion(
    back: Callable[[Array], Array], theta: Array, inverse: Array, rank: Array, status: Array, direction: Array
) -> Conclusion:
    """Of one fit or of a stack; ``back``: theta (..., d) to the coefficients of the columns of X, as direction is."""
    told = (status == Status.SEPARATED) | (status == Status.SINGULAR)
    estimated = (status != Status.SEPARATED) & (status != Status.NONFINITE)
    inverse = jnp.where(estimated[..., None, None], inverse, jnp.nan)
    covariance = jax.vmap(back, -1, -1)(jax.vmap(back, -2, -2)(inverse))
    direction = unit(jnp.where(told[..., None], direction, 0.0))
    return Conclusion(back(theta), covariance, rank.astype(jnp.int32), status, direction)


def over_freedom(total: Array, rows: Array, rank: Array) -> Array:
    """total / (rows - rank), the dispersion that a sum of squares shows; nan without freedom."""
    df = (rows - rank).astype(total.dtype)
    return jnp.where(df > 0, total / jnp.where(df > 0, df, 1.0), jnp.nan)


def fields(
    model: Model, end: Conclusion, intercept: bool, *, loglik: Array, deviance: Array, dispersion: Array, rows: Array
) -> Fields:
    """Those of a Fit."""
    params, level = model.parts(end.theta, intercept)
    return Fields(
        params=params,
        intercept=level,
        joint_covariance=dispersion[..., None, None] * end.covariance,
        loglik=loglik,
        deviance=deviance,
        dispersion=dispersion,
        rows=rows,
        rank=end.rank,
        status=end.status,
        direction=end.direction,
    )


def unit(way: Array) -> Array:
    """way (..., d) of length 1; 0 stays 0."""
    length = jnp.sqrt(jnp.sum(way * way, axis=-1, keepdims=True))
    return way / jnp.where(length > 0, length, 1.0)


def vague(inverse: Array) -> Array:
    """Whether some coefficient is hardly known."""
    spread = jnp.max(jnp.abs(jnp.diagonal(inverse, axis1=-2, axis2=-1)), axis=-1)
    return ~(spread <= float(jnp.finfo(inverse.dtype).eps) ** VAGUE)


def one_sided(low: Array, high: Array) -> Array:
    """Whether margins between these, in parts of their terms, are all at least 0, but for rounding, and not all 0."""
    return jnp.isfinite(high) & (high > SURE) & (low >= -SURE)


def newton_step(H: Array, g: Array) -> Array:
    """-(H + E)^-1 g, with E of rounding's size."""
    d = H.shape[0]
    known = jnp.all(jnp.isfinite(H))
    lam, V = jnp.linalg.eigh(jnp.where(known, lax.stop_gradient(H), jnp.eye(d, dtype=H.dtype)))
    along = jnp.sum(V * g[:, None], axis=0) / jnp.maximum(lam, jnp.finfo(H.dtype).eps ** 2 * lam[d - 1])
    return -jnp.sum(V * along[None, :], axis=1)
