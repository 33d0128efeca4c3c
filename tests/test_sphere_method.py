"""Functions on a sphere against eigenvalues, published critical values, finite differences and the exact quadratic."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnewton as jn
from jaxnewton.sphere.method import OnSphere
from jaxnewton.types import Needs

# Kolda & Mayo (2011), example 3.5, after Kofidis & Regalia (2002): a symmetric 3 x 3 x 3 x 3 tensor and its real
# eigenvalues of x -> T x^4 on the sphere, of which these are minima and maxima.
ENTRIES = {
    "1111": 0.2883, "1112": -0.0031, "1113": 0.1973, "1122": -0.2485, "1123": -0.2939, "1133": 0.3847, "1222": 0.2972,
    "1223": 0.1862, "1233": 0.0919, "1333": -0.3619, "2222": 0.1241, "2223": -0.3420, "2233": 0.2127, "2333": 0.2727,
    "3333": -0.3054,
}  # fmt: skip
MINIMA, MAXIMA = [-1.0954, -0.5629, -0.0451], [0.3633, 0.8169, 0.8893]


def tensor():
    T = np.zeros((3, 3, 3, 3))
    for digits, value in ENTRIES.items():
        for places in itertools.permutations(int(digit) - 1 for digit in digits):
            T[places] = value
    return T


def form(x, T):
    return jnp.einsum("ijkl,i,j,k,l", T, x, x, x, x)


def quartic(x, c):
    return jnp.sum(x**4) + jnp.sum(c * x)


def symmetric(n, dtype=np.float64):
    A = np.random.default_rng(n).normal(size=(n, n))
    return (A + A.T).astype(dtype)


@pytest.mark.parametrize(("sign", "known"), [(1.0, MINIMA), (-1.0, MAXIMA)], ids=["minima", "maxima"])
def test_every_extreme_eigenvalue_of_a_tensor(sign, known):
    starts = jn.starts.normal(jax.random.key(0), jnp.zeros(3), 1.0, 300)
    found = jn.sphere.minimize_batch(lambda x, T: sign * form(x, T), starts, (tensor(),))
    assert found.success.all()
    np.testing.assert_allclose(jnp.linalg.norm(found.x, axis=1), 1.0, rtol=1e-14)
    values = sorted({round(float(sign * f), 4) for f in np.asarray(found.fun)})
    assert values == known
    assert np.max(np.asarray(found.nit)) <= 25


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 12])
def test_rayleigh_quotient(n, dtype):
    A = symmetric(n, dtype)
    found = jn.sphere.minimize(lambda x, A: x @ A @ x / (x @ x), np.ones(n, dtype), (A,))
    lam = np.linalg.eigvalsh(A.astype(float))
    eps = float(np.finfo(dtype).eps)
    assert found.success
    assert found.x.dtype == dtype
    assert float(found.fun) == pytest.approx(lam[0], abs=50 * n * eps)
    if n > 1:  # the Riemannian Hessian's lowest eigenvalue is twice the gap
        assert float(found.curvature) == pytest.approx(2 * (lam[1] - lam[0]), rel=1e4 * eps)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_a_quadratic_takes_one_step(n):
    A, b = symmetric(n), np.arange(1.0, n + 1)
    found = jn.sphere.minimize(lambda x, A, b: x @ A @ x - 2 * b @ x, np.ones(n), (A, b), radius=2.0)
    exact = jn.sphere.minimize_quadratic(A, b, 2.0)
    assert found.success
    assert int(found.nit) <= 3
    np.testing.assert_allclose(found.x, exact.x, atol=1e-10)
    np.testing.assert_allclose(found.fun, exact.fun, rtol=1e-14)


def test_convergence_is_quadratic():
    c = np.array([1.0, -0.4, 0.3, 0.2])
    found = jn.sphere.minimize(quartic, np.array([0.1, 1.0, 0.4, -0.3]), (c,), history=True)
    sizes = np.asarray(found.history.grad)[: int(found.nit)]
    assert sizes[-1] < 1e-8
    assert sizes[-1] <= max(100 * sizes[-2] ** 2, 1e-14)


def test_derivatives_given_to_the_method_are_those_on_the_sphere():
    problem, c, radius = OnSphere(quartic), np.array([0.3, -1.0, 0.5]), jnp.float64(1.5)
    x = np.array([0.5, 1.0, -1.0])
    at = problem.evaluate(jnp.asarray(x), (radius, c), Needs.HESSIAN)
    basis = np.linalg.svd(x[None])[2][1:]  # of the tangent plane

    def around(v):
        return quartic(problem.move(x, v @ basis, (radius,)), c)

    np.testing.assert_allclose(at.g @ x, 0, atol=1e-14)
    np.testing.assert_allclose(basis @ at.g, jax.grad(around)(jnp.zeros(2)), rtol=1e-12)
    np.testing.assert_allclose(basis @ at.H @ basis.T, jax.hessian(around)(jnp.zeros(2)), rtol=1e-12)
    lanes = problem.evaluate_lanes(jnp.asarray(x)[:, None], (radius, c), (None, None), Needs.HESSIAN)
    np.testing.assert_allclose(lanes.H[..., 0], at.H, rtol=1e-14)


def test_derivatives_of_the_solution():
    x0 = np.array([-0.8, 0.7, -0.7])

    def solve(c, radius):
        found = jn.sphere.minimize(quartic, x0, (c,), radius=radius)
        return found.x, found.fun

    c, dc, radius, dradius = np.array([1.0, -0.3, 0.2]), np.array([0.3, 0.5, -0.2]), jnp.float64(1.3), jnp.float64(0.6)
    _, moved = jax.jvp(solve, (c, radius), (dc, dradius))
    h = 1e-5
    above, below = solve(c + h * dc, radius + h * dradius), solve(c - h * dc, radius - h * dradius)
    for tangent, up, down in zip(moved, above, below, strict=True):
        np.testing.assert_allclose(tangent, (up - down) / (2 * h), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("x0", [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], ids=["saddle", "maximum"])
def test_a_stationary_point_that_is_no_minimum_is_left(x0):
    found = jn.sphere.minimize(lambda x, A: x @ A @ x, np.array(x0), (np.diag([-1.0, 0.0, 1.0]),))
    assert found.success
    assert float(found.fun) == pytest.approx(-1.0, abs=1e-14)
    assert float(found.curvature) == pytest.approx(2.0, rel=1e-9)


def test_a_constant_is_singular():
    flat = jn.sphere.minimize(lambda x: 0.0 * jnp.sum(x), np.ones(3))
    assert flat.status == jn.Status.SINGULAR


def test_batch_agrees_with_one_by_one_and_with_any_width():
    starts = np.random.default_rng(0).normal(size=(40, 3))
    T = tensor()
    batch = jn.sphere.minimize_batch(form, starts, (T,), width=7, devices=1)
    other = jn.sphere.minimize_batch(form, starts, (T,), width=40, devices=3)
    np.testing.assert_allclose(batch.fun, other.fun, rtol=1e-12)
    assert np.max(apart(batch.x, other.x)) <= 1e-9
    for k in range(5):
        one = jn.sphere.minimize(form, starts[k], (T,))
        assert apart(batch.x[k], one.x) <= 1e-9


def apart(x, y):
    """The form is even: rounding may choose between a minimum and its mirror image."""
    x, y = np.asarray(x), np.asarray(y)
    return np.minimum(np.abs(x - y).max(axis=-1), np.abs(x + y).max(axis=-1))


def test_pytrees_and_a_start_without_direction():
    found = jn.sphere.minimize(
        lambda p: p["a"] + 2 * jnp.sum(p["b"]), {"a": jnp.ones(()), "b": jnp.ones(2)}, radius=3.0
    )
    np.testing.assert_allclose(found.x["b"], -2.0, rtol=1e-10)
    with pytest.raises(TypeError, match="x0 must be one start"):
        jn.sphere.minimize(quartic, jn.starts.normal(jax.random.key(0), np.zeros(2), np.ones(2), 3))
    with pytest.raises(ValueError, match="x0 must not be 0"):
        jn.sphere.minimize(lambda p: p["b"], {"a": np.zeros(2), "b": 0.0})
    lost = jn.sphere.minimize_batch(quartic, np.array([[0.0, 0.0], [1.0, 2.0]]), (np.ones(2),))
    assert [jn.Status(int(s)) for s in lost.status] == [jn.Status.NONFINITE, jn.Status.CONVERGED]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"radius": 0.0}, "radius must be a positive finite number; it is 0.0"),
        ({"radius": np.ones(2)}, "radius must be"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(ValueError, match=words):
        jn.sphere.minimize(quartic, np.ones(2), (np.ones(2),), **options)
    with pytest.raises(TypeError, match="fun must be"):
        jn.sphere.minimize("f", np.ones(2))
