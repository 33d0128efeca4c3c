"""Solvers crossed with problems: every claimed success is a minimum, and there are enough of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from problems import PROBLEMS, any_of, group_starts

import jaxnewton as jn
from jaxnewton import Status

SOLVERS = {"TrustRegion": jn.TrustRegion(), "Newton": jn.Newton()}
DTYPES = ("float32", "float64")
GRADIENT = {"float32": 1e-4, "float64": 1e-7}  # of a success, relative to 1; tol is 1e-5 and 1e-8

# Share of the starts that must succeed, where that is not all: {(problem, n, solver, dtype)}, None standing for any.
SHARES = {
    ("Beale", 2, "TrustRegion", None): (0.45, "from half the box the way down is a valley that ends at infinity"),
    ("Beale", 2, "Newton", None): (0.2, "as above, and Newton's longer steps meet the valley more often"),
    ("trigonometric", 10, None, "float32"): (0.85, "n - sum cos(x) cancels: noise of f is above eps |f|"),
    ("Powell singular", 4, None, "float32"): (0.0, "the Hessian's zero eigenvalues are reported: SINGULAR is right"),
}
# Ends beside success that an exception above may have.
OTHER_ENDS = {
    "Beale": {Status.MAX_STEPS, Status.DIVERGED, Status.LINE_SEARCH_FAILED},
    "trigonometric": {Status.LINE_SEARCH_FAILED, Status.MAX_STEPS},
    "Powell singular": {Status.SINGULAR},
}


def share(problem, solver, dtype):
    for key in [(problem.name, problem.n, s, d) for s in (solver, None) for d in (dtype, None)]:
        if key in SHARES:
            return SHARES[key][0]
    return 1.0


@functools.cache
def solved_group(n, solver, dtype):
    starts, which, _ = group_starts(n)
    args = (which, np.zeros((), dtype))
    return jn.minimize_batch(
        any_of(n), starts.astype(dtype), args, args_axes=(0, None), solver=SOLVERS[solver], devices=1
    )


@functools.cache
def solved(problem, solver, dtype):
    """One problem's starts, and their ends as NumPy arrays."""
    starts, _, rows = group_starts(problem.n)
    ends = jax.tree.map(lambda leaf: np.asarray(leaf[rows[problem]]), solved_group(problem.n, solver, dtype))
    return starts[rows[problem]].astype(dtype), ends


@functools.cache
def derivatives(problem):
    """fun, gradient and Hessian of many points in float64, by JAX and without jaxnewton."""
    return jax.jit(lambda x: tuple(jax.vmap(d(problem.fun))(x) for d in (lambda f: f, jax.grad, jax.hessian)))


table = pytest.mark.parametrize(
    ("problem", "solver", "dtype"),
    [pytest.param(p, s, d, id=f"{p}-{s}-{d}") for p in PROBLEMS for s in SOLVERS for d in DTYPES],
)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_the_table_of_problems_is_right(problem):
    values, *_ = derivatives(problem)(problem.starts(1000))
    assert np.all(np.asarray(values) >= problem.least)
    if problem.at is not None:
        f, g, H = (np.asarray(leaf[0]) for leaf in derivatives(problem)(np.array([problem.at])))
        assert f == pytest.approx(problem.least, abs=1e-12)
        assert np.abs(g).max() <= 1e-12
        lam = np.linalg.eigvalsh(H)
        assert (lam[0] < 1e-12 * lam[-1]) == bool(problem.singular)
        assert lam[0] > -1e-12 * lam[-1]


@table
def test_every_success_is_a_minimum(problem, solver, dtype):
    _, found = solved(problem, solver, dtype)
    good = np.isin(found.status, [Status.CONVERGED, Status.NOISE_FLOOR])
    np.testing.assert_array_equal(good, found.success)
    f, g, H = (np.asarray(leaf)[good] for leaf in derivatives(problem)(found.x.astype(float)))
    lam = np.linalg.eigvalsh(H)
    assert np.abs(g).max(initial=0) <= GRADIENT[dtype]
    assert np.all(lam[:, 0] >= -100 * np.finfo(dtype).eps * lam[:, -1])
    assert np.all(f >= problem.least - 1e-12 * max(1, abs(problem.least)))
    if problem.minima is not None:
        nearest = np.abs(np.subtract.outer(f, problem.minima)).min(axis=1)
        assert nearest.max(initial=0) <= 1e-6


@table
def test_enough_starts_succeed_and_the_others_say_why(problem, solver, dtype):
    _, found = solved(problem, solver, dtype)
    statuses = {Status(int(status)) for status in found.status}
    wanted = share(problem, solver, dtype)
    assert found.success.mean() >= wanted
    assert statuses <= {Status.CONVERGED, Status.NOISE_FLOOR} | (OTHER_ENDS[problem.name] if wanted < 1 else set())
    assert np.isfinite(found.x).all()


@table
def test_the_known_minimum_is_among_the_ends(problem, solver, dtype):
    _, found = solved(problem, solver, dtype)
    tol = max(1e-12, 100 * float(np.finfo(dtype).eps)) * max(1, abs(problem.least))
    assert found.fun[found.success | bool(problem.singular)].min() == pytest.approx(problem.least, abs=tol)


@table
def test_what_is_reported_is_true(problem, solver, dtype):
    """fun, grad and curvature are those of x, and the counts are those of trips."""
    starts, found = solved(problem, solver, dtype)
    assert {leaf.dtype for leaf in (found.x, found.fun, found.grad, found.curvature)} == {np.dtype(dtype)}
    f, g, H = (np.asarray(leaf) for leaf in derivatives(problem)(found.x.astype(float)))
    eps = np.finfo(dtype).eps
    norm = np.abs(H).sum(axis=2).max(axis=1)
    rounding = 100 * eps * (1 + np.abs(f) + norm * (1 + np.abs(found.x).max(axis=1)))
    assert np.all(np.abs(found.fun - f) <= rounding * (1 + np.abs(found.x).max(axis=1)))
    assert np.all(np.abs(found.grad - g).max(axis=1) <= rounding)
    if solver == "TrustRegion":
        assert np.all(np.abs(found.curvature - np.linalg.eigvalsh(H)[:, 0]) <= rounding)
    else:
        assert np.isnan(found.curvature).all()
    for count in (found.nfev, found.njev, found.nhev):
        np.testing.assert_array_equal(count, found.nit)
    assert np.all(found.nit >= 1)
    converged = found.status == Status.CONVERGED
    started = np.abs(np.asarray(derivatives(problem)(starts.astype(float))[1])).max(axis=1)
    tol = {"float32": 1e-5, "float64": 1e-8}[dtype] * np.minimum(1, started)
    assert np.all(np.abs(found.grad).max(axis=1)[converged] <= tol[converged] * (1 + 1e-5))


def quadratic(x, A, b):
    return 0.5 * jnp.sum(x * jnp.sum(A * x[None, :], axis=1)) - jnp.sum(b * x)


ALL_SOLVERS = {**SOLVERS, "pure Newton": jn.Newton(damped=False)}


@pytest.mark.parametrize(("n", "dtype"), [(1, "float64"), (3, "float32"), (3, "float64"), (12, "float64")])
@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_convex_quadratics(solver, n, dtype):
    rng = np.random.default_rng(n)
    B = rng.normal(size=(n, n))
    A, b, x0 = ((B @ B.T + np.eye(n)), rng.normal(size=n), rng.normal(size=n))
    found = jn.minimize(quadratic, x0.astype(dtype), (A.astype(dtype), b.astype(dtype)), solver=ALL_SOLVERS[solver])
    np.testing.assert_allclose(
        found.x, np.linalg.solve(A, b), rtol=1e3 * np.finfo(dtype).eps, atol=1e3 * np.finfo(dtype).eps
    )
    assert found.success
    if solver != "TrustRegion":  # its first radius may cut a step short
        assert found.nit <= (2 if dtype == "float64" else 8)  # x0, and one step to the answer


@pytest.mark.parametrize("signs", [(1, 1, 1), (1, -1, 1), (-1, -1, -1)], ids=["minimum", "saddle", "maximum"])
def test_pure_newton_is_at_any_stationary_point_in_one_step(signs):
    A, b = np.diag(np.multiply(signs, [2.0, 3.0, 5.0])), np.array([1.0, -2.0, 3.0])
    found = jn.minimize(quadratic, np.array([7.0, 8.0, 9.0]), (A, b), solver=jn.Newton(damped=False))
    np.testing.assert_allclose(found.x, np.linalg.solve(A, b), rtol=1e-13)
    assert found.nit == 2
    assert found.status == (Status.CONVERGED if signs == (1, 1, 1) else Status.SADDLE)
    assert found.curvature == pytest.approx(np.linalg.eigvalsh(A)[0])


@pytest.mark.parametrize("solver", SOLVERS)
def test_agrees_with_scipy_on_a_convex_function(solver):
    """Logistic regression with a ridge: one minimum, found by SciPy's BFGS too."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(60, 3)), rng.integers(0, 2, 60) * 2.0 - 1

    def fun(w, X, y):
        return jnp.sum(jnp.logaddexp(0.0, -y * jnp.sum(X * w[None, :], axis=1))) + 0.5 * jnp.sum(w**2)

    def peer(w):
        margin = y * (X @ w)
        return np.logaddexp(0, -margin).sum() + w @ w / 2, X.T @ (-y / (1 + np.exp(margin))) + w

    found = jn.minimize(fun, np.zeros(3), (X, y), solver=SOLVERS[solver])
    theirs = scipy.optimize.minimize(peer, np.zeros(3), jac=True, method="BFGS", options={"gtol": 1e-9})
    assert found.status == Status.CONVERGED
    np.testing.assert_allclose(found.x, theirs.x, atol=1e-7)
    assert found.fun <= theirs.fun + 1e-12


def convex_quartic(x, a, constant):
    return jnp.sum(x**4) / 4 + jnp.sum(x**2) + 0.3 * x[0] * x[1] - jnp.sum(a * x) + constant


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_start_on_strictly_convex_functions_succeeds(dtype, solver):
    """Thousands of functions: whatever f's last digits do where it is flat, each end is a minimum and said to be."""
    rng = np.random.default_rng(6)
    starts, a = (rng.normal(size=(4096, 2)).astype(dtype) for _ in range(2))
    failed = []
    for constant in (0.0, 1.0, 10.0, 1000.0):
        args = (a, np.asarray(constant, dtype))
        found = jn.minimize_batch(convex_quartic, starts, args, args_axes=(0, None), solver=SOLVERS[solver], devices=1)
        failed += [(constant, status.name, count) for status, count in found.counts.items() if status > 1]
        gradient = jax.vmap(jax.grad(convex_quartic), (0, 0, None))(np.asarray(found.x, float), a.astype(float), 0.0)
        floor = np.sqrt(100 * np.finfo(dtype).eps * (1 + constant))  # g'H^-1 g / 2 is what f's rounding hides
        assert np.abs(gradient).max() <= floor
    assert failed == []


def test_trust_region_ends_where_scipys_does():
    """From the standard start (-1.2, 1), trip by trip fewer than twice SciPy's trust-exact."""
    found = jn.minimize(lambda x: any_of(2)(x, jnp.int32(0), 0.0), np.array([-1.2, 1.0]))
    theirs = scipy.optimize.minimize(
        scipy.optimize.rosen,
        [-1.2, 1],
        jac=scipy.optimize.rosen_der,
        hess=scipy.optimize.rosen_hess,
        method="trust-exact",
    )
    np.testing.assert_allclose(found.x, theirs.x, atol=1e-5)
    assert found.nit <= 2 * theirs.nfev
