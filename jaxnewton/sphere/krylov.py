"""Short recurrences for large symmetric matrices: Lanczos in two passes, MINRES in a tangent space, Rayleigh quotients.

All are given ``matvec``, v -> A v of vectors (n,), and hold a few vectors; the loops count their products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton.types import Array

Matvec = Callable[[Array], Array]
SECTIONS = 64


def dot(a: Array, b: Array) -> Array:
    """a'b in full precision, whatever the device's default."""
    return jnp.vdot(a, b, precision=lax.Precision.HIGHEST)


def norm(a: Array) -> Array:
    """The Euclidean norm."""
    return jnp.sqrt(dot(a, a))


def unit(a: Array) -> tuple[Array, Array]:
    """a over its norm (0 stays 0), and the norm."""
    length = norm(a)
    return a / jnp.where(length > 0, length, 1.0), length


class Lanczos(NamedTuple):
    """A tridiagonal section of A on the Krylov space of a first vector, not reorthogonalised."""

    before: Array  # (n,) the last vector
    q: Array  # (n,) the next one; 0 where the space is exhausted
    sums: Array  # (p, n) of the vectors so far, weighted
    diagonal: Array  # (L,)
    beside: Array  # (L,) from each vector to the next
    b: Array  # (L,) q_k'b
    size: Array  # () int32
    products: Array  # () int32, those of earlier passes too


def begin(q: Array, weights: Array, products: Array | int = 0) -> Lanczos:
    """No step yet, from the unit vector q (n,), for weights (p, L)."""
    blank, sums = jnp.zeros_like(weights[0]), jnp.zeros((weights.shape[0], q.shape[0]), q.dtype)
    return Lanczos(jnp.zeros_like(q), q, sums, blank, blank, blank, jnp.int32(0), jnp.asarray(products, jnp.int32))


def extend(matvec: Matvec, b: Array, run: Lanczos, weights: Array, size: Array) -> Lanczos:
    """Go on to ``size`` steps, or to the end of the space; weights (p, L) of the vectors in the sums."""
    eps = jnp.finfo(b.dtype).eps

    def step(at: Lanczos) -> Lanczos:
        k = at.size
        last = jnp.where(k > 0, at.beside[k - 1], 0.0)
        Aq = matvec(at.q)
        a = dot(at.q, Aq)
        r = Aq - a * at.q - last * at.before
        r = r - dot(at.q, r) * at.q
        following, length = unit(r)
        ended = length <= 8 * eps * (jnp.abs(a) + last + norm(Aq))
        return Lanczos(
            before=at.q,
            q=jnp.where(ended, 0.0, following),
            sums=at.sums + weights[:, k, None] * at.q[None, :],
            diagonal=at.diagonal.at[k].set(a),
            beside=at.beside.at[k].set(jnp.where(ended, 0.0, length)),
            b=at.b.at[k].set(dot(at.q, b)),
            size=k + 1,
            products=at.products + 1,
        )

    def more(at: Lanczos) -> Array:
        return (at.size < size) & ((at.size == 0) | (at.beside[at.size - 1] > 0))

    return lax.while_loop(more, step, run)


class Finding(NamedTuple):
    """What an examination of a run comes to."""

    weights: Array  # (p, L) of its vectors in the sums that are wanted
    wanted: Array  # () bool: whether they are
    content: Array  # () bool: whether the run is long enough
    values: tuple[Array, ...]


def lanczos(
    matvec: Matvec, b: Array, q: Array, room: int, shortest: int, examine: Callable[[Lanczos], Finding]
) -> tuple[Lanczos, Finding]:
    """A run of at most ``room`` steps, doubled in length until ``examine`` is content, and its sums by a second pass.

    Both passes are trips of one loop: where eigenvalues have converged, Lanczos' vectors depend on every rounding, and
    another loop may round in another way.
    """

    class Carry(NamedTuple):
        run: Lanczos
        size: Array  # () int32: how far to go
        found: Finding
        second: Array  # () bool
        done: Array  # () bool

    def grow(at: Carry) -> Carry:
        blank = jnp.zeros_like(at.found.weights)
        run = extend(matvec, b, at.run, jnp.where(at.second, at.found.weights, blank), at.size)
        found = lax.cond(at.second, lambda: at.found, lambda: examine(run))
        enough = found.content | (run.size < at.size) | (at.size >= room)
        again = ~at.second & enough & found.wanted
        fresh = begin(q, blank, run.products)
        size = jnp.where(again, run.size, jnp.minimum(2 * at.size, room))
        run = jax.tree.map(lambda new, old: jnp.where(again, new, old), fresh, run)
        return Carry(run, size, found, again, at.second | (enough & ~again))

    like = jax.eval_shape(examine, begin(q, jnp.zeros((1, max(room, 4)), q.dtype)))
    found = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    no = jnp.zeros((), bool)
    start = Carry(begin(q, found.weights), jnp.asarray(min(shortest, room), jnp.int32), found, no, no)
    end = lax.while_loop(lambda at: ~at.done, grow, start)
    return end.run, end.found


class Section(NamedTuple):
    """The tridiagonal matrix of a Lanczos run, padded with a diagonal above its spectrum."""

    diagonal: Array  # (L,)
    beside: Array  # (L,) 0 at the end
    used: Array  # (L,) bool: no padding
    bound: Array  # () of all |eigenvalues|


def section(run: Lanczos) -> Section:
    """The one of a run."""
    index = jnp.arange(run.diagonal.shape[0], dtype=run.size.dtype)
    used = index < run.size
    d = jnp.where(used, run.diagonal, 0.0)
    e = jnp.where(index + 1 < run.size, run.beside, 0.0)
    bound = jnp.max(jnp.abs(d) + e + jnp.roll(e, 1))
    return Section(jnp.where(used, d, jnp.where(bound > 0, 2 * bound, 1.0)), e, used, bound)


def lowest_pair(of: Section) -> tuple[Array, Array]:
    """Its lowest eigenvalue, by Sturm's sequences at many points at once, and the eigenvector by inverse iteration."""
    d, e, used, bound = of
    eps = jnp.finfo(d.dtype).eps
    inner = jnp.arange(1, SECTIONS + 1, dtype=d.dtype) / (SECTIONS + 1)
    previous = jnp.roll(e, 1)

    def narrow(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        points = low + (high - low) * inner

        def pivot(carry: tuple[Array, Array], row: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
            q, definite = carry
            q = row[0] - points - row[1] ** 2 / jnp.where(q == 0, eps * bound, q)
            return (q, definite & (q > 0)), None

        left = lax.scan(pivot, (jnp.ones_like(points), jnp.ones(SECTIONS, bool)), (d, previous))[0][1]
        return jnp.max(jnp.where(left, points, low)), jnp.min(jnp.where(left, high, points))

    rounds = 1 + int(-math.log(float(eps)) / math.log(SECTIONS + 1))
    low, high = lax.fori_loop(0, rounds, narrow, (-1.01 * bound, 1.01 * bound))
    shifted = d - (low - 2 * eps * bound) + jnp.finfo(d.dtype).tiny

    def inverse_iteration(_: int, w: Array) -> Array:
        return unit(lax.linalg.tridiagonal_solve(previous, shifted, e, w[:, None])[:, 0])[0]

    irregular = 1.0 / (1.0 + 0.618 * jnp.arange(d.shape[0], dtype=d.dtype))
    return 0.5 * (low + high), lax.fori_loop(0, 3, inverse_iteration, jnp.where(used, irregular, 0.0))


class Minres(NamedTuple):
    """Paige & Saunders 1975: the Lanczos vectors, the last two Givens rotations, and what they make."""

    y: Array  # (n,)
    before: Array  # (n,) Lanczos vectors
    q: Array  # (n,)
    beta: Array  # () from before to q
    w: Array  # (n,) the last two directions
    w_before: Array  # (n,)
    c: Array  # () rotations
    s: Array  # ()
    c_before: Array  # ()
    s_before: Array  # ()
    left: Array  # () norm of the residual, with sign
    steps: Array  # () int32


def minres(matvec: Matvec, shift: Array, x: Array, rhs: Array, fraction: Array, most: Array) -> tuple[Array, Array]:
    """P (A + shift I) P y = rhs with P = I - xx', y and rhs orthogonal to the unit vector x, roughly.

    Args:
        fraction: () of ||rhs||, at which the residual is small enough.
        most: () products.

    Returns:
        y (n,), and the number of products.
    """
    first, length = unit(rhs)
    zeros, zero, one = jnp.zeros_like(x), jnp.zeros_like(length), jnp.ones_like(length)
    begin = Minres(
        zeros, zeros, first, zero, zeros, zeros, one, zero, one, zero, length, jnp.zeros((), jnp.int32)
    )  # fmt: skip
    tiny = jnp.finfo(rhs.dtype).tiny

    def step(at: Minres) -> Minres:
        p = matvec(at.q) + shift * at.q
        a = dot(at.q, p)
        r = p - a * at.q - at.beta * at.before
        r = r - dot(x, r) * x
        following, beta = unit(r)
        # column k of the tridiagonal matrix under the two last rotations, and the new one
        far = at.s_before * at.beta
        near = at.c * at.c_before * at.beta + at.s * a
        own = at.c * a - at.s * at.c_before * at.beta
        size = jnp.maximum(jnp.sqrt(own * own + beta * beta), tiny)
        c, s = own / size, beta / size
        w = (at.q - near * at.w - far * at.w_before) / size
        return Minres(
            at.y + c * at.left * w, at.q, following, beta, w, at.w, c, s, at.c, at.s, -s * at.left, at.steps + 1
        )  # fmt: skip

    def more(at: Minres) -> Array:
        return (at.steps < most) & (jnp.abs(at.left) > fraction * length)

    end = lax.while_loop(more, step, begin)
    return jnp.where(jnp.all(jnp.isfinite(end.y)), end.y, rhs), end.steps


class Ritz(NamedTuple):
    """An estimate of the lowest eigenvector, and the conjugate gradients that led to it."""

    v: Array  # (n,) unit
    Av: Array  # (n,)
    g: Array  # (n,) Av - (v'Av) v, where the last direction was chosen
    d: Array  # (n,) that direction, as transported to v


def lowest_eigenvector(
    matvec: Matvec, ritz: Ritz, enough: Callable[[Array, Array], Array], most: Array
) -> tuple[Ritz, Array]:
    """Conjugate gradients on the Rayleigh quotient, which never rises (Bradbury & Fletcher 1966).

    Args:
        ritz: where to begin; d = 0 where nothing went before.
        enough: (v'Av, ||Av - (v'Av) v||) -> whether to end.
        most: () products.

    Returns:
        The better one, and the number of products.
    """

    def step(carry: tuple[Ritz, Array]) -> tuple[Ritz, Array]:
        (v, Av, before, d), steps = carry
        g = Av - dot(v, Av) * v
        square = dot(before, before)
        beta = jnp.maximum(dot(g, g - before), 0.0) / jnp.where(square > 0, square, 1.0)
        d = beta * d - g
        d, length = unit(d - dot(v, d) * v)
        Ad = matvec(d)
        across, half = dot(d, Av), 0.5 * (dot(d, Ad) - dot(v, Av))
        # v cos + d sin is along the lower eigenvector of the section [[-half, across], [across, half]]
        pivot = jnp.abs(half) + jnp.sqrt(half * half + across * across)
        cosine, sine = jnp.where(half >= 0, pivot, -across), jnp.where(half >= 0, -across, pivot)
        size = jnp.sqrt(cosine * cosine + sine * sine)
        cosine, sine = jnp.where(size > 0, cosine / size, 1.0), jnp.where(size > 0, sine / size, 0.0)
        turned, grown = unit(cosine * v + sine * d)
        new = Ritz(turned, (cosine * Av + sine * Ad) / grown, g, length * (cosine * d - sine * v))
        return new, steps + 1

    def more(carry: tuple[Ritz, Array]) -> Array:
        (v, Av, *_), steps = carry
        rho = dot(v, Av)
        return (steps < most) & ~enough(rho, norm(Av - rho * v))

    return lax.while_loop(more, step, (ritz, jnp.zeros((), jnp.int32)))
