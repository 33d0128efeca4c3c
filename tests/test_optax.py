"""Optax transformations in the loop and the pool: step by step what optax does, and honest ends."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnewton as jn
from jaxnewton import Status

TRANSFORMS = {
    "sgd": optax.sgd(0.05, momentum=0.9),
    "adam": optax.adam(0.1),
    "lion": optax.lion(optax.exponential_decay(0.05, 20, 0.7)),
    "polyak": optax.polyak_sgd(),
}


@pytest.fixture(autouse=True)
def _usual_promotion():
    """Optax mixes dtypes itself."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def fun(x):
    return jnp.sum((x - jnp.arange(1.0, 4.0)) ** 2 * jnp.array([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_path_is_optaxs_own(name):
    transform = optax.with_extra_args_support(TRANSFORMS[name])
    x = jnp.zeros(3)
    state = transform.init(x)
    for k in range(1, 6):
        found = jn.minimize(fun, np.zeros(3), solver=jn.Optax(TRANSFORMS[name]), max_steps=k)
        np.testing.assert_allclose(found.x, x, rtol=1e-12, atol=1e-15)
        value, g = jax.value_and_grad(fun)(x)
        updates, state = transform.update(g, state, x, value=value, grad=g)
        x = optax.apply_updates(x, updates)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam_finds_the_minimum(dtype):
    found = jn.minimize(
        lambda x: jnp.sum((x - 2) ** 2),
        np.zeros(2, dtype),
        solver=jn.Optax(TRANSFORMS["adam"]),
        tol=1e-4,
        max_steps=3000,
    )
    assert found.status == Status.CONVERGED
    assert found.x.dtype == np.dtype(dtype)
    np.testing.assert_allclose(found.x, 2, atol=1e-3)


def test_the_pool_solves_as_one_start_does():
    starts = np.random.default_rng(0).normal(size=(30, 3))
    solver = jn.Optax(TRANSFORMS["sgd"])
    found = jn.minimize_batch(fun, starts, solver=solver, width=4, devices=2)
    assert found.success.all()
    one = jn.minimize(fun, starts[11], solver=solver)
    assert one.nit == found.nit[11]
    np.testing.assert_allclose(one.x, found.x[11], atol=1e-12)


def test_a_step_out_of_the_domain_is_no_success():
    found = jn.minimize(lambda x: jnp.sum(jnp.sqrt(x)), [0.01], solver=jn.Optax(optax.sgd(1.0)))
    assert found.status == Status.DIVERGED
    assert found.x == 0.01


def test_what_evaluates_by_itself_is_refused():
    with pytest.raises(ValueError, match=r"evaluates the function itself.*LBFGS"):
        jn.minimize(fun, np.zeros(3), solver=jn.Optax(optax.lbfgs()))
