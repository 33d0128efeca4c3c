"""A quadratic over a sphere and over a ball: optimality conditions, published instances, derivatives, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subproblems import INSTANCES

import jaxnewton as jn

COUNT = 10_000


def rotated(rng, lam, beta):
    """A = V diag(lam) V' and b = V beta, of stacks (..., n)."""
    n = lam.shape[-1]
    V = np.linalg.qr(rng.normal(size=(len(lam), n, n)))[0]
    A = (V * lam[:, None, :]) @ V.swapaxes(1, 2)
    return (A + A.swapaxes(1, 2)) / 2, np.einsum("bij,bj->bi", V, beta)


def reflected(rng, lam, beta):
    """The same with V = I - 2uu', u of norm 1 (Rojas, Santos & Sorensen 2000)."""
    u = rng.normal(size=lam.shape)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    V = np.eye(lam.shape[1]) - 2 * u[:, :, None] * u[:, None, :]
    A = (V * lam[:, None, :]) @ V.swapaxes(1, 2)
    return (A + A.swapaxes(1, 2)) / 2, np.einsum("bij,bj->bi", V, beta)


def hard(rng, n, part):
    """beta has only ``part`` along the lowest eigenvector, and the rest does not reach the sphere."""
    lam = np.sort(rng.uniform(-5, 5, (COUNT, n)), axis=1)
    beta = rng.normal(size=(COUNT, n))
    if n > 1:
        beta[:, 1:] *= 0.5 / np.linalg.norm(beta[:, 1:] / (lam[:, 1:] - lam[:, :1]), axis=1, keepdims=True)
    beta[:, 0] = part
    return reflected(rng, lam, beta)


def multiple(rng, n):
    """The lowest eigenvalue n - 1 times."""
    lam = np.where(np.arange(n) < n - 1, -1.0, 2.0)
    return rotated(rng, np.tile(lam, (COUNT, 1)), rng.normal(size=(COUNT, n)))


def multiple_near_hard(rng, n):
    A, b = multiple(rng, n)
    u = np.linalg.eigh(A)[1][:, :, -1]
    b = np.sum(u * b, axis=1, keepdims=True) * u
    return A, b + 10 ** rng.uniform(-16, -4, (COUNT, 1)) * rng.normal(size=(COUNT, n))


def multiple_hard(rng, n):
    lam = np.where(np.arange(n) < n - 1, -1.0, 2.0)
    return rotated(rng, np.tile(lam, (COUNT, 1)), np.tile(np.where(lam > 0, 1.0, 0.0), (COUNT, 1)))


# Each: (rng, n) -> A (COUNT, n, n), b (COUNT, n); the radius is 1.
FAMILIES = {
    "random": lambda rng, n: reflected(rng, rng.uniform(-5, 5, (COUNT, n)), rng.normal(size=(COUNT, n))),
    "inside": lambda rng, n: rotated(rng, rng.uniform(1, 3, (COUNT, n)), rng.normal(size=(COUNT, n)) / (4 * n)),
    "near-hard": lambda rng, n: hard(rng, n, 10 ** rng.uniform(-14, -4, COUNT)),
    "hard": lambda rng, n: hard(rng, n, 0.0),
    "lowest repeated, near-hard": multiple_near_hard,
    "lowest repeated": multiple,
    "lowest repeated, hard": multiple_hard,
    "b = 0": lambda rng, n: rotated(rng, rng.normal(size=(COUNT, n)), np.zeros((COUNT, n))),
    "A = 0": lambda rng, n: (np.zeros((COUNT, n, n)), rng.normal(size=(COUNT, n))),
    "both 0": lambda rng, n: (np.zeros((COUNT, n, n)), np.zeros((COUNT, n))),
    "A = cI": lambda rng, n: (rng.normal(size=(COUNT, 1, 1)) * np.eye(n), rng.normal(size=(COUNT, n))),
    "scales of b": lambda rng, n: rotated(
        rng, rng.normal(size=(COUNT, n)), rng.normal(size=(COUNT, n)) * 10 ** rng.uniform(-12, 12, (COUNT, 1))
    ),
    "condition 1e12": lambda rng, n: rotated(rng, 10 ** rng.uniform(-12, 0, (COUNT, n)), rng.normal(size=(COUNT, n))),
}


@pytest.mark.parametrize("inside", [False, True], ids=["sphere", "ball"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 3, 6, 12])
def test_optimality_conditions(n, dtype, inside):
    """They are sufficient: feasible, (A + mu I) x = b, A + mu I positive semidefinite; mu and slack of the ball."""
    eps = float(np.finfo(dtype).eps)
    bad = {}
    for name, family in FAMILIES.items():
        A, b = (part.astype(dtype) for part in family(np.random.default_rng(n), n))
        found = jn.sphere.minimize_quadratic(A, b, inside=inside)
        assert found.x.dtype == found.residual.dtype == dtype
        x, fun, mu, residual = (np.asarray(leaf, float) for leaf in found[:4])
        A, b = A.astype(float), b.astype(float)
        norm, size = np.abs(A).sum(axis=2).max(axis=1), np.linalg.norm(b, axis=1)
        length = np.linalg.norm(x, axis=1)
        Ax = np.einsum("bij,bj->bi", A, x)
        off = np.linalg.norm(Ax + mu[:, None] * x - b, axis=1)
        scale = norm + size + np.finfo(dtype).tiny
        lowest = np.linalg.eigvalsh(A)[:, 0]
        right = {
            "length": (length <= 1 + 8 * eps) & ((length >= 1 - 8 * eps) | (inside & (mu == 0))),
            "equation": off <= 20 * np.sqrt(n) * eps * scale,
            "residual": np.abs(off - residual) <= 20 * eps * scale,
            "semidefinite": lowest + mu >= -20 * np.sqrt(n) * eps * scale,
            "multiplier": (mu >= 0) | (not inside),
            "fun": np.abs(fun - np.sum(x * (Ax - 2 * b), axis=1)) <= 20 * n * eps * scale,
        }
        bad |= {(name, what): int(np.sum(~which)) for what, which in right.items() if not np.all(which)}
    assert bad == {}


def test_hard_cases_are_named_and_no_others():
    for name, family in FAMILIES.items():
        A, b = family(np.random.default_rng(7), 5)
        named = np.asarray(jn.sphere.minimize_quadratic(A, b).hard_case)
        if name in ("hard", "lowest repeated, hard", "b = 0", "both 0"):
            assert named.all(), name
        elif name in ("random", "inside", "lowest repeated", "A = 0", "A = cI"):
            assert not named.any(), name


@pytest.mark.parametrize("name", INSTANCES)
@pytest.mark.parametrize("inside", [True, False], ids=["ball", "sphere"])
def test_published_instance(name, inside):
    H, g, radius, ball, sphere = INSTANCES[name]
    value, multiplier, hard_case = ball if inside else sphere
    H, g = np.array(H, float), np.array(g, float)
    found = jn.sphere.minimize_quadratic(H / 2, -g / 2, radius, inside=inside)
    assert float(found.fun) == pytest.approx(value, rel=1e-12)
    assert float(2 * found.multiplier) == pytest.approx(multiplier, rel=1e-9, abs=1e-13 * np.abs(H).max())
    rounding = np.finfo(float).eps * (np.abs(H).max() * radius + np.linalg.norm(g))
    assert float(found.residual) <= 20 * rounding
    assert bool(found.hard_case) == hard_case
    length = np.linalg.norm(found.x)
    assert length <= radius * (1 + 1e-14)
    if not inside or multiplier > 0:
        assert length == pytest.approx(radius, rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [3, 10])
def test_scale_does_not_matter(n, dtype):
    """Powers of two change no digit, however large."""
    A, b = (part[:200].astype(dtype) for part in FAMILIES["random"](np.random.default_rng(9), n))
    plain = jn.sphere.minimize_quadratic(A, b)
    far = 40 if dtype == np.float32 else 300
    for scale, radius in ((2.0**far, 1.0), (2.0**-far, 1.0), (1.0, 2.0**far), (1.0, 2.0**-far)):
        found = jn.sphere.minimize_quadratic(A * dtype(scale), b * dtype(scale * radius), dtype(radius))
        np.testing.assert_array_equal(found.x / dtype(radius), plain.x)
        np.testing.assert_array_equal(found.multiplier / dtype(scale), plain.multiplier)


def test_integers_are_numbers_and_a_traced_radius_may_be_wrong():
    plain = jn.sphere.minimize_quadratic(np.diag([3.0, 1.0]), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(jn.sphere.minimize_quadratic([[3, 0], [0, 1]], [1, 2], 1).x, plain.x)
    for n in (2, 10):
        turned = jax.jit(lambda radius, n=n: jn.sphere.minimize_quadratic(jnp.eye(n), jnp.ones(n), radius))(-1.0)
        assert np.isnan(turned.x).all()


def test_no_point_of_the_sphere_is_lower():
    rng = np.random.default_rng(3)
    A, b = FAMILIES["random"](rng, 6)
    A, b = A[:50], b[:50]
    found = jn.sphere.minimize_quadratic(A, b, 2.0)
    points = rng.normal(size=(2000, 6))
    points *= 2 / np.linalg.norm(points, axis=1, keepdims=True)
    values = np.einsum("pi,bij,pj->bp", points, A, points) - 2 * b @ points.T
    assert np.all(values.min(axis=1) >= np.asarray(found.fun))


def test_both_minimisers_of_a_hard_case_are_as_low():
    A, b = FAMILIES["hard"](np.random.default_rng(1), 4)
    found = jn.sphere.minimize_quadratic(A, b)
    u = np.linalg.eigh(A)[1][:, :, 0]
    x = np.asarray(found.x)
    other = x - 2 * np.sum(u * x, axis=1, keepdims=True) * u
    f = np.einsum("bi,bij,bj->b", other, A, other) - 2 * np.sum(b * other, axis=1)
    np.testing.assert_allclose(f, found.fun, atol=1e-12)


def test_against_the_rightmost_eigenvalue():
    """mu is the rightmost eigenvalue of [[-A, bb'], [I, -A]] (Gander, Golub & von Matt 1989; radius 1)."""
    A, b = FAMILIES["random"](np.random.default_rng(5), 7)
    found = jn.sphere.minimize_quadratic(A[:100], b[:100])
    for one, side, mu in zip(A[:100], b[:100], np.asarray(found.multiplier), strict=True):
        pencil = np.block([[-one, np.outer(side, side)], [np.eye(7), -one]])
        assert np.max(np.linalg.eigvals(pencil).real) == pytest.approx(mu, rel=1e-6)


def test_leading_axes_broadcast():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(4, 1, 3, 3))
    b, radius = rng.normal(size=(5, 3)), rng.uniform(1, 2, (2, 1, 1))
    found = jn.sphere.minimize_quadratic(A, b, radius)
    assert found.x.shape == (2, 4, 5, 3)
    assert found.fun.shape == found.multiplier.shape == found.residual.shape == found.hard_case.shape == (2, 4, 5)
    one = jn.sphere.minimize_quadratic(A[1, 0], b[2], radius[1, 0, 0])
    assert one.x.shape == (3,)
    np.testing.assert_allclose(found.x[1, 1, 2], one.x, rtol=1e-12)
    for k in range(4):  # what is not symmetric is not seen
        whole = (A[k, 0] + A[k, 0].T) / 2
        np.testing.assert_allclose(jn.sphere.minimize_quadratic(whole, b[0]).x, found_x(A[k, 0], b[0]), rtol=1e-12)


def found_x(A, b):
    return jn.sphere.minimize_quadratic(A, b).x


def test_a_bad_problem_spoils_no_other():
    A, b = (part[:6].copy() for part in FAMILIES["random"](np.random.default_rng(2), 4))
    clean = jn.sphere.minimize_quadratic(A, b)
    A[1, 0, 0], b[3, 2] = np.nan, np.inf
    found = jn.sphere.minimize_quadratic(A, b)
    for k in range(6):
        if k in (1, 3):
            assert np.isnan(found.x[k]).any()
            assert np.isnan(found.residual[k])
        else:
            np.testing.assert_array_equal(found.x[k], clean.x[k])


@pytest.mark.parametrize("inside", [False, True], ids=["sphere", "ball"])
@pytest.mark.parametrize("family", ["random", "inside"])
def test_derivatives_against_finite_differences(family, inside):
    A, b = (part[:8] for part in FAMILIES[family](np.random.default_rng(4), 4))
    rng = np.random.default_rng(6)
    dA, db = rng.normal(size=A.shape), rng.normal(size=b.shape)

    def solve(A, b, radius):
        found = jn.sphere.minimize_quadratic(A, b, radius, inside=inside)
        return found.x, found.fun, found.multiplier

    radius, dradius = jnp.float64(1.3), jnp.float64(0.7)
    _, moved = jax.jvp(solve, (A, b, radius), (dA, db, dradius))
    h = 1e-6
    above = solve(A + h * dA, b + h * db, radius + h * dradius)
    below = solve(A - h * dA, b - h * db, radius - h * dradius)
    for tangent, up, down in zip(moved, above, below, strict=True):
        np.testing.assert_allclose(tangent, (up - down) / (2 * h), rtol=1e-5, atol=1e-6)

    def total(A, b, radius):
        x, fun, multiplier = solve(A, b, radius)
        return jnp.sum(x) + jnp.sum(fun) + jnp.sum(multiplier)

    pulled = jax.grad(total, argnums=(0, 1, 2))(A, b, radius)
    along = sum(np.sum(p * t) for p, t in zip(pulled, (dA, db, dradius), strict=True))
    np.testing.assert_allclose(along, sum(jnp.sum(t) for t in moved), rtol=1e-9)


def test_derivatives_are_nan_in_the_hard_case():
    gradient = jax.grad(lambda b: jn.sphere.minimize_quadratic(jnp.diag(jnp.array([-1.0, 2.0])), b).fun)
    assert np.isnan(gradient(jnp.zeros(2))).all()


def test_under_jit_and_vmap_and_a_second_call_traces_nothing():
    A, b = (part[:5] for part in FAMILIES["random"](np.random.default_rng(8), 3))
    together = jn.sphere.minimize_quadratic(A, b).x
    np.testing.assert_allclose(jax.jit(jax.vmap(found_x))(A, b), together, rtol=1e-12)
    before = jn.sphere.quadratic._stack._cache_size()
    jn.sphere.minimize_quadratic(A, b + 1)
    assert jn.sphere.quadratic._stack._cache_size() == before > 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: s(np.eye(3)[:2], np.ones(3)), ValueError, r"A must have shape \(..., n, n\).*\(2, 3\)"),
        (lambda s: s(np.eye(3), np.ones(2)), ValueError, r"b must have shape \(..., 3\).*\(2,\)"),
        (lambda s: s(np.eye(3), 1.0), ValueError, "b must have shape"),
        (lambda s: s(np.eye(3, dtype=bool), np.ones(3)), TypeError, "A must hold real floating numbers.*bool"),
        (lambda s: s(np.eye(3), 1j * np.ones(3)), TypeError, "b must hold real floating numbers.*complex"),
        (lambda s: s(np.eye(3), np.ones(3), "a"), TypeError, "radius must hold real floating numbers; it is 'a'"),
        (lambda s: s(np.eye(3, dtype=np.float16), np.ones(3)), TypeError, "A must hold .* float32 or float64.*float16"),
        (lambda s: s(np.eye(3), np.ones(3), 0.0), ValueError, "radius must be positive and finite; it is 0.0"),
        (lambda s: s(np.eye(3), np.ones(3), np.array([1.0, np.nan])), ValueError, "radius must be positive"),
        (lambda s: s(np.ones((2, 3, 3)), np.ones((4, 3))), ValueError, r"\(2,\) of A, \(4,\) of b .*do not broadcast"),
        (lambda s: s(np.eye(3), np.ones(3), inside=1), TypeError, "inside must be True or False; it is 1"),
    ],
)
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call(jn.sphere.minimize_quadratic)
