"""What the information matrix at an estimate says: covariance, rank, and directions the data do not determine."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton import linalg
from jaxnewton.loop import over_lanes
from jaxnewton.solvers.common import resolution
from jaxnewton.types import Array, Status, succeeded

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


def newton_step(H: Array, g: Array) -> Array:
    """-(H + E)^-1 g, with E of rounding's size, of one fit: where an estimate would go next."""
    d = H.shape[0]
    lam, V = linalg.eigh(H)
    along = jnp.sum(V * g[:, None], axis=0) / jnp.maximum(lam, jnp.finfo(H.dtype).eps ** 2 * lam[d - 1])
    return -jnp.sum(V * along[None, :], axis=1)


def separates(margins: Array, counts: Array) -> Array:
    """Whether a direction raises the likelihood of no row less than 0, and of some row more (Albert & Anderson 1984).

    Args:
        margins: (m, ...) by how much it moves the linear predictor of what was observed ahead of every other's.
        counts: (m,) bool: the rows that count.
    """
    counts = counts.reshape(-1, *(1 for _ in margins.shape[1:]))
    margins = jnp.where(counts, margins, 0.0)
    largest = jnp.max(jnp.abs(margins))
    return (
        jnp.isfinite(largest)
        & (largest > 0)
        & (jnp.min(margins) >= -SURE * largest)
        & (jnp.max(margins) > 0.5 * largest)
    )


def verdicts(status: Array, separated: Array, rank: Array, d: int) -> Array:
    """The statuses with what was found about the data: SEPARATED, or SINGULAR where an information is."""
    status = jnp.where((rank < d) & succeeded(status), jnp.int32(Status.SINGULAR), status)
    return jnp.where(separated, jnp.int32(Status.SEPARATED), status).astype(jnp.int32)
