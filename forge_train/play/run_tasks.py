"""The tasks of a run: what it trains on, what it is judged by, and that these are not the same."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from forge_train.config import Config
from forge_train.play.curriculum import curriculum_of
from forge_train.play.world_pool import World
from forge_train.record.run_folder import RunFolder
from forge_train.record.task_digest import Contents, Tasks, digest_of, same_content, settle


def check_tasks(
    config: Config, folder: RunFolder, worlds: Mapping[str, World], judged: Mapping[str, World]
) -> None:
    """Hold the tasks of this start against those the run began with, and held-out ones against trained ones.

    Raises ValueError when they changed (unless `run.changed_tasks`), and when a task is in both splits. Tasks
    of the two splits with other ids and the same content are warned of.
    """
    tasks = tasks_of(config, worlds, judged)
    for label, held_out in tasks["eval"].items():
        both = [task for task in held_out if task in tasks["train"][label]]
        if both:
            raise ValueError(
                f"world {label}: task {both[0]!r} ({len(both)} in all) is trained on and in eval.split = "
                f'"{config.eval.split}": the score would not be one on unseen tasks; use another split'
            )
    twins = same_content(tasks)
    if twins:
        warnings.warn(
            f"{len(twins)} held-out tasks have the content of trained ones, e.g. {twins[0][1]} that of "
            f"{twins[0][0]}: the score is partly one on seen tasks",
            stacklevel=2,
        )
    found = settle(folder.path / "tasks.json", tasks, allowed=config.run.changed_tasks)
    if found:
        folder.event("tasks", changed=found)


def tasks_of(config: Config, worlds: Mapping[str, World], judged: Mapping[str, World]) -> Tasks:
    """Ids and contents: of held-out tasks all, of the others those that some update or gold comes to."""
    train = {w.label: list(worlds[w.label].tasks(w.split, w.tasks)) for w in config.worlds}
    known: dict[str, Contents] = {label: dict.fromkeys(ids) for label, ids in train.items()}
    seen = {(label, task) for label, ids in train.items() for task in ids}
    if not config.curriculum.picks:  # else nobody knows before
        curriculum, groups = curriculum_of(config, worlds), config.rollout.groups + config.rollout.refill
        draws = (curriculum.draw(i, i // groups) for i in range(config.run.steps * groups))
        seen = {(draw.world, draw.task) for draw in draws}
    if not config.sft.path:
        share = -(-config.sft.episodes // len(config.worlds))
        seen |= {(label, task) for label, ids in train.items() for task in ids[:share]}
    for label, task in sorted(seen):
        known[label][task] = digest_of(worlds[label].content(task))
    return {"train": known, "eval": {label: contents(world, world.tasks(config.eval.split, config.eval.tasks))
                                     for label, world in judged.items()}}  # fmt: skip


def contents(world: World, tasks: list[str]) -> Contents:
    """Digests of the contents of tasks."""
    return {task: digest_of(world.content(task)) for task in tasks}
