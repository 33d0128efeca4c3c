"""Dense quasi-Newton methods: DFP, BFGS in three forms, Broyden's class (Nocedal & Wright 2006, chapter 6)."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxnewton import checks, linalg
from jaxnewton.linesearch import Rule, Wolfe
from jaxnewton.solvers.descent import Secant
from jaxnewton.types import Array

FORMS = ("inverse", "sherman-morrison", "direct")


class _Dense(Secant):
    """The memory is a matrix: the Hessian's inverse, or in the direct forms the Hessian."""

    @abc.abstractmethod
    def _pair(self, M: Array, s: Array, y: Array) -> Array:
        """M after the pair s, y with s'y > 0."""

    def _direct(self) -> bool:
        """Whether M approximates the Hessian, rather than its inverse."""
        return False

    def _blank(self, n: int, dtype: Any) -> Array:
        return jnp.eye(n, dtype=dtype)

    def _update(self, memory: Array, learnt: Array, s: Array, y: Array) -> Array:
        sy, yy = jnp.sum(s * y), jnp.sum(y * y)
        scale = yy / sy if self._direct() else sy / yy  # Nocedal & Wright 2006, equation 6.20
        return self._pair(jnp.where(learnt, memory, scale * jnp.eye(s.shape[0], dtype=s.dtype)), s, y)

    def _direction(self, memory: Array, learnt: Array, g: Array) -> Array:
        del learnt
        if not self._direct():
            return -_times(memory, g)
        if linalg.unrolls(linalg.UNROLL_LDL, g.shape[0]):
            return linalg.ldl_solve(memory, -g, jnp.finfo(g.dtype).tiny * jnp.ones_like(g[0]))[0]
        return linalg.cholesky_solve(linalg.cholesky(memory), -g)


@dataclasses.dataclass(frozen=True)
class BFGS(_Dense):
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

    def _pair(self, M: Array, s: Array, y: Array) -> Array:
        if self.form == "direct":
            return _bfgs_direct(M, s, y)
        if self.form == "inverse":
            return _conjugate(M, s, y)
        sy, Dy = jnp.sum(s * y), _times(M, y)
        return M + (sy + jnp.sum(y * Dy)) / sy**2 * _outer(s, s) - (_outer(Dy, s) + _outer(s, Dy)) / sy


@dataclasses.dataclass(frozen=True)
class DFP(_Dense):
    """Davidon, Fletcher and Powell's update of the inverse: D - D y y' D / y'Dy + s s' / s'y (equation 6.15).

    It corrects a bad D slowly (section 6.3), so its line search is a nearly exact one.
    """

    def _rule(self) -> Rule:
        return Wolfe(0.1)

    def _pair(self, M: Array, s: Array, y: Array) -> Array:
        return _bfgs_direct(M, y, s)  # the dual of BFGS: s and y, B and its inverse, change places


@dataclasses.dataclass(frozen=True)
class Broyden(_Dense):
    """Broyden's class: B = (1 - phi) B_BFGS + phi B_DFP (Nocedal & Wright 2006, equation 6.32).

    Args:
        phi: 0 is BFGS, 1 is DFP; the updates in between keep B positive definite.

    Raises:
        ValueError: phi is not a number from 0 to 1.
    """

    phi: float = 0.5

    def __post_init__(self) -> None:
        phi = checks.number(self.phi)
        if phi is None or not 0 <= phi <= 1:
            raise ValueError(f"phi must be a number from 0 (BFGS) to 1 (DFP); it is {self.phi!r}")
        object.__setattr__(self, "phi", phi)

    def _direct(self) -> bool:
        return True

    def _pair(self, M: Array, s: Array, y: Array) -> Array:
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


def _times(M: Array, v: Array) -> Array:
    return jnp.sum(M * v[None, :], axis=1)
