"""With 5% of each fault a run finishes, counts every rollout once, trains what survives, and resumes."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from forge_train.config import Config, dump, load
from forge_train.engines.identity import PROBE_TOKENS
from forge_train.engines.unreliable import UnreliableEngine
from forge_train.engines.vllm import VLLMEngine
from forge_train.record.run_folder import RunFolder, read_lines
from forge_train.run import Run
from forge_train.trajectory import Ending
from tests.train import faulty, rehearsal
from tests.train.children import Child
from tests.train.rehearsal import rehearse
from tests.train.served import Loaded

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


@pytest.mark.parametrize("max_lag", [pytest.param(0, marks=pytest.mark.matrix), 1])
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
    assert metrics[-1]["bugs"] == errors["bug"], "what a run that goes on begins to count from"
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


class Failing(Loaded):
    """A server that dies for good, or refuses some requests, in episodes played by weights of version 1."""

    def __init__(self, *, dies: bool = False, refuses: int = 0) -> None:
        super().__init__()
        self.dies, self.refuses, self.refused = dies, refuses, 0

    async def _generate(self, body: dict[str, Any]) -> tuple[int, str, bytes]:
        proof = body["sampling_params"]["max_tokens"] == PROBE_TOKENS  # of the identity check
        if self.version == "1" and not proof and self.dies:
            await self.die()
        if self.version == "1" and not proof and self.refused < self.refuses:
            self.refused += 1
            return 400, "", b'{"error": {"message": "not today"}}'
        return await super()._generate(body)


def test_a_run_survives_a_server_that_dies_and_one_that_refuses(tmp_path: Path) -> None:
    servers = [Failing(), Failing(dies=True), Failing(refuses=4)]

    async def play() -> int:
        for server in servers:
            await server.start()
        urls = ", ".join(f'"{server.url}"' for server in servers)
        more = ["rollout.engine=vllm", f"vllm.urls=[{urls}]", "vllm.dtype=float32", "vllm.health_s=0.2"]
        more.append("sft.episodes=320")  # good enough that some of its groups differ
        with RunFolder.create(config(tmp_path, "FaultyQuick", *more)) as folder:
            run = Run(folder=folder, config=load(tmp_path / "config.toml"))
            assert isinstance(run.engine, VLLMEngine)
            try:
                await run.all()
            finally:
                for server in servers:
                    await server.stop()
            return run.engine.lost

    assert asyncio.run(play()) >= 1, "a server died"
    metrics, events = (read_lines(tmp_path / f"{name}.jsonl") for name in ("metrics", "events"))
    assert [line["step"] for line in metrics] == list(range(STEPS))
    taken = [i for e in events if e["event"] == "consume" for i in e["groups"]]
    assert taken == list(range(STEPS * GROUPS)), "each group is trained once, and none is lost"
    errors = [t["info"]["error"] for group in stored(tmp_path) for t in group if "error" in t["info"]]
    assert len(errors) == servers[2].refused == 4, "what died was asked elsewhere"
    assert all(e["kind"] == "engine" and "not today" in e["message"] for e in errors)
    failed = Counter({line["version"]: line["endings"].get("failed", 0) for line in metrics})
    assert +failed == {1: 4}
    assert "step-000004" in {path.name for path in (tmp_path / "checkpoints").iterdir()}


def numbers(folder: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in line.items() if not k.endswith("seconds")}
        for line in read_lines(folder / "metrics.jsonl")
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
    child = Child(rehearsal.main, file, RARE, out=tmp_path / "said at first")
    child.until(lambda: len(_lines(killed / "metrics.jsonl")) >= STEPS - 1)
    child.kill()

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
    again = Child(rehearsal.main, file, RARE, out=tmp_path / "said again")
    assert again.wait(900) == 0, again.said()
    assert numbers(killed) == numbers(whole)
    endings = sum((Counter(line["endings"]) for line in numbers(killed)), Counter[str]())
    assert endings.total() == STEPS * GROUPS * SIZE and endings["failed"] > 0


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
