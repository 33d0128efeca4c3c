"""Quadratics and functions on a sphere."""

from jaxnewton.sphere.large import LargeSphereSolution, minimize_quadratic_large
from jaxnewton.sphere.method import minimize, minimize_batch
from jaxnewton.sphere.quadratic import SphereSolution, minimize_quadratic

__all__ = [
    "LargeSphereSolution",
    "SphereSolution",
    "minimize",
    "minimize_batch",
    "minimize_quadratic",
    "minimize_quadratic_large",
]
