"""Starting configurations of n charges on the unit sphere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnewton.starts import Drawn, as_count, as_key
from jaxnewton.types import Array

Draw = Callable[[Array, Array, Array], Array]


def _random(key: Array, like: Array, _: Array) -> Array:
    return _flat(jax.random.normal(key, (3, like.shape[0] // 3), like.dtype))


def _polar(key: Array, like: Array, _: Array) -> Array:
    x, y, _z = jax.random.uniform(key, (3, like.shape[0] // 3), like.dtype, -1.0, 1.0)
    return _flat(jnp.stack([0.1 * x, 0.1 * y, 0.01 * x + 1.0]))


def _spiral(key: Array, like: Array, _: Array) -> Array:
    n = like.shape[0] // 3
    z = 1.0 - (2.0 * jnp.arange(n, dtype=like.dtype) + 1.0) / n
    angle = math.pi * (3.0 - math.sqrt(5.0)) * jnp.arange(n, dtype=like.dtype)
    ring = jnp.sqrt(1.0 - z * z)
    p = jnp.stack([ring * jnp.cos(angle), ring * jnp.sin(angle), z])
    return _flat(p + 0.3 / math.sqrt(n) * jax.random.normal(key, p.shape, like.dtype))


KINDS: dict[str, Draw] = {"random": _random, "polar": _polar, "spiral": _spiral}


def _flat(p: Array) -> Array:
    """Points (3, n), scaled to the sphere, as x (3 n,)."""
    return (p / jnp.sqrt(jnp.sum(p * p, axis=0))[None]).reshape(-1)


def recipe(key: Array, n: int, count: int, kind: str, dtype: Any = None) -> Drawn:
    """The starts as the pool takes them, made on the fly; flat vectors (3 n,) of all x, all y, all z."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}; it is {kind!r}")
    like = jnp.zeros(3 * check_n(n), dtype or jnp.result_type(float))
    return Drawn(as_key(key), like, like, jnp.zeros((), jnp.int32), as_count(count), KINDS[kind])


def starts(key: Array, n: int, count: int, kind: str = "random") -> Array:
    """``count`` configurations (count, n, 3) of n points on the unit sphere.

    Args:
        key: a ``jax.random.key``; configuration i depends on the key and i alone.
        n: number of charges, at least 2.
        count: how many.
        kind: "random": uniform on the sphere. "polar": all near the north pole, (u, v, 1 + 0.01 u / 0.1) scaled to the
            sphere with u, v uniform in +-0.1. "spiral": Fibonacci's lattice with normal noise of 0.3 / sqrt(n).
    """
    made = recipe(key, n, count, kind)
    return jax.vmap(made.make)(jnp.arange(count, dtype=jnp.int32)).reshape(count, 3, n).swapaxes(1, 2)


def check_n(n: Any) -> int:
    """A number of charges."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 2:
        raise ValueError(f"n must be a whole number of at least 2 charges; it is {n!r}")
    return n
