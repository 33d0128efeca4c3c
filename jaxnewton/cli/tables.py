"""Tables of named columns from CSV (the standard library and NumPy) and Parquet files (the extra ``data``: pyarrow)."""

from __future__ import annotations

import contextlib
import csv
import importlib
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MISSING = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null"})  # in any case
BOOLEANS = {"false": 0.0, "true": 1.0}  # likewise
DELIMITERS = ",;\t|"
PROBED_ROWS = 20
BLOCK_ROWS = 1 << 14


def _none(names: Sequence[str]) -> Collection[str]:
    return ()


def read(
    path: Path,
    delimiter: str | None = None,
    text: Callable[[Sequence[str]], Collection[str]] = _none,
    decimal: str = ".",
) -> dict[str, np.ndarray]:
    """The columns of a table by name, in the file's order.

    A column is float64, nan where a value is missing; or, where some cell is no number, an object array of str, None
    where a value is missing. Missing is an empty cell and the words of MISSING. A column of true and false is 1 and 0.
    A column without a name is called "#" and its place.

    Args:
        path: a Parquet file, known by its first bytes or by the ending ".parquet"; anything else is CSV with a header.
        delimiter: of CSV; None: whichever of DELIMITERS splits the first rows into most columns, as many in each.
        text: which of the columns, given all names, are labels: str as they stand in the file, 01 and 1 being two. (A
            column that Parquet itself holds as numbers stays one.)
        decimal: of CSV: "." or ","; a number has no other mark.

    Raises:
        ValueError: there is no such file, or it is no table: the sentence says where.
        ImportError: the file is Parquet and pyarrow is not installed.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with path.open("rb") as file:
        parquet = file.read(4) == b"PAR1" or path.suffix.lower() == ".parquet"
    if not parquet:
        return _csv(path, delimiter, text, decimal)
    for option, told in (("--delimiter", delimiter is not None), ("--decimal", decimal != ".")):
        if told:
            raise ValueError(f"{option} is for CSV, and {path} is Parquet")
    return _parquet(path, text)


def number(cell: str) -> float | None:
    """The number that a cell holds, nan where it is missing, None where it is neither."""
    word = cell.strip()
    if word.lower() in MISSING:
        return np.nan
    if "_" in word:  # Python reads 1_000
        return None
    try:
        return float(word)
    except ValueError:
        return None


def _csv(
    path: Path, delimiter: str | None, text: Callable[[Sequence[str]], Collection[str]], decimal: str
) -> dict[str, np.ndarray]:
    if decimal not in (".", ","):
        raise ValueError(f"--decimal must be . or ,; it is {decimal!r}")
    try:
        delimiter = _guess(path, decimal) if delimiter is None else _checked(delimiter)
        if delimiter == decimal:
            raise ValueError(f"--delimiter and --decimal must not both be {decimal}")
        records = _records(path, delimiter)
        names = _names(next(records))
        if all(number(_with_point(name, decimal)) is not None for name in names if name[0] != "#"):
            raise ValueError(f"the first row of {path} must name the columns; it is {', '.join(names)}")
        blocks: list[list[np.ndarray]] = [[] for _ in names]
        labels = set(text(names))
        # labels and columns with a cell that is no number: a second pass reads them
        words = {i for i, name in enumerate(names) if name in labels}
        empty = True
        while block := list(itertools.islice(records, BLOCK_ROWS)):
            empty = False
            for i, cells in enumerate(zip(*block, strict=True)):
                if i not in words:
                    numbers = _numbers(cells if decimal == "." else [_with_point(cell, decimal) for cell in cells])
                    blocks[i] += [] if numbers is None else [numbers]
                    words |= {i} if numbers is None else set()
        if empty:
            raise ValueError(f"{path} has a header and no rows")
        columns = [np.empty(0) if i in words else np.concatenate(blocks[i]) for i in range(len(names))]
        if words:
            known: dict[str, str] = {}
            rows = [[known.setdefault(cells[i], cells[i]) for i in words] for cells in _records(path, delimiter, True)]
            for i, cells in zip(words, zip(*rows, strict=True), strict=True):
                columns[i] = _words(cells, names[i] in labels)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is neither Parquet nor text in UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV: {error}") from None
    return dict(zip(names, columns, strict=True))


def _checked(delimiter: str) -> str:
    delimiter = {"tab": "\t", "\\t": "\t", "space": " "}.get(delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"--delimiter must be one character, tab or space; it is {delimiter!r}")
    return delimiter


def _open(path: Path) -> Any:
    return path.open(newline="", encoding="utf-8-sig")


def _with_point(cell: str, decimal: str) -> str:
    """A cell with a decimal comma as one with a point; one that has a point is no number: it may mark thousands."""
    if decimal == ".":
        return cell
    return "no number" if "." in cell else cell.replace(",", ".")


def _guess(path: Path, decimal: str) -> str:
    def columns(delimiter: str) -> tuple[int, int]:
        """Of the first rows if all have as many and more than one, and of the header."""
        widths = []
        with _open(path) as file, contextlib.suppress(csv.Error):
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            widths.extend(len(cells) for cells in itertools.islice(reader, PROBED_ROWS) if cells)
        widths = widths or [0]
        return widths[0] if len(set(widths)) == 1 < widths[0] else 0, widths[0]

    return max(DELIMITERS.replace(decimal, ""), key=columns)


def _records(path: Path, delimiter: str, skip_header: bool = False) -> Iterator[list[str]]:
    """The header and then the rows, each as wide as the header."""
    with _open(path) as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
        header = next((cells for cells in reader if cells), None)
        if header is None:
            raise ValueError(f"{path} is empty")
        if not skip_header:
            yield header
        row = 0
        for cells in reader:
            if not cells and len(header) > 1:
                continue
            row += 1
            cells = cells or [""]  # an empty line of a single column
            if len(cells) != len(header):
                raise ValueError(f"row {row} of {path} has {len(cells)} cells, its header {len(header)}")
            yield cells


def _names(header: Sequence[str]) -> list[str]:
    names = [name.strip() or f"#{i}" for i, name in enumerate(header, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"more than one column is named {', '.join(twice)}")
    return names


def _numbers(cells: Sequence[str]) -> np.ndarray | None:
    try:
        if not any("_" in cell for cell in cells):
            return np.array([float(cell) for cell in cells])
    except ValueError:
        pass
    found = [number(cell) for cell in cells]
    return None if None in found else np.array(found, float)


def _words(cells: Sequence[str | None], labels: bool) -> np.ndarray:
    """A column of cells as ``read`` returns it; ``labels``: true and false too stay words."""
    words = [None if cell is None or cell.strip().lower() in MISSING else cell.strip() for cell in cells]
    present = {word.lower() for word in words if word is not None}
    if present <= BOOLEANS.keys() and not labels:
        return np.array([np.nan if word is None else BOOLEANS[word.lower()] for word in words])
    return np.array(words, object)


def _parquet(path: Path, text: Callable[[Sequence[str]], Collection[str]]) -> dict[str, np.ndarray]:
    try:
        pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError("reading Parquet needs pyarrow: pip install 'jaxnewton[data]'") from error
    try:
        table = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no Parquet file that can be read: {error}") from None
    if not table.num_rows:
        raise ValueError(f"{path} has no rows")
    names = _names(table.column_names)
    labels = set(text(names))
    columns = {name: _arrow(column, pyarrow, name in labels) for name, column in zip(names, table.columns, strict=True)}
    # pandas stores the index of a frame whose rows were chosen as such a column
    return {name: column for name, column in columns.items() if not re.fullmatch(r"__index_level_\d+__", name)}


def _arrow(column: Any, pyarrow: Any, labels: bool) -> np.ndarray:
    types = pyarrow.types
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    numeric = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    if any(is_kind(kind) for is_kind in (*numeric, *(() if labels else (types.is_boolean,)))):
        return np.array(column.cast(pyarrow.float64(), safe=False).to_numpy(), float)
    try:
        cells = column.cast(pyarrow.string()).to_pylist()
    except pyarrow.ArrowException:  # nested
        cells = [None if cell is None else str(cell) for cell in column.to_pylist()]
    numbers = None if labels else _numbers(["" if cell is None else cell for cell in cells])
    return _words(cells, labels) if numbers is None else numbers
