"""Are the derivatives JAX takes of a function the function's own? For those who write custom rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnewton import checks
from jaxnewton.flat import Flattened, flatten
from jaxnewton.problem import Objective
from jaxnewton.types import Array, Evaluation, Needs

SAFETY = 100.0  # times the error that central differences are expected to have


class DerivativeCheck(NamedTuple):
    """What ``check_derivatives`` found. Errors are the largest deviations from the differences."""

    ok: bool  # both errors (the gradient's alone without a Hessian) are within what differences of this dtype can tell
    gradient: Array  # (n,) by JAX
    hessian: Array | None  # (n, n) by JAX; None: JAX has none, as where fun has callbacks
    gradient_differences: Array  # (n,) of fun: central, extrapolated
    hessian_differences: Array  # (n, n) of the gradient by JAX
    gradient_error: float
    hessian_error: float  # nan without a Hessian
    gradient_allowed: float
    hessian_allowed: float

    def __str__(self) -> str:
        lines = []
        for name in ("gradient", "hessian") if self.hessian is not None else ("gradient",):
            error, allowed = getattr(self, f"{name}_error"), getattr(self, f"{name}_allowed")
            mine, theirs = np.asarray(getattr(self, name)), np.asarray(getattr(self, f"{name}_differences"))
            worst = np.unravel_index(np.argmax(np.nan_to_num(np.abs(mine - theirs), nan=np.inf)), mine.shape)
            at = ", ".join(map(str, map(int, worst)))
            word = "ok" if error <= allowed else "WRONG"
            lines.append(
                f"{name} {word}: largest difference {error:.3g} (allowed {allowed:.3g}), at [{at}]: "
                f"JAX {mine[worst]:.9g}, differences {theirs[worst]:.9g}"
            )
        if self.hessian is None:
            lines.append("hessian not available: JAX cannot differentiate the gradient")
        return "\n".join(lines)


class Differences(NamedTuple):
    """Central differences of one step."""

    slopes: Array  # (n,) of a scalar, (n, n) of a gradient
    largest: Array  # () of the values that they were taken of


def check_derivatives(fun: Callable[..., Array], x: Any, args: tuple[Any, ...] = ()) -> DerivativeCheck:
    """Compare the gradient and Hessian of ``fun(x, *args)`` by JAX with central differences.

    The gradient is compared with differences of ``fun``, the Hessian with differences of the gradient, with the steps
    h = eps^(1/3) max(1, |x_i|) and 2h (Nocedal & Wright 2006, section 8.1), extrapolated to h = 0 (Richardson 1911). By
    how much the two differ is allowed on top of rounding: it is what large third derivatives do. Not under ``jit``.

    Args:
        fun: scalar function, as for ``minimize``. Where JAX cannot differentiate it twice, as where its rule calls back
            to the host, the gradient alone is checked, and ``hessian_differences`` are the only Hessian.
        x: a point: any pytree of floating arrays.
        args: further arguments of ``fun``.

    Returns:
        A DerivativeCheck; ``print`` it, or ``assert`` its ``ok``.

    Raises:
        TypeError, ValueError: an argument is not of the form above; the message names it.
    """
    checks.function("fun", fun)
    flat, structure = flatten("x", x, batch=False)
    args = checks.arguments(args)
    problem = Objective(Flattened(fun, structure))
    eps = float(jnp.finfo(flat.dtype).eps)
    h = eps ** (1 / 3) * jnp.maximum(1.0, jnp.abs(flat))

    @jax.jit
    def along(signed: Array) -> tuple[Array, Array]:
        at = jax.vmap(lambda step: problem.evaluate(flat + step, args, Needs.GRADIENT))(signed)
        return at.f, at.g

    def differences(h: Array) -> list[Differences]:
        """Of f, and of its gradient."""
        up, down = along(jnp.diag(h)), along(-jnp.diag(h))
        width = (flat + h) - (flat - h)  # as it came out in this dtype
        return [
            Differences(jax.vmap(jnp.divide)(above - below, width), jnp.max(jnp.abs(jnp.stack([above, below]))))
            for above, below in zip(up, down, strict=True)
        ]

    def compare(mine: Array | None, near: Differences, far: Differences) -> tuple[Array, float, float]:
        if not jnp.isfinite(far.largest):  # such as beside the end of a domain
            far = near
        best = near.slopes + (near.slopes - far.slopes) / 3
        if mine is None:
            return best, np.nan, np.nan
        size = max(float(jnp.max(jnp.abs(value))) for value in (mine, near.largest, far.largest))
        error, bend = (float(jnp.max(jnp.abs(best - other))) for other in (mine, near.slopes))
        if not np.isfinite(error):
            return best, np.inf, 0.0
        return best, error, SAFETY * eps ** (2 / 3) * max(size, eps) + 3 * bend

    here = _evaluate(problem, flat, args)
    if not jnp.isfinite(here.f):
        raise ValueError(f"fun must be finite at x; it is {here.f}")
    (f_near, g_near), (f_far, g_far) = differences(h), differences(2 * h)
    g, g_error, g_allowed = compare(here.g, f_near, f_far)
    H, H_error, H_allowed = compare(here.H, g_near, g_far)
    ok = g_error <= g_allowed and (here.H is None or H_error <= H_allowed)
    return DerivativeCheck(ok, here.g, here.H, g, H, g_error, H_error, g_allowed, H_allowed)


def _evaluate(problem: Objective, x: Array, args: tuple[Any, ...]) -> Evaluation:
    """f, g and H; H None where JAX cannot take it."""
    try:
        return jax.jit(lambda x: problem.evaluate(x, args, Needs.HESSIAN))(x)
    except (TypeError, ValueError, NotImplementedError):
        pass  # what is wrong with fun itself, the gradient says again
    return jax.jit(lambda x: problem.evaluate(x, args, Needs.GRADIENT))(x)
