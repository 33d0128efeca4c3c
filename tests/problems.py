"""Unconstrained test problems as data: the function, the box its starts come from, and what is known of its minima.

Sources: MGH = More, Garbow & Hillstrom 1981, "Testing Unconstrained Optimization Software", ACM TOMS 7(1);
K&S = Kok & Sandrock 2009, "Locating and Characterizing the Stationary Points of the Extended Rosenbrock Function",
Evolutionary Computation 17(3); Styblinski & Tang 1990, "Experiments in Nonconvex Optimization", Neural Networks 3(4);
Himmelblau 1972, "Applied Nonlinear Programming".
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

ROWS = 256  # starts of all problems of one size together


@dataclasses.dataclass(frozen=True)
class Problem:
    name: str
    source: str
    fun: Callable
    n: int
    start: tuple[float, ...]  # the source's own, or one that leads to the global minimum
    box: tuple[float, float]  # of further starts, the same in every coordinate
    least: float  # the global minimum
    at: tuple[float, ...] | None = None  # a point where it is taken, if there is a closed form
    minima: tuple[float, ...] | None = None  # the values of all local minima, where all are known
    singular: str = ""  # why the Hessian at the minimum is singular, if it is

    def __str__(self):
        return f"{self.name} {self.n}"

    def starts(self, count, seed=0):
        """``start``, and random ones of the box."""
        rows = np.random.default_rng(seed).uniform(*self.box, (count, self.n))
        rows[0] = self.start
        return rows


def rosenbrock(x):
    """Chained: 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2."""
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def beale(x):
    a, b = x
    return (1.5 - a * (1.0 - b)) ** 2 + (2.25 - a * (1.0 - b**2)) ** 2 + (2.625 - a * (1.0 - b**3)) ** 2


def himmelblau(x):
    a, b = x
    return (a**2 + b - 11.0) ** 2 + (a + b**2 - 7.0) ** 2


def wood(x):
    a, b, c, d = x
    first = 100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2
    second = 90.0 * (d - c**2) ** 2 + (1.0 - c) ** 2
    return first + second + 10.0 * (b + d - 2.0) ** 2 + 0.1 * (b - d) ** 2


def powell_singular(x):
    a, b, c, d = x
    return (a + 10.0 * b) ** 2 + 5.0 * (c - d) ** 2 + (b - 2.0 * c) ** 4 + 10.0 * (a - d) ** 4


def styblinski_tang(x):
    return jnp.sum(x**4 - 16.0 * x**2 + 5.0 * x) / 2.0


def trigonometric(x):
    n = x.shape[0]
    i = jnp.arange(1, n + 1, dtype=x.dtype)
    r = n - jnp.sum(jnp.cos(x)) + i * (1.0 - jnp.cos(x)) - jnp.sin(x)
    return jnp.sum(r**2)


def broyden_tridiagonal(x):
    none = jnp.zeros_like(x[:1])
    before, after = jnp.concatenate([none, x[:-1]]), jnp.concatenate([x[1:], none])
    return jnp.sum(((3.0 - 2.0 * x) * x - before - 2.0 * after + 1.0) ** 2)


def _styblinski_tang_minima(n):
    """Each coordinate is at one of the two minima of (t^4 - 16 t^2 + 5 t) / 2."""
    low, _, high = np.sort(np.roots([4, 0, -32, 5]))
    values = [(t**4 - 16 * t**2 + 5 * t) / 2 for t in (low, high)]
    return (low,) * n, tuple(k * values[1] + (n - k) * values[0] for k in range(n + 1))


def _rosenbrock(n, *local):
    start = tuple(np.resize([-1.2, 1.0], n))
    return Problem("Rosenbrock", "K&S, equation 2", rosenbrock, n, start, (-3, 3), 0.0, (1.0,) * n, (0.0, *local))


def _styblinski_tang(n):
    at, minima = _styblinski_tang_minima(n)
    return Problem(
        "Styblinski-Tang", "Styblinski & Tang", styblinski_tang, n, (-1,) * n, (-5, 5), minima[0], at, minima
    )


_SQUARES = "two of its four squares are fourth powers"
# The problems of one size are compiled together: see any_of.
GROUPS = {
    2: (
        _rosenbrock(2),
        Problem("Beale", "MGH 5", beale, 2, (1, 1), (-4.5, 4.5), 0.0, (3.0, 0.5), (0.0,)),
        Problem("Himmelblau", "Himmelblau", himmelblau, 2, (1, 1), (-5, 5), 0.0, (3.0, 2.0), (0.0,)),
        _styblinski_tang(2),
    ),
    4: (
        _rosenbrock(4, 3.70142859),  # the other minimum: near (-1, 1, 1, 1), and so on for larger n
        Problem("Wood", "MGH 14", wood, 4, (-3, -1, -3, -1), (-4, 4), 0.0, (1.0,) * 4, (0.0,)),
        Problem(
            "Powell singular", "MGH 13", powell_singular, 4, (3, -1, 0, 1), (-4, 4), 0.0, (0.0,) * 4, (0.0,), _SQUARES
        ),
    ),
    5: (_rosenbrock(5, 3.93083944),),
    10: (
        _rosenbrock(10, 3.98657911),
        _styblinski_tang(10),
        Problem("trigonometric", "MGH 26", trigonometric, 10, (0.1,) * 10, (-1, 1), 0.0, (0.0,) * 10),
        Problem("Broyden tridiagonal", "MGH 30", broyden_tridiagonal, 10, (-1,) * 10, (-2, 2), 0.0),
    ),
}
PROBLEMS = tuple(itertools.chain(*GROUPS.values()))


@functools.cache
def any_of(n):
    """fun(x, which, constant): problem number ``which`` of n unknowns, plus a constant."""
    funs = [problem.fun for problem in GROUPS[n]]

    def fun(x, which, constant):
        return jax.lax.switch(which, funs, x) + constant

    return fun


def group_starts(n):
    """Starts (B, n) for all problems of n unknowns, which problem each is for, and {problem: its rows}."""
    each = ROWS // len(GROUPS[n])
    starts = np.concatenate([problem.starts(each) for problem in GROUPS[n]])
    rows = {problem: slice(i * each, (i + 1) * each) for i, problem in enumerate(GROUPS[n])}
    return starts, np.repeat(np.arange(len(GROUPS[n]), dtype=np.int32), each), rows
