"""The host's side of a pool: place it, run it in segments, show progress, heed Ctrl-C, join what the devices found."""

from __future__ import annotations

import dataclasses
import functools
import signal
import threading
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnewton.placement import put
from jaxnewton.pool import DATA_SPECS, SPLIT, Data, Kept, Plan, Pool, best_first, empty_pool, run_inside, run_segment
from jaxnewton.problem import Problem
from jaxnewton.starts import Starts, split_rows
from jaxnewton.types import Array, Needs, Rules, Solver, is_traced, succeeded

SEGMENT_SECONDS = 0.25  # between two looks of the host; what it costs is one dispatch


def default_width(n: int, count: int, read: int = 0, held: int = 0, factored: bool = False) -> int:
    """Lanes a device, for n unknowns and ``count`` starts a device.

    Enough lanes to hide the cost of a kernel launch, few enough that what they work on stays in cache. On a CPU never
    so many that the last starts leave most of them idle: one lane that never ends then costs little beside the others.
    On a GPU idle lanes cost next to nothing. Measured on CPU (float64, 2 cores, n = 2, 4, 10: 512, 512, 64 lanes are
    best) and on one H100 (float64, n = 2, 4: 2**17 to 2**18, n = 10: 2**16, n = 30: 2**12 to 2**14; a million starts
    at n = 2 with 2**13, 2**15, 2**17, 2**18, 2**20 lanes: 188, 56, 23, 26, 29 ms).

    Args:
        read: entries of the largest argument that a lane has of its own, where these are worked on lanes last, and so
            are to stay in cache: with 25, J = QR (25 x 5) takes an H100 twice the time with 2**17 lanes as with 2**15,
            and a CPU with 256 as with 32.
        held: of the largest argument; what a problem makes of it for all lanes is to fit in memory.
        factored: whether a trip factorises a Jacobian, which is taken to have a row for each entry of ``read``.
    """
    if jax.default_backend() == "cpu":
        widest = min(2**13 // n**2, 512)
        if factored:
            widest = min(widest, 2**12 // max(n * read, 1))
        widest = max(widest, 32)
        return max(min(2 ** (widest.bit_length() - 1), count // 32), min(count, 16))
    cached = max(2**20 // max(read, 1), 2**10)
    widest = max(min(2**23 // n**2, 2**17, cached, 2**26 // max(held, 1)), 32)
    return min(2 ** (widest.bit_length() - 1), count)


def _largest(args: tuple[Any, ...]) -> int:
    return max((leaf.size for leaf in jax.tree.leaves(args)), default=0)


def _place(plan: Plan, device: Any, data: Data) -> tuple[Data, Pool]:
    """The data, and a pool, where the loop will want them: the first call compiles for what the later calls bring."""
    place = device
    if plan.mesh is not None:
        to_sharding = functools.partial(NamedSharding, plan.mesh)
        place = jax.tree.map(to_sharding, DATA_SPECS, is_leaf=lambda s: isinstance(s, PartitionSpec))
    data = put(data, place)
    return data, _empty_there(plan, data)


@functools.partial(jax.jit, static_argnums=0, keep_unused=True)
def _empty_there(plan: Plan, data: Data) -> Pool:
    """Made on the data's devices: what the host would send them takes a tenth of the time of solving."""
    _pace.cache_clear()  # traced where nothing is compiled yet: the first time, or after ``jax.clear_caches``
    pool = empty_pool(plan, data)
    return pool if plan.mesh is None else lax.with_sharding_constraint(pool, NamedSharding(plan.mesh, SPLIT))


@jax.jit
def _a_start(starts: Starts) -> Array:
    """Only for ``eval_shape``, which jit remembers."""
    return starts.make(jnp.int32(0))


@dataclasses.dataclass
class Pace:
    """What earlier runs of a pool have shown."""

    compiled: bool = False
    rounds: int = 1  # that a segment is made of


def _next_rounds(rounds: int, seconds: float) -> int:
    """Towards segments of ``SEGMENT_SECONDS``, after one that took so many."""
    factor = min(SEGMENT_SECONDS / max(seconds, 1e-6), 8.0)
    return min(max(int(rounds * factor), 1), 2**30)


@functools.lru_cache(maxsize=16)  # it keeps the plan's function alive
def _pace(plan: Plan, shapes: tuple[Any, ...]) -> Pace:
    """One for each compiled pool."""
    del plan, shapes
    return Pace()


class Report(NamedTuple):
    """What a run of the pool comes to."""

    kept: Kept  # every start in its order, or the best first
    tally: Array  # (statuses,)
    finished: int | None  # starts that ended; None when traced
    compile_seconds: float
    solve_seconds: float


def solve_pool(
    problem: Problem,
    solver: Solver,
    starts: Starts,
    args: tuple[Any, ...],
    axes: tuple[int | None, ...],
    rules: Rules,
    *,
    width: int | None,
    keep: int | None,
    devices: list[Any],
    watch: Any = None,
) -> Report:
    """Solve all starts. Ctrl-C ends after the segment.

    Args:
        width: lanes a device; None: measured, by the number of unknowns.
        watch: ``watch(finished, tally, best)`` is called between segments.
    """
    parts = min(len(devices), starts.count)
    size = -(-starts.count // parts)
    mesh = Mesh(devices[:parts], ("device",)) if parts > 1 else None
    shared = tuple(arg if axis is None else None for arg, axis in zip(args, axes, strict=True))
    rows = tuple(None if axis is None else arg for arg, axis in zip(args, axes, strict=True))
    if width is None:
        one = _a_start.eval_shape(starts)
        own = _largest(rows) // starts.count
        known = problem.lanes(own) if jax.default_backend() == "cpu" else None
        read = own if problem.rows_axis == -1 else 0
        held, factored = max(own, _largest(shared)), solver.needs is Needs.FACTOR
        width = known or default_width(problem.size(one), size, read, held, factored)
    plan = Plan(problem, solver, min(width, size), size, keep and min(keep, size), axes, mesh)
    counts: Any = np.clip(starts.count - size * np.arange(parts, dtype=np.int32), 0, size)
    rows = jax.tree.map(lambda leaf: split_rows(leaf, parts, size), rows)
    data = Data(starts.split(parts, size), shared, rows, counts, rules)

    if is_traced(data):
        data = jax.tree.map(_not_differentiable, data)
        pool = run_inside(plan, data, empty_pool(plan, data), jnp.int32(2**30))
        return Report(
            _joined(plan, pool.kept, min(keep or starts.count, starts.count)),
            jnp.sum(pool.tally, axis=0, dtype=jnp.int32),
            None,
            0.0,
            0.0,
        )

    began = time.perf_counter()
    data, pool = _place(plan, devices[0], data)
    pace = _pace(plan, tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(data)))
    if not pace.compiled:
        pool = run_segment(plan, data, pool, jnp.int32(0))  # runs nothing
        pace.compiled = True
    jax.block_until_ready(pool)
    compiled = time.perf_counter()
    with Interruption() as interruption:
        while True:
            segment = time.perf_counter()
            pool = run_segment(plan, data, pool, jnp.int32(pace.rounds))
            finished = int(np.sum(np.asarray(pool.tally)))
            spent = time.perf_counter() - segment
            if watch is not None:
                watch(finished, pool.tally, float(_best(pool.kept)))
            if finished == starts.count or interruption.asked:
                break
            pace.rounds = _next_rounds(pace.rounds, spent)  # the last segment may have done less than its rounds
    kept = _joined(plan, pool.kept, min(keep or starts.count, starts.count))
    if finished < starts.count:
        kept = jax.tree.map(lambda leaf: leaf[kept.start >= 0], kept)
    tally = jnp.asarray(np.sum(np.asarray(pool.tally), axis=0, dtype=np.int32))
    return Report(kept, tally, finished, compiled - began, time.perf_counter() - compiled)


@jax.custom_jvp
def _not_differentiable(leaf: Any) -> Any:
    return leaf


@_not_differentiable.defjvp
def _(primals: Any, tangents: Any) -> Any:
    raise TypeError("a batch cannot be differentiated; jax.vmap of jn.minimize or jn.root can, and solves the same")


@functools.partial(jax.jit, static_argnums=(0, 2))
def _joined(plan: Plan, kept: Kept, count: int) -> Kept:
    """The devices' outcomes as one list, with the starts' own numbers."""
    parts = kept.start.shape[0]
    offset = plan.size * jnp.arange(parts, dtype=jnp.int32)[:, None]
    kept = kept._replace(start=jnp.where(kept.start >= 0, kept.start + offset, -1))
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), kept)
    return jax.tree.map(lambda leaf: leaf[:count], flat) if plan.keep is None else best_first(flat, count)


@jax.jit
def _best(kept: Kept) -> Array:
    good = (kept.start >= 0) & succeeded(kept.outcome.status)
    return jnp.min(jnp.where(good, kept.outcome.fun, jnp.inf))


class Interruption:
    """Ctrl-C asked for, but heeded only between segments; a second one is not held back."""

    def __enter__(self) -> Interruption:
        self.asked = False
        self._ours = threading.current_thread() is threading.main_thread()
        if self._ours:
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._previous)

    def __exit__(self, *_: Any) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, self._previous)
