"""What a solve returns: one Solution, or Solutions with a leading axis and a few questions answered on the host."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton.types import Array, Status, is_traced, message, succeeded


class _Shared:
    """Properties of one solution or many."""

    status: Array
    x: Any

    @property
    def success(self) -> Array:
        """True where the status is CONVERGED or NOISE_FLOOR; bool, of the status's shape."""
        return succeeded(self.status)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["x", "fun", "grad", "status", "nit", "nfev", "njev", "nhev", "curvature"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Solution(_Shared):
    """One start's end. A pytree: it may leave ``jit`` and ``vmap``."""

    x: Any  # the last accepted point, of x0's structure
    fun: Array  # () objective at x
    grad: Any  # gradient at x, of x0's structure
    status: Array  # () int32, a Status
    nit: Array  # () int32: trips of the loop, each one evaluation
    nfev: Array  # () int32: evaluations of the objective
    njev: Array  # () int32: of the gradient
    nhev: Array  # () int32: of the Hessian
    curvature: Array  # () smallest eigenvalue of the Hessian at x where the solver knows it, else nan

    @property
    def message(self) -> str:
        """The status in words (host only)."""
        return message(self.status)

    def __repr__(self) -> str:
        if is_traced(self.status) or np.ndim(self.status):
            return dataclasses.asdict(self).__repr__()
        name = Status(int(self.status)).name
        return f"Solution({name}, fun={float(self.fun):.9g}, x={self.x}, nit={int(self.nit)})"


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["x", "fun", "grad", "status", "nit", "nfev", "njev", "nhev", "curvature", "start", "tally"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Solutions(_Shared):
    """Many starts' ends: the fields of Solution with a leading axis, in the order of the starts.

    With ``keep=k`` only the k best rows are here, best first; with an interrupted run only the starts that ended.
    """

    x: Any  # leaves (B, ...)
    fun: Array  # (B,)
    grad: Any  # leaves (B, ...)
    status: Array  # (B,) int32
    nit: Array  # (B,) int32
    nfev: Array  # (B,) int32
    njev: Array  # (B,) int32
    nhev: Array  # (B,) int32
    curvature: Array  # (B,)
    start: Array  # (B,) int32: which start each row belongs to
    tally: Array  # (statuses,) int32: how many starts ended with each Status, the rows not kept included

    def __len__(self) -> int:
        return self.status.shape[0]

    def __getitem__(self, row: int) -> Solution:
        """One row as a Solution."""
        names = [field.name for field in dataclasses.fields(Solution)]
        return Solution(**{name: jax.tree.map(lambda leaf: leaf[row], getattr(self, name)) for name in names})

    @property
    def counts(self) -> dict[Status, int]:
        """How many starts ended with each status; statuses nobody ended with are left out."""
        return {Status(i): int(count) for i, count in enumerate(np.asarray(self.tally)) if count}

    @property
    def best(self) -> Solution:
        """The success of lowest ``fun``; without any success, the lowest finite ``fun``."""
        return self[int(self._order()[0])]

    def distinct(self, tol: float | None = None) -> list[tuple[Solution, int]]:
        """Different successful ends, lowest ``fun`` first, each with the number of starts that came to it.

        Two ends are the same where every component of x agrees to ``tol * (1 + |x|)``; default: 1e-5 in float64, 1e-2
        in float32. Compares by sorted ``fun``, so it is fast for a million rows with few minima.
        """
        tol = tol if tol is not None else (1e-5 if jnp.finfo(self.fun.dtype).eps < 1e-12 else 1e-2)
        rows = np.flatnonzero(np.asarray(self.success))
        rows = rows[np.argsort(np.asarray(self.fun)[rows], kind="stable")]
        leaves = [np.asarray(leaf).reshape(len(self), -1) for leaf in jax.tree.leaves(self.x)]
        x = np.concatenate(leaves, axis=1)
        found: list[tuple[int, int]] = []
        left = rows
        while left.size:
            near = np.all(np.abs(x[left] - x[left[0]]) <= tol * (1 + np.abs(x[left[0]])), axis=1)
            found.append((int(left[0]), int(near.sum())))
            left = left[~near]
        return [(self[row], hits) for row, hits in found]

    def summary(self) -> str:
        """A few lines of text: statuses, trips, the distinct minima that were met most."""
        total = int(np.asarray(self.tally).sum())
        statuses = ", ".join(f"{status.name} {count}" for status, count in self.counts.items())
        nit = np.asarray(self.nit)
        lines = [f"{total} starts: {statuses}"]
        if len(self):
            lines.append(f"trips: mean {nit.mean():.1f}, largest {nit.max()}; {len(self)} rows kept")
        minima = self.distinct()
        lines.append(f"distinct minima: {len(minima)}")
        lines += [f"  fun {float(one.fun): .9g}  hits {hits}" for one, hits in minima[:5]]
        return "\n".join(lines)

    def __repr__(self) -> str:
        if is_traced(self.status):
            return dataclasses.asdict(self).__repr__()
        return f"Solutions({len(self)} rows; {self.counts})"

    def _order(self) -> np.ndarray:
        fun = np.asarray(self.fun)
        return np.lexsort((np.where(np.isnan(fun), np.inf, fun), ~np.asarray(self.success)))
