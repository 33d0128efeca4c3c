"""``python -m jaxnewton`` is the ``jaxnewton`` command."""

from jaxnewton.cli import main

main()
