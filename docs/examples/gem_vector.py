"""Two worlds side by side in a vector env of GEM, with random agents."""

import gem

from forge_envs.adapters.gem import register_world

env_id = register_world("Forge/Retail-v0", {"turn_weight": 0.1, "max_turns": 4})
env = gem.make(env_id, seed=7)
observation, info = env.reset()
print(info["task"], "-", observation[-80:])

envs = gem.make_vec([env_id] * 2, async_mode=True, seed=7)
observations, infos = envs.reset(seed=7)
for _ in range(4):
    actions = [one.sample_random_action() for one in envs.envs]
    observations, rewards, terminated, truncated, infos = envs.step(actions)
    print(rewards, terminated | truncated, [text[:60] for text in observations])
