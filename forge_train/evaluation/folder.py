"""Judging a model that lies in a folder, as the run that it belongs to would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from forge_train.config import Config, load
from forge_train.engine import Sampling
from forge_train.engines.devices import refuse_missing
from forge_train.engines.gpu_shares import visible_gpus
from forge_train.engines.local import LocalEngine
from forge_train.evaluation.evaluate import evaluate, refuse_silent
from forge_train.interrupt import at_once
from forge_train.play.context import beside, kept_context
from forge_train.play.episode import TokenPlayer
from forge_train.play.hearing import renderer_of
from forge_train.play.room import context_of, model_limit, refuse_cramped
from forge_train.play.world_pool import World
from forge_train.record import checkpoint
from forge_train.record.evaluation_result import Evaluation
from forge_train.show.live import Progress

MAX_ACTION = 256
"""Tokens of an action, where neither a person nor a run says."""


def run_of(path: Path) -> Config | None:
    """The config of the run that a run folder, a checkpoint or its adapter belongs to.

    Raises ValueError when there is one that cannot be read.
    """
    here = path.expanduser()
    found = next((p for p in (here, *here.resolve().parents) if (p / "config.toml").is_file()), None)
    return None if found is None else load(found / "config.toml")


def limits(run: Config | None, max_context: int | None, max_action: int | None) -> tuple[int, int]:
    """Tokens of an episode and of an action: as asked for, else those of the run, else ours.

    0 tokens of an episode are as many as the model takes.
    """
    context, action = (run.rollout.max_context, run.rollout.max_action) if run else (0, MAX_ACTION)
    return max_context or context, max_action or action


def world_of(
    run: Config | None, path: Path | str, world: str | None, args: dict[str, Any], *, judged: bool = False
) -> World:
    """The world to play in: `world`, or else the first one of the run that `path` belongs to.

    A world of that run, by id or by name, gets the arguments it has there, with `judged` those it is judged
    with; `args` win over them. Raises ValueError where nobody says which world.
    """
    if world is None and run is None:
        raise ValueError(f"{path} belongs to no run: name its world with --world module:Name-v0")
    own = [w for w in run.worlds if world in (None, w.id, w.label)] if run else []
    if not own:
        return World(str(world), args)
    return World(own[0].id, {**own[0].args, **(own[0].eval_args if judged else {}), **args})


async def evaluate_model(
    path: Path,
    *,
    world: str | None,
    world_args: dict[str, Any],
    split: str,
    tasks: int,
    repeats: int,
    temperature: float,
    seed: int,
    max_context: int | None = None,
    max_action: int | None = None,
    device: str,
) -> Evaluation:
    """Judge a model folder, a checkpoint or a run's newest checkpoint on a world's tasks.

    Without `world` it is the first one of the run that `path` belongs to. A world of that run, by id or by
    name, gets the arguments it is judged with there; `world_args` win over them. Limits that are None are the
    run's. Raises ValueError.
    """
    refuse_missing(device, visible_gpus(torch.cuda.device_count()), "--device")
    run = run_of(path)
    place = world_of(run, path, world, world_args, judged=True)
    model, tokenizer = checkpoint.load_model(path)
    context, action = limits(run, max_context, max_action)
    context = context_of(context, model, "--max-context")
    renderer, past = renderer_of(model, tokenizer, place), kept_context(tokenizer)
    ids = place.tasks(split, tasks)
    with at_once():
        refuse_cramped(
            place,
            ids,
            lambda messages: len(renderer.open(messages)),
            context=context,
            action=action,
            beside=beside(past, renderer, action),
            key="--max-context",
            most=model_limit(model.config),
        )
    engine = LocalEngine(model.to(device), max_context=context)
    sampling = Sampling(temperature=temperature, max_tokens=action)
    player = TokenPlayer(engine, renderer, sampling, past)
    try:
        with Progress(f"{place.name} {split}", total=len(ids) * repeats) as progress:
            found = await evaluate(
                place,
                player,
                ids,
                repeats=repeats,
                seed=seed,
                in_flight=256,
                deadline=600.0,
                progress=lambda _: progress.advance(),
            )
    finally:
        await engine.close()
        place.close()
    refuse_silent(found)
    return found
