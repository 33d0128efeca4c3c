"""The polyhedron whose vertices are the charges: faces, edges, and how many neighbours each charge has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Polyhedron(NamedTuple):
    """Triangles of the convex hull; a face of more corners is cut into triangles."""

    faces: np.ndarray  # (m, 3) vertices, counterclockwise from outside
    edges: np.ndarray  # (k, 2) vertices
    neighbours: np.ndarray  # (n,) edges at each vertex: 6 in a flat lattice; 12 in all are missing on a sphere


def polyhedron(points: np.ndarray) -> Polyhedron:
    """Of points (n, 3) on the sphere; without faces where they lie in a plane (n < 4, say)."""
    from scipy.spatial import ConvexHull, QhullError  # slow to import

    n = len(points)
    try:
        hull = ConvexHull(points) if n > 3 else None
    except QhullError:
        hull = None
    if hull is None:
        edges = np.array([(i, j) for i in range(n) for j in range(i + 1, n)]).reshape(-1, 2)
        return Polyhedron(np.zeros((0, 3), int), edges, np.bincount(edges.ravel(), minlength=n))
    a, b, c = (points[hull.simplices[:, k]] for k in range(3))
    outward = np.sum(np.cross(b - a, c - a) * (a + b + c), axis=1) > 0
    faces = np.where(outward[:, None], hull.simplices, hull.simplices[:, ::-1])
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    return Polyhedron(faces, edges, np.bincount(edges.ravel(), minlength=n))
