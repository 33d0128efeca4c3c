"""JAX as the tests want it: strict about dtypes and ranks, in double precision, on four CPU devices."""

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_code():
    """Compiled programs hold memory maps, of which Linux gives a process 65,530; thousands of programs exhaust them."""
    yield
    jax.clear_caches()
