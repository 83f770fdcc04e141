"""Supervised training on episodes that somebody else played: gold ones of a world, or stored ones.

TRL's SFTTrainer was considered. It takes token masks, but our learner already has the same loss on the
same masks (`nll` with advantage 1), the same packing and the same exact resume, and one optimizer
continues from imitation into reinforcement without a second library's checkpoint in between.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_train.config import SFTConfig
from forge_train.play.renderer import Renderer
from forge_train.play.world_pool import World
from forge_train.seeds import derive_seed
from forge_train.trajectory import Segment, Trajectory

Messages = list[dict[str, Any]]
"""One episode in the OpenAI form, the agent's lines as role `assistant`."""


def gold_episodes(world: World, tasks: Sequence[str]) -> list[Messages]:
    """Play each task's gold actions. Raises ValueError for a task whose gold does not earn 1."""
    episodes = []
    env = world.acquire()
    try:
        for task in tasks:
            observation, _ = env.reset(seed=0, options={"task": task})
            messages: Messages = [dict(message) for message in observation]
            outcome = None
            for action in world.gold(task):
                messages.append({"role": "assistant", "content": action})
                observation, _, terminated, truncated, info = env.step(action)
                messages.extend(dict(message) for message in observation)
                outcome = info.get("outcome")
                if terminated or truncated:
                    break
            if outcome != 1.0:
                raise ValueError(
                    f"{world.name}: gold of task {task!r} earned {outcome}, not 1.0; run forge-envs check"
                )
            episodes.append(messages)
    finally:
        world.release(env)
    return episodes


def openings(world: World, tasks: Sequence[str]) -> list[Messages]:
    """What the world says first to each task."""
    env = world.acquire()
    try:
        return [[dict(message) for message in env.reset(**world.start(task, 0))[0]] for task in tasks]
    finally:
        world.release(env)


def read_episodes(path: Path) -> list[Messages]:
    """Stored episodes: JSON lines, each with a list `messages`. Raises ValueError naming file and line."""
    episodes: list[Messages] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no file of episodes ({error}); forge-train collect makes one") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            messages = json.loads(line)["messages"]
            valid = bool(messages) and all(
                isinstance(m["role"], str) and isinstance(m["content"], str) for m in messages
            )
        except (ValueError, KeyError, TypeError):
            valid = False
        if not valid:
            raise ValueError(
                f'{path}:{number}: not an episode; each line needs {{"messages": [{{"role", "content"}}, …]}}'
            )
        episodes.append(messages)
    return episodes


def trajectory_of(messages: Sequence[Mapping[str, Any]], renderer: Renderer) -> Trajectory:
    """An episode as tokens: every assistant line after the opening is an action to learn.

    The tokens are those the policy would have seen had it said the same: `open`, action, `extend`, …
    Raises ValueError when nothing in it was said by an assistant after a first message.
    """
    cuts = [i for i, message in enumerate(messages) if message["role"] == "assistant" and i > 0]
    if not cuts:
        raise ValueError("an episode needs an assistant line after its first message")
    segment = Segment()
    segment.hear(renderer.open(messages[: cuts[0]]))
    for index, cut in enumerate(cuts):
        tokens = renderer.encode_action(messages[cut]["content"])
        segment.act(tokens, [0.0] * len(tokens), index)
        end = cuts[index + 1] if index + 1 < len(cuts) else None
        if end is not None:
            segment.hear(renderer.extend(messages[cut + 1 : end]))
    count = len(cuts)
    return Trajectory(
        group="sft",
        segments=[segment],
        rewards=[0.0] * count,
        turn_rewards=[0.0] * count,
        versions=[0] * count,
    )


def batches(examples: Sequence[Trajectory], config: SFTConfig, *, seed: int) -> Iterator[list[Trajectory]]:
    """Shuffled batches, epoch after epoch, `config.steps` of them at most; the same for the same seed."""
    count = 0
    for epoch in range(config.epochs):
        order = list(examples)
        random.Random(derive_seed(seed, "sft", epoch)).shuffle(order)
        for start in range(0, len(order), config.batch):
            if config.steps is not None and count >= config.steps:
                return
            count += 1
            yield order[start : start + config.batch]
