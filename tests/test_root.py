"""Roots: textbook systems, quadratic convergence, several roots of one batch, and singular Jacobians named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxnewton as jn
from jaxnewton import Status, linalg


def rosenbrock(x):
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def badly_scaled(x):
    return jnp.stack([1e4 * x[0] * x[1] - 1, jnp.exp(-x[0]) + jnp.exp(-x[1]) - 1.0001])


def helical_valley(x):
    theta = jnp.arctan2(x[1], x[0]) / (2 * jnp.pi)
    return jnp.stack([10 * (x[2] - 10 * theta), 10 * (jnp.hypot(x[0], x[1]) - 1), x[2]])


def powell_singular(x):
    a, b, c, d = x
    return jnp.stack([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2])


def broyden_tridiagonal(x):
    none = jnp.zeros_like(x[:1])
    before, after = jnp.concatenate([none, x[:-1]]), jnp.concatenate([x[1:], none])
    return (3 - 2 * x) * x - before - 2 * after + 1


SYSTEMS = {  # More, Garbow & Hillstrom 1981, problems 1, 3, 7, 13, 30: residual, start
    "Rosenbrock": (rosenbrock, (-1.2, 1.0)),
    "Powell badly scaled": (badly_scaled, (0.0, 1.0)),
    "helical valley": (helical_valley, (-1.0, 0.0, 0.0)),
    "Powell singular": (powell_singular, (3.0, -1.0, 0.0, 1.0)),
    "Broyden tridiagonal": (broyden_tridiagonal, (-1.0,) * 30),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_systems(name, dtype):
    fun, start = SYSTEMS[name]
    found = jn.root(fun, np.array(start, dtype))
    assert found.success
    assert found.x.dtype == np.dtype(dtype)
    assert np.abs(found.grad).max() <= (1e-8 if dtype == "float64" else 1e-4)
    assert (found.nfev, found.njev, found.nhev) == (found.nit, found.nit, 0)
    if dtype == "float64":
        theirs = scipy.optimize.root(lambda x: np.asarray(fun(x)), start, tol=1e-13)
        np.testing.assert_allclose(found.x, theirs.x, atol=1e-3 if "singular" in name else 1e-7)
        np.testing.assert_allclose(found.fun, 0.5 * np.sum(np.asarray(fun(found.x)) ** 2), atol=1e-20)


@pytest.mark.parametrize("damped", [True, False])
def test_one_dimension(damped):
    found = jn.root(lambda x: x**2 - 2, 1.0, solver=jn.Newton(damped=damped), tol=1e-12)
    assert found.status == Status.CONVERGED
    assert found.x.shape == ()
    np.testing.assert_allclose(found.x, 2**0.5, rtol=1e-14)
    x = 1.0
    for _ in range(int(found.nit) - 1):
        x -= (x * x - 2) / (2 * x)
    np.testing.assert_allclose(found.x, x, rtol=1e-15)


def test_the_guard_keeps_arctan():
    """Newton's pure iteration runs away from |x| > 1.39."""
    assert jn.root(jnp.arctan, 5.0).success
    assert jn.root(jnp.arctan, 5.0, solver=jn.Newton(damped=False)).status == Status.DIVERGED


FAILURES = {  # residual, start, status
    "no root": (lambda x: x**2 + 1, 1.0, Status.SINGULAR),
    "no root, cubic": (lambda x: (x + 3) * (x**2 + 0.1) + 5, 0.5, Status.SINGULAR),
    "parallel lines": (lambda x: jnp.stack([x[0] + x[1] - 1, x[0] + x[1] - 2]), [0.0, 0.0], Status.SINGULAR),
    "constant": (lambda x: 0 * x + 1, 1.0, Status.SINGULAR),
    "nan": (lambda x: jnp.sqrt(x) - 2, -1.0, Status.NONFINITE),
    "Freudenstein & Roth": (
        lambda x: jnp.stack([x[0] - 13 + ((5 - x[1]) * x[1] - 2) * x[1], x[0] - 29 + ((x[1] + 1) * x[1] - 14) * x[1]]),
        [0.5, -2.0],
        Status.SINGULAR,
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FAILURES)
def test_where_there_is_no_root(name, dtype):
    fun, start, status = FAILURES[name]
    found = jn.root(fun, np.asarray(start, dtype))
    assert found.status == status
    assert not found.success
    assert np.isfinite(found.x).all()


def test_pure_newton_names_a_singular_jacobian():
    assert jn.root(lambda x: x**2 - 2, 0.0, solver=jn.Newton(damped=False)).status == Status.SINGULAR


def test_a_step_out_of_the_domain_is_rejected():
    found = jn.root(lambda x: jnp.log(x) + 5, 3.0)  # Newton's first step is to x < 0
    assert found.success
    np.testing.assert_allclose(found.x, np.exp(-5), rtol=1e-8)


def test_noise_floor():
    found = jn.root(lambda x: 1000 * x**3 - x - 777, np.float32(1.0))
    assert found.status == Status.NOISE_FLOOR
    real = np.roots([1000, 0, -1, -777])
    np.testing.assert_allclose(found.x, real[np.isreal(real)].real, rtol=3e-7)


def test_a_batch_finds_all_roots():
    """z^3 = 1 in two real unknowns: three roots; each lane ends where it would alone."""

    def fun(z, c):
        x, y = z
        return jnp.stack([x**3 - 3 * x * y**2 - c, 3 * x**2 * y - y**3])

    starts = np.random.default_rng(0).uniform(-2, 2, (300, 2))
    found = jn.root_batch(fun, starts, (1.0,), width=16)
    assert found.success.all()
    roots = np.exp(2j * np.pi * np.arange(3) / 3)
    ends = np.array([complex(*s.x) for s, _ in found.distinct()])
    assert sum(hits for _, hits in found.distinct()) == 300
    np.testing.assert_allclose(sorted(ends, key=np.angle), sorted(roots, key=np.angle), atol=1e-8)
    one = jn.root(fun, starts[5], (1.0,))
    np.testing.assert_allclose(one.x, found.x[5], atol=1e-10)
    assert one.nit == found.nit[5]


def test_pytrees():
    found = jn.root(lambda x: {"a": x["a"] ** 2 - x["b"][0], "b": x["b"] - 4}, {"a": 1.0, "b": np.ones(1)})
    np.testing.assert_allclose(found.x["a"], 2)
    assert found.grad["b"].shape == (1,)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivatives_of_a_root(mode):
    slope = mode(lambda a: jn.root(lambda x, a: x**3 - a, 1.0, (a,)).x)(8.0)
    np.testing.assert_allclose(slope, 1 / 12, rtol=1e-7)


@pytest.mark.parametrize("n", [1, 2, 5, 20])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_qr_solve(n, dtype):
    rng = np.random.default_rng(n)
    M, b = rng.normal(size=(n, n)) * np.logspace(0, -3, n)[:, None], rng.normal(size=n)
    x, smallest = jax.jit(linalg.qr_solve)(M.astype(dtype), b.astype(dtype))
    cond = np.linalg.cond(M)
    np.testing.assert_allclose(x, np.linalg.solve(M, b), rtol=20 * n * cond * np.finfo(dtype).eps)
    np.testing.assert_allclose(
        smallest, np.abs(np.diag(np.linalg.qr(M).R)).min(), rtol=20 * n * cond * np.finfo(dtype).eps
    )
    M[:, -1] = M[:, 0] if n > 1 else 0
    _, smallest = jax.jit(linalg.qr_solve)(M.astype(dtype), b.astype(dtype))
    assert float(smallest) <= 20 * n * np.finfo(dtype).eps * np.abs(M).max()


def refused(match, call, *args, error=(TypeError, ValueError), **options):
    with pytest.raises(error, match=match):
        call(*args, **options)


def test_wrong_input():
    refused(r"root needs solver=jn.Newton\(\)", jn.root, jnp.sin, 1.0, solver=jn.LBFGS())
    refused("as many equations as there are unknowns", jn.root, lambda x: x[:1], np.ones(2))
    refused("real floating numbers", jn.root, lambda x: x > 0, np.ones(2))
    refused("fun must be a function", jn.root, 3.0, 1.0)


@pytest.mark.parametrize("damped", [True, False])
def test_the_unit_of_the_residual_makes_no_root(damped):
    found = jn.root(lambda x: np.float32(1e-8) * (x**2 + 1), np.float32(1.3), solver=jn.Newton(damped=damped))
    assert not found.success


def test_equations_as_a_list():
    np.testing.assert_allclose(jn.root(lambda x: [x[0] - 1, x[1] - x[0]], [5.0, 5.0]).x, 1)
