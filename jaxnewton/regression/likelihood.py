"""The likelihood of a generalised linear model as a problem, and where to start."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxnewton.problem import Problem
from jaxnewton.regression.families import Family
from jaxnewton.regression.links import Link
from jaxnewton.types import Array, Evaluation, Needs

MAX_STEPS = 100  # most trips by default; a separated fit spends them all


@dataclasses.dataclass(frozen=True)
class Likelihood(Problem):
    """The rows' losses (for a dispersion of 1) and half the ridge's penalty, in the coefficients of standardised
    columns; ``H`` is Fisher's information. args: Z (q, m), y, weights, offset, penalty (q,)."""

    rows_axis: ClassVar[int] = 0
    keeps: ClassVar[bool] = True
    patience: ClassVar[int] = 1
    lanes: ClassVar[int | None] = 64

    family: Family
    link: Link

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        Z, y, weights, offset, penalty = args
        term = self.family.term(self.link, y, x @ Z + offset)
        counted = weights > 0
        loss, score, information = (jnp.where(counted, weights * part, 0.0) for part in term)
        f = jnp.sum(loss) + 0.5 * jnp.sum(penalty * x * x)
        g = penalty * x - Z @ score
        return Evaluation(
            f, g, None if needs is Needs.GRADIENT else (information[None, :] * Z) @ Z.T + jnp.diag(penalty)
        )

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        """Fits first, so that X'WX is a product of matrices: 1.4 to 2 times faster than fits last, for 100 x 5."""
        each = jax.vmap(lambda x, *args: self.evaluate(x, args, needs), in_axes=(0, *axes))(x.T, *args)
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), each)

    @property
    def separable(self) -> bool:
        return self.family.name == "binomial"

    def margins(self, way: Array, args: tuple[Any, ...]) -> Array:
        Z, y, *_ = args
        moved = way @ Z
        return jnp.where(y >= 1, moved, jnp.where(y <= 0, -moved, -jnp.abs(moved)))


def start_from_mean(problem: Likelihood, q: int, sums: tuple[Any, Any, Any]) -> Array:
    """The intercept of the model that has no other coefficient, by the sums of w y, w and w offset."""
    weighted, weight, shift = sums
    level = problem.link.forward(drawn_mean(problem, weighted, weight)) - shift / weight
    return jnp.zeros(q, level.dtype).at[0].set(level)


def drawn_mean(problem: Likelihood, weighted: Array, weight: Array) -> Array:
    """The mean of y, drawn away from where the link has none."""
    if problem.family.name == "binomial":
        return (weighted + 0.5) / (weight + 1)
    mean = weighted / weight
    return mean if problem.family.name == "gaussian" else jnp.where(mean > 0, mean, 0.5 / weight)
