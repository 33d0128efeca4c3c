"""What the solvers for sums of squares share: their state, and the steps of a damped Jacobian's factor.

Of an evaluation, ``H`` is J'J, or R beside Q'r of the QR factorisation of the Jacobian J.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnewton import checks, linalg
from jaxnewton.solvers.common import Stepper, resolution, running
from jaxnewton.types import Array, Needs

FACTORS = ("qr", "cholesky")


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
    mu: Array  # () the damping of step
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
    """What the solvers for sums of squares share: ``factor``, ``gtol`` and the states."""

    factor: str
    gtol: float | None

    def __post_init__(self) -> None:
        if self.factor not in FACTORS:
            raise ValueError(f'factor must be "qr" or "cholesky"; it is {self.factor!r}')
        if self.gtol is not None:
            object.__setattr__(self, "gtol", checks.positive_number("gtol", self.gtol, fixed=True))

    @property
    def needs(self) -> Needs:
        return Needs.FACTOR if self.factor == "qr" else Needs.HESSIAN

    def init(self, x0: Array, size: int | None = None) -> State:
        inf, zeros, zero, no, nan = self._blank_state(x0, size)
        n = zeros.shape[0]
        H = jnp.zeros((n, n + (self.factor == "qr")), x0.dtype)
        return State(x0, inf, zeros, H, zeros, zero, zero, zero, zeros, zero, no, nan, running(), running())

    def _orthogonal(self, f: Array, g: Array, columns: Array) -> Array:
        """Whether the cosines of the angles between r and J's columns are at most ``gtol``."""
        if self.gtol is None:
            return jnp.zeros((), bool)
        return jnp.all(jnp.abs(g) <= self.gtol * columns * jnp.sqrt(2 * f))

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

    def _solve(self, H: Array, D: Array, b: Array, mu: Array) -> Array:
        """(H + mu I)^-1 b in the units of D, of b in x's."""
        n = b.shape[0]
        eye = jnp.eye(n, dtype=H.dtype)
        if self.factor == "cholesky":
            return linalg.solve_definite(H / (D[:, None] * D[None, :]) + mu * eye, b / D)[0]
        R, _ = linalg.qr_reduce(jnp.concatenate([H[:, :n] / D[None, :], jnp.sqrt(mu) * eye]), jnp.zeros(2 * n, b.dtype))
        return linalg.back_substitute(R, linalg.forward_substitute(R, b / D))

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


def units_of(D: Array) -> Array:
    """What x is measured in: D, and 1 where a column of J has never had a norm."""
    return jnp.where(D > 0, D, 1.0)
