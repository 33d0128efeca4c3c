"""All roots of a system in a box, from a thousand starts: python examples/roots.py"""

import jax
import jax.numpy as jnp

import jaxnewton as jn


def himmelblau_gradient(x):
    """Its nine roots are Himmelblau's four minima, four saddles and one maximum."""
    a, b = x
    u, v = a**2 + b - 11, a + b**2 - 7
    return jnp.stack([4 * a * u + 2 * v, 2 * u + 4 * b * v])


def main():
    jax.config.update("jax_enable_x64", True)
    starts = jn.starts.uniform(jax.random.key(0), -5 * jnp.ones(2), 5 * jnp.ones(2), 1000)
    found = jn.root_batch(himmelblau_gradient, starts)
    print(found.counts)
    for root, hits in sorted(found.distinct(), key=lambda entry: -entry[1]):
        print(f"({root.x[0]:9.6f}, {root.x[1]:9.6f})  from {hits} starts")
    assert len(found.distinct()) == 9


if __name__ == "__main__":
    main()
