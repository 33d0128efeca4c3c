"""NewtonCG on the extended Rosenbrock function of many unknowns, against SciPy with the same jitted derivatives.

    python bench/newton_cg.py [--n 10000] [--repeats 5]

One process, one device, float64, the same start (-1.2, 1, -1.2, ...). SciPy gets f with its gradient, and the
Hessian-vector product, as compiled JAX functions. Everyone stops at the first iterate whose largest gradient component
is at most 1e-6: SciPy's methods that measure something else have their own test switched off and are stopped by a
callback, which looks up gradients that they have evaluated. Runs are interleaved; ratios are taken within a repeat.
``memory`` is what the compiled solve holds beside its arguments and results, as XLA states it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import jaxnewton as jn

Array = jax.Array
CHECK = 1e-6
SCIPY = ("Newton-CG", "trust-krylov", "trust-ncg", "L-BFGS-B")
NEVER = {"Newton-CG": {"xtol": 0.0}, "trust-krylov": {"gtol": 0.0}, "trust-ncg": {"gtol": 0.0}}  # their own tests, off
BY_COMPONENT = {"gtol": CHECK, "ftol": 0.0, "maxiter": 10_000, "maxfun": 10_000}  # of L-BFGS-B


def extended_rosenbrock(x: Array) -> Array:
    """More, Garbow & Hillstrom 1981, problem 21."""
    return jnp.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2)


value_and_gradient = jax.jit(jax.value_and_grad(extended_rosenbrock))
gradient = jax.grad(extended_rosenbrock)
product = jax.jit(lambda x, v: jax.jvp(gradient, (x,), (v,))[1])


def with_scipy(method: str, x0: np.ndarray) -> Callable[[], Any]:
    second = {} if method == "L-BFGS-B" else {"hessp": lambda x, v: np.asarray(product(x, v))}

    def run() -> np.ndarray:
        largest: dict[int, float] = {}  # gradient components, of every x that was evaluated

        def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
            f, g = value_and_gradient(x)
            largest[hash(x.tobytes())] = float(np.abs(g).max())
            return float(f), np.asarray(g)

        def stop(x: np.ndarray) -> None:
            if largest[hash(x.tobytes())] <= CHECK:
                raise StopIteration

        own = {"callback": stop, "options": NEVER[method]} if method in NEVER else {"options": BY_COMPONENT}
        return scipy.optimize.minimize(fun, x0, jac=True, method=method, **own, **second).x

    return run


def ours(x0: np.ndarray) -> Callable[[], Any]:
    start = jnp.asarray(x0)
    return lambda: jn.minimize(extended_rosenbrock, start, solver=jn.NewtonCG(), tol=CHECK).x


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    x0 = np.tile([-1.2, 1.0], options.n // 2)
    runs = {"jaxnewton NewtonCG": ours(x0)} | {f"SciPy {method}": with_scipy(method, x0) for method in SCIPY}

    began = time.perf_counter()
    jax.block_until_ready(runs["jaxnewton NewtonCG"]())
    first = time.perf_counter() - began
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    left = {}
    for _ in range(options.repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            x = jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - began)
            left[name] = float(np.abs(gradient(jnp.asarray(x))).max())

    memory = jax.jit(lambda x0: jn.minimize(extended_rosenbrock, x0, solver=jn.NewtonCG())).lower(x0).compile()
    held = memory.memory_analysis().temp_size_in_bytes
    print(
        f"n = {options.n}; SciPy {scipy.__version__}, jax {jax.__version__}; first call {first:.1f} s with compilation"
    )
    print(f"memory: {held / x0.nbytes:.0f} vectors of n; an n x n matrix would be {options.n}\n")
    print("| method | largest gradient component | time / ours | spread |\n|---|--:|--:|--:|")
    for name, times in seconds.items():
        ratios = [theirs / mine for theirs, mine in zip(times, seconds["jaxnewton NewtonCG"], strict=True)]
        spread = f"{min(ratios):.1f}..{max(ratios):.1f}"
        print(f"| {name} | {left[name]:.1e} | {statistics.median(ratios):.1f} | {spread} |")


if __name__ == "__main__":
    main()
