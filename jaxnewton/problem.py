"""A problem: a pure function, and the derivatives a solver asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import linalg
from jaxnewton.types import Array, Evaluation, Needs


class Problem(Protocol):
    """What the loop and the pool call. Frozen and hashable, like a solver."""

    rows_axis: ClassVar[int] = -1  # where evaluate_lanes wants the lane axis of arguments that lanes have their own of
    keeps: ClassVar[bool] = False  # whether H at its end is part of what a lane leaves behind
    patience: ClassVar[int] = 4  # the pool refills when one lane in so many has ended; a refill moves these arguments

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        """f, g and what else ``needs`` names, at one point."""
        ...

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        """The same at x (n, lanes), the lane axis last in everything; ``axes``: each argument's lane axis, or None."""
        each = jax.vmap(lambda x, *args: self.evaluate(x, args, needs), in_axes=(-1, *axes), out_axes=-1)
        return each(x, *args)

    def hold(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """What the pool's lanes work with, made once of their arguments, each of it alone.

        Called with those that all lanes share, and with those of one lane, each time with None in the others' places;
        as many come back. ``evaluate_lanes`` and ``move`` in the pool are given these, all else what ``args`` were.
        """
        return args

    def lanes(self, own: int) -> int | None:
        """The pool's width on CPU, where the problem knows better than driver.py; ``own``: entries of the largest
        argument that a lane has for itself."""
        del own
        return None

    def move(self, x: Array, step: Array, args: tuple[Any, ...]) -> Array:
        """The point that ``step`` leads to from ``x``: x + step, a retraction, or a projection of it."""
        del args
        return x + step

    def second_along(self, x: Array, v: Array, args: tuple[Any, ...]) -> Array:
        """J'r''(v, v) of a sum of squares."""
        raise TypeError(f"{type(self).__name__} is no sum of squares: it has no residuals")

    def size(self, x: Array) -> int:
        """Number of unknowns at ``x``: the length of the gradient."""
        return x.shape[0]


@dataclasses.dataclass(frozen=True)
class Moves:
    """The ``move`` that a solver's ``ask`` is given: a problem's, with its arguments."""

    problem: Problem
    args: tuple[Any, ...]

    def __call__(self, x: Array, step: Array) -> Array:
        return self.problem.move(x, step, self.args)

    def second_along(self, x: Array, v: Array) -> Array:
        return self.problem.second_along(x, v, self.args)


@dataclasses.dataclass(frozen=True)
class Objective(Problem):
    """``fun(x, *args) -> scalar`` of a flat x, differentiated by JAX.

    The function is traced once, whatever is asked: the Hessian comes from linearising the gradient (forward over
    reverse), so f and g are by-products.
    """

    fun: Callable[..., Array]

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        return _differentiate(lambda x: self._scalar(x, *args), x, needs)

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        if needs is Needs.PRODUCT:  # a function of one lane's vector
            return super().evaluate_lanes(x, args, axes, needs)
        return _differentiate(lambda x: jax.vmap(self._scalar, (-1, *axes))(x, *args), x, needs)

    def _scalar(self, x: Array, *args: Any) -> Array:
        value = self.fun(x, *args)
        if not isinstance(value, (jax.Array, np.ndarray, np.generic, int, float)):
            raise TypeError(f"fun must return a scalar; it returned {value!r} of type {type(value).__name__}")
        shape, dtype = jnp.shape(value), jnp.result_type(value)
        if shape != ():
            raise TypeError(f"fun must return a scalar; it returned an array of shape {shape}")
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(f"fun must return a real floating scalar; it returned dtype {dtype}")
        return jnp.asarray(value, x.dtype)


@dataclasses.dataclass(frozen=True)
class Bounded(Objective):
    """An ``Objective`` over a box. The first of ``args`` are its ``Bounds``, each (n,).

    Steps are clipped to the box, and ``g`` is projected: where a bound holds x against -g, it is x - bound, which is 0.
    The derivatives of that are the ones of the bounded solution.
    """

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        bounds, *others = args
        at = _differentiate(lambda x: self._scalar(x, *others), x, needs, lambda g, x: _project(g, x, *bounds))
        return at._replace(H=at.H.T) if needs is Needs.HESSIAN else at  # not symmetric: g has its rows

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        return Problem.evaluate_lanes(self, x, args, axes, needs)

    def move(self, x: Array, step: Array, args: tuple[Any, ...]) -> Array:
        return jnp.clip(x + step, *args[0])


@dataclasses.dataclass(frozen=True)
class System(Problem):
    """Equations ``fun(x, *args) -> residual``, both flat (n,): f = r'r / 2, and r and its Jacobian for g and H."""

    fun: Callable[..., Array]

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        return _residual_and_jacobian(lambda x: self.fun(x, *args), x, needs)

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        return _residual_and_jacobian(lambda x: jax.vmap(self.fun, (-1, *axes), -1)(x, *args), x, needs)


@dataclasses.dataclass(frozen=True)
class SumOfSquares(Problem):
    """f = r'r / 2 of residuals ``fun(x, *args) -> r`` (m,), with g = J'r and Gauss and Newton's H = J'J.

    ``bounded``: the first of ``args`` are ``Bounds``, each (n,); as in ``Bounded`` steps are clipped and g projected,
    and what a bound holds has no part in J but a 1 on the diagonal.
    """

    fun: Callable[..., Array]
    bounded: bool = False

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        at = self.evaluate_lanes(x[:, None], args, (None,) * len(args), needs)
        return Evaluation(at.f[0], at.g[:, 0], None if at.H is None else at.H[..., 0])

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        if needs not in (Needs.GRADIENT, Needs.HESSIAN, Needs.FACTOR):
            raise NotImplementedError(f"a sum of squares has no {needs.value}")
        bounds, args, axes = (args[0], args[1:], axes[1:]) if self.bounded else (None, args, axes)

        def residuals(x: Array) -> Array:
            return jax.vmap(self.fun, (-1, *axes), -1)(x, *args)

        if needs is Needs.GRADIENT:
            r, pull = jax.vjp(residuals, x)
            return Evaluation(0.5 * jnp.sum(r * r, axis=0), self._projected(pull(r)[0], x, bounds)[0], None)
        r, derivative = jax.linearize(residuals, x)
        J = jax.vmap(lambda e: derivative(jnp.broadcast_to(e, x.shape)), out_axes=1)(_basis(x))  # (m, n, lanes)
        g, held = self._projected(jnp.sum(J * r[:, None], axis=0), x, bounds)
        f = 0.5 * jnp.sum(r * r, axis=0)
        eye = jnp.eye(x.shape[0], dtype=x.dtype)[:, :, None]
        if bounds is not None:
            J = jnp.where(held[None], 0.0, J)
        if needs is Needs.HESSIAN:
            H = linalg.gram(J)
            return Evaluation(f, g, H if bounds is None else H + jnp.where(held[None], eye, 0.0))
        if bounds is not None:
            J = jnp.concatenate([J, jnp.where(held[None], eye, 0.0)])
        short = max(x.shape[0] - r.shape[0], 0) if bounds is None else x.shape[0]
        J = jnp.pad(J, ((0, max(x.shape[0] - J.shape[0], 0)), (0, 0), (0, 0)))
        r = jnp.pad(r, ((0, short), (0, 0)))
        R, c = jax.vmap(linalg.qr_reduce, -1, -1)(J, r)
        return Evaluation(f, g, jnp.concatenate([R, c[:, None]], axis=1))

    def move(self, x: Array, step: Array, args: tuple[Any, ...]) -> Array:
        return jnp.clip(x + step, *args[0]) if self.bounded else x + step

    def second_along(self, x: Array, v: Array, args: tuple[Any, ...]) -> Array:
        bounds, args = (args[0], args[1:]) if self.bounded else (None, args)

        def residuals(x: Array) -> Array:
            return self.fun(x, *args)

        def rate(x: Array) -> Array:
            return jax.jvp(residuals, (x,), (v,))[1]

        r, derivative = jax.linearize(residuals, x)
        J = jax.vmap(derivative, out_axes=1)(_basis(x))  # in forward mode, as all of least squares
        second = jnp.sum(J * jax.jvp(rate, (x,), (v,))[1][:, None], axis=0)
        _, held = self._projected(jnp.sum(J * r[:, None], axis=0)[:, None], x[:, None], bounds)
        return jnp.where(held[:, 0], 0.0, second)

    @staticmethod
    def _projected(g: Array, x: Array, bounds: Any) -> tuple[Array, Array]:
        """g, and which of x a bound holds against it."""
        if bounds is None:
            return g, jnp.zeros(g.shape, bool)
        lower, upper = (jnp.broadcast_to(side[:, None], x.shape) for side in bounds)
        held = held_by(x, g, lower, upper)
        return _project(g, x, lower, upper), held


def _residual_and_jacobian(fun: Callable[[Array], Array], x: Array, needs: Needs) -> Evaluation:
    if needs is Needs.GRADIENT:
        r = fun(x)
        return Evaluation(0.5 * jnp.sum(r * r, axis=0), r, None)
    r, derivative = jax.linearize(fun, x)
    J = jax.vmap(lambda e: derivative(jnp.broadcast_to(e, x.shape)), out_axes=1)(_basis(x))
    return Evaluation(0.5 * jnp.sum(r * r, axis=0), r, J)


def _basis(x: Array) -> Array:
    """The unit vectors (n, n), with an axis more where x has lanes."""
    n = x.shape[0]
    return jnp.eye(n, dtype=x.dtype).reshape(n, *x.shape[:1], *(1 for _ in x.shape[1:]))


def held_by(x: Array, g: Array, lower: Array, upper: Array) -> Array:
    """Which of x a bound holds against -g."""
    return ((x <= lower) & (g > 0)) | ((x >= upper) & (g < 0))


def _project(g: Array, x: Array, lower: Array, upper: Array) -> Array:
    held_up = jnp.where((x >= upper) & (g < 0), x - upper, g)
    return jnp.where((x <= lower) & (g > 0), x - lower, held_up)


def _differentiate(
    f: Callable[[Array], Array], x: Array, needs: Needs, project: Callable[[Array, Array], Array] = lambda g, x: g
) -> Evaluation:
    """f (), g (n,) and H of x (n,); or of all lanes at once, with x (n, lanes), as derivatives of the sum over lanes.

    The derivatives of a sum, unlike those of each lane under ``vmap``, keep the lane axis last: 2 to 4 times faster.
    ``project(g, x)`` is taken for the gradient in all that follows.
    """

    def gradient_and_value(x: Array) -> tuple[Array, Array]:
        def total(x: Array) -> tuple[Array, Array]:
            each = f(x)
            return jnp.sum(each), each

        g, each = jax.grad(total, has_aux=True)(x)
        return project(g, x), each

    if needs is Needs.GRADIENT:
        g, each = gradient_and_value(x)
        return Evaluation(each, g, None)
    # f's own tangent is needed by nobody, and JAX refuses it where f has a custom_vjp rule.
    g, derivative, each = jax.linearize(gradient_and_value, x, has_aux=True)
    if needs is Needs.PRODUCT:
        return Evaluation(each, g, derivative)
    if needs is Needs.CURVATURE:
        return Evaluation(each, g, jnp.sum(g * derivative(g), axis=0))
    return Evaluation(each, g, jax.vmap(lambda e: derivative(jnp.broadcast_to(e, x.shape)))(_basis(x)))
