"""A dense quadratic over a sphere, or over a ball, global (Hager 2001)."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton import closed_form, linalg, secular
from jaxnewton.loop import over_lanes
from jaxnewton.types import Array, is_traced

LOST = 16  # eps: a residual that is not rounding's
UNROLL = {"cpu": 8, "gpu": linalg.UNROLL_TRIDIAGONAL["gpu"]}  # largest n; see linalg.py for what it costs to compile


class SphereSolution(NamedTuple):
    """The global minimiser of x'Ax - 2b'x on ||x|| = radius (or in the ball), and what proves it.

    It is one if and only if (A + multiplier I) x = b and A + multiplier I is positive semidefinite (and, in the ball,
    multiplier >= 0, and = 0 inside).
    """

    x: Array  # (..., n)
    fun: Array  # (...) x'Ax - 2b'x
    multiplier: Array  # (...)
    residual: Array  # (...) ||(A + multiplier I) x - b||, Euclidean
    hard_case: Array  # (...) bool: b has no part along A's lowest eigenvectors, to rounding, that could reach the
    #                   sphere; x got one, and is not the only minimiser


def minimize_quadratic(A: Any, b: Any, radius: Any = 1.0, *, inside: bool = False) -> SphereSolution:
    """The global minimum of x'Ax - 2b'x on the sphere ||x|| = radius. Works under ``jit`` and ``vmap``; differentiable.

    From one reduction of A: to its eigenvectors in closed form for n <= 3, to tridiagonal form for n <= 8 (on CPU),
    both over all of the stack at once, to eigenvectors by LAPACK above; then Newton's method for the multiplier in the
    secular equation (More & Sorensen 1983). The hard case (called degenerate by Hager 2001) is part of the method.

    Args:
        A: (..., n, n), float32 or float64 (integers are taken for floats); symmetric, or else (A + A')/2 is meant,
            which has the same x'Ax.
        b: (..., n). Leading axes broadcast with A's and radius's, as in ``numpy.linalg``.
        radius: (...), positive.
        inside: minimise over the ball ||x|| <= radius: the trust-region subproblem, where H = 2A and g = -2b.

    Returns:
        A SphereSolution in the common dtype. Where A, b or radius is not finite, that problem's x is nan. Derivatives
        of x, fun and multiplier are the implicit function theorem's; nan in the hard case, where x is not unique.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    A, b, radius, stack = _checked(A, b, radius)
    n = b.shape[-1]
    if not isinstance(inside, bool):
        raise TypeError(f"inside must be True or False; it is {inside!r}")
    flat = (
        jnp.broadcast_to(A, (*stack, n, n)).reshape(-1, n, n),
        jnp.broadcast_to(b, (*stack, n)).reshape(-1, n),
        jnp.broadcast_to(radius, stack).reshape(-1),
    )
    found = _stack(inside, *flat)
    return SphereSolution(*(leaf.reshape(*stack, *leaf.shape[1:]) for leaf in found))


@functools.partial(jax.jit, static_argnums=0)
def _stack(inside: bool, A: Array, b: Array, radius: Array) -> SphereSolution:
    return _solve(inside, lax.optimization_barrier(0.5 * (A + A.swapaxes(1, 2))), b, radius)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve(inside: bool, A: Array, b: Array, radius: Array) -> SphereSolution:
    n = b.shape[-1]
    by_eigenvectors = functools.partial(_one, inside, secular.by_eigenvectors, 2)
    if n <= closed_form.LARGEST:
        return _over_lanes(functools.partial(_one, inside, secular.by_closed_form, 4), A, b, radius)
    if not linalg.unrolls(UNROLL, n):  # LAPACK wants its matrices whole
        return jax.vmap(by_eigenvectors)(A, b, radius)
    found = _over_lanes(functools.partial(_one, inside, secular.by_tridiagonal, 8), A, b, radius)

    # Where the lowest eigenvalue is repeated and b has next to no part there, recurrences can lose all digits.
    norms = jnp.max(jnp.sum(jnp.abs(A), axis=2), axis=1) * radius + jnp.sqrt(jnp.sum(b * b, axis=1))
    lost = ~(found.residual <= LOST * jnp.finfo(b.dtype).eps * norms) & jnp.isfinite(norms)

    def some_left(carry: tuple[Array, SphereSolution]) -> Array:
        return jnp.any(carry[0])

    def redo(carry: tuple[Array, SphereSolution]) -> tuple[Array, SphereSolution]:
        lost, found = carry
        k = jnp.argmax(lost)
        again = by_eigenvectors(A[k], b[k], radius[k])
        return lost.at[k].set(False), jax.tree.map(lambda all_of, one: all_of.at[k].set(one), found, again)

    return lax.while_loop(some_left, redo, (lost, found))[1]


def _over_lanes(one: Any, *stacks: Array) -> SphereSolution:
    lanes = over_lanes(one)(*(jnp.moveaxis(leaf, 0, -1) for leaf in stacks))
    return SphereSolution(*(jnp.moveaxis(leaf, -1, 0) for leaf in lanes))


def _one(inside: bool, solve: Any, roundings: int, A: Array, b: Array, radius: Array) -> SphereSolution:
    """On the unit sphere, with A and b divided by a power of two, lest squares overflow.

    Over lanes vectors are cut into their entries: XLA fuses those with what is around them.
    """
    info, entries = jnp.finfo(b.dtype), linalg.unrolls(UNROLL, b.shape[0])
    radius = jnp.where(radius > 0, radius, jnp.nan)  # a traced one may be anything
    g = -b / radius
    norm = linalg.max_norm(A)
    scale = _power_of_two(jnp.maximum(norm, linalg.max_norm(g[:, None])))
    H, g = A / scale, g / scale
    zero = roundings * info.eps * (norm / scale) + info.tiny
    found = solve(H, g, jnp.ones_like(radius), zero, steps=None, sphere=not inside)
    g, u = ([*g], [*found.step]) if entries else ([g], [found.step])
    length = jnp.sqrt(secular.dot(u, u))  # V and Q are orthogonal to rounding only
    length = jnp.where(found.interior, jnp.maximum(length, 1.0), length)
    u = [part / length for part in u]
    Hu = [linalg.dot([*row], u) for row in H] if entries else [jnp.sum(H * u[0][None], axis=1)]
    half = [p + q for p, q in zip(g, Hu, strict=True)]
    estimate = -secular.dot(u, half)  # of least residual
    mu = estimate if not inside else jnp.where(found.interior, 0.0, jnp.maximum(estimate, 0.0))
    off = [p + mu * q for p, q in zip(half, u, strict=True)]
    residual = scale * jnp.sqrt(secular.dot(off, off)) * radius
    fun = scale * secular.dot(u, [p + q for p, q in zip(half, g, strict=True)]) * radius * radius
    x = [radius * part for part in u]
    return SphereSolution(jnp.stack(x) if entries else x[0], fun, scale * mu, residual, found.hard)


def _power_of_two(x: Array) -> Array:
    """The largest that is not above x >= 0, of those that are not subnormal, nor have an inverse that is."""
    info = jnp.finfo(x.dtype)
    bits = jnp.int64 if x.dtype.itemsize == 8 else jnp.int32
    clipped = jnp.clip(x, info.tiny, 0.5 / info.tiny)
    exponent = lax.bitcast_convert_type(clipped, bits) & (((1 << info.nexp) - 1) << info.nmant)
    return lax.bitcast_convert_type(exponent, x.dtype)


@_solve.defjvp
def _(inside: bool, primals: Any, tangents: Any) -> tuple[SphereSolution, SphereSolution]:
    found = _solve(inside, *primals)
    x, fun, mu = jax.vmap(functools.partial(_tangent, inside))(found, *primals, *tangents)
    still: Any = np.zeros(found.hard_case.shape, jax.dtypes.float0)
    return found, SphereSolution(x, fun, mu, jnp.zeros_like(found.residual), still)


def _tangent(
    inside: bool, found: SphereSolution, A: Array, b: Array, radius: Array, dA: Array, db: Array, dradius: Array
) -> tuple[Array, Array, Array]:
    """Of x, fun and multiplier, from (A + mu I) x = b and x'x = radius^2, or mu = 0 inside the ball."""
    x, mu = found.x, found.multiplier
    n = b.shape[0]
    free = jnp.sqrt(jnp.sum(x * x)) < radius * (1 - 8 * n * jnp.finfo(b.dtype).eps) if inside else jnp.zeros((), bool)
    border = jnp.where(free, 0.0, x)
    corner = jnp.where(free, 1.0, 0.0)
    top = jnp.concatenate([A + mu * jnp.eye(n, dtype=b.dtype), border[:, None]], axis=1)
    bottom = jnp.concatenate([border, corner[None]])
    dAx = jnp.sum(dA * x[None], axis=1)
    right = jnp.concatenate([db - dAx, jnp.where(free, 0.0, radius * dradius)[None]])
    moved = jnp.linalg.solve(jnp.concatenate([top, bottom[None]]), right)
    moved = moved * jnp.where(found.hard_case, jnp.nan, 1.0).astype(b.dtype)  # a factor, so that transposes have it too
    dx, dmu = moved[:n], moved[n]
    dfun = jnp.sum(x * dAx) - 2 * jnp.sum(x * db) + 2 * jnp.sum(dx * (jnp.sum(A * x[None], axis=1) - b))
    return dx, dfun, dmu


def _checked(A: Any, b: Any, radius: Any) -> tuple[Array, Array, Array, tuple[int, ...]]:
    """The three in one dtype, and their leading axes."""
    A, b = _floating("A", A), _floating("b", b)
    if A.ndim < 2 or A.shape[-1] != A.shape[-2] or A.shape[-1] == 0:
        raise ValueError(f"A must have shape (..., n, n) with n at least 1; it has shape {A.shape}")
    if b.ndim < 1 or b.shape[-1] != A.shape[-1]:
        raise ValueError(f"b must have shape (..., {A.shape[-1]}) to go with A of shape {A.shape}; it has {b.shape}")
    radius = _floating("radius", radius)
    if not is_traced(radius) and not np.all((np.asarray(radius) > 0) & np.isfinite(radius)):
        raise ValueError(f"radius must be positive and finite; it is {radius}")
    try:
        stack = np.broadcast_shapes(A.shape[:-2], b.shape[:-1], radius.shape)
    except ValueError:
        shapes = f"{A.shape[:-2]} of A, {b.shape[:-1]} of b and {radius.shape} of radius"
        raise ValueError(f"the leading axes {shapes} do not broadcast") from None
    dtype = jnp.promote_types(A.dtype, b.dtype)
    return A.astype(dtype), b.astype(dtype), radius.astype(dtype), stack


def _floating(name: str, given: Any) -> Array:
    try:
        array = jnp.asarray(None if isinstance(given, str) else given)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must hold real floating numbers; it is {given!r}") from None
    if jnp.issubdtype(array.dtype, jnp.integer):
        return array.astype(float)
    if array.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"{name} must hold real floating numbers, of float32 or float64; it has dtype {array.dtype}")
    return array
