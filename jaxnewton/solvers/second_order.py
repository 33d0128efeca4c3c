"""What the solvers that see the Hessian share: their state, and how a trial enters it."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxnewton.solvers.common import Stepper, keep, running
from jaxnewton.types import Array, Evaluation, Needs


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
    return keep(accept, (x, *trial[:3], norm), (state.x, state.f, state.g, state.H, state.norm))
