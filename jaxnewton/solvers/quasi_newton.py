"""Dense quasi-Newton methods: DFP, BFGS in three forms, Broyden's class (Nocedal & Wright 2006, chapter 6)."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnewton import linalg, linesearch
from jaxnewton.linesearch import Search
from jaxnewton.solvers.common import finite, keep, rounding, running
from jaxnewton.types import Array, Evaluation, Move, Needs, Status

FORMS = ("inverse", "sherman-morrison", "direct")


class State(NamedTuple):
    """One lane."""

    x: Array  # (n,) last accepted point
    f: Array  # () inf before the first
    g: Array  # (n,)
    M: Array  # (n, n) approximate Hessian (direct form) or its inverse
    p: Array  # (n,) search direction
    search: Search
    scaled: Array  # () bool: M has met its first pair s, y and has the function's scale
    step: Array  # (n,) alpha p
    predicted: Array  # () decrease of the model along step
    full: Array  # () bool: the search's first trial, or one that follows where that promised but rounding
    curvature: Array  # () nan: not known
    if_stationary: Array  # () int32: CONVERGED
    status: Array  # () int32


@dataclasses.dataclass(frozen=True)
class _QuasiNewton:
    """What the family shares: the line search, the first scaling by s'y / y'y, and the guard s'y > 0."""

    needs = Needs.GRADIENT

    def _update(self, M: Array, s: Array, y: Array) -> Array:
        """M after the pair s = x_new - x, y = g_new - g with s'y > 0."""
        raise NotImplementedError

    def _slope_left(self) -> float:
        """c2 of the line search."""
        return 0.9

    def _direct(self) -> bool:
        """Whether M approximates the Hessian, rather than its inverse."""
        return False

    def init(self, x0: Array, size: int | None = None) -> State:
        n = x0.shape[0] if size is None else size
        zero, inf = jnp.zeros((), x0.dtype), jnp.full((), jnp.inf, x0.dtype)
        zeros, nan, no = jnp.zeros(n, x0.dtype), jnp.full((), jnp.nan, x0.dtype), jnp.zeros((), bool)
        search = linesearch.begin(zero, zero)
        ended = jnp.full((), Status.CONVERGED, jnp.int32)
        eye = jnp.eye(n, dtype=x0.dtype)
        return State(x0, inf, zeros, eye, zeros, search, no, zeros, zero, no, nan, ended, running())

    def ask(self, state: State, move: Move = jnp.add) -> Array:
        return move(state.x, state.step)

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        f, g = evaluation.f, evaluation.g
        first = jnp.isinf(state.f)
        ok = finite(evaluation, jnp.zeros_like(f))
        met, search = linesearch.judge(state.search, state.f, f, jnp.sum(g * state.p), ok, self._slope_left())
        accept = ok & (first | met)

        M, scaled = self._learn(state, state.step, g - state.g, accept & ~first)
        p = self._direction(M, jnp.where(accept, g, state.g))
        slope = jnp.sum(g * p)
        uphill = ~(slope < 0)  # lost to rounding: start anew
        p = jnp.where(uphill, -g, p)
        slope = jnp.where(uphill, -jnp.sum(g * g), slope)
        # Without a scale, the first trial moves x by 1 at most; with one it is the quasi-Newton step itself.
        length = jnp.sqrt(jnp.sum(p * p))
        alpha = jnp.where(scaled & ~uphill, 1.0, 1.0 / jnp.maximum(length, 1.0))
        fresh = (x, f, g, p, linesearch.begin(alpha, slope))
        x, f, g, p, search = keep(accept, fresh, (state.x, state.f, state.g, state.p, search))
        return State(
            x=x, f=f, g=g, M=M, p=p, search=search, scaled=scaled,
            step=search.alpha * p,
            predicted=jnp.abs(0.5 * search.alpha * search.slope),
            full=accept | (state.full & (state.predicted <= rounding(state))),
            curvature=state.curvature,
            if_stationary=state.if_stationary,
            status=state.status,
        )  # fmt: skip

    def _learn(self, state: State, s: Array, y: Array, accept: Array) -> tuple[Array, Array]:
        """M and whether it has the function's scale; unchanged where the trial was rejected or s'y is not positive."""
        sy, yy = jnp.sum(s * y), jnp.sum(y * y)
        eps = jnp.finfo(s.dtype).eps
        curved = accept & (sy > eps * jnp.sqrt(jnp.sum(s * s) * yy))
        s, y = jnp.where(curved, s, 1.0), jnp.where(curved, y, 1.0)  # the rejected must not make the others nan
        over, under = (yy, sy) if self._direct() else (sy, yy)
        size = over / jnp.where(curved, under, 1.0)
        M = jnp.where(state.scaled, state.M, size * jnp.eye(s.shape[0], dtype=s.dtype))
        return keep(curved, (self._update(M, s, y), jnp.ones((), bool)), (state.M, state.scaled))

    def _direction(self, M: Array, g: Array) -> Array:
        if not self._direct():
            return -_times(M, g)
        n = g.shape[0]
        if linalg.unrolls(linalg.UNROLL_LDL, n):
            return linalg.ldl_solve(M, -g, jnp.finfo(g.dtype).tiny * jnp.ones_like(g[0]))[0]
        return linalg.cholesky_solve(linalg.cholesky(M), -g)


@dataclasses.dataclass(frozen=True)
class BFGS(_QuasiNewton):
    """Broyden, Fletcher, Goldfarb and Shanno's update, in one of its three forms, which are equal but for rounding.

    Args:
        form: "inverse": D+ = (I - rho s y') D (I - rho y s') + rho s s', rho = 1 / s'y (Nocedal & Wright 2006, equation
            6.17); "sherman-morrison": the same multiplied out, D + (s'y + y'Dy) s s' / (s'y)^2 - (D y s' + s y' D) /
            s'y; "direct": B+ = B - B s s' B / s'Bs + y y' / y's (equation 6.19), and a solve for each step.

    Raises:
        ValueError: the form is none of these.
    """

    form: str = "inverse"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}; it is {self.form!r}")

    def _direct(self) -> bool:
        return self.form == "direct"

    def _update(self, M: Array, s: Array, y: Array) -> Array:
        if self.form == "direct":
            return _bfgs_direct(M, s, y)
        if self.form == "inverse":
            return _conjugate(M, s, y)
        sy, Dy = jnp.sum(s * y), _times(M, y)
        return M + (sy + jnp.sum(y * Dy)) / sy**2 * _outer(s, s) - (_outer(Dy, s) + _outer(s, Dy)) / sy


@dataclasses.dataclass(frozen=True)
class DFP(_QuasiNewton):
    """Davidon, Fletcher and Powell's update of the inverse: D - D y y' D / y'Dy + s s' / s'y (equation 6.15).

    It corrects a bad D slowly (section 6.3), so its line search is a nearly exact one.
    """

    def _slope_left(self) -> float:
        return 0.1

    def _update(self, M: Array, s: Array, y: Array) -> Array:
        return _bfgs_direct(M, y, s)  # the dual of BFGS: s and y, B and its inverse, change places


@dataclasses.dataclass(frozen=True)
class Broyden(_QuasiNewton):
    """Broyden's class: B = (1 - phi) B_BFGS + phi B_DFP (Nocedal & Wright 2006, equation 6.32).

    Args:
        phi: 0 is BFGS, 1 is DFP; the updates in between keep B positive definite.

    Raises:
        ValueError: phi is not a number from 0 to 1.
    """

    phi: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.phi, bool) or not isinstance(self.phi, (int, float)) or not 0 <= self.phi <= 1:
            raise ValueError(f"phi must be a number from 0 (BFGS) to 1 (DFP); it is {self.phi!r}")

    def _direct(self) -> bool:
        return True

    def _update(self, M: Array, s: Array, y: Array) -> Array:
        return (1 - self.phi) * _bfgs_direct(M, s, y) + self.phi * _conjugate(M, y, s)


def _bfgs_direct(B: Array, s: Array, y: Array) -> Array:
    Bs = _times(B, s)
    return B - _outer(Bs, Bs) / jnp.sum(s * Bs) + _outer(y, y) / jnp.sum(s * y)


def _conjugate(D: Array, s: Array, y: Array) -> Array:
    """(I - rho s y') D (I - rho y s') + rho s s'."""
    rho = 1.0 / jnp.sum(s * y)
    left = D - rho * _outer(s, _times(D, y))
    return left - rho * _outer(_times(left, y), s) + rho * _outer(s, s)


def _outer(a: Array, b: Array) -> Array:
    return a[:, None] * b[None, :]


def _times(M: Array, v: Any) -> Array:
    return jnp.sum(M * v[None, :], axis=1)
