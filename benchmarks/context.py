"""Episodes longer than the context: with all of the past they end there, with summaries they are learned.

    python benchmarks/context.py [--seeds 0 1 2] [--steps 60]

The world is `benchmarks/memory_world.py`: pages with facts, one of which is asked for at the end. A tiny
model is warmed up on episodes of a reader whose notes are careless: they keep each fact with a chance of 0.6.
What it imitates therefore forgets; reinforcement is told the outcome alone. Four runs for each seed:

- resum: summaries are trained like all actions;
- heard: the same, but summaries are not trained: the policy only learns to live with them;
- iterresearch: a report in every turn, the last page, and nothing else;
- full: all of the past, until no action fits.

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
CARELESS = 0.6
"""Chance with which the reader that is imitated notes a fact."""

RESUM = ("context.kind=resum", f"context.ask={ASK}.", f"context.ask_again={ASK} again.",
         "context.note=Notes: {text}", "context.last_call=Last one.",
         "context.summary_tokens=48", "context.trigger=0.7")  # fmt: skip
KINDS = {
    "resum": RESUM,
    "heard": (*RESUM, "context.train_summaries=false"),
    "iterresearch": ("context.kind=iterresearch", "context.rules=", "context.note=Notes: {text}",
                     "context.overflow=end", "rollout.max_action=52"),
    "full": (),
}


def config_of(kind: str, seed: int, steps: int, *more: str) -> Config:
    """A run of a kind."""
    folder = OUT / f"{kind}-{seed}"
    return load(None, [
        f"worlds.0.id=memory_world:{ID}", "worlds.0.args={pages=6, noise=16, talk=true}",
        f"run.out={folder}", f"run.seed={seed}", f"run.steps={steps}", "run.threads=1",
        "run.checkpoint_every=0", "model.tiny.hidden=64", "model.tiny.layers=2", "model.tiny.vocab=420",
        "rollout.max_context=150", "rollout.max_action=8", "rollout.groups=8", "rollout.group_size=8",
        "algorithm.advantage=rloo", "optim.lr=5e-4", "optim.betas=[0.9, 0.98]", "worlds.0.tasks=4096",
        "sft.episodes=1200", "sft.epochs=4", "sft.batch=8", "sft.lr=3e-3", "sft.warmup=20",
        f"sft.path={folder}.jsonl",
        "eval.tasks=100", "eval.repeats=2", "eval.k=[1]", *KINDS[kind], *more,
    ])  # fmt: skip


def lessons(config: Config, worlds: dict[str, World], renderer: Renderer, path: Path) -> None:
    """Episodes of a careless reader, in the run's own tokens, so that it is asked for notes where the policy
    will be."""
    world, reports = worlds[config.worlds[0].label], config.context.kind == "iterresearch"

    def say(tokens: Sequence[int], conversation: str, seed: int) -> list[int]:
        chance = random.Random(f"{conversation} {len(tokens)}")
        shown = renderer.text([*tokens])
        said = reading(shown, ASK, reports=reports, keeps=lambda _: chance.random() < CARELESS)
        return renderer.encode_action(said)

    engine = ScriptedEngine(say, max_context=config.rollout.max_context)
    player = TokenPlayer(engine, renderer, Sampling(max_tokens=config.rollout.max_action), config.context)
    tasks = world.tasks("train", config.sft.episodes)

    async def all_of_them() -> list[dict[str, Any]]:
        plays = (play(world, player, task, seed=0, group="lesson", deadline=60.0) for task in tasks)
        return [{"messages": t.info.get("conversation", t.info["messages"])} for t in await gather(plays)]

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in asyncio.run(all_of_them())))


def run(kind: str, seed: int, steps: int, *more: str) -> dict[str, Any]:
    """Train one; returns its evaluations and what its last steps looked like."""
    config = config_of(kind, seed, steps, *more)
    worlds = {w.label: World(w.id, w.args, w.label, w.weight) for w in config.worlds}
    model, tokenizer = make_policy(config, worlds, None)
    renderer = make_renderer(config, model, tokenizer, worlds, began=time.time())
    lessons(config, worlds, renderer, Path(config.sft.path))
    shutil.rmtree(config.run.folder, ignore_errors=True)
    began = time.perf_counter()
    train(config)
    seconds = time.perf_counter() - began
    events = read_lines(config.run.folder / "events.jsonl")
    metrics = read_lines(config.run.folder / "metrics.jsonl")
    told = ("success", "segments", "summaries", "history_tokens", "tokens_saved", "turns", "endings")
    return {
        "kind": kind,
        "seed": seed,
        "seconds": round(seconds, 1),
        "evaluations": {e["stage"]: {"success": e["pass@1"], "endings": e["endings"]}
                        for e in events if e["event"] == "evaluation"},
        "first": {k: metrics[0].get(k) for k in told} if metrics else {},
        "last": {k: metrics[-1].get(k) for k in told} if metrics else {},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        for kind in args.kinds:
            rows.append(run(kind, seed, args.steps, *args.overrides))
            print(json.dumps(rows[-1]), flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
