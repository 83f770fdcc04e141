"""With 5% of each fault a run finishes, counts every rollout once, trains what survives, and resumes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from forge_train.config import Config, dump, load
from forge_train.engines.unreliable import UnreliableEngine
from forge_train.log import read_lines
from forge_train.trajectory import Ending
from tests.train import faulty
from tests.train.rehearsal import rehearse

ROOT = Path(__file__).resolve().parents[2]
RARE = 0.05
STEPS, GROUPS, SIZE = 4, 5, 5

SMALL = [
    "run.threads=1",
    f"run.steps={STEPS}",
    "run.max_bugs=1000",
    f"run.keep_groups={GROUPS}",
    "model.tiny.hidden=32",
    "model.tiny.layers=1",
    "model.tiny.vocab=300",
    "sft.episodes=160",
    "sft.epochs=1",
    "sft.batch=8",
    "sft.lr=1e-2",
    f"rollout.groups={GROUPS}",
    f"rollout.group_size={SIZE}",
    "rollout.max_context=512",
    "rollout.max_action=8",
    "eval.tasks=2",
    "eval.repeats=2",
    "eval.k=[1]",
]


def config(folder: Path, world: str, *more: str, **chances: float) -> Config:
    args = ", ".join(f"{fault} = {chance}" for fault, chance in chances.items())
    worlds = [f'worlds.0.id="tests.train.faulty:Test/{world}-v0"', f"worlds.0.args={{{args}}}"]
    return load(None, [*SMALL, *worlds, "worlds.0.tasks=40", f'run.out="{folder}"', *more])


def stored(folder: Path) -> list[list[dict[str, Any]]]:
    """Every group that was trained, as the report shows it."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / "rollouts").iterdir()):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            groups.setdefault(json.loads(line)["group"], []).append(json.loads(line))
    return list(groups.values())


@pytest.mark.parametrize("max_lag", [0, 1])
def test_a_run_survives_five_percent_of_every_fault(max_lag: int, tmp_path: Path) -> None:
    chances = dict.fromkeys(("raises", "machine", "hangs", "leaks"), RARE)
    limits = [f"rollout.max_lag={max_lag}", "rollout.deadline_s=6.0"]
    try:
        run = rehearse(config(tmp_path, "Faulty", *limits, **chances), fails=RARE, hangs=RARE, late=RARE)
    finally:
        faulty.GATE.set()  # let go of the threads that hang
    engine, (world,) = run.engine, run.worlds.values()
    assert isinstance(engine, UnreliableEngine) and set(engine.faults) == {"fails", "hangs", "late"}

    metrics, events = (read_lines(tmp_path / f"{name}.jsonl") for name in ("metrics", "events"))
    assert [line["step"] for line in metrics] == list(range(STEPS))
    taken = [i for e in events if e["event"] == "consume" for i in e["groups"]]
    assert sorted(taken) == list(range(STEPS * GROUPS)), "each group is trained once, and none is lost"
    played = {e["group"]: Counter(e["endings"]) for e in events if e["event"] == "finish"}
    counted = sum((Counter(line["endings"]) for line in metrics), Counter[str]())
    assert counted == sum((played[i] for i in taken), Counter[str]())
    assert counted.total() == STEPS * GROUPS * SIZE and set(counted) <= set(get_args(Ending))
    assert {"terminated", "failed", "deadline"} <= set(counted)

    groups = stored(tmp_path)
    errors = Counter(t["info"]["error"]["kind"] for group in groups for t in group if "error" in t["info"])
    assert set(errors) == {"engine", "bug", "sandbox"} and errors.total() == counted["failed"]
    partial = 0
    for group in groups:
        survivors = [t for t in group if t["ending"] == "terminated"]
        trained = [t for t in group if t["advantages"]]
        assert trained == (survivors if len(survivors) >= 2 else [])
        partial += 2 <= len(survivors) < SIZE
    assert partial > 0
    assert sum(line["trained"] for line in metrics) == sum(bool(t["advantages"]) for g in groups for t in g)

    assert world.lost > 0
    waited = time.monotonic() + 60
    while any(not file.closed for file in faulty.LEAKED) and time.monotonic() < waited:
        time.sleep(0.01)
    assert faulty.LEAKED and all(file.closed for file in faulty.LEAKED), "an environment was never closed"
    faulty.LEAKED.clear()
    faulty.GATE.clear()


def numbers(folder: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in line.items() if k != "seconds"} for line in read_lines(folder / "metrics.jsonl")
    ]


def tear(path: Path) -> None:
    """Leave the first half of a file, as a write that was cut short may."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_killed_in_the_middle_of_its_writes_it_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    chances = dict.fromkeys(("raises", "machine", "leaks"), RARE)
    saving = "run.checkpoint_every=2"
    rehearse(config(whole, "FaultyQuick", saving, **chances), fails=RARE)
    file = tmp_path / "killed.toml"
    file.write_text(dump(config(killed, "FaultyQuick", saving, **chances)))
    command = [sys.executable, "-m", "tests.train.rehearsal", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(_lines(killed / "metrics.jsonl")) < STEPS - 1 and time.monotonic() < deadline:
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()

    assert len(_lines(killed / "metrics.jsonl")) < STEPS, "it ended before it could be killed"
    newest = max((killed / "checkpoints").glob("step-*"))
    assert newest.name == "step-000002"
    finished = list((killed / "finished").glob("*.gz"))
    assert len(finished) >= GROUPS, "what was played since the checkpoint is kept"
    for torn in [next(newest.glob("*.safetensors")), *finished]:
        tear(torn)
    for name in ("metrics", "events"):
        with (killed / f"{name}.jsonl").open("a") as lines:
            lines.write('{"event": "fini')
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert numbers(killed) == numbers(whole)
    endings = sum((Counter(line["endings"]) for line in numbers(killed)), Counter[str]())
    assert endings.total() == STEPS * GROUPS * SIZE and endings["failed"] > 0


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
