"""Second-order methods for one starting point or a million, in JAX."""

from jaxnewton import starts, thomson
from jaxnewton.api import minimize, minimize_batch
from jaxnewton.solution import Solution, Solutions
from jaxnewton.solvers.lbfgs import LBFGS
from jaxnewton.solvers.newton import Newton
from jaxnewton.solvers.quasi_newton import BFGS, DFP, Broyden
from jaxnewton.solvers.trust_region import TrustRegion
from jaxnewton.types import Evaluation, Needs, Status

__version__ = "0.1.0"

__all__ = [
    "BFGS",
    "DFP",
    "LBFGS",
    "Broyden",
    "Evaluation",
    "Needs",
    "Newton",
    "Solution",
    "Solutions",
    "Status",
    "TrustRegion",
    "minimize",
    "minimize_batch",
    "starts",
    "thomson",
]
