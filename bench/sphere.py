"""Many small quadratics over a sphere, and local minimisations of charges: jaxnewton against what one would write.

    python bench/sphere.py [--count M] [--n 3 6 12] [--charges 32 100] [--repeats R] [--devices 2]

Quadratics: ``jn.sphere.minimize_quadratic`` against the same algorithm (eigenvectors, then Newton's method in the
secular equation) written for one problem with ``jnp.linalg.eigh`` and put under ``vmap``; the same problems in one
process, warm runs interleaved, every answer checked here for feasibility and its equation. Charges: descents a second
of the search (L-BFGS in the pool), against optimistix's L-BFGS on coordinates scaled to the sphere: with the energy as
a user writes it, under one ``vmap``; with our f and gradient through ``custom_vjp``, so that only minimisers differ,
under one ``vmap``; and the latter cut into its best batch, spread over all devices. The same starts, and for everyone
the loosest tolerance with which 99 % of the gradients, computed here, are at most 1e-5 of the largest force a charge
feels at the start. Prints medians of the ratios within a repeat, and their extremes. Needs ``optimistix``.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.sharding import Mesh, PartitionSpec

import jaxnewton as jn
from jaxnewton import checks
from jaxnewton.driver import solve_pool
from jaxnewton.solvers.lbfgs import LBFGS
from jaxnewton.thomson.api import MEMORY, default_width
from jaxnewton.thomson.charges import AmbientCharges
from jaxnewton.thomson.starts import recipe
from jaxnewton.types import Needs

Array = jax.Array
FORCE = 1e-5  # of a final tangent gradient, relative to the largest force on a charge
WORK = 2**20  # pairs of charges in all starts together, about
BATCHES = (8, 16, 32, 64, 128, 256)  # tried for the tuned peer
SECULAR_STEPS = 8  # of the peer, measured to be enough for 1e-10


@jax.jit
@jax.vmap
def by_eigh(A: Array, b: Array) -> tuple[Array, Array]:
    lam, V = jnp.linalg.eigh(A)
    beta, gaps = V.T @ b, lam - lam[0]
    floor = 8 * jnp.finfo(b.dtype).eps * (jnp.linalg.norm(beta) + jnp.abs(lam[0]))
    beta = beta.at[0].set(jnp.where(beta[0] >= 0, 1, -1) * jnp.maximum(jnp.abs(beta[0]), floor))
    low, high = jnp.maximum(0, jnp.max(jnp.abs(beta) - gaps)), jnp.linalg.norm(beta)

    def newton(_: int, t: Array) -> Array:
        w = beta / (gaps + t)
        norm = jnp.linalg.norm(w)
        return jnp.clip(t + norm**2 / jnp.sum(w * w / (gaps + t)) * (norm - 1), low, high)

    t = jax.lax.fori_loop(0, SECULAR_STEPS, newton, low)
    return V @ (beta / (gaps + t)), t - lam[0]


def timed(fun: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(fun())
    return time.perf_counter() - began


def ratios(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int) -> tuple[str, float]:
    """The median of peer's time over ours with extremes, and our median seconds; both have run once before."""
    pairs = [(timed(ours), timed(peer)) for _ in range(repeats)]
    each = [p / o for o, p in pairs]
    return f"{statistics.median(each):.1f} ({min(each):.1f}..{max(each):.1f})", statistics.median(o for o, _ in pairs)


def quadratics(n: int, dtype: Any, count: int, repeats: int) -> str:
    A = jax.random.normal(jax.random.key(n), (count, n, n), dtype)
    A, b = A + A.swapaxes(1, 2), jax.random.normal(jax.random.key(n + 1), (count, n), dtype)
    ours, peer = (lambda: jn.sphere.minimize_quadratic(A, b)), (lambda: by_eigh(A, b))
    compile_seconds = timed(ours), timed(peer)
    worst = []
    for x, mu in ((ours().x, ours().multiplier), peer()):
        x, mu, H, g = (np.asarray(leaf, float) for leaf in (x, mu, A, b))
        off = np.linalg.norm(np.einsum("bij,bj->bi", H, x) + mu[:, None] * x - g, axis=1)
        worst.append(max(off.max(), np.abs(np.linalg.norm(x, axis=1) - 1).max()))
    ratio, seconds = ratios(ours, peer, repeats)
    cells = (
        n,
        np.dtype(dtype).name,
        f"**{ratio}**",
        f"{seconds / count * 1e9:.0f} ns",
        *(f"{w:.0e}" for w in worst),
        *(f"{c:.1f} s" for c in compile_seconds),
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def energy(x: Array, n: int) -> Array:
    p = x.reshape(n, 3)
    p = p / jnp.linalg.norm(p, axis=1, keepdims=True)
    i, j = jnp.triu_indices(n, k=1)
    return jnp.sum(1 / jnp.linalg.norm(p[i] - p[j], axis=1))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def our_energy(x: Array, n: int) -> Array:
    """``energy`` by the evaluation that our own descents use."""
    return _energy_and_slope(x, n)[0]


def _energy_and_slope(x: Array, n: int) -> tuple[Array, Array]:
    p = x.reshape(n, 3).T
    size = jnp.sqrt(jnp.sum(p * p, axis=0))
    at = AmbientCharges(n).evaluate((p / size).reshape(-1), (), Needs.GRADIENT)
    return at.f, (at.g.reshape(3, n) / size).T.reshape(-1)


our_energy.defvjp(_energy_and_slope, lambda n, slope, cotangent: (cotangent * slope,))


def by_optimistix(fun: Callable[[Array, int], Array], n: int, tol: float, x0: Array) -> Array:
    solver = optx.LBFGS(rtol=tol, atol=tol)

    def one(x0: Array) -> Array:
        found = optx.minimise(lambda x, _: fun(x, n), solver, x0, max_steps=5000, throw=False)
        return found.value / jnp.linalg.norm(found.value.reshape(n, 3), axis=1).repeat(3)

    return jax.vmap(one)(x0)


class Peer(NamedTuple):
    """optimistix's L-BFGS in one way of use."""

    fun: Callable[[Array, int], Array]
    batch: int  # starts at once, on all devices together
    split: bool  # over the devices

    def compiled(self, n: int, tol: float, x0: Array) -> Callable[[], list[Array]]:
        solve = functools.partial(by_optimistix, self.fun, n, tol)
        if self.split:
            mesh = Mesh(jax.devices(), ("device",))
            # Traced outside shard_map: lineax refuses to be traced inside (bench/rosenbrock.py).
            like = jnp.zeros((self.batch // mesh.size, x0.shape[1]))
            traced, split = jax.extend.core.jaxpr_as_fun(jax.make_jaxpr(solve)(like)), PartitionSpec("device")
            solve = jax.shard_map(lambda x: traced(x)[0], mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
        program = jax.jit(solve)
        return lambda: [program(x0[i : i + self.batch]) for i in range(0, len(x0), self.batch)]


def charges(n: int, count: int, repeats: int) -> list[str]:
    starts = recipe(jax.random.key(0), n, count, "random", jnp.float64)
    x0 = (
        jax.vmap(starts.make)(jnp.arange(count, dtype=jnp.int32)).reshape(count, 3, n).swapaxes(1, 2).reshape(count, -1)
    )
    limit = FORCE * float(jnp.max(jnp.linalg.norm(jax.grad(energy)(x0[0], n).reshape(n, 3), axis=1)))
    slopes = jax.jit(jax.vmap(jax.grad(functools.partial(energy, n=n))))
    mine, theirs = (jax.grad(functools.partial(fun, n=n))(2.0 * x0[0]) for fun in (our_energy, energy))
    assert jnp.allclose(mine, theirs, rtol=1e-9, atol=1e-9 * limit / FORCE)

    def ours(tol: float) -> Callable[[], Array]:
        rules = checks.rules(tol, 5000, jnp.float64)
        problem, devices = AmbientCharges(n), checks.devices(None)

        def run() -> Array:
            found = solve_pool(
                problem, LBFGS(memory=MEMORY), starts, (), (), rules, width=default_width(n), keep=None, devices=devices
            )
            return found.kept.outcome.x.reshape(count, 3, n).swapaxes(1, 2).reshape(count, -1)

        return run

    def loosest(solve: Callable[[float], Callable[[], Any]]) -> tuple[Callable[[], Any], str]:
        run, tol, share = solve(1.0), 1.0, 0.0
        for tol in (10.0**-k for k in range(1, 11)):
            run = solve(tol)
            ends = jnp.concatenate(jax.tree.leaves(run()))
            share = float(jnp.mean(jnp.max(jnp.abs(slopes(ends)), axis=1) <= limit))
            if share >= 0.99:
                break
        return run, f"{share:.1%} ({tol:.0e})"

    def tuned() -> Peer:
        """The batch with which our f and gradient go fastest, tried at a tolerance that all reach alike."""
        sizes = [size for size in BATCHES if size % jax.device_count() == 0 and count % size == 0]
        trials = [Peer(our_energy, size, True) for size in sizes]
        seconds = []
        for trial in trials:
            run = trial.compiled(n, 1e-3, x0)
            timed(run)
            seconds.append(min(timed(run) for _ in range(2)))
        return trials[int(np.argmin(seconds))]

    best = tuned()
    peers = {
        "the energy by differentiation, one vmap": Peer(energy, count, False),
        "our f and gradient, one vmap": Peer(our_energy, count, False),
        f"our f and gradient, batches of {best.batch}, {jax.device_count()} devices": best,
    }
    mine, own = loosest(ours)
    lines = []
    for name, peer in peers.items():
        run, its = loosest(lambda tol, peer=peer: peer.compiled(n, tol, x0))
        ratio, seconds = ratios(mine, run, repeats)
        lines.append("| " + " | ".join((str(n), name, f"**{ratio}**", f"{count / seconds:.0f}/s", own, its)) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--n", type=int, nargs="*", default=[3, 6, 12])
    parser.add_argument("--charges", type=int, nargs="*", default=[32, 100])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--devices", type=int, default=os.cpu_count())
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", options.devices)
    print("| n | dtype | time of vmapped eigh / ours | a problem | our worst error | its | compile | its |")
    print("|--:|---|--:|--:|--:|--:|--:|--:|")
    for n in options.n:
        for dtype in (jnp.float64, jnp.float32):
            print(quadratics(n, dtype, options.count, options.repeats), flush=True)
    print("\n| N | optimistix LBFGS with | its time / ours | our descents | within the gradient (tol) | its (tol) |")
    print("|--:|---|--:|--:|--:|--:|")
    for n in options.charges:
        count = 2 ** (WORK // n**2 - 1).bit_length()  # a power of two: batches divide it
        print(*charges(n, max(count, 64), options.repeats), sep="\n", flush=True)


if __name__ == "__main__":
    main()
