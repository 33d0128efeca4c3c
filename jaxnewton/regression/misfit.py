"""What least squares has come to: a last polish of the parameters, and their inference."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton import linalg
from jaxnewton.problem import held_by
from jaxnewton.regression.families import Gaussian
from jaxnewton.regression.fit import Fields
from jaxnewton.regression.inference import over_freedom, unit
from jaxnewton.regression.stack import Stack
from jaxnewton.solvers.common import resolution
from jaxnewton.types import Array, Status, succeeded

POLISHES = 2  # Newton's steps with the whole Hessian, after the solver


@dataclasses.dataclass(frozen=True)
class Misfit:
    """sqrt(weights) (model(x, p) - y), of a flat p."""

    model: Callable[..., Any]

    def __call__(self, p: Array, x: Any, y: Array, weights: Array) -> Array:
        mean = self.model(x, p)
        if jnp.shape(mean) != y.shape:
            raise ValueError(f"model must return the shape of y, {y.shape}; it returned {jnp.shape(mean)}")
        left = jnp.asarray(mean, p.dtype) - y
        return jnp.where(weights > 0, jnp.sqrt(weights) * left, 0.0)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def infer(misfit: Misfit, stack: Stack, axes: Any, box: Any, p: Array, status: Array, args: Any) -> Fields:
    """``box``: the bounds, where there are any."""

    def one(p: Array, status: Array, x: Any, y: Array, weights: Array) -> tuple[Fields, tuple[Array, Array]]:
        p, minimal = _polished(misfit, box, p, status, (x, y, weights))
        r, J = misfit(p, x, y, weights), jax.jacfwd(misfit)(p, x, y, weights)
        held = _held(p, J.T @ r, box)
        J = jnp.where(held[None, :], 0.0, J)
        n = p.shape[0]
        weights = jnp.broadcast_to(weights, y.shape)
        rows = jnp.sum(weights > 0, dtype=jnp.int32)
        squares = jnp.sum(r * r)
        norms = jnp.sqrt(jnp.sum(J * J, axis=0))
        norms = jnp.where(norms > 0, norms, 1.0)
        unit = jnp.pad(J / norms[None, :], ((0, max(n - J.shape[0], 0)), (0, 0)))
        if box:
            unit = jnp.concatenate([unit, jnp.diag(held.astype(p.dtype))])
        R, _ = linalg.qr_reduce(unit, jnp.zeros(unit.shape[0], p.dtype))
        diagonal = jnp.abs(jnp.diagonal(R))
        zero = 0.1 * resolution(jnp.ones_like(squares), n)
        deficient = jnp.any(diagonal <= zero)
        rank = jnp.sum((diagonal > zero) & ~held, dtype=jnp.int32)
        inverse = jax.vmap(lambda e: linalg.back_substitute(R, e), out_axes=1)(jnp.eye(n, dtype=p.dtype))
        inverse = inverse / norms[:, None]
        dispersion = over_freedom(squares, rows, rank)
        unknown = deficient | ~minimal | held[:, None] | held[None, :]
        spread = jnp.where(unknown, jnp.nan, inverse @ inverse.T)
        loglik = Gaussian().loglik(y, weights, 0.5 * squares, dispersion, rows.astype(p.dtype))
        # residuals are differences of numbers of y's size: a gradient within their rounding says no more
        noise = 10 * jnp.finfo(p.dtype).eps * jnp.sqrt(jnp.sum(weights * y * y))
        settled = (status == Status.LINE_SEARCH_FAILED) & (jnp.max(jnp.abs(J.T @ r) / norms) <= noise)
        status = jnp.where(settled, jnp.int32(Status.NOISE_FLOOR), status)
        status = jnp.where(~minimal & succeeded(status), jnp.int32(Status.SADDLE), status)
        status = jnp.where(deficient & succeeded(status), jnp.int32(Status.SINGULAR), status)
        none = jnp.zeros_like(p)
        fields = Fields(p, None, dispersion * spread, loglik, squares, dispersion, rows, rank, status, none)
        return fields, (R, norms)

    many = bool(stack.lead)
    fields, factors = (jax.vmap(one, (0, 0, *axes)) if many else one)(p, status, *args)
    singular = fields.status == Status.SINGULAR
    null = lax.cond(
        jnp.any(singular), jax.vmap(_null) if many else _null, lambda R, norms: jnp.zeros_like(norms), *factors
    )
    return fields._replace(direction=jnp.where(singular[..., None], null, 0.0))


def _null(R: Array, norms: Array) -> Array:
    """The unit vector that J, whose columns over their norms have the factor R, takes nearest to 0."""
    R = lax.stop_gradient(jnp.where(jnp.all(jnp.isfinite(R)), R, jnp.eye(R.shape[0], dtype=R.dtype)))
    _, V = jnp.linalg.eigh(R.T @ R)
    return unit(V[:, 0] / lax.stop_gradient(norms))


def _held(p: Array, g: Array, box: Any) -> Array:
    """(n,) which parameters a bound holds against -g."""
    if not box:
        return jnp.zeros(p.shape, bool)
    ((lower, upper),) = box
    return (lower == upper) | held_by(p, g, lower, upper)


def _polished(misfit: Misfit, box: Any, p: Array, status: Array, args: Any) -> tuple[Array, Array]:
    """Newton's steps with the whole Hessian: where residuals are large, Gauss and Newton's stop digits short of p.

    Also whether that Hessian has no eigenvalue below 0 but for rounding; one that has makes no step.
    """

    def slope(p: Array) -> Array:
        """In forward mode: in reverse, a row of weight 0 where the model has no value makes it nan."""
        return jax.jacfwd(lambda p: misfit(p, *args))(p).T @ misfit(p, *args)

    slack = float(jnp.finfo(p.dtype).eps) ** (1 / 3)
    eye = jnp.eye(p.shape[0], dtype=p.dtype)

    def polish(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        p, _minimal = carry
        g = slope(p)
        held = lax.stop_gradient(_held(p, g, box))
        free = jnp.where(held, 0.0, 1.0).astype(p.dtype)
        H = lax.stop_gradient(lax.map(lambda e: jax.jvp(slope, (p,), (e,))[1], eye))  # not all at once: m n^2 numbers
        H = jnp.where(held[:, None] | held[None, :], eye, H)
        units = jnp.sqrt(jnp.abs(jnp.diagonal(H)))
        units = jnp.where(units > 0, units, 1.0)
        scaled = H / (units[:, None] * units[None, :])
        L = linalg.cholesky(scaled)
        definite = jnp.all(jnp.isfinite(L))
        inverse = linalg.cholesky_solve(jnp.where(definite, L, eye), jnp.diag(1 / units))
        new = p - (lax.stop_gradient(inverse) @ (free * g)) / units
        new = jnp.clip(new, *box[0]) if box else new
        better = jnp.sum((free * slope(new) / units) ** 2) < jnp.sum((free * g / units) ** 2)
        minimal = jnp.all(jnp.isfinite(linalg.cholesky(scaled + slack * eye))) | ~jnp.all(jnp.isfinite(H))
        return jnp.where(definite & better & succeeded(status), new, p), minimal

    return lax.fori_loop(0, POLISHES, polish, (p, jnp.ones((), bool)))
