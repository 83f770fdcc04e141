"""Nothing outlives who owns it: a killed trainer, and what dead ones left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.reaper import EXPIRES, OWNER, sweep


def names(engine: Engine) -> set[str]:
    """Every container of the daemon that is a box."""
    return {found["Id"] for found in engine.api.containers(all=True, filters={"label": OWNER})}


def _wait(until: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(0.1)
    return until()


TRAINER = """
import sys, threading, time
from forge_envs.sandbox import provider
docker, boxes = provider("docker"), []
def play():
    box = docker.open(sys.argv[1])
    boxes.append(box)
    while True:
        box.run("echo x; sleep 0.2")
for _ in range(3):
    threading.Thread(target=play, daemon=True).start()
while len(boxes) < 3:
    time.sleep(0.1)
if len(sys.argv) > 2:
    import os
    if os.fork() == 0:
        time.sleep(600)
print("playing", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("forked", [False, True], ids=["alone", "with a forked child"])
def test_a_killed_trainer_leaves_nothing(engine: Engine, swe_image: str, forked: bool) -> None:
    argv = [sys.executable, "-c", TRAINER, swe_image, *(["fork"] if forked else [])]
    trainer = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert trainer.stdout is not None and trainer.stdout.readline() == "playing\n"

    def left() -> int:
        found = engine.api.containers(all=True, filters={"label": OWNER})
        return sum(f"/{trainer.pid}/" in box["Labels"][OWNER] for box in found)

    assert left() >= 3
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    try:
        assert _wait(lambda: left() == 0)
        time.sleep(2.0)
        assert left() == 0
    finally:
        if forked:
            os.killpg(trainer.pid, signal.SIGKILL)


def test_who_starts_next_removes_what_dead_owners_left(engine: Engine, swe_image: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", "from forge_envs.sandbox.owner import Owner; print(Owner.me())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    dead, now = child.stdout.strip(), int(time.time())
    cases = {
        "dead": ({OWNER: dead, EXPIRES: str(now + 600)}, False),
        "late": ({OWNER: "elsewhere/1/2", EXPIRES: str(now - 1)}, False),
        "elsewhere": ({OWNER: "elsewhere/1/2", EXPIRES: str(now + 600)}, True),
        "not ours": ({OWNER: "a label by somebody else", EXPIRES: str(now + 600)}, True),
    }
    made = {
        name: engine.api.create_container(swe_image, ["sleep", "600"], labels=labels)["Id"]
        for name, (labels, _) in cases.items()
    }
    try:
        assert sweep(engine) >= 2
        assert {name: box in names(engine) for name, box in made.items()} == {
            name: stays for name, (_, stays) in cases.items()
        }
    finally:
        for box in made.values():
            engine.remove(box)
