"""The dense kernels for one lane, run as the pool runs them (lanes last), against numpy.linalg."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxnewton import linalg, tridiagonal
from jaxnewton.loop import over_lanes
from jaxnewton.solvers.common import resolution

SIZES = (1, 2, 3, 4, 5, 6)
DTYPES = (np.float32, np.float64)
EACH = 25  # random matrices a family

# Families whose lowest eigenvalue a fixed number of Laguerre steps need not bring to the last digit: what they do.
LOOSE = {
    "clustered": 1e-3,  # of the norm; a cluster of several, away from zero, is approached linearly
    "graded rows": 1e-9,  # far from zero in units of itself: more steps are spent on the way
}


def with_spectrum(rng, lam):
    Q = np.linalg.qr(rng.normal(size=(len(lam), len(lam))))[0]
    return (Q * lam) @ Q.T


# Each: (rng, n) -> a symmetric matrix of norm about 1. A family is a way in which eigenvalues can be awkward.
FAMILIES = {
    "random": lambda rng, n: with_spectrum(rng, rng.normal(size=n)),
    "positive": lambda rng, n: with_spectrum(rng, rng.uniform(0.1, 1, n)),
    "negative": lambda rng, n: with_spectrum(rng, -rng.uniform(0.1, 1, n)),
    "indefinite": lambda rng, n: with_spectrum(rng, np.linspace(-1, 1, n)),
    "graded": lambda rng, n: with_spectrum(rng, 10.0 ** -np.arange(n)),
    "steeply graded": lambda rng, n: with_spectrum(rng, 10.0 ** (-2.0 * np.arange(n))),
    "graded diagonal": lambda rng, n: np.diag(10.0 ** -rng.permutation(n)),
    "graded rows": lambda rng, n: 10.0 ** -np.add.outer(np.arange(n), np.arange(n)) * FAMILIES["random"](rng, n),
    "clustered": lambda rng, n: with_spectrum(rng, np.where(np.arange(n) % 2, 1, 0.5) + 1e-4 * rng.normal(size=n)),
    "equal": lambda rng, n: with_spectrum(rng, np.ones(n)),
    "equal pairs": lambda rng, n: with_spectrum(rng, np.where(np.arange(n) % 2, 1.0, -0.5)),
    "singular": lambda rng, n: with_spectrum(rng, np.r_[0, rng.uniform(0.1, 1, n - 1)]),
    "rank one": lambda rng, n: np.outer(*2 * (with_spectrum(rng, np.ones(n))[0],)),
    "indefinite, singular": lambda rng, n: with_spectrum(rng, np.r_[np.linspace(-1, 1, n)[: n - 1], 0]),
    "diagonal": lambda rng, n: np.diag(rng.normal(size=n)),
    "tridiagonal": lambda rng, n: np.triu(np.tril(FAMILIES["random"](rng, n), 1), -1),
    "zero": lambda rng, n: np.zeros((n, n)),
    "zeros beside the diagonal": lambda rng, n: np.fliplr(np.eye(n)) * (1 + np.add.outer(np.arange(n), np.arange(n))),
}


@functools.cache
def matrices(n):
    """All families' matrices (L, n, n), the family of each, and right-hand sides (L, n)."""
    rng = np.random.default_rng(n)
    H = np.stack([family(rng, n) for family in FAMILIES.values() for _ in range(EACH)])
    names = np.repeat(list(FAMILIES), EACH)
    return (H + H.transpose(0, 2, 1)) / 2, names, rng.normal(size=(len(H), n))


def norms(H):
    return np.abs(H).sum(axis=2).max(axis=1)


def worst_by_family(error, names):
    """{family: largest error}, of the families that have one; for a failure one can read."""
    return {name: float(error[names == name].max()) for name in FAMILIES if not (error[names == name] <= 0).all()}


@jax.jit
@functools.partial(over_lanes)
def _reduced(H, b, shift):
    T = tridiagonal.reduce(H)
    n = len(T.d)
    rhs = [b[i] for i in range(n)]
    there = tridiagonal.to_tridiagonal(T, rhs)
    lowest, left = tridiagonal.lowest_eigenvalue(T, 0.25 * resolution(linalg.max_norm(H), n))
    low, high = tridiagonal.bounds(T)
    factors = tridiagonal.factor(T, shift - low)
    return {
        "d": jnp.stack(T.d),
        "e": jnp.stack([*T.e, jnp.zeros_like(T.d[0])]),
        "there": jnp.stack(there),
        "and back": jnp.stack(tridiagonal.from_tridiagonal(T, there)),
        "T there": jnp.stack(tridiagonal.multiply(T, there)),
        "H b": jnp.stack(tridiagonal.from_tridiagonal(T, tridiagonal.multiply(T, there))),
        "solved": jnp.stack(tridiagonal.from_tridiagonal(T, tridiagonal.solve(factors, there))),
        "definite": tridiagonal.is_definite(factors.r),
        "lowest": lowest,
        "left": left,
        "bounds": jnp.stack([low, high]),
    }


@functools.cache
def reduced(n, dtype):
    """Everything that tridiagonal.py makes of the matrices, lanes first again and in double precision."""
    H, names, b = matrices(n)
    return reduce_all(H.astype(dtype), b.astype(dtype), names)


def reduce_all(H, b, names):
    found = _reduced(np.moveaxis(H, 0, -1), np.moveaxis(b, 0, -1), np.full(len(H), 1, H.dtype))
    assert {leaf.dtype for leaf in found.values()} == {H.dtype, np.dtype(bool)}
    found = {name: np.moveaxis(np.asarray(leaf), -1, 0) for name, leaf in found.items()}
    return H.astype(float), b.astype(float), names, found


every_size_and_dtype = pytest.mark.parametrize(("n", "dtype"), [(n, dtype) for n in SIZES for dtype in DTYPES])


@every_size_and_dtype
def test_reduction_is_similar_and_orthogonal(n, dtype):
    H, b, names, found = reduced(n, dtype)
    eps = np.finfo(dtype).eps
    for i in range(len(H)):
        T = np.diag(found["d"][i]) + np.diag(found["e"][i][:-1], 1) + np.diag(found["e"][i][:-1], -1)
        difference = np.linalg.eigvalsh(T) - np.linalg.eigvalsh(H[i])
        assert np.abs(difference).max() <= 10 * n * eps * np.linalg.norm(H[i], 2), names[i]
    length = np.linalg.norm(b, axis=1)
    assert np.all(np.abs(np.linalg.norm(found["there"], axis=1) - length) <= 10 * n * eps * length)
    assert np.all(np.linalg.norm(found["and back"] - b, axis=1) <= 10 * n * eps * length)


@every_size_and_dtype
def test_products_with_the_tridiagonal_form(n, dtype):
    H, b, names, found = reduced(n, dtype)
    error = np.linalg.norm(found["H b"] - np.einsum("lij,lj->li", H, b), axis=1)
    limit = 20 * n * np.finfo(dtype).eps * norms(H) * np.linalg.norm(b, axis=1)
    assert worst_by_family(error - limit, names) == {}


@every_size_and_dtype
def test_shifted_solve(n, dtype):
    H, b, names, found = reduced(n, dtype)
    assert found["definite"].all()
    shifted = H + (1 - found["bounds"][:, 0])[:, None, None] * np.eye(n)
    residual = np.linalg.norm(np.einsum("lij,lj->li", shifted, found["solved"]) - b, axis=1)
    limit = 20 * n * np.finfo(dtype).eps * (norms(shifted) * np.linalg.norm(found["solved"], axis=1))
    assert worst_by_family(residual - limit, names) == {}


@every_size_and_dtype
def test_bounds_hold_every_eigenvalue(n, dtype):
    H, _, names, found = reduced(n, dtype)
    lam = np.linalg.eigvalsh(H)
    slack = 10 * n * np.finfo(dtype).eps * norms(H)
    outside = np.maximum(found["bounds"][:, 0] - lam[:, 0], lam[:, -1] - found["bounds"][:, 1])
    assert worst_by_family(outside - slack, names) == {}


@every_size_and_dtype
def test_lowest_eigenvalue(n, dtype):
    H, _, names, found = reduced(n, dtype)
    lowest = np.linalg.eigvalsh(H)[:, 0]
    zero = 10 * n * np.finfo(dtype).eps * norms(H)  # what the solvers call zero: solvers.common.resolution
    loose = np.array([LOOSE.get(name, 0) for name in names]) * norms(H)
    assert np.isfinite(found["lowest"]).all()
    assert worst_by_family(np.abs(found["lowest"] - lowest) - zero - loose, names) == {}
    assert worst_by_family(found["lowest"] - lowest - zero, names) == {}  # never too high: a saddle is never missed
    assert worst_by_family(found["left"] - lowest - 0.5 * zero, names) == {}  # left of it but for rounding
    strict = ~np.isin(names, list(LOOSE))
    assert worst_by_family(np.where(strict, lowest - found["left"] - 2 * zero, 0.0), names) == {}  # and not far


SCALES = {"float32": (2.0**-40, 2.0**40), "float64": (2.0**-450, 2.0**-40, 2.0**40, 2.0**450)}


@pytest.mark.parametrize(("dtype", "scale"), [(dtype, scale) for dtype in SCALES for scale in SCALES[dtype]])
def test_lowest_eigenvalue_scales_with_the_matrix(dtype, scale):
    """A power of two is an exact factor."""
    H, b, names, found = reduced(3, np.dtype(dtype).type)
    _, _, _, scaled = reduce_all((H * scale).astype(dtype), b.astype(dtype), names)
    error = np.abs(scaled["lowest"] / scale - found["lowest"])
    bad = ~(error <= 30 * np.finfo(dtype).eps * norms(H))
    assert worst_by_family(np.where(bad, 1.0, 0.0), names) == {}


ldl = jax.jit(over_lanes(linalg.ldl_solve))


@every_size_and_dtype
def test_ldl_solves_where_it_need_not_modify(n, dtype):
    H, names, b = matrices(n)
    definite = np.isin(names, ["positive", "graded", "graded diagonal", "clustered", "equal"])
    H, b = H[definite].astype(dtype), b[definite].astype(dtype)
    x, smallest, added = ldl(np.moveaxis(H, 0, -1), b.T, np.full(len(H), np.finfo(dtype).eps, dtype))
    assert x.dtype == smallest.dtype == added.dtype == dtype
    assert not np.any(added)
    x = np.asarray(x, float).T
    residual = np.linalg.norm(np.einsum("lij,lj->li", H.astype(float), x) - b, axis=1)
    assert np.all(residual <= 10 * n * np.finfo(dtype).eps * norms(H) * np.linalg.norm(x, axis=1))
    pivots = np.stack([np.diag(np.linalg.cholesky(A)).min() ** 2 for A in H.astype(float)])
    np.testing.assert_allclose(smallest, pivots, atol=10 * n * np.finfo(dtype).eps * norms(H).max())


@every_size_and_dtype
def test_ldl_always_gives_a_descent_direction(n, dtype):
    H, names, g = matrices(n)
    H, g = H.astype(dtype), g.astype(dtype)
    zero = (10 * n * np.finfo(dtype).eps * norms(H) + np.finfo(dtype).tiny).astype(dtype)
    step, smallest, _ = ldl(np.moveaxis(H, 0, -1), -g.T, zero)
    step = np.asarray(step, float).T
    assert np.isfinite(step).all()
    direction = step / np.abs(step).max(axis=1, keepdims=True)
    assert worst_by_family(np.sum(g * direction, axis=1), names) == {}
    lam = np.linalg.eigvalsh(H.astype(float))
    told = np.asarray(smallest) > zero
    assert np.all(lam[told, 0] > -zero[told])  # a pivot above zero: positive definite
    assert not told[lam[:, 0] < -zero].any()  # and an eigenvalue below: no such pivot


@every_size_and_dtype
def test_ldl_tells_what_it_added(n, dtype):
    """(H + E) x = b with E diagonal, and x'Ex."""
    H, _, b = matrices(n)
    H, b = H.astype(dtype), b.astype(dtype)
    x, _, added = (np.asarray(part, float) for part in ldl(np.moveaxis(H, 0, -1), b.T, np.full(len(H), 0.1, dtype)))
    product = np.einsum("lij,jl->li", H.astype(float), x)
    size = np.sum(x * x, axis=0) * 10 * norms(H) + np.linalg.norm(b, axis=1) * np.linalg.norm(x, axis=0)
    assert np.all(added >= 0)
    assert np.all(np.abs(added - np.sum(x.T * (b - product), axis=1)) <= 30 * n * np.finfo(dtype).eps * size)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ldl_reads_the_lower_triangle(dtype):
    H, _, b = matrices(4)
    H, b = np.moveaxis(H[:EACH], 0, -1).astype(dtype), b[:EACH].T.astype(dtype)
    floor = np.full(EACH, 0.1, dtype)
    lower = np.where(np.tri(4, dtype=bool)[:, :, None], H, np.nan)
    for whole, half in zip(ldl(H, b, floor), ldl(lower, b, floor), strict=True):
        np.testing.assert_array_equal(whole, half)


def test_ldl_of_the_seed_matrix_is_not_fooled():
    """A is singular; numpy.linalg.inv gives entries of 1e15 instead (the project's seed case)."""
    A = np.array([[-5, -3, -0.5], [-3, -2, 0], [-0.5, 0, -0.5]])
    x, smallest, _ = linalg.ldl_solve(jnp.asarray(A), jnp.asarray([1.0, 3.0, 5.0]), jnp.asarray(1e-12))
    assert smallest == -5
    assert np.isfinite(x).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [3, 12])
def test_lapack_over_lanes(n, dtype):
    rng = np.random.default_rng(n)
    H = np.stack([FAMILIES["positive"](rng, n) for _ in range(7)]).astype(dtype)
    b = rng.normal(size=(7, n)).astype(dtype)
    L = np.moveaxis(over_lanes(linalg.cholesky)(np.moveaxis(H, 0, -1)), -1, 0)
    x = over_lanes(linalg.cholesky_solve)(np.moveaxis(L, 0, -1), b.T).T
    lam, V = over_lanes(linalg.eigh)(np.moveaxis(H, 0, -1))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(L, np.linalg.cholesky(H), atol=50 * n * eps)
    np.testing.assert_allclose(
        x, np.stack([scipy.linalg.solve(A, c) for A, c in zip(H, b, strict=True)]), rtol=1e3 * eps
    )
    np.testing.assert_allclose(lam.T, np.linalg.eigvalsh(H), atol=50 * n * eps)
    V = np.moveaxis(V, -1, 0)
    np.testing.assert_allclose(np.einsum("lij,lj,lkj->lik", V, lam.T, V), H, atol=50 * n * eps)
    assert lam.dtype == V.dtype == x.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_cholesky_of_an_indefinite_matrix_is_nan(dtype):
    H = np.stack([np.diag([1, 2]), np.diag([1, -2])], axis=-1).astype(dtype)
    L = np.asarray(over_lanes(linalg.cholesky)(H))
    assert np.isfinite(L[..., 0]).all()
    assert np.isnan(L[..., 1]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_max_norm_bounds_the_spectrum(dtype):
    for n in SIZES:
        H = matrices(n)[0].astype(dtype)
        found = over_lanes(linalg.max_norm)(np.moveaxis(H, 0, -1))
        np.testing.assert_allclose(found, norms(H), rtol=1e-6)
        spectral = np.abs(np.linalg.eigvalsh(H)).max(axis=1)
        assert np.all(np.asarray(found) >= spectral * (1 - 10 * n * np.finfo(dtype).eps))
