"""How much does playing thousands of episodes slow an update that is computed beside it in the same process?

    python benchmarks/playing_beside.py [--episodes 2048] [--latency 1.0] [--hidden 128 512] [--ray]

The learner updates in a thread, with one thread of torch, as `Trainer.beside` does; the loop plays episodes
all the while, each action taking `latency` seconds in an engine that costs nothing, and every one that ends
is replaced by another. Rounds alternate between the update alone and with the episodes beside it; the ratio
is of wall seconds within a round, so two cores must be free: one computes, one plays. What is left above 1 is
the interpreter's lock. The processor seconds that the loop takes of a wall second are told too. On a GPU the
thread waits for the device without the lock, and models are larger: a small model here is the worst case.
With --ray the same episodes are played by one actor of Ray, as rollout.workers = "ray" does it: what is left
then is the cost of handing groups over, and what two cores share.
Writes benchmarks/results/playing_beside.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from in_flight import POLICY, Waits
from transformers import Qwen3Config, Qwen3ForCausalLM
from tree_packing import VOCAB, Load, made

from forge_train.config import LossConfig, OptimConfig, WorldConfig
from forge_train.engine import Sampling
from forge_train.learn.kernels import in_thread
from forge_train.learn.learner import Learner
from forge_train.play.curriculum import Draw
from forge_train.play.episode import TokenPlayer
from forge_train.play.local_runner import LocalRunner
from forge_train.play.ray_runner import RayRunner, Recipe
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.tiny import train_tokenizer
from forge_train.trainer import Runner

SHOP = WorldConfig(id="in_flight:Bench/Shop-v0", name="shop", args={"max_turns": 4})
GROUP = 8
RESULTS = Path(__file__).parent / "results" / "playing_beside.json"
CALL = '<tool_call>\n{"name": "tool_3", "arguments": {"order": "#W1234567"}}\n</tool_call>'


async def waiting(latency: float) -> TokenPlayer:
    """A player whose engine costs nothing and takes `latency` seconds an action."""
    renderer = ChatML(train_tokenizer([POLICY], 512))
    return TokenPlayer(Waits(renderer.encode_action(CALL), latency), renderer, Sampling())


@asynccontextmanager
async def runner_of(ray: bool, episodes: int, latency: float) -> AsyncIterator[Runner]:
    """Who plays: this loop, or an actor of Ray."""
    recipe = Recipe((SHOP,), partial(waiting, latency), seed=0, group_size=GROUP, deadline=600)
    if not ray:
        world = World(SHOP.id, SHOP.args, SHOP.label)
        yield LocalRunner(
            {SHOP.label: world},
            await recipe.player(),
            seed=0,
            group_size=GROUP,
            deadline=600,
            in_flight=episodes,
        )
        world.close()
        return
    runner = RayRunner(recipe, 1, in_flight=episodes)
    await runner.start()
    try:
        yield runner
    finally:
        await runner.close()


def learner_of(hidden: int) -> Learner:
    torch.manual_seed(0)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": hidden // 4}
    size = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": 4}
    return Learner(Qwen3ForCausalLM(Qwen3Config(vocab_size=VOCAB, **heads, **size)), OptimConfig(lr=1e-6))


class Crowd:
    """So many groups at once, for as long as it is open."""

    def __init__(self, runner: Runner, groups: int) -> None:
        self.runner, self.groups, self.played = runner, groups, 0

    async def __aenter__(self) -> Crowd:
        self.tasks = [asyncio.create_task(self._on()) for _ in range(self.groups)]
        return self

    async def __aexit__(self, *_: Any) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _on(self) -> None:
        while True:
            self.played += 1
            await self.runner(Draw(self.played, SHOP.label, "train/0", 0))


async def timed(update: Callable[[], Any]) -> tuple[float, float]:
    """Wall seconds of an update in its thread, and processor seconds of this one meanwhile."""
    wall, own = time.perf_counter(), time.thread_time()
    await in_thread(update)
    return time.perf_counter() - wall, time.thread_time() - own


async def measure(hidden: int, load: Load, args: argparse.Namespace) -> dict[str, Any]:
    learner = learner_of(hidden)

    def update() -> None:
        learner.update(*load, LossConfig())

    await in_thread(update)
    ratios, busy, seconds = [], [], []
    async with runner_of(args.ray, args.episodes, args.latency) as runner:
        for _ in range(args.rounds):
            alone, _ = await timed(update)
            async with Crowd(runner, args.episodes // GROUP):
                await asyncio.sleep(2 * args.latency)  # until they are spread over a second
                beside, own = await timed(update)
            ratios.append(beside / alone)
            busy.append(own / beside)
            seconds.append(alone)
    return {
        "hidden": hidden,
        "update_s": round(statistics.median(seconds), 3),
        "beside_over_alone": round(statistics.median(ratios), 3),
        "rounds": [round(ratio, 3) for ratio in ratios],
        "loop_busy": round(statistics.median(busy), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=2048)
    parser.add_argument("--latency", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--ray", action="store_true", help="episodes are played in a process of their own")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for hidden in args.hidden:
        rows.append(asyncio.run(measure(hidden, made(4, 200), args)) | {"ray": args.ray})
        print(f"{args.episodes} episodes in flight, {args.latency:g} s an action: {rows[-1]}", flush=True)
    kept = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    others = [
        row for row in kept if (row["hidden"], row["ray"]) not in {(r["hidden"], r["ray"]) for r in rows}
    ]
    told = {"episodes": args.episodes, "latency_s": args.latency, "rows": others + rows}
    RESULTS.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
