"""Derivatives of a solution by the implicit function theorem: dx = -H^-1 (d g/d args) dargs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.sparse.linalg

from jaxnewton import loop
from jaxnewton.problem import Problem
from jaxnewton.types import Array, History, Needs, Outcome, Rules, Solver, succeeded


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def solve(
    problem: Problem, solver: Solver, recorded: int, x0: Array, args: tuple[Any, ...], rules: Rules
) -> tuple[Outcome, History | None]:
    """``loop.solve``, differentiable in ``args``; not in x0, on which a minimum does not depend.

    ``x`` and ``fun`` carry derivatives, nan where the solve failed; all else carries none.
    """
    return loop.solve(problem, solver, recorded, x0, args, rules)


@solve.defjvp
def _(problem: Problem, solver: Solver, recorded: int, primals: Any, tangents: Any) -> tuple[Any, Any]:
    x0, args, rules = primals
    found, history = solve(problem, solver, recorded, x0, args, rules)
    valid = succeeded(found.status)
    n = found.grad.shape[0]

    def value_and_gradient(args: tuple[Any, ...]) -> tuple[Array, Array]:
        at = problem.evaluate(found.x, args, Needs.GRADIENT)
        return at.f, at.g

    _, (df, dg) = jax.jvp(value_and_gradient, (args,), (tangents[1],))
    if solver.needs is Needs.PRODUCT:  # too many unknowns for a matrix
        product = problem.evaluate(found.x, args, Needs.PRODUCT).H
        dx = -jax.lax.custom_linear_solve(product, dg, _conjugate_gradients, symmetric=True)
    else:
        H = _second(problem, found.x, args)
        H = jnp.where(valid, H, jnp.eye(n, dtype=H.dtype))  # a failed solve must not make the linear solve fail
        dx = -jnp.linalg.solve(H, dg)
    honest = jnp.where(valid, 1.0, jnp.nan).astype(df.dtype)
    zeros, still = jax.tree.map(_zero_tangent, (found, history))
    moving = zeros._replace(x=honest * dx, fun=honest * df)
    return (found, history), (moving, still)


def _second(problem: Problem, x: Array, args: tuple[Any, ...]) -> Array:
    """The derivative of g, which a solver may have been given an approximation of (J'J, Fisher's information)."""
    if problem.size(x) != x.shape[0]:
        return problem.evaluate(x, args, Needs.HESSIAN).H
    return jax.jacfwd(lambda x: problem.evaluate(x, args, Needs.GRADIENT).g)(x)


def _conjugate_gradients(product: Callable[[Array], Array], b: Array) -> Array:
    """nan where they do not come to an end."""
    eps = float(jnp.finfo(b.dtype).eps)
    x, _ = jax.scipy.sparse.linalg.cg(product, b, tol=eps**0.75)
    left = jnp.max(jnp.abs(b - product(x)))
    return jnp.where(left <= eps**0.5 * jnp.max(jnp.abs(b)), x, jnp.nan)


def _zero_tangent(leaf: Array) -> Any:
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.zeros_like(leaf) if floating else jnp.zeros(leaf.shape, jax.dtypes.float0)
