"""scikit-learn's estimators, fitted by ``jaxnewton.regression`` (the extra ``sklearn``).

They compute in float64 whatever ``jax_enable_x64`` says: ``fit`` runs inside ``jax.enable_x64(True)``, which holds for
the calling thread and ends with the call; JAX's global configuration is never changed. Every new shape of the data
compiles once; predictions compile nothing. A fitted estimator keeps numpy arrays only.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax

from jaxnewton import checks, regression
from jaxnewton.types import Status, message

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import d2_tweedie_score
    from sklearn.utils import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError("jaxnewton.sklearn needs scikit-learn 1.6 or later: pip install 'jaxnewton[sklearn]'") from error

__all__ = ["LinearRegression", "LogisticRegression", "PoissonRegressor", "Ridge"]


class DoubleFit:
    """All that a ``jaxnewton.regression.Fit`` has, asked inside ``jax.enable_x64(True)`` and answered in numpy.

    So ``stderr``, ``summary()`` and the rest are in float64 wherever they are asked for. It may be pickled.
    """

    def __init__(self, fit: regression.Fit):
        self._fit = jax.device_get(fit)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # also what copy and pickle look for
            raise AttributeError(name)
        with jax.enable_x64(True):
            value = getattr(jax.tree.map(jnp.asarray, self._fit), name)
        if not inspect.ismethod(value):
            return jax.device_get(value)

        @functools.wraps(value)
        def asked(*args: Any, **options: Any) -> Any:
            with jax.enable_x64(True):
                return jax.device_get(value(*args, **options))

        return asked

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._fit) if not name.startswith("_")]

    def __repr__(self) -> str:
        return repr(self._fit)


class _Estimator(BaseEstimator):
    """What all have in common: data as float64, the fit, the linear predictor."""

    fit_: DoubleFit
    coef_: np.ndarray
    intercept_: Any
    n_features_in_: int

    fit_intercept: bool

    _answers: frozenset[Status] = frozenset({Status.CONVERGED, Status.NOISE_FLOOR})  # that need no warning

    def _solve(self, method: Callable[..., Any], X: np.ndarray, y: np.ndarray, **options: Any) -> Any:
        """Fit and keep ``fit_``; warn where it did not succeed."""
        intercept = checks.flag("fit_intercept", self.fit_intercept)
        with jax.enable_x64(True):
            found = method(X, y, intercept=intercept, **options)
            names = getattr(self, "feature_names_in_", None)  # of a data frame, of which X has only the numbers
            found = found if names is None else dataclasses.replace(found, columns=tuple(names))
            self.fit_ = fit = DoubleFit(found)
        failed = [status for status in np.ravel(fit.status) if status not in self._answers]
        if failed:
            words = message(failed[0]) if np.ndim(fit.status) else fit.message
            words = words.replace("max_steps", "max_iter")  # as it is called here
            warnings.warn(f"{type(self).__name__}: {words}", ConvergenceWarning, stacklevel=3)
        return fit

    def _linear_predictor(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return X @ self.coef_.T + self.intercept_


class _LeastSquares(MultiOutputMixin, RegressorMixin, _Estimator):
    """Least squares, for one target or several."""

    _answers = _Estimator._answers | {Status.SINGULAR}  # of all answers the one of minimum norm

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit X (m, p) to y (m,) or (m, targets), the rows weighted by sample_weight (m,), a number or None.

        Raises:
            TypeError, ValueError: the data or a parameter are not of the form above; the message names it.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, multi_output=True)
        y = np.asarray(y, np.float64).T
        fit = self._solve(regression.linear, X, y, ridge=self._ridge(y.shape[:-1]), weights=_weights(sample_weight, X))
        self.coef_ = fit.params
        self.intercept_ = fit.intercept[()] if self.fit_intercept else 0.0
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The means of the rows of X (m, p): (m,), or (m, targets)."""
        return self._linear_predictor(X)

    def _ridge(self, targets: tuple[int, ...]) -> Any:
        """The penalty: a number, or one for each target."""
        return 0.0


class LinearRegression(_LeastSquares):
    """Ordinary least squares; where X has not full rank, the coefficients of minimum norm.

    Args:
        fit_intercept: whether the model has a constant term.

    Attributes:
        coef_: (p,), or (targets, p) where y is (m, targets).
        intercept_: a number, or (targets,); 0.0 without an intercept.
        fit_: jaxnewton's Fit in float64, with a leading axis where y is (m, targets).
    """

    def __init__(self, *, fit_intercept: bool = True):
        self.fit_intercept = fit_intercept


class Ridge(_LeastSquares):
    """Least squares with the penalty ``alpha * ||coef||**2`` on the squared residuals' sum.

    Args:
        alpha: at least 0; a number, or (targets,).
        fit_intercept: whether the model has a constant term; it is not penalised.

    Attributes:
        coef_, intercept_, fit_: as in LinearRegression.
    """

    def __init__(self, alpha: Any = 1.0, *, fit_intercept: bool = True):
        self.alpha = alpha
        self.fit_intercept = fit_intercept

    def _ridge(self, targets: tuple[int, ...]) -> Any:
        alpha = np.asarray(self.alpha)
        if alpha.dtype.kind not in "iuf" or not np.all((alpha >= 0) & (alpha < np.inf)):
            raise ValueError(f"alpha must be at least 0 and finite; it is {self.alpha!r}")
        if alpha.ndim and alpha.shape != targets:
            raise ValueError(f"alpha must be a number or one for each target; its shape is {alpha.shape}")
        return alpha.astype(np.float64)


class PoissonRegressor(RegressorMixin, _Estimator):
    """Poisson regression with a log link: the mean deviance / 2 plus ``alpha / 2 * ||coef||**2`` is least.

    Args:
        alpha: the penalty's strength, at least 0.
        fit_intercept: whether the model has a constant term; it is not penalised.
        max_iter: most trips of the solver.
        tol: bound on the gradient's largest component, relative to min(1, the same at the start), of the sum over rows
            (scikit-learn's: of the mean). Newton's method takes few trips more to a small one.

    Attributes:
        coef_: (p,).
        intercept_: a number; 0.0 without an intercept.
        n_iter_: trips of the solver.
        fit_: jaxnewton's Fit in float64.
    """

    n_iter_: int

    def __init__(self, *, alpha: float = 1.0, fit_intercept: bool = True, max_iter: int = 100, tol: float = 1e-8):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit X (m, p) to y (m,), not negative, the rows weighted by sample_weight (m,), a number or None.

        Raises:
            TypeError, ValueError: the data or a parameter are not of the form above; the message names it.
        """
        alpha = _number("alpha", self.alpha)
        if not 0 <= alpha < np.inf:
            raise ValueError(f"alpha must be at least 0 and finite; it is {self.alpha!r}")
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        weights = _weights(sample_weight, X)
        fit = self._solve(
            regression.poisson,
            X,
            np.asarray(y, np.float64),
            ridge=alpha * (len(y) if weights is None else weights.sum()),
            weights=weights,
            **_rules(self),
        )
        self.coef_ = fit.params
        self.intercept_ = float(fit.intercept) if self.fit_intercept else 0.0
        self.n_iter_ = int(fit.nit)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The means (m,) of the rows of X (m, p)."""
        return np.exp(self._linear_predictor(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """D**2: the share of the deviance of y (m,) that the model explains; 1 is best, 0 is a constant's."""
        return d2_tweedie_score(y, self.predict(X), sample_weight=sample_weight, power=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags


class LogisticRegression(ClassifierMixin, _Estimator):
    """Logistic regression: of two classes, or multinomial; ``C * -loglik + ||coef||**2 / 2`` is least.

    Args:
        penalty: "l2", or None: the same as an infinite C.
        C: the inverse of the penalty's strength, positive; ``inf``: none.
        fit_intercept: whether the model has a constant term; it is not penalised.
        class_weight: None, a dict of label to weight, or "balanced": rows of every class weigh the same together.
        max_iter, tol: as in PoissonRegressor.

    Attributes:
        classes_: the labels, sorted: (K,).
        coef_: (1, p) for two classes, of the second; (K, p) for more, summing to 0 over the classes.
        intercept_: (1,) or (K,); 0 without an intercept.
        n_iter_: trips of the solver: (1,).
        fit_: jaxnewton's Fit in float64. For more than two classes its parameters are differences from the first class.
    """

    classes_: np.ndarray
    n_iter_: np.ndarray

    def __init__(
        self,
        penalty: str | None = "l2",
        *,
        C: float = 1.0,
        fit_intercept: bool = True,
        class_weight: Any = None,
        max_iter: int = 100,
        tol: float = 1e-8,
    ):
        self.penalty = penalty
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit X (m, p) to labels y (m,) of any kind, the rows weighted by sample_weight (m,), a number or None.

        Raises:
            TypeError, ValueError: the data or a parameter are not of the form above; the message names it.
        """
        ridge = self._ridge()
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        count = len(self.classes_)
        weights = self._row_weights(codes, sample_weight, X)
        present = np.unique(codes if weights is None else codes[weights > 0])
        if len(present) < 2:
            kinds = f"{len(present)} class" + ("" if len(present) == 1 else "es")
            raise ValueError(f"y must have at least 2 classes among rows of positive weight; it has {kinds}")
        options = {"ridge": ridge, "weights": weights, **_rules(self)}
        if count == 2:
            fit = self._solve(regression.logistic, X, codes.astype(np.float64), **options)
            self.coef_ = fit.params[None]
            self.intercept_ = np.reshape(fit.intercept, 1) if self.fit_intercept else np.zeros(1)
        else:
            fit = self._solve(regression.softmax, X, codes, classes=count, **options)
            self.coef_ = _centred(fit.params).T
            self.intercept_ = _centred(fit.intercept) if self.fit_intercept else np.zeros(count)
        self.n_iter_ = np.reshape(fit.nit, 1)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """The log odds (m,) of the second of two classes; (m, K), to a constant of each row, for more."""
        scores = self._linear_predictor(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest labels (m,)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (m, K) of the classes in ``classes_``."""
        scores = self.decision_function(X)
        return np.stack([expit(-scores), expit(scores)], axis=1) if scores.ndim == 1 else softmax(scores, axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Their logarithms (m, K), exact also where a probability underflows."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return np.stack([log_expit(-scores), log_expit(scores)], axis=1)
        return log_softmax(scores, axis=1)

    def _ridge(self) -> float:
        C = _number("C", self.C)
        if not C > 0:
            raise ValueError(f"C must be positive; it is {self.C!r}")
        if self.penalty not in ("l2", None):
            raise ValueError(f'penalty must be "l2" or None; it is {self.penalty!r}')
        return 1 / C if self.penalty else 0.0

    def _row_weights(self, codes: np.ndarray, sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
        weights = _weights(sample_weight, X)
        if self.class_weight is None:
            return weights
        weights = np.ones(len(codes)) if weights is None else weights
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            sums = np.bincount(codes, weights)
            each = np.divide(sums.sum(), len(sums) * sums, out=np.zeros_like(sums), where=sums > 0)
        else:
            each = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[codes])
        return weights * each[codes]


def _weights(sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
    if sample_weight is None:
        return None
    return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)


def _rules(estimator: Any) -> dict[str, Any]:
    return {
        "tol": checks.positive_number("tol", estimator.tol),
        "max_steps": checks.positive("max_iter", estimator.max_iter),
    }


def _number(name: str, value: Any) -> float:
    given = checks.number(value)
    if given is None:
        raise TypeError(f"{name} must be a number; it is {value!r}")
    return float(given)


def _centred(differences: np.ndarray) -> np.ndarray:
    """Differences (..., K - 1) from the first class as (..., K) that sum to 0."""
    every = np.concatenate([np.zeros((*differences.shape[:-1], 1)), differences], axis=-1)
    return every - every.mean(axis=-1, keepdims=True)
