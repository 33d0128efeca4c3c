"""Where geodesic acceleration pays: trips and time of Levenberg and Marquardt's method on NIST's sets, from far starts.

    python bench/geodesic.py [--names NAME ...] [--starts B] [--repeats R]

The thirteen nonlinear sets of tests/nist.py, each from the same B starts: the certified parameters times exp(0.7 z),
z standard normal, one in 33 with the wrong sign. A fit counts as right where its sum of squares agrees with the
certified one to 1e-6. Times are of the whole batch, warm, one after the other in pairs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxnewton as jn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # ahead of this folder, which has a nist.py, too
from nist import NONLINEAR, Nonlinear

SPREAD, WRONG_SIGN = 0.7, 0.03
MAX_STEPS = 1000
SOLVERS = {"straight": jn.LevenbergMarquardt(), "geodesic": jn.LevenbergMarquardt(geodesic=True)}


def compare(certified: Nonlinear, count: int, repeats: int) -> str:
    """A row of the table."""
    rng = np.random.default_rng(0)
    shape = (count, len(certified.params))
    sign = np.where(rng.uniform(size=shape) < WRONG_SIGN, -1.0, 1.0)
    starts = jnp.asarray(np.array(certified.params) * np.exp(SPREAD * rng.normal(size=shape)) * sign)

    def misfit(p: jax.Array) -> jax.Array:
        return certified.model(certified.x, p) - certified.y

    def run(name: str) -> jn.Solutions:
        found = jn.least_squares_batch(misfit, starts, solver=SOLVERS[name], max_steps=MAX_STEPS)
        return jax.block_until_ready(found)

    ends = {name: run(name) for name in SOLVERS}
    seconds: dict[str, list[float]] = {name: [] for name in SOLVERS}
    for _ in range(repeats):
        for name in SOLVERS:
            began = time.perf_counter()
            run(name)
            seconds[name].append(time.perf_counter() - began)
    right, trips = [], []
    for found in ends.values():
        off = np.abs(2 * np.asarray(found.fun) - certified.rss)
        good = np.asarray(found.success) & (off <= 1e-6 * certified.rss + 1e-12)
        right.append(100 * good.mean())
        trips.append(np.mean(np.asarray(found.nit)[good]))
    ratios = sorted(a / b for a, b in zip(*seconds.values(), strict=True))
    cells = [
        certified.name,
        *(f"{value:.1f}" for value in (*right, *trips)),
        f"{trips[0] / trips[1]:.2g}",
        f"{statistics.median(ratios):.2g} ({ratios[0]:.2g}..{ratios[-1]:.2g})",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="*", choices=[certified.name for certified in NONLINEAR])
    parser.add_argument("--starts", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print("| set | right % | geodesic | trips of a right fit | geodesic | trips: ratio | time: ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for certified in NONLINEAR:
        if not given.names or certified.name in given.names:
            print(compare(certified, given.starts, given.repeats), flush=True)


if __name__ == "__main__":
    main()
