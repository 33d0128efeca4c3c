"""Fits that go through their rows in blocks: the same as at once, whatever the blocks, and no copies."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest

import jaxnewton as jn
from jaxnewton import Status
from jaxnewton.regression import rows
from jaxnewton.regression.multinomial import Multinomial

ROWS, COLUMNS = 3000, 3
FAMILIES = {"binomial": None, "poisson": None, "gaussian": None, "gamma": "log"}
FIELDS = (
    "params",
    "intercept",
    "stderr",
    "intercept_stderr",
    "loglik",
    "deviance",
    "dispersion",
    "rows",
    "rank",
    "bic",
)


def data(family, dtype=np.float64):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(ROWS, COLUMNS)) * [1, 20, 0.1] + [0, 300, 0]
    eta = X @ [0.5, 0.02, -1.0] - 6.0
    y = {
        "binomial": rng.uniform(size=ROWS) < 1 / (1 + np.exp(-eta)),
        "poisson": rng.poisson(np.exp(eta)),
        "gaussian": eta + rng.normal(size=ROWS),
        "gamma": rng.gamma(2.0, np.exp(eta) / 2),
    }[family]
    return (
        X.astype(dtype),
        y.astype(dtype),
        rng.uniform(0.0, 2.0, ROWS).astype(dtype),
        rng.normal(size=ROWS).astype(dtype),
    )


@pytest.fixture(name="small")
def _small(monkeypatch):
    """Data that are small count as large, in blocks that do not divide them."""
    monkeypatch.setattr(rows, "LARGE", 100)
    monkeypatch.setattr(rows, "ENTRIES", 700 * COLUMNS)


def assert_same(fit, other, rtol=1e-9):
    for field in FIELDS:
        np.testing.assert_allclose(getattr(fit, field), getattr(other, field), rtol=rtol, err_msg=field)
    assert fit.success
    assert other.success


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ridge", [pytest.param(0.0, marks=pytest.mark.slow), 3.0])
def test_as_at_once(family, ridge, monkeypatch):
    X, y, weights, offset = data(family)
    options = {"family": family, "link": FAMILIES[family], "ridge": ridge}
    whole = jn.regression.glm(X, y, weights=weights, offset=offset, **options)
    monkeypatch.setattr(rows, "LARGE", 100)
    monkeypatch.setattr(rows, "ENTRIES", 700 * COLUMNS)
    assert_same(jn.regression.glm(X, y, weights=weights, offset=offset, **options), whole)

    def source():
        for part in np.array_split(np.arange(ROWS), 7):
            yield X[part], y[part], weights[part], offset[part]

    assert_same(jn.regression.glm(jn.regression.Blocks(source), **options), whole)


NO_INTERCEPT = [("gamma", None), ("gamma", "identity"), ("poisson", "identity"), ("poisson", None), ("binomial", None),
                ("binomial", "identity"), ("inverse-gaussian", None)]  # fmt: skip


@pytest.mark.parametrize(
    ("family", "link"),
    [pytest.param(*case, marks=pytest.mark.slow if case in NO_INTERCEPT[2:] else ()) for case in NO_INTERCEPT],
)
def test_without_an_intercept(family, link, monkeypatch):
    """Where a mean of 0 is none, the fit does not start from there."""
    rng = np.random.default_rng(3)
    X = rng.uniform(0.1, 0.4, (600, 2))
    eta = X @ [1.0, 0.8]
    mean = {"inverse-gaussian": eta**-0.5}.get(family, 1 / eta if (family, link) == ("gamma", None) else eta)
    y = {
        "gamma": mean * rng.gamma(8.0, 1 / 8, 600),
        "poisson": rng.poisson(mean),
        "binomial": (rng.uniform(size=600) < mean).astype(float),
        "inverse-gaussian": rng.wald(mean, 30.0),
    }[family]
    options = {"family": family, "link": link, "intercept": False}
    whole = jn.regression.glm(X, y, **options)
    monkeypatch.setattr(rows, "LARGE", 100)
    monkeypatch.setattr(rows, "ENTRIES", 2 * 170)
    found = jn.regression.glm(X, y, **options)
    assert found.success
    assert whole.success
    for field in ("params", "stderr", "loglik", "dispersion"):
        np.testing.assert_allclose(getattr(found, field), getattr(whole, field), rtol=1e-7, err_msg=field)


@pytest.mark.parametrize("intercept", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_linear_of_least_norm(intercept, monkeypatch):
    X, y, weights, offset = data("gaussian")
    X = np.column_stack([X, X[:, 0] - 0.1 * X[:, 1], 2 * X[:, 2]])
    options = {"weights": weights, "offset": offset, "intercept": intercept}
    whole = jn.regression.linear(X, y, **options)
    monkeypatch.setattr(rows, "LARGE", 100)
    monkeypatch.setattr(rows, "ENTRIES", 700 * 5)
    found = jn.regression.linear(X, y, **options)
    assert found.status == whole.status == Status.SINGULAR
    assert found.rank == whole.rank
    np.testing.assert_allclose(found.params, whole.params, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.predict(X), whole.predict(X), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.dispersion, whole.dispersion, rtol=1e-9)
    # singular values are of the whole
    np.testing.assert_allclose(jn.regression.linear(X, y, method="svd", **options).params, whole.params, atol=1e-9)
    with pytest.raises(ValueError, match=r'method must be "qr" for jn\.regression\.Blocks'):
        jn.regression.linear(jn.regression.Blocks(lambda: iter([(X, y)])), method="svd")


def test_what_only_a_fit_in_memory_can_do(small):
    """A stack and a trace take data that count as large whole."""
    X, y, *_ = data("gaussian")
    stack = jn.regression.linear(X, np.stack([y, 2 * y]))
    single = jn.regression.linear(X, pandas.Series(y))
    np.testing.assert_allclose(stack.params, np.stack([single.params, 2 * single.params]), rtol=1e-9)
    traced = jax.jit(lambda y: jn.regression.linear(X, y).params)(y)
    np.testing.assert_allclose(traced, single.params, rtol=1e-9)
    np.testing.assert_array_equal(jn.regression.linear(X.astype(object), y).params, single.params)
    with pytest.raises(TypeError, match="y must hold real numbers"):
        jn.regression.linear(X, y + 1j)
    with pytest.raises(TypeError, match="not under jit"):
        jax.jit(lambda ridge: jn.regression.linear(jn.regression.Blocks(lambda: [(X, y)]), ridge=ridge).params)(1.0)


def test_blocks_of_an_array_are_views():
    X, y = jnp.ones((2**16, 8)), jnp.zeros(2**16)
    blocks = list(rows.reader(X, y, None, None)())
    assert len(blocks) == 2
    for at, (count, block) in enumerate(blocks):
        assert count == 2**15
        assert np.shares_memory(block.X, np.asarray(X))
        place = block.X.__array_interface__["data"][0]
        assert place == X.unsafe_buffer_pointer() + at * X.nbytes // 2
        assert place % 64 == 0


def test_empty_blocks():
    X, y, *_ = data("gaussian")
    parts = [slice(0, 0), slice(0, 2000), slice(2000, 2000), slice(2000, ROWS), slice(0, 0)]
    found = jn.regression.linear(jn.regression.Blocks(lambda: ((X[part], y[part]) for part in parts)))
    assert_same(found, jn.regression.linear(X, y))


def test_a_source_that_is_spent():
    X, y, *_ = data("binomial")
    spent = iter([(X[:100], y[:100]), (X[100:], y[100:])])
    with pytest.raises(ValueError, match=r"same rows each time it is called: at first these were 3000, now 0\. An"):
        jn.regression.logistic(jn.regression.Blocks(lambda: spent))


def test_rows_are_those_of_the_source():
    """Not of blocks that were filled up."""
    X, y, *_ = data("binomial")
    X[250, 1] = np.nan
    parts = [slice(0, 100), slice(100, 130), slice(130, 200), slice(200, 300)]
    with pytest.raises(ValueError, match=r"X must be finite; it has nan or inf in rows 250\. Drop"):
        jn.regression.logistic(jn.regression.Blocks(lambda: ((X[rows], y[rows]) for rows in parts)))


def test_linear(small):
    X, y, *_ = data("gaussian")
    A = np.column_stack([np.ones(ROWS), X])
    fit, wanted = jn.regression.linear(X, y), np.linalg.lstsq(A, y, rcond=None)[0]
    np.testing.assert_allclose(np.append(fit.intercept, fit.params), wanted, rtol=1e-9)
    assert fit.student


def test_memory_map_and_single_precision(small, tmp_path):
    X, y, *_ = data("binomial", np.float32)
    np.save(tmp_path / "X.npy", X)
    fit = jn.regression.logistic(np.load(tmp_path / "X.npy", mmap_mode="r"), y)
    wide = jn.regression.logistic(X.astype(float), y.astype(float))
    assert fit.params.dtype == np.float64  # what is added up is
    assert_same(fit, wide)


def test_troubles(small):
    X, y, *_ = data("binomial")
    separated = jn.regression.logistic(X, X[:, 0] > 0.3)
    assert separated.status == Status.SEPARATED
    way = np.asarray(separated.direction)
    margins = np.where(X[:, 0] > 0.3, 1, -1) * (X @ way[1:] + way[0])
    assert margins.min() >= -1e-6 * margins.max()
    assert np.isnan(separated.stderr).all()
    dependent = jn.regression.logistic(np.column_stack([X, X[:, 0] - X[:, 2]]), y)
    assert dependent.status == Status.SINGULAR
    np.testing.assert_allclose(np.abs(dependent.direction[1:]), np.array([1, 0, 1, 1]) / np.sqrt(3), atol=1e-4)

    X[1234, 1] = np.nan
    with pytest.raises(ValueError, match=r"X must be finite; it has nan or inf in rows 1234"):
        jn.regression.logistic(X, y)
    y[[2000, 2999]] = 2
    with pytest.raises(ValueError, match=r"y must be 0 or 1, or a share between them; it is 2\.0 in rows 2000"):
        jn.regression.logistic(np.nan_to_num(X), y)


@pytest.mark.parametrize(
    ("source", "error", "sentence"),
    [
        (lambda: iter([]), ValueError, "no rows of positive weight"),
        (lambda: [np.ones((3, 2))], TypeError, "a block must be a tuple"),
        (lambda: [(np.ones((3, 2)), np.ones(4))], ValueError, "a block must have X"),
        (lambda: [(np.ones((3, 2)), np.ones(3)), (np.ones((3, 1)), np.ones(3))], ValueError, "as many columns"),
    ],
)
def test_refusals(source, error, sentence):
    with pytest.raises(error, match=sentence):
        jn.regression.logistic(jn.regression.Blocks(source))
    with pytest.raises(ValueError, match="bring their own y"):
        jn.regression.logistic(jn.regression.Blocks(source), np.ones(3))
    with pytest.raises(TypeError, match="source must be a function"):
        jn.regression.Blocks([(np.ones((3, 2)), np.ones(3))])


def classes(dtype=np.float64):
    rng = np.random.default_rng(4)
    X, _, weights, _ = data("gaussian", dtype)
    eta = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=(COLUMNS, 4))
    return X, np.argmax(eta + rng.gumbel(size=eta.shape), axis=1), weights


@pytest.mark.parametrize(
    "options", [{"ridge": 3.0}, {"reference": 2}, pytest.param({"intercept": False}, marks=pytest.mark.slow)]
)
def test_softmax_as_at_once(options, monkeypatch):
    X, y, weights = classes()
    whole = jn.regression.softmax(X, y, weights=weights, **options)
    monkeypatch.setattr(rows, "LARGE", 100)
    monkeypatch.setattr(rows, "ENTRIES", 700 * COLUMNS)
    found = jn.regression.softmax(X, y, weights=weights, **options)
    fields = [field for field in FIELDS if getattr(whole, field) is not None]

    def source():
        for part in np.array_split(np.arange(ROWS), 7):
            yield X[part], y[part], weights[part]

    again = jn.regression.softmax(jn.regression.Blocks(source), classes=4, **options)
    for fit in (found, again):
        assert fit.success
        for field in fields:
            np.testing.assert_allclose(getattr(fit, field), getattr(whole, field), rtol=1e-9, err_msg=field)
        np.testing.assert_allclose(fit.joint_covariance, whole.joint_covariance, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(fit.predict(X), whole.predict(X), rtol=1e-9)
        assert "class 3" in fit.summary()


def test_softmax_block_against_derivatives():
    """Where all but some shares are 0, too."""
    model, rng = Multinomial(4, 1), np.random.default_rng(0)
    Z, y = rng.normal(size=(40, 3)), rng.integers(0, 4, 40).astype(float)
    weights, x = rng.uniform(0.0, 2.0, 40), rng.normal(size=9)

    def loss(x):
        log = model.probabilities(Z @ x.reshape(3, 3).T)[1]
        return -jnp.sum(weights * jnp.take_along_axis(log, y.astype(int)[:, None], axis=1)[:, 0])

    at = model.evaluate_block(jnp.asarray(x), *map(jnp.asarray, (Z, y, weights, np.zeros(40))))
    np.testing.assert_allclose(at.f, loss(x), rtol=1e-14)
    np.testing.assert_allclose(at.g, jax.grad(loss)(x), rtol=1e-11)
    np.testing.assert_allclose(at.H, jax.hessian(loss)(x), rtol=1e-11, atol=1e-13)

    sure = jnp.array([-40.0, -50.0, -60.0])  # shares of e^-40 and less beside 1, of which 1 - p shows nothing
    one = model.evaluate_block(sure, jnp.ones((1, 1)), jnp.ones(1), jnp.ones(1), jnp.zeros(1))
    np.testing.assert_allclose(jnp.diagonal(one.H), np.exp(sure), rtol=1e-14)
    reference = Multinomial(4, 0).evaluate_block(-sure[:1] * jnp.array([1.0, 0, 0]), *map(jnp.ones, ((1, 1), 1, 1, 1)))
    np.testing.assert_allclose(reference.H[0, 0], 3 * np.exp(-40.0), rtol=1e-14)


def test_softmax_in_single_precision(small, tmp_path):
    X, y, _ = classes(np.float32)
    np.save(tmp_path / "X.npy", X)
    fit = jn.regression.softmax(np.load(tmp_path / "X.npy", mmap_mode="r"), y.astype(np.uint8))
    wide = jn.regression.softmax(X.astype(float), y)
    assert fit.params.dtype == np.float64
    assert_same(fit, wide)


def test_troubles_of_softmax(small):
    X, y, _ = classes()
    labels = np.searchsorted([-0.7, 0.0, 0.7], X[:, 0])
    apart = jn.regression.softmax(X, labels)
    assert apart.status == Status.SEPARATED
    way = np.asarray(apart.direction).reshape(3, -1)
    eta = np.column_stack([np.zeros(ROWS), X @ way[:, 1:].T + way[:, 0]])
    ahead = np.take_along_axis(eta, labels[:, None], axis=1) - eta
    assert ahead.min() >= -1e-5 * ahead.max()
    assert np.isnan(apart.stderr).all()
    dependent = jn.regression.softmax(np.column_stack([X, X[:, 0] - X[:, 2]]), y)
    assert dependent.status == Status.SINGULAR
    assert dependent.rank == 3 * 4
    moved = np.asarray(dependent.direction).reshape(3, -1)[:, 1:]
    outer = np.array([1, 0, -1, -1]) / np.sqrt(3)
    np.testing.assert_allclose(np.abs(moved @ outer), np.linalg.norm(moved, axis=1), atol=1e-4)
    never = jn.regression.softmax(X, y, classes=5)  # a class that no row has
    assert never.status == Status.SEPARATED


@pytest.mark.parametrize(
    ("labels", "options", "sentence"),
    [
        ({200: 0.5}, {}, r"y must be class numbers: whole, from 0 on; it is 0\.5 in rows 200"),
        ({200: -1, 2900: -2}, {}, r"whole, from 0 on; it is -1\.0 in rows 200, 2900"),
        ({200: 4}, {"classes": 4}, r"whole, from 0 to classes - 1 = 3; it is 4\.0 in rows 200"),
        ({200: np.nan}, {}, r"y must be finite; it has nan or inf in rows 200"),
        ({200: 6}, {}, r"y has no row of class 4, 5, of 0 to 6"),
        ({}, {"reference": 4}, "reference must be a class number from 0 to 3; it is 4"),
        ({}, {"weights": np.ones(5)}, "weights must have as many rows as X, 3000"),
    ],
)
def test_refusals_of_softmax(labels, options, sentence, small):
    X, y, _ = classes()
    y = y.astype(float)
    y[list(labels)] = list(labels.values())
    with pytest.raises(ValueError, match=sentence):
        jn.regression.softmax(X, y, **options)


def test_refusals_of_softmax_from_a_source():
    X, y, _ = classes()
    with pytest.raises(ValueError, match=r"classes must be given where y is traced, and for jn\.regression\.Blocks"):
        jn.regression.softmax(jn.regression.Blocks(lambda: [(X, y)]))
    with pytest.raises(ValueError, match=r"whole, from 0 to classes - 1 = 2; it is 3\.0 in rows"):
        jn.regression.softmax(jn.regression.Blocks(lambda: [(X, y)]), classes=3)


@pytest.mark.parametrize("model", ["logistic", "poisson", "softmax"])
def test_a_group_of_one_outcome(model, small):
    """As common as separation is: all other rows lie in the plane that the direction is normal to."""
    X, labels, _ = classes()
    group = np.random.default_rng(5).random(ROWS) < 0.1
    y = {
        "logistic": np.where(group, 1.0, labels % 2),
        "poisson": np.where(group, 0.0, labels),
        "softmax": np.where(group, labels % 2, labels % 3),
    }[model]
    fit = getattr(jn.regression, model)(np.column_stack([X, group]), y)
    assert fit.status == Status.SEPARATED
    way = np.asarray(fit.direction).reshape(-1, 5)
    np.testing.assert_allclose(np.abs(way).max(), 1.0, rtol=0.5)
    np.testing.assert_array_equal(way[:, :-1], 0.0)  # of the group's column alone


def test_one_group_against_another(small):
    """Where a group is not the other, all outcomes are alike: the direction is their columns' difference."""
    X, labels, _ = classes()
    a, b = np.random.default_rng(6).random((2, ROWS)) < 0.3
    y = np.where(a & ~b, 1, np.where(b & ~a, 0, labels % 2))
    fit = jn.regression.logistic(np.column_stack([X[:, :1], a, b]), y)
    assert fit.status == Status.SEPARATED
    np.testing.assert_allclose(fit.direction, np.array([0, 0, 1, -1]) / np.sqrt(2), atol=1e-3)


def test_no_success_where_a_class_is_apart(small):
    """One class of three beyond a threshold: the plane is oblique, and may not be found, but no estimate exists."""
    X, labels, _ = classes()
    fit = jn.regression.softmax(X, np.where(X[:, 0] > 1.5, 2, labels % 2))
    assert not fit.success
