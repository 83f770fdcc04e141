"""One answer out of several plays: what the model reads, that the world judges it, that nobody asks twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import tests.train.worlds  # noqa: F401  (registers worlds)
from forge_train import cli
from forge_train.evaluation.collect import Speaker, collect
from forge_train.play.world_pool import World
from forge_train.selection.candidates import played_world
from tests.endpoint import Endpoint
from tests.train.test_selection import play, stored

ECHO = {"world": "tests.train.worlds:Test/Echo-v0", "args": {"turns": 1}}


def plays(*answers: str, task: str = "train/12", **fields: Any) -> list[dict[str, Any]]:
    return [
        play(task, i, float(answer == "12"), answer, **{**ECHO, **fields}) for i, answer in enumerate(answers)
    ]


def merges(body: dict[str, Any]) -> str:
    """Whoever reads "1" in one attempt and "2" in another says what neither did."""
    text = body["messages"][-1]["content"]
    said = [
        json.loads(line)["content"] for line in text.splitlines() if line.startswith('{"role": "assistant"')
    ]
    return "12" if {"1", "2"} <= set(said) else said[0]


def test_an_answer_that_nobody_gave_is_judged_by_the_world_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "plays", plays("1", "2"))
    with Endpoint(merges) as endpoint:
        command = ["select", str(folder), "--by", "majority", "--n", "1", "2", "--json"]
        command += ["--synthesis", f"openai:writer@{endpoint.url}", "--last", "1"]
        rows = []
        for _ in range(2):
            assert cli.main(command) == 0
            rows.append(json.loads(capsys.readouterr().out))
        assert len(endpoint.asked) == 2, "what was answered is kept"
    assert rows[0] == rows[1]
    found = {row["n"]: row["success"]["mean"] for row in rows[0] if row["selector"] == "synthesis"}
    assert found == {1: 0.0, 2: 1.0}
    assert all(row["success"]["mean"] == 0.0 for row in rows[0] if row["selector"] == "majority")
    read = endpoint.asked[1]["messages"][-1]["content"]
    assert read.startswith("Task\n") and read.count("\nAttempt ") == 2 and '"secret"' not in read


def test_a_machine_of_the_world_gives_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = {"args": {"turns": 1, "fault": "machine"}}
    folder = stored(tmp_path / "plays", plays("12", "12", **broken))
    with Endpoint(merges) as endpoint:
        code = cli.main(
            ["select", str(folder), "--by", "majority", "--synthesis", f"openai:writer@{endpoint.url}"]
        )
    assert code == 2 and "the answer to task train/12 was not judged" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["select", str(folder), "--synthesis", "openai:m@http://x", "--last", "0"])
    assert "--last: '0'" in capsys.readouterr().err


def test_a_world_of_the_house_is_opened_by_the_name_that_collections_have(tmp_path: Path) -> None:
    folder = stored(tmp_path / "plays", plays("12", world="Forge/Retail-v0", args={"size": "tiny"}))
    world = played_world(folder)
    assert world.tasks("train", 1) and world.name == "Forge/Retail-v0"
    world.close()


def test_a_world_of_another_package_is_opened_with_the_module_that_registers_it(tmp_path: Path) -> None:
    world = World(ECHO["world"], {"turns": 1})
    asyncio.run(collect(world, Speaker(lambda task: ["12"]), world.tasks("train", 2), tmp_path))
    opened = played_world(tmp_path)
    assert opened.id == world.id == ECHO["world"] and opened.name == world.name == "Test/Echo-v0"
    assert opened.args == world.args
    world.close()
    opened.close()
