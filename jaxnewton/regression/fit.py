"""What a regression returns: estimates, their uncertainty, and an honest verdict. A pytree."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc

from jaxnewton.regression.given import frame_columns, refuse_other_rows, refuse_values
from jaxnewton.regression.stack import Stack
from jaxnewton.regression.student import t_quantile, t_tail
from jaxnewton.regression.summary import class_labels, direction_parts, table
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
    meta_fields=["response", "student", "columns"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A fit, or a stack of fits with leading axes on every array, of which ``fit[i]`` is one.

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
    columns: tuple[str, ...] | None = None  # names of the columns of X, where it was a data frame

    @property
    def success(self) -> Array:
        """True where the estimate is one: CONVERGED or NOISE_FLOOR."""
        return succeeded(self.status)

    @property
    def message(self) -> str:
        """The status in words (host only, one fit)."""
        return self.explained()

    def explained(self, names: Sequence[str] | None = None, classes: Sequence[str] | None = None) -> str:
        """The status in words, with the columns of X and the classes but the reference by their names; as message."""
        self._refuse_stack("message")
        status = Status(int(self.status))
        words = (MESSAGES | getattr(self.response, "messages", {})).get(status, message(self.status))
        parts, labels = direction_parts(self, names), class_labels(self, classes)
        if status not in ALONG or not parts:
            return words
        shown = ", ".join(f"{labels[k]}{name} {value:.3g}" for k, name, value in parts[:SHOWN])
        return f"{words}{ALONG[status]}: {shown}" + ", ..." * (len(parts) > SHOWN)

    def __getitem__(self, index: Any) -> Fit:
        """Some fits of a stack: ``index`` as of an array of their leading axes."""
        shape = self.status.shape
        if not shape:
            raise TypeError("this is a single fit, not a stack of which one could be taken")
        places = np.arange(math.prod(shape)).reshape(shape)[index]
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(shape) :])[places], self)

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
        """The mean of y at the rows of X (..., k, p): (..., k); ``softmax``: the classes' probabilities (..., k, K).

        Args:
            offset: of these rows, 0 by default, whatever the rows that were fitted had.

        Raises:
            ValueError: X or offset is not of that form, or X a data frame of other columns than the fit's.
        """
        given = frame_columns(X)
        if None not in (given, self.columns) and given != self.columns:
            raise ValueError(
                f"X must have the columns of the fit, in their order: {', '.join(self.columns or ())}; "
                f"it has {', '.join(given or ())}"
            )
        return self.response(X, self.params, self.intercept, offset)

    def residuals(self, X: Any, y: Any, offset: Any = None) -> Array:
        """y less its predicted mean, (..., k); ``softmax``: the indicators of y less the probabilities (..., k, K).

        Raises:
            ValueError: as ``predict``; y is not (..., k), or no class number.
        """
        refuse_other_rows({"X": X, "y": y, "offset": offset})
        mean, y = self.predict(X, offset), jnp.asarray(y)
        probabilities = self.params.ndim > self.status.ndim + 1
        rows = mean.shape[:-1] if probabilities else mean.shape
        try:
            fits = y.shape[-1:] == rows[-1:] and np.broadcast_shapes(y.shape, rows)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"y must have the shape of what is predicted for X, {rows}; it has {y.shape}")
        y = jnp.broadcast_to(y, fits)
        if probabilities:
            count = mean.shape[-1]
            if not is_traced(y):
                whole = np.isin(np.asarray(y), np.arange(count))
                refuse_values("y", y, ~whole, f"class numbers from 0 to {count - 1}")
            y = jax.nn.one_hot(y.astype(jnp.int32), count, dtype=mean.dtype)
        return y.astype(mean.dtype) - jnp.broadcast_to(mean, y.shape)

    @property
    def best(self) -> Fit:
        """Of a stack of fits of the same data, the success of lowest deviance; without any, the lowest (host only)."""
        deviance = np.asarray(self.deviance).reshape(-1)
        order = np.lexsort((np.where(np.isnan(deviance), np.inf, deviance), ~np.asarray(self.success).reshape(-1)))
        axes = self.status.ndim
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[axes:])[int(order[0])], self)

    def summary(
        self, names: Sequence[str] | None = None, level: float = 0.95, classes: Sequence[str] | None = None
    ) -> str:
        """A table as statistics packages print it (one fit; host only).

        Args:
            names: of the columns of X; default: the data frame's, or x1, x2, ...
            level: of the intervals.
            classes: of ``softmax``: the names of all but the reference; default: their numbers.

        Raises:
            TypeError, ValueError: this is a stack, or ``names`` is not one str a column.
        """
        self._refuse_stack("summary")
        return table(self, names, level, classes)

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
        return t_tail(z, jnp.broadcast_to(self._like(self.df_residual.astype(z.dtype), z.ndim), z.shape))

    def _quantile(self, level: float, ndim: int | None = None) -> Array:
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1; it is {level!r}")
        dtype, axes = self.params.dtype, self.params.ndim if ndim is None else ndim
        tail = jnp.asarray(1 - level, dtype)
        if not self.student:
            return np.sqrt(2).astype(dtype) * jax.scipy.special.erfinv(1 - tail)
        return self._like(t_quantile(tail, self.df_residual.astype(dtype)), axes)

    def _refuse_stack(self, what: str) -> None:
        if np.ndim(self.status):
            shape = np.shape(self.status)
            raise ValueError(f"{what} is of one fit; this is a stack of shape {shape}. Take one: fit[i]")


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


def as_fit(
    stack: Stack, fields: Fields, nit: Array, response: Any, student: bool, columns: tuple[str, ...] | None = None
) -> Fit:
    """The Fit of inference's fields, stacked as the data were; ``columns``: the names of those of X."""
    restored = stack.restore(fields._asdict() | {"nit": nit})
    return Fit(**restored, response=response, student=student, columns=columns)


MESSAGES = {
    Status.CONVERGED: "converged: the gradient is within the tolerance",
    Status.SINGULAR: "the columns of X do not determine all coefficients",
    Status.SEPARATED: "the classes are separated, or zeros from counts",
    Status.DIVERGED: "the coefficients run away to infinity",
    Status.NONFINITE: "the likelihood is not finite at the start: no mean there",
}
ALONG = {  # the direction follows
    Status.SINGULAR: "; nothing changes along",
    Status.SEPARATED: ": the likelihood rises without end along",
}
SHOWN = 8  # parts of a direction that a message lists
