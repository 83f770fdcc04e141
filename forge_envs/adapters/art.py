"""A rollout for ART: one episode over an OpenAI-compatible client, as an `art.Trajectory`.

```python
groups = await art.gather_trajectory_groups(
    (art.TrajectoryGroup(rollout(client, name, "Forge/Retail-v0", task, seed=i) for i in range(8))
     for task in tasks),
    max_exceptions=8,
)
```
with `client = model.openai_client()` and `name = model.get_inference_name()`.

The tools go to the server as tools; calls that it parsed and calls that it left in the text are the same to
the world. With `tools=False` they are explained in the system message, in the world's own grammar.

A machine that fails raises MachineError: it joins the group's `exceptions` and its siblings stay. ART
re-raises it unless `max_exceptions` allows for it.

## What it cannot carry

- Turn rewards: ART takes one number a trajectory, here the return. The metrics have the outcome, the sum of
  the turn rewards and the named parts.
- An answer that was cut for its length: the world does not hear it and is graded where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forge_envs.adapters.asked import episode_seed
from forge_envs.adapters.library import need
from forge_envs.adapters.session import Session
from forge_envs.adapters.spoken import action_of, results_of
from forge_envs.adapters.waiting import aside
from forge_envs.adapters.written import chat_messages, split_tools
from forge_envs.errors import MachineError

need("openpipe-art", (0, 5), "openpipe-art==0.5.18")

import art  # noqa: E402


async def rollout(
    client: Any,
    model: str,
    world: str,
    task: str,
    args: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    tools: bool = True,
    **sampling: Any,
) -> art.Trajectory:
    """Play `task` with the model behind `client`; `sampling` are arguments of `chat.completions.create`.

    Raises MachineError, TaskError for an unknown task, and what the client raises.
    """
    with Session(world, args) as session:
        opening = await aside(session, session.begin, task, seed=episode_seed(seed, task))
        plain, schemas = split_tools(opening)
        told = plain if tools else chat_messages(opening, session.env.grammar)
        trajectory = art.Trajectory(
            messages_and_choices=told,
            tools=schemas if tools and schemas else None,
            metadata={"world": world, "task": task, "seed": seed},
        )
        while not session.over:
            choice = await _answer(client, model, trajectory, sampling)
            trajectory.messages_and_choices.append(choice)
            if choice.finish_reason == "length":
                break
            calls = choice.message.tool_calls or ()
            asked = [(call.function.name, call.function.arguments) for call in calls]
            action = action_of(session.env.grammar, choice.message.content or "", asked)
            turn = await aside(session, session.act, action)
            ids = [call.id for call in calls]
            trajectory.messages_and_choices.extend(results_of(turn.messages, ids))
        await aside(session, session.finish)
        return _scored(trajectory, session)


async def _answer(client: Any, model: str, trajectory: art.Trajectory, sampling: Mapping[str, Any]) -> Any:
    given: dict[str, Any] = {"logprobs": True, **sampling}
    if trajectory.tools:
        given["tools"] = trajectory.tools
    answer = await client.chat.completions.create(model=model, messages=trajectory.messages(), **given)
    if not answer.choices:
        text = f"the server of {model!r} answered without a choice"
        raise MachineError(text, kind="rubbish", stage="policy", retryable=True)
    return answer.choices[0]


def _scored(trajectory: art.Trajectory, session: Session) -> art.Trajectory:
    trajectory.reward = session.reward
    trajectory.metrics |= {
        "outcome": session.outcome,
        "turns": session.env.playing.turn,
        "turn_reward": sum(turn.turn_reward for turn in session.turns),
        **{f"part_{name}": value for name, value in session.parts.items()},
    }
    return trajectory.finish()
