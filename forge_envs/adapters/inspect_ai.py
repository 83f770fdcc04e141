"""Worlds as tasks of Inspect: played by its model, scored by the world.

```console
$ inspect eval forge_envs/adapters/inspect_ai.py@forge_world -T world=Forge/Retail-v0 -T n=50 --model MODEL
```
```python
eval(forge_world("Forge/Retail-v0", n=50, epochs=4, pass_k=4), model="openai/gpt-5-mini", fail_on_error=False)
```

The model's text is the action; the tools stand in the system message, so every model plays the same
protocol. `epochs` with `pass_k` is the pass^k of tau-bench: all of k tries of a task are right.

A machine that fails raises MachineError, which ends Inspect's evaluation in the status "error". With
`fail_on_error=False` the sample is left out, and with `score_on_error=True` as well it is unscored, with the
failure as the reason; it counts for no metric either way. `retry_on_error=1` plays the sample again.

## What it cannot carry

- Turn rewards: a score is one number, the outcome. Its metadata is the episode's record, which has them.
- An answer that was cut for its length, or a sample that was stopped at a limit of Inspect's: the world is
  graded where it stands, without hearing what was cut; at a limit, where it stood when the scorer came.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from forge_envs.adapters.asked import asked_tasks, episode_seed
from forge_envs.adapters.library import need
from forge_envs.adapters.session import Session, arguments
from forge_envs.adapters.waiting import aside
from forge_envs.adapters.written import as_text, chat_messages
from forge_envs.errors import MachineError

need("inspect-ai", (0, 3), "inspect-ai==0.3.285")

from inspect_ai import Epochs, Task, task  # noqa: E402
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.model import (  # noqa: E402
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr  # noqa: E402
from inspect_ai.solver import Generate, Solver, TaskState, solver  # noqa: E402
from inspect_ai.util import LimitExceededError  # noqa: E402

KEY = "forge"
"""Where a sample's store has the episode's record."""


@task  # type: ignore[untyped-decorator]
def forge_world(
    world: str,
    args: Mapping[str, Any] | None = None,
    tasks: Sequence[str] | None = None,
    split: str = "test",
    n: int | None = 64,
    epochs: int = 1,
    pass_k: int | None = None,
    seed: int = 0,
) -> Task:
    """Tasks of one world, each played `epochs` times.

    Raises TaskError for an unknown task or none, ValueError for a `pass_k` over `epochs`, and as `Session`.
    """
    if pass_k is not None and not 1 <= pass_k <= epochs:
        raise ValueError(f"pass_k={pass_k} of epochs={epochs}: it asks for 1 to as many tries as there are")
    given = arguments(args)
    samples = [
        Sample(id=one, input=f"{world} {one}", metadata={"world": world, "args": given, "seed": seed})
        for one in asked_tasks(world, given, tasks, split, n)
    ]
    reducers = ["mean", *([f"pass_k_{pass_k}"] if pass_k else [])]
    return Task(
        dataset=MemoryDataset(samples, name=world),
        solver=play(),
        scorer=outcome(),
        epochs=Epochs(epochs, reducers),
        name=world.rpartition("/")[2],
        metadata={"world": world, "args": json.dumps(given)},
    )


@solver  # type: ignore[untyped-decorator]
def play() -> Solver:
    """Plays the sample's task. It raises MachineError."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        asked = state.metadata
        with Session(asked["world"], asked["args"]) as session:
            try:
                await _play(session, state, generate)
            except BaseException as stopped:
                # At a limit of Inspect's (time cancels) the scorer comes all the same; after a failure not.
                if not session.over and isinstance(stopped, (LimitExceededError, asyncio.CancelledError)):
                    with suppress(MachineError):  # the record has it
                        session.finish()
                raise
            finally:
                state.store.set(KEY, session.record())
        return state

    return solve


async def _play(session: Session, state: TaskState, generate: Generate) -> None:
    seed = episode_seed(state.metadata["seed"], str(state.sample_id), state.epoch)
    opening = await aside(session, session.begin, str(state.sample_id), seed=seed)
    state.messages = [_message(told) for told in chat_messages(opening, session.env.grammar)]
    while not session.over:
        state = await generate(state, tool_calls="none")
        if state.output.stop_reason in ("max_tokens", "model_length"):
            break
        turn = await aside(session, session.act, state.output.completion)
        state.messages.append(ChatMessageUser(content=as_text(turn.messages)))
    await aside(session, session.finish)
    state.completed = True


def _message(told: Mapping[str, Any]) -> ChatMessage:
    if told["role"] == "system":
        return ChatMessageSystem(content=told["content"])
    if told["role"] == "assistant":
        return ChatMessageAssistant(content=told["content"])
    return ChatMessageUser(content=as_text([told]))  # type: ignore[list-item]


@scorer(metrics=[mean(), stderr()])  # type: ignore[untyped-decorator]
def outcome() -> Scorer:
    """The world's verdict, or no score where a machine failed."""

    async def score(state: TaskState, target: Target) -> Score:
        record = state.store.get(KEY)
        if record is None or record["outcome"] is None:
            told = "the episode did not begin" if record is None else json.dumps(record["error"])
            return Score.unscored(reason="scoring_failed", explanation=told, metadata=record)
        said = state.output.completion if state.output else None
        return Score(value=record["outcome"], answer=said, metadata=record)

    return score
