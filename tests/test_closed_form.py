"""Closed-form eigenvectors of small symmetric matrices: right to rounding, whatever the spectrum."""

import jax
import numpy as np
import pytest

from jaxnewton import closed_form
from jaxnewton.loop import over_lanes

EACH = 5000


def with_eigenvalues(lam, rng):
    Q, _ = np.linalg.qr(rng.normal(size=(*lam.shape, lam.shape[1])))
    A = (Q * lam[:, None, :]) @ Q.swapaxes(1, 2)
    return 0.5 * (A + A.swapaxes(1, 2))


def spectrum(make):
    return lambda rng, n: with_eigenvalues(make(rng, n), rng)


def diagonal(rng, n):
    return np.eye(n) * rng.integers(-2, 3, (EACH, 1, n))


def whole(rng, n):
    A = rng.integers(-1, 2, (EACH, n, n))
    return (A + A.swapaxes(1, 2)).astype(float)


def below_repeated(gap):
    return lambda rng, n: np.where(np.arange(n) == 0, 1 - gap(rng), 1.0)


FAMILIES = {
    "random": spectrum(lambda rng, n: rng.normal(size=(EACH, n))),
    "lowest repeated": spectrum(lambda rng, n: np.where(np.arange(n) < 2, -1.0, rng.normal(size=(EACH, n)))),
    "highest repeated": spectrum(lambda rng, n: np.where(np.arange(n) > 0, 1.0, rng.normal(size=(EACH, n)))),
    "nearly repeated": spectrum(below_repeated(lambda rng: 10 ** rng.uniform(-17, -1, (EACH, 1)))),
    "next to a multiple of I": spectrum(lambda rng, n: 1 + 10 ** rng.uniform(-17, -5, (EACH, n))),
    "graded": spectrum(lambda rng, n: 10 ** rng.uniform(-14, 0, (EACH, n))),
    "rank one": spectrum(lambda rng, n: np.where(np.arange(n) == 0, rng.normal(size=(EACH, 1)), 0.0)),
    "identity": lambda rng, n: np.broadcast_to(np.eye(n), (EACH, n, n)),
    "zero": lambda rng, n: np.zeros((EACH, n, n)),
    "diagonal": diagonal,
    "whole numbers": whole,
}


eigh = jax.jit(over_lanes(closed_form.eigh))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_against_the_definition_and_lapack(family, n, dtype):
    A = FAMILIES[family](np.random.default_rng(n), n).astype(dtype)
    found = eigh(np.moveaxis(A, 0, -1))
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(found))
    lam, V = (np.array(part, float) for part in found)  # (n, EACH) and (n, n, EACH), vectors first
    lam, V, A = lam.T, V.transpose(2, 1, 0), A.astype(float)
    rounding = 10 * np.finfo(dtype).eps
    norm = np.max(np.sum(np.abs(A), axis=2), axis=1)
    assert np.all(np.abs(V.swapaxes(1, 2) @ V - np.eye(n)) <= rounding)
    assert np.all(np.abs((V * lam[:, None]) @ V.swapaxes(1, 2) - A) <= rounding * norm[:, None, None])
    assert np.all(np.abs(np.sort(lam, axis=1) - np.linalg.eigvalsh(A)) <= rounding * norm[:, None])
