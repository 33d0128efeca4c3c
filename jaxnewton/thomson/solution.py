"""``thomson.solve`` and what it returns."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.solvers.lbfgs import LBFGS
from jaxnewton.starts import Rows, Starts
from jaxnewton.thomson import search
from jaxnewton.thomson.charges import AmbientCharges, Charges
from jaxnewton.thomson.landscape import EXAMINED, Ends, Examined, Minimum, alike, examine, symmetry
from jaxnewton.thomson.starts import OF_THE_HOST, check_kind, check_n, recipe
from jaxnewton.thomson.starts import starts as configurations
from jaxnewton.thomson.table import BEST_KNOWN
from jaxnewton.types import Array, Solver, Status

DEFAULT_STARTS = 256
MEMORY = 3  # pairs of L-BFGS: with 3, 5, 8 a descent at n = 32 takes 52, 51, 51 trips, and 1, 1.1, 1.3 of the time
SEARCH_TOL = 1e-5  # of descents: their energies are right to about its square, and Newton's method does the rest
BELOW = 1e-11  # relative: an energy so far below the best known one is another minimum, and a discovery


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ThomsonSolution:
    """The lowest minimum found, with what certifies it, and the others. Arrays are float64."""

    points: np.ndarray  # (n, 3) on the unit sphere
    energy: float  # sum over pairs of 1/distance
    gradient_norm: float  # Euclidean norm of the tangent gradient
    curvature: float  # smallest eigenvalue of the Riemannian Hessian beside the rotations' zeros
    null_modes: int  # eigenvalues that are zero to rounding; 3 rotations, 2 for n = 2
    certified: bool  # a descent's success, gradient_norm at most 1e-11 n ||H|| (rounding leaves far less), exactly the
    #                  rotations' null modes, all other eigenvalues positive
    minima: list[Minimum]  # distinct up to rotation, reflection and relabelling, lowest first; the 32 lowest are
    #                       examined by their Hessians, of the others curvature is nan
    counts: dict[Status, int]  # how the starts ended
    rounds: int  # of the search: the first and the hops
    compile_seconds: float
    solve_seconds: float

    def __repr__(self) -> str:
        verdict = "certified" if self.certified else "not certified"
        hits = self.minima[0].hits if self.minima else 0
        found = f"{len(self.minima)} minima, {hits} of {sum(self.counts.values())} starts at the lowest"
        return f"ThomsonSolution(n={len(self.points)}, energy={self.energy:.9f}, {verdict}, {found})"

    @property
    def discovery(self) -> bool:
        """Whether this certified energy is below the best known one, by more than the table's accuracy."""
        known = BEST_KNOWN.get(len(self.points))
        return self.certified and known is not None and self.energy < known * (1 - BELOW)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the configuration to a file: ``.xyz`` (text, 17 digits, read by molecule viewers) or ``.npz`` (NumPy:
        points, energy, gradient_norm, curvature, certified, and energies, hits and points of all minima).

        Raises:
            ValueError: the name ends otherwise.
        """
        path = Path(path)
        if path.suffix == ".xyz":
            path.write_text(self._xyz())
        elif path.suffix == ".npz":
            np.savez(
                path,
                points=self.points,
                energy=self.energy,
                gradient_norm=self.gradient_norm,
                curvature=self.curvature,
                certified=self.certified,
                minima_energies=[one.energy for one in self.minima],
                minima_hits=[one.hits for one in self.minima],
                minima_points=[one.points for one in self.minima],
            )
        else:
            raise ValueError(f"path must end in .xyz or .npz; it is {str(path)!r}")

    def _xyz(self) -> str:
        verdict = "certified minimum" if self.certified else "not certified"
        head = (
            f"{len(self.points)}\n{len(self.points)} charges on the unit sphere, energy {self.energy:.12f}, {verdict}"
        )
        return "\n".join([head, *("X" + "".join(f" {c:.17g}" for c in point) for point in self.points)]) + "\n"


def solve(
    n: int,
    *,
    starts: Any = DEFAULT_STARTS,
    key: Array | None = None,
    kind: str = "random",
    hops: int | None = None,
    time_limit: float | None = None,
    until: float | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    solver: Solver | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
    width: int | None = None,
    devices: Any = None,
    progress: bool = False,
) -> ThomsonSolution:
    """The lowest energy of n unit charges on the unit sphere that descents find, in float64.

    A first round of ``starts`` descents runs in the pool, by L-BFGS; then come rounds of basin hopping (Wales & Doye
    1997), each of as many descents from moves of the lowest minima so far: charges of high potential put into holes,
    caps turned, everything shaken, and some fresh starts. The lowest distinct ends are polished by Newton's method and
    certified by their Hessians. The same call finds the same, in one run or resumed; with another width or machine the
    last digits differ, and since moves start from them, a search with hops may take another course.

    Float64 is switched on for the call alone where JAX runs in float32: energies of different minima agree to more
    digits than float32 has.

    Args:
        n: number of charges, at least 2.
        starts: how many a round (made from ``key`` by ``kind``), or configurations (count, n, 3) of your own.
        key: a ``jax.random.key``; default ``jax.random.key(0)``.
        kind: "random", "polar", "spiral", "symmetric" or "mixed"; see ``thomson.starts``.
        hops: rounds after the first; default none, or with ``time_limit`` as many as there is time for.
        time_limit: seconds after which no further round begins.
        until: an energy; no further round begins once one as low is found.
        checkpoint: a file that holds the search after every round; if it exists, the search goes on from there.
        solver: a solver of ``jn.minimize`` that replaces L-BFGS; tol is 1e-8 then.
        tol, max_steps, width, devices: of the descents, as for ``minimize_batch``; tol is 1e-5 by default.
        progress: show a bar. Ctrl-C ends the search with what was found so far.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
        InterruptedError: Ctrl-C came before any start had ended; later, what was found is returned.
    """
    n = check_n(n)
    check_kind(kind)
    chosen = LBFGS(memory=MEMORY) if solver is None else checks.solver(solver)
    problem = AmbientCharges(n) if solver is None else Charges(n)
    if tol is None and solver is None:
        tol = SEARCH_TOL
    hops = None if hops is None else _whole("hops", hops)
    for name, value in (("time_limit", time_limit), ("until", until)):
        if value is not None and not (isinstance(value, (int, float, np.number)) and value > 0):
            raise ValueError(f"{name} must be a positive number; it is {value!r}")
    with jax.enable_x64(True):
        key = jax.random.key(0) if key is None else key
        first, count, label = _first(starts, n, key, kind)
        plan = search.Search(
            n=n,
            problem=problem,
            solver=chosen,
            rules=checks.rules(tol, max_steps, jnp.float64),
            first=first,
            count=count,
            key=key,
            label=label,
            width=checks.positive("width", width) or (None if solver else default_width(n)),
            devices=checks.devices(devices),
        )
        at = None if checkpoint is None else Path(checkpoint)
        if at is not None and not at.resolve().parent.is_dir():
            raise ValueError(f"checkpoint: there is no folder {at.resolve().parent}")
        found = search.run(plan, hops, time_limit, until, at, checks.flag("progress", progress))
        return _solution(n, found)


def default_width(n: int) -> int:
    """Lanes a device for L-BFGS: few enough that what they work on stays in cache.

    Measured on CPU: at n = 32 8 to 32 lanes are as fast, 64 by a seventh slower; at n = 100 4 and 8, and 16 by a third.
    """
    return min(max(2**15 // n**2, 8), 64) if jax.default_backend() == "cpu" else 2**10


def _first(given: Any, n: int, key: Array, kind: str) -> tuple[Any, int, str]:
    """The first round's starts, how many, and what they are called."""
    if np.ndim(given) == 0:
        count = checks.positive("starts", given) or DEFAULT_STARTS
        if kind in OF_THE_HOST:
            return lambda: _rows(configurations(key, n, count, kind), n), count, kind
        made = recipe(key, n, count, kind, jnp.float64)
        return lambda: made, count, kind
    points = np.asarray(given, np.float64)
    if points.ndim != 3 or points.shape[1:] != (n, 3) or not len(points):
        raise ValueError(f"starts must be a number or configurations (count, {n}, 3); its shape is {points.shape}")
    norms = np.linalg.norm(points, axis=2, keepdims=True)
    if not np.all((norms > 0) & np.isfinite(norms)):
        bad = int(np.argmin(np.all((norms > 0) & np.isfinite(norms), axis=(1, 2))))
        raise ValueError(f"starts must hold finite points other than the origin; configuration {bad} has another")
    return lambda: _rows(points / norms, n), len(points), search.describe(points)


def _rows(points: Any, n: int) -> Starts:
    return Rows(jnp.asarray(np.asarray(points).swapaxes(1, 2).reshape(-1, 3 * n)), len(points))


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{name} must be a whole number of at least 0; it is {value!r}")
    return int(value)


def _solution(n: int, found: search.Found) -> ThomsonSolution:
    ends = found.ends if len(found.ends.energy) else found.stray
    if not len(ends.energy):
        if found.tally[Status.NONFINITE]:
            raise ValueError("starts must have finite energies; in every one of these, charges coincide")
        raise InterruptedError("interrupted before any start had ended")
    examined = examine(n, ends.x[:EXAMINED])
    tally, minima = found.tally.copy(), [one for one in examined if one.status is Status.CONVERGED]
    if ends is found.ends:  # descents know no Hessian: what they took for a minimum may be a saddle
        for one, hits in zip(examined, ends.hits[:EXAMINED], strict=True):
            _recount(tally, one.status, int(hits))
    lowest = min(minima if ends is found.ends and minima else examined, key=lambda one: one.energy)
    return ThomsonSolution(
        points=lowest.x.reshape(3, n).T,
        energy=lowest.energy,
        gradient_norm=lowest.gradient_norm,
        curvature=lowest.curvature,
        null_modes=lowest.null_modes,
        certified=ends is found.ends and lowest.status is Status.CONVERGED,
        minima=_minima(n, examined, ends) if ends is found.ends else [],
        counts={Status(i): int(c) for i, c in enumerate(tally) if c},
        rounds=found.rounds,
        compile_seconds=found.compile_seconds,
        solve_seconds=found.solve_seconds,
    )


def _recount(tally: np.ndarray, status: Status, hits: int) -> None:
    """Count ``hits`` ends that were taken for successes for what they are."""
    for claimed in (Status.CONVERGED, Status.NOISE_FLOOR) if status is not Status.CONVERGED else ():
        moved = min(hits, int(tally[claimed]))
        tally[claimed] -= moved
        tally[status] += moved
        hits -= moved


def _minima(n: int, examined: list[Examined], ends: Ends) -> list[Minimum]:
    """Those that are certified, and those that are too high to have been examined."""
    sure = [(one, int(hits)) for one, hits in zip(examined, ends.hits, strict=False) if one.status is Status.CONVERGED]
    minima = []
    if sure:
        x, energy = np.stack([one.x for one, _ in sure]), np.array([one.energy for one, _ in sure])
        for group in alike(n, x, energy):  # now that they are polished, some may be the same
            one = sure[group[0]][0]
            minima.append(_minimum(n, one, sum(sure[i][1] for i in group)))
    for x, energy, hits in zip(*(leaf[EXAMINED:] for leaf in ends), strict=True):
        points = x.reshape(3, n).T
        minima.append(Minimum(float(energy), int(hits), float("nan"), 0, _dipole(points), points))
    return minima


def _minimum(n: int, one: Examined, hits: int) -> Minimum:
    points = one.x.reshape(3, n).T
    return Minimum(one.energy, hits, one.curvature, symmetry(points), _dipole(points), points)


def _dipole(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.sum(points, axis=0)))
