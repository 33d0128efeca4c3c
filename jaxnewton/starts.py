"""Where starts come from: an array, or a recipe that makes start number i when its turn comes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.placement import view
from jaxnewton.types import Array, is_traced


class Starts(Protocol):
    """A pytree, so that it enters a compiled loop as an argument. ``count`` starts, each a flat vector (n,)."""

    @property
    def count(self) -> int: ...

    def make(self, index: Array) -> Array:
        """Start number ``index``; it depends on nothing but the index, so not on width, devices or order."""
        ...

    def split(self, parts: int, size: int) -> Self:
        """The same starts with a leading axis of ``parts``: part p holds numbers p * size and on, counted from 0."""
        ...


class Listed:
    """What ``len``, an index and ``np.asarray`` come to: starts are looked at without making those before them."""

    count: int
    make: Callable[[Array], Array]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Array:
        """Start number ``index`` (n,); of a slice, a list or an array (k,) of numbers, or a mask: starts (k, n)."""
        numbers = jnp.asarray(checks.rows(index, self.count, "starts"), jnp.int32)
        return jax.vmap(self.make)(numbers) if numbers.ndim else self.make(numbers)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[:], dtype)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["rows"], meta_fields=["count"])
@dataclasses.dataclass(frozen=True)
class Rows(Listed):
    """Starts that are given: the rows of an array (count, n)."""

    rows: Array
    count: int

    def make(self, index: Array) -> Array:
        return self.rows[index]

    def split(self, parts: int, size: int) -> Rows:
        return Rows(split_rows(self.rows, parts, size), self.count)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["key", "a", "b", "offset"], meta_fields=["count", "draw"]
)
@dataclasses.dataclass(frozen=True)
class Drawn(Listed):
    """Starts drawn one by one from ``fold_in(key, index)``; nothing is stored."""

    key: Array
    a: Array  # (n,)
    b: Array  # (n,)
    offset: Array  # () number of the first
    count: int
    draw: Any  # (key, a, b) -> (n,)

    def make(self, index: Array) -> Array:
        return self.draw(jax.random.fold_in(self.key, self.offset + index), self.a, self.b)

    def split(self, parts: int, size: int) -> Drawn:
        repeat = functools.partial(jnp.repeat, repeats=parts, axis=0)
        offsets = self.offset + size * jnp.arange(parts, dtype=self.offset.dtype)
        key, a, b = (repeat(leaf[None]) for leaf in (self.key, self.a, self.b))
        return Drawn(key, a, b, offsets, self.count, self.draw)


def split_rows(rows: Array, parts: int, size: int) -> Array:
    """Rows (m, ...) as (parts, size, ...); the last part is padded with copies of the last row."""
    return padded_rows(view(rows), parts * size).reshape(parts, size, *rows.shape[1:])


def padded_rows(rows: Array, count: int) -> Array:
    """Rows (m, ...) with copies of the last one behind them, ``count`` in all."""
    short = count - rows.shape[0]
    return jnp.concatenate([rows, jnp.repeat(rows[-1:], short, axis=0)]) if short else rows


def uniform(key: Array, lower: Any, upper: Any, count: int) -> Drawn:
    """``count`` starts uniform in the box [lower, upper]; at least one of the two is a vector (n,).

    As of all starts, ``starts[i]`` is start number i, (n,), so that ``starts[solutions.start]`` are those that
    ``solutions`` came from; ``np.asarray(starts)`` is all of them, (count, n).

    Returns:
        A recipe for the batched solves, which makes start number i when its turn comes, from ``key`` and i alone.

    Raises:
        TypeError: key is no ``jax.random.key``.
        ValueError: count is not in 1..2**31 - 1, or the bounds are crossed, not finite, or no vectors that broadcast.
    """
    a, b = _box(lower, upper)
    return Drawn(as_key(key), a, b, jnp.zeros((), jnp.int32), as_count(count), _uniform)


def normal(key: Array, mean: Any, scale: Any, count: int) -> Drawn:
    """``count`` starts from independent normals; ``mean`` or ``scale`` (standard deviations) is a vector (n,).

    Returns:
        A recipe for the batched solves, which makes start number i when its turn comes, from ``key`` and i alone.

    Raises:
        TypeError: key is no ``jax.random.key``.
        ValueError: count is not in 1..2**31 - 1, a scale is negative, or mean and scale are not finite, or no vectors
            that broadcast.
    """
    a, b = _vectors("mean", mean, "scale", scale)
    if not is_traced(b) and not np.all(np.asarray(b) >= 0):
        raise ValueError(f"scale must not be negative; it has a smallest entry of {np.min(np.asarray(b))}")
    return Drawn(as_key(key), a, b, jnp.zeros((), jnp.int32), as_count(count), _normal)


def sobol(lower: Any, upper: Any, count: int, *, seed: int = 0) -> Rows:
    """``count`` points of a scrambled Sobol sequence in the box (scipy.stats.qmc), all held; best a power of two.

    Returns:
        The starts for the batched solves, all made at once: rows (count, n).

    Raises:
        ValueError: count is not in 1..2**31 - 1, or the bounds are crossed, not finite, or no vectors that broadcast.
    """
    from scipy.stats import qmc  # slow to import

    a, b = _box(lower, upper)
    engine = qmc.Sobol(a.shape[0], rng=seed)
    count = as_count(count)
    exponent = (count - 1).bit_length()
    unit = jnp.asarray(engine.random_base2(exponent)[:count], a.dtype)
    return Rows(a[None] + unit * (b - a)[None], count)


def _uniform(key: Array, a: Array, b: Array) -> Array:
    return jax.random.uniform(key, a.shape, a.dtype, a, b)


def _normal(key: Array, a: Array, b: Array) -> Array:
    return a + b * jax.random.normal(key, a.shape, a.dtype)


def _box(lower: Any, upper: Any) -> tuple[Array, Array]:
    a, b = _vectors("lower", lower, "upper", upper)
    if not is_traced((a, b)) and not np.all(np.asarray(a) <= np.asarray(b)):
        worst = int(np.argmax(np.asarray(a) - np.asarray(b)))
        raise ValueError(f"lower must not exceed upper; component {worst} has lower {a[worst]} and upper {b[worst]}")
    return a, b


def _vectors(name_a: str, a: Any, name_b: str, b: Any) -> tuple[Array, Array]:
    a, b = _numbers(name_a, a), _numbers(name_b, b)
    dtype = jnp.result_type(a, b, jnp.float32 if a.dtype != b.dtype else a.dtype)
    dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        shape = ()
    if len(shape) != 1 or shape[0] == 0:
        raise ValueError(
            f"{name_a} and {name_b} must broadcast to one non-empty vector (n,); "
            f"they have shapes {a.shape} and {b.shape}"
        )
    for name, value in ((name_a, a), (name_b, b)):
        checks.precision(name, dtype)
        if not is_traced(value) and not np.all(np.isfinite(np.asarray(value, float))):
            raise ValueError(f"{name} must be finite; it is {value}")
    return jnp.broadcast_to(a.astype(dtype), shape), jnp.broadcast_to(b.astype(dtype), shape)


def _numbers(name: str, given: Any) -> Array:
    try:
        array = jnp.asarray(given)
    except (TypeError, ValueError):
        array = None
    if array is None or not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"{name} must be a number or a vector (n,) of numbers; it is {given!r}")
    return array


def as_key(key: Any) -> Array:
    """A typed key, also from the raw kind."""
    if not isinstance(key, jax.Array):
        raise TypeError(f"key must be a jax.random.key; it is a {type(key).__name__}")
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def as_count(count: Any) -> int:
    """A number of starts that an int32 can number."""
    return checks.whole("count", count, 1)
