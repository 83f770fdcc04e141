"""What stages do: each is one function that does its work below the recipe's folder and tells facts of it.

All of it is what the commands do (`collect`, `train`, `merge`, `select`, `eval`), in this process. Each goes
on where it was killed: a run from its checkpoint, plays and evaluations from those that are there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forge_train import interrupt
from forge_train.config import Config, ConfigError
from forge_train.config.explain import explain
from forge_train.engine import Sampling
from forge_train.evaluation.collect import collect_from
from forge_train.evaluation.folder import evaluate_model, limits, run_of
from forge_train.play.world_pool import World
from forge_train.recipes.plan import JudgePlan, laid_over
from forge_train.recipes.stages import Facts
from forge_train.record import checkpoint
from forge_train.record.run_folder import read_lines, write_atomic
from forge_train.run import train

MAX_ACTION = 1024
"""Tokens of one action of a teacher behind an endpoint."""


def collect_stage(
    out: Path,
    name: str,
    world: Mapping[str, Any],
    tasks: int,
    *,
    by: str,
    seed: int,
    repeats: int = 1,
    keep: int = 1,
    needed: bool = True,
) -> Facts:
    """Play `tasks` of a world's train split by gold, an endpoint or a model; keep what passes the filters.

    `world` is a table of [[worlds]]. A stage `by` names is the model that it left. Where nothing passes, that
    is an error if it is `needed`, and else told.
    """
    player = by if by == "gold" or by.startswith("openai:") else str(model_of(out, by))
    context, action = limits(None if player == by else run_of(Path(player)), None, None)
    if player.startswith("openai:"):
        action = MAX_ACTION
    place = World(str(world["id"]), dict(world["args"]), str(world["name"]))
    try:
        counts = interrupt.run(
            collect_from(
                player,
                place,
                "train",
                tasks,
                out / name,
                sampling=Sampling(temperature=1.0, max_tokens=action),
                max_context=context,
                device="cpu",
                repeats=repeats,
                keep=keep,
                seed=seed,
            )
        )
    finally:
        place.close()
    if needed and not counts["kept"]:
        raise ValueError(
            f"{out / name}: none of {tasks * repeats} plays of {world['name']} passed the filters "
            f"({_told(counts)}): nothing to imitate. Play more tasks or repeats, or train its player longer"
        )
    return {"kept": counts["kept"], "plays": tasks * repeats, "counts": counts}


def mix_stage(out: Path, name: str, sources: Sequence[str]) -> Facts:
    """The episodes of several collected folders in one file, which a run imitates."""
    lines: list[str] = []
    counts = {}
    for source in sources:
        text = (out / source / "episodes.jsonl").read_text(encoding="utf-8")
        found = [line for line in text.split("\n") if line.strip()]
        counts[source] = len(found)
        lines += found
    if not lines:
        told = ", ".join(sources)
        raise ValueError(
            f"{out / name}: {told} kept nothing, so there is nothing to imitate; see their plays.jsonl"
        )
    (out / name).mkdir(parents=True, exist_ok=True)
    write_atomic(out / name / "episodes.jsonl", ("\n".join(lines) + "\n").encode())
    return {"episodes": len(lines), "sources": counts}


def train_stage(
    out: Path, name: str, tables: Mapping[str, Any], *, start: str | None = None, data: str | None = None
) -> Facts:
    """A run of these tables in the stage's folder, from the model of `start`, on the episodes of `data`.

    Raises what `forge_train.run.train` does.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "a recipe is one process: without torchrun, or run the files of its stages by themselves"
        )
    own: dict[str, Any] = {"run": {"out": str(out.resolve() / name)}}
    if start is not None:
        own["model"] = {"path": str(model_of(out, start).resolve())}
    if data is not None:
        own["sft"] = {"path": str(out.resolve() / data / "episodes.jsonl")}
    try:
        config = Config.model_validate(laid_over(tables, own))
    except ValidationError as error:
        raise ConfigError([f"stage {name}: {problem}" for problem in explain(error, Config)]) from None
    train(config)
    steps = read_lines(out / name / "metrics.jsonl")
    lessons = [e for e in read_lines(out / name / "events.jsonl") if e["event"] == "sft"]
    return {
        **({"lessons": 1 + max(e["batch"] for e in lessons)} if lessons else {}),
        "updates": len(steps),
        "episodes": sum(line.get("episodes", 0) for line in steps),
        "sampled_tokens": sum(line.get("sampled_tokens", 0) for line in steps),
    }


def judge_stage(
    out: Path, name: str, models: Sequence[str], worlds: Sequence[Mapping[str, Any]], plan: JudgePlan,
    *, kinds: Mapping[str, str], seed: int, rollout: Mapping[str, Any], device: str,
) -> Facts:  # fmt: skip
    """Judge the models that stages left on the same held-out tasks of all worlds, a file for each pair.

    `worlds` are tables of [[worlds]]; `rollout` holds the limits of a run. `kinds` says which are
    tools and which coding. Facts are counts alone: the numbers are in the files, as events of a run are.
    """
    for model in models:
        for world in worlds:
            file = judged_file(out / name, model, str(world["name"]))
            if file.exists():
                continue
            found = interrupt.run(
                evaluate_model(
                    model_of(out, model),
                    world=str(world["id"]),
                    world_args=dict(world["args"]),
                    split=plan.split,
                    tasks=plan.tasks,
                    repeats=plan.repeats,
                    temperature=plan.temperature,
                    seed=seed,
                    max_context=rollout.get("max_context"),
                    max_action=rollout.get("max_action"),
                    device=device,
                )
            )
            if not found.counts:
                raise RuntimeError(
                    f"{found.stopped} of {found.plays} episodes of {model} in {world['name']} were stopped "
                    f"by a machine or the clock ({_told(found.reasons)}), so its number would say little; "
                    "mend that, and the same command goes on"
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            event = found.as_event() | {"world": str(world["name"])}
            write_atomic(file, json.dumps(event, ensure_ascii=False).encode())
    counts = {"models": len(models), "worlds": len(worlds), "tasks": plan.tasks, "repeats": plan.repeats}
    return counts | {"kinds": dict(kinds)}


def judged_file(folder: Path, model: str, world: str) -> Path:
    """Where the evaluation of a stage's model in a world lies."""
    return folder / model.replace("/", "-") / f"{world}.json"


def judged(folder: Path, model: str, world: str) -> dict[str, Any] | None:
    """That evaluation, as an event of a run; None where it was not done."""
    file = judged_file(folder, model, world)
    if not file.exists():
        return None
    event: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return event


def model_of(out: Path, stage: str) -> Path:
    """The model that a stage left: a run's newest checkpoint, or the folder itself; or a model elsewhere.

    Raises ValueError where there is none.
    """
    folder = out / stage if (out / stage).is_dir() else Path(stage).expanduser()
    if (folder / "checkpoints").is_dir():
        newest = checkpoint.latest(folder / "checkpoints")
        if newest is None:
            raise ValueError(f"{folder}: the run has no checkpoint yet, so nothing can be made of its model")
        return newest.path
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder}: no model lies there (no config.json); do the stage again with --from {stage}"
        )
    return folder


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)
