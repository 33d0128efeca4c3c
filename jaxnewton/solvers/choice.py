"""The default solver of ``minimize``, by the number of unknowns."""

from __future__ import annotations

from jaxnewton.solvers.newton_cg import NewtonCG
from jaxnewton.solvers.trust_region import TrustRegion
from jaxnewton.types import Solver

DENSE = 200  # most unknowns for which the Hessian is formed


def default_solver(n: int) -> Solver:
    """The default for n unknowns."""
    return TrustRegion() if n <= DENSE else NewtonCG()
