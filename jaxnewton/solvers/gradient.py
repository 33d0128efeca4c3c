"""Gradient descent with its step rules (Nocedal & Wright 2006, chapter 3)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.linesearch import Golden, Rule, Unguarded, Wolfe
from jaxnewton.solvers.descent import Descent, State
from jaxnewton.types import Array, Evaluation, Needs

RULES: dict[str, Rule] = {
    "exact": Wolfe(math.inf),
    "armijo": Wolfe(math.inf),
    "golden": Golden(),
    "wolfe": Wolfe(0.9, strong=True),
}


@dataclasses.dataclass(frozen=True)
class GradientDescent(Descent):
    """Steps along -g. It knows bounds: ``jn.minimize(..., bounds=jn.Bounds(lower, upper))`` projects every step.

    Args:
        step: a number: the step length, the same for ever; a function of the step's number, such as an optax schedule;
            "exact": g'g / g'Hg (Nocedal & Wright, equation 3.26), from one Hessian-vector product, cut back where f
            does not fall, and doubled from step to step where g'Hg <= 0;
            "armijo": backtracking until f falls enough; "wolfe": the strong Wolfe conditions with c2 = 0.9;
            "golden": golden section to 1 % of the step. The last three begin with twice the last step, at first with
            one that moves x by at most 1, and spend one trip of the loop on every trial.
            A number or a function is taken as it is: f may rise, and a step to where f or g is not finite ends the
            start as DIVERGED.

    Raises:
        ValueError: step is none of these, or a number that is not positive and finite.
        TypeError: when it is called, a schedule returns no number.
    """

    step: float | str | Callable[[Any], Any] = "armijo"

    def __post_init__(self) -> None:
        step = checks.number(self.step)
        if step is not None:
            object.__setattr__(self, "step", step)
            known = 0 < step < math.inf
        else:
            known = self.step in RULES if isinstance(self.step, str) else callable(self.step)
        if not known:
            words = ", ".join(f'"{name}"' for name in RULES)
            raise ValueError(f"step must be a positive number, a schedule, or one of {words}; it is {self.step!r}")

    @property
    def needs(self) -> Needs:
        return Needs.CURVATURE if self.step == "exact" else Needs.GRADIENT

    def _rule(self) -> Rule:
        return RULES[self.step] if isinstance(self.step, str) else Unguarded()

    def _blank(self, n: int, dtype: Any) -> Array:
        return jnp.zeros((), jnp.int32)  # steps taken

    def _remember(self, state: State, y: Array, accept: Array) -> tuple[Array, Array]:
        return state.memory + jnp.where(accept, 1, 0).astype(jnp.int32), state.learnt

    def _direction(self, memory: Array, learnt: Array, g: Array) -> Array:
        return -g

    def _first_length(self, state: State, memory: Array, trial: Evaluation, p: Array, scaled: Array) -> Array:
        if not isinstance(self.step, str):
            return self._given_length(memory).astype(p.dtype)
        moderate = super()._first_length(state, memory, trial, p, scaled)
        again = jnp.where(jnp.isinf(state.f), moderate, 2.0 * state.search.alpha)
        if self.step != "exact":
            return again
        curved = trial.H > 0
        return jnp.where(curved, jnp.sum(p * p) / jnp.where(curved, trial.H, 1.0), again)

    def _given_length(self, taken: Array) -> Array:
        given: Any = self.step(taken) if callable(self.step) else self.step
        if not isinstance(given, (int, float, np.generic, np.ndarray, jax.Array)) or jnp.shape(given):
            came = f"an array of shape {jnp.shape(given)}" if hasattr(given, "shape") else repr(given)
            raise TypeError(f"step must return a number for a step's number; it returned {came}")
        return jnp.asarray(given)
