"""Fits a second, and one large fit, against other Python packages.

    python bench/regression.py [--only stacked|large|decays] [--fits B] [--rows M] [--decays B] [--repeats R]
        [--devices 2]

One process, float64, the same data for everyone, answers compared: a peer's rate counts fits whose coefficients agree
with the others' to 1e-6 (stacked), or whose gradient, computed here, is at most 1e-6 of the sum of squares (decays).

stacked: logistic fits of 100 x 4, ridge 1, no intercept, against a vmapped Newton loop as one writes it, with JAX's
derivatives of the loss and with those that one derives by hand, one vmap of optimistix BFGS, and a loop over
scikit-learn's LogisticRegression (of the first 200). jaxnewton's time includes the checks of its arguments, standard
errors and likelihoods, which the others do not give.
large: one logistic fit of M x 50, and one softmax fit of M x 20 and five classes, against scikit-learn's
newton-cholesky, with the growth of the process's peak memory.
decays: y = a exp(-b x) + c exp(-d x) + e from 25 points, each with its own noise, against optimistix LM under vmap,
with its default factorisation and with normal equations, all at once and in batches of 250, each at the loosest
tolerance with which as many of its ends pass as with any.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from sklearn.linear_model import LogisticRegression

import jaxnewton as jn

STEPS = 256  # most of a peer's iterations
FACTORS = {"its default, QR": lx.QR(), "normal equations": lx.Normal(lx.Cholesky())}
TOLERANCES = [10.0**-k for k in range(2, 11)]  # what optimistix LM may be given, loosest first
TRIED = 2000  # decays on which its tolerance is chosen
BATCH = 250  # where a batch waits for its slowest, small ones are faster (bench/rosenbrock.py)
NEARLY_ALL = 0.999  # of what is good at its best tolerance


def seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - began


def report(title: str, runs: dict[str, tuple[Callable[[], Any], Callable[[Any], int], int]], repeats: int) -> None:
    """A table of good fits a second; runs: what to run, how many of its fits are good, and on how many it ran.

    Each time is that of a second call: the first after another method finds cores asleep and caches filled by it.
    """
    print(f"\n{title}\n\n| method | good fits | fits/s | ours / it | first call s |\n|---|--:|--:|--:|--:|")
    firsts = {name: seconds(run) for name, (run, _, _) in runs.items()}
    goods = {name: good(run()) for name, (run, good, _) in runs.items()}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, (run, _, _) in runs.items():
            seconds(run)
            rates[name].append(goods[name] / seconds(run))
    ours = rates[next(iter(runs))]
    for name, (_, _, count) in runs.items():
        ratios = sorted(a / b for a, b in zip(ours, rates[name], strict=True))
        spread = f"{statistics.median(ratios):.3g} ({ratios[0]:.3g}..{ratios[-1]:.3g})"
        share = f"{100 * goods[name] / count:.1f} %"
        print(
            f"| {name} | {share} | {statistics.median(rates[name]):.3g} | {spread} | {firsts[name]:.1f} |", flush=True
        )


def stacked(count: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(count, 100, 4))
    eta = np.einsum("bmp,bp->bm", X, rng.normal(size=(count, 4)))
    y = (rng.uniform(size=eta.shape) < 1 / (1 + np.exp(-eta))).astype(float)
    data = jnp.asarray(X), jnp.asarray(y)

    def loss(b: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
        eta = X @ b
        return jnp.sum(jnp.logaddexp(0.0, eta) - y * eta) + 0.5 * jnp.sum(b * b)

    def by_jax(b: jax.Array, X: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.grad(loss)(b, X, y), jax.hessian(loss)(b, X, y)

    def by_hand(b: jax.Array, X: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        p = jax.nn.sigmoid(X @ b)
        return X.T @ (p - y) + b, (X.T * (p * (1 - p))) @ X + jnp.eye(4)

    def naive(derivatives: Any, X: jax.Array, y: jax.Array) -> jax.Array:
        def slopes(b: jax.Array) -> tuple[jax.Array, jax.Array]:
            return derivatives(b, X, y)

        def step(carry: Any) -> Any:
            b, (g, H), k = carry
            b = b - jnp.linalg.solve(H, g)
            return b, slopes(b), k + 1

        def going(carry: Any) -> jax.Array:
            return (jnp.max(jnp.abs(carry[1][0])) > 1e-8) & (carry[2] < 50)

        zero = jnp.zeros(4)
        return jax.lax.while_loop(going, step, (zero, slopes(zero), 0))[0]

    def bfgs(X: jax.Array, y: jax.Array) -> jax.Array:
        method = optx.BFGS(rtol=1e-6, atol=1e-6)
        return optx.minimise(lambda b, _: loss(b, X, y), method, jnp.zeros(4), max_steps=STEPS, throw=False).value

    few = 200

    def loop() -> np.ndarray:
        made = (LogisticRegression(C=1.0, fit_intercept=False, tol=1e-8).fit(X[i], y[i]) for i in range(few))
        return np.stack([fit.coef_[0] for fit in made])

    truth = np.asarray(jn.regression.logistic(*data, ridge=1.0, intercept=False, tol=1e-12).params)

    def good(params: Any) -> int:
        params = np.asarray(params)
        return int(np.sum(np.max(np.abs(params - truth[: len(params)]), axis=1) <= 1e-6))

    loops = {
        f"vmapped Newton loop, {whose}": jax.jit(jax.vmap(functools.partial(naive, derivatives)))
        for whose, derivatives in (("JAX's derivatives", by_jax), ("derivatives by hand", by_hand))
    }
    quasi = jax.jit(jax.vmap(bfgs))
    report(
        f"{count} stacked logistic fits of 100 x 4",
        {
            "jaxnewton": (lambda: jn.regression.logistic(*data, ridge=1.0, intercept=False).params, good, count),
            **{name: (functools.partial(run, *data), good, count) for name, run in loops.items()},
            "optimistix BFGS, one vmap": (lambda: quasi(*data), good, count),
            "scikit-learn, a loop": (loop, good, few),
        },
        repeats,
    )


def large(rows: int, repeats: int) -> None:
    print("\nOne large fit, both cores\n")
    print("| model | ours, seconds | scikit-learn newton-cholesky | it / ours | largest difference | peak grows by |")
    print("|---|--:|--:|--:|--:|--:|")
    for columns, classes in ((50, 2), (20, 5)):
        print(large_fit(rows, columns, classes, repeats))


def large_fit(rows: int, columns: int, classes: int, repeats: int) -> str:
    rng = np.random.default_rng(0)
    X, y = np.empty((rows, columns)), np.empty(rows, int)
    slopes = rng.normal(size=(columns, classes)) * 0.2 / np.sqrt(2)  # of two classes, 0.2 for their difference
    for part in np.array_split(np.arange(rows), 20):
        X[part] = rng.normal(size=(len(part), columns))
        y[part] = np.argmax(X[part] @ slopes + rng.gumbel(size=(len(part), classes)), axis=1)

    def ours(rows: Any) -> Any:
        if classes == 2:
            return jn.regression.logistic(X[rows], y[rows], ridge=1.0).params[:, None]
        return jn.regression.softmax(X[rows], y[rows], ridge=1.0).params

    ours(slice(0, rows // 3))  # compiles what the whole will use: what memory grows by after that is the data's
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
    before = kilobytes("VmRSS")
    found = np.asarray(ours(slice(None)))
    grown = 100 * 1024 * (kilobytes("VmHWM") - before) / X.nbytes
    peer = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-8)
    times = [(seconds(lambda: ours(slice(None))), seconds(lambda: peer.fit(X, y).coef_)) for _ in range(repeats)]
    theirs = peer.coef_ if classes == 2 else (peer.coef_ - peer.coef_[:1])[1:]
    each = sorted(b / a for a, b in times)
    mine, its = (statistics.median(column) for column in zip(*times, strict=True))
    name = f"logistic, {rows} x {columns}" if classes == 2 else f"softmax, {rows} x {columns}, {classes} classes"
    ratio = f"**{statistics.median(each):.3g}** ({each[0]:.3g}..{each[-1]:.3g})"
    return f"| {name} | {mine:.2f} | {its:.2f} | {ratio} | {np.abs(found - theirs.T).max():.0e} | {grown:.0f} % of X |"


def kilobytes(what: str) -> int:
    """Of this process's memory: VmRSS now, VmHWM at its peak."""
    return int(pathlib.Path("/proc/self/status").read_text().split(f"{what}:")[1].split()[0])


def decays(count: int, repeats: int) -> None:
    x = jnp.linspace(0.0, 4.0, 25)

    def model(x: jax.Array, p: jax.Array) -> jax.Array:
        a, b, c, d, e = p
        return a * jnp.exp(-b * x) + c * jnp.exp(-d * x) + e

    rng = np.random.default_rng(0)
    truth = np.array([3.0, 0.5, 2.0, 3.0, 1.0]) * rng.uniform(0.8, 1.2, (count, 5))
    y = np.asarray(jax.vmap(lambda p: model(x, p))(truth)) + 0.01 * rng.normal(size=(count, 25))
    start = jnp.asarray(truth * rng.uniform(0.8, 1.2, (count, 5)))
    y = jnp.asarray(y)

    @jax.jit
    def slopes(p: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        def squares(p: jax.Array, y: jax.Array) -> jax.Array:
            return 0.5 * jnp.sum((model(x, p) - y) ** 2)

        return jax.vmap(lambda p, y: (jnp.max(jnp.abs(jax.grad(squares)(p, y))), squares(p, y)))(p, y)

    def good(p: Any) -> int:
        largest, _ = slopes(jnp.asarray(p), y[: len(p)])
        return int(jnp.sum(largest <= 1e-6))

    def residual(p: jax.Array, y: jax.Array) -> jax.Array:
        return model(x, p) - y

    part = min(count, 20_000) if jax.default_backend() == "cpu" else count  # a GPU is not filled by so few

    def peer(linear_solver: Any) -> tuple[Callable[[int], Any], float]:
        """optimistix LM, given a batch, at the loosest tolerance with which as many ends are good as with any."""

        def lm(p: jax.Array, y: jax.Array, tol: jax.Array) -> jax.Array:
            method = optx.LevenbergMarquardt(rtol=tol, atol=tol, linear_solver=linear_solver)
            return optx.least_squares(residual, method, p, y, max_steps=STEPS, throw=False).value

        many = jax.jit(jax.vmap(lm, in_axes=(0, 0, None)))
        few = slice(0, min(part, TRIED))
        shares = {tol: good(many(start[few], y[few], tol)) for tol in TOLERANCES}
        tol = next(tol for tol, share in shares.items() if share >= NEARLY_ALL * max(shares.values()))

        def run(batch: int) -> jax.Array:
            blocks = [slice(i, min(i + batch, part)) for i in range(0, part, batch)]
            return jnp.concatenate([many(start[block], y[block], tol) for block in blocks])

        return run, tol

    peers = {
        f"optimistix LM, {name}, {f'batches of {batch}' if batch < part else 'one vmap'}, tol {tol:.0e}": (
            functools.partial(run, batch), good, part,
        )
        for name, factor in FACTORS.items()
        for run, tol in [peer(factor)]
        for batch in (part, BATCH)
    }  # fmt: skip

    def ours(factor: str) -> Any:
        solver = jn.LevenbergMarquardt(factor)
        return jn.least_squares_batch(residual, start, (y,), args_axes=0, solver=solver, max_steps=STEPS).x

    report(
        f"{count} fits of 5 parameters to 25 points (optimistix: the first {part})",
        {
            'LevenbergMarquardt("cholesky")': (lambda: ours("cholesky"), good, count),
            "LevenbergMarquardt()": (lambda: ours("qr"), good, count),
            "jn.regression.nonlinear, with inference": (
                lambda: jn.regression.nonlinear(model, x, y[:part], start[:part], max_steps=STEPS).params, good, part,
            ),
        }
        | peers,
        repeats,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["stacked", "large", "decays"])
    parser.add_argument("--fits", type=int, default=25_600)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--decays", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--devices", type=int, default=2)
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", given.devices)
    for name, run, size in (
        ("stacked", stacked, given.fits),
        ("decays", decays, given.decays),
        ("large", large, given.rows),
    ):
        if given.only in (None, name):
            run(size, given.repeats)


if __name__ == "__main__":
    main()
