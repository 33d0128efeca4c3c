"""One lane: ask, evaluate, tell; the stopping rule that every solver shares; the while_loop for one start."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton.problem import Moves, Problem
from jaxnewton.solvers.common import FALLING, immobile, rounding
from jaxnewton.types import RUNNING, Array, Evaluation, History, Needs, Outcome, Rules, Solver, Status, Told

QUIET_TRIPS = {
    Needs.HESSIAN: 4,
    Needs.FACTOR: 4,
    Needs.PRODUCT: 8,
    Needs.CURVATURE: 16,
    Needs.GRADIENT: 16,
}  # full steps in a row whose predicted decrease is rounding noise, before a lane is at its floor
FADING_TRIPS = 16  # with a gradient within tol and steps that do not shrink with it, before x is said to run away
SHRINKING = 0.9  # of the last step, or less: x comes to a limit
CUTS = 52  # in a row, each to a half at most, after which no step is short enough; or that swing to and fro
FORGET = 0.7  # a trip's weight in what f has been of late (Hager & Zhang 2005, section 4)


class Lane(NamedTuple):
    """One start on its way. The status is judged after every trip."""

    state: Any  # the solver's
    status: Array  # () int32
    nit: Array  # () int32: trips so far, each one evaluation
    quiet: Array  # () int32: trips in a row at the noise floor
    cuts: Array  # () int32: trips in a row that change nothing and cut the step short
    fading: Array  # () int32: trips in a row with a small gradient, but steps that do not shrink with it
    size: Array  # () of f of late
    scale: Array  # () what tol is relative to: min(1, largest gradient component at the start)
    far: Array  # () |x| beyond which a lane has diverged
    low: Array  # () f below which a lane has diverged


def begin(solver: Solver, problem: Problem, x0: Array) -> Lane:
    """A fresh lane: nothing is evaluated yet; x0 is its first trial."""
    one, zero = jnp.ones((), x0.dtype), jnp.zeros((), jnp.int32)
    far = jnp.maximum(one, jnp.max(jnp.abs(x0))) / jnp.finfo(x0.dtype).eps ** 2
    state = solver.init(x0, problem.size(x0))
    return Lane(state, jnp.full((), RUNNING, jnp.int32), zero, zero, zero, zero, jnp.zeros_like(one), one, far, -one)


class _Largest(NamedTuple):
    """Absolute components of a solver's state."""

    slope: Array  # () of g
    x: Array
    step: Array


def _largest(state: Any) -> _Largest:
    return _Largest(*(jnp.max(jnp.abs(v)) for v in (state.g, state.x, state.step)))


def advance(solver: Solver, lane: Lane, trial: Array, evaluation: Evaluation, rules: Rules) -> Lane:
    """Tell the solver what was found at its trial, and judge the lane."""
    eps = jnp.finfo(trial.dtype).eps
    state = solver.tell(lane.state, trial, cast(Evaluation, Told(*evaluation, 10 * eps * lane.size)))
    old, new = _largest(lane.state), _largest(state)
    first, started = lane.nit == 0, jnp.isfinite(state.f)  # started: the start itself was finite
    scale = jnp.where(first & started, jnp.minimum(1.0, new.slope), lane.scale)
    low = jnp.where(first & started, -jnp.maximum(1.0, jnp.abs(state.f)) / eps**2, lane.low)
    same = state.f == lane.state.f
    size = jnp.maximum(jnp.where(started, jnp.abs(state.f), 0.0), jnp.where(same, 1.0, FORGET) * lane.size)
    refused = same & (new.slope == old.slope)

    within = new.slope <= rules.tol * scale
    small = within & (_still(old, new, first, rules) | (state.if_stationary != Status.CONVERGED))
    homing = new.step <= SHRINKING * old.step  # as towards the minimum of (x - 1)**8, where g vanishes long before
    fading = jnp.where(started & within & ~small, lane.fading + jnp.where(refused | homing, 0, 1), 0)
    quiet, cuts = _idle(solver, lane, state, old, new, refused)
    blocked = (cuts >= CUTS) | ((cuts > 0) & (new.step == 0))
    if solver.needs is Needs.FACTOR:  # its radius does not shrink at every refusal
        blocked |= same & ~state.full & immobile(state.x, state.step)
    noisy = (quiet >= QUIET_TRIPS[solver.needs]) & (new.slope > FALLING * old.slope) & (fading == 0)

    floor = jnp.where(state.if_stationary == Status.CONVERGED, jnp.int32(Status.NOISE_FLOOR), state.if_stationary)
    end = jnp.int32(Status.LINE_SEARCH_FAILED)
    if solver.needs not in (Needs.HESSIAN, Needs.FACTOR):  # a poor model of the curvature is no evidence of a minimum
        flat = new.slope <= jnp.sqrt(eps) * jnp.maximum(jnp.abs(state.f), scale)
        floor = end = jnp.where(flat, floor, end)
    nit = lane.nit + jnp.where(lane.status == RUNNING, 1, 0).astype(jnp.int32)
    status = jnp.full((), RUNNING, jnp.int32)
    for happened, verdict in (  # a later line outweighs an earlier one, unless its verdict is to go on
        (nit >= rules.max_steps, Status.MAX_STEPS),
        (started & blocked, end),
        ((new.x > lane.far) | (jnp.minimum(state.f, evaluation.f) < low), Status.DIVERGED),
        (noisy, floor),
        (fading >= FADING_TRIPS, Status.DIVERGED),
        (state.status != RUNNING, state.status),
        (small, jnp.where(lane.quiet >= QUIET_TRIPS[solver.needs] // 2, floor, state.if_stationary)),
        (first & ~started, Status.NONFINITE),
        (lane.status != RUNNING, lane.status),
    ):
        verdict = jnp.asarray(verdict, jnp.int32)
        status = jnp.where(happened & (verdict != RUNNING), verdict, status)
    quiet, cuts, fading = (count.astype(jnp.int32) for count in (quiet, cuts, fading))
    return Lane(state, status, nit, quiet, cuts, fading, size, scale, lane.far, low)


def _still(old: _Largest, new: _Largest, first: Array, rules: Rules) -> Array:
    """Whether x comes to rest: where g vanishes only at infinity (exp(-x), separable data), steps do not shrink."""
    short = jnp.sqrt(rules.tol)
    shrinking = first | (new.step <= SHRINKING * old.step)
    moving = (new.step > 0) | (new.slope == 0)  # a step may be 0 for want of range
    return moving & ((new.step <= short * new.x) | ((new.step <= short) & shrinking))


def _idle(solver: Solver, lane: Lane, state: Any, old: _Largest, new: _Largest, refused: Array) -> tuple[Array, Array]:
    """``quiet`` and ``cuts`` after a trip; refused: it has changed nothing."""
    again = refused & (new.step == old.step)  # for what the solver takes for rounding, or it would have cut the step
    blind = state.full & ((state.predicted <= rounding(state)) | again)
    shorter = new.step < old.step
    if solver.needs is Needs.HESSIAN:  # damping may swing to and fro; a line search may widen for long
        shorter |= new.x == old.x
    return jnp.where(blind, lane.quiet + 1, 0), jnp.where(refused & ~state.full & shorter, lane.cuts + 1, 0)


def next_trial(solver: Solver, problem: Problem, lane: Lane, args: tuple[Any, ...]) -> Array:
    """Where to evaluate next."""
    return solver.ask(lane.state, Moves(problem, args))


def outcome(problem: Problem, lane: Lane) -> Outcome:
    """What the lane has come to."""
    s = lane.state
    return Outcome(s.x, s.f, s.g, lane.status, lane.nit, s.curvature, s.H if problem.keeps else None)


def solve(
    problem: Problem, solver: Solver, recorded: int, x0: Array, args: tuple[Any, ...], rules: Rules
) -> tuple[Outcome, History | None]:
    """Run one start to its end inside one while_loop; ``recorded``: trips the history has room for, 0 for none."""

    def trip(carry: tuple[Lane, History | None]) -> tuple[Lane, History | None]:
        lane, history = carry
        trial = next_trial(solver, problem, lane, args)
        new = advance(solver, lane, trial, problem.evaluate(trial, args, solver.needs), rules)
        return new, history and _record(history, lane, trial, new)

    first = begin(solver, problem, x0)
    carry = (first, _blank_history(recorded, first) if recorded else None)
    lane, history = lax.while_loop(lambda carry: carry[0].status == RUNNING, trip, carry)
    return outcome(problem, lane), history


def _blank_history(trips: int, lane: Lane) -> History:
    nan = jnp.full(trips, jnp.nan, lane.state.f.dtype)
    return History(nan, nan, nan, jnp.zeros(trips, bool))


def _record(history: History, old: Lane, trial: Array, new: Lane) -> History:
    state = new.state
    accepted = jnp.isfinite(state.f) & jnp.all(state.x == trial)
    length = jnp.sqrt(jnp.sum((state.x - old.state.x) ** 2))
    entry = History(state.f, jnp.max(jnp.abs(state.g)), length, accepted)
    return History(*(all_of.at[old.nit].set(one) for all_of, one in zip(history, entry, strict=True)))


def over_lanes(fn: Any, *in_axes: int | Any | None) -> Any:
    """vmap with the lane axis last: small matrices become elementwise work over lanes."""
    return jax.vmap(fn, in_axes=in_axes or -1, out_axes=-1)
