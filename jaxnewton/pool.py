"""A pool of lanes of fixed width: a lane that ends writes its outcome and takes the next start, inside one loop.

The lane axis is last in everything the loop carries, so that a lane's scalars are vectors over lanes. With several
devices every device runs its own pool on its own block of starts under ``shard_map``; nothing is exchanged in the
loop. The host runs the loop in segments; see driver.py.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from jaxnewton.loop import Lane, advance, begin, next_trial, outcome, over_lanes
from jaxnewton.problem import Problem
from jaxnewton.types import RUNNING, Array, Outcome, Rules, Solver, Status, succeeded

TRIPS_A_ROUND = 32  # most trips without a refill, so that the host is not kept waiting by lanes that do not end
TRIPS_A_LOOK = {"cpu": 1}  # trips between two looks at how many lanes have ended
TRIPS_A_LOOK_ELSEWHERE = 4  # for a look a GPU waits for its host: 7 to 20 % of the time on one H100, n = 2 and 4


class Plan(NamedTuple):
    """What a pool is compiled for; hashable."""

    problem: Problem
    solver: Solver
    width: int  # lanes a device
    size: int  # starts a device, the last one's padding included
    keep: int | None  # outcomes kept a device; None: all
    axes: tuple[int | None, ...]  # per argument: 0 if it has a row for every start
    mesh: Mesh | None  # None: one device


class Data(NamedTuple):
    """What a pool reads, as one device sees it."""

    starts: Any  # Starts
    shared: tuple[Any, ...]  # arguments that all lanes share; None in the places of the others
    rows: tuple[Any, ...]  # arguments with a row a start; None in the places of the others
    starts_here: Array  # () int32: starts of this device
    rules: Rules


SPLIT, WHOLE = PartitionSpec("device"), PartitionSpec()
DATA_SPECS: Any = Data(*cast(Any, [SPLIT, WHOLE, SPLIT, SPLIT, WHOLE]))


class Kept(NamedTuple):
    """Outcomes, one a row, and which start each belongs to (-1: none yet)."""

    start: Array
    outcome: Outcome


class Pool(NamedTuple):
    """What the loop carries."""

    lanes: Lane  # lanes last
    rows: tuple[Any, ...]  # arguments of each lane, lanes where the problem wants them
    owner: Array  # (width,) int32: the start a lane works on; Plan.size: none
    upcoming: Array  # () int32: next start to hand out
    kept: Kept
    tally: Array  # (statuses,) int32: lanes that ended with each


@functools.partial(jax.jit, static_argnums=0)
def _shapes(plan: Plan, data: Data) -> tuple[Any, Outcome]:
    """Only for ``eval_shape``, which jit remembers: the lanes with their rows, and their outcomes."""
    none = jnp.zeros(plan.width, jnp.int32)
    data = _first_block(data)
    lanes, rows = _fresh(plan, data, over_lanes(data.starts.make)(none), none)
    return (lanes, rows), over_lanes(functools.partial(outcome, plan.problem))(lanes)


def empty_pool(plan: Plan, data: Data) -> Pool:
    """A pool of free lanes; the first refill hands them their starts."""
    (lanes, rows), outcomes = _shapes.eval_shape(plan, data)
    parts = data.starts_here.shape[0]
    places = plan.size if plan.keep is None else plan.keep

    def zeros(leaf: Any) -> Any:
        return jnp.zeros((parts, *leaf.shape), leaf.dtype)

    def no_rows(leaf: Any) -> Any:
        return jnp.zeros((parts, places, *leaf.shape[:-1]), leaf.dtype)

    return Pool(
        lanes=jax.tree.map(zeros, lanes),
        rows=jax.tree.map(zeros, rows),
        owner=jnp.full((parts, plan.width), plan.size, jnp.int32),
        upcoming=jnp.zeros(parts, jnp.int32),
        kept=Kept(jnp.full((parts, places), -1, jnp.int32), jax.tree.map(no_rows, outcomes)),
        tally=jnp.zeros((parts, len(Status)), jnp.int32),
    )


def run_rounds(plan: Plan, data: Data, pool: Pool, limit: Array) -> Pool:
    """Rounds of some trips and a refill, until all starts have ended or ``limit`` rounds are done."""

    def one_trial(lane: Lane, args: tuple[Any, ...]) -> Array:
        """A lane that has ended stays where it is: evaluated again at x, it does not change."""
        return jnp.where(lane.status == RUNNING, next_trial(plan.solver, plan.problem, lane, args), lane.state.x)

    def one_trip(lanes: Lane, shared: tuple[Any, ...], rows: tuple[Any, ...]) -> Lane:
        args = tuple(s if axis is None else r for s, r, axis in zip(shared, rows, plan.axes, strict=True))

        axes = tuple(axis if axis is None else plan.problem.rows_axis for axis in plan.axes)
        trials = over_lanes(one_trial, -1, axes)(lanes, args)
        evaluations = plan.problem.evaluate_lanes(trials, args, axes, plan.solver.needs)
        judge = over_lanes(lambda lane, x, evaluation: advance(plan.solver, lane, x, evaluation, data.rules))
        return judge(lanes, trials, evaluations)

    shared = plan.problem.hold(data.shared)
    trips_a_look = TRIPS_A_LOOK.get(jax.default_backend(), TRIPS_A_LOOK_ELSEWHERE)

    def one_round(carry: tuple[Pool, Array]) -> tuple[Pool, Array]:
        pool, done = carry
        most = jnp.where(pool.upcoming < data.starts_here, max(plan.width // plan.problem.patience, 1), plan.width)

        def working(carry: tuple[Lane, Array]) -> Array:
            lanes, trips = carry
            ended = jnp.sum(lanes.status != RUNNING, dtype=jnp.int32)
            return (ended < most) & (trips < TRIPS_A_ROUND)

        def some_trips(carry: tuple[Lane, Array]) -> tuple[Lane, Array]:
            lanes, trips = carry
            if trips_a_look == 1:  # a loop of one is not free
                return one_trip(lanes, shared, pool.rows), trips + 1
            lanes = lax.fori_loop(0, trips_a_look, lambda _, lanes: one_trip(lanes, shared, pool.rows), lanes)
            return lanes, trips + trips_a_look

        lanes, _ = lax.while_loop(working, some_trips, (pool.lanes, jnp.zeros((), jnp.int32)))
        return refill(plan, data, pool._replace(lanes=lanes)), done + 1

    def unfinished(carry: tuple[Pool, Array]) -> Array:
        pool, done = carry
        return (jnp.any(pool.owner < plan.size) | (pool.upcoming < data.starts_here)) & (done < limit)

    return lax.while_loop(unfinished, one_round, (pool, jnp.zeros((), jnp.int32)))[0]


def refill(plan: Plan, data: Data, pool: Pool) -> Pool:
    """Record the lanes that have ended, and hand the free ones the next starts."""
    free = pool.lanes.status != RUNNING
    ended = free & (pool.owner < plan.size)
    statuses = jnp.arange(len(Status), dtype=jnp.int32)[:, None]
    counted = (pool.lanes.status[None] == statuses) & ended[None]
    tally = pool.tally + jnp.sum(counted, axis=1, dtype=jnp.int32)
    # The next few starts are made in one block, and each free lane, in turn, takes its own from there.
    block = -(-plan.width // plan.problem.patience)
    place = jnp.cumsum(free, dtype=jnp.int32) - 1
    handed = free & (place < jnp.minimum(block, data.starts_here - pool.upcoming))
    made = over_lanes(data.starts.make)(pool.upcoming + jnp.arange(block, dtype=jnp.int32))
    turn = pool.upcoming + place
    fresh = _fresh(plan, data, made[:, jnp.minimum(place, block - 1)], turn)
    lanes = jax.tree.map(lambda new, old: jnp.where(handed, new, old), fresh[0], pool.lanes)
    choose = jax.vmap(jnp.where, (0, plan.problem.rows_axis, plan.problem.rows_axis), plan.problem.rows_axis)
    rows = jax.tree.map(lambda new, old: choose(handed, new, old), fresh[1], pool.rows)
    owner = jnp.where(free, jnp.where(handed, turn, plan.size), pool.owner)
    upcoming = pool.upcoming + jnp.sum(handed, dtype=jnp.int32)
    return Pool(lanes, rows, owner, upcoming, _record(plan, pool, ended), tally)


def _fresh(plan: Plan, data: Data, x0: Array, index: Array) -> tuple[Lane, tuple[Any, ...]]:
    """Fresh lanes at the starts x0 (n, width), and the rows of the arguments that belong to them."""

    def one(x0: Array, i: Array) -> tuple[Lane, tuple[Any, ...]]:
        rows = jax.tree.map(lambda leaf: leaf[i], data.rows)
        return begin(plan.solver, plan.problem, x0), plan.problem.hold(rows)

    own = jax.vmap(one, -1, (-1, plan.problem.rows_axis))
    return own(x0, jnp.minimum(index, plan.size - 1))


def _record(plan: Plan, pool: Pool, ended: Array) -> Kept:
    rows = jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf, -1, 0), over_lanes(functools.partial(outcome, plan.problem))(pool.lanes)
    )
    if plan.keep is None:
        place = jnp.where(ended, pool.owner, plan.size)
        new = Kept(pool.owner, rows)
        return jax.tree.map(lambda kept, row: kept.at[place].set(row, mode="drop"), pool.kept, new)
    new = Kept(jnp.where(ended, pool.owner, -1), rows)
    both = jax.tree.map(lambda kept, row: jnp.concatenate([kept, row]), pool.kept, new)
    return best_first(both, plan.keep)


def best_first(kept: Kept, count: int) -> Kept:
    """The ``count`` best: successes before others, then the lowest objective, then the earliest start."""
    empty = kept.start < 0
    rank = jnp.where(empty, 2, jnp.where(succeeded(kept.outcome.status), 0, 1)).astype(jnp.int32)
    fun = jnp.where(jnp.isnan(kept.outcome.fun), jnp.inf, kept.outcome.fun)
    place = jnp.arange(rank.shape[0], dtype=jnp.int32)
    *_, order = lax.sort((rank, fun, kept.start, place), num_keys=3)
    return jax.tree.map(lambda leaf: leaf[order[:count]], kept)


def _first_block(data: Data) -> Data:
    return data._replace(starts=_first(data.starts), rows=_first(data.rows), starts_here=data.starts_here[0])


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _segment(plan: Plan, data: Data, pool: Pool, limit: Array) -> Pool:
    """``run_rounds`` on every device; the devices' blocks are stacked on a leading axis of everything."""

    def block(data: Data, pool: Pool, limit: Array) -> Pool:
        return jax.tree.map(lambda leaf: leaf[None], run_rounds(plan, _first_block(data), _first(pool), limit))

    if plan.mesh is None:
        return block(data, pool, limit)
    specs = (DATA_SPECS, SPLIT, WHOLE)
    return jax.shard_map(block, mesh=plan.mesh, in_specs=specs, out_specs=SPLIT, check_vma=False)(data, pool, limit)


run_segment = jax.jit(_segment, static_argnums=0, donate_argnums=2)
run_inside = jax.jit(_segment, static_argnums=0)  # of a trace, where nothing can be donated
