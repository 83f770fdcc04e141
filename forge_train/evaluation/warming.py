"""A temperature that rises when rewards stand still, as far as held-out tasks allow: GLM-4.5.

Every `run.eval_every` updates: has the mean reward of rollouts stopped growing? Then the policy is judged at
each temperature of a grid, on tasks that are neither trained on nor reported, and plays on at the highest
that costs no more than 1% (arXiv 2508.06471). The choice stands in events.jsonl, where a run that goes on
finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Protocol

from forge_train.config import Config, WorldConfig
from forge_train.engine import Sampling
from forge_train.evaluation.evaluate import evaluate
from forge_train.play.curriculum import Curriculum
from forge_train.play.episode import Player
from forge_train.play.schedules import stands_still, warmest
from forge_train.play.world_pool import World
from forge_train.record.run_folder import RunFolder, read_lines, standing
from forge_train.seeds import derive_seed
from forge_train.show.live import Progress

EVENT = "temperature"


class Judging(Protocol):
    """What is read here of a `Run`, which knows this module."""

    config: Config
    folder: RunFolder
    worlds: dict[str, World]
    judged: dict[str, World]

    def player(self, sampling: Sampling) -> Player:
        """Its policy."""
        ...


def warmings(folder: Path) -> dict[int, float]:
    """The temperatures that held-out tasks chose so far, by the update after which they did."""
    events = standing(read_lines(folder / "events.jsonl"))
    return {int(e["step"]): float(e["temperature"]) for e in events if e["event"] == EVENT}


async def warm(run: Judging, done: int, curriculum: Curriculum) -> None:
    """Choose the temperature of the updates after `done`, where rewards stand still; else it stays.

    What was chosen before a kill is not chosen again.
    """
    config, every = run.config.temperature, run.config.run.eval_every
    if not config.grid:
        return
    tasks = {
        world.label: set_apart(run.config, world, run.worlds[world.label]) for world in run.config.worlds
    }
    last = done >= run.config.run.steps
    if not done or done % every or last or done in warmings(run.folder.path):
        return
    assert config.plateau is not None and config.gain is not None, "the config sees to it"
    lines = read_lines(run.folder.path / "metrics.jsonl")
    rewards = [line["return"] for line in lines if line["step"] < done and line["return"] is not None]
    if not stands_still(rewards, config.plateau, config.gain):
        return
    scores = {temperature: await _score(run, temperature, tasks) for temperature in sorted(config.grid)}
    chosen = warmest(scores, config.tolerance)
    run.folder.event(
        EVENT, step=done, temperature=chosen, scores=[[t, round(s, 6)] for t, s in scores.items()]
    )
    curriculum.warmed(done, chosen)


def set_apart(config: Config, told: WorldConfig, world: World) -> list[str]:
    """The tasks of a world to choose a temperature by: trained on by nobody. Raises ValueError for none."""
    wanted = config.temperature
    if wanted.split:
        return world.tasks(wanted.split, wanted.tasks)
    trained = set(world.tasks(told.split, told.tasks))
    beyond = [t for t in world.tasks(told.split, told.tasks + wanted.tasks) if t not in trained]
    if not beyond:
        raise ValueError(
            f'temperature.split = "": all {len(trained)} tasks of split "{told.split}" of world {told.label} '
            "are trained on, and none is left to choose a temperature by; lower its tasks, or name a split"
        )
    return beyond


async def _score(run: Judging, temperature: float, tasks_of: Mapping[str, list[str]]) -> float:
    """Mean over worlds of success at a temperature, on the tasks set apart for this."""
    config, rollout = run.config.temperature, run.config.rollout
    found: list[float] = []
    for name, world in run.judged.items():
        tasks = tasks_of[name]
        title = f"temperature {temperature:g}: {name}"
        with Progress(title, total=len(tasks) * config.repeats) as progress:
            result = await evaluate(
                world,
                run.player(Sampling(temperature=temperature, max_tokens=rollout.max_action)),
                tasks,
                repeats=config.repeats,
                seed=derive_seed(run.config.run.seed, "temperature"),
                in_flight=rollout.in_flight,
                deadline=rollout.deadline_s,
                ks=(1,),
                progress=lambda _, shown=progress: shown.advance(),  # type: ignore[misc]
            )
        if result.pass_1 is not None:
            found.append(result.pass_1.mean)
    return fmean(found) if found else 0.0
