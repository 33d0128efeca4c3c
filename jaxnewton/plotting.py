"""Pictures, with matplotlib (the extra ``plot``)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np


def thomson(points: Any, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw charges (n, 3) on the unit sphere to an image file, those on the far side paler.

    Raises:
        ImportError: matplotlib is not installed.
    """
    points = np.asarray(points)
    figure = require()(figsize=(6, 6), layout="constrained")
    axes: Any = figure.add_subplot(projection="3d")
    azimuth, height = np.meshgrid(np.linspace(0, 2 * np.pi, 49), np.linspace(0, np.pi, 25))
    sphere = np.sin(height) * np.cos(azimuth), np.sin(height) * np.sin(azimuth), np.cos(height)
    axes.plot_surface(*sphere, color="0.92", alpha=0.35, linewidth=0, shade=False)
    for i, j in nearest_pairs(points):
        axes.plot(*points[[i, j]].T, color="tab:blue", linewidth=0.8)
    axes.scatter(*points.T, color="tab:red", s=30, depthshade=True)
    axes.set_box_aspect((1, 1, 1))
    axes.set_axis_off()
    axes.set_title(title)
    figure.savefig(path, dpi=150)


def nearest_pairs(points: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of charges that are close neighbours: nearer than 1.35 times the nearest distance of either."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 9.0 * np.eye(len(points))
    reach = 1.35 * distance.min(axis=1)
    near = distance <= np.minimum(reach[:, None], reach[None])
    return [(int(i), int(j)) for i, j in np.argwhere(near) if i < j]


def require() -> Any:
    """matplotlib's Figure class, or an ImportError that says what to install."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'jaxnewton[plot]'") from error
    return Figure
