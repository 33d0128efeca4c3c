"""Levenberg and Marquardt's method (Levenberg 1944; Marquardt 1963), as a trust region (More 1978)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton import checks, linalg
from jaxnewton.solvers.common import Verdict, judge, keep
from jaxnewton.solvers.squares import Part, Squares, State, units_of
from jaxnewton.types import Array, Evaluation, Move, Status

BENT = 0.3  # most of a geodesic acceleration, relative to the step: with 0.75 some NIST problems end elsewhere
WIDEST = 10.0  # first radius, relative to ||D x0||: of 0.01 to 100 the one that solves most of the NIST problems


@dataclasses.dataclass(frozen=True)
class LevenbergMarquardt(Squares):
    """Steps (J'J + mu D^2) p = -J'r, mu such that ||D p|| stays within a trust region (More 1978).

    D are the largest norms that the columns of J have had, so that units are no matter.

    Args:
        factor: "qr": of J, whose condition number is never squared; "cholesky": of J'J, faster with many residuals.
        geodesic: whether steps bend with the residuals, by their second derivative along the step (Transtrum & Sethna
            2012, "Improvements to the Levenberg-Marquardt algorithm for nonlinear least-squares minimization",
            arXiv:1201.5885). A trip costs about twice as much; it pays where curved valleys make for long ways.
        gtol: end as CONVERGED, whatever ``tol``, where an undamped step follows and the cosines of the angles between
            r and J's columns are at most this (MINPACK's gtol); None: do not ask.

    Raises:
        TypeError, ValueError: an argument is not of the form above.
    """

    factor: str = "qr"
    geodesic: bool = False
    gtol: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "geodesic", checks.flag("geodesic", self.geodesic))

    def ask(self, state: State, move: Move = jnp.add) -> Array:
        return move(state.x, state.step + self._swerve(state, move) if self.geodesic else state.step)

    def _swerve(self, state: State, move: Move) -> Array:
        """Half the geodesic acceleration, -(J'J + mu D^2)^-1 J'r''(step, step) / 2; 0 where it is not small."""
        second_along = getattr(move, "second_along", None)
        if second_along is None:
            raise TypeError("geodesic steps need the residuals: ask(state, move) with jaxnewton.problem.Moves for move")
        units = units_of(state.D)
        a = self._solve(state.H, units, -second_along(state.x, state.step), state.mu)
        length, bound = jnp.sqrt(jnp.sum(a * a)), jnp.sqrt(jnp.sum((units * state.step) ** 2))
        return jnp.where(length <= BENT * bound, 0.5 * a / units, 0.0)

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        n = state.g.shape[0]
        first = jnp.isinf(state.f)
        columns = self._columns(evaluation.H)
        found = judge(state, evaluation, jnp.sum(columns))
        radius = _resized(state, found, evaluation.f)

        x, f, g, H = keep(found.accept, (x, *evaluation[:3]), (state.x, state.f, state.g, state.H))
        D = jnp.where(found.accept, jnp.maximum(state.D, columns), state.D)
        units = units_of(D)
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
        mu = jnp.where(inside, 0.0, damping)
        radius = jnp.where(first, jnp.minimum(radius, jnp.sqrt(jnp.sum((units * step) ** 2))), radius)
        return State(
            x=x, f=f, g=g, H=H, D=D,
            radius=radius,
            mu=mu,
            damping=jnp.where(inside, 0.0, jnp.maximum(_towards(damping, cut, radius), 0.0)),
            step=step,
            predicted=jnp.where(inside, promised, self._promise(H, units, g / units, cut.p, damping, share)),
            full=inside | orthogonal | (~determined & (damping == floor) & (long <= radius)),
            curvature=state.curvature,
            if_stationary=jnp.where(determined, Status.CONVERGED, Status.SINGULAR).astype(jnp.int32),
            status=jnp.where(
                found.accept & inside & self._orthogonal(f, g, columns), jnp.int32(Status.CONVERGED), state.status
            ),
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
