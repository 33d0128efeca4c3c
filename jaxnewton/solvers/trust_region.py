"""Trust region with the exact subproblem (Nocedal & Wright 2006, algorithms 4.1 and 4.3; More & Sorensen 1983)."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxnewton import checks, linalg
from jaxnewton.secular import minimise_over_ball
from jaxnewton.solvers.common import judge, resized, resolution, verdict
from jaxnewton.solvers.second_order import SecondOrder, State, receive
from jaxnewton.types import RUNNING, Array, Evaluation, Status


@dataclasses.dataclass(frozen=True)
class TrustRegion(SecondOrder):
    """Minimise by steps that are exact minimisers of the quadratic model over a ball, the hard case included.

    Needs the Hessian; one evaluation and one tridiagonalisation (n <= 5 on CPU) or eigendecomposition a trip. Leaves
    saddle points along the negative curvature it finds there (but for a start that is exactly one, which ends as
    SADDLE), and reports the smallest Hessian eigenvalue of every lane. Good from n = 1 to about 100.

    Args:
        initial_radius: first radius as a multiple of ||g|| / ||H|| at the start.

    Raises:
        TypeError, ValueError: initial_radius is not a positive finite number.
    """

    initial_radius: float = 10.0

    def __post_init__(self) -> None:
        radius = checks.positive_number("initial_radius", self.initial_radius, fixed=True)
        object.__setattr__(self, "initial_radius", radius)

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        first = jnp.isinf(state.f)
        trial_norm = linalg.max_norm(evaluation.H)
        found = judge(state, evaluation, trial_norm)
        x, f, g, H, norm = receive(found.accept, state, x, evaluation, trial_norm)

        radius = resized(state.control, state, found)
        widest = jnp.maximum(jnp.sqrt(jnp.sum(g * g)) / jnp.where(norm > 0, norm, 1.0), jnp.finfo(f.dtype).tiny)
        radius = jnp.where(first, self.initial_radius * widest, radius)

        zero = resolution(norm, g.shape[0])
        ball = minimise_over_ball(H, g, radius, zero, roughly=True)
        met = verdict(ball.lowest, zero)
        escaping = (met == Status.SADDLE) & (ball.predicted > 0)
        return State(
            x=x, f=f, g=g, H=H, norm=norm,
            control=radius,
            step=ball.step,
            predicted=ball.predicted,
            full=ball.interior,
            curvature=ball.lowest,
            if_stationary=jnp.where(escaping, RUNNING, met).astype(jnp.int32),
            status=state.status,
        )  # fmt: skip
