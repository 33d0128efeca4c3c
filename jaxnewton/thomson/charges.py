"""The energy of unit charges on the unit sphere as a problem on a product of spheres.

E = sum over pairs of 1/r. Points are ambient (3 numbers each); gradients, Hessians and steps are in an orthonormal
tangent frame at each point (2 numbers each), so the Hessian is the Riemannian one. Distances come from coordinate
differences, never from 2 - 2 x.y, which cancels for close charges.

Layout, measured on CPU (float64, ns a pair for f and g): configurations first and the sums over charges as matrix
products 2.5 to 3; lanes last, which suits small matrices, 4 to 8 at best.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnewton.problem import Problem
from jaxnewton.types import Array, Evaluation, Needs


def energy(points: Any) -> Array:
    """Sum over pairs of 1/distance, of points (..., n, 3); in the points' dtype. Differentiable."""
    points = jnp.asarray(points)
    if points.ndim < 2 or points.shape[-1] != 3 or points.shape[-2] < 2:
        raise ValueError(f"points must have shape (..., n, 3) with n at least 2; it is {points.shape}")
    i, j = jnp.triu_indices(points.shape[-2], k=1)
    difference = points[..., i, :] - points[..., j, :]
    return jnp.sum(1 / jnp.sqrt(jnp.sum(difference**2, axis=-1)), axis=-1)


def flat(p: Array) -> Array:
    """Points (3, n), scaled to the sphere, as x (3 n,)."""
    return (p / jnp.sqrt(jnp.sum(p * p, axis=0))[None]).reshape(-1)


@dataclasses.dataclass(frozen=True)
class OnSpheres(Problem):
    """A problem of n points: x is (3 n,), x, y and z of all points in turn."""

    n: int

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        if needs is Needs.PRODUCT:  # a function of one lane's vector
            return super().evaluate_lanes(x, args, axes, needs)
        first = jax.vmap(lambda x: self.evaluate(x, args, needs))(x.T)
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), first)


@dataclasses.dataclass(frozen=True)
class Charges(OnSpheres):
    """The energy with its Riemannian derivatives: g is (2 n,), both tangent components of all points in turn.

    Args:
        n: number of charges.
        deflate: add c U U' to the Hessian, U the directions of the three rotations, along which the energy does not
            change; with it the Hessian at a minimum is positive definite, and smaller eigenvalues are not touched.
    """

    deflate: bool = True

    def size(self, x: Array) -> int:
        return 2 * self.n

    def move(self, x: Array, step: Array, args: tuple[Any, ...]) -> Array:
        """Retraction by projection: second order, so that the Riemannian Hessian is that of the pulled-back energy."""
        del args
        p = x.reshape(3, self.n)
        a, b = _frame(p)
        s = step.reshape(2, self.n)
        return flat(p + a * s[0][None] + b * s[1][None])

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        del args
        p = x.reshape(3, self.n)
        frame = _frame(p)
        inverse = _inverse_distances(p)
        f = 0.5 * jnp.sum(inverse)
        cubed = inverse**3
        pulled = _product(cubed, p)  # sum over j of x_j / r^3; what it lacks of the gradient is normal to the sphere
        g = jnp.concatenate([jnp.sum(q * pulled, axis=0) for q in frame])
        if needs is Needs.GRADIENT:
            return Evaluation(f, g, None)
        # u[k][i, j] = q_k(i) . x_j;   c = x_i . x_j = 1 - r^2 / 2
        u = [jnp.sum(q[:, :, None] * p[:, None, :], axis=0) for q in frame]
        fifth = 3 * cubed * inverse**2
        own = jnp.sum(cubed, axis=1) - 0.5 * jnp.sum(inverse, axis=1)
        rows = []
        for k, q in enumerate(frame):
            row = []
            for m, s in enumerate(frame):
                block = cubed * jnp.sum(q[:, :, None] * s[:, None, :], axis=0) + fifth * u[k] * u[m].T
                diagonal = jnp.sum(fifth * u[k] * u[m], axis=1) - (own if k == m else 0.0)
                row.append(block + diagonal[:, None] * jnp.eye(self.n, dtype=x.dtype))
            rows.append(jnp.concatenate(row, axis=1))
        H = jnp.concatenate(rows, axis=0)
        if self.deflate:
            H = H + self._rotations_shift(p, frame, jnp.sum(jnp.diagonal(H)))
        if needs is Needs.PRODUCT:
            return Evaluation(f, g, jax.tree_util.Partial(_times, H))
        return Evaluation(f, g, H if needs is Needs.HESSIAN else jnp.sum(g * _times(H, g)))

    def _rotations_shift(self, p: Array, frame: tuple[Array, Array], trace: Array) -> Array:
        """c U U' with U = (frame) . (e_k x x_i), whose nonzero singular values squared are about 2 n / 3."""
        a, b = frame  # q . (e x p) = e . (p x q), and p x a = b, p x b = -a
        U = jnp.concatenate([b, -a], axis=1)  # (3, 2 n)
        c = 4.5 * trace / (2 * self.n) / self.n
        return c * jnp.sum(U[:, :, None] * U[:, None, :], axis=0)


@dataclasses.dataclass(frozen=True)
class AmbientCharges(OnSpheres):
    """The same energy for solvers that compare gradients at different points: g is (3 n,), tangent, but not in a frame.

    The frames of ``Charges`` turn from point to point, which spoils differences of gradients. Gradients only.
    """

    def move(self, x: Array, step: Array, args: tuple[Any, ...]) -> Array:
        del args
        return flat((x + step).reshape(3, self.n))

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        if needs is not Needs.GRADIENT:
            raise NotImplementedError(f"charges in ambient coordinates have no {needs.value}")
        del args
        p = x.reshape(3, self.n)
        inverse = _inverse_distances(p)
        pulled = _product(inverse**3, p)
        g = pulled - p * jnp.sum(pulled * p, axis=0)[None]
        return Evaluation(0.5 * jnp.sum(inverse), g.reshape(-1), None)


def potentials(p: Array) -> Array:
    """The potential (n,) of every other charge at each of p (3, n)."""
    return jnp.sum(_inverse_distances(p), axis=1)


def _inverse_distances(p: Array) -> Array:
    """1/|x_i - x_j| (n, n) of p (3, n), 0 on the diagonal."""
    x, y, z = (c[:, None] - c[None, :] for c in p)
    own = jnp.eye(p.shape[1], dtype=bool)
    return jax.lax.rsqrt(jnp.where(own, jnp.inf, x * x + y * y + z * z))


def _product(W: Array, p: Array) -> Array:
    """p W' (3, n) of a symmetric W (n, n), in full precision on every device."""
    return jnp.matmul(p, W, precision="highest")


def _times(H: Array, v: Array) -> Array:
    return jnp.sum(H * v[None], axis=1)


def _frame(p: Array) -> tuple[Array, Array]:
    """Two orthonormal tangents (3, n) at unit vectors p (3, n), without a branch (Duff et al. 2017)."""
    x, y, z = p
    s = jnp.where(z >= 0, 1.0, -1.0).astype(p.dtype)
    a = -1 / (s + z)
    b = x * y * a
    return jnp.stack([1 + s * x * x * a, s * b, -s * x]), jnp.stack([b, s + y * y * a, -y])
