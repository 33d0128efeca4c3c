"""``jaxnewton fit``: a regression of one column of a table on the others."""

from __future__ import annotations

import functools
import json
import math
import platform
from collections.abc import Container
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import jaxnewton
from jaxnewton import plotting, regression
from jaxnewton.cli import design as designs
from jaxnewton.cli import tables
from jaxnewton.cli.shared import check_plot, refusing
from jaxnewton.regression.families import Family, family_and_link
from jaxnewton.regression.summary import columns, direction_parts
from jaxnewton.types import Status

GLMS: dict[str, tuple[str, str | None]] = {  # family and link
    "linear": ("gaussian", "identity"),
    "logistic": ("binomial", "logit"),
    "poisson": ("poisson", "log"),
    "gamma": ("gamma", "log"),
}
MODELS = (*GLMS, "softmax", "glm")
COLUMNS = ("estimate", "stderr", "z", "p", "lower", "upper")
CURVE_POINTS = 300
SHOWN_LEVELS = 20


def fit(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="CSV with a header, or Parquet (needs jaxnewton\\[data]).")
    ],
    target: Annotated[str, typer.Option(metavar="COL", help="The column to explain.")],
    model: Annotated[str, typer.Option(help="linear, logistic, softmax, poisson, gamma (with the link log) or glm.")],
    family: Annotated[
        str | None,
        typer.Option(
            help="Of glm: gaussian, binomial, poisson, gamma, inverse-gaussian or negative-binomial (see --dispersion)."
        ),
    ] = None,
    link: Annotated[str | None, typer.Option(help="Of glm; default: the family's canonical link.")] = None,
    dispersion: Annotated[float | None, typer.Option(help="Of negative-binomial: variance mu + this mu^2.")] = None,
    ridge: Annotated[float, typer.Option(help="Adds ridge/2 |coefficients|^2, the intercept's left out.")] = 0.0,
    drop: Annotated[
        list[str] | None, typer.Option(metavar="COLS", help="Columns to leave out: a,b or once for each.")
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(metavar="COLS", help="Columns of labels to make one-hot, the first level dropped."),
    ] = None,
    weights: Annotated[str | None, typer.Option(metavar="COL", help="Column of the rows' weights.")] = None,
    offset: Annotated[
        str | None, typer.Option(metavar="COL", help="Column that the linear predictor has with coefficient 1.")
    ] = None,
    intercept: Annotated[bool, typer.Option("--intercept/--no-intercept", help="Whether to fit a constant.")] = True,
    level: Annotated[float, typer.Option(help="Of the confidence intervals.")] = 0.95,
    delimiter: Annotated[str | None, typer.Option(help="Of CSV: a character or tab; default: guessed.")] = None,
    decimal: Annotated[str, typer.Option(help="Of CSV: the decimal mark, . or a comma.")] = ".",
    drop_missing: Annotated[bool, typer.Option("--drop-missing", help="Leave out rows with missing values.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the coefficients, or data and curve of one predictor (needs jaxnewton\\[plot])."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Fit a regression: coefficients, standard errors, intervals and an honest verdict.

    Every column but the target is a predictor unless an option says otherwise. A target of text is taken as labels by
    logistic (its second level in sorted order is 1) and softmax (its first is the reference). Empty cells, NA, N/A,
    NaN and null are missing values. Exit status 0 only if the fit succeeded.
    """
    with refusing("fit"):
        check_plot(plot)
        if not 0 < level < 1:
            raise ValueError(f"--level must lie between 0 and 1; it is {level}")
        of = _family(model, family, link, dispersion)
        if of is None and offset is not None:
            raise ValueError("--offset has no meaning for softmax")
        table = tables.read(data, delimiter, functools.partial(_columns, categorical), decimal)
        design = designs.build(
            table,
            target,
            labels="many" if of is None else "two" if of[0].name == "binomial" else "no",
            drop=_columns(drop, table),
            categorical=_columns(categorical, table),
            weights=weights,
            offset=offset,
            drop_missing=drop_missing,
        )
        constant = _constant(design, intercept, ridge)
        if of is not None:
            _check_target(design, target, of[0])
        found = _solve(design, model, of, intercept=intercept, ridge=ridge)
    report = _report(found, design, level) | {
        "model": model,
        "family": None if of is None else of[0].name,
        "link": None if of is None else of[1],
        "target": target,
        "ridge": ridge,
        "constant": constant + [target] * bool(np.all(design.y == design.y[0])),
    }
    if as_json:
        typer.echo(json.dumps(_finite(report)))
    else:
        _show(found, design, report)
    if plot is not None and report["success"]:
        with refusing("fit"):
            _draw(found, design, report, plot, categorical=bool(categorical), offset=offset is not None)
    elif plot is not None:
        typer.echo(f"jaxnewton fit: {plot} was not drawn, as the fit did not succeed", err=True)
    if not report["success"]:
        raise typer.Exit(1)


def _family(model: str, family: str | None, link: str | None, dispersion: float | None) -> tuple[Family, str] | None:
    """The family and the name of its link; None for softmax."""
    if model not in MODELS:
        raise ValueError(f"--model must be {', '.join(MODELS[:-1])} or {MODELS[-1]}; it is {model!r}")
    if model != "glm":
        for option, given in (("--family", family), ("--link", link), ("--dispersion", dispersion)):
            if given is not None:
                raise ValueError(f"{option} is for --model glm; the model is {model}")
    elif family is None:
        raise ValueError("--model glm needs a --family")
    if model == "softmax":
        return None
    family, link = (family, link) if model == "glm" else GLMS[model]
    negative_binomial = family == "negative-binomial"
    if negative_binomial != (dispersion is not None):
        needs = "needs --dispersion" if negative_binomial else "knows no --dispersion"
        raise ValueError(f"--family {family} {needs}")
    chosen: Any = family if dispersion is None else regression.NegativeBinomial(dispersion)
    found, means = family_and_link(chosen, link)
    return found, means.name


def _columns(given: list[str] | None, table: Container[str]) -> list[str]:
    """Names of columns, of which an option may hold several with commas between them."""
    names = [[value] if value in table else [name.strip() for name in value.split(",")] for value in given or ()]
    return list(dict.fromkeys(name for each in names for name in each))


def _constant(design: designs.Design, intercept: bool, ridge: float) -> list[str]:
    """The constant columns of X, refused where no fit can tell them from the intercept or from each other."""
    constant = designs.constant(design)
    zero = [name for name in constant if not design.X[:, design.names.index(name)].any()]
    if not (intercept or design.names):
        raise ValueError("no coefficient is left to fit: there is no predictor and no intercept")
    undetermined = constant if intercept or len(constant) > 1 else zero
    if undetermined and ridge == 0:
        plural = len(undetermined) > 1
        raise ValueError(
            f"column{'s' * plural} {', '.join(undetermined)} {'are' if plural else 'is'} constant, so that "
            f"{'their coefficients are' if plural else 'its coefficient is'} not determined; "
            f"{designs.option('--drop', undetermined)}"
        )
    return constant


def _check_target(design: designs.Design, target: str, family: Family) -> None:
    wrong, must = family.wrong(design.y)
    if wrong.any():
        raise ValueError(
            f"the target of {family.name} must be {must}; {target} is not in {designs.rows_where(design, wrong)}"
        )


def _solve(
    design: designs.Design, model: str, of: tuple[Family, str] | None, *, intercept: bool, ridge: float
) -> regression.Fit:
    options: dict[str, Any] = {"intercept": intercept, "ridge": ridge, "weights": design.weights}
    if of is None:
        assert design.levels is not None
        return regression.softmax(design.X, design.y, classes=len(design.levels), **options)
    if model == "linear":
        return regression.linear(design.X, design.y, offset=design.offset, **options)
    return regression.glm(design.X, design.y, family=of[0], link=of[1], offset=design.offset, **options)


def _report(found: regression.Fit, design: designs.Design, level: float) -> dict[str, Any]:
    names = design.names if found.intercept is None else ["intercept", *design.names]
    values = columns(found, level)
    classes = _classes(found, design)
    coefficients = [
        ({"class": name} if classes else {})
        | {"name": names[j]}
        | dict(zip(COLUMNS, values[j, k].tolist(), strict=True))
        for k, name in enumerate(classes or [""])
        for j in range(len(names))
    ]
    status = Status(int(found.status))
    direction = [
        ({"class": classes[k]} if classes else {}) | {"name": name, "value": value}
        for k, name, value in direction_parts(found, design.names)
    ]
    return {
        "levels": design.levels,
        "rows": len(design.rows),
        "dropped_rows": design.dropped,
        "coefficients": coefficients,
        "level": level,
        "distribution": "t" if found.student else "normal",
        **{name: float(getattr(found, name)) for name in ("loglik", "deviance", "aic", "bic", "dispersion")},
        "df_residual": int(found.df_residual),
        "status": status.name,
        "success": bool(found.success),
        "message": found.explained(design.names, classes or None),
        "direction": direction or None,
        "trips": int(found.nit),
        "versions": {"jaxnewton": jaxnewton.__version__, "python": platform.python_version()}
        | {package: version(package) for package in ("jax", "jaxlib", "numpy")},
    }


def _classes(found: regression.Fit, design: designs.Design) -> list[str]:
    """The classes of softmax that have coefficients; none of other models."""
    return design.levels[1:] if design.levels and found.params.ndim == 2 else []


def _show(found: regression.Fit, design: designs.Design, report: dict[str, Any]) -> None:
    target, levels = report["target"], design.levels
    if design.dropped:
        typer.echo(f"rows with missing values dropped: {design.dropped} of {design.dropped + len(design.rows)}")
    if levels and report["model"] == "softmax":
        others = [f"class {k} is {level}" for k, level in enumerate(levels[1:SHOWN_LEVELS], 1)]
        others += [f"and so on to class {len(levels) - 1}, {levels[-1]}"] * (len(levels) > SHOWN_LEVELS)
        typer.echo(f"{target}: {levels[0]} is class 0, the reference; {', '.join(others)}")
    elif levels:
        typer.echo(f"{target}: {levels[1]} is 1, {levels[0]} is 0")
    if report["constant"]:
        typer.echo(f"constant: {', '.join(report['constant'])}")
    typer.echo(found.summary(design.names, report["level"], _classes(found, design) or None))
    if report["success"]:
        typer.echo(report["message"])


def _draw(
    found: regression.Fit,
    design: designs.Design,
    report: dict[str, Any],
    path: Path,
    *,
    categorical: bool,
    offset: bool,
) -> None:
    target = report["target"]
    title = f"{target}: {report['model']}, {report['rows']} rows"
    if len(design.names) == 1 and not categorical and not offset:
        x = design.X[:, 0]
        grid = np.linspace(x.min(), x.max(), CURVE_POINTS)
        mean = np.asarray(found.predict(grid[:, None]))
        plotting.fitted(
            x, design.y, grid, mean, path, names=(design.names[0], target), levels=design.levels, title=title
        )
        return
    rows, first = report["coefficients"], int(found.intercept is not None)
    slopes = [row for i, row in enumerate(rows) if i % (len(design.names) + first) >= first]
    plotting.coefficients(slopes or rows, path, level=report["level"], title=title)


def _finite(value: Any) -> Any:
    """None for nan and inf, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
