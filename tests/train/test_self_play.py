"""Patches and tests that choose each other: `forge-train select --tests`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.cli import main
from forge_train.selection.candidates import Candidate
from forge_train.selection.confidence import Windows
from forge_train.selection.self_play import Memory, score_patches, scored, world_of
from forge_train.selection.table import choose

RESULTS: dict[tuple[str, str], Mapping[str, bool]] = {
    ("", "shows"): {"bug": False, "rest": True},
    ("", "nothing"): {"rest": True},
    ("", "broken"): {},
    ("fix", "shows"): {"bug": True, "rest": True},
    ("breaks", "shows"): {"bug": True, "rest": False},
    ("noop", "shows"): {"bug": False, "rest": True},
}


class Bench:
    """A world whose patches and tests are words."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, tuple[str, ...]]] = []
        self.fails = False

    def patch_said(self, task_id: str, said: Sequence[str]) -> bytes | None:
        return said[-1].encode() if said and said[-1] != "?" else None

    def outcomes(
        self, task_id: str, patch: bytes | None, tests: Sequence[bytes]
    ) -> Sequence[Mapping[str, bool]]:
        if self.fails:
            raise Gone("the daemon is away")
        name, files = (patch or b"").decode(), tuple(test.decode() for test in tests)
        self.ran.append((name, files))
        return [RESULTS[name, file] for file in files]


class Gone(Exception):
    """A machine's failure, as the worlds tell it."""

    retryable = True


def plays(*answers: str, task: str = "t") -> list[Candidate]:
    return [
        Candidate(task, i, ({"role": "user", "content": "?"}, {"role": "assistant", "content": a}), opening=1)
        for i, a in enumerate(answers)
    ]


def test_equal_patches_and_files_run_once_and_what_shows_nothing_is_not_run_again() -> None:
    bench = Bench()
    fixes = plays("noop", "?", "breaks", "fix", "fix")
    scores, ran = score_patches(fixes, plays("nothing", "shows", "?", "shows", "broken"), bench, bench)
    assert scores == [1.0, -1.0, 1.0, 2.0, 2.0]
    assert bench.ran[0] == ("", ("nothing", "shows", "broken"))
    assert sorted(bench.ran[1:]) == [(name, ("shows",)) for name in ("breaks", "fix", "noop")]
    assert ran.counts()[1] == [1, 1], "a file counts as often as it was written"


@given(st.permutations(["noop", "breaks", "fix", "?"]), st.permutations(["shows", "nothing", "broken"]))
def test_the_order_of_plays_changes_no_score(fixes: list[str], tests: list[str]) -> None:
    scores, _ = score_patches(plays(*fixes), plays(*tests), Bench(), Bench())
    assert dict(zip(fixes, scores, strict=True)) == {"noop": 1.0, "breaks": 1.0, "fix": 2.0, "?": -1.0}


def test_nothing_is_run_again_and_a_failed_box_is_no_verdict(tmp_path: Path) -> None:
    bench, path = Bench(), tmp_path / "tested.jsonl"
    groups, written = [plays("noop", "fix"), plays("fix", task="u")], [plays("shows")]
    found, lost = scored(groups, written, bench, bench, path)
    assert [c.tested for c in found[0]] == [(1.0,), (2.0,)] and len(found) == 1
    assert lost == {"u": "nobody wrote tests for it"}
    assert choose(found[0], "tests", windows=Windows()).repetition == 1
    before = list(bench.ran)
    bench.fails = True
    assert scored(groups, written, bench, bench, path, at_once=2)[0] == found and bench.ran == before
    assert len(Memory(path)._known) == 3
    with pytest.raises(ValueError, match="a box failed: the daemon is away"):
        scored([plays("breaks")], written, bench, bench, path)
    bench.outcomes = None  # type: ignore[assignment,method-assign]
    with pytest.raises(TypeError):
        scored([plays("breaks")], written, bench, bench, path)


def test_plays_of_another_world_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plays.jsonl"
    path.write_text(json.dumps({"world": "tests.train.worlds:Test/Echo-v0", "args": {}}) + "\n")
    with pytest.raises(ValueError, match="does not try patches"):
        world_of(path)
    path.write_text("{}\n")
    with pytest.raises(ValueError, match="does not name its world"):
        world_of(tmp_path)


def test_collected_roles_choose_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = ["--world", "forge_envs:Forge/Agentless-v0", "--arg", "sandbox=process", "--tasks", "1"]
    for role in ("fixer", "tester"):
        typed = ["collect", "gold", *world, "--arg", f"role={role}", "--out", str(tmp_path / role)]
        assert main(typed) == 0
    fixes, tests = str(tmp_path / "fixer"), str(tmp_path / "tester")
    path = tmp_path / "fixer" / "plays.jsonl"
    right = json.loads(path.read_text())
    wrong = {**right, "repetition": 1, "outcome": 0.0, "messages": [dict(m) for m in right["messages"]]}
    said = [m for m in wrong["messages"] if m["role"] == "assistant"][-1]
    said["content"] = "Nothing is to be done."
    path.write_text(json.dumps(wrong) + "\n" + json.dumps(right) + "\n")
    capsys.readouterr()
    best = tmp_path / "best.jsonl"
    assert main(["select", fixes, "--tests", tests, "--by", "tests", "--out", str(best)]) == 0
    assert json.loads(best.read_text())["outcome"] == 1.0
    assert (tmp_path / "fixer" / "tested.jsonl").exists()
    assert main(["select", fixes, "--by", "tests"]) == 2
    assert "--tests" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["select", fixes, "--tests", tests, "--in-flight", "0"])
