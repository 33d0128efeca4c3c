"""Student's distribution, with as many degrees of freedom as every fit has."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import betainc

from jaxnewton.types import Array


@jax.jit
def t_tail(t: Array, df: Array) -> Array:
    """P(|T| > |t|) of Student's distribution (Abramowitz & Stegun 1964, equation 26.7.1); nan without freedom."""
    valid = (df > 0) & ~jnp.isnan(t)
    safe, t = jnp.where(valid, df, 1.0), jnp.where(valid, t, 0.0)
    return jnp.where(valid, betainc(0.5 * safe, jnp.full_like(safe, 0.5), 1 / (1 + t * t / safe)), jnp.nan)


@jax.jit
def t_quantile(tail: Array, df: Array) -> Array:
    """The t that is exceeded in size with probability ``tail``, by bisection; nan without freedom."""
    some = jnp.where(df > 0, df, 1.0)

    def narrow(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        beyond = t_tail(middle / (1 - middle), some) > tail
        return jnp.where(beyond, middle, low), jnp.where(beyond, high, middle)

    low, high = lax.fori_loop(0, 64, narrow, (jnp.zeros_like(df), jnp.ones_like(df)))
    middle = 0.5 * (low + high)
    return jnp.where(df > 0, middle / (1 - middle), jnp.nan)
