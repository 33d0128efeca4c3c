"""Line searches along a scalar phi: what they promise is checked at their ends, and against SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxnewton import linesearch
from jaxnewton.linesearch import Golden, Wolfe

DTYPES = ("float32", "float64")
PHIS = {  # phi, with minima along the positive axis, and the first trial
    "parabola": (lambda a: (a - 3.0) ** 2, 1.0),
    "first trial far too long": (lambda a: (a - 3.0) ** 2, 1e4),
    "first trial far too short": (lambda a: (a - 3.0) ** 2, 1e-4),
    "quartic": (lambda a: a**4 - 8.0 * a, 1.0),
    "wavy": (lambda a: 0.1 * a**2 - a + 0.3 * jnp.cos(5.0 * a), 1.0),
    "edge": (lambda a: -jnp.log(2.0 - a) - 3.0 * a, 5.0),  # nan beyond 2
}
RULES = {
    "backtracking": Wolfe(np.inf),
    "weak, loose": Wolfe(0.9),
    "weak, tight": Wolfe(0.1),
    "strong, loose": Wolfe(0.9, strong=True),
    "strong, tight": Wolfe(0.1, strong=True),
}
every_phi = pytest.mark.parametrize("name", PHIS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def search(rule, name, dtype, **options):
    """The result, phi and its derivative as functions in double precision."""
    phi, first = PHIS[name]
    found = jax.jit(lambda a: linesearch.run(rule, phi, a, **options))(np.asarray(first, dtype))
    assert found.alpha.dtype == found.value.dtype == np.dtype(dtype)
    return found, phi, jax.grad(phi)


@every_dtype
@pytest.mark.parametrize("rule", RULES)
@every_phi
def test_ends_at_the_conditions(name, rule, dtype):
    found, phi, slope = search(RULES[rule], name, dtype)
    alpha, start = float(found.alpha), float(slope(0.0))
    assert found.accepted
    assert found.trials <= 40
    assert phi(alpha) <= phi(0.0) + 1e-4 * alpha * start + 1e-6
    c2, slack = RULES[rule].c2, 1e-3 if dtype == "float32" else 1e-12
    if np.isfinite(c2):
        assert slope(alpha) >= c2 * start - slack
    if RULES[rule].strong:
        assert slope(alpha) <= -c2 * start + slack


@every_phi
def test_golden_section_brackets_a_minimum_as_narrowly_as_asked(name):
    for width in (0.1, 1e-3, 1e-6):
        found, phi, _ = search(Golden(width), name, "float64")
        assert found.accepted
        alpha = float(found.alpha)
        near = scipy.optimize.minimize_scalar(
            lambda a, phi=phi: float(phi(a)),
            bounds=(alpha * (1 - 2 * width), alpha * (1 + 2 * width)),
            method="bounded",
        )
        assert abs(near.x - alpha) <= 1.2 * width * alpha
        assert phi(alpha) <= phi(0.0)


def test_golden_section_against_scipy():
    """On a unimodal phi both come to the same minimum, ours in no more evaluations than Brent's bracket and golden."""
    found, phi, _ = search(Golden(1e-6), "quartic", "float64")
    theirs = scipy.optimize.minimize_scalar(lambda a: float(phi(a)), method="golden", tol=1e-6)
    np.testing.assert_allclose(found.alpha, theirs.x, rtol=2e-6)
    np.testing.assert_allclose(found.alpha, 2 ** (1 / 3), rtol=1e-6)
    assert found.trials <= theirs.nfev + 5


@every_dtype
def test_the_slopes_decide_where_values_cannot(dtype):
    """phi = 1e6 + (a - 3)^2 / 1e6 falls by less than the rounding of 1e6; the conditions of Hager & Zhang hold."""
    tiny = np.asarray(1e-6, dtype)
    big = np.asarray(1e6 if dtype == "float32" else 1e12, dtype)
    found = linesearch.run(Wolfe(0.1, strong=True), lambda a: big + tiny * (a - 3) ** 2, np.asarray(1.0, dtype))
    assert found.accepted
    np.testing.assert_allclose(found.alpha, 3, rtol=0.1)


def test_no_way_down_is_no_success():
    found = linesearch.run(Wolfe(), lambda a: jnp.where(a > 0, jnp.nan, -a), 1.0, max_trials=20)
    assert not found.accepted
    assert (found.alpha, found.value, found.trials) == (0, 0, 20)
