"""Data too large to copy: fits that go through the rows in blocks, once a trip, and add up in double precision.

The solver is the same as ever; only the evaluation is the host's, block by block.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.loop import advance, begin
from jaxnewton.regression import inference, sums
from jaxnewton.regression.data import Frame, back, moved_back, penalties, standardise
from jaxnewton.regression.fit import Fields
from jaxnewton.regression.given import numbers
from jaxnewton.regression.likelihood import MAX_STEPS
from jaxnewton.regression.model import Summed
from jaxnewton.regression.rows import look, once_more, reader
from jaxnewton.regression.scrutiny import settled
from jaxnewton.regression.separation import ROOTS, middles
from jaxnewton.regression.sums import Totals, Way
from jaxnewton.solvers.newton import Newton
from jaxnewton.types import RUNNING, Array, Outcome, is_traced, succeeded


def fit(
    model: Summed,
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
    read = reader(X, y, weights, offset, model.vectors)
    if is_traced((ridge, tol, max_steps)):
        raise TypeError("data in jn.regression.Blocks are added up by the host, block by block: not under jit or grad")
    ridge = np.asarray(numbers("ridge", ridge))
    if ridge.ndim or not ridge >= 0:
        raise ValueError(f"ridge must be one number of at least 0 for data in blocks; it is {ridge!r}")
    head, level, rows = look(model, read)
    blocks = functools.partial(once_more, read, rows)
    dtype = jnp.result_type(float)
    columns = standardise(jnp.asarray(head.X, dtype), None, intercept)
    frame = columns.frame  # the first block's centres and scales serve all
    each = penalties(frame.scale, jnp.asarray(ridge, dtype), intercept)
    penalty = model.penalties(each)
    first = model.start(
        columns.q, intercept, level, lambda predictors: sums.fit_to(predictors, intercept, frame, blocks())
    )

    solver = Newton()
    rules = checks.rules(tol, MAX_STEPS if max_steps is None else max_steps, dtype)
    lane = begin(solver, model, first)
    while int(lane.status) == RUNNING:
        trial = solver.ask(lane.state)
        at = sums.likelihood(model, intercept, frame, trial, penalty, blocks())
        lane = _advance(solver, lane, trial, at, rules)
    state = lane.state
    found = Outcome(state.x, state.f, state.g, lane.status, lane.nit, state.curvature, state.H)
    curvature = _curvature(found.H, penalty)
    if model.squares and curvature.rank < columns.q:
        found = found._replace(x=_of_least_norm(intercept, frame, found))
    way = ways = None
    if model.separable and not (succeeded(found.status) and not inference.vague(curvature.inverse)):
        middle = middles(columns.X, intercept)
        step, ways = _ways(frame, intercept, found, each)
        way = Way(step, middle, jax.vmap(functools.partial(moved_back, middle, intercept))(ways).T)
    dispersion = jnp.ones((), dtype)
    totals = sums.totals(model, intercept, frame, found.x, dispersion, way, blocks())
    if model.dispersed:  # the likelihood needs the dispersion, which needs all rows
        dispersion = inference.over_freedom(totals.tally.pearson, totals.rows, curvature.rank)
        totals = sums.totals(model, intercept, frame, found.x, dispersion, way, blocks())
    return _fields(model, intercept, frame, found, curvature, totals, ways, dispersion), found.nit


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fields(
    model: Summed,
    intercept: bool,
    frame: Frame,
    found: Outcome,
    curvature: inference.Curvature,
    totals: Totals,
    ways: Array | None,
    dispersion: Array,
) -> Fields:
    """ways (k, d) in the columns of X: along them the rows' margins were taken."""
    inverse, rank, null = curvature
    separated, way = jnp.zeros((), bool), jnp.zeros_like(found.x)
    if ways is not None:
        ends = inference.one_sided(totals.low, totals.high)
        separated, way = jnp.any(ends), ways[jnp.argmax(ends)]
    evidence = inference.Evidence(
        known=jnp.isfinite(found.fun),
        singular=jnp.any(jnp.isnan(inverse)),
        settled=settled(found.grad @ inverse @ found.grad, found.fun),
        separated=separated,
        restless=totals.restless,
    )
    there = functools.partial(back, frame, intercept)
    status = inference.verdict(found.status, evidence)
    rank = jnp.where(separated, found.x.shape[0], rank)
    end = inference.conclusion(there, found.x, inverse, rank, status, jnp.where(separated, way, there(null)))
    return inference.fields(
        model,
        end,
        intercept,
        loglik=model.loglik(totals.tally, dispersion, totals.rows.astype(found.fun.dtype)),
        deviance=2 * totals.tally.half,
        dispersion=dispersion,
        rows=totals.rows,
    )


_advance = jax.jit(advance, static_argnums=0)
_curvature = jax.jit(inference.curvature)


@functools.partial(jax.jit, static_argnums=1)
def _ways(frame: Frame, intercept: bool, found: Outcome, penalty: Array) -> tuple[Array, Array]:
    """Newton's step, and (k, d) in the columns of X where the likelihood may rise for ever: where that goes, where the
    fit has come to, and the first without what may be rounding, as the way of a group has it.

    Without the components that a ridge holds back; penalty (q,) serves every class.
    """
    newton, free = inference.newton_step(found.H, found.grad), jnp.resize(penalty, found.x.shape) == 0
    both = jnp.stack([inference.unit(jnp.where(free, way, 0.0)) for way in (newton, found.x)])
    step, theta = back(frame, intercept, both)
    units = jnp.concatenate([jnp.ones(int(intercept), step.dtype), frame.scale])
    sizes = jnp.abs(step) * jnp.resize(units, step.shape)
    eps = float(jnp.finfo(step.dtype).eps)
    cleaned = [jnp.where(sizes > eps ** (1 / root) * jnp.max(sizes), step, 0.0) for root in ROOTS]
    return newton, jnp.stack([step, theta, *cleaned])


@functools.partial(jax.jit, static_argnums=0)
def _of_least_norm(intercept: bool, frame: Frame, found: Outcome) -> Array:
    """Of the minima of a singular sum of squares the one with params of least norm, in the units of X."""
    inverse, V, null = sums.spectrum(found.H)
    theta = found.x - V @ (inverse * (V.T @ found.grad))
    first = int(intercept)
    ways = jnp.where(null, V, 0.0)
    params, own = theta[first:] / frame.scale, ways[first:] / frame.scale[:, None]
    return theta - ways @ jnp.linalg.lstsq(own, params)[0]
