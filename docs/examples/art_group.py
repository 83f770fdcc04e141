"""A group of ART trajectories, with a script that knows the answers in place of a served model.

To train, take `model.openai_client()` and `model.get_inference_name()` for `client` and the name.
"""

import asyncio
from types import SimpleNamespace

import art
from openai.types.chat import ChatCompletion

from forge_envs.adapters import Session
from forge_envs.adapters.art import rollout

WORLD, TASK = "Forge/Retail-v0", "retail/small/train/2/1"
with Session(WORLD) as session:
    ACTIONS = session.env.gold_actions(TASK)


async def create(*, messages, **_):
    turn = sum(message["role"] == "assistant" for message in messages)
    message = {"role": "assistant", "content": ACTIONS[turn]}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    about = {"id": "0", "object": "chat.completion", "created": 0, "model": "script"}
    return ChatCompletion.model_validate({**about, "choices": [choice]})


async def main():
    client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    group = await art.TrajectoryGroup(
        rollout(client, "script", WORLD, TASK, {"turn_weight": 0.1}, seed=i) for i in range(4)
    )
    for trajectory in group:
        print(trajectory.reward, trajectory.metrics["outcome"], len(trajectory.messages()), "messages")


asyncio.run(main())
