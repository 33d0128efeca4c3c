"""Regression models and their inference; one fit, or a stack of them whose leading axes broadcast."""

from jaxnewton.regression.families import NegativeBinomial
from jaxnewton.regression.fit import Fit
from jaxnewton.regression.glm import glm

__all__ = ["Fit", "NegativeBinomial", "glm"]
