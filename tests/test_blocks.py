"""Fits that go through their rows in blocks: the same as at once, whatever the blocks, and no copies."""

import numpy as np
import pytest

import jaxnewton as jn
from jaxnewton import Status
from jaxnewton.regression import blocks

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
    monkeypatch.setattr(blocks, "LARGE", 100)
    monkeypatch.setattr(blocks, "ENTRIES", 700 * COLUMNS)


def assert_same(fit, other, rtol=1e-9):
    for field in FIELDS:
        np.testing.assert_allclose(getattr(fit, field), getattr(other, field), rtol=rtol, err_msg=field)
    assert fit.success
    assert other.success


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ridge", [0.0, 3.0])
def test_as_at_once(family, ridge, monkeypatch):
    X, y, weights, offset = data(family)
    options = {"family": family, "link": FAMILIES[family], "ridge": ridge}
    whole = jn.regression.glm(X, y, weights=weights, offset=offset, **options)
    monkeypatch.setattr(blocks, "LARGE", 100)
    monkeypatch.setattr(blocks, "ENTRIES", 700 * COLUMNS)
    assert_same(jn.regression.glm(X, y, weights=weights, offset=offset, **options), whole)

    def source():
        for part in np.array_split(np.arange(ROWS), 7):
            yield X[part], y[part], weights[part], offset[part]

    assert_same(jn.regression.glm(jn.regression.Blocks(source), **options), whole)


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
        jn.regression.Blocks(np.ones(3))
