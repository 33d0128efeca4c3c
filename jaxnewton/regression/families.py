"""Families of distributions of y given its mean (McCullagh & Nelder 1989, table 2.1)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlog1py, xlogy

from jaxnewton.regression.links import LINKS, Link, Mean
from jaxnewton.types import Array

LOG_TWO_PI = float(np.log(2 * np.pi))


class Term(NamedTuple):
    """What one row adds, for a weight of 1 and a dispersion of 1. All of the shape of eta."""

    half_deviance: Array  # half the unit deviance: 0 where the mean is y
    score: Array  # -d half_deviance / d eta
    information: Array  # Fisher's: the mean of -d score / d eta; at least 0


class Family(Protocol):
    """Frozen and hashable."""

    name: ClassVar[str]
    links: ClassVar[tuple[str, ...]]  # the canonical one first, unless said otherwise
    dispersed: ClassVar[bool]  # whether a dispersion is estimated

    def wrong(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        """Which entries of y it cannot have, and what it must have."""
        ...

    def term(self, link: Link, y: Array, eta: Array) -> Term: ...

    def mean(self, link: Link, eta: Array) -> Array: ...

    def variance(self, mu: Array) -> Array: ...

    def loglik(self, link: Link, y: Array, eta: Array, weights: Array, dispersion: Array, rows: Array) -> Array:
        """The log-likelihood of all rows (the last axis), constants included."""
        ...


class _OfMean:
    """A family whose deviance is a function of y and the mean."""

    def term(self, link: Link, y: Array, eta: Array) -> Term:
        mean = _mean(link, eta)
        variance = self.variance(mean.mu)
        slope = mean.slope / variance
        return Term(self._half_deviance(y, mean), (y - mean.mu) * slope, mean.slope * slope)

    def mean(self, link: Link, eta: Array) -> Array:
        return _mean(link, eta).mu

    def variance(self, mu: Array) -> Array:
        raise NotImplementedError

    def _half_deviance(self, y: Array, mean: Mean) -> Array:
        raise NotImplementedError


def _mean(link: Link, eta: Array) -> Mean:
    assert link.mean is not None
    return link.mean(eta)


def _nothing(y: np.ndarray) -> tuple[np.ndarray, str]:
    return np.zeros(y.shape, bool), ""


@dataclasses.dataclass(frozen=True)
class Gaussian(_OfMean):
    """Any real y, of constant variance."""

    name: ClassVar[str] = "gaussian"
    links: ClassVar[tuple[str, ...]] = ("identity", "log", "inverse")
    dispersed: ClassVar[bool] = True

    def wrong(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        return _nothing(y)

    def variance(self, mu: Array) -> Array:
        return jnp.ones_like(mu)

    def _half_deviance(self, y: Array, mean: Mean) -> Array:
        return 0.5 * (y - mean.mu) ** 2

    def loglik(self, link: Link, y: Array, eta: Array, weights: Array, dispersion: Array, rows: Array) -> Array:
        """At the variance that maximises it, sum of squares / rows."""
        squares = jnp.sum(weights * (y - _mean(link, eta).mu) ** 2, axis=-1)
        logs = jnp.sum(jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1.0)), 0.0), axis=-1)
        return -0.5 * rows * (jnp.log(squares / rows) + LOG_TWO_PI + 1) + 0.5 * logs


@dataclasses.dataclass(frozen=True)
class Binomial:
    """y is 0 or 1, or the share of successes in ``weights`` trials; the binomial coefficient is left out of loglik."""

    name: ClassVar[str] = "binomial"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit", "cloglog", "log", "identity")
    dispersed: ClassVar[bool] = False

    def wrong(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        return (y < 0) | (y > 1), "0 or 1, or a share between them"

    def term(self, link: Link, y: Array, eta: Array) -> Term:
        assert link.odds is not None
        odds = link.odds(eta)
        saturated = xlogy(y, y) + xlog1py(1 - y, -y)
        # 0 times -inf is 0: a row that is 0 has no interest in log(mu)
        own = jnp.where(y > 0, y * odds.log, 0.0) + jnp.where(y < 1, (1 - y) * odds.log_other, 0.0)
        score = jnp.where(y > 0, y * odds.rate, 0.0) - jnp.where(y < 1, (1 - y) * odds.rate_other, 0.0)
        return Term(saturated - own, score, odds.rate * odds.rate_other)

    def mean(self, link: Link, eta: Array) -> Array:
        assert link.odds is not None
        return jnp.exp(link.odds(eta).log)

    def variance(self, mu: Array) -> Array:
        return mu * (1 - mu)

    def loglik(self, link: Link, y: Array, eta: Array, weights: Array, dispersion: Array, rows: Array) -> Array:
        saturated = xlogy(y, y) + xlog1py(1 - y, -y)
        return jnp.sum(weights * (saturated - self.term(link, y, eta).half_deviance), axis=-1)


@dataclasses.dataclass(frozen=True)
class Poisson(_OfMean):
    """Counts."""

    name: ClassVar[str] = "poisson"
    links: ClassVar[tuple[str, ...]] = ("log", "identity")
    dispersed: ClassVar[bool] = False

    def wrong(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        return y < 0, "at least 0"

    def variance(self, mu: Array) -> Array:
        return mu

    def term(self, link: Link, y: Array, eta: Array) -> Term:
        if link.name != "log":
            return super().term(link, y, eta)
        mu = jnp.exp(eta)  # its slope over its variance is 1, also where mu is 0
        return Term(mu - y - y * eta + xlogy(y, y), y - mu, mu)

    def _half_deviance(self, y: Array, mean: Mean) -> Array:
        return mean.mu - y + xlogy(y, y) - y * mean.log

    def loglik(self, link: Link, y: Array, eta: Array, weights: Array, dispersion: Array, rows: Array) -> Array:
        mean = _mean(link, eta)
        return jnp.sum(weights * (y * mean.log - mean.mu - gammaln(y + 1)), axis=-1)


@dataclasses.dataclass(frozen=True)
class Gamma(_OfMean):
    """Positive y, of constant coefficient of variation."""

    name: ClassVar[str] = "gamma"
    links: ClassVar[tuple[str, ...]] = ("inverse", "log", "identity")
    dispersed: ClassVar[bool] = True

    def wrong(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        return y <= 0, "positive"

    def variance(self, mu: Array) -> Array:
        return mu * mu

    def _half_deviance(self, y: Array, mean: Mean) -> Array:
        return (y - mean.mu) / mean.mu - jnp.log(y) + mean.log

    def loglik(self, link: Link, y: Array, eta: Array, weights: Array, dispersion: Array, rows: Array) -> Array:
        mean = _mean(link, eta)
        shape = weights / dispersion[..., None]
        shape = jnp.where(weights > 0, shape, 1.0)
        each = shape * (jnp.log(shape * y) - mean.log - y / mean.mu) - jnp.log(y) - gammaln(shape)
        return jnp.sum(jnp.where(weights > 0, each, 0.0), axis=-1)


@dataclasses.dataclass(frozen=True)
class InverseGaussian(_OfMean):
    """Positive y, with a variance of mu**3."""

    name: ClassVar[str] = "inverse-gaussian"
    links: ClassVar[tuple[str, ...]] = ("inverse-squared", "inverse", "log", "identity")
    dispersed: ClassVar[bool] = True

    def wrong(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        return y <= 0, "positive"

    def variance(self, mu: Array) -> Array:
        return mu**3

    def _half_deviance(self, y: Array, mean: Mean) -> Array:
        positive = jnp.where(jnp.isnan(mean.log), jnp.nan, mean.mu)
        return 0.5 * (y / positive - 1) ** 2 / y

    def loglik(self, link: Link, y: Array, eta: Array, weights: Array, dispersion: Array, rows: Array) -> Array:
        precision = jnp.where(weights > 0, weights / dispersion[..., None], 1.0)
        deviance = 2 * precision * self._half_deviance(y, _mean(link, eta))
        each = -0.5 * (deviance + LOG_TWO_PI + 3 * jnp.log(y) - jnp.log(precision))
        return jnp.sum(jnp.where(weights > 0, each, 0.0), axis=-1)


@dataclasses.dataclass(frozen=True)
class NegativeBinomial(_OfMean):
    """Counts with a variance of mu + dispersion mu**2 (Hilbe 2011, NB2); the default link is log.

    Args:
        dispersion: positive, known. At 0 the family would be Poisson's.
    """

    dispersion: float = 1.0
    name: ClassVar[str] = "negative-binomial"
    links: ClassVar[tuple[str, ...]] = ("log", "identity")
    dispersed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        given = self.dispersion
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < float("inf"):
            raise ValueError(f"dispersion must be a positive finite number; it is {given!r}")

    def wrong(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        return y < 0, "at least 0"

    def variance(self, mu: Array) -> Array:
        return mu + self.dispersion * mu * mu

    def _half_deviance(self, y: Array, mean: Mean) -> Array:
        a = self.dispersion
        ratio = jnp.log1p(a * y) - jnp.log1p(a * mean.mu)
        return xlogy(y, y) - y * mean.log - (y + 1 / a) * ratio

    def loglik(self, link: Link, y: Array, eta: Array, weights: Array, dispersion: Array, rows: Array) -> Array:
        a, mean = self.dispersion, _mean(link, eta)
        size = jnp.asarray(1 / a, y.dtype)
        counts = gammaln(y + size) - gammaln(size) - gammaln(y + 1)
        odds = y * (jnp.log(jnp.asarray(a, y.dtype)) + mean.log) - (y + size) * jnp.log1p(a * mean.mu)
        return jnp.sum(weights * (counts + odds), axis=-1)


FAMILIES: dict[str, Family] = {
    family.name: family for family in (Gaussian(), Binomial(), Poisson(), Gamma(), InverseGaussian())
}


def family_and_link(family: str | Family, link: str | None) -> tuple[Family, Link]:
    """Checked: the family by its name or as it is, and its link by name; None: its first.

    Raises:
        ValueError: either is not known, or the link does not serve the family.
    """
    if isinstance(family, str):
        if family not in FAMILIES:
            names = ", ".join(f'"{name}"' for name in FAMILIES)
            raise ValueError(f"family must be {names} or jn.regression.NegativeBinomial(dispersion); it is {family!r}")
        family = FAMILIES[family]
    elif not all(hasattr(family, name) for name in ("links", "term", "loglik")) or isinstance(family, type):
        raise ValueError(f"family must be a family's name or instance; it is {family!r}")
    if link is None:
        return family, LINKS[family.links[0]]
    if link not in family.links:
        names = ", ".join(f'"{name}"' for name in family.links)
        raise ValueError(f"link must be {names} for the family {family.name}; it is {link!r}")
    return family, LINKS[link]
