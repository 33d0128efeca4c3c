"""The quadratic over a ball against numpy's eigenvectors and a root by scipy, and against published instances."""

import functools

import jax
import numpy as np
import pytest
from scipy.optimize import brentq
from subproblems import INSTANCES

from jaxnewton import linalg, secular
from jaxnewton.loop import over_lanes
from jaxnewton.solvers.common import resolution

PATHS = {
    "closed form": secular.by_closed_form,
    "tridiagonal": secular.by_tridiagonal,
    "eigenvectors": secular.by_eigenvectors,
}
DTYPES = (np.float32, np.float64)
SIZES = {"closed form": (1, 2, 3), "tridiagonal": (1, 2, 3, 5), "eigenvectors": (1, 2, 3, 12)}
EACH = 20  # random cases a family


def reference(H, g, radius):
    """(optimum of -(g's + s'Hs/2), multiplier, interior), the global answer in double precision."""
    lam, V = np.linalg.eigh(H)
    b = V.T @ g
    scale = np.abs(lam).max() + np.linalg.norm(g) + 1e-300
    b[np.abs(b) <= 1e-15 * np.linalg.norm(g)] = 0
    if lam[0] > 1e-14 * scale and np.linalg.norm(b / lam) <= radius:
        return np.sum(b * b / lam) / 2, 0.0, True
    gaps = lam - lam[0]
    lowest = gaps <= 1e-13 * scale
    rest = np.where(lowest, 0, -b / np.where(lowest, 1, gaps))
    if np.all(b[lowest] == 0) and np.linalg.norm(rest) <= radius:  # the hard case, or a minimum of a singular H
        fill = radius**2 - rest @ rest
        return -(b @ rest) - np.sum(lam * rest * rest) / 2 - lam[0] * fill / 2, max(-lam[0], 0.0), False

    def secular(t):
        return 1 / np.linalg.norm(b / (gaps + t)) - 1 / radius

    low = max(np.linalg.norm(b[lowest]) / radius, lam[0], 1e-300)
    high = np.linalg.norm(b) / radius
    t = brentq(secular, low, high, xtol=1e-300, rtol=1e-15) if secular(low) < 0 < secular(high) else high
    s = -b / (gaps + t)
    s *= radius / np.linalg.norm(s)
    return -(b @ s) - np.sum(lam * s * s) / 2, t - lam[0], False


def orthogonal(rng, n):
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def case(rng, lam, b, radius):
    """The case with these eigenvalues, g = V b."""
    V = orthogonal(rng, len(lam))
    H = (V * lam) @ V.T
    return (H + H.T) / 2, V @ b, radius


def hard(rng, n, part):
    """g has only ``part`` along the lowest eigenvector, and the ball is wider than what the others ask for."""
    lam = np.sort(rng.normal(size=n)) - 1
    b = np.r_[part, rng.normal(size=n - 1)]
    return case(rng, lam, b, 1 + 2 * np.linalg.norm(b[1:] / np.maximum(lam[1:] - lam[0], 0.05)))


# Each: (rng, n) -> H, g, radius.
FAMILIES = {
    "random": lambda rng, n: case(rng, rng.normal(size=n), rng.normal(size=n), 10 ** rng.uniform(-2, 2)),
    "convex": lambda rng, n: case(rng, rng.uniform(0.1, 3, n), rng.normal(size=n), 10 ** rng.uniform(-2, 2)),
    "interior": lambda rng, n: case(rng, rng.uniform(1, 3, n), rng.normal(size=n), 10 * n),
    "boundary": lambda rng, n: case(rng, rng.uniform(1, 3, n), rng.normal(size=n) + 1, 1e-2),
    "ill-conditioned": lambda rng, n: case(rng, 10 ** rng.uniform(-4, 0, n), rng.normal(size=n), 1.0),
    "near-hard": lambda rng, n: hard(rng, n, 10 ** rng.uniform(-12, -4)),
    "hard": lambda rng, n: hard(rng, n, 0.0),
    "lowest repeated": lambda rng, n: case(rng, np.where(np.arange(n) < 3, -1, 2), rng.normal(size=n), 2.0),
    "hard, repeated": lambda rng, n: case(rng, *np.where(np.arange(n) < 2, [[-1], [0]], [[2], [1]]), 2.0 * n),
    "no gradient, indefinite": lambda rng, n: case(rng, rng.normal(size=n) - 1, np.zeros(n), 0.7),
    "no gradient, convex": lambda rng, n: case(rng, rng.uniform(0.5, 2, n), np.zeros(n), 0.7),
    "linear": lambda rng, n: (np.zeros((n, n)), rng.normal(size=n), 10 ** rng.uniform(-2, 2)),
    "multiple of I": lambda rng, n: (rng.normal() * np.eye(n), rng.normal(size=n), 10 ** rng.uniform(-1, 1)),
    "diagonal, hard": lambda rng, n: (np.diag(np.arange(n) - 1.0), np.r_[0, np.ones(n - 1)], 3.0 * n),
    "tiny": lambda rng, n: tuple(1e-9 * part for part in FAMILIES["random"](rng, n)),
}
RANDOM = ("random", "convex", "interior", "boundary", "ill-conditioned", "lowest repeated", "multiple of I", "linear")


@functools.cache
def cases(n):
    rng = np.random.default_rng(100 + n)
    H, g, radius = zip(*(family(rng, n) for family in FAMILIES.values() for _ in range(EACH)), strict=True)
    return np.stack(H), np.stack(g), np.array(radius, float), np.repeat(list(FAMILIES), EACH)


@functools.cache
def compiled(path):
    def one(H, g, radius):
        return PATHS[path](H, g, radius, resolution(linalg.max_norm(H), g.shape[0]))

    return jax.jit(over_lanes(one))


def solve(path, H, g, radius):
    """Lanes last there, lanes first and double precision here."""
    found = compiled(path)(np.moveaxis(H, 0, -1), g.T, radius)
    assert found.step.dtype == H.dtype
    return [np.moveaxis(np.asarray(leaf), -1, 0).astype(float) for leaf in found]


@functools.cache
def solved(path, n, dtype):
    """Cases as they are in dtype, the answers, and the reference's answers to the same rounded cases."""
    H, g, radius, names = cases(n)
    H, g, radius = H.astype(dtype), g.astype(dtype), radius.astype(dtype)
    answers = solve(path, H, g, radius)
    H, g, radius = H.astype(float), g.astype(float), radius.astype(float)
    known = [np.array(part) for part in zip(*map(reference, H, g, radius), strict=True)]
    return (H, g, radius, names), answers, known


def families(names, bad):
    """{family: cases that are bad}, where there are any."""
    return {name: int(bad[names == name].sum()) for name in FAMILIES if bad[names == name].any()}


every_path = pytest.mark.parametrize(
    ("path", "n", "dtype"), [(path, n, dtype) for path, sizes in SIZES.items() for n in sizes for dtype in DTYPES]
)


@every_path
def test_step_stays_in_the_ball(path, n, dtype):
    (_, _, radius, names), (step, *_), _ = solved(path, n, dtype)
    length = np.linalg.norm(step, axis=1)
    assert families(names, ~(length <= radius * (1 + 10 * n * np.finfo(dtype).eps))) == {}


@every_path
def test_predicted_decrease_is_the_models(path, n, dtype):
    (H, g, radius, names), (step, _, predicted, *_), _ = solved(path, n, dtype)
    model = -np.sum(g * step, axis=1) - np.einsum("li,lij,lj->l", step, H, step) / 2
    terms = radius * (np.linalg.norm(g, axis=1) + np.linalg.norm(H, axis=(1, 2)) * radius)
    assert families(names, ~(np.abs(predicted - model) <= 20 * n * np.finfo(dtype).eps * terms)) == {}


@every_path
def test_decrease_is_the_global_optimum(path, n, dtype):
    (H, _, radius, names), (_, _, predicted, *_), (optimum, *_) = solved(path, n, dtype)
    eps = np.finfo(dtype).eps
    blur = 20 * n * eps * np.linalg.norm(H, axis=(1, 2)) * radius**2
    assert families(names, ~(predicted >= (1 - 1e-2) * optimum - blur)) == {}
    assert families(names, ~(predicted <= optimum * (1 + 20 * n * eps) + blur)) == {}
    near = predicted >= (1 - max(1e-8, 100 * eps)) * optimum - blur
    random = np.isin(names, RANDOM)
    assert near[random].mean() >= 0.9


@every_path
def test_optimality_conditions(path, n, dtype):
    (H, g, radius, names), (step, multiplier, _, lowest, *_), (_, known, _) = solved(path, n, dtype)
    eps = np.finfo(dtype).eps
    norm = np.abs(H).sum(axis=2).max(axis=1)
    zero = 10 * n * eps * norm + np.finfo(dtype).tiny
    lam = np.linalg.eigvalsh(H)[:, 0]
    assert families(names, ~(np.abs(lowest - lam) <= zero)) == {}
    assert families(names, ~(multiplier >= -zero)) == {}
    assert families(names, ~(lam + multiplier >= -zero)) == {}
    residual = np.einsum("lij,lj->li", H, step) + multiplier[:, None] * step + g
    residual = np.linalg.norm(residual, axis=1) / (np.linalg.norm(g, axis=1) + norm * radius + 1e-300)
    random = np.isin(names, RANDOM)
    assert (residual <= max(1e-8, 100 * eps))[random].mean() >= 0.9
    assert (np.abs(multiplier - known) <= max(1e-6, 1e3 * eps) * (norm + known) + 2 * zero)[random].mean() >= 0.9


@every_path
def test_interior_is_told_and_negative_curvature_is_used(path, n, dtype):
    (H, _, radius, names), (step, _, _, _, interior, hard), (_, _, known) = solved(path, n, dtype)
    interior, hard = interior.astype(bool), hard.astype(bool)
    clear = np.isin(names, ["random", "convex", "interior", "boundary", "lowest repeated", "no gradient, convex"])
    assert families(names, clear & (interior != known)) == {}
    assert not (interior & hard).any()
    assert not hard[np.isin(names, ["convex", "interior", "boundary", "no gradient, convex", "linear"])].any()
    down = np.isin(names, ["hard", "diagonal, hard", "hard, repeated", "no gradient, indefinite"])
    down &= np.linalg.eigvalsh(H)[:, 0] < -1e-3
    assert families(names, down & ~(np.linalg.norm(step, axis=1) >= (1 - 1e-2) * radius)) == {}


@pytest.mark.parametrize(
    ("path", "name"),
    [(p, name) for p in PATHS for name in INSTANCES if p != "closed form" or len(INSTANCES[name][1]) <= 3],
)
def test_published_instance(name, path):
    H, g, radius, (optimum, multiplier, _), _ = INSTANCES[name]
    H, g = np.array(H, float), np.array(g, float)
    assert reference(H, g, radius)[0] == pytest.approx(-optimum, rel=1e-7)
    lanes = len(FAMILIES) * EACH  # a shape that is compiled already
    answers = solve(path, np.repeat(H[None], lanes, 0), np.repeat(g[None], lanes, 0), np.full(lanes, radius))
    step, found, predicted, lowest, *_ = (part[0] for part in answers)
    assert predicted == pytest.approx(-optimum, rel=1e-9)
    assert -(g @ step + step @ H @ step / 2) == pytest.approx(-optimum, rel=1e-7)
    assert found == pytest.approx(multiplier, rel=1e-7, abs=1e-12 * np.abs(H).max())
    assert lowest == pytest.approx(np.linalg.eigvalsh(H)[0], abs=1e-13 * np.abs(H).max())


def test_the_size_chooses_the_path():
    for n, lapack in ((linalg.UNROLL_TRIDIAGONAL["cpu"], False), (linalg.UNROLL_TRIDIAGONAL["cpu"] + 1, True)):
        program = jax.make_jaxpr(secular.minimise_over_ball)(np.eye(n), np.ones(n), 1.0, 1e-9)
        assert ("eigh" in str(program)) is lapack
