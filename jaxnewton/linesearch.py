"""A line search as a few scalars: one trial a trip, bracketed by the weak Wolfe conditions.

Bracketing by bisection and doubling (Lewis & Overton 2013, algorithm 2.6) ends at a point of the weak Wolfe conditions
for any function that is bounded below; interpolation only makes it sooner. Where rounding of f hides the decrease, the
approximate conditions of Hager & Zhang (2005, equation 27) judge by slopes instead.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxnewton.types import Array

DECREASE = 1e-4  # c1 of Nocedal & Wright 2006, section 3.1
WIDEN = 4.0  # factor while no trial has been too long


class Search(NamedTuple):
    """phi(alpha) = f(x + alpha p). All ()."""

    alpha: Array  # the trial
    low: Array  # long enough is more than this
    high: Array  # too long is this; inf: not known
    slope: Array  # phi'(0) < 0


def begin(alpha: Array, slope: Array) -> Search:
    """A search whose first trial is ``alpha``."""
    return Search(alpha, jnp.zeros_like(alpha), jnp.full_like(alpha, jnp.inf), slope)


def judge(
    search: Search, f: Array, f_new: Array, slope_new: Array, finite: Array, curvature: float
) -> tuple[Array, Search]:
    """Whether the trial is accepted, and the search with the next trial where it is not.

    Args:
        f, f_new: phi(0) and phi(alpha).
        slope_new: phi'(alpha).
        finite: whether everything evaluated at the trial is.
        curvature: c2, how much of the slope may be left: 0.9 for a loose search, 0.1 for a nearly exact one.
    """
    alpha, low, high, slope = search
    hidden = 10 * jnp.finfo(alpha.dtype).eps * jnp.maximum(jnp.abs(f), jnp.abs(f_new))
    by_slopes = (f_new <= f + hidden) & (slope_new <= (2 * DECREASE - 1) * slope)
    lower = finite & ((f_new <= f + DECREASE * alpha * slope) | by_slopes)
    steep = slope_new < curvature * slope
    high = jnp.where(lower, high, alpha)
    low = jnp.where(lower & steep, alpha, low)

    rise = f_new - f - alpha * slope  # > 0 where the trial is too long
    parabola = -0.5 * slope * alpha**2 / jnp.where(rise > 0, rise, 1.0)
    middle = 0.5 * (low + high)
    inner = jnp.where((low == 0) & finite & (rise > 0), jnp.clip(parabola, 0.1 * high, 0.5 * high), middle)
    return lower & ~steep, Search(jnp.where(jnp.isinf(high), WIDEN * alpha, inner), low, high, slope)
