"""Episodes to imitate: somebody plays tasks several times, and what passes the filters is kept.

    plays.jsonl      every play as it ended: task, repetition, verdict, messages; what a resume reads
    episodes.jsonl   the kept ones, as `sft.read_episodes` and other trainers take them
    episodes.parquet the same in columns

Rejection sampling: `repeats` plays of a task, of which at most `keep` that passed go into the data.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from forge_train.engine import Sampling
from forge_train.engines.devices import refuse_missing
from forge_train.engines.gpu_shares import visible_gpus
from forge_train.engines.local import LocalEngine
from forge_train.evaluation.evaluate import NothingPlayed, verdict
from forge_train.evaluation.filters import DEFAULT, FILTERS, Play, calls_made, effect_of, select
from forge_train.interrupt import at_once
from forge_train.play.chat_player import ChatEndpoint, ChatPlayer
from forge_train.play.context import beside, kept_context
from forge_train.play.episode import Player, TokenPlayer, gather, play
from forge_train.play.hearing import renderer_of
from forge_train.play.native_tools import refuse_hidden
from forge_train.play.reachable import refuse_cramped_endpoint, refuse_unreachable
from forge_train.play.renderer import Message
from forge_train.play.room import context_of, model_limit, refuse_cramped
from forge_train.play.solution import Solution
from forge_train.play.world_pool import World
from forge_train.record import checkpoint
from forge_train.record.run_folder import read_lines, repair, write_atomic
from forge_train.seeds import derive_seed
from forge_train.show.live import Progress
from forge_train.trajectory import WORLD, Segment, Trajectory


async def collect(
    world: World,
    player: Player,
    tasks: Sequence[str],
    folder: Path,
    *,
    by: str = "",
    repeats: int = 1,
    keep: int = 1,
    filters: Sequence[str] = DEFAULT,
    seed: int = 0,
    in_flight: int = 32,
    deadline: float = 1800.0,
    parquet: bool = False,
    progress: Callable[[], None] | None = None,
) -> dict[str, int]:
    """Play what `folder` does not hold yet, then write its data; returns how many plays became what.

    `by` names the player: plays of another one, world or seed are not mixed with these. A play that a machine
    failed is played again by the next call. Raises ValueError for a folder of other plays and for filters
    that do not exist, NothingPlayed where machines failed every play.
    """
    unknown = [name for name in filters if name not in FILTERS]
    if unknown or repeats < 1 or keep < 1:
        raise ValueError(
            f"filters={list(filters)}, repeats={repeats}, keep={keep}: the filters are {', '.join(FILTERS)}, "
            "and repeats and keep at least 1"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plays.jsonl"
    repair(path)
    who = {"world": world.name, "args": world.args, "seed": seed, "by": by}
    found = {(p["task"], p["repetition"]): p for p in _plays(path, who) if p["error"] is None}
    limit = asyncio.Semaphore(in_flight)
    solution = lru_cache(maxsize=None)(world.solution)
    with open(path, "ab", buffering=0) as file:

        async def once(task: str, repetition: int) -> None:
            number = derive_seed(seed, task, repetition)
            async with limit:
                trajectory = await play(
                    world, player, task, seed=number, group=f"collect/{task}", deadline=deadline
                )
            line = who | {"id": world.id} | _line(trajectory, repetition, solution(task))
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            found[task, repetition] = line
            if progress is not None:
                progress()

        todo = [(task, i) for task in tasks for i in range(repeats) if (task, i) not in found]
        await gather(once(*one) for one in todo)
    wanted = [found[task, i] for task in tasks for i in range(repeats)]
    kept, counts = select(wanted, filters, keep, solution)
    write(folder, kept, parquet)
    if wanted and counts["failed"] == len(wanted):
        last = wanted[-1]["error"]
        why = f"{last['kind']} in {last['stage']}" + (
            f": {last['message'][:200]}" if "message" in last else ""
        )
        raise NothingPlayed(
            f"{world.name}: all {len(wanted)} plays failed, the last by {why}; the same command tries again"
        )
    return counts


def write(folder: Path, kept: Sequence[Play], parquet: bool) -> None:
    """Write the data of `folder` anew. Raises ValueError when parquet is asked for and pyarrow is missing."""
    names = ("task", "world", "outcome", "messages")
    rows = [
        {name: one[name] for name in names}
        # Where the past was rewritten it holds what the world never heard: summaries and reports.
        | ({"messages": one["lesson"]} if "lesson" in one else {})
        for one in kept
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomic(folder / "episodes.jsonl", lines.encode())
    if not parquet:
        return
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ValueError("parquet needs pyarrow: pip install pyarrow, or leave --parquet out") from None
    columns = [
        {
            **row,
            # Columns are typed, and schemas of tools are not alike: they travel as JSON, as in TRL's data.
            # There is no place in them for what the world never heard.
            "messages": [{"role": m["role"], "content": m["content"]} for m in one["messages"]],
            "tools": json.dumps([tool for m in one["messages"] for tool in m.get("tools") or ()]),
        }
        for row, one in zip(rows, kept, strict=True)
    ]
    message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    schema = pyarrow.schema(
        [
            ("task", pyarrow.string()),
            ("world", pyarrow.string()),
            ("outcome", pyarrow.float64()),
            ("messages", pyarrow.list_(message)),
            ("tools", pyarrow.string()),
        ]
    )
    aside = folder / ".episodes.parquet.tmp"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(columns, schema=schema), aside)
    aside.replace(folder / "episodes.parquet")


def _line(trajectory: Trajectory, repetition: int, solution: Solution | None) -> Play:
    info = trajectory.info
    line = {
        "task": info["task"],
        "repetition": repetition,
        "ending": trajectory.ending,
        "graded": trajectory.trainable,
        "outcome": verdict(trajectory),
        "parts": info["parts"],
        "error": info.get("error"),
        "usage": info.get("usage"),
        "opening": info["opening"],
        "messages": info["messages"],
        **({"lesson": info["conversation"]} if "context" in info else {}),
    }
    if solution is not None:  # what it did to the world: see `forge_train.selection`
        made = calls_made(line, solution)
        line["effect"] = effect_of([call for call in made if call[0] in solution.writers])
    return line | _sureness(trajectory)


def _sureness(trajectory: Trajectory) -> dict[str, list[float]]:
    """Logprobs and confidences of the policy's own tokens, where they were asked for."""
    if not any(s.confidence for s in trajectory.segments):
        return {}
    own = [(s, i) for s in trajectory.segments for i, action in enumerate(s.action) if action != WORLD]
    return {
        "logprobs": [round(s.logprobs[i], 4) for s, i in own],
        "confidence": [round(s.confidence[i], 4) for s, i in own],
    }


def _plays(path: Path, who: Mapping[str, Any]) -> list[Play]:
    """What was played before. Raises ValueError where it is something else."""
    plays = read_lines(path)
    for one in plays:
        for name, value in who.items():
            if one.get(name) != value:
                raise ValueError(
                    f"{path} holds plays with {name}={one.get(name)!r}, not {value!r}: choose another folder"
                )
    return plays


async def collect_from(
    by: str,
    world: World,
    split: str,
    tasks: int,
    folder: Path,
    *,
    sampling: Sampling,
    max_context: int,
    device: str,
    blind: bool = False,
    only: Collection[str] = (),
    **options: Any,
) -> dict[str, int]:
    """`collect` from "gold", from openai:MODEL@URL, or from a model folder, a run or a checkpoint.

    `sampling` and `max_context` (in tokens) are for models, `blind` for endpoints that do not show their
    model its tools; of the first `tasks` those of `only` are played, if any are named. Raises ValueError.
    """
    ids = [task for task in world.tasks(split, tasks) if not only or task in only]
    name = by if by == "gold" else f"{by} temperature={sampling.temperature} max_tokens={sampling.max_tokens}"
    if sampling.top_logprobs:
        name += f" top_logprobs={sampling.top_logprobs}"
        if by == "gold" or by.startswith("openai:"):
            raise ValueError(
                f"--top-logprobs {sampling.top_logprobs}: {by} tells no logprobs of its tokens; collect from "
                "a model folder, or leave it out (votes and judges need none)"
            )
    with Progress(f"{world.name} {split}", total=len(ids) * options.get("repeats", 1)) as progress:
        options |= {"by": name, "progress": progress.advance}
        if by == "gold":
            return await collect(world, Speaker(world.gold), ids, folder, **options)
        if by.startswith("openai:"):
            endpoint = ChatEndpoint.parse(by)
            with at_once():
                refuse_unreachable(endpoint)
                refuse_cramped_endpoint(endpoint, world, ids, action=sampling.max_tokens)
            chat = ChatPlayer(endpoint, sampling, world.grammar())
            try:
                await refuse_hidden(chat.endpoint, world, ids[0], blind=blind)
                return await collect(world, chat, ids, folder, **options)
            finally:
                await chat.close()
        refuse_missing(device, visible_gpus(torch.cuda.device_count()), "--device")
        model, tokenizer = checkpoint.load_model(Path(by))
        renderer, past = renderer_of(model, tokenizer, world), kept_context(tokenizer)
        max_context = context_of(max_context, model, "--max-context")
        refuse_cramped(
            world,
            ids,
            lambda messages: len(renderer.open(messages)),
            context=max_context,
            action=sampling.max_tokens,
            beside=beside(past, renderer, sampling.max_tokens),
            key="--max-context",
            most=model_limit(model.config),
        )
        engine = LocalEngine(model.to(device), max_context=max_context)
        try:
            player = TokenPlayer(engine, renderer, sampling, past)
            return await collect(world, player, ids, folder, **options)
        finally:
            await engine.close()


class Speaker:
    """A `Player` that says fixed actions, gold for example; no tokens are involved."""

    def __init__(self, actions_of: Callable[[str], Sequence[str]]) -> None:
        self.actions_of = actions_of

    def open(self, messages: Sequence[Message], *, task: str, name: str, seed: int) -> Speech:
        """Begin an episode."""
        return Speech(self.actions_of(task))


class Speech:
    """The actions of one task, one after the other, and silence after them."""

    def __init__(self, actions: Sequence[str]) -> None:
        self._actions = actions
        self.segments: list[Segment] = []
        self.versions: list[int] = []
        self.spans: dict[int, list[tuple[int, int]]] = {}

    async def act(self) -> str:
        """Say the next action."""
        turn = len(self.versions)
        self.versions.append(0)
        return self._actions[turn] if turn < len(self._actions) else ""

    def hear(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """What the world says changes nothing."""

    def close(self) -> None:
        """Nothing is held."""
