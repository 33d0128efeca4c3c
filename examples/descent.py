"""Six ways down the Rosenbrock valley, trip by trip, on one picture: python examples/descent.py [FILE.png]"""

import sys

import jax
import jax.numpy as jnp

import jaxnewton as jn
from jaxnewton import plotting


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def main():
    jax.config.update("jax_enable_x64", True)
    solvers = {
        "gradient descent, Armijo": jn.GradientDescent("armijo"),
        "gradient descent, exact": jn.GradientDescent("exact"),
        "BFGS": jn.BFGS(),
        "L-BFGS": jn.LBFGS(),
        "Newton, damped": jn.Newton(),
        "trust region": jn.TrustRegion(),
    }
    start = jnp.array([-1.2, 1.0])
    solutions = {
        name: jn.minimize(rosenbrock, start, solver=solver, max_steps=150, history=True)
        for name, solver in solvers.items()
    }
    for name, solution in solutions.items():
        print(f"{name:25} {solution.nit:4d} trips  f {solution.fun:9.2e}  {solution.message}")
    if len(sys.argv) > 1:
        plotting.convergence(solutions, sys.argv[1], title="Rosenbrock")


if __name__ == "__main__":
    main()
