"""A problem: a pure function, and the derivatives a solver asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton.types import Array, Evaluation, Needs


class Problem(Protocol):
    """What the loop and the pool call. Frozen and hashable, like a solver."""

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        """f, g and what else ``needs`` names, at one point."""
        ...

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        """The same at x (n, lanes), the lane axis last in everything; ``axes``: each argument's lane axis, or None."""
        each = jax.vmap(lambda x, *args: self.evaluate(x, args, needs), in_axes=(-1, *axes), out_axes=-1)
        return each(x, *args)

    def move(self, x: Array, step: Array) -> Array:
        """The point that ``step`` leads to from ``x``: x + step, or a retraction."""
        ...

    def size(self, x: Array) -> int:
        """Number of unknowns at ``x``: the length of the gradient."""
        ...


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

    def move(self, x: Array, step: Array) -> Array:
        return x + step

    def size(self, x: Array) -> int:
        return x.shape[0]


def _differentiate(f: Callable[[Array], Array], x: Array, needs: Needs) -> Evaluation:
    """f (), g (n,) and H of x (n,); or of all lanes at once, with x (n, lanes), as derivatives of the sum over lanes.

    The derivatives of a sum, unlike those of each lane under ``vmap``, keep the lane axis last: 2 to 4 times faster.
    """

    def value_and_gradient(x: Array) -> tuple[Array, Array]:
        def total(x: Array) -> tuple[Array, Array]:
            each = f(x)
            return jnp.sum(each), each

        g, each = jax.grad(total, has_aux=True)(x)
        return each, g

    if needs is Needs.GRADIENT:
        return Evaluation(*value_and_gradient(x), None)
    (each, g), derivative = jax.linearize(value_and_gradient, x)
    if needs is Needs.CURVATURE:
        return Evaluation(each, g, jnp.sum(g * derivative(g)[1], axis=0))
    n = x.shape[0]
    basis = jnp.eye(n, dtype=x.dtype).reshape(n, *x.shape[:1], *(1 for _ in x.shape[1:]))
    return Evaluation(each, g, jax.vmap(lambda e: derivative(jnp.broadcast_to(e, x.shape))[1])(basis))
