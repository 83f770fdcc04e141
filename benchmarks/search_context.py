"""Forge/Search-v0 in a third of the context: all of the past, or the policy's own notes of it.

    python benchmarks/search_context.py [--seeds 0 1 2] [--episodes 800]

Level 1, two hits, and pages told 200 characters at a time: a reader searches, reads both pages part by part
to their ends, and answers. That takes 1,213 tokens in the median, 874 in the shortest tenth. From the policy
of `search_learning.py` (runs/search/level1-SEED/supervised) a tiny model imitates that reader on questions of
the train web, and is judged on the test web, whose names it never saw:

- full: all of the past, in a context of 2,432 tokens;
- cut: the same policy, judged in 448;
- resum: 448 tokens with notes, which it imitates too: "ADDRESS 3 of 5; ADDRESS 0 of 0; Progeisham".

Writes benchmarks/results/search_context.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from search_learning import OUT as LEARNED

from forge_envs.messages import ToolCall
from forge_envs.worlds.search.env import SearchEnv
from forge_envs.worlds.search.question import ResearchQuestion
from forge_envs.worlds.search.snippets import plain
from forge_envs.worlds.search.tasks import find_task, gold_reading
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
OUT = ROOT / "runs" / "search_context"
RESULTS = ROOT / "benchmarks" / "results" / "search_context.json"
WHOLE, THIRD = 2432, 448
"""Tokens of context."""
ASK = "Note"
RESUM = (
    "context.kind=resum", f"context.ask={ASK} all.", f"context.ask_again={ASK} all again.",
    "context.trigger=0.45", "context.note=Notes: {text}", "context.last_call=Answer.",
    "context.summary_tokens=80",
)  # fmt: skip
HITS, NOTHING = 2, "nothing"
WEB = {"level": 1, "entities": 8000, "prompt": "compact", "results": HITS, "snippets": False, "budget": 200}
HIT = re.compile(r"^\d+\. .* \| (\S+) \| \S+$", re.MULTILINE)
READ = re.compile(r"^(?!\d+\. ).+ \| (\S+) \| [\d-]+\n(?:Part (\d+) of (\d+))?", re.MULTILINE)
NOTES = re.compile(r"Notes: (.*?)(?:<\|im_end\|>|\n|$)")
NOTED = re.compile(r"(\S+) (\d+) of (\d+)")


def config_of(name: str, seed: int, context: int, *more: str) -> Config:
    """A run of that name."""
    told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in WEB.items())
    return load(None, [
        "worlds.0.id=forge_envs:Forge/Search-v0", f"worlds.0.args={{{told}, max_turns = 16}}",
        "worlds.0.tasks=2000", f"run.out={OUT / name}-{seed}", f"run.seed={seed}", "run.steps=0",
        "run.threads=1", "run.checkpoint_every=0", f"rollout.max_context={context}", "rollout.max_action=64",
        "optim.kind=muon", "optim.betas=[0.9, 0.98]", "optim.micro_tokens=2048",
        "eval.tasks=100", "eval.repeats=1", "eval.k=[1]", "eval.temperature=0", *more,
    ])  # fmt: skip


class PageReader:
    """Who is imitated: told the question's goal, it reads the pages that are listed to their ends."""

    def __init__(self, env: SearchEnv, tasks: Sequence[str]) -> None:
        self._env = env
        self._goals: dict[str, tuple[ResearchQuestion, str]] = {}
        self.tasks: list[str] = []
        """Those that can be answered so: one of the pages that are listed states the fact."""
        for id in tasks:
            task = find_task(id)
            library = env.library(task)
            ((page, goal),) = gold_reading(task.question, library, HITS)
            if page.address in [hit.address for hit in library.search(goal, HITS)]:
                self._goals[task.question.text] = task.question, goal
                self.tasks.append(id)

    def say(self, shown: str) -> str:
        """What it says after all that was `shown`."""
        question, goal = next(known for text, known in self._goals.items() if text in shown)
        write: Callable[..., str] = self._env.grammar.write
        notes = NOTES.search(shown)
        *noted, found = notes[1].split("; ") if notes else [NOTHING]
        pages = {match[1]: (int(match[2]), int(match[3])) for match in map(NOTED.fullmatch, noted) if match}
        pages |= {hit[1]: (0, 0) for hit in HIT.finditer(shown) if hit[1] not in pages}
        pages |= {page[1]: (int(page[2] or 1), int(page[3] or 1)) for page in READ.finditer(shown)}
        flat = _flat(shown)
        if any(_flat(s.quote) in flat for step in question.proof for s in step.statements):
            found = question.answer
        if f"{ASK} all" in shown:
            return "; ".join([*(f"{page} {read} of {count}" for page, (read, count) in pages.items()), found])
        if not pages:
            return write(calls=[ToolCall("search", {"query": goal})])
        for page, (read, count) in pages.items():
            if not count or read < count:
                return write(calls=[ToolCall("visit", {"page": page, "part": read + 1})])
        return f"<answer>{found}</answer>"  # wrong where a fact is torn apart between parts: no lesson


def _flat(text: str) -> str:
    return " ".join(plain(text).split())


def lessons(config: Config, seed: int) -> None:
    """Episodes of the reader in the run's own tokens: it is asked for notes where the policy will be."""
    worlds = {w.label: World(w.id, w.args, w.label, w.weight) for w in config.worlds}
    world, path = worlds[config.worlds[0].label], Path(config.sft.path)
    model, tokenizer = make_policy(config, worlds, None)
    renderer: Renderer = make_renderer(config, model, tokenizer, worlds, began=time.time())
    reader = PageReader(world.acquire().unwrapped, world.tasks("train", 2000))
    engine = ScriptedEngine(
        lambda tokens, *_: renderer.encode_action(reader.say(renderer.text([*tokens]))),
        max_context=config.rollout.max_context,
    )
    player = TokenPlayer(engine, renderer, Sampling(max_tokens=config.rollout.max_action), config.context)

    async def all_of_them() -> list[Any]:
        chosen = reader.tasks[: config.sft.episodes]
        return await gather(
            [play(world, player, task, seed=seed, group=task, deadline=600.0) for task in chosen]
        )

    played = [t for t in asyncio.run(all_of_them()) if t.outcome == 1.0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"messages": t.info["conversation"]}) + "\n" for t in played))
    print(f"{len(played)} lessons of {len(reader.tasks)} questions", flush=True)


def trained(name: str, config: Config) -> dict[str, Any]:
    """Run it; what its last evaluation says."""
    began = time.process_time()
    train(config)
    last = [e for e in read_lines(config.run.folder / "events.jsonl") if e["event"] == "evaluation"][-1]
    told = {key: last[key] for key in ("pass@1", "low", "high", "endings", "turns")}
    row = {"kind": name, "seed": config.run.seed, "cpu_seconds": round(time.process_time() - began), **told}
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=800)
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        learned = f"model.path={LEARNED}/level1-{seed}/supervised"
        taught = (f"sft.episodes={args.episodes}", "sft.epochs=2", "sft.batch=8", "sft.lr=3e-3",
                  "sft.warmup=10", "sft.schedule=linear")  # fmt: skip
        for name, context, keys in (("full", WHOLE, ("context.max_tokens=100000",)), ("resum", THIRD, RESUM)):
            path = f"sft.path={OUT}/lessons-{name}-{seed}.jsonl"
            config = config_of(name, seed, context, learned, path, *taught, *keys)
            lessons(config, seed)
            rows.append(trained(name, config))
        rows.append(trained("cut", config_of("cut", seed, THIRD, f"model.path={OUT}/full-{seed}/supervised")))
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
