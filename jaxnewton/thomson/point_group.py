"""How symmetric a configuration is: the order of its point group."""

from __future__ import annotations

import numpy as np


def symmetry(points: np.ndarray, tolerance: float = 1e-5) -> int:
    """Order of the point group of points (n, 3) on the sphere: rotations and reflections that permute them, to within
    ``tolerance``; 0 where it is infinite (n = 2)."""
    n = len(points)
    cosines = points @ points.T
    np.fill_diagonal(cosines, -np.inf)
    # Two points fix a rotation if they are not opposite: the nearest pair of the rarest kind of charge.
    distances = np.sqrt(np.maximum(2 - 2 * np.minimum(cosines, 1), 0))
    np.fill_diagonal(distances, np.inf)
    if n == 2:
        return 0  # infinite
    potential = np.sum(1 / distances, axis=1)
    same = np.abs(potential[:, None] - potential[None, :]) <= tolerance * potential[:, None]
    i = int(np.argmin(same.sum(axis=1)))
    j = int(np.argmin(np.where(cosines[i] > -0.999, distances[i], np.inf)))
    frame = _frame(points[i], points[j])
    order = 0
    for k in np.flatnonzero(same[i]):
        for m in np.flatnonzero(same[j] & (np.abs(distances[k] - distances[i, j]) <= tolerance)):
            for sign in (1.0, -1.0):
                image = points @ (frame.T * np.array([1.0, 1.0, sign])) @ _frame(points[k], points[m])
                order += _permutes(points, image, 10 * tolerance)
    return order


def _frame(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """An orthonormal frame (rows) of two directions."""
    across = b - (a @ b) * a
    across /= np.linalg.norm(across)
    return np.stack([a, across, np.cross(a, across)])


def _permutes(points: np.ndarray, image: np.ndarray, tolerance: float) -> bool:
    """Whether every point of the image is one of the points."""
    few = np.linalg.norm(points[None] - image[:3, None], axis=2).min(axis=1)  # most candidates fail here
    if few.max() > tolerance:
        return False
    return bool(np.linalg.norm(points[None] - image[:, None], axis=2).min(axis=1).max() <= tolerance)
