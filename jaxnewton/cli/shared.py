"""What the commands share: the console, and how wrong usage ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from jaxnewton import plotting

out = Console(soft_wrap=True)


@contextmanager
def refusing(command: str) -> Iterator[None]:
    """Turn what is wrong with the user's input into one sentence on stderr and exit status 2."""
    try:
        yield
    except (ValueError, TypeError, ImportError, OSError) as error:
        typer.echo(f"jaxnewton {command}: {error}", err=True)
        raise typer.Exit(2) from None


def check_plot(path: Path | None) -> None:
    """Refuse a ``--plot`` that could not be written, before it is worked for.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there is no such folder, or matplotlib does not know the file's ending.
    """
    if path is None:
        return
    try:
        plotting.check(path)
    except ValueError as error:
        raise ValueError(f"--plot: {error}") from None
