"""One fit or a stack of them in the core: the columns to solve with, the rules, and the solve."""

from __future__ import annotations

import functools
from typing import Any

import jax

from jaxnewton import checks
from jaxnewton.door import Task, outcome_of_one, outcomes_of_many
from jaxnewton.problem import Problem
from jaxnewton.regression.data import Columns, Data, penalties, standardise
from jaxnewton.regression.likelihood import MAX_STEPS
from jaxnewton.regression.stack import Stack, over_stack
from jaxnewton.solvers.newton import Newton
from jaxnewton.types import Array, Outcome, Solver, is_traced


def arg_axes(stack: Stack) -> tuple[int | None, ...]:
    """Of the columns, y, weights, offset and penalty."""
    X, y, weights, offset, ridge = stack.axes
    return X, y, weights, offset, 0 if 0 in (X, ridge) else None


def solve(
    problem: Problem,
    solver: Solver,
    start: Array,
    args: Any,
    axes: Any,
    stack: Stack,
    *,
    tol: Any,
    max_steps: Any,
    ahead: tuple[Any, ...] = (),
) -> Outcome:
    """The end of one fit, or of a stack; start (..., d), ``axes``: of args; ``ahead``: what the problem, but not its
    function, is given before these."""
    task = Task(lambda structure, given: (problem, (*ahead, *given)), lambda n: solver, hessians=True)
    if not stack.lead:
        return outcome_of_one(task, start, args, tol=tol, max_steps=max_steps)
    devices = 1 if is_traced(args) else None
    return outcomes_of_many(task, start, args, args_axes=axes, tol=tol, max_steps=max_steps, devices=devices)


def rules(tol: Any, max_steps: Any) -> tuple[Any, int]:
    """Checked, and hashable where they are not traced."""
    tol = None if tol is None else checks.positive_number("tol", tol)
    return tol, checks.positive("max_steps", max_steps) or MAX_STEPS


def fit_likelihood(problem: Problem, start: Array, args: Any, stack: Stack, tol: Any, max_steps: Any) -> Outcome:
    """``solve`` as likelihoods are."""
    return solve(problem, Newton(), start, args, arg_axes(stack), stack, tol=tol, max_steps=max_steps)


@functools.partial(jax.jit, static_argnums=(0, 1))
def prepare(intercept: bool, stack: Stack, data: Data) -> tuple[Columns, tuple[Any, ...]]:
    """The columns to solve with, and a likelihood's arguments: Z of one fit, the columns of a stack, and the others."""
    columns = standardise(data.X, stack.axes.X, intercept)
    each = (stack.axes.X, stack.axes.ridge)
    penalty = over_stack(lambda s, ridge: penalties(s, ridge, intercept), each, columns.frame.scale, data.ridge)
    design = columns if stack.lead else columns.Z
    return columns, (design, data.y, data.weights, data.offset, penalty)
