"""How much does playing thousands of episodes slow an update that is computed beside it in the same process?

    python benchmarks/playing_beside.py [--episodes 2048] [--latency 1.0] [--rounds 5] [--hidden 128 512]

The learner updates in a thread, with one thread of torch, as `Trainer.beside` does; the loop plays episodes
all the while, each action taking `latency` seconds in an engine that costs nothing, and every one that ends
is replaced by another. Rounds alternate between the update alone and with the episodes beside it; the ratio
is of wall seconds within a round, so two cores must be free: one computes, one plays. What is left above 1 is
the interpreter's lock. The processor seconds that the loop takes of a wall second are told too. On a GPU the
thread waits for the device without the lock, and models are larger: a small model here is the worst case.
Writes benchmarks/results/playing_beside.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from in_flight import POLICY, Waits
from transformers import Qwen3Config, Qwen3ForCausalLM
from tree_packing import VOCAB, Load, made

from forge_train.config import LossConfig, OptimConfig
from forge_train.engine import Sampling
from forge_train.learn.kernels import in_thread
from forge_train.learn.learner import Learner
from forge_train.play.episode import TokenPlayer, play
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.seeds import derive_seed
from forge_train.tiny import train_tokenizer

CALL = '<tool_call>\n{"name": "tool_3", "arguments": {"order": "#W1234567"}}\n</tool_call>'


def learner_of(hidden: int) -> Learner:
    torch.manual_seed(0)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": hidden // 4}
    size = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": 4}
    return Learner(Qwen3ForCausalLM(Qwen3Config(vocab_size=VOCAB, **heads, **size)), OptimConfig(lr=1e-6))


class Crowd:
    """So many episodes at once, for as long as it is open."""

    def __init__(self, world: World, player: TokenPlayer, episodes: int) -> None:
        self.world, self.player, self.episodes, self.played = world, player, episodes, 0

    async def __aenter__(self) -> Crowd:
        self.tasks = [asyncio.create_task(self._on(i)) for i in range(self.episodes)]
        return self

    async def __aexit__(self, *_: Any) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _on(self, i: int) -> None:
        [task] = self.world.tasks("train", 1)
        while True:
            number = derive_seed(i, str(self.played))
            await play(self.world, self.player, task, seed=number, group=str(i), deadline=600)
            self.played += 1


async def timed(update: Callable[[], Any]) -> tuple[float, float]:
    """Wall seconds of an update in its thread, and processor seconds of this one meanwhile."""
    wall, own = time.perf_counter(), time.thread_time()
    await in_thread(update)
    return time.perf_counter() - wall, time.thread_time() - own


async def measure(
    hidden: int, load: Load, crowd: Callable[[], Crowd], rounds: int, settle: float
) -> dict[str, Any]:
    learner = learner_of(hidden)

    def update() -> None:
        learner.update(*load, LossConfig())

    await in_thread(update)
    ratios, busy, seconds = [], [], []
    for _ in range(rounds):
        alone, _ = await timed(update)
        async with crowd():
            await asyncio.sleep(settle)  # until they are spread over a second
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
    args = parser.parse_args()
    torch.set_num_threads(1)
    world = World("in_flight:Bench/Shop-v0", {"max_turns": 4})
    renderer = ChatML(train_tokenizer([POLICY], 512))
    player = TokenPlayer(Waits(renderer.encode_action(CALL), args.latency), renderer, Sampling())
    rows = []
    for hidden in args.hidden:
        crowd = lambda: Crowd(world, player, args.episodes)  # noqa: E731
        load = made(4, 200)
        rows.append(asyncio.run(measure(hidden, load, crowd, args.rounds, 2 * args.latency)))
        print(f"{args.episodes} episodes in flight, {args.latency:g} s an action: {rows[-1]}", flush=True)
    told = {"episodes": args.episodes, "latency_s": args.latency, "rows": rows}
    out = Path(__file__).parent / "results" / "playing_beside.json"
    out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
