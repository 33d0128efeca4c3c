"""``thomson.solve``: the door of the search."""

from __future__ import annotations

import hashlib
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
from jaxnewton.thomson.solution import ThomsonSolution, conclude
from jaxnewton.thomson.starts import OF_THE_HOST, check_kind, check_n, recipe
from jaxnewton.thomson.starts import starts as configurations
from jaxnewton.types import Array, Solver

DEFAULT_STARTS = 256
MEMORY = 3  # pairs of L-BFGS: with 3, 5, 8 a descent at n = 32 takes 52, 51, 51 trips, and 1, 1.1, 1.3 of the time
SEARCH_TOL = 1e-5  # of descents: their energies are right to about its square, and Newton's method does the rest


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
        return conclude(n, found)


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
    return lambda: _rows(points / norms, n), len(points), _digest(points)


def _rows(points: Any, n: int) -> Starts:
    return Rows(jnp.asarray(np.asarray(points).swapaxes(1, 2).reshape(-1, 3 * n)), len(points))


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{name} must be a whole number of at least 0; it is {value!r}")
    return int(value)


def _digest(points: np.ndarray) -> str:
    """What a checkpoint knows own starts by."""
    return "given " + hashlib.sha256(np.ascontiguousarray(points).tobytes()).hexdigest()[:16]
