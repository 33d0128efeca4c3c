"""Share of the CUTEst problems solved: jaxnewton against SciPy's trust-exact and optimistix's BFGS.

    python bench/cutest.py [--initials ABCDEFGHIJKL] [--largest 100] [--names NAME ...] [--methods NAME ...]
        [--steps 500] [--verbose] [--json FILE]

The unconstrained problems of ``sif2jax`` whose names begin with A to L and that have at most 100 unknowns; the others
are held back. Float64, the problem's own start, the same number of trips (trial points) for everyone, and for SciPy
the same derivatives, jitted. What a solver says of its end is not believed: an end is stationary where the largest
component of its gradient is at most 1e-6 * min(1, the same at the start), or moves by more when every component of x
moves by a few units of rounding. Different local minima are legitimate, so ends at the lowest f that anyone found, to
1e-6 * (1 + |f|), are counted beside. A success is false where the end is not stationary or the Hessian there has a
clearly negative eigenvalue. The optimal values that come with the problems are not used. Needs ``sif2jax``, whose
import takes a minute, ``optimistix`` and ``scipy``.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optimistix as optx
import scipy.optimize
from jax.flatten_util import ravel_pytree

import jaxnewton as jn

CHECK = 1e-6  # of the gradient and of f, see above
ROUNDING = 10 * float(np.finfo(float).eps)
NEGATIVE = 1e-8  # an eigenvalue below minus this times the largest is clearly negative
GTOL = 1e-8  # for SciPy, relative to what jaxnewton's default of the same value is relative to
OPTIMISTIX_TOL = 1e-12  # rtol and atol; the loosest power of 100 with which it solves as many as with any tighter one
EXPENSIVE = ("DMN15102LS", "DMN15103LS")  # minutes each, so only by --names; nobody solves the first
VERSIONS = ("jax", "jaxlib", "sif2jax", "optimistix", "scipy", "numpy")


class Problem:
    """A problem as a function of a flat x, its derivatives compiled, its start evaluated."""

    def __init__(self, source: Any) -> None:
        self.x0, restore = ravel_pytree(source.y0)
        self.fun: Callable[[Any], Any] = lambda x: source.objective(restore(x), source.args)
        value_and_grad, hessian = jax.jit(jax.value_and_grad(self.fun)), jax.jit(jax.hessian(self.fun))
        self.value_and_grad = lambda x: jax.device_get(value_and_grad(x))
        self.hessian = lambda x: jax.device_get(hessian(x))
        began = time.perf_counter()
        f, g = self.value_and_grad(self.x0)
        if not np.all(np.isfinite([f, *g, *self.hessian(self.x0).flat])):
            raise FloatingPointError("not finite at the start")
        self.compile_seconds = time.perf_counter() - began
        self.scale = min(1.0, float(np.max(np.abs(g))))


@dataclasses.dataclass
class End:
    """What a method says of its end, and below what is found there."""

    status: str
    success: bool = False
    limit: bool = False  # out of trips
    trips: int = 0
    x: list[float] = dataclasses.field(default_factory=list)
    compile_seconds: float = float("nan")
    seconds: float = float("nan")
    f: float = float("inf")
    gradient: float = float("inf")
    allowed: float = 0.0
    lowest_eigenvalue: float = float("nan")
    stationary: bool = False
    saddle: bool = False
    lowest: bool = False
    false_success: bool = False

    def judge(self, problem: Problem) -> None:
        x = np.asarray(self.x)
        (f, g), H = problem.value_and_grad(x), problem.hessian(x)
        if not np.all(np.isfinite([f, *g, *H.flat])):
            self.false_success = self.success
            return
        eigenvalues = np.linalg.eigvalsh(H)
        self.f, self.gradient, self.lowest_eigenvalue = float(f), float(np.max(np.abs(g))), float(eigenvalues[0])
        self.allowed = max(CHECK * problem.scale, ROUNDING * float(np.max(np.abs(H) @ np.abs(x))))
        self.stationary = self.gradient <= self.allowed
        self.saddle = self.lowest_eigenvalue < -NEGATIVE * float(np.max(np.abs(eigenvalues)))
        self.false_success = self.success and (self.saddle or not self.stationary)


Method = Callable[[Problem, int], Callable[[], End]]  # problem and most trips to a run that may be repeated


def ours(solver: Any) -> Method:
    def prepare(problem: Problem, steps: int) -> Callable[[], End]:
        def run() -> End:
            end = jax.device_get(jn.minimize(problem.fun, problem.x0, solver=solver, max_steps=steps))
            status = jn.Status(int(end.status))
            return End(status.name, bool(end.success), status is jn.Status.MAX_STEPS, int(end.nit), end.x.tolist())

        return run

    return prepare


def trust_exact(problem: Problem, steps: int) -> Callable[[], End]:
    options = {"maxiter": steps, "gtol": GTOL * problem.scale}
    call = {"fun": problem.value_and_grad, "jac": True, "hess": problem.hessian, "options": options}

    def run() -> End:
        end = scipy.optimize.minimize(x0=np.asarray(problem.x0), method="trust-exact", **call)
        return End(f"status {end.status}", bool(end.success), end.status == 1, int(end.nit), end.x.tolist())

    return run


def optimistix_bfgs(problem: Problem, steps: int) -> Callable[[], End]:
    solver = optx.BFGS(rtol=OPTIMISTIX_TOL, atol=OPTIMISTIX_TOL)

    @jax.jit
    def solve(x: Any) -> tuple[Any, ...]:
        end = optx.minimise(lambda x, _: problem.fun(x), solver, x, throw=False, max_steps=steps)
        limit = end.result == optx.RESULTS.nonlinear_max_steps_reached
        return end.value, end.result == optx.RESULTS.successful, limit, end.stats["num_steps"]

    def run() -> End:
        x, success, limit, trips = jax.device_get(solve(problem.x0))
        status = "successful" if success else "out of steps" if limit else "failed"
        return End(status, bool(success), bool(limit), int(trips), x.tolist())

    return run


OURS = "jaxnewton default"
METHODS: dict[str, Method] = {
    OURS: ours(None),
    "jaxnewton Newton": ours(jn.Newton()),
    "jaxnewton BFGS": ours(jn.BFGS()),
    "jaxnewton LBFGS": ours(jn.LBFGS()),
    "SciPy trust-exact": trust_exact,
    "optimistix BFGS": optimistix_bfgs,
}


def solve(problem: Problem, method: Method, steps: int) -> End:
    """Run it twice, the second time for the clock, and look at its end."""
    try:
        run, ends, times = method(problem, steps), [], []
        for _ in range(2):
            began = time.perf_counter()
            ends.append(run())
            times.append(time.perf_counter() - began)
    except Exception as error:  # one crash must not end the benchmark
        return End(type(error).__name__)
    compiling = problem.compile_seconds if method is trust_exact else max(times[0] - times[1], 0.0)
    end = dataclasses.replace(ends[1], compile_seconds=compiling, seconds=times[1])
    end.judge(problem)
    return end


def compare(source: Any, methods: list[str], steps: int) -> dict[str, End]:
    """Every method's end on one problem."""
    problem = Problem(source)
    ends = {name: solve(problem, METHODS[name], steps) for name in methods}
    best = min(end.f for end in ends.values())
    for end in ends.values():
        end.lowest = bool(np.isfinite(end.f)) and end.f <= best + CHECK * (1 + abs(best))
    jax.clear_caches()  # nothing compiled for this problem serves another
    return ends


HEADER = """\
| method | stationary | lowest f | false success | stationary, not claimed | out of trips | compile s | warm ms |
|---|--:|--:|--:|--:|--:|--:|--:|"""


def row(method: str, ends: list[End]) -> str:
    """A line of the table: counts, and medians of the two times."""
    times = [(end.compile_seconds, end.seconds) for end in ends if np.isfinite(end.seconds)] or [(np.nan, np.nan)]
    compiling, warm = (statistics.median(column) for column in zip(*times, strict=True))
    stationary, lowest = (sum(found) for found in zip(*((end.stationary, end.lowest) for end in ends), strict=True))
    cells = (
        method,
        f"**{100 * stationary / len(ends):.1f} %** ({stationary})",
        f"**{100 * lowest / len(ends):.1f} %** ({lowest})",
        sum(end.false_success for end in ends),
        sum(end.stationary and not end.saddle and not end.success for end in ends),
        sum(end.limit for end in ends),
        f"{compiling:.2f}",
        f"{1000 * warm:.1f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def report(found: dict[str, dict[str, End]], methods: list[str]) -> None:
    """The table, and by name what it does not show."""
    print(HEADER)
    for method in methods:
        print(row(method, [ends[method] for ends in found.values()]))
    for method in methods:
        ends = {name: ends[method] for name, ends in found.items()}
        left = [f"{name} {end.status}" for name, end in ends.items() if not end.stationary]
        false = [name for name, end in ends.items() if end.false_success]
        modest = [f"{n} {end.status}" for n, end in ends.items() if end.stationary and not (end.success or end.saddle)]
        print(f"\n{method}\n  not stationary: {', '.join(left)}")
        print(f"  false success: {', '.join(false)}\n  stationary, not claimed: {', '.join(modest)}")
    for what in ("stationary", "lowest") if OURS in methods else ():
        print(f"\n{what} by another, not by {OURS}:")
        for name, ends in found.items():
            if not getattr(ends[OURS], what) and any(others := [m for m in methods if getattr(ends[m], what)]):
                print(f"  {name}: {', '.join(others)}; ours: {describe(ends[OURS])}")


def describe(end: End) -> str:
    """One end in words."""
    marks = " ".join(m for m in ("stationary", "saddle", "lowest", "false_success") if getattr(end, m))
    numbers = f"f {end.f:.9g}, max |g| {end.gradient:.1e} of {end.allowed:.0e}, eigenvalue {end.lowest_eigenvalue:.1e}"
    return f"{end.status}, {end.trips} trips, {numbers} {marks}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--initials", default="ABCDEFGHIJKL", help="first letters of the problems' names")
    parser.add_argument("--largest", type=int, default=100, help="most unknowns")
    parser.add_argument("--names", nargs="+", help="only these of the problems")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=500, help="most trips for everyone")
    parser.add_argument("--verbose", action="store_true", help="print every end")
    parser.add_argument("--json", type=Path, help="write every end here")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    where = f"{os.cpu_count()} cores, {jax.default_backend()}"
    print(f"Python {platform.python_version()}, {', '.join(f'{k} {v}' for k, v in versions.items())}; {where}")
    jax.config.update("jax_enable_x64", True)
    import sif2jax  # slow, and makes its data in the dtype of the moment

    found: dict[str, dict[str, End]] = {}
    excluded: dict[str, str] = {}
    began = time.perf_counter()
    for source in sif2jax.unconstrained_minimisation_problems:
        name = type(source).__name__
        if name[0] not in options.initials or not (name in options.names if options.names else name not in EXPENSIVE):
            continue
        try:
            if ravel_pytree(source.y0)[0].size > options.largest:
                continue
            found[name] = compare(source, options.methods, options.steps)
        except Exception as error:  # the problem's own: the methods' are caught one by one
            excluded[name] = repr(error)[:200]
            continue
        if options.verbose:
            print(name, *(f"  {method}: {describe(end)}" for method, end in found[name].items()), sep="\n", flush=True)
    print(f"\n{len(found)} problems, at most {options.steps} trips, {time.perf_counter() - began:.0f} s\n")
    report(found, options.methods)
    print("\n" + "\n".join(f"excluded: {name}: {why}" for name, why in excluded.items()))
    if options.json:
        record = {name: {k: dataclasses.asdict(end) for k, end in ends.items()} for name, ends in found.items()}
        options.json.write_text(json.dumps({"versions": versions, "excluded": excluded, "ends": record}, indent=1))


if __name__ == "__main__":
    main()
