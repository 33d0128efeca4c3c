"""Rows of data, block by block: from arrays, memory maps or a source of one's own, all blocks of one size."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.placement import view
from jaxnewton.regression.given import numbers, refuse_numbers, refuse_values, wrong_rows
from jaxnewton.regression.model import Summed
from jaxnewton.types import is_traced

ALIGNED = 16  # rows: so blocks of an array that begins with a cache line, as memory maps and JAX's own do, all begin
# with one, and are not copied on their way
LARGE = 2**22  # entries of X from which one fit goes through it in blocks
ENTRIES = 2**18  # of X in a block: 2 MB in double precision stay in cache; half and twice that are 5 to 20 % slower


class Blocks:
    """Rows that are not all in memory.

    Args:
        source: a function without arguments that returns an iterator of blocks ``(X, y)``, ``(X, y, weights)`` or
            ``(X, y, weights, offset)`` with X (k, p) and the others (k,). It is called once a trip, and must give the
            same rows each time: an iterator it returns anew.
    """

    def __init__(self, source: Callable[[], Iterable[Any]]):
        self.source = checks.function("source", source)


class Block(NamedTuple):
    """Some rows; all of as many entries, by rows of weight 0 at the end."""

    X: Any  # (k, p)
    y: Any  # (k,)
    weights: Any  # (k,)
    offset: Any  # (k,)


def is_large(X: Any, *others: Any) -> bool:
    """Whether X is to be gone through in blocks: by one fit, whose numbers are all known.

    Args:
        others: y, weights and offset, and numbers for all rows.
    """
    if isinstance(X, Blocks):
        return True
    large = isinstance(X, (np.ndarray, jax.Array)) and X.ndim == 2 and X.size > LARGE
    return large and not is_traced((X, others)) and all(np.ndim(part) <= 1 for part in others)


def reader(X: Any, y: Any, weights: Any, offset: Any, vectors: int = 1) -> Callable[[], Iterator[tuple[int, Block]]]:
    """A function that goes through the rows once more: how many of a block's are not padding, and the block.

    Args:
        vectors: numbers of each row that a trip makes.
    """
    if isinstance(X, Blocks):
        if any(part is not None for part in (y, weights, offset)):
            raise ValueError("data in jn.regression.Blocks bring their own y, weights and offset: leave these None")
        return functools.partial(_from_source, X.source)
    parts = {"y": y, "weights": weights, "offset": offset}
    X = view(numbers("X", X))
    m, p = X.shape
    for name, part in parts.items():
        if part is not None:
            parts[name] = view(numbers(name, part))
            if parts[name].shape != (m,):
                raise ValueError(wrong_rows(name, parts[name].shape, m))
    if parts["y"] is None:
        raise ValueError("y is missing")
    size = max(ENTRIES // max(p, vectors) // ALIGNED * ALIGNED, 64)

    def read() -> Iterator[tuple[int, Block]]:
        for at in range(0, m, size):
            rows = slice(at, min(at + size, m))
            yield (
                rows.stop - at,
                _padded(size, X[rows], *(part if part is None else part[rows] for part in parts.values())),
            )

    return read


def once_more(read: Callable[[], Iterator[tuple[int, Block]]], rows: int) -> Iterator[Block]:
    """The blocks of one more trip, which must have as many rows as the first."""
    seen = 0
    for count, block in read():
        seen += count
        yield block
    if seen != rows:
        raise ValueError(
            f"source must return the same rows each time it is called: at first these were {rows}, now {seen}. "
            "An iterator is spent after one trip: make a new one at each call"
        )


def _from_source(source: Callable[[], Iterable[Any]]) -> Iterator[tuple[int, Block]]:
    size = 0
    for given in source():
        if not isinstance(given, tuple) or not 2 <= len(given) <= 4:
            raise TypeError("a block must be a tuple (X, y), (X, y, weights) or (X, y, weights, offset)")
        X, y = numbers("X", given[0]), numbers("y", given[1])
        named = zip(("weights", "offset"), given[2:], strict=False)
        others = [None if part is None else numbers(name, part) for name, part in named]
        if not X.shape[0]:
            continue
        size = size if X.shape[0] <= size else X.shape[0]
        yield len(X), _padded(size, X, y, *others, *(None for _ in range(2 - len(others))))


def _padded(size: int, X: Any, y: Any, weights: Any, offset: Any) -> Block:
    """Blocks of one size compile once: rows of weight 0, copies of the first, fill the last."""
    if X.ndim != 2 or any(part is not None and part.shape != X.shape[:1] for part in (y, weights, offset)):
        raise ValueError(f"a block must have X (k, p) and all else (k,); it has X {X.shape} and y {np.shape(y)}")
    k = X.shape[0]
    weights = np.ones(k, np.float32) if weights is None else np.asarray(weights)
    offset = np.zeros(k, np.float32) if offset is None else np.asarray(offset)
    if k < size:
        X, y, offset = (_filled(np.asarray(part), size) for part in (X, y, offset))
        weights = np.concatenate([weights, np.zeros(size - k, weights.dtype)])
    return Block(X, y, weights, offset)


def _filled(part: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([part, np.repeat(part[:1], size - part.shape[0], axis=0)])


def look(model: Summed, read: Callable[[], Iterator[tuple[int, Block]]]) -> tuple[Block, Any, int]:
    """The first block, what the mean of y needs, and the number of rows; refuses what no fit can use."""
    head, weight, weighted, shift, at = None, 0.0, 0.0, 0.0, 0
    for count, block in read():
        head = block if head is None else head
        if block.X.shape[1] != head.X.shape[1]:
            raise ValueError(
                f"blocks must have as many columns as the first, {head.X.shape[1]}; one has {block.X.shape[1]}"
            )
        for name, part in block._asdict().items():
            refuse_numbers(name, part, at)
        y, weights = np.asarray(block.y, float), np.asarray(block.weights, float)
        refuse_values("y", y, *model.wrong(y), at)
        weight, weighted = weight + weights.sum(), weighted + (weights * y).sum()
        shift += (weights * np.asarray(block.offset, float)).sum()
        at += count
    if head is None or weight == 0:
        raise ValueError("there are no rows of positive weight")
    return head, tuple(jnp.asarray(sum, jnp.result_type(float)) for sum in (weighted, weight, shift)), at
