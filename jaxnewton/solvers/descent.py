"""What the methods along a descent direction share: memory, direction, and a line search, one trial a trip."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnewton.linesearch import Phi, Rule, Wolfe
from jaxnewton.solvers.common import Stepper, cancelled, finite, immobile, keep, rounding, running
from jaxnewton.types import Array, Evaluation, Needs, Status


class State(NamedTuple):
    """One lane."""

    x: Array  # (n,) last accepted point
    f: Array  # () inf before the first
    g: Array  # (n,)
    memory: Any  # what the method has learnt of the curvature
    p: Array  # (n,) search direction
    search: Any  # of the rule
    learnt: Array  # () bool: memory holds a pair s, y, and so has the function's scale
    step: Array  # (n,) alpha p
    predicted: Array  # () decrease of the model along step
    full: Array  # () bool: the search's first trial, or one after it that promised but rounding
    curvature: Array  # () nan: not known
    if_stationary: Array  # () int32: CONVERGED
    status: Array  # () int32


@dataclasses.dataclass(frozen=True)
class Descent(Stepper, abc.ABC):
    """A method that goes along a direction, with a step length by a line search, one trial a trip."""

    needs = Needs.GRADIENT

    @abc.abstractmethod
    def _blank(self, n: int, dtype: Any) -> Any:
        """A memory that has met nothing."""

    @abc.abstractmethod
    def _remember(self, state: State, y: Array, accept: Array) -> tuple[Any, Array]:
        """The memory after the trial, with y = g_new - g, and whether it holds the function's scale."""

    @abc.abstractmethod
    def _direction(self, memory: Any, learnt: Array, g: Array) -> Array:
        """The step to the model's minimiser; -g where nothing is learnt."""

    def _rule(self) -> Rule:
        """The line search."""
        return Wolfe(0.9)

    def _first_length(self, state: State, memory: Any, trial: Evaluation, p: Array, scaled: Array) -> Array:
        """The first trial along p; ``scaled``: p has the function's scale. Without one, x moves by 1 at most."""
        del state, memory, trial
        return jnp.where(scaled, 1.0, 1.0 / jnp.maximum(jnp.sqrt(jnp.sum(p * p)), 1.0))

    def init(self, x0: Array, size: int | None = None) -> State:
        inf, zeros, zero, no, nan = self._blank_state(x0, size)
        search = self._rule().begin(zero, zero)
        ended = jnp.full((), Status.CONVERGED, jnp.int32)
        memory = self._blank(zeros.shape[0], x0.dtype)
        return State(x0, inf, zeros, memory, zeros, search, no, zeros, zero, no, nan, ended, running())

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        f, g = evaluation.f, evaluation.g
        first = jnp.isinf(state.f)
        ok = finite(evaluation, jnp.zeros_like(f))
        noise = evaluation.noise + jnp.where(state.full, cancelled(state), 0.0)
        met, search = self._rule().judge(state.search, Phi(state.f, f, jnp.sum(g * state.p), ok, noise))
        accept = ok & (first | met)

        memory, learnt = self._remember(state, g - state.g, accept & ~first)
        p = self._direction(memory, learnt, g)
        slope = jnp.sum(g * p)
        uphill = ~(slope < 0)  # lost to rounding: start anew
        p = jnp.where(uphill, -g, p)
        slope = jnp.where(uphill, -jnp.sum(g * g), slope)
        alpha = self._first_length(state, memory, evaluation, p, learnt & ~uphill)
        fresh = (x, f, g, p, self._rule().begin(alpha, slope))
        x, f, g, p, search = keep(accept, fresh, (state.x, state.f, state.g, state.p, search))
        step, status = search.alpha * p, state.status
        full = accept | immobile(x, step) | (state.full & (state.predicted <= rounding(state)))
        if not self._rule().searches:  # a short step is no evidence of anything
            full, status = jnp.zeros((), bool), jnp.where(ok | first, status, Status.DIVERGED).astype(jnp.int32)
        return State(
            x=x, f=f, g=g, memory=memory, p=p, search=search, learnt=learnt,
            step=step,
            predicted=jnp.abs(0.5 * search.alpha * search.slope),
            full=full,
            curvature=state.curvature,
            if_stationary=state.if_stationary,
            status=status,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Secant(Descent):
    """A method that learns from pairs s = x_new - x, y = g_new - g, and only from those with s'y > 0."""

    @abc.abstractmethod
    def _update(self, memory: Any, learnt: Array, s: Array, y: Array) -> Any:
        """The memory after one more pair; ``learnt``: it is not the first."""

    def _remember(self, state: State, y: Array, accept: Array) -> tuple[Any, Array]:
        s = state.step
        bound = jnp.finfo(s.dtype).eps * jnp.sqrt(jnp.sum(s * s) * jnp.sum(y * y))
        curved = accept & (jnp.sum(s * y) > bound)
        s, y = jnp.where(curved, s, 1.0), jnp.where(curved, y, 1.0)  # so that the rejected are not nan
        new = (self._update(state.memory, state.learnt, s, y), jnp.ones((), bool))
        return keep(curved, new, (state.memory, state.learnt))
