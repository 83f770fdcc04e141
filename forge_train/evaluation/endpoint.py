"""Judging a model that somebody else serves, and the folder that shows what it did.

config.toml  what was asked      events.jsonl  the verdict      rollouts/  every episode
evaluation.json  everything, per task            report.html  the same for the eye
plays.jsonl  every episode as it came: what an interrupted evaluation goes on with
"""

from __future__ import annotations

import gzip
import json
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w

from forge_train.config import flatten
from forge_train.config.explain import show
from forge_train.config.sections import WorldConfig
from forge_train.engine import EngineFailed, Sampling
from forge_train.evaluation.evaluate import evaluate, refuse_silent
from forge_train.interrupt import at_once
from forge_train.play.chat_player import ChatEndpoint, ChatPlayer
from forge_train.play.native_tools import refuse_hidden
from forge_train.play.reachable import refuse_cramped_endpoint, refuse_unreachable
from forge_train.play.world_pool import World
from forge_train.record.environment import environment
from forge_train.record.evaluation_result import Evaluation
from forge_train.record.run_folder import append, read_lines, repair, write_atomic
from forge_train.show.live import Progress
from forge_train.show.report import write_report
from forge_train.trajectory import Trajectory

PLAYS = "plays.jsonl"
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

    `max_action` is in tokens, `deadline` in seconds an episode. `out` is a folder for the report; one that an
    evaluation of the same was interrupted in is gone on with. A model that is not shown its tools is judged
    only when it is to be judged `blind`. Raises ValueError, before anything is played, NothingPlayed, and
    EngineFailed when the endpoint answered nothing.
    """
    if world is None:
        raise ValueError("--engine plays no run's world: name one with --world module:Name-v0")
    endpoint = ChatEndpoint.parse(engine)
    config = {
        "run": {"name": out.name if out else "eval", "seed": seed},
        "model": {"path": engine},
        "worlds": [WorldConfig(id=world, args=world_args).model_dump(exclude_none=True)],
        "eval": {"split": split, "tasks": tasks, "repeats": repeats, "temperature": temperature},
        "rollout": {"max_action": max_action, "in_flight": in_flight, "deadline_s": deadline},
    }
    before = find_plays(out, config) if out is not None else {}
    place = World(world, world_args)
    player = ChatPlayer(endpoint, Sampling(temperature=temperature, max_tokens=max_action), place.grammar())
    played = list(before.values())
    began = time.time()
    try:
        ids = place.tasks(split, tasks)
        with at_once():
            refuse_unreachable(endpoint)
            refuse_cramped_endpoint(endpoint, place, ids, action=max_action)
        await refuse_hidden(player.endpoint, place, ids[0], blind=blind)
        with Progress(f"{place.name} {split}", total=len(ids) * repeats) as bar, _kept(out, config) as keep:
            bar.advance(len(before))
            found = await evaluate(
                place,
                player,
                ids,
                repeats=repeats,
                seed=seed,
                in_flight=in_flight,
                deadline=deadline,
                ks=range(1, min(repeats, MOST_K) + 1),
                progress=partial(_finished, bar, keep, played),
                played_before=before,
            )
    finally:
        await player.close()
        place.close()
    if out is not None:
        write_folder(out, config, found, played, began)
    _refuse_nothing(found, played)
    return found


def _finished(
    bar: Progress, keep: Callable[[Trajectory], None], played: list[Trajectory], trajectory: Trajectory
) -> None:
    keep(trajectory)
    played.append(trajectory)
    bar.advance()


def _refuse_nothing(found: Evaluation, played: list[Trajectory]) -> None:
    """A machine's failure is no score, and neither is silence. Raises EngineFailed and NothingPlayed."""
    if found.pass_1 is None:
        told = (str(t.info["error"]["message"]) for t in played if "error" in t.info)
        why = next(told, "nothing was played")
        raise EngineFailed(f"no episode was graded; one failed with: {why}", retryable=True)
    refuse_silent(found)


def find_plays(out: Path, config: Mapping[str, Any]) -> dict[int, Trajectory]:
    """The plays of the evaluation of `config` that was interrupted in `out`, by seed; {} for a new folder.

    Those that a machine failed are not among them: they are played again. Raises ValueError for a folder that
    holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return {}
    try:
        there = tomllib.loads((out / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(
            f"--out {out} is there already, not empty and no evaluation: choose another folder"
        ) from None
    old, new = _asked(there), _asked(config)
    differing = [
        f"{key} = {show(old.get(key))} there, {show(new.get(key))} now"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    if differing:
        raise ValueError(
            f"--out {out} holds something else ({'; '.join(differing)}): choose another folder, or ask "
            "for the same to go on with it"
        )
    repair(out / PLAYS)
    plays = [Trajectory.from_dict(line) for line in read_lines(out / PLAYS)]
    return {t.info["seed"]: t for t in plays if t.ending != "failed"}


def _asked(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the results of an evaluation, by dotted key: not how many at once, nor how long."""
    free = ("run.name", "rollout.in_flight", "rollout.deadline_s")
    return {key: value for key, value in flatten(config).items() if key not in free}


@contextmanager
def _kept(out: Path | None, config: Mapping[str, Any]) -> Iterator[Callable[[Trajectory], None]]:
    """Something that keeps each play in the folder as it comes; without a folder nothing is kept."""
    if out is None:
        yield lambda trajectory: None
        return
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "config.toml", tomli_w.dumps(config).encode())
    with open(out / PLAYS, "ab", buffering=0) as file:
        yield lambda trajectory: append(file, trajectory.as_dict())


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
