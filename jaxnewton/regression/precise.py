"""Sums of products in twice the working precision (Dekker 1971), so that refinement recovers what a factor lost."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from jaxnewton.types import Array

LOW_BITS = {"float64": (jnp.uint64, 27), "float32": (jnp.uint32, 12)}  # that the upper half of a number leaves out
LANES = 64  # sums that run beside one another
Pair = tuple[Array, Array]  # a number as high + low


def residual(A: Array, x: Array, b: Array, r: Array) -> Array:
    """b - r - A x, rounded once at the end; A (m, n), x (n,), b and r (m,)."""

    def column(j: Array, sums: Pair) -> Pair:
        return _add_product(sums, -A[:, j], x[j])

    high, low = lax.fori_loop(0, A.shape[1], column, _add((b, jnp.zeros_like(b)), -r))
    return high + low


def inner(A: Array, r: Array) -> Array:
    """A'r, rounded once at the end; A (m, n), r (m,)."""
    m, n = A.shape
    trips = -(-m // LANES)
    A = jnp.pad(A, ((0, trips * LANES - m), (0, 0))).reshape(trips, LANES, n)
    r = jnp.pad(r, (0, trips * LANES - m)).reshape(trips, LANES, 1)
    none = jnp.zeros((LANES, n), A.dtype)
    highs, lows = lax.fori_loop(0, trips, lambda i, sums: _add_product(sums, A[i], r[i]), (none, none))
    zero = jnp.zeros(n, A.dtype)
    high, low = lax.fori_loop(0, LANES, lambda i, sums: _add(_add(sums, highs[i]), lows[i]), (zero, zero))
    return high + low


def _add(sums: Pair, term: Array) -> Pair:
    """Knuth's sum: what is lost of ``high`` goes to ``low``."""
    high, low = sums
    total = high + term
    part = total - high
    return total, low + ((high - (total - part)) + (term - part))


def _add_product(sums: Pair, a: Array, c: Array) -> Pair:
    (a1, a2), (c1, c2) = _halves(a), _halves(c)
    for term in (a1 * c1, a1 * c2, a2 * c1, a2 * c2):  # products of halves are exact
        sums = _add(sums, term)
    return sums


def _halves(a: Array) -> Pair:
    """a as the sum of two numbers of half its bits."""
    kind, bits = LOW_BITS[a.dtype.name]
    mask = jnp.array(2 ** (8 * a.dtype.itemsize) - 2**bits, kind)
    high = lax.bitcast_convert_type(lax.bitcast_convert_type(a, kind) & mask, a.dtype)
    return high, a - high
