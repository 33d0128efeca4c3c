"""The minima a search has met: which are the same, how often each was met, what each is like."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton.thomson.charges import Charges, potentials
from jaxnewton.types import Array, Needs, Status

SAME_ENERGY = 1e-9  # relative: energies nearer than this may be of one minimum
SAME_POTENTIALS = 1e-3  # relative: and are, if the sorted potentials of the charges agree so far too
KEPT = 1000  # lowest minima a search remembers
EXAMINED = 32  # lowest minima of which the Hessian's eigenvalues are computed
POLISH_STEPS = 5  # Newton steps; from |g| <= 1e-5, three reach rounding for every n tried up to 200


class Minimum(NamedTuple):
    """One minimum, up to rotation, reflection and the charges' names."""

    energy: float
    hits: int  # ends of descents at it
    curvature: float  # smallest eigenvalue of the Hessian beside the rotations' zeros; nan where not examined
    symmetry: int  # order of its point group, rotations and reflections, as far as 1e-5 can tell; 0 where not examined
    dipole: float  # |sum of the charges' positions|
    points: np.ndarray  # (n, 3)


class Ends(NamedTuple):
    """Distinct ends of descents, lowest first."""

    x: np.ndarray  # (k, 3 n)
    energy: np.ndarray  # (k,)
    hits: np.ndarray  # (k,)


def no_ends(n: int) -> Ends:
    """None yet."""
    return Ends(np.zeros((0, 3 * n)), np.zeros(0), np.zeros(0, np.int64))


def merged(n: int, *several: Ends) -> Ends:
    """All of several, each minimum once; the lowest of its ends stands for it."""
    x, energy, hits = (np.concatenate(parts) for parts in zip(*several, strict=True))
    groups = alike(n, x, energy)[:KEPT]
    first = [group[0] for group in groups]
    return Ends(x[first], energy[first], np.array([hits[group].sum() for group in groups], np.int64))


def alike(n: int, x: np.ndarray, energy: np.ndarray) -> list[list[int]]:
    """Which of some ends are of the same minimum, lowest first in and among the groups."""
    marks = _fingerprints(n, x)
    groups: list[list[int]] = []
    for i in map(int, np.argsort(energy, kind="stable")):
        for group in reversed(groups):
            k = group[0]
            if energy[i] - energy[k] > SAME_ENERGY * abs(energy[i]):
                groups.append([i])
                break
            if np.max(np.abs(marks[i] - marks[k])) <= SAME_POTENTIALS * np.mean(marks[i]):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _fingerprints(n: int, x: np.ndarray) -> np.ndarray:
    """Sorted potentials (k, n) of the charges: the same for congruent configurations."""
    if not len(x):
        return np.zeros((0, n))
    return np.concatenate([np.asarray(_sorted_potentials(n, chunk)) for chunk in _chunks(x, 64)])[: len(x)]


@functools.partial(jax.jit, static_argnums=0)
def _sorted_potentials(n: int, x: Array) -> Array:
    return jnp.sort(jax.vmap(lambda x: potentials(x.reshape(3, n)))(x), axis=1)


class Examined(NamedTuple):
    """A minimum and its evidence."""

    x: np.ndarray  # (3 n,)
    energy: float
    gradient_norm: float  # Euclidean, of the tangent gradient
    null_modes: int  # eigenvalues that are zero to rounding
    curvature: float  # the smallest of the others
    status: Status  # CONVERGED: certified


def examine(n: int, x: np.ndarray) -> list[Examined]:
    """Ends (k, 3 n), brought to rounding by Newton's method, and what their Hessians say."""
    return [_examine(n, one) for one in x]


def _examine(n: int, x: np.ndarray) -> Examined:
    energy, g, deflated, H = map(np.asarray, _derivatives(n, x))
    for _ in range(POLISH_STEPS):
        try:
            new = _stepped(n, x, np.linalg.solve(deflated, -g))
        except np.linalg.LinAlgError:  # singular: no isolated minimum, as its eigenvalues will say
            break
        there = tuple(map(np.asarray, _derivatives(n, new)))
        if not np.linalg.norm(there[1]) < np.linalg.norm(g):
            break
        x, (energy, g, deflated, H) = np.asarray(new), there
    lam = np.linalg.eigvalsh(H)
    largest = max(float(np.max(np.abs(lam))), np.finfo(float).tiny)
    null = np.abs(lam) <= 1e-9 * largest
    others = lam[~null]
    curvature = float(np.min(others)) if others.size else float("nan")
    gradient_norm = float(np.linalg.norm(g))
    if not gradient_norm <= 1e-11 * largest * n:
        status = Status.MAX_STEPS
    elif curvature < 0:
        status = Status.SADDLE
    elif int(null.sum()) != (2 if n == 2 else 3) or not curvature > 1e-6 * largest:
        status = Status.SINGULAR
    else:
        status = Status.CONVERGED
    return Examined(x, float(energy), gradient_norm, int(null.sum()), curvature, status)


@functools.partial(jax.jit, static_argnums=0)
def _derivatives(n: int, x: Array) -> tuple[Array, Array, Array, Array]:
    """Energy, gradient, Hessian with the rotations deflated and without."""
    f, g, deflated = Charges(n).evaluate(x, (), Needs.HESSIAN)
    return f, g, deflated, Charges(n, deflate=False).evaluate(x, (), Needs.HESSIAN).H


@functools.partial(jax.jit, static_argnums=0)
def _stepped(n: int, x: Array, step: Array) -> Array:
    return Charges(n).move(x, step, ())


def _chunks(x: np.ndarray, size: int) -> list[np.ndarray]:
    """Blocks of ``size`` rows, the last padded with its last row, so that one program serves all."""
    padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % size, axis=0)])
    return np.split(padded, len(padded) // size)
