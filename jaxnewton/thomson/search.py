"""Thomson's problem: a pool of starts, a polish of the best end, and a certificate that it is a minimum."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.driver import Report, solve_pool
from jaxnewton.progress import bar
from jaxnewton.solvers.trust_region import TrustRegion
from jaxnewton.starts import Rows, Starts
from jaxnewton.thomson.charges import Charges
from jaxnewton.thomson.starts import check_n, recipe
from jaxnewton.types import Array, Needs, Solver, Status, succeeded

DEFAULT_STARTS = 256
SAME_ENERGY = 1e-8  # relative: energies nearer than this count as one minimum
POLISH_STEPS = 3  # Newton steps from |g| <= 1e-8; two reach rounding for every n tried up to 100


@dataclasses.dataclass(frozen=True)
class ThomsonSolution:
    """The lowest minimum found, with what certifies it, and the others. Arrays are float64."""

    points: np.ndarray  # (n, 3) on the unit sphere
    energy: float  # sum over pairs of 1/distance
    gradient_norm: float  # Euclidean norm of the tangent gradient
    curvature: float  # smallest eigenvalue of the Riemannian Hessian beside the rotations' zeros
    null_modes: int  # eigenvalues that are zero to rounding; 3 rotations, 2 for n = 2
    certified: bool  # stationary to rounding, exactly the rotations' null modes, all other eigenvalues positive
    minima: list[tuple[float, int]]  # energies of the distinct minima, lowest first, and the starts that came to each
    counts: dict[Status, int]  # how the starts ended
    compile_seconds: float
    solve_seconds: float


def solve(
    n: int,
    *,
    starts: Any = DEFAULT_STARTS,
    key: Array | None = None,
    kind: str = "random",
    solver: Solver | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
    width: int | None = None,
    devices: Any = None,
    progress: bool = False,
) -> ThomsonSolution:
    """The lowest energy of n unit charges on the unit sphere that ``starts`` descents find, in float64.

    Float64 is switched on for the call alone where JAX runs in float32: energies of different minima agree to more
    digits than float32 has.

    Args:
        n: number of charges, at least 2.
        starts: how many (made on the fly from ``key`` by ``kind``), or configurations (count, n, 3) of your own.
        key: a ``jax.random.key``; default ``jax.random.key(0)``.
        kind: "random", "polar" or "spiral"; see ``thomson.starts``.
        solver, tol, max_steps, width, devices, progress: as for ``minimize_batch``.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
        InterruptedError: Ctrl-C came before any start had ended; later, what was found is returned.
    """
    check_n(n)
    chosen_solver = TrustRegion() if solver is None else checks.solver(solver)
    chosen = checks.devices(devices)
    with jax.enable_x64(True):
        made = _starts(starts, n, jax.random.key(0) if key is None else key, kind)
        rules = checks.rules(tol, max_steps, jnp.float64)
        width = checks.positive("width", width)
        with bar(made.count) if progress else contextlib.nullcontext() as watch:
            report = solve_pool(
                Charges(n), chosen_solver, made, (), (), rules, width=width, keep=None, devices=chosen, watch=watch
            )
        return _certify(n, report)


def _starts(given: Any, n: int, key: Array, kind: str) -> Starts:
    if np.ndim(given) == 0:
        return recipe(key, n, checks.positive("starts", given) or DEFAULT_STARTS, kind, jnp.float64)
    points = np.asarray(given, np.float64)
    if points.ndim != 3 or points.shape[1:] != (n, 3) or not len(points):
        raise ValueError(f"starts must be a number or configurations (count, {n}, 3); its shape is {points.shape}")
    norms = np.linalg.norm(points, axis=2, keepdims=True)
    if not np.all(norms > 0):
        raise ValueError("starts must hold points other than the origin; some point has no direction")
    return Rows(jnp.asarray((points / norms).swapaxes(1, 2).reshape(len(points), -1)), len(points))


def _certify(n: int, report: Report) -> ThomsonSolution:
    found = report.kept.outcome
    if not found.fun.shape[0]:
        raise InterruptedError("interrupted before any start had ended")
    success = np.asarray(succeeded(found.status))
    energies = np.asarray(found.fun)
    best = int(np.lexsort((np.where(np.isnan(energies), np.inf, energies), ~success))[0])
    x, energy, g, lam = (np.asarray(leaf) for leaf in _polish(n, found.x[best]))

    largest = max(float(np.max(np.abs(lam))), np.finfo(float).tiny)
    null = np.abs(lam) <= 1e-9 * largest
    others = lam[~null]
    curvature = float(np.min(others)) if others.size else float("nan")
    expected = 2 if n == 2 else 3
    gradient_norm = float(np.linalg.norm(g))
    certified = (
        bool(success[best])
        and gradient_norm <= 1e-11 * largest * n
        and int(null.sum()) == expected
        and curvature > 1e-6 * largest
    )
    counts = {Status(i): int(c) for i, c in enumerate(np.asarray(report.tally)) if c}
    return ThomsonSolution(
        points=x.reshape(3, n).T,
        energy=float(energy),
        gradient_norm=gradient_norm,
        curvature=curvature,
        null_modes=int(null.sum()),
        certified=certified,
        minima=_distinct(energies[success]),
        counts=counts,
        compile_seconds=report.compile_seconds,
        solve_seconds=report.solve_seconds,
    )


def _polish(n: int, x: Array) -> tuple[Array, Array, Array, Array]:
    """Newton steps on the deflated Hessian, each kept only if the gradient shrinks.

    Returns x, its energy, gradient and all eigenvalues of the Hessian without deflation.
    """
    problem = Charges(n)
    for _ in range(POLISH_STEPS):
        at = problem.evaluate(x, (), Needs.HESSIAN)
        moved = problem.move(x, -jnp.linalg.solve(at.H, at.g), ())
        closer = jnp.linalg.norm(problem.evaluate(moved, (), Needs.GRADIENT).g) < jnp.linalg.norm(at.g)
        x = jnp.where(closer, moved, x)
    at = Charges(n, deflate=False).evaluate(x, (), Needs.HESSIAN)
    return x, at.f, at.g, jnp.linalg.eigvalsh(at.H)


def _distinct(energies: np.ndarray) -> list[tuple[float, int]]:
    """Energies that differ, lowest first, with how often each was met."""
    ordered = np.sort(energies)
    jumps = np.flatnonzero(np.diff(ordered) > SAME_ENERGY * np.abs(ordered[:-1])) + 1
    return [(float(group[0]), len(group)) for group in np.split(ordered, jumps) if len(group)]
