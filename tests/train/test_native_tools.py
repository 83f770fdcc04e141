"""Endpoints whose models never see their tools: said at the start, and refused unless asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forge_train import cli
from tests.endpoint import Endpoint, completion

ECHO = "tests.train.worlds:Test/Echo-v0"
SHOP = "forge_envs:Forge/Retail-v0"


def deaf(body: dict[str, Any]) -> Any:
    """Its template leaves tools out, as SmolLM2's does."""
    return completion("0", seen=605)


def none(body: dict[str, Any]) -> Any:
    """vLLM without --enable-auto-tool-choice."""
    told = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    return ("status", 400, told) if body.get("tools") else "0"


def silent(body: dict[str, Any]) -> Any:
    """It counts no tokens."""
    return {**completion("0"), "usage": None}


def play(answer: Any, *more: str) -> tuple[int, Endpoint]:
    with Endpoint(answer) as endpoint:
        command = ["eval", "--engine", endpoint.spec(), "--world", ECHO, "--tasks", "1", "--repeats", "1"]
        return cli.main([*command, *more]), endpoint


@pytest.mark.parametrize(
    ("answer", "why"),
    [(deaf, "605 prompt tokens with 1 tools, 605 without"), (none, "--tool-call-parser to be set")],
)
def test_a_model_that_does_not_see_its_tools_is_not_judged(
    answer: Any, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, endpoint = play(answer)
    told = capsys.readouterr().err
    assert code == 2 and why in told and "serve MODEL --tools" in told and "--blind" in told
    assert len(endpoint.asked) == 2, "nothing was played"


def test_it_may_be_judged_as_it_is_when_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = play(deaf, "--blind")
    assert code == 0 and "leaves tools out" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [silent, lambda body: "0"], ids=["silent", "well"])
def test_others_are_judged_without_a_word(answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, endpoint = play(answer)
    assert code == 0 and "tools" not in capsys.readouterr().err and len(endpoint.asked) > 2


def test_a_world_without_tools_needs_none() -> None:
    with Endpoint(deaf) as endpoint:
        command = [
            "eval",
            "--engine",
            endpoint.spec(),
            "--world",
            "forge_envs:Forge/Retail-v0",
            "--tasks",
            "1",
        ]
        small = ["--arg", "size=tiny", "--arg", "prompt=compact", "--arg", "max_turns=2"]
        assert cli.main([*command, *small, "--repeats", "1"]) == 0
        assert all("tools" not in asked for asked in endpoint.asked)


def test_nor_are_its_episodes_collected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Endpoint(deaf) as endpoint:
        command = [
            "collect",
            endpoint.spec(),
            "--world",
            ECHO,
            "--tasks",
            "1",
            "--out",
            str(tmp_path / "o"),
        ]
        assert cli.main(command) == 2 and "leaves tools out" in capsys.readouterr().err
        assert cli.main([*command, "--blind"]) == 0
