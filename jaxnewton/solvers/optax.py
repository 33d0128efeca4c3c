"""Any optax transformation as a solver."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from jaxnewton.solvers.common import Stepper, finite, keep, running
from jaxnewton.types import Array, Evaluation, Needs, Status

if TYPE_CHECKING:
    import optax


class State(NamedTuple):
    """One lane."""

    x: Array  # (n,) last accepted point
    f: Array  # () inf before the first
    g: Array  # (n,)
    memory: Any  # the transformation's state
    step: Array  # (n,) its update
    predicted: Array  # () |g's|
    full: Array  # () bool: False; a short step is no evidence of anything
    curvature: Array  # () nan: not known
    if_stationary: Array  # () int32: CONVERGED
    status: Array  # () int32


@dataclasses.dataclass(frozen=True)
class Optax(Stepper):
    """First-order methods of optax: ``jn.Optax(optax.adam(1e-2))``. Make the transformation once: compiled code is
    found again for the same object.

    Every finite step is taken, so f may rise; a step to where f or g is not finite ends the start as DIVERGED.

    Args:
        transform: an ``optax.GradientTransformation``; its update is also given ``value`` and ``grad``. Not one that
            evaluates the function itself, as ``optax.lbfgs`` does. One with a random key of its own, such as
            ``optax.noisy_sgd``, draws the same numbers for every start of a batch.

    Raises:
        TypeError: transform is not one.
    """

    transform: optax.GradientTransformation

    needs = Needs.GRADIENT

    def __post_init__(self) -> None:
        if not all(callable(getattr(self.transform, name, None)) for name in ("init", "update")):
            raise TypeError(f"transform must be an optax.GradientTransformation; it is {self.transform!r}")

    def init(self, x0: Array, size: int | None = None) -> State:
        inf, zeros, zero, no, nan = self._blank_state(x0, size)
        memory = self.transform.init(x0 if zeros.shape == x0.shape else zeros)
        return State(x0, inf, zeros, memory, zeros, zero, no, nan, jnp.full((), Status.CONVERGED, jnp.int32), running())

    def tell(self, state: State, x: Array, evaluation: Evaluation) -> State:
        from optax import with_extra_args_support  # slow to import

        f, g = evaluation.f, evaluation.g
        first = jnp.isinf(state.f)
        ok = finite(evaluation, jnp.zeros_like(f))
        update = with_extra_args_support(self.transform).update
        step, memory = update(g, state.memory, x, value=f, grad=g, value_fn=_no_function)
        new = (x, f, g, memory, jnp.asarray(step).astype(x.dtype))
        x, f, g, memory, step = keep(ok, new, (state.x, state.f, state.g, state.memory, state.step))
        return State(
            x=x, f=f, g=g, memory=memory,
            step=step,
            predicted=jnp.abs(jnp.sum(g * step)),
            full=state.full,
            curvature=state.curvature,
            if_stationary=state.if_stationary,
            status=jnp.where(ok | first, state.status, Status.DIVERGED).astype(jnp.int32),
        )  # fmt: skip


def _no_function(*_: Any, **__: Any) -> Any:
    raise ValueError(
        "this optax transformation evaluates the function itself, which a solver cannot; use jn.LBFGS() or "
        'jn.GradientDescent("wolfe") instead'
    )
