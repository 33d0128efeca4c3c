"""Where arrays lie: on the host without a copy, and from there on CPU devices without one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def at_hand(array: Any) -> Any:
    """What the host can look at: a GPU's array stays there, any other is NumPy's, which compiles nothing."""
    return array if isinstance(array, jax.Array) and jax.default_backend() != "cpu" else np.asarray(array)


def put(array: Any, place: Any) -> Any:
    """``jax.device_put``, but a CPU's array is cut over CPU devices as views; JAX would copy it twice.

    For what the caller does not hand on: the views are of the user's own memory.
    """
    numbers = isinstance(array, jax.Array) and not jnp.issubdtype(array.dtype, jax.dtypes.extended)
    return jax.device_put(at_hand(array) if numbers else array, place)
