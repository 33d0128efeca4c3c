"""Likelihoods where a loss is large and little of it is deviance: against exact arithmetic, and in single precision."""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxnewton import regression
from jaxnewton.regression.saddle import apart, beyond_stirling

CLOSE = [(1e6, 1e6 + 1), (1e6, 1.01e6), (3.0, 3.3), (0.3, 0.3 + 1e-12), (1.0, 1.22), (7.0, 8.6), (2.0, 2.0)]
FAR = [(0.0, 2.5), (1.0, 40.0), (40.0, 1.0), (1e-8, 3.0), (5e5, 1e6)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_apart(dtype):
    """Of numbers as that precision has them, by fifty digits."""
    x, m = np.array(CLOSE + FAR, dtype).T
    with decimal.localcontext(prec=50):
        pairs = [(decimal.Decimal(float(a)), decimal.Decimal(float(b))) for a, b in zip(x, m, strict=True)]
        want = [float((a * (a / b).ln() if a else 0) + b - a) for a, b in pairs]
    np.testing.assert_allclose(apart(jnp.asarray(x), jnp.asarray(m)), want, rtol=20 * np.finfo(dtype).eps)
    slopes = jax.vmap(jax.grad(apart, 1))(jnp.asarray(x), jnp.asarray(m))
    np.testing.assert_allclose(slopes, 1 - x.astype(float) / m, rtol=1e-4, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_beyond_stirling(dtype):
    """Loader's table, and the series' first term where it is all there is."""
    n = np.array([0.5, 1.0, 10.0, 14.5, 15.0, 1e5], dtype)
    want = [0.1534264097200273, 0.08106146679532726, 0.008330563433362871, 0.005746216513010115, 0.005554733551962801]
    atol = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(beyond_stirling(jnp.asarray(n)), [*want, 1 / 12e5], rtol=0, atol=atol)


def drawn(name, mean):
    """Observations, weights, the family, and SciPy's log-density of them at their means, in double precision."""
    rng = np.random.default_rng(0)
    t = rng.normal(size=(200, 1))
    mu = mean * np.exp(0.1 * t[:, 0])
    if name == "poisson":
        y = rng.poisson(mu)
        return t, y, np.ones(200), "poisson", lambda mu: stats.poisson.logpmf(y, mu)
    if name == "binomial":
        hits, trials = rng.binomial(int(mean), 1 / (1 + np.exp(-0.3 * t[:, 0]))), np.full(200, mean)
        return t, hits / trials, trials, "binomial", lambda mu: stats.binom.logpmf(hits, trials, mu)
    alpha = float(name)
    y = rng.negative_binomial(1 / alpha, 1 / (1 + alpha * mu))
    family = regression.NegativeBinomial(alpha)
    return t, y, np.ones(200), family, lambda mu: stats.nbinom.logpmf(y, 1 / alpha, 1 / (1 + alpha * mu))


@pytest.mark.parametrize("mean", [20.0, 1e6])
@pytest.mark.parametrize("name", ["poisson", "binomial", "0.5", "0.001"])
def test_single_precision(name, mean):
    """Of a million counts a row it has as many digits as the means have of their own rounding."""
    t, y, weights, family, density = drawn(name, mean)
    double, single = (
        regression.glm(
            *(jnp.asarray(part, dtype) for part in (t, y)), family=family, weights=jnp.asarray(weights, dtype)
        )
        for dtype in ("float64", "float32")
    )
    assert double.success
    assert single.success
    assert single.loglik.dtype == np.float32
    np.testing.assert_allclose(double.loglik, np.sum(density(np.asarray(double.predict(t)))), rtol=1e-8)
    np.testing.assert_allclose(single.loglik, double.loglik, rtol=2e-4)
    np.testing.assert_allclose(single.deviance, double.deviance, rtol=1e-3)


def test_a_dispersion_near_0():
    """Gamma's, from observations within 0.03 % of their means, in single precision."""
    rng = np.random.default_rng(0)
    t = rng.normal(size=(200, 1))
    y = rng.gamma(1e7, np.exp(1 + 0.1 * t[:, 0]) / 1e7)
    double, single = (
        regression.glm(*(jnp.asarray(part, dtype) for part in (t, y)), family="gamma", link="log")
        for dtype in ("float64", "float32")
    )
    shape = 1 / float(double.dispersion)
    want = np.sum(stats.gamma.logpdf(y, shape, scale=np.asarray(double.predict(t)) / shape))
    np.testing.assert_allclose(double.loglik, want, rtol=1e-8)
    np.testing.assert_allclose(single.loglik, want, rtol=1e-3)
    np.testing.assert_allclose(single.deviance, double.deviance, rtol=1e-3)
