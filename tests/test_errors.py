"""Wrong input is refused at the door, by a sentence that names the argument, what came and what was expected."""

import collections
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnewton as jn

KEY = jax.random.key(0)
ONE, MANY = np.ones(2), np.ones((3, 2))
RAGGED = np.array([[1.0, 2.0], [3.0]], object)


class Pair(NamedTuple):
    x: float
    y: float


def bowl(x, *args):
    return jnp.sum(x**2)


def minimize(fun=bowl, x0=ONE, args=(), **options):
    return lambda: jn.minimize(fun, x0, args, **options)


def batch(fun=bowl, x0s=MANY, args=(), **options):
    return lambda: jn.minimize_batch(fun, x0s, args, **options)


TABLE = {
    # what is wrong: (the call, the exception, words that its sentence must have)
    "x0 integer array": (minimize(x0=np.ones(2, int)), TypeError, ["x0", "floating", "int64"]),
    "x0 integers": (minimize(x0=[1, 2]), TypeError, ["x0", "floating"]),
    "x0 one integer": (minimize(x0=1), TypeError, ["x0", "floating", "1"]),
    "x0 bool": (minimize(x0=True), TypeError, ["x0", "floating", "bool"]),
    "x0 bool array": (minimize(x0=np.array([True])), TypeError, ["x0", "floating", "bool"]),
    "x0 complex": (minimize(x0=np.ones(2, complex)), TypeError, ["x0", "floating", "complex"]),
    "x0 starts": (
        minimize(x0=jn.starts.uniform(jax.random.key(0), -ONE, ONE, 9)),
        TypeError,
        ["x0", "one start", "of 9", "batches"],
    ),
    "x0 text": (minimize(x0="start"), TypeError, ["x0", "floating", "start"]),
    "x0 None": (minimize(x0=None), ValueError, ["x0", "empty"]),
    "x0 empty list": (minimize(x0=[]), ValueError, ["x0", "empty"]),
    "x0 empty pytree": (minimize(x0={}), ValueError, ["x0", "empty"]),
    "x0 empty array": (minimize(x0=np.ones(0)), ValueError, ["x0", "no unknowns"]),
    "x0 one integer leaf": (minimize(x0={"a": ONE, "b": np.ones(2, int)}), TypeError, ["x0", "floating", "int64"]),
    "x0 objects": (minimize(x0=RAGGED), TypeError, ["x0", "object", "(2,)", "lengths differ"]),
    "x0s objects": (batch(x0s=RAGGED), TypeError, ["x0s", "object", "(2,)"]),
    "x0 of text": (minimize(x0=np.array(["a"])), TypeError, ["x0", "floating", "<U1"]),
    "x0 ragged": (minimize(x0=[[1.0, 2.0], [3.0]]), ValueError, ["x0", "lengths differ", "[3.0]"]),
    "x0s ragged": (batch(x0s=[[1.0, 2.0], [3.0]]), ValueError, ["x0s", "lengths differ", "[3.0]"]),
    "x0 half": (minimize(x0=np.ones(2, "float16")), TypeError, ["x0", "float32 or float64", "float16"]),
    "x0 bfloat16": (minimize(x0=jnp.ones(2, "bfloat16")), TypeError, ["x0", "float32 or float64", "bfloat16"]),
    "x0s half": (batch(x0s=np.ones((3, 2), "float16")), TypeError, ["x0s", "float32 or float64", "float16"]),
    "x0s integer": (batch(x0s=np.ones((3, 2), int)), TypeError, ["x0s", "floating", "int64"]),
    "x0s no starts": (batch(x0s=np.ones((0, 2))), ValueError, ["x0s", "no starts", "(0, 2)"]),
    "x0s no unknowns": (batch(x0s=np.ones((3, 0))), ValueError, ["x0s", "no unknowns", "(3, 0)"]),
    "x0s without axis": (batch(x0s=np.float64(1)), ValueError, ["x0s", "leading axis", "()"]),
    "x0s empty pytree": (batch(x0s=()), ValueError, ["x0s", "empty"]),
    "x0s uneven leaves": (batch(x0s={"a": MANY, "b": np.ones((4, 2))}), ValueError, ["x0s", "(3, 2)", "(4, 2)"]),
    "fun a vector": (minimize(fun=lambda x: x), TypeError, ["fun", "scalar", "(2,)"]),
    "fun a vector, batch": (batch(fun=lambda x: x), TypeError, ["fun", "scalar", "(2,)"]),
    "fun integer": (minimize(fun=jnp.argmin), TypeError, ["fun", "floating", "int64"]),
    "fun integer, batch": (batch(fun=jnp.argmin), TypeError, ["fun", "floating", "int64"]),
    "fun returns None": (minimize(fun=lambda x: None), TypeError, ["fun", "scalar"]),
    "fun returns a tuple": (minimize(fun=lambda x: (jnp.sum(x), x)), TypeError, ["fun", "scalar"]),
    "fun not callable": (minimize(fun=3.0), TypeError, ["fun", "function", "3.0"]),
    "fun not callable, batch": (batch(fun=None), TypeError, ["fun", "function", "None"]),
    "solver a class": (minimize(solver=jn.Newton), TypeError, ["solver", "instance", "Newton()"]),
    "solver a class, batch": (batch(solver=jn.TrustRegion), TypeError, ["solver", "instance", "TrustRegion()"]),
    "solver a name": (minimize(solver="newton"), TypeError, ["solver", "'newton'", "str"]),
    "solver a function": (batch(solver=bowl), TypeError, ["solver", "function"]),
    "tol negative": (minimize(tol=-1e-8), ValueError, ["tol", "positive", "-1e-08"]),
    "tol zero": (minimize(tol=0), ValueError, ["tol", "positive"]),
    "tol nan": (minimize(tol=np.nan), ValueError, ["tol", "positive", "nan"]),
    "tol infinite": (batch(tol=np.inf), ValueError, ["tol", "finite", "inf"]),
    "tol a vector": (batch(tol=np.full(2, 1e-8)), ValueError, ["tol"]),
    "tol text": (minimize(tol="small"), TypeError, ["tol", "'small'"]),
    "tol bool": (minimize(tol=True), TypeError, ["tol", "True"]),
    "max_steps zero": (minimize(max_steps=0), ValueError, ["max_steps", "at least 1", "0"]),
    "max_steps a fraction": (batch(max_steps=1.5), ValueError, ["max_steps", "whole number", "1.5"]),
    "max_steps bool": (batch(max_steps=True), ValueError, ["max_steps", "whole number", "True"]),
    "max_steps beyond int32": (minimize(max_steps=2**40), ValueError, ["max_steps"]),
    "args a list": (minimize(args=[ONE]), TypeError, ["args", "tuple", "(a,)"]),
    "args an array": (batch(args=MANY), TypeError, ["args", "tuple", "(a,)"]),
    "args text": (minimize(args=("logistic",)), TypeError, ["args", "'logistic'", "str"]),
    "args objects": (minimize(args=(RAGGED,)), TypeError, ["args", "an array of shape (2,) and dtype object"]),
    "args too few rows": (batch(args=(ONE,), args_axes=0), ValueError, ["args[0]", "3 starts", "(2,)"]),
    "args no rows": (batch(args=(MANY, 1.0), args_axes=0), ValueError, ["args[1]", "3 starts", "()"]),
    "args rows of a leaf": (
        batch(args=({"a": MANY, "b": ONE},), args_axes=0),
        ValueError,
        ["args[0]", "3 starts", "(2,)"],
    ),
    "args_axes too long": (batch(args=(MANY,), args_axes=(0, 0)), ValueError, ["args_axes", "2 entries", "1 args"]),
    "args_axes one": (batch(args=(MANY,), args_axes=1), ValueError, ["args_axes", "None", "0", "1"]),
    "args_axes negative": (batch(args=(MANY,), args_axes=(-1,)), ValueError, ["args_axes", "-1"]),
    "args_axes bool": (batch(args=(MANY,), args_axes=False), ValueError, ["args_axes", "False"]),
    "args_axes text": (batch(args=(MANY,), args_axes="rows"), (TypeError, ValueError), ["args_axes"]),
    "args_axes fraction": (batch(args=(MANY,), args_axes=1.5), (TypeError, ValueError), ["args_axes"]),
    "width zero": (batch(width=0), ValueError, ["width", "at least 1", "0"]),
    "width a fraction": (batch(width=2.5), ValueError, ["width", "whole number", "2.5"]),
    "keep zero": (batch(keep=0), ValueError, ["keep", "at least 1", "0"]),
    "keep negative": (batch(keep=-3), ValueError, ["keep", "-3"]),
    "devices none": (batch(devices=0), ValueError, ["devices", "0", "4 local"]),
    "devices too many": (batch(devices=5), ValueError, ["devices", "5", "4 local"]),
    "devices an empty list": (batch(devices=[]), TypeError, ["devices", "[]"]),
    "devices numbers": (batch(devices=[0, 1]), TypeError, ["devices", "[0, 1]"]),
    "devices text": (batch(devices="cpu"), TypeError, ["devices", "cpu"]),
    "devices bool": (batch(devices=True), TypeError, ["devices", "True"]),
    "starts crossed": (
        lambda: jn.starts.uniform(KEY, [0.0, 2.0], [1.0, 1.0], 5),
        ValueError,
        ["lower", "upper", "component 1"],
    ),
    "radius": (lambda: jn.TrustRegion(initial_radius=-1.0), ValueError, ["initial_radius", "positive", "-1.0"]),
    "radius traced": (lambda: jax.jit(jn.TrustRegion)(3.0), TypeError, ["initial_radius", "number", "traced"]),
    "damped": (lambda: jn.Newton(damped="no"), TypeError, ["damped", "True or False", "'no'"]),
    "memory": (lambda: jn.LBFGS(memory=0), ValueError, ["memory", "at least 1", "0"]),
    "form": (lambda: jn.BFGS("inverted"), ValueError, ["form", "inverse", "'inverted'"]),
    "phi": (lambda: jn.Broyden(1.5), ValueError, ["phi", "0", "1.5"]),
    "step a word": (lambda: jn.GradientDescent("newton"), ValueError, ["step", "exact", "'newton'"]),
    "step negative": (lambda: jn.GradientDescent(-0.1), ValueError, ["step", "positive", "-0.1"]),
    "step bool": (lambda: jn.GradientDescent(True), ValueError, ["step", "True"]),
    "step of a wrong shape": (
        minimize(solver=jn.GradientDescent(lambda k: jnp.full(2, 0.1))),
        TypeError,
        ["step", "number", "(2,)"],
    ),
    "step nothing": (minimize(solver=jn.GradientDescent(lambda k: None)), TypeError, ["step", "number", "None"]),
    "c2 negative": (lambda: jn.linesearch.Wolfe(-3.0, True), ValueError, ["c2", "1", "-3.0"]),
    "c2 large": (lambda: jn.linesearch.Wolfe(2.0, True), ValueError, ["c2", "1", "2.0"]),
    "strong": (lambda: jn.linesearch.Wolfe(0.9, "yes"), TypeError, ["strong", "True or False", "'yes'"]),
    "section width": (lambda: jn.linesearch.Golden(-1.0), ValueError, ["width", "positive", "-1.0"]),
    "products": (lambda: jn.NewtonCG(max_products=0), ValueError, ["max_products", "at least 1", "0"]),
    "transform": (lambda: jn.Optax(0.1), TypeError, ["transform", "optax.GradientTransformation", "0.1"]),
    "bounds a tuple": (minimize(bounds=(0.0, 1.0), solver=jn.GradientDescent()), TypeError, ["bounds", "jn.Bounds"]),
    "bounds without descent": (minimize(bounds=jn.Bounds(0.0)), ValueError, ["bounds", "GradientDescent()", "None"]),
    "bounds with Newton": (
        batch(bounds=jn.Bounds(0.0), solver=jn.Newton()),
        ValueError,
        ["bounds", "GradientDescent()", "Newton"],
    ),
    "bounds crossed": (
        minimize(bounds=jn.Bounds([0.0, 2.0], 1.0), solver=jn.GradientDescent()),
        ValueError,
        ["bounds", "component 1", "lower 2.0", "upper 1.0"],
    ),
    "bounds of letters": (
        minimize(bounds=jn.Bounds("a"), solver=jn.GradientDescent()),
        TypeError,
        ["bounds.lower", "numbers", "'a'"],
    ),
    "bounds nan": (minimize(bounds=jn.Bounds(np.nan), solver=jn.GradientDescent()), ValueError, ["bounds", "nan"]),
    "bounds of a wrong shape": (
        minimize(bounds=jn.Bounds(np.zeros(3)), solver=jn.GradientDescent()),
        ValueError,
        ["bounds.lower", "(2,)", "(3,)"],
    ),
    "bounds of a wrong tree": (
        minimize(bounds=jn.Bounds({"a": 0.0}), solver=jn.GradientDescent()),
        ValueError,
        ["bounds.lower", "structure of x0"],
    ),
    "history": (minimize(history=1), TypeError, ["history", "True or False", "1"]),
    "progress": (batch(progress="bar"), TypeError, ["progress", "True or False", "'bar'"]),
    "progress in jit": (
        lambda: jax.jit(lambda x0s: jn.minimize_batch(bowl, x0s, progress=True))(MANY),
        ValueError,
        ["progress", "inside jit"],
    ),
    "starts of a pytree": (
        lambda: jn.starts.uniform(KEY, {"a": 0.0}, {"a": 1.0}, 5),
        TypeError,
        ["lower", "vector", "{'a': 0.0}"],
    ),
    "starts half": (
        lambda: jn.starts.normal(KEY, jnp.ones(2, "float16"), jnp.ones(2, "float16"), 5),
        TypeError,
        ["mean", "float32 or float64", "float16"],
    ),
    "starts nan": (
        lambda: jn.starts.uniform(KEY, [0.0, np.nan], [1.0, 1.0], 5),
        ValueError,
        ["lower", "finite", "nan"],
    ),
    "starts infinite": (lambda: jn.starts.uniform(KEY, [-np.inf, 0.0], [1.0, 1.0], 5), ValueError, ["lower", "finite"]),
    "sobol crossed": (lambda: jn.starts.sobol([1.0], [0.0], 4), ValueError, ["lower", "upper", "component 0"]),
    "scale negative": (
        lambda: jn.starts.normal(KEY, [0.0, 0.0], [1.0, -1.0], 5),
        ValueError,
        ["scale", "negative", "-1"],
    ),
    "starts shapes": (
        lambda: jn.starts.uniform(KEY, [0.0, 0.0], [1.0] * 3, 5),
        ValueError,
        ["lower", "upper", "(2,)", "(3,)"],
    ),
    "starts two numbers": (lambda: jn.starts.uniform(KEY, 0.0, 1.0, 5), ValueError, ["lower", "upper", "vector", "()"]),
    "starts a matrix": (lambda: jn.starts.normal(KEY, MANY, 1.0, 5), ValueError, ["mean", "scale", "(3, 2)"]),
    "starts count zero": (lambda: jn.starts.uniform(KEY, [0.0], [1.0], 0), ValueError, ["count", "0"]),
    "sobol count zero": (lambda: jn.starts.sobol([0.0], [1.0], 0), ValueError, ["count", "0"]),
    "starts count a fraction": (lambda: jn.starts.normal(KEY, [0.0], 1.0, 2.5), ValueError, ["count", "2.5"]),
    "starts count too large": (lambda: jn.starts.normal(KEY, [0.0], 1.0, 2**31), ValueError, ["count", "2147483648"]),
    "starts key a number": (lambda: jn.starts.uniform(0, [0.0], [1.0], 5), TypeError, ["key", "jax.random.key", "int"]),
    "starts key a vector": (lambda: jn.starts.uniform(jnp.ones(3), [0.0], [1.0], 5), (TypeError, ValueError), ["key"]),
}


@pytest.mark.parametrize("name", TABLE)
def test_is_refused(name):
    call, exception, words = TABLE[name]
    with pytest.raises(exception) as refused:
        call()
    sentence = str(refused.value)
    assert [word for word in words if word not in sentence] == [], sentence


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (jn.NewtonCG(np.int64(5)), jn.NewtonCG(5)),
        (jn.LBFGS(jnp.array(3)), jn.LBFGS(3)),
        (jn.Broyden(np.float32(0.5)), jn.Broyden(0.5)),
        (jn.TrustRegion(np.float32(3)), jn.TrustRegion(3.0)),
        (jn.Newton(np.bool_(False)), jn.Newton(False)),
        (jn.GradientDescent(jnp.array(0.25)), jn.GradientDescent(0.25)),
        (jn.linesearch.Wolfe(np.float32(0.5), np.bool_(True)), jn.linesearch.Wolfe(0.5, True)),
    ],
    ids=lambda given: type(given).__name__,
)
def test_numpys_and_jaxs_scalars_are_numbers(given, expected):
    assert given == expected
    assert hash(given) == hash(expected)
    assert repr(given) == repr(expected)


def test_options_of_a_batch_may_be_numpys_and_jaxs_scalars():
    found = jn.minimize_batch(
        bowl, MANY, width=jnp.array(2), keep=np.int8(1), devices=np.array(1), max_steps=np.array(9), tol=np.float32(1)
    )
    assert len(found) == 1


@pytest.mark.parametrize(
    ("x0", "expected"),
    [
        (1.0, ()),
        ([1.0, 2], (2,)),
        ((1, 2.0, 3), (3,)),
        ([[1.0, 2.0], [3.0, 4.0]], (2, 2)),
        (np.float32(1), ()),
        (jnp.ones(2), (2,)),
    ],
    ids=["a number", "a list", "a tuple", "a nested list", "a NumPy scalar", "a JAX array"],
)
def test_what_is_not_refused(x0, expected):
    found = jn.minimize(lambda x: jnp.sum((x - 1) ** 2), x0, solver=jn.Newton())
    assert found.success
    assert found.x.shape == expected
    np.testing.assert_allclose(found.x, 1, atol=1e-6)


def test_a_list_of_arrays_is_a_pytree():
    found = jn.minimize(lambda x: jnp.sum(x[0] ** 2) + jnp.sum(x[1] ** 2), [np.ones(1), np.ones(2)])
    assert [leaf.shape for leaf in found.x] == [(1,), (2,)]


def test_a_named_tuple_is_a_pytree():
    found = jn.minimize(lambda p: (p.x - 1) ** 2 + p.y**2, Pair(0.0, 2.0))
    assert isinstance(found.x, Pair)
    np.testing.assert_allclose(found.x, (1, 0), atol=1e-6)


def test_leaves_of_two_dtypes_come_back_as_they_were():
    def fun(x):
        return jnp.sum((x["wide"] - 1) ** 2) + jnp.sum((x["narrow"].astype("float64") - 2) ** 2)

    found = jn.minimize(fun, {"wide": np.zeros(1), "narrow": np.zeros(1, "float32")})
    assert (found.x["wide"].dtype, found.x["narrow"].dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(found.x["narrow"], 2)


def test_nothing_is_raised_for_a_numerical_reason():
    assert jn.minimize(lambda x: jnp.sum(jnp.log(x)), [-1.0]).message.startswith(
        "the objective or a derivative is not finite"
    )


@pytest.fixture(scope="module")
def reverse_only():
    @jax.custom_vjp
    def residuals(x):
        return x**2 - 2

    residuals.defvjp(lambda x: (residuals(x), x), lambda x, c: (2 * x * c,))
    return residuals


@pytest.mark.parametrize("verb", [jn.least_squares, jn.least_squares_batch, jn.root, jn.root_batch])
def test_a_jacobian_is_not_taken_of_a_rule_in_reverse_mode(reverse_only, verb):
    with pytest.raises(TypeError, match=r"custom_vjp.*custom_jvp"):
        verb(reverse_only, 3 * MANY)


def test_a_start_may_have_any_fields():
    make = collections.namedtuple("Parts", ["make", "count"])  # as starts have
    assert jn.minimize(lambda p: (p.make - 1) ** 2 + p.count**2, make(0.0, 1.0)).success


def test_a_vector_for_starts_is_told_what_it_was_taken_for():
    """Where the function then fails; n starts of one number are what they are."""
    with pytest.raises(IndexError) as refused:
        jn.minimize_batch(lambda x: x[0] ** 2 + x[1] ** 2, np.ones(50))
    assert any("(50,) are 50 starts of one number" in note for note in refused.value.__notes__)
    with pytest.raises(IndexError) as refused:
        jn.minimize_batch(lambda x: x[0, 0], np.ones((50, 2)))
    assert not any("of one number" in note for note in refused.value.__notes__)
    assert jn.minimize_batch(lambda x: (x - 1) ** 2, np.ones(5)).success.all()
