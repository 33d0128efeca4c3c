"""The sequential subspace method against eigenvectors: numpy's of dense matrices, and the known ones of a Laplacian."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dstn
from scipy.optimize import brentq

from jaxnewton import Status
from jaxnewton.sphere import krylov, minimize_quadratic, minimize_quadratic_large, subspace

N = 300
GRID = 100
TOL = {np.float32: 1e-5, np.float64: 1e-10}
each_dtype = pytest.mark.parametrize("dtype", TOL)


def dense(x, A):
    return jnp.matmul(A, x, precision=jax.lax.Precision.HIGHEST)


def laplacian(x):
    """Of five points on a square grid, with the boundary at 0, less 5: indefinite."""
    u = jnp.pad(x.reshape(GRID, GRID), 1)
    around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
    return -around.reshape(-1) - x


def modes():
    """The Laplacian's eigenvalues less 5, as a vector in the order of ``to_modes``."""
    part = 2 - 2 * np.cos(np.pi * np.arange(1, GRID + 1) / (GRID + 1))
    return (part[:, None] + part[None, :]).reshape(-1) - 5


def to_modes(x):
    """Coefficients along the Laplacian's eigenvectors, and back."""
    return dstn(np.asarray(x, float).reshape(GRID, GRID), type=1, norm="ortho").reshape(-1)


def reference(lam, beta, radius):
    """The minimum of sum(lam x^2 - 2 beta x) on ||x|| = radius, and the multiplier."""
    gaps = lam - lam.min()
    low = gaps <= 1e-13 * np.abs(lam).max()
    beta = np.where(low & (np.abs(beta) <= 1e-14 * np.linalg.norm(beta)), 0.0, beta)
    rest = np.where(low, 0.0, beta / np.where(low, 1.0, gaps))
    if np.all(beta[low] == 0) and np.linalg.norm(rest) <= radius:
        fill = radius**2 - rest @ rest
        return np.sum(lam * rest**2) - 2 * beta @ rest + lam.min() * fill, -lam.min()

    def secular(t):
        return 1 / np.linalg.norm(beta / (gaps + t)) - 1 / radius

    high = np.linalg.norm(beta) / radius
    least = max(np.linalg.norm(beta[low]) / radius, np.finfo(float).tiny)
    t = brentq(secular, least, high, xtol=1e-300, rtol=1e-15) if secular(least) < 0 < secular(high) else high
    x = beta / (gaps + t)
    x *= radius / np.linalg.norm(x)
    return np.sum(lam * x * x) - 2 * beta @ x, t - lam.min()


def hard(lam, beta, radius, part):
    """Only ``part`` of b along the lowest eigenvectors, and the rest too short to reach the sphere."""
    low = lam == lam.min()
    beta = np.where(low, 0.0, beta)
    short = np.linalg.norm(beta[~low] / (lam - lam.min())[~low])
    return lam, 0.5 * radius * beta / short + part * low, radius


def spread(rng):
    return np.sort(rng.uniform(-5, 5, N))


# Each: rng -> eigenvalues, b along the eigenvectors, radius (Sorensen 1997; Rojas, Santos & Sorensen 2000; Hager 2001).
FAMILIES = {
    "easy": lambda rng: (spread(rng), rng.normal(size=N), 1.0),
    "small b": lambda rng: (spread(rng), 1e-2 * rng.normal(size=N), 1.0),
    "large radius": lambda rng: (spread(rng), rng.normal(size=N), 100.0),
    "small radius": lambda rng: (spread(rng), rng.normal(size=N), 1e-3),
    "hard": lambda rng: hard(spread(rng), rng.normal(size=N), 1.0, 0.0),
    "hard, large radius": lambda rng: hard(spread(rng), rng.normal(size=N), 300.0, 0.0),
    "nearly hard": lambda rng: hard(spread(rng), rng.normal(size=N), 1.0, 1e-8),
    "hard by a little": lambda rng: hard(spread(rng), rng.normal(size=N), 1.0, 1e-3),
    "hard, five lowest": lambda rng: hard(np.maximum(spread(rng), -4.9), rng.normal(size=N), 1.0, 0.0),
    "five lowest": lambda rng: (np.maximum(spread(rng), -4.9), rng.normal(size=N), 1.0),
    "hard, outlier": lambda rng: hard(np.r_[-9.0, spread(rng)[1:]], rng.normal(size=N), 1.0, 0.0),
    "orthogonal to an outlier": lambda rng: (np.r_[-5.2, spread(rng)[1:]], np.r_[0.0, rng.normal(size=N - 1)], 1.0),
    "orthogonal, not hard": lambda rng: (spread(rng), np.r_[0.0, rng.normal(size=N - 1)], 1.0),
    "b = 0": lambda rng: (spread(rng), np.zeros(N), 2.0),
    "A = 0": lambda rng: (np.zeros(N), rng.normal(size=N), 2.0),
    "A = 3 I": lambda rng: (np.full(N, 3.0), rng.normal(size=N), 2.0),
    "both 0": lambda rng: (np.zeros(N), np.zeros(N), 2.0),
    "minimum inside": lambda rng: (rng.uniform(1, 3, N), 1e-3 * rng.normal(size=N), 1.0),
    "ill-posed": lambda rng: (np.geomspace(1e-12, 1, N), rng.normal(size=N) * np.geomspace(1e-6, 1, N), 3.0),
    "huge b": lambda rng: (spread(rng), 1e12 * rng.normal(size=N), 1.0),
    "tiny b": lambda rng: (spread(rng), 1e-12 * rng.normal(size=N), 1.0),
    "tiny A and b": lambda rng: (1e-12 * spread(rng), 1e-13 * rng.normal(size=N), 1.0),
    "rank one": lambda rng: (np.r_[-2.0, np.zeros(N - 1)], rng.normal(size=N), 1.0),
}


@functools.cache
def case(name):
    """A (N, N), b, radius, the minimum, and the multiplier."""
    rng = np.random.default_rng(list(FAMILIES).index(name))
    lam, beta, radius = FAMILIES[name](rng)
    V = np.linalg.qr(rng.normal(size=(N, N)))[0]
    A = (V * lam) @ V.T
    return (A + A.T) / 2, V @ beta, radius, *reference(lam, beta, radius), lam.min(), np.abs(lam).max()


@pytest.mark.parametrize("name", FAMILIES)
@each_dtype
def test_global_minimum(name, dtype):
    A, b, radius, fun, _, lowest, size = case(name)
    found = minimize_quadratic_large(dense, b.astype(dtype), radius, (A.astype(dtype),))
    assert found.status == Status.CONVERGED
    assert all(leaf.dtype == dtype for leaf in (found.x, found.fun, found.multiplier, found.residual, found.lowest))
    x, mu, scale = np.asarray(found.x, float), float(found.multiplier), size * radius + np.linalg.norm(b)
    rounding = np.finfo(dtype).eps * scale
    assert np.linalg.norm(x) == pytest.approx(radius, rel=8 * float(np.finfo(dtype).eps))
    residual = np.linalg.norm(A @ x + mu * x - b)
    assert residual <= TOL[dtype] * scale + 10 * rounding
    assert float(found.residual) == pytest.approx(residual, rel=1e-3, abs=10 * rounding)
    worst = 10 * TOL[dtype] * scale * radius if dtype == np.float32 else 1e-12 * scale * radius
    assert x @ A @ x - 2 * b @ x == pytest.approx(fun, rel=0, abs=worst)
    assert float(found.fun) == pytest.approx(fun, rel=0, abs=worst)
    assert mu + lowest >= -TOL[dtype] * scale / radius
    assert float(found.lowest) >= lowest - 10 * np.finfo(dtype).eps * size


@pytest.mark.parametrize("name", FAMILIES)
def test_hard_case_is_told(name):
    A, b, radius, *_ = case(name)
    found = minimize_quadratic_large(dense, b, radius, (A,))
    is_hard = {"hard", "hard, large radius", "hard, five lowest", "hard, outlier", "b = 0", "both 0", "tiny b"}
    assert bool(found.hard_case) == (name in is_hard)


@pytest.mark.parametrize("n", [1, 3])
def test_few_unknowns(n):
    rng = np.random.default_rng(n)
    A, b = rng.normal(size=(n, n)), rng.normal(size=n)
    A = A + A.T
    lam, V = np.linalg.eigh(A)
    found = minimize_quadratic_large(dense, b, 2.0, (A,))
    fun, multiplier = reference(lam, V.T @ b, 2.0)
    assert found.status == Status.CONVERGED
    assert found.fun == pytest.approx(fun, rel=1e-12)
    assert found.multiplier == pytest.approx(multiplier, rel=1e-9)


# b by its coefficients along the Laplacian's eigenvectors, of which the first is the lowest.
LARGE = {
    "easy": lambda beta: beta,
    "small b": lambda beta: 1e-3 * beta,
    "orthogonal, not hard": lambda beta: np.r_[0.0, beta[1:]],
    "hard": lambda beta: 1e-4 * np.r_[0.0, beta[1:]],
}


@pytest.mark.parametrize("name", LARGE)
def test_ten_thousand_unknowns(name):
    lam, beta = modes(), np.random.default_rng(0).normal(size=GRID**2) / GRID
    assert np.allclose(to_modes(laplacian(jnp.asarray(to_modes(beta)))), lam * beta)
    beta = LARGE[name](beta)
    fun, multiplier = reference(lam, beta, 1.0)
    b = to_modes(beta)
    found = minimize_quadratic_large(laplacian, b)
    assert found.status == Status.CONVERGED
    residual = lam * to_modes(found.x) + float(found.multiplier) * to_modes(found.x) - beta
    assert np.linalg.norm(residual) <= 1e-10 * (np.abs(lam).max() + np.linalg.norm(beta))
    assert found.fun == pytest.approx(fun, rel=1e-13)
    assert found.multiplier == pytest.approx(multiplier, rel=1e-9)
    assert found.multiplier + lam.min() >= -1e-12
    assert bool(found.hard_case) == (name == "hard")


def test_the_answer_does_not_depend_on_the_key():
    A, b, radius, fun, *_ = case("nearly hard")
    found = [minimize_quadratic_large(dense, b, radius, (A,), key=jax.random.key(seed)) for seed in range(5)]
    assert {int(each.status) for each in found} == {Status.CONVERGED}
    assert len({float(each.lowest) for each in found}) > 1
    assert np.allclose([each.fun for each in found], fun, rtol=1e-12)
    A, b, radius, fun, *_ = case("orthogonal to an outlier")
    found = [minimize_quadratic_large(dense, b, radius, (A,), key=jax.random.key(seed)) for seed in range(20)]
    assert np.allclose([each.fun for each in found], fun, rtol=1e-12)


@pytest.mark.parametrize("name", ["small b", "hard", "nearly hard", "b = 0"])
def test_cost_and_eigenvalue_never_rise(name):
    A, b, radius, *_ = case(name)
    b = jnp.asarray(b / radius)
    state, advance = stepper(jnp.asarray(A), b)
    funs, lows, errors = [], [], []
    for _ in range(8):
        at = subspace.measure(state, b)
        funs.append(float(at.fun))
        lows.append(float(at.lowest))
        errors.append(float(at.error))
        assert float(jnp.linalg.norm(state.x)) == pytest.approx(1, abs=1e-14)
        state = advance(state, jnp.asarray(A), b)
    assert np.all(np.diff(funs) <= 1e-14 * 5)
    assert np.all(np.diff(lows) <= 1e-14 * 5)
    assert errors[-1] <= 1e-12  # it can go on to the last digits


def stepper(A, b):
    state = jax.jit(lambda A, b: subspace.begin(lambda x: dense(x, A), b, jax.random.key(1), jnp.asarray(1e-10)))(A, b)
    return state, _advance


@jax.jit
def _advance(state, A, b):
    return subspace.advance(lambda x: dense(x, A), b, state, jnp.asarray(1e-13))


def test_a_second_call_traces_nothing_and_products_are_counted():
    traced, called = [], []

    def matvec(x, d):
        traced.append(x)
        jax.debug.callback(lambda: called.append(1))
        return d * x

    d, b = np.linspace(-1, 1, N), np.ones(N)
    first = minimize_quadratic_large(matvec, b, 1.0, (d,))
    jax.effects_barrier()
    assert int(first.nmatvec) == len(called)
    once = len(traced)
    second = minimize_quadratic_large(matvec, 2 * b, 2.0, (d,), key=jax.random.key(3), tol=1e-8, max_steps=7)
    assert len(traced) == once > 0
    assert np.allclose(2 * first.x, second.x, atol=1e-6)


def test_under_jit_and_vmap():
    A, b, radius, fun, *_ = case("small b")
    stacked = jax.jit(jax.vmap(lambda b: minimize_quadratic_large(dense, b, radius, (A,))))(np.stack([b, -2 * b]))
    assert stacked.fun[0] == pytest.approx(fun, rel=1e-12)
    assert stacked.fun[1] == pytest.approx(float(minimize_quadratic_large(dense, -2 * b, radius, (A,)).fun), rel=1e-12)


def test_derivatives_are_those_of_the_dense_solution():
    A, b, radius, *_ = case("small b")
    A, b = A[:40, :40], b[:40]
    weights = np.random.default_rng(0).normal(size=40)

    def total(found):
        return weights @ found.x + 0.3 * found.fun + 0.7 * found.multiplier

    def large(A, b, radius):
        return total(minimize_quadratic_large(dense, b, radius, (A,), tol=1e-13))

    def small(A, b, radius):
        return total(minimize_quadratic((A + A.T) / 2, b, radius))

    given = A, b, jnp.float64(radius)
    pulled, known = (jax.grad(fun, argnums=(0, 1, 2))(*given) for fun in (large, small))
    np.testing.assert_allclose((pulled[0] + pulled[0].T) / 2, known[0], atol=1e-8)
    np.testing.assert_allclose(pulled[1], known[1], atol=1e-8)
    np.testing.assert_allclose(pulled[2], known[2], rtol=1e-8)
    turned = tuple(np.random.default_rng(1).normal(size=np.shape(part)) for part in given)
    pushed = jax.jit(lambda *given: jax.jvp(large, given, turned)[1])(*given)
    known = sum(float(np.sum(p * t)) for p, t in zip(pulled, turned, strict=True))
    assert pushed == pytest.approx(known, rel=1e-9)


def test_derivatives_are_nan_in_the_hard_case():
    A, b, radius, *_ = case("hard")
    gradient = jax.grad(lambda b: jnp.sum(minimize_quadratic_large(dense, b, radius, (A,)).x))(b)
    assert np.isnan(gradient).all()


LARGEST = 100_000


def sparse(x, rows, columns, values, diagonal):
    """A symmetric matrix by one triangle's entries."""
    y = diagonal * x
    return y.at[rows].add(values * x[columns]).at[columns].add(values * x[rows])


def line(x):
    """The Laplacian of a line, with the boundary at 0, less 1: indefinite."""
    u = jnp.pad(x, 1)
    return x - u[:-2] - u[2:]


def random_sparse():
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(LARGEST, size=(2, 4 * LARGEST))
    rows, columns = rows[rows != columns], columns[rows != columns]
    return sparse, (rows, columns, rng.normal(size=len(rows)), rng.normal(size=LARGEST))


def norm_of(matvec, args):
    """The 2-norm, or a little less."""
    step = jax.jit(lambda x: matvec(x / jnp.linalg.norm(x), *args))
    x = np.random.default_rng(2).normal(size=LARGEST)
    for _ in range(50):
        x = step(x)
    return float(jnp.linalg.norm(x))


@pytest.mark.slow
@pytest.mark.parametrize("matrix", ["line", "random"])
@pytest.mark.parametrize("size", [1.0, 1e-2])
def test_a_hundred_thousand_unknowns(matrix, size):
    matvec, args = (line, ()) if matrix == "line" else random_sparse()
    b = size * np.random.default_rng(1).normal(size=LARGEST) / np.sqrt(LARGEST)
    found = minimize_quadratic_large(matvec, b, 1.0, args)
    assert found.status == Status.CONVERGED
    assert np.linalg.norm(found.x) == pytest.approx(1.0, rel=1e-14)
    left = matvec(found.x, *args) + found.multiplier * found.x - b
    assert np.linalg.norm(left) <= 1e-10 * (norm_of(matvec, args) + size)
    assert found.multiplier + found.lowest >= 0


def test_it_says_where_it_ends_short():
    A, b, radius, *_ = case("nearly hard")
    short = minimize_quadratic_large(dense, b, radius, (A,), max_steps=1)
    assert (short.status, short.nit) == (Status.MAX_STEPS, 1)
    assert short.residual > 1e-10 * (5 * radius + np.linalg.norm(b))
    floor = minimize_quadratic_large(dense, b, radius, (A,), tol=1e-17)
    assert floor.status == Status.NOISE_FLOOR
    assert floor.residual <= 50 * np.finfo(float).eps * (5 * radius + np.linalg.norm(b))
    assert minimize_quadratic_large(dense, np.full(N, np.nan), 1.0, (A,)).status == Status.NONFINITE
    assert minimize_quadratic_large(dense, b, 1.0, (np.full_like(A, np.inf),)).status == Status.NONFINITE


def test_lowest_pair_of_a_section():
    rng = np.random.default_rng(0)
    d, e = rng.normal(size=20), np.abs(rng.normal(size=20))
    run = krylov.begin(jnp.ones(5), jnp.zeros((1, 20)))._replace(
        diagonal=jnp.asarray(d), beside=jnp.asarray(e), size=jnp.int32(13)
    )
    lowest, w = krylov.lowest_pair(krylov.section(run))
    lam, V = np.linalg.eigh(np.diag(d[:13]) + np.diag(e[:12], 1) + np.diag(e[:12], -1))
    assert lowest == pytest.approx(lam[0], abs=1e-14)
    assert abs(V[:, 0] @ w[:13]) == pytest.approx(1, abs=1e-14)
    assert np.all(np.asarray(w[13:]) == 0)


def test_minres_in_the_tangent_space():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(30, 30))
    A, x, rhs = A + A.T, rng.normal(size=30), rng.normal(size=30)
    x /= np.linalg.norm(x)
    P = np.eye(30) - np.outer(x, x)
    rhs = P @ rhs
    y, steps = krylov.minres(
        lambda v: dense(v, A), jnp.asarray(0.7), *map(jnp.asarray, (x, rhs, 1e-12)), jnp.asarray(99)
    )
    assert np.linalg.norm(P @ (A + 0.7 * np.eye(30)) @ P @ y - rhs) <= 1e-10
    assert abs(x @ y) <= 1e-12
    assert steps < 99


b = np.ones(3)
REFUSALS = {
    "matvec": (TypeError, r"matvec must be a function; it is 3.0", (3.0, b)),
    "b of integers": (TypeError, r"b must hold real floating numbers; it has dtype int64", (dense, np.ones(3, int))),
    "b of two axes": (
        ValueError,
        r"b must be a vector of shape \(n,\) .*; it has shape \(2, 3\)",
        (dense, np.ones((2, 3))),
    ),
    "no b": (ValueError, r"b must be a vector .* at least 1; it has shape \(0,\)", (dense, np.ones(0))),
    "radius": (ValueError, r"radius must be positive and finite; it is -1.0", (dense, b, -1.0)),
    "radii": (ValueError, r"radius must be one positive number; it has shape \(2,\)", (dense, b, np.ones(2))),
    "args": (TypeError, r"args must be a tuple .*Write \(a,\) for one", (dense, b, 1.0, np.eye(3))),
    "product's shape": (
        ValueError,
        r"matvec must return a vector of b's shape \(3,\) and dtype float64; it returns shape \(2,\)",
        (lambda x: x[:2], b),
    ),
    "product's dtype": (
        ValueError,
        r"matvec must return .*; it returns .* float32",
        (lambda x: x.astype(np.float32), b),
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    kind, sentence, arguments = REFUSALS[name]
    with pytest.raises(kind, match=sentence):
        minimize_quadratic_large(*arguments)


@pytest.mark.parametrize(
    ("option", "kind", "sentence"),
    [
        ({"tol": -1.0}, ValueError, "tol must be a positive finite number; it is -1.0"),
        ({"max_steps": 2.5}, ValueError, "max_steps must be a whole number of at least 1, .*; it is 2.5"),
        ({"max_steps": 0}, ValueError, "max_steps must be a whole number of at least 1, .*; it is 0"),
        ({"key": 3}, TypeError, "key must be a jax.random.key; it is a int"),
    ],
)
def test_refused_options(option, kind, sentence):
    with pytest.raises(kind, match=sentence):
        minimize_quadratic_large(dense, np.ones(3), 1.0, (np.eye(3),), **option)
