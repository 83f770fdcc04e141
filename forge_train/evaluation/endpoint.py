"""Judging a model that somebody else serves, and the folder that shows what it did.

config.toml  what was asked      events.jsonl  the verdict      rollouts/  every episode
evaluation.json  everything, per task            report.html  the same for the eye
"""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import tomli_w

from forge_train.config.sections import WorldConfig
from forge_train.engine import EngineFailed, Sampling
from forge_train.evaluation.evaluate import evaluate
from forge_train.play.chat_player import ChatEndpoint, ChatPlayer
from forge_train.play.native_tools import refuse_hidden
from forge_train.play.world_pool import World
from forge_train.record.evaluation_result import Evaluation
from forge_train.record.run_folder import environment, write_atomic
from forge_train.show.live import Progress
from forge_train.show.report import write_report
from forge_train.trajectory import Trajectory

MOST_K = 4
"""pass^1 to pass^4 are what τ-bench tables show."""


async def evaluate_endpoint(
    engine: str,
    *,
    world: str | None,
    world_args: dict[str, Any],
    split: str,
    tasks: int,
    repeats: int,
    temperature: float,
    seed: int,
    max_action: int,
    in_flight: int,
    deadline: float,
    out: Path | None = None,
    blind: bool = False,
) -> Evaluation:
    """Let the model of `engine` (openai:MODEL@URL) play a world's tasks through its native tool calling.

    `max_action` is in tokens, `deadline` in seconds an episode. `out` is a new folder for the report. A model
    that is not shown its tools is judged only when it is to be judged `blind`.
    Raises ValueError, before anything is played, and EngineFailed when the endpoint answered nothing.
    """
    if world is None:
        raise ValueError("--engine plays no run's world: name one with --world module:Name-v0")
    player = ChatPlayer(ChatEndpoint.parse(engine), Sampling(temperature=temperature, max_tokens=max_action))
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} is there already and not empty: choose another folder")
    config = {
        "run": {"name": out.name if out else "eval", "seed": seed},
        "model": {"path": engine},
        "worlds": [WorldConfig(id=world, args=world_args).model_dump(exclude_none=True)],
        "eval": {"split": split, "tasks": tasks, "repeats": repeats, "temperature": temperature},
        "rollout": {"max_action": max_action, "in_flight": in_flight, "deadline_s": deadline},
    }
    place = World(world, world_args)
    played: list[Trajectory] = []
    began = time.time()
    try:
        ids = place.tasks(split, tasks)
        await refuse_hidden(player.endpoint, place, ids[0], blind=blind)
        with Progress(f"{place.name} {split}", total=len(ids) * repeats) as progress:

            def finished(trajectory: Trajectory) -> None:
                played.append(trajectory)
                progress.advance()

            found = await evaluate(
                place,
                player,
                ids,
                repeats=repeats,
                seed=seed,
                in_flight=in_flight,
                deadline=deadline,
                ks=range(1, min(repeats, MOST_K) + 1),
                progress=finished,
            )
    finally:
        await player.close()
        place.close()
    if found.pass_1 is None:  # a machine's failure is no score
        raise EngineFailed(f"no episode was graded; one failed with: {_why(played)}", retryable=True)
    if out is not None:
        write_folder(out, config, found, played, began)
    return found


def _why(played: list[Trajectory]) -> str:
    return next((str(t.info["error"]["message"]) for t in played if "error" in t.info), "nothing was played")


def write_folder(
    folder: Path, config: dict[str, Any], found: Evaluation, played: list[Trajectory], began: float
) -> Path:
    """Write what was asked (`config`), found and played into `folder`; returns the path of the report."""
    (folder / "rollouts").mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "config.toml", tomli_w.dumps(config).encode())
    write_atomic(folder / "evaluation.json", json.dumps(found.as_dict(), indent=2).encode())
    now = time.time()
    events = [
        {"event": "start", "time": began, "environment": environment()},
        {"event": "evaluation", "time": now, "stage": "evaluation", "step": 0, "seconds": now - began}
        | found.as_event(),
    ]
    order = sorted(played, key=lambda t: (t.group, t.info["seed"]))  # not the order in which they finished
    for path, lines in (
        ("events.jsonl", events),
        ("rollouts/step-000000.jsonl.gz", [trajectory.as_dict() for trajectory in order]),
    ):
        data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        write_atomic(folder / path, gzip.compress(data, mtime=0) if path.endswith(".gz") else data)
    return write_report(folder)
