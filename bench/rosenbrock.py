"""Starts solved a second on Rosenbrock functions of n unknowns: jaxnewton against JAX's other batched minimisers.

    python bench/rosenbrock.py [--function chained|extended] [--n 2 4 10] [--starts M] [--one-vmap M]
        [--solvers NAME ...] [--peers NAME ...] [--repeats R] [--devices 2] [--json FILE]

One process, float64, the same uniform starts in [-2, 2]^n for everyone. A start counts as solved where the largest
component of the gradient at the returned x, computed here with ``jax.grad``, is at most 1e-6; the rate is solved
starts a second. jaxnewton runs at its default tolerance; every peer runs at the loosest power of ten with which as
many of its ends pass that check as with any tighter one, and at the batch size and on the devices (one, or all of
them with the loop inside ``shard_map``) that suit it best. Warm runs are interleaved, so that the ratios, taken within
a repeat, hold on a machine whose speed drifts. Chained: 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2 over all i; extended
(More, Garbow & Hillstrom 1981, problem 21): over even i only. Needs ``optimistix``; without ``jaxopt`` its L-BFGS is
left out.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
import jax.scipy.optimize
import lineax as lx
import numpy as np
import optimistix as optx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxnewton as jn

Array = jax.Array

NORMAL = lx.Normal(lx.Cholesky())
CHECK = 1e-6  # largest gradient component of a solved start
TOLERANCES = [10.0**-k for k in range(3, 11)]  # what a peer may be given, loosest first
NEARLY_ALL = 0.999  # of what passes at the peer's best tolerance
BATCHES = (250, 1000, 4000, 16000)  # tried for a peer in this order, until the rate has fallen off
GPU_BATCHES = (16_000, 128_000, 1_000_000)  # the same for all peers
FALLEN_OFF = 0.75  # of the best rate so far
TUNING_SECONDS, PEER_SECONDS = 0.25, 0.6  # aimed at for one run of a peer while its batch is chosen, and when timed
STARTS = {2: 200_000, 4: 100_000, 10: 10_000}  # for jaxnewton; a peer takes the first so many of them
VERSIONS = ("jax", "jaxlib", "optimistix", "lineax", "equinox", "jaxopt", "numpy")


class Function(NamedTuple):
    """f = r'r."""

    fun: Callable[[Array], Array]
    residual: Callable[[Array], Array]


def pairs(low: Callable[[Array], Array], high: Callable[[Array], Array]) -> Function:
    return Function(
        lambda x: jnp.sum(100 * (high(x) - low(x) ** 2) ** 2 + (1 - low(x)) ** 2),
        lambda x: jnp.concatenate([10 * (high(x) - low(x) ** 2), 1 - low(x)]),
    )


FUNCTIONS = {
    "chained": pairs(lambda x: x[:-1], lambda x: x[1:]),
    "extended": pairs(lambda x: x[::2], lambda x: x[1::2]),
}


@functools.partial(jax.jit, static_argnums=0)
def passes(function: Function, x: Array) -> Array:
    """Which rows are stationary points."""
    return jnp.max(jnp.abs(jax.vmap(jax.grad(function.fun))(x)), axis=1) <= CHECK


def count_solved(function: Function, ends: Sequence[Array]) -> int:
    return sum(int(np.sum(passes(function, np.asarray(x)))) for x in ends)


# The peers: one start each, vmapped below.


def optimistix_minimise(solver: Any, function: Function, x: Array, tol: Array) -> Array:
    chosen = solver(rtol=tol, atol=tol)
    return optx.minimise(lambda y, _: function.fun(y), chosen, x, throw=False, max_steps=1000).value


def optimistix_squares(solver: Any, linear_solver: Any, function: Function, x: Array, tol: Array) -> Array:
    chosen = solver(rtol=tol, atol=tol, linear_solver=linear_solver)
    return optx.least_squares(lambda y, _: function.residual(y), chosen, x, throw=False, max_steps=1000).value


def jax_bfgs(function: Function, x: Array, tol: Array) -> Array:
    return jax.scipy.optimize.minimize(function.fun, x, method="BFGS", options={"gtol": tol}).x


def jaxopt_lbfgs(function: Function, x: Array, tol: Array) -> Array:
    import jaxopt

    return jaxopt.LBFGS(function.fun, maxiter=1000, tol=tol).run(x).params


class Peer(NamedTuple):
    """Another package's minimiser.

    XLA can hang where several CPU devices run batched LAPACK calls at once: all its threads wait for threads. It
    takes batches that are worth spreading over threads, so a peer that calls LAPACK (``lapack``) is split over the
    devices in small batches only, and waits for each before the next. Nor does it gain from larger ones.
    """

    name: str
    solve: Callable[[Function, Array, Array], Array]
    batches: tuple[int, ...] = BATCHES
    lapack: bool = False


def squares(solver: Any, linear_solver: Any) -> Callable[[Function, Array, Array], Array]:
    return functools.partial(optimistix_squares, solver, linear_solver)


PEERS = (
    Peer("optimistix BFGS", functools.partial(optimistix_minimise, optx.BFGS)),
    Peer("optimistix LBFGS", functools.partial(optimistix_minimise, optx.LBFGS)),
    Peer("optimistix LM (QR)", squares(optx.LevenbergMarquardt, lx.QR()), (64, 250), lapack=True),
    Peer("optimistix LM (normal equations)", squares(optx.LevenbergMarquardt, NORMAL), (64, 250), lapack=True),
    Peer("optimistix GaussNewton (normal equations)", squares(optx.GaussNewton, NORMAL), (64, 250), lapack=True),
    Peer("jax.scipy BFGS", jax_bfgs, (250, 1000)),
    Peer("jaxopt LBFGS", jaxopt_lbfgs, (250, 1000)),
)
SOLVERS = {
    "TrustRegion": jn.TrustRegion(),
    "Newton": jn.Newton(),
    "NewtonCG": jn.NewtonCG(),
    "BFGS": jn.BFGS(),
    "LBFGS": jn.LBFGS(),
    "GaussNewton": jn.GaussNewton("cholesky"),
    "LevenbergMarquardt": jn.LevenbergMarquardt("cholesky"),
}
OF_RESIDUALS = ("GaussNewton", "LevenbergMarquardt")
LARGEST_LAPACK_SPLIT = 250


class Program(NamedTuple):
    """A peer compiled for one batch size, on one device or all."""

    function: Function
    peer: Peer
    batch: int
    mesh: Mesh | None  # None: one device
    solve: Callable[[Array, float], Array]

    def chunks(self, starts: np.ndarray, number: int) -> list[Array]:
        """So many batches, if there are enough starts, already where they are needed."""
        place = jax.devices()[0] if self.mesh is None else NamedSharding(self.mesh, PartitionSpec("device"))
        number = max(min(number, len(starts) // self.batch), 1)
        return [jax.device_put(starts[i * self.batch : (i + 1) * self.batch], place) for i in range(number)]


def compile_peer(function: Function, peer: Peer, n: int, batch: int, mesh: Mesh | None) -> Program:
    block = jax.vmap(functools.partial(peer.solve, function), in_axes=(0, None))
    if mesh is None:
        return Program(function, peer, batch, mesh, jax.jit(block))
    # Traced outside shard_map: lineax refuses to be traced inside (github.com/patrick-kidger/lineax/issues/185).
    traced = jax.extend.core.jaxpr_as_fun(jax.make_jaxpr(block)(jnp.zeros((batch // mesh.size, n)), 1.0))
    split, whole = PartitionSpec("device"), PartitionSpec()
    everywhere = jax.shard_map(
        lambda x, tol: traced(x, tol)[0], mesh=mesh, in_specs=(split, whole), out_specs=split, check_vma=False
    )
    return Program(function, peer, batch, mesh, jax.jit(everywhere))


class Contestant(NamedTuple):
    """Something to time. ``run`` returns arrays of ends, one row a start."""

    name: str
    function: Function
    devices: int
    batch: int
    tolerance: str
    run: Callable[[], list[Array]]
    first_seconds: float  # of the first call, on a single batch, compilation included
    calls: int  # batches in one run
    tuned: bool = True  # False: all starts under one vmap


def clock(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = jax.block_until_ready(run())
    return time.perf_counter() - began, result


def choose_tolerance(program: Program, starts: np.ndarray) -> float:
    chunk = program.chunks(starts, 1)[0]
    shares = [count_solved(program.function, [program.solve(chunk, tol)]) for tol in TOLERANCES]
    return next(tol for tol, share in zip(TOLERANCES, shares, strict=True) if share >= NEARLY_ALL * max(shares))


def contestant(program: Program, starts: np.ndarray, tol: float, seconds: float) -> Contestant:
    """The program on as many batches as fill about ``seconds``."""
    one = program.chunks(starts, 1)[0]
    first, _ = clock(lambda: program.solve(one, tol))
    warm, _ = clock(lambda: program.solve(one, tol))
    chunks = program.chunks(starts, round(seconds / warm))

    def run() -> list[Array]:
        ends = []
        for chunk in chunks:
            ends.append(program.solve(chunk, tol))
            if program.peer.lapack:
                ends[-1].block_until_ready()
        return ends

    devices = 1 if program.mesh is None else program.mesh.size
    tolerance = f"{tol:.0e}"
    return Contestant(program.peer.name, program.function, devices, program.batch, tolerance, run, first, len(chunks))


def rate_of(one: Contestant) -> float:
    """Solved starts a second, the better of two runs."""
    seconds, ends = min((clock(one.run) for _ in range(2)), key=lambda timing: timing[0])
    return count_solved(one.function, ends) / seconds


def usable(peer: Peer, batch: int, count: int, mesh: Mesh | None) -> bool:
    if mesh is not None and (batch % mesh.size or (peer.lapack and batch > LARGEST_LAPACK_SPLIT)):
        return False
    return batch <= count


def best_batches(
    function: Function, peer: Peer, n: int, starts: np.ndarray, mesh: Mesh | None, one_vmap: int
) -> list[tuple[float, Contestant]]:
    """The peer under one vmap; and on one device and on all, at the batch size where it does best; with the rates."""
    tol = choose_tolerance(compile_peer(function, peer, n, min(1000, len(starts)), None), starts)
    whole = compile_peer(function, peer, n, min(one_vmap, len(starts)), None)
    as_written = contestant(whole, starts, tol, 0.0)._replace(tuned=False)
    found = [(rate_of(as_written), as_written)]
    for place in [None] if mesh is None else [None, mesh]:
        trials: list[tuple[float, Contestant, Program]] = []
        batches = peer.batches if jax.default_backend() == "cpu" else [min(b, len(starts)) for b in GPU_BATCHES]
        for batch in filter(lambda batch: usable(peer, batch, len(starts), place), dict.fromkeys(batches)):
            program = compile_peer(function, peer, n, batch, place)
            trial = contestant(program, starts, tol, TUNING_SECONDS)
            trials.append((rate_of(trial), trial, program))
            if trials[-1][0] < FALLEN_OFF * max(rate for rate, *_ in trials):
                break
        rate, trial, program = max(trials, key=lambda entry: entry[0])
        timed = contestant(program, starts, tol, PEER_SECONDS)
        found.append((rate, timed._replace(first_seconds=trial.first_seconds)))
    return found


def ours(function: Function, name: str, starts: np.ndarray, devices: int) -> Contestant:
    x0s = jnp.asarray(starts)
    verb, f = (jn.least_squares_batch, function.residual) if name in OF_RESIDUALS else (jn.minimize_batch, function.fun)

    def run() -> list[Array]:
        return [verb(f, x0s, solver=SOLVERS[name], devices=devices).x]

    first, _ = clock(run)
    return Contestant(f"jaxnewton {name}", function, devices, len(starts), "default", run, first, 1)


class Row(NamedTuple):
    """A line of the table."""

    method: str
    n: int
    devices: int
    batch: int
    starts: int
    tolerance: str
    success: float
    compile_seconds: float
    rates: list[float]
    ratios: list[list[float]]  # to the best peer under one vmap and to the best tuned one, within each repeat; or none


def measure(contestants: list[Contestant], repeats: int) -> list[list[tuple[float, int, int]]]:
    """(seconds, solved, starts) for every repeat of every contestant; a repeat runs them all in turn."""
    timings: list[list[tuple[float, int, int]]] = [[] for _ in contestants]
    for _ in range(repeats):
        for one, kept in zip(contestants, timings, strict=True):
            seconds, ends = clock(one.run)
            kept.append((seconds, count_solved(one.function, ends), sum(len(x) for x in ends)))
    return timings


def in_turn(mine: list[Contestant], peers: list[Contestant]) -> list[Contestant]:
    """Ours, the best peer, ours, the next peer, ..."""
    pairs = [one for pair in zip(mine, peers, strict=False) for one in pair]
    return pairs + mine[len(peers) :] + peers[len(mine) :]


def bench(n: int, starts: np.ndarray, mesh: Mesh | None, peers: list[Peer], options: argparse.Namespace) -> list[Row]:
    function = FUNCTIONS[options.function]
    found = [entry for peer in peers for entry in best_batches(function, peer, n, starts, mesh, options.one_vmap)]
    rivals = [peer for _, peer in sorted(found, key=lambda entry: -entry[0])]
    counts = [1] if mesh is None else [mesh.size, 1]
    mine = [ours(function, name, starts, count) for count in counts for name in options.solvers]
    turns = in_turn(mine, rivals)
    timings = dict(zip(turns, measure(turns, options.repeats), strict=True))
    rates = {one: [solved / seconds for seconds, solved, _ in timing] for one, timing in timings.items()}
    rivals.sort(key=lambda peer: -statistics.median(rates[peer]))
    best = [rates[next(peer for peer in rivals if peer.tuned is tuned)] for tuned in (False, True)]

    def row(one: Contestant, is_ours: bool) -> Row:
        call = statistics.median(seconds for seconds, _, _ in timings[one]) / one.calls
        compiling = max(one.first_seconds - call, 0.0)
        _, solved, total = timings[one][0]
        ratios = [
            [a / b if b else math.nan for a, b in zip(rates[one], other, strict=True)] for other in best if is_ours
        ]
        share = solved / total
        return Row(one.name, n, one.devices, one.batch, total, one.tolerance, share, compiling, rates[one], ratios)

    better = {(one.name, one.tuned): one for one in reversed(rivals)}  # of one device and all
    shown = [one for one in rivals if one is better[one.name, one.tuned]]
    return [row(one, True) for one in mine] + [row(one, False) for one in shown]


HEADER = """\
| method | n | devices | batch | starts | tol | solved % | compile s | starts/s | spread | / best one vmap | spread \
| / best tuned peer | spread |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"""


def line(row: Row) -> str:
    ratio = [text for r in row.ratios for text in (f"**{statistics.median(r):.1f}**", f"{min(r):.1f}..{max(r):.1f}")]
    cells = [
        row.method,
        row.n,
        row.devices,
        row.batch,
        row.starts,
        row.tolerance,
        f"{100 * row.success:.1f}",
        f"{row.compile_seconds:.1f}",
        f"{statistics.median(row.rates):,.0f}",
        f"{min(row.rates):,.0f}..{max(row.rates):,.0f}",
        *(ratio or [""] * 4),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--function", choices=FUNCTIONS, default="chained")
    parser.add_argument("--n", type=int, nargs="+", default=[2, 4, 10], help="numbers of unknowns")
    parser.add_argument("--starts", type=int, help="starts for jaxnewton; default: by n")
    parser.add_argument("--one-vmap", type=int, default=10_000, help="most starts under a peer's single vmap")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=["TrustRegion", "Newton"])
    parser.add_argument("--peers", nargs="+", default=[peer.name for peer in PEERS], help="names; default: all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--devices", type=int, default=2, help="CPU devices to ask JAX for")
    parser.add_argument("--json", type=Path, help="write every timing here")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", options.devices)
    mesh = Mesh(jax.devices(), ("device",)) if len(jax.devices()) > 1 else None
    present = [name for name in VERSIONS if importlib.util.find_spec(name)]
    versions = {name: importlib.metadata.version(name) for name in present}
    where = f"{os.cpu_count()} cores, {len(jax.devices())} {jax.default_backend()} devices"
    print(f"Python {platform.python_version()}, {', '.join(f'{k} {v}' for k, v in versions.items())}; {where}")
    for name in sorted(set(VERSIONS) - set(present)):
        print(f"left out, for want of it: {name}")
    print(f"solved: max |gradient| <= {CHECK:g}; ratios: median and extremes of {options.repeats} paired repeats\n")
    print(HEADER, flush=True)
    peers = [peer for peer in PEERS if peer.name in options.peers]
    if len(peers) < len(options.peers):
        raise SystemExit(f"--peers must be of {[peer.name for peer in PEERS]}, not {options.peers}")
    peers = [peer for peer in peers if peer.name.split()[0] not in set(VERSIONS) - set(present)]
    rows = []
    began = time.perf_counter()
    for n in options.n:
        count = options.starts or STARTS.get(n, max(200_000 // n**2, 1000))
        if count < BATCHES[0]:
            raise SystemExit(f"--starts must be at least {BATCHES[0]}, not {count}")
        starts = np.random.default_rng(n).uniform(-2, 2, (count, n))
        new = bench(n, starts, mesh, peers, options)
        print("\n".join(map(line, new)), flush=True)
        rows += new
    print(f"\n{time.perf_counter() - began:.0f} s in all")
    if options.json:
        record = {"versions": versions, "where": where, "check": CHECK, "rows": [row._asdict() for row in rows]}
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
