"""scikit-learn's estimators: scikit-learn's own checks, and its own estimators' answers."""

import json
import pickle
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the extra sklearn is not installed")

from sklearn import datasets, linear_model
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from jaxnewton import Status
from jaxnewton.sklearn import LinearRegression, LogisticRegression, PoissonRegressor, Ridge

ALL = [LinearRegression(), Ridge(), LogisticRegression(), PoissonRegressor()]
EXPECTED_FAILURES: dict[str, dict[str, str]] = {}  # estimator: {check: reason}


def near(got, want, tol=1e-6):
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol * np.max(np.abs(want)))


def same_fit(ours, theirs, tol=1e-6):
    assert ours.coef_.shape == theirs.coef_.shape
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)
    near(ours.coef_, theirs.coef_, tol)
    near(ours.intercept_, theirs.intercept_, tol)


def standardised(load):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def weights_for(y, given):
    return np.random.default_rng(5).uniform(0.1, 3.0, len(y)) if given else None


def checks_of(estimators):
    return parametrize_with_checks(
        estimators, expected_failed_checks=lambda one: EXPECTED_FAILURES.get(type(one).__name__, {})
    )


@checks_of([LogisticRegression()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.slow  # a minute an estimator; .ci/run runs them
@checks_of([LinearRegression(), Ridge(), PoissonRegressor()])
def test_scikit_learns_checks_of_the_others(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("intercept", "weighted"), [(True, True), (False, False)])
def test_least_squares_agrees(intercept, weighted):
    X, y = datasets.load_diabetes(return_X_y=True)
    w = weights_for(y, weighted)
    theirs = linear_model.LinearRegression(fit_intercept=intercept).fit(X, y, w)
    ours = LinearRegression(fit_intercept=intercept).fit(X, y, w)
    same_fit(ours, theirs, 1e-9)
    near(ours.predict(X), theirs.predict(X), 1e-9)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y))


@pytest.mark.parametrize(
    ("alpha", "intercept", "weighted"), [(0.0, True, True), (0.3, True, True), (2.0, False, False)]
)
def test_ridge_agrees(alpha, intercept, weighted):
    X, y = datasets.load_diabetes(return_X_y=True)
    w = weights_for(y, weighted)
    theirs = linear_model.Ridge(alpha, fit_intercept=intercept, solver="svd").fit(X, y, w)
    same_fit(Ridge(alpha, fit_intercept=intercept).fit(X, y, w), theirs, 1e-9)


def test_several_targets():
    X, y = datasets.load_linnerud(return_X_y=True)
    same_fit(LinearRegression().fit(X, y), linear_model.LinearRegression().fit(X, y), 1e-9)
    alphas = np.array([0.5, 1.0, 20.0])
    ours, theirs = Ridge(alphas).fit(X, y), linear_model.Ridge(alphas, solver="svd").fit(X, y)
    same_fit(ours, theirs, 1e-9)
    near(ours.predict(X), theirs.predict(X), 1e-9)
    assert ours.fit_.status.shape == (3,)


def test_deficient_rank_has_the_minimum_norm():
    X, y = datasets.load_diabetes(return_X_y=True)
    X = np.c_[X, X[:, 0] + X[:, 1]]
    same_fit(LinearRegression().fit(X, y), linear_model.LinearRegression().fit(X, y), 1e-8)
    few = LinearRegression().fit(X[:6], y[:6])
    same_fit(few, linear_model.LinearRegression().fit(X[:6], y[:6]), 1e-8)


@pytest.mark.parametrize(
    ("alpha", "intercept", "weighted"), [(1.0, True, True), (0.01, True, True), (0.0, True, True), (0.1, False, False)]
)
def test_poisson_agrees(alpha, intercept, weighted):
    X, y = standardised(datasets.load_diabetes)
    w = weights_for(y, weighted)
    options = {"alpha": alpha, "fit_intercept": intercept}
    theirs = linear_model.PoissonRegressor(**options, solver="newton-cholesky", tol=1e-12).fit(X, y, w)
    ours = PoissonRegressor(**options).fit(X, y, w)
    same_fit(ours, theirs)
    near(ours.predict(X), theirs.predict(X))
    assert ours.score(X, y, w) == pytest.approx(theirs.score(X, y, w))
    assert 1 <= ours.n_iter_ < 30


@pytest.mark.parametrize(("intercept", "weighted"), [(True, True), (False, False)])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("load", [datasets.load_breast_cancer, datasets.load_iris, datasets.load_wine])
def test_logistic_agrees(load, C, intercept, weighted):
    X, y = standardised(load)
    w = weights_for(y, weighted)
    options = {"C": C, "fit_intercept": intercept}
    theirs = linear_model.LogisticRegression(**options, solver="newton-cholesky", tol=1e-12).fit(X, y, w)
    ours = LogisticRegression(**options).fit(X, y, w)
    same_fit(ours, theirs)
    near(ours.decision_function(X), theirs.decision_function(X))
    near(ours.predict_proba(X), theirs.predict_proba(X))
    assert (ours.predict(X) == theirs.predict(X)).all()
    assert ours.score(X, y) == theirs.score(X, y)
    assert ours.n_iter_.shape == (1,)


@pytest.mark.parametrize("options", [{"C": np.inf}, {"penalty": None}])
def test_logistic_without_a_penalty(options):
    X, y = datasets.load_iris(return_X_y=True)
    X, y = X[50:, 1:3], y[50:]  # two classes that overlap
    theirs = linear_model.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(X, y)
    same_fit(LogisticRegression(**options).fit(X, y), theirs)


def test_class_weights():
    X, y = standardised(datasets.load_wine)
    w = weights_for(y, True)
    for weight in ("balanced", {0: 2.0, 2: 0.5}):
        options = {"class_weight": weight}
        theirs = linear_model.LogisticRegression(**options, solver="newton-cholesky", tol=1e-12)
        same_fit(LogisticRegression(**options).fit(X, y), theirs.fit(X, y))
    even = LogisticRegression(class_weight="balanced").fit(X, y, w)
    sums = np.bincount(y, w)
    near(even.coef_, LogisticRegression().fit(X, y, w * (w.sum() / (3 * sums))[y]).coef_)


def test_labels_of_any_kind():
    X, y = standardised(datasets.load_iris)
    names = np.array(["setosa", "versicolor", "virginica"])
    plain = LogisticRegression().fit(X, y)
    for labels in (names[y], names.astype(object)[y], y - 1):
        named = LogisticRegression().fit(X, labels)
        assert named.classes_.tolist() == sorted(set(labels.tolist()))
        assert (named.predict(X) == labels).mean() == plain.score(X, y) > 0.95
    two = LogisticRegression().fit(X[:100], np.array(["no", "yes"])[y[:100]])
    assert set(two.predict(X).tolist()) == {"no", "yes"}
    assert np.array_equal(two.decision_function(X) > 0, two.predict(X) == "yes")


def test_log_probabilities_do_not_underflow():
    X, y = standardised(datasets.load_iris)
    for rows in (100, 150):
        model = LogisticRegression().fit(X[:rows], y[:rows])
        near(np.exp(model.predict_log_proba(X)), model.predict_proba(X), 1e-12)
        far = model.predict_log_proba(1e4 * X)
        assert np.isfinite(far).all()
        assert far.min() < -1e4


def test_standard_errors():
    X, y = datasets.load_diabetes(return_X_y=True)
    fit = LinearRegression().fit(X, y).fit_
    design = np.c_[np.ones(len(y)), X]
    b, squares, *_ = np.linalg.lstsq(design, y)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * squares[0] / (len(y) - len(b)))
    near(fit.stderr, errors[1:], 1e-9)
    near(fit.intercept_stderr, errors[0], 1e-9)
    names = list(datasets.load_diabetes().feature_names)
    assert all(name in fit.summary(names) for name in names)


def test_pipeline_and_search():
    X, y = datasets.load_breast_cancer(return_X_y=True)
    grid = {"logisticregression__C": [0.01, 1.0]}
    folds = KFold(3)  # 569 rows less 2: equal shapes compile once
    ours, theirs = (
        GridSearchCV(make_pipeline(StandardScaler(), one), grid, cv=folds, error_score="raise").fit(X[:567], y[:567])
        for one in (LogisticRegression(), linear_model.LogisticRegression(tol=1e-8, max_iter=1000))
    )
    assert ours.best_params_ == theirs.best_params_
    near(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    X, y = datasets.load_diabetes(return_X_y=True)
    for alpha in (0.0, 0.1, 10.0):
        scores = [cross_val_score(one, X[:441], y[:441], cv=3) for one in (Ridge(alpha), linear_model.Ridge(alpha))]
        near(*scores)


@pytest.mark.parametrize("one", ALL, ids=lambda one: type(one).__name__)
def test_pickle_and_clone(one):
    X, y = standardised(datasets.load_iris)
    fitted = clone(one).fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict(X), fitted.predict(X))
    assert again.fit_.summary() == fitted.fit_.summary()
    assert repr(again.fit_) == repr(fitted.fit_)
    fresh = clone(fitted)
    assert fresh.get_params() == one.get_params()
    assert not hasattr(fresh, "coef_")


@pytest.mark.parametrize("one", ALL, ids=lambda one: type(one).__name__)
def test_data_frames(one):
    pandas = pytest.importorskip("pandas")
    X, y = standardised(datasets.load_iris)
    frame = pandas.DataFrame(X, columns=["sl", "sw", "pl", "pw"])
    model = clone(one).fit(frame, pandas.Series(y, name="kind"))
    assert model.feature_names_in_.tolist() == ["sl", "sw", "pl", "pw"]
    assert model.n_features_in_ == 4
    assert model.fit_.columns == ("sl", "sw", "pl", "pw")
    near(model.coef_, clone(one).fit(X, y).coef_, 1e-12)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["sw", "sl", "pl", "pw"]])
    with pytest.warns(UserWarning, match="feature names"):
        model.predict(X)


def test_separated_classes_warn():
    X, y = datasets.load_iris(return_X_y=True)
    two = y < 2
    with pytest.warns(ConvergenceWarning, match="LogisticRegression: ") as seen:
        model = LogisticRegression(C=np.inf).fit(X[two], y[two])
    assert seen[0].filename == __file__
    assert not model.fit_.success
    assert model.fit_.status == Status.SEPARATED
    assert np.any(model.fit_.direction)
    assert model.score(X[two], y[two]) == 1
    with pytest.warns(ConvergenceWarning):
        LogisticRegression(penalty=None).fit(X, y)


def test_too_few_iterations_warn():
    X, y = standardised(datasets.load_wine)
    with pytest.warns(ConvergenceWarning, match="after max_iter trips"):
        model = LogisticRegression(max_iter=2).fit(X, y)
    assert model.n_iter_ == 2
    with pytest.warns(ConvergenceWarning, match="after max_iter trips"):
        PoissonRegressor(max_iter=2).fit(X, y)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (LinearRegression(fit_intercept="yes"), "fit_intercept must be"),
        (Ridge(-1.0), "alpha must be"),
        (Ridge("1"), "alpha must be"),
        (Ridge(np.ones(3)), "one for each target"),
        (PoissonRegressor(alpha=-1), "alpha must be"),
        (PoissonRegressor(alpha="1"), "alpha must be"),
        (PoissonRegressor(tol=0), "tol must be"),
        (PoissonRegressor(max_iter=0), "max_iter must be"),
        (LogisticRegression(C=0), "C must be"),
        (LogisticRegression(C=np.nan), "C must be"),
        (LogisticRegression("l1"), "penalty must be"),
        (LogisticRegression(max_iter=1.5), "max_iter must be"),
        (LogisticRegression(class_weight={7: 1.0}), "class_weight"),
    ],
)
def test_wrong_parameters(one, words):
    X, y = datasets.load_iris(return_X_y=True)
    with pytest.raises((TypeError, ValueError), match=words):
        one.fit(X, y)


def test_wrong_data():
    X, y = datasets.load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"at least 2 classes .* it has 1 class"):
        LogisticRegression().fit(X, np.ones(len(y)))
    with pytest.raises(ValueError, match="positive weight"):
        LogisticRegression().fit(X, y, y == 1)
    with pytest.raises(ValueError, match="y must be at least 0"):
        PoissonRegressor().fit(X, y - 1)
    with pytest.raises(ValueError, match="sample_weight"):
        Ridge().fit(X, y, -np.ones(len(y)))


IN_SINGLE = """
import json, jax, jax.numpy as jnp
from sklearn import datasets
from jaxnewton.sklearn import LogisticRegression, PoissonRegressor, Ridge

X, y = datasets.load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
before = {name: str(value) for name, value in jax.config.values.items()}
models = [one.fit(X, y) for one in (Ridge(), LogisticRegression(), PoissonRegressor())]
after = {name: str(value) for name, value in jax.config.values.items()}
fit = models[-1].fit_
values = [fit.params, fit.pvalues, *fit.conf_int(0.9), fit.predict(X), models[-1].predict(X)]
print(json.dumps({
    "changed": [name for name in after if after[name] != before[name]],
    "x64": jax.config.jax_enable_x64,
    "default": str(jnp.ones(2).dtype),
    "dtypes": sorted({str(value.dtype) for value in values}),
    "coef": [model.coef_.ravel().tolist() for model in models],
    "errors": [model.fit_.stderr.ravel().tolist() for model in models],
    "summary": fit.summary(),
}))
"""


def test_double_precision_where_jax_is_in_single():
    done = subprocess.run([sys.executable, "-W", "error", "-c", IN_SINGLE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["changed"], report["x64"], report["default"]) == ([], False, "float32")
    assert report["dtypes"] == ["float64"]
    X, y = standardised(datasets.load_iris)
    models = [one.fit(X, y) for one in (Ridge(), LogisticRegression(), PoissonRegressor())]
    for model, coef, errors in zip(models, report["coef"], report["errors"], strict=True):
        near(coef, model.coef_.ravel(), 1e-9)
        near(errors, model.fit_.stderr.ravel(), 1e-9)
    assert report["summary"] == models[-1].fit_.summary()


def test_threads_keep_their_own_precision():
    X, y = standardised(datasets.load_iris)
    want = LogisticRegression().fit(X, y).coef_
    got = {}

    def work(name):
        with jax.enable_x64(False):
            coef = LogisticRegression().fit(X, y).coef_
            got[name] = np.array_equal(coef, want) and not jax.config.jax_enable_x64

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == dict.fromkeys(range(3), True)


def test_without_scikit_learn():
    script = "import sys; sys.modules['sklearn'] = None\nimport jaxnewton\nimport jaxnewton.sklearn"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("ImportError: ")
    assert "pip install 'jaxnewton[sklearn]'" in done.stderr
