"""Thomson's problem (1904): n unit charges on the unit sphere at least energy."""

from jaxnewton.thomson.api import solve
from jaxnewton.thomson.charges import energy
from jaxnewton.thomson.landscape import Minimum
from jaxnewton.thomson.solution import ThomsonSolution
from jaxnewton.thomson.starts import starts
from jaxnewton.thomson.table import BEST_KNOWN

__all__ = ["BEST_KNOWN", "Minimum", "ThomsonSolution", "energy", "solve", "starts"]
