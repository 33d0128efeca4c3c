"""The likelihood of a generalised linear model as a problem, and where to start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton import linalg
from jaxnewton.problem import Problem
from jaxnewton.regression.data import formed
from jaxnewton.regression.families import Family, Term
from jaxnewton.regression.links import Link
from jaxnewton.regression.model import Tally
from jaxnewton.regression.separation import Sides
from jaxnewton.regression.stack import LANES, in_cache
from jaxnewton.types import Array, Evaluation, Needs

WORKED = 2**17  # most entries of X, or of a shared X's y, that a pool's lanes have: 64 of 2000 are best, 4 of 63,000
PAIRED = 2**15  # most products of columns, over all rows, that a lane holds
MAX_STEPS = 100  # most trips by default; a separated fit spends them all
RISING = {  # families, and their links, whose likelihood can rise for ever: towards means of 0, or of 0 and 1
    "binomial": ("logit", "probit", "cloglog", "log"),
    "poisson": ("log",),
    "negative-binomial": ("log",),
}


class Design(NamedTuple):
    """Z with the products of its columns, so that X'WX is a product with a vector: 2 to 6 times faster on a CPU."""

    Z: Array  # (..., q, m)
    pairs: Array  # (..., q (q + 1) / 2, m)


@dataclasses.dataclass(frozen=True)
class Likelihood(Problem):
    """The rows' losses (for a dispersion of 1) and half the ridge's penalty, in the coefficients of standardised
    columns; ``H`` is Fisher's information. args: Z (q, m), y, weights, offset, penalty (q,). A stack's are given with
    Columns for Z, of which ``hold`` makes Z, or a Design; to evaluate without it, form Z first."""

    rows_axis: ClassVar[int] = 0
    keeps: ClassVar[bool] = True
    patience: ClassVar[int] = 1

    family: Family
    link: Link

    def lanes(self, own: int) -> int:
        return in_cache(own, WORKED, *LANES)

    def hold(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        Z, *others = formed(args[0]), *args[1:]
        if Z is None or jax.default_backend() != "cpu":
            return Z, *others
        above, right = np.triu_indices(Z.shape[0])
        return Design(Z, Z[above] * Z[right]) if len(above) * Z.shape[1] <= PAIRED else Z, *others

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        """Of x (..., q), the data with leading axes that broadcast."""
        design, y, weights, offset, penalty = args
        Z, pairs = design if isinstance(design, Design) else (design, None)
        eta = jnp.einsum("...q,...qm->...m", x, Z) + offset
        loss, score, information = self._of_rows(y, weights, eta)
        whole = loss @ jnp.ones_like(loss, shape=loss.shape[-1:])  # in a sum XLA's CPU takes 10 times as long for loss
        f = whole + 0.5 * jnp.sum(penalty * x * x, axis=-1)
        g = penalty * x - jnp.einsum("...m,...qm->...q", score, Z)
        if needs is Needs.GRADIENT:
            return Evaluation(f, g, None)
        if pairs is None:
            H = jnp.einsum("...im,...jm->...ij", information[..., None, :] * Z, Z)
        else:
            H = jnp.einsum("...m,...km->...k", information, pairs)[..., linalg.symmetric_places(x.shape[-1])]
        eye = jnp.eye(x.shape[-1], dtype=x.dtype)
        return Evaluation(f, g, H + penalty[..., None, :] * eye.reshape(*(1 for _ in x.shape[1:]), *eye.shape))

    def evaluate_block(self, x: Array, Z: Array, y: Array, weights: Array, offset: Array) -> Evaluation:
        Z = lax.optimization_barrier(Z)  # formed once, not in each product
        loss, score, information = self._of_rows(y, weights, Z @ x + offset)
        return Evaluation(jnp.sum(loss), -(score @ Z), (information[:, None] * Z).T @ Z)

    def tally(self, x: Array, Z: Array, y: Array, weights: Array, offset: Array, dispersion: Array) -> Tally:
        family, counted = self.family, weights > 0
        eta = Z @ x + offset
        mu, excess = family.mean(self.link, eta), family.excess(self.link, y, eta)
        if family.name == "gaussian":
            constant = 0.5 * jnp.sum(jnp.log(jnp.where(counted, weights, 1.0)))
        else:
            constant = family.loglik(y, weights, jnp.zeros_like(dispersion), dispersion, dispersion)
        pearson = jnp.sum(jnp.where(counted, weights * (y - mu) ** 2 / family.variance(mu), 0.0))
        return Tally(jnp.sum(jnp.where(counted, weights * excess, 0.0)), pearson, constant)

    def loglik(self, sums: Tally, dispersion: Array, rows: Array) -> Array:
        if self.family.name == "gaussian":
            none = jnp.zeros(0, rows.dtype)
            return self.family.loglik(none, none, sums.half, dispersion, rows) + sums.constant
        return sums.constant - sums.half / dispersion

    def margins(self, ways: Array, X: Array, y: Array) -> tuple[Array, Array]:
        sides, fixed = self.sides(X, y)
        plain, terms = sides @ ways, jnp.abs(sides) @ jnp.abs(ways)
        margins = jnp.where(fixed[:, None], -jnp.abs(plain), plain) / jnp.where(terms > 0, terms, 1.0)
        return margins, margins

    def start(
        self, q: int, intercept: bool, level: tuple[Any, Any, Any], fit_to: Callable[[Callable[..., Array]], Array]
    ) -> Array:
        """The model of the mean alone; without an intercept 0, or a fit to links of means drawn to the overall one."""
        if not (intercept or self.at_zero):
            return fit_to(lambda y: self.link.forward(0.5 * (y + _drawn_mean(self, *level[:2]))))
        if not intercept:
            return jnp.zeros(q, jnp.result_type(*level))
        weighted, weight, shift = level
        first = self.link.forward(_drawn_mean(self, weighted, weight)) - shift / weight
        return jnp.zeros(q, first.dtype).at[0].set(first)

    @property
    def at_zero(self) -> bool:
        """Whether a fit without an intercept can start from 0."""
        return self.link.everywhere or self.squares

    @property
    def vectors(self) -> int:
        return 1

    @property
    def squares(self) -> bool:
        return self.family.name == "gaussian" and self.link.name == "identity"

    @property
    def dispersed(self) -> bool:
        return self.family.dispersed

    def wrong(self, y: Any) -> tuple[Any, str]:
        return self.family.wrong(y)

    def parts(self, theta: Array, intercept: bool) -> tuple[Array, Array | None]:
        return (theta[..., 1:], theta[..., 0]) if intercept else (theta, None)

    def _of_rows(self, y: Array, weights: Array, eta: Array) -> Term:
        """Weighted."""
        term = self.family.term(self.link, y, eta)
        if weights.shape[-1] == 1:  # all rows count, and as much
            return Term(*(weights * part for part in term))
        return Term(*(jnp.where(weights > 0, weights * part, 0.0) for part in term))  # others may have no mean

    def evaluate_lanes(self, x: Array, args: tuple[Any, ...], axes: tuple[int | None, ...], needs: Needs) -> Evaluation:
        """Fits first, so that sums over rows are products of matrices: 2 to 3 times faster than fits last."""
        own = args[0] if axes[0] == 0 else jax.tree.map(lambda leaf: leaf[None], args[0])
        alike = (own, *(arg if axis == 0 else arg[None] for arg, axis in zip(args[1:], axes[1:], strict=True)))
        each = self.evaluate(x.T, tuple(alike), needs)
        # what follows is not to be fused with the products: that doubles the time of a trip
        return lax.optimization_barrier(jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), each))

    @property
    def separable(self) -> bool:
        return self.link.name in RISING.get(self.family.name, ())

    def sides(self, X: Array, y: Array) -> Sides:
        """Of 1s up, of 0s down; a share or a count is to stay, and what the log link makes of a 1 too."""
        up = (y >= 1) & (self.link.name != "log")
        return Sides(jnp.where(up, 1.0, -1.0).astype(X.dtype)[:, None] * X, (y > 0) & ~up)

    def root(self, theta: Array, args: tuple[Any, ...]) -> Array:
        Z, y, weights, offset, penalty = args
        information = self._of_rows(y, weights, theta @ Z + offset).information
        rows = jnp.sqrt(information)[:, None] * Z.T
        return jnp.concatenate([rows, jnp.diag(jnp.sqrt(penalty))])

    def penalties(self, penalty: Array) -> Array:
        """(..., q, q) what the ridge adds to the information."""
        return penalty[..., None] * jnp.eye(penalty.shape[-1], dtype=penalty.dtype).reshape(
            *(1 for _ in penalty.shape[1:]), *penalty.shape[-1:] * 2
        )


def _drawn_mean(problem: Likelihood, weighted: Array, weight: Array) -> Array:
    """The mean of y, drawn away from where the link has none."""
    if problem.family.name == "binomial":
        return (weighted + 0.5) / (weight + 1)
    mean = weighted / weight
    return mean if problem.family.name == "gaussian" else jnp.where(mean > 0, mean, 0.5 / weight)
