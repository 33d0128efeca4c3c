"""Newton's method for systems of equations r(x) = 0, guarded by a dogleg (Powell 1970; Nocedal & Wright 2006, 11.2).

Of an evaluation, ``g`` is the residual r, ``H`` its Jacobian J, and f = r'r / 2.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxnewton import linalg
from jaxnewton.solvers.common import finite, immobile, resolution, to_boundary
from jaxnewton.solvers.second_order import SecondOrder, State, receive
from jaxnewton.types import RUNNING, Array, Evaluation, Status

WIDEST = 100.0  # first radius, relative to max(1, ||x||), as in MINPACK (More, Garbow & Hillstrom 1980)


@dataclasses.dataclass(frozen=True)
class NewtonRoot(SecondOrder):
    """One QR factorisation of J a trip.

    Args:
        damped: True: the Newton step, cut short by a trust region along the dogleg that begins with steepest descent
            of ||r||; ends as SINGULAR where ||r|| has a stationary point that is no root, at which J is singular.
            False: the pure iteration, which takes every finite step and ends as SINGULAR where J is.
    """

    damped: bool = True

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        first = jnp.isinf(state.f)
        trial_norm = linalg.max_norm(evaluation.H)
        ok = finite(evaluation, trial_norm)
        gained = jnp.where(ok, state.f - evaluation.f, -jnp.inf)
        rho = gained / jnp.where(state.predicted > 0, state.predicted, 1.0)
        halved = jnp.max(jnp.abs(evaluation.g)) <= 0.5 * jnp.max(jnp.abs(state.g))  # though r'r may underflow
        accept = (ok & ((rho > 1e-4) | halved | (not self.damped))) | first
        length = jnp.sqrt(jnp.sum(state.step**2))
        eps = jnp.finfo(x.dtype).eps
        x, f, r, J, norm = receive(accept, state, x, evaluation, trial_norm)

        grown = jnp.where((rho > 0.75) & ~state.full, 2.0 * state.control, state.control)
        radius = jnp.where((accept & (rho > 0.25)) | state.full, grown, 0.25 * length)
        radius = jnp.where(first, WIDEST * jnp.maximum(jnp.sqrt(jnp.sum(x * x)), 1.0), radius)

        largest = jnp.max(jnp.abs(J), axis=1)
        weight = 1.0 / jnp.where(largest > 0, largest, 1.0)  # an equation's unit is no matter
        newton, smallest = linalg.qr_solve(weight[:, None] * J, -weight * r)
        singular = ~(smallest > resolution(jnp.ones_like(f), r.shape[0]))
        newton = jnp.where(singular, 0.0, newton)
        step, whole = _dogleg(newton, singular, r, J, radius) if self.damped else (newton, ~singular)
        settled = whole & immobile(x, step, 10)  # as near as x can tell
        model = r + jnp.sum(J * step[None, :], axis=1)
        predicted = jnp.maximum(f - 0.5 * jnp.sum(model * model), 0.0)
        no_way_down = (~whole & ok & (predicted <= 10 * eps * f)) if self.damped else singular
        ended = jnp.where(no_way_down, Status.SINGULAR, RUNNING)
        lost = ~ok & ~first & (not self.damped)
        return State(
            x=x, f=f, g=r, H=J, norm=norm,
            control=radius,
            step=step,
            predicted=jnp.where(settled, 0.0, predicted),
            full=settled,
            curvature=state.curvature,
            if_stationary=jnp.full((), Status.CONVERGED, jnp.int32),
            status=jnp.where(lost, Status.DIVERGED, ended).astype(jnp.int32),
        )  # fmt: skip


def _dogleg(newton: Array, singular: Array, r: Array, J: Array, radius: Array) -> tuple[Array, Array]:
    """The step within the radius, and whether it is Newton's own: from 0 to the minimiser along -J'r, then to Newton's.

    Nocedal & Wright 2006, equation 11.38 and algorithm 11.6.
    """
    steepest = -jnp.sum(J * r[:, None], axis=0)
    image = jnp.sum(J * steepest[None, :], axis=1)
    square, bend = jnp.sum(steepest * steepest), jnp.sum(image * image)
    ratio = square / jnp.where(bend > 0, bend, 1.0)
    length = jnp.sqrt(square)
    cut = jnp.minimum(ratio, radius / jnp.where(length > 0, length, 1.0))
    cauchy = cut * steepest
    inside = ~singular & (jnp.sum(newton * newton) <= radius**2)

    way = newton - cauchy
    t = jnp.where(singular | (cut < ratio), 0.0, jnp.minimum(to_boundary(cauchy, way, radius), 1.0))
    return jnp.where(inside, newton, cauchy + t * way), inside
