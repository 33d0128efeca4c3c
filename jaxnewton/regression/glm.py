"""Generalised linear models by Newton's method with Fisher's information (McCullagh & Nelder 1989, section 2.5)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnewton import checks
from jaxnewton.door import Task, solve_many, solve_one
from jaxnewton.problem import Problem
from jaxnewton.regression import inference
from jaxnewton.regression.data import (
    Columns, Data, Stack, back, gather, over_stack, penalties, refuse_values, standardise,
)  # fmt: skip
from jaxnewton.regression.families import Family, family_and_link
from jaxnewton.regression.fit import Fit
from jaxnewton.regression.links import Link
from jaxnewton.solvers.newton import Newton
from jaxnewton.types import Array, Evaluation, Needs

MAX_STEPS = 100  # most trips by default; a separated fit spends them all


@dataclasses.dataclass(frozen=True)
class Likelihood(Problem):
    """Half the deviance (for a dispersion of 1) and half the ridge's penalty, in the coefficients of standardised
    columns; ``H`` is Fisher's information. args: Z (m, q), y, weights, offset, penalty (q,)."""

    family: Family
    link: Link

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        Z, y, weights, offset, penalty = args
        term = self.family.term(self.link, y, Z @ x + offset)
        counted = weights > 0
        deviance, score, information = (jnp.where(counted, weights * part, 0.0) for part in term)
        f = jnp.sum(deviance) + 0.5 * jnp.sum(penalty * x * x)
        g = penalty * x - score @ Z
        return Evaluation(
            f, g, None if needs is Needs.GRADIENT else (information[:, None] * Z).T @ Z + jnp.diag(penalty)
        )


@dataclasses.dataclass(frozen=True)
class Predictor:
    """mu(X params + intercept + offset)."""

    family: Family
    link: Link

    @property
    def title(self) -> str:
        return f"Generalised linear model: {self.family.name}, {self.link.name} link"

    def __call__(self, X: Any, params: Array, intercept: Array | None, offset: Any) -> Array:
        eta = linear_predictor(X, params, offset)
        return self.family.mean(self.link, eta if intercept is None else eta + intercept[..., None])


def linear_predictor(X: Any, params: Array, offset: Any) -> Array:
    """X params + offset for X (..., k, p) and params (..., p).

    Raises:
        ValueError: X has not as many columns as there are params.
    """
    X = jnp.asarray(X, params.dtype)
    p = params.shape[-1]
    if X.ndim < 2 or X.shape[-1] != p:
        raise ValueError(f"X must have the shape (..., rows, {p}); it has {X.shape}")
    eta = jnp.matmul(X, params[..., None])[..., 0]
    return eta if offset is None else eta + jnp.asarray(offset, eta.dtype)


def glm(
    X: Any,
    y: Any,
    *,
    family: str | Family = "binomial",
    link: str | None = None,
    intercept: bool = True,
    ridge: Any = 0.0,
    weights: Any = None,
    offset: Any = None,
    tol: float | None = None,
    max_steps: int | None = None,
) -> Fit:
    """Fit a generalised linear model, or a stack of them in the pool.

    Minimises -loglik + ridge/2 ||params||^2 at a dispersion of 1. Works under ``jit`` and ``vmap``; there, what needs
    values is not checked.

    Args:
        X: (..., m, p) rows of observations, without a column for the intercept.
        y: (..., m). Leading axes of all arguments broadcast; an argument without them is shared by all fits.
        family: "gaussian", "binomial", "poisson", "gamma", "inverse-gaussian" or
            ``jn.regression.NegativeBinomial(dispersion)``.
        link: "identity", "log", "logit", "probit", "cloglog", "inverse" or "inverse-squared", as the family allows;
            default: the canonical one; log for the negative binomial.
        intercept: whether to fit one. It is not penalised.
        ridge: (...,) at least 0.
        weights: (..., m) of the rows, at least 0: a row's dispersion is divided by its weight. For counts and shares
            of trials that is the number of them.
        offset: (..., m) added to the linear predictor.
        tol: as for ``jn.minimize``, of the gradient in standardised columns.
        max_steps: most trips; default 100.

    Returns:
        A Fit. Status SEPARATED: no estimate exists, since the likelihood rises for ever along ``direction`` (Albert &
        Anderson 1984); SINGULAR: the columns do not determine all coefficients, nothing changes along ``direction``.
        With ridge > 0, covariance is the inverse of the penalised information.

    Raises:
        TypeError, ValueError: an argument is not of the form above, or not finite; the message names it and the rows.
    """
    chosen, means = family_and_link(family, link)
    intercept = checks.flag("intercept", intercept)
    data, stack = gather(X, y, weights, offset, ridge)
    refuse_values("y", y, *chosen.wrong(data.y) if not isinstance(data.y, jax.core.Tracer) else (None, ""))
    problem = Likelihood(chosen, means)
    columns, penalty, start = _prepare(problem, intercept, stack.axes, data)
    args = (columns.Z, data.y, data.weights, data.offset, penalty)
    axes = arg_axes(stack.axes)
    found = solve(problem, start, args, axes, stack, tol, max_steps or MAX_STEPS)
    fields = _infer(problem, intercept, stack.axes, data, columns, penalty, found.x, found.status)
    return as_fit(stack, fields, found.nit, Predictor(chosen, means), chosen.dispersed)


def logistic(X: Any, y: Any, **options: Any) -> Fit:
    """Logistic regression: ``glm`` of the binomial family with the logit link, which is where its options are told.

    Args:
        X: (..., m, p).
        y: (..., m) 0 or 1, or the share of successes in ``weights`` trials.
        options: intercept, ridge, weights, offset, tol, max_steps.
    """
    return _of_family("logistic", X, y, "binomial", "logit", options)


def poisson(X: Any, y: Any, **options: Any) -> Fit:
    """Poisson regression: ``glm`` of the Poisson family with the log link, which is where its options are told.

    Args:
        X: (..., m, p).
        y: (..., m) counts, or rates with ``weights`` for the exposures.
        options: intercept, ridge, weights, offset, tol, max_steps.
    """
    return _of_family("poisson", X, y, "poisson", "log", options)


OPTIONS = ("intercept", "ridge", "weights", "offset", "tol", "max_steps")


def _of_family(verb: str, X: Any, y: Any, family: str, link: str, options: dict[str, Any]) -> Fit:
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"{verb} has no option {name!r}; it has {', '.join(OPTIONS)}")
    return glm(X, y, family=family, link=link, **options)


def arg_axes(axes: Data) -> tuple[int | None, ...]:
    """Of Z, y, weights, offset and penalty."""
    return (axes.X, axes.y, axes.weights, axes.offset, 0 if 0 in (axes.X, axes.ridge) else None)


def solve(
    problem: Problem, start: Array, args: Any, axes: Any, stack: Stack, tol: Any, max_steps: Any, solver: Any = None
) -> Any:
    """A Solution, or Solutions of a stack."""
    task = Task(lambda structure, given: (problem, given), lambda n: solver or Newton(), hessians=True)
    if not stack.lead:
        return solve_one(task, start, args, tol=tol, max_steps=max_steps)
    return solve_many(
        task,
        start,
        args,
        args_axes=axes,
        tol=tol,
        max_steps=max_steps,
        width=None,
        keep=None,
        devices=None,
        progress=False,
    )


class Fields(NamedTuple):
    """Those of Fit that inference makes."""

    params: Array
    intercept: Array | None
    joint_covariance: Array
    loglik: Array
    deviance: Array
    dispersion: Array
    rows: Array
    rank: Array
    status: Array
    direction: Array


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _prepare(problem: Likelihood, intercept: bool, axes: Data, data: Data) -> tuple[Columns, Array, Array]:
    columns = over_stack(lambda X: standardise(X, intercept), (axes.X,), data.X)
    penalty = over_stack(
        lambda scale, ridge: penalties(scale, ridge, intercept), (axes.X, axes.ridge), columns.scale, data.ridge
    )

    def first(Z: Array, y: Array, weights: Array, offset: Array, penalty: Array) -> Array:
        return _start(problem, intercept, Z, y, weights, offset)

    args = (columns.Z, data.y, data.weights, data.offset, penalty)
    return columns, penalty, over_stack(first, arg_axes(axes), *args)


def _start(problem: Likelihood, intercept: bool, Z: Array, y: Array, weights: Array, offset: Array) -> Array:
    """The model of the mean alone; without an intercept 0, or a fit to the links of means drawn to the overall one."""
    q = Z.shape[1]
    weights = jnp.broadcast_to(weights, y.shape)
    mean = jnp.sum(weights * y) / jnp.sum(weights)
    if problem.family.name == "binomial":
        mean = (jnp.sum(weights * y) + 0.5) / (jnp.sum(weights) + 1)
    elif problem.family.name != "gaussian":
        mean = jnp.where(mean > 0, mean, 0.5 / jnp.sum(weights))
    if intercept:
        level = problem.link.forward(mean) - jnp.sum(weights * offset) / jnp.sum(weights)
        return jnp.zeros(q, Z.dtype).at[0].set(level)
    if problem.link.everywhere or problem.family.name == "gaussian":
        return jnp.zeros(q, Z.dtype)
    eta = problem.link.forward(0.5 * (y + mean)) - offset
    root = jnp.sqrt(weights)
    return jnp.linalg.lstsq(root[:, None] * Z, root * eta)[0]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _infer(
    problem: Likelihood,
    intercept: bool,
    axes: Data,
    data: Data,
    columns: Columns,
    penalty: Array,
    theta: Array,
    status: Array,
) -> Fields:
    q = columns.Z.shape[-1]
    X_axes = Columns(axes.X, axes.X, axes.X)  # pyright: ignore
    inner = arg_axes(axes)
    of = 0 if any(axis == 0 for axis in jax.tree.leaves(axes)) else None

    def one(
        theta: Array, status: Array, columns: Columns, y: Array, weights: Array, offset: Array, penalty: Array
    ) -> Any:
        args = (columns.Z, y, weights, offset, penalty)
        f, g, H = problem.evaluate(theta, args, Needs.HESSIAN)
        eta = columns.Z @ theta + offset
        weights = jnp.broadcast_to(weights, y.shape)
        mu = problem.family.mean(problem.link, eta)
        half = 2 * (f - 0.5 * jnp.sum(penalty * theta * theta))
        rows = jnp.sum(weights > 0, dtype=jnp.int32)
        pearson = jnp.sum(jnp.where(weights > 0, weights * (y - mu) ** 2 / problem.family.variance(mu), 0.0))
        return H, g, eta, half, rows, pearson

    each = (of, of, X_axes, *inner[1:])
    H, g, eta, deviance, rows, pearson = over_stack(
        one, each, theta, status, columns, data.y, data.weights, data.offset, penalty
    )
    back_to = over_stack(lambda c, s: back(c, s, intercept), (axes.X, axes.X), columns.center, columns.scale)
    many = (lambda leaf: leaf) if of == 0 else (lambda leaf: leaf[None])
    curvature = inference.invert(many(H))
    inverse, rank, null = curvature if of == 0 else jax.tree.map(lambda leaf: leaf[0], curvature)

    dispersion = jnp.ones_like(deviance)
    if problem.family.dispersed:
        df = (rows - rank).astype(deviance.dtype)
        dispersion = jnp.where(df > 0, pearson / jnp.where(df > 0, df, 1.0), jnp.nan)

    def loglik(y: Array, weights: Array, eta: Array, dispersion: Array, rows: Array) -> Array:
        weights = jnp.broadcast_to(weights, y.shape)
        return problem.family.loglik(problem.link, y, eta, weights, dispersion, rows.astype(eta.dtype))

    likelihood = over_stack(loglik, (axes.y, axes.weights, of, of, of), data.y, data.weights, eta, dispersion, rows)
    separated, way = _separation(problem, axes, data, columns.Z, penalty, theta, status, H, g, of)
    status = inference.verdicts(status, separated, rank, q)
    direction = jnp.where(jnp.expand_dims(separated, -1), way, null)

    def finish(
        T: Array, theta: Array, inverse: Array, direction: Array, dispersion: Array
    ) -> tuple[Array, Array, Array]:
        there = T @ direction
        length = jnp.sqrt(jnp.sum(there * there))
        return T @ theta, dispersion * (T @ inverse @ T.T), there / jnp.where(length > 0, length, 1.0)

    inverse = jnp.where(separated[..., None, None], jnp.nan, inverse)  # of no estimate

    coefficients, covariance, direction = over_stack(
        finish, (axes.X, of, of, of, of), back_to, theta, inverse, direction, dispersion
    )
    first = coefficients[..., 0] if intercept else None
    params = coefficients[..., 1:] if intercept else coefficients
    return Fields(params, first, covariance, likelihood, deviance, dispersion, rows, rank, status, direction)


def _separation(
    problem: Likelihood,
    axes: Data,
    data: Data,
    Z: Array,
    penalty: Array,
    theta: Array,
    status: Array,
    H: Array,
    g: Array,
    of: Any,
) -> tuple[Array, Array]:
    """Which fits have separated classes, and along what; only looked for where a fit did not end well."""
    nowhere = jnp.zeros(status.shape, bool), jnp.zeros_like(theta)
    if problem.family.name != "binomial":
        return nowhere

    def one(theta: Array, H: Array, g: Array, status: Array, *args: Array) -> tuple[Array, Array]:
        Z, y, weights, _, penalty = args
        counts = jnp.broadcast_to(weights > 0, y.shape)
        free = jnp.max(penalty, initial=0.0) == 0

        def along(way: Array) -> tuple[Array, Array]:
            length = jnp.sqrt(jnp.sum(way * way))
            way = way / jnp.where(length > 0, length, 1.0)
            moved = Z @ way
            margins = jnp.where(y >= 1, moved, jnp.where(y <= 0, -moved, -jnp.abs(moved)))
            return inference.separates(margins, counts), way

        finite = jnp.all(jnp.isfinite(H))
        step = inference.newton_step(jnp.where(finite, H, jnp.eye(H.shape[0], dtype=H.dtype)), g)
        (last, way), (whole, total) = along(step), along(theta)
        ended_well = inference.succeeded(status)
        return free & ~ended_well & (last | whole), jnp.where(last, way, total)

    def look() -> tuple[Array, Array]:
        args = (Z, data.y, data.weights, data.offset, penalty)
        return over_stack(one, (of, of, of, of, *arg_axes(axes)), theta, H, g, status, *args)

    return jax.lax.cond(jnp.all(inference.succeeded(status)), lambda: nowhere, look)


def as_fit(stack: Stack, fields: Fields, nit: Array, response: Any, student: bool) -> Fit:
    """The Fit of inference's fields, stacked as the data were."""
    return Fit(**stack.restore(fields._asdict() | {"nit": nit}), response=response, student=student)
