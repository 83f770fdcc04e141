"""Two episodes through RLlib's own env runner, with a script that knows the answers for an RLModule."""

import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from forge_envs.adapters import Session
from forge_envs.adapters.rllib import register_creator

WORLD, TASK = "Forge/Retail-v0", "retail/small/train/2/1"
with Session(WORLD) as session:
    ACTIONS = session.env.gold_actions(TASK)


class Answers(TorchRLModule):
    turn = -1

    def _forward(self, batch, **_):
        self.turn = 0 if "# Tools" in batch["obs"][0] else self.turn + 1
        said = np.empty(len(batch["obs"]), dtype=object)
        said[:] = ACTIONS[min(self.turn, len(ACTIONS) - 1)]
        return {"actions": said}


register_creator()
config = (
    PPOConfig()
    .environment("forge", env_config={"world": WORLD, "args": {"turn_weight": 0.1}, "tasks": [TASK]})
    .env_runners(num_env_runners=0, num_envs_per_env_runner=2, gym_env_vectorize_mode="sync")
    .fault_tolerance(restart_failed_sub_environments=True)
    .rl_module(rl_module_spec=RLModuleSpec(module_class=Answers))
)
for episode in SingleAgentEnvRunner(config=config).sample(num_episodes=2):
    print(f"return {episode.get_return():.1f} in {len(episode)} turns")
