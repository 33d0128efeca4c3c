"""Newton's method, pure and damped (Nocedal & Wright 2006, section 3.4; Levenberg 1944, Goldfeld et al. 1966)."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxnewton import linalg
from jaxnewton.solvers.common import finite, judge, resolution, verdict
from jaxnewton.solvers.second_order import SecondOrder, State, modified_solve, receive, redamped
from jaxnewton.types import RUNNING, Array, Evaluation, Status


@dataclasses.dataclass(frozen=True)
class Newton(SecondOrder):
    """Newton's method: one factorisation of H + mu I a trip, LDL' unrolled over lanes for small n, Cholesky above.

    Args:
        damped: True: mu is raised when a trial is worse than the model promised and lowered to 0 when it is not; where
            H + mu I is not positive definite it is modified until it is. A descent method; a stationary point that is
            not a minimum is reported as SADDLE or SINGULAR. False: the pure iteration x - H^-1 g, which accepts every
            finite trial, converges to any kind of stationary point, and ends as SINGULAR where H is.
    """

    damped: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.damped, bool):
            raise ValueError(f"damped must be True or False; it is {self.damped!r}")

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        return (self._tell_damped if self.damped else self._tell_pure)(state, x, evaluation)

    def _tell_damped(self, state: State, x: Array, evaluation: Evaluation) -> State:
        trial_norm = linalg.max_norm(evaluation.H)
        found = judge(state, evaluation, trial_norm)
        x, f, g, H, norm = receive(found.accept, state, x, evaluation, trial_norm)
        steepest, longest = jnp.max(jnp.abs(state.g)), jnp.max(jnp.abs(state.step))
        pull = steepest / (jnp.where(longest > 0, longest, 1.0) * (state.norm + steepest))
        damping = redamped(state, found, evaluation, pull)

        zero = resolution(norm, g.shape[0])
        scale = norm + jnp.max(jnp.abs(g))  # not 0 where H is
        step, smallest, added = modified_solve(H, damping * scale, -g, zero)
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
