"""Play gold on `forge-envs serve` from afar: start `forge-envs serve --worlds Forge/Retail-v0`, then this."""

import sys

import gymnasium as gym

if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8123"
    far = gym.make("forge_envs:Forge/Remote-v0", url=url, world="Forge/Retail-v0", args={"size": "small"})
    here = gym.make("forge_envs:Forge/Retail-v0", size="small")  # it knows the gold; the server tells nobody
    for task in far.unwrapped.task_ids("train", 5):
        messages, info = far.reset(seed=0, options={"task": task})
        for action in here.unwrapped.gold_actions(task):
            messages, reward, terminated, truncated, info = far.step(action)
            if "error" in info:
                sys.exit(f"the machine failed: {info['error']}")
        print(task, "outcome", info["outcome"], "parts", info["parts"])
    far.close()
