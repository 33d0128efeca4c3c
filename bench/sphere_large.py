"""A large quadratic over a sphere: the sequential subspace method against what one writes with SciPy.

    python bench/sphere_large.py [--side 100] [--repeats 3] [--dense 2000]

min x'Ax - 2b'x on ||x|| = 1, A the five-point Laplacian on a square grid less 5. One process, float64; everyone gets
the same compiled JAX product and is checked alike: residual ||(A + mu I) x - b|| over ||A|| + ||b||, with mu of least
residual, and how far x'Ax - 2b'x lies over the known minimum (the Laplacian's eigenvectors are sines). Peers:

- SciPy eigsh and minres: the lowest eigenpair of A, then Newton's method on the secular equation, each step by minres
  orthogonal to the eigenvector, which completes x in the degenerate case;
- SciPy trust-krylov on the ball, whose solution lies on the sphere, for A is indefinite; one subproblem, with
  inexact=False, which asks for a residual of 1e-6.

Runs are interleaved; ratios are taken within a repeat. Beside them, a dense solve by ``minimize_quadratic``.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
import scipy.fft
import scipy.optimize
import scipy.sparse.linalg as sla

from jaxnewton.sphere import minimize_quadratic, minimize_quadratic_large

TOL = 1e-10
Product = Callable[[np.ndarray], np.ndarray]


def product(x: jax.Array) -> jax.Array:
    side = round(x.shape[0] ** 0.5)
    u = jnp.pad(x.reshape(side, side), 1)
    return -(u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]).reshape(-1) - x


compiled = jax.jit(product)


class Counted:
    """The product for SciPy, and how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.asarray(compiled(x))


def eigenvalues(side: int) -> np.ndarray:
    part = 2 - 2 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1))
    return (part[:, None] + part[None, :]).reshape(-1) - 5


def sines(x: np.ndarray) -> np.ndarray:
    side = round(len(x) ** 0.5)
    return scipy.fft.dstn(x.reshape(side, side), type=1, norm="ortho").reshape(-1)


def minimum(lam: np.ndarray, beta: np.ndarray) -> float:
    """By the eigenvectors."""
    gaps = lam - lam.min()
    rest = np.where(gaps > 0, beta / np.where(gaps > 0, gaps, 1.0), 0.0)
    if beta[np.argmin(lam)] == 0 and rest @ rest <= 1:
        return float(np.sum(lam * rest**2) - 2 * beta @ rest + lam.min() * (1 - rest @ rest))
    low, high = 1e-300, np.linalg.norm(beta)
    t = scipy.optimize.brentq(lambda t: 1 / np.linalg.norm(beta / (gaps + t)) - 1, low, high, xtol=1e-300, rtol=1e-15)
    x = beta / (gaps + t)
    return float(np.sum(lam * x * x) - 2 * beta @ x)


def by_krylov(matvec: Product, b: np.ndarray) -> np.ndarray:
    return scipy.optimize.minimize(
        lambda x: x @ matvec(x) - 2 * b @ x,
        np.zeros_like(b),
        jac=lambda x: 2 * (matvec(x) - b),
        hessp=lambda x, p: 2 * matvec(p),
        method="trust-krylov",
        # one subproblem, solved to its end: a radius that cannot grow, and one outer step
        options={
            "initial_trust_radius": 1.0,
            "max_trust_radius": 1.0 + 1e-12,
            "maxiter": 1,
            "inexact": False,
            "gtol": 0.0,
        },
    ).x


def by_eigsh(matvec: Product, b: np.ndarray) -> np.ndarray:
    n = len(b)
    A = sla.LinearOperator((n, n), matvec=matvec, dtype=float)
    rng = np.random.default_rng(0)
    lowest, V = sla.eigsh(A, k=1, which="SA", ncv=60, tol=0, v0=rng.normal(size=n), maxiter=100_000)
    lowest, v = lowest[0], V[:, 0]
    along = v @ b
    size = 5.0 + np.linalg.norm(b)

    def solve(t: float, right: np.ndarray) -> np.ndarray:  # orthogonal to v, where A + mu I is well conditioned
        right = right - v * (v @ right)
        shifted = sla.LinearOperator((n, n), matvec=lambda x: _off(matvec(x) + (t - lowest) * x, v), dtype=float)
        x, _ = sla.minres(shifted, right, rtol=TOL * 1e-3 * size / max(np.linalg.norm(right), 1e-300), maxiter=20_000)
        return _off(x, v)

    t = abs(along)
    if t < 1e-14:
        rest = solve(0.0, b)
        if rest @ rest <= 1:  # degenerate
            return rest + v * np.sqrt(1 - rest @ rest)
        t, along = 0.0, 0.0
    for _ in range(30):  # Newton's method on 1/||x(t)|| = 1, from the left
        rest = solve(t, b)
        part = along / t if along else 0.0
        length = np.hypot(np.linalg.norm(rest), part)
        if length - 1 <= 1e-12:
            break
        slope = rest @ solve(t, rest) + (part**2 / t if along else 0.0)
        t += length**2 / slope * (length - 1)
    x = rest + part * v
    return x / np.linalg.norm(x)


def _off(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    return x - v * (v @ x)


CASES = {
    # b's length, and whether the part along the lowest eigenvector is taken off
    "easy": (1.0, False),
    "small b": (1e-2, False),
    "degenerate": (1e-4, True),
}


def right_hand_side(side: int, length: float, orthogonal: bool) -> tuple[np.ndarray, np.ndarray]:
    """b, and its coefficients along the eigenvectors."""
    beta = np.random.default_rng(0).normal(size=side * side)
    beta[0] *= not orthogonal
    beta *= length / np.linalg.norm(beta)
    return sines(beta), beta


def judged(x: np.ndarray, b: np.ndarray, beta: np.ndarray, lam: np.ndarray) -> str:
    """The residual, and how far the value lies over the minimum."""
    x = x / np.linalg.norm(x)
    Ax = np.asarray(compiled(x))
    mu = x @ (b - Ax)
    residual = np.linalg.norm(Ax + mu * x - b) / (np.abs(lam).max() + np.linalg.norm(b))
    return f"{residual:.0e} | {x @ Ax - 2 * b @ x - minimum(lam, beta):.0e}"


PEERS = {"eigsh + minres": by_eigsh, "trust-krylov": by_krylov}


def ours(b: np.ndarray) -> tuple[int, np.ndarray]:
    """Products, and x."""
    found = minimize_quadratic_large(product, b, tol=TOL)
    return int(found.nmatvec), np.asarray(found.x)


def theirs(method: Callable[[Product, np.ndarray], np.ndarray], b: np.ndarray) -> tuple[int, np.ndarray]:
    matvec = Counted()
    x = method(matvec, b)
    return matvec.calls, x


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--side", type=int, default=100, help="n is its square")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dense", type=int, default=2000, help="n of the dense solve; 0: none")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    lam = eigenvalues(options.side)
    print(f"n = {options.side**2}; SciPy {scipy.__version__}, jax {jax.__version__}, {jax.default_backend()}\n")
    print("| case | method | products | residual | over the minimum | time / ours | spread |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for name, (length, orthogonal) in CASES.items():
        b, beta = right_hand_side(options.side, length, orthogonal)
        methods = {"ours": ours} | {peer: functools.partial(theirs, PEERS[peer]) for peer in options.peers}
        seconds: dict[str, list[float]] = {method: [] for method in methods}
        last: dict[str, tuple[int, np.ndarray]] = {}
        ours(b)
        for _ in range(options.repeats):
            for method, solve in methods.items():
                began = time.perf_counter()
                last[method] = solve(b)
                seconds[method].append(time.perf_counter() - began)
        for method, times in seconds.items():
            ratios = [t / mine for t, mine in zip(times, seconds["ours"], strict=True)]
            calls, x = last[method]
            spread = f"{min(ratios):.1f}..{max(ratios):.1f}"
            tail = f"{statistics.median(ratios):.1f} | {spread}"
            if method == "ours":
                tail = f"({statistics.median(times):.2f} s) | "
            print(f"| {name} | {method} | {calls} | {judged(x, b, beta, lam)} | {tail} |")
    if options.dense:
        dense(options.dense, options.repeats)


def dense(n: int, repeats: int) -> None:
    """A = QDQ' with eigenvalues spread over [-5, 5], by its entries and by its products."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=n)
    Q = np.eye(n) - 2 * np.outer(u, u) / (u @ u)
    A = jnp.asarray((Q * rng.uniform(-5, 5, n)) @ Q)
    b = jnp.asarray(rng.normal(size=n) / np.sqrt(n))
    runs = {
        "minimize_quadratic": lambda: minimize_quadratic(A, b),
        "minimize_quadratic_large": lambda: minimize_quadratic_large(by_entries, b, 1.0, (A,), tol=TOL),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, Any] = {}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            found[name] = jax.block_until_ready(run())
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    one, other = found.values()
    ratios = [d / l for d, l in zip(*seconds.values(), strict=True)]
    spread = f"{min(ratios):.1f}..{max(ratios):.1f}"
    print(f"\ndense, n = {n}: minimize_quadratic takes {statistics.median(ratios):.1f} ({spread})")
    print(f"times as long ({int(other.nmatvec)} products); the minima differ by {abs(float(one.fun - other.fun)):.0e}")


def by_entries(x: jax.Array, A: jax.Array) -> jax.Array:
    return A @ x


if __name__ == "__main__":
    main()
