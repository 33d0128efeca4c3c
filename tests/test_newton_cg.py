"""Newton by conjugate gradients: the steps against the exact subproblem, large n without matrices, honest ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import GROUPS, any_of, group_starts

import jaxnewton as jn
from jaxnewton import Status
from jaxnewton.secular import minimise_over_ball
from jaxnewton.solvers.newton_cg import steihaug


def extended_rosenbrock(x):
    """More, Garbow & Hillstrom 1981, problem 21."""
    return jnp.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2)


def ball(H, g, radius):
    run = jax.jit(lambda H, g, r: steihaug(lambda v: jnp.sum(H * v[None, :], axis=1), g, r, jnp.ones((), bool), 40))
    return run(H, g, np.float64(radius))


def model(H, g, s):
    return g @ s + s @ H @ s / 2


@pytest.mark.parametrize("radius", [1e-3, 0.5, 100.0])
@pytest.mark.parametrize("lowest", [0.5, -2.0])
def test_the_step_against_the_exact_one(lowest, radius):
    rng = np.random.default_rng(0)
    Q, g = np.linalg.qr(rng.normal(size=(8, 8)))[0], rng.normal(size=8) * 1e-3
    H = Q @ np.diag(np.linspace(lowest, 4, 8)) @ Q.T
    path = ball(H, g, radius)
    s = np.asarray(path.s)
    np.testing.assert_allclose([path.slope, path.bend], [g @ s, s @ H @ s], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(path.r, g + H @ s, atol=1e-9 * radius)
    assert np.linalg.norm(s) <= radius * (1 + 1e-12)
    exact = minimise_over_ball(H, g, np.float64(radius), np.float64(1e-14))
    cauchy = -min(radius / np.linalg.norm(g), (g @ g) / max(g @ H @ g, 1e-300)) * g
    assert model(H, g, np.asarray(exact.step)) - 1e-12 <= model(H, g, s) <= model(H, g, cauchy) + 1e-15
    if lowest > 0 and radius > 1e-3:
        assert path.interior
        assert np.linalg.norm(path.r) <= max(np.sqrt(np.linalg.norm(g)), 1e-12) * np.linalg.norm(g)
    else:
        np.testing.assert_allclose(np.linalg.norm(s), radius, rtol=1e-9)
        assert path.negative == (lowest < 0 and radius > 1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 10])
def test_problems(n, dtype):
    starts, which, rows = group_starts(n)
    args = (which, np.zeros((), dtype))
    found = jn.minimize_batch(
        any_of(n), starts.astype(dtype), args, args_axes=(0, None), solver=jn.NewtonCG(), devices=1
    )
    for problem in GROUPS[n]:
        status, fun = np.asarray(found.status[rows[problem]]), np.asarray(found.fun[rows[problem]], float)
        success = np.asarray(found.success[rows[problem]])
        assert success[0], (problem, status[0])
        assert success.mean() >= (0.95 if problem.name != "Beale" else 0.5), problem
        if problem.minima is not None:
            away = np.abs(fun[success][:, None] - np.array(problem.minima)[None]).min(axis=1)
            assert away.max() <= (1e-6 if dtype == "float64" else 1e-2) * (1 + abs(problem.least)), problem


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_thousand_unknowns_without_a_matrix(dtype):
    n = 10_000
    x0 = np.tile(np.array([-1.2, 1], dtype), n // 2)
    solve = jax.jit(lambda x0: jn.minimize(extended_rosenbrock, x0, solver=jn.NewtonCG()))
    memory = solve.lower(x0).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 200 * x0.nbytes  # one Hessian would be 10,000 times x0
    found = solve(x0)
    assert found.success
    assert np.abs(jax.grad(extended_rosenbrock)(found.x)).max() <= (1e-6 if dtype == "float64" else 1e-3)
    assert found.nit < 100


def test_it_is_the_default_for_many_unknowns():
    found = jn.minimize(lambda x: jnp.sum(jnp.cosh(x - 1)), np.zeros(1000))
    assert found.success
    assert found.nhev == 0
    assert np.isnan(found.curvature)


def test_negative_curvature_is_followed_away_from_a_saddle():
    found = jn.minimize(lambda x: jnp.sum((x**2 - 1) ** 2), np.array([0.01, -0.02, 0.9]), solver=jn.NewtonCG())
    assert found.status == Status.CONVERGED
    np.testing.assert_allclose(np.abs(found.x), 1, atol=1e-8)


FAILURES = {
    "unbounded": (lambda x: -jnp.sum(x**2), Status.DIVERGED),
    "fading": (lambda x: jnp.sum(jnp.exp(-x)), None),
    "nan": (lambda x: jnp.sum(jnp.log(x - 2)), Status.NONFINITE),
    "edge": (lambda x: jnp.sum(jnp.sqrt(x)), None),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_no_success(name):
    fun, status = FAILURES[name]
    found = jn.minimize(fun, np.ones(3), solver=jn.NewtonCG())
    assert not found.success
    assert np.isfinite(found.x).all()
    assert status is None or found.status in (status, Status.DIVERGED)


def test_derivatives_of_a_failed_solve_are_nan():
    def solution(a):
        def fun(x, a):
            return jnp.sum(100 * (x[1:] - a * x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

        return jn.minimize(fun, np.zeros(150), (a,), max_steps=2).x[3]

    assert np.isnan(jax.grad(solution)(1.0))


def test_derivatives_need_no_matrix_either():
    n = 3000

    def solution(c):
        x = jn.minimize(lambda x, c: jnp.sum(jnp.cosh(x - c) + 0.1 * x**2), np.zeros(n), (c,)).x[0]
        return x, x

    slope = jax.jit(jax.grad(solution, has_aux=True)).lower(1.0).compile()
    assert slope.memory_analysis().temp_size_in_bytes < 8 * n * n / 10
    found, value = slope(1.0)
    np.testing.assert_allclose(found, np.cosh(value - 1) / (np.cosh(value - 1) + 0.2), rtol=1e-7)
