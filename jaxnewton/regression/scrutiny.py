"""A closer look at fits whose information says too little: by the rows, whose condition is not squared."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton.problem import Problem
from jaxnewton.regression.data import Columns, back
from jaxnewton.types import Array, Needs, Status

POLISHES = 4  # Newton's steps by the rows' factor, after the solver
ROOTS = (2, 3, 4)  # of eps: how near 0 a margin, relative to its terms, is taken to be meant as 0


class Sides(NamedTuple):
    """What a direction must do for the likelihood to rise along it for ever (Albert & Anderson 1984)."""

    rows: Array  # (r, d): their products with it are at least 0, and not all 0
    tied: Array  # (r,) bool: this product is 0


class Model(Problem, Protocol):
    """A likelihood in the coefficients of standardised columns; args: Z (q, m), y, weights, offset, penalty (q,)."""

    @property
    def separable(self) -> bool:
        """Whether there are data for which the likelihood has no maximum."""
        ...

    def sides(self, X: Array, y: Array) -> Sides:
        """For rows X (m, q), the column of the intercept among them; class by class where d is not q."""
        ...

    def penalties(self, penalty: Array) -> Array:
        """(..., d, d) what the ridge adds to the information."""
        ...

    def root(self, theta: Array, args: tuple[Any, ...]) -> Array:
        """(r, d): a matrix whose product with itself is the information, penalties included."""
        ...


class Closer(NamedTuple):
    """What the rows of one fit show."""

    theta: Array  # (d,) after some more of Newton's steps, of standardised columns
    fun: Array  # () there
    inverse: Array  # (d, d) of the information; nan where it is singular
    rank: Array  # () int32: coefficients that the data determine
    singular: Array  # () bool
    separated: Array  # () bool
    direction: Array  # (d,) in the columns of X: where the likelihood rises for ever, or else hardly changes
    settled: Array  # () bool: a further step would change nothing that can be told
    restless: Array  # () bool: it would move some mean for good, as where no estimate exists


class Factor(NamedTuple):
    """The singular values of a matrix (r, d) whose columns are brought to a length of 1."""

    norms: Array  # (d,) of the columns; 1 for a column of zeros
    values: Array  # (d,) descending; 0 where not beyond rounding
    ways: Array  # (d, d) right singular vectors, one a row

    @classmethod
    def of(cls, A: Array) -> Factor:
        d = A.shape[1]
        largest = jnp.max(jnp.abs(A), axis=0, initial=0.0)
        largest = jnp.where(largest > 0, largest, 1.0)
        norms = largest * jnp.sqrt(jnp.sum((A / largest[None, :]) ** 2, axis=0))
        norms = jnp.where(norms > 0, norms, 1.0)
        R = jnp.linalg.qr(jnp.pad(A / norms[None, :], ((0, max(d - A.shape[0], 0)), (0, 0))), mode="r")
        usable = jnp.all(jnp.isfinite(R))
        _, s, ways = jnp.linalg.svd(jnp.where(usable, R, jnp.eye(d, dtype=A.dtype)))
        kept = usable & (s > 10 * d * jnp.finfo(A.dtype).eps * s[0])
        return cls(norms, jnp.where(kept, s, 0.0), ways)

    @property
    def rank(self) -> Array:
        return jnp.sum(self.values > 0, dtype=jnp.int32)

    @property
    def null(self) -> Array:
        """What comes nearest to being taken to 0."""
        return self.ways[-1] / self.norms

    def within(self, v: Array) -> Array:
        """v less what the matrix takes to 0."""
        part = jnp.where(self.values > 0, self.ways @ (v * self.norms), 0.0)
        return (part @ self.ways) / self.norms

    def without(self, v: Array) -> Array:
        """v less what the matrix does not take to 0."""
        part = jnp.where(self.values > 0, 0.0, self.ways @ (v * self.norms))
        return (part @ self.ways) / self.norms

    def solve(self, b: Array) -> Array:
        """The shortest x with A'A x = b."""
        return ((self._inverse_squares() * (self.ways @ (b / self.norms))) @ self.ways) / self.norms

    def inverse(self) -> Array:
        """Of A'A, where it has one."""
        ways = self.ways / self.norms[None, :]
        return ways.T @ (self._inverse_squares()[:, None] * ways)

    def _inverse_squares(self) -> Array:
        return jnp.where(self.values > 0, 1 / jnp.where(self.values > 0, self.values, 1.0) ** 2, 0.0)


def scrutinise(
    model: Model, intercept: bool, X: Array, columns: Columns, theta: Array, status: Array, args: tuple[Any, ...]
) -> Closer:
    """Of one fit that ended at theta (d,) with this status; X (m, p) as it was given."""
    Z, y, weights, _, penalty = args
    q, d = Z.shape[0], theta.shape[0]
    classes = d // q
    counted = jnp.broadcast_to(weights > 0, y.shape)
    own = Factor.of(jnp.where(counted[:, None], Z.T, 0.0))
    eps = jnp.finfo(theta.dtype).eps

    def newton(theta: Array) -> tuple[Array, Factor, Array, Array]:
        at, factor = model.evaluate(theta, args, Needs.GRADIENT), Factor.of(model.root(theta, args))
        return factor.solve(-at.g), factor, at.f, at.g

    def polish(theta: Array) -> Array:
        step, _, f, _ = newton(theta)
        further = model.evaluate(theta + step, args, Needs.GRADIENT).f
        return jnp.where(further <= f + 10 * eps * jnp.abs(f), theta + step, theta)

    out_of_trips = (status == Status.MAX_STEPS) | (status == Status.NONFINITE)  # more were not granted
    theta = lax.fori_loop(0, POLISHES, lambda _, at: jnp.where(out_of_trips, at, polish(at)), theta)
    step, factor, f, g = newton(theta)
    moved, level = (jnp.abs(v.reshape(classes, q) @ Z) for v in (step, theta))
    further = jnp.max(jnp.where(counted[None, :], moved - 1e-3 * level, 0.0))

    separated, way = jnp.zeros((), bool), jnp.zeros_like(theta)
    if model.separable:
        free = jnp.tile(penalty == 0, classes)  # a ridge holds the others back
        ends = [jnp.where(free, v, 0.0).reshape(classes, q) for v in (theta, step)]
        ends = [back(columns, intercept, jax.vmap(own.within)(v)).reshape(d) for v in ends]
        separated, way = separates(model, intercept, jnp.where(counted[:, None], X, 0.0), counted, y, *ends)

    first = jnp.zeros((classes, q), theta.dtype).at[0].set(own.null).reshape(d)
    singular, rank = factor.rank < d, own.rank * classes
    null = back(columns, intercept, jnp.where(own.rank < q, first, factor.null).reshape(classes, q)).reshape(d)
    return Closer(
        theta=theta,
        fun=f,
        inverse=jnp.where(singular, jnp.nan, factor.inverse()),
        rank=jnp.where(singular & ~separated, jnp.minimum(rank, factor.rank), rank).astype(jnp.int32),
        singular=singular,
        separated=separated,
        direction=jnp.where(separated, way, null),
        settled=settled(-jnp.sum(g * step), f),
        restless=further > 0.1,
    )


def settled(gain: Array, f: Array) -> Array:
    """Whether what a further step promises is within the rounding of f, and no standard error would show it."""
    return gain <= jnp.minimum(20 * jnp.finfo(f.dtype).eps * jnp.abs(f), 1e-4)


def separates(
    model: Model, intercept: bool, X: Array, counted: Array, y: Array, theta: Array, step: Array
) -> tuple[Array, Array]:
    """Whether theta (d,), or the step from it put right, is a direction that separates, and which.

    A step keeps the rows of the plane between in it but nearly: what moves them is projected out. Which these are is
    guessed in several ways; what comes of it is held against all rows.
    """
    d, eps = theta.shape[0], float(jnp.finfo(X.dtype).eps)
    frame = middles(X, intercept)
    design = X - frame.center[None, :]
    design = jnp.concatenate([jnp.ones((X.shape[0], 1), X.dtype), design], axis=1) if intercept else design
    rows, tied = model.sides(jnp.where(counted[:, None], design, 0.0), y)
    classes, tight = (-1, X.shape[1] + intercept), 100 * d * eps

    def margins(way: Array) -> tuple[Array, Array]:
        return rows @ way, jnp.abs(rows) @ jnp.abs(way)

    def put_right(way: Array, of_terms: Array, of_largest: Array) -> tuple[Array, Array]:
        moved, terms = margins(way)
        near = jnp.maximum(of_terms * terms, of_largest * jnp.max(jnp.abs(moved)))
        right = Factor.of(jnp.where((tied | (jnp.abs(moved) <= near))[:, None], rows, 0.0)).without(way)
        ahead, of = margins(right)
        kept = jnp.max(of / jnp.where(terms > 0, terms, 1.0)) > eps**0.5  # or it is rounding's
        held = jnp.all(jnp.where(tied, jnp.abs(ahead) <= tight * of, ahead >= -tight * of))
        return kept & held & jnp.any(~tied & (ahead > 10 * tight * of)), right

    guesses = [(theta, 0.0, 0.0)]
    guesses += [(step, eps ** (1 / root), eps ** (1 / root) * some) for root in ROOTS for some in (0.0, 1.0)]
    ways = jnp.stack([way for way, *_ in guesses])
    of_terms, of_largest = jnp.asarray([near for _, *near in guesses], X.dtype).T
    there = jax.vmap(lambda way: to(frame, intercept, way.reshape(classes)).reshape(d))(ways)
    found, ways = jax.vmap(put_right)(there, of_terms, of_largest)
    way = back(frame, intercept, ways[jnp.argmax(found)].reshape(classes)).reshape(d)
    return jnp.any(found), jnp.where(jnp.any(found), way, 0.0)


def middles(X: Array, intercept: bool) -> Columns:
    """X less the columns' medians, where most rows are: of their products with a direction few digits are lost."""
    center = jnp.sort(X, axis=0)[X.shape[0] // 2] if intercept else jnp.zeros(X.shape[1], X.dtype)
    return Columns(X.T[:, :0], center, jnp.ones_like(center))


def to(frame: Columns, intercept: bool, way: Array) -> Array:
    """``back`` undone, for scales of 1."""
    if not intercept:
        return way
    first = way[:, :1] + jnp.sum(frame.center[None, :] * way[:, 1:], axis=1, keepdims=True)
    return jnp.concatenate([first, way[:, 1:]], axis=1)
