"""Regression models against certified figures, SciPy's distributions, single fits and their own derivatives.

Compiling dominates: the fits here share one shape, and give every optional argument, so that they share programs.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from glm_reference import ANES96_COLUMNS, ANES96_LOGLIK, ANES96_PARAMS, ANES96_STDERR, BINARY
from nist import LINEAR, NONLINEAR
from scipy import special, stats

from jaxnewton import Bounds, Status, linalg, regression
from jaxnewton.regression import likelihood, links
from jaxnewton.regression.families import family_and_link
from jaxnewton.types import Needs

M, P = 40, 2
ONES, ZEROS = np.ones(M), np.zeros(M)
GOOD = (Status.CONVERGED, Status.NOISE_FLOOR)


def digits(got, certified):
    """The smallest -log10 of the relative errors; absolute ones where the certified figure is 0."""
    got, certified = np.asarray(got), np.asarray(certified)
    errors = np.abs(got - certified) / np.where(certified == 0, 1, np.abs(certified))
    return -np.log10(np.maximum(errors, 1e-17)).min()


def joint(fit):
    """All coefficients of a fit and their standard errors, the intercept first."""
    if fit.intercept is None:
        return np.asarray(fit.params), np.asarray(fit.stderr)
    pairs = (fit.intercept, fit.params), (fit.intercept_stderr, fit.stderr)
    return [np.concatenate([np.asarray(a)[None], b]) for a, b in pairs]


def slopes(f, x, h=1e-5):
    """Central differences."""
    return np.array([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(len(x))])


# NIST


@pytest.mark.parametrize(
    ("method", "least"), [("qr", {"Longley": 9, "Wampler4": 9}), ("svd", {"Wampler1": 9, "Wampler4": 9})]
)
@pytest.mark.parametrize("data", LINEAR, ids=str)
def test_nist_linear(data, method, least):
    if method == "svd" and data.name not in least:
        pytest.skip("one shape is enough for the singular values")
    fit = regression.linear(data.X, data.y, intercept=data.intercept, method=method)
    params, stderr = joint(fit)
    assert fit.status == Status.CONVERGED
    assert digits(params, data.params) >= least.get(data.name, 12)
    assert digits(stderr, data.stderr) >= least.get(data.name, 12)
    assert digits(fit.deviance, data.rss) >= least.get(data.name, 12)
    assert (fit.rows, fit.rank, fit.df_residual) == (len(data.y), len(params), len(data.y) - len(params))


ROWS, UNKNOWNS = max(len(data.y) for data in NONLINEAR), max(len(data.params) for data in NONLINEAR)


def padded(data):
    """A set's model with as many rows and parameters as the largest: further parameters are further rows' means."""
    m, n = len(data.y), len(data.params)

    def model(x, p):
        none = jnp.zeros(ROWS - m, p.dtype), jnp.zeros(n, p.dtype)
        return jnp.concatenate([data.model(x[:m] if data.x.ndim == 2 else x[:m, 0], p[:n]), none[0], p[n:], none[1]])

    return model


MODELS = [padded(data) for data in NONLINEAR]


def any_model(x, p):
    return jax.lax.switch(x["which"], MODELS, x["x"], p)


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("data", NONLINEAR, ids=str)
def test_nist_nonlinear(data, start):
    """All of them by one program, with rows of no weight and, for parameters they do not have, rows of their own."""
    m, n = len(data.y), len(data.params)
    x, y, weights = np.zeros((ROWS, 2)), np.zeros(ROWS + UNKNOWNS), np.zeros(ROWS + UNKNOWNS)
    x[:m], y[:m] = data.x.reshape(m, -1), data.y
    weights[:m] = weights[ROWS : ROWS + UNKNOWNS - n] = 1
    given = {"which": np.int32(NONLINEAR.index(data)), "x": x}
    p0 = np.pad(data.starts[start], (0, UNKNOWNS - n))
    fit = regression.nonlinear(any_model, given, y, p0, weights=weights)
    assert fit.success
    assert digits(fit.params[:n], data.params) >= 8
    assert fit.df_residual == m - n
    if data.name != "Lanczos1":  # tests/nist.py tells why
        assert digits(fit.stderr[:n], data.stderr) >= 6
        assert digits(fit.deviance, data.rss) >= 6


# Published fits


@pytest.mark.parametrize("data", BINARY, ids=str)
def test_binary_data(data):
    fit = regression.glm(data.X, data.y, link=data.link)
    params, stderr = joint(fit)
    assert fit.status in GOOD
    np.testing.assert_allclose(params, data.params, rtol=1e-7)
    np.testing.assert_allclose([fit.loglik, fit.deviance], [data.loglik, data.deviance], rtol=1e-12)
    np.testing.assert_allclose(fit.zvalues, fit.params / fit.stderr, rtol=1e-15)
    np.testing.assert_allclose(fit.pvalues, 2 * stats.norm.sf(np.abs(fit.zvalues)), rtol=1e-10)
    np.testing.assert_allclose(fit.intercept_pvalue, 2 * stats.norm.sf(abs(params[0] / stderr[0])), rtol=1e-10)
    if data.link == "logit":
        np.testing.assert_allclose(stderr, data.stderr, rtol=1e-7)
    else:  # ours are of the expected information, as in R's glm; the reference's of the observed one
        D = np.column_stack([np.ones(len(data.y)), data.X])
        eta = D @ params
        work = stats.norm.pdf(eta) ** 2 / (special.ndtr(eta) * special.ndtr(-eta))
        np.testing.assert_allclose(stderr, np.sqrt(np.diag(np.linalg.inv((D.T * work) @ D))), rtol=1e-7)


def test_anes96():
    pytest.importorskip("statsmodels", reason="it ships the data")
    from statsmodels.datasets import anes96

    data = anes96.load()
    X, y = data.exog[list(ANES96_COLUMNS)].to_numpy(float), data.endog.to_numpy(int)
    fit = regression.softmax(X, y)
    assert fit.status == Status.CONVERGED
    for got, want in (
        ((fit.intercept, fit.params), ANES96_PARAMS),
        ((fit.intercept_stderr, fit.stderr), ANES96_STDERR),
    ):
        np.testing.assert_allclose(np.vstack([got[0][None], got[1]]).T, want, rtol=1e-7)
    np.testing.assert_allclose(fit.loglik, ANES96_LOGLIK, rtol=1e-12)
    np.testing.assert_allclose(fit.predict(X).sum(0), np.bincount(y), rtol=1e-8)  # the score of the intercepts
    lines = fit.summary(list(ANES96_COLUMNS)).splitlines()
    assert "class 6: income" in lines[-2]
    assert f"{ANES96_PARAMS[5][5]:.6g}" in lines[-2]


# Generalised linear models


ALPHA = 0.6
FAMILIES = {
    "gaussian": "gaussian",
    "binomial": "binomial",
    "poisson": "poisson",
    "gamma": "gamma",
    "inverse-gaussian": "inverse-gaussian",
    "negative-binomial": regression.NegativeBinomial(ALPHA),
}
LINKS = {
    "gaussian": ("identity", "log", "inverse"),
    "binomial": ("logit", "probit", "cloglog", "log", "identity"),
    "poisson": ("log", "identity"),
    "gamma": ("inverse", "log", "identity"),
    "inverse-gaussian": ("inverse-squared", "inverse", "log", "identity"),
    "negative-binomial": ("log", "identity"),
}
CELLS = [(family, link) for family, names in LINKS.items() for link in names]
MEANS = {
    "identity": lambda eta: eta,
    "log": np.exp,
    "logit": special.expit,
    "probit": special.ndtr,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
    "inverse": lambda eta: 1 / eta,
    "inverse-squared": lambda eta: eta**-0.5,
}
TRUTH = {  # of a link: coefficients that keep all means allowed, and their statistics well determined
    "identity": (3.0, 1.0, -0.5),
    "log": (1.0, 0.5, -0.3),
    "logit": (0.2, 0.6, -0.4),
    "probit": (0.2, 0.6, -0.4),
    "cloglog": (-0.2, 0.6, -0.4),
    "inverse": (0.6, 0.2, -0.1),
    "inverse-squared": (0.4, 0.15, -0.1),
}
SHARES = {"identity": (0.5, 0.2, -0.1), "log": (-0.9, 0.3, -0.2)}  # the same for probabilities
VARIANCES = {
    "gaussian": lambda mu: np.ones_like(mu),
    "binomial": lambda mu: mu * (1 - mu),
    "poisson": lambda mu: mu,
    "gamma": lambda mu: mu**2,
    "inverse-gaussian": lambda mu: mu**3,
    "negative-binomial": lambda mu: mu + ALPHA * mu**2,
}
DISPERSED = ("gaussian", "gamma", "inverse-gaussian")


def logliks(family, y, mu, weights, dispersion=1.0):
    """SciPy's log-densities, summed."""
    kept = weights > 0
    y, mu, w = y[kept], mu[kept], weights[kept]
    with np.errstate(invalid="ignore"):
        each = {
            "gaussian": lambda: stats.norm.logpdf(y, mu, np.sqrt(dispersion / w)),
            "binomial": lambda: w * stats.bernoulli.logpmf(y.astype(int), mu),
            "poisson": lambda: w * stats.poisson.logpmf(y, mu),
            "gamma": lambda: stats.gamma.logpdf(y, w / dispersion, scale=mu * dispersion / w),
            "inverse-gaussian": lambda: stats.invgauss.logpdf(y, mu * dispersion / w, scale=w / dispersion),
            "negative-binomial": lambda: w * stats.nbinom.logpmf(y, 1 / ALPHA, 1 / (1 + ALPHA * mu)),
        }[family]()
    return np.sum(each)


def observations(family, link, seed=0):
    """Rows, what was observed, weights of which two are 0, an offset; and their columns with the constant."""
    rng = np.random.default_rng(seed)
    X, offset = rng.uniform(-1, 1, (M, P)), rng.uniform(-0.05, 0.05, M)
    weights = rng.integers(1, 4, M).astype(float)
    weights[[3, 17]] = 0
    D = np.column_stack([np.ones(M), X])
    truth = (SHARES if family == "binomial" else {}).get(link, TRUTH[link])
    mu = MEANS[link](D @ np.array(truth) + offset)
    y = {
        "gaussian": lambda: rng.normal(mu, 0.2),
        "binomial": lambda: rng.binomial(1, mu),
        "poisson": lambda: rng.poisson(mu),
        "gamma": lambda: rng.gamma(5, mu / 5),
        "inverse-gaussian": lambda: rng.wald(mu, 20),
        "negative-binomial": lambda: rng.negative_binomial(1 / ALPHA, 1 / (1 + ALPHA * mu)),
    }[family]()
    return X, np.asarray(y, float), weights, offset, D


def fitted(family, link, X, y, weights=ONES, offset=ZEROS, ridge=0.0):
    return regression.glm(X, y, family=FAMILIES[family], link=link, weights=weights, offset=offset, ridge=ridge)


SLOW = [("gaussian", "inverse"), ("binomial", "identity"), ("gamma", "identity"), ("negative-binomial", "identity")]
SLOW += [("inverse-gaussian", link) for link in ("inverse", "log", "identity")]


@pytest.mark.parametrize(
    ("family", "link"), [pytest.param(*cell, marks=pytest.mark.slow if cell in SLOW else ()) for cell in CELLS]
)
def test_families(family, link):
    X, y, weights, offset, D = observations(family, link)
    for ridge in (0.0, 0.7):
        fit = fitted(family, link, X, y, weights, offset, ridge)
        assert fit.status in GOOD
        theta, stderr = joint(fit)
        penalty = ridge * np.array([0.0, 1, 1])

        def loglik(theta, dispersion=1.0):
            return logliks(family, y, MEANS[link](D @ theta + offset), weights, dispersion)

        # in units of a standard error, an estimate that is off by a millionth of one is seen
        unit = stderr / np.sqrt(fit.dispersion)
        np.testing.assert_allclose((slopes(loglik, theta) - penalty * theta) * unit, 0, atol=1e-6)

        eta = D @ theta + offset
        mu, kept = MEANS[link](eta), weights > 0
        np.testing.assert_allclose(fit.predict(X, offset), mu, rtol=1e-12)
        np.testing.assert_allclose(fit.residuals(X, y, offset), y - mu, atol=1e-12)
        rate = (MEANS[link](eta + 1e-6) - MEANS[link](eta - 1e-6)) / 2e-6
        variance = VARIANCES[family](mu)
        spread = np.linalg.inv((D.T * (weights * rate**2 / variance)) @ D + np.diag(penalty))
        pearson = np.sum(weights * (y - mu) ** 2 / variance) / (kept.sum() - 3)
        dispersion = pearson if family in DISPERSED else 1.0
        np.testing.assert_allclose(fit.dispersion, dispersion, rtol=1e-10)
        np.testing.assert_allclose(fit.joint_covariance, dispersion * spread, rtol=1e-6)
        np.testing.assert_allclose(fit.covariance, fit.joint_covariance[1:, 1:])

        saturated = logliks(family, y, y, weights)
        np.testing.assert_allclose(fit.deviance, 2 * (saturated - loglik(theta)), rtol=1e-9)
        if family == "gaussian":  # at the variance that maximises it
            dispersion = np.sum(weights * (y - mu) ** 2) / kept.sum()
        np.testing.assert_allclose(fit.loglik, loglik(theta, dispersion), rtol=1e-10)
        np.testing.assert_allclose(fit.aic, 6 - 2 * fit.loglik, rtol=1e-14)
        np.testing.assert_allclose(fit.bic, 3 * np.log(38) - 2 * fit.loglik, rtol=1e-14)
        assert (fit.rows, fit.rank, fit.df_residual) == (38, 3, 35)


def test_the_table_has_all_links():
    for family, names in LINKS.items():
        with pytest.raises(ValueError, match="link must be") as refused:
            regression.glm(np.ones((2, 1)), np.ones(2), family=FAMILIES[family], link="cauchit")
        assert [f'"{link}"' in str(refused.value) for link in LINKS_KNOWN] == [link in names for link in LINKS_KNOWN]


LINKS_KNOWN = tuple(MEANS)


@pytest.mark.parametrize(("family", "link"), [("binomial", "logit"), ("poisson", "log")])
def test_weights_are_repeated_rows(family, link):
    X, y, weights, offset, _ = observations(family, link, seed=1)
    weights[20:] = 0
    weights[0] += 40 - weights.sum()
    rows = np.repeat(np.arange(M), weights.astype(int))
    assert len(rows) == M
    a = fitted(family, link, X, y, weights, offset)
    b = fitted(family, link, X[rows], y[rows], ONES, offset[rows])
    for name in ("params", "intercept", "joint_covariance", "loglik", "deviance"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-8)


@pytest.mark.parametrize(("family", "link"), [("binomial", "logit"), ("poisson", "log"), ("gamma", "log")])
def test_an_offset_moves_the_coefficients(family, link):
    X, y, weights, offset, _ = observations(family, link)
    a = fitted(family, link, X, y, weights, offset)
    b = fitted(family, link, X, y, weights, offset + 0.3 + X @ [0.2, -0.1])
    np.testing.assert_allclose(b.params, a.params - np.array([0.2, -0.1]), atol=1e-8)
    np.testing.assert_allclose(b.intercept, a.intercept - 0.3, atol=1e-8)
    np.testing.assert_allclose(b.joint_covariance, a.joint_covariance, rtol=1e-6)


def test_shares_of_trials():
    """As single trials, but for the saturated model that the deviance refers to."""
    X, _, _, offset, D = observations("binomial", "logit")
    rng = np.random.default_rng(2)
    trials = rng.integers(1, 30, M).astype(float)
    won = rng.binomial(trials.astype(int), special.expit(D @ TRUTH["logit"]))
    fit = fitted("binomial", "logit", X, won / trials, trials, offset)
    mu = special.expit(D @ joint(fit)[0] + offset)
    np.testing.assert_allclose(D.T @ (won - trials * mu), 0, atol=1e-6)
    pieces = stats.binom.logpmf(won, trials, mu)
    np.testing.assert_allclose(fit.deviance, 2 * np.sum(stats.binom.logpmf(won, trials, won / trials) - pieces))
    np.testing.assert_allclose(fit.loglik, np.sum(pieces), rtol=1e-12)
    np.testing.assert_allclose(fit.aic, 6 - 2 * np.sum(pieces), rtol=1e-12)


@pytest.mark.slow
def test_the_coefficient_of_trials():
    """In a stack, in single precision, and with a derivative; of weighted 0s and 1s it is 1."""
    X, y, weights, _, _ = observations("binomial", "logit")
    won = np.random.default_rng(2).binomial(1000, 0.3, M)
    share, trials = won / 1000, np.full(M, 1000.0)
    fit = fitted("binomial", "logit", X, np.stack([share, y]), np.stack([trials, weights]))
    for i, (drawn, size) in enumerate(((won, trials), (y * weights, weights))):
        mu = fit.predict(X)[i]
        want = stats.binom.logpmf(drawn, size, mu) - (i == 1) * np.log(special.comb(size, drawn))
        np.testing.assert_allclose(fit.loglik[i], np.sum(want), rtol=1e-10)
    single = fitted("binomial", "logit", X.astype("f4"), share.astype("f4"), trials.astype("f4"), ZEROS.astype("f4"))
    np.testing.assert_allclose(single.loglik, fit.loglik[0], rtol=2e-4)
    family = regression.families.Binomial()

    def loglik(y):
        mu = jnp.log(0.3 / 0.7) * jnp.ones_like(y)
        half = jnp.sum(trials * family.excess(regression.links.LINKS["logit"], y, mu))
        return family.loglik(y, jnp.asarray(trials), half, jnp.ones(()), jnp.ones(()))

    np.testing.assert_allclose(jax.grad(loglik)(jnp.asarray(share)), slopes(loglik, share), rtol=1e-5)


def test_a_start_without_an_intercept():
    """0 is no start for the inverse link, whatever the family."""
    t = np.linspace(0.5, 2, M)
    fit = regression.glm(t[:, None], 1 / (0.7 * t), family="gaussian", link="inverse", intercept=False)
    assert fit.success
    np.testing.assert_allclose(fit.params, [0.7], rtol=1e-6)


@pytest.mark.parametrize("ridge", [0.1, 30.0])
def test_ridge_minimises_what_it_says(ridge):
    X, y, weights, offset, D = observations("poisson", "log")

    def objective(theta):
        loss = -logliks("poisson", y, np.exp(D @ theta + offset), weights)
        return loss + 0.5 * ridge * np.sum(theta[1:] ** 2)

    theirs = scipy.optimize.minimize(objective, np.zeros(3), options={"gtol": 1e-6})
    ours = fitted("poisson", "log", X, y, weights, offset, ridge)
    np.testing.assert_allclose(joint(ours)[0], theirs.x, rtol=1e-5)
    assert objective(joint(ours)[0]) <= theirs.fun


def ordinary(X, y, weights=ONES, offset=ZEROS, ridge=0.0):
    return regression.linear(X, y, weights=weights, offset=offset, ridge=np.float64(ridge))


@pytest.mark.parametrize("ridge", [0.0, 2.5])
def test_linear_is_the_normal_equations(ridge):
    X, y, weights, offset, D = observations("gaussian", "identity")
    fit = ordinary(X, y, weights, offset, ridge)
    A = (D.T * weights) @ D + ridge * np.diag([0.0, 1, 1])
    theta = np.linalg.solve(A, D.T @ (weights * (y - offset)))
    np.testing.assert_allclose(joint(fit)[0], theta, rtol=1e-11)
    squares = np.sum(weights * (y - offset - D @ theta) ** 2)
    np.testing.assert_allclose(fit.deviance, squares, rtol=1e-12)
    np.testing.assert_allclose(fit.joint_covariance, squares / 35 * np.linalg.inv(A), rtol=1e-10)
    np.testing.assert_allclose(fit.predict(X, offset), D @ theta + offset, rtol=1e-12)
    if ridge == 0:
        glm = fitted("gaussian", "identity", X, y, weights, offset)
        for name in ("params", "joint_covariance", "loglik", "deviance", "dispersion"):
            np.testing.assert_allclose(getattr(fit, name), getattr(glm, name), rtol=1e-7)


@pytest.mark.parametrize("level", [0.5, 0.999])
@pytest.mark.parametrize("model", ["t", "z"])
def test_tests_and_intervals(model, level):
    family, link = {"t": ("gaussian", "identity"), "z": ("binomial", "logit")}[model]
    fit = fitted(family, link, *observations(family, link)[:4])
    law = stats.t(35) if model == "t" else stats.norm()
    half = law.isf((1 - level) / 2)
    for value, stderr, p, ends in (
        (fit.params, fit.stderr, fit.pvalues, fit.conf_int(level)),
        (fit.intercept, fit.intercept_stderr, fit.intercept_pvalue, fit.intercept_conf_int(level)),
    ):
        np.testing.assert_allclose(p, 2 * law.sf(np.abs(value / stderr)), rtol=1e-9)
        np.testing.assert_allclose(ends, [value - half * stderr, value + half * stderr], rtol=1e-9)
        assert p.shape == ends[0].shape == ends[1].shape == value.shape


def test_summary_holds_the_figures():
    fit = fitted("binomial", "logit", *observations("binomial", "logit")[:4])
    text = fit.summary(["dose", "age"], level=0.9)
    (line,) = (line for line in text.splitlines() if line.startswith("age"))
    lower, upper = fit.conf_int(0.9)
    figures = [fit.params[1], fit.stderr[1], fit.zvalues[1], fit.pvalues[1], lower[1], upper[1]]
    np.testing.assert_allclose([float(word) for word in line.split()[1:]], figures, rtol=1e-3, atol=6e-4)
    for words in ("binomial, logit", "CONVERGED", "P>|z|", f"{float(fit.loglik):.6g}", "[0.05"):
        assert words in text
    with pytest.raises(ValueError, match="names must have one name for each of the 2 columns"):
        fit.summary(["dose"])


# Stacks


NAMES = ("params", "intercept", "joint_covariance", "loglik", "deviance", "dispersion", "direction")


def same(fit, i, single, rtol=1e-7):
    """Entry i of a stack is the single fit."""
    for name in NAMES:
        np.testing.assert_allclose(getattr(fit, name)[i], getattr(single, name), rtol=rtol, atol=1e-12)
    for name in ("rows", "rank"):
        assert getattr(fit, name)[i] == getattr(single, name)
    assert fit.success[i]
    assert single.success


@pytest.mark.parametrize("model", ["linear", "logistic"])
def test_stacks_broadcast(model):
    """X (2, 1, m, p), y (3, m), weights (m,), ridge (2, 3): six fits."""
    fit = {"linear": ordinary, "logistic": lambda *given: fitted("binomial", "logit", *given)}[model]
    X = np.stack([observations("binomial", "logit", seed)[0] for seed in range(2)])[:, None]
    y = np.stack([observations("binomial", "logit", seed)[1] for seed in range(3)])
    _, _, weights, offset, _ = observations("binomial", "logit")
    ridge = np.arange(6.0).reshape(2, 3)
    found = fit(X, y, weights, offset, ridge)
    assert found.params.shape == found.stderr.shape == found.conf_int()[0].shape == found.pvalues.shape == (2, 3, P)
    assert found.intercept.shape == found.status.shape == found.intercept_conf_int()[0].shape == (2, 3)
    assert found.joint_covariance.shape == (2, 3, P + 1, P + 1)
    assert found.predict(X).shape == found.residuals(X, y).shape == (2, 3, M)
    quantile = stats.t(35).isf(0.025) if found.student else stats.norm.isf(0.025)
    np.testing.assert_allclose(found.conf_int()[1], found.params + quantile * found.stderr, rtol=1e-9)
    for i, j in np.ndindex(2, 3):
        one = fit(X[i, 0], y[j], weights, offset, ridge[i, j])
        same(found, (i, j), one)
        np.testing.assert_allclose(found.predict(X)[i, j], one.predict(X[i, 0]), rtol=1e-7)


@pytest.mark.parametrize("model", ["linear", "poisson"])
def test_a_bootstrap_shares_the_rows(model):
    """Weights (5, m) of one X, one of them of ones; the second call compiles nothing."""
    fit = {"linear": ordinary, "poisson": lambda *given: fitted("poisson", "log", *given)}[model]
    X, y, _, offset, _ = observations("poisson", "log")
    for seed in range(2):
        drawn = np.random.default_rng(seed).multinomial(M, ONES / M, 5).astype(float)
        drawn[2] = 1
        del PROGRAMS[:]
        found = fit(X, y, drawn, offset)
        assert seed == 0 or PROGRAMS == []
        for i in (0, 2):
            same(found, i, fit(X, y, drawn[i], offset))
        np.testing.assert_array_equal(found.rows, (drawn > 0).sum(1))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("most", [0, likelihood.PAIRED])
def test_products_of_columns_change_nothing(shared, most, monkeypatch):
    """Lanes hold them where they are not too many."""
    monkeypatch.setattr(likelihood, "PAIRED", most)
    problem = likelihood.Likelihood(*family_and_link("binomial", None))
    rng = np.random.default_rng(0)
    Z, y, x = rng.normal(size=(4, 3, M)), rng.uniform(size=(4, M)), rng.normal(size=(3, 4))
    Z, ones, zeros, penalty = Z[0] if shared else Z, np.ones(1), np.zeros(1), rng.uniform(size=(4, 3))
    own = jax.vmap(problem.hold, ((None if shared else 0, 0, None, None, 0),))
    design = problem.hold((Z, None, None, None, None))[0] if shared else own((Z, y, ones, zeros, penalty))[0]
    assert isinstance(design, likelihood.Design) == (most > 0)
    axes = (None if shared else 0, 0, None, None, 0)
    got = problem.evaluate_lanes(x, (design, y, ones, zeros, penalty), axes, Needs.HESSIAN)
    for i in range(4):
        one = problem.evaluate(x[:, i], (Z if shared else Z[i], y[i], ones, zeros, penalty[i]), Needs.HESSIAN)
        for part, want in zip(got, one, strict=True):
            np.testing.assert_allclose(part[..., i], want, rtol=1e-12, atol=1e-12)


def test_a_stack_of_intercepts_alone():
    y = np.random.default_rng(0).binomial(1, 0.3, (4, M))
    found = regression.logistic(np.zeros((4, M, 0)), y)
    np.testing.assert_allclose(found.intercept, special.logit(y.mean(1)), rtol=1e-9)
    assert found.params.shape == (4, 0)


def test_a_fit_of_shares_beside_one_of_zeros_and_ones():
    """The figures of each, and their derivatives, are those of it alone."""
    X, share, *_ = observations("binomial", "logit")
    y = np.stack([np.round(share), np.clip(share, 0.1, 0.9), np.where(share > 0.5, share, 0.25)])

    def deviance(y):
        return regression.logistic(X, y).deviance

    values, slopes = jax.vmap(jax.value_and_grad(deviance))(y)
    assert np.isfinite(slopes).all()
    for i in range(3):
        value, slope = jax.value_and_grad(deviance)(y[i])
        np.testing.assert_allclose(values[i], value, rtol=1e-10)
        np.testing.assert_allclose(slopes[i], slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_one_plus(dtype):
    """Against NumPy in a wider type: to 2 ulp of e from 1 down to where 1 + e is 1."""
    e = np.concatenate([np.linspace(0, 1, 20_001), np.logspace(-30, 0, 20_001)]).astype(dtype)
    wide = np.log1p(e.astype(np.longdouble if dtype == np.float64 else np.float64))
    got = links.log_one_plus(jnp.asarray(e))
    assert got.dtype == dtype
    assert np.all(np.abs(np.asarray(got) - wide) <= 2 * np.spacing(wide.astype(dtype)))


def test_a_condition_under_vmap_stays_one():
    """It asks for all that is mapped over, so that neither branch is computed in vain, and is right for each."""

    def halves(y):
        return jax.lax.cond(linalg.anywhere(y > 1), lambda: jnp.where(y > 1, y / 2, y), lambda: y)

    both = jax.vmap(jax.vmap(halves))
    y = np.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_array_equal(both(y), np.where(y > 1, y / 2, y))
    assert "cond[" in str(jax.make_jaxpr(both)(y))


PROGRAMS = []  # one entry for every program that JAX has compiled
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: PROGRAMS.append(seconds) if event.endswith("backend_compile_duration") else None
)


def test_equal_shapes_trace_nothing_anew():
    calls = []

    def model(x, p):
        calls.append(p)
        return p[0] * jnp.exp(p[1] * x)

    x = np.linspace(0, 1, 9)
    counts = []
    for scale in (1.0, 2.0):
        fit = regression.nonlinear(model, x, scale * np.exp(-x), [0.5, 0.1])
        np.testing.assert_allclose(fit.params, [scale, -1], rtol=1e-8)
        counts.append(len(calls))
    assert counts[0] == counts[1]
    X, y, *rest, _ = observations("binomial", "logit")
    assert fitted("binomial", "logit", X, y, *rest).success
    del PROGRAMS[:]
    assert fitted("binomial", "logit", X[::-1].copy(), y, *rest, 0.5).success
    assert PROGRAMS == []


def test_inference_compiles_nothing_anew():
    X, y, *rest, _ = observations("gaussian", "identity")
    for sign in (1, -1):
        del PROGRAMS[:]
        fit = ordinary(X, sign * y, *rest)
        jax.block_until_ready([fit.conf_int(), fit.intercept_conf_int(), fit.pvalues, fit.aic, fit.bic, fit.predict(X)])
        fit.summary()
    assert PROGRAMS == []


def test_softmax_of_two_classes_is_logistic():
    X, y, weights, *_ = observations("binomial", "logit")
    a = regression.softmax(X, y.astype(int), weights=weights)
    b = fitted("binomial", "logit", X, y, weights)
    assert a.params.shape == (P, 1)
    for name in ("params", "intercept", "stderr", "intercept_stderr", "pvalues"):
        np.testing.assert_allclose(np.ravel(getattr(a, name)), np.ravel(getattr(b, name)), rtol=1e-7)
    np.testing.assert_allclose(a.loglik, b.loglik, rtol=1e-12)
    np.testing.assert_allclose(a.predict(X)[:, 1], b.predict(X), rtol=1e-7)


def classes(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (M, P))
    return X, np.argmax(X @ rng.normal(size=(P, 3)) + rng.gumbel(size=(M, 3)), axis=1)


@pytest.mark.slow
def test_softmax_does_not_depend_on_the_reference():
    """Nor does the penalty; a stack of ridges, and weights as repeated rows."""
    X, y = classes()
    ridge = np.array([0.0, 0.5, 4.0])
    fits = [regression.softmax(X, y, reference=k, ridge=ridge, classes=3) for k in (0, 2)]
    assert all(fit.success.all() for fit in fits)
    np.testing.assert_allclose(*(fit.predict(X) for fit in fits), rtol=1e-6)
    np.testing.assert_allclose(fits[0].params[..., 1], -fits[1].params[..., 0], rtol=1e-6)
    np.testing.assert_allclose(fits[0].stderr[0, :, 1], fits[1].stderr[0, :, 0], rtol=1e-6)
    D, own = np.column_stack([np.ones(M), X]), np.eye(3)[y]
    for k in range(3):
        B = np.column_stack([np.zeros(3), np.vstack([fits[0].intercept[k], fits[0].params[k]])])
        share = special.softmax(D @ B, axis=1)
        np.testing.assert_allclose(fits[0].predict(X)[k], share, rtol=1e-10)
        np.testing.assert_allclose(fits[0].residuals(X, y)[k], own - share, atol=1e-10)
        drawn = B - B.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(D.T @ (own - share), ridge[k] * drawn * [[0], [1], [1]], atol=1e-6)
        np.testing.assert_allclose(fits[0].loglik[k], np.sum(own * np.log(share)), rtol=1e-12)


def saturation(x, p):
    return p[..., 0] * (1 - jnp.exp(-p[..., 1] * x))


WITHIN = {  # lower, upper, which parameters of 2 exp(-1.3 t) + 0.5 a bound holds
    "none": ([0, 0, -1], [9, 9, 9], []),
    "lower": ([-9, -9, 0.8], [9, 9, 9], [2]),
    "two": ([2.4, -9, -9], [9, 9, 0.3], [0, 2]),
    "fixed": ([-9, 1.1, -9], [9, 1.1, 9], [1]),
    "all": ([3, 2, 1], [4, 3, 2], [0, 1, 2]),
}


@pytest.mark.parametrize("name", WITHIN)
def test_nonlinear_within_bounds(name):
    """SciPy's parameters; what no bound holds has the standard errors of a model that has the others as constants."""
    t = np.linspace(0, 3, 15)
    y = 2 * np.exp(-1.3 * t) + 0.5 + 0.05 * np.sin(7 * t)
    lower, upper, held = (np.array(part, float) for part in WITHIN[name])
    held, start = held.astype(int), np.clip([1.0, 0.5, 0.0], lower, upper)

    def decay(t, p):
        return p[0] * jnp.exp(-p[1] * t) + p[2]

    fit = regression.nonlinear(decay, t, y, start, bounds=Bounds(lower, upper))
    assert fit.success
    assert np.all((fit.params >= lower) & (fit.params <= upper))
    theirs = scipy.optimize.least_squares(
        lambda p: np.asarray(p[0] * np.exp(-p[1] * t) + p[2] - y),
        start,
        bounds=(lower - 1e-12 * (lower == upper), upper + 1e-12 * (lower == upper)),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-14,
    )
    np.testing.assert_allclose(fit.params, theirs.x, rtol=1e-5)
    free = np.setdiff1d(np.arange(3), held)
    assert (fit.rank, fit.df_residual) == (len(free), 15 - len(free))
    assert np.isnan(np.asarray(fit.stderr)[held]).all()
    p = np.asarray(fit.params)
    J = np.column_stack([np.exp(-p[1] * t), -p[0] * t * np.exp(-p[1] * t), np.ones(15)])[:, free]
    scale = np.sum((p[0] * np.exp(-p[1] * t) + p[2] - y) ** 2) / (15 - len(free))
    np.testing.assert_allclose(fit.dispersion, scale, rtol=1e-10)
    np.testing.assert_allclose(
        np.asarray(fit.stderr)[free], np.sqrt(scale * np.diag(np.linalg.inv(J.T @ J))), rtol=1e-8
    )
    assert np.abs(J.T @ (p[0] * np.exp(-p[1] * t) + p[2] - y)).max(initial=0) < 1e-10


def test_bounds_under_transformations():
    """In single precision of starts, too, which rounds no bound."""
    t = np.linspace(0, 3, 15)
    y = 2 * np.exp(-1.3 * t) + 0.5 + 0.05 * np.sin(7 * t)

    def decay(t, p):
        return p[0] * jnp.exp(-p[1] * t) + p[2]

    def params(y, top):
        bounds = Bounds(jnp.zeros(3), jnp.stack([jnp.full((), 9.0), jnp.full((), 9.0), top]))
        return regression.nonlinear(decay, t, y, np.array([1.0, 0.5, 0.1]), bounds=bounds).params

    found = params(jnp.asarray(y), jnp.asarray(0.3))
    np.testing.assert_allclose(jax.jit(params)(y, 0.3), found, rtol=1e-10)
    np.testing.assert_allclose(jax.vmap(params, (0, None))(np.stack([y, y]), 0.3), [found, found], rtol=1e-10)
    by_y, by_top = jax.jit(jax.jacobian(params, (0, 1)))(jnp.asarray(y), jnp.asarray(0.3))
    np.testing.assert_allclose(by_top, slopes(lambda top: params(y, top[0]), np.array([0.3]))[0], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(by_y, slopes(lambda y: params(y, 0.3), y).T, rtol=1e-5, atol=1e-8)
    start = np.array([1.0, 0.5, 0.1], "float32")
    fit = regression.nonlinear(decay, t, y, start, bounds=Bounds(0.0, np.array([9, 9, 0.3])))
    assert fit.params[2] == 0.3


def test_nonlinear_stacks():
    """Starts (2, p) by data (3, 1, m) are six fits; x_stacked gives each its own x; weights leave rows out."""
    x = np.linspace(0.5, 5, 12)
    y = np.array([2.0, 3, 4])[:, None] * (1 - np.exp(-0.7 * x)) + 0.05 * np.sin(9 * x)
    starts = np.array([[1.0, 1.0], [5.0, 0.3]])
    found = regression.nonlinear(saturation, x, y[:, None], starts)
    assert found.params.shape == (3, 2, 2)
    assert found.predict(x).shape == (3, 2, 12)
    assert found.success.all()
    for i in range(3):
        theirs, spread = scipy.optimize.curve_fit(
            lambda x, a, b: a * (1 - np.exp(-b * x)), x, y[i], starts[0], ftol=1e-14, xtol=1e-14
        )
        np.testing.assert_allclose(found.params[i], [theirs, theirs], rtol=1e-6)
        np.testing.assert_allclose(found.joint_covariance[i, 1], spread, rtol=1e-4)
    best = found.best
    assert best.params.shape == (2,)
    assert best.deviance == found.deviance.min()
    scale = np.array([1.0, 2.0, 0.5])
    own = regression.nonlinear(saturation, scale[:, None] * x, y, starts[0], x_stacked=True)
    np.testing.assert_allclose(own.params[:, 1] * scale, found.params[:, 0, 1], rtol=1e-7)


# Transformations


@pytest.mark.parametrize("model", ["linear", "logistic"])
def test_under_jit_and_vmap(model):
    fit = {"linear": ordinary, "logistic": lambda *given: fitted("binomial", "logit", *given)}[model]
    rows = [observations("binomial", "logit", seed)[:4] for seed in range(2)]
    found = jax.jit(jax.vmap(fit))(*(jnp.asarray(np.stack(part)) for part in zip(*rows, strict=True)))
    for i, row in enumerate(rows):
        same(found, i, fit(*row))


def test_softmax_and_nonlinear_under_jit():
    X, y = classes()
    with pytest.raises(ValueError, match="classes must be given where y is traced"):
        jax.jit(regression.softmax)(X, y)
    x = np.linspace(0.5, 5, 12)
    fit = jax.jit(lambda y: regression.nonlinear(saturation, x, y, np.array([1.0, 1.0])))(3 * (1 - np.exp(-0.7 * x)))
    np.testing.assert_allclose(fit.params, [3, 0.7], rtol=1e-9)
    assert fit.success


def exponential(x, p):
    return p[0] * jnp.exp(p[1] * x)


DIFFERENTIABLE = {  # params[0] as a function of what is observed, or of the rows' weights
    "linear": lambda v: ordinary(observations("poisson", "log")[0], v).params[0],
    "poisson": lambda v: fitted("poisson", "log", observations("poisson", "log")[0], v).params[0],
    "softmax": lambda v: regression.softmax(*classes(), weights=v, classes=3).params[0, 0],
    "nonlinear": lambda v: regression.nonlinear(
        exponential, observations("poisson", "log")[0][:, 0], v, np.array([3.0, 0.1])
    ).params[0],
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "softmax" else ()) for name in DIFFERENTIABLE]
)
def test_derivatives_of_params(name):
    fun, y = DIFFERENTIABLE[name], observations("poisson", "log")[1] + 0.5
    way = np.random.default_rng(0).normal(size=M)
    want = (fun(y + 1e-4 * way) - fun(y - 1e-4 * way)) / 2e-4
    np.testing.assert_allclose(jnp.sum(jax.grad(fun)(y) * way), want, rtol=1e-5)


@pytest.mark.parametrize(
    "model", ["linear", "poisson", *(pytest.param(name, marks=pytest.mark.slow) for name in ("softmax", "nonlinear"))]
)
def test_float32(model):
    """Data in single precision are fitted in it, whatever the options' defaults are."""
    X, y, *_ = observations("poisson", "log")
    t = np.linspace(0.5, 5, 12)
    call, given = {
        "linear": (regression.linear, (X, y)),
        "poisson": (regression.poisson, (X, y)),
        "softmax": (lambda X, y: regression.softmax(X, y.astype(int)), classes()),
        "nonlinear": (
            lambda t, y: regression.nonlinear(saturation, t, y, np.array([1, 1], t.dtype)),
            (t, 3 * (1 - np.exp(-0.7 * t)) + 0.05 * np.sin(9 * t)),
        ),
    }[model]
    single, double = call(*(part.astype("float32") for part in given)), call(*given)
    assert single.success
    for name, rtol in (("params", 1e-3), ("stderr", 1e-3), ("loglik", 1e-5), ("deviance", 1e-4), ("pvalues", 0.1)):
        assert getattr(double, name).dtype == np.float64
        assert getattr(single, name).dtype == np.float32
        np.testing.assert_allclose(getattr(single, name), getattr(double, name), rtol=rtol, atol=1e-6)
