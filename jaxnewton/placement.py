"""Where arrays lie: on the host without a copy, and from there on CPU devices without one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton.types import is_traced


def at_hand(array: Any) -> Any:
    """What the host can look at: a GPU's array stays there, any other is NumPy's, which compiles nothing."""
    return array if isinstance(array, jax.Array) and jax.default_backend() != "cpu" else np.asarray(array)


def view(array: Any) -> Any:
    """A CPU's array as NumPy's, all else as it is: JAX copies its own when they are cut, or go to several devices.

    To read only: the memory is the array's, which is not donated while the view lives.
    """
    if not isinstance(array, jax.Array) or is_traced(array) or jnp.issubdtype(array.dtype, jax.dtypes.extended):
        return array
    return at_hand(array) if array.ndim and not array.weak_type else array


def put(tree: Any, place: Any) -> Any:
    """``jax.device_put`` of views."""
    return jax.device_put(jax.tree.map(view, tree), place)
