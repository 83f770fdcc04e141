"""How hard are the tasks of a config? Each is played several times, and what comes out chooses tasks.

    OUT/passes.json          by world and task: plays, how many solved it, how many came before the first
    OUT/0-NAME/plays.jsonl   every play, as `forge-train collect` writes them; what a resume reads
    OUT/0-NAME/episodes.jsonl   one solved play of each task, to imitate

More plays of the same tasks are added to those that are there, so that rare successes are looked for where
there was none: first 8 of all tasks, then 512 of those that nobody solved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_train.config import Config
from forge_train.engine import Sampling
from forge_train.evaluation.collect import collect_from
from forge_train.play.difficulty import Plays, as_passes
from forge_train.play.world_pool import World
from forge_train.record import checkpoint
from forge_train.record.run_folder import read_lines, write_atomic
from forge_train.seeds import derive_seed
from forge_train.trajectory import SUCCESS

PASSES = "passes.json"


async def measure(
    config: Config,
    by: str,
    out: Path,
    *,
    samples: int,
    tasks: int | None = None,
    unsolved: bool = False,
    in_flight: int = 32,
    deadline: float = 1800.0,
    device: str = "cpu",
) -> dict[str, dict[str, Plays]]:
    """Play the training tasks of each world of `config`, up to `samples` times each, and write passes.json.

    `by` as in `collect_from`; it plays with the temperature and the room of `rollout`. `tasks` is how many of
    each world, by default all; `unsolved` leaves out those that a play in `out` solved. Returns what the file
    says, by world and task. Raises ValueError.
    """
    if samples < 1 or (tasks is not None and tasks < 1):
        raise ValueError(f"--samples {samples}, --tasks {tasks}: both must be at least 1")
    rollout, found = config.rollout, dict[str, dict[str, Plays]]()
    for i, told in enumerate(config.worlds):
        world = World(told.id, told.args, told.label)
        folder = out / f"{i}-{re.sub(r'[^a-zA-Z0-9.]+', '-', told.label)}"
        many = min(tasks or told.tasks, told.tasks)
        try:
            ids = world.tasks(told.split, many)
            before = counted(read_lines(folder / "plays.jsonl"), ids)
            wanted = [t for t in ids if not (unsolved and t in before and before[t].solved)]
            if wanted:
                await collect_from(
                    by,
                    world,
                    told.split,
                    many,
                    folder,
                    sampling=Sampling(temperature=rollout.temperature, max_tokens=rollout.max_action),
                    max_context=rollout.max_context,
                    device=device,
                    only=frozenset(wanted),
                    repeats=samples,
                    seed=derive_seed(config.run.seed, "difficulty"),
                    in_flight=in_flight,
                    deadline=deadline,
                )
            found[told.label] = counted(read_lines(folder / "plays.jsonl"), ids)
        finally:
            world.close()
        write_atomic(out / PASSES, (as_passes(found, by=by, temperature=rollout.temperature) + "\n").encode())
    return found


def counted(lines: Iterable[Mapping[str, Any]], tasks: Sequence[str]) -> dict[str, Plays]:
    """How often each of `tasks` was played and solved, in the order of its repetitions.

    Plays that a machine failed are none.

    >>> lines = [{"task": "t", "repetition": i, "outcome": i % 2, "error": None} for i in range(3)]
    >>> counted(lines, ["t"])
    {'t': Plays(plays=3, solved=1, first=1)}
    """
    rows: dict[str, list[tuple[int, bool]]] = {task: [] for task in tasks}
    for line in lines:
        if line["task"] in rows and line["error"] is None:
            rows[line["task"]].append((int(line["repetition"]), line["outcome"] >= SUCCESS))
    found = {}
    for task, row in rows.items():
        solved = [right for _, right in sorted(row)]
        if row:
            found[task] = Plays(len(row), sum(solved), solved.index(True) if any(solved) else None)
    return found


def player_of(config: Config) -> str:
    """Who plays where nobody is named: the newest checkpoint of the run, or its model. Raises ValueError."""
    if checkpoint.latest(config.run.folder / "checkpoints") is not None:
        return str(config.run.folder)
    if config.model.path:
        return config.model.path
    raise ValueError(
        f"who plays? {config.run.folder} has no checkpoint and model.path is empty; name a player with --by: "
        "gold, openai:MODEL@URL, or the folder of a model or a run"
    )


def table(found: Mapping[str, Mapping[str, Plays]]) -> list[tuple[str, str, str, str, str, str]]:
    """Rows for a person: world, tasks, plays, and how many tasks were never, sometimes and always solved."""
    rows = []
    for world, tasks in found.items():
        never = sum(one.solved == 0 for one in tasks.values())
        always = sum(one.solved == one.plays for one in tasks.values())
        plays = sum(one.plays for one in tasks.values())
        between = len(tasks) - never - always
        rows.append((world, str(len(tasks)), str(plays), str(never), str(between), str(always)))
    return rows
