"""What every solver that accepts by the gain ratio shares."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnewton.types import RUNNING, Array, Evaluation, Move, SolverState, Status

FALLING = 0.75  # of the largest gradient component: less than so much of it is progress, though f does not show it


def finite(evaluation: Evaluation, norm: Array) -> Array:
    """True where everything that was evaluated is finite; ``norm``: of what stands in H, 0 where nothing does."""
    return jnp.isfinite(jnp.abs(evaluation.f) + jnp.sum(jnp.abs(evaluation.g)) + norm)


def rounding(state: SolverState) -> Array:
    """A decrease of f that its rounding, and that of x to the next floating-point number, can hide."""
    eps = jnp.finfo(state.x.dtype).eps
    return 10 * eps * (jnp.abs(state.f) + jnp.sum(jnp.abs(state.g) * _sizes(state.x, state.g)))


def _sizes(x: Array, like: Array) -> Array:
    """|x|, or the largest where a manifold's x has other entries than its tangents."""
    return jnp.abs(x) if x.shape == like.shape else jnp.max(jnp.abs(x))


def cancelled(state: SolverState) -> Array:
    """What the rounding of terms as large as x'Hx can hide, where a full step shows how large H is along it."""
    largest, length = jnp.max(jnp.abs(state.g)), jnp.max(jnp.abs(state.step))
    terms = largest * jnp.max(jnp.abs(state.x)) ** 2 / jnp.where(length > 0, length, 1.0)
    return 10 * jnp.finfo(terms.dtype).eps * terms


class Blank(NamedTuple):
    """What a state holds before anything is known. All () but ``vector``."""

    f: Array  # inf
    vector: Array  # (n,) zeros
    zero: Array
    no: Array  # bool
    unknown: Array  # nan


class Stepper:
    """A solver whose next trial is its state's ``step`` away from x."""

    def ask(self, state: Any, move: Move = jnp.add) -> Array:
        return move(state.x, state.step)

    def _blank_state(self, x0: Array, size: int | None) -> Blank:
        dtype = x0.dtype
        inf, nan = jnp.full((), jnp.inf, dtype), jnp.full((), jnp.nan, dtype)
        vector = jnp.zeros(x0.shape[0] if size is None else size, dtype)
        return Blank(inf, vector, jnp.zeros((), dtype), jnp.zeros((), bool), nan)


def immobile(x: Array, step: Array, ulps: float = 1.0) -> Array:
    """Whether x + step is x up to some ulps, in every component; near 0 down to eps^2 of the largest."""
    eps = jnp.finfo(step.dtype).eps
    size = _sizes(x, step)
    return jnp.all(jnp.abs(step) <= ulps * eps * jnp.maximum(size, eps * jnp.max(size)))


class Verdict(NamedTuple):
    """What a trial has shown."""

    accept: Array  # () bool
    rho: Array  # () decrease of f over predicted decrease
    kept: Array  # () bool: accepted, or rejected for what may be rounding: the model is not to blame


def judge(state: SolverState, trial: Evaluation, norm: Array) -> Verdict:
    """Accept or reject a trial; ``norm``: of its Hessian, 0 without one. The first of all is accepted if it is finite.

    rho = (f - f_new + d) / (predicted + d), with d what rounding of f can hide (Conn, Gould & Toint 2000, section
    17.4.2); without d, float32 stalls about four orders of |g| early. Where terms that cancel leave more rounding in f
    than |f| shows, the gradient decides: a full step that lowers it by a quarter is accepted, as Hager & Zhang (2005,
    equation 27) accept by slopes where values cannot tell. What cancels is taken to be as large as f has been of late,
    or as x'Hx, with H's part along the step.
    """
    eps = jnp.finfo(state.x.dtype).eps
    f = jnp.where(jnp.isinf(state.f), trial.f, state.f)  # the first: nothing to compare with
    d = 10 * eps * jnp.maximum(jnp.abs(f), jnp.abs(trial.f))
    gained = f - trial.f + d
    total = state.predicted + d
    total = jnp.where(total > 0, total, 1.0)

    hidden = d + trial.noise + cancelled(state)
    slopes = jnp.max(jnp.abs(trial.g)), jnp.max(jnp.abs(state.g))
    falling = slopes[0] <= FALLING * slopes[1]
    equal, little = trial.f == f, state.predicted <= hidden
    blind = state.full & ((little & (trial.f - f <= hidden)) | equal)
    same = (gained == 0) & (state.predicted == 0)

    gained = jnp.where((blind & falling) | same, jnp.maximum(gained, total), gained)
    # What is below rounding always seems to be gained: by steps to and fro across a minimum for ever.
    fro = ~state.full & (state.predicted <= d) & (slopes[0] >= slopes[1]) & (state.if_stationary != RUNNING)
    gained = jnp.where(fro, jnp.minimum(gained, 0.0), gained)
    ok = finite(trial, norm)
    rho = jnp.where(ok, gained, -jnp.inf) / total  # one array says it all, and is computed once
    accept = rho > 1e-4
    return Verdict(accept, rho, accept | (ok & state.full & ((state.predicted <= rounding(state)) | (equal & little))))


def resized(radius: Array, state: SolverState, found: Verdict) -> Array:
    """The trust region's next radius (Nocedal & Wright 2006, algorithm 4.1)."""
    grown = jnp.where((found.rho > 0.75) & ~state.full, 2.0 * radius, radius)
    length = jnp.sqrt(jnp.sum(state.step**2))
    return jnp.where(found.kept & (~found.accept | (found.rho > 0.25)), grown, 0.25 * length)


def to_boundary(s: Array, d: Array, radius: Array) -> Array:
    """The t >= 0 with ||s + t d|| = radius, for s within it, without cancellation; 0 where d is 0."""
    along, square = jnp.sum(s * d), jnp.sum(d * d)
    room = jnp.maximum(radius**2 - jnp.sum(s * s), 0.0)
    root = jnp.sqrt(along**2 + square * room)
    positive = along > 0
    forward = room / jnp.where(positive, along + root, 1.0)
    return jnp.where(positive, forward, (root - along) / jnp.where(square > 0, square, 1.0))


def keep(accept: Array, new: Any, old: Any) -> Any:
    """``new`` where accepted, else ``old``, for every leaf."""
    return jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, old)


def resolution(norm: Array, n: int) -> Array:
    """How near to zero an eigenvalue of a computed n x n Hessian of this norm counts as zero."""
    info = jnp.finfo(norm.dtype)
    return 10 * n * info.eps * norm + info.tiny


def verdict(lowest: Array, zero: Array) -> Array:
    """What a stationary point is, by the Hessian's smallest eigenvalue (or pivot) and the resolution of zero."""
    singular_or_saddle = jnp.where(lowest < -zero, jnp.int32(Status.SADDLE), jnp.int32(Status.SINGULAR))
    return jnp.where(lowest > zero, jnp.int32(Status.CONVERGED), singular_or_saddle)


def running() -> Array:
    """The status of a lane that goes on."""
    return jnp.full((), RUNNING, jnp.int32)
