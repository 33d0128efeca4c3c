"""Likelihoods less those of their data, without cancellation (Loader 2000, "Fast and accurate computation of binomial
probabilities", the saddle-point expansion that R's dbinom and dpois use)."""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.special import gammaln

from jaxnewton.regression.links import HALF_LOG_TWO_PI
from jaxnewton.types import Array

TERMS = 8  # of a series in 0.1**2
FROM = 15.0  # where Stirling's series is as precise as float64
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


def apart(x: Array, m: Array, log_m: Array) -> Array:
    """x log(x / m) + m - x, at least 0, of x >= 0 and m > 0; precise where they are close, and where m underflows.

    At x = 0 its derivative by x leaves out that of x log(x), which is infinite.
    """
    total = jnp.where(x + m > 0, x + m, 1.0)
    v = (x - m) / total
    near = jnp.abs(v) < 0.1
    small = jnp.where(near, v, 0.0)
    square, series = small * small, jnp.zeros_like(small)
    for k in reversed(range(1, TERMS + 1)):
        series = (series + 1 / (2 * k + 1)) * square
    far = x * (jnp.log(jnp.where(x > 0, x, 1.0)) - log_m) + m - x
    return jnp.where(near & ~jnp.isnan(log_m), (x - m) * small + 2 * x * small * series, far)


def beyond_stirling(n: Array) -> Array:
    """log(gamma(n + 1)) less Stirling's (n + 1/2) log(n) - n + log(2 pi) / 2, of n > 0."""
    small = jnp.where(n < FROM, n, 1.0)
    direct = gammaln(small + 1) - (small + 0.5) * jnp.log(small) + small - HALF_LOG_TWO_PI
    inverse = 1 / jnp.where(n < FROM, FROM, n)
    square, series = inverse * inverse, jnp.zeros_like(n)
    for coefficient in reversed(STIRLING):
        series = series * square + coefficient
    return jnp.where(n < FROM, direct, series * inverse)
