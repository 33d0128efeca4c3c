"""Trust region with the exact subproblem (Nocedal & Wright 2006, algorithms 4.1 and 4.3; More & Sorensen 1983)."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from jaxnewton import linalg
from jaxnewton.solvers.common import judge, keep, resolution, running, verdict
from jaxnewton.sphere import minimise_over_ball
from jaxnewton.types import RUNNING, Array, Evaluation, Move, Needs, Status

ROUGHLY = 3  # secular steps: as many trips as with 6 on ten test problems, and faster; a step too long is cut back


class State(NamedTuple):
    """One lane."""

    # changed when a trial is accepted
    x: Array  # (n,) last accepted point
    f: Array  # () inf before the first
    g: Array  # (n,)
    H: Array  # (n, n)
    norm: Array  # () of H: an upper bound of its largest |eigenvalue|
    # changed every trip
    radius: Array  # ()
    step: Array  # (n,) from x to the next trial
    predicted: Array  # () decrease of the model along step
    full: Array  # () bool: an interior step
    curvature: Array  # () smallest eigenvalue of H
    if_stationary: Array  # () int32
    status: Array  # () int32


@dataclasses.dataclass(frozen=True)
class TrustRegion:
    """Minimise by steps that are exact minimisers of the quadratic model over a ball, the hard case included.

    Needs the Hessian; one evaluation and one tridiagonalisation (n <= 5 on CPU) or eigendecomposition a trip. Leaves
    saddle points along the negative curvature it finds there (but for a start that is exactly one, which ends as
    SADDLE), and reports the smallest Hessian eigenvalue of every lane. Good from n = 1 to about 200.

    Args:
        initial_radius: first radius as a multiple of ||g|| / ||H|| at the start.

    Raises:
        ValueError: initial_radius is not a positive finite number.
    """

    initial_radius: float = 10.0

    needs = Needs.HESSIAN

    def __post_init__(self) -> None:
        given = self.initial_radius
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < float("inf"):
            raise ValueError(f"initial_radius must be a positive finite number; it is {given!r}")

    def init(self, x0: Array, size: int | None = None) -> State:
        n = x0.shape[0] if size is None else size
        zero, inf = jnp.zeros((), x0.dtype), jnp.full((), jnp.inf, x0.dtype)
        zeros, nan = jnp.zeros(n, x0.dtype), jnp.full((), jnp.nan, x0.dtype)
        no = jnp.zeros((), bool)
        return State(
            x0, inf, zeros, jnp.zeros((n, n), x0.dtype), zero, zero, zeros, zero, no, nan, running(), running()
        )

    def ask(self, state: State, move: Move = jnp.add) -> Array:
        return move(state.x, state.step)

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        first = jnp.isinf(state.f)
        trial_norm = linalg.max_norm(evaluation.H)
        accept, rho, kept = judge(state, evaluation, trial_norm)
        new, old = (x, *evaluation, trial_norm), (state.x, state.f, state.g, state.H, state.norm)
        x, f, g, H, norm = keep(accept, new, old)

        length = jnp.sqrt(jnp.sum(state.step**2))
        grown = jnp.where((rho > 0.75) & ~state.full, 2.0 * state.radius, state.radius)
        radius = jnp.where(kept & (~accept | (rho > 0.25)), grown, 0.25 * length)
        widest = jnp.maximum(jnp.sqrt(jnp.sum(g * g)) / jnp.where(norm > 0, norm, 1.0), jnp.finfo(f.dtype).tiny)
        radius = jnp.where(first, self.initial_radius * widest, radius)

        zero = resolution(norm, g.shape[0])
        ball = minimise_over_ball(H, g, radius, zero, ROUGHLY)
        met = verdict(ball.lowest, zero)
        escaping = (met == Status.SADDLE) & (ball.predicted > 0)
        return State(
            x=x, f=f, g=g, H=H, norm=norm,
            radius=radius,
            step=ball.step,
            predicted=ball.predicted,
            full=ball.interior,
            curvature=ball.lowest,
            if_stationary=jnp.where(escaping, RUNNING, met).astype(jnp.int32),
            status=state.status,
        )  # fmt: skip
