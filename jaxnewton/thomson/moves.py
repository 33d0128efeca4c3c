"""Basin hopping's moves: how a minimum is disturbed so that a descent from there may end in a lower one.

Chance is NumPy's: JAX's generator takes seconds to compile, for every number of charges anew.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton.thomson.charges import flat, potentials
from jaxnewton.types import Array

MOST_MOVED = 3  # charges that are put elsewhere at once
HOLES = 8  # random places tried a charge, of which the one of lowest potential is its new one
FRESH = 0.125  # share of random starts among the moved, so that no population is a dead end
REFILLED, TWISTED = 0.5, 0.3  # shares of the moves; the rest are shaken
AT_ONCE = 8  # starts, for the sake of memory


class Chance(NamedTuple):
    """What is random in one move."""

    kind: Array  # () in [0, 1)
    many: Array  # () charges to put elsewhere
    noise: Array  # (MOST_MOVED, n) normal
    places: Array  # (MOST_MOVED, 3, HOLES n) normal
    axis: Array  # (3,) normal
    height: Array  # () cosine at which the cap begins
    angle: Array  # ()
    shake: Array  # (3, n)


def moved(rng: np.random.Generator, population: np.ndarray, count: int) -> Array:
    """``count`` starts (count, 3 n), each a move away from one of the population (k, 3 n).

    Members that come first are chosen more often: the k-th with a probability like 1/sqrt(k).
    """
    n = population.shape[1] // 3
    parents = population[(rng.random(count) ** 2 * len(population)).astype(int)]
    fresh = rng.random(count) < FRESH
    parents[fresh] = rng.normal(size=(fresh.sum(), 3 * n))
    spacing = math.sqrt(4 * math.pi / n)
    kind = np.where(fresh, 2.0, rng.random(count))  # the fresh are shaken, and stay random
    drawn = {
        "kind": kind,
        "many": rng.integers(1, MOST_MOVED + 1, count),
        "angle": rng.uniform(0, 2 * math.pi, count),
        "height": rng.uniform(-0.3, 0.9, count),
        "shake": rng.uniform(0.1, 0.6, (count, 1, 1)) * spacing * rng.normal(size=(count, 3, n)),
        "noise": rng.normal(size=(count, MOST_MOVED, n)),
        "axis": rng.normal(size=(count, 3)),
    }
    seeds = rng.integers(2**63, size=count)
    blocks = []
    for i in range(0, count, AT_ONCE):
        part = np.minimum(np.arange(i, i + AT_ONCE), count - 1)
        places: Any = np.stack([np.random.default_rng(s).normal(size=(MOST_MOVED, 3, HOLES * n)) for s in seeds[part]])
        own: dict[str, Any] = {name: leaf[part] for name, leaf in drawn.items()}
        blocks.append(_moved(parents[part], Chance(places=places, **own)))
    return jnp.concatenate(blocks)[:count]


@jax.jit
def _moved(parents: Array, chance: Chance) -> Array:
    return jax.vmap(_move)(parents, chance)


def _move(parent: Array, chance: Chance) -> Array:
    p = parent.reshape(3, -1)
    apart = jnp.where(chance.kind < REFILLED + TWISTED, _twisted(chance, p), p + chance.shake)
    return flat(jnp.where(chance.kind < REFILLED, _refilled(chance, p), apart))


def _refilled(chance: Chance, p: Array) -> Array:
    """One to three charges, of the highest potential but for chance, put into holes (Wales & Ulker 2006)."""
    n = p.shape[1]

    def refill(k: Array, p: Array) -> Array:
        V = potentials(p)
        spread = jnp.std(V) + 1e-3 * jnp.mean(V)
        leaving = jnp.arange(n) == jnp.argmax(V + spread * chance.noise[k])
        holes = chance.places[k] / jnp.sqrt(jnp.sum(chance.places[k] ** 2, axis=0))[None]
        distance = jnp.sqrt(sum((hole[:, None] - c[None, :]) ** 2 for hole, c in zip(holes, p, strict=True)))
        felt = jnp.sum(jnp.where(leaving[None], 0.0, 1.0 / distance), axis=1)
        there = holes[:, jnp.argmin(felt)]
        return jnp.where(leaving[None] & (k < chance.many), there[:, None], p)

    return lax.fori_loop(0, MOST_MOVED, refill, p)


def _twisted(chance: Chance, p: Array) -> Array:
    """A cap turned about its axis (Rodrigues' formula)."""
    axis = chance.axis / jnp.sqrt(jnp.sum(chance.axis**2))
    z = jnp.sum(axis[:, None] * p, axis=0)
    (a, b, c), (x, y, w) = axis, p
    across = jnp.stack([b * w - c * y, c * x - a * w, a * y - b * x])
    sine, cosine = jnp.sin(chance.angle), jnp.cos(chance.angle)
    turned = p * cosine + across * sine + axis[:, None] * z[None] * (1 - cosine)
    return jnp.where(z[None] > chance.height, turned, p)
