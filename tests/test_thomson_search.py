"""The search for low energies: moves, symmetric starts, rounds, checkpoints, the landscape, files."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnewton as jn
from jaxnewton.thomson import search
from jaxnewton.thomson.charges import AmbientCharges, Charges, potentials
from jaxnewton.thomson.landscape import Ends, alike, examine, merged
from jaxnewton.thomson.moves import moved
from jaxnewton.thomson.point_group import symmetry
from jaxnewton.thomson.polyhedron import polyhedron
from jaxnewton.thomson.symmetric import _choices, _groups, symmetric
from jaxnewton.thomson.table import BEST_KNOWN
from jaxnewton.thomson.view import write_view
from jaxnewton.types import Needs

# Orders of the point groups of the best known minima (Wikipedia, "Thomson problem", after Wales and others).
GROUPS = {3: 12, 4: 24, 5: 12, 6: 48, 7: 20, 8: 16, 9: 12, 10: 16, 11: 4, 12: 120, 14: 24, 16: 12, 24: 24, 32: 120}


def flat(points):
    return np.asarray(points).swapaxes(-1, -2).reshape(*np.shape(points)[:-2], -1)


def rotation(seed):
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return Q * np.sign(np.linalg.det(Q))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ambient_gradient_is_that_of_the_scaled_configuration(dtype):
    x = flat(np.asarray(jn.thomson.starts(jax.random.key(0), 9, 1)[0])).astype(dtype)
    at = AmbientCharges(9).evaluate(jnp.asarray(x), (), Needs.GRADIENT)

    def scaled(x):
        p = x.reshape(3, 9).T
        return jn.thomson.energy(p / jnp.linalg.norm(p, axis=1, keepdims=True))

    f, g = jax.value_and_grad(scaled)(jnp.asarray(x))
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(at.f, f, rtol=20 * eps)
    np.testing.assert_allclose(at.g, g, atol=100 * eps * float(jnp.max(jnp.abs(g))))
    lanes = AmbientCharges(9).evaluate_lanes(jnp.stack([x, x], axis=1), (), (), Needs.GRADIENT)
    np.testing.assert_allclose(lanes.g[:, 1], at.g, rtol=1e3 * eps, atol=1e3 * eps)
    with pytest.raises(NotImplementedError, match="no f, g, H"):
        AmbientCharges(9).evaluate(jnp.asarray(x), (), Needs.HESSIAN)


def test_potentials_sum_to_twice_the_energy():
    points = np.asarray(jn.thomson.starts(jax.random.key(1), 20, 1)[0])
    np.testing.assert_allclose(jnp.sum(potentials(jnp.asarray(points.T))), 2 * jn.thomson.energy(points), rtol=1e-13)


def test_rotation_groups_and_their_orbits():
    assert sorted(len(rotations) for rotations, _ in _groups()) == sorted(
        [1, 2, 3, 4, 5, 6, 4, 6, 8, 10, 12, 12, 24, 60]
    )
    for rotations, special in _groups():
        products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 3, 3)
        distance = np.abs(products[:, None] - rotations[None]).max(axis=(2, 3)).min(axis=1)
        assert distance.max() < 1e-9  # closed
        np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-12)
        for orbit in special:
            assert len(rotations) % len(orbit) == 0
            assert len(orbit) < len(rotations)


@pytest.mark.parametrize("n", [2, 3, 7, 12, 32, 50, 101])
def test_symmetric_starts_lie_on_the_sphere_and_apart(n):
    made = symmetric(np.random.default_rng(0), n, 40)
    np.testing.assert_allclose(np.linalg.norm(made, axis=2), 1, rtol=1e-14)
    assert len(_choices(n)) > 1
    apart = np.linalg.norm(made[:, :, None] - made[:, None], axis=3) + 9 * np.eye(n)
    assert apart.min() > 0


def test_mixed_starts_are_reproducible():
    one, other = (jn.thomson.starts(jax.random.key(4), 20, 10, kind="mixed") for _ in range(2))
    assert one.shape == (10, 20, 3)
    np.testing.assert_array_equal(one, other)
    assert np.any(np.asarray(jn.thomson.starts(jax.random.key(5), 20, 10, kind="mixed")) != np.asarray(one))


def test_moves_stay_on_the_sphere_and_leave_most_charges():
    population = flat(np.asarray(jn.thomson.starts(jax.random.key(0), 30, 3, kind="spiral")))
    new = np.asarray(moved(np.random.default_rng(0), population, 60)).reshape(60, 3, 30).swapaxes(1, 2)
    np.testing.assert_allclose(np.linalg.norm(new, axis=2), 1, rtol=1e-14)
    old = population.reshape(3, 3, 30).swapaxes(1, 2)
    kept = np.max([(np.abs(new - parent[None]).max(axis=2) < 1e-12).sum(axis=1) for parent in old], axis=0)
    assert np.sum(kept >= 27) >= 15  # charges put into holes: at most three are new
    assert np.sum(kept == 0) >= 8  # shaken, or fresh
    assert np.sum((kept > 0) & (kept < 27)) >= 3  # a cap turned
    np.testing.assert_array_equal(
        np.asarray(moved(np.random.default_rng(0), population, 60)).reshape(60, 3, 30).swapaxes(1, 2), new
    )


def test_hops_leave_a_minimum_for_the_lowest():
    second = jn.thomson.solve(16, starts=64).minima[1]
    stuck = jn.thomson.solve(16, starts=second.points[None])
    assert stuck.certified
    np.testing.assert_allclose(stuck.energy, second.energy, rtol=1e-14)
    known = jn.thomson.BEST_KNOWN[16]
    found = jn.thomson.solve(16, starts=second.points[None], hops=60, until=known * (1 + 1e-9))
    assert found.certified
    np.testing.assert_allclose(found.energy, known, rtol=1e-9)
    assert 1 < found.rounds < 61
    assert sum(found.counts.values()) == found.rounds


def test_rounds_end_with_the_time():
    found = jn.thomson.solve(8, starts=8, time_limit=1e-3)
    assert found.rounds == 1
    assert found.certified


def test_a_search_resumed_is_the_search_uninterrupted(tmp_path):
    file = tmp_path / "search.npz"
    whole = jn.thomson.solve(20, starts=8, hops=3)
    jn.thomson.solve(20, starts=8, hops=1, checkpoint=file)
    resumed = jn.thomson.solve(20, starts=8, hops=3, checkpoint=file, width=3, devices=1)
    assert resumed.rounds == whole.rounds == 4
    assert [one.hits for one in resumed.minima] == [one.hits for one in whole.minima]
    np.testing.assert_allclose(resumed.energy, whole.energy, rtol=1e-14)
    assert resumed.counts == whole.counts
    for changed, words in (({"starts": 9}, "its starts is 8"), ({"key": jax.random.key(1)}, "its key is")):
        with pytest.raises(ValueError, match=f"of another search: {words}"):
            jn.thomson.solve(20, **({"starts": 8} | changed), hops=3, checkpoint=file)
    with pytest.raises(ValueError, match="of another search: its n is 20"):
        jn.thomson.solve(21, starts=8, checkpoint=file)
    whole_file = file.read_bytes()
    for content in (b"nothing of the kind", b"", whole_file[: len(whole_file) // 2]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="checkpoint must be a file that a search wrote"):
            jn.thomson.solve(20, starts=8, checkpoint=file)
    with pytest.raises(ValueError, match="checkpoint: there is no folder"):
        jn.thomson.solve(20, starts=8, checkpoint=tmp_path / "nowhere" / "search.npz")
    own = np.asarray(jn.thomson.starts(jax.random.key(0), 6, 4))
    file.unlink()
    jn.thomson.solve(6, starts=own[:2], checkpoint=file)
    with pytest.raises(ValueError, match="of another search: its kind is given"):
        jn.thomson.solve(6, starts=own[2:], checkpoint=file)


def test_an_interrupted_round_is_run_anew(tmp_path, monkeypatch):
    """Ctrl-C, as the terminal sends it, after the first segment of the second round."""
    file = tmp_path / "search.npz"
    solve_pool, calls = search.solve_pool, []

    def interrupted_in_the_second(*arguments, **options):
        calls.append(1)
        report = solve_pool(*arguments, **options)
        if len(calls) < 2:
            return report
        half = jax.tree.map(lambda leaf: leaf[:4], report.kept)
        return report._replace(kept=half, tally=report.tally // 2, finished=4)

    whole = jn.thomson.solve(20, starts=8, hops=2)
    monkeypatch.setattr(search, "solve_pool", interrupted_in_the_second)
    partial = jn.thomson.solve(20, starts=8, hops=2, checkpoint=file)
    assert sum(partial.counts.values()) == 12
    monkeypatch.undo()
    resumed = jn.thomson.solve(20, starts=8, hops=2, checkpoint=file)
    assert [one.hits for one in resumed.minima] == [one.hits for one in whole.minima]
    assert sum(resumed.counts.values()) == 24


def test_failed_searches_say_so(tmp_path):
    file = tmp_path / "search.npz"
    for _ in range(2):  # the second time from the checkpoint
        found = jn.thomson.solve(12, starts=4, max_steps=2, checkpoint=file)
        assert not found.certified
        assert found.counts == {jn.Status.MAX_STEPS: 4}
    together = np.tile(np.array([0.0, 0.0, 1.0]), (2, 3, 1))
    with pytest.raises(ValueError, match="charges coincide"):
        jn.thomson.solve(3, starts=together)
    assert "12, energy=" in repr(found)


def test_point_groups_of_the_best_known_minima():
    orders = {n: jn.thomson.solve(n, starts=16, kind="mixed").minima[0].symmetry for n in (3, 6, 7, 11, 16)}
    assert orders == {n: GROUPS[n] for n in orders}


def test_point_group_of_solids_and_of_nothing():
    cube = np.array([[a, b, c] for a in (1, -1) for b in (1, -1) for c in (1, -1)]) / np.sqrt(3)
    assert symmetry(cube) == 48
    assert symmetry(cube @ rotation(0)) == 48
    noise = np.random.default_rng(0).normal(size=(8, 3))
    assert symmetry(noise / np.linalg.norm(noise, axis=1, keepdims=True)) == 1
    prism = np.array([[np.cos(a), np.sin(a), z] for a in np.arange(5) * 2 * np.pi / 5 for z in (0.5, -0.5)])
    assert symmetry(prism / np.linalg.norm(prism, axis=1, keepdims=True)) == 20


def test_congruent_ends_are_one_minimum_and_others_are_not():
    points = np.asarray(jn.thomson.starts(jax.random.key(0), 12, 2))
    turned = points[0] @ rotation(1)
    mirrored = points[0][::-1] * np.array([1, 1, -1])
    ends = np.stack([flat(p) for p in (points[0], points[1], turned, mirrored)])
    energy = np.asarray(jn.thomson.energy(np.stack([points[0], points[1], turned, mirrored])))
    assert sorted(map(sorted, alike(12, ends, energy))) == sorted([[0, 2, 3], [1]])
    same = merged(12, Ends(ends, energy, np.array([1, 2, 3, 4])))
    assert sorted(same.hits.tolist()) == [2, 8]
    # An equal energy is not enough.
    assert len(alike(12, ends[:2], np.array([energy[0], energy[0]]))) == 2


def test_the_landscape_has_each_minimum_once():
    found = jn.thomson.solve(16, starts=128)
    best, second = found.minima[:2]
    assert best.energy == found.energy
    assert abs(second.energy - 92.92035396) < 1e-6  # the only other one (Erber & Hockney 1991)
    assert len(found.minima) == 2
    assert best.hits + second.hits == 128
    assert best.hits > second.hits
    for one in found.minima:
        assert one.curvature > 0
        assert one.points.shape == (16, 3)
        np.testing.assert_allclose(jn.thomson.energy(one.points), one.energy, rtol=1e-13)
        np.testing.assert_allclose(np.linalg.norm(one.points.sum(axis=0)), one.dipole, atol=1e-13)


def test_what_a_gradient_cannot_tell_the_hessian_does():
    """A ring of five is stationary, and no minimum."""
    angle = np.arange(5) * 2 * np.pi / 5
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle])
    (one,) = examine(5, ring.reshape(1, -1))
    assert one.status is jn.Status.SADDLE
    found = jn.thomson.solve(5, starts=np.stack([ring.T, ring.T]))
    assert found.counts == {jn.Status.SADDLE: 2}
    assert not found.certified
    assert found.minima == []
    assert not found.discovery


@pytest.mark.parametrize("n", [3, 5])
def test_the_tables_rounding_is_no_discovery(n):
    """Its energies of 3 and 5 charges are rounded up; sqrt(3) is exact."""
    found = jn.thomson.solve(n, starts=4)
    assert found.certified
    assert found.energy < BEST_KNOWN[n]
    assert not found.discovery


def test_files(tmp_path):
    found = jn.thomson.solve(6, starts=8)
    found.save(tmp_path / "six.xyz")
    lines = (tmp_path / "six.xyz").read_text().splitlines()
    assert lines[0] == "6"
    assert "9.985281374" in lines[1]
    read = np.array([[float(t) for t in line.split()[1:]] for line in lines[2:]])
    np.testing.assert_array_equal(read, found.points)
    found.save(tmp_path / "six.npz")
    with np.load(tmp_path / "six.npz") as saved:
        np.testing.assert_array_equal(saved["points"], found.points)
        assert float(saved["energy"]) == found.energy
        assert saved["minima_hits"].tolist() == [8]
    with pytest.raises(ValueError, match=r"path must end in \.xyz or \.npz"):
        found.save(tmp_path / "six.txt")


def test_polyhedron_has_twelve_fewer_neighbours_than_a_lattice():
    points = jn.thomson.solve(32, starts=8).points
    solid = polyhedron(points)
    assert len(points) - len(solid.edges) + len(solid.faces) == 2  # Euler
    assert np.sum(6 - solid.neighbours) == 12
    assert sorted(set(solid.neighbours.tolist())) == [5, 6]
    a, b, c = (points[solid.faces[:, k]] for k in range(3))
    assert np.all(np.sum(np.cross(b - a, c - a) * a, axis=1) > 0)
    flat_one = polyhedron(np.array([[1.0, 0, 0], [-0.5, 0.8, 0], [-0.5, -0.8, 0]]))
    assert len(flat_one.faces) == 0
    assert len(flat_one.edges) == 3


def test_the_view_stands_alone(tmp_path):
    points = np.asarray(jn.thomson.starts(jax.random.key(0), 20, 1)[0])
    write_view(points, tmp_path / "view.html", title="20 <charges>", text="a & b")
    page = (tmp_path / "view.html").read_text()
    assert "20 &lt;charges&gt;" in page
    assert "a &amp; b" in page
    assert "@" not in page.replace("@media", "")
    for outside in ("http:", "https:", "src=", "href=", "import "):
        assert outside not in page
    start = page.index("const data = ") + len("const data = ")
    data = json.loads(page[start : page.index(";\n", start)])
    np.testing.assert_allclose(data["points"], points, atol=1e-9)
    assert len(data["faces"]) == 36


def test_derivatives_of_the_hessian_problem_over_lanes_are_those_of_one():
    x = jnp.stack([jnp.asarray(flat(p)) for p in np.asarray(jn.thomson.starts(jax.random.key(0), 6, 3))], axis=1)
    together = Charges(6).evaluate_lanes(x, (), (), Needs.HESSIAN)
    alone = Charges(6).evaluate(x[:, 2], (), Needs.HESSIAN)
    np.testing.assert_allclose(together.H[..., 2], alone.H, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(together.g[:, 2], alone.g, rtol=1e-11, atol=1e-11)
