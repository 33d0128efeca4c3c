"""Refusals at the door: what came, what was expected, and the argument's name."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton.types import DEFAULT_MAX_STEPS, Rules, Solver, default_tol, is_traced


@contextlib.contextmanager
def forward_mode() -> Iterator[None]:
    """Where derivatives in forward mode may be taken of the user's function: what to do if it has none."""
    try:
        yield
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        raise TypeError(
            "fun has a jax.custom_vjp rule, which gives derivatives in reverse mode only; Jacobians of residuals and "
            "derivatives of a solution need them in forward mode: write the rule with jax.custom_jvp"
        ) from error


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
            raise TypeError(
                f"args must hold arrays of numbers; it holds {_what(leaf)}. Close over what is not an array"
            ) from None

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


def plain(value: Any) -> Any:
    """A NumPy or JAX scalar, 0-d arrays among them, as Python's own; all else, and what is traced, as it is."""
    scalar = isinstance(value, (np.generic, np.ndarray, jax.Array)) and not is_traced(value) and value.ndim == 0
    return value.item() if scalar and not jnp.issubdtype(value.dtype, jax.dtypes.extended) else value


def number(value: Any) -> int | float | None:
    """A real number as Python's own, so that what holds it is hashable; None where it is none, or is traced."""
    value = plain(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def whole(name: str, value: Any, least: int) -> int:
    """A whole number of at least ``least`` that an int32 holds."""
    given = number(value)
    if not isinstance(given, int) or not least <= given < 2**31:
        raise ValueError(f"{name} must be a whole number of at least {least}, and less than 2**31; it is {value!r}")
    return given


def positive(name: str, value: Any) -> int | None:
    """A whole number of at least 1, or None."""
    return None if value is None else whole(name, value, 1)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    given = plain(value)
    if not isinstance(given, bool):
        raise TypeError(f"{name} must be True or False; it is {_what(value)}")
    return given


def positive_number(name: str, value: Any, *, fixed: bool = False) -> Any:
    """A positive number as Python's own; traced values pass unseen, where they are not to be part of a key (fixed)."""
    if is_traced(value):
        if fixed:
            raise TypeError(f"{name} is part of what is compiled, so it must be a number, not a traced value: {value}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number, np.ndarray, jax.Array)):
        raise TypeError(f"{name} must be a positive number; it is {_what(value)}")
    given = number(value)
    if given is None or not 0 < given < np.inf:
        raise ValueError(f"{name} must be a positive finite number; it is {value!r}")
    return given


def precision(name: str, dtype: Any) -> None:
    """Only single and double precision: tolerances and safeguards mean little in half."""
    if dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"{name} must be of float32 or float64; it has dtype {dtype}. Write .astype(jnp.float32)")


def rows(index: Any, count: int, name: str) -> Any:
    """Which of ``count`` rows an index means: a number, or an array of numbers; traced ones pass unseen.

    Raises:
        IndexError: there is no such row, or a mask has not ``count`` entries.
        TypeError: it is no number, slice, or list or array of whole numbers or booleans.
    """
    if is_traced(index):
        return index
    if isinstance(index, slice):
        return np.arange(*index.indices(count))
    array = None if isinstance(index, (tuple, str)) else np.asarray(index)
    if isinstance(index, list) and not index:
        return np.arange(0)
    if array is not None and array.dtype == bool and array.ndim == 1:
        if array.size != count:
            raise IndexError(f"a mask of {array.size} entries cannot choose from {count} {name}")
        return np.flatnonzero(array)
    if array is None or not np.issubdtype(array.dtype, np.integer) or array.ndim > 1:
        wanted = "a whole number, a slice, or a list or array of whole numbers or booleans"
        raise TypeError(f"an index into {name} must be {wanted}; it is {index!r}")
    beyond = (array < -count) | (array >= count)
    if np.any(beyond):
        raise IndexError(f"row {np.atleast_1d(array)[np.argmax(beyond)]} of {count} {name}")
    return np.where(array < 0, array + count, array) if array.ndim else int(array) % count


def rules(tol: Any, max_steps: Any, dtype: Any) -> Rules:
    """The stopping rule's numbers, or their defaults for the dtype."""
    tol = default_tol(dtype) if tol is None else positive_number("tol", tol)
    return Rules(jnp.asarray(tol, dtype), jnp.asarray(trips(max_steps), jnp.int32))


def trips(max_steps: Any) -> int:
    """The most trips of a lane."""
    return positive("max_steps", max_steps) or DEFAULT_MAX_STEPS


def devices(given: Sequence[Any] | int | None) -> list[Any]:
    """A list of JAX devices; None: all local ones."""
    local = jax.local_devices()
    if given is None:
        return local
    count = number(given)
    if isinstance(count, int):
        if not 1 <= count <= len(local):
            raise ValueError(f"devices must be from 1 to the {len(local)} local devices; it is {given}")
        return local[:count]
    chosen = list(given) if isinstance(given, Sequence) else [given]
    if not chosen or not all(isinstance(device, jax.Device) for device in chosen):
        raise TypeError(f"devices must be a number of devices or a list of JAX devices; it is {given!r}")
    return chosen


def _what(value: Any) -> str:
    if isinstance(value, (np.ndarray, jax.Array)) and value.ndim:
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    kind = type(value).__name__
    return f"a {kind}" if isinstance(value, (list, tuple, dict, set)) else f"{value!r} of type {kind}"
