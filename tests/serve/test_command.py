"""`forge-envs serve` as a process: what it refuses to do, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import urllib.request
from typing import Any

import pytest

pytest.importorskip("fastapi")

from forge_envs.adapters.loopback import is_loopback
from forge_envs.cli import main
from forge_envs.serve.limits import check_exposure
from tests.serve.house import RETAIL, ROOT, SLOW, closed, door, house
from tests.waiting import until


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "give --token"),
        (["--host", "::"], "give --token"),
        (["--token", "short"], "at least 8"),
        (["--token", "with a space"], "without spaces"),
        (["--max-sessions", "0"], "max_sessions=0"),
        (["--idle", "nan"], "idle=nan"),
        (["--port", "99999"], "cannot listen on"),
        (["--host", "no.such.host.invalid", "--token", "long-enough"], "cannot listen on"),
        (["--worlds", "Forge/Nowhere-v0"], "Forge/Nowhere-v0"),
        (["--worlds", "CartPole-v1"], "is no AgentEnv"),
        (["--worlds", RETAIL, "--arg", "level=9"], "level=9"),
        (["--worlds", RETAIL, "--arg", "colour=blue"], "colour"),
        (["--worlds", RETAIL, "--allow", "colour"], "colour"),
    ],
)
def test_bad_input_is_told(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORGE_TOKEN", raising=False)
    assert main(["serve", "--port", "0", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "")))
    check_exposure("0.0.0.0", "long-enough")


def test_at_a_signal_running_steps_end_and_the_process_too() -> None:
    script = (
        "import tests.serve.house, forge_envs.cli as cli, sys;"
        f"sys.exit(cli.main(['serve', '--port', '0', '--worlds', '{SLOW}']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]

        def ask(path: str, body: Any) -> Any:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.loads(answer.read())

        session = ask("/sessions", {"world": SLOW})["session"]
        heard: list[Any] = []
        step = threading.Thread(
            target=lambda: heard.append(ask(f"/sessions/{session}/step", {"action": "sleep 1"}))
        )
        step.start()
        until(lambda: ask("/sessions", {"world": SLOW}) and step.is_alive())
        process.send_signal(signal.SIGTERM)
        step.join(300)
        assert heard[0]["messages"][0]["content"] == "heard sleep 1"
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0 and "Traceback" not in err, err
    finally:
        process.kill()
        process.wait()


def test_sessions_are_closed_at_shutdown() -> None:
    with house() as server:
        server.begin(task="open at the end")
        session = server.begin(task="at work at the end")
        answers: list[Any] = []
        step = threading.Thread(target=lambda: answers.append(server.step(session, "wait shutdown")))
        step.start()
        assert door("here shutdown").wait(20)
        server.stop()
        threading.Timer(0.3, door("shutdown").set).start()
        step.join(300)
        assert answers[0][0] == 200
    assert {"open at the end", "at work at the end"} <= set(closed)
