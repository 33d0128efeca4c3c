"""Refusals of what no regression can use: the argument, what came, and where; and the names that data bring."""

from __future__ import annotations

import contextlib
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton.placement import at_hand

SHOWN = 8  # rows or columns that a message lists
LOST = 1e-3  # of a column's standard deviation, that may be lost in rounding silently


def numbers(name: str, given: Any) -> Any:
    """A NumPy or JAX array of real numbers."""
    array = given if isinstance(given, (np.ndarray, jax.Array)) else np.asarray(given)
    if array.dtype == object:
        with contextlib.suppress(TypeError, ValueError):
            array = array.astype(float)
    if array.dtype.kind not in "fiub" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must hold real numbers; its dtype is {array.dtype}{_first_other(name, given, array)}")
    return array


def _first_other(name: str, given: Any, array: Any) -> str:
    """Where the first entry stands that is no number, and what would make numbers of text; empty of other kinds."""
    if array.dtype.kind not in "OUS" or not array.ndim or not array.size:
        return ""
    place = next((place for place in np.ndindex(array.shape) if not _is_number(array[place])), None)
    if place is None:
        return ": it is text that holds numbers; convert it, as .astype(float) does"
    names = frame_columns(given)
    column = f" of column {names[place[-1]]}" if names else ""
    advice = {
        "X": "; encode text, as pandas.get_dummies(X, drop_first=True, dtype=float) does",
        "y": "; number the labels, as numpy.unique(y, return_inverse=True) does",
    }.get(name, "")
    axis = array.ndim - 2 if name == "X" and array.ndim > 1 else array.ndim - 1
    return f", with {str(array[place])!r} in row {place[axis]}{column}{advice}"


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def refuse_numbers(name: str, array: Any, before: int = 0, lead: tuple[int, ...] = ()) -> None:
    """Raise for what no fit can use, with the rows and the fit where it stands.

    Args:
        before: rows that precede these.
        lead: the leading axes, one fit each; then come the rows.
    """
    array = at_hand(array)
    if array.dtype.kind == "f" and not _finite(array):
        bad = ~np.isfinite(np.asarray(array))
        marked = bad.reshape(*bad.shape[: len(lead) + 1], -1).any(axis=-1)
        where = f" in {_places(np.asarray(marked), before)}" if bad.ndim > len(lead) else ""
        raise ValueError(f"{name} must be finite; it has nan or inf{where}. Drop or fill these")
    if name in ("weights", "ridge") and (array < 0).any():
        raise ValueError(f"{name} must not be negative; its smallest is {array.min()}")


def _finite(array: Any) -> bool:
    """Whether all numbers are; by their sum, if it is, which takes half the time and no further array."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return True
    return bool((jnp if isinstance(array, jax.Array) else np).isfinite(array).all())


def warn_of_rounding(name: str, array: Any, axis: int, dtype: Any) -> None:
    """Where ``dtype`` leaves out what the rows (of that axis) differ by."""
    if array.dtype.kind not in "fiu" or array.dtype.itemsize < 8 or dtype == array.dtype:
        return
    rows = np.asarray(at_hand(array), float)
    spread, rounding = rows.std(axis=axis), 0.5 * float(jnp.finfo(dtype).eps) * np.abs(rows).max(axis=axis, initial=0.0)
    lost = (spread > 0) & (rounding > LOST * spread)
    if np.any(lost):
        which = f" (columns {listed(np.unique(np.nonzero(lost)[-1]))})" if name == "X" else ""
        warnings.warn(
            f"{name}{which} varies by less than a thousand times its rounding to {jnp.dtype(dtype).name}; subtract its "
            f'mean, or set jax.config.update("jax_enable_x64", True)',
            stacklevel=_levels_to_user(),
        )


def _levels_to_user() -> int:
    """How far up the stack from the caller the first frame is that is not of this package."""
    frame, levels = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"].split(".")[0] in ("jaxnewton", "contextlib"):
        frame, levels = frame.f_back, levels + 1
    return levels


def refuse_large(name: str, array: Any, dtype: Any) -> None:
    """Raise for finite numbers that ``dtype``, in which is computed, does not hold."""
    limit = float(jnp.finfo(dtype).max)
    if array.dtype.kind == "f" and float(jnp.finfo(array.dtype).max) > limit and array.size:
        largest = np.abs(at_hand(array)).max()
        if largest > limit:
            raise ValueError(f"{name} must fit {dtype}, in which the fit is computed; its largest is {largest:.3g}. "
                             "Rescale it, or have JAX compute in float64")  # fmt: skip


def refuse_values(name: str, given: Any, wrong: Any, wanted: str, before: int = 0) -> None:
    """Raise where ``wrong`` marks entries of (..., m) that the model cannot have."""
    if np.any(wrong):
        wrong = np.asarray(wrong)
        value = np.asarray(given)[wrong].flat[0]
        raise ValueError(f"{name} must be {wanted}; it is {value!s} in {_places(wrong, before)}")


def _places(bad: np.ndarray, before: int) -> str:
    """The rows (..., m) that are marked, of the first fit that has any, and which that is."""
    fits = np.argwhere(bad.any(axis=-1))
    first = fits[0] if len(fits) else np.zeros(bad.ndim - 1, int)
    rows = f"rows {listed(before + np.flatnonzero(bad[tuple(first)]))}"
    if bad.ndim == 1:
        return rows
    fit = int(first[0]) if len(first) == 1 else tuple(first.tolist())
    return f"{rows} of fit {fit}" + (f", and in {len(fits) - 1} more fits" if len(fits) > 1 else "")


def wrong_rows(name: str, shape: tuple[int, ...], m: int) -> str:
    """What is wrong with an argument of one number a row."""
    hint = ""
    if len(shape) == 2 and shape[0] == m:
        hint = f". Give {name}[:, 0]" if shape[1] == 1 else f". Give {name}.T for a fit of each column"
    return f"{name} must have as many rows as X, {m}, along its last axis; its shape is {shape}{hint}"


def frame_columns(X: Any) -> tuple[str, ...] | None:
    """The names of a data frame's columns; None of anything else, and where they are not all str."""
    columns = getattr(X, "columns", None)
    if columns is None or callable(columns) or np.ndim(X) != 2:
        return None
    names = tuple(columns)
    return names if all(isinstance(name, str) for name in names) else None


def refuse_other_rows(given: dict[str, Any]) -> None:
    """Raise where two arguments are pandas' and not of the same rows: pairing them by place would be silent."""
    frames = {name: one.index for name, one in given.items() if callable(getattr(_index(one), "equals", None))}
    names = list(frames)
    for name in names[1:]:
        if not frames[name].equals(frames[names[0]]):
            raise ValueError(
                f"{names[0]} and {name} must have the same index, in the same order; "
                f"align them, or give {name}.to_numpy() to pair them by place"
            )


def _index(given: Any) -> Any:
    return getattr(given, "index", None)


def listed(values: Any) -> str:
    """The first few, and how many more there are."""
    shown = ", ".join(str(int(value)) for value in values[:SHOWN])
    return shown + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")
