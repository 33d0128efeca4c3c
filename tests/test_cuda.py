"""Everything lowers for CUDA: no GPU is needed to find out that an operation has no kernel there."""

import contextlib

import jax
import jax.export
import numpy as np
import pytest
from problems import rosenbrock

import jaxnewton as jn

SOLVERS = {
    "TrustRegion": jn.TrustRegion(),
    "Newton": jn.Newton(),
    "pure Newton": jn.Newton(damped=False),
    "BFGS": jn.BFGS(),
    "NewtonCG": jn.NewtonCG(),
    "exact descent": jn.GradientDescent("exact"),
}


def lowered(function, *args):
    exported = jax.export.export(jax.jit(function), platforms=["cuda"])(*args)
    assert exported.platforms == ("cuda",)
    return exported.mlir_module()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [5, 12])
@pytest.mark.parametrize("solver", SOLVERS)
def test_minimize(solver, n, dtype):
    program = lowered(lambda x0: jn.minimize(rosenbrock, x0, solver=SOLVERS[solver]), np.zeros(n, dtype))
    assert "stablehlo.while" in program
    assert "lapack" not in program


@pytest.mark.parametrize("n", [5, 12])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_pool(solver, n):
    def solve(x0s, shift):
        return jn.minimize_batch(
            lambda x, c: rosenbrock(x - c),
            x0s,
            (shift,),
            args_axes=0,
            solver=SOLVERS[solver],
            width=8,
            keep=4,
            devices=1,
        )

    program = lowered(solve, np.zeros((32, n)), np.zeros((32, n)))
    assert "stablehlo.while" in program
    assert "lapack" not in program


@pytest.mark.parametrize("n", [1, 12])
def test_root(n):
    program = lowered(lambda x0: jn.root_batch(lambda x: x**3 - x - 1, x0, width=8, devices=1), np.zeros((32, n)))
    assert "stablehlo.while" in program
    assert "lapack" not in program


def test_derivatives_of_a_solution():
    def x_of(c):
        return jn.minimize(lambda x, c: rosenbrock(x - c), np.zeros(5), (c,)).x

    assert "lapack" not in lowered(jax.jacobian(x_of), np.zeros(5))


@pytest.mark.parametrize(("chosen", "precision"), [(None, "HIGHEST"), ("default", "DEFAULT")])
def test_products_of_single_precision_stay_single(monkeypatch, chosen, precision):
    """Tensor cores round to 10 bits what is not asked for in full; on CPU nothing is asked for."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    A = np.ones((6, 4), np.float32)
    with jax.default_matmul_precision(chosen) if chosen else contextlib.nullcontext():
        program = lowered(
            lambda x0s: jn.minimize_batch(lambda x: ((A @ x - 1) ** 2).sum(), x0s, solver=jn.BFGS(), width=8),
            np.zeros((32, 4), np.float32),
        )
    products = [line for line in program.splitlines() if "stablehlo.dot_general" in line]
    assert products
    assert all((precision in line) or ("precision" not in line and precision == "DEFAULT") for line in products)
