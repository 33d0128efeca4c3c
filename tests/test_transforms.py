"""minimize under jit, vmap, grad and jvp, against closed forms, loops and central differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnewton as jn
from jaxnewton import Status

SOLVERS = {"TrustRegion": jn.TrustRegion(), "Newton": jn.Newton()}
minimize = functools.partial(jn.minimize, solver=SOLVERS["Newton"])  # where the solver does not matter
X0 = np.array([0.5, -0.5])
A0 = np.array([1.3, 0.4])


def quartic(x, a):
    """Coupled, strictly convex, no closed form."""
    return jnp.sum(x**4) / 4 + jnp.sum(x**2) + 0.3 * x[0] * x[1] - jnp.sum(a * x) + jnp.sum(a**2 * x)


def quadratic(x, A, b):
    return 0.5 * jnp.sum(x * jnp.sum(A * x[None, :], axis=1)) - jnp.sum(b * x)


def x_of(a):
    return minimize(quartic, X0, (a,)).x


def value_of(a):
    return minimize(quartic, X0, (a,)).fun


def central(function, a, h=1e-5):
    """d function / d a, one entry of a at a time, on the last axis."""
    columns = [(np.asarray(function(a + h * e)) - np.asarray(function(a - h * e))) / (2 * h) for e in np.eye(len(a))]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_jit(solver):
    solve = jax.jit(lambda x0, a: jn.minimize(quartic, x0, (a,), solver=solver))
    inside, outside = solve(X0, A0), jn.minimize(quartic, X0, (A0,), solver=solver)
    assert isinstance(inside, jn.Solution)
    assert inside.success
    np.testing.assert_allclose(inside.x, outside.x, atol=1e-12)
    assert inside.status == outside.status


def test_jit_with_traced_tolerance():
    solve = jax.jit(lambda tol: minimize(quartic, X0, (A0,), tol=tol).nit)
    assert solve(1e-2) < solve(1e-9)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_vmap_is_a_loop(solver):
    rng = np.random.default_rng(0)
    starts, data = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    together = jax.vmap(lambda x0, a: jn.minimize(quartic, x0, (a,), solver=solver))(starts, data)
    alone = [jn.minimize(quartic, x0, (a,), solver=solver) for x0, a in zip(starts, data, strict=True)]
    np.testing.assert_allclose(together.x, np.stack([one.x for one in alone]), atol=1e-9)
    np.testing.assert_allclose(together.fun, np.stack([one.fun for one in alone]), atol=1e-12)
    np.testing.assert_array_equal(together.success, True)
    shared = jax.vmap(lambda x0: jn.minimize(quartic, x0, (A0,), solver=solver).x)(starts)
    np.testing.assert_allclose(shared, np.broadcast_to(x_of(A0), (6, 2)), atol=1e-7)


def test_a_batch_has_no_one_message():
    together = jax.vmap(lambda x0: jn.minimize(quartic, x0, (A0,)))(np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"batch of shape \(3,\)"):
        _ = together.message
    assert jax.tree.map(lambda leaf: leaf[1], together).message.startswith("converged")
    with pytest.raises(ValueError, match="inside jit"):
        jax.jit(lambda x0: jn.minimize(quartic, x0, (A0,)).message)(np.ones(2))


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_derivatives_of_a_quadratic(solver):
    """x = A^-1 b and fun = -b'A^-1 b / 2."""
    A, b = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([1.0, -2.0])
    inverse = np.linalg.inv(A)
    x = inverse @ b
    dx_db = jax.jacobian(lambda b: jn.minimize(quadratic, X0, (A, b), solver=solver).x)(b)
    np.testing.assert_allclose(dx_db, inverse, atol=1e-12)
    dx_dA = jax.jacobian(lambda A: jn.minimize(quadratic, X0, (A, b), solver=solver).x)(A)
    # Only A's symmetric part counts.
    expected = -(np.einsum("ij,k->ijk", inverse, x) + np.einsum("ik,j->ijk", inverse, x)) / 2
    np.testing.assert_allclose(dx_dA, expected, atol=1e-12)
    df_db = jax.grad(lambda b: jn.minimize(quadratic, X0, (A, b), solver=solver).fun)(b)
    np.testing.assert_allclose(df_db, -x, atol=1e-12)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev], ids=["forward", "reverse"])
@pytest.mark.parametrize("function", [x_of, value_of])
def test_derivatives_by_differences(mode, function):
    np.testing.assert_allclose(mode(function)(A0), central(function, A0), atol=1e-6)


def test_jvp_is_along_the_tangent():
    tangent = np.array([0.7, -1.1])
    x, dx = jax.jvp(x_of, (A0,), (tangent,))
    np.testing.assert_allclose(x, x_of(A0))
    np.testing.assert_allclose(dx, jax.jacobian(x_of)(A0) @ tangent, rtol=1e-12)


def test_second_derivative_of_the_value():
    """By the envelope theorem the first is df/da at fixed x, so the second needs dx/da."""
    found = jax.hessian(value_of)(A0)
    np.testing.assert_allclose(found, central(jax.jit(jax.grad(value_of)), A0), atol=1e-6)
    np.testing.assert_allclose(found, found.T, atol=1e-12)


def test_grad_under_jit_and_vmap():
    data = np.stack([A0, -A0, 2 * A0])
    together = jax.jit(jax.vmap(jax.grad(value_of)))(data)
    np.testing.assert_allclose(together, np.stack([jax.grad(value_of)(a) for a in data]), atol=1e-9)


def test_a_loss_of_the_solution():
    """As in bilevel optimisation: d/da of a function of x(a)."""

    def loss(a):
        return jnp.sum((x_of(a) - 0.1) ** 2)

    np.testing.assert_allclose(jax.grad(loss)(A0), central(loss, A0), atol=1e-6)


def test_pytrees_of_arguments_and_unknowns():
    def fun(x, p):
        return jnp.sum(jnp.cosh(x["u"] - p["shift"])) + jnp.sum((x["v"] - 2 * p["other"]) ** 2)

    def u_and_v(p):
        return minimize(fun, {"u": np.zeros(2), "v": np.zeros(())}, (p,)).x

    p = {"shift": np.array([0.5, 1.5]), "other": np.array(0.25)}
    found = jax.jacobian(u_and_v)(p)
    np.testing.assert_allclose(found["u"]["shift"], np.eye(2), atol=1e-6)
    np.testing.assert_allclose(found["v"]["other"], 2, atol=1e-6)
    np.testing.assert_allclose(found["u"]["other"], 0, atol=1e-12)


def test_no_derivative_in_the_start():
    """A minimum does not depend on it."""
    assert not np.any(jax.jacobian(lambda x0: minimize(quartic, x0, (A0,)).x)(X0))
    assert not np.any(jax.grad(lambda x0: minimize(quartic, x0, (A0,)).fun)(X0))


def test_integer_arguments_are_no_obstacle():
    def fun(x, k, a):
        return jnp.sum((x - a * k.astype(x.dtype)) ** 2)

    found = jax.grad(lambda a: minimize(fun, X0, (np.int32(3), a)).x[0])(2.0)
    assert found == pytest.approx(3)


@pytest.mark.parametrize("failing", [Status.MAX_STEPS, Status.DIVERGED, Status.NONFINITE, Status.SADDLE])
def test_a_failed_solve_has_no_derivative(failing):
    fun, x0, options = {
        Status.MAX_STEPS: (lambda x, a: jnp.sum(jnp.cosh(x - a)), [3.0], {"max_steps": 2}),
        Status.DIVERGED: (lambda x, a: -jnp.sum((x - a) ** 2), [3.0], {}),
        Status.NONFINITE: (lambda x, a: jnp.sum(jnp.log(x) * a), [-3.0], {}),
        Status.SADDLE: (lambda x, a: a * (x[0] ** 2 - x[1] ** 2), [0.0, 0.0], {}),
    }[failing]

    def solve(a):
        return minimize(fun, x0, (a,), **options)

    assert solve(1.0).status == failing
    assert np.isnan(jax.jacobian(lambda a: solve(a).x)(1.0)).all()
    assert np.isnan(jax.grad(lambda a: solve(a).fun)(1.0))


def test_a_failed_lane_spoils_no_other_derivative():
    """Under vmap, lane 1 starts where log is nan."""
    starts = np.array([[1.0], [-1.0], [2.0]])
    slopes = jax.vmap(
        jax.grad(lambda a, x0: minimize(lambda x, a: jnp.sum(a * x - jnp.log(x)), x0, (a,)).x[0]), (None, 0)
    )
    found = slopes(2.0, starts)
    np.testing.assert_allclose(found, [-0.25, np.nan, -0.25], atol=1e-6)  # x = 1/a


def test_single_precision():
    a = A0.astype("float32")
    found = jax.jacobian(lambda a: minimize(quartic, X0.astype("float32"), (a,)).x)(a)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, jax.jacobian(x_of)(A0), atol=1e-4)


def test_a_batch_refuses_to_be_differentiated():
    def ends(a):
        return jn.minimize_batch(lambda x, a: jnp.sum((x - a) ** 2), np.array([[0.7], [0.0]]), (a,), devices=1).x

    with pytest.raises(TypeError, match="vmap"):
        jax.jacfwd(ends)(0.7)


VERBS = {
    "minimize": lambda a: jn.minimize(lambda x: jnp.sum((x - a) ** 2) + jnp.sum(x**4), [0.5]).x[0],
    "least_squares": lambda a: jn.least_squares(lambda x: jnp.stack([x[0] - a, x[0] ** 2 - 1 + a]), [0.5]).x[0],
    "root": lambda a: jn.root(lambda x: x**3 - a, [0.5]).x[0],
    "sphere": lambda a: jn.sphere.minimize(lambda x: jnp.sum((x - a * jnp.arange(1.0, 4.0)) ** 4), jnp.eye(3)[0]).fun,
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
@pytest.mark.parametrize(
    "derivative", [jax.grad, lambda f: jax.jit(jax.grad(f)), jax.jacfwd], ids=["grad", "jit", "jvp"]
)
def test_what_a_function_closes_over_has_derivatives_too(verb, derivative):
    np.testing.assert_allclose(derivative(verb)(1.0), (verb(1 + 1e-5) - verb(1 - 1e-5)) / 2e-5, rtol=1e-6)


def test_a_batch_refuses_derivatives_of_what_its_function_closes_over():
    def lowest(a):
        return jnp.min(jn.minimize_batch(lambda x: jnp.sum((x - a) ** 2), jnp.ones((4, 1))).fun)

    with pytest.raises(TypeError, match="a batch cannot be differentiated"):
        jax.grad(lowest)(1.0)


def test_history_under_jit():
    def trips(x):
        return jn.minimize(lambda x: jnp.sum(x**4), x, history=True, max_steps=30).history.fun

    np.testing.assert_array_equal(jax.jit(trips)(jnp.ones(2)), trips(jnp.ones(2)))
