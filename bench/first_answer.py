"""How long until the first answer: the import, and a fresh process that imports, compiles and solves 1000 starts.

    python bench/first_answer.py [--n 2 5 10] [--starts 1000] [--repeats 3] [--json FILE]

Every measurement is a fresh subprocess, on the CPU. Import: what ``import jaxnewton`` takes beyond ``import jax``,
from the medians of interleaved processes. First answer: wall time of a whole process, from its launch to its exit, that
minimises the chained Rosenbrock function of n unknowns from ``--starts`` starts with ``minimize_batch`` and the default
solver in float64, twice; beside it, what the process itself saw of its imports and of the two solves. The first of them
compiles. JAX's own start is in all of these.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

IMPORT = """
import time
began = time.perf_counter()
import {module}
print(time.perf_counter() - began)
"""

SOLVE = """
import time
began = time.perf_counter()
import jax
import jax.numpy as jnp
import numpy as np
import jaxnewton as jn
jax.config.update("jax_enable_x64", True)
imported = time.perf_counter()

def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

x0s = np.random.default_rng(0).uniform(-2, 2, ({starts}, {n}))
found = jax.block_until_ready(jn.minimize_batch(rosenbrock, x0s))
first = time.perf_counter()
jax.block_until_ready(jn.minimize_batch(rosenbrock, x0s))
second = time.perf_counter()
assert np.mean(found.success) > 0.99, found
print(imported - began, first - imported, second - first)
"""


class Answer(NamedTuple):
    """Seconds of one process."""

    process: float
    imports: float
    first: float
    second: float


def child(code: str) -> tuple[float, list[float]]:
    """Wall time of a fresh interpreter running ``code``, and the numbers that it printed."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, text=True, stdout=subprocess.PIPE)
    return time.perf_counter() - began, [float(word) for word in done.stdout.split()]


def import_seconds(repeats: int) -> dict[str, list[float]]:
    """Import times of jax and of jaxnewton, jax included."""
    modules = ("jax", "jaxnewton")
    for module in modules:  # bytecode and the disk's cache
        child(IMPORT.format(module=module))
    times: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(repeats):
        for module in modules:
            times[module] += child(IMPORT.format(module=module))[1]
    return times


def answers(n: int, starts: int, repeats: int) -> list[Answer]:
    runs = (child(SOLVE.format(n=n, starts=starts)) for _ in range(repeats))
    return [Answer(process, *numbers) for process, numbers in runs]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--n", type=int, nargs="+", default=[2, 5, 10], help="numbers of unknowns")
    parser.add_argument("--starts", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3, help="processes for each n")
    parser.add_argument("--import-repeats", type=int, default=5, help="processes for each import")
    parser.add_argument("--json", type=Path, help="write every timing here")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    imports = import_seconds(options.import_repeats)
    jax, ours = (statistics.median(imports[module]) for module in ("jax", "jaxnewton"))
    print("| import | s |\n|---|--:|")
    print(
        f"| jax | {jax:.2f} |\n| jaxnewton, jax included | {ours:.2f} |\n| **jaxnewton alone** | **{ours - jax:.2f}** |"
    )
    print(f"\n| {options.starts} starts, n | whole process s | spread | imports s | first solve s | second solve s |")
    print("|--:|--:|--:|--:|--:|--:|", flush=True)
    record: dict[int, list[Answer]] = {}
    for n in options.n:
        record[n] = answers(n, options.starts, options.repeats)
        middle = Answer(*map(statistics.median, zip(*record[n], strict=True)))
        spread = f"{min(run.process for run in record[n]):.1f}..{max(run.process for run in record[n]):.1f}"
        columns = f"{middle.imports:.2f} | {middle.first:.2f} | {middle.second:.3f}"
        print(f"| {n} | **{middle.process:.1f}** | {spread} | {columns} |", flush=True)
    if options.json:
        runs = {n: [run._asdict() for run in found] for n, found in record.items()}
        options.json.write_text(json.dumps({"imports": imports, "answers": runs}, indent=1))


if __name__ == "__main__":
    main()
