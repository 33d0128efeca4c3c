"""A quadratic over a ball or a sphere: min g's + s'Hs/2 on ||s|| <= radius or = radius, exactly, hard case included.

Two reductions of H, one method. Small n: H = Q T Q' by unrolled Householder reflections, after which every solve with
T + mu I is a recurrence over n scalars. Larger n: H = V diag(lam) V' from LAPACK. In both, the multiplier is found by
Newton's method on 1/||s(mu)|| - 1/radius from the left of its root, where it is monotone (More & Sorensen 1983; Conn,
Gould & Toint 2000, section 7.3), and the hard case is completed with an eigenvector of the lowest eigenvalue. On the
sphere mu may be negative, as far as H + mu I stays positive semidefinite (Hager 2001).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxnewton import closed_form, linalg, tridiagonal
from jaxnewton.tridiagonal import Vector
from jaxnewton.types import Array

SECULAR_STEPS = 6  # 99 of 100 need no more for 1e-10; a step left too long is cut back to the ball
# Where they are unrolled over lanes a trust region takes as many trips with 3 as with 6 on ten test problems, and is
# faster. Beside an eigendecomposition 6 cost nothing, and LUKSAN11LS (n = 100) takes 430 trips, not over 500.
ROUGHLY = 3
USUAL_STEPS = 6  # before it is asked whether more are needed
MOST_STEPS = 50  # where they are taken to the last digit, which takes fewer than 12


class Minimiser(NamedTuple):
    """The minimiser over the ball or the sphere, and what was learnt on the way."""

    step: Array  # (n,) the minimiser
    multiplier: Array  # () mu with (H + mu I) step = -g; mu >= 0 in the ball
    predicted: Array  # () -(g's + s'Hs/2), >= 0 in the ball
    lowest: Array  # () smallest eigenvalue of H
    interior: Array  # () bool: the ball does not cut the step short; never on the sphere
    hard: Array  # () bool: g has no part along the lowest eigenvector that could reach the boundary; the step got one


def minimise_over_ball(H: Array, g: Array, radius: Array, resolution: Array, roughly: bool = False) -> Minimiser:
    """The global minimiser over the ball, to what a few secular steps give; ``roughly``: fewer where that is faster.

    ``resolution``: how near to zero an eigenvalue counts as zero.
    """
    path = _path(g)
    return path(H, g, radius, resolution, ROUGHLY if roughly and path is by_tridiagonal else SECULAR_STEPS)


def minimise_over_sphere(H: Array, g: Array, radius: Array, resolution: Array) -> Minimiser:
    """The global minimiser over the sphere, to the last digit."""
    return _path(g)(H, g, radius, resolution, steps=None, sphere=True)


def _path(g: Array) -> Callable[..., Minimiser]:
    return by_tridiagonal if linalg.unrolls(linalg.UNROLL_TRIDIAGONAL, g.shape[0]) else by_eigenvectors


def by_eigenvectors(
    H: Array, g: Array, radius: Array, resolution: Array, steps: int | None = SECULAR_STEPS, sphere: bool = False
) -> Minimiser:
    """By H = V diag(lam) V'; ``steps`` None: to the last digit; ``sphere``: on its surface."""
    lam, V = linalg.eigh(H)
    b, first = jnp.sum(V * g[:, None], axis=0), jnp.zeros_like(g).at[0].set(1.0)

    def back(s: Vector) -> Array:
        return jnp.sum(V * s[0][None, :], axis=1)

    return _along_eigenvectors(Diagonal([lam], [b], [first], lam[0], back), radius, resolution, steps, sphere)


def by_closed_form(
    H: Array, g: Array, radius: Array, resolution: Array, steps: int | None = SECULAR_STEPS, sphere: bool = False
) -> Minimiser:
    """``by_eigenvectors`` for n <= 3 over lanes, where H's largest entry is about 1."""
    lam, V = closed_form.eigh(H)
    b = [linalg.dot(v, [*g]) for v in V]
    lowest = linalg.fold(jnp.minimum, lam)
    first: Vector = []  # no comparison with the lowest: XLA may compute it twice, with other roundings
    earlier = jnp.zeros_like(lowest, bool)
    for k, eigenvalue in enumerate(lam):
        own = ~earlier & linalg.fold(jnp.logical_and, [eigenvalue <= later for later in lam[k:]])
        first.append(own.astype(lowest.dtype))
        earlier = earlier | own

    def back(s: Vector) -> Array:
        return jnp.stack([linalg.dot(row, s) for row in zip(*V, strict=True)])

    return _along_eigenvectors(Diagonal(lam, b, first, lowest, back), radius, resolution, steps, sphere)


class Diagonal(NamedTuple):
    """H and g along H's eigenvectors, vectors cut into pieces of any shape."""

    lam: Vector  # the eigenvalues
    b: Vector  # g
    first: Vector  # an eigenvector of the lowest eigenvalue
    lowest: Array  # ()
    back: Callable[[Vector], Array]  # to (n,), in H's own basis


def _along_eigenvectors(of: Diagonal, radius: Array, resolution: Array, steps: int | None, sphere: bool) -> Minimiser:
    """The method where H is diagonal."""
    lam, b, first, lowest, back = of
    to_the_end = steps is None
    # gaps + t are the eigenvalues of H + mu I, without the cancellation in lam + mu.
    gaps = [part - lowest for part in lam]
    least = resolution if sphere else jnp.maximum(lowest, resolution)

    def newton(t: Array) -> Array:
        inverses = [1.0 / (gap + t) for gap in gaps]
        s = [r * inverse for r, inverse in zip(b, inverses, strict=True)]
        return _newton(t, dot(s, s), dot(s, [r * inverse for r, inverse in zip(s, inverses, strict=True)]), radius)

    reach = [jnp.max(jnp.abs(r) / radius - gap) for r, gap in zip(b, gaps, strict=True)]
    t = _iterate(newton, jnp.maximum(least, linalg.fold(jnp.maximum, reach)), 0.0, steps)
    inside = t <= least  # s(least) does not reach the boundary
    hard = inside if sphere else inside & (lowest < -resolution)
    boundary = ~inside | hard
    s = [-r / (gap + t) for r, gap in zip(b, gaps, strict=True)]
    s = _completed(s, first, t, b, radius, boundary) if to_the_end else _cut_back(s, first, radius, boundary)
    predicted = -dot(b, s) - 0.5 * dot(s, [part * r for part, r in zip(lam, s, strict=True)])
    return Minimiser(back(s), t - lowest, predicted, lowest, ~boundary, hard)


def by_tridiagonal(
    H: Array, g: Array, radius: Array, resolution: Array, steps: int | None = SECULAR_STEPS, sphere: bool = False
) -> Minimiser:
    """By H = Q T Q', unrolled over lanes; ``steps`` None: to the last digit; ``sphere``: on its surface."""
    n, to_the_end = g.shape[0], steps is None
    # The barriers are for GPUs, where XLA keeps them until it has fused, lest what is before them be computed anew in
    # each of its readers; their gain was not measured. On CPU XLA drops them before: the same fusions and times.
    T = lax.optimization_barrier(tridiagonal.reduce(H))
    b = lax.optimization_barrier(tridiagonal.to_tridiagonal(T, [g[i] for i in range(n)]))
    lowest, left = tridiagonal.lowest_eigenvalue(T, 0.25 * resolution, to_the_end=to_the_end)
    least = resolution - left  # smallest mu with H + mu I safely definite
    if not sphere:
        least = jnp.where(left > resolution, 0.0, least)

    def newton(mu: Array) -> Array:
        factors = tridiagonal.factor(T, mu)
        s = tridiagonal.solve(factors, b)
        z = tridiagonal.forward(factors, s)
        slope = linalg.dot(z, [t * r for t, r in zip(z, factors.r, strict=True)])
        return _newton(mu, linalg.dot(s, s), slope, radius)

    reach = jnp.sqrt(linalg.dot(b, b)) / radius
    start = jnp.maximum(least, reach - tridiagonal.bounds(T)[1])
    if to_the_end:  # from the right of the root, Newton's method leads to its left
        start = jnp.maximum(start, jnp.where(reach > 0, newton(reach + least), start))
    mu = _iterate(newton, start, lowest, steps)
    inside = mu <= least  # s(least) does not reach the boundary
    hard = inside if sphere else inside & (lowest < -resolution)
    boundary = ~inside | hard
    factors = lax.optimization_barrier(tridiagonal.factor(T, mu))
    s = lax.optimization_barrier(tridiagonal.solve(factors, [-t for t in b]))

    # Inverse iteration, from numbers that no symmetry of T makes orthogonal to u.
    start = [jnp.full_like(mu, 1.0 / (1.0 + 0.618 * i)) for i in range(n)]
    u = lax.optimization_barrier(tridiagonal.solve(factors, start))
    size = jnp.sqrt(linalg.dot(u, u))
    u = lax.optimization_barrier(tridiagonal.solve(factors, [t / size for t in u]))
    shifted = 1.0 / jnp.sqrt(linalg.dot(u, u))  # ||(T + mu I) u|| of the u of norm 1
    u = [shifted * t for t in u]
    onto = _completed(s, u, shifted, b, radius, boundary) if to_the_end else _cut_back(s, u, radius, boundary)
    parts = lax.optimization_barrier(onto)
    predicted = -linalg.dot(b, parts) - 0.5 * linalg.dot(parts, tridiagonal.multiply(T, parts))
    step = jnp.stack(tridiagonal.from_tridiagonal(T, parts))
    return Minimiser(step, mu, predicted, lowest, ~boundary, hard)


def dot(a: Vector, b: Vector) -> Array:
    """a'b, of vectors cut into pieces of any shape."""
    return jnp.sum(linalg.dot(a, b))


def _iterate(step: Callable[[Array], Array], start: Array, pole: Any, steps: int | None) -> Array:
    """``steps`` steps, none of which may decrease t; None: to the last digit of t + ``pole``.

    They converge quadratically: after a step of half the digits, all are right.
    """

    def upward(_: Any, t: Array) -> Array:
        return jnp.maximum(step(t), t)

    if steps is not None:
        return lax.fori_loop(0, steps, upward, start)
    half = float(jnp.finfo(start.dtype).eps) ** 0.5
    t = lax.fori_loop(0, USUAL_STEPS, upward, start)

    def growing(carry: tuple[Array, Array, Array]) -> Array:
        return carry[1] & (carry[2] < MOST_STEPS)

    def one(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        t, _, k = carry
        new = upward(k, t)
        return new, new - t > half * (new + pole), k + 1

    return lax.while_loop(growing, one, (t, jnp.isfinite(t), jnp.zeros((), jnp.int32)))[0]


def _newton(mu: Array, norm2: Array, slope: Array, radius: Array) -> Array:
    """One Newton step for 1/||s(mu)|| = 1/radius, from norm2 = s's and slope = s'(H + mu I)^-1 s."""
    norm = jnp.sqrt(norm2)
    return jnp.where(norm2 > 0, mu + norm2 / slope * (norm - radius) / radius, mu)


def _cut_back(s: Vector, u: Vector, radius: Array, boundary: Array) -> Vector:
    """After a few steps, which may leave s too long: s cut back to the ball; on ``boundary``, where it falls short,
    s + tau u there, tau the root nearer to zero.
    """
    norm = jnp.sqrt(dot(s, s))
    factor = jnp.where(norm > radius, radius / norm, 1.0)
    s = [t * factor for t in s]
    missing = jnp.maximum(radius**2 - norm**2, 0.0)
    tau = jnp.where(boundary & (missing > 0), _along(s, u, missing), 0.0)
    return [t + tau * v for t, v in zip(s, u, strict=True)]


def _completed(s: Vector, u: Vector, shifted: Array, b: Vector, radius: Array, boundary: Array) -> Vector:
    """After steps to the last digit: s on ``boundary`` brought to it by what disturbs (H + mu I) s = b less, a factor
    or a part along u.

    ``shifted``: ||(H + mu I) u||. The last digits of mu move s along u only, and by much where H + mu I is nearly
    singular; a factor would spoil the rest of s there.
    """
    norm = jnp.sqrt(dot(s, s))
    missing = (radius - norm) * (radius + norm)
    tau = _along(s, u, missing)
    factor = radius / jnp.where(norm > 0, norm, 1.0)
    better = shifted * jnp.abs(tau) <= jnp.abs(factor - 1.0) * jnp.sqrt(dot(b, b))
    along = better | (norm == 0)
    factor, tau = jnp.where(boundary & ~along, factor, 1.0), jnp.where(boundary & along, tau, 0.0)
    return [t * factor + tau * v for t, v in zip(s, u, strict=True)]


def _along(s: Vector, u: Vector, missing: Array) -> Array:
    """The tau nearer to zero with ||s + tau u||^2 = ||s||^2 + missing; the nearest there is if there is none."""
    along = dot(s, u)
    root = jnp.sqrt(jnp.maximum(along * along + missing, 0.0))
    reach = jnp.abs(along) + root
    tau = missing / jnp.where(reach > 0, reach, 1.0)
    return jnp.where(along >= 0, tau, -tau)
