"""``jaxnewton thomson``: charges on a sphere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.table import Table

from jaxnewton import plotting
from jaxnewton import thomson as charges
from jaxnewton.cli.shared import out, refusing

SHOWN_MINIMA = 8


def thomson(
    n: Annotated[int, typer.Argument(metavar="N", help="Number of charges, at least 2.")],
    starts: Annotated[int, typer.Option(help="Number of starting configurations.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the random starts.", min=0, max=2**63 - 1)] = 0,
    kind: Annotated[str, typer.Option(help="Starts: random, polar or spiral.")] = "random",
    plot: Annotated[Path | None, typer.Option(help="Draw the charges to this file (needs jaxnewton[plot]).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Charges on a sphere: the lowest energy that many descents find, certified as a minimum.

    Exit status 0 only if a certified minimum was found.
    """
    with refusing("thomson"):
        if plot is not None:
            plotting.check(plot)
        found = charges.solve(n, starts=starts, key=jax.random.key(seed), kind=kind, progress=not as_json)
    report = _report(n, starts, seed, kind, found)
    if as_json:
        typer.echo(json.dumps(report | {"points": found.points.tolist()}))
    else:
        _show(report)
    if plot is not None:
        plotting.thomson(found.points, plot, title=f"{n} charges, energy {found.energy:.9f}")
    if not found.certified:
        raise typer.Exit(1)


def _report(n: int, starts: int, seed: int, kind: str, found: charges.ThomsonSolution) -> dict[str, Any]:
    best_known = charges.BEST_KNOWN.get(n)
    ended = sum(found.counts.values())
    return {
        "n": n,
        "energy": found.energy,
        "best_known": best_known,
        "difference": None if best_known is None else found.energy - best_known,
        "gradient_norm": found.gradient_norm,
        "smallest_eigenvalue": found.curvature,
        "null_modes": found.null_modes,
        "certified": found.certified,
        "minima": [{"energy": energy, "hits": hits} for energy, hits in found.minima],
        "starts": {"asked": starts, "ended": ended, "kind": kind, "seed": seed},
        "statuses": {status.name: count for status, count in found.counts.items()},
        "starts_per_second": ended / max(found.solve_seconds, 1e-9),
        "solve_seconds": found.solve_seconds,
        "compile_seconds": found.compile_seconds,
    }


def _show(report: dict[str, Any]) -> None:
    table = Table.grid(padding=(0, 2))
    known = report["best_known"]
    verdict = "minimum" if report["certified"] else "NOT certified"
    modes = f"{report['null_modes']} null modes, next eigenvalue {report['smallest_eigenvalue']:.6g}"
    statuses = ", ".join(f"{name} {count}" for name, count in report["statuses"].items())
    for name, value in (
        ("energy", f"{report['energy']:.9f}"),
        ("best known", "not in the table" if known is None else f"{known:.9f}"),
        ("difference", "" if known is None else f"{report['difference']:+.1e}"),
        ("gradient norm", f"{report['gradient_norm']:.1e}"),
        ("certificate", f"{verdict}: {modes}"),
        ("statuses", statuses),
        ("speed", f"{report['starts_per_second']:.3g} starts/s ({report['solve_seconds']:.2f} s)"),
        ("compile time", f"{report['compile_seconds']:.2f} s"),
    ):
        table.add_row(name, value)
    out.print(table, highlight=False)
    minima = Table("distinct minima", "hits", box=None, padding=(0, 2))
    for one in report["minima"][:SHOWN_MINIMA]:
        minima.add_row(f"{one['energy']:.9f}", str(one["hits"]))
    if len(report["minima"]) > SHOWN_MINIMA:
        minima.add_row(f"and {len(report['minima']) - SHOWN_MINIMA} more", "")
    out.print(minima, highlight=False)
