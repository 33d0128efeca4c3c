"""Pictures, with matplotlib (the extra ``plot``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
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


def convergence(
    solutions: Any, path: str | os.PathLike[str], *, names: Sequence[str] | None = None, title: str = ""
) -> None:
    """Draw f, the largest gradient component and the change of x against the trip to an image file.

    Args:
        solutions: one Solution made with ``history=True``, a list of them, or a dict of name to Solution.
        path: where to, such as "descent.png".
        names: one for each of a list.

    Raises:
        ValueError: a solution has no history, or there are not as many names as solutions.
        ImportError: matplotlib is not installed.
    """
    figure = require()(figsize=(12, 4), layout="constrained")
    panels: Any = figure.subplots(1, 3)
    for name, history, trips in _histories(solutions, names):
        at = np.arange(1, trips + 1)
        moved = np.asarray(history.accepted)[:trips].copy()
        moved[:1] = False  # the start
        step = np.where(moved, np.asarray(history.step)[:trips], np.nan)
        for panel, values in zip(panels, (history.fun, history.grad, step), strict=True):
            panel.plot(at, np.asarray(values)[:trips], marker=".", markersize=3, linewidth=1, label=name)
    for panel, words in zip(panels, ("f", "largest gradient component", "change of x"), strict=True):
        panel.set_xlabel("trip")
        panel.set_ylabel(words)
        values = np.concatenate([line.get_ydata() for line in panel.get_lines()])
        if np.any(values < 0):
            panel.set_yscale("symlog", linthresh=np.nanmin(np.abs(values[values != 0])))
        else:
            panel.set_yscale("log", nonpositive="mask")
        panel.grid(visible=True, linewidth=0.3)
    if any(line.get_label()[:1] != "_" for line in panels[0].get_lines()):
        panels[0].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=150)


def _histories(solutions: Any, names: Sequence[str] | None) -> list[tuple[str | None, Any, int]]:
    if isinstance(solutions, dict):
        names, solutions = tuple(map(str, solutions)), tuple(solutions.values())
    each = solutions if isinstance(solutions, (list, tuple)) else [solutions]
    labels = [None] * len(each) if names is None else list(names)
    if len(labels) != len(each):
        raise ValueError(f"there are {len(each)} solutions and {len(labels)} names")
    for i, solution in enumerate(each):
        if getattr(solution, "history", None) is None:
            raise ValueError(f"solution {labels[i] or i} has no history: solve with jn.minimize(..., history=True)")
    return [(name, one.history, int(one.nit)) for name, one in zip(labels, each, strict=True)]


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
