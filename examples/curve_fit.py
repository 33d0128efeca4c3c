"""An oscillation in noise, fitted from a thousand starts: the best fit with its errors, and the minima beside it.

Almost every frequency has a minimum of its own nearby, and a single start cannot tell whether its minimum is the
lowest. Fits that are still under way after 500 trips say so.

python examples/curve_fit.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import jaxnewton as jn

STARTS = 1000
NAMES = ["level", "cosine", "sine", "frequency"]
TRUTH = np.array([1.0, 2.0, -1.0, 1.3])
LOWER, UPPER = np.array([-3.0, -3.0, -3.0, 0.1]), np.array([3.0, 3.0, 3.0, 6.0])


def oscillation(t, p):
    level, cosine, sine, frequency = p
    return level + cosine * jnp.cos(frequency * t) + sine * jnp.sin(frequency * t)


def main():
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 30, size=80))  # on a grid a frequency could not be told from its aliases
    y = np.asarray(oscillation(t, TRUTH)) + rng.standard_normal(80)
    starts = rng.uniform(LOWER, UPPER, size=(STARTS, 4))

    fits = jn.regression.nonlinear(oscillation, t, y, starts, max_steps=500)

    numbers = zip(*np.unique(fits.status, return_counts=True), strict=True)
    print(f"{STARTS} starts:", ", ".join(f"{jn.Status(status).name} {number}" for status, number in numbers))
    print(f"trips: median {np.median(fits.nit):.0f}, largest {fits.nit.max()}")
    ended = np.asarray(fits.success)
    deviance, frequency = np.asarray(fits.deviance)[ended], np.abs(fits.params[ended, 3])
    minima, rows, hits = np.unique(deviance.round(6), return_index=True, return_counts=True)
    print(f"distinct minima: {len(minima)}, of which the lowest:")
    for row, count in list(zip(rows, hits, strict=True))[:5]:
        print(f"  sum of squares {deviance[row]:8.4f} at the frequency {frequency[row]:.4f}, from {count} starts")
    print(f"\n{fits.best.summary(NAMES)}")
    assert len(minima) > 10
    assert np.allclose(fits.best.predict(t), oscillation(t, TRUTH), atol=1.0)


if __name__ == "__main__":
    main()
