"""Supervised training on episodes that somebody else played: gold ones of a world, or stored ones.

TRL's SFTTrainer was considered. It takes token masks, but our learner already has the same loss on the
same masks (`nll` with advantage 1), the same packing and the same exact resume, and one optimizer
continues from imitation into reinforcement without a second library's checkpoint in between.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_train.config import ContextConfig, SFTConfig
from forge_train.play.chat_messages import text_of
from forge_train.play.context import FULL, begin, teach
from forge_train.play.encoding import Call, arguments_of, content_of
from forge_train.play.hearing import reads
from forge_train.play.past import Limits
from forge_train.play.renderer import Renderer
from forge_train.play.world_pool import World
from forge_train.seeds import derive_seed
from forge_train.trajectory import WORLD, Trajectory

ENDLESS = Limits(context=1 << 62, action=1)
"""Those of nobody: an episode of any length is taken as it is."""
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
            actions, said = world.gold(task), 0
            for action in actions:
                said += 1
                messages.append({"role": "assistant", "content": action})
                observation, _, terminated, truncated, info = env.step(action)
                messages.extend(dict(message) for message in observation)
                outcome = info.get("outcome")
                if terminated or truncated:
                    break
            if outcome != 1.0:
                raise ValueError(_unsolved(world, task, outcome, actions=len(actions), said=said))
            episodes.append(messages)
    finally:
        world.release(env)
    return episodes


def _unsolved(world: World, task: str, outcome: float | None, *, actions: int, said: int) -> str:
    """Why gold did not earn 1, and what to do: most often the world was told to end episodes too soon."""
    earned = f"{world.name}: gold of task {task!r} earned {outcome}, not 1.0"
    limit = world.args.get("max_turns")
    if limit is not None and (said < actions or said >= limit):
        return (
            f"{earned}: it takes {actions} actions and the world's argument max_turns = {limit} ends the "
            f"episode after {said}; raise max_turns, or leave it out"
        )
    return f"{earned}; run forge-envs check"


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
            episodes.append(_episode(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f" ({error})" if isinstance(error, Unusable) else ""
            raise ValueError(
                f"{path}:{number}: not an episode{why}; "
                'each line needs {"messages": [{"role", "content"}, …]}'
            ) from None
    return episodes


class Unusable(ValueError):
    """An episode in words that nobody here understands."""


def _episode(line: Mapping[str, Any]) -> Messages:
    """The messages of one line, content as text. Tools that stand beside them ride on the first one."""
    messages = [_message(message) for message in line["messages"]]
    tools = line.get("tools")
    if isinstance(tools, str):  # columns are typed, so they travel as JSON
        tools = json.loads(tools or "[]")
    if not messages:
        raise Unusable("it holds no message")
    if tools and not any(message.get("tools") for message in messages):
        messages[0] = {**messages[0], "tools": list(tools)}
    return messages


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """One message, checked. Beside calls content may be null or missing, as in the OpenAI form."""
    calls = message.get("tool_calls") or []
    if not isinstance(message["role"], str) or not ("content" in message or calls):
        raise Unusable("a message needs a role and content")
    if message.get("content") is None and not calls:
        raise Unusable(f"content of a message of role {message['role']} is null")
    for call in calls:
        name, arguments = arguments_of(call)
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise Unusable(f"the arguments of a call are no object: {arguments!r:.80}")
    return {**message, "content": text_of(message)}


def trajectories(
    episodes: Sequence[Messages],
    renderer: Renderer,
    worlds: Iterable[World],
    context: ContextConfig = FULL,
    limits: Limits = ENDLESS,
    learn: str = "actions",
) -> list[Trajectory]:
    """Episodes as tokens, each as one of these worlds would have read it, seen as `context` says, and learned
    as `SFTConfig.learn` says."""
    grammars = [grammar for world in worlds if (grammar := world.grammar()) is not None]
    found = [trajectory_of(messages, renderer, grammars, context, limits) for messages in episodes]
    if learn != "actions":
        for messages, trajectory in zip(episodes, found, strict=True):
            hidden = system_tokens(messages, renderer) if learn == "after_system" else 0
            learn_text(trajectory, after=hidden)
    return found


def learn_text(trajectory: Trajectory, *, after: int = 0) -> None:
    """Have all tokens of an episode learned but the first `after` and the very first, which nothing predicts.

    What stands before an action counts as part of it, what follows the last as part of that.
    """
    for segment in trajectory.segments:
        number = len(trajectory.versions) - 1
        for at in reversed(range(len(segment.tokens))):
            if segment.action[at] != WORLD:
                number = segment.action[at]
            elif at >= max(1, after):
                segment.action[at] = number


def system_tokens(messages: Sequence[Mapping[str, Any]], renderer: Renderer) -> int:
    """Tokens at the beginning of an episode that the system's words take; 0 where it says none.

    Tools are shown in them. What begins the next message in every case counts as theirs.
    """
    first = messages[0]
    if first["role"] != "system":
        return 0
    ways = [renderer.open([first, {"role": "user", "content": text}]) for text in ("1", "x")]
    return next(i for i, (a, b) in enumerate(zip(*ways, strict=False)) if a != b)


def trajectory_of(
    messages: Sequence[Mapping[str, Any]],
    renderer: Renderer,
    grammars: Sequence[Any] = (),
    context: ContextConfig = FULL,
    limits: Limits = ENDLESS,
) -> Trajectory:
    """An episode as tokens: every assistant line after the opening is an action to learn.

    The tokens are those the policy would have seen had it said the same: `open`, action, `extend`, …; where
    thoughts are dropped or the past is rewritten, segment by segment. An assistant line with "summary": true
    is a summary, which the world never heard: it was asked for where it stands. Calls are written as the
    model's template writes them, and where that leaves something out, as the first of `grammars` does that
    has words for them. Raises ValueError when nothing in it was said by an assistant after a first message,
    and where it does not fit into `limits`.
    """
    cuts = [i for i, message in enumerate(messages) if message["role"] == "assistant" and i > 0]
    if not cuts:
        raise ValueError("an episode needs an assistant line after its first message")
    tools = [tool for message in messages for tool in message.get("tools") or ()]
    grammars = [grammar.for_tools(tools) for grammar in grammars]
    past = begin(context, renderer, messages[: cuts[0]], limits)
    for index, cut in enumerate(cuts):
        tokens = renderer.encode_action(action_of(messages[cut], renderer, grammars))
        segment = past.segments[-1]
        start = len(segment.tokens)
        segment.act(tokens, [0.0] * len(tokens), index)
        if past.asks:
            past.summarised(start, own=True)
            continue
        past.said(start)
        end = cuts[index + 1] if index + 1 < len(cuts) else None
        if end is not None:
            teach(past, messages[cut + 1 : end], summary=bool(messages[end].get("summary")))
    count = len(cuts)
    return Trajectory(
        group="sft",
        segments=past.segments,
        rewards=[0.0] * count,
        turn_rewards=[0.0] * count,
        versions=[0] * count,
    )


def action_of(message: Mapping[str, Any], renderer: Renderer, grammars: Sequence[Any] = ()) -> str:
    """What the policy would have said, for an assistant message in the OpenAI form. Raises ValueError."""
    content = content_of(message)
    calls = [Call(*arguments_of(call)) for call in message.get("tool_calls") or ()]
    if not calls and not message.get("reasoning_content"):
        return content
    try:
        text = renderer.written(message)
    except ValueError:
        if not grammars:
            raise
        text = ""
    whole = content.strip() in text and all(call.name in text for call in calls)
    if whole and (not grammars or any(reads(grammar, text, calls) for grammar in grammars)):
        return text
    thought = message.get("reasoning_content")
    before = f"{renderer.thoughts.start}\n{thought}\n{renderer.thoughts.end}\n\n" if thought else ""
    for grammar in grammars:
        try:
            return before + str(grammar.write(content, calls))
        except ValueError:
            continue
    raise ValueError(
        f"the template leaves out part of what was said: {content[:80]!r} and {len(calls)} calls"
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
