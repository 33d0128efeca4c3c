"""Gradient descent: its step rules against closed forms, bounds, the courses' examples, and honest ends."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import jaxnewton as jn
from jaxnewton import Status

RULES = {
    "number": 0.2,
    "schedule": optax.exponential_decay(0.3, 200, 0.8),
    "exact": "exact",
    "armijo": "armijo",
    "wolfe": "wolfe",
    "golden": "golden",
}
SEARCHES = ("exact", "armijo", "wolfe", "golden")
every_rule = pytest.mark.parametrize("rule", RULES)


def bowl(x, A, b):
    return 0.5 * jnp.sum(x * jnp.sum(A * x[None, :], axis=1)) - jnp.sum(b * x)


A = np.diag([1.0, 2, 4]) + 0.3
B = np.array([1.0, 3, 5])


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_convex_quadratic(rule, dtype):
    tol = 1e-6 if dtype == "float64" else 1e-3
    a, b = A.astype(dtype), B.astype(dtype)
    found = jn.minimize(bowl, np.ones(3, dtype), (a, b), solver=jn.GradientDescent(RULES[rule]), tol=tol)
    assert found.success
    assert found.x.dtype == np.dtype(dtype)
    np.testing.assert_allclose(found.x, np.linalg.solve(A, B), atol=2 * tol)
    assert found.nhev == 0
    assert found.nfev == found.njev == found.nit


def path(solver, trips, x0=(0.0, 0, 0)):
    return [np.asarray(jn.minimize(bowl, np.array(x0), (A, B), solver=solver, max_steps=k).x) for k in trips]


def test_a_number_is_the_iteration_itself():
    x = np.zeros(3)
    for found in path(jn.GradientDescent(0.1), range(1, 6)):
        np.testing.assert_allclose(found, x, rtol=1e-12, atol=1e-15)
        x = x - 0.1 * (A @ x - B)


def test_a_schedule_counts_steps_from_zero():
    x = np.zeros(3)
    for k, found in enumerate(path(jn.GradientDescent(lambda count: 0.2 / (1 + count.astype("float64"))), range(1, 6))):
        np.testing.assert_allclose(found, x, rtol=1e-12, atol=1e-15)
        x = x - 0.2 / (1 + k) * (A @ x - B)


def test_exact_steps_are_cauchys():
    x = np.zeros(3)
    for found in path(jn.GradientDescent("exact"), range(1, 6)):
        np.testing.assert_allclose(found, x, rtol=1e-12, atol=1e-15)
        g = A @ x - B
        x = x - (g @ g) / (g @ A @ g) * g


def test_exact_never_forms_a_hessian():
    n = 50_000
    found = jn.minimize(lambda x: jnp.sum(jnp.cosh(x)), np.ones(n), solver=jn.GradientDescent("exact"))
    assert found.success
    assert np.abs(found.x).max() < 1e-6


@pytest.mark.parametrize("rule", SEARCHES)
def test_negative_curvature_is_left_downhill(rule):
    """f = (x^2 - 1)^2 at 0.1, where f'' < 0: a Newton-like step along -g would go up to the maximum at 0."""
    found = jn.minimize(lambda x: jnp.sum((x**2 - 1) ** 2), [0.1], solver=jn.GradientDescent(rule), tol=1e-6)
    assert found.success
    np.testing.assert_allclose(found.x, [1], atol=1e-6)


@pytest.mark.parametrize("rule", SEARCHES)
def test_f_never_rises(rule):
    start = np.array([-1.2, 1.0])

    def fun(x):
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    found = jn.minimize(fun, start, solver=jn.GradientDescent(rule), history=True, max_steps=300)
    assert found.status == Status.MAX_STEPS
    assert np.all(np.diff(found.history.fun) <= 1e-12)
    assert found.fun < 4.2


def test_too_long_a_step_diverges_and_says_so():
    found = jn.minimize(lambda x: jnp.sum(x**4), [2.0], solver=jn.GradientDescent(1.0))
    assert found.status == Status.DIVERGED
    assert np.isfinite(found.x).all()


@every_rule
def test_no_minimum_is_no_success(rule):
    def fun(x):
        return x[0] ** 2 + x[1] ** 2 - 4 * x[0] - 6 * x[1] + 13 + jnp.sqrt(x[2]) - jnp.sqrt(x[3])

    found = jn.minimize(fun, [12.0, 4, 1, 1], solver=jn.GradientDescent(RULES[rule]), max_steps=2000)
    assert not found.success
    assert np.isfinite(found.x).all()


@pytest.mark.parametrize("solver", [jn.GradientDescent(1e-9), jn.Optax(optax.sgd(1e-9))], ids=["descent", "optax"])
def test_a_short_step_is_no_noise_floor(solver):
    found = jn.minimize(lambda x: 1000 + jnp.sum((x - 3) ** 2) / 2, np.array([2.8], "float32"), solver=solver)
    assert found.status == Status.MAX_STEPS


@pytest.mark.parametrize("rule", SEARCHES)
def test_a_line_downhill_is_no_minimum(rule):
    assert jn.minimize(jnp.sum, np.ones(2), solver=jn.GradientDescent(rule)).status == Status.DIVERGED


def test_crossed_bounds_of_one_lane_are_that_lanes_alone():
    def end(upper):
        def fun(x):
            return jnp.sum((x - 2) ** 2)

        found = jn.minimize(fun, jnp.zeros(2), solver=jn.GradientDescent(), bounds=jn.Bounds(-1.0, upper))
        return found.status, found.x

    status, x = jax.vmap(end)(np.array([1.0, -2.0]))
    assert [Status(int(s)) for s in status] == [Status.CONVERGED, Status.NONFINITE]
    np.testing.assert_allclose(x[0], 1)


def test_least_squares_of_a_singular_matrix():
    """From 0 gradient descent stays in the row space: it comes to the solution of least norm (numpy.linalg.lstsq)."""
    M, y = np.arange(16.0).reshape(4, 4), np.arange(4.0)

    def fun(x, M, y):
        return 0.5 * jnp.sum((jnp.sum(M * x[None, :], axis=1) - y) ** 2)

    found = jn.minimize(fun, np.zeros(4), (M, y), solver=jn.GradientDescent(1e-4), tol=1e-6, max_steps=200_000)
    assert found.success
    assert np.abs(found.grad).max() <= 1e-6
    np.testing.assert_allclose(found.x, np.linalg.lstsq(M, y)[0], atol=1e-5)
    np.testing.assert_allclose(found.x, [0.175, 0.1, 0.025, -0.05], atol=1e-5)


BOUNDS = {
    "one side": jn.Bounds(0.0, np.inf),
    "a box": jn.Bounds([0.5, -np.inf, -1.0], [2.0, 0.25, 1.0]),
    "a box with None": jn.Bounds([0.5, None, -1.0], (2, None, 1)),
    "nothing": jn.Bounds(),
    "a point": jn.Bounds([1.0, 0.25, -np.inf], [1.0, 0.25, np.inf]),
}


@pytest.mark.parametrize("bounds", BOUNDS)
@every_rule
def test_bounds(rule, bounds):
    M, y = A - 1.5, np.array([-1.0, 3, -2])  # the free minimum would be outside
    M = 0.3 * (M @ M.T + np.eye(3))
    box = BOUNDS[bounds]
    lower, upper = (np.broadcast_to(np.array(side, float), 3) for side in box)
    lower, upper = np.where(np.isnan(lower), -np.inf, lower), np.where(np.isnan(upper), np.inf, upper)  # were None
    solver = jn.GradientDescent(RULES[rule])
    found = jn.minimize(bowl, np.full(3, 5.0), (M, y), solver=solver, bounds=box, tol=1e-6, max_steps=5000)
    assert found.success
    theirs = scipy.optimize.minimize(
        lambda x: x @ M @ x / 2 - y @ x,
        np.clip(5, lower, upper),
        jac=lambda x: M @ x - y,
        bounds=list(zip(lower, upper, strict=True)),
        tol=1e-12,
    )
    np.testing.assert_allclose(found.x, theirs.x, atol=1e-5)
    assert np.all((found.x >= lower) & (found.x <= upper))
    assert np.abs(found.grad).max() <= 1e-6


def test_bounds_in_a_batch_of_pytrees():
    centres = np.random.default_rng(0).normal(size=(40, 2))

    def fun(x, c):
        return (x["a"] - c[0]) ** 2 + 3 * (x["b"][0] - c[1]) ** 2

    x0s = {"a": np.zeros(40), "b": np.zeros((40, 1))}
    found = jn.minimize_batch(
        fun,
        x0s,
        (centres,),
        args_axes=0,
        solver=jn.GradientDescent(),
        bounds=jn.Bounds({"a": 0.0, "b": np.array([-0.5])}, 0.5),
        devices=1,
    )
    assert found.success.all()
    np.testing.assert_allclose(found.x["a"], np.clip(centres[:, 0], 0, 0.5), atol=1e-7)
    np.testing.assert_allclose(found.x["b"][:, 0], np.clip(centres[:, 1], -0.5, 0.5), atol=1e-7)


@pytest.mark.parametrize(
    ("x0", "lower"),
    [
        ({"a": np.zeros(2), "b": None}, {"a": 0.5, "b": None}),  # None is a part of x0 here
        ([np.zeros(2), np.zeros(2)], [0.5, None]),
        ([np.zeros(2), np.zeros(3)], [None, 0.5]),
        ([0.0, 0.0], [0.5, None]),
    ],
)
def test_a_bound_of_none_frees_a_leaf(x0, lower):
    def fun(x):
        return sum(jnp.sum((leaf + 1) ** 2) for leaf in jax.tree.leaves(x))

    found = jn.minimize(fun, x0, solver=jn.GradientDescent(), bounds=jn.Bounds(lower))
    assert found.success
    if isinstance(x0, dict):
        np.testing.assert_allclose(found.x["a"], 0.5)
        return
    for end, bound in zip(found.x, lower, strict=True):
        np.testing.assert_allclose(end, -1 if bound is None else bound, atol=1e-7)


def test_derivatives_of_a_bounded_solution():
    """min (x - 2)^2 + (y - 2)^2 + x y with x <= u: y = 2 - u / 2 while the bound holds."""

    def solution(u):
        def fun(x):
            return jnp.sum((x - 2) ** 2) + x[0] * x[1]

        bounds = jn.Bounds(-np.inf, jnp.stack([u, jnp.asarray(np.inf)]))
        return jn.minimize(fun, np.array([5.0, -3]), solver=jn.GradientDescent("exact"), bounds=bounds).x

    np.testing.assert_allclose(jax.jacobian(solution)(np.float64(1.0)), [1, -0.5], atol=1e-8)
    np.testing.assert_allclose(jax.jacobian(solution)(np.float64(1.5)), [0, 0], atol=1e-8)


@pytest.mark.parametrize("rule", ["exact", "armijo", "wolfe", "schedule"])
def test_the_pool_solves_as_one_start_does(rule):
    starts = np.random.default_rng(1).uniform(-3, 3, (50, 3))
    solver = jn.GradientDescent(RULES[rule])
    found = jn.minimize_batch(bowl, starts, (A, B), solver=solver, width=8, devices=2)
    assert found.success.all()
    for row in (0, 17):
        one = jn.minimize(bowl, starts[row], (A, B), solver=solver)
        assert (one.nit, one.status) == (found.nit[row], found.status[row])
        np.testing.assert_allclose(one.x, found.x[row], atol=1e-12)
