"""``jaxnewton thomson``: charges on a sphere."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.table import Table

from jaxnewton import plotting
from jaxnewton import thomson as charges
from jaxnewton.cli.shared import check_plot, out, refusing
from jaxnewton.thomson.view import write_view

SHOWN_MINIMA = 8


def thomson(
    n: Annotated[int, typer.Argument(metavar="N", help="Number of charges, at least 2.")],
    starts: Annotated[int, typer.Option(help="Number of starting configurations, in each round.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.", min=0, max=2**63 - 1)] = 0,
    kind: Annotated[str, typer.Option(help="Starts: random, polar, spiral, symmetric or mixed.")] = "random",
    hops: Annotated[int | None, typer.Option(help="Rounds of basin hopping after the first.", min=0)] = None,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds after which no further round begins; without --hops, hop till then.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Keep the search in this file, and go on from it if it exists.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write the charges to this file, .xyz or .npz.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the charges to this file (needs jaxnewton[plot]).")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a view to turn with the mouse to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Charges on a sphere: the lowest energy that many descents find, certified as a minimum.

    Exit status 0 only if a certified minimum was found.
    """
    with refusing("thomson"):
        check_plot(plot)
        for option, path in (("--checkpoint", checkpoint), ("--save", save), ("--html", html)):
            if path is not None and not path.resolve().parent.is_dir():
                raise ValueError(f"{option}: there is no folder {path.resolve().parent}")
        given = [path.resolve() for path in (checkpoint, save, plot, html) if path is not None]
        if len(set(given)) < len(given):
            raise ValueError("--checkpoint, --save, --plot and --html must be different files")
        if save is not None and save.suffix not in (".xyz", ".npz"):
            raise ValueError(f"--save: a file ends in .xyz or .npz; {save} does not")
        found = charges.solve(
            n,
            starts=starts,
            key=jax.random.key(seed),
            kind=kind,
            hops=hops,
            time_limit=time_limit,
            checkpoint=checkpoint,
            progress=not as_json,
        )
    report = _report(n, starts, seed, kind, found)
    if as_json:
        typer.echo(json.dumps(report | {"points": found.points.tolist()}))
    else:
        _show(report)
    title = f"{n} charges, energy {found.energy:.9f}"
    if save is not None:
        found.save(save)
    if plot is not None:
        plotting.thomson(found.points, plot, title=title)
    if html is not None:
        verdict = "certified minimum" if found.certified else "not certified"
        write_view(found.points, html, title=title, text=f"{verdict}, gradient norm {found.gradient_norm:.1e}")
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
        "below_best_known": found.discovery,
        "gradient_norm": found.gradient_norm,
        "smallest_eigenvalue": found.curvature,
        "null_modes": found.null_modes,
        "certified": found.certified,
        "minima": [
            {
                "energy": one.energy,
                "hits": one.hits,
                "smallest_eigenvalue": None if math.isnan(one.curvature) else one.curvature,
                "point_group_order": one.symmetry or None,
                "dipole": one.dipole,
            }
            for one in found.minima
        ],
        "rounds": found.rounds,
        "starts": {"asked": starts * found.rounds, "ended": ended, "kind": kind, "seed": seed},
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
        ("rounds", str(report["rounds"])),
        ("statuses", statuses),
        ("speed", f"{report['starts_per_second']:.3g} starts/s ({report['solve_seconds']:.2f} s)"),
        ("compile time", f"{report['compile_seconds']:.2f} s"),
    ):
        table.add_row(name, value)
    out.print(table, highlight=False)
    minima = Table("distinct minima", "hits", "next eigenvalue", "point group", "dipole", box=None, padding=(0, 2))
    for one in report["minima"][:SHOWN_MINIMA]:
        group, lowest = one["point_group_order"], one["smallest_eigenvalue"]
        minima.add_row(
            f"{one['energy']:.9f}",
            str(one["hits"]),
            "" if lowest is None else f"{lowest:.4g}",
            f"order {group}" if group else "order infinite" if report["n"] == 2 else "",
            f"{one['dipole']:.1e}",
        )
    if len(report["minima"]) > SHOWN_MINIMA:
        minima.add_row(f"and {len(report['minima']) - SHOWN_MINIMA} more")
    out.print(minima, highlight=False)
    if report["below_best_known"]:
        out.print("[bold]BELOW THE BEST KNOWN ENERGY, by more than rounding, and certified. Save it and tell others.")
