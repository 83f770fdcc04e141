"""Whether a chat endpoint shows its model the tools that it is sent: some chat templates leave them out.

Such a model is judged on a desk that it cannot use, and nothing in its answers says so. The endpoint's own
count of tokens does: a prompt with tools must be longer than without.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from forge_train.engine import EngineFailed, Sampling
from forge_train.play.chat_player import ChatEndpoint, ChatPlayer
from forge_train.play.world_pool import World

_ENOUGH = 16
"""Tokens of the answers that are asked for; some models take no lower limit."""
_QUESTION = [{"role": "user", "content": "Hello."}]


async def refuse_hidden(endpoint: ChatEndpoint, world: World, task: str, *, blind: bool) -> None:
    """Raise ValueError where the tools of `world` do not reach the model; with `blind` only say so.

    Two short requests, for worlds with tools alone. An endpoint that counts no tokens is believed, and one
    that does not answer is left to the play, which says why.
    """
    tools = _tools(world, task)
    if not tools:
        return
    player = ChatPlayer(replace(endpoint, attempts=1), Sampling(temperature=0.0, max_tokens=_ENOUGH))
    try:
        counts = [await _counted(player, given) for given in ([], tools)]
    except EngineFailed:
        return
    finally:
        await player.close()
    without, told = counts
    if not isinstance(without, int) or not without:
        return
    if isinstance(told, int) and (not told or told > without):
        return
    what = f"it takes no tools ({told})"
    if isinstance(told, int):
        counted = f"{told} prompt tokens with {len(tools)} tools, {without} without"
        what = f"its chat template leaves tools out: {counted}"
    text = (
        f"{endpoint.model} at {endpoint.url}: {what}. Serve it with a template that shows them (forge-train "
        "serve MODEL --tools; vLLM's own flags are --enable-auto-tool-choice, --tool-call-parser and "
        "--chat-template)"
    )
    if not blind:
        raise ValueError(f"{text}; --blind plays without them")
    print(f"{text}; played without them (--blind)", file=sys.stderr)


async def _counted(player: ChatPlayer, tools: Sequence[Any]) -> int | str:
    """Prompt tokens of a short request, or why the request with tools was refused. Raises EngineFailed."""
    try:
        return int((await player.ask(_QUESTION, tools, 0, 0)).usage["prompt_tokens"])
    except EngineFailed as error:
        if tools and not error.retryable:
            return str(error)
        raise


def _tools(world: World, task: str) -> list[Any]:
    """What the opening of `task` brings. A world whose opening fails is left to the play."""
    try:
        env = world.acquire()
        if not getattr(env.action_space, "tools", True):  # it has none, and its reset may take a machine
            world.release(env)
            return []
        observation, _ = env.reset(**world.start(task, 0))
        world.release(env)
        return [tool for message in observation for tool in message.get("tools") or ()]
    except Exception:
        return []
