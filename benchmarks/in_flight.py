"""How long do thousands of episodes take at once, over the time their engine alone would take?

    python benchmarks/in_flight.py [--episodes 2048] [--latency 1.0 0.05] [--world ID] [--turns 4]

Every action takes `latency` seconds in the engine, so a batch of episodes of `turns` turns cannot end
before turns x latency. Everything above that is ours: rendering, bookkeeping, the event loop, the world.
One thread plays them all. Writes benchmarks/results/in_flight.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from forge_train.engine import Completion, Sampling
from forge_train.play.episode import TokenPlayer, gather, play
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.seeds import derive_seed
from forge_train.tiny import train_tokenizer

POLICY = "You are the clerk of a shop. Ask before you change anything. " * 40
TOOLS = [
    {
        "type": "function",
        "function": {"name": f"tool_{i}", "parameters": {"type": "object", "properties": {}}},
    }
    for i in range(12)
]


class Shop(gym.Env[tuple[dict[str, Any], ...], str]):
    """A world with a prompt of real length that answers at once, so that what is measured is the rollout."""

    metadata = {"quick": True, "render_modes": []}  # noqa: RUF012
    observation_space = gym.spaces.Discrete(1)  # type: ignore[assignment]
    action_space = gym.spaces.Text(1000)  # type: ignore[assignment]

    def __init__(self, max_turns: int = 4) -> None:
        self.max_turns = max_turns

    def task_ids(self, split: str, n: int) -> list[str]:
        return [f"{split}/{i}" for i in range(n)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.turn = 0
        system = {"role": "system", "content": POLICY, "tools": TOOLS}
        return (system, {"role": "user", "content": f"My order is {(options or {})['task']}."}), {}

    def step(self, action: str) -> Any:
        self.turn += 1
        answer = {"role": "tool", "content": f'{{"turn": {self.turn}, "heard": {len(action)}}}'}
        done = self.turn == self.max_turns
        info: dict[str, Any] = {"turn_reward": 0.0, "parts": {"calls": 1.0}}
        return (answer,), float(done), done, False, info | ({"outcome": 1.0} if done else {})


gym.register("Bench/Shop-v0", entry_point=Shop)


class Waits:
    """An engine of a given latency and no other cost."""

    version, max_context, reproducible = 0, 1 << 20, True

    def __init__(self, said: list[int], latency: float) -> None:
        self.said, self.latency = said, latency

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        await asyncio.sleep(self.latency)
        return Completion(list(self.said), [-0.5] * len(self.said), "stop", 0)

    def forget(self, conversation: str) -> None: ...

    async def weights_changed(self, version: int) -> None: ...

    async def close(self) -> None: ...


def measure(world: World, renderer: ChatML, episodes: int, latency: float) -> dict[str, float]:
    """Wall time of `episodes` plays at once."""
    call = '<tool_call>\n{"name": "tool_3", "arguments": {"order": "#W1234567"}}\n</tool_call>'
    player = TokenPlayer(Waits(renderer.encode_action(call), latency), renderer, Sampling())
    tasks = world.tasks("train", episodes)

    async def all_at_once() -> tuple[float, float, int]:
        wall, cpu = time.perf_counter(), time.process_time()
        played = await gather(
            play(world, player, task, seed=derive_seed(i), group=str(i), deadline=600)
            for i, task in enumerate(tasks)
        )
        endings = Counter(t.ending for t in played)
        assert set(endings) <= {"terminated", "max_turns"}, endings
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        turns = [len(t.rewards) for t in played]
        return wall / (max(turns) * latency), cpu / sum(turns), max(turns)

    gc.collect()
    gc.freeze()  # as a trainer should: what was imported is not looked through again
    ratio, per_turn, turns = asyncio.run(all_at_once())
    return {
        "latency_s": latency,
        "turns": turns,
        "over_ideal": round(ratio, 3),
        "cpu_us_a_turn": round(1e6 * per_turn),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=2048)
    parser.add_argument("--latency", type=float, nargs="+", default=[1.0, 0.05])
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--world", default="Bench/Shop-v0")
    args = parser.parse_args()
    world = World(args.world, {"max_turns": args.turns})
    renderer = ChatML(train_tokenizer([POLICY], 512))
    rows = [measure(world, renderer, args.episodes, latency) for latency in args.latency]
    for row in rows:
        print(f"{args.episodes} episodes of {world.name}: {row}")
    out = Path(__file__).parent / "results" / "in_flight.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(
        json.dumps({"world": world.name, "episodes": args.episodes, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
