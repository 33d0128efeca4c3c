"""A large quadratic over a sphere, without matrices: the sequential subspace method (Hager 2001; Hager & Park 2005)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnewton import checks
from jaxnewton.sphere import krylov
from jaxnewton.sphere.krylov import Matvec, dot, norm
from jaxnewton.sphere.subspace import State, advance, begin, measure
from jaxnewton.starts import as_key
from jaxnewton.types import RUNNING, Array, Rules, Status, is_traced

MAX_STEPS = 50
DERIVATIVE_PRODUCTS = 10  # for each unknown, at most: rounding makes MINRES take more than one


class LargeSphereSolution(NamedTuple):
    """The global minimiser of x'Ax - 2b'x on ||x|| = radius, what proves it, and what it cost."""

    x: Array  # (n,)
    fun: Array  # () x'Ax - 2b'x
    multiplier: Array  # ()
    residual: Array  # () ||(A + multiplier I) x - b||, Euclidean, of this x by a product of its own
    hard_case: Array  # () bool: multiplier + lowest is 0 to the tolerance: b has no part along the lowest
    #                   eigenvectors that could reach the sphere; x got one, and is not the only minimiser
    lowest: Array  # () the least Rayleigh quotient met, an upper bound of A's lowest eigenvalue: accurate to the
    #                tolerance in the hard case, else as far as it takes to see that multiplier > -(that eigenvalue)
    nit: Array  # () int32 subspace steps; 0 where Lanczos' vectors were enough
    nmatvec: Array  # () int32 products with A
    status: Array  # () int32, a jn.Status


def minimize_quadratic_large(
    matvec: Callable[..., Any],
    b: Any,
    radius: Any = 1.0,
    args: Any = (),
    *,
    key: Any = None,
    tol: Any = None,
    max_steps: int | None = None,
) -> LargeSphereSolution:
    """The global minimum of x'Ax - 2b'x on the sphere ||x|| = radius, from products with A alone. Works under ``jit``
    and ``grad``.

    The sequential subspace method: each step solves the problem exactly in the span of the iterate, a Newton step from
    it (MINRES in the tangent space, roughly), its residual, an estimate of the lowest eigenvector, and that one's
    residual. It begins with two Lanczos runs, from b for the iterate and from a random vector for the eigenvector;
    conjugate gradients on the Rayleigh quotient refine the latter as far as the proof of globality needs it. Neither
    x'Ax - 2b'x nor the Rayleigh quotient rises beyond rounding. One compiled program, which holds some 25 vectors (n,):
    Lanczos goes through its vectors twice instead of keeping them.

    Args:
        matvec: x -> A x, or (x, *args) -> A x, of vectors (n,); A symmetric, which is not checked. A pure function,
            traced once for each function object, shape and dtype: hand it arrays by ``args``, and define it once.
        b: (n,), floating; the computation is in its dtype.
        radius: (), positive.
        args: tuple of pytrees of arrays.
        key: a ``jax.random.key`` for the random vector; default ``jax.random.key(0)``.
        tol: of the residual, relative to ||A|| radius + ||b||, where ||A|| is the largest |Ritz value| that Lanczos
            found, at most the 2-norm. Default 1e-10 in double precision, 1e-5 in single.
        max_steps: subspace steps; default 50.

    Returns:
        A LargeSphereSolution. The status is CONVERGED where the residual is within ``tol`` and the lowest eigenvalue
        is at least -multiplier: by Lanczos' lower bound, which fails with a chance of one in a million (Kuczynski &
        Wozniakowski 1992), or because the eigenvector's residual is at most multiplier + lowest, or within ``tol`` as
        well. NOISE_FLOOR: both hold to 50 eps, which is all this dtype can do. MAX_STEPS: not so; see the residual.
        NONFINITE: b, radius or a product is not finite. Derivatives of x, fun and multiplier with respect to b, radius
        and args are the implicit function theorem's, from one more system solved by MINRES; nan in the hard case, where
        x is not unique. Those of residual and lowest are taken for 0; what matvec closes over has none.

    Raises:
        TypeError, ValueError: an argument, or what matvec returns, is not of the form above; the message names it.
    """
    matvec = checks.hashable(checks.function("matvec", matvec))
    b, radius = _checked(b, radius)
    args = checks.arguments(args)
    key = as_key(jax.random.key(0) if key is None else key)
    tol = (1e-10 if jnp.finfo(b.dtype).eps < 1e-12 else 1e-5) if tol is None else tol
    rules = checks.rules(tol, MAX_STEPS if max_steps is None else max_steps, b.dtype)
    return _solve(matvec, b, radius, args, key, rules)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
@functools.partial(jax.jit, static_argnums=0)
def _solve(
    fun: Callable[..., Any], b: Array, radius: Array, args: tuple[Any, ...], key: Array, rules: Rules
) -> LargeSphereSolution:
    def matvec(x: Array) -> Array:
        return fun(x, *args)

    _check_product(matvec, b)
    scaled = b / radius  # x / radius is on the unit sphere, with the same multiplier
    state = begin(matvec, scaled, key, rules.tol)

    def more(state: State) -> Array:
        return (state.status == RUNNING) & (state.nit < rules.max_steps)

    state = lax.while_loop(more, lambda state: advance(matvec, scaled, state, rules.tol), state)
    x = radius * state.x
    Ax = matvec(x)
    multiplier = dot(state.x, b - Ax) / radius
    lowest = measure(state, scaled).lowest
    return LargeSphereSolution(
        x=x,
        fun=dot(x, Ax - 2 * b),
        multiplier=multiplier,
        residual=norm(Ax + multiplier * x - b),
        hard_case=multiplier + lowest <= rules.tol * state.size,
        lowest=lowest,
        nit=state.nit,
        nmatvec=state.nmatvec + 1,
        status=jnp.where(state.status == RUNNING, Status.MAX_STEPS, state.status).astype(jnp.int32),
    )


@_solve.defjvp
def _(fun: Callable[..., Any], primals: Any, tangents: Any) -> tuple[LargeSphereSolution, LargeSphereSolution]:
    b, radius, args, _, rules = primals
    db, dradius, dargs, *_ = tangents
    found = _solve(fun, *primals)
    dAx = jax.jvp(lambda args: fun(found.x, *args), (args,), (dargs,))[1]
    x, value, multiplier = _tangent(fun, found, b, radius, args, rules.tol, db, dAx, dradius)
    none = jnp.zeros_like(found.residual)
    still: list[Any] = [np.zeros((), jax.dtypes.float0)] * 3  # counts and the status
    return found, LargeSphereSolution(x, value, multiplier, none, still[0], none, *still)


@functools.partial(jax.jit, static_argnums=0)
def _tangent(
    fun: Callable[..., Any],
    found: LargeSphereSolution,
    b: Array,
    radius: Array,
    args: tuple[Any, ...],
    tol: Array,
    db: Array,
    dAx: Array,
    dradius: Array,
) -> tuple[Array, Array, Array]:
    """Of x, fun and multiplier, from (A + mu I) x = b and x'x = radius^2."""
    u = found.x / radius
    most = DERIVATIVE_PRODUCTS * (b.shape[0] + 100)

    def project(v: Array) -> Array:
        return v - dot(u, v) * u

    def bordered(v: Array) -> Array:
        """(A + mu I) in the tangent space, 1 along u: symmetric, and positive definite but in the hard case."""
        w = project(v)
        return project(fun(w, *args) + found.multiplier * w) + dot(u, v) * u

    def solve(_: Any, v: Array) -> Array:
        y, steps = krylov.minres(lambda w: fun(w, *args), found.multiplier, u, project(v), tol, jnp.int32(most))
        return jnp.where(steps < most, y, jnp.nan) + dot(u, v) * u

    moved = db - dAx
    across = project(moved - dradius / radius * b)
    dx = project(lax.custom_linear_solve(bordered, across, solve, symmetric=True)) + dradius * u
    dx = dx * jnp.where(found.hard_case, jnp.nan, 1.0).astype(b.dtype)
    dmultiplier = (dot(u, moved) - dot(b, dx) / radius) / radius
    dfun = dot(found.x, dAx) - 2 * dot(found.x, db) - 2 * found.multiplier * radius * dradius
    return dx, dfun, dmultiplier


def _check_product(matvec: Matvec, b: Array) -> None:
    leaves = jax.tree.leaves(jax.eval_shape(matvec, b))
    came = [f"shape {leaf.shape} and dtype {leaf.dtype}" for leaf in leaves]
    if came != [f"shape {b.shape} and dtype {b.dtype}"]:
        raise ValueError(
            f"matvec must return a vector of b's shape {b.shape} and dtype {b.dtype}; it returns {', '.join(came)}"
        )


def _checked(b: Any, radius: Any) -> tuple[Array, Array]:
    b = jnp.asarray(b)
    if not jnp.issubdtype(b.dtype, jnp.floating):
        raise TypeError(f"b must hold real floating numbers; it has dtype {b.dtype}")
    if b.ndim != 1 or b.shape[0] == 0:
        raise ValueError(f"b must be a vector of shape (n,) with n at least 1; it has shape {b.shape}")
    radius = jnp.asarray(radius)
    if radius.ndim or jnp.issubdtype(radius.dtype, jnp.complexfloating):
        raise ValueError(f"radius must be one positive number; it has shape {radius.shape} and dtype {radius.dtype}")
    if not is_traced(radius) and not (radius > 0 and np.isfinite(radius)):
        raise ValueError(f"radius must be positive and finite; it is {radius}")
    return b, radius.astype(b.dtype)
