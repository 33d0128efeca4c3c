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

    def move(self, x: Array, step: Array) -> Array:
        """The point that ``step`` leads to from ``x``: x + step, or a retraction."""
        ...

    def size(self, x: Array) -> int:
        """Number of unknowns at ``x``: the length of the gradient."""
        ...


@dataclasses.dataclass(frozen=True)
class Objective:
    """``fun(x, *args) -> scalar`` of a flat x, differentiated by JAX.

    The function is traced once, whatever is asked: the Hessian comes from linearising the gradient (forward over
    reverse), so f and g are by-products.
    """

    fun: Callable[..., Array]

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        e = self.evaluate_lanes(x[:, None], args, (None,) * len(args), needs)
        return jax.tree.map(lambda leaf: leaf[..., 0], e)

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        """All lanes at once, as derivatives of the sum over lanes: what JAX writes for them keeps the lane axis last."""
        each = jax.vmap(self._scalar, in_axes=(-1, *axes))

        def value_and_gradient(x: Array) -> tuple[Array, Array]:
            def total(x: Array) -> tuple[Array, Array]:
                f = each(x, *args)
                return jnp.sum(f), f

            g, f = jax.grad(total, has_aux=True)(x)
            return f, g

        if needs is Needs.GRADIENT:
            return Evaluation(*value_and_gradient(x), None)
        (f, g), derivative = jax.linearize(value_and_gradient, x)
        if needs is Needs.CURVATURE:
            return Evaluation(f, g, jnp.sum(g * derivative(g)[1], axis=0))
        n, lanes = x.shape
        along = lambda v: derivative(jnp.broadcast_to(v[:, None], (n, lanes)))[1]
        return Evaluation(f, g, jax.vmap(along)(jnp.eye(n, dtype=x.dtype)))

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
