"""Starts with the rotations of a polyhedron, a prism or a pyramid: minima of many charges often have some of them."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

GOLDEN = (1 + math.sqrt(5)) / 2
NOISE = 0.02  # of the distance between neighbours: it frees a descent from the symmetry it began with
MOST_FOLD = 6  # of the cyclic and dihedral groups


def symmetric(rng: np.random.Generator, n: int, count: int) -> np.ndarray:
    """``count`` configurations (count, n, 3), each the orbits of random points under a random group that fits n.

    Groups: C_k and D_k up to k = 6, T, O and I; the orbits on their axes (the vertices of a solid, say) are taken or
    left so that the sizes sum to n. Icosadeltahedra (Caspar & Klug 1962) are among those of I.
    """
    choices = _choices(n)
    spacing = math.sqrt(4 * math.pi / n)
    made = np.empty((count, n, 3))
    for points in made:
        rotations, axes, free = choices[rng.integers(len(choices))]
        seeds = np.concatenate([unit(rng.normal(size=(free, 3))), *axes]) if free else np.concatenate(axes)
        orbits = [np.einsum("gij,j->gi", rotations, x) for x in seeds[:free]]
        points[:] = np.concatenate([*orbits, seeds[free:]])
        points[:] = unit(points + NOISE * spacing * rng.normal(size=(n, 3)))
    return made


@functools.cache
def _choices(n: int) -> list[tuple[np.ndarray, list[np.ndarray], int]]:
    """Rotations (order, 3, 3), orbits on axes, and how many free orbits, for all ways to make n."""
    found = []
    for rotations, special in _groups():
        for taken in itertools.product((False, True), repeat=len(special)):
            axes = [orbit for orbit, take in zip(special, taken, strict=True) if take]
            free, rest = divmod(n - sum(map(len, axes)), len(rotations))
            if rest == 0 and free >= 0 and free + len(axes) > 0:
                found.append((rotations, axes, free))
    return found


@functools.cache
def _groups() -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """The rotation groups, with their orbits of fewer points than rotations."""
    north = np.array([[0.0, 0.0, 1.0]])
    groups: list[tuple[np.ndarray, list[np.ndarray]]] = [(np.eye(3)[None], [])]
    for k in range(2, MOST_FOLD + 1):
        turn, flip = _about(north[0], 2 * math.pi / k), np.diag([1.0, -1.0, -1.0])
        cyclic = _generated([turn])
        groups.append((cyclic, [north, -north]))
        dihedral = _generated([turn, flip])
        ends = [np.array([1.0, 0, 0]), np.array([math.cos(math.pi / k), math.sin(math.pi / k), 0])]
        groups.append((dihedral, [np.concatenate([north, -north]), *(_orbit(dihedral, x) for x in ends)]))
    corner, golden = np.ones(3) / math.sqrt(3), unit(np.array([0.0, 1.0, GOLDEN]))
    third = _about(corner, 2 * math.pi / 3)
    tetrahedral = _generated([third, np.diag([1.0, -1.0, -1.0])])
    octahedral = _generated([third, _about(np.array([1.0, 0, 0]), math.pi / 2)])
    icosahedral = _generated([third, _about(golden, 2 * math.pi / 5)])
    edge = np.array([1.0, 0, 0])
    groups.append((tetrahedral, [_orbit(tetrahedral, x) for x in (corner, -corner, edge)]))
    diagonal = unit(np.array([1.0, 1.0, 0.0]))
    groups.append((octahedral, [_orbit(octahedral, x) for x in (edge, corner, diagonal)]))
    groups.append((icosahedral, [_orbit(icosahedral, x) for x in (golden, corner, edge)]))
    return groups


def _generated(generators: list[np.ndarray]) -> np.ndarray:
    group = [np.eye(3)]
    for element in group:  # grows as it is walked through
        for generator in generators:
            new = generator @ element
            if not any(np.allclose(new, old, atol=1e-9) for old in group):
                group.append(new)
    return np.stack(group)


def _orbit(group: np.ndarray, x: np.ndarray) -> np.ndarray:
    images = group @ x
    return images[[i for i in range(len(images)) if not np.any(np.all(np.abs(images[:i] - images[i]) < 1e-9, axis=1))]]


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)


def unit(points: np.ndarray) -> np.ndarray:
    """Points (..., 3), scaled to the sphere."""
    return points / np.linalg.norm(points, axis=-1, keepdims=True)
