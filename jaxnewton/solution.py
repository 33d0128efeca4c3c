"""What a solve returns: one Solution, or Solutions with a leading axis and a few questions answered on the host."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, SupportsIndex, overload

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.types import Array, History, Status, is_traced, message, succeeded


class _Shared:
    """Properties of one solution or many."""

    status: Array
    x: Any

    @property
    def success(self) -> Array:
        """True where the status is CONVERGED or NOISE_FLOOR; bool, of the status's shape."""
        return succeeded(self.status)

    def _on_host(self, name: str) -> None:
        if is_traced(self.status):
            raise ValueError(f"{name} is worked out on the host, so there is none inside jit: ask for it outside")


_COMMON = ["x", "fun", "grad", "status", "nit", "nfev", "njev", "nhev", "curvature"]  # of Solution and Solutions


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[*_COMMON, "history"],
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
    curvature: Array  # () smallest eigenvalue of the Hessian at x where the solver knows it, else nan; no derivative
    history: History | None = None  # of every trip, where it was asked for

    @property
    def message(self) -> str:
        """The status in words (host only).

        Raises:
            ValueError: there are several, after ``vmap``, or the status is traced, inside ``jit``.
        """
        self._on_host("message")
        if np.ndim(self.status):
            raise ValueError(
                f"this solution is a batch of shape {self.status.shape}, so it has no one message: take a row of it by "
                "jax.tree.map(lambda leaf: leaf[i], solution)"
            )
        return message(self.status)

    def __repr__(self) -> str:
        if is_traced(self.status) or np.ndim(self.status):
            return dataclasses.asdict(self).__repr__()
        name = Status(int(self.status)).name
        return f"Solution({name}, fun={float(self.fun):.9g}, x={self.x}, nit={int(self.nit)})"


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[*_COMMON, "start", "tally"],
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

    @overload
    def __getitem__(self, index: SupportsIndex) -> Solution: ...
    @overload
    def __getitem__(self, index: slice | Sequence[Any]) -> Solutions: ...
    @overload
    def __getitem__(self, index: Any) -> Any: ...
    def __getitem__(self, index: Any) -> Solution | Solutions:
        """One row as a Solution; of a slice, a list or array of whole numbers, or a mask, those rows as Solutions.

        Raises:
            IndexError: there is no such row, or the mask has not one entry for each.
            TypeError: it is none of these.
        """
        rows = checks.rows(index, len(self), "solutions")
        fields = {name: jax.tree.map(lambda leaf: leaf[rows], getattr(self, name)) for name in _COMMON}
        if np.ndim(rows) == 0:
            return Solution(**fields)
        ended = fields["status"][:, None] == jnp.arange(len(Status), dtype=jnp.int32)[None]
        return Solutions(**fields, start=self.start[rows], tally=jnp.sum(ended, axis=0, dtype=jnp.int32))

    @property
    def counts(self) -> dict[Status, int]:
        """How many starts ended with each status; statuses nobody ended with are left out."""
        self._on_host("counts")
        return {Status(i): int(count) for i, count in enumerate(np.asarray(self.tally)) if count}

    @property
    def best(self) -> Solution:
        """The success of lowest ``fun``; without any success, the lowest finite ``fun``."""
        self._on_host("best")
        if not len(self):
            raise ValueError("there is no best: no start had ended")
        return self[int(self._order()[0])]

    def distinct(self, tol: float | None = None) -> list[tuple[Solution, int]]:
        """Different successful ends, lowest ``fun`` first, each with the number of starts that came to it.

        Two ends are the same where every component of x agrees to ``tol * (1 + |x|)``; default: 1e-5 in float64, 1e-3
        in float32, a few times the root of eps, to which a minimum of curvature 1 is determined by its values. Only
        ends whose ``fun`` agrees to ``tol * (1 + |fun|)`` are compared. Where curvature is small ends scatter more
        widely, and a larger ``tol`` counts them as one.
        """
        return [(self[row], hits) for row, hits in self._groups(tol)]

    def _groups(self, tol: float | None = None) -> list[tuple[int, int]]:
        """The row of lowest ``fun`` of each distinct end, and its hits."""
        self._on_host("distinct")
        usual = 1e-5 if jnp.finfo(self.fun.dtype).eps < 1e-12 else 1e-3
        tol = usual if tol is None else checks.positive_number("tol", tol, fixed=True)
        rows = np.flatnonzero(np.asarray(self.success))
        rows = rows[np.argsort(np.asarray(self.fun)[rows], kind="stable")]
        if not rows.size:
            return []
        leaves = [np.asarray(leaf).reshape(len(self), -1) for leaf in jax.tree.leaves(self.x)]
        x, fun = np.concatenate(leaves, axis=1)[rows], np.asarray(self.fun)[rows]
        taken = np.zeros(rows.size, bool)
        found: list[tuple[int, int]] = []
        ends = np.searchsorted(fun, fun + tol * (1 + np.abs(fun)), side="right")
        for i, end in enumerate(ends):
            if not taken[i]:
                near = np.all(np.abs(x[i:end] - x[i]) <= tol * (1 + np.abs(x[i])), axis=1) & ~taken[i:end]
                taken[i:end] |= near
                found.append((int(rows[i]), int(near.sum())))
        return found

    def summary(self) -> str:
        """A few lines of text: statuses, trips, the distinct ends that were met most."""
        self._on_host("summary")
        total = int(np.asarray(self.tally).sum())
        nit = np.asarray(self.nit)
        lines = [f"{total} starts: {self._statuses()}"]
        if len(self):
            lines.append(f"trips: mean {nit.mean():.1f}, largest {nit.max()}; {len(self)} rows kept")
        minima, fun = self._groups(), np.asarray(self.fun)
        lines.append(f"distinct ends: {len(minima)}")
        lines += [f"  fun {fun[row]: .9g}  hits {hits}" for row, hits in minima[:5]]
        return "\n".join(lines)

    def __repr__(self) -> str:
        if is_traced(self.status) or np.ndim(self.status) != 1:
            return dataclasses.asdict(self).__repr__()
        return f"Solutions({len(self)} rows; {self._statuses()})"

    def _statuses(self) -> str:
        return ", ".join(f"{status.name} {count}" for status, count in self.counts.items()) or "none"

    def _order(self) -> np.ndarray:
        fun = np.asarray(self.fun)
        return np.lexsort((np.where(np.isnan(fun), np.inf, fun), ~np.asarray(self.success)))
