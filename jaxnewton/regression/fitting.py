"""Fits as a whole: a stack cut over the local devices, and another look at those that are in doubt."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnewton.placement import put
from jaxnewton.pool import SPLIT, WHOLE
from jaxnewton.regression.data import Data
from jaxnewton.regression.stack import Stack
from jaxnewton.starts import padded_rows
from jaxnewton.types import is_traced


def fitted(fit: Callable[..., Any], how: tuple[Any, ...], stack: Stack, data: Data) -> Any:
    """What ``fit(*how, look, stack, data)`` finds: a pytree with a leading axis of the fits, where it is a stack.

    ``fit`` returns that and which fits are in doubt, which with ``look`` it has looked at more closely. To compile
    that takes longer than all else, and most data never need it: only those in doubt are fitted again, with it.

    Args:
        fit: knows of no devices but its own.
        how: what ``fit`` is compiled for, hashable where it is not traced.
    """
    if is_traced((how, data)):
        return fit(*how, True, stack, data)[0]
    found, doubtful = _spread(fit, (*how, False), stack, data)
    picks = np.flatnonzero(doubtful)
    if not picks.size:
        return found
    if not stack.lead:
        return fit(*how, True, stack, data)[0]
    count = min(1 << (picks.size - 1).bit_length(), stack.fits)  # few sizes to compile for
    picks = np.resize(picks, count)
    parts = zip(data, stack.axes, strict=True)
    some = Data(*(part if axis is None else part[picks] for part, axis in parts))
    again, _ = _spread(fit, (*how, True), stack._replace(lead=(count,)), some)
    return _replaced(found, again, picks)


@jax.jit
def _replaced(found: Any, again: Any, picks: Any) -> Any:
    return jax.tree.map(lambda old, new: old.at[picks].set(new), found, again)


def _spread(fit: Callable[..., Any], how: tuple[Any, ...], stack: Stack, data: Data) -> Any:
    """``fit(*how, stack, data)``; of a stack compiled in one piece, so that between its parts nothing moves between
    devices, nor to the host.
    """
    if not stack.lead:
        return fit(*how, stack, data)
    devices = jax.local_devices()[: stack.fits]
    if len(devices) == 1:
        return _compiled(fit, how, stack, None, data)
    mesh = Mesh(devices, ("device",))
    size = -(-stack.fits // len(devices))
    specs = _specs(stack)

    def place(part: Any, spec: PartitionSpec) -> Any:
        part = padded_rows(part, size * len(devices)) if spec == SPLIT else part
        return put(part, NamedSharding(mesh, spec))

    found = _compiled(fit, how, stack._replace(lead=(size,)), mesh, Data(*map(place, data, specs)))
    return found if size * len(devices) == stack.fits else jax.tree.map(lambda leaf: leaf[: stack.fits], found)


def _specs(stack: Stack) -> Any:
    return Data(*cast(Any, [WHOLE if axis is None else SPLIT for axis in stack.axes]))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _compiled(fit: Callable[..., Any], how: tuple[Any, ...], stack: Stack, mesh: Mesh | None, data: Data) -> Any:
    def here(data: Data) -> Any:
        return fit(*how, stack, data)

    if mesh is None:
        return here(data)
    return jax.shard_map(here, mesh=mesh, in_specs=(_specs(stack),), out_specs=SPLIT, check_vma=False)(data)
