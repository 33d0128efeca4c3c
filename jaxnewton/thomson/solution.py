"""What a search comes to: the lowest minimum, certified, the others beside it, and the files they are saved in."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from jaxnewton.thomson.landscape import EXAMINED, Ends, Examined, Minimum, alike, examine
from jaxnewton.thomson.point_group import symmetry
from jaxnewton.thomson.search import Found
from jaxnewton.thomson.table import BEST_KNOWN
from jaxnewton.types import Status

BELOW = 1e-11  # relative: an energy so far below the best known one is another minimum, and a discovery
ROUNDED = 1e-9  # of the table: its energies have nine decimals


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
        return self.certified and known is not None and self.energy < known * (1 - BELOW) - ROUNDED

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
        n = len(self.points)
        head = f"{n}\n{n} charges on the unit sphere, energy {self.energy:.12f}, {verdict}"
        return "\n".join([head, *("X" + "".join(f" {c:.17g}" for c in point) for point in self.points)]) + "\n"


def conclude(n: int, found: Found) -> ThomsonSolution:
    """The solution of a search.

    Raises:
        ValueError, InterruptedError: no start came to an end with a finite energy.
    """
    ends = found.ends if len(found.ends.energy) else found.stray
    if not len(ends.energy):
        if found.tally[Status.NONFINITE]:
            raise ValueError("starts must have finite energies; in every one of these, charges coincide")
        raise InterruptedError("interrupted before any start had ended")
    examined = examine(n, ends.x[:EXAMINED])
    tally, certified, minima = found.tally.copy(), [], []
    if ends is found.ends:  # descents know no Hessian: what they took for a minimum may be a saddle
        known = [(one, int(hits)) for one, hits in zip(examined, ends.hits[:EXAMINED], strict=True)]
        for one, hits in known:
            _recount(tally, one.status, hits)
        certified = [(one, hits) for one, hits in known if one.status is Status.CONVERGED]
        minima = _minima(n, certified, ends)
    lowest = min([one for one, _ in certified] or examined, key=lambda one: one.energy)
    return ThomsonSolution(
        points=lowest.x.reshape(3, n).T,
        energy=lowest.energy,
        gradient_norm=lowest.gradient_norm,
        curvature=lowest.curvature,
        null_modes=lowest.null_modes,
        certified=bool(certified),
        minima=minima,
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


def _minima(n: int, certified: list[tuple[Examined, int]], ends: Ends) -> list[Minimum]:
    """Those that are certified, with their hits, and those that are too high to have been examined."""
    minima = []
    if certified:
        x, energy = np.stack([one.x for one, _ in certified]), np.array([one.energy for one, _ in certified])
        groups = alike(n, x, energy)  # now that they are polished, some may be the same
        minima = [_minimum(n, certified[group[0]][0], sum(certified[i][1] for i in group)) for group in groups]
    for x, energy, hits in zip(*(leaf[EXAMINED:] for leaf in ends), strict=True):
        points = x.reshape(3, n).T
        minima.append(Minimum(float(energy), int(hits), float("nan"), 0, _dipole(points), points))
    return minima


def _minimum(n: int, one: Examined, hits: int) -> Minimum:
    points = one.x.reshape(3, n).T
    return Minimum(one.energy, hits, one.curvature, symmetry(points), _dipole(points), points)


def _dipole(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.sum(points, axis=0)))
