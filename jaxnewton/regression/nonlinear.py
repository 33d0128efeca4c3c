"""Nonlinear regression: least squares by Levenberg and Marquardt's method, with its inference."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton import checks, linalg
from jaxnewton.flat import flatten
from jaxnewton.problem import SumOfSquares
from jaxnewton.regression.data import gather, widest
from jaxnewton.regression.families import Gaussian
from jaxnewton.regression.fit import Fields, Fit, as_fit
from jaxnewton.regression.given import refuse_numbers
from jaxnewton.regression.inference import over_freedom, unit
from jaxnewton.regression.solving import solve
from jaxnewton.regression.stack import Stack
from jaxnewton.solvers.common import resolution
from jaxnewton.solvers.gauss_newton import GaussNewton
from jaxnewton.solvers.levenberg_marquardt import LevenbergMarquardt
from jaxnewton.types import Array, Status, is_traced, succeeded

MAX_STEPS = 5000  # most trips by default: a far start may need thousands
POLISHES = 2  # Newton's steps with the whole Hessian, after the solver


@dataclasses.dataclass(frozen=True)
class Curve:
    """model(x, params)."""

    model: Callable[..., Any]
    x_stacked: bool = False  # whether a stack of fits has a row of x for each
    title: ClassVar[str] = "Nonlinear regression"
    letter: ClassVar[str] = "p"
    messages: ClassVar[dict[Status, str]] = {
        Status.SINGULAR: "the data do not determine all parameters",
        Status.SADDLE: "the sum of squares is stationary, but no minimum: a saddle point or a maximum",
        Status.NONFINITE: "the model is not finite at the start",
    }

    def __call__(self, X: Any, params: Array, intercept: Array | None, offset: Any) -> Array:
        if offset is not None:
            raise ValueError("offset: nonlinear regression has none")
        X = jax.tree.map(jnp.asarray, X)
        if params.ndim == 1:
            return self.model(X, params)
        stacked = params.reshape(-1, params.shape[-1])
        if self.x_stacked:
            _refuse_count(X, stacked.shape[0])
        means = jax.vmap(self.model, (0 if self.x_stacked else None, 0))(X, stacked)
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
        weighted sum of squares. SINGULAR: J has not full rank there, and nothing changes along
        ``direction``, to first order; SADDLE: the whole Hessian has a negative eigenvalue there. Covariance is then
        nan. ``predict`` takes x as here: with x_stacked one row for every fit of the stack.

    Raises:
        TypeError, ValueError: an argument is not of the form above, or not finite; the message names it and the rows.
    """
    model = checks.hashable(checks.function("model", model))
    if solver is not None and not isinstance(checks.solver(solver), (LevenbergMarquardt, GaussNewton)):
        raise ValueError(f"solver must be jn.LevenbergMarquardt() or jn.GaussNewton(); it is {solver!r}")
    x_stacked = checks.flag("x_stacked", x_stacked)
    kind, p0 = type(p0).__name__, p0 if hasattr(p0, "ndim") else np.asarray(p0)
    if p0.dtype == object:
        raise TypeError(f"p0 must be an array of the shape (..., parameters); it is of type {kind}")
    if p0.ndim < 1:
        raise ValueError("p0 must have the shape (..., parameters); it is a single number")
    y = y if hasattr(y, "ndim") else np.asarray(y)
    if y.ndim < 1:
        raise ValueError("y must have the shape (..., rows); it is a single number")
    p0 = p0 if jnp.issubdtype(p0.dtype, jnp.floating) else p0.astype(float)
    starts, _ = flatten("p0", p0.reshape(-1, p0.shape[-1]), batch=True)
    dtype = widest(p0, y)
    if y.shape[-1] == 0:
        raise ValueError(f"y has no rows: its shape is {y.shape}")
    shape = y.shape if weights is None else np.shape(weights)
    if shape[-1:] != y.shape[-1:]:
        raise ValueError(f"weights must have as many rows as y, {y.shape[-1]}; its shape is {shape}")
    try:
        lead = np.broadcast_shapes(p0.shape[:-1], y.shape[:-1], shape[:-1])
    except ValueError:
        others = "" if weights is None else f" and weights {shape}"
        raise ValueError(f"the leading axes of p0 {p0.shape} and y {y.shape}{others} do not broadcast") from None
    # no X, but as many rows and fits
    data, stack = gather(np.zeros((y.shape[-1], 0)), y, weights, None, np.zeros(lead))
    data = jax.tree.map(lambda leaf: leaf.astype(dtype), data)
    p0 = jnp.broadcast_to(starts.astype(dtype).reshape(p0.shape), (*stack.lead, p0.shape[-1]))
    for leaf in jax.tree.leaves(x):
        _refuse_x(leaf, y.shape[-1], x_stacked)
    x = jax.tree.map(lambda leaf: _in_dtype(leaf, dtype), x)
    if x_stacked and len(stack.lead) != 1:
        raise ValueError(f"x_stacked needs one leading axis of fits; y and p0 make {len(stack.lead)}")
    if x_stacked:
        _refuse_count(x, stack.fits)

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
    return as_fit(stack, fields, found.nit, Curve(model, x_stacked), True)


def _in_dtype(leaf: Any, dtype: Any) -> Array:
    leaf = jnp.asarray(leaf)
    return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def _refuse_x(leaf: Any, m: int, x_stacked: bool) -> None:
    """Raise for nan and inf in what the model takes, with the rows where it has as many as y."""
    if is_traced(leaf):
        return
    leaf, axis = np.asarray(leaf), int(x_stacked)
    if leaf.shape[axis : axis + 1] == (m,):
        refuse_numbers("x", leaf, lead=leaf.shape[:axis])
    elif leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
        raise ValueError("x must be finite; it has nan or inf")


def _refuse_count(x: Any, fits: int) -> None:
    for leaf in jax.tree.leaves(x):
        if leaf.shape[:1] != (fits,):
            raise ValueError(f"x must have one row for each of the {fits} fits (x_stacked); its shape is {leaf.shape}")


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _infer(problem: SumOfSquares, stack: Stack, axes: Any, p: Array, status: Array, args: Any) -> Fields:
    def one(p: Array, status: Array, x: Any, y: Array, weights: Array) -> tuple[Fields, tuple[Array, Array]]:
        p, minimal = _polished(problem, p, status, (x, y, weights))
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
        spread = jnp.where((rank < n) | ~minimal, jnp.nan, inverse @ inverse.T)
        loglik = Gaussian().loglik(y, weights, 0.5 * squares, dispersion, rows.astype(p.dtype))
        # residuals are differences of numbers of y's size: a gradient within their rounding says no more
        noise = 10 * jnp.finfo(p.dtype).eps * jnp.sqrt(jnp.sum(weights * y * y))
        settled = (status == Status.LINE_SEARCH_FAILED) & (jnp.max(jnp.abs(J.T @ r) / norms) <= noise)
        status = jnp.where(settled, jnp.int32(Status.NOISE_FLOOR), status)
        status = jnp.where(~minimal & succeeded(status), jnp.int32(Status.SADDLE), status)
        status = jnp.where((rank < n) & succeeded(status), jnp.int32(Status.SINGULAR), status)
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


def _polished(problem: SumOfSquares, p: Array, status: Array, args: Any) -> tuple[Array, Array]:
    """Newton's steps with the whole Hessian: where residuals are large, Gauss and Newton's stop digits short of p.

    Also whether that Hessian has no eigenvalue below 0 but for rounding; one that has makes no step.
    """

    def slope(p: Array) -> Array:
        """In forward mode: in reverse, a row of weight 0 where the model has no value makes it nan."""
        return jax.jacfwd(lambda p: problem.fun(p, *args))(p).T @ problem.fun(p, *args)

    slack = float(jnp.finfo(p.dtype).eps) ** (1 / 3)
    eye = jnp.eye(p.shape[0], dtype=p.dtype)

    def polish(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        p, _minimal = carry
        g = slope(p)
        H = lax.stop_gradient(lax.map(lambda e: jax.jvp(slope, (p,), (e,))[1], eye))  # not all at once: m n^2 numbers
        units = jnp.sqrt(jnp.abs(jnp.diagonal(H)))
        units = jnp.where(units > 0, units, 1.0)
        scaled = H / (units[:, None] * units[None, :])
        L = linalg.cholesky(scaled)
        definite = jnp.all(jnp.isfinite(L))
        inverse = linalg.cholesky_solve(jnp.where(definite, L, eye), jnp.diag(1 / units))
        new = p - (lax.stop_gradient(inverse) @ g) / units
        better = jnp.sum((slope(new) / units) ** 2) < jnp.sum((g / units) ** 2)
        minimal = jnp.all(jnp.isfinite(linalg.cholesky(scaled + slack * eye))) | ~jnp.all(jnp.isfinite(H))
        return jnp.where(definite & better & succeeded(status), new, p), minimal

    return lax.fori_loop(0, POLISHES, polish, (p, jnp.ones((), bool)))
