"""Which ends count as the same, and what only the host can say of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnewton as jn


def comb(x, spacing):
    """Minima at all multiples of ``spacing``, slightly lower to the left."""
    return 1e-4 * jnp.sum(x) - jnp.sum(jnp.cos(2 * jnp.pi * x / spacing))


@pytest.mark.parametrize(("dtype", "spacing"), [("float32", 0.005), ("float64", 5e-5)])
def test_minima_near_each_other_are_told_apart(dtype, spacing):
    places = spacing * np.arange(15)
    starts = (places[:, None, None] + 0.1 * spacing * np.linspace(-1, 1, 8)[None, :, None]).reshape(-1, 1).astype(dtype)
    found = jn.minimize_batch(comb, starts, (np.asarray(spacing, dtype),), solver=jn.Newton(), devices=1)
    assert found.success.all()
    minima = found.distinct()
    assert [hits for _, hits in minima] == [8] * 15
    np.testing.assert_allclose(sorted(float(one.x[0]) for one, _ in minima), places, atol=0.05 * spacing)
    assert "distinct ends: 15" in found.summary()


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", [jn.Newton(), jn.BFGS()], ids=["Newton", "BFGS"])
@pytest.mark.parametrize(("fun", "minima"), [(himmelblau, 4), (rosenbrock, 1)], ids=["himmelblau", "rosenbrock"])
def test_a_minimum_is_not_counted_twice(fun, minima, solver, dtype):
    starts = np.random.default_rng(0).uniform(-4, 4, (500, 2)).astype(dtype)
    found = jn.minimize_batch(fun, starts, solver=solver, devices=1)
    lowest = [one for one, _ in found.distinct() if one.fun < 1e-3]  # Newton's method may also end at a saddle
    assert len(lowest) == minima


def test_a_tolerance_for_distinct_ends_is_positive():
    found = jn.minimize_batch(himmelblau, np.ones((3, 2)))
    with pytest.raises(ValueError, match="tol must be a positive finite number; it is -1"):
        found.distinct(tol=-1)


@pytest.mark.parametrize("name", ["best", "counts", "distinct", "summary"])
def test_what_the_host_works_out_is_refused_inside_jit(name):
    def ask(x0s):
        answer = getattr(jn.minimize_batch(himmelblau, x0s, devices=1), name)
        return answer() if callable(answer) else answer

    with pytest.raises(ValueError, match=f"{name} is worked out on the host"):
        jax.jit(ask)(np.ones((3, 2)))
