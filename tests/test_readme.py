"""The README's Python blocks run, in the order a reader meets them, and print what it says."""

import pathlib
import re
import subprocess
import sys

import pytest

README = pathlib.Path(__file__).parent.parent / "README.md"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def test_python_blocks_run():
    text = README.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 3
    done = subprocess.run([sys.executable, "-W", "error", "-c", "\n".join(blocks)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"```text\n(.*?)\.*\n```", text, flags=re.DOTALL)[0].splitlines()
    printed = done.stdout.splitlines()[: len(said)]
    assert [NUMBER.sub("#", line) for line in printed] == [NUMBER.sub("#", line) for line in said]
    assert numbers(printed) == pytest.approx(numbers(said), rel=0.01)  # another machine may round otherwise


def numbers(lines):
    return [float(number) for number in NUMBER.findall("\n".join(lines))]
