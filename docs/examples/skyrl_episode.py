"""One episode as SkyRL's generator plays it, with a script that knows the answers for a policy.

To train, write `rows(...)` to a parquet file, call `register_worlds()` in every process, and put
`MaskFailures` before `SkyRLGymGenerator` among the bases of your generator.
"""

import skyrl_gym

from forge_envs.adapters import Session
from forge_envs.adapters.skyrl import register_worlds, rows

register_worlds()
row = rows("Forge/Retail-v0", {"turn_weight": 0.1}, n=1)[0]
with Session("Forge/Retail-v0") as session:
    actions = session.env.gold_actions(row["task"])

env = skyrl_gym.make(row["env_class"], env_config={}, extras={**row, "max_turns": 30})
prompt, _ = env.init(row["prompt"])
print(prompt[-1]["content"])
for action in actions:
    answer = env.step(action)
    print(f"{answer['reward']:.3f}", [message["content"][:60] for message in answer["observations"]])
print(answer["done"], env.get_metrics())
env.close()
