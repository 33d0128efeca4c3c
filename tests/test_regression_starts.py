"""Where logistic fits start, and how many fits are worked on at a time: against least squares, and plain maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import jaxnewton as jn
from jaxnewton import regression
from jaxnewton.regression import discriminant, families, stack
from jaxnewton.regression.likelihood import Likelihood
from jaxnewton.regression.multinomial import Multinomial

M = 400
LOGISTIC = Likelihood(*families.family_and_link("binomial", None))


def two_classes(seed, apart=1.0, share=0.4, columns=3):
    rng = np.random.default_rng(seed)
    y = (rng.random(M) < share).astype(float)
    return rng.normal(size=(M, columns)) + apart * np.outer(y, rng.normal(size=columns)), y


def start(X, y, *, intercept, weights=(1.0,), offset=(0.0,), ridge=0.0, dtype=np.float64):
    """Of ``discriminant.ahead``, from the mean that y has, and that mean's logit."""
    Z = np.vstack([np.ones(len(y)), X.T]) if intercept else X.T
    null, penalty = np.zeros(len(Z)), np.full(len(Z), ridge)
    if intercept:
        null[0], penalty[0] = special.logit(np.average(y, weights=np.resize(weights, len(y)))), 0
    given = (jnp.asarray(part, dtype) for part in (Z, y, weights, offset, penalty))
    return discriminant.ahead(jnp.asarray(null, dtype), intercept, *given), null, Z


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("apart", [0.3, 0.6])
def test_slopes_are_those_of_least_squares_over_its_mean_square(apart, dtype):
    """Haggstrom (1983): the discriminant's coefficients are the regression's by rows / residual sum of squares."""
    X, y = two_classes(0, apart)
    ahead, *_ = start(X, y, intercept=True, dtype=dtype)
    assert ahead.dtype == dtype
    design = np.column_stack([np.ones(M), X])
    slopes, (squares,), *_ = np.linalg.lstsq(design, y)
    np.testing.assert_allclose(ahead[1:], slopes[1:] * M / squares, rtol=1e-4 if dtype == np.float32 else 1e-10)


def test_classes_that_hardly_overlap_stretch_a_step_to_twice_its_length():
    X, y = two_classes(1, apart=3.0)
    ahead, null, Z = start(X, y, intercept=True)
    mean = y.mean()
    step = np.linalg.solve(mean * (1 - mean) * Z @ Z.T, Z @ (y - mean))
    np.testing.assert_allclose(ahead - null, discriminant.STRETCH * step, rtol=1e-9)


@pytest.mark.parametrize("weights", [1.0, 0.0])
def test_no_row_that_counts_is_moved_far(weights):
    X, y = two_classes(2, share=0.02)
    X[0], y[0] = 1e4, 1
    each = np.ones(M)
    each[0] = weights
    ahead, null, Z = start(X, y, intercept=True, weights=each)
    moved = np.abs((ahead - null) @ Z)[each > 0].max()
    if weights:
        np.testing.assert_allclose(moved, discriminant.FAR, rtol=1e-12)
    else:
        assert 0 < moved < discriminant.FAR


def test_columns_that_determine_nothing_are_not_followed():
    X, y = two_classes(3)
    X = np.column_stack([X, X[:, 0] - X[:, 1]])
    ahead, null, _ = start(X, y, intercept=True)
    np.testing.assert_array_equal(ahead, null)
    penalised, null, _ = start(X, y, intercept=True, ridge=0.1)
    assert np.abs(penalised - null).max() > 0.01


def test_an_offset_is_taken_for_known():
    """From means that an offset gives, and towards the fit that has it: nearer than the mean is."""
    X, y = two_classes(4)
    offset = 2 * X[:, 0]
    ahead, null, _ = start(X, y, intercept=True, offset=offset)
    fit = regression.logistic(X, y, offset=offset)
    end = np.concatenate([[fit.intercept], fit.params])
    assert np.linalg.norm(ahead - end) < 0.3 * np.linalg.norm(null - end)


@pytest.mark.parametrize("intercept", [True, False])
def test_a_stack_takes_two_trips_less_than_from_zero(intercept):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(200, 100, 3))
    y = (rng.random((200, 100)) < special.expit(np.einsum("bmp,bp->bm", X, rng.normal(size=(200, 3))))).astype(float)
    fits = regression.logistic(X, y, ridge=1.0, intercept=intercept)

    def loss(theta, X, y):
        eta = X @ theta[:3] + (theta[3] if intercept else 0.0)
        return jnp.sum(jnp.logaddexp(0.0, eta) - y * eta) + 0.5 * jnp.sum(theta[:3] ** 2)

    plain = jn.minimize_batch(loss, np.zeros((200, 3 + intercept)), (X, y), args_axes=0, solver=jn.Newton())
    np.testing.assert_allclose(fits.params, plain.x[:, :3], atol=1e-6)
    assert np.mean(fits.nit) < np.mean(plain.nit) - 1.5


@pytest.mark.parametrize(("own", "lanes"), [(1, 64), (400, 64), (2048, 64), (5000, 16), (63_000, 4), (10**9, 4)])
def test_lanes_are_as_many_as_stay_in_cache(own, lanes):
    assert LOGISTIC.lanes(own) == lanes
    assert Multinomial(3, 0).lanes(own) <= lanes


@pytest.mark.parametrize("fits", [1, 5, 31, 300])
@pytest.mark.parametrize("rows", [3, stack.IN_CACHE // 4])
def test_a_stack_in_chunks_is_a_plain_map(fits, rows):
    own, shared = np.arange(fits * 2.0).reshape(fits, 2), np.linspace(0, 1, 3)
    far = np.broadcast_to(np.arange(rows, dtype=np.float32), (fits, rows))

    def one(own, shared, far):
        return own.sum() * shared, far[-1]

    found = stack.over_stack(one, (0, None, 0), own, shared, far)
    jax.tree.map(np.testing.assert_array_equal, found, jax.vmap(one, (0, None, 0))(own, shared, far))


@pytest.mark.parametrize("columns", [2, 11])  # by LDL' unrolled, and by Cholesky
def test_derivatives_of_a_fit_pass_its_start_by(columns):
    X, y = two_classes(6, columns=columns)

    def size(ridge):
        return jnp.sum(regression.logistic(X, y, ridge=ridge).params ** 2)

    step = 1e-4
    differences = (size(1 + step) - size(1 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(size)(1.0), differences, rtol=1e-6)


def test_a_traced_fit_without_rows_that_count_is_0():
    """Where values are not to be checked: the ridge alone decides, as it does for its neighbours in a stack."""
    X, y = two_classes(7)
    weights = np.stack([np.ones(M), np.zeros(M)])
    params = jax.jit(lambda weights: regression.logistic(X, y, weights=weights, ridge=1.0).params)(weights)
    np.testing.assert_allclose(params[0], regression.logistic(X, y, ridge=1.0).params, rtol=1e-6)
    np.testing.assert_array_equal(params[1], 0)


def test_ridges_of_one_data_set_share_a_start():
    """Which takes no more memory than one fit's, whatever their number."""
    X, y = two_classes(8)
    ridges = np.logspace(-3, 5, 9)
    fits = regression.logistic(X, y, ridge=ridges)
    for ridge, params in zip(ridges, fits.params, strict=True):
        np.testing.assert_allclose(params, regression.logistic(X, y, ridge=ridge).params, rtol=1e-6, atol=1e-9)
    assert np.max(fits.nit) <= 6
