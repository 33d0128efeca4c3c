"""The command as a user runs it: in a process of its own."""

import json
import subprocess
import sys

import pytest


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "jaxnewton", *arguments], capture_output=True, text=True)


def test_thomson_prints_energy_certificate_and_minima(tmp_path):
    picture = tmp_path / "charges.png"
    done = run("thomson", "7", "--starts", "24", "--seed", "3", "--kind", "spiral", "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    for words in ("14.452977414", "best known", "minimum: 3 null modes", "gradient norm", "compile time", "starts/s"):
        assert words in done.stdout
    assert "24/24" in done.stderr  # the progress bar
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_thomson_as_json():
    done = run("thomson", "5", "--starts", "16", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["certified"] is True
    assert abs(report["difference"]) < 1e-8
    assert len(report["points"]) == 5
    assert report["statuses"].keys() <= {"CONVERGED", "NOISE_FLOOR"}
    assert report["starts"] == {"asked": 16, "ended": 16, "kind": "random", "seed": 0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("thomson", "1"), "n must be"),
        (("thomson", "5", "--kind", "cube"), "'random', 'polar', 'spiral'"),
        (("thomson", "5", "--starts", "0"), "starts must be"),
        (("thomson", "five"), "Usage"),
    ],
)
def test_wrong_input_is_refused_with_status_2(arguments, words):
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_info():
    done = run("info")
    assert done.returncode == 0
    for words in ("jaxnewton", "jaxlib", "devices", "float64", "cores"):
        assert words in done.stdout
