"""Dense linear algebra for one lane: where unrolled code takes over from LAPACK, and an unrolled LDL'.

Unrolled kernels are scalar recurrences. Under ``vmap`` with the lane axis last every scalar is a vector over lanes, so
a batch of small matrices never enters LAPACK one by one. They are left-looking, and shared values end in a division:
XLA materialises the result of a division but recomputes cheap shared sums in each of their readers, which makes
right-looking updates grow exponentially.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton.types import Array

# Largest n that is unrolled. Measured on CPU (float64, 2 cores, jax 0.10): LDL' 0.03, 0.14, 0.25 us a matrix at
# n = 4, 8, 10 against Cholesky 0.3, 0.57, 0.8; tridiagonalisation 0.04, 0.35, 0.65 against eigh 1.5, 4.8, 6. The limit
# is compile time, which grows like n**3 (1 s for LDL' at n = 10, 1.7 s for tridiagonalisation at 8). On one H100
# (float64, jax 0.11) solves are 25, 24 and 17 times faster by LDL' than by cuSOLVER's Cholesky at n = 6, 12, 16, and
# 1.6, 2.1, 2.2 and 2.8 times faster by tridiagonalisation than by its eigh at n = 5, 6, 8, 10; what they compile for
# is the limit there too (Newton: 7 s at n = 10, 12 s at 12, 3 s by cuSOLVER; TrustRegion: 9 s at 6). Clusters of
# eigenvalues, besides, are what an unrolled tridiagonal is not good at.
UNROLL_LDL = {"cpu": 10, "gpu": 12}
UNROLL_TRIDIAGONAL = {"cpu": 5, "gpu": 6}
UNROLL_ELSEWHERE = 16


def unrolls(limits: dict[str, int], n: int) -> bool:
    """Whether an n x n kernel is unrolled over lanes on the default backend, rather than handed to LAPACK."""
    return n <= limits.get(jax.default_backend(), UNROLL_ELSEWHERE)


@contextlib.contextmanager
def full_products() -> Iterator[None]:
    """Products of float32 matrices traced herein are of float32, unless the user has told JAX what they are to be.

    By default a GPU rounds the factors to 10 bits: f, g and standard errors then have three or four digits, and ends
    that are 0.01 off the minimum cannot be told from it.
    """
    # JAX makes its config's attributes at import, where pyright does not see them.
    said = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    right = said is not None or jax.default_backend() == "cpu"
    with contextlib.nullcontext() if right else jax.default_matmul_precision("highest"):
        yield


def each(fn: Callable[..., Any], *args: Any) -> Any:
    """``fn`` over leading axes, where it calls LAPACK: one by one on CPU, else all at once."""
    return jax.vmap(one_by_one(fn))(*args)


def eigh(H: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors (columns) of H (n, n)."""
    return one_by_one(lambda H: tuple(jnp.linalg.eigh(H)))(H)


def cholesky(H: Array) -> Array:
    """The lower Cholesky factor of H (n, n); nan where H is not positive definite."""
    return one_by_one(jnp.linalg.cholesky)(H)


def cholesky_solve(L: Array, b: Array) -> Array:
    """(L L')^-1 b."""
    return one_by_one(lambda L, b: jax.scipy.linalg.cho_solve((L, True), b))(L, b)


def qr_solve(A: Array, b: Array) -> tuple[Array, Array]:
    """The x of least ||A x - b|| by Householder's QR, and the smallest |diagonal entry of R|; A (m, n), m >= n."""
    R, c = qr_reduce(A, b)
    return back_substitute(R, c), jnp.min(jnp.abs(jnp.diagonal(R)))


def qr_reduce(A: Array, b: Array) -> tuple[Array, Array]:
    """R (n, n) and the first n of Q'b (n,), of A = QR by Householder's reflections; A (m, n), b (m,), m >= n.

    Rolled loops over columns: over lanes every pass is elementwise work, and compilation does not grow with n.
    """
    m, n = A.shape
    row = jnp.arange(m)

    def reflect(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        R, c = carry
        a = jnp.where(row >= k, R[:, k], 0.0)
        largest = jnp.max(jnp.abs(a))
        a = a / jnp.where(largest > 0, largest, 1.0)
        norm = jnp.sqrt(jnp.sum(a * a))
        own = jnp.sum(jnp.where(row == k, a, 0.0))
        v = jnp.where(row == k, own + jnp.where(own >= 0, norm, -norm), a)
        h = norm * (norm + jnp.abs(own))  # v'v / 2
        h = jnp.where(h > 0, h, 1.0)
        R = R - v[:, None] * (jnp.sum(v[:, None] * R, axis=0) / h)[None, :]
        return R, c - v * (jnp.sum(v * c) / h)

    R, c = lax.fori_loop(0, n, reflect, (A, b))
    return jnp.where(row[:n, None] > jnp.arange(n)[None, :], 0.0, R[:n]), c[:n]


def back_substitute(R: Array, c: Array) -> Array:
    """R^-1 c of an upper triangular R (n, n); a zero on its diagonal is taken for 1."""
    n = c.shape[0]
    row = jnp.arange(n)
    diagonal = jnp.diagonal(R)

    def substitute(i: Array, x: Array) -> Array:
        k = n - 1 - i
        known = jnp.sum(R[k] * x)  # x is 0 from k down
        return jnp.where(row == k, (c - known) / jnp.where(diagonal == 0, 1.0, diagonal), x)

    return lax.fori_loop(0, n, substitute, jnp.zeros_like(c))


def forward_substitute(R: Array, b: Array) -> Array:
    """R'^-1 b of an upper triangular R (n, n); a zero on its diagonal is taken for 1."""
    return back_substitute(R.T[::-1, ::-1], b[::-1])[::-1]


def solve_definite(H: Array, b: Array) -> tuple[Array, Array, Array]:
    """x = H^-1 b, x'H^-1 x and the smallest pivot, of a positive definite H (n, n); a pivot of 0 or less spoils x."""
    n = b.shape[0]
    if unrolls(UNROLL_LDL, n):
        tiny = jnp.full((), jnp.finfo(H.dtype).tiny, H.dtype)
        x, smallest, _ = ldl_solve(H, b, tiny)
        return x, jnp.sum(x * ldl_solve(H, x, tiny)[0]), smallest
    L = cholesky(H)
    x = cholesky_solve(L, b)
    definite = jnp.all(jnp.isfinite(L))
    smallest = jnp.where(definite, jnp.min(jnp.diagonal(L)) ** 2, 0.0)
    return jnp.where(definite, x, 0.0), jnp.where(definite, jnp.sum(x * cholesky_solve(L, x)), 1.0), smallest


def one_by_one(fn: Any) -> Any:
    """On CPU, loop over a batch instead of handing it to LAPACK whole; measured equally fast.

    JAX's batched LAPACK kernels wait on the thread pool that they run in, and deadlock when several CPU devices do so
    at once (seen with jaxlib 0.10 for Cholesky, LU, QR and eigh in a loop under shard_map).
    """
    return jax.custom_batching.sequential_vmap(fn) if jax.default_backend() == "cpu" else fn


@jax.custom_batching.custom_vmap
def anywhere(mask: Array) -> Array:
    """Whether any is True, under ``vmap`` of all that it maps over: what a condition may ask without costing both its
    branches. The branch taken is that of all, so it must be right for those that did not ask, its derivatives too.
    """
    return jnp.any(mask)


@anywhere.def_vmap
def _(size: int, batched: list[bool], mask: Array) -> tuple[Array, bool]:
    del size, batched
    return anywhere(mask), False


def gram(J: Array) -> Array:
    """J'J (n, n, lanes) of J (m, n, lanes): a batched product, since XLA's CPU is 10 to 30 times slower at the sum."""
    return jnp.moveaxis(lax.dot_general(J, J, (((0,), (0,)), ((2,), (2,)))), 0, -1)


def max_norm(H: Array) -> Array:
    """The infinity norm of H (n, n): an upper bound of its largest |eigenvalue|."""
    n = H.shape[0]
    if n > UNROLL_ELSEWHERE:
        return jnp.max(jnp.sum(jnp.abs(H), axis=1))
    return fold(jnp.maximum, [*fold(jnp.add, [jnp.abs(H[i]) for i in range(n)])])  # beats XLA's reductions on CPU


def ldl_solve(H: Array, b: Array, floor: Array, reach: Array | float = math.inf) -> tuple[Array, Array, Array]:
    """Solve (H + E) x = b by unrolled LDL'; return x (n,), the smallest pivot before modification, and x'Ex.

    E is diagonal: a pivot below ``floor`` is replaced by max(|pivot|, floor), so that x is a descent direction for
    b = -g whatever H is (the modified Cholesky of Gill & Murray 1974 in its simplest form), and by more where L'x
    would be longer than ``reach`` along it. Only the lower triangle of H is read.
    """
    n = b.shape[0]
    L: list[list[Array]] = [[] for _ in range(n)]
    inverse: list[Array] = []
    raw: list[Array] = []
    pivots: list[Array] = []
    y: list[Array] = []
    for j in range(n):
        v = [L[j][k] * pivots[k] for k in range(j)]
        raw.append(minus_dot(H[j, j], L[j], v))
        y.append(minus_dot(b[j], L[j], y))
        least = jnp.maximum(floor, jnp.abs(y[j]) / reach)
        pivots.append(jnp.where(raw[j] > floor, raw[j], jnp.maximum(jnp.abs(raw[j]), least)))
        inverse.append(1.0 / pivots[j])
        for i in range(j + 1, n):
            L[i].append(minus_dot(H[i, j], L[i], v) * inverse[j])
    x = [y[i] * inverse[i] for i in range(n)]
    for i in reversed(range(n)):
        x[i] = minus_dot(x[i], [L[k][i] for k in range(i + 1, n)], x[i + 1 :])
    added = [(p - r) * s * s for p, r, s in zip(pivots, raw, x, strict=True)]
    return jnp.stack(x), fold(jnp.minimum, raw), fold(jnp.add, added)


def minus_dot(start: Array, a: list[Array], b: list[Array]) -> Array:
    """start - a'b over lists of scalars, as far as the shorter goes."""
    for p, q in zip(a, b, strict=False):
        start = start - p * q
    return start


def fold(operation: Callable[[Array, Array], Array], terms: list[Array]) -> Array:
    """operation over a non-empty list of scalars, from the left."""
    return functools.reduce(operation, terms)


def dot(a: Sequence[Array], b: Sequence[Array]) -> Array:
    """a'b over two non-empty lists of scalars."""
    return fold(jnp.add, [p * q for p, q in zip(a, b, strict=True)])


def symmetric_places(n: int) -> np.ndarray:
    """(n, n): where an entry of a symmetric matrix stands among those of its upper triangle, row after row."""
    place = np.zeros((n, n), int)
    above = np.triu_indices(n)
    place[above] = place.T[above] = np.arange(len(above[0]))
    return place
