"""Ten thousand starts on Rosenbrock's function in five dimensions: how they end, and which minima there are.

python examples/batch_rosenbrock.py
"""

import jax
import jax.numpy as jnp

import jaxnewton as jn

jax.config.update("jax_enable_x64", True)


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


starts = jn.starts.uniform(jax.random.key(0), lower=-2 * jnp.ones(5), upper=2 * jnp.ones(5), count=10_000)
solutions = jn.minimize_batch(rosenbrock, starts)
print(solutions.summary())
for minimum, hits in solutions.distinct():
    print(f"{hits:6d} starts end at x = {minimum.x}")
    print(f"       fun = {minimum.fun:.6g}, smallest Hessian eigenvalue {minimum.curvature:.4g}")
