"""Limited-memory BFGS by the two-loop recursion (Nocedal 1980; Nocedal & Wright 2006, algorithm 7.4)."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnewton import checks
from jaxnewton.solvers.descent import Secant
from jaxnewton.types import Array


class Pairs(NamedTuple):
    """The latest pairs, newest last; unused ones have rho = 0 and do nothing."""

    s: Array  # (memory, n)
    y: Array  # (memory, n)
    rho: Array  # (memory,) 1 / s'y


@dataclasses.dataclass(frozen=True)
class LBFGS(Secant):
    """Limited-memory BFGS: gradients only, a few vectors of state, for n into the many thousands.

    Args:
        memory: pairs that are kept.

    Raises:
        ValueError: memory is not a whole number of at least 1.
    """

    memory: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", checks.whole("memory", self.memory, 1))

    def _blank(self, n: int, dtype: Any) -> Pairs:
        none = jnp.zeros((self.memory, n), dtype)
        return Pairs(none, none, jnp.zeros(self.memory, dtype))

    def _update(self, memory: Pairs, learnt: Array, s: Array, y: Array) -> Pairs:
        del learnt
        new = Pairs(s, y, 1.0 / jnp.sum(s * y))
        return Pairs(*(jnp.concatenate([old[1:], one[None]]) for old, one in zip(memory, new, strict=True)))

    def _direction(self, memory: Pairs, learnt: Array, g: Array) -> Array:
        q, weights = g, []
        for i in reversed(range(self.memory)):
            weights.append(memory.rho[i] * jnp.sum(memory.s[i] * q))
            q = q - weights[-1] * memory.y[i]
        yy = jnp.sum(memory.y[-1] ** 2)
        gamma = jnp.where(learnt, 1.0 / jnp.where(learnt, memory.rho[-1] * yy, 1.0), 1.0)  # s'y / y'y, equation 7.20
        r = gamma * q
        for i in range(self.memory):
            beta = memory.rho[i] * jnp.sum(memory.y[i] * r)
            r = r + (weights.pop() - beta) * memory.s[i]
        return -r
