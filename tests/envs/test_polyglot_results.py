"""What `benchmarks/polyglot.py` keeps: verdicts by hand and by the judge, measured at different times."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import polyglot


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(polyglot, "RESULTS", tmp_path / "polyglot.json")
    return tmp_path


def judged(passed: bool, seconds: float) -> dict[str, Any]:
    return {"passed": passed, "tests": 3, "tests_passed": 3 * passed, "seconds": seconds, "load": 0.5}


def test_a_later_measurement_adds_to_an_earlier_one(results: Path) -> None:
    hand = {"stubs": {"by_hand": False}, "reference": {"by_hand": True}}
    polyglot.keep({"sandbox": "docker"}, {"go/say": {"expected": 3, **hand}})
    for seconds in (4.0, 2.5):
        found = polyglot.keep({}, {"go/say": {"stubs": judged(False, 1), "reference": judged(True, seconds)}})
    record = found["exercises"]["go/say"]
    assert found["sandbox"] == "docker" and record["expected"] == 3
    assert record["stubs"] == {"by_hand": False, **judged(False, 1)}
    assert record["reference"] == {"by_hand": True, **judged(True, 2.5)}
    assert [file.name for file in results.iterdir()] == ["polyglot.json"]


def test_the_table_counts_what_was_measured_and_says_so_in_markdown(results: Path) -> None:
    unlike = {"stubs": {**judged(True, 1), "by_hand": False}, "reference": judged(True, 3.5)}
    found = polyglot.keep(
        {},
        {
            "rust/a": {"stubs": judged(False, 1) | {"by_hand": False}, "reference": judged(True, 1.5)},
            "rust/b": unlike,
            "rust/c": {"stubs": {"by_hand": False}},
        },
    )
    row = found["table"]["rust"]
    assert (row["playable"], row["references"], row["references_pass"], row["stubs_fail"]) == (3, 2, 2, 1)
    assert (row["by_hand"], row["by_hand_equal"]) == (2, 1)
    assert (row["seconds_median"], row["seconds_worst"], row["load_median"]) == (2.5, 3.5, 0.5)
    lines = polyglot.markdown(found["table"]).splitlines()
    assert "| Rust | 3 | 3 | 2 of 2 | 1 of 3 | 1 of 2 | 2.5 | 3.5 |" in lines
    assert {line.count("|") for line in lines} == {9} and lines[-1].startswith("| all | ")
