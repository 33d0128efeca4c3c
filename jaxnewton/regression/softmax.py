"""Softmax (multinomial logistic) regression with a reference class (McCullagh & Nelder 1989, section 5.2.4)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks, linalg
from jaxnewton.regression import blocks, inference
from jaxnewton.regression.data import Columns, Data, formed, gather
from jaxnewton.regression.fit import Fields, Fit, as_fit
from jaxnewton.regression.fitting import fitted
from jaxnewton.regression.given import frame_columns, listed, numbers, refuse_numbers, refuse_values
from jaxnewton.regression.glm import linear_predictor
from jaxnewton.regression.multinomial import Multinomial, no_class
from jaxnewton.regression.rows import Blocks, is_large
from jaxnewton.regression.solving import arg_axes, fit_likelihood, prepare, rules
from jaxnewton.regression.stack import ONE, Stack, over_stack
from jaxnewton.types import Array, Needs, Outcome, is_traced


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
    y: Any = None,
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
        X: (..., m, p); a large one, and ``jn.regression.Blocks``, as for ``glm``.
        y: (..., m) whole numbers 0 to K - 1.
        classes: K, at least 2; default: the largest y + 1, each of which y must then have (to be given under
            ``jit``, and for ``jn.regression.Blocks``).
        reference: the class whose coefficients are 0.
        intercept, ridge, weights, tol, max_steps: as for ``glm``.

    Returns:
        A Fit: params (..., p, K - 1) and intercept (..., K - 1) in the order of the classes without the reference;
        ``predict`` gives all K probabilities. SEPARATED and SINGULAR as for ``glm``.

    Raises:
        TypeError, ValueError: an argument is not of the form above, or not finite; the message names it and the rows.
    """
    intercept = checks.flag("intercept", intercept)
    classes = checks.positive("classes", classes)
    if is_large(X, y, weights, ridge):
        problem = _problem(y, classes, reference, isinstance(X, Blocks))
        fields, nit = blocks.fit(
            problem, X, y, weights, None, ridge=ridge, intercept=intercept, tol=tol, max_steps=max_steps
        )
        return as_fit(ONE, fields, nit, Classes(problem.classes, problem.reference), False)
    data, stack = gather(X, y, weights, None, ridge)
    problem = _problem(data.y, classes, reference, is_traced(data.y))
    if classes is not None and not is_traced(data.y):  # else they were counted
        refuse_values("y", data.y, *problem.wrong(data.y))
    fields, nit = fitted(_fit, (problem, intercept, *rules(tol, max_steps)), stack, data)
    return as_fit(stack, fields, nit, Classes(problem.classes, problem.reference), False, frame_columns(X))


def _problem(y: Any, classes: int | None, reference: int, unseen: bool) -> Multinomial:
    """Of as many classes as y has, where they are not told; ``unseen``: y is not there to look at."""
    if classes is None:
        if unseen:
            raise ValueError("classes must be given where y is traced, and for jn.regression.Blocks")
        classes = _counted(y)
    if classes < 2:
        raise ValueError(f"classes must be at least 2; it is {classes}")
    reference = checks.whole("reference", reference, 0)
    if reference >= classes:
        raise ValueError(f"reference must be a class number from 0 to {classes - 1}; it is {reference!r}")
    return Multinomial(classes, reference)


def _counted(y: Any) -> int:
    """The largest class number and 1, of numbers without gaps."""
    if y is None:
        raise ValueError("y is missing")
    labels = np.atleast_1d(np.asarray(numbers("y", y), float))
    refuse_numbers("y", labels)
    refuse_values("y", labels, no_class(labels), "class numbers: whole, from 0 on")
    classes = int(labels.max()) + 1
    absent = np.setdiff1d(np.arange(classes), labels)
    if absent.size:
        raise ValueError(
            f"y has no row of class {listed(absent)}, of 0 to {classes - 1}; number the classes without gaps, as "
            f"numpy.unique(y, return_inverse=True) does, or give classes={classes} if there are as many"
        )
    return classes


def _fit(
    problem: Multinomial, intercept: bool, tol: Any, max_steps: int, look: bool, stack: Stack, data: Data
) -> tuple[tuple[Fields, Array], Array]:
    """As ``fitted`` wants it: the fields and the trips."""
    columns, args = prepare(intercept, stack, data)
    lead = (stack.fits,) if stack.lead else ()
    start = jnp.zeros((*lead, problem.vectors * columns.q), data.X.dtype)
    found = fit_likelihood(problem, start, args, stack, tol, max_steps)
    fields, doubtful = _infer(problem, look, stack, columns, args, found)
    return (fields, found.nit), doubtful


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _infer(
    problem: Multinomial, look: bool, stack: Stack, columns: Columns, args: tuple[Any, ...], found: Outcome
) -> tuple[Fields, Array]:
    of, each = stack.axis, arg_axes(stack)
    end, found, doubtful = inference.conclude(problem, look, stack, columns, each, args, found)

    def rest(theta: Array, *args: Any) -> tuple[Array, Array]:
        design, y, weights, offset, penalty = args
        of_data = (formed(design), y, weights, offset, jnp.zeros_like(penalty))
        at = problem.evaluate(theta, of_data, Needs.GRADIENT)
        return -at.f, jnp.sum(jnp.broadcast_to(weights > 0, y.shape), dtype=jnp.int32)

    loglik, rows = over_stack(rest, (of, *each), found.x, *args)
    fields = inference.fields(
        problem,
        end,
        columns.intercept,
        loglik=loglik,
        deviance=-2 * loglik,
        dispersion=jnp.ones_like(loglik),
        rows=rows,
    )
    return fields, doubtful
