"""Directions along which a likelihood rises for ever (Albert & Anderson 1984), found near a fit and held against rows.

Newton's steps of a fit without an estimate go along such a direction, but for what still moves the rows of the plane
between. Which rows these are is guessed; what moves them is projected out; all rows then confirm the direction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnewton.regression.data import Frame, back, moved_back
from jaxnewton.regression.factor import Factor
from jaxnewton.types import Array

ROOTS = (2, 3, 4)  # of eps: the shares below which a product is guessed to be meant as 0


class Sides(NamedTuple):
    """What a direction must do to each row for the likelihood to rise along it for ever."""

    rows: Array  # (r, d): their products with it are at least 0, and not all 0
    fixed: Array  # (r,) bool: this product is 0


class Guess(NamedTuple):
    """A row counts as lying in the plane where its product is below these shares."""

    way: Array  # (d,)
    of_terms: Any  # of the sum of its terms' sizes
    of_largest: Any  # of the largest product of a row


def separates(sides: Sides, frame: Frame, intercept: bool, theta: Array, step: Array) -> tuple[Array, Array]:
    """Whether theta (d,), or the step from it put right, is a direction that separates, and which.

    Args:
        sides: of rows less ``frame``'s centre; those that do not count are 0.
        theta, step: in the columns of X.
    """
    rows, fixed = sides
    d, eps = theta.shape[0], float(jnp.finfo(rows.dtype).eps)
    tight = 100 * d * eps  # what rounding makes of a 0

    def products(way: Array) -> tuple[Array, Array]:
        return rows @ way, jnp.abs(rows) @ jnp.abs(way)

    def put_right(guess: Guess) -> tuple[Array, Array]:
        moved, terms = products(guess.way)
        near = jnp.maximum(guess.of_terms * terms, guess.of_largest * jnp.max(jnp.abs(moved)))
        way = Factor.of(jnp.where((fixed | (jnp.abs(moved) <= near))[:, None], rows, 0.0)).without(guess.way)
        ahead, of = products(way)
        left = jnp.max(of / jnp.where(terms > 0, terms, 1.0)) > eps**0.5  # else it is rounding's
        held = jnp.all(jnp.where(fixed, jnp.abs(ahead) <= tight * of, ahead >= -tight * of))
        return left & held & jnp.any(~fixed & (ahead > 10 * tight * of)), way

    guesses = [Guess(theta, 0.0, 0.0)]
    guesses += [Guess(step, eps ** (1 / root), some * eps ** (1 / root)) for root in ROOTS for some in (0.0, 1.0)]
    there = [guess._replace(way=moved_back(frame, intercept, guess.way)) for guess in guesses]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf, rows.dtype) for leaf in leaves]), *there)

    def attempt(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        k, _, _ = carry
        return k + 1, *put_right(jax.tree.map(lambda leaf: leaf[k], stacked))

    none = jnp.int32(0), jnp.zeros((), bool), jnp.zeros_like(theta)
    _, found, way = lax.while_loop(lambda carry: ~carry[1] & (carry[0] < len(guesses)), attempt, none)
    return found, jnp.where(found, back(frame, intercept, way), 0.0)


def middles(X: Array, intercept: bool) -> Frame:
    """X less the columns' medians, where most rows are: of their products with a direction few digits are lost."""
    center = jnp.sort(X, axis=0)[X.shape[0] // 2] if intercept else jnp.zeros(X.shape[1], X.dtype)
    return Frame(center, jnp.ones_like(center))
