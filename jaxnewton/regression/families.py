"""Families of distributions of y given its mean (McCullagh & Nelder 1989, table 2.1)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import digamma

from jaxnewton import linalg
from jaxnewton.regression.links import LINKS, Link, Mean, log_one_plus
from jaxnewton.regression.saddle import apart, beyond_stirling
from jaxnewton.types import Array

LOG_TWO_PI = float(np.log(2 * np.pi))


class Term(NamedTuple):
    """What one row adds, for a weight of 1 and a dispersion of 1. All of the shape of eta."""

    loss: Array  # -log-likelihood, but for what only y is in
    score: Array  # -d loss / d eta
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

    def cancels(self, y: Array) -> Array:
        """Which rows' loss is not 0 where the mean is y, so that little of it may be deviance."""
        ...

    def excess(self, link: Link, y: Array, eta: Array) -> Array:
        """Half of each row's deviance: its loss less the least that y can have, precise where that is small."""
        ...

    def mean(self, link: Link, eta: Array) -> Array: ...

    def variance(self, mu: Array) -> Array: ...

    def loglik(self, y: Array, weights: Array, half: Array, dispersion: Array, rows: Array) -> Array:
        """The log-likelihood of all rows (the last axis), constants included; ``half``: of their deviance, weighted."""
        ...


class _OfMean:
    """A family whose deviance is a function of y and the mean."""

    def term(self, link: Link, y: Array, eta: Array) -> Term:
        mean = _mean(link, eta)
        variance = self.variance(mean.mu)
        slope = mean.slope / variance
        return Term(self._loss(y, mean), (y - mean.mu) * slope, mean.slope * slope)

    def mean(self, link: Link, eta: Array) -> Array:
        return _mean(link, eta).mu

    def variance(self, mu: Array) -> Array:
        raise NotImplementedError

    def cancels(self, y: Array) -> Array:
        return jnp.zeros(y.shape, bool)

    def excess(self, link: Link, y: Array, eta: Array) -> Array:
        return self._excess(y, _mean(link, eta))

    def _loss(self, y: Array, mean: Mean) -> Array:
        raise NotImplementedError

    def _excess(self, y: Array, mean: Mean) -> Array:
        return self._loss(y, mean)


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

    def _loss(self, y: Array, mean: Mean) -> Array:
        return 0.5 * (y - mean.mu) ** 2

    def loglik(self, y: Array, weights: Array, half: Array, dispersion: Array, rows: Array) -> Array:
        """At the variance that maximises it, sum of squares / rows."""
        logs = jnp.sum(jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1.0)), 0.0), axis=-1)
        return -0.5 * rows * (jnp.log(2 * half / rows) + LOG_TWO_PI + 1) + 0.5 * logs


@dataclasses.dataclass(frozen=True)
class Binomial:
    """y is 0 or 1, or the share of successes in ``weights`` trials."""

    name: ClassVar[str] = "binomial"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit", "cloglog", "log", "identity")
    dispersed: ClassVar[bool] = False

    def wrong(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        return (y < 0) | (y > 1), "0 or 1, or a share between them"

    def term(self, link: Link, y: Array, eta: Array) -> Term:
        assert link.odds is not None
        if link.name == "logit":  # whose exponential is the only one it takes
            e = jnp.exp(-jnp.abs(eta))
            more = 1 / (1 + e)
            less = e * more
            loss = jnp.maximum(eta, 0.0) - y * eta + log_one_plus(e)
            return Term(loss, jnp.where(eta >= 0, (y - 1) + less, y - less), more * less)  # exact of a row that is told
        odds = link.odds(eta)
        # 0 times -inf is 0: a row that is 0 has no interest in log(mu)
        own = jnp.where(y > 0, y * odds.log, 0.0) + jnp.where(y < 1, (1 - y) * odds.log_other, 0.0)
        score = jnp.where(y > 0, y * odds.rate, 0.0) - jnp.where(y < 1, (1 - y) * odds.rate_other, 0.0)
        return Term(-own, score, odds.rate * odds.rate_other)

    def cancels(self, y: Array) -> Array:
        return (y > 0) & (y < 1)

    def excess(self, link: Link, y: Array, eta: Array) -> Array:
        assert link.odds is not None
        odds = link.odds(eta)
        shared = self.cancels(y)
        share = jnp.where(shared, y, 0.5)
        half = apart(share, jnp.exp(odds.log), odds.log)
        half = half + apart(1 - share, jnp.exp(odds.log_other), odds.log_other)
        return jnp.where(shared, half, self.term(link, y, eta).loss)

    def mean(self, link: Link, eta: Array) -> Array:
        assert link.odds is not None
        return jnp.exp(link.odds(eta).log)

    def variance(self, mu: Array) -> Array:
        return mu * (1 - mu)

    def loglik(self, y: Array, weights: Array, half: Array, dispersion: Array, rows: Array) -> Array:
        """With the binomial coefficient of a share's trials, by gamma functions where these are not whole."""
        shared = self.cancels(y) & (weights > 0)  # trials that all end alike do so in one way

        def guarded() -> Array:
            trials, share = jnp.where(shared, weights, 1.0), jnp.where(shared, y, 0.5)
            hits, misses = trials * share, trials * (1 - share)
            rest = beyond_stirling(trials) - beyond_stirling(hits) - beyond_stirling(misses)
            return jnp.where(shared, rest + 0.5 * (jnp.log(trials / hits / misses) - LOG_TWO_PI), 0.0)

        zeros = jnp.zeros(shared.shape, y.dtype)
        return jnp.sum(lax.cond(linalg.anywhere(shared), guarded, lambda: zeros), axis=-1) - half


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
        return Term(mu - y * eta, y - mu, mu)

    def _loss(self, y: Array, mean: Mean) -> Array:
        return mean.mu - y * mean.log

    def cancels(self, y: Array) -> Array:
        return jnp.ones(y.shape, bool)

    def _excess(self, y: Array, mean: Mean) -> Array:
        return apart(y, mean.mu, mean.log)

    def loglik(self, y: Array, weights: Array, half: Array, dispersion: Array, rows: Array) -> Array:
        some = jnp.where(y > 0, y, 1.0)
        each = -beyond_stirling(some) - 0.5 * (LOG_TWO_PI + jnp.log(some))
        each = jnp.where(y > 0, each, (np.euler_gamma - 1) * y)  # 0, with the slope that ``apart`` leaves for it
        return jnp.sum(weights * each, axis=-1) - half


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

    def _loss(self, y: Array, mean: Mean) -> Array:
        return y / mean.mu + mean.log

    def cancels(self, y: Array) -> Array:
        return jnp.ones(y.shape, bool)

    def _excess(self, y: Array, mean: Mean) -> Array:
        return apart(jnp.ones_like(y), y / mean.mu, jnp.log(y) - mean.log)

    def loglik(self, y: Array, weights: Array, half: Array, dispersion: Array, rows: Array) -> Array:
        shape = jnp.where(weights > 0, weights / dispersion[..., None], 1.0)
        each = 0.5 * (jnp.log(shape) - LOG_TWO_PI) - beyond_stirling(shape) - jnp.log(y)
        return jnp.sum(jnp.where(weights > 0, each, 0.0), axis=-1) - half / dispersion


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

    def _loss(self, y: Array, mean: Mean) -> Array:
        positive = jnp.where(jnp.isnan(mean.log), jnp.nan, mean.mu)
        return 0.5 * (y / positive - 1) ** 2 / y

    def loglik(self, y: Array, weights: Array, half: Array, dispersion: Array, rows: Array) -> Array:
        precision = jnp.where(weights > 0, weights / dispersion[..., None], 1.0)
        each = -0.5 * (LOG_TWO_PI + 3 * jnp.log(y) - jnp.log(precision))
        return jnp.sum(jnp.where(weights > 0, each, 0.0), axis=-1) - half / dispersion


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

    def _loss(self, y: Array, mean: Mean) -> Array:
        return (y + 1 / self.dispersion) * jnp.log1p(self.dispersion * mean.mu) - y * mean.log

    def cancels(self, y: Array) -> Array:
        return jnp.ones(y.shape, bool)

    def _excess(self, y: Array, mean: Mean) -> Array:
        """Of two forms, which are one, that which loses less: at a dispersion near Poisson's, and at a large one."""
        mu, size = mean.mu, 1 / self.dispersion
        near = apart(y, mu, mean.log) - apart(y + size, mu + size, jnp.log(mu + size))
        some, large = jnp.where(y > 0, y, 1.0), jnp.where(mu < size, size, mu)
        above, below = jnp.maximum(some - large, 0.0), jnp.maximum(large - some, 0.0)
        odds = jnp.log1p(size * above / (some + size) / large) - jnp.log1p(size * below / (large + size) / some)
        odds = y * jnp.where(y > 0, odds, jnp.log1p(large / size) - mean.log)
        above, below = jnp.maximum(y - large, 0.0), jnp.maximum(large - y, 0.0)
        rest = jnp.log1p(above / (large + size)) - jnp.log1p(below / (y + size))
        return jnp.where((mu < size) | jnp.isnan(mean.log), near, odds - size * rest)

    def loglik(self, y: Array, weights: Array, half: Array, dispersion: Array, rows: Array) -> Array:
        size = jnp.asarray(1 / self.dispersion, y.dtype)
        some = jnp.where(y > 0, y, 1.0)
        rest = beyond_stirling(some + size) - beyond_stirling(size) - beyond_stirling(some)
        each = rest - 0.5 * (LOG_TWO_PI + jnp.log(some) + jnp.log1p(some / size))
        slope = digamma(size) - jnp.log(size) + np.euler_gamma - 1
        return jnp.sum(weights * jnp.where(y > 0, each, slope * y), axis=-1) - half  # as Poisson's


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
