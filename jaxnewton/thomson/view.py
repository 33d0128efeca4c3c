"""An interactive view of charges as one HTML file that needs nothing else, no network either."""

from __future__ import annotations

import html
import importlib.resources
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxnewton.thomson.polyhedron import polyhedron


def write_view(points: Any, path: str | os.PathLike[str], *, title: str = "", text: str = "") -> None:
    """Write charges (n, 3) on the unit sphere with their polyhedron, to be turned with the mouse or by touch."""
    points = np.asarray(points, float)
    solid = polyhedron(points)
    data = {
        "points": np.round(points, 9).tolist(),
        "faces": solid.faces.tolist(),
        "edges": solid.edges.tolist(),
        "neighbours": solid.neighbours.tolist(),
    }
    page = importlib.resources.files("jaxnewton.thomson").joinpath("view.html").read_text(encoding="utf-8")
    for mark, value in (("TITLE", html.escape(title)), ("TEXT", html.escape(text)), ("DATA", json.dumps(data))):
        page = page.replace(f"@{mark}@", value)
    Path(path).write_text(page, encoding="utf-8")
