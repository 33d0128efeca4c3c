"""What a regression returns: estimates, their uncertainty, and an honest verdict. A pytree."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import betainc, erfc

from jaxnewton.regression.data import Stack
from jaxnewton.regression.summary import table
from jaxnewton.types import Array, Status, is_traced, message, succeeded


class Response(Protocol):
    """How a model's mean follows from its coefficients. Frozen and hashable."""

    @property
    def title(self) -> str: ...

    def __call__(self, X: Any, params: Array, intercept: Array | None, offset: Any) -> Array: ...


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "params",
        "intercept",
        "joint_covariance",
        "loglik",
        "deviance",
        "dispersion",
        "rows",
        "rank",
        "status",
        "nit",
        "direction",
    ],
    meta_fields=["response", "student"],
)
@dataclasses.dataclass(frozen=True)
class Fit:
    """A fit, or a stack of fits with leading axes on every array.

    d coefficients: the intercept, where there is one, and p parameters; for ``softmax`` as many of each for every
    class but the reference.
    """

    params: Array  # (..., p); softmax (..., p, classes - 1)
    intercept: Array | None  # (...,); softmax (..., classes - 1); None without one
    joint_covariance: Array  # (..., d, d): intercept first; softmax: class by class. nan where it is not defined
    loglik: Array  # (...,) log-likelihood
    deviance: Array  # (...,) twice what loglik lacks of the saturated model's; least squares: the sum of squares
    dispersion: Array  # (...,) 1 where the family knows it, else Pearson's statistic over df_residual
    rows: Array  # (...,) int32: rows of positive weight
    rank: Array  # (...,) int32: coefficients that the data determine
    status: Array  # (...,) int32, a Status
    nit: Array  # (...,) int32: trips of the loop
    direction: Array  # (..., d): SEPARATED: where the likelihood rises for ever; SINGULAR: where it does not change
    response: Response
    student: bool  # whether the tests refer to Student's t: the dispersion was estimated

    @property
    def success(self) -> Array:
        """True where the estimate is one: CONVERGED or NOISE_FLOOR."""
        return succeeded(self.status)

    @property
    def message(self) -> str:
        """The status in words (host only, one fit)."""
        return self.explained(None)

    def explained(self, names: list[str] | None) -> str:
        """The status in words, with the columns of X by their names."""
        status = Status(int(self.status))
        words = MESSAGES.get(status, message(self.status))
        if status not in (Status.SEPARATED, Status.SINGULAR) or not np.any(np.asarray(self.direction)):
            return words
        return f"{words}: " + ", ".join(f"{name} {value:.3g}" for name, value in self._named_direction(names))

    @property
    def covariance(self) -> Array:
        """(..., p, p) of params; softmax: class by class."""
        keep = self._of_params()
        return self.joint_covariance[..., keep[:, None], keep[None, :]]

    @property
    def stderr(self) -> Array:
        """Standard errors, of the shape of params."""
        return self._shaped(self._all_stderr()[..., self._of_params()])

    @property
    def intercept_stderr(self) -> Array | None:
        """Standard error of the intercept; None without one."""
        return self._of_intercept(self._all_stderr())

    @property
    def zvalues(self) -> Array:
        """params / stderr; z, or t where ``student``."""
        return self.params / self.stderr

    @property
    def intercept_zvalue(self) -> Array | None:
        """intercept / its standard error; None without one."""
        stderr = self.intercept_stderr
        return None if self.intercept is None or stderr is None else self.intercept / stderr

    @property
    def pvalues(self) -> Array:
        """Of the hypothesis that a parameter is 0, two-sided; of the shape of params."""
        return self._tail(self.zvalues)

    @property
    def intercept_pvalue(self) -> Array | None:
        """The same for the intercept; None without one."""
        return None if self.intercept is None else self._tail(self.intercept_zvalue)

    @property
    def df_residual(self) -> Array:
        """Rows less rank."""
        return self.rows - self.rank

    @property
    def aic(self) -> Array:
        """Akaike's criterion, 2 rank - 2 loglik; the dispersion is not counted."""
        return 2 * self.rank.astype(self.loglik.dtype) - 2 * self.loglik

    @property
    def bic(self) -> Array:
        """Schwarz's criterion, log(rows) rank - 2 loglik."""
        dtype = self.loglik.dtype
        return jnp.log(self.rows.astype(dtype)) * self.rank.astype(dtype) - 2 * self.loglik

    def conf_int(self, level: float = 0.95) -> tuple[Array, Array]:
        """Lower and upper ends of the intervals that hold a parameter with probability ``level``; like params."""
        half = self._quantile(level) * self.stderr
        return self.params - half, self.params + half

    def intercept_conf_int(self, level: float = 0.95) -> tuple[Array, Array] | None:
        """The same for the intercept; None without one."""
        stderr = self.intercept_stderr
        if self.intercept is None or stderr is None:
            return None
        half = self._quantile(level, self.intercept.ndim) * stderr
        return self.intercept - half, self.intercept + half

    def predict(self, X: Any, offset: Any = None) -> Array:
        """The mean of y at the rows of X (..., k, p): (..., k); ``softmax``: the classes' probabilities (..., k, K)."""
        return self.response(X, self.params, self.intercept, offset)

    def residuals(self, X: Any, y: Any, offset: Any = None) -> Array:
        """y less its predicted mean, (..., k); ``softmax``: the indicators of y less the probabilities (..., k, K)."""
        mean = self.predict(X, offset)
        y = jnp.asarray(y)
        if mean.ndim > max(y.ndim, self.status.ndim + 1):
            y = jax.nn.one_hot(y, mean.shape[-1], dtype=mean.dtype)
        return y.reshape(*(1 for _ in range(mean.ndim - y.ndim)), *y.shape).astype(mean.dtype) - mean

    @property
    def best(self) -> Fit:
        """Of a stack of fits of the same data, the success of lowest deviance; without any, the lowest (host only)."""
        deviance = np.asarray(self.deviance).reshape(-1)
        order = np.lexsort((np.where(np.isnan(deviance), np.inf, deviance), ~np.asarray(self.success).reshape(-1)))
        axes = self.status.ndim
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[axes:])[int(order[0])], self)

    def summary(self, names: list[str] | None = None, level: float = 0.95) -> str:
        """A table as statistics packages print it (one fit; host only).

        Args:
            names: of the columns of X; default x1, x2, ...
            level: of the intervals.

        Raises:
            ValueError: this is a stack, or ``names`` has not one name a column.
        """
        if np.ndim(self.status):
            raise ValueError(f"summary is of one fit; this is a stack of shape {np.shape(self.status)}. Take one: "
                             "jax.tree.map(lambda leaf: leaf[i], fit)")  # fmt: skip
        return table(self, names, level)

    def __repr__(self) -> str:
        if np.ndim(self.status) or is_traced(self.status):
            return f"Fit({self.response.title}, stack of shape {jnp.shape(self.status)})"
        return f"Fit({self.response.title}, {Status(int(self.status)).name}, params={self.params})"

    def _classes(self) -> int:
        """Coefficient vectors: 1, or classes less the reference."""
        return self.params.shape[-1] if self.params.ndim > self.status.ndim + 1 else 1

    def _of_params(self) -> np.ndarray:
        """Places of params among the joint coefficients, class by class."""
        d = self.joint_covariance.shape[-1]
        places = np.arange(d).reshape(self._classes(), -1)
        return places[:, 0 if self.intercept is None else 1 :].reshape(-1)

    def _shaped(self, flat: Array) -> Array:
        """Values of params, class by class, in the shape of params."""
        if self.params.ndim == self.status.ndim + 1:
            return flat
        return jnp.swapaxes(flat.reshape(*flat.shape[:-1], self._classes(), -1), -1, -2)

    def _of_intercept(self, joint: Array) -> Array | None:
        if self.intercept is None:
            return None
        first = joint.reshape(*self.status.shape, self._classes(), -1)[..., 0]
        return first if self.intercept.ndim > self.status.ndim else first[..., 0]

    def _all_stderr(self) -> Array:
        return jnp.sqrt(jnp.diagonal(self.joint_covariance, axis1=-2, axis2=-1))

    def _like(self, value: Array, ndim: int) -> Array:
        """(...,) with as many axes as params."""
        return value.reshape(*value.shape, *(1 for _ in range(ndim - value.ndim)))

    def _tail(self, z: Any) -> Array:
        if not self.student:
            return erfc(jnp.abs(z) / np.sqrt(2).astype(z.dtype))
        return _t_tail(z, jnp.broadcast_to(self._like(self.df_residual.astype(z.dtype), z.ndim), z.shape))

    def _quantile(self, level: float, ndim: int | None = None) -> Array:
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1; it is {level!r}")
        dtype, axes = self.params.dtype, self.params.ndim if ndim is None else ndim
        tail = jnp.asarray(1 - level, dtype)
        if not self.student:
            return np.sqrt(2).astype(dtype) * jax.scipy.special.erfinv(1 - tail)
        return self._like(_t_quantile(tail, self.df_residual.astype(dtype)), axes)

    def _named_direction(self, names: list[str] | None) -> list[tuple[str, float]]:
        """The direction's components that are not nearly 0, largest first, by name."""
        direction = np.asarray(self.direction, float).reshape(self._classes(), -1)
        first = [] if self.intercept is None else ["intercept"]
        names = first + (names or [f"x{i + 1}" for i in range(direction.shape[1] - len(first))])
        labels = getattr(self.response, "labels", lambda: [""])()
        found = [
            (label + name, value)
            for label, row in zip(labels, direction, strict=True)
            for name, value in zip(names, row, strict=True)
        ]
        largest = np.abs(direction).max()
        return sorted((one for one in found if abs(one[1]) > 1e-6 * largest), key=lambda one: -abs(one[1]))[:8]


class Fields(NamedTuple):
    """Those of Fit that inference makes; as there."""

    params: Array
    intercept: Array | None
    joint_covariance: Array
    loglik: Array
    deviance: Array
    dispersion: Array
    rows: Array
    rank: Array
    status: Array
    direction: Array


def as_fit(stack: Stack, fields: Fields, nit: Array, response: Any, student: bool) -> Fit:
    """The Fit of inference's fields, stacked as the data were."""
    return Fit(**stack.restore(fields._asdict() | {"nit": nit}), response=response, student=student)


MESSAGES = {
    Status.CONVERGED: "converged: the gradient is within the tolerance",
    Status.SINGULAR: "the columns of X do not determine all coefficients; nothing changes along",
    Status.SEPARATED: "the classes are separated: the likelihood rises without end along",
    Status.DIVERGED: "the coefficients run away to infinity",
    Status.NONFINITE: "the likelihood is not finite at the start: no mean there",
}


@jax.jit
def _t_tail(t: Array, df: Array) -> Array:
    """P(|T| > |t|) of Student's distribution (Abramowitz & Stegun 1964, equation 26.7.1); nan without freedom."""
    valid = (df > 0) & ~jnp.isnan(t)
    safe, t = jnp.where(valid, df, 1.0), jnp.where(valid, t, 0.0)
    return jnp.where(valid, betainc(0.5 * safe, jnp.full_like(safe, 0.5), 1 / (1 + t * t / safe)), jnp.nan)


@jax.jit
def _t_quantile(tail: Array, df: Array) -> Array:
    """The t that is exceeded in size with probability ``tail``, by bisection; nan without freedom."""
    some = jnp.where(df > 0, df, 1.0)

    def narrow(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        beyond = _t_tail(middle / (1 - middle), some) > tail
        return jnp.where(beyond, middle, low), jnp.where(beyond, high, middle)

    low, high = lax.fori_loop(0, 64, narrow, (jnp.zeros_like(df), jnp.ones_like(df)))
    middle = 0.5 * (low + high)
    return jnp.where(df > 0, middle / (1 - middle), jnp.nan)
