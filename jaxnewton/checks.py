"""Refusals at the door: what came, what was expected, and the argument's name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton.types import DEFAULT_MAX_STEPS, Rules, Solver, default_tol, is_traced


def function(name: str, fun: Any) -> Any:
    """Something to call."""
    if not callable(fun):
        raise TypeError(f"{name} must be a function; it is {_what(fun)}")
    return fun


class ByIdentity:
    """An unhashable callable as a hashable one: equal to itself only."""

    def __init__(self, fun: Any):
        self.fun = fun

    def __call__(self, *args: Any) -> Any:
        return self.fun(*args)

    def __hash__(self) -> int:
        return id(self.fun)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and other.fun is self.fun


def hashable(fun: Any) -> Any:
    """``fun``, or a stand-in where it cannot be a key of jit's cache."""
    try:
        hash(fun)
    except TypeError:
        return ByIdentity(fun)
    return fun


def solver(given: Any) -> Solver:
    """A solver's instance."""
    if inspect.isclass(given):
        raise TypeError(f"solver must be an instance, not a class: write {given.__name__}() for {given.__name__}")
    if not all(hasattr(given, name) for name in ("needs", "init", "ask", "tell")):
        raise TypeError(f"solver must be a jaxnewton solver such as TrustRegion(); it is {_what(given)}")
    return given


def arguments(args: Any) -> tuple[Any, ...]:
    """A tuple of pytrees of JAX arrays."""
    if not isinstance(args, tuple):
        raise TypeError(f"args must be a tuple of fun's further arguments; it is {_what(args)}. Write (a,) for one")

    def array(leaf: Any) -> Any:
        try:
            return jnp.asarray(leaf)
        except TypeError:
            raise TypeError(f"args must hold arrays; it holds {_what(leaf)}. Close over what is not an array") from None

    return jax.tree.map(array, args)


def axes(args: tuple[Any, ...], given: Any, count: int) -> tuple[int | None, ...]:
    """One axis an argument, and the rows it promises there."""
    if not (given is None or isinstance(given, (int, Sequence))):
        raise ValueError(f"args_axes must be None, 0, or a tuple of these, one for each of args; it is {given!r}")
    each = (given,) * len(args) if given is None or isinstance(given, int) else tuple(given)
    if len(each) != len(args):
        raise ValueError(f"args_axes has {len(each)} entries for {len(args)} args; it must have one for each")
    for i, (arg, axis) in enumerate(zip(args, each, strict=True)):
        if axis not in (None, 0) or isinstance(axis, bool):
            raise ValueError(f"args_axes must hold None (shared) or 0 (one row a start); entry {i} is {axis!r}")
        for leaf in jax.tree.leaves(arg) if axis == 0 else ():
            if leaf.ndim == 0 or leaf.shape[0] != count:
                raise ValueError(
                    f"args[{i}] has args_axes 0, so it must have one row for each of the {count} starts; "
                    f"its shape is {leaf.shape}"
                )
    return each


def positive(name: str, value: Any) -> int | None:
    """A whole number of at least 1, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value < 2**31:
        raise ValueError(f"{name} must be a whole number of at least 1, and less than 2**31; it is {value!r}")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; it is {_what(value)}")
    return bool(value)


def positive_number(name: str, value: Any) -> Any:
    """A positive number; traced values pass unseen."""
    if is_traced(value):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number, np.ndarray, jax.Array)):
        raise TypeError(f"{name} must be a positive number; it is {_what(value)}")
    if np.ndim(value) or np.iscomplexobj(value) or not 0 < float(value) < np.inf:
        raise ValueError(f"{name} must be a positive finite number; it is {value!r}")
    return value


def rules(tol: Any, max_steps: Any, dtype: Any) -> Rules:
    """The stopping rule's numbers, or their defaults for the dtype."""
    tol = default_tol(dtype) if tol is None else positive_number("tol", tol)
    steps = positive("max_steps", max_steps) or DEFAULT_MAX_STEPS
    return Rules(jnp.asarray(tol, dtype), jnp.asarray(steps, jnp.int32))


def devices(given: Sequence[Any] | int | None) -> list[Any]:
    """A list of JAX devices; None: all local ones."""
    local = jax.local_devices()
    if given is None:
        return local
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        if not 1 <= given <= len(local):
            raise ValueError(f"devices must be from 1 to the {len(local)} local devices; it is {given}")
        return local[: int(given)]
    chosen = list(given) if isinstance(given, Sequence) else [given]
    if not chosen or not all(isinstance(device, jax.Device) for device in chosen):
        raise TypeError(f"devices must be a number of devices or a list of JAX devices; it is {given!r}")
    return chosen


def _what(value: Any) -> str:
    return f"{value!r} of type {type(value).__name__}" if np.ndim(value) == 0 else f"of type {type(value).__name__}"
