"""Softmax (multinomial logistic) regression with a reference class (McCullagh & Nelder 1989, section 5.2.4)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton import checks
from jaxnewton.problem import Problem
from jaxnewton.regression import inference
from jaxnewton.regression.data import (
    Columns, Data, back, gather, over_stack, penalties, refuse_values, standardise,
)  # fmt: skip
from jaxnewton.regression.fit import Fit
from jaxnewton.regression.glm import MAX_STEPS, Fields, arg_axes, as_fit, linear_predictor, solve
from jaxnewton.types import Array, Evaluation, Needs, is_traced


@dataclasses.dataclass(frozen=True)
class Multinomial(Problem):
    """-loglik and the ridge's penalty in the coefficients (K - 1, q), flattened, of standardised columns.

    The penalty is that of all K vectors about their mean, so that it does not matter which is the reference.
    args: Z (m, q), y (m,) class numbers as floats, weights, offset, penalty (q,).
    """

    classes: int
    reference: int

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        Z, y, weights, offset, penalty = args
        q = Z.shape[1]
        theta = x.reshape(self.classes - 1, q)
        share, log = self.probabilities(Z @ theta.T)
        observed = jax.nn.one_hot(y.astype(jnp.int32), self.classes, dtype=x.dtype)
        drawn = theta - jnp.sum(theta, axis=0, keepdims=True) / self.classes
        f = -jnp.sum(weights * jnp.sum(observed * log, axis=1)) + 0.5 * jnp.sum(penalty[None, :] * drawn * theta)
        missing = jnp.delete(observed - share, self.reference, axis=1)
        g = penalty[None, :] * drawn - (weights[:, None] * missing).T @ Z
        if needs is Needs.GRADIENT:
            return Evaluation(f, g.reshape(-1), None)
        p = jnp.delete(share, self.reference, axis=1)
        tie = jnp.eye(self.classes - 1, dtype=x.dtype)
        spread = weights[:, None, None] * (p[:, :, None] * tie[None] - p[:, :, None] * p[:, None, :])
        blocks = jnp.einsum("mkl,mi,mj->kilj", spread, Z, Z)
        ridge = (tie - 1 / self.classes)[:, None, :, None] * jnp.diag(penalty)[None, :, None, :]
        d = (self.classes - 1) * q
        return Evaluation(f, g.reshape(-1), (blocks + ridge).reshape(d, d))

    def probabilities(self, eta: Array) -> tuple[Array, Array]:
        """(..., m, K) and their logarithms, for the linear predictors (..., m, K - 1)."""
        own = jnp.zeros_like(eta[..., :1])
        eta = jnp.concatenate([eta[..., : self.reference], own, eta[..., self.reference :]], axis=-1)
        log = jax.nn.log_softmax(eta, axis=-1)
        return jnp.exp(log), log


@dataclasses.dataclass(frozen=True)
class Classes:
    """The probabilities of all classes."""

    classes: int
    reference: int

    @property
    def title(self) -> str:
        return f"Softmax regression: {self.classes} classes, reference {self.reference}"

    def labels(self) -> list[str]:
        """What the coefficients of each class but the reference are called."""
        return [f"class {k}: " for k in range(self.classes) if k != self.reference]

    def __call__(self, X: Any, params: Array, intercept: Array | None, offset: Any) -> Array:
        if offset is not None:
            raise ValueError("offset: softmax regression has none")
        eta = [linear_predictor(X, params[..., k], None) for k in range(self.classes - 1)]
        stacked = jnp.stack(eta, axis=-1)
        if intercept is not None:
            stacked = stacked + intercept[..., None, :]
        return Multinomial(self.classes, self.reference).probabilities(stacked)[0]


def softmax(
    X: Any,
    y: Any,
    *,
    classes: int | None = None,
    reference: int = 0,
    intercept: bool = True,
    ridge: Any = 0.0,
    weights: Any = None,
    tol: float | None = None,
    max_steps: int | None = None,
) -> Fit:
    """Fit the probabilities of K classes, or a stack of such fits in the pool. Works under ``jit`` and ``vmap``.

    log(P(k) / P(reference)) = X params[:, k] + intercept[k]; minimises -loglik + ridge/2 sum_k ||b_k - mean b||^2, with
    b_reference = 0 among the b, so that the probabilities do not depend on the reference.

    Args:
        X: (..., m, p).
        y: (..., m) whole numbers 0 to K - 1.
        classes: K, at least 2; default: the largest y + 1 (to be given under ``jit``).
        reference: the class whose coefficients are 0.
        intercept, ridge, weights, tol, max_steps: as for ``glm``.

    Returns:
        A Fit: params (..., p, K - 1) and intercept (..., K - 1) in the order of the classes without the reference;
        ``predict`` gives all K probabilities. SEPARATED and SINGULAR as for ``glm``.

    Raises:
        TypeError, ValueError: an argument is not of the form above, or not finite; the message names it and the rows.
    """
    intercept = checks.flag("intercept", intercept)
    data, stack = gather(X, y, weights, None, ridge)
    if not is_traced(data.y):
        labels = np.asarray(data.y)
        most = int(labels.max()) + 1 if classes is None else checks.positive("classes", classes)
        refuse_values("y", labels, (labels != np.floor(labels)) | (labels < 0) | (labels >= most), "class numbers: whole, "
                      f"from 0 to classes - 1 = {most - 1}")  # fmt: skip
        classes = most
    if classes is None:
        raise ValueError("classes must be given where y is traced")
    if classes < 2:
        raise ValueError(f"classes must be at least 2; it is {classes}")
    if isinstance(reference, bool) or not isinstance(reference, (int, np.integer)) or not 0 <= reference < classes:
        raise ValueError(f"reference must be a class number from 0 to {classes - 1}; it is {reference!r}")
    problem = Multinomial(int(classes), int(reference))
    columns, penalty = _prepare(intercept, stack.axes, data)
    q = columns.Z.shape[-1]
    start = jnp.zeros((*((stack.count,) if stack.lead else ()), (classes - 1) * q), columns.Z.dtype)
    args = (columns.Z, data.y, data.weights, data.offset, penalty)
    found = solve(problem, start, args, arg_axes(stack.axes), stack, tol, max_steps or MAX_STEPS)
    fields = _infer(problem, intercept, stack.axes, data, columns, penalty, found.x, found.status)
    return as_fit(stack, fields, found.nit, Classes(problem.classes, problem.reference), False)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _prepare(intercept: bool, axes: Data, data: Data) -> tuple[Columns, Array]:
    columns = over_stack(lambda X: standardise(X, intercept), (axes.X,), data.X)
    each = (axes.X, axes.ridge)
    return columns, over_stack(lambda s, ridge: penalties(s, ridge, intercept), each, columns.scale, data.ridge)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _infer(
    problem: Multinomial,
    intercept: bool,
    axes: Data,
    data: Data,
    columns: Columns,
    penalty: Array,
    theta: Array,
    status: Array,
) -> Fields:
    d = theta.shape[-1]
    K = problem.classes
    of = 0 if any(axis == 0 for axis in jax.tree.leaves(axes)) else None
    each = (of, *arg_axes(axes))
    args = (columns.Z, data.y, data.weights, data.offset, penalty)

    def one(theta: Array, *args: Array) -> tuple[Array, Array, Array, Array]:
        at = problem.evaluate(theta, args, Needs.HESSIAN)
        penalty, q = args[4], args[0].shape[1]
        vectors = theta.reshape(K - 1, q)
        drawn = vectors - jnp.sum(vectors, axis=0, keepdims=True) / K
        loglik = 0.5 * jnp.sum(penalty[None, :] * drawn * vectors) - at.f
        rows = jnp.sum(jnp.broadcast_to(args[2] > 0, args[1].shape), dtype=jnp.int32)
        return at.H, at.g, loglik, rows

    H, g, loglik, rows = over_stack(one, each, theta, *args)
    many = (lambda leaf: leaf) if of == 0 else (lambda leaf: leaf[None])
    curvature = inference.invert(many(H))
    inverse, rank, null = curvature if of == 0 else jax.tree.map(lambda leaf: leaf[0], curvature)

    def look_at(theta: Array, H: Array, g: Array, status: Array, *args: Array) -> tuple[Array, Array]:
        Z, y, weights, _, penalty = args

        def along(way: Array) -> tuple[Array, Array]:
            length = jnp.sqrt(jnp.sum(way * way))
            way = way / jnp.where(length > 0, length, 1.0)
            moved = Z @ way.reshape(K - 1, -1).T
            moved = jnp.insert(moved, problem.reference, 0.0, axis=1)
            own = jnp.take_along_axis(moved, y.astype(jnp.int32)[:, None], axis=1)
            return inference.separates(own - moved, jnp.broadcast_to(weights > 0, y.shape)), way

        (last, way), (whole, total) = along(inference.newton_step(H, g)), along(theta)
        free = (jnp.max(penalty, initial=0.0) == 0) & ~inference.succeeded(status)
        return free & (last | whole), jnp.where(last, way, total)

    nowhere = jnp.zeros(status.shape, bool), jnp.zeros_like(theta)
    looking = (of, of, of, of, *arg_axes(axes))
    separated, way = lax.cond(
        jnp.all(inference.succeeded(status)),
        lambda: nowhere,
        lambda: over_stack(look_at, looking, theta, H, g, status, *args),
    )
    status = inference.verdicts(status, separated, rank, d)
    direction = jnp.where(jnp.expand_dims(separated, -1), way, null)
    inverse = jnp.where(separated[..., None, None], jnp.nan, inverse)

    def finish(
        center: Array, scale: Array, theta: Array, inverse: Array, direction: Array
    ) -> tuple[Array, Array, Array]:
        T = jnp.kron(jnp.eye(K - 1, dtype=theta.dtype), back(center, scale, intercept))
        there = T @ direction
        length = jnp.sqrt(jnp.sum(there * there))
        return (T @ theta).reshape(K - 1, -1).T, T @ inverse @ T.T, there / jnp.where(length > 0, length, 1.0)

    coefficients, covariance, direction = over_stack(
        finish, (axes.X, axes.X, of, of, of), columns.center, columns.scale, theta, inverse, direction
    )
    return Fields(
        params=coefficients[..., 1:, :] if intercept else coefficients,
        intercept=coefficients[..., 0, :] if intercept else None,
        joint_covariance=covariance,
        loglik=loglik,
        deviance=-2 * loglik,
        dispersion=jnp.ones_like(loglik),
        rows=rows,
        rank=rank,
        status=status,
        direction=direction,
    )
