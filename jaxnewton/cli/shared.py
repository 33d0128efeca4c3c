"""What the commands share: the console, and how wrong usage ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

out = Console(soft_wrap=True)


@contextmanager
def refusing(command: str) -> Iterator[None]:
    """Turn what is wrong with the user's input into one sentence on stderr and exit status 2."""
    try:
        yield
    except (ValueError, TypeError, ImportError, OSError) as error:
        typer.echo(f"jaxnewton {command}: {error}", err=True)
        raise typer.Exit(2) from None
