"""Data too large to copy: fits that go through the rows in blocks, once a trip, and add up in double precision.

The solver is the same as ever; only the evaluation is the host's, block by block.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.loop import advance, begin
from jaxnewton.regression import inference
from jaxnewton.regression.data import Frame, back, moved_back, penalties, standardise
from jaxnewton.regression.fit import Fields
from jaxnewton.regression.given import numbers
from jaxnewton.regression.likelihood import MAX_STEPS, Likelihood, at_zero, links, start_from_mean
from jaxnewton.regression.rows import Block, look, once_more, reader
from jaxnewton.regression.scrutiny import settled
from jaxnewton.regression.separation import middles
from jaxnewton.solvers.common import resolution
from jaxnewton.solvers.newton import Newton
from jaxnewton.types import RUNNING, Array, Evaluation, Outcome, is_traced, succeeded


class Totals(NamedTuple):
    """Sums over all rows, in double precision where JAX has it. All () where not said otherwise."""

    rows: Array  # int32 of positive weight
    half: Array  # of the deviance
    pearson: Array  # Pearson's statistic
    constant: Array  # what the log-likelihood has beside half the deviance
    low: Array  # (2,) smallest margin along either way, in parts of its terms
    high: Array  # (2,) largest


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
    read = reader(X, y, weights, offset)
    if is_traced((ridge, tol, max_steps)):
        raise TypeError("data in jn.regression.Blocks are added up by the host, block by block: not under jit or grad")
    ridge = np.asarray(numbers("ridge", ridge))
    if ridge.ndim or not ridge >= 0:
        raise ValueError(f"ridge must be one number of at least 0 for data in blocks; it is {ridge!r}")
    head, level, rows = look(problem, read)
    blocks = functools.partial(once_more, read, rows)
    dtype = jnp.result_type(float)
    columns = standardise(jnp.asarray(head.X, dtype), None, intercept)
    frame, q = columns.frame, columns.q  # the first block's centres and scales serve all
    penalty = penalties(frame.scale, jnp.asarray(ridge, dtype), intercept)
    if intercept:
        first = start_from_mean(problem, q, level)
    elif at_zero(problem):
        first = jnp.zeros(q, dtype)
    else:
        sums = jnp.zeros(q, dtype), jnp.zeros((q, q), dtype)
        for block in blocks():
            sums = jax.block_until_ready(_add_links(problem, frame, level, block, sums))
        first = _links(sums)

    def evaluate(theta: Array) -> Evaluation:
        sums = jnp.zeros((), dtype), jnp.zeros(q, dtype), jnp.zeros((q, q), dtype)
        for block in blocks():
            sums = jax.block_until_ready(_add(problem, intercept, frame, theta, block, sums))  # or blocks pile up
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
    curvature = _curvature(found.H, jnp.diag(penalty))
    if problem.family.name == "gaussian" and problem.link.name == "identity" and curvature.rank < q:
        found = found._replace(x=_of_least_norm(intercept, frame, found))
    ways = _ways(found.x, found.H, found.grad, penalty)
    middle = middles(columns.X, intercept)
    framed = moved_back(middle, intercept, back(frame, intercept, ways)).T
    dispersion, zero, none = jnp.ones((), dtype), jnp.zeros((), dtype), jnp.full(2, jnp.inf, dtype)
    blank = totals = Totals(jnp.zeros((), jnp.int32), zero, zero, zero, none, -none)
    for _ in range(1 + problem.family.dispersed):  # the likelihood needs the dispersion, which needs all rows
        totals = blank
        for block in blocks():
            totals = _total(problem, intercept, frame, found.x, middle, framed, dispersion, block, totals)
            jax.block_until_ready(totals)
        if problem.family.dispersed:
            dispersion = inference.over_freedom(totals.pearson, totals.rows, curvature.rank)
    return _fields(problem, intercept, frame, penalty, found, curvature, totals, ways, dispersion), found.nit


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fields(
    problem: Likelihood,
    intercept: bool,
    frame: Frame,
    penalty: Array,
    found: Outcome,
    curvature: inference.Curvature,
    totals: Totals,
    ways: Array,
    dispersion: Array,
) -> Fields:
    inverse, rank, null = curvature
    q = found.x.shape[0]
    doubtful = ~succeeded(found.status) | inference.vague(inverse)
    ends = inference.one_sided(totals.low, totals.high) & doubtful & problem.separable
    separated, way = jnp.any(ends), jnp.where(ends[0], ways[0], ways[1])
    evidence = inference.Evidence(
        known=jnp.isfinite(found.fun),
        singular=jnp.any(jnp.isnan(inverse)),
        settled=settled(found.grad @ inverse @ found.grad, found.fun),
        separated=separated,
    )
    there = functools.partial(back, frame, intercept)
    status = inference.verdict(found.status, evidence)
    end = inference.conclusion(there, found.x, inverse, jnp.where(separated, q, rank), status,
                               there(jnp.where(separated, way, null)))  # fmt: skip
    rows = totals.rows.astype(found.fun.dtype)
    if problem.family.name == "gaussian":
        none = jnp.zeros(0, rows.dtype)
        loglik = problem.family.loglik(none, none, totals.half, dispersion, rows) + totals.constant
    else:
        loglik = totals.constant - totals.half / dispersion
    return inference.fields(
        end,
        intercept,
        loglik=loglik,
        deviance=2 * totals.half,
        dispersion=dispersion,
        rows=totals.rows,
    )


_advance = jax.jit(advance, static_argnums=0)
_ways = jax.jit(inference.ways)
_curvature = jax.jit(inference.curvature)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=5)
def _add(problem: Likelihood, intercept: bool, frame: Frame, theta: Array, block: Block, sums: Any) -> Any:
    at = problem.evaluate_block(theta, *_design(intercept, frame, block))
    return jax.tree.map(jnp.add, sums, (at.f, at.g, at.H))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def _add_links(problem: Likelihood, frame: Frame, level: tuple[Array, Array, Array], block: Block, sums: Any) -> Any:
    """The normal equations of a fit to the links, as in memory; without an intercept."""
    Z, y, weights, offset = _design(False, frame, block)
    eta = links(problem, y, level[:2]) - offset
    return sums[0] + (weights * eta) @ Z, sums[1] + (weights[:, None] * Z).T @ Z


@jax.jit
def _links(sums: tuple[Array, Array]) -> Array:
    right, H = sums
    along, V, _ = _spectrum(H)
    return V @ (along * (V.T @ right))


def _spectrum(H: Array) -> tuple[Array, Array, Array]:
    """The eigenvalues of H over 1, 0 for those that are 0; the eigenvectors; and which eigenvalues are 0."""
    lam, V = jnp.linalg.eigh(H)
    kept = lam > resolution(lam[-1], H.shape[0])
    return jnp.where(kept, 1 / jnp.where(kept, lam, 1.0), 0.0), V, ~kept


@functools.partial(jax.jit, static_argnums=0)
def _of_least_norm(intercept: bool, frame: Frame, found: Outcome) -> Array:
    """Of the minima of a singular sum of squares the one with params of least norm, in the units of X."""
    inverse, V, null = _spectrum(found.H)
    theta = found.x - V @ (inverse * (V.T @ found.grad))
    first = int(intercept)
    ways = jnp.where(null, V, 0.0)
    params, own = theta[first:] / frame.scale, ways[first:] / frame.scale[:, None]
    return theta - ways @ jnp.linalg.lstsq(own, params)[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _total(
    problem: Likelihood,
    intercept: bool,
    frame: Frame,
    theta: Array,
    middle: Frame,
    ways: Array,
    dispersion: Array,
    block: Block,
    totals: Totals,
) -> Totals:
    family = problem.family
    Z, y, weights, offset = _design(intercept, frame, block)
    counted = weights > 0
    eta = Z @ theta + offset
    mu, excess = family.mean(problem.link, eta), family.excess(problem.link, y, eta)
    pearson = jnp.sum(jnp.where(counted, weights * (y - mu) ** 2 / family.variance(mu), 0.0))
    if family.name == "gaussian":
        constant = 0.5 * jnp.sum(jnp.log(jnp.where(counted, weights, 1.0)))
    else:
        constant = family.loglik(y, weights, jnp.zeros_like(dispersion), dispersion, dispersion)
    low, high = totals.low, totals.high
    if problem.separable:
        design, *_ = _design(intercept, middle, block)
        sides, fixed = problem.sides(design, y)
        plain, terms = sides @ ways, jnp.abs(sides) @ jnp.abs(ways)
        margins = jnp.where(fixed[:, None], -jnp.abs(plain), plain) / jnp.where(terms > 0, terms, 1.0)
        low = jnp.minimum(low, jnp.min(jnp.where(counted[:, None], margins, jnp.inf), axis=0))
        high = jnp.maximum(high, jnp.max(jnp.where(counted[:, None], margins, -jnp.inf), axis=0))
    return Totals(
        rows=totals.rows + jnp.sum(counted, dtype=jnp.int32),
        half=totals.half + jnp.sum(jnp.where(counted, weights * excess, 0.0)),
        pearson=totals.pearson + pearson,
        constant=totals.constant + constant,
        low=low,
        high=high,
    )


def _design(intercept: bool, frame: Frame, block: Block) -> tuple[Array, Array, Array, Array]:
    """A block's rows (k, q) of the columns that are solved with, y, weights and offset, in the dtype of the sums.

    What does not vary in the first block may do so in another, so no column is taken for constant.
    """
    X, y, weights, offset = (jnp.asarray(part).astype(frame.scale.dtype) for part in block)
    Z = (X - frame.center[None, :]) / frame.scale[None, :]
    Z = jnp.concatenate([jnp.ones((Z.shape[0], 1), Z.dtype), Z], axis=1) if intercept else Z
    return Z, y, weights, offset
