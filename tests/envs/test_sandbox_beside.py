"""Work beside other work: when it begins, who closes its boxes, and that it ends with nobody waiting."""

from __future__ import annotations

import threading

import pytest

from forge_envs.sandbox import SandboxError
from forge_envs.sandbox.beside import AT_ONCE, Beside

WAIT = 20.0


def test_in_jails_it_begins_at_once_and_elsewhere_when_it_is_asked_for():
    begun = threading.Event()
    beside = Beside("docker", lambda run: begun.set())
    assert begun.wait(WAIT)
    beside.result()
    calls: list[int] = []
    after = Beside("process", lambda run: calls.append(1))
    assert not calls, "its box could be looked into"
    after.result()
    assert calls == [1]


def test_where_there_is_no_room_it_waits_to_be_asked():
    go, begun = threading.Event(), []
    held = [Beside("docker", lambda run: go.wait(WAIT)) for _ in range(AT_ONCE)]
    late = Beside("docker", lambda run: begun.append(1))
    try:
        assert not begun
        late.result()
        assert begun == [1]
    finally:
        go.set()
    assert all(one.result() for one in held)


def test_who_is_dropped_has_boxes_closed_and_opens_no_more():
    opened, closed, ended = threading.Event(), threading.Event(), threading.Event()
    heard: list[str] = []

    def act(run: Beside[None]) -> None:
        run.keep(closed.set)
        opened.set()
        assert closed.wait(WAIT)
        try:
            run.keep(lambda: heard.append("closed"))
        except SandboxError as error:
            heard.append(error.kind)
        ended.set()

    run = Beside("docker", act)
    assert opened.wait(WAIT) and not run.dropped
    run.drop()
    assert ended.wait(WAIT) and run.dropped and heard == ["closed", "gone"]


def test_what_it_raises_is_raised_where_it_is_asked_for():
    def act(run: Beside[None]) -> None:
        raise SandboxError("no", kind="gone", retryable=False)

    for sandbox in ("docker", "process"):
        with pytest.raises(SandboxError):
            Beside(sandbox, act).result()
