"""Links: the mean of a row as a function of its linear predictor eta (McCullagh & Nelder 1989, section 2.2.4)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton.types import Array

HALF_LOG_TWO_PI = 0.5 * float(np.log(2 * np.pi))

TERMS = {"float32": 5, "float64": 11}  # of the series of artanh up to 1/5


class Mean(NamedTuple):
    """A mean mu(eta) that may be any number, or any positive one; nan or not positive outside the link's domain."""

    mu: Array
    log: Array  # log(mu), for families of positive means
    slope: Array  # d mu / d eta


class Odds(NamedTuple):
    """A probability mu(eta), by what stays exact where it is near 0 or 1."""

    log: Array  # log(mu)
    log_other: Array  # log(1 - mu)
    rate: Array  # d log(mu) / d eta
    rate_other: Array  # -d log(1 - mu) / d eta


@dataclasses.dataclass(frozen=True)
class Link:
    """``forward(mu) = eta``; ``mean`` and ``odds``, where the link serves such families, its inverse."""

    name: str
    forward: Callable[[Array], Array]
    mean: Callable[[Array], Mean] | None = None
    odds: Callable[[Array], Odds] | None = None
    everywhere: bool = False  # whether every eta has a mean

    def __reduce__(self) -> tuple[Any, ...]:  # functions like these cannot be pickled
        return link_of, (self.name,)


def log_one_plus(e: Array) -> Array:
    """log(1 + e) of 0 <= e <= 1, float32 or float64, to 2 ulp throughout: by 2 artanh(e / (2 + e)), from 1/2 on by that
    of (e - 1) / (e + 3) beside log(2).

    XLA's own ``log1p`` takes 8 times as long on a CPU. And a longer series is slow in a pool: what has 17 terms XLA
    hands out to threads, of which each device there already has its own.
    """
    upper = e >= 0.5
    part = jnp.where(upper, e - 1, e) / jnp.where(upper, e + 3, e + 2)
    square, series = part * part, jnp.zeros_like(e)
    for k in reversed(range(1, TERMS[e.dtype.name])):
        series = series * square + 2 / (2 * k + 1)
    return jnp.where(upper, math.log(2), 0.0) + (2 * part + part * (series * square))


def _exponential(eta: Array) -> Mean:
    mu = jnp.exp(eta)
    return Mean(mu, eta, mu)


def _logistic(eta: Array) -> Odds:
    e = jnp.exp(-jnp.abs(eta))
    less, more = e / (1 + e), 1 / (1 + e)
    log_more = -log_one_plus(e)
    log_less = log_more - jnp.abs(eta)
    positive = eta >= 0
    return Odds(
        jnp.where(positive, log_more, log_less),
        jnp.where(positive, log_less, log_more),
        jnp.where(positive, less, more),
        jnp.where(positive, more, less),
    )


def _normal(eta: Array) -> Odds:
    log, log_other = jax.scipy.special.log_ndtr(eta), jax.scipy.special.log_ndtr(-eta)
    density = -0.5 * eta * eta - HALF_LOG_TWO_PI
    return Odds(log, log_other, jnp.exp(density - log), jnp.exp(density - log_other))


def _gumbel(eta: Array) -> Odds:
    e = jnp.exp(eta)
    # log(1 - exp(-e)) and e / (exp(e) - 1); where e underflows they are eta and 1
    tiny = e < jnp.finfo(eta.dtype).tiny
    safe = jnp.where(tiny, 1.0, e)
    log = jnp.where(tiny, eta, jnp.log(-jnp.expm1(-safe)))
    return Odds(log, -e, jnp.where(tiny, 1.0, safe / jnp.expm1(safe)), e)


def _log_odds(eta: Array) -> Odds:
    other = -jnp.expm1(eta)  # 1 - mu; not positive outside the domain, which makes log nan
    return Odds(eta, _log(other), jnp.ones_like(eta), jnp.exp(eta) / other)


def _identity_odds(eta: Array) -> Odds:
    return Odds(_log(eta), _log(1 - eta), 1 / eta, 1 / (1 - eta))


def _log(mu: Array) -> Array:
    """nan, not -inf, where there is no mean."""
    return jnp.where(mu > 0, jnp.log(jnp.where(mu > 0, mu, 1.0)), jnp.nan)


def _reciprocal(eta: Array) -> Mean:
    return Mean(1 / eta, -_log(eta), -1 / (eta * eta))


def _reciprocal_root(eta: Array) -> Mean:
    log = -0.5 * _log(eta)
    mu = jnp.exp(log)
    return Mean(mu, log, -0.5 * mu / eta)


def _logit(mu: Array) -> Array:
    return jnp.log(mu) - jnp.log1p(-mu)


def _cloglog(mu: Array) -> Array:
    return jnp.log(-jnp.log1p(-mu))


def link_of(name: str) -> Link:
    """The link of that name."""
    return LINKS[name]


LINKS = {
    link.name: link
    for link in (
        Link(
            "identity", lambda mu: mu,
            mean=lambda eta: Mean(eta, _log(eta), jnp.ones_like(eta)), odds=_identity_odds,
        ),
        Link("log", jnp.log, mean=_exponential, odds=_log_odds, everywhere=True),
        Link("logit", _logit, odds=_logistic, everywhere=True),
        Link("probit", jax.scipy.special.ndtri, odds=_normal, everywhere=True),
        Link("cloglog", _cloglog, odds=_gumbel, everywhere=True),
        Link("inverse", jnp.reciprocal, mean=_reciprocal),
        Link("inverse-squared", lambda mu: 1 / (mu * mu), mean=_reciprocal_root),
    )
}  # fmt: skip
