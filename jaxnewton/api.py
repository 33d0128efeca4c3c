"""The door: the verbs a user calls. Checks, defaults and pytrees here; the work is in loop.py and pool.py."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnewton import checks, implicit
from jaxnewton.driver import solve_pool
from jaxnewton.flat import Flattened, Structure, flatten, vector_structure
from jaxnewton.problem import Objective
from jaxnewton.progress import bar
from jaxnewton.solution import Solution, Solutions
from jaxnewton.solvers.trust_region import TrustRegion
from jaxnewton.starts import Rows, Starts
from jaxnewton.types import Array, Needs, Outcome, Rules, Solver


def minimize(
    fun: Callable[..., Array],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    solver: Solver | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
) -> Solution:
    """Minimise ``fun(x, *args)`` from one start. Works under ``jit`` and ``vmap``; differentiable in ``args``.

    Args:
        fun: a scalar function that JAX can trace. It is traced once for a solve, and not again for the same function,
            shapes and solver.
        x0: the start: any pytree of floating arrays; a list of numbers is taken as a vector.
        args: further arguments of ``fun``, arrays or pytrees of them; pass data here rather than closing over it.
        solver: ``jn.TrustRegion()`` (default), ``jn.Newton()``, ``jn.BFGS()``, ``jn.DFP()``,
            ``jn.Broyden()`` or ``jn.LBFGS()``.
        tol: a start has converged when the largest gradient component is at most ``tol * min(1, the same at x0)``;
            default 1e-8 in float64, 1e-5 in float32.
        max_steps: most trips of the loop, each one evaluation of f, gradient and what else the solver needs; default
            500.

    Returns:
        A Solution. It never raises for a numerical reason: look at ``status``, ``success`` and ``message``.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    checks.function("fun", fun)
    solver = checks.solver(solver, TrustRegion())
    flat, structure = flatten("x0", x0, batch=False)
    args = checks.arguments(args)
    rules = checks.rules(tol, max_steps, flat.dtype)
    outcome = _solve(Objective(Flattened(checks.hashable(fun), structure)), solver, flat, args, rules)
    return Solution(**_fields(outcome, structure, solver))


def minimize_batch(
    fun: Callable[..., Array],
    x0s: Any,
    args: tuple[Any, ...] = (),
    *,
    args_axes: int | Sequence[int | None] | None = None,
    solver: Solver | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
    width: int | None = None,
    keep: int | None = None,
    devices: Sequence[Any] | int | None = None,
    progress: bool = False,
) -> Solutions:
    """Minimise ``fun(x, *args)`` from many starts in one compiled loop.

    A fixed number of lanes works on the starts; a lane that ends records its outcome and takes the next start, so
    nothing waits for the slowest, and a failing start never disturbs another. The answer for a start depends neither
    on the width nor on the devices (but for rounding), nor on the other starts.

    Args:
        fun, args, solver, tol, max_steps: as for ``minimize``.
        x0s: starts along the leading axis of every leaf, or a ``jn.starts`` object that makes them on the fly.
        args_axes: None: all starts share ``args``; 0: every argument has one row a start; or a tuple, one a argument.
        width: lanes a device; default: measured, by the number of unknowns.
        keep: return only the k best ends (successes first, then lowest fun), so that memory does not grow with the
            number of starts; default: all, in the order of the starts.
        devices: JAX devices, or how many of the local ones; default: all local ones. On a CPU, ask JAX for one device
            a core first: ``jax.config.update("jax_num_cpu_devices", 8)``.
        progress: show a bar with starts done, best value, statuses and time left. Ctrl-C returns what was found so far.

    Returns:
        Solutions: the fields of Solution with a leading axis.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    checks.function("fun", fun)
    solver = checks.solver(solver, TrustRegion())
    starts, structure, dtype = _starts(x0s)
    args = checks.arguments(args)
    axes = checks.axes(args, args_axes, starts.count)
    rules = checks.rules(tol, max_steps, dtype)
    chosen = checks.devices(devices)
    width, keep = checks.positive("width", width), checks.positive("keep", keep)
    problem = Objective(Flattened(checks.hashable(fun), structure))
    with bar(starts.count) if progress else contextlib.nullcontext() as watch:
        report = solve_pool(
            problem, solver, starts, args, axes, rules, width=width, keep=keep, devices=chosen, watch=watch
        )
    if report.finished is not None and report.finished < starts.count:
        warnings.warn(f"interrupted: {report.finished} of {starts.count} starts had ended", stacklevel=2)
    fields = _fields(report.kept.outcome, structure, solver)
    return Solutions(**fields, start=report.kept.start, tally=report.tally)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _solve(problem: Objective, solver: Solver, x0: Array, args: tuple[Any, ...], rules: Rules) -> Outcome:
    return implicit.solve(problem, solver, x0, args, rules)


def _starts(x0s: Any) -> tuple[Starts, Structure, Any]:
    """The starts, the structure of one, and the dtype they are solved in."""
    if hasattr(x0s, "make"):
        one = jax.eval_shape(x0s.make, jax.ShapeDtypeStruct((), jnp.int32))
        return x0s, vector_structure(one.shape[0], one.dtype), one.dtype
    flat, structure = flatten("x0s", x0s, batch=True)
    return Rows(flat, flat.shape[0]), structure, flat.dtype


def _fields(outcome: Outcome, structure: Structure, solver: Solver) -> dict[str, Any]:
    """The fields that Solution and Solutions share."""
    return {
        "x": structure.restore(outcome.x),
        "fun": outcome.fun,
        "grad": structure.restore(outcome.grad),
        "status": outcome.status,
        "nit": outcome.nit,
        "nfev": outcome.nit,
        "njev": outcome.nit,
        "nhev": outcome.nit if solver.needs is Needs.HESSIAN else jnp.zeros_like(outcome.nit),
        "curvature": outcome.curvature,
    }
