"""What the information matrix at an estimate says: covariance, rank, and directions the data do not determine."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton import linalg
from jaxnewton.loop import over_lanes
from jaxnewton.problem import Problem
from jaxnewton.regression.data import Columns, Stack, back, over_stack
from jaxnewton.solvers.common import resolution
from jaxnewton.types import Array, Needs, Outcome, Status, succeeded

SURE = 1e-6  # how far, of the largest, a row may stand on the wrong side of a direction that separates


class Curvature(NamedTuple):
    """Of a stack of fits, in the coordinates they were solved in."""

    inverse: Array  # (B, d, d); nan where the information is singular or not positive definite
    rank: Array  # (B,) int32
    null: Array  # (B, d) unit vector that the information takes to 0 where it is singular; 0 elsewhere


def invert(H: Array) -> Curvature:
    """Of the information matrices H (B, d, d)."""
    d = H.shape[-1]
    rows_last = jnp.moveaxis(H, 0, -1)
    inverse, definite = over_lanes(_inverse)(rows_last)
    inverse = jnp.moveaxis(inverse, -1, 0)

    def all_well() -> tuple[Array, Array]:
        return jnp.full(H.shape[0], d, jnp.int32), jnp.zeros(H.shape[:2], H.dtype)

    def some_singular() -> tuple[Array, Array]:
        known = jnp.all(jnp.isfinite(H), axis=(1, 2))
        lam, V = jax.vmap(linalg.eigh)(jnp.where(known[:, None, None], H, jnp.eye(d, dtype=H.dtype)))
        zero = jax.vmap(lambda largest: resolution(largest, d))(lam[:, -1])
        rank = jnp.sum(lam > zero[:, None], axis=1, dtype=jnp.int32)
        singular = known & (lam[:, 0] <= zero)
        return rank, jnp.where(singular[:, None], V[:, :, 0], 0.0)

    rank, null = lax.cond(jnp.all(definite), all_well, some_singular)
    return Curvature(jnp.where(definite[:, None, None], inverse, jnp.nan), rank, null)


def _inverse(H: Array) -> tuple[Array, Array]:
    """H^-1 (d, d) of a positive definite H, and whether it is one beyond rounding."""
    d = H.shape[0]
    zero = resolution(linalg.max_norm(H), d)
    eye = jnp.eye(d, dtype=H.dtype)
    if linalg.unrolls(linalg.UNROLL_LDL, d):
        columns, smallest, _ = jax.vmap(lambda e: linalg.ldl_solve(H, e, zero))(eye)
        return columns, smallest[0] > zero
    L = linalg.cholesky(H)
    definite = jnp.all(jnp.isfinite(L)) & (jnp.min(jnp.diagonal(L)) ** 2 > zero)
    return linalg.cholesky_solve(jnp.where(definite, L, eye), eye), definite


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
    of, d = stack.axis, found.x.shape[-1]
    theta, status, g, H = found.x, found.status, found.grad, found.H
    if not stack.lead:  # a batch is not differentiable; one fit is, its uncertainty too
        H = model.evaluate(theta, args, Needs.HESSIAN).H
    curvature = invert(H if stack.lead else H[None])
    inverse, rank, null = curvature if stack.lead else jax.tree.map(lambda leaf: leaf[0], curvature)

    def look(theta: Array, H: Array, g: Array, *args: Any) -> tuple[Array, Array]:
        unpenalised = jnp.max(args[-1], initial=0.0) == 0
        ends, ways = zip(*(_along(model, way, args) for way in (_newton_step(H, g), theta)), strict=True)
        return unpenalised & (ends[0] | ends[1]), jnp.where(ends[0], *ways)

    separated, way = jnp.zeros(status.shape, bool), jnp.zeros_like(theta)
    if model.separable:
        separated, way = lax.cond(
            jnp.all(succeeded(status)),
            lambda: (separated, way),
            lambda: over_stack(look, (of, of, of, *axes), theta, H, g, *args),
        )
        separated = separated & ~succeeded(status)
    status = jnp.where((rank < d) & succeeded(status), jnp.int32(Status.SINGULAR), status)
    status = jnp.where(separated, jnp.int32(Status.SEPARATED), status)
    direction = jnp.where(separated[..., None], way, null)
    inverse = jnp.where(separated[..., None, None], jnp.nan, inverse)  # of no estimate

    def to_columns_of_X(theta: Array) -> Array:
        every_class = theta.reshape(*theta.shape[:-1], -1, columns.Z.shape[-2])
        return back(columns, intercept, every_class).reshape(theta.shape)

    rows = jax.vmap(to_columns_of_X, -2, -2)(inverse)
    covariance = jax.vmap(to_columns_of_X, -1, -1)(rows)
    return Conclusion(to_columns_of_X(theta), covariance, rank, status, unit(to_columns_of_X(direction)))


def unit(way: Array) -> Array:
    """way (..., d) of length 1; 0 stays 0."""
    length = jnp.sqrt(jnp.sum(way * way, axis=-1, keepdims=True))
    return way / jnp.where(length > 0, length, 1.0)


def _along(model: Model, way: Array, args: tuple[Any, ...]) -> tuple[Array, Array]:
    """Whether ``way`` raises the likelihood of no row less than 0 and of some row more (Albert & Anderson 1984)."""
    way = unit(way)
    margins = model.margins(way, args)
    counts = jnp.broadcast_to(args[2] > 0, args[1].shape)
    margins = jnp.where(counts.reshape(-1, *(1 for _ in margins.shape[1:])), margins, 0.0)
    largest = jnp.max(jnp.abs(margins))
    right = (jnp.min(margins) >= -SURE * largest) & (jnp.max(margins) > 0.5 * largest)
    return jnp.isfinite(largest) & (largest > 0) & right, way


def _newton_step(H: Array, g: Array) -> Array:
    """-(H + E)^-1 g, with E of rounding's size: where a fit would go next, which is where the likelihood rises."""
    d = H.shape[0]
    known = jnp.all(jnp.isfinite(H))
    lam, V = linalg.eigh(jnp.where(known, H, jnp.eye(d, dtype=H.dtype)))
    along = jnp.sum(V * g[:, None], axis=0) / jnp.maximum(lam, jnp.finfo(H.dtype).eps ** 2 * lam[d - 1])
    return -jnp.sum(V * along[None, :], axis=1)
