"""What one pass through blocks of rows adds up: the likelihood, the normal equations of a start, and the inference."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnewton.regression.data import Frame
from jaxnewton.regression.model import Summed, Tally
from jaxnewton.regression.rows import Block
from jaxnewton.regression.scrutiny import restless
from jaxnewton.solvers.common import resolution
from jaxnewton.types import Array, Evaluation


class Totals(NamedTuple):
    """Sums over all rows, in double precision where JAX has it."""

    rows: Array  # () int32 of positive weight
    tally: Tally
    low: Array  # (ways,) smallest margin along each, in parts of its terms
    high: Array  # (ways,) largest
    restless: Array  # () bool: a further step would move some mean for good


class Way(NamedTuple):
    """Directions that rows are held against."""

    step: Array  # (d,) Newton's, in the columns that are solved with
    middle: Frame  # in which few digits of their products are lost
    ways: Array  # (d, ways) in its columns


def likelihood(
    model: Summed, intercept: bool, frame: Frame, theta: Array, penalty: Array, blocks: Iterable[Block]
) -> Evaluation:
    """At theta (d,); penalty (d, d) is what the ridge adds to the information."""
    sums = jnp.zeros((), theta.dtype), jnp.zeros_like(theta), jnp.zeros_like(penalty)
    f, g, H = _through(blocks, functools.partial(_add, model, intercept, frame, theta), sums)
    pull = penalty @ theta
    return Evaluation(f + 0.5 * jnp.sum(theta * pull), g + pull, H + penalty)


def fit_to(predictors: Callable[[Array], Array], intercept: bool, frame: Frame, blocks: Iterable[Block]) -> Array:
    """(q,) of the weighted least-squares fit to the linear predictors that the function makes of y."""
    q, dtype = frame.scale.shape[0] + intercept, frame.scale.dtype
    sums = jnp.zeros(q, dtype), jnp.zeros((q, q), dtype)

    def add(block: Block, sums: Any) -> Any:
        eta = predictors(jnp.asarray(block.y).astype(dtype))
        return _add_normal_equations(intercept, frame, block, eta, sums)

    right, H = _through(blocks, add, sums)
    inverse, V, _ = spectrum(H)
    return V @ (inverse * (V.T @ right))


def totals(
    model: Summed,
    intercept: bool,
    frame: Frame,
    theta: Array,
    dispersion: Array,
    way: Way | None,
    blocks: Iterable[Block],
) -> Totals:
    """At theta (d,)."""
    zero, none = jnp.zeros_like(dispersion), jnp.full(way.ways.shape[1] if way else 0, jnp.inf, theta.dtype)
    sums = Totals(jnp.zeros((), jnp.int32), Tally(zero, zero, zero), none, -none, jnp.zeros((), bool))
    return _through(blocks, functools.partial(_add_totals, model, intercept, frame, theta, dispersion, way), sums)


@jax.jit
def spectrum(H: Array) -> tuple[Array, Array, Array]:
    """The eigenvalues of H over 1, 0 for those that are 0; the eigenvectors; and which eigenvalues are 0."""
    lam, V = jnp.linalg.eigh(H)
    kept = lam > resolution(lam[-1], H.shape[0])
    return jnp.where(kept, 1 / jnp.where(kept, lam, 1.0), 0.0), V, ~kept


def _through(blocks: Iterable[Block], add: Callable[[Block, Any], Any], sums: Any) -> Any:
    for block in blocks:
        sums = jax.block_until_ready(add(block, sums))  # or blocks pile up
    return sums


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=5)
def _add(model: Summed, intercept: bool, frame: Frame, theta: Array, block: Block, sums: Any) -> Any:
    at = model.evaluate_block(theta, *_design(intercept, frame, block))
    return jax.tree.map(jnp.add, sums, (at.f, at.g, at.H))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def _add_normal_equations(intercept: bool, frame: Frame, block: Block, eta: Array, sums: Any) -> Any:
    Z, _, weights, offset = _design(intercept, frame, block)
    return sums[0] + (weights * (eta - offset)) @ Z, sums[1] + (weights[:, None] * Z).T @ Z


@functools.partial(jax.jit, static_argnums=(0, 1))
def _add_totals(
    model: Summed,
    intercept: bool,
    frame: Frame,
    theta: Array,
    dispersion: Array,
    way: Way | None,
    block: Block,
    sums: Totals,
) -> Totals:
    Z, y, weights, offset = _design(intercept, frame, block)
    counted, low, high, moving = weights > 0, sums.low, sums.high, sums.restless
    if way is not None:
        design, *_ = _design(intercept, way.middle, block)
        least, most = model.margins(way.ways, design, y)
        low = jnp.minimum(low, jnp.min(jnp.where(counted[:, None], least, jnp.inf), axis=0))
        high = jnp.maximum(high, jnp.max(jnp.where(counted[:, None], most, -jnp.inf), axis=0))
        sizes = (jnp.where(counted[:, None], jnp.abs(Z @ v.reshape(-1, Z.shape[1]).T), 0.0) for v in (way.step, theta))
        moving = moving | restless(*sizes)
    return Totals(
        rows=sums.rows + jnp.sum(counted, dtype=jnp.int32),
        tally=jax.tree.map(jnp.add, sums.tally, model.tally(theta, Z, y, weights, offset, dispersion)),
        low=low,
        high=high,
        restless=moving,
    )


def _design(intercept: bool, frame: Frame, block: Block) -> tuple[Array, Array, Array, Array]:
    """A block's rows (k, q) of the columns that are solved with, y, weights and offset, in the dtype of the sums.

    What does not vary in the first block may do so in another, so no column is taken for constant.
    """
    X, y, weights, offset = (jnp.asarray(part).astype(frame.scale.dtype) for part in block)
    Z = (X - frame.center[None, :]) / frame.scale[None, :]
    Z = jnp.concatenate([jnp.ones((Z.shape[0], 1), Z.dtype), Z], axis=1) if intercept else Z
    return Z, y, weights, offset
