"""``jaxnewton fit``: what it reads and refuses, its numbers against NumPy's, its exit status."""

import decimal
import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.special
import scipy.stats
import typer
from typer.testing import CliRunner

from jaxnewton.cli import fit as command
from jaxnewton.cli import tables

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(command.fit)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def report(*arguments, code=0):
    done = run(*arguments, "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def column(found, key):
    return np.array([one[key] for one in found["coefficients"]], float)


def write(path, columns, delimiter=","):
    lines = [delimiter.join(columns), *(delimiter.join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def scoring(X, y, mean, variance, *, weights=1.0, offset=0.0, ridge=0.0, slope=None, dispersed=False):
    """Fisher scoring in NumPy: coefficients and standard errors. X has a column of ones first, which is not shrunk."""
    penalty = ridge * np.diag([0.0] + [1.0] * (X.shape[1] - 1))
    beta = np.linalg.lstsq(X, np.log(np.maximum(y, 0.1)) * 0.1, rcond=None)[0]
    for _ in range(100):
        eta = X @ beta + offset
        mu, d = mean(eta), (slope or (lambda eta: variance(mean(eta))))(eta)
        information = (X.T * (weights * d**2 / variance(mu))) @ X + penalty
        beta = beta + np.linalg.solve(information, X.T @ (weights * d * (y - mu) / variance(mu)) - penalty @ beta)
    pearson = np.sum(weights * (y - mean(X @ beta + offset)) ** 2 / variance(mean(X @ beta + offset)))
    dispersion = pearson / (len(y) - X.shape[1]) if dispersed else 1.0
    return beta, np.sqrt(dispersion * np.diag(np.linalg.inv(information))), dispersion


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """120 rows: numbers, text, counts, positive amounts, weights and an offset."""
    rng = np.random.default_rng(7)
    m = 120
    age, income = rng.normal(40, 9, m).round(2), rng.normal(0, 1, m).round(4)
    city = rng.choice(["Rome", "Oslo", "Bern"], m)
    eta = -1.2 + 0.03 * age - 0.4 * income + 0.5 * (city == "Rome")
    columns = {
        "age": age,
        "income": income,
        "city": city,
        "bought": np.where(rng.random(m) < 1 / (1 + np.exp(-eta)), "yes", "no"),
        "count": rng.poisson(np.exp(eta)),
        "amount": (np.exp(eta) * rng.gamma(3, 1 / 3, m)).round(5) + 0.001,
        "w": rng.integers(1, 4, m),
        "base": rng.normal(0, 0.2, m).round(3),
    }
    return write(tmp_path_factory.mktemp("fit") / "data.csv", columns), columns


def design(columns, *, city=True):
    ones = np.ones(len(columns["age"]))
    indicators = [(columns["city"] == name).astype(float) for name in ("Oslo", "Rome")] if city else []
    return np.stack([ones, columns["age"], columns["income"], *indicators], axis=1)


def test_linear(data):
    path, columns = data
    found = report(
        path, "--target", "amount", "--model", "linear", "--drop", "bought,count,w,base,city", "--level", 0.9
    )
    X, y = design(columns, city=False), columns["amount"]
    beta, squares, *_ = np.linalg.lstsq(X, y, rcond=None)
    m, df = len(y), len(y) - 3
    stderr = np.sqrt(squares[0] / df * np.diag(np.linalg.inv(X.T @ X)))
    half = scipy.stats.t.ppf(0.95, df) * stderr
    loglik = -m / 2 * (np.log(2 * np.pi * squares[0] / m) + 1)
    assert [one["name"] for one in found["coefficients"]] == ["intercept", "age", "income"]
    np.testing.assert_allclose(column(found, "estimate"), beta, rtol=1e-9)
    np.testing.assert_allclose(column(found, "stderr"), stderr, rtol=1e-9)
    np.testing.assert_allclose(column(found, "z"), beta / stderr, rtol=1e-9)
    np.testing.assert_allclose(column(found, "p"), 2 * scipy.stats.t.sf(np.abs(beta / stderr), df), rtol=1e-6)
    np.testing.assert_allclose(column(found, "lower"), beta - half, rtol=1e-8)
    np.testing.assert_allclose(column(found, "upper"), beta + half, rtol=1e-8)
    expected = {"loglik": loglik, "deviance": squares[0], "dispersion": squares[0] / df, "aic": 6 - 2 * loglik}
    expected |= {"bic": 3 * np.log(m) - 2 * loglik, "df_residual": df, "rows": m, "level": 0.9}
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-9, err_msg=key)
    assert found["distribution"] == "t"
    assert found["success"] is True
    assert found["status"] == "CONVERGED"
    assert found["direction"] is None
    assert found["versions"].keys() == {"jaxnewton", "python", "jax", "jaxlib", "numpy"}


def test_logistic_with_labels_categories_weights_offset_and_ridge(data):
    path, columns = data
    arguments = (path, "--target", "bought", "--model", "logistic", "--drop", "count", "--drop", "amount")
    arguments += ("--categorical", "city", "--weights", "w", "--offset", "base", "--ridge", 0.3)
    found = report(*arguments)
    y = (columns["bought"] == "yes").astype(float)
    beta, stderr, _ = scoring(
        design(columns), y, scipy.special.expit, lambda mu: mu * (1 - mu),
        weights=columns["w"], offset=columns["base"], ridge=0.3,
    )  # fmt: skip
    assert [one["name"] for one in found["coefficients"]] == ["intercept", "age", "income", "city[Oslo]", "city[Rome]"]
    np.testing.assert_allclose(column(found, "estimate"), beta, rtol=1e-7)
    np.testing.assert_allclose(column(found, "stderr"), stderr, rtol=1e-7)
    np.testing.assert_allclose(column(found, "p"), 2 * scipy.stats.norm.sf(np.abs(beta / stderr)), rtol=1e-6)
    half = scipy.stats.norm.ppf(0.975) * stderr
    np.testing.assert_allclose(column(found, "upper") - column(found, "lower"), 2 * half, rtol=1e-7)
    assert found["levels"] == ["no", "yes"]
    assert found["distribution"] == "normal"
    text = run(*arguments)
    assert text.exit_code == 0
    for words in ("bought: yes is 1, no is 0", "city[Oslo]", f"{beta[1]:.6g}"[:7], "std err", "converged"):
        assert words in text.stdout


GLMS = {
    "poisson": (("poisson",), "count", np.exp, lambda mu: mu, None, False),
    "gamma": (("gamma",), "amount", np.exp, lambda mu: mu**2, np.exp, True),
    "gamma by glm": (("glm", "--family", "gamma", "--link", "log"), "amount", np.exp, lambda mu: mu**2, np.exp, True),
    "probit": (
        ("glm", "--family", "binomial", "--link", "probit"),
        "bought",
        scipy.stats.norm.cdf,
        lambda mu: mu * (1 - mu),
        scipy.stats.norm.pdf,
        False,
    ),
    "negative binomial": (
        ("glm", "--family", "negative-binomial", "--dispersion", "0.5"),
        "count",
        np.exp,
        lambda mu: mu + 0.5 * mu**2,
        np.exp,
        False,
    ),
}


@pytest.mark.parametrize("name", GLMS)
def test_other_models(data, name):
    path, columns = data
    model, target, mean, variance, slope, dispersed = GLMS[name]
    others = {"count", "amount", "bought", "w", "base"} - {target}
    found = report(path, "--target", target, "--model", *model, "--drop", ",".join(others), "--categorical", "city")
    y = columns[target]
    y = (y == "yes").astype(float) if target == "bought" else y
    beta, stderr, dispersion = scoring(design(columns), y, mean, variance, slope=slope, dispersed=dispersed)
    np.testing.assert_allclose(column(found, "estimate"), beta, rtol=1e-6, atol=1e-8)
    # probit: from the information observed, which is not that expected
    np.testing.assert_allclose(column(found, "stderr"), stderr, rtol=0.2 if name in OBSERVED else 1e-6)
    np.testing.assert_allclose(found["dispersion"], dispersion, rtol=1e-6)
    assert found["success"] is True


OBSERVED = {"probit", "gamma", "gamma by glm", "negative binomial"}


def test_softmax_of_one_category_has_logarithms_of_counts(tmp_path):
    """Saturated: a coefficient is the logarithm of a cross ratio of counts, its variance the sum of their inverses."""
    counts = {
        ("a", "left"): 5,
        ("a", "mid"): 7,
        ("a", "right"): 9,
        ("b", "left"): 11,
        ("b", "mid"): 4,
        ("b", "right"): 6,
    }
    rows = [key for key, count in counts.items() for _ in range(count)]
    path = write(tmp_path / "data.csv", {"group": [row[0] for row in rows], "side": [row[1] for row in rows]})
    arguments = (path, "--target", "side", "--model", "softmax", "--categorical", "group")
    found = report(*arguments)
    assert [(one["class"], one["name"]) for one in found["coefficients"]] == [
        ("mid", "intercept"), ("mid", "group[b]"), ("right", "intercept"), ("right", "group[b]"),
    ]  # fmt: skip
    expected, variance = [], []
    for side in ("mid", "right"):
        ratio = {group: counts[group, side] / counts[group, "left"] for group in "ab"}
        inverse = {group: 1 / counts[group, side] + 1 / counts[group, "left"] for group in "ab"}
        expected += [np.log(ratio["a"]), np.log(ratio["b"] / ratio["a"])]
        variance += [inverse["a"], inverse["a"] + inverse["b"]]
    np.testing.assert_allclose(column(found, "estimate"), expected, rtol=1e-7)
    np.testing.assert_allclose(column(found, "stderr"), np.sqrt(variance), rtol=1e-7)
    assert found["levels"] == ["left", "mid", "right"]
    printed = run(*arguments).stdout
    assert "side: left is class 0, the reference; class 1 is mid, class 2 is right" in printed
    assert "\nclass right: intercept " in printed


def test_softmax_of_numbers(tmp_path):
    path = write(tmp_path / "data.csv", {"x": [1, 2, 3, 4, 5, 6], "y": [10, 9, 10, 9, 10, 9]})
    found = report(path, "--target", "y", "--model", "softmax")
    two = report(path, "--target", "y", "--model", "logistic")
    assert found["levels"] == two["levels"] == ["9", "10"]
    np.testing.assert_allclose(column(found, "estimate"), column(two, "estimate"), rtol=1e-6)
    np.testing.assert_allclose(column(found, "stderr"), column(two, "stderr"), rtol=1e-6)


def test_no_intercept_and_a_shared_slope(tmp_path):
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 7.0])
    found = report(write(tmp_path / "d.csv", {"x": x, "y": y}), "--target", "y", "--model", "linear", "--no-intercept")
    assert [one["name"] for one in found["coefficients"]] == ["x"]
    np.testing.assert_allclose(column(found, "estimate"), [x @ y / (x @ x)], rtol=1e-12)


def test_an_intercept_alone_is_the_mean(tmp_path):
    found = report(write(tmp_path / "d.csv", {"y": [1, 0, 1, 1]}), "--target", "y", "--model", "logistic")
    np.testing.assert_allclose(column(found, "estimate"), [np.log(3)], rtol=1e-7)


def test_shares_of_trials_are_no_labels(tmp_path):
    path = write(tmp_path / "d.csv", {"share": [0.25, 0.5, 0.25], "trials": [4, 8, 4]})
    found = report(path, "--target", "share", "--model", "logistic", "--weights", "trials")
    assert found["levels"] is None
    np.testing.assert_allclose(column(found, "estimate"), [np.log(6 / 10)], rtol=1e-7)
    np.testing.assert_allclose(column(found, "stderr"), [np.sqrt(1 / 6 + 1 / 10)], rtol=1e-7)


def test_missing_rows_are_dropped_where_asked_and_counted(tmp_path):
    holes = tmp_path / "holes.csv"
    holes.write_text("x,g,y\n1,a,1\nNA,b,2\n3,a,3.5\n4,b,\n5,b,9\n6, ,1\n7,a,4\n8,b,2\n")
    whole = write(tmp_path / "whole.csv", {"x": [1, 3, 5, 7, 8], "g": list("aabab"), "y": [1, 3.5, 9, 4, 2]})
    rest = ("--target", "y", "--model", "linear", "--categorical", "g")
    found = report(holes, *rest, "--drop-missing")
    assert found["coefficients"] == report(whole, *rest)["coefficients"]
    assert (found["rows"], found["dropped_rows"]) == (5, 3)
    assert "rows with missing values dropped: 3 of 8" in run(holes, *rest, "--drop-missing").stdout
    refused = run(holes, *rest)
    assert refused.exit_code == 2
    assert refused.stderr.strip() == (
        "jaxnewton fit: missing values: x in row 2, g in row 6 and y in row 4; --drop-missing leaves out the 3 rows, "
        "--drop x,g the columns"
    )


def test_separation_is_named_and_fails(tmp_path):
    path = write(tmp_path / "d.csv", {"dose": [1, 2, 3, 4, 5, 6], "z": [3, 1, 2, 2, 1, 3], "ill": list("nnnyyy")})
    picture = tmp_path / "none.png"
    found = report(path, "--target", "ill", "--model", "logistic", "--plot", picture, code=1)
    assert (found["status"], found["success"]) == ("SEPARATED", False)
    parts = {part["name"]: part["value"] for part in found["direction"]}
    x = np.stack([np.ones(6), [1, 2, 3, 4, 5, 6], [3, 1, 2, 2, 1, 3]], axis=1)
    margins = x @ [parts.get(name, 0) for name in ("intercept", "dose", "z")] * np.repeat([-1, 1], 3)
    assert margins.min() > -1e-6
    assert margins.max() > 0.1
    assert not picture.exists()
    done = run(path, "--target", "ill", "--model", "logistic", "--plot", picture)
    assert done.exit_code == 1
    assert found["message"].startswith("the classes are separated")
    assert done.stdout.splitlines()[-1] == f"SEPARATED: {found['message']}"
    assert " dose" in found["message"]
    assert done.stdout.count("SEPARATED: ") == 1
    assert "not drawn" in done.stderr


def test_softmax_is_separated_by_its_classes(tmp_path):
    path = write(tmp_path / "d.csv", {"x": [1, 2, 3, 4, 5, 6], "y": list("aabbcc")})
    found = report(path, "--target", "y", "--model", "softmax", code=1)
    assert found["status"] == "SEPARATED"
    way = {(part["class"], part["name"]): part["value"] for part in found["direction"]}
    x = np.arange(1.0, 7)
    moved = np.stack([0 * x, *(way[k, "intercept"] + way[k, "x"] * x for k in "bc")], axis=1)
    own = np.repeat([0, 1, 2], 2)
    margins = moved[np.arange(6), own][:, None] - moved
    assert margins.min() > -1e-6
    assert margins.max() > 0.1
    assert all(one["stderr"] is None for one in found["coefficients"])
    assert "class c: x" in found["message"]


def test_collinear_columns_are_named(tmp_path):
    x = np.array([1.0, 2.0, 4.0, 7.0])
    path = write(tmp_path / "d.csv", {"x": x, "twice": 2 * x, "other": [1, 0, 0, 1], "y": [1, 2, 3, 5]})
    found = report(path, "--target", "y", "--model", "linear", code=1)
    assert found["status"] == "SINGULAR"
    parts = {part["name"]: part["value"] for part in found["direction"]}
    assert parts.keys() >= {"x", "twice"}
    assert "other" not in parts
    np.testing.assert_allclose(parts["x"], -2 * parts["twice"], rtol=1e-6)


def test_a_constant_column_under_ridge_is_only_named(tmp_path):
    path = write(tmp_path / "d.csv", {"x": [1, 2, 3, 4], "same": [5] * 4, "y": [1, 3, 2, 5]})
    arguments = (path, "--target", "y", "--model", "linear", "--ridge", 0.1)
    found = report(*arguments)
    assert found["constant"] == ["same"]
    assert found["coefficients"][2]["estimate"] == pytest.approx(0, abs=1e-12)
    assert "constant: same" in run(*arguments).stdout
    path = write(tmp_path / "d.csv", {"x": [1, 2, 3, 4], "y": [3] * 4})
    found = report(path, "--target", "y", "--model", "poisson")
    assert found["constant"] == ["y"]
    np.testing.assert_allclose(column(found, "estimate"), [np.log(3), 0], atol=1e-7)


TABLE = """x,colour,size,same,gap,y,label,neg,big
1,red,S,4,1,0.5,u,1,1
2,blue,M,4,,1.5,v,-1,inf
3,red,L,4,3,2.5,u,2,3
4,green,7,4,4,2.0,w,3,4
"""
NUMERIC = ("--drop", "colour,size,same,gap,label,neg,big")
REFUSED = {
    # what is wrong: (arguments after the file, words of the sentence)
    "no such target": (("--target", "Y", "--model", "linear"), "there is no column Y; there are x, colour, size, same"),
    "no such drop": (
        ("--target", "y", "--model", "linear", "--drop", "x,q"),
        "--drop: there is no column q; there are",
    ),
    "no such weights": (("--target", "y", "--model", "linear", "--weights", "q"), "--weights: there is no column q"),
    "two parts": (
        ("--target", "y", "--model", "linear", "--drop", "y"),
        "column y cannot be both --target and --drop",
    ),
    "category as target": (
        ("--target", "label", "--model", "softmax", "--categorical", "label"),
        "column label cannot be both --target and --categorical",
    ),
    "model": (("--target", "y", "--model", "ols"), "--model must be linear, logistic, poisson, gamma, softmax or glm"),
    "glm without family": (("--target", "y", "--model", "glm"), "--model glm needs a --family"),
    "family": (("--target", "y", "--model", "glm", "--family", "beta"), "'beta'"),
    "family of no glm": (("--target", "y", "--model", "linear", "--family", "gamma"), "--family is for --model glm"),
    "link": (("--target", "y", "--model", "glm", "--family", "poisson", "--link", "logit"), "'logit'"),
    "dispersion missing": (
        ("--target", "y", "--model", "glm", "--family", "negative-binomial"),
        "--family negative-binomial needs --dispersion",
    ),
    "dispersion not known": (
        ("--target", "y", "--model", "glm", "--family", "poisson", "--dispersion", "1"),
        "--family poisson knows no --dispersion",
    ),
    "level": (("--target", "y", "--model", "linear", *NUMERIC, "--level", "95"), "--level must lie between 0 and 1"),
    "ridge": (("--target", "y", "--model", "linear", *NUMERIC, "--ridge", "-1"), "ridge must not be negative"),
    "offset of softmax": (("--target", "label", "--model", "softmax", "--offset", "x"), "--offset has no meaning"),
    "text": (
        ("--target", "y", "--model", "linear", "--drop", "label,neg,big,gap,same"),
        (
            "columns colour (such as 'red', rows 1, 2, 3 and 4) and size (such as 'S', rows 1, 2 and 3) are not "
            "numeric: --categorical colour,size makes them one-hot, --drop colour,size leaves them out"
        ),
    ),
    "text target": (
        ("--target", "size", "--model", "linear"),
        "--target must be a column of numbers, which size (such as 'S', rows 1, 2 and 3) is not",
    ),
    "missing": (
        ("--target", "y", "--model", "linear", "--drop", "colour,size,same,label,neg,big"),
        "missing values: gap in row 2; --drop-missing leaves out the 1 row, --drop gap the column",
    ),
    "infinite": (
        ("--target", "y", "--model", "linear", "--drop", "colour,size,same,label,neg,gap"),
        "column big is infinite in row 2",
    ),
    "constant": (
        ("--target", "y", "--model", "linear", "--drop", "colour,size,gap,label,neg,big"),
        "column same is constant, so that its coefficient is not determined; --drop same",
    ),
    "three labels": (
        ("--target", "label", "--model", "logistic", "--drop", "colour,size,same,gap,neg,big"),
        "two levels, or be numbers from 0 to 1; label has 3 levels (u, v, w); --model softmax takes any number",
    ),
    "softmax of numbers": (
        ("--target", "y", "--model", "softmax", "--drop", "colour,size,same,gap,label,neg,big"),
        "the target must be labels or whole numbers; y is 0.5",
    ),
    "softmax of one row each": (
        ("--target", "x", "--model", "softmax", "--drop", "colour,size,same,gap,label,neg,big"),
        "the target must have levels that come again; x is different in every row",
    ),
    "softmax of one label": (
        ("--target", "same", "--model", "softmax", "--drop", "colour,size,gap,label,neg,big"),
        "the target must have levels that come again; same is the same in every row",
    ),
    "category different in every row": (
        ("--target", "y", "--model", "linear", "--drop", "colour,same,gap,label,neg,big", "--categorical", "size"),
        "column size is different in every row",
    ),
    "poisson": (
        ("--target", "neg", "--model", "poisson", "--drop", "colour,size,same,gap,label,y,big"),
        "the target of poisson must be at least 0; neg is not in row 2",
    ),
    "weights": (
        ("--target", "y", "--model", "linear", "--drop", "colour,size,same,gap,label,big", "--weights", "neg"),
        "--weights must not be negative; neg is in row 2",
    ),
    "no coefficient": (
        ("--target", "y", "--model", "linear", "--no-intercept", "--drop", "x,colour,size,same,gap,label,neg,big"),
        "no coefficient is left",
    ),
    "no folder": (("--target", "y", "--model", "linear", *NUMERIC, "--plot", "/no/such/p.png"), "there is no folder"),
    "no picture": (("--target", "y", "--model", "linear", *NUMERIC, "--plot", "p.xyz"), "p.xyz does not"),
    "decimal": (("--target", "y", "--model", "linear", "--decimal", ";"), "--decimal must be . or ,"),
    "delimiter and decimal": (
        ("--target", "y", "--model", "linear", "--decimal", ",", "--delimiter", ","),
        "--delimiter and --decimal must not both be ,",
    ),
    "delimiter": (("--target", "y", "--model", "linear", "--delimiter", ",,"), "--delimiter must be one character"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(tmp_path, name):
    arguments, words = REFUSED[name]
    path = tmp_path / "d.csv"
    path.write_text(TABLE)
    done = run(path, *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("jaxnewton fit: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


FILES = {
    # contents: words of the sentence
    b"": "is empty",
    b"x,y\n": "has a header and no rows",
    b"1,2\n3,4\n": "must name the columns; it is 1, 2",
    b"x,x,y\n1,2,3\n": "more than one column is named x",
    b"x,y\n1,2\n3\n": "row 2 of",
    b"x,y\n1,2\n3,4,5\n": "has 3 cells, its header 2",
    b",x,y\n0,1,2\n1,3,4\n2,5,1\n": "column 1 has no name: give it one, or leave it out with --drop '#1'",
    b'x,y\n1,"2\n3,4\n': "is no CSV",
    b"x,y\n1,\xff\xfe\n": "neither Parquet nor text in UTF-8",
    b"PAR1nothing": "is no Parquet file",
}


@pytest.mark.parametrize("contents", FILES)
def test_a_file_is_refused(tmp_path, contents):
    if contents[:4] == b"PAR1":
        pytest.importorskip("pyarrow")
    path = tmp_path / "d.csv"
    path.write_bytes(contents)
    done = run(path, "--target", "y", "--model", "linear")
    assert done.exit_code == 2
    assert done.stderr.startswith("jaxnewton fit: ")
    assert FILES[contents] in done.stderr


def test_no_file(tmp_path):
    done = run(tmp_path / "none.csv", "--target", "y", "--model", "linear")
    assert (done.exit_code, done.stderr) == (2, f"jaxnewton fit: there is no file {tmp_path / 'none.csv'}\n")
    assert run(tmp_path, "--target", "y", "--model", "linear").exit_code == 2


def test_a_nameless_column_can_be_dropped(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text(",x,y\n0,1,2\n1,3,4\n2,5,1\n")
    found = report(path, "--target", "y", "--model", "linear", "--drop", "#1")
    assert [one["name"] for one in found["coefficients"]] == ["intercept", "x"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_guessed(tmp_path, delimiter):
    path = write(tmp_path / "d.csv", {"a, b": [1, 2, 3], "y": [1, 2, 4]} if delimiter == ";" else
                 {"a": [1, 2, 3], "y": [1, 2, 4]}, delimiter)  # fmt: skip
    assert list(tables.read(path)) == ["a, b" if delimiter == ";" else "a", "y"]


def test_a_delimiter_that_is_told(tmp_path):
    path = write(tmp_path / "d.csv", {"a": [1, 2, 3], "y": [1, 2, 4]}, ":")
    assert list(tables.read(path, ":")) == ["a", "y"]
    path = write(tmp_path / "d.csv", {"a": [1, 2, 3], "y": [1, 2, 4]}, "\t")
    assert list(tables.read(path, "tab")) == ["a", "y"]


def test_decimal_commas(tmp_path):
    path = write(tmp_path / "d.csv", {"a": ["1,5", "-2", "3e0"], "y": ["1", "NA", "1.234,5"]}, ";")
    table = tables.read(path, decimal=",")
    np.testing.assert_array_equal(table["a"], [1.5, -2, 3])
    assert list(table["y"]) == ["1", None, "1.234,5"]  # a point may mark thousands: it is no number
    headless = tmp_path / "h.csv"
    headless.write_text("1,5;2,5\n2,5;3,5\n")
    with pytest.raises(ValueError, match=r"the first row .* must name the columns"):
        tables.read(headless, decimal=",")
    rows = {"x": ["0,5", "1,0", "1,5", "2,5"], "y": ["1,1", "2,2", "2,9", "5,1"]}
    for delimiter in (";", "\t"):
        done = run(
            write(tmp_path / "e.csv", rows, delimiter), "--target", "y", "--model", "linear", "--decimal", ",", "--json"
        )
        assert done.exit_code == 0
        assert json.loads(done.stdout)["coefficients"][1]["estimate"] == pytest.approx(
            np.polyfit([0.5, 1, 1.5, 2.5], [1.1, 2.2, 2.9, 5.1], 1)[0]
        )


def test_what_csv_may_hold(tmp_path, monkeypatch):
    """A mark of byte order, carriage returns, blank lines, quotes, words for true and missing, text that comes late."""
    monkeypatch.setattr(tables, "BLOCK_ROWS", 2)
    path = tmp_path / "d.csv"
    path.write_bytes(
        b"\xef\xbb\xbf\r\n"
        b'x , "a ""b"", c", flag, late, words\r\n'
        b'1e3, "1", true, 1, "p, q"\r\n'
        b"\r\n"
        b" -2 ,NaN,FALSE,2.50,\r\n"
        b".5,3,null,3,\xc3\xa9\r\n"
        b"+4,n/a,True,1_000,none\r\n"
    )
    table = tables.read(path)
    np.testing.assert_array_equal(table["x"], [1000, -2, 0.5, 4])
    np.testing.assert_array_equal(table['a "b", c'], [1, np.nan, 3, np.nan])
    np.testing.assert_array_equal(table["flag"], [1, 0, np.nan, 1])
    assert table["late"].tolist() == ["1", "2.50", "3", "1_000"]
    assert table["words"].tolist() == ["p, q", None, "é", "none"]


def test_a_single_column_misses_where_a_line_is_empty(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("y\n1\n\n2\n")
    np.testing.assert_array_equal(tables.read(path)["y"], [1, np.nan, 2])


def test_columns_with_commas_in_their_names(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text('"a,b",c,d d,y\n1,p,q,2\n2,p,q,3\n3,r,q,5\n4,r,s,4\n')
    refused = run(path, "--target", "y", "--model", "linear", "--drop", "a,b")
    assert "--drop 'c,d d' leaves" in refused.stderr
    assert [
        one["name"]
        for one in report(path, "--target", "y", "--model", "linear", "--drop", "c", "--drop", "d d")["coefficients"]
    ] == ["intercept", "a,b"]


def test_numeric_categories_are_sorted_as_numbers(tmp_path):
    path = write(tmp_path / "d.csv", {"k": [10, 9, 2.5, 10, 9, 2.5], "y": [1, 2, 3, 2, 4, 8]})
    found = report(path, "--target", "y", "--model", "linear", "--categorical", "k")
    assert [one["name"] for one in found["coefficients"]] == ["intercept", "k[9]", "k[10]"]
    np.testing.assert_allclose(column(found, "estimate"), [5.5, -2.5, -4], rtol=1e-9)


def test_categories_keep_their_text(tmp_path):
    """01 and 1 are two levels, 00002 keeps its zeros, true and false are no numbers; a missing one is missing."""
    columns = {
        "code": ["01", "1", "02", "2"] * 4,
        "zip": ["00001", "00002", "00002", "00003"] * 4,
        "smoker": ["True", "False", "False", "True", "False"] * 3 + ["True"],
        "y": np.arange(16) % 7,
    }
    path = write(tmp_path / "d.csv", columns)
    rest = ("--target", "y", "--model", "linear", "--ridge", 1.0, "--categorical", "code,zip", "--categorical")
    names = [one["name"] for one in report(path, *rest, "smoker")["coefficients"]]
    assert names == ["intercept", "code[1]", "code[02]", "code[2]", "zip[00002]", "zip[00003]", "smoker[True]"]
    columns["code"][3] = "NA"
    refused = run(write(path, columns), *rest, "smoker")
    assert "missing values: code in row 4" in refused.stderr


def test_text_categories_of_parquet(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"code": pyarrow.array(["01", "1", "NA"]), "flag": pyarrow.array([True, False, None])}
    path = tmp_path / "d.parquet"
    parquet.write_table(pyarrow.table(columns | {"number": pyarrow.array([1, 2, 2])}), path)
    table = tables.read(path, text=lambda names: names)
    assert table["code"].tolist() == ["01", "1", None]
    assert table["flag"].tolist() == ["true", "false", None]
    np.testing.assert_array_equal(table["number"], [1, 2, 2])


def test_parquet_is_as_csv(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        "x": pyarrow.array([1, 2, None, 4]),
        "half": pyarrow.array(np.array([1, 2.5, 3, 4], np.float32)),
        "flag": pyarrow.array([True, None, False, True]),
        "cents": pyarrow.array([decimal.Decimal("1.25")] * 4),
        "group": pyarrow.array(["a", "b", None, "a"]).dictionary_encode(),
        "digits": pyarrow.array(["1", "2", "3", "NA"]),
        "day": pyarrow.array(np.array(["2024-01-01T00:00:00.000000001"] * 4, "datetime64[ns]")),
        "nested": pyarrow.array([[1], [2], None, []]),
        "nothing": pyarrow.nulls(4),
        "__index_level_0__": pyarrow.array([5, 6, 7, 8]),
    }
    path = tmp_path / "d.bin"
    parquet.write_table(pyarrow.table(columns), path)
    table = tables.read(path)
    assert list(table) == list(columns)[:-1]
    np.testing.assert_array_equal(table["x"], [1, 2, np.nan, 4])
    np.testing.assert_array_equal(table["half"], [1, 2.5, 3, 4])
    np.testing.assert_array_equal(table["flag"], [1, np.nan, 0, 1])
    np.testing.assert_array_equal(table["cents"], [1.25] * 4)
    assert table["group"].tolist() == ["a", "b", None, "a"]
    np.testing.assert_array_equal(table["digits"], [1, 2, 3, np.nan])
    assert table["day"].dtype == table["nested"].dtype == object
    assert table["nested"].tolist() == ["[1]", "[2]", None, "[]"]
    assert np.isnan(table["nothing"]).all()
    done = run(path, "--target", "x", "--model", "linear", "--delimiter", ";")
    assert (done.exit_code, "--delimiter is for CSV" in done.stderr) == (2, True)


def test_a_fit_of_parquet(tmp_path, data):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, columns = data
    parquet.write_table(pyarrow.table(columns), tmp_path / "d.parquet")
    rest = ("--target", "bought", "--model", "logistic", "--drop", "count,amount,w,base", "--categorical", "city")
    assert report(tmp_path / "d.parquet", *rest) == report(path, *rest)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "d.parquet"
    path.write_bytes(b"PAR1")
    done = run(path, "--target", "y", "--model", "linear")
    assert done.exit_code == 2
    assert "pip install 'jaxnewton[data]'" in done.stderr


def test_a_plot_without_matplotlib(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = run(data[0], "--target", "bought", "--model", "logistic", "--plot", "p.png")
    assert done.exit_code == 2
    assert "pip install 'jaxnewton[plot]'" in done.stderr


PICTURES = {
    "coefficients": ("--target", "count", "--model", "poisson", "--drop", "bought,amount,w,base"),
    "classes": ("--target", "city", "--model", "softmax", "--drop", "bought,amount,w,base"),
    "curve": ("--target", "bought", "--model", "logistic", "--drop", "count,amount,w,base,city,income"),
    "curves": ("--target", "city", "--model", "softmax", "--drop", "bought,count,amount,w,base,income"),
    "offset": (
        "--target", "count", "--model", "poisson", "--drop", "bought,amount,w,city,income", "--offset", "base"
    ),
    "intercept": ("--target", "y$^", "--model", "linear", "--drop", "$x_"),
    "strange names": ("--target", "y$^", "--model", "linear"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(data, tmp_path, name):
    path, picture = data[0], tmp_path / "p.png"
    if "y$^" in PICTURES[name]:
        path = write(tmp_path / "d.csv", {"$x_": [1, 2, 3, 4], "y$^": [1, 3, 2, 5]})
    categorical = ("--categorical", "city") if name == "coefficients" else ()
    done = run(path, *PICTURES[name], *categorical, "--plot", picture, "--json")
    assert done.exit_code == 0, done.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_as_a_user_runs_it(data):
    """In a process of its own: float64, no warning, no matplotlib where no plot is asked for."""
    path, columns = data
    start = (
        "import sys; from jaxnewton.cli import main; sys.argv = ['jaxnewton', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: assert not {'matplotlib', 'pyarrow', 'scipy.stats'} & sys.modules.keys()"
    )
    arguments = ("fit", str(path), "--target", "count", "--model", "poisson", "--drop", "city,bought,amount,w,base")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", start, *arguments, "--json"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    beta, *_ = scoring(design(columns, city=False), columns["count"], np.exp, lambda mu: mu)
    np.testing.assert_allclose(column(found, "estimate"), beta, rtol=1e-9)


def test_wrong_usage_of_the_command():
    done = subprocess.run([sys.executable, "-m", "jaxnewton", "fit"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Usage" in done.stderr
    assert "Traceback" not in done.stderr
