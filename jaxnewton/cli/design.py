"""A table's columns as the matrix and vectors of a regression."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from jaxnewton.cli import tables

SHOWN_ROWS = 5
Table = dict[str, np.ndarray]


class Design(NamedTuple):
    """What a fit takes, and what was done to get there. Rows count from 1, the header not counted."""

    X: np.ndarray  # (m, p)
    y: np.ndarray  # (m,)
    weights: np.ndarray | None  # (m,)
    offset: np.ndarray | None  # (m,)
    names: list[str]  # (p,) a column of a categorical one is called column[level]
    levels: list[str] | None  # of a target of labels; y counts them from 0
    rows: np.ndarray  # (m,) their numbers in the file
    dropped: int  # rows with missing values


def build(
    table: Table,
    target: str,
    *,
    labels: str,
    drop: Collection[str] = (),
    categorical: Collection[str] = (),
    weights: str | None = None,
    offset: str | None = None,
    drop_missing: bool = False,
) -> Design:
    """Check the columns and put them together; every column that has no other part is a predictor.

    Args:
        table: columns by name, as ``tables.read`` returns them.
        labels: "no": the target is numbers; "two": two levels, or numbers between 0 and 1; "many": any levels.

    Raises:
        ValueError: in one sentence, what is wrong with which columns and rows, and what would help.
    """
    _check_parts(table, target, drop, categorical, weights, offset)
    used = {name: column for name, column in table.items() if name not in drop}
    nameless = [name[1:] for name in used if re.fullmatch(r"#\d+", name)]
    if nameless:
        raise ValueError(f"column {nameless[0]} has no name: give it one, or leave it out with --drop '#{nameless[0]}'")
    numeric = [name for name in used if name not in categorical and (name != target or labels == "no")]
    _check_numbers({name: used[name] for name in numeric}, target, weights, offset)
    missing = {name: _missing(column) for name, column in used.items()}
    lost = np.logical_or.reduce(list(missing.values()))
    if lost.any() and not drop_missing:
        _refuse_missing(missing, {target, weights, offset})
    rows = np.flatnonzero(~lost) + 1
    if not rows.size:
        raise ValueError(f"--drop-missing leaves none of the {len(lost)} rows")
    used = {name: column[~lost] for name, column in used.items()}
    for name, column in used.items():
        if column.dtype != object and not np.isfinite(column).all():
            raise ValueError(f"column {name} is infinite in {_rows(rows[~np.isfinite(column)])}")
    if weights is not None and (used[weights] < 0).any():
        raise ValueError(f"--weights must not be negative; {weights} is in {_rows(rows[used[weights] < 0])}")
    y, levels = _target(used[target], target, labels)
    names, columns = [], []
    for name in (name for name in used if name not in (target, weights, offset)):
        if name in categorical:
            each, codes = _levels(used[name])
            if len(each) == len(rows) > 1:
                raise ValueError(f"column {name} is different in every row, so that it is no --categorical column")
            names += [f"{name}[{level}]" for level in each[1:]] or [name]
            columns += [(codes == i).astype(float) for i in range(1, len(each))] or [np.ones(len(rows))]
        else:
            names.append(name)
            columns.append(used[name])
    return Design(
        X=np.stack(columns, axis=1) if columns else np.empty((len(rows), 0)),
        y=y,
        weights=None if weights is None else used[weights],
        offset=None if offset is None else used[offset],
        names=names,
        levels=levels,
        rows=rows,
        dropped=int(lost.sum()),
    )


def rows_where(design: Design, mask: np.ndarray) -> str:
    """The rows of the file for which mask (m,) is true, in words."""
    return _rows(design.rows[mask])


def option(word: str, names: Collection[str]) -> str:
    """An option that takes columns, as a shell would read it."""
    if any("," in name for name in names):
        return " ".join(f"{word} {shlex.quote(name)}" for name in names)
    return f"{word} {shlex.quote(','.join(names))}"


def constant(design: Design) -> list[str]:
    """The names of the columns of X that are one number in every row."""
    return [name for name, column in zip(design.names, design.X.T, strict=True) if np.all(column == column[0])]


def _check_parts(
    table: Table,
    target: str,
    drop: Collection[str],
    categorical: Collection[str],
    weights: str | None,
    offset: str | None,
) -> None:
    parts = [
        (flag, name)
        for flag, names in (
            ("--target", [target]),
            ("--drop", drop),
            ("--weights", [weights]),
            ("--offset", [offset]),
            ("--categorical", categorical),
        )
        for name in names
        if name is not None
    ]
    for flag, name in parts:
        if name not in table:
            raise ValueError(f"{flag}: there is no column {name}; there are {', '.join(table)}")
    seen: dict[str, str] = {}
    for flag, name in parts:
        if seen.setdefault(name, flag) != flag:
            raise ValueError(f"column {name} cannot be both {seen[name]} and {flag}")


def _check_numbers(columns: Table, target: str, weights: str | None, offset: str | None) -> None:
    """Refuse the columns with a cell that is no number."""
    options = {target: "--target", weights: "--weights", offset: "--offset"}
    found = {}
    for name, column in columns.items():
        if column.dtype == object:
            wrong = [i for i, cell in enumerate(column, 1) if cell is not None and tables.number(cell) is None]
            found[name] = f"{name} (such as {column[wrong[0] - 1]!r}, {_rows(wrong)})"
    for name in [name for name in found if name in options]:
        raise ValueError(f"{options[name]} must be a column of numbers, which {found[name]} is not")
    if found:
        plural = len(found) > 1
        raise ValueError(
            f"column{'s' * plural} {_list(list(found.values()))} {'are' if plural else 'is'} not numeric: "
            f"{option('--categorical', found)} makes {'them' if plural else 'it'} one-hot, "
            f"{option('--drop', found)} leaves {'them' if plural else 'it'} out"
        )


def _missing(column: np.ndarray) -> np.ndarray:
    if column.dtype == object:
        return np.array([cell is None for cell in column], bool)
    return np.isnan(column)


def _refuse_missing(missing: Table, parts: Collection[str | None]) -> None:
    found = {name: np.flatnonzero(lost) + 1 for name, lost in missing.items() if lost.any()}
    words = _list([f"{name} in {_rows(rows)}" for name, rows in found.items()])
    columns = [name for name in found if name not in parts]
    lost = int(np.logical_or.reduce(list(missing.values())).sum())
    or_drop = f", {option('--drop', columns)} the column{'s' * (len(columns) > 1)}" if columns else ""
    raise ValueError(f"missing values: {words}; --drop-missing leaves out the {_count(lost, 'row')}{or_drop}")


def _target(column: np.ndarray, target: str, labels: str) -> tuple[np.ndarray, list[str] | None]:
    """y, and the levels of a target of labels."""
    numeric = column.dtype != object
    if labels == "no" or (labels == "two" and numeric and np.all((column >= 0) & (column <= 1))):
        return column, None
    levels, y = _levels(column)
    if labels == "two" and len(levels) != 2:
        raise ValueError(
            f"the target must have two levels, or be numbers from 0 to 1; {target} has {_count(len(levels), 'level')}"
            f" ({_some(levels)})" + "; --model softmax takes any number" * (len(levels) > 2)
        )
    if labels == "many" and numeric and np.any(column % 1):
        raise ValueError(f"the target must be labels or whole numbers; {target} is {_word(column[column % 1 > 0][0])}")
    if len(levels) < 2 or (labels == "many" and len(levels) == len(column) > 2):
        same = "the same" if len(levels) == 1 else "different"
        raise ValueError(f"the target must have levels that come again; {target} is {same} in every row")
    return y if labels == "many" else y.astype(float), levels


def _levels(column: np.ndarray) -> tuple[list[str], np.ndarray]:
    """A column's values in words, sorted, as numbers where all are, and each row's place among them."""
    if column.dtype != object:
        values, places = np.unique(column, return_inverse=True)
        return [_word(value) for value in values.tolist()], places
    values, places = np.unique(column.astype(str), return_inverse=True)
    numbers = [tables.number(word) for word in values.tolist()]
    if None not in numbers:
        order = np.argsort(np.array(numbers, float), kind="stable")
        values, places = values[order], np.argsort(order)[places]
    return values.tolist(), places


def _word(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _rows(rows: Sequence[int] | np.ndarray) -> str:
    more = len(rows) - SHOWN_ROWS
    words = [str(row) for row in rows[:SHOWN_ROWS]] + ([f"{more} more"] if more > 0 else [])
    return f"row{'s' * (len(rows) > 1)} {_list(words)}"


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:SHOWN_ROWS]) + ", ..." * (len(words) > SHOWN_ROWS)


def _list(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " and " * (len(words) > 1) + words[-1]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
