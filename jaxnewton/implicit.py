"""Derivatives of a solution by the implicit function theorem: dx = -H^-1 (d g/d args) dargs."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxnewton import loop
from jaxnewton.problem import Problem
from jaxnewton.types import Array, Needs, Outcome, Rules, Solver, succeeded


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def solve(problem: Problem, solver: Solver, x0: Array, args: tuple[Any, ...], rules: Rules) -> Outcome:
    """``loop.solve``, differentiable in ``args``; not in x0, on which a minimum does not depend.

    ``x`` and ``fun`` carry derivatives, nan where the solve failed; ``grad`` and ``curvature`` carry none.
    """
    return loop.solve(problem, solver, x0, args, rules)


@solve.defjvp
def _(problem: Problem, solver: Solver, primals: Any, tangents: Any) -> tuple[Outcome, Outcome]:
    x0, args, rules = primals
    found = solve(problem, solver, x0, args, rules)
    valid = succeeded(found.status)
    n = found.grad.shape[0]

    def value_and_gradient(args: tuple[Any, ...]) -> tuple[Array, Array]:
        at = problem.evaluate(found.x, args, Needs.GRADIENT)
        return at.f, at.g

    _, (df, dg) = jax.jvp(value_and_gradient, (args,), (tangents[1],))
    H = problem.evaluate(found.x, args, Needs.HESSIAN).H
    H = jnp.where(valid, H, jnp.eye(n, dtype=H.dtype))  # a failed solve must not make the linear solve fail
    honest = jnp.where(valid, 1.0, jnp.nan).astype(df.dtype)
    zeros = jax.tree.map(_zero_tangent, found)
    return found, zeros._replace(x=-honest * jnp.linalg.solve(H, dg), fun=honest * df)


def _zero_tangent(leaf: Array) -> Any:
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.zeros_like(leaf) if floating else jnp.zeros(leaf.shape, jax.dtypes.float0)
