"""Three regressions by gradient descent and by Newton's method, against the published fits: heights of boys by age,
prices of houses, admissions by two exam scores. Pictures of every descent go to the folder, or to a temporary one.

python examples/openclassroom.py [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import openclassroom_data as data

import jaxnewton as jn
from jaxnewton import plotting


def half_mean_square(theta, X, y):
    return jnp.mean((X @ theta - y) ** 2) / 2


def cross_entropy(theta, X, y):
    eta = X @ theta
    return jnp.mean(jnp.logaddexp(0.0, eta) - y * eta)


def with_ones(X):
    return jnp.column_stack([jnp.ones(len(X)), X])


def standardised(X):
    """Mean 0 and sample standard deviation 1: the contours of the loss are nearly round."""
    return (X - X.mean(axis=0)) / X.std(axis=0, ddof=1)


def in_units_of(X, theta):
    """The coefficients for X of those for the standardised X."""
    slope = theta[1:] / X.std(axis=0, ddof=1)
    return jnp.concatenate([theta[:1] - X.mean(axis=0) @ slope, slope])


def descend(title, loss, X, y, solvers):
    """All the methods from 0, a line each."""
    print(f"\n{title}")
    found = {}
    for name, solver in solvers.items():
        start = jnp.zeros(X.shape[1])
        found[name] = jn.minimize(loss, start, (X, y), solver=solver, tol=1e-6, max_steps=10_000, history=True)
        status = jn.Status(int(found[name].status)).name
        print(f"  {name:34} {found[name].nit:6d} trips  loss {found[name].fun:.6g}  {status}")
    return found


def joined(fit):
    return np.array([fit.intercept, *fit.params])


def heights():
    age, height = np.array(data.AGE)[:, None], np.array(data.HEIGHT)
    solvers = {"gradient descent, rate 0.03": jn.GradientDescent(0.03), "Newton": jn.Newton()}
    found = descend("Height on age", half_mean_square, with_ones(age), height, solvers)
    exact = joined(jn.regression.linear(age, height))
    assert tuple(exact.round(4)) == data.HEIGHT_THETA
    for solution in found.values():
        assert solution.success
        assert np.allclose(solution.x, exact, atol=1e-4)
    return found


def prices():
    houses, price = np.column_stack([data.AREA, data.ROOMS]).astype(float), np.array(data.PRICE, float)
    solvers = {
        "gradient descent, rate 0.03": jn.GradientDescent(0.03),
        "gradient descent, exact step": jn.GradientDescent("exact"),
        "Newton": jn.Newton(),
    }
    title = "Price in thousands on area and bedrooms, standardised"
    found = descend(title, half_mean_square, with_ones(standardised(houses)), price / 1000, solvers)
    fit = jn.regression.linear(houses, price)
    assert np.allclose(joined(fit), data.PRICE_THETA)
    assert f"{fit.predict([[1650, 3]])[0]:.2f}" == "293081.46"
    for solution in found.values():
        assert solution.success
        assert np.allclose(1000 * in_units_of(houses, solution.x), data.PRICE_THETA, rtol=1e-4)
    return found


def admissions():
    scores, admitted = np.column_stack([data.SCORE_1, data.SCORE_2]), np.array(data.ADMITTED, float)
    solvers = {
        "gradient descent, rate 1": jn.GradientDescent(1.0),
        "gradient descent, exact step": jn.GradientDescent("exact"),
        "Newton": jn.Newton(),
    }
    title = "Admission on two scores, standardised"
    found = descend(title, cross_entropy, with_ones(standardised(scores)), admitted, solvers)
    for solution in found.values():
        assert solution.success
        assert np.allclose(in_units_of(scores, solution.x), data.ADMITTED_THETA, rtol=1e-3)

    raw = descend("The same with the scores as they are", cross_entropy, with_ones(scores), admitted, solvers)
    assert raw["Newton"].success
    assert not raw["gradient descent, exact step"].success  # it zigzags, and says that it has not arrived
    fit = jn.regression.logistic(scores, admitted)
    for theta in (raw["Newton"].x, joined(fit)):
        assert np.allclose(theta, data.ADMITTED_THETA, rtol=1e-6)
    print(f"  {'jn.regression.logistic':34} {fit.nit:6d} trips  {jn.Status(int(fit.status)).name}")
    print(f"  theta {joined(fit).round(5)}, standard errors {np.array([fit.intercept_stderr, *fit.stderr]).round(5)}")
    return found


def main():
    jax.config.update("jax_enable_x64", True)
    found = {"heights": heights(), "prices": prices(), "admissions": admissions()}
    try:
        plotting.require()
    except ImportError as error:
        print(f"no pictures: {error}")
        return
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="openclassroom-"))
    for name, solutions in found.items():
        plotting.convergence(solutions, folder / f"{name}.png", title=name)
    print(f"\npictures in {folder}")


if __name__ == "__main__":
    main()
