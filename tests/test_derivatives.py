"""check_derivatives: right rules pass, wrong ones are found and located."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnewton as jn


def polynomial(x):
    a, b = x
    return a**3 * b**2 - 3 * a * b**3 - a * b + 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("x", "hessian"), [((0, 2), [[0, -37], [-37, 0]]), ((1, 1), [[6, -4], [-4, -16]])], ids=["0,2", "1,1"]
)
def test_a_polynomial(x, hessian, dtype):
    found = jn.check_derivatives(polynomial, np.array(x, dtype))
    assert found.ok
    np.testing.assert_allclose(found.hessian, hessian, rtol=1e-5)
    np.testing.assert_allclose(found.hessian_differences, hessian, atol=1e-7 if dtype == "float64" else 1e-2)
    assert str(found).count("ok") == 2


def test_the_inverse_hessian_of_the_example():
    found = jn.check_derivatives(polynomial, np.array([1.0, 1.0]))
    printed = [[0.14285714, -0.03571429], [-0.03571429, -0.05357143]]
    np.testing.assert_allclose(np.linalg.inv(found.hessian), printed, atol=5e-9)


def with_rule(slope, bend):
    """sum(x^2) whose derivative rule has the gradient slope * x, and that one a derivative of bend."""

    @jax.custom_jvp
    def gradient(x):
        return slope * x

    gradient.defjvp(lambda primals, tangents: (gradient(*primals), bend * tangents[0]))

    @jax.custom_jvp
    def fun(x):
        return jnp.sum(x**2)

    fun.defjvp(lambda primals, tangents: (fun(*primals), jnp.sum(gradient(*primals) * tangents[0])))
    return fun


@pytest.mark.parametrize(("slope", "bend", "wrong"), [(2.0, 2.0, ""), (1.9, 1.9, "gradient"), (2.0, 2.1, "hessian")])
def test_custom_rules(slope, bend, wrong):
    found = jn.check_derivatives(with_rule(slope, bend), np.array([0.5, -2.0, 1.0]))
    assert found.ok == (not wrong)
    assert f"{wrong} WRONG" in str(found) or not wrong
    if wrong == "gradient":
        assert "at [1]: JAX -3.8, differences -4" in str(found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x", [(1, 1), (-1, 1), (-1.2, 1), (0, 0)])
def test_large_third_derivatives_are_no_error(x, dtype):
    """Such as at the minimum of Rosenbrock's function, where nothing else is left."""
    x = np.array(x, dtype)
    found = jn.check_derivatives(lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2, x)
    assert found.ok, str(found)
    found = jn.check_derivatives(lambda x: jnp.sum(x**4), x)
    assert found.ok, str(found)


def test_a_rule_wrong_by_a_thousandth_where_third_derivatives_are_large():
    @jax.custom_jvp
    def quartic(x):
        return jnp.sum(x**4)

    quartic.defjvp(lambda primals, tangents: (quartic(*primals), jnp.sum(4.004 * primals[0] ** 3 * tangents[0])))
    found = jn.check_derivatives(quartic, np.array([1.0, 10.0]))
    assert not found.ok
    assert "at [1]: JAX 4004, differences 4000" in str(found)


@pytest.mark.parametrize("beyond", [np.nan, np.inf])
@pytest.mark.parametrize(("x", "ok"), [(8e-3, True), (4e-3, False)])
def test_the_end_of_a_domain(x, ok, beyond):
    """In single precision the steps are 0.005 and 0.01: only the first of them stays in x > 0, or none."""
    found = jn.check_derivatives(lambda x: jnp.sum(jnp.where(x > 0, x**2, beyond)), np.array([x], "float32"))
    assert found.ok == ok
    assert ("WRONG" not in str(found)) == ok


def test_pytrees_and_args():
    found = jn.check_derivatives(lambda x, c: jnp.sum(c * x["a"] ** 4) + x["b"], {"a": np.ones(2), "b": 1.0}, (3.0,))
    assert found.ok
    assert found.hessian.shape == (3, 3)


def test_a_point_without_derivatives_is_not_ok():
    found = jn.check_derivatives(lambda x: jnp.sum(jnp.sqrt(x)), np.array([0.0, 1.0]))
    assert not found.ok
    assert "WRONG" in str(found)
    with pytest.raises(TypeError, match="x must be floating"):
        jn.check_derivatives(polynomial, np.array([1, 2]))


@pytest.mark.parametrize("slope", [2.0, 1.9])
def test_of_a_rule_that_calls_back_the_gradient_is_checked(slope):
    @jax.custom_vjp
    def fun(x):
        return jnp.sum(x**2)

    def back(x, c):
        return (jax.pure_callback(lambda x: slope * np.asarray(x), x, x, vmap_method="broadcast_all") * c,)

    fun.defvjp(lambda x: (fun(x), x), back)
    found = jn.check_derivatives(fun, np.array([0.5, -2.0]))
    assert found.ok == (slope == 2)
    assert found.hessian is None
    np.testing.assert_allclose(found.hessian_differences, slope * np.eye(2), atol=1e-7)
    assert ("gradient ok" if found.ok else "gradient WRONG") in str(found)
    assert "hessian not available: JAX" in str(found)


@pytest.fixture(scope="module")
def in_reverse():
    @jax.custom_vjp
    def fun(x):
        return jnp.sum(jnp.cosh(x - 1))

    fun.defvjp(lambda x: (fun(x), x), lambda x, c: (jnp.sinh(x - 1) * c,))
    return fun


def test_a_rule_in_reverse_mode_is_differentiated_again(in_reverse):
    x = np.array([0.5, -2.0])
    found = jn.check_derivatives(in_reverse, x)
    assert found.ok
    np.testing.assert_allclose(found.hessian, np.diag(np.cosh(x - 1)))


@pytest.mark.parametrize("solver", [None, jn.Newton(), jn.NewtonCG(), jn.GradientDescent("exact"), jn.BFGS()])
def test_every_solver_takes_a_rule_in_reverse_mode(in_reverse, solver):
    starts = np.array([[0.5, -2.0], [3.0, 1.5]])
    many = jn.minimize_batch(in_reverse, starts, solver=solver)
    one = jn.minimize(in_reverse, starts[0], solver=solver)
    assert np.all(many.success)
    assert one.success
    np.testing.assert_allclose(many.x, 1, atol=1e-7)
    np.testing.assert_allclose(one.x, 1, atol=1e-7)


def test_a_point_outside_the_domain_is_refused():
    with pytest.raises(ValueError, match="fun must be finite at x; it is nan"):
        jn.check_derivatives(lambda x: jnp.sum(jnp.log(x)), np.array([-1.0, 2.0]))
