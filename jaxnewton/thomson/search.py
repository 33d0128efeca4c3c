"""The search: rounds of descents in the pool, each from moves of what the rounds before it found.

No descent is stopped before its end. Measured at N = 72 in two rounds of hopping: whoever stops one whose energy less
30 times its fall in the last 20 trips is above the lowest minimum saves 31 % of the trips, but stops 7 and 12 of 256
that would have come to it, for descents rest beside saddles; against the twelfth, from which moves begin, 0 % is saved.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxnewton.driver import Interruption, Report, solve_pool
from jaxnewton.problem import Problem
from jaxnewton.progress import bar
from jaxnewton.starts import Rows, Starts
from jaxnewton.thomson.landscape import Ends, merged, no_ends
from jaxnewton.thomson.moves import moved
from jaxnewton.thomson.starts import words
from jaxnewton.types import Array, Rules, Solver, Status, succeeded

POPULATION = 12  # lowest minima that the moves of a round begin at
VERSION = 1  # of the checkpoint


@dataclasses.dataclass(frozen=True)
class Search:
    """What stays the same from round to round."""

    n: int
    problem: Problem
    solver: Solver
    rules: Rules
    first: Callable[[], Starts]  # of the first round
    count: int  # starts a round
    key: Array
    label: str  # what the starts are, for checkpoints
    width: int | None
    devices: list[Any]


@dataclasses.dataclass
class Found:
    """What a search has come to."""

    ends: Ends  # successes
    stray: Ends  # the lowest end that is none, for where there are no others
    tally: np.ndarray  # (statuses,)
    rounds: int = 0
    compile_seconds: float = 0.0
    solve_seconds: float = 0.0
    finished: bool = True  # False: interrupted


def nothing(n: int) -> Found:
    """Before the first round."""
    return Found(no_ends(n), no_ends(n), np.zeros(len(Status), np.int64))


def run(
    search: Search,
    hops: int | None,
    time_limit: float | None,
    until: float | None,
    checkpoint: Path | None,
    progress: bool,
) -> Found:
    """Rounds until ``hops`` have followed the first, the time is up, or an energy of at most ``until`` is found."""
    began = time.perf_counter()
    found = _resumed(search, checkpoint) if checkpoint is not None and checkpoint.exists() else nothing(search.n)
    total = None
    if hops is not None or time_limit is None:
        hops = hops or 0
        total = search.count * (1 + hops)
    with bar(total) if progress else contextlib.nullcontext() as watch, Interruption() as interruption:
        while (hops is None or found.rounds <= hops) and found.finished and not interruption.asked:
            if found.rounds and (_is_up(began, time_limit) or _is_low(found, until)):
                break
            report = _round(search, found, watch)
            _add(search.n, found, report, search.count)
            if checkpoint is not None and found.finished:  # a round cut short is run anew
                _save(search, found, checkpoint)
    return found


def _is_up(began: float, limit: float | None) -> bool:
    return limit is not None and time.perf_counter() - began >= limit


def _is_low(found: Found, until: float | None) -> bool:
    return until is not None and len(found.ends.energy) > 0 and found.ends.energy[0] <= until


def _round(search: Search, found: Found, watch: Any) -> Report:
    if found.rounds == 0 or not len(found.ends.x):
        starts = search.first()
    else:
        rng = np.random.default_rng([*words(search.key), found.rounds])
        starts = Rows(moved(rng, found.ends.x[:POPULATION], search.count), search.count)

    def onward(finished: int, tally: Array, best: float) -> None:
        lowest = min(best, float(found.ends.energy[0])) if len(found.ends.energy) else best
        all_of = np.sum(np.asarray(tally).reshape(-1, len(Status)), axis=0) + found.tally
        watch(finished + int(found.tally.sum()), all_of, lowest)

    return solve_pool(
        search.problem,
        search.solver,
        starts,
        (),
        (),
        search.rules,
        width=search.width,
        keep=None,
        devices=search.devices,
        watch=watch and onward,
    )


def _add(n: int, found: Found, report: Report, count: int) -> None:
    outcome = report.kept.outcome
    x, energy, success = np.asarray(outcome.x), np.asarray(outcome.fun), np.asarray(succeeded(outcome.status))
    ones = np.ones(len(energy), np.int64)
    found.ends = merged(n, found.ends, Ends(x[success], energy[success], ones[success]))
    others = np.flatnonzero(~success & np.isfinite(energy))
    if len(others):
        lowest = others[[np.argmin(energy[others])]]
        found.stray = merged(n, found.stray, Ends(x[lowest], energy[lowest], ones[lowest]))
    found.tally = found.tally + np.asarray(report.tally)
    found.rounds += 1
    found.compile_seconds += report.compile_seconds
    found.solve_seconds += report.solve_seconds
    found.finished = report.finished is None or report.finished == count


def _identity(search: Search) -> dict[str, Any]:
    own = {"version": VERSION, "n": search.n, "starts": search.count, "kind": search.label, "key": words(search.key)}
    tol, most = map(float, search.rules)
    solver = re.sub(r" at 0x[0-9a-f]+", "", repr(search.solver))  # functions of Optax's have addresses
    return own | {"solver": solver, "tol": tol, "max_steps": most}


def _save(search: Search, found: Found, path: Path) -> None:
    """In one piece: an interruption leaves the last checkpoint whole."""
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        np.savez(
            file,
            **_identity(search),
            x=found.ends.x,
            energy=found.ends.energy,
            hits=found.ends.hits,
            **{f"stray_{name}": leaf for name, leaf in found.stray._asdict().items()},
            tally=found.tally,
            rounds=found.rounds,
            seconds=[found.compile_seconds, found.solve_seconds],
        )
    os.replace(partial, path)


def _resumed(search: Search, path: Path) -> Found:
    try:
        with path.open("rb") as file, np.load(file) as saved:
            kept = dict(saved)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile):
        raise ValueError(f"checkpoint must be a file that a search wrote; {path} is none, or damaged") from None
    for name, own in _identity(search).items():
        if name not in kept or not np.array_equal(kept[name], own):
            came = kept.get(name, "not in it")
            raise ValueError(f"checkpoint {path} is of another search: its {name} is {came}, this one's {own}")
    found = nothing(search.n)
    found.ends = Ends(*(kept[name] for name in Ends._fields))
    found.stray = Ends(*(kept[f"stray_{name}"] for name in Ends._fields))
    found.tally, found.rounds = kept["tally"], int(kept["rounds"])
    found.compile_seconds, found.solve_seconds = map(float, kept["seconds"])
    return found
