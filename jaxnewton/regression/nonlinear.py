"""Nonlinear regression: least squares by Levenberg and Marquardt's method, with its inference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks, linalg
from jaxnewton.flat import flat_bounds, flatten, vector_structure
from jaxnewton.problem import SumOfSquares
from jaxnewton.regression.data import gather, widest
from jaxnewton.regression.fit import Fit, as_fit
from jaxnewton.regression.given import refuse_numbers
from jaxnewton.regression.misfit import Misfit, infer
from jaxnewton.regression.solving import solve
from jaxnewton.solvers.gauss_newton import GaussNewton
from jaxnewton.solvers.levenberg_marquardt import LevenbergMarquardt
from jaxnewton.types import Array, Bounds, Status, default_tol, is_traced

MAX_STEPS = 5000  # most trips by default: a far start may need thousands


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


@linalg.full_products()
def nonlinear(
    model: Callable[..., Any],
    x: Any,
    y: Any,
    p0: Any,
    *,
    x_stacked: bool = False,
    weights: Any = None,
    bounds: Bounds | None = None,
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
        bounds: ``jn.Bounds(lower, upper)`` of the parameters, numbers or (p,), for all fits. A parameter that a bound
            holds is inferred nothing of (its standard error is nan), and all else as if it were known.
        solver: ``jn.LevenbergMarquardt()`` (default), or ``jn.GaussNewton()``, which knows no bounds.
        tol: of the gradient, as for ``jn.least_squares``; default: none. A fit then ends as CONVERGED where the cosines
            of the angles between residuals and J's columns are at most the solver's ``gtol`` (1e-8 by default, 1e-5
            in single precision), and else, as where residuals are but rounding, as NOISE_FLOOR.
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
    if bounds is not None and isinstance(solver, GaussNewton):
        raise ValueError(f"bounds need solver=jn.LevenbergMarquardt(); the solver is {solver!r}")
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

    problem = SumOfSquares(Misfit(model), bounded=bounds is not None)
    box = () if bounds is None else (flat_bounds(bounds, vector_structure(p0.shape[-1], dtype)),)
    args, axes = (x, data.y, data.weights), (0 if x_stacked else None, stack.axes.y, stack.axes.weights)
    solver = solver or LevenbergMarquardt()
    if tol is None and solver.gtol is None:
        solver = dataclasses.replace(solver, gtol=default_tol(dtype))
    found = solve(
        problem,
        solver,
        p0.reshape(-1, p0.shape[-1]) if stack.lead else p0,
        args,
        axes,
        stack,
        ahead=box,
        tol=float(jnp.finfo(dtype).eps) ** 2 if tol is None else tol,
        max_steps=MAX_STEPS if max_steps is None else max_steps,
    )
    fields = infer(problem.fun, stack, axes, box, found.x, found.status, args)
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
