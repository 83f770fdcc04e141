"""Episodes longer than the context: with all of the past they end there, with summaries they are learned.

    python benchmarks/context.py [--seeds 0 1 2] [--steps 50]

The world is `benchmarks/memory_world.py`: a fact on the first page, pages of noise, and a question about the
fact at the end. A tiny model imitates a reader whose notes are careless: they keep the fact with a chance of
0.8 each time. What it imitates therefore forgets; reinforcement is told the outcome alone. From there go on:

- resum: summaries are trained like all actions;
- heard: the same, but summaries are not trained: the policy only learns to live with them;
- full: all of the past, until no action fits (judged only: no episode comes to an end to learn from).

Writes benchmarks/results/context.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memory_world import ID, reading

from forge_train.config import Config, load
from forge_train.engine import Sampling
from forge_train.engines.scripted import ScriptedEngine
from forge_train.play.episode import TokenPlayer, gather, play
from forge_train.play.renderer import Renderer
from forge_train.play.world_pool import World
from forge_train.policy import make_policy, make_renderer
from forge_train.record.run_folder import read_lines
from forge_train.run import train

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "runs" / "context"
RESULTS = ROOT / "benchmarks" / "results" / "context.json"
ASK = "Note all"
CARELESS = 0.8
"""Chance with which the reader that is imitated notes a fact."""

RESUM = (
    "context.kind=resum", f"context.ask={ASK}.", f"context.ask_again={ASK} again.", "context.trigger=0.7",
    "context.note=Notes: {text}", "context.last_call=Last one.", "context.summary_tokens=14",
)  # fmt: skip
KINDS = {"resum": RESUM, "heard": (*RESUM, "context.train_summaries=false"), "full": ()}


def config_of(name: str, seed: int, steps: int, *more: str) -> Config:
    """A run of that name."""
    return load(None, [
        f"worlds.0.id=memory_world:{ID}", "worlds.0.tasks=4096",
        "worlds.0.args={pages=5, noise=8, facts=1, values=8, talk=true}",
        f"run.out={OUT / name}-{seed}", f"run.seed={seed}", f"run.steps={steps}", "run.threads=1",
        "run.checkpoint_every=0", "model.tiny.hidden=64", "model.tiny.layers=2", "model.tiny.vocab=380",
        "rollout.max_context=96", "rollout.max_action=8", "rollout.groups=4", "rollout.group_size=8",
        "algorithm.advantage=rloo", "optim.lr=1e-3", "optim.betas=[0.9, 0.98]",
        "eval.tasks=100", "eval.repeats=1", "eval.k=[1]", *more,
    ])  # fmt: skip


def lessons(config: Config, worlds: dict[str, World], renderer: Renderer) -> None:
    """Episodes of a careless reader, in the run's own tokens, so that it is asked for notes where the policy
    will be."""
    world, path = worlds[config.worlds[0].label], Path(config.sft.path)

    def say(tokens: Sequence[int], conversation: str, seed: int) -> list[int]:
        chance = random.Random(f"{conversation} {len(tokens)}")
        shown = renderer.text([*tokens])
        said = reading(shown, ASK, keeps=lambda _: chance.random() < CARELESS)
        return renderer.encode_action(said)

    engine = ScriptedEngine(say, max_context=config.rollout.max_context)
    player = TokenPlayer(engine, renderer, Sampling(max_tokens=config.rollout.max_action), config.context)
    tasks = world.tasks("train", config.sft.episodes)

    async def all_of_them() -> list[dict[str, Any]]:
        plays = (play(world, player, task, seed=0, group=task, deadline=60.0) for task in tasks)
        return [{"messages": t.info["conversation"]} for t in await gather(plays)]

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in asyncio.run(all_of_them())))


def imitate(seed: int) -> dict[str, Any]:
    """The warm start of a seed; returns its evaluations."""
    taught = ("sft.episodes=320", "sft.epochs=12", "sft.batch=16", "sft.lr=3e-3", "sft.warmup=10",
              f"sft.path={OUT}/lessons-{seed}.jsonl")  # fmt: skip
    config = config_of("imitated", seed, 0, *RESUM, *taught)
    worlds = {w.label: World(w.id, w.args, w.label, w.weight) for w in config.worlds}
    model, tokenizer = make_policy(config, worlds, None)
    lessons(config, worlds, make_renderer(config, model, tokenizer, worlds, began=time.time()))
    return trained("imitated", config)


def trained(kind: str, config: Config) -> dict[str, Any]:
    """Run it; returns its evaluations and what its first and last step looked like."""
    began = time.perf_counter()
    train(config)
    events = read_lines(config.run.folder / "events.jsonl")
    metrics = read_lines(config.run.folder / "metrics.jsonl")
    told = ("success", "segments", "summaries", "history_tokens", "tokens_saved", "turns", "endings")
    judged = [e for e in events if e["event"] == "evaluation"]
    row = {
        "kind": kind,
        "seed": config.run.seed,
        "seconds": round(time.perf_counter() - began, 1),
        "evaluations": {e["stage"]: {"success": e["pass@1"], "endings": e["endings"]} for e in judged},
        "steps": [{k: metrics[i].get(k) for k in told} for i in (0, -1) if metrics],
    }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--fresh", action="store_true", help="run again what was run before")
    args = parser.parse_args()
    if args.fresh:
        shutil.rmtree(OUT, ignore_errors=True)
    rows = []
    for seed in args.seeds:
        rows.append(imitate(seed))
        start = f"model.path={OUT}/imitated-{seed}/checkpoints/step-000000"
        for kind, keys in KINDS.items():
            steps = 0 if kind == "full" else args.steps
            # An episode that babbles until its tokens are gone earned nothing; left out, it teaches nothing.
            learn = ("optim.lr=3e-4", 'algorithm.masked=["deadline"]')
            rows.append(trained(kind, config_of(kind, seed, steps, start, *learn, *keys)))
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
