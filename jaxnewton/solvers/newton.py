"""Newton's method, pure and damped (Nocedal & Wright 2006, section 3.4; Levenberg 1944, Goldfeld et al. 1966)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxnewton import checks, linalg
from jaxnewton.solvers.common import Verdict, finite, judge, resolution, verdict
from jaxnewton.solvers.second_order import SecondOrder, State, receive
from jaxnewton.types import RUNNING, Array, Evaluation, Status

RELAX, TIGHTEN, SMALLEST = 0.25, 8.0, 1e-14  # of the damping, which is relative to the norm of H
FIRST = 1e-3  # most that damping begins with
REACH = 100.0  # times max(1, |x|): about as far as a step goes along what H has no positive curvature for


@dataclasses.dataclass(frozen=True)
class Newton(SecondOrder):
    """Newton's method: one factorisation of H + mu I a trip, LDL' unrolled over lanes for small n, Cholesky above.

    Args:
        damped: True: mu is raised when a trial is worse than the model promised and lowered to 0 when it is not; where
            H + mu I is not positive definite it is modified until it is, so that steps go about 100 max(1, |x|) at most
            along what was modified. A descent method; a stationary point that is not a minimum is reported as SADDLE or
            SINGULAR. False: the pure iteration x - H^-1 g, which accepts every finite trial, converges to any kind of
            stationary point, and ends as SINGULAR where H is.

    Raises:
        TypeError: damped is neither.
    """

    damped: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "damped", checks.flag("damped", self.damped))

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        return (self._tell_damped if self.damped else self._tell_pure)(state, x, evaluation)

    def _tell_damped(self, state: State, x: Array, evaluation: Evaluation) -> State:
        trial_norm = linalg.max_norm(evaluation.H)
        found = judge(state, evaluation, trial_norm)
        x, f, g, H, norm = receive(found.accept, state, x, evaluation, trial_norm)
        steepest, longest = jnp.max(jnp.abs(state.g)), jnp.max(jnp.abs(state.step))
        pull = steepest / (jnp.where(longest > 0, longest, 1.0) * (state.norm + steepest))
        damping = _redamped(state, found, evaluation, pull)

        zero = resolution(norm, g.shape[0])
        scale = norm + jnp.max(jnp.abs(g))  # not 0 where H is
        reach = REACH * jnp.maximum(1.0, jnp.max(jnp.abs(x)))
        step, smallest, added = _modified_solve(H, damping * scale, -g, zero, reach)
        predicted = 0.5 * (added - jnp.sum(g * step))  # -(g's + s'Hs/2), since (H + E) s = -g
        met = verdict(smallest, zero)
        return State(
            x=x, f=f, g=g, H=H, norm=norm,
            control=damping,
            step=step,
            predicted=jnp.maximum(predicted, 0.0),
            full=(damping == 0) & (smallest > zero),
            curvature=state.curvature,
            if_stationary=jnp.where((damping == 0) | (met == Status.SADDLE), met, RUNNING).astype(jnp.int32),
            status=state.status,
        )  # fmt: skip

    def _tell_pure(self, state: State, x: Array, evaluation: Evaluation) -> State:
        trial_norm = linalg.max_norm(evaluation.H)
        ok = finite(evaluation, trial_norm)
        x, f, g, H, norm = receive(ok, state, x, evaluation, trial_norm)
        zero = resolution(norm, g.shape[0])
        lam, V = linalg.eigh(H)  # H may be indefinite: LDL' without pivoting would not do
        singular = jnp.min(jnp.abs(lam)) <= zero
        along = jnp.sum(V * g[:, None], axis=0) / jnp.where(singular, 1.0, lam)
        step = jnp.where(singular, 0.0, -jnp.sum(V * along[None, :], axis=1))
        met = jnp.where(singular, jnp.int32(Status.SINGULAR), verdict(lam[0], zero))
        lost = jnp.where(singular, Status.SINGULAR, jnp.where(ok, RUNNING, Status.DIVERGED))
        return State(
            x=x, f=f, g=g, H=H, norm=norm,
            control=state.control,
            step=step,
            predicted=jnp.abs(0.5 * jnp.sum(g * step)),
            full=jnp.ones((), bool),
            curvature=lam[0],
            if_stationary=met.astype(jnp.int32),
            status=lost.astype(jnp.int32),
        )  # fmt: skip


def _redamped(state: State, found: Verdict, trial: Evaluation, pull: Array) -> Array:
    """The damping after a trial; ``pull``: the damping that shortens the last step by a factor."""
    accept, rho, kept = found
    damping = jnp.where(accept & (rho > 0.75), RELAX * state.control, state.control)
    damping = jnp.where(damping < SMALLEST, 0.0, damping)
    raised = jnp.maximum(TIGHTEN * state.control, jnp.clip(pull, SMALLEST, FIRST))
    damping = jnp.where(kept & (~accept | (rho >= 0.25)), damping, raised)
    # Near a minimum nothing is left to guard; and only undamped, H tells what x is.
    arriving = jnp.max(jnp.abs(trial.g)) <= 0.1 * jnp.max(jnp.abs(state.g))
    return jnp.where(jnp.isinf(state.f) | (accept & arriving), 0.0, damping)


def _modified_solve(H: Array, shift: Array, b: Array, zero: Array, reach: Array) -> tuple[Array, Array, Array]:
    """x = (H + E)^-1 b, the smallest pivot of H + shift I, and x'Ex; E = shift I where that is positive definite.

    For larger n a pivot below 0 stands for all such: it is minus the norm of H.
    """
    n = b.shape[0]
    if linalg.unrolls(linalg.UNROLL_LDL, n):
        x, smallest, added = linalg.ldl_solve(H + shift * jnp.eye(n, dtype=H.dtype), b, zero, reach)
        return x, smallest, added + shift * jnp.sum(x * x)
    return _solve_with_first_definite(H, shift, b, zero, jnp.maximum(2 * zero, jnp.max(jnp.abs(b)) / reach))


def _solve_with_first_definite(
    H: Array, shift: Array, b: Array, zero: Array, little: Array
) -> tuple[Array, Array, Array]:
    """Cholesky at four shifts at once, the last of which cannot fail; the smallest that succeeds counts.

    And at a fifth, of rounding's size, which tells singular from indefinite.
    """
    n = b.shape[0]
    off_diagonal = jnp.sum(jnp.abs(H), axis=1) - jnp.abs(jnp.diagonal(H))
    safe = jnp.maximum(-jnp.min(jnp.diagonal(H) - off_diagonal), 0.0) + little  # Gershgorin
    shifts = jnp.stack([shift, shift + little, shift + 0.1 * safe, shift + safe, shift + 2 * zero])
    L = jax.vmap(linalg.cholesky)(H[None] + shifts[:, None, None] * jnp.eye(n, dtype=H.dtype)[None])
    smallest = jnp.min(jnp.diagonal(L, axis1=1, axis2=2), axis=1) ** 2
    definite = jnp.all(jnp.isfinite(L), axis=(1, 2))
    none = jnp.zeros_like(zero)
    chosen = jnp.argmax(definite[:4] & (smallest[:4] > jnp.stack([zero, 0.1 * little, none, none])))
    step = linalg.cholesky_solve(L[chosen], b)
    lowest = jnp.where(definite[4], 0.0, -linalg.max_norm(H))
    return step, jnp.where(definite[0], smallest[0], lowest), shifts[chosen] * jnp.sum(step * step)
