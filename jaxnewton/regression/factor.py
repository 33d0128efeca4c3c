"""The singular values of a matrix of rows, in columns of length 1: what its product with itself does not show."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxnewton import linalg
from jaxnewton.types import Array


class Factor(NamedTuple):
    """Of A (r, d): A'A x = b is solved without squaring A's condition number."""

    norms: Array  # (d,) of the columns; 1 for a column of zeros
    values: Array  # (d,) singular values of A / norms, descending; 0 where not beyond rounding
    ways: Array  # (d, d) its right singular vectors, one a row

    @classmethod
    def of(cls, A: Array) -> Factor:
        d = A.shape[1]
        largest = jnp.max(jnp.abs(A), axis=0, initial=0.0)
        largest = jnp.where(largest > 0, largest, 1.0)
        norms = largest * jnp.sqrt(jnp.sum((A / largest[None, :]) ** 2, axis=0))
        norms = jnp.where(norms > 0, norms, 1.0)
        scaled = jnp.pad(A / norms[None, :], ((0, max(d - A.shape[0], 0)), (0, 0)))
        R = linalg.one_by_one(lambda A: jnp.linalg.qr(A, mode="r"))(scaled)
        usable = jnp.all(jnp.isfinite(R))
        R = jnp.where(usable, R, jnp.eye(d, dtype=A.dtype))
        _, s, ways = linalg.one_by_one(lambda R: tuple(jnp.linalg.svd(R)))(R)
        kept = usable & (s > 10 * d * jnp.finfo(A.dtype).eps * s[0])
        return cls(norms, jnp.where(kept, s, 0.0), ways)

    @property
    def rank(self) -> Array:
        return jnp.sum(self.values > 0, dtype=jnp.int32)

    @property
    def null(self) -> Array:
        """What comes nearest to being taken to 0."""
        return self.ways[-1] / self.norms

    def within(self, v: Array) -> Array:
        """v less what A takes to 0."""
        return self._part(v, self.values > 0)

    def without(self, v: Array) -> Array:
        """v less what A does not take to 0."""
        return self._part(v, self.values == 0)

    def solve(self, b: Array) -> Array:
        """The shortest x with A'A x = b."""
        return ((self._inverse_squares() * (self.ways @ (b / self.norms))) @ self.ways) / self.norms

    def inverse(self) -> Array:
        """Of A'A, where it has one."""
        ways = self.ways / self.norms[None, :]
        return ways.T @ (self._inverse_squares()[:, None] * ways)

    def _part(self, v: Array, kept: Array) -> Array:
        """v along the ``kept`` ways. What is left of an entry by rounding is 0: rows are judged by their products."""
        part = jnp.where(kept, self.ways @ (v * self.norms), 0.0) @ self.ways
        rounding = 10 * v.shape[0] * jnp.finfo(v.dtype).eps * jnp.max(jnp.abs(part))
        return jnp.where(jnp.abs(part) > rounding, part, 0.0) / self.norms

    def _inverse_squares(self) -> Array:
        return jnp.where(self.values > 0, 1 / jnp.where(self.values > 0, self.values, 1.0) ** 2, 0.0)
