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
    config: Config,
    folder: RunFolder,
    worlds: Mapping[str, World],
    judged: Mapping[str, World],
    held: Mapping[str, list[str]],
) -> None:
    """Hold the tasks of this start against those the run began with, and held-out ones against trained ones.

    held: the held-out ones. Raises ValueError when they changed (unless `run.changed_tasks`), and when a task
    is in both splits. Tasks of the two splits with other ids and the same content are warned of.
    """
    tasks = tasks_of(config, worlds, judged, held)
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


MOST_SEEN = 32
"""So many times as many tasks as asked for are looked at to find distinct ones."""


def held_out(
    config: Config, worlds: Mapping[str, World], judged: Mapping[str, World]
) -> dict[str, list[str]]:
    """The tasks that each world is judged by: the first ones of `eval.split`; with `eval.distinct` the first
    that differ in content from all that may be trained on, and from each other.

    Raises ValueError where there are too few. A world that tells no contents has none that are alike.
    """
    asked = config.eval
    if not asked.distinct:
        return {label: world.tasks(asked.split, asked.tasks) for label, world in judged.items()}
    trained = {
        digest_of(worlds[w.label].content(task))
        for w in config.worlds
        for task in worlds[w.label].tasks(w.split, w.tasks)
    }
    found: dict[str, list[str]] = {}
    for label, world in judged.items():
        known, mine = trained - {None}, list[str]()
        ids = world.tasks(asked.split, asked.tasks * MOST_SEEN)
        for task in ids:
            content = digest_of(world.content(task))
            if content not in known and len(mine) < asked.tasks:
                mine.append(task)
                known |= {content} - {None}
            if len(mine) == asked.tasks:
                break
        if len(mine) < asked.tasks:
            raise ValueError(
                f'eval.distinct = true: of {len(ids)} tasks of world {label}, split "{asked.split}", only '
                f"{len(mine)} differ from all trained ones; set eval.tasks = {len(mine)}, or lower "
                "worlds.N.tasks so that fewer are trained on"
            )
        found[label] = mine
    return found


def tasks_of(
    config: Config,
    worlds: Mapping[str, World],
    judged: Mapping[str, World],
    held: Mapping[str, list[str]],
) -> Tasks:
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
    return {
        "train": known,
        "eval": {label: contents(world, held[label]) for label, world in judged.items()},
    }


def contents(world: World, tasks: list[str]) -> Contents:
    """Digests of the contents of tasks."""
    return {task: digest_of(world.content(task)) for task in tasks}
