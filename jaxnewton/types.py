"""The words every other module speaks: statuses, evaluations, the solver protocol, solutions."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import get_opaque_trace_state

Array = jax.Array
Move = Callable[[Array, Array], Array]


class Status(enum.IntEnum):
    """How a lane ended. ``success`` means ``CONVERGED`` or ``NOISE_FLOOR``."""

    CONVERGED = 0
    NOISE_FLOOR = 1
    MAX_STEPS = 2
    NONFINITE = 3
    DIVERGED = 4
    SADDLE = 5
    SINGULAR = 6
    LINE_SEARCH_FAILED = 7
    INFEASIBLE = 8
    SEPARATED = 9


RUNNING = -1  # the status of a lane that has not ended; never seen in a Solution

MESSAGES = {
    Status.CONVERGED: "converged: the gradient is within the tolerance and the Hessian, if known, is positive definite",
    Status.NOISE_FLOOR: "converged as far as this dtype can tell: no further decrease is representable",
    Status.MAX_STEPS: "stopped after max_steps trips without convergence",
    Status.NONFINITE: "the objective or a derivative is not finite at the start",
    Status.DIVERGED: "the objective decreases without bound, or x runs away to infinity, where the gradient may vanish",
    Status.SADDLE: "stationary, but the Hessian has a negative eigenvalue: a saddle point or a maximum",
    Status.SINGULAR: "the Hessian is singular here: the minimum is not isolated, or cannot be told from a saddle "
    "(equations: the Jacobian is singular, and this is no root)",
    Status.LINE_SEARCH_FAILED: "no step, however short, was accepted although the gradient is not small",
    Status.INFEASIBLE: "no point that satisfies the constraints was found",
    Status.SEPARATED: "the classes are separated: the likelihood rises without end and has no maximum",
}


def succeeded(status: Array) -> Array:
    """True where a status counts as success."""
    return (status == Status.CONVERGED) | (status == Status.NOISE_FLOOR)


class Needs(enum.Enum):
    """What a solver must know at a trial point."""

    GRADIENT = "f, g"
    CURVATURE = "f, g, g'Hg"
    PRODUCT = "f, g, v -> Hv"
    HESSIAN = "f, g, H"
    FACTOR = "f, g, [R, Q'r] of J = QR (sums of squares only)"


class Evaluation(NamedTuple):
    """A problem at one point.

    ``H`` is, by ``Needs``, None, the scalar g'Hg, the function v -> Hv, H (n, n), or of a sum of squares the triangle R
    (n, n) of its Jacobian's QR factorisation beside Q'r, (n, n + 1): R'R stands for H, and g is R'Q'r.
    """

    f: Array  # ()
    g: Array  # (n,)
    H: Any

    @property
    def noise(self) -> Any:
        """() What rounding of f may hide, besides that of the size it has here; the loop may know of more."""
        return 0.0


class Told(NamedTuple):
    """An ``Evaluation`` as the loop tells a solver of it."""

    f: Array
    g: Array
    H: Any
    noise: Array


class Bounds(NamedTuple):
    """lower <= x <= upper, componentwise: numbers or pytrees of x's structure; None, also for a leaf: no bound."""

    lower: Any = -jnp.inf
    upper: Any = jnp.inf


class SolverState(Protocol):
    """The fields of a solver's state that the loop reads. Solvers carry more beside them."""

    @property
    def x(self) -> Array: ...  # last accepted point; always finite once f is
    @property
    def f(self) -> Array: ...  # () its objective; inf before the first point is accepted
    @property
    def g(self) -> Array: ...  # (n,) its gradient
    @property
    def step(self) -> Array: ...  # (n,) from x to the next trial
    @property
    def predicted(self) -> Array: ...  # () decrease that the model promises for step
    @property
    def full(self) -> Array: ...  # () bool: step is the model's own minimiser, not cut short
    @property
    def curvature(self) -> Array: ...  # () smallest eigenvalue of the Hessian at x, or nan
    @property
    def if_stationary(self) -> Array: ...  # () int32: what x is called if g is 0; RUNNING: it is not to end here
    @property
    def status(self) -> Array: ...  # () int32: RUNNING, or the solver's own reason to stop


class Solver(Protocol):
    """Three pure functions over one lane's state. Solvers are frozen dataclasses: hashable and equal by value."""

    @property
    def needs(self) -> Needs: ...

    def init(self, x0: Array, size: int | None = None) -> Any:
        """A fresh state whose first trial is ``x0``; ``size``: unknowns, where not as many as x0's (manifolds)."""
        ...

    def ask(self, state: Any, move: Move = jnp.add) -> Array:
        """The next trial point. ``move(x, step)`` takes a step: addition, or a manifold's retraction."""
        ...

    def tell(self, state: Any, x: Array, evaluation: Evaluation) -> Any:
        """The state after the trial ``x`` has been evaluated; a non-finite trial is a rejected one."""
        ...


class Rules(NamedTuple):
    """The stopping rule's numbers; they are traced, so changing them compiles nothing anew."""

    tol: Any  # () of x's dtype
    max_steps: Any  # () int32


def default_tol(dtype: Any) -> float:
    """eps**0.5 rounded down to a power of ten in double precision (1e-8); 1e-5 in single."""
    return 1e-8 if jnp.finfo(dtype).eps < 1e-12 else 1e-5


DEFAULT_MAX_STEPS = 500


class History(NamedTuple):
    """What every trip came to, for up to ``max_steps`` trips; nan and False from ``nit`` on."""

    fun: Array  # (max_steps,) objective at the last accepted point
    grad: Array  # (max_steps,) its largest gradient component
    step: Array  # (max_steps,) Euclidean length of what x has moved; 0 where the trial was rejected
    accepted: Array  # (max_steps,) bool


class Outcome(NamedTuple):
    """What one lane leaves behind."""

    x: Array  # (n,)
    fun: Array  # ()
    grad: Array  # (n,)
    status: Array  # () int32
    nit: Array  # () int32
    curvature: Array  # ()
    H: Any = None  # the solver's, at x, where the problem keeps it


def is_traced(tree: Any) -> bool:
    """Whether any leaf is a tracer: we are inside jit, vmap or grad, and no value can be looked at."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


_TOP = get_opaque_trace_state(convention="jaxnewton")


def in_trace() -> bool:
    """Whether we are inside jit, vmap or grad, though nothing that is seen here need be a tracer."""
    return get_opaque_trace_state(convention="jaxnewton") != _TOP


def message(status: Any) -> str:
    """The sentence for one status (host only)."""
    code = int(np.asarray(status))
    return MESSAGES[Status(code)] if code != RUNNING else "stopped before it ended"
