"""The default solver of ``minimize`` and ``minimize_batch``, by the number of unknowns.

Measured on CPU (float64, one start, chained Rosenbrock function and a dense sum of log cosh): up to n = 100 the exact
trust region takes milliseconds, ends in the fewest trips, comes to the lowest f most often of ours (bench/README.md),
and is the one that tells minima from saddles by the Hessian's smallest eigenvalue. Its eigendecompositions then take
over: at n = 100 it is 10 to 20 times slower than NewtonCG, at n = 400 30 to 140 times. In a batch with n > 5,
``Newton`` is 4 to 20 times faster than the default.
"""

from __future__ import annotations

from jaxnewton.solvers.newton_cg import NewtonCG
from jaxnewton.solvers.trust_region import TrustRegion
from jaxnewton.types import Solver

DENSE = 100  # most unknowns for which a Hessian is formed and decomposed


def default_solver(n: int) -> Solver:
    """The default for n unknowns."""
    return TrustRegion() if n <= DENSE else NewtonCG()
