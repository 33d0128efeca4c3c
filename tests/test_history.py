"""The history of a solve, and its picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnewton as jn
import jaxnewton.plotting

SOLVERS = {
    "TrustRegion": jn.TrustRegion(),
    "BFGS": jn.BFGS(),
    "NewtonCG": jn.NewtonCG(),
    "gradient": jn.GradientDescent(),
}


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def solve(solver, **options):
    return jn.minimize(rosenbrock, np.array([-1.2, 1.0]), solver=SOLVERS[solver], max_steps=60, **options)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_trip_is_there_and_nothing_else_changes(solver):
    found, plain = solve(solver, history=True), solve(solver)
    history, nit = found.history, int(found.nit)
    assert plain.history is None
    assert (plain.nit, plain.status) == (nit, found.status)
    np.testing.assert_array_equal(plain.x, found.x)
    assert [leaf.shape for leaf in history] == [(60,)] * 4
    for leaf in history[:3]:
        assert np.isfinite(leaf[:nit]).all()
        assert np.isnan(leaf[nit:]).all()
    assert history.accepted[0]
    assert not history.accepted[nit:].any()
    np.testing.assert_allclose(history.fun[0], 24.2)
    np.testing.assert_allclose(history.grad[0], 215.6)
    assert history.step[0] == 0
    np.testing.assert_allclose(history.fun[nit - 1], found.fun)
    np.testing.assert_allclose(history.grad[nit - 1], np.abs(found.grad).max())
    assert np.all(np.diff(history.fun[:nit]) <= 1e-12)
    assert not history.step[:nit][~history.accepted[:nit]].any()
    ends = [jn.minimize(rosenbrock, np.array([-1.2, 1.0]), solver=SOLVERS[solver], max_steps=k).x for k in (3, 4)]
    np.testing.assert_allclose(history.step[3], np.linalg.norm(ends[1] - ends[0]), rtol=1e-12)


def test_under_transformations():
    def last(c):
        found = jn.minimize(lambda x, c: jnp.sum((x - c) ** 4 + (x - c) ** 2), np.zeros(2), (c,), history=True)
        return found.x[0] + 0 * found.history.fun[0]

    np.testing.assert_allclose(jax.vmap(jax.grad(last))(np.array([1.0, 2.0])), 1, rtol=1e-9)


def test_wrong_input():
    with pytest.raises(TypeError, match=r"history must be True or False.*yes"):
        solve("BFGS", history="yes")
    with pytest.raises(ValueError, match="has no history"):
        jaxnewton.plotting.convergence(solve("BFGS"), "never.png")
    with pytest.raises(ValueError, match="1 solutions and 2 names"):
        jaxnewton.plotting.convergence([solve("BFGS", history=True)], "never.png", names=["a", "b"])
    with pytest.raises(ValueError, match="nothing to draw"):
        jaxnewton.plotting.convergence([], "never.png")
    with pytest.raises(TypeError, match=r"path must be a file's name.*None"):
        jaxnewton.plotting.convergence(solve("BFGS", history=True), None)


def test_a_batch_has_no_one_history():
    found = jax.vmap(lambda x0: jn.minimize(rosenbrock, x0, history=True))(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"batch of shape \(3,\)"):
        jaxnewton.plotting.convergence(found, "never.png")


@pytest.mark.parametrize("kind", ["one", "list", "dict"])
def test_the_picture(kind, tmp_path):
    solutions = {name: solve(name, history=True) for name in ("BFGS", "TrustRegion")}
    given = {"one": solutions["BFGS"], "list": list(solutions.values()), "dict": solutions}[kind]
    jaxnewton.plotting.convergence(given, tmp_path / "trips.png", title="Rosenbrock")
    assert (tmp_path / "trips.png").read_bytes().startswith(b"\x89PNG")
