"""Stacks of fits: how they were stacked, and functions of one fit over all of them, or over some."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton.types import Array

CHUNK, IN_CACHE = 256, 2**18  # on CPU most fits that are gone through at once, and most entries they have of their own
CHUNK_ELSEWHERE = 2**15
SOME = 32  # the same where they are chosen
LANES = 4, 64  # fewest and most of a pool on CPU


def in_cache(own: int, together: int, fewest: int, most: int) -> int:
    """How many fits, each with ``own`` entries, have at most so many ``together``, or the ``fewest``; a power of 2."""
    return 2 ** (min(max(together // max(own, 1), fewest), most).bit_length() - 1)


class Axes(NamedTuple):
    """The axis of the fits in each argument: 0, or None where all share it."""

    X: int | None
    y: int | None
    weights: int | None
    offset: int | None
    ridge: int | None


class Stack(NamedTuple):
    """How the fits were stacked."""

    lead: tuple[int, ...]  # leading axes; (): one fit
    axes: Axes

    @property
    def axis(self) -> int | None:
        """Of what each fit has for itself."""
        return 0 if self.lead else None

    @property
    def fits(self) -> int:
        """How many there are."""
        return math.prod(self.lead)

    def restore(self, tree: Any) -> Any:
        """Leaves (B, ...), or (...) for one fit, to (*lead, ...)."""
        if not self.lead:
            return tree
        return jax.tree.map(lambda leaf: leaf.reshape(*self.lead, *leaf.shape[1:]), tree)


ONE = Stack((), Axes(None, None, None, None, None))


def over_stack(fn: Callable[..., Any], axes: Any, *args: Any) -> Any:
    """``fn(*args)`` for every fit; ``axes``: per argument 0 or None, or a pytree of them; without a 0: one fit.

    A stack is gone through in chunks that stay in cache.
    """
    if not any(axis == 0 for axis in jax.tree.leaves(axes)):
        return fn(*args)
    each = [_every(axis, arg) for axis, arg in zip(axes, args, strict=True)]
    leaves, treedef = jax.tree.flatten(args)
    places = jax.tree.leaves(each, is_leaf=lambda axis: axis is None)
    own = [leaf for leaf, axis in zip(leaves, places, strict=True) if axis == 0]

    def one(own: list[Array]) -> Any:
        mine = iter(own)
        whole = [next(mine) if axis == 0 else leaf for leaf, axis in zip(leaves, places, strict=True)]
        return fn(*jax.tree.unflatten(treedef, whole))

    fits = own[0].shape[0]
    chunk = CHUNK_ELSEWHERE
    if jax.default_backend() == "cpu":
        chunk = in_cache(sum(leaf.size for leaf in own) // fits, IN_CACHE, 1, CHUNK)
    if fits <= chunk:
        return jax.vmap(one)(own)
    return lax.map(one, own, batch_size=chunk)


def _every(axis: Any, arg: Any) -> Any:
    """The axes of a pytree's leaves, where one number is said for all."""
    return jax.tree.map(lambda _: axis, arg) if axis in (0, None) else axis


def of_some(fn: Callable[..., Any], wanted: Array, axes: tuple[Any, ...], args: tuple[Any, ...]) -> Any:
    """``fn`` of the fits that are ``wanted``, one () or a stack (B,), and 0 for the others, which cost nothing.

    Nothing of it is differentiated.
    """
    args = lax.stop_gradient(args)
    one = wanted.ndim == 0
    each = fn if one else jax.vmap(fn, in_axes=axes)
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(each, *args))
    if one:
        return if_wanted(wanted, lambda: fn(*args), blank)
    size = min(SOME, wanted.shape[0])
    order = jnp.argsort(~wanted)

    def next_ones(at: Array, seen: Any) -> Any:
        picks = order[jnp.minimum(at + jnp.arange(size), order.shape[0] - 1)]
        mine = [arg if axis is None else jax.tree.map(lambda leaf: leaf[picks], arg)
                for axis, arg in zip(axes, args, strict=True)]  # fmt: skip
        found = each(*mine)
        return jax.tree.map(lambda old, new: old.at[picks].set(jnp.where(
            wanted[picks].reshape(-1, *(1 for _ in new.shape[1:])), new, old[picks])), seen, found)  # fmt: skip

    count = jnp.sum(wanted)
    start = jnp.zeros_like(count)
    return lax.while_loop(
        lambda carry: carry[0] < count, lambda carry: (carry[0] + size, next_ones(*carry)), (start, blank)
    )[1]


def if_wanted(wanted: Array, fn: Callable[[], Any], otherwise: Any) -> Any:
    """``fn()`` where ``wanted`` (), by a loop: a condition under ``vmap`` costs both its branches."""
    return lax.while_loop(lambda carry: carry[0], lambda _: (jnp.zeros_like(wanted), fn()), (wanted, otherwise))[1]
