"""An evaluation by Inspect, with a script that knows the answers for a model: `python inspect_eval.py`.

For a real one: `eval(forge_world("Forge/Retail-v0"), model="openai/MODEL", fail_on_error=False)`.
"""

import tempfile

from inspect_ai import eval
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from forge_envs.adapters import Session
from forge_envs.adapters.inspect_ai import forge_world

WORLD, TASK = "Forge/Retail-v0", "retail/small/train/2/1"
with Session(WORLD) as session:
    ACTIONS = session.env.gold_actions(TASK)


def answer(messages, tools, choice, config):
    turn = sum(message.role == "assistant" for message in messages)
    output = ModelOutput.from_content("script", ACTIONS[turn])
    output.usage = ModelUsage()
    return output


task = forge_world(WORLD, tasks=[TASK], epochs=2, pass_k=2)
model = get_model("mockllm/script", custom_outputs=answer)
with tempfile.TemporaryDirectory() as logs:
    (log,) = eval(task, model=model, fail_on_error=False, log_dir=logs, display="none")
for score in log.results.scores:
    print(log.status, score.reducer, score.metrics["mean"].value)
