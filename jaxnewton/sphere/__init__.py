"""Quadratics and functions on a sphere."""

from jaxnewton.sphere.quadratic import SphereSolution, minimize_quadratic

__all__ = ["SphereSolution", "minimize_quadratic"]
