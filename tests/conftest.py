"""JAX as the tests want it: quick to compile, strict about dtypes and ranks, in double precision, four CPU devices."""

import importlib.metadata
import os

# Most of the run is compilation; .ci/run sets JAX's variable to 0 where it tests what users get, optimised code.
if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    if importlib.metadata.version("jaxlib").startswith("0.10."):  # half of its time; later ones do not know the flag
        os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false " + os.environ.get("XLA_FLAGS", "")

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
