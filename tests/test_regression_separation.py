"""Where a likelihood has no maximum, and where it only seems so: against linear programmes, in both precisions."""

import jax
import numpy as np
import pytest
import scipy.optimize

from jaxnewton import Status, regression

M = 40
GOOD = (Status.CONVERGED, Status.NOISE_FLOOR)


def rises(sides, tied):
    """Whether some d has sides d >= 0, not all 0, and 0 where tied; ``sides`` (r, d), their columns of any scale."""
    rows = sides / np.abs(sides).max(0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ways = np.linalg.svd(rows)[2]
    free, bound = rows[~tied], rows[tied]
    d = ways.shape[0]
    given = {"A_eq": bound, "b_eq": np.zeros(len(bound))} if len(bound) else {}
    found = scipy.optimize.linprog(
        -free.sum(0), A_ub=-free, b_ub=np.zeros(len(free)), bounds=[(-1, 1)] * d, **given, method="highs"
    )
    return -found.fun


def skewed(seed, rows=M, columns=2):
    """Columns that span up to six decades, and an outcome that one of them decides, mostly."""
    rng = np.random.default_rng(seed)
    X = np.exp(rng.uniform(0.5, 2.5) * rng.normal(size=(rows, columns)))
    if seed % 3 == 0:
        X[:, 1] = X[:, 1] > 2
    score = np.log(X[:, 0]) + rng.choice([0.0, 0.05, 0.3, 1.0]) * rng.normal(size=rows)
    return X, score, rng


def overlapping(top, ahead):
    """A column of many decades, and classes that overlap in two rows."""
    x = 10.0 ** np.linspace(-2, top, M)
    y, k = (x > 1) * 1.0, np.searchsorted(x, 1.0)
    y[k], y[k - ahead] = 0, 1
    return x[:, None], y


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("top", "ahead", "want"), [(2.5, 2, (4.1084, 1.987)), (6, 1, (3.63610, 2.195))])
def test_overlap_in_a_skewed_column(top, ahead, want, dtype):
    """The figures are statsmodels'; six decades are too many for single precision, which says so."""
    X, y = overlapping(top, ahead)
    fit = regression.logistic(X.astype(dtype), y.astype(dtype))
    if (top, dtype) == (6, "f4"):
        assert not fit.success
        assert fit.status != Status.SEPARATED
        return
    assert fit.status in GOOD
    np.testing.assert_allclose([fit.params[0], fit.stderr[0]], want, rtol=3e-4)


def test_skewed_classes_in_single_precision():
    for seed in (0, 3, 7):
        rng = np.random.default_rng(seed)
        X = np.exp(1.5 * rng.normal(size=(80, 2)))
        y = np.digitize(np.log(X[:, 0]) + 0.6 * rng.normal(size=80), [-1, 1])
        fits = [regression.softmax(X.astype(dtype), y, classes=3) for dtype in ("f4", "f8")]
        assert all(fit.status in GOOD for fit in fits)
        np.testing.assert_allclose(fits[0].stderr, fits[1].stderr, rtol=1e-2)


@pytest.mark.parametrize("dtype", ["f4", pytest.param("f8", marks=pytest.mark.slow)])
def test_counts_that_are_all_zero(dtype):
    """Of a group, or of all rows; a column twice is another matter, and leaves rank and direction right."""
    rng = np.random.default_rng(1)
    X, group = rng.normal(size=(M, 2)), (np.arange(M) < 5) * 1.0
    counts = np.where(group > 0, 0.0, rng.poisson(np.exp(0.3 + X @ [0.5, -0.5])))
    rows = np.column_stack([X, group]).astype(dtype)
    fit = regression.poisson(rows, counts.astype(dtype))
    assert fit.status == Status.SEPARATED
    assert fit.rank == 4
    np.testing.assert_allclose(fit.direction, [0, 0, 0, -1], atol=1e-4)
    assert np.isnan(fit.stderr).all()
    nothing = regression.poisson(rows, np.zeros(M, dtype))
    assert nothing.status == Status.SEPARATED
    assert (np.column_stack([np.ones(M), rows]) @ np.asarray(nothing.direction) <= 1e-4).all()
    twice = regression.logistic(
        np.column_stack([X[:, 0], group, group]).astype(dtype), np.where(group > 0, 1, X[:, 1] > 0).astype(dtype)
    )
    assert twice.status == Status.SEPARATED
    assert (twice.rank, twice.df_residual) == (3, M - 3)
    np.testing.assert_allclose(twice.direction, [0, 0, 0.5**0.5, 0.5**0.5], atol=1e-4)


def test_no_more_rank_than_rows():
    fit = regression.logistic(np.random.default_rng(1).normal(size=(3, 3)), [0, 1, 0])
    assert fit.status == Status.SEPARATED
    assert (fit.rank, fit.df_residual) == (3, 0)


@pytest.mark.parametrize("model", ["logistic", "poisson", "softmax"])
def test_linear_programmes_agree(model):
    told = []
    for seed in range(40):
        X, score, rng = skewed(seed)
        D = np.column_stack([np.ones(M), X])
        if model == "logistic":
            y = (score > 0).astype(float)
            sides, tied = np.where(y > 0, 1, -1)[:, None] * D, np.zeros(M, bool)
        elif model == "poisson":
            y = np.where(score > 0, rng.poisson(2.0, M), 0) * (X[:, 1] != 1 if seed % 2 else 1.0)
            sides, tied = -D, y > 0
        else:
            y = np.digitize(score, [-1, 1])
            own, eye = np.eye(3)[y], np.eye(3)
            sides = np.concatenate([((own - eye[k])[:, 1:, None] * D[:, None]).reshape(M, -1) for k in range(3)])
            sides = sides[np.any(sides != 0, axis=1)]
            tied = np.zeros(len(sides), bool)
        fit = {
            "logistic": regression.logistic,
            "poisson": regression.poisson,
            "softmax": lambda X, y: regression.softmax(X, y, classes=3),
        }[model](X, y)
        gain = rises(sides, tied)
        told.append((seed, Status(int(fit.status)).name, gain, float(gain > 1e-7)))
    wrong = [
        one
        for one in told
        if (one[1] == "SEPARATED") != bool(one[3]) or (one[3] == 0 and one[1] not in ("CONVERGED", "NOISE_FLOOR"))
    ]
    assert not wrong, (sum(one[3] for one in told), wrong)


@pytest.mark.parametrize("dtype", [pytest.param("f4", marks=pytest.mark.slow), "f8"])
def test_a_column_twice_beside_a_direction_that_separates(dtype):
    """What is left of it after the projection is not decided by rounding."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X, group = rng.normal(size=(400, 2)), np.arange(400) % 10 == 0
        D = np.column_stack([X, group, X[:, 0]]).astype(dtype)
        fit = regression.logistic(D, (group | (X[:, 0] + rng.normal(size=400) > 0)).astype(dtype))
        assert (fit.status, fit.rank) == (Status.SEPARATED, 4)
        np.testing.assert_allclose(fit.direction, [0, 0, 0, 1, 0], atol=1e-4)
        among = regression.softmax(D, np.where(group, rng.integers(0, 2, 400), rng.integers(0, 3, 400)), classes=3)
        assert among.status == Status.SEPARATED


def test_a_stack_of_which_some_are_in_doubt():
    """Only those are looked at more closely; each is as it is alone."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(11, 30, 2))
    y = (X[..., 0] + rng.normal(size=(11, 30)) > 0).astype(float)
    y[3], y[7] = X[3, :, 0] > 0, X[7, :, 1] > 0
    X[9, :, 1] = X[9, :, 0]
    stack = regression.logistic(X, y)
    told = np.full(11, Status.CONVERGED)
    told[[3, 7, 9]] = Status.SEPARATED, Status.SEPARATED, Status.SINGULAR
    np.testing.assert_array_equal(stack.status, told)
    for k in range(11):
        one = regression.logistic(X[k], y[k])
        assert (one.status, one.rank) == (stack.status[k], stack.rank[k])
        np.testing.assert_allclose(stack.direction[k], one.direction, atol=1e-6)
        if one.success:
            np.testing.assert_allclose(stack.stderr[k], one.stderr, rtol=1e-9)
    inside = jax.jit(regression.logistic)(X, y)
    np.testing.assert_array_equal(inside.status, told)
