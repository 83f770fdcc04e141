"""NeMo-Gym's own agent in a world: python docs/examples/nemo_rollout.py WORLD_PORT MODEL_PORT

WORLD_PORT is the --port of `python -m forge_envs.adapters.nemo Forge/Retail-v0`, MODEL_PORT that of a model
behind /v1/responses.
"""

import asyncio
import sys

from fastapi import Request
from nemo_gym.config_types import BaseServerConfig
from nemo_gym.server_utils import GlobalAIOHTTPAsyncClientConfig, ServerClient, set_global_aiohttp_client
from omegaconf import OmegaConf
from responses_api_agents.gymnasium_agent.app import GymnasiumAgent, GymnasiumAgentRunRequest

from forge_envs.adapters.nemo import rows


def agent_of(world: int, model: int) -> GymnasiumAgent:
    kinds = {"forge": ("resources_servers", world), "policy": ("responses_api_models", model)}
    at = {name: {kind: {name: {"host": "127.0.0.1", "port": port}}} for name, (kind, port) in kinds.items()}
    client = ServerClient(
        head_server_config=BaseServerConfig(host="", port=0), global_config_dict=OmegaConf.create(at)
    )
    config = {"name": "forge_agent", "entrypoint": "app.py", "host": "", "port": 0, "max_steps": 50}
    config["resources_server"] = {"type": "resources_servers", "name": "forge"}
    config["model_server"] = {"type": "responses_api_models", "name": "policy"}
    return GymnasiumAgent(config=config, server_client=client)


async def rollouts(agent: GymnasiumAgent, found: list) -> list:
    set_global_aiohttp_client(GlobalAIOHTTPAsyncClientConfig())
    asked = [(Request({"type": "http", "headers": []}), GymnasiumAgentRunRequest(**row)) for row in found]
    return await asyncio.gather(*(agent.run(*one) for one in asked), return_exceptions=True)


if __name__ == "__main__":
    agent = agent_of(*map(int, sys.argv[1:])) if len(sys.argv) == 3 else sys.exit(__doc__)
    for run in asyncio.run(rollouts(agent, rows("Forge/Retail-v0", n=4))):
        print(run if isinstance(run, Exception) else (run.reward, run.info["forge"]["outcome"]))
