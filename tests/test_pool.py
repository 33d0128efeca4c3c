"""The pool: nothing depends on width, devices or order, and a bad lane spoils nothing."""

import functools
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import rosenbrock

import jaxnewton as jn
from jaxnewton import Status, door, driver, placement, pool
from jaxnewton.starts import split_rows

N, COUNT = 5, 3000
STARTS = np.random.default_rng(0).uniform(-3, 3, (COUNT, N))


@functools.cache
def run(width, devices, *, backwards=False):
    starts = STARTS[::-1] if backwards else STARTS
    return as_numpy(jn.minimize_batch(rosenbrock, starts, width=width, devices=devices))


def as_numpy(tree):
    return jax.tree.map(np.asarray, tree)


def assert_same_ends(one, other, tol=1e-9):
    """The same x, and the same kind of end; but rounding may send a lane in a thousand to another minimum."""
    moved = np.abs(one.x - other.x).max(axis=1) > tol
    assert moved.sum() <= len(one) // 1000
    np.testing.assert_array_equal(one.success, other.success)
    for x in (*one.x[moved], *other.x[moved]):
        assert np.abs(jax.grad(rosenbrock)(x)).max() <= 1e-6
        assert np.linalg.eigvalsh(jax.hessian(rosenbrock)(x))[0] > 0


def test_nearly_every_start_ends_at_a_stationary_point():
    found = run(64, 1)
    gradient = jax.vmap(jax.grad(rosenbrock))(found.x)
    assert (np.abs(gradient).max(axis=1) <= 1e-6).mean() >= 0.999
    assert found.success.mean() >= 0.999


def test_rows_are_in_the_order_of_the_starts():
    np.testing.assert_array_equal(run(64, 1).start, np.arange(COUNT))
    np.testing.assert_array_equal(run(1000, 4).start, np.arange(COUNT))
    kept_where_they_began = solve(lambda x, c: jnp.sum((x - c) ** 2), STARTS[:, :1], (STARTS[:, 0],), args_axes=0)
    np.testing.assert_allclose(kept_where_they_began.x, STARTS[:, :1], atol=1e-12)


def test_width_and_devices_do_not_matter():
    assert_same_ends(run(64, 1), run(1000, 4))


@pytest.mark.parametrize("devices", [1, 4])
def test_what_a_gpu_does_otherwise_does_not_matter(monkeypatch, devices):
    """Several trips between two looks at the lanes."""
    monkeypatch.setitem(pool.TRIPS_A_LOOK, "cpu", 4)
    found = as_numpy(jn.minimize_batch(lambda x: rosenbrock(x), STARTS, width=64, devices=devices))
    assert_same_ends(run(64, 1), found)
    np.testing.assert_array_equal(found.start, np.arange(COUNT))


def test_default_width_of_a_cpu():
    assert [driver.default_width(n, 10**6) for n in (2, 5, 10, 30)] == [512, 256, 64, 32]
    assert [driver.default_width(5, 10**6, read=25, factored=factored) for factored in (False, True)] == [256, 32]
    assert driver.default_width(2, 10**6, read=5, factored=True) == 256


def test_default_width_of_a_gpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [driver.default_width(n, 10**6) for n in (2, 10, 30, 1000)] == [2**17, 2**16, 2**13, 32]
    assert driver.default_width(2, 1000) == 1000
    assert driver.default_width(5, 10**6, read=25, held=25) == 2**15
    assert driver.default_width(5, 10**6, held=10**6) == 64


def test_views_are_not_copied():
    """Of a CPU's array, where its parts begin with a cache line; but not of what NumPy has no view of."""
    starts = jnp.asarray(STARTS[:2048])
    split = split_rows(starts, 4, 512)
    there = placement.put(split, jax.sharding.NamedSharding(jax.make_mesh((4,), ("device",)), pool.SPLIT))
    parts = [shard.data.unsafe_buffer_pointer() for shard in there.addressable_shards]
    assert parts == [starts.unsafe_buffer_pointer() + i * starts.nbytes // 4 for i in range(4)]
    for other in (jax.random.key(0), jax.random.split(jax.random.key(0)), 1.5, STARTS, jnp.asarray(1.5)):
        assert placement.view(other) is other


def test_order_does_not_matter():
    backwards = run(64, 1, backwards=True)
    turned = jax.tree.map(lambda leaf: leaf[::-1] if leaf.shape[0] == COUNT else leaf, backwards)
    assert_same_ends(run(64, 1), turned)


def test_a_batch_is_many_single_solves():
    rows = np.random.default_rng(1).choice(COUNT, 50, replace=False)
    alone = [jn.minimize(rosenbrock, STARTS[row]) for row in rows]
    together = jax.tree.map(lambda leaf: leaf[rows], dict(vars(run(64, 1)), tally=np.zeros(COUNT)))
    stacked = as_numpy(jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone))
    moved = np.abs(stacked.x - together["x"]).max(axis=1) > 1e-9
    assert moved.sum() <= 1
    np.testing.assert_allclose(stacked.fun[~moved], together["fun"][~moved], atol=1e-12)
    np.testing.assert_array_equal(stacked.success, together["status"] <= Status.NOISE_FLOOR)


def test_tally_and_counts():
    found = run(64, 1)
    np.testing.assert_array_equal(found.tally, np.bincount(found.status, minlength=len(Status)))
    assert found.counts == {Status(s): n for s, n in zip(*np.unique(found.status, return_counts=True), strict=True)}
    assert len(found) == COUNT
    assert repr(found).startswith("Solutions(3000 rows")


# Cheap to compile, with many ties: from t in (-2, 2), a well at +-1 with a different depth a lane.
WELLS = np.random.default_rng(2).uniform(-2, 2, (200, 1))


def well(x):
    return jnp.sum((x**2 - 1) ** 2) + 0.1 * jnp.sum(x)


solve = functools.partial(jn.minimize_batch, solver=jn.Newton())  # compiles fastest, where the solver does not matter


@functools.cache
def wells(**options):
    return as_numpy(solve(well, WELLS, **options))


def test_best_distinct_and_summary():
    found = wells(width=16, devices=1)
    order = np.argsort(found.fun)
    best = found.best
    assert best.fun == found.fun[order[0]]
    low, high = np.sort(np.roots([4, 0, -4, 0.1]))[[0, 2]]  # where 4 x^3 - 4 x + 0.1 = 0, but for the maximum between
    minima = found.distinct()
    assert [hits for _, hits in minima] == [(found.x < 0).sum(), (found.x > 0).sum()]
    np.testing.assert_allclose([one.x[0] for one, _ in minima], [low, high], atol=1e-7)
    assert len(found.distinct(tol=10.0)) == 1
    lines = found.summary().splitlines()
    assert lines[0].startswith("200 starts: ")
    assert "distinct ends: 2" in lines
    assert lines[-1].endswith(f"hits {minima[1][1]}")
    one = found[3]
    assert isinstance(one, jn.Solution)
    np.testing.assert_array_equal(one.x, found.x[3])


def test_best_prefers_success_and_ignores_nan():
    """The lowest fun of all belongs to a start that runs away."""
    found = jn.minimize_batch(lambda x: jnp.sum(x**3 - 3 * x), np.array([[2.0], [-2.0], [np.nan], [1.5]]))
    assert list(np.asarray(found.status)) == [Status.CONVERGED, Status.DIVERGED, Status.NONFINITE, Status.CONVERGED]
    assert found.best.fun == pytest.approx(-2)
    lost = jn.minimize_batch(lambda x: jnp.sum(x**3 - 3 * x), np.array([[np.nan], [-2.0], [np.nan], [-3.0]]))
    assert np.isfinite(lost.best.fun)
    assert lost.distinct() == []
    assert "distinct ends: 0" in lost.summary()


@pytest.mark.parametrize(("keep", "devices"), [(1, 1), (7, 1), (7, 4), (120, 4), (500, 4)])
def test_keep_is_the_best_of_all(keep, devices):
    """Many ends share their fun to the last bit, so the order of ties, by start number, is seen too."""
    everything, kept = wells(width=16, devices=devices), wells(width=16, devices=devices, keep=keep)
    order = np.lexsort((everything.start, everything.fun, ~everything.success))[:keep]
    np.testing.assert_array_equal(kept.start, everything.start[order])
    np.testing.assert_array_equal(kept.fun, everything.fun[order])
    np.testing.assert_array_equal(kept.x, everything.x[order])
    np.testing.assert_array_equal(kept.tally, everything.tally)
    assert len(np.unique(everything.fun)) < len(everything) / 2
    assert len(kept) == min(keep, len(WELLS))


def distance(x, a, b):
    """Least at b where a > 0."""
    return jnp.sum(a["scale"] * jnp.cosh(x - b))


def test_arguments_of_each_lane_and_shared_ones():
    rng = np.random.default_rng(3)
    x0s, b = rng.normal(size=(40, 2)), rng.normal(size=(40, 2))
    scale = rng.uniform(1, 3, (40, 2))
    each = solve(distance, x0s, ({"scale": scale}, b), args_axes=0, devices=1)
    np.testing.assert_allclose(each.x, b, atol=1e-7)
    np.testing.assert_allclose(each.fun, scale.sum(axis=1), rtol=1e-12)
    mixed = solve(distance, x0s, ({"scale": scale[0]}, b), args_axes=(None, 0), devices=1)
    np.testing.assert_allclose(mixed.x, b, atol=1e-7)
    np.testing.assert_allclose(mixed.fun, np.full(40, scale[0].sum()), rtol=1e-12)
    other = solve(distance, x0s, ({"scale": scale}, b[0]), args_axes=[0, None], devices=3)
    np.testing.assert_allclose(other.x, np.broadcast_to(b[0], (40, 2)), atol=1e-7)
    np.testing.assert_allclose(other.fun, scale.sum(axis=1), rtol=1e-12)


def test_starts_may_be_a_pytree():
    rng = np.random.default_rng(4)
    x0s = {"a": rng.normal(size=(30, 2)), "b": (rng.normal(size=30),)}
    found = solve(lambda x: jnp.sum((x["a"] - 1.0) ** 2) + (x["b"][0] + 2.0) ** 2, x0s)
    assert found.x["a"].shape == (30, 2)
    np.testing.assert_allclose(found.x["a"], 1, atol=1e-12)
    np.testing.assert_allclose(found.x["b"][0], -2, atol=1e-12)
    assert jax.tree.structure(found.grad) == jax.tree.structure(x0s)
    assert found[2].x["a"].shape == (2,)
    assert found[2].x["b"][0].shape == ()
    [(one, hits)] = found.distinct()
    assert hits == 30
    assert one.x["b"][0] == pytest.approx(-2)


def test_starts_keep_their_dtype():
    found = solve(well, WELLS.astype("float32"), width=16, devices=1)
    assert {leaf.dtype for leaf in (found.x, found.fun, found.grad, found.curvature)} == {np.dtype("float32")}
    assert {leaf.dtype for leaf in (found.status, found.nit, found.start, found.tally)} == {np.dtype("int32")}
    np.testing.assert_allclose(found.fun, wells(width=16, devices=1).fun, atol=1e-5)


KEY = jax.random.key(7)
RECIPES = {
    "uniform": lambda count=200: jn.starts.uniform(KEY, [-2.0], 1.5, count),
    "normal": lambda count=200: jn.starts.normal(KEY, [0.5], 1.5, count),
    "sobol": lambda count=200: jn.starts.sobol([-2.0], 1.5, count, seed=3),
}


def materialised(starts):
    return np.stack([np.asarray(starts.make(jnp.int32(i))) for i in range(starts.count)])


@pytest.mark.parametrize("kind", RECIPES)
def test_recipes_are_reproducible_and_in_place(kind):
    rows = materialised(RECIPES[kind]())
    np.testing.assert_array_equal(rows, np.asarray(RECIPES[kind]()))
    assert len(RECIPES[kind]()) == 200
    assert rows.shape == (200, 1)
    assert rows.dtype == np.float64
    assert len(np.unique(rows)) == 200
    if kind == "normal":
        assert rows.mean() == pytest.approx(0.5, abs=4 * 1.5 / np.sqrt(200))
        assert rows.std() == pytest.approx(1.5, rel=0.2)
    else:
        assert rows.min() >= -2
        assert rows.max() <= 1.5
        assert rows.mean() == pytest.approx(-0.25, abs=4 * 3.5 / np.sqrt(12 * 200))
    np.testing.assert_array_equal(materialised(RECIPES[kind](50)), rows[:50])  # a longer run goes on where it was


@pytest.mark.parametrize("kind", RECIPES)
def test_a_start_is_found_by_its_number(kind):
    starts = RECIPES[kind]()
    rows = materialised(starts)
    np.testing.assert_array_equal(starts[17], rows[17])
    np.testing.assert_array_equal(starts[-1], rows[199])
    np.testing.assert_array_equal(starts[3:90:40], rows[3:90:40])
    kept = solve(well, starts, keep=5, width=16)
    np.testing.assert_array_equal(starts[kept.start], rows[np.asarray(kept.start)])
    with pytest.raises(IndexError, match="row 200 of 200 starts"):
        starts[200]


@pytest.mark.parametrize("make", [jn.starts.uniform, jn.starts.normal])
def test_recipes_inside_jit(make):
    a, b = np.array([-1.0]), np.array([2.0])

    def solved(key, a, b):
        starts = make(key, a, b, 20)
        return starts[:], solve(well, starts, width=8, devices=1).x

    rows, x = jax.jit(solved)(KEY, a, b)
    np.testing.assert_allclose(rows, make(KEY, a, b, 20)[:], rtol=1e-12)
    np.testing.assert_allclose(x, solve(well, make(KEY, a, b, 20), width=8, devices=1).x, atol=1e-9)


def test_recipes_differ_by_key_and_seed():
    other = materialised(jn.starts.uniform(jax.random.key(8), [-2.0], 1.5, 200))
    assert not np.isin(other, materialised(RECIPES["uniform"]())).any()
    assert not np.isin(materialised(jn.starts.sobol([-2.0], 1.5, 200, seed=4)), materialised(RECIPES["sobol"]())).any()


def test_recipes_take_vectors_and_old_keys():
    starts = jn.starts.uniform(
        jax.random.PRNGKey(7), np.array([-1.0, 5.0], "float32"), np.array([0.0, 6.0], "float32"), 9
    )
    rows = materialised(starts)
    assert rows.dtype == np.float32
    assert np.all((rows >= [-1, 5]) & (rows <= [0, 6]))
    np.testing.assert_array_equal(materialised(jn.starts.uniform(KEY, [1.0, 2.0], [1.0, 2.0], 3)), [[1, 2]] * 3)


@pytest.mark.parametrize(("kind", "devices"), [("uniform", 1), ("uniform", 4), ("normal", 4), ("sobol", 4)])
def test_a_recipe_is_its_rows(kind, devices):
    recipe = RECIPES[kind]()
    made = solve(well, recipe, width=16, devices=devices)
    given = solve(well, materialised(recipe), width=16, devices=devices)
    np.testing.assert_array_equal(made.start, given.start)
    np.testing.assert_array_equal(made.status, given.status)
    np.testing.assert_allclose(made.x, given.x, atol=1e-12)


def cliff(x, kind):
    """A bowl; kind 1: nan beyond |x| = 2; kind 2: infinity there; kind 3: an endless slope of steps ever the same."""
    bowl = jnp.sum((x - 0.5) ** 2)
    outside = jnp.max(jnp.abs(x)) > 2
    bowl = jnp.where((kind == 1) & outside, jnp.nan, jnp.where((kind == 2) & outside, jnp.inf, bowl))
    return jnp.where(kind == 3, jnp.sum(jnp.exp(-x)), bowl)


@pytest.mark.parametrize(
    ("solver", "devices"), [(jn.TrustRegion(), 4), (jn.Newton(), 1)], ids=["TrustRegion-4", "Newton-1"]
)
def test_bad_lanes_spoil_nothing(solver, devices):
    starts = np.random.default_rng(5).uniform(-1.5, 1.5, (60, 1))
    kinds = np.zeros(60, np.int32)
    run = functools.partial(
        jn.minimize_batch, cliff, solver=solver, args_axes=0, width=8, devices=devices, max_steps=60
    )
    clean = run(starts, (kinds,))
    assert clean.success.all()
    bad = {7: (np.nan, 0), 13: (5.0, 1), 14: (5.0, 2), 20: (0.0, 3), 59: (np.inf, 0)}
    spoilt, kinds = starts.copy(), kinds.copy()
    for row, (start, kind) in bad.items():
        spoilt[row], kinds[row] = start, kind
    found = as_numpy(run(spoilt, (kinds,)))
    good = ~np.isin(np.arange(60), list(bad))
    for name in ("x", "fun", "grad", "status", "nit"):
        np.testing.assert_array_equal(getattr(found, name)[good], np.asarray(getattr(clean, name))[good])
    ends = {row: Status(int(found.status[row])) for row in bad}
    assert ends == dict.fromkeys((7, 13, 14, 59), Status.NONFINITE) | {20: Status.DIVERGED}
    assert found.nit[20] < 60
    assert found.counts[Status.NONFINITE] == 4
    assert found.best.fun == clean.best.fun


def test_a_lane_that_meets_nan_on_its_way_goes_on():
    starts = np.array([[100.0], [2.0], [1e-3], [-1.0]])
    found = solve(lambda x: jnp.sum(x - jnp.log(x)), starts)
    np.testing.assert_allclose(found.x[:3], 1, atol=1e-6)
    assert found.success.tolist() == [True, True, True, False]
    assert found.status[3] == Status.NONFINITE


@pytest.mark.parametrize(("count", "devices"), [(1, None), (5, None), (1, 1), (5, 1), (5, 3), (2, [0]), (5, [2, 1])])
def test_few_starts(count, devices):
    """Fewer than lanes, than devices, or not a multiple of the devices."""
    if isinstance(devices, list):
        devices = [jax.devices()[i] for i in devices]
    found = solve(well, WELLS[:count], width=100, devices=devices)
    assert len(found) == count
    np.testing.assert_allclose(found.x, wells(width=16, devices=1).x[:count], atol=1e-9)
    assert found.tally.sum() == count


def test_rows_end():
    found = solve(well, WELLS[:3], devices=1)
    assert len(list(found)) == 3
    np.testing.assert_array_equal(found[-1].x, found[2].x)
    with pytest.raises(IndexError, match="row 3 of 3"):
        found[3]


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (slice(2, 5), [2, 3, 4]),
        (slice(None, None, -80), [199, 119, 39]),
        ([3, -1], [3, 199]),
        (jnp.array([7, 7]), [7, 7]),
        (np.arange(200) % 100 == 1, [1, 101]),
        ([], []),
    ],
    ids=["slice", "steps", "list", "array", "mask", "none"],
)
def test_rows_are_chosen_as_in_numpy(index, rows):
    found = wells(width=16, devices=1)
    chosen = found[index]
    assert isinstance(chosen, jn.Solutions)
    np.testing.assert_array_equal(chosen.x, found.x[rows])
    np.testing.assert_array_equal(chosen.start, rows)
    assert chosen.tally.sum() == len(chosen) == len(rows)
    assert chosen.summary().startswith(f"{len(rows)} starts: ")


def test_a_row_inside_jit():
    found = wells(width=16, devices=1)
    best = jax.jit(lambda found: found[jnp.argmin(found.fun)])(found)
    assert best.fun == found.fun.min()


@pytest.mark.parametrize(
    ("index", "error", "words"),
    [
        (-201, IndexError, "row -201 of 200"),
        ([0, 200], IndexError, "row 200 of 200"),
        ([True, False], IndexError, "mask of 2 entries.*200"),
        (1.5, TypeError, r"solutions.*1\.5"),
        ("x", TypeError, "'x'"),
        ((0, 1), TypeError, r"\(0, 1\)"),
        (True, TypeError, "True"),
    ],
)
def test_what_is_no_row(index, error, words):
    with pytest.raises(error, match=words):
        wells(width=16, devices=1)[index]


def test_statuses_are_shown_by_name():
    found = wells(width=16, devices=1)
    assert repr(found[found.status == Status.CONVERGED][:2]) == "Solutions(2 rows; CONVERGED 2)"
    assert repr(found[[]]) == "Solutions(0 rows; none)"


@pytest.mark.parametrize("devices", [1, 4])
def test_under_vmap(devices):
    """Nothing is donated there, so nothing is warned of."""
    stacked = WELLS.reshape(2, 100, 1)
    found = jax.vmap(lambda x0s: solve(well, x0s, width=16, devices=devices))(stacked)
    np.testing.assert_allclose(found.x.reshape(200, 1), wells(width=16, devices=1).x, atol=1e-9)
    assert "status" in repr(found)


def test_inside_jit():
    def away(x, c):
        return jnp.sum(jnp.cosh(x - c))

    compiled = jax.jit(lambda x0s, c: solve(away, x0s, (c,), width=8, devices=1))
    found = compiled(WELLS, np.array([0.25]))
    assert isinstance(found, jn.Solutions)
    np.testing.assert_allclose(found.x, 0.25, atol=1e-7)
    np.testing.assert_array_equal(found.start, np.arange(200))
    assert found.tally.sum() == 200
    np.testing.assert_allclose(compiled(WELLS, np.array([-1.0])).x, -1, atol=1e-7)
    kept = jax.jit(lambda x0s: solve(well, x0s, keep=3, width=16, devices=1))(WELLS)
    np.testing.assert_allclose(kept.fun, wells(width=16, devices=1, keep=3).fun, rtol=1e-12)


def test_progress_draws_on_stderr_and_changes_nothing(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")  # the bar's columns are cut short on a narrower terminal
    shown = solve(well, WELLS, width=16, devices=1, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "200/200" in err
    quiet = wells(width=16, devices=1)
    np.testing.assert_array_equal(shown.x, quiet.x)
    np.testing.assert_array_equal(shown.status, quiet.status)


class CtrlC:
    """A progress bar that is interrupted after some segments."""

    def __init__(self, after):
        self.after = after
        self.finished = []

    def __call__(self, total):
        return self

    def __enter__(self):
        return self.watch

    def __exit__(self, *_):
        pass

    def watch(self, finished, tally, best):
        self.finished.append(finished)
        if len(self.finished) == self.after:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("devices", "keep"), [(1, None), (4, None), (1, 5)])
def test_ctrl_c_returns_what_has_ended(monkeypatch, devices, keep):
    before = signal.getsignal(signal.SIGINT)
    hook = CtrlC(after=2)
    monkeypatch.setattr(door, "bar", hook)
    recipe = jn.starts.uniform(KEY, [-2.0], 2.0, 100_000)
    with pytest.warns(UserWarning, match="interrupted: [0-9]+ of 100000 starts had ended"):
        found = as_numpy(solve(well, recipe, width=16, devices=devices, keep=keep, progress=True))
    finished = hook.finished[-1]
    assert 0 < finished < 100_000
    assert found.tally.sum() == finished
    assert (found.start >= 0).all()
    assert len(found) == (finished if keep is None else keep)
    assert len(np.unique(found.start)) == len(found)
    assert np.all(found.start >= 0)
    assert np.all(found.start < 100_000)
    assert np.all(np.diff(found.start) > 0) or keep is not None
    for row in (0, len(found) // 2, len(found) - 1):
        x0 = recipe.make(jnp.int32(found.start[row]))
        np.testing.assert_allclose(found.x[row], jn.minimize(well, x0, solver=jn.Newton()).x, atol=1e-7)
    assert signal.getsignal(signal.SIGINT) is before


def test_without_ctrl_c_nothing_is_warned_of(monkeypatch):
    hook = CtrlC(after=10**9)
    monkeypatch.setattr(door, "bar", hook)
    assert len(solve(well, WELLS, width=16, devices=1, progress=True)) == 200
    assert hook.finished[-1] == 200
    assert hook.finished == sorted(hook.finished)


def test_segments_grow_to_their_length():
    assert driver._next_rounds(1, 1e-9) == 8
    assert driver._next_rounds(100, driver.SEGMENT_SECONDS / 2) == 200
    assert driver._next_rounds(100, driver.SEGMENT_SECONDS * 4) == 25
    assert driver._next_rounds(1, 100.0) == 1


def test_a_second_call_begins_with_the_rounds_that_the_first_came_to(monkeypatch):
    def recorded(plan, data, state, rounds):
        limits.append(int(rounds))
        return segment(plan, data, state, rounds)

    def fun(x):  # of its own: nothing is known of it
        return rosenbrock(x)

    segment, limits = driver.run_segment, []
    monkeypatch.setattr(driver, "run_segment", recorded)
    monkeypatch.setattr(driver, "SEGMENT_SECONDS", 1e9)  # so that no load makes one too long
    first = as_numpy(solve(fun, STARTS, width=16, devices=1))
    assert limits[:2] == [0, 1]  # compiles, and looks after a round
    assert limits == sorted(limits)
    last, limits[:] = limits[-1], []
    second = as_numpy(solve(fun, STARTS, width=16, devices=1))
    assert limits[0] == last
    assert_same_ends(first, second)
    limits.clear()
    jax.clear_caches()
    solve(fun, STARTS, width=16, devices=1)
    assert limits[:2] == [0, 1]  # what compiles is no segment to be judged by
