"""Who is to blame when a box fails: the machine, which is never scored, or what ran in it, which loses."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  # registers the world
from forge_envs import sandbox
from forge_envs.grammars import HERMES
from forge_envs.messages import ToolCall
from forge_envs.sandbox import Limits, Result, Sandbox, SandboxError
from forge_envs.sandbox.base import DEFAULT
from forge_envs.sandbox.process import ProcessProvider
from forge_envs.worlds.swe import git
from forge_envs.worlds.swe.builtin import builtin_tasks, diff
from forge_envs.worlds.swe.env import SweEnv
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.site import Ground

TASK = next(task for task in builtin_tasks() if task.id == "forge__ledger-2")
GROUND = Ground("process")
BREAK = "touch BREAK"
"""Stands for `rm -rf /bin /usr/bin` in a box of root's."""


class Host(ProcessProvider):
    """A machine whose boxes fail as scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self.down: SandboxError | None = None
        """What every box and every opening raises."""
        self.hiccups = 0
        """How many commands fail before all is well again."""
        self.stopped: dict[bytes, Result] = {}
        """How applying a patch with these bytes in it ends."""

    def open(self, image: str, *, workdir: str | None = None, limits: Limits = DEFAULT) -> Sandbox:
        if self.down:
            raise self.down
        self.opened += 1
        return Box(super().open(image, workdir=workdir, limits=limits), self)


class Box(Sandbox):
    """A box that is broken for good by a file of the name BREAK."""

    def __init__(self, inner: Sandbox, host: Host) -> None:
        self._inner, self._host, self.workdir = inner, host, inner.workdir

    def _ask(self) -> None:
        if self._host.down:
            raise self._host.down
        if self._host.hiccups:
            self._host.hiccups -= 1
            raise SandboxError("the daemon did not answer", kind="timeout", retryable=True)
        if Path(self.workdir, "BREAK").exists():
            raise SandboxError("no process can be started in it", kind="no_exec", retryable=True)

    def run(
        self,
        command: str,
        *,
        timeout: float = 60.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        head: int = 5_000,
        tail: int = 5_000,
    ) -> Result:
        self._ask()
        if git.APPLY in command and env:
            patch = base64.b64decode(command.split("FORGE-END")[1].strip("'\n"))
            for words, result in self._host.stopped.items():
                if words in patch:
                    return result
        result = self._inner.run(command, timeout=timeout, cwd=cwd, env=env, head=head, tail=tail)
        if "FORGE_WATCH" in command:  # the daemon hears nothing more of what broke its box
            self._ask()
        return result

    def read(self, path: str, *, limit: int = 16_000_000) -> bytes:
        self._ask()
        return self._inner.read(path, limit=limit)

    def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        self._ask()
        self._inner.write(path, data, executable=executable)

    def close(self) -> None:
        self._inner.close()


NO_DAEMON = SandboxError("no Docker daemon answers", kind="no_daemon", retryable=False)
FULL = SandboxError("the Docker daemon's disk has 3 MB left", kind="disk_full", retryable=True)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host()
    monkeypatch.setitem(sandbox._made, (os.getpid(), "process"), found)
    return found


@pytest.fixture
def env(host: Host) -> Iterator[SweEnv]:
    made = gym.make("Forge/SWE-v0", sandbox="process", command_timeout=20.0).unwrapped
    assert isinstance(made, SweEnv)
    made.reset(options={"task": TASK.id})
    yield made
    made.close()


def say(env: SweEnv, name: str, **arguments: Any) -> tuple[str, bool, dict[str, Any]]:
    messages, _, terminated, truncated, info = env.step(HERMES.write(calls=[ToolCall(name, arguments)]))
    assert not truncated or "error" in info
    return messages[0]["content"] if messages else "", terminated, info


# -- the agent's box ------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", [("bash", {"command": "true"}), ("submit", {})])
@pytest.mark.parametrize("progress", [False, True])
def test_who_breaks_the_box_ends_the_episode_with_nothing(
    env: SweEnv, progress: bool, then: tuple[str, dict[str, str]]
) -> None:
    env.visible_progress = progress
    env.step(env.gold_actions(TASK.id)[0])
    _, terminated, info = say(env, "bash", command=BREAK)
    assert not terminated and "error" not in info
    text, terminated, info = say(env, then[0], **then[1])
    assert terminated and "error" not in info and info["outcome"] == 0.0
    assert "no commands any more" in text and info["parts"]["submitted"] == 0.0


def test_a_box_that_is_lost_before_the_agent_was_in_it_is_replaced(env: SweEnv, host: Host) -> None:
    env.playing.place.site.close()
    for action in env.gold_actions(TASK.id):
        *_, info = env.step(action)
    assert info["outcome"] == 1.0 and host.opened == 4  # the lost one, the other, the judge's two


@pytest.mark.parametrize("down", [NO_DAEMON, FULL])
@pytest.mark.parametrize("used", [False, True])
def test_a_machine_that_fails_is_not_scored(env: SweEnv, host: Host, down: SandboxError, used: bool) -> None:
    if used:
        say(env, "bash", command=BREAK)
    host.down = down
    messages, reward, terminated, truncated, info = env.step(HERMES.write(calls=[ToolCall("submit", {})]))
    assert (messages, reward, terminated, truncated) == ((), 0.0, False, True)
    assert info["error"]["kind"] == down.kind and "outcome" not in info


def test_a_hiccup_of_the_machine_is_not_scored(env: SweEnv, host: Host) -> None:
    say(env, "bash", command="true")
    host.hiccups = 1
    _, _, info = say(env, "bash", command="true")
    assert info["error"]["kind"] == "timeout" and "outcome" not in info


def test_boxes_outlive_what_can_happen_in_them(host: Host) -> None:
    arguments = {"sandbox": "process", "command_timeout": 60.0}
    for more, least in (({}, 200 * 60 + 600), ({"max_turns": 2, "eval_timeout": 5_000.0}, 5_000 + 600)):
        made = gym.make("Forge/SWE-v0", **arguments, **more).unwrapped
        assert isinstance(made, SweEnv) and made.ground.limits.lifetime > least
        made.close()


# -- the judge's ------------------------------------------------------------------------------------------


def idle(line: str = "x = 1") -> bytes:
    """A patch that puts a line at the end of the module."""
    assert TASK.files is not None
    path = "ledger/money.py"
    return diff(dict(TASK.files), {**TASK.files, path: f"{TASK.files[path]}{line}\n"}).encode()


def test_tests_that_break_their_box_lose(host: Host) -> None:
    found = judge(TASK, idle('open("BREAK", "w").close()'), GROUND)
    assert not found.resolved and found.applied and "broke their box" in found.reason


STOPPED = {
    "timeout": Result(124, "", timed_out=True),
    "killed": Result(137, ""),
    "disk": Result(1, "error: unable to write file ledger/money.py: No space left on device\n"),
}


@pytest.mark.parametrize("how", STOPPED)
def test_a_patch_that_nobody_could_apply_is_not_scored(host: Host, how: str) -> None:
    host.stopped = {b"diff --git": STOPPED[how]}
    with pytest.raises(SandboxError, match="no patch can be applied"):
        judge(TASK, idle(), GROUND)


@pytest.mark.parametrize("how", STOPPED)
def test_a_patch_that_is_too_much_for_its_box_loses(host: Host, how: str) -> None:
    host.stopped = {b"x = 1": STOPPED[how]}
    assert judge(TASK, idle(), GROUND).reason == "the patch does not apply"


def test_a_verdict_for_want_of_disk_is_none(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    patch = idle('raise OSError(28, "No space left on device")')
    assert judge(TASK, patch, GROUND).reason == "tests fail", "the machine is well, so it is the patch"

    def close(box: Box) -> None:
        box._inner.close()
        host.down = FULL  # once the tests are over

    monkeypatch.setattr(Box, "close", close)
    with pytest.raises(SandboxError, match="has 3 MB left"):
        judge(TASK, patch, GROUND)
