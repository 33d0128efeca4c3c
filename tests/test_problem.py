"""An objective's evaluation against JAX's own derivatives, closed forms and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from problems import PROBLEMS, beale, rosenbrock, wood

from jaxnewton import Needs
from jaxnewton.problem import Objective

DTYPES = ("float32", "float64")


@functools.cache
def both(problem):
    """Ours and JAX's own value, gradient and Hessian, compiled."""
    ours = jax.jit(lambda x: Objective(problem.fun).evaluate(x, (), Needs.HESSIAN))
    return ours, jax.jit(lambda x: tuple(d(problem.fun)(x) for d in (lambda f: f, jax.grad, jax.hessian)))


small = pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.n in (2, 4)], ids=str)


@small
@pytest.mark.parametrize("dtype", DTYPES)
def test_agrees_with_jax(problem, dtype):
    x = problem.starts(3)[1].astype(dtype)
    ours, theirs = (function(x) for function in both(problem))
    assert {leaf.dtype for leaf in ours} == {np.dtype(dtype)}
    assert [leaf.shape for leaf in ours] == [(), (problem.n,), (problem.n, problem.n)]
    tol = {"rtol": 100 * np.finfo(dtype).eps, "atol": 100 * np.finfo(dtype).eps * np.abs(ours.H).max()}
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, **tol)
    np.testing.assert_allclose(ours.H, ours.H.T, **tol)


@small
def test_agrees_with_finite_differences(problem):
    x, h = problem.starts(3)[2], 1e-5
    evaluate = both(problem)[0]
    found = evaluate(x)
    above, below = [evaluate(x + h * e) for e in np.eye(problem.n)], [evaluate(x - h * e) for e in np.eye(problem.n)]
    scale = float(np.abs(found.H).max())
    g = [(a.f - b.f) / (2 * h) for a, b in zip(above, below, strict=True)]
    H = [(a.g - b.g) / (2 * h) for a, b in zip(above, below, strict=True)]
    np.testing.assert_allclose(found.g, g, atol=1e-7 * scale)
    np.testing.assert_allclose(found.H, H, atol=1e-7 * scale)


def test_agrees_with_scipys_closed_forms():
    x = np.array([-1.2, 1.0, 0.3, -0.7, 2.0])
    f, g, H = Objective(rosenbrock).evaluate(x, (), Needs.HESSIAN)
    np.testing.assert_allclose(f, scipy.optimize.rosen(x), rtol=1e-14)
    np.testing.assert_allclose(g, scipy.optimize.rosen_der(x), rtol=1e-13)
    np.testing.assert_allclose(H, scipy.optimize.rosen_hess(x), rtol=1e-13)


@pytest.mark.parametrize(
    ("fun", "x", "f", "g", "H"),
    [  # at the standard starts, as recomputed from More, Garbow & Hillstrom's formulas
        (rosenbrock, [-1.2, 1], 24.2, [-215.6, -88], [[1330, 480], [480, 200]]),
        (beale, [1, 1], 14.203125, [0, 27.75], [[0, 27.75], [27.75, 68.5]]),
        (
            wood, [-3, -1, -3, -1], 19192, [-12008, -2080, -10808, -1880],
            [[11202, 1200, 0, 0], [1200, 220.2, 0, 19.8], [0, 0, 10082, 1080], [0, 19.8, 1080, 200.2]],
        ),
    ],
    ids=["rosenbrock", "beale", "wood"],
)  # fmt: skip
def test_published_starts(fun, x, f, g, H):
    found = Objective(fun).evaluate(np.array(x, float), (), Needs.HESSIAN)
    for ours, theirs in zip(found, (f, g, H), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-10)


def test_three_needs():
    x, scale = np.array([0.3, -1.1, 0.7]), np.float64(3.0)
    problem = Objective(lambda x, scale: scale * rosenbrock(x))
    value, gradient, H = problem.evaluate(x, (scale,), Needs.HESSIAN)
    for needs, wanted in ((Needs.GRADIENT, None), (Needs.CURVATURE, gradient @ H @ gradient)):
        f, g, more = problem.evaluate(x, (scale,), needs)
        np.testing.assert_allclose(f, value, rtol=1e-14)
        np.testing.assert_allclose(g, gradient, rtol=1e-13)
        if wanted is None:
            assert more is None
        else:
            np.testing.assert_allclose(more, wanted, rtol=1e-12)
            assert more.shape == ()


@pytest.mark.parametrize("needs", Needs)
def test_fun_is_traced_once(needs):
    traces = []

    def fun(x):
        traces.append(x)
        return jnp.sum(x**4)

    jax.jit(lambda x: Objective(fun).evaluate(x, (), needs))(np.ones(3))
    assert len(traces) == 1


@pytest.mark.parametrize("needs", Needs)
@pytest.mark.parametrize(
    ("fun", "words"),
    [
        (lambda x: x, "must return a scalar; it returned an array of shape (2,)"),
        (lambda x: x[:1], "must return a scalar; it returned an array of shape (1,)"),
        (lambda x: jnp.argmin(x), "must return a real floating scalar; it returned dtype int"),
        (lambda x: jnp.all(x > 0), "must return a real floating scalar; it returned dtype bool"),
        (lambda x: jax.lax.complex(x[0], x[1]), "must return a real floating scalar; it returned dtype complex"),
    ],
    ids=["vector", "one entry", "integer", "bool", "complex"],
)
def test_what_fun_returns_is_checked(fun, words, needs):
    with pytest.raises(TypeError) as refused:
        Objective(fun).evaluate(np.ones(2), (), needs)
    assert words in str(refused.value)


def test_move_and_size():
    problem = Objective(rosenbrock)
    np.testing.assert_array_equal(problem.move(np.array([1.0, 2.0]), np.array([0.5, -1.0]), ()), [1.5, 1.0])
    assert problem.size(np.ones(7)) == 7


def test_equal_by_value():
    assert Objective(rosenbrock) == Objective(rosenbrock)
    assert hash(Objective(rosenbrock)) == hash(Objective(rosenbrock))
    assert Objective(rosenbrock) != Objective(beale)
