"""Every way an unconstrained solve can end, each provoked by a function whose end is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import ROWS, any_of, rosenbrock

import jaxnewton as jn
from jaxnewton import Status
from jaxnewton.types import message, succeeded

SOLVERS = {"TrustRegion": jn.TrustRegion(), "Newton": jn.Newton(), "pure Newton": jn.Newton(damped=False)}
EVERY = tuple(SOLVERS)
DESCENT = ("TrustRegion", "Newton")
SUCCESS = {Status.CONVERGED, Status.NOISE_FLOOR}

SINGULAR_A = np.array([[-5, -3, -0.5], [-3, -2, 0], [-0.5, 0, -0.5]])
SINGULAR_B = np.array([1.0, 3.0, 5.0])


def saddle(x):
    return x[0] ** 2 - x[1] ** 2


def two_wells(x):
    """A saddle at 0, minima of -1/4 at (0, +-sqrt(1/2))."""
    return x[0] ** 2 - x[1] ** 2 + x[1] ** 4


def singular_quadratic(x):
    """Of the project's source document: indefinite and singular, so unbounded below."""
    return jnp.sum(SINGULAR_B * x) + jnp.sum(x * jnp.sum(SINGULAR_A * x[None, :], axis=1)) / 2


def roots(x):
    """Of the project's source document: not defined for x3 or x4 below 0, unbounded below along x4."""
    return x[0] ** 2 + x[1] ** 2 - 4 * x[0] - 6 * x[1] + 13 + jnp.sqrt(x[2]) - jnp.sqrt(x[3])


def barrier(x):
    """x - log x: 1 at 1, nan to the left of 0."""
    return jnp.sum(x - jnp.log(x))


def square(x):
    return jnp.sum(x**2)


def minus_square(x):
    return -jnp.sum(x**2)


def cube(x):
    return jnp.sum(x**3)


def linear(x):
    return jnp.sum(x)


def trough(x):
    return (x[0] + x[1]) ** 2


def log(x):
    return jnp.sum(jnp.log(x))


def towards_infinity(x):
    return jnp.sum(jnp.exp(-x))


def kink(x):
    return jnp.sum(jnp.abs(x - 0.3))


def cosh_above(x):
    """A minimum of 1000: in its neighbourhood f is flat to the last digit."""
    return 1000 + jnp.sum(jnp.cosh(x - 0.1))


def wrong_derivative(x):
    """Its value grows whichever way the gradient points down."""
    return jax.lax.stop_gradient(jnp.sum(x**2)) - (jnp.sum(x) - jax.lax.stop_gradient(jnp.sum(x)))


# name: (fun, x0, solvers, the ends that are right)
TABLE = {
    "a bowl": (square, [3.0], EVERY, {Status.CONVERGED}),
    "a bowl, from its bottom": (square, [0.0], EVERY, {Status.CONVERGED}),
    "a barrier, from inside": (barrier, [1e-3], EVERY, SUCCESS),
    "a barrier, from afar": (barrier, [100.0], DESCENT, SUCCESS),
    "a barrier, from afar, undamped": (
        barrier,
        [100.0],
        ("pure Newton",),
        {Status.DIVERGED},
    ),  # the first step is to -9800
    "a constant above a bowl": (cosh_above, [1.0], EVERY, SUCCESS),
    "a saddle, from it": (saddle, [0.0, 0.0], EVERY, {Status.SADDLE}),
    "a saddle, from beside it": (saddle, [1.0, 0.5], DESCENT, {Status.DIVERGED}),
    "a saddle, from beside it, undamped": (saddle, [1.0, 0.5], ("pure Newton",), {Status.SADDLE}),
    "a saddle, from its ridge": (saddle, [1.0, 0.0], ("TrustRegion",), {Status.DIVERGED}),
    "two wells, from the ridge": (two_wells, [1.0, 0.0], ("TrustRegion",), {Status.CONVERGED}),
    "two wells, from the ridge, no curvature sought": (two_wells, [1.0, 0.0], EVERY[1:], {Status.SADDLE}),
    "a hill": (minus_square, [1.0], DESCENT, {Status.DIVERGED}),
    "a hill, undamped": (minus_square, [1.0], ("pure Newton",), {Status.SADDLE}),
    "a hill, from its top": (minus_square, [0.0], EVERY, {Status.SADDLE}),
    "a slope": (linear, [1.0], DESCENT, {Status.DIVERGED}),
    "a slope, undamped": (linear, [1.0], ("pure Newton",), {Status.SINGULAR}),
    "a cubic": (cube, [-1.0], DESCENT, {Status.DIVERGED}),
    "a cubic, from its inflexion": (cube, [0.0], EVERY, {Status.SINGULAR}),
    "a trough": (trough, [1.0, 2.0], EVERY, {Status.SINGULAR}),
    "outside the domain": (log, [-1.0], EVERY, {Status.NONFINITE}),
    "nan for a start": (square, [np.nan], EVERY, {Status.NONFINITE}),
    "infinity for a start": (square, [np.inf], EVERY, {Status.NONFINITE}),
    "the singular quadratic": (singular_quadratic, [0.0] * 3, DESCENT, {Status.DIVERGED}),
    "the singular quadratic, from elsewhere": (singular_quadratic, [1.0] * 3, DESCENT, {Status.DIVERGED}),
    "the singular quadratic, undamped": (singular_quadratic, [1.0] * 3, ("pure Newton",), {Status.SINGULAR}),
    # Steps as small as rounding are no rise; a trust region may creep along on them to the last trip.
    "a derivative of the wrong sign": (wrong_derivative, [1.0], DESCENT, {Status.LINE_SEARCH_FAILED, Status.MAX_STEPS}),
    "a kink": (kink, [1.0], DESCENT, {Status.LINE_SEARCH_FAILED}),  # its gradient is +-1 everywhere
    "a kink, undamped": (kink, [1.0], ("pure Newton",), {Status.SINGULAR}),
}


@functools.cache
def functions_of(n):
    return tuple(dict.fromkeys(fun for fun, x0, *_ in TABLE.values() if len(x0) == n))


def numbered(x, which):
    """All functions of one number of unknowns as one, which compiles once."""
    return jax.lax.switch(which, functions_of(x.shape[0]), x)


@pytest.mark.parametrize(
    ("name", "solver"), [pytest.param(name, s, id=f"{name}-{s}") for name, row in TABLE.items() for s in row[2]]
)
def test_ends_as_it_must(name, solver):
    fun, x0, _, expected = TABLE[name]
    which = np.int32(functions_of(len(x0)).index(fun))
    found = jn.minimize(numbered, np.array(x0), (which,), solver=SOLVERS[solver])
    assert Status(int(found.status)) in expected
    assert bool(found.success) == (expected <= SUCCESS)
    if Status.NONFINITE not in expected:
        assert np.isfinite(found.x).all()
        assert np.isfinite(found.fun)
        assert found.fun == pytest.approx(float(fun(found.x)), rel=1e-12)


def test_the_table_has_every_status():
    """But INFEASIBLE, which needs constraints, and SEPARATED, which needs classes."""
    assert set().union(*(row[3] for row in TABLE.values())) == set(Status) - {Status.INFEASIBLE, Status.SEPARATED}


def test_a_hill_is_left_for_a_well():
    found = jn.minimize(two_wells, np.array([1.0, 0.0]))
    np.testing.assert_allclose(np.abs(found.x), [0, np.sqrt(0.5)], atol=1e-8)
    assert found.fun == pytest.approx(-0.25)
    assert found.curvature == pytest.approx(2)


@pytest.mark.parametrize("solver", EVERY)
@pytest.mark.parametrize(("fun", "x0"), [(roots, [12.0, 4, 1, 1]), (towards_infinity, [0.0])], ids=["roots", "exp(-x)"])
def test_no_minimum_is_no_success(fun, x0, solver):
    """Which failure it is differs: where the solver is when it stops depends on its steps."""
    found = jn.minimize(fun, np.array(x0), solver=SOLVERS[solver])
    assert not found.success
    assert np.isfinite(found.x).all()
    assert np.isfinite(found.fun)
    assert np.isfinite(found.grad).all()


@pytest.mark.parametrize("solver", EVERY)
def test_max_steps(solver):
    found = jn.minimize(rosenbrock, np.array([-1.2, 1.0]), solver=SOLVERS[solver], max_steps=3)
    assert found.status == Status.MAX_STEPS
    assert found.nit == found.nfev == 3
    assert found.message == "stopped after max_steps trips without convergence"
    assert jn.minimize(square, np.array([3.0]), solver=SOLVERS[solver], max_steps=1).status == Status.MAX_STEPS


@pytest.mark.parametrize("solver", DESCENT)
@pytest.mark.parametrize("x0", [1e-3, 30.0, 1e4])
def test_a_nonfinite_trial_is_rejected(solver, x0):
    """Steps to the left of 0 meet nan; the accepted points never do, and f never rises."""
    ends = [jn.minimize(barrier, np.array([x0]), solver=SOLVERS[solver], max_steps=k) for k in range(1, 12)]
    values = np.array([end.fun for end in ends])
    assert all(np.isfinite(end.x).all() and end.x > 0 for end in ends)
    assert np.isfinite(values).all()
    assert np.all(np.diff(values) <= 1e-12 * np.abs(values[:-1]))
    final = jn.minimize(barrier, np.array([x0]), solver=SOLVERS[solver])
    assert final.success
    assert final.x[0] == pytest.approx(1, abs=1e-6)


def test_pure_newton_keeps_the_last_finite_point():
    found = jn.minimize(barrier, np.array([100.0]), solver=SOLVERS["pure Newton"])
    assert found.x == 100
    assert found.fun == pytest.approx(100 - np.log(100))


@pytest.mark.parametrize("solver", DESCENT)
@pytest.mark.parametrize("n", [2, 5])
def test_noise_floor_in_single_precision(n, solver):
    """Rosenbrock + 1000: f cannot tell points apart any more long before the gradient is at tol."""
    starts = np.random.default_rng(n).uniform(-3, 3, (ROWS, n)).astype("float32")
    args = (np.zeros(ROWS, np.int32), np.float32(1000))
    found = jn.minimize_batch(any_of(n), starts, args, args_axes=(0, None), solver=SOLVERS[solver], devices=1)
    lucky = np.abs(found.grad).max(axis=1) <= 1e-5  # the tolerance; f's noise does not keep it from being met
    np.testing.assert_array_equal(found.status, np.where(lucky, found.status, Status.NOISE_FLOOR))
    assert found.success.all()
    assert found.counts[Status.NOISE_FLOOR] >= 0.75 * ROWS
    gradient = jax.vmap(jax.grad(rosenbrock))(np.asarray(found.x, float))
    assert np.abs(gradient).max() < 1e-2
    assert found.nit.max() < 450  # of 500


@pytest.mark.parametrize("scale", [1e-15, 1e-8, 1e8, 1e15])
@pytest.mark.parametrize("solver", DESCENT)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_solve_does_not_depend_on_the_unit_of_fun(dtype, solver, scale):
    x0 = np.array([-1.2, 1.0, 1.0], dtype)
    found = jn.minimize(scaled_rosenbrock, x0, (np.asarray(scale, dtype),), solver=SOLVERS[solver])
    assert found.success
    np.testing.assert_allclose(found.x, 1, atol=1e-2 if dtype == "float32" else 1e-5)


def scaled_rosenbrock(x, scale):
    return scale * rosenbrock(x)


def test_every_status_has_a_sentence_of_its_own():
    sentences = [message(status) for status in Status]
    assert all(sentences)
    assert len(set(sentences)) == len(Status)


def test_success_is_converged_or_noise_floor():
    assert {status for status in Status if succeeded(jnp.int32(status))} == SUCCESS


@pytest.mark.parametrize("solver", [jn.TrustRegion(), jn.Newton()], ids=["TrustRegion", "Newton"])
@pytest.mark.parametrize(("rate", "dtype"), [(1e3, "float32"), (1e5, "float64"), (1.0, "float64")])
def test_a_gradient_that_fades_towards_infinity_is_no_convergence(rate, dtype, solver):
    """However the unit of x is chosen."""
    found = jn.minimize(lambda x: jnp.sum(jnp.exp(-jnp.asarray(rate, dtype) * x)), np.zeros(1, dtype), solver=solver)
    assert not found.success


@pytest.mark.parametrize("n", [10, 12])
def test_a_flat_direction_is_singular_in_newton_too(n):
    found = jn.minimize(lambda x: x[0] ** 2, np.ones(n), solver=jn.Newton())
    assert found.status == Status.SINGULAR


# Minima whose value is 0 only because terms cancel: values of f are rounding there long before x is.
CANCELLING = {
    "pendulums": (lambda x: 1 - jnp.cos(x[0]) + 1 - jnp.cos(x[0] - x[1]) + 3 * (1 - jnp.cos(x[1])), 2, -2.0, 2.0),
    "Rastrigin": (lambda x: 10 + x[0] ** 2 - 10 * jnp.cos(2 * jnp.pi * x[0]), 1, -2.0, 2.0),
    "Lennard-Jones": (lambda x: 4 * (x[0] ** -12 - x[0] ** -6) + 1, 1, 0.9, 1.5),
}
SUPERLINEAR = ("TrustRegion", "Newton", "NewtonCG", "BFGS", "LBFGS")


@pytest.mark.parametrize("solver", SUPERLINEAR)
@pytest.mark.parametrize("name", CANCELLING)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_minimum_that_cancels_to_zero_is_a_success(name, solver, dtype):
    fun, n, low, high = CANCELLING[name]
    starts = np.random.default_rng(0).uniform(low, high, (2000, n)).astype(dtype)
    found = jn.minimize_batch(fun, starts, solver=getattr(jn, solver)())
    assert np.mean(found.success) >= (1.0 if dtype is np.float64 else 0.99)
    assert Status.MAX_STEPS not in as_statuses(found)


def as_statuses(found):
    return {Status(code) for code in np.unique(found.status)}


RUNAWAYS = {
    "exp(-x)": (lambda x: jnp.sum(jnp.exp(-x)), [2.0, 1.0]),
    "1 / (1 + x^2)": (lambda x: 1 / (1 + x[0] ** 2), [1.0]),
}


@pytest.mark.parametrize("solver", SUPERLINEAR)
@pytest.mark.parametrize("name", RUNAWAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_that_vanishes_at_infinity_is_no_minimum(name, solver, dtype):
    fun, start = RUNAWAYS[name]
    found = jn.minimize(fun, np.asarray(start, dtype), solver=getattr(jn, solver)())
    assert found.status == Status.DIVERGED
    assert found.nit < 200


@pytest.mark.parametrize("solver", SUPERLINEAR)
def test_a_component_of_another_size_still_moves(solver):
    """A step of 0.1 in x[1] is below the rounding of x[0], which is no reason not to take it."""

    def fun(x):
        return ((x[0] - 1e6) / 1e6) ** 2 + jnp.log(jnp.cosh(20 * (x[1] - 0.5))) + 0.01 * x[1] ** 2

    found = jn.minimize(fun, np.array([1e6, 1.0], np.float32), solver=getattr(jn, solver)())
    assert Status(int(found.status)) in {Status.CONVERGED, Status.NOISE_FLOOR, Status.SINGULAR}  # by rounding of H
    np.testing.assert_allclose(found.x[1], 0.49997503, rtol=1e-6)


@pytest.mark.parametrize("x", [0.53, 0.55, 0.6])
def test_a_root_beside_a_large_component_is_found(x):
    def system(x):
        return jnp.stack([x[0] / 3e5 - 1, jnp.arctan(50 * (x[1] - 0.5))])

    found = jn.root(system, np.array([3e5, x], np.float32))
    assert found.success
    np.testing.assert_allclose(found.x, [3e5, 0.5], rtol=1e-6)


def test_a_minimum_far_from_the_start_is_reached_in_float32():
    found = jn.minimize(lambda x: jnp.sqrt(1 + ((x[0] - 2e7) / 1e6) ** 2), np.ones(1, np.float32))
    assert found.status == Status.CONVERGED
    np.testing.assert_allclose(found.x, 2e7, rtol=1e-6)


def test_least_squares_do_not_pass_off_their_model_as_the_hessian():
    found = jn.least_squares(lambda x: jnp.stack([x[0], x[0] ** 2 - 4]), [0.0], solver=jn.TrustRegion())
    assert np.isnan(found.curvature)


TIES = {  # steps that come to a point of the same f beside the minimum: no evidence of one
    "over a quartic": (lambda x: jnp.sum((x - 1) ** 2) + jnp.sum(x**4), 0.0, 0.5897545123),
    "across": (lambda x: jnp.sum(jnp.sqrt(1 + x**2)), 1.0, 0.0),
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("solver", [None, jn.Newton(), jn.NewtonCG()])
@pytest.mark.parametrize("name", TIES)
def test_a_tie_is_no_minimum(name, solver, dtype):
    fun, start, minimum = TIES[name]
    found = jn.minimize(fun, np.full(2, start, dtype), solver=solver)
    assert found.status == Status.CONVERGED
    np.testing.assert_allclose(found.x, minimum, atol=1e-4 if dtype == "f4" else 1e-7)


def freudenstein_roth(x):
    return jnp.stack([x[0] - 13 + ((5 - x[1]) * x[1] - 2) * x[1], x[0] - 29 + ((x[1] + 1) * x[1] - 14) * x[1]])


def jennrich_sampson(x):
    k = jnp.arange(1.0, 11)
    return 2 + 2 * k - (jnp.exp(k * x[0]) + jnp.exp(k * x[1]))


@pytest.mark.parametrize(
    ("residual", "start", "squares"),
    [(freudenstein_roth, [0.5, -2.0], 48.98425368), (jennrich_sampson, [0.3, 0.4], 124.36218236)],
)
def test_steps_to_and_fro_come_to_an_end(residual, start, squares):
    """Where residuals are large, J'J is half the Hessian or less, and full steps cross the minimum for ever."""
    found = jn.least_squares(residual, start)
    assert found.success
    np.testing.assert_allclose(2 * found.fun, squares, rtol=1e-9)


@pytest.mark.parametrize(
    "solver", [jn.TrustRegion(), jn.Newton(), jn.NewtonCG(), jn.LBFGS()], ids=lambda s: type(s).__name__
)
def test_a_flat_minimum_is_not_the_way_to_infinity(solver):
    """Where g vanishes long before x comes to rest: Newton's steps are 6/7 of the last ones."""
    starts = jn.starts.uniform(jax.random.key(0), -2 * np.ones(2), 2 * np.ones(2), 60)
    found = jn.minimize_batch(lambda x: jnp.sum((x - 1) ** 8), starts, solver=solver)
    assert set(found.counts) <= SUCCESS | {Status.SINGULAR}
    assert found.success.mean() >= 0.9
    np.testing.assert_allclose(found.x, 1, atol=0.05)
    root = jn.root(lambda x: (x - 1) ** 5, np.array([3.0, 2.0]))
    assert root.success
    np.testing.assert_allclose(root.x, 1, atol=0.01)


def test_the_least_sum_of_squares_is_not_the_way_to_infinity():
    starts = np.stack(np.meshgrid(np.arange(-3, 3.5, 0.5), np.arange(-3, 3.5, 0.5)), -1).reshape(-1, 2)
    found = jn.least_squares_batch(lambda x: jnp.stack([jnp.sqrt(1 + x[0] ** 2), x[1]]), starts)
    assert Status.DIVERGED not in found.counts
    np.testing.assert_allclose(found.fun, 0.5)


@pytest.mark.parametrize("n", [2, 4, 20])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_newton_does_not_leap_out_of_a_singular_hessian(n, dtype):
    """McCormick's function, n / 2 times: H is singular where x0 = -x1, and f unbounded in both of them together."""

    def fun(x):
        a, b = x[0::2], x[1::2]
        return jnp.sum(jnp.sin(a + b) + (a - b) ** 2 - 1.5 * a + 2.5 * b + 1)

    solution = jn.minimize(fun, np.array([1, -1] * (n // 2), dtype), solver=jn.Newton())
    assert solution.success
    assert np.abs(solution.x).max() < 1000
    a, b = np.asarray(solution.x, float).reshape(-1, 2).T
    np.testing.assert_allclose(a - b, 1, atol=1e-3)  # as of every minimum
    np.testing.assert_allclose(np.cos(a + b), -0.5, atol=1e-3 if dtype == "float64" else 1e-2)
