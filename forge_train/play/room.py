"""Room: what a policy can see at most, and whether an opening and one action fit into it.

An opening that leaves no room for an action makes an episode without a turn: a verdict of 0 that says nothing
about the policy. So openings are looked at before anything is played, and what does not fit is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx2

from forge_train.config import Config
from forge_train.play.context import beside
from forge_train.play.renderer import Message, Renderer
from forge_train.play.world_pool import World

LOOKED_AT = 64
"""Openings of a quick world that are looked at; of a world whose reset takes a machine, one."""

LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length")
"""What configs of models call their longest sequence."""


def model_limit(config: Any) -> int | None:
    """The longest sequence of a model by its config, in tokens; None where it does not say."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    found = (getattr(text, name, None) for name in LIMITS)
    return next((n for n in found if isinstance(n, int) and n > 1), None)


def context_of(asked: int | None, model: Any, key: str) -> int:
    """`asked`, or else the model's own limit, in tokens. Raises ValueError for more than the model takes."""
    limit = model_limit(model.config)
    if not asked and limit is None:
        raise ValueError(f"{key}: the model's config names no longest sequence; set {key}, in tokens")
    if asked and limit is not None and asked > limit:
        raise ValueError(f"{key} = {asked}: the model takes {limit:,} tokens; lower it, or leave it out")
    return asked or limit or 0


def with_room(config: Config, model: Any) -> Config:
    """`config` with the longest episode as a number: as it says, or else of the model and its servers.

    Raises ValueError for one that the model does not take, or that has no room for an action.
    """
    rollout = config.rollout
    longest = context_of(rollout.max_context, model, "rollout.max_context")
    if not rollout.max_context and rollout.engine == "vllm":
        longest = min([longest, *_served(config.vllm.urls)])
    if rollout.max_action >= longest:
        raise ValueError(
            f"rollout.max_action = {rollout.max_action}: the model sees {longest:,} tokens, so "
            "that no prompt fits before an action; lower it"
        )
    return config.model_copy(update={"rollout": rollout.model_copy(update={"max_context": longest})})


def _served(urls: Iterable[str]) -> list[int]:
    """The longest sequences of servers that run already; those that do not answer yet are asked later."""
    found = []
    for url in urls:
        try:
            models = httpx2.get(f"{url}/v1/models", trust_env=False, timeout=5.0).json()["data"]
            found += [m["max_model_len"] for m in models if isinstance(m.get("max_model_len"), int)]
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def refuse_cramped(
    world: World,
    tasks: Sequence[str],
    count: Callable[[Sequence[Message]], int],
    *,
    context: int,
    action: int,
    key: str,
    most: int | None = None,
    beside: int = 0,
) -> None:
    """Raise ValueError when an opening of `tasks` and one action of `action` tokens are more than `context`.

    `count` tells the tokens of opening messages, `key` what a person sets to change `context`, `most` what
    the model takes, and `beside` the tokens that [context] needs besides (see `forge_train.play.context`). A
    world that fails to open is left alone: play tells that properly.
    """
    seen = [(count(opening), task) for task, opening in _openings(world, tasks)]
    long = sorted(found for found in seen if found[0] + action + beside > context)
    if not long:
        return
    tokens, task = long[-1]
    need = tokens + action + beside
    notes = f", and notes and requests ([context]) {beside:,}" if beside else ""
    way = f"set {key} to {need} or more"
    if most is not None and need > most:
        way = f"the model takes {most:,}, so take one that sees more, or shorter actions"
    raise ValueError(
        f"{key} = {context:,} has no room for world {world.name}, task {task!r}: its opening has {tokens:,} "
        f"tokens and an action up to {action:,}{notes}, together {need:,}. Of {len(seen)} openings looked "
        f"at, {len(long)} do not fit; {way}, or have the world say less by its arguments (`forge-envs list`)"
    )


def refuse_cramped_run(
    config: Config, worlds: Mapping[str, World], judged: Mapping[str, World], renderer: Renderer, model: Any
) -> None:
    """`refuse_cramped` for all worlds of a run, where it learns and where it is judged."""
    for world in config.worlds:
        for place, split, tasks in (
            (judged[world.label], config.eval.split, config.eval.tasks),
            (worlds[world.label], world.split, world.tasks),
        ):
            refuse_cramped(
                place,
                place.tasks(split, tasks),
                lambda messages: len(renderer.open(messages)),
                context=config.rollout.max_context,
                action=config.rollout.max_action,
                key="rollout.max_context",
                most=model_limit(model.config),
                beside=beside(config.context, renderer, config.rollout.max_action),
            )


def _openings(world: World, tasks: Sequence[str]) -> Iterable[tuple[str, Sequence[Message]]]:
    """Some openings of `tasks`, spread evenly over them."""
    most = min(LOOKED_AT if world.quick else 1, len(tasks))
    for i in range(most):
        task = tasks[i * len(tasks) // most]
        try:
            env = world.acquire()
            observation, _ = env.reset(**world.start(task, 0))
        except Exception:
            continue
        world.release(env)
        yield task, [dict(message) for message in observation]
