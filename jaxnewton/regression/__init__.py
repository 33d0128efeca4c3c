"""Regression models and their inference; one fit, or a stack of them whose leading axes broadcast."""

from jaxnewton.regression.families import NegativeBinomial
from jaxnewton.regression.fit import Fit
from jaxnewton.regression.glm import glm, logistic, poisson
from jaxnewton.regression.linear import linear
from jaxnewton.regression.nonlinear import nonlinear
from jaxnewton.regression.rows import Blocks
from jaxnewton.regression.softmax import softmax

__all__ = ["Blocks", "Fit", "NegativeBinomial", "glm", "linear", "logistic", "nonlinear", "poisson", "softmax"]
