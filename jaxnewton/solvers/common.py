"""What every solver that accepts by the gain ratio shares."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnewton.types import RUNNING, Array, Evaluation, Status


def finite(evaluation: Evaluation) -> Array:
    """True where everything that was evaluated is finite."""
    leaves = jax.tree.leaves(evaluation)
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def gain_ratio(f: Array, f_new: Array, predicted: Array) -> Array:
    """(f - f_new + d) / (predicted + d), with d what rounding of f can hide.

    Conn, Gould & Toint (2000), section 17.4.2; without d, float32 stalls about four orders of |g| early.
    """
    d = 10 * jnp.finfo(f.dtype).eps * jnp.maximum(jnp.abs(f), jnp.abs(f_new))
    total = predicted + d
    return jnp.where(total > 0, (f - f_new + d) / jnp.where(total > 0, total, 1.0), jnp.where(f_new <= f, 1.0, -1.0))


def keep(accept: Array, new: Any, old: Any) -> Any:
    """``new`` where accepted, else ``old``, for every leaf."""
    return jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, old)


def resolution(norm: Array, n: int) -> Array:
    """How near to zero an eigenvalue of a computed n x n Hessian of this norm counts as zero."""
    info = jnp.finfo(norm.dtype)
    return 10 * n * info.eps * norm + info.tiny


def verdict(lowest: Array, zero: Array) -> Array:
    """What a stationary point is, by the Hessian's smallest eigenvalue (or pivot) and the resolution of zero."""
    singular_or_saddle = jnp.where(lowest < -zero, jnp.int32(Status.SADDLE), jnp.int32(Status.SINGULAR))
    return jnp.where(lowest > zero, jnp.int32(Status.CONVERGED), singular_or_saddle)


def running() -> Array:
    """The status of a lane that goes on."""
    return jnp.full((), RUNNING, jnp.int32)
