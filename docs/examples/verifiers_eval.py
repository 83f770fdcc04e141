"""An episode by verifiers' own machinery: `python verifiers_eval.py BASE_URL MODEL` (uv on the PATH).

BASE_URL is any OpenAI-compatible server, as `vllm serve` or `forge-train serve`. For the command line and
for prime-rl, write a package: `python -m forge_envs.adapters.verifiers Forge/Retail-v0`.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import verifiers.v1 as vf
from verifiers.v1.clients import ModelContext

from forge_envs.adapters.verifiers import write_package


async def main(base_url, model):
    with tempfile.TemporaryDirectory() as place:
        sys.path.insert(0, str(write_package("Forge/Retail-v0", Path(place), {"turn_weight": 0.1})))
        taskset = {"id": "forge_retail", "tasks": ["retail/small/train/2/1"]}
        env = vf.load_environment(vf.resolve_env_config({"taskset": taskset}))
        client = vf.EvalClientConfig(base_url=base_url)
        context = ModelContext(model=model, client=client, sampling=vf.SamplingConfig(max_tokens=512))
        async with env.serving():
            slots = [slot for task in env.taskset for slot in env.slots(task, 1)]
            for episode in await asyncio.gather(*(env.run_slot(slot, context) for slot in slots)):
                for trace in episode.traces:
                    print(episode.ok, trace.reward, trace.metrics, trace.num_turns, "turns")


asyncio.run(main(*sys.argv[1:])) if len(sys.argv) == 3 else sys.exit(__doc__)
