"""Functions on a sphere: each step minimises a quadratic model over the whole sphere, exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks, linalg, secular
from jaxnewton.door import Posed, Task, solve_many, solve_one
from jaxnewton.flat import Flattened, Structure, flatten
from jaxnewton.loop import over_lanes
from jaxnewton.problem import Objective
from jaxnewton.solution import Solution, Solutions
from jaxnewton.solvers.common import judge, resized, resolution, verdict
from jaxnewton.solvers.second_order import SecondOrder, State, receive
from jaxnewton.types import RUNNING, Array, Evaluation, Needs, Status, is_traced


@dataclasses.dataclass(frozen=True)
class OnSphere(Objective):
    """An ``Objective`` on ||x|| = radius; the radius is the first of ``args``.

    With P the projection onto the tangent plane at x, ``g`` is P grad f, and ``H`` is the ambient Hessian less
    (x'grad f / radius^2) I, so that f(x) + g's + s'Hs/2 is f(x + s) to second order for x + s on the sphere, and P H P
    is the Riemannian Hessian (Absil, Mahony & Sepulchre 2008, section 5.5).
    """

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        radius, *others = args
        if needs is Needs.GRADIENT:  # asked for derivatives of a solution: f of x scaled to the sphere, and off it a g
            f, g = jax.value_and_grad(lambda x: self._scalar(radius * x / jnp.sqrt(jnp.sum(x * x)), *others))(x)
            return Evaluation(f, g + 0.5 * (jnp.sum(x * x) / radius**2 - 1.0) * x, None)  # with a derivative there
        return _tangent(super().evaluate(x, tuple(others), needs), x, radius)

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        at = super().evaluate_lanes(x, args[1:], axes[1:], needs)
        return over_lanes(_tangent, -1, -1, None)(at, x, args[0])

    def move(self, x: Array, step: Array, args: tuple[Any, ...]) -> Array:
        moved = x + step
        return moved * (args[0] / jnp.sqrt(jnp.sum(moved * moved)))


def _tangent(at: Evaluation, x: Array, radius: Array) -> Evaluation:
    x = x / radius
    outward = jnp.sum(x * at.g)
    g = at.g - outward * x
    return Evaluation(at.f, g, at.H - outward / radius * jnp.eye(x.shape[0], dtype=x.dtype))


@dataclasses.dataclass(frozen=True)
class SphereModel(SecondOrder):
    """The next trial minimises the model g's + s'Hs/2 over all of the sphere, or near x where that failed.

    As long as its trust region holds the whole sphere, the step is the model's global minimiser there; afterwards it is
    the minimiser over a ball in the tangent plane (Absil, Baker & Gallivan 2007, with the subproblem solved exactly).
    """

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        trial_norm = linalg.max_norm(evaluation.H)
        found = judge(state, evaluation, trial_norm)
        x, f, g, H, norm = receive(found.accept, state, x, evaluation, trial_norm)

        n = x.shape[0]
        radius = jnp.sqrt(jnp.sum(x * x))
        trust = jnp.where(jnp.isinf(state.f), 2.0 * radius, resized(state.control, state, found))
        top = jnp.where(norm > 0, norm, 1.0)
        zero = resolution(top, n)
        near = secular.minimise_over_ball(_projected(H, x / radius, top), g, trust, zero)
        linear = g - jnp.sum(H * x[None], axis=1)  # the model as a quadratic of x + s
        far = secular.minimise_over_sphere(H, linear, radius, zero).step - x
        promised = -jnp.sum(g * far) - 0.5 * jnp.sum(far * jnp.sum(H * far[None], axis=1))

        everywhere = (trust >= 2.0 * radius) & (promised > zero * radius**2)  # else far may be another minimiser
        step = jnp.where(everywhere, far, near.step)
        predicted = jnp.where(everywhere, promised, near.predicted)
        met = verdict(near.lowest, zero)
        escaping = (met == Status.SADDLE) & (predicted > 0)
        return State(
            x=x, f=f, g=g, H=H, norm=norm,
            control=trust,
            step=step,
            predicted=predicted,
            full=everywhere | near.interior,
            curvature=near.lowest,
            if_stationary=jnp.where(escaping, RUNNING, met).astype(jnp.int32),
            status=state.status,
        )  # fmt: skip


def _projected(H: Array, x: Array, top: Array) -> Array:
    """P H P, with the normal x of norm 1 lifted to ``top``, out of the way."""
    Hx = jnp.sum(H * x[None], axis=1)
    both = x[:, None] * Hx[None, :]
    return H - both - both.T + (jnp.sum(x * Hx) + top) * x[:, None] * x[None, :]


def minimize(
    fun: Callable[..., Array],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    radius: float = 1.0,
    tol: float | None = None,
    max_steps: int | None = None,
    history: bool = False,
) -> Solution:
    """Minimise ``fun(x, *args)`` on the sphere ||x|| = radius from one start. Works under ``jit`` and ``vmap``;
    differentiable in ``args`` and ``radius``.

    Each trip minimises the quadratic model at x over the whole sphere (Hager 2001), so that it may leave for a far
    better place, and is judged as a trust region's step is; where the model promised too much, a trust region around x
    follows. It converges quadratically to a minimum, at the cost of two eigendecompositions of n x n a trip (n <= 5 on
    CPU: tridiagonalisations).

    Args:
        fun, x0, args, tol, max_steps, history: as for ``jn.minimize``; fun is differentiated in the space around, where
            it must be defined. A start off the sphere is scaled to it; x0 may be a pytree, whose norm is that of all.
        radius: of the sphere, positive.

    Returns:
        A Solution: ``grad`` is the tangent part of the gradient, and ``curvature`` the smallest eigenvalue of the
        Riemannian Hessian, which is positive at an isolated minimum.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    flat, _ = flatten("x0", x0, batch=False)
    if not is_traced(flat) and not np.any(np.asarray(flat)):
        raise ValueError(f"x0 must not be 0, which cannot be scaled to the sphere; it is {x0!r}")
    return solve_one(_task(fun, radius), x0, args, tol=tol, max_steps=max_steps, history=history)


def minimize_batch(
    fun: Callable[..., Array],
    x0s: Any,
    args: tuple[Any, ...] = (),
    *,
    radius: float = 1.0,
    args_axes: int | Sequence[int | None] | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
    width: int | None = None,
    keep: int | None = None,
    devices: Sequence[Any] | int | None = None,
    progress: bool = False,
) -> Solutions:
    """Minimise ``fun(x, *args)`` on the sphere ||x|| = radius from many starts in one compiled loop.

    Args:
        fun, args, radius, tol, max_steps: as for ``minimize``; all starts share the radius.
        x0s, args_axes, width, keep, devices, progress: as for ``jn.minimize_batch``; ``jn.starts.normal(key, zeros(n),
            1.0, count)`` makes starts uniform on the sphere.

    Returns:
        Solutions: the fields of ``minimize``'s Solution with a leading axis.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    return solve_many(
        _task(fun, radius),
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


def _task(fun: Any, radius: Any) -> Task:
    fun = checks.hashable(checks.function("fun", fun))
    checks.positive_number("radius", radius)

    def pose(structure: Structure, args: tuple[Any, ...]) -> Posed:
        dtype = max(structure.dtypes, key=lambda dtype: dtype.itemsize)
        return OnSphere(Flattened(fun, structure)), (jnp.asarray(radius, dtype), *args)

    return Task(pose, lambda n: SphereModel(), hessians=True)
