"""Pytrees at the door: x as one flat vector inside, in the user's structure outside."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.linalg import full_products
from jaxnewton.types import Array, Bounds, is_traced


@dataclasses.dataclass(frozen=True)
class Structure:
    """How a flat vector maps to the user's pytree; hashable, so that compiled code is found again."""

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]

    def restore(self, flat: Array) -> Any:
        """The pytree of a flat vector (..., n); leading axes stay on every leaf."""
        leaves, at = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            size = math.prod(shape)
            leaves.append(flat[..., at : at + size].reshape(*flat.shape[:-1], *shape).astype(dtype))
            at += size
        return jax.tree.unflatten(self.treedef, leaves)


@dataclasses.dataclass(frozen=True)
class Flattened:
    """``fun`` of a flat vector. Equal by value when ``fun`` is, so that jit finds compiled code again."""

    fun: Callable[..., Any]
    structure: Structure

    def __call__(self, flat: Array, *args: Any) -> Any:
        with full_products():
            return self.fun(self.structure.restore(flat), *args)


@dataclasses.dataclass(frozen=True)
class FlattenedSystem:
    """``fun``, which maps x to a residual of x's own structure, from flat vector to flat vector."""

    fun: Callable[..., Any]
    structure: Structure

    def __call__(self, flat: Array, *args: Any) -> Any:
        with full_products():
            residual = self.fun(self.structure.restore(flat), *args)
        if isinstance(residual, (list, tuple)) and jax.tree_util.treedef_is_leaf(self.structure.treedef):
            residual = jnp.stack([jnp.asarray(equation) for equation in residual])  # as SciPy's users write
        leaves, treedef = jax.tree.flatten(residual)
        shapes = tuple(jnp.shape(leaf) for leaf in leaves)
        if treedef != self.structure.treedef or shapes != self.structure.shapes:
            wanted, came = self.structure.shapes, shapes
            raise TypeError(
                f"fun must return as many equations as there are unknowns, in the structure of x0: "
                f"{self.structure.treedef} of shapes {wanted}; it returned {treedef} of shapes {came}"
            )
        for leaf in leaves:
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise TypeError(f"fun must return real floating numbers; it returned dtype {jnp.result_type(leaf)}")
        return jnp.concatenate([jnp.asarray(leaf, flat.dtype).reshape(-1) for leaf in leaves])


@dataclasses.dataclass(frozen=True)
class FlattenedResidual:
    """``fun``, which maps x to residuals, any pytree of floating arrays, from flat vector to flat vector."""

    fun: Callable[..., Any]
    structure: Structure

    def __call__(self, flat: Array, *args: Any) -> Any:
        with full_products():
            leaves = jax.tree.leaves(self.fun(self.structure.restore(flat), *args))
        if not leaves or sum(math.prod(jnp.shape(leaf)) for leaf in leaves) == 0:
            raise TypeError("residual must return at least one number; it returned none")
        for leaf in leaves:
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise TypeError(
                    f"residual must return real floating numbers; it returned dtype {jnp.result_type(leaf)}"
                )
        return jnp.concatenate([jnp.asarray(leaf, flat.dtype).reshape(-1) for leaf in leaves])


def flatten(name: str, x0: Any, *, batch: bool) -> tuple[Array, Structure]:
    """One flat vector (n,), or (B, n) of starts along the leading axis of every leaf, and how to undo it."""
    if callable(getattr(x0, "make", None)):
        raise TypeError(f"{name} must be one start; it is {type(x0).__name__} of {x0.count}, for the verbs of batches")
    leaves, treedef = jax.tree.flatten(_numbers_to_array(name, x0))
    if not leaves:
        raise ValueError(f"{name} is empty: it must hold at least one floating array")
    leaves = [_floating(name, leaf) for leaf in leaves]
    lead = 1 if batch else 0
    for leaf in leaves:
        if leaf.ndim < lead:
            raise ValueError(f"{name} must have a leading axis of starts; it has shape {leaf.shape}")
        if batch and leaf.shape[0] != leaves[0].shape[0]:
            raise ValueError(
                f"the leaves of {name} disagree on the number of starts: {[leaf.shape for leaf in leaves]}"
            )
    if batch and leaves[0].shape[0] == 0:
        raise ValueError(f"{name} holds no starts: its shape is {leaves[0].shape}")
    dtypes = tuple(leaf.dtype for leaf in leaves)
    structure = Structure(treedef, tuple(leaf.shape[lead:] for leaf in leaves), dtypes)
    dtype = max(dtypes, key=lambda dtype: dtype.itemsize)
    flat = [leaf.astype(dtype).reshape(*leaf.shape[:lead], -1) for leaf in leaves]
    joined = jnp.concatenate(flat, axis=-1)
    if joined.shape[-1] == 0:
        raise ValueError(f"{name} has no unknowns: its shape is {[leaf.shape for leaf in leaves]}")
    return joined, structure


def flat_bounds(bounds: Any, structure: Structure) -> Bounds:
    """Bounds as two vectors (n,), from numbers or pytrees of x's structure, or arrays that broadcast to it."""
    if not isinstance(bounds, Bounds):
        raise TypeError(f"bounds must be jn.Bounds(lower, upper); it is {bounds!r} of type {type(bounds).__name__}")
    sides = (bounds.lower, -jnp.inf), (bounds.upper, jnp.inf)
    lower, upper = (
        _flat_bound(f"bounds.{name}", side, free, structure)
        for name, (side, free) in zip(bounds._fields, sides, strict=True)
    )
    if not is_traced((lower, upper)):
        low, high = np.asarray(lower), np.asarray(upper)
        if np.isnan(low).any() or np.isnan(high).any():
            raise ValueError("bounds must not be nan")
        if (low == np.inf).any() or (high == -np.inf).any():
            raise ValueError("bounds leave no room: a lower bound is inf or an upper one -inf")
        if (low > high).any():
            worst = int(np.argmax(low > high))
            raise ValueError(f"bounds are crossed: component {worst} has lower {low[worst]} and upper {high[worst]}")
    crossed = lower > upper  # only traced ones can be: the lane ends as NONFINITE
    return Bounds(jnp.where(crossed, jnp.nan, lower), jnp.where(crossed, jnp.nan, upper))


def _flat_bound(name: str, side: Any, free: float, structure: Structure) -> Array:
    tree = structure.treedef
    if tree.num_nodes == 1:  # x is an array: a list is one too
        side = jax.tree.map(lambda part: free if part is None else part, side, is_leaf=lambda part: part is None)
        side = _numbers_to_array(name, side)
    side = free if side is None else side
    if (given := jax.tree.structure(side)).num_nodes == 1:
        leaves = [side] * tree.num_leaves
    else:
        try:
            leaves = [free if leaf is None else leaf for leaf in tree.flatten_up_to(side)]
        except (ValueError, TypeError):
            leaves = []
        if not leaves or any(jax.tree.structure(leaf).num_nodes != 1 for leaf in leaves):
            raise ValueError(f"{name} must be a number or have the structure of x0, {tree}; it has {given}")
    dtype = max(structure.dtypes, key=lambda dtype: dtype.itemsize)
    flat = []
    for leaf, shape in zip(leaves, structure.shapes, strict=True):
        try:
            array = jnp.asarray(leaf, dtype)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must hold numbers; it holds {leaf!r}") from None
        try:
            flat.append(jnp.broadcast_to(array, shape).reshape(-1))
        except ValueError:
            raise ValueError(f"{name} must have the shape {shape} of x0; it has {array.shape}") from None
    return jnp.concatenate(flat)


def vector_structure(n: int, dtype: Any) -> Structure:
    """The structure of a plain vector (n,)."""
    return Structure(jax.tree.structure(0), ((n,),), (jnp.dtype(dtype),))


def _numbers_to_array(name: str, x0: Any) -> Any:
    """A list or tuple of plain Python numbers is meant as a vector, as in NumPy and SciPy."""
    if type(x0) not in (list, tuple):  # a named tuple is a pytree
        return x0
    numbers = jax.tree.leaves(x0, is_leaf=lambda node: type(node) not in (list, tuple))
    plain = all(isinstance(leaf, (int, float, np.floating)) and not isinstance(leaf, bool) for leaf in numbers)
    if not numbers or not plain:
        return x0
    try:
        if all(isinstance(leaf, np.floating) for leaf in numbers):
            return np.asarray(x0)  # keeps their dtype
        return np.asarray(x0, dtype=int if all(isinstance(leaf, int) for leaf in numbers) else float)
    except ValueError:
        raise ValueError(
            f"{name} must be an array or a pytree of arrays; it is nested lists of numbers whose lengths differ: "
            f"{x0!r}. If they are meant as a pytree, make its leaves arrays"
        ) from None


def _floating(name: str, leaf: Any) -> Array:
    if isinstance(leaf, (bool, int)) or (not hasattr(leaf, "dtype") and not isinstance(leaf, float)):
        raise TypeError(f"{name} must hold floating numbers; it holds {leaf!r} of type {type(leaf).__name__}")
    dtype = getattr(leaf, "dtype", jnp.result_type(float))
    if np.dtype(object) is dtype:
        raise TypeError(
            f"{name} must be floating; it has dtype object, as NumPy makes of rows whose lengths differ or of what are "
            f"no numbers; its shape is {np.shape(leaf)}"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        whole = jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_)
        advice = ". Write 1.0 for 1, or use .astype(float)" if whole else ""
        raise TypeError(f"{name} must be floating; it has dtype {dtype}{advice}")
    array = jnp.asarray(leaf)
    checks.precision(name, array.dtype)
    return array
