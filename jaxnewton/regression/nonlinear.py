"""Nonlinear regression: least squares by Levenberg and Marquardt's method, with its inference."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton import checks, linalg
from jaxnewton.flat import flatten
from jaxnewton.problem import SumOfSquares
from jaxnewton.regression.data import Stack, gather, widest
from jaxnewton.regression.families import Gaussian
from jaxnewton.regression.fit import Fields, Fit, as_fit
from jaxnewton.regression.glm import solve
from jaxnewton.regression.inference import over_freedom
from jaxnewton.solvers.common import resolution
from jaxnewton.solvers.levenberg_marquardt import GaussNewton, LevenbergMarquardt
from jaxnewton.types import Array, Status, succeeded

MAX_STEPS = 5000  # most trips by default: a far start may need thousands
POLISHES = 2  # Newton's steps with the whole Hessian, after the solver


@dataclasses.dataclass(frozen=True)
class Curve:
    """model(x, params)."""

    model: Callable[..., Any]
    title = "Nonlinear regression"
    letter = "p"

    def __call__(self, X: Any, params: Array, intercept: Array | None, offset: Any) -> Array:
        if offset is not None:
            raise ValueError("offset: nonlinear regression has none")
        X, stacked = jax.tree.map(jnp.asarray, X), params.reshape(-1, params.shape[-1])
        means = jax.vmap(self.model, (None, 0))(X, stacked)
        return means.reshape(*params.shape[:-1], *means.shape[1:])


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


@linalg.full_products()
def nonlinear(
    model: Callable[..., Any],
    x: Any,
    y: Any,
    p0: Any,
    *,
    x_stacked: bool = False,
    weights: Any = None,
    solver: LevenbergMarquardt | GaussNewton | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
) -> Fit:
    """Fit y = model(x, p) by least squares: one fit, many data, many starts, or both. Works under ``jit`` and ``vmap``.

    Args:
        model: ``model(x, p) -> (m,)``, of JAX operations.
        x: what the model takes: an array or a pytree, shared by all fits unless ``x_stacked``.
        y: (..., m).
        p0: (..., p) starts. Leading axes of y, weights and p0 broadcast, and each has its own fit: p0 (1000, p) with
            y (m,) are 1000 fits of the same data, of which ``.best`` is the one to keep.
        x_stacked: x has one row for every fit along its leading axis; there is then one leading axis.
        weights: (..., m) at least 0: the variance of a row is the dispersion over its weight.
        solver: ``jn.LevenbergMarquardt()`` (default), or ``jn.GaussNewton()``.
        tol: of the gradient, as for ``jn.least_squares``; default: none, a fit goes on until no further decrease is
            representable, and ends as NOISE_FLOOR.
        max_steps: most trips; default 5000.

    Returns:
        A Fit without intercept, with Student's t for its tests and the covariance dispersion (J'J)^-1; deviance: the
        weighted sum of squares. SINGULAR: J has not full rank there, and covariance is nan.

    Raises:
        TypeError, ValueError: an argument is not of the form above, or not finite; the message names it and the rows.
    """
    model = checks.hashable(checks.function("model", model))
    if solver is not None and not isinstance(checks.solver(solver), (LevenbergMarquardt, GaussNewton)):
        raise ValueError(f"solver must be jn.LevenbergMarquardt() or jn.GaussNewton(); it is {solver!r}")
    x_stacked = checks.flag("x_stacked", x_stacked)
    p0 = p0 if hasattr(p0, "ndim") else np.asarray(p0)
    if p0.ndim < 1:
        raise ValueError("p0 must have the shape (..., parameters); it is a single number")
    y = y if hasattr(y, "ndim") else np.asarray(y)
    if y.ndim < 1:
        raise ValueError("y must have the shape (..., rows); it is a single number")
    p0 = p0 if jnp.issubdtype(p0.dtype, jnp.floating) else p0.astype(float)
    starts, _ = flatten("p0", p0.reshape(-1, p0.shape[-1]), batch=True)
    dtype = widest(p0, y)
    try:
        lead = np.broadcast_shapes(p0.shape[:-1], y.shape[:-1])
    except ValueError:
        raise ValueError(f"the leading axes of p0 {p0.shape} and y {y.shape} do not broadcast") from None
    # no X, but as many rows and fits
    data, stack = gather(np.zeros((y.shape[-1], 0)), y, weights, None, np.zeros(lead))
    data = jax.tree.map(lambda leaf: leaf.astype(dtype), data)
    p0 = jnp.broadcast_to(starts.astype(dtype).reshape(p0.shape), (*stack.lead, p0.shape[-1]))
    x = jax.tree.map(lambda leaf: _in_dtype(leaf, dtype), x)
    if x_stacked and len(stack.lead) != 1:
        raise ValueError(f"x_stacked needs one leading axis of fits; y and p0 make {len(stack.lead)}")

    problem = SumOfSquares(Misfit(model))
    args, axes = (x, data.y, data.weights), (0 if x_stacked else None, stack.axes.y, stack.axes.weights)
    found = solve(
        problem,
        solver or LevenbergMarquardt(),
        p0.reshape(-1, p0.shape[-1]) if stack.lead else p0,
        args,
        axes,
        stack,
        tol=float(jnp.finfo(dtype).eps) ** 2 if tol is None else tol,
        max_steps=MAX_STEPS if max_steps is None else max_steps,
    )
    fields = _infer(problem, stack, axes, found.x, found.status, args)
    return as_fit(stack, fields, found.nit, Curve(model), True)


def _in_dtype(leaf: Any, dtype: Any) -> Array:
    leaf = jnp.asarray(leaf)
    return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _infer(problem: SumOfSquares, stack: Stack, axes: Any, p: Array, status: Array, args: Any) -> Fields:
    def one(p: Array, status: Array, x: Any, y: Array, weights: Array) -> Fields:
        p = _polished(problem, p, status, (x, y, weights))
        r, J = problem.fun(p, x, y, weights), jax.jacfwd(problem.fun)(p, x, y, weights)
        n = p.shape[0]
        weights = jnp.broadcast_to(weights, y.shape)
        rows = jnp.sum(weights > 0, dtype=jnp.int32)
        squares = jnp.sum(r * r)
        norms = jnp.sqrt(jnp.sum(J * J, axis=0))
        norms = jnp.where(norms > 0, norms, 1.0)
        unit = jnp.pad(J / norms[None, :], ((0, max(n - J.shape[0], 0)), (0, 0)))
        R, _ = linalg.qr_reduce(unit, jnp.zeros(unit.shape[0], p.dtype))
        diagonal = jnp.abs(jnp.diagonal(R))
        zero = 0.1 * resolution(jnp.ones_like(squares), n)
        rank = jnp.sum(diagonal > zero, dtype=jnp.int32)
        inverse = jax.vmap(lambda e: linalg.back_substitute(R, e), out_axes=1)(jnp.eye(n, dtype=p.dtype))
        inverse = inverse / norms[:, None]
        dispersion = over_freedom(squares, rows, rank)
        spread = jnp.where(rank < n, jnp.nan, inverse @ inverse.T)
        loglik = Gaussian().loglik(y, y, 0.5 * squares, weights, dispersion, rows.astype(p.dtype))
        # residuals are differences of numbers of y's size: a gradient within their rounding says no more
        noise = 10 * jnp.finfo(p.dtype).eps * jnp.sqrt(jnp.sum(weights * y * y))
        settled = (status == Status.LINE_SEARCH_FAILED) & (jnp.max(jnp.abs(J.T @ r) / norms) <= noise)
        status = jnp.where(settled, jnp.int32(Status.NOISE_FLOOR), status)
        status = jnp.where((rank < n) & succeeded(status), jnp.int32(Status.SINGULAR), status)
        return Fields(p, None, dispersion * spread, loglik, squares, dispersion, rows, rank, status, jnp.zeros_like(p))

    if not stack.lead:
        return one(p, status, *args)
    return jax.vmap(one, (0, 0, *axes))(p, status, *args)


def _polished(problem: SumOfSquares, p: Array, status: Array, args: Any) -> Array:
    """Newton's steps with the whole Hessian: where residuals are large, Gauss and Newton's stop digits short of p."""

    def slope(p: Array) -> Array:
        return jax.grad(lambda p: 0.5 * jnp.sum(problem.fun(p, *args) ** 2))(p)

    def polish(_: int, p: Array) -> Array:
        g, H = slope(p), lax.stop_gradient(jax.jacfwd(slope)(p))
        units = jnp.sqrt(jnp.abs(jnp.diagonal(H)))
        units = jnp.where(units > 0, units, 1.0)
        eye = jnp.eye(p.shape[0], dtype=p.dtype)
        L = linalg.cholesky(H / (units[:, None] * units[None, :]))
        definite = jnp.all(jnp.isfinite(L))
        inverse = linalg.cholesky_solve(jnp.where(definite, L, eye), jnp.diag(1 / units))
        new = p - (lax.stop_gradient(inverse) @ g) / units
        better = jnp.sum((slope(new) / units) ** 2) < jnp.sum((g / units) ** 2)
        return jnp.where(definite & better & succeeded(status), new, p)

    return lax.fori_loop(0, POLISHES, polish, p)
