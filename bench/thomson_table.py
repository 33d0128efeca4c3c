"""Thomson's problem for a range of N: the lowest energy found beside the best known one, and the time it took.

    python bench/thomson_table.py FIRST LAST [--starts M] [--seed S] [--minutes-each T] [--devices 2] [--out FILE.md]
        [--plot FILE.png]

For every N: rounds of M descents from mixed starts and then by basin hopping, until the best known energy is reached to
1e-9 relative or T minutes are over; certified by the Hessian's eigenvalues. Times include compilation, which every N
needs anew. Prints a Markdown table, and says so if an energy is lower than the best known one. "Off" is the difference
to the best known energy, whose table has nine decimals; "curvature" the Hessian's smallest eigenvalue beside the
rotations' zeros; "group" the order of the point group, reflections included; "host" all that is not the pool.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import jax

import jaxnewton as jn
from jaxnewton.thomson import BEST_KNOWN

REACHED = 1e-9  # relative


def row(n: int, starts: int, seed: int, minutes: float) -> tuple[str, bool, float]:
    """One line of the table, whether the best known energy was reached and certified, and the seconds it took."""
    known = BEST_KNOWN.get(n)
    began = time.perf_counter()
    found = jn.thomson.solve(
        n,
        starts=starts,
        key=jax.random.key(seed),
        kind="mixed",
        time_limit=60 * minutes,
        until=None if known is None else known * (1 + REACHED),
    )
    seconds = time.perf_counter() - began
    difference = float("nan") if known is None else (found.energy - known) / known
    reached = found.certified and difference <= REACHED
    verdict = "**LOWER**" if found.discovery else "yes" if reached else "no"
    lowest = found.minima[0] if found.minima else None
    cells = (
        n,
        f"{found.energy:.9f}",
        f"{difference:+.0e}",
        verdict,
        f"{found.curvature:.4g}",
        "infinite" if n == 2 else lowest.symmetry if lowest else "",
        len(found.minima),
        sum(found.counts.values()),
        f"{seconds:.1f}",
        f"{seconds - found.compile_seconds - found.solve_seconds:.1f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |", reached, seconds


def plot(ns: list[int], seconds: list[float], reached: list[bool], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for which, color, label in ((True, "tab:blue", "reached"), (False, "tab:red", "not reached")):
        chosen = [(n, s) for n, s, r in zip(ns, seconds, reached, strict=True) if r is which]
        if chosen:
            axes.scatter(*zip(*chosen, strict=True), s=12, color=color, label=label)
    axes.set(xlabel="N", ylabel="seconds, compilation included", yscale="log")
    axes.legend()
    axes.grid(visible=True, linewidth=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--starts", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes-each", type=float, default=4.0)
    parser.add_argument("--devices", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", options.devices)
    names = (
        "N",
        "energy",
        "off, relative",
        "reached",
        "curvature",
        "group",
        "minima",
        "starts",
        "seconds",
        "of them host",
    )
    lines = ["| " + " | ".join(names) + " |", "|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|"]
    print("\n".join(lines), flush=True)
    ns, seconds, reached = list(range(options.first, options.last + 1)), [], []
    for n in ns:
        line, ok, spent = row(n, options.starts, options.seed, options.minutes_each)
        print(line, flush=True)
        lines.append(line)
        seconds.append(spent)
        reached.append(ok)
        jax.clear_caches()
    missed = [n for n, ok in zip(ns, reached, strict=True) if not ok]
    end = f"{sum(reached)} of {len(ns)} reached and certified in {sum(seconds) / 60:.1f} minutes, seed {options.seed}, "
    end += f"{options.starts} starts a round." + (f" Not reached: {', '.join(map(str, missed))}." if missed else "")
    print(f"\n{end}")
    if options.out:
        options.out.write_text("\n".join(lines) + f"\n\n{end}\n")
    if options.plot:
        plot(ns, seconds, reached, options.plot)


if __name__ == "__main__":
    main()
