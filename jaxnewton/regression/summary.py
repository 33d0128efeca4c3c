"""A fit as a table of text, as statistics packages print it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxnewton.types import Status

if TYPE_CHECKING:
    from jaxnewton.regression.fit import Fit

NEGLIGIBLE = 1e-6  # in a direction, of its largest part


def table(fit: Fit, names: Sequence[str] | None, level: float, classes: Sequence[str] | None) -> str:
    """The head, one line a coefficient, and the verdict in words where it is not a success."""
    coefficients = _rows(fit, names, level, classes)
    letter = "t" if fit.student else "z"
    ends = f"[{(1 - level) / 2:.3g}", f"{(1 + level) / 2:.3g}]"
    header = ("", "coef", "std err", letter, f"P>|{letter}|", *ends)
    cells = [
        (
            name,
            *(_number(v) for v in values[:2]),
            f"{values[2]:.3f}",
            f"{values[3]:.3f}",
            *(_number(v) for v in values[4:]),
        )
        for name, values in coefficients
    ]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]
    width = max(sum(widths) + 2 * (len(widths) - 1), 64)
    lines = [fit.response.title, "=" * width, *_head(fit, width), "-" * width]
    lines += [_line(row, widths) for row in [header]] + ["-" * width] + [_line(row, widths) for row in cells]
    lines.append("=" * width)
    if not bool(fit.success):
        lines.append(f"{Status(int(fit.status)).name}: {fit.explained(names, classes)}")
    return "\n".join(lines)


def _rows(
    fit: Fit, names: Sequence[str] | None, level: float, classes: Sequence[str] | None
) -> list[tuple[str, list[float]]]:
    """Name, estimate, standard error, statistic, p-value and interval of every coefficient."""
    each, labels = coefficient_names(fit, names), class_labels(fit, classes)
    values = columns(fit, level)
    return [(label + name, list(values[j, k])) for k, label in enumerate(labels) for j, name in enumerate(each)]


def coefficient_names(fit: Fit, names: Sequence[str] | None) -> list[str]:
    """The intercept's, where there is one, and those of params.

    Raises:
        TypeError, ValueError: ``names`` is not one str each.
    """
    count = fit.params.shape[fit.status.ndim]
    if names is None:
        letter = getattr(fit.response, "letter", "x")
        found = list(fit.columns or (f"{letter}{i + 1}" for i in range(count)))
    else:
        found = [] if isinstance(names, str) else list(names)
        if isinstance(names, str) or not all(isinstance(name, str) for name in found):
            raise TypeError(f"names must be a sequence of str; it is {names!r}")
        if len(found) != count:
            raise ValueError(f"names must have one name for each of the {count} columns of X; it has {len(found)}")
    return found if fit.intercept is None else ["intercept", *found]


def class_labels(fit: Fit, classes: Sequence[str] | None) -> list[str]:
    """What comes before a coefficient's name, one a vector of coefficients; "" where there is but one."""
    labels = getattr(fit.response, "labels", lambda: [""])()
    if classes is None:
        return labels
    if len(classes) != len(labels) or labels == [""]:
        raise ValueError(f"classes must name the {len(labels)} classes but the reference; it has {len(classes)}")
    return [f"class {name}: " for name in classes]


def direction_parts(fit: Fit, names: Sequence[str] | None) -> list[tuple[int, str, float]]:
    """Of one fit's direction what is not nearly 0, largest first: the place of its class, its name and its value."""
    names = coefficient_names(fit, names)
    direction = np.asarray(fit.direction, float).reshape(-1, len(names))
    size = np.abs(direction)
    order = zip(*np.unravel_index(np.argsort(-size, axis=None, kind="stable"), size.shape), strict=True)
    return [(int(k), names[j], float(direction[k, j])) for k, j in order if size[k, j] > NEGLIGIBLE * size.max()]


def columns(fit: Fit, level: float) -> np.ndarray:
    """(q, classes, 6) estimate, standard error, statistic, p-value and interval of one fit, the intercept first."""
    first, others = jax.tree.map(np.asarray, _inference(fit, level))
    classes = fit.params.shape[1] if fit.params.ndim == 2 else 1
    values = np.stack(others, axis=-1).reshape(-1, classes, 6)
    return values if first is None else np.concatenate([np.stack(first, axis=-1).reshape(1, classes, 6), values])


@functools.partial(jax.jit, static_argnums=1)  # far sooner done than each of its operations
def _inference(fit: Fit, level: float) -> tuple[Any, Any]:
    interval = fit.intercept_conf_int(level)
    first = (fit.intercept, fit.intercept_stderr, fit.intercept_zvalue, fit.intercept_pvalue)
    others = (fit.params, fit.stderr, fit.zvalues, fit.pvalues, *fit.conf_int(level))
    return None if interval is None else (*first, *interval), others


def _head(fit: Fit, width: int) -> list[str]:
    pairs = [
        ("rows", f"{int(fit.rows)}"),
        ("log-likelihood", _number(fit.loglik)),
        ("residual df", f"{int(fit.df_residual)}"),
        ("deviance", _number(fit.deviance)),
        ("status", Status(int(fit.status)).name),
        ("dispersion", _number(fit.dispersion)),
        ("AIC", _number(fit.aic)),
        ("BIC", _number(fit.bic)),
    ]
    half = (width - 2) // 2
    cells = [f"{name}:{value:>{half - len(name) - 1}}" for name, value in pairs]
    return [f"{left}  {right}" for left, right in zip(cells[::2], cells[1::2], strict=True)]


def _number(value: object) -> str:
    number = float(np.asarray(value))
    return f"{number:.6g}" if np.isfinite(number) else str(number)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}"
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells)
