"""A closer look at fits whose information says too little: by the rows, whose condition is not squared."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton.regression.data import Columns, back
from jaxnewton.regression.factor import Factor
from jaxnewton.regression.model import Model
from jaxnewton.regression.separation import middles, separates
from jaxnewton.regression.stack import if_wanted
from jaxnewton.solvers.common import keep
from jaxnewton.types import Array, Needs, Status

POLISHES = 4  # Newton's steps by the rows' factor, after the solver


class Closer(NamedTuple):
    """What the rows of one fit show."""

    theta: Array  # (d,) after some more of Newton's steps, of standardised columns
    fun: Array  # () there
    inverse: Array  # (d, d) of the information; nan where it is singular
    rank: Array  # () int32: coefficients that the data determine
    singular: Array  # () bool
    separated: Array  # () bool
    direction: Array  # (d,) in the columns of X: where the likelihood rises for ever, or else hardly changes
    settled: Array  # () bool: a further step would change nothing that can be told
    restless: Array  # () bool: it would move some mean for good, as where no estimate exists


class Place(NamedTuple):
    """A point, and Newton's step from it by the rows' factor."""

    theta: Array  # (d,)
    f: Array  # ()
    step: Array  # (d,)
    gain: Array  # () what the step promises, twice
    factor: Factor  # of the information


def scrutinise(model: Model, columns: Columns, theta: Array, status: Array, args: tuple[Any, ...]) -> Closer:
    """Of one fit that ended at theta (d,) with this status; args: those after Z."""
    y, weights, _, penalty = args
    Z, X, intercept = columns.Z, columns.X, columns.intercept
    args = (Z, *args)
    q, d = columns.q, theta.shape[0]
    classes = d // q
    eps = float(jnp.finfo(theta.dtype).eps)
    counted = jnp.broadcast_to(weights > 0, y.shape)
    of_data = Factor.of(jnp.where(counted[:, None], Z.T, 0.0))
    out_of_trips = (status == Status.MAX_STEPS) | (status == Status.NONFINITE)  # more were not granted
    end = _polished(model, theta, args, jnp.where(out_of_trips, 0, POLISHES))

    def by_class(v: Array) -> Array:
        return v.reshape(classes, q)

    moves, levels = (jnp.where(counted[None, :], jnp.abs(by_class(v) @ Z), 0.0) for v in (end.step, end.theta))

    separated, way = jnp.zeros((), bool), jnp.zeros_like(theta)
    if model.separable:
        free = jnp.tile(penalty == 0, classes)  # a ridge holds the others back
        ways = [jax.vmap(of_data.within)(by_class(jnp.where(free, v, 0.0))) for v in (end.theta, end.step)]
        ways = [back(columns.frame, intercept, v.reshape(d)) for v in ways]

        def look() -> tuple[Array, Array]:
            frame = middles(jnp.where(counted[:, None], X, 0.0), intercept)
            design = X - frame.center[None, :]
            ones = jnp.ones((X.shape[0], int(intercept)), X.dtype)
            design = jnp.concatenate([ones, design], axis=1)
            sides = model.sides(jnp.where(counted[:, None], design, 0.0), y)
            return separates(sides, frame, intercept, *ways)

        # where the likelihood rises for ever, steps go on moving some mean
        moving = jnp.max(moves, initial=0.0) > eps**0.25
        separated, way = if_wanted(moving, look, (separated, way))

    first = jnp.zeros((classes, q), theta.dtype).at[0].set(of_data.null)
    null = jnp.where(of_data.rank < q, first, by_class(end.factor.null))
    singular, rank = end.factor.rank < d, of_data.rank * classes
    return Closer(
        theta=end.theta,
        fun=end.f,
        inverse=jnp.where(singular, jnp.nan, end.factor.inverse()),
        rank=jnp.where(singular & ~separated, jnp.minimum(rank, end.factor.rank), rank).astype(jnp.int32),
        singular=singular,
        separated=separated,
        direction=jnp.where(separated, way, back(columns.frame, intercept, null.reshape(d))),
        settled=settled(end.gain, end.f),
        restless=restless(moves, levels),
    )


def _polished(model: Model, theta: Array, args: tuple[Any, ...], most: Array) -> Place:
    """Where at most ``most`` of Newton's steps by the rows' factor lead to, which end when none gains anything."""
    d, eps = theta.shape[0], float(jnp.finfo(theta.dtype).eps)

    def further(carry: tuple[Array, Array, Place]) -> tuple[Array, Array, Place]:
        trips, _, here = carry
        theta = here.theta + here.step
        at, factor = model.evaluate(theta, args, Needs.GRADIENT), Factor.of(model.root(theta, args))
        step = factor.solve(-at.g)
        there = Place(theta, at.f, step, -jnp.sum(at.g * step), factor)
        better = (trips == 0) | (there.f <= here.f + 10 * eps * jnp.abs(here.f))
        return trips + 1, better & ~settled(there.gain, there.f), keep(better, there, here)

    nowhere = Factor(*(jnp.zeros(shape, theta.dtype) for shape in ((d,), (d,), (d, d))))
    start = Place(theta, jnp.zeros_like(theta[0]), jnp.zeros_like(theta), jnp.zeros_like(theta[0]), nowhere)
    _, _, end = lax.while_loop(
        lambda carry: carry[1] & (carry[0] <= most), further, (jnp.int32(0), jnp.ones((), bool), start)
    )
    return end


def restless(moves: Array, levels: Array) -> Array:
    """Whether a step moves some row's linear predictor for good, by these sizes of its products and of theta's."""
    return jnp.max(moves - 1e-3 * levels, initial=0.0) > 0.1


def settled(gain: Array, f: Array) -> Array:
    """Whether what a further step promises is within the rounding of f, and no standard error would show it."""
    return gain <= jnp.minimum(20 * jnp.finfo(f.dtype).eps * jnp.abs(f), 1e-4)
