"""How often the objective is traced: once, and not again for the same function, shapes and solver."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnewton as jn

SOLVERS = (
    jn.TrustRegion,
    jn.Newton,
    lambda: jn.Newton(damped=False),
    lambda: jn.TrustRegion(initial_radius=3.0),
    jn.NewtonCG,
    lambda: jn.GradientDescent("exact"),
    jn.LBFGS,
)
IDS = ("TrustRegion", "Newton", "pure Newton", "other radius", "NewtonCG", "exact descent", "LBFGS")


def counting():
    """A new function, and the list that it notes its traces in."""
    traces = []

    def fun(x, scale):
        traces.append(x)
        return jnp.sum(scale * jnp.cosh(x - 0.25))

    return fun, traces


@pytest.mark.parametrize("make", SOLVERS, ids=IDS)
def test_minimize(make):
    fun, traces = counting()
    one = np.float64(1)
    jn.minimize(fun, np.ones(1), (one,), solver=make())
    assert len(traces) == 1
    # Other values, other rules, a fresh solver equal by value, NumPy or JAX, a list of numbers: all the same program.
    jn.minimize(fun, np.zeros(1), (3 * one,), solver=make())
    jn.minimize(fun, np.zeros(1), (one,), solver=make(), tol=1e-3, max_steps=7)
    jn.minimize(fun, jnp.zeros(1), (jnp.asarray(one),), solver=make(), tol=np.float32(1e-4))
    assert len(traces) == 1
    jn.minimize(fun, np.zeros(1, "float32"), (np.float32(1),), solver=make())
    assert len(traces) == 2


def test_minimize_again_after_others():
    fun, traces = counting()
    for make in (jn.TrustRegion, jn.Newton, jn.TrustRegion, jn.Newton):
        jn.minimize(fun, [0.5], (1.0,), solver=make())
    assert len(traces) == 2  # once a solver


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("make", [*SOLVERS[:2], jn.NewtonCG], ids=[*IDS[:2], "NewtonCG"])
def test_minimize_batch(make, devices):
    fun, traces = counting()
    rng = np.random.default_rng(0)

    def solve(**options):
        scale = rng.uniform(1, 2, 24)
        found = jn.minimize_batch(
            fun, rng.normal(size=(24, 1)), (scale,), args_axes=0, solver=make(), devices=devices, width=4, **options
        )
        np.testing.assert_allclose(found.x, 0.25, atol=1e-2)

    solve()
    assert len(traces) == 1
    solve()
    solve(tol=1e-4, max_steps=50)
    assert len(traces) == 1


def test_root():
    traces = []

    def fun(x, scale):
        traces.append(x)
        return jnp.sinh(x) - scale

    for scale in (1.0, 2.0):
        assert jn.root(fun, 0.5, (scale,)).success
    assert len(traces) == 1
    for seed in range(2):
        starts = np.random.default_rng(seed).normal(size=24)
        assert jn.root_batch(fun, starts, (1.0,), devices=1, width=4).success.all()
    assert len(traces) == 2


def test_bounds_are_no_new_program():
    fun, traces = counting()
    for upper in (0.1, 0.2):
        found = jn.minimize(fun, [0.0], (1.0,), solver=jn.GradientDescent(), bounds=jn.Bounds(0.0, upper))
        np.testing.assert_allclose(found.x, upper)
    assert len(traces) == 1


def test_starts_on_the_fly():
    fun, traces = counting()
    for seed in range(3):
        recipe = jn.starts.uniform(jax.random.key(seed), np.array([-1.0 - seed]), np.array([1.0]), 24)
        jn.minimize_batch(fun, recipe, (1.0,), width=4, devices=1)
    assert len(traces) == 1


class Unhashable:
    """As a list or a dataclass that compares by value is."""

    __hash__ = None

    def __init__(self):
        self.traces = 0

    def __eq__(self, other):
        return isinstance(other, Unhashable)

    def __call__(self, x):
        self.traces += 1
        return jnp.sum((x - 2.0) ** 2)


def test_unhashable_callables():
    fun, other = Unhashable(), Unhashable()
    for _ in range(2):
        np.testing.assert_allclose(jn.minimize(fun, np.zeros(1)).x, 2, atol=1e-12)
    np.testing.assert_allclose(jn.minimize_batch(fun, np.zeros((3, 1)), devices=1).x, 2, atol=1e-12)
    np.testing.assert_allclose(jn.minimize(other, np.zeros(1)).x, 2, atol=1e-12)
    assert (fun.traces, other.traces) == (2, 1)


def test_solvers_are_equal_by_value():
    for make in SOLVERS:
        assert make() == make()
        assert hash(make()) == hash(make())
        assert dataclasses.replace(make()) == make()
    assert len({make() for make in SOLVERS}) == len(SOLVERS)
