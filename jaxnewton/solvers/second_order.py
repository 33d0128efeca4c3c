"""What the solvers that see the Hessian share: their state, and how a trial enters it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxnewton import linalg
from jaxnewton.solvers.common import Stepper, Verdict, keep, running
from jaxnewton.types import Array, Evaluation, Needs

RELAX, TIGHTEN, SMALLEST = 0.25, 8.0, 1e-14  # of the damping, which is relative to the norm of H
FIRST = 1e-3  # most that damping begins with


class State(NamedTuple):
    """One lane."""

    # changed when a trial is accepted
    x: Array  # (n,) last accepted point
    f: Array  # () inf before the first
    g: Array  # (n,)
    H: Array  # (n, n)
    norm: Array  # () of H: an upper bound of its largest |eigenvalue|
    # changed every trip
    control: Array  # () what bounds the step: the trust region's radius, Newton's damping
    step: Array  # (n,) from x to the next trial
    predicted: Array  # () decrease of the model along step
    full: Array  # () bool: step is the minimiser of the model, not cut short
    curvature: Array  # () smallest eigenvalue of H, or nan
    if_stationary: Array  # () int32
    status: Array  # () int32


class SecondOrder(Stepper):
    """A solver whose ``tell`` makes the next step from f, g and H."""

    needs = Needs.HESSIAN

    def init(self, x0: Array, size: int | None = None) -> State:
        inf, zeros, zero, no, nan = self._blank_state(x0, size)
        H = jnp.zeros((zeros.shape[0], zeros.shape[0]), x0.dtype)
        return State(x0, inf, zeros, H, zero, zero, zeros, zero, no, nan, running(), running())


def receive(
    accept: Array, state: State, x: Array, trial: Evaluation, norm: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """x, f, g, H and its norm: the trial's where it is accepted, else the state's."""
    return keep(accept, (x, *trial, norm), (state.x, state.f, state.g, state.H, state.norm))


def redamped(state: State, found: Verdict, trial: Evaluation, pull: Array) -> Array:
    """The damping after a trial; ``pull``: the damping that shortens the last step by a factor."""
    accept, rho, kept = found
    damping = jnp.where(accept & (rho > 0.75), RELAX * state.control, state.control)
    damping = jnp.where(damping < SMALLEST, 0.0, damping)
    raised = jnp.maximum(TIGHTEN * state.control, jnp.clip(pull, SMALLEST, FIRST))
    damping = jnp.where(kept & (~accept | (rho >= 0.25)), damping, raised)
    # Near a minimum nothing is left to guard; and only undamped, H tells what x is.
    arriving = jnp.max(jnp.abs(trial.g)) <= 0.1 * jnp.max(jnp.abs(state.g))
    return jnp.where(jnp.isinf(state.f) | (accept & arriving), 0.0, damping)


def modified_solve(H: Array, shift: Array, b: Array, zero: Array) -> tuple[Array, Array, Array]:
    """x = (H + E)^-1 b, the smallest pivot of H + shift I, and x'Ex; E = shift I where that is positive definite."""
    n = b.shape[0]
    if linalg.unrolls(linalg.UNROLL_LDL, n):
        x, smallest, added = linalg.ldl_solve(H + shift * jnp.eye(n, dtype=H.dtype), b, zero)
        return x, smallest, added + shift * jnp.sum(x * x)
    return _solve_with_first_definite(H, shift, b, zero)


def _solve_with_first_definite(H: Array, shift: Array, b: Array, zero: Array) -> tuple[Array, Array, Array]:
    """Cholesky at four shifts at once, the last of which cannot fail; the smallest that succeeds counts."""
    n = b.shape[0]
    off_diagonal = jnp.sum(jnp.abs(H), axis=1) - jnp.abs(jnp.diagonal(H))
    safe = jnp.maximum(-jnp.min(jnp.diagonal(H) - off_diagonal), 0.0) + 2 * zero  # Gershgorin
    shifts = jnp.stack([shift, shift + 2 * zero, shift + 0.1 * safe, shift + safe])
    L = jax.vmap(linalg.cholesky)(H[None] + shifts[:, None, None] * jnp.eye(n, dtype=H.dtype)[None])
    definite = jnp.all(jnp.isfinite(L), axis=(1, 2))
    chosen = jnp.argmax(definite)
    step = linalg.cholesky_solve(L[chosen], b)
    negative = jnp.where(definite[1], 0.0, -linalg.max_norm(H))  # a shift of rounding's size tells singular from both
    smallest = jnp.where(definite[0], jnp.min(jnp.diagonal(L[0])) ** 2, negative)
    return step, smallest, shifts[chosen] * jnp.sum(step * step)
