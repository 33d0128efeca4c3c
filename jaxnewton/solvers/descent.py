"""What the quasi-Newton methods share: a direction from remembered curvature, and a line search, one trial a trip."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnewton import linesearch
from jaxnewton.linesearch import Search
from jaxnewton.solvers.common import finite, keep, rounding, running
from jaxnewton.types import Array, Evaluation, Move, Needs, Status


class State(NamedTuple):
    """One lane."""

    x: Array  # (n,) last accepted point
    f: Array  # () inf before the first
    g: Array  # (n,)
    memory: Any  # what the method has learnt of the curvature
    p: Array  # (n,) search direction
    search: Search
    learnt: Array  # () bool: memory holds a pair s, y, and so has the function's scale
    step: Array  # (n,) alpha p
    predicted: Array  # () decrease of the model along step
    full: Array  # () bool: the search's first trial, or one that follows where that promised but rounding
    curvature: Array  # () nan: not known
    if_stationary: Array  # () int32: CONVERGED
    status: Array  # () int32


@dataclasses.dataclass(frozen=True)
class Descent(abc.ABC):
    """A method that learns from pairs s = x_new - x, y = g_new - g, and only from those with s'y > 0."""

    needs = Needs.GRADIENT

    @abc.abstractmethod
    def _blank(self, n: int, dtype: Any) -> Any:
        """A memory that has met nothing."""

    @abc.abstractmethod
    def _update(self, memory: Any, learnt: Array, s: Array, y: Array) -> Any:
        """The memory after one more pair; ``learnt``: it is not the first."""

    @abc.abstractmethod
    def _direction(self, memory: Any, learnt: Array, g: Array) -> Array:
        """The step to the model's minimiser; -g where nothing is learnt."""

    def _slope_left(self) -> float:
        """c2 of the line search."""
        return 0.9

    def init(self, x0: Array, size: int | None = None) -> State:
        n = x0.shape[0] if size is None else size
        zero, inf = jnp.zeros((), x0.dtype), jnp.full((), jnp.inf, x0.dtype)
        zeros, nan, no = jnp.zeros(n, x0.dtype), jnp.full((), jnp.nan, x0.dtype), jnp.zeros((), bool)
        search = linesearch.begin(zero, zero)
        ended = jnp.full((), Status.CONVERGED, jnp.int32)
        memory = self._blank(n, x0.dtype)
        return State(x0, inf, zeros, memory, zeros, search, no, zeros, zero, no, nan, ended, running())

    def ask(self, state: State, move: Move = jnp.add) -> Array:
        return move(state.x, state.step)

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        f, g = evaluation.f, evaluation.g
        first = jnp.isinf(state.f)
        ok = finite(evaluation, jnp.zeros_like(f))
        met, search = linesearch.judge(state.search, state.f, f, jnp.sum(g * state.p), ok, self._slope_left())
        accept = ok & (first | met)

        memory, learnt = self._remember(state, g - state.g, accept & ~first)
        p = self._direction(memory, learnt, g)
        slope = jnp.sum(g * p)
        uphill = ~(slope < 0)  # lost to rounding: start anew
        p = jnp.where(uphill, -g, p)
        slope = jnp.where(uphill, -jnp.sum(g * g), slope)
        # Without a scale, the first trial moves x by 1 at most; with one it is the quasi-Newton step itself.
        length = jnp.sqrt(jnp.sum(p * p))
        alpha = jnp.where(learnt & ~uphill, 1.0, 1.0 / jnp.maximum(length, 1.0))
        fresh = (x, f, g, p, linesearch.begin(alpha, slope))
        x, f, g, p, search = keep(accept, fresh, (state.x, state.f, state.g, state.p, search))
        return State(
            x=x, f=f, g=g, memory=memory, p=p, search=search, learnt=learnt,
            step=search.alpha * p,
            predicted=jnp.abs(0.5 * search.alpha * search.slope),
            full=accept | (state.full & (state.predicted <= rounding(state))),
            curvature=state.curvature,
            if_stationary=state.if_stationary,
            status=state.status,
        )  # fmt: skip

    def _remember(self, state: State, y: Array, accept: Array) -> tuple[Any, Array]:
        s = state.step
        bound = jnp.finfo(s.dtype).eps * jnp.sqrt(jnp.sum(s * s) * jnp.sum(y * y))
        curved = accept & (jnp.sum(s * y) > bound)
        s, y = jnp.where(curved, s, 1.0), jnp.where(curved, y, 1.0)  # so that the rejected are not nan
        new = (self._update(state.memory, state.learnt, s, y), jnp.ones((), bool))
        return keep(curved, new, (state.memory, state.learnt))
