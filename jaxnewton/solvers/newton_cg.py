"""Newton's method by conjugate gradients in a trust region (Steihaug 1983; Nocedal & Wright 2006, algorithm 7.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnewton import checks
from jaxnewton.solvers.common import Stepper, judge, keep, resized, running, to_boundary
from jaxnewton.types import RUNNING, Array, Evaluation, Needs, Status


class State(NamedTuple):
    """One lane."""

    x: Array  # (n,) last accepted point
    f: Array  # () inf before the first
    g: Array  # (n,)
    radius: Array  # () of the trust region; inf before the first step
    slope: Array  # () g's
    bend: Array  # () s'Hs
    step: Array  # (n,)
    predicted: Array  # () decrease of the model along step
    full: Array  # () bool: the conjugate gradients ended inside the trust region
    curvature: Array  # () nan: not known
    if_stationary: Array  # () int32: CONVERGED, or RUNNING where negative curvature was met
    status: Array  # () int32


@dataclasses.dataclass(frozen=True)
class NewtonCG(Stepper):
    """Newton's method without matrices, for n in the thousands and more: Hessian-vector products and a few vectors.

    Each accepted point begins conjugate gradients, which end at the trust region's boundary, at negative curvature
    (followed to the boundary), or where the residual is a fraction min(1/2, sqrt(||g||)) of ||g||, so that the
    convergence is superlinear. A rejected step is cut short along itself (Nocedal & Yuan 1998), which costs no
    product. A saddle point is told from a minimum only where the conjugate gradients meet negative curvature on their
    way.

    Args:
        max_products: most products a trip; None: twice as many as there are unknowns.

    Raises:
        ValueError: max_products is not a whole number of at least 1.
    """

    max_products: int | None = None

    needs = Needs.PRODUCT

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_products", checks.positive("max_products", self.max_products))

    def init(self, x0: Array, size: int | None = None) -> State:
        inf, zeros, zero, no, nan = self._blank_state(x0, size)
        return State(x0, inf, zeros, inf, zero, zero, zeros, zero, no, nan, running(), running())

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        first = jnp.isinf(state.f)
        found = judge(state, evaluation, jnp.zeros_like(evaluation.f))
        accept, kept = found.accept, found.kept
        x, f, g = keep(accept, (x, evaluation.f, evaluation.g), (state.x, state.f, state.g))

        radius = jnp.where(first, state.radius, resized(state.radius, state, found))

        path = steihaug(evaluation.H, g, radius, accept, self.max_products or 2 * g.shape[0])
        shorter = jnp.where(kept, 1.0, 0.25)
        cut = (radius, shorter * state.step, shorter * state.slope, shorter**2 * state.bend)
        radius, step, slope, bend = keep(accept, (path.radius, path.s, path.slope, path.bend), cut)
        met = jnp.where(path.negative, RUNNING, Status.CONVERGED)
        return State(
            x=x, f=f, g=g, radius=radius, slope=slope, bend=bend,
            step=step,
            predicted=jnp.maximum(-(slope + 0.5 * bend), 0.0),
            full=jnp.where(accept, path.interior, state.full & kept),
            curvature=state.curvature,
            if_stationary=jnp.where(accept, met, state.if_stationary).astype(jnp.int32),
            status=state.status,
        )  # fmt: skip


class Path(NamedTuple):
    """Where the conjugate gradients have come to."""

    s: Array  # (n,)
    slope: Array  # () g's
    bend: Array  # () s'Hs
    r: Array  # (n,) g + Hs
    d: Array  # (n,) the next direction
    radius: Array  # ()
    products: Array  # () int32
    ended: Array  # () bool
    interior: Array  # () bool: ended where the residual is small, or out of products
    negative: Array  # () bool: ended at negative curvature


def steihaug(product: Callable[[Array], Array], g: Array, radius: Array, active: Array, most: int) -> Path:
    """Minimise g's + s'Hs/2 over ||s|| <= radius, roughly, by conjugate gradients.

    Args:
        product: v -> Hv.
        radius: (); inf: ten times the step from 0 to the minimiser along g, as ``TrustRegion`` begins.
        active: () bool: whether to do anything at all.
        most: products.
    """
    gg = jnp.sum(g * g)
    small = jnp.minimum(0.25, jnp.sqrt(gg)) * gg  # of ||r||^2
    zero, no = jnp.zeros_like(gg), jnp.zeros((), bool)
    begin = Path(jnp.zeros_like(g), zero, zero, g, -g, radius, jnp.zeros((), jnp.int32), ~active | (gg == 0), no, no)

    def step(path: Path) -> Path:
        s, slope, bend, r, d, radius, products, *_ = path
        Hd = product(d)
        dHd, dd, rr = (jnp.sum(a * b) for a, b in ((d, Hd), (d, d), (r, r)))
        wide = 10 * jnp.sqrt(dd) * jnp.where(dHd != 0, dd / jnp.abs(jnp.where(dHd != 0, dHd, 1.0)), 1.0)
        ok = jnp.isfinite(dHd + jnp.sum(Hd))
        radius = jnp.where(jnp.isinf(radius) & ok, wide, radius)
        negative = ~(dHd > 0)
        alpha = rr / jnp.where(negative, 1.0, dHd)
        boundary = to_boundary(s, d, radius)
        leaves = negative | (alpha >= boundary)
        t = jnp.where(leaves, boundary, alpha)
        bend = bend + 2 * t * jnp.sum(d * (r - g)) + t**2 * dHd
        new_r = r + t * Hd
        new_rr = jnp.sum(new_r * new_r)
        ended = leaves | (new_rr <= small) | (products + 1 >= most)
        following = new_rr / rr * d - new_r
        slope = slope + t * jnp.sum(g * d)
        new = Path(s + t * d, slope, bend, new_r, following, radius, products + 1, ended, ~leaves, negative)
        return keep(ok, new, path._replace(ended=jnp.ones((), bool), interior=jnp.ones((), bool)))

    return lax.while_loop(lambda path: ~path.ended, step, begin)
