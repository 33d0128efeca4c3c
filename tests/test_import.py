"""What `import jaxnewton` must not do: change JAX's configuration, start a device, or load what only a part needs."""

import json
import subprocess
import sys

SCRIPT = """
import json, sys
import jax

before = {name: str(value) for name, value in jax.config.values.items()}
import jaxnewton

after = {name: str(value) for name, value in jax.config.values.items()}
from jax._src import xla_bridge

print(json.dumps({
    "changed": sorted(name for name in after if after[name] != before.get(name)),
    "modules": sorted(sys.modules),
    "backends": sorted(xla_bridge._backends),
    "public": [name for name in jaxnewton.__all__ if not hasattr(jaxnewton, name)],
    "version": jaxnewton.__version__,
}))
"""


def test_importing_is_quiet():
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["changed"] == []
    assert report["backends"] == []  # devices are still the user's to choose
    assert report["public"] == []
    assert report["version"].count(".") == 2
    heavy = {"matplotlib", "scipy.stats", "rich", "typer", "optax", "sklearn", "pytest"}
    assert heavy & set(report["modules"]) == set()
