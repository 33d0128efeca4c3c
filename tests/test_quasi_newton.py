"""DFP, BFGS, Broyden's class, L-BFGS: their identities, the textbook's examples, and honest ends."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from problems import GROUPS, PROBLEMS, any_of, group_starts

import jaxnewton as jn
from jaxnewton import Status

BFGS = {form: jn.BFGS(form) for form in ("inverse", "sherman-morrison", "direct")}
DENSE = {**BFGS, "DFP": jn.DFP(), "Broyden": jn.Broyden(0.5)}
SOLVERS = {**DENSE, "LBFGS": jn.LBFGS()}
DTYPES = ("float32", "float64")
every_solver = pytest.mark.parametrize("solver", SOLVERS)


def pair(n, seed=0):
    """A positive definite M and a pair s, y with s'y > 0."""
    rng = np.random.default_rng(seed)
    root, other = rng.normal(size=(2, n, n))
    s = rng.normal(size=n)
    return root @ root.T + np.eye(n), s, (other @ other.T + np.eye(n)) @ s


def update(solver, M, s, y):
    return np.asarray(jax.jit(solver._pair)(M, s, y))


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("solver", DENSE)
def test_updates_keep_the_secant_equation_and_definiteness(solver, n):
    M, s, y = pair(n)
    new = update(DENSE[solver], M, s, y)
    given, wanted = (s, y) if DENSE[solver]._direct() else (y, s)
    np.testing.assert_allclose(new @ given, wanted, rtol=1e-9)
    np.testing.assert_allclose(new, new.T, atol=1e-12 * np.abs(new).max())
    assert np.linalg.eigvalsh(new)[0] > 0


@pytest.mark.parametrize("n", [1, 3, 8])
def test_forms_and_duals(n):
    M, s, y = pair(n)
    inverse = np.linalg.inv(M)
    direct = update(jn.BFGS("direct"), M, s, y)
    for form in ("inverse", "sherman-morrison"):
        np.testing.assert_allclose(update(jn.BFGS(form), inverse, s, y) @ direct, np.eye(n), atol=1e-9)
    np.testing.assert_allclose(update(jn.Broyden(0.0), M, s, y), direct, rtol=1e-12)
    np.testing.assert_allclose(update(jn.Broyden(1.0), M, s, y) @ update(jn.DFP(), inverse, s, y), np.eye(n), atol=1e-9)
    np.testing.assert_allclose(update(jn.DFP(), M, s, y), update(jn.BFGS("direct"), M, y, s), rtol=1e-12)


EXAMPLES = {  # of the quasi-Newton methods in the field's courses: function, start, minimum
    "square": (lambda x: jnp.sum(x**2), [10.0], [0.0]),
    "two squares": (lambda x: ((x[0] + 3) ** 2 + (x[1] + 4) ** 2) / 2, [7.0, 8.0], [-3.0, -4.0]),
}


@pytest.mark.parametrize("example", EXAMPLES)
@every_solver
def test_examples(solver, example):
    fun, start, minimum = EXAMPLES[example]
    found = jn.minimize(fun, start, solver=SOLVERS[solver])
    assert found.status == Status.CONVERGED
    np.testing.assert_allclose(found.x, minimum, atol=1e-8)
    assert found.nhev == 0
    assert found.nfev == found.njev == found.nit


@every_solver
def test_a_function_without_a_minimum_is_no_success(solver):
    def fun(x):
        return x[0] ** 2 + x[1] ** 2 - 4 * x[0] - 6 * x[1] + 13 + jnp.sqrt(x[2]) - jnp.sqrt(x[3])

    found = jn.minimize(fun, np.ones(4), solver=SOLVERS[solver])
    assert not found.success
    assert np.isfinite(found.x).all()


def quadratic(x, A, b):
    return 0.5 * jnp.sum(x * jnp.sum(A * x[None, :], axis=1)) - jnp.sum(b * x)


def test_the_forms_of_bfgs_take_the_same_path():
    A, b, _ = pair(6, seed=3)
    ends = {}
    for form, solver in BFGS.items():
        ends[form] = [jn.minimize(quadratic, np.ones(6), (A, b), solver=solver, max_steps=k).x for k in range(1, 12)]
    np.testing.assert_allclose(ends["sherman-morrison"], ends["inverse"], atol=1e-8)
    np.testing.assert_allclose(ends["direct"], ends["inverse"], atol=1e-8)


@pytest.mark.parametrize("n", [2, 12])
@every_solver
def test_convex_quadratics(solver, n):
    A, b, x0 = pair(n, seed=n)
    found = jn.minimize(quadratic, x0, (A, b), solver=SOLVERS[solver], max_steps=2000)
    assert found.success
    np.testing.assert_allclose(found.x, np.linalg.solve(A, b), atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", [*BFGS, "Broyden", "LBFGS"])
def test_rosenbrock_from_its_standard_start(solver, dtype):
    found = jn.minimize(lambda x: any_of(2)(x, jnp.int32(0), 0.0), np.array([-1.2, 1], dtype), solver=SOLVERS[solver])
    assert found.success
    np.testing.assert_allclose(found.x, 1, atol=1e-7 if dtype == "float64" else 1e-3)
    theirs = scipy.optimize.minimize(scipy.optimize.rosen, [-1.2, 1], jac=scipy.optimize.rosen_der, method="BFGS")
    assert found.nfev <= 2 * theirs.nfev


@pytest.mark.parametrize("pairs", [1, 3, 5, 9])
def test_two_loops_are_the_updates_one_by_one(pairs):
    """D from the last (at most 5) pairs, applied to -g: by the recursion, and by the dense updates of s'y / y'y I."""
    rng, solver, n = np.random.default_rng(1), jn.LBFGS(memory=5), 4
    assert jn.LBFGS(memory=np.int64(5)) == solver
    A, _, _ = pair(n)
    s = rng.normal(size=(pairs, n))
    y, g = s @ A, rng.normal(size=n)
    memory = solver._blank(n, "float64")
    for i in range(pairs):
        memory = solver._update(memory, True, s[i], y[i])
    D = (s[-1] @ y[-1]) / (y[-1] @ y[-1]) * np.eye(n)
    for i in range(max(pairs - 5, 0), pairs):
        D = update(jn.BFGS(), D, s[i], y[i])
    np.testing.assert_allclose(solver._direction(memory, jnp.array(True), g), -D @ g, rtol=1e-9)


def extended_rosenbrock(x):
    odd, even = x[::2], x[1::2]
    return jnp.sum(100.0 * (even - odd**2) ** 2 + (1.0 - odd) ** 2)


def test_lbfgs_with_many_unknowns():
    found = jn.minimize(extended_rosenbrock, np.resize([-1.2, 1.0], 10_000), solver=jn.LBFGS())
    assert found.success
    np.testing.assert_allclose(found.x, 1, atol=1e-6)
    assert found.nit < 100


@functools.cache
def solved(n, dtype):
    starts, which, _ = group_starts(n)
    args = (which, np.zeros((), dtype))
    found = jn.minimize_batch(
        any_of(n), starts.astype(dtype), args, args_axes=(0, None), solver=jn.BFGS(), devices=1, max_steps=2000
    )
    return jax.tree.map(np.asarray, found)


# Share of BFGS's starts that must succeed, where that is not nearly all.
SHARES = {
    ("Beale", None): (0.4, "from half the box the way down is a valley that ends at infinity"),
    ("trigonometric", "float32"): (0.5, "n - sum cos(x) cancels: noise of f is above eps |f|"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", GROUPS)
def test_every_success_is_a_stationary_point_and_most_starts_succeed(n, dtype):
    _, _, rows = group_starts(n)
    found = solved(n, dtype)
    for problem in (p for p in PROBLEMS if p.n == n):
        mine = jax.tree.map(lambda leaf, where=rows[problem]: leaf[where], found)
        good = np.isin(mine.status, [Status.CONVERGED, Status.NOISE_FLOOR])
        gradient = np.asarray(jax.jit(jax.vmap(jax.grad(problem.fun)))(mine.x[good].astype(float)))
        assert np.abs(gradient).max(initial=0) <= (1e-7 if dtype == "float64" else 2e-3)
        wanted = SHARES.get((problem.name, None), SHARES.get((problem.name, dtype), (0.97, "")))[0]
        assert good.mean() >= wanted, (problem, mine.counts)
        assert np.isfinite(mine.x).all()


def test_constant_of_a_thousand_in_float32():
    starts = np.random.default_rng(0).uniform(-2, 2, (256, 2)).astype("float32")
    found = jn.minimize_batch(
        lambda x: any_of(2)(x, jnp.int32(0), jnp.float32(1000)), starts, solver=jn.BFGS(), devices=1
    )
    assert found.success.mean() >= 0.97
    gradient = jax.vmap(jax.grad(lambda x: any_of(2)(x, jnp.int32(0), 0.0)))(np.asarray(found.x, float))
    assert np.abs(gradient)[np.asarray(found.success)].max() < 1e-1


def test_traced_once():
    traces = []

    def fun(x):
        traces.append(x)
        return jnp.sum(jnp.cosh(x - 0.25))

    for seed in range(2):
        starts = np.random.default_rng(seed).normal(size=(24, 2))
        found = jn.minimize_batch(fun, starts, solver=jn.BFGS(), devices=1, width=4)
        np.testing.assert_allclose(found.x, 0.25, atol=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: jn.BFGS("invers"), ["form", "inverse", "direct", "'invers'"]),
        (lambda: jn.Broyden(1.5), ["phi", "1.5"]),
        (lambda: jn.Broyden(True), ["phi", "True"]),
        (lambda: jn.Broyden("0"), ["phi", "'0'"]),
        (lambda: jn.LBFGS(memory=0), ["memory", "0"]),
        (lambda: jn.LBFGS(memory=2.5), ["memory", "2.5"]),
    ],
)
def test_wrong_options_are_refused(make, words):
    with pytest.raises(ValueError, match=".*".join(words[:1])) as refusal:
        make()
    assert all(word in str(refusal.value) for word in words)
