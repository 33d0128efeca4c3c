"""Pictures, with matplotlib (the extra ``plot``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnewton.thomson.polyhedron import polyhedron

DEFECTS = {4: "tab:blue", 5: "tab:red", 6: "0.6", 7: "tab:green"}  # colours of charges, by their neighbours
TALLEST = 60.0  # inches of a picture of coefficients


def thomson(points: Any, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw charges (n, 3) on the unit sphere and their polyhedron to an image file, the far side paler.

    Charges are coloured by their number of neighbours: 5 red, 6 grey, 7 green; others by the legend.

    Raises:
        ImportError: matplotlib is not installed.
    """
    points = np.asarray(points)
    solid = polyhedron(points)
    figure = require()(figsize=(6, 6), layout="constrained")
    axes: Any = figure.add_subplot(projection="3d")
    azimuth, height = np.meshgrid(np.linspace(0, 2 * np.pi, 49), np.linspace(0, np.pi, 25))
    sphere = np.sin(height) * np.cos(azimuth), np.sin(height) * np.sin(azimuth), np.cos(height)
    axes.plot_surface(*sphere, color="0.92", alpha=0.35, linewidth=0, shade=False)
    azimuth, height = np.deg2rad([axes.azim, axes.elev])
    towards = np.array([np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)])
    for i, j in solid.edges:
        near = (points[i] + points[j]) @ towards > 0
        axes.plot(*points[[i, j]].T, color="0.35" if near else "0.8", linewidth=0.9 if near else 0.5)
    for count in np.unique(solid.neighbours):
        those = points[solid.neighbours == count]
        color = DEFECTS.get(int(count), "tab:purple")
        size = min(30.0, 3000.0 / len(points))
        axes.scatter(*those.T, color=color, s=size, depthshade=True, label=f"{count} neighbours: {len(those)}")
    axes.legend(loc="lower left", frameon=False)
    axes.set_box_aspect((1, 1, 1), zoom=1.5)
    axes.set_axis_off()
    axes.set_title(title)
    _save(figure, path)


def convergence(
    solutions: Any, path: str | os.PathLike[str], *, names: Sequence[str] | None = None, title: str = ""
) -> None:
    """Draw f, the largest gradient component and the change of x against the trip to an image file.

    Args:
        solutions: one Solution made with ``history=True``, a list of them, or a dict of name to Solution.
        path: where to, such as "descent.png".
        names: one for each of a list.

    Raises:
        ValueError: there are no solutions, one has no history or is a batch, or there are not as many names.
        TypeError: path is no path.
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
    _save(figure, path)


def _histories(solutions: Any, names: Sequence[str] | None) -> list[tuple[str | None, Any, int]]:
    if isinstance(solutions, dict):
        names, solutions = tuple(map(str, solutions)), tuple(solutions.values())
    each = solutions if isinstance(solutions, (list, tuple)) else [solutions]
    labels = [None] * len(each) if names is None else list(names)
    if not each:
        raise ValueError("there is nothing to draw: solutions is empty")
    if len(labels) != len(each):
        raise ValueError(f"there are {len(each)} solutions and {len(labels)} names")
    for i, solution in enumerate(each):
        if getattr(solution, "history", None) is None:
            raise ValueError(f"solution {labels[i] or i} has no history: solve with jn.minimize(..., history=True)")
        if np.ndim(solution.nit):
            raise ValueError(
                f"solution {labels[i] or i} is a batch of shape {solution.nit.shape}: give a list of its rows, "
                "each jax.tree.map(lambda leaf: leaf[k], solution)"
            )
    return [(name, one.history, int(one.nit)) for name, one in zip(labels, each, strict=True)]


def coefficients(
    rows: Sequence[dict[str, Any]], path: str | os.PathLike[str], *, level: float = 0.95, title: str = ""
) -> None:
    """Draw coefficients with their confidence intervals to an image file, the first on top.

    Args:
        rows: each with "name", "estimate", "lower" and "upper", and "class" where there are several of a name.
        path: where to, such as "fit.png".
        level: of the intervals.

    Raises:
        ImportError: matplotlib is not installed.
    """
    names = list(dict.fromkeys(row["name"] for row in rows))
    classes = list(dict.fromkeys(row.get("class") for row in rows))
    figure = require()(figsize=(7, min(1.5 + 0.3 * len(names) * len(classes) ** 0.5, TALLEST)), layout="constrained")
    axes: Any = figure.subplots()
    for k, label in enumerate(classes):
        own = [row for row in rows if row.get("class") == label]
        at = np.array([names.index(row["name"]) for row in own]) + 0.7 * ((k + 0.5) / len(classes) - 0.5)
        estimate, lower, upper = (np.array([row[key] for row in own], float) for key in ("estimate", "lower", "upper"))
        color = f"C{k % 10}"
        axes.hlines(at, lower, upper, color=color, linewidth=1.5)
        axes.plot(estimate, at, "o", color=color, markersize=4, label=None if label is None else f"class {label}")
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(f"coefficient, {100 * level:g} % confidence interval")
    axes.grid(visible=True, axis="x", linewidth=0.3)
    _finish(figure, axes, path, title)


def fitted(
    x: Any,
    y: Any,
    grid: Any,
    mean: Any,
    path: str | os.PathLike[str],
    *,
    names: tuple[str, str] = ("x", "y"),
    levels: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Draw data and the fitted mean of y against one predictor to an image file.

    Args:
        x: (m,) the predictor.
        y: (m,) what was observed; of several classes, their numbers, drawn as marks below the curves.
        grid: (k,) where the mean is known.
        mean: (k,) of y; of several classes their probabilities (k, classes).
        path: where to, such as "fit.png".
        names: of x and y.
        levels: what y's values 0, 1, ... stand for.

    Raises:
        ImportError: matplotlib is not installed.
    """
    x, y, mean = np.asarray(x), np.asarray(y), np.asarray(mean)
    figure = require()(figsize=(7, 4.5), layout="constrained")
    axes: Any = figure.subplots()
    if mean.ndim == 1:
        axes.plot(x, y, "o", color="0.4", alpha=0.5, markersize=4, markeredgewidth=0)
        axes.plot(grid, mean, color="tab:blue")
        axes.set_ylabel(f"{names[1]} (1: {levels[1]}, 0: {levels[0]})" if levels else names[1], parse_math=False)
    else:
        for k in range(mean.shape[1]):
            label = levels[k] if levels else k
            axes.plot(grid, mean[:, k], color=f"C{k % 10}", label=f"class {label}")
            own = x[y == k]
            axes.plot(own, np.full(len(own), -0.03 * (k + 1)), "|", color=f"C{k % 10}", markersize=5)
        axes.set_ylabel(f"probability of {names[1]}", parse_math=False)
    axes.set_xlabel(names[0], parse_math=False)
    axes.grid(visible=True, linewidth=0.3)
    _finish(figure, axes, path, title)


def _finish(figure: Any, axes: Any, path: str | os.PathLike[str], title: str) -> None:
    if any(line.get_label()[:1] != "_" for line in axes.get_lines()):
        for text in axes.legend().get_texts():
            text.set_parse_math(False)
    axes.set_title(title, parse_math=False)
    _save(figure, path)


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    if not isinstance(path, (str, os.PathLike)) and not hasattr(path, "write"):
        raise TypeError(f'path must be a file\'s name, such as "picture.png"; it is {path!r}')
    figure.savefig(path, dpi=150)


def check(path: str | os.PathLike[str]) -> None:
    """Refuse a picture that could not be written, before it is worked for.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there is no such folder, or matplotlib does not know the file's ending.
    """
    known = require()().canvas.get_supported_filetypes()
    folder, ending = Path(path).resolve().parent, Path(path).suffix[1:].lower()
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    if ending and ending not in known:
        raise ValueError(f"a picture ends in .{', .'.join(sorted(known))}; {path} does not")


def require() -> Any:
    """matplotlib's Figure class, or an ImportError that says what to install."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'jaxnewton[plot]'") from error
    return Figure
