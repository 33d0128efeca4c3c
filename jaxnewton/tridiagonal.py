"""H = Q T Q' with T tridiagonal, unrolled over lanes; from T in O(n): solves, definiteness, the lowest eigenvalue.

Vectors are lists of n scalars here (see linalg.py for why).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnewton.linalg import dot, fold
from jaxnewton.types import Array

Vector = list[Array]
LAGUERRE_STEPS = 8  # enough for the last digit, but for clusters of negative eigenvalues (1e-4 of the norm)
MOST_STEPS = 60  # where they are taken to the last digit


class Tridiagonal(NamedTuple):
    """T, and the reflections whose product is Q."""

    d: Vector  # n: the diagonal of T
    e: Vector  # n - 1: beside it
    v: list[Vector]  # n - 2 Householder vectors; the k-th acts on entries k+1..n-1 as I - v v'/h
    h: Vector


def reduce(H: Array) -> Tridiagonal:
    """Householder's reduction of H (n, n), left-looking as LAPACK's latrd; reads the lower triangle."""
    n = H.shape[0]
    V: list[Vector] = []
    W: list[Vector] = []
    hs: Vector = []
    d: Vector = []
    e: Vector = []

    def original(i: int, j: int) -> Array:
        return H[max(i, j), min(i, j)]

    def entry(i: int, k: int) -> Array:  # of H - V W' - W V', the matrix reduced so far
        a = original(i, k)
        for j in range(len(V)):
            a = a - (V[j][i - j - 1] * W[j][k - j - 1] + W[j][i - j - 1] * V[j][k - j - 1])
        return a

    for k in range(n - 2):
        d.append(entry(k, k))
        a = [entry(i, k) for i in range(k + 1, n)]
        norm = jnp.sqrt(dot(a, a))
        safe = jnp.where(norm > 0, norm, 1.0)
        alpha = jnp.where(a[0] >= 0, -norm, norm)
        v = [(a[0] - alpha) / safe] + [t / safe for t in a[1:]]
        h = 1.0 + jnp.abs(a[0]) / safe  # v'v / 2
        vW = [dot(W[j][k - j :], v) / h for j in range(k)]
        vV = [dot(V[j][k - j :], v) / h for j in range(k)]
        p = []
        for i in range(k + 1, n):
            pi = dot([original(i, j) for j in range(k + 1, n)], v) / h
            for j in range(k):
                pi = pi - (V[j][i - j - 1] * vW[j] + W[j][i - j - 1] * vV[j])
            p.append(pi)
        c = dot(p, v) / (2.0 * h)
        e.append(alpha)
        V.append(v)
        W.append([(h * s - h * c * t) / h for s, t in zip(p, v, strict=True)])
        hs.append(h)
    for k in range(max(n - 2, 0), n):
        d.append(entry(k, k))
    if n > 1:
        e.append(entry(n - 1, n - 2))
    return Tridiagonal(d, e, V, hs)


def to_tridiagonal(t: Tridiagonal, b: Vector) -> Vector:
    """Q'b."""
    for v, h in zip(t.v, t.h, strict=True):
        b = _reflect(v, h, b)
    return b


def from_tridiagonal(t: Tridiagonal, b: Vector) -> Vector:
    """Q b."""
    for v, h in zip(reversed(t.v), reversed(t.h), strict=True):
        b = _reflect(v, h, b)
    return b


def _reflect(v: Vector, h: Array, b: Vector) -> Vector:
    start = len(b) - len(v)
    c = dot(v, b[start:]) / h
    return b[:start] + [t - c * s for s, t in zip(v, b[start:], strict=True)]


def multiply(t: Tridiagonal, x: Vector) -> Vector:
    """T x."""
    y = [d * s for d, s in zip(t.d, x, strict=True)]
    for i, e in enumerate(t.e):
        y[i] = y[i] + e * x[i + 1]
        y[i + 1] = y[i + 1] + e * x[i]
    return y


class Factors(NamedTuple):
    """T + shift I = L diag(1/r) L', L unit lower bidiagonal with l beside its diagonal."""

    r: Vector  # n: reciprocals of the pivots
    l: Vector  # n - 1


def factor(t: Tridiagonal, shift: Array) -> Factors:
    """Factor T + shift I."""
    r, l = [1.0 / (t.d[0] + shift)], []
    for d, e in zip(t.d[1:], t.e, strict=True):
        l.append(e * r[-1])
        r.append(1.0 / (d + shift - e * l[-1]))
    return Factors(r, l)


def is_definite(r: Vector) -> Array:
    """Whether the reciprocal pivots are those of a positive definite matrix."""
    smallest, largest = fold(jnp.minimum, r), fold(jnp.maximum, r)
    most = float(jnp.finfo(largest.dtype).max) ** 0.5 / len(r)  # so that squares of traces are finite
    return (smallest > 0) & (largest < most)


def forward(factors: Factors, b: Vector) -> Vector:
    """L^-1 b."""
    z = [b[0]]
    for l, s in zip(factors.l, b[1:], strict=True):
        z.append(s - l * z[-1])
    return z


def solve(factors: Factors, b: Vector) -> Vector:
    """(T + shift I)^-1 b."""
    z = forward(factors, b)
    x = [z[-1] * factors.r[-1]]
    for s, r, l in zip(z[-2::-1], factors.r[-2::-1], factors.l[::-1], strict=True):
        x.append(s * r - l * x[-1])
    return x[::-1]


def bounds(t: Tridiagonal) -> tuple[Array, Array]:
    """Gershgorin's interval of the eigenvalues."""
    reach = [jnp.abs(e) for e in t.e]
    discs = [sum(reach[max(i - 1, 0) : i + 1], jnp.zeros_like(d)) for i, d in enumerate(t.d)]
    low = fold(jnp.minimum, [d - disc for d, disc in zip(t.d, discs, strict=True)])
    return low, fold(jnp.maximum, [d + disc for d, disc in zip(t.d, discs, strict=True)])


def lowest_eigenvalue(t: Tridiagonal, resolution: Array, to_the_end: bool = False) -> tuple[Array, Array]:
    """The smallest eigenvalue, and a point about ``resolution`` left of it where T - point I is positive definite.

    Laguerre's iteration on det(T - x I) from the left of all roots, where it is monotone (Wilkinson 1965, chapter 7).
    It takes the multiplicity of the nearest root from the traces of the inverse; where that went too far, the plain
    step follows. ``LAGUERRE_STEPS`` steps start at the best of a few probes towards zero, since the spectra met near a
    solution are graded; ``to_the_end``, they start left of all roots and go on until the point does not move.
    """
    n = len(t.d)
    if n <= 2:
        lowest = t.d[0] if n == 1 else _lower_root(*t.d, *t.e)
        return lowest, lowest - resolution
    left, right = bounds(t)
    norm = jnp.maximum(jnp.abs(left), jnp.abs(right))
    safe = jnp.where(norm > 0, norm, 1.0)  # work on T / norm: the squared traces must not overflow
    t = t._replace(d=[d / safe for d in t.d], e=[e / safe for e in t.e])
    left, right, resolution = left / safe, right / safe, jnp.maximum(resolution / safe, jnp.finfo(norm.dtype).eps)
    start = left - 0.01 * (right - left) - resolution

    def step(_: Any, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        x, good, plain, failed = carry
        r, trace1, trace2 = _inverse_traces(t, x)
        definite = is_definite(r)
        count = trace1 * trace1 / trace2
        whole = jnp.clip(jnp.round(count), 1.0, n)
        m = jnp.where((jnp.abs(count - whole) < 0.1) & ~failed, whole, 1.0)
        spread = jnp.maximum(n * trace2 - trace1 * trace1, 0.0)
        good = jnp.where(definite, x, good)
        plain = jnp.where(definite, x + n / (trace1 + jnp.sqrt((n - 1.0) * spread)), plain)
        further = jnp.where(definite, x + n / (trace1 + jnp.sqrt((n - m) / m * spread)), plain)
        return jnp.maximum(further - resolution, good), good, plain, ~definite

    def fresh(start: Array) -> tuple[Array, ...]:
        return start, start, start, jnp.zeros_like(start, bool)

    if not to_the_end:
        start = _probed(t, start, resolution)
        _, good, estimate, _ = lax.fori_loop(0, LAGUERRE_STEPS, step, fresh(start))
        return estimate * norm, good * norm

    def moving(carry: tuple[Array, Array, tuple[Array, ...]]) -> Array:
        return carry[1] & (carry[0] < MOST_STEPS)

    def one(carry: tuple[Array, Array, tuple[Array, ...]]) -> tuple[Array, Array, tuple[Array, ...]]:
        k, _, at = carry
        new = step(k, at)
        return k + 1, new[3] | (new[0] > at[0] + 0.1 * resolution), new

    first = (jnp.zeros((), jnp.int32), jnp.isfinite(norm), fresh(start))
    _, good, estimate, _ = lax.while_loop(moving, one, first)[2]
    return estimate * norm, good * norm


def _probed(t: Tridiagonal, start: Array, resolution: Array) -> Array:
    """The rightmost of ``start`` and a few points towards zero that is left of all eigenvalues of T, of norm 1."""
    grades = 1e-3 ** jnp.arange(1, 5 if jnp.finfo(start.dtype).eps < 1e-12 else 3, dtype=start.dtype)
    probes = jnp.concatenate([-grades, -4.0 * resolution[None], jnp.zeros_like(start)[None]])

    def probe(k: Array, good: Array) -> Array:
        return jnp.where(is_definite(factor(t, -probes[k]).r), jnp.maximum(good, probes[k]), good)

    return lax.fori_loop(0, probes.shape[0], probe, start)


def _lower_root(a: Array, c: Array, b: Array) -> Array:
    """The smaller eigenvalue of [[a, b], [b, c]], from the larger one where the sum would cancel."""
    mean, radius = 0.5 * (a + c), jnp.sqrt((0.5 * (a - c)) ** 2 + b * b)
    larger = mean + radius
    return jnp.where(mean > 0, (a * c - b * b) / jnp.where(mean > 0, larger, 1.0), mean - radius)


def _inverse_traces(t: Tridiagonal, x: Array) -> tuple[Vector, Array, Array]:
    """Reciprocal pivots r of A = T - x I, trace A^-1 and trace A^-2, from the recurrences of q = 1/r, q' and q''."""
    r, a, b = [1.0 / (t.d[0] - x)], [], []  # a = q'/q, b = q''/q
    a.append(-r[0])
    b.append(jnp.zeros_like(x))
    for d, e in zip(t.d[1:], t.e, strict=True):
        u = e * e * r[-1]
        r.append(1.0 / (d - x - u))
        b.append(u * (b[-1] - 2.0 * a[-1] * a[-1]) * r[-1])
        a.append((u * a[-1] - 1.0) * r[-1])
    return r, -fold(jnp.add, a), fold(jnp.add, [p * p - s for p, s in zip(a, b, strict=True)])
