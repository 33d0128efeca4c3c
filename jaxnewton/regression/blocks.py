"""Data too large to copy: fits that go through the rows in blocks, once a trip, and add up in double precision.

The solver is the same as ever; only the evaluation is the host's, block by block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.loop import advance, begin
from jaxnewton.regression import inference
from jaxnewton.regression.data import Columns, back, penalties, refuse_numbers, refuse_values, standardise
from jaxnewton.regression.fit import Fields
from jaxnewton.regression.likelihood import MAX_STEPS, Likelihood, start_from_mean
from jaxnewton.solvers.newton import Newton
from jaxnewton.types import RUNNING, Array, Evaluation, Needs, Outcome, is_traced

LARGE = 2**22  # entries of X from which one fit goes through it in blocks
ENTRIES = 2**17  # of X in a block: 1 MB in double precision, which stays in cache; up to 8 MB it is 20 % slower


class Blocks:
    """Rows that are not all in memory.

    Args:
        source: a function without arguments that returns an iterator of blocks ``(X, y)``, ``(X, y, weights)`` or
            ``(X, y, weights, offset)`` with X (k, p) and the others (k,). It is called once a trip, and must give the
            same rows each time.
    """

    def __init__(self, source: Callable[[], Iterable[Any]]):
        self.source = checks.function("source", source)


class Block(NamedTuple):
    """Some rows; all of as many entries, by rows of weight 0 at the end."""

    X: Any  # (k, p)
    y: Any  # (k,)
    weights: Any  # (k,)
    offset: Any  # (k,)


class Totals(NamedTuple):
    """Sums over all rows, in double precision where JAX has it. All () where not said otherwise."""

    rows: Array  # int32 of positive weight
    least: Array  # weighted, of the losses that the data themselves would have
    pearson: Array  # Pearson's statistic
    constant: Array  # what the log-likelihood has beside the loss
    low: Array  # (2,) smallest margin along either way
    high: Array  # (2,) largest


def is_large(X: Any) -> bool:
    """Whether one fit of X is to go through it in blocks."""
    if isinstance(X, Blocks):
        return True
    return isinstance(X, (np.ndarray, jax.Array)) and not is_traced(X) and X.ndim == 2 and X.size > LARGE


def fit(
    problem: Likelihood,
    X: Any,
    y: Any,
    weights: Any,
    offset: Any,
    ridge: Any,
    intercept: bool,
    tol: Any,
    max_steps: Any,
) -> tuple[Fields, Array]:
    """The fields of a Fit, and its trips."""
    blocks = _reader(X, y, weights, offset)
    ridge = np.asarray(ridge)
    if ridge.ndim or not ridge >= 0:
        raise ValueError(f"ridge must be one number of at least 0 for data in blocks; it is {ridge!r}")
    head, level = _look(problem, blocks)
    dtype = jnp.result_type(float)
    Z, center, scale = standardise(jnp.asarray(head.X, dtype), intercept)
    columns = Columns(Z[:, :0], center, scale)  # the first block's centres and scales serve all
    penalty = penalties(scale, jnp.asarray(ridge, dtype), intercept)
    q = Z.shape[0]
    first = start_from_mean(problem, q, level) if intercept else jnp.zeros(q, dtype)

    def evaluate(theta: Array) -> Evaluation:
        sums = jnp.zeros((), dtype), jnp.zeros(q, dtype), jnp.zeros((q, q), dtype)
        for block in blocks():
            sums = jax.block_until_ready(_add(problem, intercept, columns, theta, block, sums))  # or blocks pile up
        f, g, H = sums
        return Evaluation(f + 0.5 * jnp.sum(penalty * theta**2), g + penalty * theta, H + jnp.diag(penalty))

    solver = Newton()
    rules = checks.rules(tol, MAX_STEPS if max_steps is None else max_steps, dtype)
    lane = begin(solver, problem, first)
    while int(lane.status) == RUNNING:
        trial = solver.ask(lane.state)
        lane = _advance(solver, lane, trial, evaluate(trial), rules)
    state = lane.state
    found = Outcome(state.x, state.f, state.g, lane.status, lane.nit, state.curvature, state.H)
    curvature = _invert(found.H)
    ways = _ways(found.x, found.H, found.grad, penalty)
    dispersion, zero, none = jnp.ones((), dtype), jnp.zeros((), dtype), jnp.full(2, jnp.inf, dtype)
    blank = totals = Totals(jnp.zeros((), jnp.int32), zero, zero, zero, none, -none)
    for _ in range(1 + problem.family.dispersed):  # the likelihood needs the dispersion, which needs all rows
        totals = blank
        for block in blocks():
            totals = _total(problem, intercept, columns, found.x, ways, dispersion, block, totals)
            jax.block_until_ready(totals)
        if problem.family.dispersed:
            dispersion = inference.over_freedom(totals.pearson, totals.rows, curvature.rank)
    return _fields(problem, intercept, columns, penalty, found, curvature, totals, ways, dispersion), found.nit


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fields(
    problem: Likelihood,
    intercept: bool,
    columns: Columns,
    penalty: Array,
    found: Outcome,
    curvature: inference.Curvature,
    totals: Totals,
    ways: Array,
    dispersion: Array,
) -> Fields:
    loss = found.fun - 0.5 * jnp.sum(penalty * found.x**2)
    separated = jnp.zeros((), bool)
    way = ways[0]
    if problem.separable:
        suspect = inference.suspicious(found.status, curvature.inverse)
        ends = inference.one_sided(totals.low, totals.high) & suspect
        separated, way = jnp.any(ends), jnp.where(ends[0], ways[0], ways[1])
    end = inference.verdict(functools.partial(back, columns, intercept), found, separated, way, curvature)
    rows = totals.rows.astype(loss.dtype)
    if problem.family.name == "gaussian":
        none = jnp.zeros(0, loss.dtype)
        loglik = problem.family.loglik(none, none, loss, none, dispersion, rows) + totals.constant
    else:
        loglik = totals.constant - (0.0 if problem.family.dispersed else loss)
    return inference.fields(
        end,
        intercept,
        loglik=loglik,
        deviance=jnp.maximum(2 * (loss - totals.least), 0.0),
        dispersion=dispersion,
        rows=totals.rows,
    )


_advance = jax.jit(advance, static_argnums=0)
_ways = jax.jit(inference.ways)
_invert = jax.jit(inference.invert_one)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=5)
def _add(problem: Likelihood, intercept: bool, columns: Columns, theta: Array, block: Block, sums: Any) -> Any:
    args = (*_design(intercept, columns, block), jnp.zeros_like(theta))
    at = problem.evaluate(theta, args, Needs.HESSIAN)
    return jax.tree.map(jnp.add, sums, tuple(at))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _total(
    problem: Likelihood,
    intercept: bool,
    columns: Columns,
    theta: Array,
    ways: Array,
    dispersion: Array,
    block: Block,
    totals: Totals,
) -> Totals:
    family = problem.family
    args = _design(intercept, columns, block)
    Z, y, weights, offset = args
    counted = weights > 0
    mu = family.mean(problem.link, theta @ Z + offset)
    pearson = jnp.sum(jnp.where(counted, weights * (y - mu) ** 2 / family.variance(mu), 0.0))
    if family.name == "gaussian":
        constant = 0.5 * jnp.sum(jnp.log(jnp.where(counted, weights, 1.0)))
    else:
        constant = family.loglik(y, mu, jnp.zeros_like(dispersion), weights, dispersion, dispersion)
    low, high = totals.low, totals.high
    if problem.separable:
        margins = jnp.stack([problem.margins(way, (*args, theta)) for way in ways])
        low = jnp.minimum(low, jnp.min(jnp.where(counted, margins, jnp.inf), axis=1))
        high = jnp.maximum(high, jnp.max(jnp.where(counted, margins, -jnp.inf), axis=1))
    return Totals(
        rows=totals.rows + jnp.sum(counted, dtype=jnp.int32),
        least=totals.least + jnp.sum(weights * family.least(y)),
        pearson=totals.pearson + pearson,
        constant=totals.constant + constant,
        low=low,
        high=high,
    )


def _design(intercept: bool, columns: Columns, block: Block) -> tuple[Array, Array, Array, Array]:
    """A block's part of the columns that are solved with, y, weights and offset, in the dtype of the sums."""
    X, y, weights, offset = (jnp.asarray(part).astype(columns.scale.dtype) for part in block)
    Z = (X - columns.center[None, :]) / columns.scale[None, :]
    Z = jnp.concatenate([jnp.ones((Z.shape[0], 1), Z.dtype), Z], axis=1) if intercept else Z
    return Z.T, y, weights, offset


def _reader(X: Any, y: Any, weights: Any, offset: Any) -> Callable[[], Iterator[Block]]:
    """A function that goes through the rows once more."""
    if isinstance(X, Blocks):
        if any(part is not None for part in (y, weights, offset)):
            raise ValueError("data in jn.regression.Blocks bring their own y, weights and offset: leave these None")
        return functools.partial(_from_source, X.source)
    parts = {"y": y, "weights": weights, "offset": offset}
    m, p = X.shape
    for name, part in parts.items():
        if part is not None:
            parts[name] = part if hasattr(part, "shape") else np.asarray(part)
            if parts[name].shape != (m,):
                raise ValueError(f"{name} must have as many rows as X, {m}; its shape is {parts[name].shape}")
    if parts["y"] is None:
        raise ValueError("y is missing")
    size = max(ENTRIES // max(p, 1), 64)

    def read() -> Iterator[Block]:
        for at in range(0, m, size):
            rows = slice(at, min(at + size, m))
            yield _padded(size, X[rows], *(part if part is None else part[rows] for part in parts.values()))

    return read


def _from_source(source: Callable[[], Iterable[Any]]) -> Iterator[Block]:
    size = 0
    for given in source():
        if not isinstance(given, tuple) or not 2 <= len(given) <= 4:
            raise TypeError("a block must be a tuple (X, y), (X, y, weights) or (X, y, weights, offset)")
        X, y = np.asarray(given[0]), np.asarray(given[1])
        others = [None if part is None else np.asarray(part) for part in given[2:]]
        size = size if X.shape[0] <= size else X.shape[0]
        yield _padded(size, X, y, *others, *(None for _ in range(2 - len(others))))


def _padded(size: int, X: Any, y: Any, weights: Any, offset: Any) -> Block:
    """Blocks of one size compile once: rows of weight 0, copies of the first, fill the last."""
    if X.ndim != 2 or any(part is not None and part.shape != X.shape[:1] for part in (y, weights, offset)):
        raise ValueError(f"a block must have X (k, p) and all else (k,); it has X {X.shape} and y {np.shape(y)}")
    k = X.shape[0]
    weights = np.ones(k, np.float32) if weights is None else np.asarray(weights)
    offset = np.zeros(k, np.float32) if offset is None else np.asarray(offset)
    if k < size:
        X, y, offset = (_filled(np.asarray(part), size) for part in (X, y, offset))
        weights = np.concatenate([weights, np.zeros(size - k, weights.dtype)])
    return Block(X, y, weights, offset)


def _filled(part: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([part, np.repeat(part[:1], size - part.shape[0], axis=0)])


def _look(problem: Likelihood, blocks: Callable[[], Iterator[Block]]) -> tuple[Block, Any]:
    """The first block, and what the mean of y needs; refuses what no fit can use."""
    head, weight, weighted, shift, at = None, 0.0, 0.0, 0.0, 0
    for block in blocks():
        head = block if head is None else head
        if block.X.shape[1] != head.X.shape[1]:
            raise ValueError(
                f"blocks must have as many columns as the first, {head.X.shape[1]}; one has {block.X.shape[1]}"
            )
        for name, part in block._asdict().items():
            refuse_numbers(name, part, at)
        y, weights = np.asarray(block.y, float), np.asarray(block.weights, float)
        refuse_values("y", y, *problem.family.wrong(y), at)
        weight, weighted = weight + weights.sum(), weighted + (weights * y).sum()
        shift += (weights * np.asarray(block.offset, float)).sum()
        at += y.shape[0]
    if head is None or weight == 0:
        raise ValueError("there are no rows of positive weight")
    return head, tuple(jnp.asarray(sum, jnp.result_type(float)) for sum in (weighted, weight, shift))
