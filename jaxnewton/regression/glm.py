"""Generalised linear models by Newton's method with Fisher's information (McCullagh & Nelder 1989, section 2.5)."""

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
from jaxnewton.placement import at_hand
from jaxnewton.regression import blocks, discriminant, inference
from jaxnewton.regression.data import Columns, Data, formed, gather
from jaxnewton.regression.families import Family, family_and_link
from jaxnewton.regression.fit import Fields, Fit, as_fit
from jaxnewton.regression.fitting import fitted
from jaxnewton.regression.given import frame_columns, refuse_values
from jaxnewton.regression.likelihood import Likelihood
from jaxnewton.regression.links import Link
from jaxnewton.regression.rows import is_large
from jaxnewton.regression.solving import arg_axes, fit_likelihood, prepare, rules
from jaxnewton.regression.stack import ONE, Stack, over_stack
from jaxnewton.types import Array, Outcome, is_traced


@dataclasses.dataclass(frozen=True)
class Predictor:
    """mu(X params + intercept + offset)."""

    family: Family
    link: Link
    name: str = ""  # of the model, where it has one of its own

    @property
    def title(self) -> str:
        return self.name or f"Generalised linear model: {self.family.name}, {self.link.name} link"

    def __call__(self, X: Any, params: Array, intercept: Array | None, offset: Any) -> Array:
        eta = linear_predictor(X, params, offset)
        return self.family.mean(self.link, eta if intercept is None else eta + intercept[..., None])


@linalg.full_products()
def linear_predictor(X: Any, params: Array, offset: Any) -> Array:
    """X params + offset for X (..., k, p) and params (..., p).

    Raises:
        ValueError: X has not as many columns as there are params, or offset not as many rows as X.
    """
    X = jnp.asarray(X, params.dtype)
    p = params.shape[-1]
    if X.ndim < 2 or X.shape[-1] != p:
        raise ValueError(f"X must have the shape (..., rows, {p}); it has {X.shape}")
    eta = jnp.matmul(X, params[..., None])[..., 0]
    if offset is None:
        return eta
    offset = jnp.asarray(offset, eta.dtype)
    if offset.ndim and offset.shape[-1] != eta.shape[-1]:
        raise ValueError(f"offset must have as many rows as X, {eta.shape[-1]}; its shape is {offset.shape}")
    return eta + offset


@linalg.full_products()
def glm(
    X: Any,
    y: Any = None,
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
        X: (..., m, p) rows of observations, without a column for the intercept. One fit of more than 4 million entries
            goes through them in blocks, and copies none but a block: NumPy's arrays and memory maps stay where they
            are. ``jn.regression.Blocks(source)`` for rows that are nowhere whole.
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
        A Fit. Status SEPARATED: no estimate exists, since the likelihood rises for ever along ``direction``: that of
        classes (Albert & Anderson 1984), and with a log link that of counts where it changes no row that has any and
        lowers the mean of some that have none. SINGULAR: the columns do not determine all coefficients, nothing changes
        along ``direction``. With ridge > 0, covariance is the inverse of the penalised information; rank is still
        how many coefficients the data alone determine.

    Raises:
        TypeError, ValueError: an argument is not of the form above, or not finite; the message names it and the rows.
    """
    chosen, means = family_and_link(family, link)
    intercept = checks.flag("intercept", intercept)
    problem, response = Likelihood(chosen, means), Predictor(chosen, means)
    if is_large(X, y, weights, offset, ridge):
        fields, nit = blocks.fit(
            problem, X, y, weights, offset, ridge=ridge, intercept=intercept, tol=tol, max_steps=max_steps
        )
        return as_fit(ONE, fields, nit, response, chosen.dispersed)
    data, stack = gather(X, y, weights, offset, ridge)
    if not is_traced(data.y):
        refuse_values("y", data.y, *chosen.wrong(at_hand(data.y)))
    fields, nit = fitted(_fit, (problem, intercept, *rules(tol, max_steps)), stack, data)
    return as_fit(stack, fields, nit, response, chosen.dispersed, frame_columns(X))


def logistic(
    X: Any,
    y: Any = None,
    *,
    intercept: bool = True,
    ridge: Any = 0.0,
    weights: Any = None,
    offset: Any = None,
    tol: float | None = None,
    max_steps: int | None = None,
) -> Fit:
    """Logistic regression: ``glm`` of the binomial family with the logit link, where the arguments are told.

    Args:
        X: (..., m, p).
        y: (..., m) 0 or 1, or the share of successes in ``weights`` trials.
        intercept, ridge, weights, offset, tol, max_steps: as for ``glm``.
    """
    return glm(
        X,
        y,
        family="binomial",
        intercept=intercept,
        ridge=ridge,
        weights=weights,
        offset=offset,
        tol=tol,
        max_steps=max_steps,
    )


def poisson(
    X: Any,
    y: Any = None,
    *,
    intercept: bool = True,
    ridge: Any = 0.0,
    weights: Any = None,
    offset: Any = None,
    tol: float | None = None,
    max_steps: int | None = None,
) -> Fit:
    """Poisson regression: ``glm`` of the Poisson family with the log link, where the arguments are told.

    Args:
        X: (..., m, p).
        y: (..., m) counts, or rates with ``weights`` for the exposures.
        intercept, ridge, weights, offset, tol, max_steps: as for ``glm``.

    Returns:
        A Fit, SEPARATED where no estimate exists: as of a group of which all counts are 0.
    """
    return glm(
        X,
        y,
        family="poisson",
        intercept=intercept,
        ridge=ridge,
        weights=weights,
        offset=offset,
        tol=tol,
        max_steps=max_steps,
    )


def _fit(
    problem: Likelihood, intercept: bool, tol: Any, max_steps: int, look: bool, stack: Stack, data: Data
) -> tuple[tuple[Fields, Array], Array]:
    """As ``fitted`` wants it: the fields and the trips."""
    columns, start, args = _prepare(problem, intercept, stack, data)
    found = fit_likelihood(problem, start, args, stack, tol, max_steps)
    fields, doubtful = _infer(problem, look, stack, columns, args, found)
    return (fields, found.nit), doubtful


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _prepare(problem: Likelihood, intercept: bool, stack: Stack, data: Data) -> tuple[Columns, Array, tuple[Any, ...]]:
    columns, args = prepare(intercept, stack, data)
    first = functools.partial(_start, problem, intercept)
    *own, _ = axes = arg_axes(stack)
    if stack.lead and not any(axis == 0 for axis in own):  # ridge alone is stacked: all go through the same rows
        design, y, weights, offset, penalty = args
        start = first(design, y, weights, offset, jnp.median(penalty, axis=0))
        return columns, jnp.broadcast_to(start, (stack.fits, *start.shape)), args
    return columns, over_stack(first, axes, *args), args


def _start(
    problem: Likelihood, intercept: bool, design: Any, y: Array, weights: Array, offset: Array, penalty: Array
) -> Array:
    """The likelihood's own; a logistic fit goes ahead from there, but not in float32: its tolerance is relative to the
    gradient at its start, and from so near a one would ask for less than rounding leaves.
    """
    Z = formed(design)
    q = Z.shape[0]
    weights = jnp.broadcast_to(weights, y.shape)
    level = jnp.sum(weights * y), jnp.sum(weights), jnp.sum(weights * offset)

    def fit_to(predictors: Callable[[Array], Array]) -> Array:
        root = jnp.sqrt(weights)
        system = lax.stop_gradient(((root[None, :] * Z).T, root * (predictors(y) - offset)))
        return linalg.one_by_one(lambda A, b: jnp.linalg.lstsq(A, b)[0])(*system)

    start = problem.start(q, intercept, level, fit_to)
    if discriminant.serves(problem) and Z.dtype == jnp.float64:
        start, *given = lax.stop_gradient((start, Z, y, weights, offset, penalty))
        return discriminant.ahead(start, intercept, *given)
    return start


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _infer(
    problem: Likelihood, look: bool, stack: Stack, columns: Columns, args: tuple[Any, ...], found: Outcome
) -> tuple[Fields, Array]:
    of, each = stack.axis, arg_axes(stack)
    end, found, doubtful = inference.conclude(problem, look, stack, columns, each, args, found)
    family = problem.family
    _, y, weights, _, penalty = args

    def eta(theta: Array, design: Any, offset: Array) -> Array:
        return theta @ formed(design) + offset

    def by_rows(theta: Array, design: Any, y: Array, weights: Array, offset: Array, _: Array) -> Array:
        excess = family.excess(problem.link, y, eta(theta, design, offset))
        return jnp.sum(jnp.where(weights > 0, weights * excess, 0.0))

    # the loss is half the deviance already, unless the data themselves would have some: then once more by rows
    loss = found.fun - 0.5 * jnp.sum(jnp.broadcast_to(penalty, found.x.shape) * found.x**2, axis=-1)
    shape = np.broadcast_shapes(y.shape, weights.shape)
    half = lax.cond(
        linalg.anywhere(jnp.broadcast_to(family.cancels(y), shape) & jnp.broadcast_to(weights > 0, shape)),
        lambda: over_stack(by_rows, (of, *each), found.x, *args),
        lambda: loss,
    )

    def rest(theta: Array, rank: Array, half: Array, *args: Any) -> tuple[Array, Array, Array, Array]:
        design, y, weights, offset, _ = args
        weights = jnp.broadcast_to(weights, y.shape)
        rows = jnp.sum(weights > 0, dtype=jnp.int32)
        dispersion = jnp.ones((), theta.dtype)
        if family.dispersed:
            mu = family.mean(problem.link, eta(theta, design, offset))
            pearson = jnp.where(weights > 0, weights * (y - mu) ** 2 / family.variance(mu), 0.0)
            dispersion = inference.over_freedom(jnp.sum(pearson), rows, rank)
        loglik = family.loglik(y, weights, half, dispersion, rows.astype(theta.dtype))
        return loglik, jnp.maximum(2 * half, 0.0), dispersion, rows

    loglik, deviance, dispersion, rows = over_stack(rest, (of, of, of, *each), found.x, end.rank, half, *args)
    fields = inference.fields(
        problem, end, columns.intercept, loglik=loglik, deviance=deviance, dispersion=dispersion, rows=rows
    )
    return fields, doubtful
