"""Charges on a sphere against closed forms, finite differences, the published energies and the source document."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnewton as jn
from jaxnewton.loop import over_lanes
from jaxnewton.thomson.charges import Charges
from jaxnewton.types import Needs

# Smallest Hessian eigenvalue beside the rotations' zeros, at the best known minimum: sqrt(1/3) for N = 3, the
# others by an independent Newton iteration in NumPy.
CURVATURES = {3: 0.577350, 4: 0.688919, 5: 0.250178, 6: 0.603553, 7: 0.009198, 8: 0.197336, 12: 0.907164}


def from_seed_42(polar):
    p = -1 + 2 * np.random.RandomState(42).rand(2, 3)
    if polar:
        p[:, 0] *= 0.1
        p[:, 1] *= 0.1
        p[:, 2] = 0.1 * p[:, 0] + 1
    return p / np.linalg.norm(p, axis=1, keepdims=True)


def test_energy_of_the_platonic_solids():
    phi = (1 + math.sqrt(5)) / 2
    tetrahedron = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)
    octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    edges = [(0, a, b * phi) for a in (1, -1) for b in (1, -1)]
    icosahedron = np.array([np.roll(e, k) for e in edges for k in range(3)]) / math.sqrt(1 + phi**2)
    np.testing.assert_allclose(jn.thomson.energy(tetrahedron), 6 / math.sqrt(8 / 3), rtol=1e-14)
    np.testing.assert_allclose(jn.thomson.energy(octahedron), 12 / math.sqrt(2) + 1.5, rtol=1e-14)
    np.testing.assert_allclose(jn.thomson.energy(icosahedron), jn.thomson.BEST_KNOWN[12], rtol=2e-10)
    stacked = jn.thomson.energy(np.stack([icosahedron, icosahedron]))
    assert stacked.shape == (2,)


def test_the_source_documents_two_charges_near_the_pole():
    points = from_seed_42(polar=True)
    np.testing.assert_allclose(jn.thomson.energy(points), 6.0734, atol=5e-5)
    hessian = jax.hessian(lambda v: jn.thomson.energy(v.reshape(2, 3)))(jnp.asarray(points).reshape(-1))
    printed = [-174.51974, -175.55014, 2.026874, 174.51974, 175.55014, -2.026874]
    np.testing.assert_allclose(hessian[0], printed, rtol=1e-4)
    np.testing.assert_allclose(hessian[1, 1], 398.46387, rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("n", [2, 3, 7])
def test_derivatives_are_those_of_the_retracted_energy(n, dtype):
    x = jax.random.normal(jax.random.key(n), (3, n), dtype)
    x = (x / jnp.linalg.norm(x, axis=0)[None]).reshape(-1)
    problem = Charges(n, deflate=False)

    def pulled_back(step):
        return jn.thomson.energy(problem.move(x, step, ()).reshape(3, n).T)

    zero = jnp.zeros(2 * n, dtype)
    at = jax.jit(lambda x: problem.evaluate(x, (), Needs.HESSIAN))(x)
    rtol = 1e3 * jnp.finfo(dtype).eps
    scale = float(jnp.max(jnp.abs(at.H)))
    np.testing.assert_allclose(at.f, pulled_back(zero), rtol=rtol)
    np.testing.assert_allclose(at.g, jax.jit(jax.grad(pulled_back))(zero), atol=rtol * scale)
    np.testing.assert_allclose(at.H, jax.jit(jax.hessian(pulled_back))(zero), atol=rtol * scale)
    along = jax.jit(lambda x: problem.evaluate(x, (), Needs.CURVATURE))(x).H
    np.testing.assert_allclose(along, at.g @ at.H @ at.g, rtol=100 * rtol)


@pytest.mark.parametrize("n", [2, 4, 9])
def test_deflation_moves_the_rotations_only(n):
    points = jn.thomson.solve(n, starts=8).points
    x = jnp.asarray(points.T.reshape(-1))
    plain = np.linalg.eigvalsh(Charges(n, deflate=False).evaluate(x, (), Needs.HESSIAN).H)
    deflated = np.linalg.eigvalsh(Charges(n).evaluate(x, (), Needs.HESSIAN).H)
    nulls = 2 if n == 2 else 3
    assert np.all(np.abs(plain[:nulls]) < 1e-12)
    np.testing.assert_allclose(deflated[0], plain[nulls], rtol=1e-9)


@pytest.mark.parametrize("kind", ["random", "polar", "spiral"])
def test_starts_lie_on_the_sphere_and_depend_on_their_number_alone(kind):
    key = jax.random.key(5)
    few, many = (jn.thomson.starts(key, 9, count, kind=kind) for count in (3, 40))
    assert many.shape == (40, 9, 3)
    np.testing.assert_array_equal(few, many[:3])
    np.testing.assert_allclose(jnp.linalg.norm(many, axis=-1), 1, rtol=1e-14)
    assert len(np.unique(np.asarray(many[:, 0, 0]))) == 40


def test_kinds_of_starts_are_what_they_say():
    random, polar, spiral = (jn.thomson.starts(jax.random.key(1), 50, 200, kind=kind) for kind in jn_kinds())
    assert np.all(polar[..., 2] > 0.98)
    np.testing.assert_allclose(np.mean(random, axis=(0, 1)), 0, atol=0.03)
    # A spiral is much nearer to a minimum than a random configuration.
    assert np.max(jn.thomson.energy(spiral)) < np.min(jn.thomson.energy(random))


def jn_kinds():
    return ("random", "polar", "spiral")


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 12, 16, 24])
def test_finds_and_certifies_the_best_known(n):
    found = jn.thomson.solve(n, starts=32, key=jax.random.key(0))
    assert found.certified
    assert abs(found.energy - jn.thomson.BEST_KNOWN[n]) <= 1e-9 * found.energy
    assert found.gradient_norm < 1e-12
    assert found.null_modes == (2 if n == 2 else 3)
    assert found.points.shape == (n, 3)
    assert found.points.dtype == np.float64
    np.testing.assert_allclose(jn.thomson.energy(found.points), found.energy, rtol=1e-14)
    if n in CURVATURES:
        np.testing.assert_allclose(found.curvature, CURVATURES[n], atol=1e-6)
    assert sum(one.hits for one in found.minima) == sum(found.counts.values()) == 32


@pytest.mark.slow
@pytest.mark.parametrize("n", [*range(2, 41), 50, 72, 100])
def test_finds_and_certifies_every_small_n(n):
    found = jn.thomson.solve(n, starts=256 if n <= 40 else 64, key=jax.random.key(0))
    assert found.certified
    assert abs(found.energy - jn.thomson.BEST_KNOWN[n]) <= 1e-9 * found.energy


def test_polar_starts_reach_the_minimum_too():
    found = jn.thomson.solve(6, starts=16, kind="polar")
    assert found.certified
    np.testing.assert_allclose(found.energy, jn.thomson.BEST_KNOWN[6], rtol=1e-9)


@pytest.mark.parametrize(
    "solver", [jn.Newton(), jn.LBFGS(), jn.NewtonCG(), jn.GradientDescent("exact")], ids=lambda s: type(s).__name__
)
def test_every_kind_of_solver_moves_on_the_sphere(solver):
    found = jn.thomson.solve(6, starts=8, solver=solver)
    assert found.certified
    np.testing.assert_allclose(found.energy, jn.thomson.BEST_KNOWN[6], rtol=1e-9)


def test_own_starts_and_rotation_invariance():
    starts = np.asarray(jn.thomson.starts(jax.random.key(3), 10, 16))
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    one = jn.thomson.solve(10, starts=starts)
    other = jn.thomson.solve(10, starts=starts @ rotation)
    np.testing.assert_allclose(one.energy, other.energy, rtol=1e-14)
    np.testing.assert_allclose([m.energy for m in one.minima], [m.energy for m in other.minima], rtol=1e-9)


def test_a_saddle_is_not_certified():
    square = np.array([[[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]]])  # stationary; a tetrahedron is lower
    found = jn.thomson.solve(4, starts=square)
    assert not found.certified
    assert found.curvature < 0
    assert found.counts == {jn.Status.SADDLE: 1}


def test_float64_is_on_for_the_call_alone():
    with jax.enable_x64(False):
        found = jn.thomson.solve(5, starts=8)
        assert jnp.zeros(()).dtype == jnp.float32
    assert found.certified


def test_answers_do_not_depend_on_width_or_devices():
    few = jn.thomson.solve(5, starts=24, width=3, devices=1)
    many = jn.thomson.solve(5, starts=24, width=24, devices=3)
    np.testing.assert_allclose(few.energy, many.energy, rtol=1e-14)
    assert few.minima[0].hits == many.minima[0].hits == 24


def test_table_of_best_known():
    table = jn.thomson.BEST_KNOWN
    assert set(range(2, 205)) <= set(table)
    n = np.array([n for n in table if n <= 204], float)
    mean = np.array([2 * table[int(k)] / (k * (k - 1)) for k in n])
    assert np.all(np.diff(mean) > 0)  # the mean energy of a pair grows with n (Kiessling 2009)
    for k in range(20, 101):  # asymptotic expansion, coefficients as fitted by Erber & Hockney (1991)
        assert abs(table[k] - (k**2 / 2 - 0.5523 * k**1.5 + 0.0689 * k**0.5)) < 0.2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: jn.thomson.solve(1), "n must be .* at least 2"),
        (lambda: jn.thomson.solve(2.0), "n must be .* it is 2.0"),
        (lambda: jn.thomson.solve(5, starts=0), "starts must be"),
        (lambda: jn.thomson.solve(5, starts=np.zeros((2, 4, 3))), r"configurations \(count, 5, 3\)"),
        (lambda: jn.thomson.solve(4, starts=np.zeros((2, 4, 3))), "other than the origin; configuration 0"),
        (
            lambda: jn.thomson.solve(5, kind="cube"),
            "kind must be one of 'random', 'polar', 'spiral', 'symmetric', 'mixed'",
        ),
        (lambda: jn.thomson.solve(5, hops=-1), "hops must be a whole number of at least 0; it is -1"),
        (lambda: jn.thomson.solve(5, time_limit=0), "time_limit must be a positive number; it is 0"),
        (lambda: jn.thomson.solve(5, until=-1.0), "until must be a positive number"),
        (lambda: jn.thomson.starts(jax.random.key(0), 5, 0), "count must be"),
        (lambda: jn.thomson.energy(np.zeros((3, 2))), r"shape \(..., n, 3\)"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_over_lanes_agrees_with_one_by_one():
    x = jnp.stack([jn.thomson.starts(jax.random.key(k), 5, 1)[0].T.reshape(-1) for k in range(4)], axis=-1)
    together = over_lanes(lambda x: Charges(5).evaluate(x, (), Needs.HESSIAN))(x)
    for k in range(4):
        alone = Charges(5).evaluate(x[:, k], (), Needs.HESSIAN)
        np.testing.assert_allclose(together.H[..., k], alone.H, rtol=1e-12, atol=1e-12)
