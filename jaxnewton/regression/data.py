"""What a regression is given: checked, brought to one dtype, its stack flattened, its columns centred and scaled."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton.regression.given import (
    numbers,
    refuse_large,
    refuse_numbers,
    refuse_other_rows,
    warn_of_rounding,
    wrong_rows,
)
from jaxnewton.regression.stack import Axes, Stack
from jaxnewton.types import Array, is_traced


class Data(NamedTuple):
    """The arguments of one fit, or of a stack: an argument has a leading axis B, or is shared by all (``axes``)."""

    X: Array  # (m, p), (B, m, p)
    y: Array  # (m,), (B, m)
    weights: Array  # (m,) or (1,), (B, m)
    offset: Array  # (m,) or (1,), (B, m)
    ridge: Array  # (), (B,)


class Frame(NamedTuple):
    """Where the columns of X are moved to before a fit, and what they are divided by."""

    center: Array  # (..., p); 0 without an intercept
    scale: Array  # (..., p) powers of 2; 1 for a column that does not vary


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns that are solved with: those of X in their frame, after one of ones for the intercept.

    They are formed where they are used: to write them out for a stack takes as long as some of Newton's steps.
    """

    X: Array  # (..., m, p) as it was given
    frame: Frame
    varies: Array  # (..., p) bool
    intercept: bool

    @property
    def q(self) -> int:
        """How many there are."""
        return self.X.shape[-1] + self.intercept

    @property
    def Z(self) -> Array:
        """(q, m) of one fit: rows of observations along the last axis, where X'WX is the faster product."""
        center, scale = self.frame
        Z = jnp.where(self.varies[:, None], (self.X.T - center[:, None]) * (1 / scale)[:, None], 0.0)
        return jnp.concatenate([jnp.ones((1, Z.shape[1]), Z.dtype), Z]) if self.intercept else Z


jax.tree_util.register_dataclass(Columns, data_fields=("X", "frame", "varies"), meta_fields=("intercept",))


def formed(design: Any) -> Array:
    """Z of what one fit has for its first argument: Z itself, or the columns that it is formed of."""
    return design.Z if isinstance(design, Columns) else design


def gather(X: Any, y: Any, weights: Any, offset: Any, ridge: Any) -> tuple[Data, Stack]:
    """Checked arrays of one floating dtype.

    Raises:
        TypeError, ValueError: a shape, dtype or value is wrong; the message names the argument and the rows.
    """
    if y is None:
        raise ValueError("y is missing")
    refuse_other_rows({"X": X, "y": y, "weights": weights, "offset": offset})
    arrays = {"X": numbers("X", X), "y": numbers("y", y)}
    if arrays["X"].ndim < 2:
        raise ValueError(f"X must have the shape (..., rows, columns); it has {arrays['X'].shape}")
    if arrays["y"].ndim < 1:
        raise ValueError("y must have the shape (..., rows); it is a single number")
    m = arrays["X"].shape[-2]
    if m == 0:
        raise ValueError(f"X has no rows: its shape is {arrays['X'].shape}")
    for name, given in (("weights", weights), ("offset", offset)):
        arrays[name] = numbers(name, [float(name == "weights")] if given is None else given)
        if arrays[name].ndim < 1:
            raise ValueError(f"{name} must have the shape (..., rows); it is a single number")
    for name in ("y", *(name for name, given in (("weights", weights), ("offset", offset)) if given is not None)):
        if arrays[name].shape[-1] != m:
            raise ValueError(wrong_rows(name, arrays[name].shape, m))
    arrays["ridge"] = numbers("ridge", ridge)

    own = {"X": 2, "ridge": 0}
    leads = {name: array.shape[: array.ndim - own.get(name, 1)] for name, array in arrays.items()}
    try:
        lead = np.broadcast_shapes(*leads.values())
    except ValueError:
        shapes = ", ".join(f"{name} {arrays[name].shape}" for name in arrays if leads[name])
        raise ValueError(f"the leading axes, one problem each, do not broadcast: {shapes}") from None
    if math.prod(lead) == 0:
        raise ValueError(f"the stack holds no problems: its leading axes are {lead}")
    for name, array in arrays.items():
        if not is_traced(array):
            refuse_numbers(name, array, lead=leads[name])
    if not is_traced(arrays["weights"]) and not (np.asarray(arrays["weights"]) > 0).any(axis=-1).all():
        raise ValueError("weights must not all be 0: no row is left")
    options = {"weights": weights, "offset": offset, "ridge": ridge}
    of_python = [name for name, option in options.items() if not hasattr(option, "dtype")]  # these have no dtype to say
    dtype = widest(*(array for name, array in arrays.items() if name not in of_python))
    for name, array in arrays.items():
        if not is_traced(array):
            refuse_large(name, array, dtype)
            if name in ("X", "y"):
                warn_of_rounding(name, array, len(leads[name]), dtype)

    def place(name: str, array: Any) -> Array:
        if leads[name]:
            array = jnp.broadcast_to(jnp.asarray(array), lead + array.shape[len(leads[name]) :])
            array = array.reshape(math.prod(lead), *array.shape[len(lead) :])
        return jnp.asarray(array, dtype)

    data = Data(**{name: place(name, array) for name, array in arrays.items()})
    return data, Stack(lead, Axes(**{name: 0 if leads[name] else None for name in arrays}))


def standardise(X: Array, axis: int | None, intercept: bool) -> Columns:
    """The columns to solve with, of one fit or of a stack (``axis`` 0); one that does not vary becomes 0 beside an
    intercept.

    Centres of few bits and scales that are powers of 2 lose nothing of data with few digits.
    """
    if X.shape[-1] == 0 and not intercept:
        raise ValueError("X has no columns, and there is no intercept: no coefficient is left to fit")
    of_one = functools.partial(_frame, intercept)  # sums and extrema, which need no memory
    frame, varies = of_one(X) if axis is None else jax.vmap(of_one)(X)
    return Columns(X, frame, varies, intercept)


def _frame(intercept: bool, X: Array) -> tuple[Frame, Array]:
    """Of one fit, and which columns vary."""
    low, high = jnp.min(X, axis=0), jnp.max(X, axis=0)
    center = _of_few_bits(jnp.mean(X, axis=0)) if intercept else jnp.zeros_like(low)
    largest = jnp.maximum(high - center, center - low)
    constant = largest <= 4 * jnp.finfo(X.dtype).eps * jnp.maximum(jnp.abs(low), jnp.abs(high))
    varies = ~constant | jnp.isinf(largest)  # nan and inf are to be seen in Z
    scale = jnp.maximum(power_of_two(jnp.where(varies, largest, 1.0)), jnp.finfo(X.dtype).tiny)  # 1 / scale is finite
    return Frame(center, jnp.where(varies, scale, 1.0)), varies


def penalties(scale: Array, ridge: Array, intercept: bool) -> Array:
    """(q,) the ridge for the coefficients of Z; 0 for the intercept's."""
    each = ridge / scale**2
    return jnp.concatenate([jnp.zeros(1, each.dtype), each]) if intercept else each


def back(frame: Frame, intercept: bool, theta: Array) -> Array:
    """Coefficients (..., classes q) of the columns of Z, class after class, as coefficients of those of X."""
    each = _by_class(frame, intercept, theta)
    center, scale = (
        part.reshape(*part.shape[:-1], *(1 for _ in range(each.ndim - part.ndim)), part.shape[-1]) for part in frame
    )
    params = each[..., int(intercept) :] / scale
    if intercept:
        first = each[..., :1] - jnp.sum(center * params, axis=-1, keepdims=True)
        params = jnp.concatenate([first, params], axis=-1)
    return params.reshape(theta.shape)


def moved_back(frame: Frame, intercept: bool, theta: Array) -> Array:
    """``back`` undone for theta (classes q,), for scales of 1."""
    if not intercept:
        return theta
    each = _by_class(frame, intercept, theta)
    first = each[:, :1] + jnp.sum(frame.center[None, :] * each[:, 1:], axis=1, keepdims=True)
    return jnp.concatenate([first, each[:, 1:]], axis=1).reshape(theta.shape)


def _by_class(frame: Frame, intercept: bool, theta: Array) -> Array:
    """(..., classes, q) of (..., classes q)."""
    q = frame.scale.shape[-1] + intercept
    return theta.reshape(*theta.shape[:-1], theta.shape[-1] // q, q)


def _of_few_bits(values: Array) -> Array:
    """Rounded to half the bits of its dtype."""
    values = lax.stop_gradient(values)
    digits, exponent = jnp.frexp(values)
    bits = jnp.finfo(values.dtype).nmant // 2
    return jnp.ldexp(jnp.round(jnp.ldexp(digits, bits)), exponent - bits).astype(values.dtype)


def power_of_two(values: Array) -> Array:
    """The next power of 2, of positive values."""
    values = lax.stop_gradient(values)
    return jnp.ldexp(jnp.ones_like(values), jnp.frexp(values)[1]).astype(values.dtype)


def widest(*arrays: Any) -> Any:
    """The dtype to compute in: float64 where JAX has it and an array is float64, or none is floating; else float32."""
    kinds = [jnp.finfo(array.dtype).bits for array in arrays if jnp.issubdtype(array.dtype, jnp.floating)]
    double = jnp.result_type(float)
    return double if not kinds or max(kinds) == 64 else jnp.dtype("float32")  # half precision is for storage
