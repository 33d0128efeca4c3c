"""A progress bar for a run of the pool: starts done, best value, statuses so far, time left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxnewton.types import Array, Status

Watch = Callable[[int, Array, float], None]


@contextlib.contextmanager
def bar(total: int | None, label: str = "starts", *, console: Any = None) -> Iterator[Watch]:
    """A ``watch`` for ``pool.solve_pool`` that draws on the terminal (stderr) meanwhile; total None: no known end."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[best]}"),
        TextColumn("{task.fields[statuses]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console or Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, best="compiling", statuses="")

        def watch(finished: int, tally: Array, best: float) -> None:
            counts = np.asarray(tally).reshape(-1, len(Status)).sum(axis=0)
            statuses = " ".join(f"{Status(i).name} {count}" for i, count in enumerate(counts) if count)
            shown = f"best {best:.9g}" if np.isfinite(best) else "no success yet"
            progress.update(task, completed=finished, best=shown, statuses=statuses)

        yield watch
