"""Real data's troubles: each has its sentence, its status, or an answer all the same.

As in test_regression.py, shapes and options are the same wherever they can be, to compile few programs.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import special

import jaxnewton as jn
from jaxnewton import Status, regression
from jaxnewton.regression import given

M, P = 40, 2
ONES, ZEROS = np.ones(M), np.zeros(M)
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (M, P))
ETA = 0.2 + X @ [0.8, -0.5]
SHARE = (RNG.uniform(size=M) < special.expit(ETA)).astype(float)
COUNT = RNG.poisson(np.exp(ETA)).astype(float)
REAL = ETA + 0.3 * RNG.normal(size=M)
CLASS = np.argmax(X @ RNG.normal(size=(P, 3)) + RNG.gumbel(size=(M, 3)), axis=1)


def linear(X, y, weights=ONES, offset=ZEROS):
    return regression.linear(X, y, weights=weights, offset=offset)


def logistic(X, y, weights=ONES, offset=ZEROS, ridge=0.0):
    return regression.logistic(X, y, weights=weights, offset=offset, ridge=ridge)


def poisson(X, y, weights=ONES, offset=ZEROS):
    return regression.poisson(X, y, weights=weights, offset=offset)


def softmax(X, y, weights=ONES):
    return regression.softmax(X, y, classes=3, weights=weights)


MODELS = {
    "linear": (linear, REAL),
    "logistic": (logistic, SHARE),
    "poisson": (poisson, COUNT),
    "softmax": (softmax, CLASS),
}


def with_(array, at, value):
    changed = np.array(array, float)
    changed[at] = value
    return changed


# Refused


glm, nonlinear = regression.glm, regression.nonlinear


def line(x, p):
    return p[0] + p[1] * x


x = X[:, 0]
REFUSED = {
    # what is wrong: (the call, words that its sentence must have)
    "nan in X": (lambda: linear(with_(X, (3, 1), np.nan), REAL), ["X", "finite", "rows 3"]),
    "inf in X": (lambda: logistic(with_(X, (slice(2, 30, 3), 0), np.inf), SHARE), ["X", "2, 5, 8", "and 2 more"]),
    "nan in y": (lambda: poisson(X, with_(COUNT, [5, 7], np.nan)), ["y", "finite", "rows 5, 7"]),
    "nan in y, stack": (lambda: linear(X, with_(np.ones((2, M)), (1, 9), np.nan)), ["y", "rows 9"]),
    "nan in y, nonlinear": (lambda: nonlinear(line, x, with_(REAL, 4, np.nan), [1.0, 1.0]), ["y", "rows 4"]),
    "nan in weights": (lambda: linear(X, REAL, with_(ONES, 6, np.nan)), ["weights", "rows 6"]),
    "inf in offset": (lambda: linear(X, REAL, ONES, with_(ZEROS, 6, np.inf)), ["offset", "rows 6"]),
    "ridge nan": (lambda: regression.linear(X, REAL, ridge=np.nan), ["ridge", "finite"]),
    "ridge negative": (lambda: regression.linear(X, REAL, ridge=[1.0, -2.0]), ["ridge", "negative", "-2.0"]),
    "weights negative": (lambda: linear(X, REAL, with_(ONES, 6, -0.5)), ["weights", "negative", "-0.5"]),
    "weights all 0": (lambda: linear(X, REAL, ZEROS), ["weights", "no row is left"]),
    "a label of 2": (lambda: logistic(X, with_(SHARE, [1, 8], 2)), ["y", "0 or 1", "2.0", "rows 1, 8"]),
    "labels of -1": (lambda: logistic(X, 2 * SHARE - 1), ["y", "0 or 1", "-1.0"]),
    "a negative count": (lambda: poisson(X, with_(COUNT, 0, -1)), ["y", "at least 0", "-1.0", "rows 0"]),
    "gamma of 0": (lambda: glm(X, with_(ONES, 2, 0), family="gamma"), ["y", "positive", "0.0", "rows 2"]),
    "inverse gaussian of 0": (
        lambda: glm(X, with_(ONES, 2, 0), family="inverse-gaussian"),
        ["y", "positive", "rows 2"],
    ),
    "half a class": (lambda: softmax(X, with_(CLASS, 3, 0.5)), ["y", "whole", "0.5", "rows 3"]),
    "a class too many": (lambda: softmax(X, with_(CLASS, 3, 3)), ["y", "classes - 1 = 2", "3", "rows 3"]),
    "a negative class": (lambda: regression.softmax(X, with_(CLASS, 3, -1)), ["y", "whole", "-1", "rows 3"]),
    "one class": (lambda: regression.softmax(X, np.zeros(M, int)), ["classes", "at least 2", "1"]),
    "a fraction of classes": (lambda: regression.softmax(X, CLASS, classes=2.5), ["classes", "whole number", "2.5"]),
    "reference": (lambda: regression.softmax(X, CLASS, reference=3), ["reference", "0 to 2", "3"]),
    "text in X": (lambda: linear([["a", "b"]], [1.0]), ["X", "real numbers"]),
    "text in a frame": (
        lambda: linear(pd.DataFrame({"age": x, "ward": ["A", *"B" * (M - 1)]}), REAL),
        ["X", "real numbers", "'A' in row 0 of column ward", "get_dummies"],
    ),
    "text in y": (lambda: logistic(X, ["yes", *["no"] * (M - 1)]), ["y", "'yes' in row 0", "numpy.unique"]),
    "text late in y": (lambda: logistic(X, np.array([*SHARE[:-1], "n/a"], object)), ["y", f"'n/a' in row {M - 1}"]),
    "numbers in text": (lambda: linear(X, [str(value) for value in REAL]), ["y", "text that holds numbers", "astype"]),
    "text in weights": (lambda: linear(X, REAL, np.array(["a"] * M)), ["weights", "real numbers", "'a' in row 0"]),
    "classes from 1": (lambda: regression.softmax(X, CLASS + 1), ["y", "class 0, of 0 to 3", "classes=4"]),
    "a gap of classes": (lambda: regression.softmax(X, 2 * CLASS), ["y", "class 1, 3, of 0 to 4", "numpy.unique"]),
    "bounds of a pure iteration": (
        lambda: nonlinear(line, x, REAL, [1.0, 1.0], bounds=jn.Bounds(0.0), solver=jn.GaussNewton()),
        ["bounds", "LevenbergMarquardt()", "GaussNewton"],
    ),
    "bounds a tuple": (lambda: nonlinear(line, x, REAL, [1.0, 1.0], bounds=(0.0, 1.0)), ["bounds", "jn.Bounds"]),
    "bounds of three": (
        lambda: nonlinear(line, x, REAL, [1.0, 1.0], bounds=jn.Bounds(np.zeros(3))),
        ["bounds.lower", "(2,)", "(3,)"],
    ),
    "p0 a dict": (lambda: nonlinear(line, x, REAL, {"a": 1.0}), ["p0", "(..., parameters)", "dict"]),
    "complex y": (lambda: linear(X, REAL + 1j), ["y", "real numbers", "complex"]),
    "X a vector": (lambda: linear(x, REAL), ["X", "(..., rows, columns)", "(40,)"]),
    "y a number": (lambda: linear(X, 1.0), ["y", "(..., rows)", "single number"]),
    "weights a number": (lambda: linear(X, REAL, 2.0), ["weights", "(..., rows)", "single number"]),
    "no rows": (lambda: linear(X[:0], REAL[:0]), ["X", "no rows", "(0, 2)"]),
    "y too short": (lambda: linear(X, REAL[1:]), ["y", "as many rows as X, 40", "(39,)"]),
    "weights too long": (lambda: linear(X, REAL, np.ones(41)), ["weights", "as many rows as X, 40", "(41,)"]),
    "weights of one row": (lambda: linear(X, REAL, np.ones(1)), ["weights", "as many rows as X, 40", "(1,)"]),
    "offset too short": (lambda: linear(X, REAL, ONES, np.zeros(3)), ["offset", "as many rows", "(3,)"]),
    "leading axes": (
        lambda: linear(np.zeros((2, M, P)), np.zeros((3, M))),
        ["leading axes", "X (2, 40, 2)", "y (3, 40)"],
    ),
    "an empty stack": (lambda: linear(np.zeros((0, M, P)), REAL), ["no problems", "(0,)"]),
    "family": (lambda: glm(X, SHARE, family="binomal"), ["family", '"binomial"', "NegativeBinomial", "'binomal'"]),
    "family a class": (lambda: glm(X, COUNT, family=regression.NegativeBinomial), ["family", "instance"]),
    "link": (lambda: glm(X, SHARE, link="cauchit"), ["link", '"logit"', "binomial", "'cauchit'"]),
    "link of another": (lambda: glm(X, COUNT, family="poisson", link="logit"), ["link", '"log"', "poisson"]),
    "alpha": (lambda: regression.NegativeBinomial(-1.0), ["dispersion", "positive", "-1.0"]),
    "method": (lambda: regression.linear(X, REAL, method="cholesky"), ["method", '"qr"', "'cholesky'"]),
    "option": (lambda: regression.logistic(X, SHARE, penalty="l2"), ["logistic", "'penalty'"]),
    "intercept": (lambda: regression.linear(X, REAL, intercept=1), ["intercept", "True or False", "1"]),
    "tol": (lambda: regression.logistic(X, SHARE, tol=-1.0), ["tol", "positive", "-1.0"]),
    "max_steps": (lambda: regression.logistic(X, SHARE, max_steps=1.5), ["max_steps", "whole number", "1.5"]),
    "max_steps 0": (lambda: regression.logistic(X, SHARE, max_steps=0), ["max_steps", "at least 1", "0"]),
    "max_steps 0, nonlinear": (lambda: nonlinear(line, x, REAL, [1.0, 1.0], max_steps=0), ["max_steps", "at least 1"]),
    "model": (lambda: nonlinear(3.0, x, REAL, [1.0]), ["model", "function", "3.0"]),
    "model's shape": (lambda: nonlinear(lambda x, p: p[0], x, REAL, [1.0]), ["model", "shape of y", "(40,)", "()"]),
    "p0 a number": (lambda: nonlinear(line, x, REAL, 1.0), ["p0", "(..., parameters)", "single number"]),
    "p0 and y": (
        lambda: nonlinear(line, x, np.zeros((2, M)), np.ones((3, 2))),
        ["leading axes", "p0 (3, 2)", "y (2, 40)"],
    ),
    "solver": (lambda: nonlinear(line, x, REAL, [1.0, 1.0], solver=jn.BFGS()), ["solver", "LevenbergMarquardt()"]),
    "x_stacked": (
        lambda: nonlinear(line, x, REAL, [1.0, 1.0], x_stacked=True),
        ["x_stacked", "one leading axis", "0"],
    ),
    "level": (lambda: linear(X, REAL).conf_int(1.5), ["level", "between 0 and 1", "1.5"]),
    "summary of a stack": (lambda: linear(X, np.ones((3, M)) * REAL).summary(), ["summary", "stack", "(3,)"]),
    "message of a stack": (lambda: linear(X, np.ones((3, M)) * REAL).message, ["message", "stack", "(3,)", "fit[i]"]),
    "an item of one fit": (lambda: linear(X, REAL)[0], ["single fit", "not a stack"]),
    "names a word": (lambda: linear(X, REAL).summary("ab"), ["names", "sequence of str", "'ab'"]),
    "names of numbers": (lambda: linear(X, REAL).summary([1, 2]), ["names", "sequence of str", "[1, 2]"]),
    "names of numbers, failed": (lambda: linear(X * [1, 0], REAL).summary([1, 2]), ["names", "sequence of str"]),
    "names too few": (lambda: linear(X * [1, 0], REAL).summary(["a"]), ["names", "2 columns of X", "it has 1"]),
    "y missing": (lambda: regression.linear(X), ["y is missing"]),
    "y a column": (lambda: linear(X, REAL[:, None]), ["y", "as many rows as X, 40", "(40, 1)", "y[:, 0]"]),
    "y in columns": (lambda: linear(X, np.ones((M, 3))), ["y", "as many rows as X, 40", "(40, 3)", "y.T"]),
    "no columns": (lambda: regression.logistic(X[:, :0], SHARE, intercept=False), ["X has no columns", "no intercept"]),
    "nan in a stack": (
        lambda: linear(X, with_(np.ones((2, 3, M)), ([1, 1], [0, 2], [9, 4]), np.nan)),
        ["y", "rows 9 of fit (1, 0)", "in 1 more fits"],
    ),
    "a label in a stack": (lambda: logistic(X, with_(np.ones((3, M)), (2, 5), 7)), ["y", "7.0", "rows 5 of fit 2"]),
    "residuals of a column": (
        lambda: linear(X, REAL).residuals(X[:3], REAL[:3, None]),
        ["y", "what is predicted for X, (3,)", "(3, 1)"],
    ),
    "residuals, lengths": (lambda: linear(X, REAL).residuals(X[:3], REAL), ["y", "(3,)", "(40,)"]),
    "residuals of half a class": (
        lambda: softmax(X, CLASS).residuals(X, with_(CLASS, 3, 0.5)),
        ["y", "class numbers from 0 to 2", "0.5", "rows 3"],
    ),
    "residuals of no class": (
        lambda: softmax(X, CLASS).residuals(X, with_(CLASS, 3, 5)),
        ["y", "class numbers from 0 to 2", "5.0", "rows 3"],
    ),
    "offset of a prediction": (lambda: linear(X, REAL).predict(X, np.ones(5)), ["offset", "rows as X, 40", "(5,)"]),
    "blocks of softmax": (
        lambda: regression.softmax(regression.Blocks(lambda: iter(()))),
        ["classes", "given", "Blocks"],
    ),
    "softmax without y": (lambda: regression.softmax(X), ["y is missing"]),
    "nan in x": (lambda: nonlinear(line, with_(x, [3, 8], np.nan), REAL, [1.0, 1.0]), ["x", "finite", "rows 3, 8"]),
    "nan in x of a fit": (
        lambda: nonlinear(line, with_(np.stack([x, x]), (1, 3), np.nan), REAL, np.ones((2, 2)), x_stacked=True),
        ["x", "finite", "rows 3 of fit 1"],
    ),
    "weights, nonlinear": (
        lambda: nonlinear(line, x, REAL, [1.0, 1.0], weights=np.ones(3)),
        ["weights", "as many rows as y, 40", "(3,)"],
    ),
    "rows of x": (
        lambda: nonlinear(line, np.stack([x, x]), REAL, np.ones((3, 2)), x_stacked=True),
        ["x must", "3 fits", "(2, 40)"],
    ),
    "columns": (lambda: linear(X, REAL).predict(X[:, :1]), ["X", "(..., rows, 2)", "(40, 1)"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(name):
    call, words = REFUSED[name]
    with pytest.raises((TypeError, ValueError)) as refused:
        call()
    sentence = str(refused.value)
    assert [word for word in words if word not in sentence] == [], sentence


def test_what_is_not_refused():
    """Lists, integers, booleans, objects that are numbers."""
    want = linear(X, SHARE)
    for y in (SHARE.astype(bool), SHARE.astype(int), SHARE.astype(object), list(SHARE)):
        np.testing.assert_array_equal(linear(X.tolist(), y).params, want.params)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_what_single_precision_rounds_away_is_told(dtype):
    """In columns of X and in y, where they come in double precision; not where it is little."""
    with jax.enable_x64(False):
        seconds = 1_700_000_000 + 60 * np.arange(M).astype(dtype)
        for X_and_y in ((np.column_stack([seconds // 10**6, seconds]), REAL), (X, seconds)):
            what = "y" if X_and_y[1] is seconds else r"X \(columns 1\)"
            with pytest.warns(UserWarning, match=f"^{what} varies by less .* float32; .*jax_enable_x64"):
                regression.linear(*X_and_y)
        assert regression.linear((2000 + np.arange(M).astype(dtype))[:, None], REAL).success


def test_numbers_whose_sum_overflows():
    largest = np.finfo(float).max
    given.refuse_numbers("X", np.array([largest, largest, -largest]))
    given.refuse_numbers("X", jnp.array([largest, largest, -largest]))
    with pytest.raises(ValueError, match=r"X must be finite; it has nan or inf in rows 1, 2\. "):
        given.refuse_numbers("X", np.array([largest, np.inf, -np.inf]))


@pytest.mark.parametrize("model", ["logistic", pytest.param("poisson", marks=pytest.mark.slow)])
def test_a_stack_over_ridge_alone(model):
    y, fit = MODELS[model][1], getattr(regression, model)
    ridges = np.array([[0.0, 1.0, 10.0], [2.0, 3.0, 4.0]])
    found = fit(X, y, ridge=ridges)
    assert found.params.shape == (2, 3, P)
    assert found.success.all()
    one = fit(X, y, ridge=10.0)
    np.testing.assert_allclose(found.params[0, 2], one.params, rtol=1e-7)
    np.testing.assert_allclose(found.stderr[0, 2], one.stderr, rtol=1e-7)


# Weights of 0, and units


@pytest.mark.parametrize("model", MODELS)
def test_no_weight_is_no_row(model):
    """Whatever stands in the row."""
    fit, y = MODELS[model]
    kept = np.arange(M) % 4 > 0
    values = {"linear": 1e6, "logistic": 1 - SHARE, "poisson": 999.0, "softmax": 2.0}[model]
    a = fit(X, y, kept.astype(float))
    b = fit(np.where(kept[:, None], X, 50.0), np.where(kept, y, values), kept.astype(float))
    assert a.success
    assert a.rows == 30
    for name in ("params", "intercept", "joint_covariance", "loglik", "deviance", "rows"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-7)
    if model != "linear":  # one program is enough
        return
    c = regression.linear(X[kept], y[kept])
    for name in ("params", "intercept", "joint_covariance", "loglik", "deviance", "rows", "df_residual"):
        np.testing.assert_allclose(getattr(a, name), getattr(c, name), rtol=1e-7)


UNITS = {
    "tiny": ([1e-9, 1e-3], 0.0),
    "huge": ([1e8, 1.0], 0.0),
    "huge counts": ([1e9, 1e30], 0.0),
    "far away": ([1.0, 1.0], 1e6),
    "absolute zero": ([1.8, 1.0], 273.15),
}


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("model", MODELS)
def test_units_do_not_matter(model, units):
    """Nor where zero is: predictions are the same, coefficients and their errors are those of the unit."""
    fit, y = MODELS[model]
    scale, origin = np.array(UNITS[units][0]), UNITS[units][1]
    a, b = fit(X, y), fit(X * scale + origin, y)
    assert b.status == a.status == Status.CONVERGED
    rtol = 1e-6 if origin < 1e5 else 1e-5
    column = scale[:, None] if a.params.ndim == 2 else scale
    np.testing.assert_allclose(b.params * column, a.params, rtol=rtol, atol=1e-8)
    np.testing.assert_allclose(b.stderr * column, a.stderr, rtol=rtol)
    np.testing.assert_allclose(b.predict(X * scale + origin), a.predict(X), rtol=1e-6)
    np.testing.assert_allclose(b.loglik, a.loglik, rtol=1e-9)


def test_large_counts():
    """exp of a linear predictor of 500 columns' units is far from overflow once they are standardised."""
    far = np.exp(30 + 5 * X[:, 0])
    fit = poisson(X * 1e6, np.round(far))
    assert fit.success
    np.testing.assert_allclose(fit.params * 1e6, [5, 0], atol=1e-6)
    np.testing.assert_allclose(fit.intercept, 30, rtol=1e-8)


def test_counts_of_nothing():
    """The likelihood rises as the mean falls to 0: no success, and nothing is nan but what is not defined."""
    fit = poisson(X, ZEROS)
    assert not fit.success
    assert np.isfinite(fit.params).all()


# Separation


def binary(X, y):
    return logistic(X, y)


THIRDS = np.digitize(x, np.quantile(x, [1 / 3, 2 / 3]))
SEPARATED = {  # fit, what is observed; complete, and quasi-complete: some rows lie in the plane between
    "logistic": (logistic, (x > 0).astype(float)),
    "probit": (lambda X, y: glm(X, y, link="probit"), (x > 0).astype(float)),
    "all of one kind": (logistic, ONES),
    "softmax": (softmax, THIRDS),
    "softmax, one class apart": (softmax, np.where(x > 0.5, 2, SHARE.astype(int))),
    "softmax, a class never seen": (softmax, SHARE.astype(int)),
}


def margins(fit, X, y, classes=2):
    """By how much a direction moves each row's own class ahead of every other."""
    way = np.asarray(fit.direction).reshape(classes - 1, -1)
    moved = np.column_stack([np.zeros(len(X)), np.column_stack([np.ones(len(X)), X]) @ way.T])
    own = moved[np.arange(len(X)), y.astype(int)]
    return own[:, None] - moved


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "probit" else ()) for name in SEPARATED]
)
def test_separation_is_named(name):
    fit, y = SEPARATED[name]
    found = fit(X, y)
    assert found.status == Status.SEPARATED
    assert not found.success
    classes = 3 if "softmax" in name else 2
    ahead = margins(found, X, y, classes)
    assert ahead.min() >= -1e-6
    assert ahead.max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(found.direction), 1)
    assert np.isnan(found.joint_covariance).all()
    assert np.isnan(found.pvalues).all()
    assert "rises without end along: " in found.message
    assert "SEPARATED" in found.summary()


def test_quasi_separation():
    """A group of which all are 1: only its own coefficient runs away, and it is named."""
    group = (np.arange(M) < 8).astype(float)
    rows = np.column_stack([group, x])
    y = np.where(group > 0, 1.0, SHARE)
    assert 0 < y[8:].mean() < 1
    fit = logistic(rows, y)
    assert fit.status == Status.SEPARATED
    np.testing.assert_allclose(fit.direction, [0, 1, 0], atol=1e-6)
    assert re.search(r"along: x1 1$", fit.message)
    penalised = logistic(rows, y, ridge=1.0)
    assert penalised.success
    assert not np.any(penalised.direction)
    assert np.isfinite(penalised.stderr).all()


def test_not_separated():
    """Rows far on the wrong side: well determined coefficients, though large."""
    y = (x > 0).astype(float)
    wrong = np.argsort(np.abs(x))[[M // 4, M // 4 + 1, M // 2]]
    y[wrong] = 1 - y[wrong]
    fit = logistic(X, y)
    assert fit.success
    assert np.isfinite(fit.stderr).all()
    assert fit.message.startswith("converged")
    assert not np.any(fit.direction)


def test_a_separated_fit_in_a_stack_spoils_no_other():
    ys = np.stack([SHARE, (x > 0).astype(float), 1 - SHARE])
    fit = logistic(X, ys)
    np.testing.assert_array_equal(fit.status == Status.SEPARATED, [False, True, False])
    for i in (0, 2):
        one = logistic(X, ys[i])
        np.testing.assert_allclose(fit.params[i], one.params, rtol=1e-7)
        np.testing.assert_allclose(fit.stderr[i], one.stderr, rtol=1e-7)


# Columns that do not determine the coefficients


def deficient(kind):
    twin = {"collinear": 2 * x, "constant": np.full(M, 3.0), "zero": ZEROS, "sum": 5 - 0.5 * x}[kind]
    return np.column_stack([x, twin])


@pytest.mark.parametrize("kind", ["collinear", "constant", "zero", "sum"])
@pytest.mark.parametrize("model", MODELS)
def test_deficient_columns(model, kind):
    """SINGULAR, along what; the means are those of the one column; no number is made of a singular matrix."""
    fit, y = MODELS[model]
    rows = deficient(kind)
    found = fit(rows, y)
    assert found.status == Status.SINGULAR
    assert np.isnan(found.joint_covariance).all()
    assert np.isnan(found.stderr).all()
    assert np.isnan(found.pvalues).all()
    classes = 3 if model == "softmax" else 2
    assert found.rank == 2 * (classes - 1)
    way = np.asarray(found.direction).reshape(classes - 1, 3)
    np.testing.assert_allclose(np.linalg.norm(way), 1)
    np.testing.assert_allclose(np.column_stack([np.ones(M), rows]) @ way.T, 0, atol=1e-7)
    assert "do not determine all coefficients" in found.message
    # the score of the one column and the constant
    np.testing.assert_allclose(np.stack([ONES, x]) @ found.residuals(rows, y), 0, atol=1e-6)


def least_norm(X, y, intercept):
    if not intercept:
        return 0.0, np.linalg.lstsq(X, y, rcond=None)[0]
    params = np.linalg.lstsq(X - X.mean(0), y - y.mean(), rcond=None)[0]
    return y.mean() - X.mean(0) @ params, params


@pytest.mark.parametrize(("intercept", "method"), [(True, "qr"), (False, "qr"), (True, "svd")])
def test_more_parameters_than_rows(intercept, method):
    wide = np.random.default_rng(1).normal(size=(5, 8))
    y = np.arange(5.0)
    fit = regression.linear(wide, y, intercept=intercept, method=method)
    first, params = least_norm(wide, y, intercept)
    assert fit.status == Status.SINGULAR
    np.testing.assert_allclose(fit.params, params, atol=1e-10)
    np.testing.assert_allclose(0.0 if fit.intercept is None else fit.intercept, first, atol=1e-10)
    np.testing.assert_allclose(fit.predict(wide), y, atol=1e-10)
    assert (fit.rank, fit.df_residual) == (5, 0)
    for figure in (fit.dispersion, fit.stderr, fit.pvalues, fit.conf_int()[0]):
        assert np.isnan(figure).all()
    assert "SINGULAR" in fit.summary()


@pytest.mark.parametrize("kind", ["collinear", "constant", "sum"])
def test_least_norm_of_deficient_columns(kind):
    rows = deficient(kind)
    fit = linear(rows, REAL)
    first, params = least_norm(rows, REAL, True)
    np.testing.assert_allclose([fit.intercept, *fit.params], [first, *params], atol=1e-10)


def test_a_ridge_determines_them():
    rows = deficient("collinear")
    fit = logistic(rows, SHARE, ridge=1.0)
    assert fit.success
    assert fit.rank == 2  # what the data determine
    np.testing.assert_allclose(fit.params[1], 2 * fit.params[0], rtol=1e-6)
    assert np.isfinite(fit.stderr).all()


def test_as_many_parameters_as_rows():
    """An exact fit: nothing is left to estimate a dispersion from."""
    square = np.random.default_rng(2).normal(size=(3, 2))
    fit = regression.linear(square, np.arange(3.0))
    assert fit.success
    assert fit.df_residual == 0
    np.testing.assert_allclose(fit.predict(square), np.arange(3.0), atol=1e-12)
    assert np.isnan(fit.dispersion)
    assert np.isnan(fit.stderr).all()
    assert np.isnan(fit.pvalues).all()


def test_nonlinear_parameters_that_are_not_determined():
    x = np.linspace(0, 1, 9)
    fit = regression.nonlinear(lambda x, p: p[0] * p[1] * x, x, 3 * x + 0.1 * np.sin(7 * x), [1.0, 1.0])
    assert fit.status == Status.SINGULAR
    assert np.isnan(fit.joint_covariance).all()


@pytest.mark.parametrize("start", np.linspace(-2.5, 2.5, 6))
def test_a_row_of_weight_0_where_the_model_has_no_value(start):
    """changes no verdict: the model rises and falls with p, so that starts end at different kinds of points."""
    x = np.array([1.0, 2.0, 3.0, 0.0])

    def model(x, p):
        return p[0] * jax.numpy.log(x) + jax.numpy.sin(3 * p[0]) * jax.numpy.log(x) ** 2

    fit = regression.nonlinear(model, x, x, [start], weights=[1.0, 1, 1, 0], solver=jn.GaussNewton())
    without = regression.nonlinear(model, x[:3], x[:3], [start], solver=jn.GaussNewton())
    assert fit.status == without.status
    np.testing.assert_allclose(fit.params, without.params, rtol=1e-9)


@pytest.mark.parametrize("start", [-1.0, np.nan])
def test_no_model_at_the_start(start):
    x = np.linspace(0, 1, 9)
    assert regression.nonlinear(logarithm, x, x, [start]).status == Status.NONFINITE


def logarithm(x, p):
    return jax.numpy.log(p[0]) * x


@pytest.mark.parametrize("starts", [[1.0, 1.0], pytest.param(np.ones((2, 2)), marks=pytest.mark.slow)])
def test_a_parameter_that_changes_nothing_is_named(starts):
    fit = nonlinear(slope_alone, x, REAL, starts)
    assert (fit.status == Status.SINGULAR).all()
    np.testing.assert_allclose(np.abs(fit.direction), np.broadcast_to([0.0, 1.0], fit.params.shape), atol=1e-7)
    one = fit[0] if fit.params.ndim > 1 else fit
    assert re.search(r"determine all parameters; nothing changes along: p2 -?1$", one.message)


def slope_alone(x, p):
    return p[0] * x


@pytest.mark.parametrize("starts", [[0.0], [[0.0], [1.0]]])
def test_a_maximum_of_the_squares_is_no_estimate(starts):
    """p = 0 is stationary for the residuals p and p^2 - 4, and they fall on both sides."""
    fit = nonlinear(lambda x, p: jax.numpy.stack([p[0], p[0] ** 2]), x, np.array([0.0, 4.0]), starts)
    first = fit if fit.params.ndim == 1 else fit[0]
    assert first.status == Status.SADDLE
    assert np.isnan(first.stderr).all()
    assert "no minimum" in first.message
    if first is not fit:
        assert fit.best.success
        np.testing.assert_allclose(fit.best.params, np.sqrt(3.5))


@pytest.mark.slow
def test_stacked_x_is_predicted_fit_by_fit():
    xs = np.stack([x, 2 * x, 3 * x])
    fit = nonlinear(line, xs, REAL, np.ones((3, 2)), x_stacked=True)
    np.testing.assert_allclose(fit.predict(xs), np.broadcast_to(fit.predict(xs)[0], (3, M)))
    np.testing.assert_allclose(fit.residuals(xs, REAL)[1], REAL - fit[1].predict(xs[1]))
    np.testing.assert_allclose(fit[1].residuals(xs[1], REAL), REAL - line(xs[1], fit.params[1]))
    with pytest.raises(ValueError, match=r"x must have one row for each of the 3 fits"):
        fit.predict(x)


def test_items_of_a_stack():
    fits = linear(X, np.stack([REAL, SHARE, COUNT]))
    np.testing.assert_array_equal(fits[1].params, fits.params[1])
    assert fits[1].summary() == linear(X, SHARE).summary()
    assert fits[[True, False, True]].params.shape == (2, P)
    assert fits[1:].status.shape == (2,)
    assert [one.rows for one in fits] == [M] * 3
    with pytest.raises(IndexError):
        fits[3]
    assert fits != linear(X, REAL)
    assert fits == fits


def test_names_are_any_sequence_of_str():
    pandas = pytest.importorskip("pandas")
    for rows in (X, X * [1, 0]):
        fit = linear(rows, REAL)
        want = fit.summary(["dose", "age"])
        assert "dose" in want
        for names in (("dose", "age"), np.array(["dose", "age"]), pandas.Index(["dose", "age"])):
            assert fit.summary(names) == want
    fit = softmax(X, THIRDS)
    assert "class high: age" in fit.summary(["dose", "age"], classes=["middle", "high"])
    np.testing.assert_array_equal(fit.residuals(X, THIRDS), fit.residuals(X, THIRDS.astype(float)))
    assert "class high: age" in fit.explained(["dose", "age"], ["middle", "high"])


@pytest.mark.parametrize("model", MODELS)
def test_data_frames(model):
    """Columns keep their names, and another order or other rows are refused."""
    pandas = pytest.importorskip("pandas")
    fit, y = MODELS[model]
    frame = pandas.DataFrame(X, columns=["dose", "age"], index=np.arange(M)[::-1])
    found, want = fit(frame, pandas.Series(y, frame.index)), fit(X, y)
    np.testing.assert_array_equal(found.params, want.params)
    assert found.summary() == want.summary(["dose", "age"])
    np.testing.assert_array_equal(found.predict(frame), want.predict(X))
    np.testing.assert_array_equal(found.predict(X), want.predict(frame))
    with pytest.raises(ValueError, match=r"in their order: dose, age; it has age, dose"):
        found.predict(frame[["age", "dose"]])
    for call in (fit, found.residuals):
        with pytest.raises(ValueError, match=r"X and y must have the same index"):
            call(frame, pandas.Series(y, frame.index).sort_index())


def test_out_of_trips():
    fit = regression.logistic(X, SHARE, weights=ONES, offset=ZEROS, max_steps=2)
    assert fit.status == Status.MAX_STEPS
    assert fit.nit == 2
    assert not fit.success


def test_what_is_traced_is_not_checked():
    found = jax.jit(linear)(with_(X, (3, 1), np.nan), REAL)
    assert not found.success
    assert np.isnan(found.stderr).all()
    assert found.status == Status.NONFINITE


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("where", ["X", "y"])
def test_traced_nan_is_not_finite(where, intercept):
    rows, y = (with_(X, (3, 1), np.nan), REAL) if where == "X" else (X, with_(REAL, 3, np.nan))
    found = jax.jit(lambda X, y: regression.linear(X, y, intercept=intercept))(rows, y)
    assert found.status == Status.NONFINITE
    assert not np.any(found.direction)


def test_what_single_precision_does_not_hold():
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"y must fit float32.*largest is 1e\+40"):
        regression.linear(X, 1e40 * SHARE)


def test_a_ridge_adds_no_rank():
    """More columns than rows: no freedom is left, and none is invented."""
    wide = np.random.default_rng(5).normal(size=(5, 20))
    fit = regression.linear(wide, np.arange(5.0), ridge=1.0)
    assert fit.success
    assert (fit.rank, fit.df_residual) == (5, 0)
    assert np.isnan(fit.stderr).all()
    twin = regression.linear(deficient("collinear"), REAL, ridge=1.0)
    assert (twin.rank, twin.df_residual) == (2, M - 2)
    assert np.isfinite(twin.stderr).all()
