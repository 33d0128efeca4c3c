"""The likelihood of classes as a problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton import linalg
from jaxnewton.problem import Problem
from jaxnewton.regression.data import formed
from jaxnewton.regression.model import Tally
from jaxnewton.regression.separation import Sides
from jaxnewton.regression.stack import LANES, in_cache
from jaxnewton.types import Array, Evaluation, Needs

WORKED = 2**13  # most entries of X that a pool's lanes have, each with the products of the classes' shares


@dataclasses.dataclass(frozen=True)
class Multinomial(Problem):
    """-loglik and the ridge's penalty in the coefficients (K - 1, q), flattened, of standardised columns.

    The penalty is that of all K vectors about their mean, so that it does not matter which is the reference.
    args: Z (q, m), y (m,) class numbers as floats, weights, offset, penalty (q,).
    """

    keeps: ClassVar[bool] = True
    patience: ClassVar[int] = 1

    classes: int
    reference: int

    def lanes(self, own: int) -> int:
        return in_cache(own, WORKED, *LANES)

    def hold(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return formed(args[0]), *args[1:]

    def evaluate(self, x: Array, args: tuple[Any, ...], needs: Needs) -> Evaluation:
        Z, y, weights, _, penalty = args
        q = Z.shape[0]
        theta = x.reshape(self.vectors, q)
        share, log = self.probabilities((theta @ Z).T)
        observed = jax.nn.one_hot(y.astype(jnp.int32), self.classes, dtype=x.dtype)
        drawn = theta - jnp.sum(theta, axis=0, keepdims=True) / self.classes
        f = -jnp.sum(weights * jnp.sum(observed * log, axis=1)) + 0.5 * jnp.sum(penalty[None, :] * drawn * theta)
        missing = self._others(observed - share)
        g = penalty[None, :] * drawn - (weights[:, None] * missing).T @ Z.T
        if needs is Needs.GRADIENT:
            return Evaluation(f, g.reshape(-1), None)
        p = self._others(share)
        tie = jnp.eye(self.vectors, dtype=x.dtype)
        spread = weights[:, None, None] * (p[:, :, None] * tie[None] - p[:, :, None] * p[:, None, :])
        blocks = jnp.einsum("mkl,im,jm->kilj", spread, Z, Z)
        ridge = (tie - 1 / self.classes)[:, None, :, None] * jnp.diag(penalty)[None, :, None, :]
        d = self.vectors * q
        return Evaluation(f, g.reshape(-1), (blocks + ridge).reshape(d, d))

    def evaluate_block(self, x: Array, Z: Array, y: Array, weights: Array, offset: Array) -> Evaluation:
        Z = lax.optimization_barrier(Z)  # formed once, not in each product
        q = Z.shape[1]
        share, log = self.probabilities(Z @ x.reshape(self.vectors, q).T)
        observed = jax.nn.one_hot(y.astype(jnp.int32), self.classes, dtype=x.dtype)
        loss = -jnp.sum(weights * jnp.sum(observed * log, axis=1))
        g = -self._others(weights[:, None] * (observed - share)).T @ Z
        p, beside = (self._others(a).T for a in (share, share @ (1 - jnp.eye(self.classes, dtype=x.dtype))))

        def of_pair(pair: tuple[Array, Array]) -> Array:
            k, other = pair
            information = weights * p[k] * jnp.where(k == other, beside[k], -p[other])  # beside: 1 - p, precisely
            return (information[:, None] * Z).T @ Z

        each = lax.map(of_pair, tuple(map(jnp.asarray, np.triu_indices(self.vectors))))
        H = each[linalg.symmetric_places(self.vectors)].transpose(0, 2, 1, 3)
        return Evaluation(loss, g.reshape(-1), H.reshape(x.shape * 2))

    def tally(self, x: Array, Z: Array, y: Array, weights: Array, offset: Array, dispersion: Array) -> Tally:
        _, log = self.probabilities(Z @ x.reshape(self.vectors, -1).T)
        own = jnp.take_along_axis(log, y.astype(jnp.int32)[:, None], axis=1)[:, 0]
        return Tally(-jnp.sum(weights * own), jnp.zeros_like(dispersion), jnp.zeros_like(dispersion))

    def loglik(self, sums: Tally, dispersion: Array, rows: Array) -> Array:
        return -sums.half

    def margins(self, ways: Array, X: Array, y: Array) -> tuple[Array, Array]:
        each = ways.reshape(self.vectors, -1, ways.shape[1])
        whole = jnp.insert(each, self.reference, 0.0, axis=0)  # (classes, q, ways)
        plain, terms = (jnp.einsum("mq,kqw->mkw", a, b) for a, b in ((X, whole), (jnp.abs(X), jnp.abs(whole))))
        own = y.astype(jnp.int32)[:, None, None]
        ahead = jnp.take_along_axis(plain, own, axis=1) - plain
        of = jnp.take_along_axis(terms, own, axis=1) + terms
        margins = ahead / jnp.where(of > 0, of, 1.0)  # over itself a class is 0 ahead
        return jnp.min(margins, axis=1), jnp.max(margins, axis=1)

    def start(
        self, q: int, intercept: bool, level: tuple[Any, Any, Any], fit_to: Callable[[Callable[..., Array]], Array]
    ) -> Array:
        return jnp.zeros(self.vectors * q, jnp.result_type(*level))

    @property
    def dispersed(self) -> bool:
        return False

    @property
    def squares(self) -> bool:
        return False

    @property
    def vectors(self) -> int:
        return self.classes - 1

    def wrong(self, y: Any) -> tuple[Any, str]:
        y = np.asarray(y)
        wanted = f"class numbers: whole, from 0 to classes - 1 = {self.classes - 1}"
        return no_class(y) | (y >= self.classes), wanted

    def parts(self, theta: Array, intercept: bool) -> tuple[Array, Array | None]:
        each = jnp.swapaxes(theta.reshape(*theta.shape[:-1], self.vectors, -1), -1, -2)
        return (each[..., 1:, :], each[..., 0, :]) if intercept else (each, None)

    @property
    def separable(self) -> bool:
        return True

    def sides(self, X: Array, y: Array) -> Sides:
        """A row's own class ahead of each other."""
        own = jax.nn.one_hot(y.astype(jnp.int32), self.classes, dtype=X.dtype)
        ahead = own[:, None, :] - jnp.eye(self.classes, dtype=X.dtype)[None]
        rows = self._by_coefficients(ahead, X)
        return Sides(rows, jnp.zeros(rows.shape[0], bool))

    def root(self, theta: Array, args: tuple[Any, ...]) -> Array:
        """Rows (k, row): sqrt(p_k) (e_k - p), whose squares add up to diag(p) - p p'."""
        Z, _, weights, _, penalty = args
        share, _ = self.probabilities((theta.reshape(self.vectors, -1) @ Z).T)
        weighted = jnp.sqrt(jnp.where(weights > 0, weights, 0.0)[:, None] * share)
        eye = jnp.eye(self.classes, dtype=Z.dtype)
        rows = self._by_coefficients(weighted[:, :, None] * (eye[None] - share[:, None, :]), Z.T)
        drawn = jnp.broadcast_to(eye - 1 / self.classes, (penalty.shape[0], *eye.shape))
        return jnp.concatenate([rows, self._by_coefficients(drawn, jnp.diag(jnp.sqrt(penalty)))])

    def penalties(self, penalty: Array) -> Array:
        """(..., d, d) what the ridge adds to the information."""
        tie = jnp.eye(self.vectors, dtype=penalty.dtype) - 1 / self.classes
        each = jnp.einsum("ij,...k,kl->...ikjl", tie, penalty, jnp.eye(penalty.shape[-1], dtype=penalty.dtype))
        d = self.vectors * penalty.shape[-1]
        return each.reshape(*penalty.shape[:-1], d, d)

    def _by_coefficients(self, of_classes: Array, X: Array) -> Array:
        """What (m, k, K) says of the classes' linear predictors, of their coefficients: (m k, d)."""
        return (self._others(of_classes)[..., None] * X[:, None, None, :]).reshape(-1, self.vectors * X.shape[1])

    def _others(self, of_classes: Array) -> Array:
        """(..., K - 1) of (..., K): without the reference."""
        return jnp.delete(of_classes, self.reference, axis=-1)

    def probabilities(self, eta: Array) -> tuple[Array, Array]:
        """(..., m, K) and their logarithms, for the linear predictors (..., m, K - 1)."""
        own = jnp.zeros_like(eta[..., :1])
        eta = jnp.concatenate([eta[..., : self.reference], own, eta[..., self.reference :]], axis=-1)
        log = jax.nn.log_softmax(eta, axis=-1)
        return jnp.exp(log), log


def no_class(y: np.ndarray) -> np.ndarray:
    """Which entries are no class numbers, however many classes there are."""
    return (y != np.floor(y)) | (y < 0)
