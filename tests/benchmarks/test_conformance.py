"""The conformance of trainers: ours and TRL, and that a trainer with a fault is found out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "benchmarks" / "conformance"


def python(*args, cwd=None):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, cwd=cwd, env=os.environ)


def test_ours_is_green_everywhere_and_trl_but_for_its_divisors(tmp_path):
    pytest.importorskip("trl")
    out = tmp_path / "conformance.json"
    done = python(str(HERE), "--only", "ours", "trl", "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["trainers"]
    assert {cell["state"] for cell in found["ours"]["cells"].values()} == {"green"}
    trl = {name: cell for name, cell in found["trl"]["cells"].items() if cell["state"] == "red"}
    assert list(trl) == ["a failed member changes nobody's gradient"]
    (red,) = trl.values()
    assert red["lines"].count("\n") <= 2 and red["prints"] in done.stdout


FAULTS = {
    "on policy it is REINFORCE": "1.1 * found",
    "the world's tokens get none": "found + 0.1",
    "a failed member's tokens move nothing": "found + 0.1",
    "a failed member changes nobody's gradient": "found / sum(map(len, groups))",
    "micro-batches change no gradient": "found * (micro or 3)",
    "equal returns give zero": "found + float('nan')",
    "stop or continue": "0 * found",
}
"""What a trainer may do wrong, and the property that must see it."""


PROGRAM = f"""
import sys; sys.path.insert(0, {str(HERE)!r})
import world

class Right:
    units, rows = ("token",), True
    def gradient(self, table, groups, unit, *, micro=None):
        return world.reference(table, groups, unit)

for name, fault in {FAULTS!r}.items():
    class Faulty(Right):
        def gradient(self, table, groups, unit, *, micro=None):
            found = world.reference(table, groups, unit)
            return eval(fault)
    check = world.PROPERTIES[name]
    print(check(Right())[0], check(Faulty())[0], name, sep=", ")
"""


def test_a_trainer_with_a_fault_is_found_out():
    done = python("-c", PROGRAM)
    assert done.stdout.splitlines() == [f"green, red, {name}" for name in FAULTS], done.stderr


def test_a_python_that_is_no_python_is_told(tmp_path):
    done = python(str(HERE), "--only", "verl", "--python", "verl=/nowhere", "--out", str(tmp_path / "x"))
    assert done.returncode == 1 and "not asked" in done.stderr and not (tmp_path / "x").exists()
