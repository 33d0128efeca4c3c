"""Linear least squares by Householder's QR, refined with residuals of twice the precision (Bjorck 1967)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton import checks, linalg
from jaxnewton.regression import blocks, precise
from jaxnewton.regression.data import Columns, Data, back, gather, penalties, standardise
from jaxnewton.regression.families import Gaussian
from jaxnewton.regression.fit import Fields, Fit, as_fit
from jaxnewton.regression.given import frame_columns
from jaxnewton.regression.glm import Predictor
from jaxnewton.regression.inference import over_freedom, unit
from jaxnewton.regression.likelihood import Likelihood
from jaxnewton.regression.links import LINKS
from jaxnewton.regression.rows import Blocks, is_large
from jaxnewton.regression.stack import ONE, Stack, over_stack
from jaxnewton.types import Array, Status

METHODS = ("qr", "svd")
REFINEMENTS = 2
LINE = Predictor(Gaussian(), LINKS["identity"], "Linear regression")


@linalg.full_products()
def linear(
    X: Any,
    y: Any = None,
    *,
    intercept: bool = True,
    ridge: Any = 0.0,
    weights: Any = None,
    offset: Any = None,
    method: str = "qr",
) -> Fit:
    """Fit y = X params + intercept + offset by least squares, or a stack of such. Works under ``jit`` and ``vmap``.

    Minimises sum(weights * residuals**2) / 2 + ridge/2 ||params||^2; there is no iteration, so neither ``tol`` nor
    ``max_steps``.

    Args:
        X: (..., m, p) rows of observations, without a column for the intercept. One fit of more than 4 million entries
            goes through them in blocks, as for ``glm``, by normal equations whose answer is refined: columns that
            depend on one another to half the digits count there as dependent.
        y: (..., m). Leading axes of all arguments broadcast; an argument without them is shared by all fits.
        intercept: whether to fit one. It is not penalised.
        ridge: (...,) at least 0.
        weights: (..., m) at least 0: the variance of a row is the dispersion over its weight.
        offset: (..., m) subtracted from y.
        method: "qr": Householder's factorisation, and the singular values where that finds X of deficient rank; "svd":
            the singular values at once, for which a large X is copied; not for ``jn.regression.Blocks``.

    Returns:
        A Fit with Student's t for its tests. Where the columns do not determine all coefficients the status is
        SINGULAR and params those of least norm; ``predict`` is as good as ever, covariance is nan. With ridge > 0,
        covariance is dispersion (X'X + ridge)^-1, and rank still what the data alone determine: where that is as many
        as there are rows, no dispersion is known, and covariance is nan. deviance: the weighted sum of squares.
        NONFINITE: a coefficient is not finite, by what was traced and so not checked.

    Raises:
        TypeError, ValueError: an argument is not of the form above, or not finite; the message names it and the rows.
    """
    if method not in METHODS:
        raise ValueError(f'method must be "qr" or "svd"; it is {method!r}')
    intercept = checks.flag("intercept", intercept)
    if isinstance(X, Blocks) and method != "qr":
        raise ValueError(f'method must be "qr" for jn.regression.Blocks, which are never whole; it is {method!r}')
    if method == "qr" and is_large(X, y, weights, offset, ridge):
        squares = Likelihood(LINE.family, LINE.link)
        fields, nit = blocks.fit(
            squares, X, y, weights, offset, ridge=ridge, intercept=intercept, tol=None, max_steps=None
        )
        return as_fit(ONE, fields, nit, LINE, True)
    data, stack = gather(X, y, weights, offset, ridge)
    penalised = not (isinstance(ridge, (int, float)) and ridge == 0)
    fields = _fit(intercept, penalised, method == "svd", stack, data)
    nit = jnp.ones_like(fields.status)
    return as_fit(stack, fields, nit, LINE, True, frame_columns(X))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _fit(intercept: bool, penalised: bool, by_svd: bool, stack: Stack, data: Data) -> Fields:
    axes, of = stack.axes, stack.axis
    columns = standardise(data.X, axes.X, intercept)
    each: Any = jax.tree.map(lambda _: axes.X, columns)

    def quick(columns: Columns, data: Data) -> tuple[Array, Array, Array, Array]:
        Z, b, penalty = _system(intercept, columns, data)
        q = Z.shape[1]
        A = jnp.concatenate([Z, jnp.diag(jnp.sqrt(penalty))]) if penalised else Z
        A = jnp.pad(A, ((0, max(q - A.shape[0], 0)), (0, 0)))
        b = jnp.pad(b, (0, A.shape[0] - b.shape[0]))
        Q, R = jnp.linalg.qr(A)
        rank = _rank(A, R)
        singular = rank < q
        rank = _rank(Z, jnp.linalg.qr(Z, mode="r")) if penalised else rank
        R = jnp.where(singular, jnp.eye(q, dtype=A.dtype), R)
        inverse = jax.scipy.linalg.solve_triangular(R, jnp.eye(q, dtype=A.dtype))
        theta, r = jnp.zeros(q, A.dtype), jnp.zeros_like(b)
        for _ in range(1 + REFINEMENTS):  # of r + A theta = b, A'r = 0
            missing, slope = precise.residual(A, theta, b, r), -precise.inner(A, r)
            pulled = inverse.T @ slope
            step = inverse @ (Q.T @ missing - pulled)
            theta, r = theta + step, r + missing - A @ step
        return theta, inverse @ inverse.T, singular, rank

    theta, inverse, singular, of_data = over_stack(quick, (each, axes), columns, data)
    q = theta.shape[-1]

    def as_it_is() -> tuple[Array, ...]:
        return theta, jnp.full(singular.shape, q, jnp.int32), jnp.zeros_like(theta), inverse

    def deficient() -> tuple[Array, ...]:
        least_norm = functools.partial(_by_singular_values, intercept)
        other, rank, null, whole = over_stack(least_norm, (each, axes), columns, data)
        use = (singular | by_svd)[..., None]
        inner = jnp.where(use[..., None], whole, inverse)
        return (
            jnp.where(use, other, theta), jnp.where(use[..., 0], rank, q), jnp.where(use, null, 0.0), inner
        )  # fmt: skip

    theta, rank, null, inverse = deficient() if by_svd else lax.cond(jnp.any(singular), deficient, as_it_is)

    def finish(
        columns: Columns, data: Data, theta: Array, of_data: Array, rank: Array, null: Array, inverse: Array
    ) -> Fields:
        def there(theta: Array) -> Array:
            return back(columns.frame, intercept, theta)

        weights = jnp.broadcast_to(data.weights, data.y.shape)
        rows = jnp.sum(weights > 0, dtype=jnp.int32)
        left = precise.residual(columns.Z.T, theta, data.y, jnp.broadcast_to(data.offset, data.y.shape))
        squares = jnp.sum(weights * left * left)
        singular = rank < q  # with the ridge, of which the data's rank knows nothing
        rank = of_data if penalised else rank
        dispersion = over_freedom(squares, rows, rank)
        inverse = jnp.where(singular, jnp.nan, inverse)
        loglik = LINE.family.loglik(data.y, weights, 0.5 * squares, dispersion, rows.astype(theta.dtype))
        coefficients = there(theta)
        known = jnp.all(jnp.isfinite(coefficients))  # what is traced was not checked
        status = jnp.where(singular, Status.SINGULAR, Status.CONVERGED)
        return Fields(
            params=coefficients[1:] if intercept else coefficients,
            intercept=coefficients[0] if intercept else None,
            joint_covariance=dispersion * jax.vmap(there, -1, -1)(jax.vmap(there)(inverse)),
            loglik=loglik,
            deviance=squares,
            dispersion=dispersion,
            rows=rows,
            rank=rank,
            status=jnp.where(known, status, Status.NONFINITE).astype(jnp.int32),
            direction=jnp.where(known, unit(there(null)), 0.0),
        )

    return over_stack(finish, (each, axes, of, of, of, of, of), columns, data, theta, of_data, rank, null, inverse)


def _rank(A: Array, R: Array) -> Array:
    """How many columns of A (m, q) its triangular factor shows to be independent of those before them."""
    norm = jnp.sqrt(jnp.max(jnp.sum(A * A, axis=0), initial=0.0))
    zero = 10 * A.shape[1] * jnp.finfo(A.dtype).eps * norm
    return jnp.sum(jnp.abs(jnp.diagonal(R)) > zero, dtype=jnp.int32)


def _system(intercept: bool, columns: Columns, data: Data) -> tuple[Array, Array, Array]:
    """Weighted columns, what they are to make, and the penalties; one fit."""
    root = jnp.broadcast_to(jnp.sqrt(data.weights), data.y.shape)
    return (
        (root[None, :] * columns.Z).T,
        root * (data.y - data.offset),
        penalties(columns.frame.scale, data.ridge, intercept),
    )


def _by_singular_values(intercept: bool, columns: Columns, data: Data) -> tuple[Array, Array, Array, Array]:
    """Coefficients of Z with params of least norm, the rank, a null direction, and (Z'Z + penalty)^-1; one fit.

    The intercept takes what params leave of the weighted mean; the norm is that of params in the units of X.
    """
    weights = jnp.broadcast_to(data.weights, data.y.shape)
    m, scale = data.y.shape[0], columns.frame.scale
    Z = columns.Z[1:].T if intercept else columns.Z.T
    X = Z * scale[None, :]
    y = data.y - data.offset
    share = weights / jnp.sum(weights)
    middle = jnp.sum(share[:, None] * X, axis=0) if intercept else jnp.zeros(X.shape[1], X.dtype)
    level = jnp.sum(share * y) if intercept else jnp.zeros((), y.dtype)
    root = jnp.sqrt(weights)
    p = X.shape[1]
    A = jnp.concatenate([root[:, None] * (X - middle[None, :]), jnp.sqrt(data.ridge) * jnp.eye(p, dtype=X.dtype)])
    b = jnp.concatenate([root * (y - level), jnp.zeros(p, X.dtype)])
    U, s, Vt = jnp.linalg.svd(A, full_matrices=False)
    kept = s > max(m, p) * jnp.finfo(X.dtype).eps * jnp.max(s, initial=0.0)
    inverse = jnp.where(kept, 1 / jnp.where(kept, s, 1.0), 0.0)
    params = Vt.T @ (inverse * (U.T @ b))
    null = jnp.where(kept[-1], 0.0, Vt[-1]) if p else jnp.zeros(0, X.dtype)
    rank = jnp.sum(kept, dtype=jnp.int32)
    spread = Vt.T @ (inverse[:, None] ** 2 * Vt)
    theta, direction = params * scale, null * scale
    scaled = spread * scale[:, None] * scale[None, :]
    if not intercept:
        return theta, rank, direction, scaled
    shift = middle / scale
    first = (level - jnp.sum(middle * params))[None]
    cross = -(scaled @ shift)
    corner = jnp.sum(shift * (scaled @ shift)) + 1 / jnp.sum(weights)
    whole = jnp.block([[corner[None, None], cross[None, :]], [cross[:, None], scaled]])
    return jnp.concatenate([first, theta]), rank + 1, jnp.concatenate([-jnp.sum(middle * null)[None], direction]), whole
