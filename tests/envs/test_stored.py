"""Stored episodes: files of every command are read, bad ones named, and the report is printed from them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.cli import main
from forge_envs.grammars import HERMES
from forge_envs.people.fidelity import FAULTS, fidelity
from forge_envs.people.stored import read_stored


def line(task: str = "retail/tiny/train/2/0", **more: Any) -> dict[str, Any]:
    """A play as `forge-train collect` writes it."""
    first, _ = gym.make("Forge/Retail-v0", size="tiny").reset(options={"task": task})
    said = [*first, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Hi."}]
    return {"world": "Forge/Retail-v0", "args": {"size": "tiny"}, "task": task, "ending": "max_turns",
            "error": None, "messages": said, **more}  # fmt: skip


def write(path: Path, *lines: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_files_of_every_command_are_read(tmp_path: Path) -> None:
    play = line()
    info = {name: play[name] for name in ("task", "world", "messages")}
    trajectory = {"group": "g", "ending": "terminated", "info": info}
    plays = write(tmp_path / "collect" / "plays.jsonl", play, line(error={"kind": "engine"}))
    write(tmp_path / "collect" / "episodes.jsonl", info)
    rollouts = write(tmp_path / "eval" / "rollouts" / "step-000000.jsonl.gz", trajectory)
    (tmp_path / "eval" / "config.toml").write_text(
        '[[worlds]]\nid = "forge_envs:Forge/Retail-v0"\n[worlds.args]\nuser = "openai:m@http://h/v1"\n'
    )
    assert [one.failed for one in read_stored(plays)] == [False, True]
    assert list(read_stored(tmp_path / "collect")) == list(read_stored(plays))
    (one,) = read_stored(tmp_path / "eval")
    assert [one] == list(read_stored(rollouts))
    assert (one.world, one.args) == ("forge_envs:Forge/Retail-v0", {"user": "openai:m@http://h/v1"})
    write(rollouts, trajectory, {**trajectory, "info": info | {"world": "shop"}})
    (tmp_path / "eval" / "config.toml").write_text(
        '[[worlds]]\nid = "forge_envs:Forge/Retail-v0"\nname = "shop"\n[worlds.args]\nsize = "tiny"\n'
        '[[worlds]]\nid = "forge_envs:Forge/Retail-v0"\n'
    )
    plain, named = read_stored(rollouts)
    assert (plain.args, named.args, named.world) == ({}, {"size": "tiny"}, "forge_envs:Forge/Retail-v0")
    (bare,) = read_stored(tmp_path / "collect" / "episodes.jsonl")
    assert (bare.ending, bare.args, bare.messages) == ("", {}, play["messages"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], r"holds no episodes"),
        (["{"], r"line 1 is not JSON .*cut off"),
        ([line(), "[1]"], r"line 2 is no JSON object"),
        ([{"task": "a"}], r"line 1 is no episode: it needs"),
        ([line(messages=[{"role": "robot", "content": "a"}])], r"line 1 is no episode"),
        ([line(messages=[{"role": "user"}])], r"line 1 is no episode"),
        ([line() | {"task": 3}], r"line 1 is no episode"),
        ([line(args=[1])], r'line 1: "args" are'),
        ([line() | {"task": "retail/tiny/train/9/9"}], r"retail/tiny/train/9/9"),
        ([line(world="")], r"does not say which world.*--world"),
        ([line(world="Forge/Nowhere-v0")], r"'Forge/Nowhere-v0'.*cannot be made"),
        ([line(args={"size": "huge"})], r"size='huge'"),
        ([line(world="Forge/NextTurn-v0", args={})], r"cannot be made|no notes"),
    ],
)
def test_a_bad_file_is_named_with_its_line(
    tmp_path: Path, content: list[Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "episodes.jsonl", *content)
    with pytest.raises(ValueError, match=told):
        fidelity(read_stored(path))
    assert main(["fidelity", str(path)]) == 2
    assert "forge-envs: " in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"\xff\xfe", gzip.compress(b"{}" * 99, mtime=0)[:20]])
def test_what_is_no_text_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "episodes.jsonl").write_bytes(data)
    with pytest.raises(ValueError, match=r"episodes.jsonl cannot be read"):
        list(read_stored(tmp_path / "episodes.jsonl"))
    with pytest.raises(ValueError, match="cannot be read"):
        list(read_stored(tmp_path / "none.jsonl"))
    with pytest.raises(ValueError, match=r"neither plays.jsonl nor rollouts"):
        list(read_stored(tmp_path))


def test_messages_of_every_legal_form_are_read_as_text(tmp_path: Path) -> None:
    call = {
        "id": "a",
        "type": "function",
        "function": {"name": "think", "arguments": '{"thought": "</tool_call>"}'},
    }
    said: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "Hi\u2028there\x85!"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": ""},
        {"role": "assistant", "content": None, "refusal": "I cannot."},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(line(messages=said), ensure_ascii=False) + "\n", encoding="utf-8")
    (one,) = read_stored(path)
    user, agent, _, last = (message["content"] for message in one.messages)
    assert user == "Hi\u2028there\x85!" and last == "I cannot."
    assert HERMES.parse(agent).calls[0].arguments == {"thought": "</tool_call>"}


def test_a_broken_config_beside_rollouts_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "rollouts" / "step-000000.jsonl", line())
    (tmp_path / "config.toml").write_text("worlds = 3")
    with pytest.raises(ValueError, match=r"config.toml is no config"):
        list(read_stored(path))


def test_the_command_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path / "a.jsonl", line(ending="terminated"), line(args={"size": "tiny", "user": "scripted"})
    )
    assert main(["fidelity", str(path), "--user", "Ann", "--world", "forge_envs:Forge/Retail-v0"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Ann: 2 episodes of 1 tasks, 0 failed") and "premature_stop" in told
    assert main(["fidelity", str(path), str(path), "--json", "--arg", "size=small", "--examples", "0"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["user"] == "scripted" and found["episodes"] == 4 and list(found["rates"]) == list(FAULTS)
    assert main(["fidelity", str(path), "--examples", "-1"]) == 2
