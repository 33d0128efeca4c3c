"""Likelihoods where a loss is large and little of it is deviance: against exact arithmetic, and in single precision."""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxnewton import regression
from jaxnewton.regression.saddle import apart, beyond_stirling

CLOSE = [(1e6, 1e6 + 1), (1e6, 1.01e6), (3.0, 3.3), (0.3, 0.3 + 1e-12), (1.0, 1.22), (7.0, 8.5), (2.0, 2.0)]
FAR = [(7.0, 8.6), (0.0, 2.5), (1.0, 40.0), (40.0, 1.0), (1e-8, 3.0), (5e5, 1e6)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_apart(dtype):
    """Of numbers as that precision has them, by fifty digits."""
    x, m = np.array(CLOSE + FAR, dtype).T
    with decimal.localcontext(prec=50):
        pairs = [(decimal.Decimal(float(a)), decimal.Decimal(float(b))) for a, b in zip(x, m, strict=True)]
        want = [float((a * (a / b).ln() if a else 0) + b - a) for a, b in pairs]
    x, m = jnp.asarray(x), jnp.asarray(m)
    got = apart(x, m, jnp.log(m))
    slopes = jax.vmap(jax.grad(lambda m, x: apart(x, m, jnp.log(m))))(m, x)
    got, x, m = (np.asarray(part, float) for part in (got, x, m))
    logs = np.abs(np.log(np.where(x > 0, x, 1))) + np.abs(np.log(m))
    far = np.arange(len(x)) >= len(CLOSE)  # there the logarithms' own rounding counts
    assert np.all(np.abs(got - np.array(want)) <= np.finfo(dtype).eps * (20 * np.array(want) + 2 * far * x * logs))
    np.testing.assert_allclose(slopes, 1 - x / m, rtol=1e-4, atol=20 * np.finfo(dtype).eps)


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


SIZES = {"poisson": "poisson", "0.5": regression.NegativeBinomial(0.5), "100": regression.NegativeBinomial(100.0)}


@pytest.mark.parametrize("name", SIZES)
def test_derivatives_by_counts_of_0(name):
    """Of the log-likelihood, of which y log(y) is no part; from one side, since counts have no other."""
    X, y, h = jnp.arange(6.0)[:, None], np.array([0.0, 1.0, 0.0, 2.0, 3.0, 4.0]), 1e-5

    def loglik(y):
        return regression.glm(X, y, family=SIZES[name], tol=1e-12).loglik

    slopes = jax.grad(loglik)(jnp.asarray(y))
    for i in (0, 2):
        step = h * np.eye(6)[i]
        values = [float(loglik(jnp.asarray(y + k * step))) for k in range(3)]
        np.testing.assert_allclose(
            slopes[i], (4 * values[1] - 3 * values[0] - values[2]) / (2 * h), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_that_underflow(dtype):
    """Deviance, log-likelihood and their derivatives stay finite where exp(eta) is 0."""
    eta, most = (np.array([-110.0, 0.1, 0.3]), 250) if dtype == "float32" else (np.array([-800.0, 0.1, 0.3]), 1700)
    X, offset = jnp.asarray([[0.0], [1.0], [2.0]], dtype), jnp.asarray(eta, dtype)

    def figures(y, family):
        fit = regression.glm(X, y, family=family, offset=offset, intercept=False)
        return jnp.stack([fit.deviance, fit.loglik])

    for y, family in (([0.0, 1.0, 2.0], "poisson"), ([1.0, 1.0, 2.0], "poisson"), ([0.2, 0.4, 0.6], "binomial")):
        values, slopes = figures(jnp.asarray(y, dtype), family), jax.jacrev(figures)(jnp.asarray(y, dtype), family)
        assert np.isfinite(values).all()
        assert 0 < values[0] < most
        assert np.isfinite(slopes).all()


def test_a_large_dispersion():
    """Counts far below their means, in single precision."""
    y, X = np.array([0.0, 3e6, 0.0, 1e6, 2e6, 0.0]), np.linspace(-1, 1, 6)[:, None]
    for alpha in (3.0, 100.0):
        double, single = (
            regression.glm(*(jnp.asarray(part, dtype) for part in (X, y)), family=regression.NegativeBinomial(alpha))
            for dtype in ("float64", "float32")
        )
        np.testing.assert_allclose(single.deviance, double.deviance, rtol=2e-5)
        mu = np.asarray(double.predict(X))
        logs = stats.nbinom.logpmf(y, 1 / alpha, 1 / (1 + alpha * mu))
        np.testing.assert_allclose(double.loglik, np.sum(logs), rtol=1e-9)
