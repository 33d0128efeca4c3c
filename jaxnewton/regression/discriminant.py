"""Where a logistic fit starts: near Fisher's linear discriminant, one or two of Newton's steps ahead of the mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxnewton import linalg
from jaxnewton.regression.likelihood import Likelihood
from jaxnewton.solvers.common import resolution
from jaxnewton.types import Array

STRETCH = 2.0  # at most of Newton's step
FAR = 8.0  # logits a row is moved at most: beyond, its weight would say little


def serves(problem: Likelihood) -> bool:
    """Whether the means of the two classes say where the coefficients are."""
    return problem.family.name == "binomial" and problem.link.name == "logit"


def ahead(null: Array, intercept: bool, Z: Array, y: Array, weights: Array, offset: Array, penalty: Array) -> Array:
    """From the model of the mean alone, ``null`` (q,), along Newton's step; ``null`` where there is none. Z (q, m).

    For two normal classes of one covariance the coefficients are those of the regression of y, which are the step's
    over 1 - R^2 (Haggstrom 1983). Of ``null`` only the intercept, which has no penalty, may differ from 0.
    """
    mu = jax.nn.sigmoid(null[0] + offset if intercept else offset)
    weighted = (weights * mu * (1 - mu))[None, :] * Z
    information = weighted @ Z.T + jnp.diag(penalty)
    score = Z @ (weights * (y - mu))
    step, _, smallest = linalg.solve_definite(information, score)
    total = jnp.sum(jnp.broadcast_to(weights, y.shape))
    explained = score @ step / jnp.where(total > 0, total, 1.0)
    stretch = 1 / jnp.maximum(1 - explained, 1 / STRETCH)
    farthest = jnp.max(jnp.where(weights > 0, jnp.abs(step @ Z), 0.0))
    length = jnp.minimum(stretch, FAR / jnp.where(farthest > 0, farthest, FAR))
    usable = (smallest > resolution(linalg.max_norm(information), null.shape[0])) & jnp.isfinite(farthest)
    return null + jnp.where(usable, length * step, 0.0)
