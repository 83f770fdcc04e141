"""`forge-train serve`: whose server answers, what it is called, what is told of it, what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from forge_train.cli import main
from forge_train.config import dump
from forge_train.engines.process_groups import is_free, listens
from forge_train.engines.server_processes import ServerProcesses, ServersFailed
from forge_train.evaluation import serving
from forge_train.play.renderer import renderer_for
from forge_train.play.served_template import served_template, shows_tools
from tests.train.test_run import small
from tests.train.tokens import tokenizer
from tests.vllm.double import Double
from tests.vllm.test_engine import scene
from tests.vllm.test_supervisor import ROOT, notes, servers

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


def test_a_port_that_is_taken_is_refused_before_anything_starts(
    tmp_path: Path, python: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["serve", "a/model", "--port", str(port), "--python", str(python)]
        assert main([*command, "--logs", str(tmp_path / "logs")]) == 2
    assert f"port {port} of 127.0.0.1 is taken" in (told := capsys.readouterr()).err and "--port" in told.err
    assert "serving" not in told.out and not notes(tmp_path)


def test_the_second_port_counts_too(tmp_path: Path, python: Path) -> None:
    async def play() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            house = servers(tmp_path, python, count=2, port=port - 1, gpus=["0", "1"])
            with pytest.raises(ValueError, match=f"port {port} of"):
                await house.start()
        assert not notes(tmp_path)

    scene(play)


@linux
def test_somebody_elses_server_is_not_taken_for_ours(tmp_path: Path) -> None:
    """It took the port after we looked, and answers while our own process is still starting."""
    idle = tmp_path / "python"
    idle.write_text("#!/bin/sh\nexec sleep 1000\n")
    idle.chmod(0o755)

    async def play() -> None:
        double = Double()
        with socket.create_server(("127.0.0.1", 0)) as free:
            double.port = free.getsockname()[1]
        house = servers(tmp_path, idle, port=double.port)
        starting = asyncio.create_task(house.start())
        while not house.processes:
            await asyncio.sleep(0.01)
        await double.start()
        with pytest.raises(ServersFailed, match="somebody else's server"):
            await starting
        await double.stop()

    scene(play)


@linux
def test_who_listens_is_known_by_group() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        port = mine.getsockname()[1]
        assert listens(os.getpgid(0), port) is True and listens(1 << 30, port) is False
        assert not is_free("127.0.0.1", port)
    assert listens(os.getpgid(0), port) is None and is_free("127.0.0.1", port)


@linux
def test_servers_leave_no_shared_memory(tmp_path: Path, python: Path) -> None:
    async def play() -> None:
        house = servers(tmp_path, python, flags=["--shared"])
        await house.start()
        [note] = notes(tmp_path)
        segment = Path("/dev/shm", note["segment"])
        assert segment.exists()
        await house.stop()
        assert not segment.exists()

    scene(play)


def test_what_is_served_has_a_name_tools_and_a_line_that_judges_it(tmp_path: Path, python: Path) -> None:
    command = [sys.executable, "-m", "forge_train.cli", "serve", "a/model", "--port", "0", "--tools"]
    command += ["--python", str(python), "--logs", str(tmp_path / "logs")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in range(7)]
    [note] = notes(tmp_path)
    assert lines[0].startswith("serving model;") and lines[5] == "to judge it:"
    url = lines[4].split('"')[1]
    assert lines[6].startswith(f"forge-train eval --engine openai:model@{url}/v1 --world ")
    text = " ".join(note["argv"])
    assert "--served-model-name model" in text
    assert "--enable-auto-tool-choice --tool-call-parser hermes" in text
    process.terminate()
    assert process.wait(60) == 0


def test_a_run_is_judged_in_its_own_world_with_its_own_limits(tmp_path: Path) -> None:
    config = small(tmp_path, "worlds.0.eval_args={max_turns=12, user='a b'}")
    (tmp_path / "config.toml").write_text(dump(config))
    told = serving.told(["http://one:8000", "http://two:8000"], str(tmp_path), "demo", tools=True)
    words = shlex.split(told.splitlines()[-1])
    assert words[:4] == ["forge-train", "eval", "--engine", "openai:demo@http://one:8000/v1"]
    assert words[words.index("--world") + 1] == config.worlds[0].id
    assert "max_turns=12" in words and 'user="a b"' in words and 'size="tiny"' in words
    assert words[-2:] == ["--max-action", "12"]
    assert "--tools" in serving.told(["http://one:8000"], str(tmp_path), "demo", tools=False)


def test_while_servers_start_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\necho Loading shard 3\nsleep 1\necho No memory left\nexit 1\n")
    slow.chmod(0o755)
    monkeypatch.setattr(serving, "_WORD_S", 0.2)
    house = ServerProcesses("a/model", python=slow, logs=tmp_path / "logs")
    with pytest.raises(ServersFailed, match=r"(?s)ended; the end of .*Loading shard 3\nNo memory left"):
        asyncio.run(serving.keep_serving(house, "a/model", "model", tools=True))
    told = capsys.readouterr()
    assert "Loading shard 3" in told.err and "serving" not in told.out


def test_a_server_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\necho Loading shard 3\nexec sleep 1000\n")
    slow.chmod(0o755)

    async def play() -> None:
        house = ServerProcesses("a/model", python=slow, logs=tmp_path / "logs", start_s=1.0)
        with pytest.raises(ServersFailed, match=r"(?s)did not start in 1 s.*Loading shard 3"):
            await house.start()

    scene(play)


def test_a_served_template_shows_what_the_renderer_shows() -> None:
    """For a tokenizer that has no template: whoever chats with the model sees its tools as training did."""
    words = tokenizer()
    assert not shows_tools(words)
    words.chat_template = served_template(words, renderer_for(words))  # it compares them itself
    assert shows_tools(words)
