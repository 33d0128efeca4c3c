"""Gauss and Newton's method (Nocedal & Wright 2006, section 10.3)."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxnewton.solvers.common import finite, keep
from jaxnewton.solvers.squares import Squares, State, units_of
from jaxnewton.types import RUNNING, Array, Evaluation, Status


@dataclasses.dataclass(frozen=True)
class GaussNewton(Squares):
    """The pure iteration x - (J'J)^-1 J'r, which takes every finite step and ends as SINGULAR where J is.

    For small residuals and good starts; LevenbergMarquardt comes home from further away.

    Args:
        factor, gtol: as for LevenbergMarquardt.

    Raises:
        TypeError, ValueError: an argument is not of the form above.
    """

    factor: str = "qr"
    gtol: float | None = None

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        columns = self._columns(evaluation.H)
        ok = finite(evaluation, jnp.sum(columns))
        x, f, g, H, D = keep(ok, (x, *evaluation[:3], columns), (state.x, state.f, state.g, state.H, state.D))
        units = units_of(D)
        part = self._part(H, units, g)
        determined = self._determined(part.smallest, g.shape[0])
        step = jnp.where(determined, part.p / units, 0.0)
        found = jnp.where(ok & self._orthogonal(f, g, columns), Status.CONVERGED, RUNNING)
        lost = jnp.where(ok | jnp.isinf(state.f), found, Status.DIVERGED)
        return State(
            x=x, f=f, g=g, H=H, D=D,
            radius=state.radius,
            mu=state.mu,
            damping=state.damping,
            step=step,
            predicted=self._promise(H, units, g / units, jnp.where(determined, part.p, 0.0)),
            full=jnp.ones((), bool),
            curvature=state.curvature,
            if_stationary=jnp.full((), Status.CONVERGED, jnp.int32),
            status=jnp.where(determined, lost, Status.SINGULAR).astype(jnp.int32),
        )  # fmt: skip
