"""A quadratic over a ball: min g's + s'Hs/2 subject to ||s|| <= radius, exactly, the hard case included.

Two reductions of H, one method. Small n: H = Q T Q' by unrolled Householder reflections, after which every solve with
T + mu I is a recurrence over n scalars. Larger n: H = V diag(lam) V' from LAPACK. In both, the multiplier is found by
Newton's method on 1/||s(mu)|| - 1/radius from the left of its root, where it is monotone (More & Sorensen 1983; Conn,
Gould & Toint 2000, section 7.3), and the hard case is completed with an eigenvector of the lowest eigenvalue.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnewton import linalg, tridiagonal
from jaxnewton.types import Array

SECULAR_STEPS = 6  # 99 of 100 need no more for 1e-10; a step left too long is cut back to the ball


class BallStep(NamedTuple):
    """The minimiser over the ball, and what was learnt on the way."""

    step: Array  # (n,) the minimiser
    multiplier: Array  # () mu >= 0 with (H + mu I) step = -g
    predicted: Array  # () -(g's + s'Hs/2) >= 0
    lowest: Array  # () smallest eigenvalue of H
    interior: Array  # () bool: the ball does not cut the step short
    hard: Array  # () bool: g has no part along the lowest eigenvector that could reach the boundary; the step got one


def minimise_over_ball(H: Array, g: Array, radius: Array, resolution: Array, steps: int = SECULAR_STEPS) -> BallStep:
    """The global minimiser over the ball. ``resolution``: how near to zero an eigenvalue counts as zero."""
    if linalg.unrolls(linalg.UNROLL_TRIDIAGONAL, g.shape[0]):
        return _by_tridiagonal(H, g, radius, resolution, steps)
    return _by_eigenvectors(H, g, radius, resolution, steps)


def _by_eigenvectors(H: Array, g: Array, radius: Array, resolution: Array, steps: int = SECULAR_STEPS) -> BallStep:
    lam, V = linalg.eigh(H)
    b = jnp.sum(V * g[:, None], axis=0)
    lowest = lam[0]
    # gaps + t are the eigenvalues of H + mu I, without the cancellation in lam + mu.
    gaps = lam - lowest
    least = jnp.maximum(lowest, resolution)

    def secular(_: int, t: Array) -> Array:
        s = b / (gaps + t)
        return _newton(t, jnp.sum(s * s), jnp.sum(s * s / (gaps + t)), radius)

    start = jnp.maximum(least, jnp.max(jnp.abs(b) / radius - gaps))
    t = lax.fori_loop(0, steps, secular, start)
    inside = t <= least  # s(least) does not reach the boundary
    hard = inside & (lowest < -resolution)
    s = _onto_ball(-b / (gaps + t), jnp.zeros_like(b).at[0].set(1.0), radius, ~inside | hard)
    predicted = -jnp.sum(b * s) - 0.5 * jnp.sum(lam * s * s)
    return BallStep(jnp.sum(V * s[None, :], axis=1), t - lowest, predicted, lowest, inside & ~hard, hard)


def _by_tridiagonal(H: Array, g: Array, radius: Array, resolution: Array, steps: int = SECULAR_STEPS) -> BallStep:
    n = g.shape[0]
    T = tridiagonal.reduce(H)
    b = tridiagonal.to_tridiagonal(T, [g[i] for i in range(n)])
    lowest, left = tridiagonal.lowest_eigenvalue(T, 0.25 * resolution)
    least = jnp.where(left > resolution, 0.0, resolution - left)  # smallest mu with H + mu I safely definite

    def secular(_: int, mu: Array) -> Array:
        factors = tridiagonal.factor(T, mu)
        s = tridiagonal.solve(factors, b)
        z = tridiagonal.forward(factors, s)
        slope = linalg.dot(z, [t * r for t, r in zip(z, factors.r, strict=True)])
        return _newton(mu, linalg.dot(s, s), slope, radius)

    start = jnp.maximum(least, jnp.sqrt(linalg.dot(b, b)) / radius - tridiagonal.bounds(T)[1])
    mu = lax.fori_loop(0, steps, secular, start)
    inside = mu <= least  # s(least) does not reach the boundary
    factors = tridiagonal.factor(T, mu)
    s = tridiagonal.solve(factors, b)

    def inverse_iteration(_: int, u: Array) -> Array:
        u = jnp.stack(tridiagonal.solve(factors, [u[i] for i in range(n)]))
        return u / jnp.sqrt(jnp.sum(u * u))

    irregular = 1.0 / (1.0 + 0.618 * jnp.arange(n, dtype=g.dtype))  # no symmetry of T makes it orthogonal to u
    u = lax.fori_loop(0, 2, inverse_iteration, irregular + 0.0 * g)
    hard = inside & (lowest < -resolution)
    s = _onto_ball(-jnp.stack(s), u, radius, ~inside | hard)
    parts = [s[i] for i in range(n)]
    predicted = -linalg.dot(b, parts) - 0.5 * linalg.dot(parts, tridiagonal.multiply(T, parts))
    step = jnp.stack(tridiagonal.from_tridiagonal(T, parts))
    return BallStep(step, mu, predicted, lowest, inside & ~hard, hard)


def _newton(mu: Array, norm2: Array, slope: Array, radius: Array) -> Array:
    """One Newton step for 1/||s(mu)|| = 1/radius, from norm2 = s's and slope = s'(H + mu I)^-1 s."""
    norm = jnp.sqrt(norm2)
    return jnp.where(norm2 > 0, mu + jnp.maximum(norm2 / slope * (norm - radius) / radius, 0.0), mu)


def _onto_ball(s: Array, u: Array, radius: Array, boundary: Array) -> Array:
    """s cut back to the ball; on ``boundary``, where it falls short, s + tau u there, tau the root nearer to zero."""
    norm = jnp.sqrt(jnp.sum(s * s))
    s = s * jnp.where(norm > radius, radius / norm, 1.0)
    along = jnp.sum(s * u)
    missing = jnp.maximum(radius**2 - norm**2, 0.0)
    tau = missing / (jnp.abs(along) + jnp.sqrt(along * along + missing))
    return jnp.where(boundary & (missing > 0), s + jnp.where(along >= 0, tau, -tau) * u, s)
