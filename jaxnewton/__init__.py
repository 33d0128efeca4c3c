"""Second-order methods for one starting point or a million, in JAX."""

from jaxnewton import linesearch, plotting, regression, sphere, starts, thomson
from jaxnewton.api import least_squares, least_squares_batch, minimize, minimize_batch, root, root_batch
from jaxnewton.derivatives import check_derivatives
from jaxnewton.solution import Solution, Solutions
from jaxnewton.solvers.gauss_newton import GaussNewton
from jaxnewton.solvers.gradient import GradientDescent
from jaxnewton.solvers.lbfgs import LBFGS
from jaxnewton.solvers.levenberg_marquardt import LevenbergMarquardt
from jaxnewton.solvers.newton import Newton
from jaxnewton.solvers.newton_cg import NewtonCG
from jaxnewton.solvers.optax import Optax
from jaxnewton.solvers.quasi_newton import BFGS, DFP, Broyden
from jaxnewton.solvers.trust_region import TrustRegion
from jaxnewton.types import Bounds, Evaluation, Needs, Status

__version__ = "0.1.0"

__all__ = [
    "BFGS",
    "DFP",
    "LBFGS",
    "Bounds",
    "Broyden",
    "Evaluation",
    "GaussNewton",
    "GradientDescent",
    "LevenbergMarquardt",
    "Needs",
    "Newton",
    "NewtonCG",
    "Optax",
    "Solution",
    "Solutions",
    "Status",
    "TrustRegion",
    "check_derivatives",
    "least_squares",
    "least_squares_batch",
    "linesearch",
    "minimize",
    "minimize_batch",
    "plotting",
    "regression",
    "root",
    "root_batch",
    "sphere",
    "starts",
    "thomson",
]
