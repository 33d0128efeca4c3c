"""Correct digits on NIST's regression sets (StRD): jaxnewton against SciPy, lmfit, NumPy and statsmodels.

    python bench/nist.py [--names NAME ...] [--json FILE]

The thirteen nonlinear sets of tests/nist.py from both of NIST's starts, and its five linear ones, in float64. Everyone
has default settings, and the nonlinear fits the same exact Jacobian, compiled by JAX; the summary has the peers with
tolerances of 1e-14 for f, x and gradient, too. Correct digits are -log10 of the largest relative error of a parameter,
or of a standard error, against the certified values, from 0 to 15; where the certified value is 0, of the error itself.
An end with 4 is right; a success is false where it is claimed with fewer than 2: another minimum, or none. Terms of a
model that may change places are compared in the order that fits best. ``least_squares`` gives no standard errors: they
are made of its Jacobian here, as ``curve_fit`` does. Needs ``scipy``; ``lmfit`` and ``statsmodels`` where installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.metadata
import importlib.util
import itertools
import json
import platform
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import jaxnewton as jn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # ahead of this folder: its nist.py is this file
from nist import LINEAR, NONLINEAR, Linear, Nonlinear

MOST = 15.0  # digits
RIGHT, FALSE = 4.0, 2.0  # digits of a right answer, and of one that is no rough form of it
TIGHT = 1e-14
EXCHANGEABLE = {  # places of the parameters of like terms
    "ENSO": ((3, 4, 5), (6, 7, 8)),
    "Gauss1": ((2, 3, 4), (5, 6, 7)),
    "Lanczos1": ((0, 1), (2, 3), (4, 5)),
    "Lanczos3": ((0, 1), (2, 3), (4, 5)),
    "MGH17": ((1, 3), (2, 4)),
}
OURS = "jaxnewton"
VERSIONS = ("jax", "numpy", "scipy", "lmfit", "statsmodels")


@dataclasses.dataclass
class End:
    """What a method says of its end, and how many digits of it are right."""

    status: str
    success: bool = False
    evaluations: int = 0  # of the residuals; of a linear fit none are told
    params: Sequence[float] = ()  # none: it gives no answer
    stderr: Sequence[float] = ()
    digits: float = 0.0
    stderr_digits: float = 0.0

    def judge(self, certified: Nonlinear | Linear) -> None:
        if len(self.params):
            order = best_order(certified, np.asarray(self.params))
            self.digits = digits(np.asarray(self.params)[order], certified.params)
            if len(self.stderr):
                self.stderr_digits = digits(np.asarray(self.stderr)[order], certified.stderr)

    @property
    def false(self) -> bool:
        return self.success and self.digits < FALSE

    def __str__(self) -> str:
        if not len(self.params):
            return f"{self.status}"
        mark = " **false**" if self.false else "" if self.success else f" {self.status}"
        errors = f"{self.stderr_digits:.1f}" if len(self.stderr) else "none"
        count = f" / {self.evaluations}" if self.evaluations else ""
        return f"{self.digits:.1f} / {errors}{count}{mark}"


def digits(found: Any, certified: Any) -> float:
    """Of the worst component."""
    found, certified = np.asarray(found), np.asarray(certified)
    error = np.max(np.abs(found - certified) / np.where(certified != 0, np.abs(certified), 1.0))
    return float(np.clip(-np.log10(max(error, 10**-MOST)), 0.0, MOST)) if np.isfinite(error) else 0.0


def best_order(certified: Nonlinear | Linear, params: np.ndarray) -> list[int]:
    """The order of the parameters, like terms exchanged, that is nearest to the certified ones."""
    terms = EXCHANGEABLE.get(certified.name, ())
    orders = []
    for permuted in itertools.permutations(terms):
        order = list(range(len(params)))
        for term, other in zip(terms, permuted, strict=True):
            for place, source in zip(term, other, strict=True):
                order[place] = source
        orders.append(order)
    return max(orders, key=lambda order: digits(params[order], certified.params))


@dataclasses.dataclass(frozen=True)
class Functions:
    """What the peers are given, compiled."""

    residual: Callable[[Any], np.ndarray]
    jacobian: Callable[[Any], np.ndarray]


@functools.cache
def functions(problem: Nonlinear) -> Functions:
    residual = jax.jit(lambda p: problem.model(problem.x, p) - problem.y)
    jacobian = jax.jit(jax.jacfwd(residual))
    return Functions(
        lambda p: np.asarray(residual(jnp.asarray(p, float))), lambda p: np.array(jacobian(jnp.asarray(p, float)))
    )


Method = Callable[[Nonlinear, tuple[float, ...], dict[str, float]], End]  # set, start, tolerances


def ours(problem: Nonlinear, start: tuple[float, ...]) -> End:
    fit = jn.regression.nonlinear(problem.model, problem.x, problem.y, np.array(start))
    status = jn.Status(int(fit.status)).name
    return End(status, bool(fit.success), int(fit.nit), fit.params.tolist(), fit.stderr.tolist())


def curve_fit(problem: Nonlinear, start: tuple[float, ...], tols: dict[str, float]) -> End:
    given = functions(problem)

    def model(x: Any, *p: float) -> np.ndarray:
        return given.residual(p) + problem.y

    call = {"jac": lambda x, *p: given.jacobian(p), "full_output": True, **tols}
    p, covariance, info, _, status = scipy.optimize.curve_fit(model, problem.x, problem.y, start, **call)
    return End(f"status {status}", True, info["nfev"], p.tolist(), np.sqrt(np.diag(covariance)).tolist())


def least_squares(problem: Nonlinear, start: tuple[float, ...], tols: dict[str, float]) -> End:
    given = functions(problem)
    end = scipy.optimize.least_squares(given.residual, start, given.jacobian, **tols)
    _, s, Vt = np.linalg.svd(end.jac, full_matrices=False)
    spread = np.sum((Vt.T / s) ** 2, axis=1)
    errors = np.sqrt(spread * 2 * end.cost / (len(problem.y) - len(start)))
    return End(f"status {end.status}", bool(end.success), end.nfev, end.x.tolist(), errors.tolist())


def with_lmfit(problem: Nonlinear, start: tuple[float, ...], tols: dict[str, float]) -> End:
    import lmfit

    given = functions(problem)
    names = [f"b{i + 1}" for i in range(len(start))]
    params = lmfit.Parameters()
    for name, value in zip(names, start, strict=True):
        params.add(name, value=value)

    def values(params: Any) -> list[float]:
        return [params[name].value for name in names]

    end = lmfit.minimize(
        lambda params: given.residual(values(params)),
        params,
        Dfun=lambda params: given.jacobian(values(params)),
        **tols,
    )
    errors = [end.params[name].stderr for name in names]
    stderr = [] if None in errors else errors
    return End(f"status {end.ier}", bool(end.success), end.nfev, values(end.params), stderr)


PEERS: dict[str, tuple[str, Method]] = {
    "SciPy curve_fit (lm)": ("scipy", curve_fit),
    "SciPy least_squares (trf)": ("scipy", least_squares),
    "lmfit (leastsq)": ("lmfit", with_lmfit),
}


def our_linear(problem: Linear) -> End:
    fit = jn.regression.linear(problem.X, problem.y, intercept=problem.intercept)
    params, errors = fit.params.tolist(), fit.stderr.tolist()
    if problem.intercept:
        params, errors = [float(fit.intercept), *params], [float(fit.intercept_stderr), *errors]
    return End(jn.Status(int(fit.status)).name, bool(fit.success), 0, params, errors)


def design(problem: Linear) -> np.ndarray:
    return np.column_stack([np.ones(len(problem.y)), problem.X]) if problem.intercept else problem.X


def lstsq(problem: Linear) -> End:
    return End("", True, 0, np.linalg.lstsq(design(problem), problem.y)[0].tolist())


def ols(problem: Linear, method: str) -> End:
    import statsmodels.api

    fit = statsmodels.api.OLS(problem.y, design(problem)).fit(method=method)
    return End("", True, 0, fit.params.tolist(), fit.bse.tolist())


LINEAR_METHODS: dict[str, tuple[str, Callable[[Linear], End]]] = {
    OURS: ("jax", our_linear),
    "numpy.linalg.lstsq": ("numpy", lstsq),
    "statsmodels OLS (pinv)": ("statsmodels", functools.partial(ols, method="pinv")),
    "statsmodels OLS (qr)": ("statsmodels", functools.partial(ols, method="qr")),
}


def attempt(solve: Callable[[], End], certified: Nonlinear | Linear) -> End:
    """Its end, judged; an exception is how some say that they failed."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            end = solve()
    except Exception as error:  # one crash must not end the benchmark
        return End(type(error).__name__)
    end.judge(certified)
    return end


def installed(methods: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """The methods whose package is here; says which are not."""
    for name, (package, _) in methods.items():
        if importlib.util.find_spec(package) is None:
            print(f"{name}: {package} is not installed")
    return {name: method for name, (package, method) in methods.items() if importlib.util.find_spec(package)}


def fit_all(problem: Nonlinear, start: tuple[float, ...], peers: dict[str, Method]) -> dict[str, End]:
    """Every method's end from one start; the peers' at their own tolerances, and at tight ones."""
    tight = dict.fromkeys(("ftol", "xtol", "gtol"), TIGHT)
    solvers = {
        OURS: functools.partial(ours, problem, start),
        **{name: functools.partial(peer, problem, start, {}) for name, peer in peers.items()},
        **{f"{name}, {TIGHT:.0e}": functools.partial(peer, problem, start, tight) for name, peer in peers.items()},
    }
    return {name: attempt(solve, problem) for name, solve in solvers.items()}


def print_table(found: dict[str, dict[str, End]], methods: list[str], first: str) -> None:
    """One line a set, one column a method."""
    print(f"\n| {first} | " + " | ".join(methods) + " |\n|---|" + "---|" * len(methods))
    for name, ends in found.items():
        print(f"| {name} | " + " | ".join(str(ends[method]) for method in methods) + " |")


def print_summary(found: dict[str, dict[str, End]]) -> None:
    """One line a method."""
    print("\n| method | right | false success | right, not claimed | digits of parameters, least (median) |", end="")
    print(" of standard errors, least (median) | evaluations, median (all) |\n|---|--:|--:|--:|--:|--:|--:|")
    for method in next(iter(found.values())):
        ends = [one[method] for one in found.values()]
        right = [end for end in ends if end.digits >= RIGHT]
        columns = [[end.digits for end in right], [end.stderr_digits for end in right]]
        counts = [end.evaluations for end in right]
        cells = (
            method,
            f"{len(right)} of {len(ends)}",
            sum(end.false for end in ends),
            sum(not end.success for end in right),
            *(f"{min(column):.1f} ({statistics.median(column):.1f})" for column in columns if column),
            f"{statistics.median(counts):g} ({sum(counts)})" if counts else "",
        )
        print("| " + " | ".join(map(str, cells)) + " |")


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--names", nargs="+", help="only these of the sets")
    parser.add_argument("--json", type=Path, help="write every end here")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    versions = {name: version(name) for name in VERSIONS}
    print(f"Python {platform.python_version()}, {', '.join(f'{name} {one}' for name, one in versions.items())}")

    peers, linear_methods = installed(PEERS), installed(LINEAR_METHODS)
    nonlinear = {
        f"{problem.name} {number}": fit_all(problem, start, peers)
        for problem in NONLINEAR
        if not options.names or problem.name in options.names
        for number, start in enumerate(problem.starts, 1)
    }
    linear = {
        problem.name: {
            name: attempt(functools.partial(method, problem), problem) for name, method in linear_methods.items()
        }
        for problem in LINEAR
        if not options.names or problem.name in options.names
    }
    if nonlinear:
        print_table(nonlinear, [OURS, *peers], "set, start: digits of parameters / of standard errors / evaluations")
        print_summary(nonlinear)
    if linear:
        print_table(linear, list(linear_methods), "set: digits of parameters / of standard errors")
    if options.json:
        ends = {name: {k: dataclasses.asdict(v) for k, v in one.items()} for name, one in (nonlinear | linear).items()}
        options.json.write_text(json.dumps({"versions": versions, "ends": ends}, indent=1))


if __name__ == "__main__":
    main()
