"""How a run judges its policy at a stage: on held-out tasks of every world, with all that was said."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from forge_train.config import Config
from forge_train.engine import Sampling
from forge_train.evaluation.evaluate import evaluate, refuse_silent, verdict
from forge_train.play.episode import Player
from forge_train.play.world_pool import World
from forge_train.record.evaluation_result import Evaluation
from forge_train.record.run_folder import RunFolder, write_atomic
from forge_train.seeds import derive_seed
from forge_train.show.live import Progress
from forge_train.trajectory import Trajectory

FOLDER = "evaluations"
"""Where a run folder has the transcripts of held-out plays: a file a stage and world."""


class JudgedRun(Protocol):
    """What is read here of a `Run`, which knows this module."""

    config: Config
    folder: RunFolder
    judged: dict[str, World]
    held_out: dict[str, list[str]]

    def player(self, sampling: Sampling) -> Player:
        """Its policy."""
        ...


async def judge(run: JudgedRun, stage: str, step: int, seconds: float) -> dict[str, Evaluation]:
    """Judge the policy after `step` updates and `seconds` of training; by name of the world.

    With `eval.greedy` also at temperature 0, one play of each task, which stands in the same event.
    """
    config = run.config.eval
    results = {}
    for name, world in run.judged.items():
        tasks = run.held_out[name]
        found, played = await _plays(run, f"{stage}: {name}", world, tasks, config.temperature)
        event: dict[str, Any] = found.as_event()
        if config.greedy and config.temperature:
            greedy, _ = await _plays(run, f"{stage}: {name}, greedy", world, tasks, 0.0)
            event["greedy"] = {key: greedy.as_event()[key] for key in ("pass@1", "low", "high")}
        if config.transcripts:
            write_transcripts(run.folder.path, stage, step, name, played)
        run.folder.event("evaluation", stage=stage, step=step, seconds=seconds, **event)
        refuse_silent(found)
        results[name] = found
    return results


async def _plays(
    run: JudgedRun, title: str, world: World, tasks: Sequence[str], temperature: float
) -> tuple[Evaluation, list[Trajectory]]:
    """Play every task, at temperature 0 once, for the plays of a task would be alike."""
    config, rollout = run.config.eval, run.config.rollout
    repeats = config.repeats if temperature else 1
    played: list[Trajectory] = []
    with Progress(title, total=len(tasks) * repeats) as progress:

        def ended(trajectory: Trajectory) -> None:
            played.append(trajectory)
            progress.advance()

        found = await evaluate(
            world,
            run.player(Sampling(temperature=temperature, max_tokens=rollout.max_action)),
            tasks,
            repeats=repeats,
            seed=derive_seed(run.config.run.seed, "eval"),
            in_flight=rollout.in_flight,
            deadline=rollout.deadline_s,
            ks=[k for k in config.k if k <= repeats] or [1],
            progress=ended,
        )
    return found, played


def write_transcripts(folder: Path, stage: str, step: int, world: str, played: Sequence[Trajectory]) -> Path:
    """What was said in the plays of a stage, by task: `evaluations/step-000100-after-RL-WORLD.jsonl.gz`."""
    lines = [
        {
            "task": t.info["task"],
            "seed": t.info["seed"],
            "outcome": verdict(t),
            "ending": t.ending,
            "parts": t.info["parts"],
            "messages": t.info["messages"],
        }
        for t in sorted(played, key=lambda t: (t.info["task"], t.info["seed"]))
    ]
    name = re.sub(r"[^\w.-]+", "-", f"step-{step:06d}-{stage}-{world}")
    path = folder / FOLDER / f"{name}.jsonl.gz"
    path.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomic(path, gzip.compress(text.encode(), compresslevel=6, mtime=0))
    return path
