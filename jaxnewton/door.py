"""What every verb does with what came in and what goes out: checks, defaults, flat vectors, one start or many."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnewton import checks, implicit
from jaxnewton.driver import Report, solve_pool
from jaxnewton.flat import Structure, flatten, vector_structure
from jaxnewton.problem import Problem
from jaxnewton.progress import bar
from jaxnewton.solution import Solution, Solutions
from jaxnewton.starts import Rows, Starts
from jaxnewton.types import Array, History, Needs, Outcome, Rules, Solver, in_trace, is_traced

Posed = tuple[Problem, tuple[Any, ...]]


class Task(NamedTuple):
    """What a verb makes of its own arguments."""

    pose: Callable[[Structure, tuple[Any, ...]], Posed]  # the problem, and its arguments: the verb's before the user's
    solver: Callable[[int], Solver]  # for so many unknowns
    hessians: bool  # whether H of an evaluation is a Hessian


def solve_one(task: Task, x0: Any, args: Any, *, tol: Any, max_steps: Any, history: Any = False) -> Solution:
    """One start."""
    outcome, trips, structure, solver = _one(task, x0, args, tol, max_steps, history)
    return Solution(**_fields(outcome, structure, task, solver), history=trips)


def outcome_of_one(task: Task, x0: Any, args: Any, *, tol: Any, max_steps: Any) -> Outcome:
    """One start's flat outcome."""
    return _one(task, x0, args, tol, max_steps, False)[0]


def _one(
    task: Task, x0: Any, args: Any, tol: Any, max_steps: Any, history: Any
) -> tuple[Outcome, History | None, Structure, Solver]:
    flat, structure = flatten("x0", x0, batch=False)
    args = checks.arguments(args)
    rules = checks.rules(tol, max_steps, flat.dtype)
    solver = task.solver(flat.shape[0])
    problem, all_args = task.pose(structure, args)
    problem, closed = _hoist(problem, lambda: (flat, *args))
    recorded = checks.trips(max_steps) if checks.flag("history", history) else 0
    with checks.forward_mode():
        outcome, trips = _solve(problem, solver, recorded, flat, (*all_args, *closed), rules)
    return outcome, trips, structure, solver


def solve_many(task: Task, x0s: Any, args: Any, **options: Any) -> Solutions:
    """Many starts, in the pool; options: those of ``_many``."""
    report, count, structure, solver = _many(task, x0s, args, **options)
    if report.finished is not None and report.finished < count:
        warnings.warn(f"interrupted: {report.finished} of {count} starts had ended", stacklevel=3)
    fields = _fields(report.kept.outcome, structure, task, solver)
    return Solutions(**fields, start=report.kept.start, tally=report.tally)


def outcomes_of_many(task: Task, x0s: Any, args: Any, **options: Any) -> Outcome:
    """The flat outcomes of many starts, all of them, in their order.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    report, count, _, _ = _many(task, x0s, args, **options)
    if report.finished is not None and report.finished < count:
        raise KeyboardInterrupt(f"{report.finished} of {count} had ended")
    return report.kept.outcome


def _many(
    task: Task,
    x0s: Any,
    args: Any,
    *,
    args_axes: Any,
    tol: Any,
    max_steps: Any,
    width: Any = None,
    keep: Any = None,
    devices: Any = None,
    progress: Any = False,
) -> tuple[Report, int, Structure, Solver]:
    starts, structure, n, dtype = _starts(x0s)
    args = checks.arguments(args)
    axes = checks.axes(args, args_axes, starts.count)
    rules = checks.rules(tol, max_steps, dtype)
    chosen = checks.devices(devices)
    width, keep = checks.positive("width", width), checks.positive("keep", keep)
    solver = task.solver(n)
    problem, all_args = task.pose(structure, args)

    def first() -> tuple[Any, ...]:
        rows = zip(args, axes, strict=True)
        own = (arg if axis is None else jax.tree.map(lambda leaf: leaf[0], arg) for arg, axis in rows)
        return (starts.make(jnp.int32(0)), *own)

    problem, closed = _hoist(problem, first)
    axes = (None,) * (len(all_args) - len(args)) + axes + (None,) * len(closed)
    all_args = (*all_args, *closed)
    if checks.flag("progress", progress) and is_traced((starts, all_args, rules)):
        raise ValueError("progress cannot be shown inside jit, vmap or grad: there nothing runs until all is compiled")
    watching = bar(starts.count) if progress else contextlib.nullcontext()
    with watching as watch, checks.forward_mode(), _of_single_numbers(structure, starts.count):
        report = solve_pool(
            problem, solver, starts, all_args, axes, rules, width=width, keep=keep, devices=chosen, watch=watch
        )
    return report, starts.count, structure, solver


@contextlib.contextmanager
def _of_single_numbers(structure: Structure, count: int) -> Iterator[None]:
    """Where the user's function is called with single numbers, and that may not be what was meant."""
    try:
        yield
    except (IndexError, TypeError, ValueError) as error:
        if structure.shapes == ((),):
            error.add_note(
                f"x0s of the shape ({count},) are {count} starts of one number each. One start of {count} unknowns is "
                f"x0s[None, :], or what the verbs without _batch take"
            )
        raise


def _hoist(problem: Any, example: Callable[[], tuple[Any, ...]]) -> tuple[Problem, tuple[Array, ...]]:
    """The problem with what its function closes over of an outer trace as further arguments; derivatives see those.

    ``example`` makes what the function may be called with; outside of traces it is not asked to.
    """
    if not in_trace() or not hasattr(problem, "fun"):
        return problem, ()
    fun, closed = jax.closure_convert(problem.fun, *example())
    if not closed:
        return problem, ()
    return dataclasses.replace(problem, fun=fun), tuple(closed)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _solve(
    problem: Problem, solver: Solver, recorded: int, x0: Array, args: tuple[Any, ...], rules: Rules
) -> tuple[Outcome, History | None]:
    return implicit.solve(problem, solver, recorded, x0, args, rules)


def _starts(x0s: Any) -> tuple[Starts, Structure, int, Any]:
    """The starts, the structure of one, its number of unknowns, and the dtype they are solved in."""
    if hasattr(x0s, "make"):
        one = jax.eval_shape(x0s.make, jax.ShapeDtypeStruct((), jnp.int32))
        checks.precision("x0s", one.dtype)
        return x0s, vector_structure(one.shape[0], one.dtype), one.shape[0], one.dtype
    flat, structure = flatten("x0s", x0s, batch=True)
    return Rows(flat, flat.shape[0]), structure, flat.shape[1], flat.dtype


def _fields(outcome: Outcome, structure: Structure, task: Task, solver: Solver) -> dict[str, Any]:
    """The fields that Solution and Solutions share."""
    none = jnp.zeros_like(outcome.nit)
    return {
        "x": structure.restore(outcome.x),
        "fun": outcome.fun,
        "grad": structure.restore(outcome.grad),
        "status": outcome.status,
        "nit": outcome.nit,
        "nfev": outcome.nit,
        "njev": outcome.nit,
        "nhev": outcome.nit if task.hessians and solver.needs is Needs.HESSIAN else none,
        "curvature": outcome.curvature if task.hessians else jnp.full_like(outcome.curvature, jnp.nan),
    }
