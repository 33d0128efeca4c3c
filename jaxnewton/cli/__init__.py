"""The ``jaxnewton`` command. It runs in float64, with one CPU device a core."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import jax
import jax.numpy as jnp
import typer
from rich.table import Table

import jaxnewton
from jaxnewton.cli import fit, thomson
from jaxnewton.cli.shared import out

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)


@app.callback()
def setup() -> None:
    """Second-order optimisation for one starting point or a million."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", cores())


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


app.command()(thomson.thomson)
app.command()(fit.fit)


@app.command()
def info() -> None:
    """Versions, devices, number type and cores."""
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("jaxnewton", jaxnewton.__version__),
        *((package, version(package)) for package in ("jax", "jaxlib", "optax", "numpy")),
        ("python", platform.python_version()),
        ("backend", jax.default_backend()),
        ("devices", ", ".join(f"{device.platform}:{device.id} ({device.device_kind})" for device in jax.devices())),
        ("dtype", str(jnp.result_type(float))),
        ("cores", str(cores())),
    ):
        table.add_row(name, value)
    out.print(table, highlight=False)


def main() -> None:
    """Entry point of the command."""
    app()
