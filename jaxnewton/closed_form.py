"""Eigenvalues and eigenvectors of symmetric matrices of at most 3 x 3, in closed form, for one lane.

The shifted and scaled characteristic polynomial of a 3 x 3 matrix, y^3 - 3y - 2r with |r| <= 1 (Smith 1961), has one
root that is always well apart from the others: on r's side, between sqrt(3) and 2. It and its eigenvector are found
first; what is left is 2 x 2 on the plane across it (Eberly 2014, "A robust eigensolver for 3 x 3 symmetric matrices").
So V diag(lam) V' is H to rounding, however near to each other eigenvalues are.
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxnewton.linalg import dot
from jaxnewton.types import Array

LARGEST = 3
ROOT_STEPS = {4: 2, 8: 3}  # by bytes a number: Newton's, from a start 0.01 off
Vector3 = tuple[Array, Array, Array]


def eigh(H: Array) -> tuple[list[Array], list[list[Array]]]:
    """Eigenvalues, in any order, and their eigenvectors, entry by entry, of H (n, n), n <= 3.

    Reads the lower triangle.
    """
    n = H.shape[0]
    if n == 1:
        return [H[0, 0]], [[jnp.ones_like(H[0, 0])]]
    if n == 2:
        low, high, c, s = _two(H[0, 0], H[1, 0], H[1, 1])
        return [low, high], [[-s, c], [c, s]]
    return _three(H)


def _two(a: Array, b: Array, d: Array) -> tuple[Array, Array, Array, Array]:
    """Eigenvalues of [[a, b], [b, d]], ascending, and (c, s), the eigenvector of the larger."""
    mean, half = 0.5 * (a + d), 0.5 * (a - d)
    radius = jnp.sqrt(half * half + b * b)
    far = jnp.abs(half) + radius
    apart = far > 0
    length = jnp.sqrt(jnp.where(apart, far * far + b * b, 1.0))
    c = jnp.where(apart, jnp.where(half >= 0, far, b), 1.0) / length
    s = jnp.where(half >= 0, b, far) / length
    return mean - radius, mean + radius, c, s


def _three(H: Array) -> tuple[list[Array], list[list[Array]]]:
    # H = mean I + size B
    e = (H[1, 0], H[2, 0], H[2, 1])
    mean = (H[0, 0] + H[1, 1] + H[2, 2]) / 3.0
    d = (H[0, 0] - mean, H[1, 1] - mean, H[2, 2] - mean)
    rest = (d[0] + d[1] + d[2]) / 3.0  # mean's rounding, which is no trifle where H is next to mean I
    mean, d = mean + rest, (d[0] - rest, d[1] - rest, d[2] - rest)
    size = jnp.sqrt((dot(d, d) + 2.0 * dot(e, e)) / 6.0)
    divisor = jnp.where(size > 0, size, 1.0)
    d, e = _divided(d, divisor), _divided(e, divisor)
    half = 0.5 * (d[0] * (d[1] * d[2] - e[2] * e[2]) - e[0] * (e[0] * d[2] - e[1] * e[2]))
    half = half + 0.5 * e[1] * (e[0] * e[2] - e[1] * d[1])  # det(B) / 2
    upper = half >= 0
    outer = _outer_root(jnp.minimum(jnp.abs(half), 1.0))
    outer = jnp.where(upper, outer, -outer)

    # Its eigenvector is across two rows of B - outer I; the third may be along one of them.
    rows = (d[0] - outer, e[0], e[1]), (e[0], d[1] - outer, e[2]), (e[1], e[2], d[2] - outer)
    normals = _cross(rows[0], rows[1]), _cross(rows[0], rows[2]), _cross(rows[1], rows[2])
    v = _longer(_longer(normals[0], normals[1]), normals[2])
    length = dot(v, v)
    some = length > 0  # else B is 0, and any v will do
    v = _divided((jnp.where(some, v[0], 1.0), v[1], v[2]), jnp.sqrt(jnp.where(some, length, 1.0)))

    first = jnp.abs(v[0]) > jnp.abs(v[1])
    across = jnp.sqrt(v[2] * v[2] + jnp.where(first, v[0] * v[0], v[1] * v[1]))
    zero = jnp.zeros_like(across)
    u = _divided(_where(first, (-v[2], zero, v[0]), (zero, v[2], -v[1])), across)
    w = _cross(u, v)
    Bu, Bw = _times(d, e, u), _times(d, e, w)
    low, high, c, s = _two(dot(u, Bu), dot(w, Bu), dot(w, Bw))
    lower = (c * w[0] - s * u[0], c * w[1] - s * u[1], c * w[2] - s * u[2])
    higher = (c * u[0] + s * w[0], c * u[1] + s * w[1], c * u[2] + s * w[2])
    return [mean + size * y for y in (low, high, outer)], [[*lower], [*higher], [*v]]


def _outer_root(r: Array) -> Array:
    """The root of y^3 - 3y = 2r in [sqrt(3), 2], for r in [0, 1]."""
    y = 3.0**0.5 + (2.0 - 3.0**0.5) * r
    for _ in range(ROOT_STEPS[r.dtype.itemsize]):
        y = y - (y * (y * y - 3.0) - 2.0 * r) / (3.0 * (y * y - 1.0))
    return y


def _where(condition: Array, a: Vector3, b: Vector3) -> Vector3:
    return (jnp.where(condition, a[0], b[0]), jnp.where(condition, a[1], b[1]), jnp.where(condition, a[2], b[2]))


def _longer(a: Vector3, b: Vector3) -> Vector3:
    return _where(dot(a, a) >= dot(b, b), a, b)


def _divided(a: Vector3, divisor: Array) -> Vector3:
    return (a[0] / divisor, a[1] / divisor, a[2] / divisor)


def _cross(a: Vector3, b: Vector3) -> Vector3:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _times(d: Vector3, e: Vector3, x: Vector3) -> Vector3:
    """B x, of the B with d on its diagonal and e = (B10, B20, B21)."""
    return (
        d[0] * x[0] + e[0] * x[1] + e[1] * x[2],
        e[0] * x[0] + d[1] * x[1] + e[2] * x[2],
        e[1] * x[0] + e[2] * x[1] + d[2] * x[2],
    )
