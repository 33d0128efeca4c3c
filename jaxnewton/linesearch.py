"""Line searches as rules over a few scalars: a rule is told phi at its trial, and accepts it or names the next.

phi(alpha) = f(x + alpha p). In the loop a rule gets one trial a trip; ``run`` tries one after the other by itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton import checks
from jaxnewton.types import Array

DECREASE = 1e-4  # c1 of Nocedal & Wright 2006, section 3.1
WIDEN = 4.0  # factor while no trial has been too long
GOLDEN = (3 - math.sqrt(5)) / 2  # 0.382: the smaller part of a segment in the golden section


class Phi(NamedTuple):
    """What is known of a trial. All ()."""

    start: Array  # phi(0)
    value: Array  # phi(alpha)
    slope: Array  # phi'(alpha)
    finite: Array  # bool: everything that was evaluated there is finite
    noise: Any = 0.0  # what rounding of phi may hide, besides that of phi's own size


class Rule(Protocol):
    """Frozen and hashable. A search's state has the fields ``alpha``, the trial, and ``slope``, phi'(0)."""

    searches: ClassVar[bool]  # False: every finite trial is accepted

    def begin(self, alpha: Array, slope: Array) -> Any:
        """A search whose first trial is ``alpha``; ``slope`` is phi'(0) < 0."""
        ...

    def judge(self, search: Any, phi: Phi) -> tuple[Array, Any]:
        """Whether the trial is accepted, and the search with the next trial where it is not."""
        ...


class Search(NamedTuple):
    """Of ``Wolfe``. All ()."""

    alpha: Array  # the trial; 0 from when the bracket has no room left
    slope: Array  # phi'(0) < 0
    low: Array  # long enough is more than this
    high: Array  # too long is this; inf: not known


@dataclasses.dataclass(frozen=True)
class Wolfe:
    """The Wolfe conditions, bracketed by bisection and doubling (Lewis & Overton 2013, algorithm 2.6).

    It ends for any function that is bounded below; interpolation only makes it sooner. Where rounding of f hides the
    decrease, the approximate conditions of Hager & Zhang (2005, equation 27) judge by slopes instead.

    Args:
        c2: how much of the slope may be left (Nocedal & Wright 2006, equations 3.6 and 3.7): 0.9 for a loose search,
            0.1 for a nearly exact one; inf for any, which is Armijo's backtracking.
        strong: bound |phi'(alpha)| rather than phi'(alpha) from below only.

    Raises:
        TypeError, ValueError: c2 is not between c1 = 1e-4 and 1, nor inf, or strong not True or False.
    """

    searches: ClassVar[bool] = True

    c2: float = 0.9
    strong: bool = False

    def __post_init__(self) -> None:
        c2 = checks.number(self.c2)
        if c2 is None or not (DECREASE < c2 < 1 or c2 == math.inf):
            raise ValueError(f"c2 must be between c1 = {DECREASE} and 1, or inf; it is {self.c2!r}")
        object.__setattr__(self, "c2", c2)
        object.__setattr__(self, "strong", checks.flag("strong", self.strong))

    def begin(self, alpha: Array, slope: Array) -> Search:
        return Search(alpha, slope, jnp.zeros_like(alpha), jnp.full_like(alpha, jnp.inf))

    def judge(self, search: Search, phi: Phi) -> tuple[Array, Search]:
        alpha, slope, low, high = search
        eps = jnp.finfo(alpha.dtype).eps
        hidden = phi.noise + 10 * eps * jnp.maximum(jnp.abs(phi.start), jnp.abs(phi.value))
        by_slopes = (phi.value <= phi.start + hidden) & (phi.slope <= (2 * DECREASE - 1) * slope)
        lower = phi.finite & ((phi.value <= phi.start + DECREASE * alpha * slope) | by_slopes)
        steep = phi.slope < self.c2 * slope
        beyond = phi.slope > -self.c2 * slope if self.strong else jnp.zeros_like(steep)
        high = jnp.where(lower & ~beyond, high, alpha)
        low = jnp.where(lower & steep, alpha, low)

        rise = phi.value - phi.start - alpha * slope  # > 0 where the trial is too long
        parabola = -0.5 * slope * alpha**2 / jnp.where(rise > 0, rise, 1.0)
        middle = 0.5 * (low + high)
        inner = jnp.where((low == 0) & phi.finite & (rise > 0), jnp.clip(parabola, 0.1 * high, 0.5 * high), middle)
        following = jnp.where(jnp.isinf(high), WIDEN * alpha, inner)
        none_left = (alpha == 0) | (jnp.isfinite(high) & (high - low <= 4 * eps * high))
        return lower & ~steep & ~beyond, Search(jnp.where(none_left, 0.0, following), slope, low, high)


class Section(NamedTuple):
    """Of ``Golden``: low <= best <= high, and nothing lower than phi(best) was met. All ()."""

    alpha: Array  # the trial
    slope: Array
    low: Array
    best: Array  # 0 until a trial was lower than phi(0)
    high: Array  # inf: not known
    least: Array  # phi(best); inf before the first trial
    left: Array  # |phi'(best)|
    last: Array  # bool: the trial is ``best`` once more, to be accepted


@dataclasses.dataclass(frozen=True)
class Golden:
    """Golden section (Kiefer 1953) on a bracket that is first widened, or shrunk to 0, until it holds a minimum.

    Of two trials whose difference rounding can hide, the one with the smaller slope counts as lower.

    Args:
        width: of the final bracket, relative to the step length.

    Raises:
        TypeError, ValueError: width is not a positive finite number.
    """

    searches: ClassVar[bool] = True

    width: float = 1e-2

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", checks.positive_number("width", self.width, fixed=True))

    def begin(self, alpha: Array, slope: Array) -> Section:
        zero, inf = jnp.zeros_like(alpha), jnp.full_like(alpha, jnp.inf)
        return Section(alpha, slope, zero, zero, inf, inf, jnp.abs(slope), jnp.zeros(jnp.shape(alpha), bool))

    def judge(self, search: Section, phi: Phi) -> tuple[Array, Section]:
        alpha, slope, low, best, high, least, left, last = search
        least = jnp.minimum(least, phi.start)
        hidden = jnp.abs(phi.value - least) <= phi.noise + 10 * jnp.finfo(alpha.dtype).eps * jnp.abs(least)
        better = phi.finite & jnp.where(hidden, jnp.abs(phi.slope) < left, phi.value < least)
        beyond = alpha > best
        low, high = (
            jnp.where(beyond, jnp.where(better, best, low), jnp.where(better, low, alpha)),
            jnp.where(beyond, jnp.where(better, high, alpha), jnp.where(better, best, high)),
        )
        best, least = jnp.where(better, alpha, best), jnp.where(better, phi.value, least)
        left = jnp.where(better, jnp.abs(phi.slope), left)

        narrow = (best > 0) & (high - low <= self.width * best)
        right = (high - best > best - low) | (best == 0)
        inner = jnp.where(right, best + GOLDEN * (high - best), best - GOLDEN * (best - low))
        following = jnp.where(jnp.isinf(high), alpha + (alpha - low) / (1 - GOLDEN), inner)
        following = jnp.where(narrow, best, following)
        met = phi.finite & (last | (narrow & better))
        return met, Section(following, slope, low, best, high, least, left, narrow)


@dataclasses.dataclass(frozen=True)
class Unguarded:
    """Every finite trial is accepted: the step length is not searched for."""

    searches: ClassVar[bool] = False

    def begin(self, alpha: Array, slope: Array) -> Search:
        return Wolfe().begin(alpha, slope)

    def judge(self, search: Search, phi: Phi) -> tuple[Array, Search]:
        return phi.finite, search


class Found(NamedTuple):
    """What ``run`` comes to. All ()."""

    alpha: Array  # 0 where no trial was accepted
    value: Array  # phi(alpha)
    trials: Array  # int32
    accepted: Array  # bool


def run(rule: Rule, phi: Callable[[Array], Array], alpha: Any = 1.0, max_trials: int = 100) -> Found:
    """Search along a differentiable phi, which falls at 0, for a step length that the rule accepts.

    Args:
        rule: ``Golden(width)``, ``Wolfe(inf)`` (backtracking) or ``Wolfe(c2, strong=True)``.
        phi: a scalar function of a scalar; ``x -> f(x0 + x * p)``.
        alpha: () the first trial.
    """
    alpha = jnp.asarray(alpha, jnp.result_type(float) if isinstance(alpha, (int, float)) else None)
    start, slope = jax.value_and_grad(phi)(jnp.zeros_like(alpha))

    def trial(carry: tuple[Any, Found]) -> tuple[Any, Found]:
        search, found = carry
        value, tangent = jax.value_and_grad(phi)(search.alpha)
        ok = jnp.isfinite(value) & jnp.isfinite(tangent)
        met, following = rule.judge(search, Phi(start, value, tangent, ok))
        ending = jnp.where(met, search.alpha, 0.0), jnp.where(met, value, start)
        return following, Found(*ending, found.trials + 1, met)

    none = Found(jnp.zeros_like(alpha), start, jnp.zeros((), jnp.int32), jnp.zeros((), bool))

    def going(carry: tuple[Any, Found]) -> Array:
        _, found = carry
        return ~found.accepted & (found.trials < max_trials)

    return lax.while_loop(going, trial, (rule.begin(alpha, slope), none))[1]
