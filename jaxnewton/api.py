"""The verbs a user calls. What they have in common is in door.py; the work is in loop.py and pool.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jaxnewton import checks
from jaxnewton.door import Posed, Task, solve_many, solve_one
from jaxnewton.flat import Flattened, FlattenedResidual, FlattenedSystem, Structure, flat_bounds
from jaxnewton.problem import Bounded, Objective, SumOfSquares, System
from jaxnewton.solution import Solution, Solutions
from jaxnewton.solvers.choice import default_solver
from jaxnewton.solvers.gradient import GradientDescent
from jaxnewton.solvers.levenberg_marquardt import LevenbergMarquardt
from jaxnewton.solvers.newton import Newton
from jaxnewton.solvers.root import NewtonRoot
from jaxnewton.solvers.squares import Squares
from jaxnewton.types import Array, Bounds, Needs, Solver


def minimize(
    fun: Callable[..., Array],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    solver: Solver | None = None,
    bounds: Bounds | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
    history: bool = False,
) -> Solution:
    """Minimise ``fun(x, *args)`` from one start. Works under ``jit`` and ``vmap``; differentiable in ``args``.

    Args:
        fun: a scalar function that JAX can trace. It is traced once for a solve, and not again for the same function,
            shapes and solver.
        x0: the start: any pytree of arrays in float32 or float64; a list of numbers is taken as a vector.
        args: further arguments of ``fun``, arrays or pytrees of them; pass data here rather than closing over it.
        solver: ``jn.TrustRegion()``, ``jn.Newton()``, ``jn.NewtonCG()``, ``jn.BFGS()``, ``jn.DFP()``,
            ``jn.Broyden()``, ``jn.LBFGS()``, ``jn.GradientDescent()`` or ``jn.Optax()``; default: ``TrustRegion`` for
            up to 100 unknowns, ``NewtonCG`` above, which cannot tell a minimum from a saddle that it starts at. Those
            from ``jn.BFGS()`` on need the gradient only (but for the step "exact"), and so are the ones for a ``fun``
            that JAX differentiates once only, as where a ``jax.custom_vjp`` rule calls back to the host.
        bounds: ``jn.Bounds(lower, upper)``, numbers or pytrees of x0's structure, for ``jn.GradientDescent()``. A start
            outside is moved to the nearest point inside; ``grad`` is 0 where a bound holds x against -grad.
        tol: a start has converged when the largest gradient component is at most ``tol * min(1, the same at x0)``, and
            the next step is short, or shorter than the last; default 1e-8 in float64, 1e-5 in float32. Where the
            gradient alone stays within it for 16 trips, as for exp(-x), x runs away, and the status is DIVERGED.
        max_steps: most trips of the loop, each one evaluation of f, gradient and what else the solver needs
            (Hessian-vector products are not counted); default 500.
        history: keep f, largest gradient component, step length and whether it was accepted for every trip, in
            ``solution.history``.

    Returns:
        A Solution. It never raises for a numerical reason: look at ``status``, ``success`` and ``message``.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    task = _minimisation(fun, solver, bounds)
    return solve_one(task, x0, args, tol=tol, max_steps=max_steps, history=history)


def minimize_batch(
    fun: Callable[..., Array],
    x0s: Any,
    args: tuple[Any, ...] = (),
    *,
    args_axes: int | Sequence[int | None] | None = None,
    solver: Solver | None = None,
    bounds: Bounds | None = None,
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
        fun, args, solver, bounds, tol, max_steps: as for ``minimize``; all starts share the bounds.
        x0s: starts along the leading axis of every leaf, or a ``jn.starts`` object that makes them on the fly.
        args_axes: None: all starts share ``args``; 0: every argument has one row a start; or a tuple, one a argument.
        width: lanes a device; default: measured, by the number of unknowns.
        keep: return only the k best ends (successes first, then lowest fun), so that memory does not grow with the
            number of starts; default: all, in the order of the starts.
        devices: JAX devices, or how many of the local ones; default: all local ones. On a CPU, ask JAX for one device
            a core first: ``jax.config.update("jax_num_cpu_devices", 8)``.
            Inside ``jit`` a single device changes nothing: all runs where ``jit`` does.
        progress: show a bar with starts done, best value, statuses and time left; not inside ``jit``. Ctrl-C returns
            what was found so far.

    Returns:
        Solutions: the fields of Solution with a leading axis.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    task = _minimisation(fun, solver, bounds)
    return solve_many(
        task,
        x0s,
        args,
        args_axes=args_axes,
        tol=tol,
        max_steps=max_steps,
        width=width,
        keep=keep,
        devices=devices,
        progress=progress,
    )


def least_squares(
    residual: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    solver: Solver | None = None,
    bounds: Bounds | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
    history: bool = False,
) -> Solution:
    """Minimise half the sum of squares of ``residual(x, *args)`` from one start. Works under ``jit`` and ``vmap``;
    differentiable in ``args``.

    Args:
        residual: maps x to residuals, any pytree of floating arrays; there may be fewer of them than unknowns.
        x0, args: as for ``minimize``.
        solver: ``jn.LevenbergMarquardt()`` (default), ``jn.GaussNewton()``, or any solver of ``minimize`` that needs no
            Hessian-vector products; ``jn.TrustRegion()`` and ``jn.Newton()`` are given J'J for the Hessian.
        bounds: ``jn.Bounds(lower, upper)``, numbers or pytrees of x0's structure: steps are projected (Bertsekas 1982).
            Only for ``jn.LevenbergMarquardt()`` and ``jn.GradientDescent()``.
        tol: of the gradient J'r, as for ``minimize``.
        max_steps: most trips, each one evaluation of the residuals and their Jacobian; default 500.
        history: as for ``minimize``.

    Returns:
        A Solution: ``fun`` is half the sum of squares, ``grad`` is J'r. SINGULAR where x is stationary and J has not
        full rank there. J'J leaves out the residuals' own curvature: CONVERGED says that J'r is 0, which it is at a
        maximum or a saddle too, where one can be started; ``curvature`` is nan.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    return solve_one(_squares(residual, solver, bounds), x0, args, tol=tol, max_steps=max_steps, history=history)


def least_squares_batch(
    residual: Callable[..., Any],
    x0s: Any,
    args: tuple[Any, ...] = (),
    *,
    args_axes: int | Sequence[int | None] | None = None,
    solver: Solver | None = None,
    bounds: Bounds | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
    width: int | None = None,
    keep: int | None = None,
    devices: Sequence[Any] | int | None = None,
    progress: bool = False,
) -> Solutions:
    """Minimise half the sum of squares of ``residual(x, *args)`` from many starts, or of many data, in one loop.

    Args:
        residual, args, solver, bounds, tol, max_steps: as for ``least_squares``.
        x0s, args_axes, width, keep, devices, progress: as for ``minimize_batch``.

    Returns:
        Solutions: the fields of ``least_squares``'s Solution with a leading axis.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    task = _squares(residual, solver, bounds)
    return solve_many(
        task,
        x0s,
        args,
        args_axes=args_axes,
        tol=tol,
        max_steps=max_steps,
        width=width,
        keep=keep,
        devices=devices,
        progress=progress,
    )


def root(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    solver: Newton | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
) -> Solution:
    """Solve ``fun(x, *args) = 0``, as many equations as unknowns. Works under ``jit`` and ``vmap``; differentiable in
    ``args``.

    Args:
        fun: maps x to a residual of the same structure and shapes.
        x0, args: as for ``minimize``; x0 may be a single number.
        solver: ``jn.Newton()`` (default): Newton's method with a dogleg trust region, or ``jn.Newton(damped=False)``:
            the pure iteration.
        tol: x is a root when the largest residual is at most ``tol * min(1, the same at x0)``, and steps shrink with
            it; default 1e-8 in float64, 1e-5 in float32.
        max_steps: most trips, each one evaluation of the residual and its Jacobian; default 500.

    Returns:
        A Solution: ``grad`` is the residual at x and ``fun`` half its square. NOISE_FLOOR where x cannot be told from
        the root in this dtype; SINGULAR where ||residual|| is stationary but not 0, so that the Jacobian is singular
        (or, for the pure iteration, wherever that is).

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    return solve_one(_equations(fun, solver), x0, args, tol=tol, max_steps=max_steps)


def root_batch(
    fun: Callable[..., Any],
    x0s: Any,
    args: tuple[Any, ...] = (),
    *,
    args_axes: int | Sequence[int | None] | None = None,
    solver: Newton | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
    width: int | None = None,
    keep: int | None = None,
    devices: Sequence[Any] | int | None = None,
    progress: bool = False,
) -> Solutions:
    """Solve ``fun(x, *args) = 0`` from many starts in one compiled loop; ``.distinct()`` lists the different roots.

    Args:
        fun, args, solver, tol, max_steps: as for ``root``.
        x0s, args_axes, width, keep, devices, progress: as for ``minimize_batch``.

    Returns:
        Solutions: the fields of ``root``'s Solution with a leading axis.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    task = _equations(fun, solver)
    return solve_many(
        task,
        x0s,
        args,
        args_axes=args_axes,
        tol=tol,
        max_steps=max_steps,
        width=width,
        keep=keep,
        devices=devices,
        progress=progress,
    )


def _minimisation(fun: Any, solver: Any, bounds: Any) -> Task:
    fun = checks.hashable(checks.function("fun", fun))

    def pose(structure: Structure, args: tuple[Any, ...]) -> Posed:
        flattened = Flattened(fun, structure)
        if bounds is None:
            return Objective(flattened), args
        return Bounded(flattened), (flat_bounds(bounds, structure), *args)

    if solver is not None:
        checks.solver(solver)
    if isinstance(solver, Squares):
        raise ValueError(f"{solver!r} is for sums of squares: give the residuals to jn.least_squares")
    if bounds is not None and not isinstance(solver, GradientDescent):
        raise ValueError(f"bounds need solver=jn.GradientDescent(); the solver is {solver!r}")
    return Task(pose, lambda n: solver or default_solver(n), hessians=True)


def _squares(residual: Any, solver: Any, bounds: Any) -> Task:
    residual = checks.hashable(checks.function("residual", residual))
    chosen = LevenbergMarquardt() if solver is None else checks.solver(solver)
    if chosen.needs in (Needs.PRODUCT, Needs.CURVATURE):
        raise ValueError(f"least_squares forms no Hessian-vector products; the solver is {solver!r}")
    if bounds is not None and not isinstance(chosen, (LevenbergMarquardt, GradientDescent)):
        raise ValueError(f"bounds need jn.LevenbergMarquardt() or jn.GradientDescent(); the solver is {solver!r}")

    def pose(structure: Structure, args: tuple[Any, ...]) -> Posed:
        flattened = FlattenedResidual(residual, structure)
        if bounds is None:
            return SumOfSquares(flattened), args
        return SumOfSquares(flattened, bounded=True), (flat_bounds(bounds, structure), *args)

    return Task(pose, lambda n: chosen, hessians=False)


def _equations(fun: Any, solver: Any) -> Task:
    fun = checks.hashable(checks.function("fun", fun))
    if solver is not None and not isinstance(checks.solver(solver), Newton):
        raise ValueError(f"root needs solver=jn.Newton(); the solver is {solver!r}")
    guarded = NewtonRoot(damped=solver is None or solver.damped)

    def pose(structure: Structure, args: tuple[Any, ...]) -> Posed:
        return System(FlattenedSystem(fun, structure)), args

    return Task(pose, lambda n: guarded, hessians=False)
