"""Starting configurations of n charges on the unit sphere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton.starts import Drawn, as_count, as_key
from jaxnewton.thomson.charges import flat
from jaxnewton.thomson.symmetric import symmetric, unit
from jaxnewton.types import Array

SPREAD = 0.3  # of a spiral's points, by sqrt(n)
Draw = Callable[[Array, Array, Array], Array]


def _random(key: Array, like: Array, _: Array) -> Array:
    return flat(jax.random.normal(key, (3, like.shape[0] // 3), like.dtype))


def _polar(key: Array, like: Array, _: Array) -> Array:
    x, y, _z = jax.random.uniform(key, (3, like.shape[0] // 3), like.dtype, -1.0, 1.0)
    return flat(jnp.stack([0.1 * x, 0.1 * y, 0.01 * x + 1.0]))


def _spiral(key: Array, like: Array, _: Array) -> Array:
    p = jnp.asarray(_lattice(like.shape[0] // 3), like.dtype)
    return flat(p + SPREAD / math.sqrt(p.shape[1]) * jax.random.normal(key, p.shape, like.dtype))


def _lattice(n: int) -> np.ndarray:
    """Fibonacci's (3, n)."""
    z = 1.0 - (2.0 * np.arange(n) + 1.0) / n
    angle = math.pi * (3.0 - math.sqrt(5.0)) * np.arange(n)
    ring = np.sqrt(1.0 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z])


KINDS: dict[str, Draw] = {"random": _random, "polar": _polar, "spiral": _spiral}
OF_THE_HOST = ("symmetric", "mixed")  # kinds that are not drawn one by one on the device


def recipe(key: Array, n: int, count: int, kind: str, dtype: Any = None) -> Drawn:
    """The starts as the pool takes them, made on the fly; flat vectors (3 n,) of all x, all y, all z."""
    like = jnp.zeros(3 * check_n(n), dtype or jnp.result_type(float))
    return Drawn(as_key(key), like, like, jnp.zeros((), jnp.int32), as_count(count), KINDS[kind])


def starts(key: Array, n: int, count: int, kind: str = "random") -> Array:
    """``count`` configurations (count, n, 3) of n points on the unit sphere.

    Args:
        key: a ``jax.random.key``; configuration i of a kind that is not symmetric depends on the key and i alone.
        n: number of charges, at least 2.
        count: how many.
        kind: "random": uniform on the sphere. "polar": all near the north pole, (u, v, 1 + 0.01 u / 0.1) scaled to the
            sphere with u, v uniform in +-0.1. "spiral": Fibonacci's lattice with normal noise of 0.3 / sqrt(n).
            "symmetric": orbits of random points under random rotation groups, icosadeltahedra among them, with noise
            of a fiftieth of the distance between neighbours. "mixed": half random, a quarter spiral, a quarter
            symmetric.

    Returns:
        Points (count, n, 3) of norm 1, in JAX's default floating dtype.

    Raises:
        TypeError: key is no ``jax.random.key``.
        ValueError: n, count or kind is not of the form above.
    """
    check_kind(kind)
    count = as_count(count)
    if kind in OF_THE_HOST:
        rng = np.random.default_rng(words(key))
        return jnp.asarray((_mixed if kind == "mixed" else symmetric)(rng, check_n(n), count))
    made = recipe(key, n, count, kind)
    return jax.vmap(made.make)(jnp.arange(count, dtype=jnp.int32)).reshape(count, 3, n).swapaxes(1, 2)


def _mixed(rng: np.random.Generator, n: int, count: int) -> np.ndarray:
    random, spiral = (count + 1) // 2, (count + 1) // 4
    near = _lattice(n).T + SPREAD / math.sqrt(n) * rng.normal(size=(spiral, n, 3))
    return unit(np.concatenate([rng.normal(size=(random, n, 3)), near, symmetric(rng, n, count - random - spiral)]))


def words(key: Array) -> list[int]:
    """A key's numbers, to seed NumPy's generators with."""
    return np.asarray(jax.random.key_data(as_key(key))).reshape(-1).tolist()


def check_kind(kind: Any) -> str:
    """The name of a kind of starts."""
    known = (*KINDS, *OF_THE_HOST)
    if kind not in known:
        raise ValueError(f"kind must be one of {', '.join(map(repr, known))}; it is {kind!r}")
    return kind


def check_n(n: Any) -> int:
    """A number of charges."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 2:
        raise ValueError(f"n must be a whole number of at least 2 charges; it is {n!r}")
    return int(n)
