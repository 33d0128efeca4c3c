"""What the information matrix at an estimate says: covariance, rank, and directions the data do not determine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton import linalg
from jaxnewton.loop import over_lanes
from jaxnewton.problem import Problem
from jaxnewton.regression.data import Columns, Stack, back, over_stack
from jaxnewton.regression.fit import Fields
from jaxnewton.solvers.common import resolution
from jaxnewton.types import Array, Needs, Outcome, Status, succeeded

VAGUE = 1e6  # variance of a standardised coefficient from which separation is looked for
SURE = 1e-6  # how far, of the largest, a row may stand on the wrong side of a direction that separates


class Curvature(NamedTuple):
    """Of a stack of fits, in the coordinates they were solved in."""

    inverse: Array  # (B, d, d); nan where the information is singular or not positive definite
    rank: Array  # (B,) int32
    null: Array  # (B, d) unit vector that the information takes to 0 where it is singular; 0 elsewhere


def invert(H: Array) -> Curvature:
    """Of the information matrices H (B, d, d)."""
    d = H.shape[-1]
    if linalg.unrolls(linalg.UNROLL_LDL, d):
        inverse, definite = over_lanes(_inverse_unrolled)(jnp.moveaxis(H, 0, -1))
        inverse = jnp.moveaxis(inverse, -1, 0)
    else:
        inverse, definite = linalg.each(_inverse_by_cholesky, H)

    def all_well() -> tuple[Array, Array]:
        return jnp.full(H.shape[0], d, jnp.int32), jnp.zeros(H.shape[:2], H.dtype)

    def some_singular() -> tuple[Array, Array]:
        known = jnp.all(jnp.isfinite(H), axis=(1, 2))
        usable = jnp.where(known[:, None, None], lax.stop_gradient(H), jnp.eye(d, dtype=H.dtype))
        lam, V = linalg.each(lambda H: tuple(jnp.linalg.eigh(H)), usable)
        zero = jax.vmap(lambda largest: resolution(largest, d))(lam[:, -1])
        rank = jnp.sum(lam > zero[:, None], axis=1, dtype=jnp.int32)
        singular = known & (lam[:, 0] <= zero)
        return rank, jnp.where(singular[:, None], V[:, :, 0], 0.0)

    rank, null = lax.cond(jnp.all(definite), all_well, some_singular)
    return Curvature(jnp.where(definite[:, None, None], inverse, jnp.nan), rank, null)


def invert_one(H: Array) -> Curvature:
    """Of one information matrix (d, d)."""
    return jax.tree.map(lambda leaf: leaf[0], invert(H[None]))


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


class Model(Problem, Protocol):
    """A likelihood in the coefficients of standardised columns; the first of ``args`` are these, the third weights, the
    last the ridge's penalties."""

    @property
    def separable(self) -> bool:
        """Whether the model is of classes, which data can separate."""
        ...

    def margins(self, way: Array, args: tuple[Any, ...]) -> Array:
        """(m, ...) by how much ``way`` moves the linear predictor of what was observed ahead of each alternative."""
        ...


class Conclusion(NamedTuple):
    """Of one fit, or with a leading axis."""

    theta: Array  # (d,) in the columns of X, as all that follows
    covariance: Array  # (d, d) for a dispersion of 1
    rank: Array  # () int32
    status: Array  # () int32
    direction: Array  # (d,)


def conclude(
    model: Model, stack: Stack, intercept: bool, columns: Columns, axes: Any, args: tuple[Any, ...], found: Outcome
) -> Conclusion:
    """What a solve has come to; ``axes``: of args."""
    of = stack.axis
    theta, status, g, H = found.x, found.status, found.grad, found.H
    if not stack.lead:  # a batch is not differentiable; one fit is, its uncertainty too
        H = model.evaluate(theta, args, Needs.HESSIAN).H
    curvature = invert(H) if stack.lead else invert_one(H)

    def look(theta: Array, H: Array, g: Array, *args: Any) -> tuple[Array, Array]:
        found = ways(theta, H, g, args[-1])
        ends = [_along(model, way, args) for way in found]
        return ends[0] | ends[1], jnp.where(ends[0], found[0], found[1])

    separated, way = jnp.zeros(status.shape, bool), jnp.zeros_like(theta)
    if model.separable:
        suspect = suspicious(status, curvature.inverse)
        separated, way = lax.cond(
            jnp.any(suspect),
            lambda: over_stack(look, (of, of, of, *axes), theta, H, g, *args),
            lambda: (separated, way),
        )
        separated = separated & suspect

    def to_columns_of_X(theta: Array) -> Array:
        every_class = theta.reshape(*theta.shape[:-1], -1, columns.Z.shape[-2])
        return back(columns, intercept, every_class).reshape(theta.shape)

    return verdict(to_columns_of_X, found._replace(H=H), separated, way, curvature)


def verdict(
    back: Callable[[Array], Array], found: Outcome, separated: Array, way: Array, curvature: Curvature
) -> Conclusion:
    """The conclusion of one fit or of a stack; ``back``: coefficients (..., q) to those of the columns of X."""
    inverse, rank, null = curvature
    d = found.x.shape[-1]
    status = jnp.where((rank < d) & succeeded(found.status), jnp.int32(Status.SINGULAR), found.status)
    status = jnp.where(separated, jnp.int32(Status.SEPARATED), status)
    rank = jnp.where(separated, d, rank).astype(jnp.int32)  # the data do determine them: as infinite
    direction = jnp.where(separated[..., None], way, null)
    inverse = jnp.where(separated[..., None, None], jnp.nan, inverse)  # of no estimate
    covariance = jax.vmap(back, -1, -1)(jax.vmap(back, -2, -2)(inverse))
    return Conclusion(back(found.x), covariance, rank, status, unit(back(direction)))


def over_freedom(total: Array, rows: Array, rank: Array) -> Array:
    """total / (rows - rank), the dispersion that a sum of squares shows; nan without freedom."""
    df = (rows - rank).astype(total.dtype)
    return jnp.where(df > 0, total / jnp.where(df > 0, df, 1.0), jnp.nan)


def fields(
    end: Conclusion, intercept: bool, *, loglik: Array, deviance: Array, dispersion: Array, rows: Array
) -> Fields:
    """Those of a Fit with one vector of coefficients."""
    return Fields(
        params=end.theta[..., 1:] if intercept else end.theta,
        intercept=end.theta[..., 0] if intercept else None,
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


def ways(theta: Array, H: Array, g: Array, penalty: Array) -> Array:
    """(2, d) where the likelihood may rise for ever: where the fit would go next, and where it has come to.

    Without the components that a ridge holds back; penalty (q,) serves every class.
    """
    free = jnp.resize(penalty, theta.shape) == 0
    return jnp.stack([unit(jnp.where(free, way, 0.0)) for way in (newton_step(H, g), theta)])


def _along(model: Model, way: Array, args: tuple[Any, ...]) -> Array:
    """Whether ``way`` raises the likelihood of no row less than 0 and of some row more (Albert & Anderson 1984)."""
    margins = model.margins(way, args)
    counts = jnp.broadcast_to(args[2] > 0, args[1].shape)
    margins = jnp.where(counts.reshape(-1, *(1 for _ in margins.shape[1:])), margins, 0.0)
    return one_sided(jnp.min(margins), jnp.max(margins))


def suspicious(status: Array, inverse: Array) -> Array:
    """Whether a fit may be one of separated classes: it did not end well, or hardly knows some coefficient."""
    spread = jnp.max(jnp.abs(jnp.diagonal(inverse, axis1=-2, axis2=-1)), axis=-1)
    return ~succeeded(status) | ~(spread <= VAGUE)


def one_sided(low: Array, high: Array) -> Array:
    """Whether margins between these are all at least 0, but for rounding, and not all 0."""
    return jnp.isfinite(high) & (high > 0) & (low >= -SURE * high)


def newton_step(H: Array, g: Array) -> Array:
    """-(H + E)^-1 g, with E of rounding's size."""
    d = H.shape[0]
    known = jnp.all(jnp.isfinite(H))
    lam, V = jnp.linalg.eigh(jnp.where(known, lax.stop_gradient(H), jnp.eye(d, dtype=H.dtype)))
    along = jnp.sum(V * g[:, None], axis=0) / jnp.maximum(lam, jnp.finfo(H.dtype).eps ** 2 * lam[d - 1])
    return -jnp.sum(V * along[None, :], axis=1)
