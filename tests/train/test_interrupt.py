"""Ctrl-C: supervised training stops within a batch and goes on exactly; twice stops whatever hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from forge_train import cli, interrupt
from forge_train.config import load
from forge_train.record.run_folder import read_lines
from forge_train.run import train
from tests.train.children import Child

pytestmark = pytest.mark.usefixtures("interruptible")
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

LONG = [
    "run.steps=0",
    "run.threads=1",
    "run.checkpoint_every=0",
    "model.tiny.hidden=32",
    "model.tiny.layers=1",
    "model.tiny.vocab=300",
    "worlds.0.id=tests.train.worlds:Test/Echo-v0",
    "worlds.0.args={}",
    "sft.episodes=60",
    "sft.batch=1",
    "eval.tasks=1",
    "eval.repeats=1",
    "eval.k=[1]",
]


def losses(folder: Path) -> dict[int, float]:
    return {e["batch"]: e["loss"] for e in read_lines(folder / "events.jsonl") if e["event"] == "sft"}


def interrupted(folder: Path, *more: str) -> tuple[int, str]:
    """A demo that gets Ctrl-C once supervised training has begun: its exit status, and what it said."""
    arguments = ["train", str(cli.GRPO), *LONG, f"run.out={folder}", *more]
    child = Child(cli.main, arguments, out=folder.parent / "said")
    child.until(lambda: (folder / "events.jsonl").exists() and len(losses(folder)) >= 3)
    child.interrupt()
    return child.wait(900), child.said()


def test_supervised_training_stops_within_a_batch_and_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    epochs = "sft.epochs=40"  # so many that it cannot end before it hears
    code, said = interrupted(tmp_path / "run", epochs)
    assert code == 130, said
    assert interrupt.HEARD in said and cli.GOES_ON in said and "Traceback" not in said
    batches = len(losses(tmp_path / "run"))
    assert batches < 60 * 40
    assert [path.name for path in (tmp_path / "run" / "sft").iterdir()] == [f"step-{batches:06d}"]

    more = [*LONG, epochs, f"sft.steps={batches + 4}"]
    for name in ("run", "whole"):
        folder = tmp_path / name
        if name == "run":  # the same run, shortened: what it computes up to there is the same
            text = (folder / "config.toml").read_text()
            (folder / "config.toml").write_text(text.replace("[sft]\n", f"[sft]\nsteps = {batches + 4}\n"))
        train(load(cli.GRPO, [*more, f"run.out={folder}"]))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_the_first_ctrl_c_cancels_and_lets_go_of_what_is_held() -> None:
    told: list[str] = []

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await interrupt.breathe()
            await asyncio.sleep(60)
        finally:
            told.append("let go")

    with pytest.raises(KeyboardInterrupt):
        interrupt.run(work())
    assert told == ["let go"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_where_nothing_is_lost_it_stops_at_once() -> None:
    async def work() -> None:
        with interrupt.at_once():
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                time.sleep(0.01)
        raise AssertionError("it went on")

    with pytest.raises(KeyboardInterrupt):
        interrupt.run(work())


def test_work_that_is_not_interrupted_returns_and_a_cancellation_stays_one() -> None:
    async def answer() -> int:
        return 42

    async def cancelled() -> Any:
        raise asyncio.CancelledError

    assert interrupt.run(answer()) == 42
    with pytest.raises(asyncio.CancelledError):
        interrupt.run(cancelled())


HANGS = """
import asyncio, time
from forge_train import interrupt

async def work():
    print("ready", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("tidying", flush=True)
        time.sleep(60)

interrupt.run(work())
"""


def test_the_second_ctrl_c_ends_what_hangs() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HANGS], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for line in ("ready", "tidying"):
        assert child.stdout.readline().strip() == line
        child.send_signal(signal.SIGINT)
    assert child.wait(timeout=300) == 130
