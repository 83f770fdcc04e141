"""Stored episodes are judged again by the world as it is now."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import pytest

from forge_train import cli
from forge_train.evaluation.collect import Speaker, collect
from forge_train.evaluation.rejudge import rejudge
from forge_train.play.world_pool import World
from forge_train.record.run_folder import read_lines
from tests.train.worlds import Echo


class Graded(Echo):
    """Echo whose grader can be changed, and whose words."""

    halved: ClassVar[bool] = False
    other_words: ClassVar[bool] = False

    def step(self, action: str) -> Any:
        messages, reward, terminated, truncated, info = super().step(action)
        if "outcome" in info and Graded.halved:
            info = {**info, "outcome": info["outcome"] / 2}
        if Graded.other_words:
            messages = tuple({**m, "content": f"{m['content']}!"} for m in messages)
        return messages, reward, terminated, truncated, info


ID = "Test/Graded-v0"
if ID not in gym.registry:
    gym.register(ID, entry_point=Graded)


@pytest.fixture(autouse=True)
def _as_it_was() -> None:
    Graded.halved = Graded.other_words = False


@pytest.fixture
def plays(tmp_path: Path) -> Path:
    """Three tasks, of which one is solved twice, one is failed and one is solved."""
    world = World(ID, {"turns": 2})
    said = {"train/0": ["0", "0"], "train/1": ["5", "1"], "train/2": ["2", "2"]}
    asyncio.run(collect(world, Speaker(said.__getitem__), sorted(said), tmp_path, repeats=2, keep=2, seed=3))
    world.close()
    return tmp_path


def test_what_nobody_changed_is_judged_as_it_was(plays: Path) -> None:
    found, file = asyncio.run(rejudge(plays))
    stored = read_lines(plays / "plays.jsonl")
    assert [(v.task, v.before) for v in found] == [(p["task"], p["outcome"]) for p in stored]
    assert all(v.exact and v.after == v.before for v in found)
    assert file == plays / "rejudged-001.jsonl"
    assert [row["outcome"] for row in read_lines(file)] == [p["outcome"] for p in stored]


def test_a_changed_grader_shows_and_nothing_is_overwritten(
    plays: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (plays / "plays.jsonl").read_bytes()
    asyncio.run(rejudge(plays))
    Graded.halved = True
    assert cli.main(["rejudge", str(plays / "plays.jsonl")]) == 0
    told = capsys.readouterr()
    assert "4 of 6 outcomes changed" in told.out and "rejudged-002.jsonl" in told.err
    assert (plays / "plays.jsonl").read_bytes() == before
    rows = read_lines(plays / "rejudged-002.jsonl")
    assert all(row["outcome"] == row["rejudged"]["before"] / 2 and row["rejudged"]["exact"] for row in rows)


def test_a_world_that_answers_otherwise_is_told_apart(
    plays: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Graded.other_words = Graded.halved = True
    assert cli.main(["rejudge", str(plays)]) == 0
    told = capsys.readouterr().out
    assert "0 of 0 outcomes changed" in told and "6 of 6 episodes could not be played as they were" in told
    assert "the answer to action 1" in " ".join(told.split())


def test_rollouts_of_a_run_know_their_world(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[[worlds]]\nid = "{ID}"\nname = "mine"\nargs = {{ turns = 1 }}\n')
    (tmp_path / "rollouts").mkdir()
    opening = [dict(m) for m in Graded(turns=1).reset(options={"task": "train/7"})[0]]
    env = Graded(turns=1)
    env.reset(options={"task": "train/7"})
    answer = [dict(m) for m in env.step("7")[0]]
    info = {"world": "mine", "task": "train/7", "seed": 1, "opening": len(opening)}
    info |= {"messages": [*opening, {"role": "assistant", "content": "7"}, *answer]}
    episode = {"group": "g", "segments": [], "ending": "terminated", "outcome": 0.25, "info": info}
    lines = [episode, episode | {"ending": "tokens", "outcome": None}]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (tmp_path / "rollouts" / "step-000000.jsonl.gz").write_bytes(gzip.compress(data))
    for path in (tmp_path, tmp_path / "rollouts" / "step-000000.jsonl.gz"):
        (verdict,), _ = asyncio.run(rejudge(path))
        assert verdict.exact, verdict.why
        assert (verdict.world, verdict.before, verdict.after) == ("mine", 0.25, 1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "none of its episodes was graded"), ('{"task": "a"}\n', "none of its episodes was graded")],
)
def test_what_holds_no_verdict_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "plays.jsonl").write_text(text)
    with pytest.raises(ValueError, match=said):
        asyncio.run(rejudge(tmp_path))
    with pytest.raises(ValueError, match="holds no stored episodes"):
        asyncio.run(rejudge(tmp_path / "nothing"))
