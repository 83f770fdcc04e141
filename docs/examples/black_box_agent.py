"""An agent that is a black box: it knows the OpenAI client and where its world is, nothing of a trainer.

forge-train train forge_train/recipes/grpo.toml rollout.in_flight=8 \\
    'agent.command=["python", "{here}/docs/examples/black_box_agent.py"]'
"""

import json
import os
import urllib.request

from openai import NOT_GIVEN, OpenAI


def world(said=None):
    """Say something to the world; without anything to say, hear how the episode began."""
    data = None if said is None else json.dumps(said).encode()
    with urllib.request.urlopen(urllib.request.Request(os.environ["FORGE_WORLD_URL"], data)) as answer:
        return json.load(answer)


policy = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY are this episode's own
messages = world()["messages"]
tools = messages[0].pop("tools", NOT_GIVEN)  # some prompts explain them in words
while True:
    answer = policy.chat.completions.create(model="policy", messages=messages, tools=tools)
    said = answer.choices[0].message
    messages.append(said.model_dump(exclude_none=True))
    calls = [{"name": c.function.name, "arguments": c.function.arguments} for c in said.tool_calls or ()]
    told = world({"text": said.content, "calls": calls} if calls else {"action": said.content})
    if told["over"]:
        break
    ids = iter([call.id for call in said.tool_calls or ()])
    for message in told["messages"]:
        messages.append(message | ({"tool_call_id": next(ids, "?")} if message["role"] == "tool" else {}))
