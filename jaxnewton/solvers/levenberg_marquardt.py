"""Nonlinear least squares (Levenberg 1944; Marquardt 1963; as a trust region, More 1978).

Of an evaluation, ``H`` is J'J, or R beside Q'r of the QR factorisation of the Jacobian J.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton import linalg
from jaxnewton.solvers.common import Stepper, Verdict, finite, judge, keep, resolution, running
from jaxnewton.types import RUNNING, Array, Evaluation, Needs, Status

FACTORS = ("qr", "cholesky")
WIDEST = 10.0  # first radius, relative to ||D x0||: of 0.01 to 100 the one that solves most of the NIST problems


class State(NamedTuple):
    """One lane."""

    # changed when a trial is accepted
    x: Array  # (n,) last accepted point
    f: Array  # () inf before the first
    g: Array  # (n,) J'r
    H: Array  # (n, n) J'J, or (n, n + 1) R and Q'r
    D: Array  # (n,) largest norms that the columns of J have had
    # changed every trip
    radius: Array  # () of ||D step||
    damping: Array  # () a guess of the next mu
    step: Array  # (n,) from x to the next trial
    predicted: Array  # () decrease of the model along step
    full: Array  # () bool: step is Gauss and Newton's
    curvature: Array  # () nan: not known
    if_stationary: Array  # () int32
    status: Array  # () int32


class Part(NamedTuple):
    """A step at some damping mu, in the units that D gives x. All but the first ()."""

    p: Array  # (n,) -(H + mu I)^-1 g
    bend: Array  # p'(H + mu I)^-1 p
    smallest: Array  # diagonal entry of the triangular factor of H + mu I


class Squares(Stepper):
    """What the solvers for sums of squares share: ``factor`` and the states."""

    factor: str

    def __post_init__(self) -> None:
        if self.factor not in FACTORS:
            raise ValueError(f'factor must be "qr" or "cholesky"; it is {self.factor!r}')

    @property
    def needs(self) -> Needs:
        return Needs.FACTOR if self.factor == "qr" else Needs.HESSIAN

    def init(self, x0: Array, size: int | None = None) -> State:
        inf, zeros, zero, no, nan = self._blank_state(x0, size)
        n = zeros.shape[0]
        H = jnp.zeros((n, n + (self.factor == "qr")), x0.dtype)
        return State(x0, inf, zeros, H, zeros, zero, zero, zeros, zero, no, nan, running(), running())

    def _columns(self, H: Array) -> Array:
        """(n,) norms of J's columns."""
        n = H.shape[0]
        if self.factor == "cholesky":
            return jnp.sqrt(jnp.diagonal(H))
        largest = jnp.max(jnp.abs(H[:, :n]), axis=0)
        safe = jnp.where(largest > 0, largest, 1.0)
        return largest * jnp.sqrt(jnp.sum((H[:, :n] / safe[None, :]) ** 2, axis=0))

    def _part(self, H: Array, D: Array, g: Array, mu: Array | None = None) -> Part:
        """The step for the damping mu, or none."""
        n = g.shape[0]
        if self.factor == "cholesky":
            scaled = H / (D[:, None] * D[None, :])
            shifted = scaled if mu is None else scaled + mu * jnp.eye(n, dtype=H.dtype)
            p, bend, smallest = linalg.solve_definite(shifted, -g / D)
            return Part(p, bend, jnp.sqrt(jnp.maximum(smallest, 0.0)))
        R, c = H[:, :n] / D[None, :], -H[:, n]
        if mu is not None:
            damping = jnp.sqrt(mu) * jnp.eye(n, dtype=R.dtype)
            R, c = linalg.qr_reduce(jnp.concatenate([R, damping]), jnp.concatenate([c, jnp.zeros_like(c)]))
        p = linalg.back_substitute(R, c)
        q = linalg.forward_substitute(R, p)
        return Part(p, jnp.sum(q * q), jnp.min(jnp.abs(jnp.diagonal(R))))

    def _promise(self, H: Array, D: Array, g: Array, p: Array, mu: Any = 0.0, share: Any = 1.0) -> Array:
        """By how much the model falls along share p, for (H + mu I) p = -g in the units of D.

        With R by the product with it: where r is but rounding, so are both terms, and little is left of them.
        """
        slope = -jnp.sum(g * p)
        if self.factor == "cholesky":
            bend = slope - mu * jnp.sum(p * p)
        else:
            bend = jnp.sum(jnp.sum(H[:, : g.shape[0]] / D[None, :] * p[None, :], axis=1) ** 2)
        return jnp.maximum(share * (slope - 0.5 * share * bend), 0.0)

    def _determined(self, smallest: Array, n: int) -> Array:
        """Whether J with columns of norm 1 has full rank as far as its factor can tell."""
        zero = 0.1 * resolution(jnp.ones_like(smallest), n)
        return smallest > (zero if self.factor == "qr" else jnp.sqrt(zero))


@dataclasses.dataclass(frozen=True)
class LevenbergMarquardt(Squares):
    """Steps (J'J + mu D^2) p = -J'r, mu such that ||D p|| stays within a trust region (More 1978).

    D are the largest norms that the columns of J have had, so that units are no matter.

    Args:
        factor: "qr": of J, whose condition number is never squared; "cholesky": of J'J, faster with many residuals.

    Raises:
        ValueError: factor is neither.
    """

    factor: str = "qr"

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        n = state.g.shape[0]
        first = jnp.isinf(state.f)
        columns = self._columns(evaluation.H)
        found = judge(state, evaluation, jnp.sum(columns))
        radius = _resized(state, found, evaluation.f)

        x, f, g, H = keep(found.accept, (x, *evaluation[:3]), (state.x, state.f, state.g, state.H))
        D = jnp.where(found.accept, jnp.maximum(state.D, columns), state.D)
        units = jnp.where(D > 0, D, 1.0)
        length = jnp.sqrt(jnp.sum((units * x) ** 2))
        radius = jnp.where(first, WIDEST * jnp.where(length > 0, length, 1.0), radius)

        free = self._part(H, units, g)
        determined = self._determined(free.smallest, n)
        promised = self._promise(H, units, g / units, free.p)
        eps = jnp.finfo(f.dtype).eps
        blind = promised <= 10 * eps * f  # at the floor nothing is left to guard
        orthogonal = jnp.max(jnp.abs(g / units)) <= 10 * n * eps * jnp.sqrt(2 * f)  # r to all columns of J
        inside = determined & ((jnp.sum(free.p * free.p) <= (1.1 * radius) ** 2) | blind)

        floor = 10 * n * eps  # what J takes to 0 is damped by as little as its factor can tell from that

        def shortened() -> tuple[Part, Array]:
            pull = jnp.sqrt(jnp.sum((g / units) ** 2)) / radius
            least = jnp.maximum(jnp.where(determined, _towards(jnp.zeros_like(f), free, radius), floor), 0.0)
            damping = jnp.maximum(least, jnp.minimum(jnp.maximum(state.damping, 1e-3 * pull), pull))
            cut = self._part(H, units, g, damping)
            off = jnp.abs(jnp.sqrt(jnp.sum(cut.p * cut.p)) - radius) > 0.1 * radius
            nearer = jnp.clip(_towards(damping, cut, radius), least, jnp.maximum(pull, least))
            damping = jnp.where(off, nearer, damping)
            return self._part(H, units, g, damping), damping

        # two more factors; a GPU's lanes are so many that some want them, and its host would wait for the answer
        wanted = linalg.anywhere(~inside) if jax.default_backend() == "cpu" else True
        cut, damping = lax.cond(wanted, shortened, lambda: (free, jnp.zeros_like(f)))
        long = jnp.sqrt(jnp.sum(cut.p * cut.p))
        share = jnp.minimum(1.0, radius / jnp.where(long > 0, long, 1.0))
        step = jnp.where(inside, free.p, share * cut.p) / units
        radius = jnp.where(first, jnp.minimum(radius, jnp.sqrt(jnp.sum((units * step) ** 2))), radius)
        return State(
            x=x, f=f, g=g, H=H, D=D,
            radius=radius,
            damping=jnp.where(inside, 0.0, jnp.maximum(_towards(damping, cut, radius), 0.0)),
            step=step,
            predicted=jnp.where(inside, promised, self._promise(H, units, g / units, cut.p, damping, share)),
            full=inside | orthogonal | (~determined & (damping == floor) & (long <= radius)),
            curvature=state.curvature,
            if_stationary=jnp.where(determined, Status.CONVERGED, Status.SINGULAR).astype(jnp.int32),
            status=state.status,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class GaussNewton(Squares):
    """The pure iteration x - (J'J)^-1 J'r, which takes every finite step and ends as SINGULAR where J is.

    For small residuals and good starts; LevenbergMarquardt comes home from further away.

    Args:
        factor: as for LevenbergMarquardt.

    Raises:
        ValueError: factor is neither.
    """

    factor: str = "qr"

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        columns = self._columns(evaluation.H)
        ok = finite(evaluation, jnp.sum(columns))
        x, f, g, H, D = keep(ok, (x, *evaluation[:3], columns), (state.x, state.f, state.g, state.H, state.D))
        units = jnp.where(D > 0, D, 1.0)
        part = self._part(H, units, g)
        determined = self._determined(part.smallest, g.shape[0])
        step = jnp.where(determined, part.p / units, 0.0)
        lost = jnp.where(ok | jnp.isinf(state.f), RUNNING, Status.DIVERGED)
        return State(
            x=x, f=f, g=g, H=H, D=D,
            radius=state.radius,
            damping=state.damping,
            step=step,
            predicted=self._promise(H, units, g / units, jnp.where(determined, part.p, 0.0)),
            full=jnp.ones((), bool),
            curvature=state.curvature,
            if_stationary=jnp.full((), Status.CONVERGED, jnp.int32),
            status=jnp.where(determined, lost, Status.SINGULAR).astype(jnp.int32),
        )  # fmt: skip


def _towards(mu: Array, part: Part, radius: Array) -> Array:
    """Newton's step for 1 / ||p(mu)|| = 1 / radius (Nocedal & Wright 2006, algorithm 4.3)."""
    square = jnp.sum(part.p * part.p)
    long = jnp.sqrt(square)
    return mu + square / jnp.where(part.bend > 0, part.bend, 1.0) * (long - radius) / radius


def _resized(state: State, found: Verdict, value: Array) -> Array:
    """The next radius by MINPACK's rules (More 1978, section 4)."""
    length = jnp.sqrt(jnp.sum((state.D * state.step) ** 2))
    slope = jnp.sum(state.g * state.step)
    rise = value - state.f
    usable = jnp.isfinite(rise) & (rise > 0) & (value < 100 * state.f)
    shorter = jnp.where(usable, jnp.clip(0.5 * slope / jnp.where(usable, slope - rise, 1.0), 0.1, 0.5), 0.1)
    shorter = jnp.where(rise <= 0, 0.5, shorter)
    shrunk = shorter * jnp.minimum(state.radius, 10 * length)
    grown = jnp.where(found.rho >= 0.75, 2 * length, state.radius)
    resized = jnp.where(found.accept & (found.rho > 0.25), grown, shrunk)
    return jnp.where(found.kept & ~found.accept, state.radius, resized)
