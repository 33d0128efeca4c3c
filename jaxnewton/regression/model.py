"""What a likelihood tells of itself beside its value and derivatives: for inference, and for rows in blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jaxnewton.problem import Problem
from jaxnewton.regression.separation import Sides
from jaxnewton.types import Array, Evaluation


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

    def parts(self, theta: Array, intercept: bool) -> tuple[Array, Array | None]:
        """The coefficients (..., d) as a Fit's ``params`` and ``intercept``."""
        ...

    def root(self, theta: Array, args: tuple[Any, ...]) -> Array:
        """(r, d): a matrix whose product with itself is the information, penalties included."""
        ...


class Tally(NamedTuple):
    """Sums over rows, for a dispersion of 1: () each."""

    half: Array  # of the deviance
    pearson: Array  # Pearson's statistic
    constant: Array  # what the log-likelihood has beside half the deviance


class Summed(Model, Protocol):
    """A model whose data come in blocks: rows Z (k, q), y, weights and offset (k,), the layout large blocks are fastest
    in. Rows of weight 0 fill them up."""

    @property
    def vectors(self) -> int:
        """How many vectors of q coefficients there are."""
        ...

    @property
    def dispersed(self) -> bool:
        """Whether the data tell the dispersion."""
        ...

    @property
    def squares(self) -> bool:
        """Whether this is a sum of squares, of whose minima the one of least norm is wanted."""
        ...

    def wrong(self, y: Any) -> tuple[Any, str]:
        """Which entries of y it cannot have, and what it must have."""
        ...

    def start(
        self, q: int, intercept: bool, level: tuple[Any, Any, Any], fit_to: Callable[[Callable[..., Array]], Array]
    ) -> Array:
        """(d,)

        Args:
            level: the sums of w y, w and w offset.
            fit_to: by least squares, to the linear predictors that a function makes of y.
        """
        ...

    def evaluate_block(self, x: Array, Z: Array, y: Array, weights: Array, offset: Array) -> Evaluation:
        """f, g and H without the penalty."""
        ...

    def tally(self, x: Array, Z: Array, y: Array, weights: Array, offset: Array, dispersion: Array) -> Tally: ...

    def margins(self, ways: Array, X: Array, y: Array) -> tuple[Array, Array]:
        """(k, ways) each row's smallest and largest product of its ``sides`` with the ways (d, ways), in parts of the
        products' terms."""
        ...

    def loglik(self, sums: Tally, dispersion: Array, rows: Array) -> Array:
        """By the sums over all rows."""
        ...
