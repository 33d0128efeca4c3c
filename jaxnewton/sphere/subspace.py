"""The sequential subspace method's steps (Hager 2001; Hager & Park 2005); ``large.py`` is its door."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton import linalg, secular
from jaxnewton.sphere import krylov
from jaxnewton.sphere.krylov import Finding, Lanczos, Matvec, Ritz, dot, norm, unit
from jaxnewton.types import RUNNING, Array, Status

FIRST = 16  # Lanczos steps before it is asked whether they are enough; then twice as many, and so on
HANDOVER = 1e-2  # of multiplier + lowest eigenvalue, the residual at which Newton's steps take over from Lanczos
DOUBT = 1e-6  # chance that the random start hides an eigenvalue, with which Lanczos' lower bound is formed
FORCING = 1e-3  # most of the residual that MINRES may leave, and
FLOOR = 0.1  # of the tolerance, below which it need not go
PROGRESS = 0.8  # of the residual; a step that leaves more is a stall
NOISE = 50  # eps: a residual that can be rounding
HIGHEST = lax.Precision.HIGHEST


class State(NamedTuple):
    """An iterate on the unit sphere, and an estimate of the lowest eigenvector."""

    x: Array  # (n,)
    Ax: Array  # (n,)
    ritz: Ritz
    ritz_value: Array  # () the lowest of Lanczos' run from a random vector
    bound: Array  # () the lowest eigenvalue is at least this, almost surely; -inf: not known
    size: Array  # () ||A||: the largest |Ritz value|
    last: Array  # () ||(A + mu I) x - b|| one step before; inf at the start
    stalls: Array  # () int32: steps without progress
    nit: Array  # () int32
    nmatvec: Array  # () int32
    status: Array  # () int32


class Measures(NamedTuple):
    """What an iterate and an eigenvector are worth."""

    fun: Array  # () x'Ax - 2b'x
    mu: Array  # () the multiplier of least residual
    residual: Array  # (n,) (A + mu I) x - b, orthogonal to x
    error: Array  # () its norm
    lowest: Array  # () v'Av
    off: Array  # (n,) Av - lowest v
    doubt: Array  # () its norm: some eigenvalue is as near to lowest as that


def measure(state: State, b: Array) -> Measures:
    """At the state's x and v."""
    x, Ax, (v, Av, *_) = state[:3]
    mu = dot(x, b - Ax)
    residual, lowest = Ax + mu * x - b, dot(v, Av)
    off = Av - lowest * v
    return Measures(dot(x, Ax - 2 * b), mu, residual, norm(residual), lowest, off, norm(off))


def begin(matvec: Matvec, b: Array, key: Array, tol: Array) -> State:
    """The best x of the Krylov space of b, and the best v of that of a random vector."""
    n = b.shape[0]
    most = min(n, 30 + int(80 * math.log10(max(n, 100) / 100)))
    noise, _ = unit(jax.random.normal(key, b.shape, b.dtype))
    direction, length = unit(b)
    q = jnp.where(length > 0, direction, noise)

    def solved(run: Lanczos) -> Finding:
        T = krylov.section(run)
        dense = jnp.diag(T.diagonal) + jnp.diag(T.beside[:-1], 1) + jnp.diag(T.beside[:-1], -1)
        found = _small(dense, jnp.where(T.used, run.b, 0.0))
        lowest, w = krylov.lowest_pair(T)
        left = run.beside[run.size - 1] * jnp.abs(found.step[run.size - 1])
        near = left <= jnp.maximum(HANDOVER * (found.multiplier + lowest), 0.1 * tol * length)
        return Finding(jnp.stack([found.step, w]), jnp.ones((), bool), near, (found.multiplier,))

    run, (_, _, near, (mu,)) = krylov.lanczos(matvec, b, q, most, FIRST, solved)

    def bounded(run: Lanczos) -> Finding:
        T = krylov.section(run)
        lowest, w = krylov.lowest_pair(T)
        leak = run.beside[run.size - 1]
        doubt = leak * jnp.abs(w[run.size - 1])
        seen = math.log(1.648 * math.sqrt(n) / DOUBT) / (2 * run.size.astype(b.dtype) - 1)
        exhausted = (leak == 0) | (run.size >= n)
        bound = lowest - jnp.where(exhausted, doubt, (T.bound - lowest) * seen**2)
        gap = mu + lowest
        sure = near & (mu + bound >= 0.5 * gap)
        content = sure | (doubt <= 0.1 * jnp.maximum(gap, tol * jnp.abs(lowest)))
        return Finding(w[None], ~sure, content, (lowest, jnp.where(sure, bound, -jnp.inf)))

    other, (_, wanted, _, (lowest, bound)) = krylov.lanczos(matvec, b, noise, min(2 * most, n), FIRST, bounded)
    x, _ = unit(run.sums[0])
    v, _ = unit(jnp.where(wanted, other.sums[0], run.sums[1]))  # where the bound will do, the first run's will do too
    T = krylov.section(other)
    highest = -krylov.lowest_pair(T._replace(diagonal=jnp.where(T.used, -T.diagonal, T.diagonal)))[0]
    none = jnp.zeros((), jnp.int32)
    state = State(
        x=x,
        Ax=matvec(x),
        ritz=Ritz(v, matvec(v), jnp.zeros_like(v), jnp.zeros_like(v)),
        ritz_value=lowest,
        bound=bound,
        size=jnp.maximum(jnp.abs(lowest), jnp.abs(highest)),
        last=jnp.full_like(lowest, jnp.inf),
        stalls=none,
        nit=none,
        nmatvec=run.products + other.products + 2,
        status=none,
    )
    return _judged(state, measure(state, b), b, tol)


def advance(matvec: Matvec, b: Array, state: State, tol: Array) -> State:
    """One subspace step."""
    n = b.shape[0]
    at = measure(state, b)
    most = min(2 * n + 20, 2000) * 2 ** jnp.minimum(state.stalls, 4)

    def enough(lowest: Array, doubt: Array) -> Array:
        gap = at.mu + jnp.minimum(lowest, state.ritz_value)
        needed = jnp.maximum(jnp.maximum(gap, 0.1 * at.error), 0.3 * tol * state.size)
        return (at.mu + state.bound >= 0) | ~(doubt > needed)

    ritz, refined = krylov.lowest_eigenvector(matvec, state.ritz, enough, most)
    at = measure(state._replace(ritz=ritz), b)

    # A + shift I is positive semidefinite if v is as good as its residual says.
    below = jnp.where(at.mu + state.bound >= 0, 0.0, jnp.maximum(at.doubt - at.lowest - at.mu, 0.0))
    converging = jnp.where(state.last < jnp.inf, (at.error / state.last) ** 2, 1.0)
    fraction = jnp.maximum(converging, FLOOR * tol * _scale(state, b) / at.error)
    fraction = jnp.minimum(fraction, FORCING)
    y, solved = krylov.minres(matvec, at.mu + 2 * below, state.x, -at.residual, fraction, most)

    S = _orthonormal([state.x, y, at.residual, ritz.v, at.off])
    AS = lax.map(matvec, S)
    used = jnp.sum(S * S, axis=1) > 0.5
    B = jnp.matmul(S, AS.T, precision=HIGHEST)
    above = 3 * jnp.max(jnp.abs(B))
    above = jnp.diag(jnp.full_like(B[0], jnp.where(above > 0, above, 1.0)))
    B = jnp.where(used[:, None] & used[None, :], 0.5 * (B + B.T), above)
    best = _small(B, jnp.matmul(S, b, precision=HIGHEST)).step
    newton, _ = unit(jnp.matmul(S, state.x + y, precision=HIGHEST))
    weights = jnp.stack([best, newton, linalg.eigh(B)[1][:, 0]])
    new, Anew = (jnp.matmul(weights, rows, precision=HIGHEST) for rows in (S, AS))
    length = jnp.sqrt(jnp.sum(new * new, axis=1, keepdims=True))
    (best, newton, v), (Abest, Anewton, Av) = new / length, Anew / length

    # Near the end rounding hides differences of x'Ax - 2b'x and of v'Av, and residuals tell the better vector.
    rounding = 10 * jnp.finfo(b.dtype).eps * _scale(state, b)
    lowest = dot(v, Av)
    better = (lowest < at.lowest - rounding) | (norm(Av - lowest * v) < at.doubt)
    v, Av = jnp.where(better, v, ritz.v), jnp.where(better, Av, ritz.Av)

    def stepped(x: Array, Ax: Array) -> tuple[State, Measures]:
        new = state._replace(
            x=x,
            Ax=Ax,
            ritz=ritz._replace(v=v, Av=Av),
            last=at.error,
            nit=state.nit + 1,
            nmatvec=state.nmatvec + refined + solved + S.shape[0],
        )
        return new, measure(new, b)

    one, other = stepped(best, Abest), stepped(newton, Anewton)
    further = (other[1].fun <= at.fun + rounding) & (other[1].mu + other[1].lowest >= -tol * state.size)
    further &= other[1].error < jnp.minimum(one[1].error, 0.1 * at.error)
    new, after = jax.tree.map(lambda ours, theirs: jnp.where(further, theirs, ours), one, other)
    stalls = jnp.where(after.error > PROGRESS * at.error, state.stalls + 1, 0)
    return _judged(new._replace(stalls=stalls), after, b, tol)


def _judged(state: State, at: Measures, b: Array, tol: Array) -> State:
    """The state with its status."""

    def solved(tol: Array | float) -> Array:
        gap, zero = at.mu + jnp.minimum(at.lowest, state.ritz_value), tol * state.size
        proved = (at.mu + state.bound >= 0) | ((gap >= -zero) & (at.doubt <= jnp.maximum(gap, zero)))
        return (at.error <= tol * _scale(state, b)) & proved

    noise = solved(NOISE * float(jnp.finfo(b.dtype).eps)) & (state.stalls >= 2)
    status = jnp.where(solved(tol), Status.CONVERGED, jnp.where(noise, Status.NOISE_FLOOR, RUNNING))
    finite = jnp.isfinite(at.error + at.doubt)
    return state._replace(status=jnp.where(finite, status, Status.NONFINITE).astype(jnp.int32))


def _small(B: Array, c: Array) -> secular.Minimiser:
    """``minimize_quadratic`` on the unit sphere, by eigenvectors for any size: that compiles in a tenth of the time."""
    info = jnp.finfo(c.dtype)
    zero = 2 * info.eps * linalg.max_norm(B) + info.tiny
    return secular.by_eigenvectors(B, -c, jnp.ones((), c.dtype), zero, steps=None, sphere=True)


def _scale(state: State, b: Array) -> Array:
    return state.size + norm(b)


def _orthonormal(rows: list[Array]) -> Array:
    """Gram & Schmidt, twice; a row that depends on those before it becomes 0."""
    kept: list[Array] = []
    for row in rows:
        row, _ = unit(row)
        for _ in range(2):
            for other in kept:
                row = row - dot(other, row) * other
            row, left = unit(row)
            row = jnp.where(left > 1e3 * jnp.finfo(row.dtype).eps, row, 0.0)
        kept.append(row)
    return jnp.stack(kept)
