"""Softmax (multinomial logistic) regression with a reference class (McCullagh & Nelder 1989, section 5.2.4)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks, linalg
from jaxnewton.problem import Problem
from jaxnewton.regression import inference
from jaxnewton.regression.data import Columns, Data, formed, gather
from jaxnewton.regression.fit import Fields, Fit, as_fit
from jaxnewton.regression.fitting import fitted
from jaxnewton.regression.given import frame_columns, listed, refuse_values
from jaxnewton.regression.glm import linear_predictor
from jaxnewton.regression.rows import Blocks
from jaxnewton.regression.separation import Sides
from jaxnewton.regression.solving import arg_axes, fit_likelihood, prepare, rules
from jaxnewton.regression.stack import LANES, Stack, in_cache, over_stack
from jaxnewton.types import Array, Evaluation, Needs, Outcome, is_traced

WORKED = 2**13  # most entries of X that a pool's lanes have, each with the products of the classes' shares


@dataclasses.dataclass(frozen=True)
class Multinomial(Problem):
    """-loglik and the ridge's penalty in the coefficients (K - 1, q), flattened, of standardised columns.

    The penalty is that of all K vectors about their mean, so that it does not matter which is the reference.
    args: Z (q, m), y (m,) class numbers as floats, weights, offset, penalty (q,).
    """

    keeps: ClassVar[bool] = True
    patience: ClassVar[int] = 1

    classes: int
    reference: int

    def lanes(self, own: int) -> int:
        return in_cache(own, WORKED, *LANES)

    def hold(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return formed(args[0]), *args[1:]

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        Z, y, weights, _, penalty = args
        q = Z.shape[0]
        theta = x.reshape(self.classes - 1, q)
        share, log = self.probabilities((theta @ Z).T)
        observed = jax.nn.one_hot(y.astype(jnp.int32), self.classes, dtype=x.dtype)
        drawn = theta - jnp.sum(theta, axis=0, keepdims=True) / self.classes
        f = -jnp.sum(weights * jnp.sum(observed * log, axis=1)) + 0.5 * jnp.sum(penalty[None, :] * drawn * theta)
        missing = jnp.delete(observed - share, self.reference, axis=1)
        g = penalty[None, :] * drawn - (weights[:, None] * missing).T @ Z.T
        if needs is Needs.GRADIENT:
            return Evaluation(f, g.reshape(-1), None)
        p = jnp.delete(share, self.reference, axis=1)
        tie = jnp.eye(self.classes - 1, dtype=x.dtype)
        spread = weights[:, None, None] * (p[:, :, None] * tie[None] - p[:, :, None] * p[:, None, :])
        blocks = jnp.einsum("mkl,im,jm->kilj", spread, Z, Z)
        ridge = (tie - 1 / self.classes)[:, None, :, None] * jnp.diag(penalty)[None, :, None, :]
        d = (self.classes - 1) * q
        return Evaluation(f, g.reshape(-1), (blocks + ridge).reshape(d, d))

    @property
    def separable(self) -> bool:
        return True

    def sides(self, X: Array, y: Array) -> Sides:
        """A row's own class ahead of each other."""
        own = jax.nn.one_hot(y.astype(jnp.int32), self.classes, dtype=X.dtype)
        ahead = own[:, None, :] - jnp.eye(self.classes, dtype=X.dtype)[None]
        rows = self._by_coefficients(ahead, X)
        return Sides(rows, jnp.zeros(rows.shape[0], bool))

    def root(self, theta: Array, args: tuple[Any, ...]) -> Array:
        """Rows (k, row): sqrt(p_k) (e_k - p), whose squares add up to diag(p) - p p'."""
        Z, _, weights, _, penalty = args
        share, _ = self.probabilities((theta.reshape(self.classes - 1, -1) @ Z).T)
        weighted = jnp.sqrt(jnp.where(weights > 0, weights, 0.0)[:, None] * share)
        eye = jnp.eye(self.classes, dtype=Z.dtype)
        rows = self._by_coefficients(weighted[:, :, None] * (eye[None] - share[:, None, :]), Z.T)
        drawn = jnp.broadcast_to(eye - 1 / self.classes, (penalty.shape[0], *eye.shape))
        return jnp.concatenate([rows, self._by_coefficients(drawn, jnp.diag(jnp.sqrt(penalty)))])

    def penalties(self, penalty: Array) -> Array:
        """(..., d, d) what the ridge adds to the information."""
        tie = jnp.eye(self.classes - 1, dtype=penalty.dtype) - 1 / self.classes
        each = jnp.einsum("ij,...k,kl->...ikjl", tie, penalty, jnp.eye(penalty.shape[-1], dtype=penalty.dtype))
        d = (self.classes - 1) * penalty.shape[-1]
        return each.reshape(*penalty.shape[:-1], d, d)

    def _by_coefficients(self, of_classes: Array, X: Array) -> Array:
        """What (m, k, K) says of the classes' linear predictors, of their coefficients: (m k, d)."""
        others = jnp.delete(of_classes, self.reference, axis=2)
        return (others[..., None] * X[:, None, None, :]).reshape(-1, (self.classes - 1) * X.shape[1])

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


@linalg.full_products()
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
        classes: K, at least 2; default: the largest y + 1, each of which y must then have (to be given under
            ``jit``).
        reference: the class whose coefficients are 0.
        intercept, ridge, weights, tol, max_steps: as for ``glm``.

    Returns:
        A Fit: params (..., p, K - 1) and intercept (..., K - 1) in the order of the classes without the reference;
        ``predict`` gives all K probabilities. SEPARATED and SINGULAR as for ``glm``.

    Raises:
        TypeError, ValueError: an argument is not of the form above, or not finite; the message names it and the rows.
    """
    intercept = checks.flag("intercept", intercept)
    if isinstance(X, Blocks):
        raise TypeError("X: softmax does not go through jn.regression.Blocks; linear, logistic, poisson and glm do")
    data, stack = gather(X, y, weights, None, ridge)
    classes = checks.positive("classes", classes)
    if not is_traced(data.y):
        labels = np.asarray(data.y)
        told, classes = classes is not None, classes or int(labels.max()) + 1
        wanted = f"class numbers: whole, from 0 to classes - 1 = {classes - 1}"
        refuse_values("y", labels, (labels != np.floor(labels)) | (labels < 0) | (labels >= classes), wanted)
        absent = np.setdiff1d(np.arange(classes), labels)
        if absent.size and not told:
            raise ValueError(
                f"y has no row of class {listed(absent)}, of 0 to {classes - 1}; number the classes without gaps, as "
                f"numpy.unique(y, return_inverse=True) does, or give classes={classes} if there are as many"
            )
    if classes is None:
        raise ValueError("classes must be given where y is traced")
    if classes < 2:
        raise ValueError(f"classes must be at least 2; it is {classes}")
    reference = checks.whole("reference", reference, 0)
    if reference >= classes:
        raise ValueError(f"reference must be a class number from 0 to {classes - 1}; it is {reference!r}")
    problem = Multinomial(classes, reference)
    fields, nit = fitted(_fit, (problem, intercept, *rules(tol, max_steps)), stack, data)
    return as_fit(stack, fields, nit, Classes(problem.classes, problem.reference), False, frame_columns(X))


def _fit(
    problem: Multinomial, intercept: bool, tol: Any, max_steps: int, look: bool, stack: Stack, data: Data
) -> tuple[tuple[Fields, Array], Array]:
    """As ``fitted`` wants it: the fields and the trips."""
    columns, args = prepare(intercept, stack, data)
    lead = (stack.fits,) if stack.lead else ()
    start = jnp.zeros((*lead, (problem.classes - 1) * columns.q), data.X.dtype)
    found = fit_likelihood(problem, start, args, stack, tol, max_steps)
    fields, doubtful = _infer(problem, look, stack, columns, args, found)
    return (fields, found.nit), doubtful


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _infer(
    problem: Multinomial, look: bool, stack: Stack, columns: Columns, args: tuple[Any, ...], found: Outcome
) -> tuple[Fields, Array]:
    of, each, others = stack.axis, arg_axes(stack), problem.classes - 1
    end, found, doubtful = inference.conclude(problem, look, stack, columns, each, args, found)

    def rest(theta: Array, *args: Any) -> tuple[Array, Array]:
        design, y, weights, offset, penalty = args
        of_data = (formed(design), y, weights, offset, jnp.zeros_like(penalty))
        at = problem.evaluate(theta, of_data, Needs.GRADIENT)
        return -at.f, jnp.sum(jnp.broadcast_to(weights > 0, y.shape), dtype=jnp.int32)

    loglik, rows = over_stack(rest, (of, *each), found.x, *args)
    coefficients = end.theta.reshape(*end.theta.shape[:-1], others, -1)
    coefficients = jnp.swapaxes(coefficients, -1, -2)
    fields = Fields(
        params=coefficients[..., 1:, :] if columns.intercept else coefficients,
        intercept=coefficients[..., 0, :] if columns.intercept else None,
        joint_covariance=end.covariance,
        loglik=loglik,
        deviance=-2 * loglik,
        dispersion=jnp.ones_like(loglik),
        rows=rows,
        rank=end.rank,
        status=end.status,
        direction=end.direction,
    )
    return fields, doubtful
