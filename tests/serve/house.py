"""A real server on this machine, in this process or in one of its own, with worlds made for tests."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from forge_envs import AgentEnv, Episode, MachineError, Observation, Score, Task, opening, register
from forge_envs.serve.app import make_app
from forge_envs.serve.limits import ServeLimits
from forge_envs.serve.offer import Offer
from forge_envs.serve.server import listen, make_server
from tests.waiting import until

RETAIL = "Forge/Retail-v0"
TASK = "retail/small/train/2/1"
SLOW = "Forge/TestSlow-v0"
ROOT = Path(__file__).parents[2]

doors: dict[str, threading.Event] = {}
"""What "wait NAME" waits for; "here NAME" is set once it does."""
closed: list[str] = []
"""Tasks of the slow worlds that were closed."""


class SlowEnv(AgentEnv[Task, Episode[Task]]):
    """A world that does as it is told: waits, fails, breaks. It ends when it hears "end"."""

    metadata = {"render_modes": ["ansi"], "render_fps": 1, "quick": False}  # noqa: RUF012

    def begin(self, task: Task) -> tuple[Episode[Task], Observation]:
        if task.id == "fails":
            raise MachineError("no box", kind="sandbox", stage="reset", retryable=True)
        if task.id == "hangs":
            door("begin").wait(30)
        return Episode(task), opening("Do as you like.", ())

    def hear(self, text: str) -> Observation | None:
        word, _, name = text.partition(" ")
        if word == "wait":
            door(f"here {name}").set()
            door(name).wait(30)
        elif word == "nan":
            return ({"role": "user", "content": float("nan")},)  # type: ignore[typeddict-item]
        elif word == "fail":
            raise MachineError("the box is gone", kind="sandbox", stage="step", retryable=True)
        elif word == "bug":
            raise KeyError("a bug")
        elif word == "sleep":
            time.sleep(float(name))
        elif word == "exit":
            sys.exit(3)
        return None if word == "end" else ({"role": "user", "content": f"heard {text}"},)

    def progress(self) -> float:
        return 0.0

    def grade(self) -> Score:
        return Score(1.0 if self.playing.transcript[-1]["content"].startswith("end") else 0.0)

    def gold(self, task: Task) -> list[str]:
        return ["end"]

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        if split not in (None, *self.splits):
            raise ValueError(f"split={split!r}")
        return [f"{split or 'train'}/{i}" for i in range(5 if n is None else n)]

    def find(self, task_id: str) -> Task:
        return Task(task_id)

    def draw(self, rng: np.random.Generator) -> Task:
        return Task(f"train/{rng.integers(5)}")

    def close(self) -> None:
        if self.state is not None:
            closed.append(self.state.task.id)
        super().close()


def door(name: str) -> threading.Event:
    return doors.setdefault(name, threading.Event())


if SLOW not in gym.registry:
    register(SLOW, SlowEnv, nondeterministic=True, listed=False)  # type: ignore[arg-type]


class House:
    """A server in this process."""

    def __init__(self, url: str, app: Any, server: Any) -> None:
        self.url, self.app, self._server = url, app, server
        self.sessions = app.state.sessions

    def stop(self) -> None:
        self._server.should_exit = True

    def break_connections(self) -> None:
        """As a network does: nobody is told anything."""
        for connection in list(self._server.server_state.connections):
            connection.loop.call_soon_threadsafe(connection.transport.abort)

    def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and JSON of an answer; a `body` of bytes is sent as it is."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, _read(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _read(error.read())

    def begin(self, world: str = SLOW, **more: Any) -> str:
        status, told = self.ask("POST", "/sessions", {"world": world, **more})
        assert status == 200, told
        return str(told["session"])

    def step(self, session: str, action: str, turn: int | None = None) -> tuple[int, Any]:
        said = {"action": action} if turn is None else {"action": action, "turn": turn}
        return self.ask("POST", f"/sessions/{session}/step", said)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()


@contextlib.contextmanager
def house(
    worlds: Sequence[str] = (SLOW, RETAIL), *, token: str | None = None, given: Any = None, **limits: Any
) -> Iterator[House]:
    """A server that is gone afterwards, with all its sessions."""
    granted = ServeLimits(**{"grace": 5.0, **limits})
    app = make_app(Offer(worlds, limits=granted, given=given), granted, token)
    server = make_server(app, granted)
    bound = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield House(f"http://127.0.0.1:{bound.getsockname()[1]}", app, server)
    finally:
        for name in list(doors):
            doors.pop(name).set()
        server.should_exit = True
        thread.join(30)
        bound.close()
        assert not thread.is_alive() and app.state.sessions.held == 0
