"""Quadratics and functions on a sphere."""

from jaxnewton.sphere.method import minimize, minimize_batch
from jaxnewton.sphere.quadratic import SphereSolution, minimize_quadratic

__all__ = ["SphereSolution", "minimize", "minimize_batch", "minimize_quadratic"]
