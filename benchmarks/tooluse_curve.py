"""Does tool use learned on many domains carry over? Success on unseen domains, by how many were trained on.

    python benchmarks/tooluse_curve.py [--domains 1 10 100 1000] [--seeds 0 1 2]

A model of 0.8 million parameters first learns to read, from made-up records of made-up words each of whose
fields is said in a sentence, and, among those, imitates gold of the two hand-made desks, Forge/Retail-v0 and
Forge/Airline-v0: so much it knows before any generated domain. From there it imitates gold of equally many
episodes of Forge/ToolUse-v0, drawn from 1, 10, 100 or 1,000 domains of the train split;
then it plays one task in each of 200 domains of the test split, whose names of tools and whose tables occur
in no domain of train. All runs share the first stage and a tokenizer, trained on text of the train split and
of the desks; a seed decides which episodes come, and when. Embeddings are tied and hidden matrices move by
Muon: docs/search.md says what that is worth where names must be copied. What
benchmarks/results/tooluse_curve.json holds already is not run again, unless --fresh asks for it; several
processes may measure different seeds once the first stage is there.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from grpo_seeds import kept, section

from forge_train.show.results import spanned

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "runs" / "curve"
RESULTS = ROOT / "benchmarks" / "results" / "tooluse_curve.json"
WORLD = "forge_envs:Forge/ToolUse-v0"
DESKS = ("forge_envs:Forge/Retail-v0", "forge_envs:Forge/Airline-v0")
EPISODES = 8192
"""Gold episodes of generated domains that a run imitates, each once."""
RECORDS, AT_DESKS = 8192, 4096
"""What the first stage learns from."""
TURNS = 10
TRAINED = """
[run]
name = "curve"
steps = 0
threads = 1

[sft]
episodes = {episodes}
epochs = 1
learn = "text"
batch = 4
lr = 6e-3
warmup = 20
schedule = "linear"

[rollout]
max_context = 1536
max_action = 96

[optim]
kind = "muon"
betas = [0.9, 0.98]
micro_tokens = 2048

[eval]
tasks = {judged}
repeats = 1
k = [1]
temperature = 0.0
"""
DOMAINS = """
[[worlds]]
id = "{world}"
args = {{ size = "tiny", prompt = "compact", level = {level}, domains = {domains}, max_turns = {turns} }}
eval_args = {{ domains = 200 }}
tasks = {episodes}
"""
SHOWN = ("pass@1", "low", "high", "counted", "asked", "turns", "seconds")
"""What is kept of an evaluation."""
SHAPE: dict[str, Any] = {"hidden": 128, "layers": 3, "heads": 4, "kv_heads": 4, "vocab": 2048, "tied": True}


def gold(world_id: str, count: int, **args: Any) -> list[Any]:
    """Gold episodes of a world."""
    from forge_train.play.world_pool import World
    from forge_train.sft import gold_episodes

    world = World(world_id, {"size": "tiny", "prompt": "compact", "max_turns": TURNS} | args)
    try:
        return gold_episodes(world, world.tasks("train", count))
    finally:
        world.close()


def record(rng: random.Random) -> list[dict[str, str]]:
    """A record as a tool gives it, and all that it says; no word of it means anything."""

    def word() -> str:
        return "".join(
            rng.choice("bdfghklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.choice((1, 2, 2, 3)))
        )

    def value() -> tuple[str | int, str]:
        match rng.randrange(4):
            case 0:
                number = rng.randrange(100)
                return number, str(number)
            case 1:
                day = datetime.date(2025, 1, 1) + datetime.timedelta(rng.randrange(900))
                return day.isoformat(), f"{day.day} {day:%B}"
            case 2:
                return "_".join(words := [word() for _ in range(rng.choice((1, 2)))]), " ".join(words)
            case _:
                return (name := f"{word()} {word()}".title()), name

    kind, key = word(), f"{rng.choice(ascii_uppercase)}{rng.randrange(1000):03}"
    fields = {"_".join(word() for _ in range(rng.choice((1, 1, 2)))): value() for _ in range(5)}
    shown = {f"{kind}_id": key} | {name: stored for name, (stored, _) in fields.items()}
    said = [f"The {name.replace('_', ' ')} of {kind} {key} is {told}." for name, (_, told) in fields.items()]
    rng.shuffle(said)
    return [{"role": "user", "content": json.dumps(shown)}, {"role": "assistant", "content": "\n".join(said)}]


def train(folder: Path, config: str, policy: Path, seed: int) -> list[dict[str, Any]]:
    """Run a config from a policy; its events."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    written = folder.with_suffix(".toml")
    written.write_text(config)
    command = [sys.executable, "-m", "forge_train.cli", "train", str(written), f"run.out={folder}"]
    subprocess.run([*command, f"run.seed={seed}", f"model.path={policy}"], cwd=ROOT, check=True)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def base(level: int) -> Path:
    """The policy that all runs begin with, which has learned to read and the two desks; made once."""
    from forge_train.config import TinyConfig
    from forge_train.tiny import texts_of, tiny_model, train_tokenizer

    folder = OUT / f"base-{level}"
    if (folder / "supervised" / "manifest.json").exists():
        return folder / "supervised"
    rng = random.Random(0)
    lessons = [record(rng) for _ in range(RECORDS)]
    for desk in DESKS:
        lessons += gold(desk, AT_DESKS // len(DESKS), level=1)
    rng.shuffle(lessons)
    spec = TinyConfig(**SHAPE)
    tokenizer = train_tokenizer(
        texts_of([*gold(WORLD, 2000, level=level, domains=1000), *lessons[:2000]]), spec.vocab
    )
    new = OUT / f"random-{level}"
    tiny_model(tokenizer, spec, seed=0).save_pretrained(new)
    tokenizer.save_pretrained(new)
    (path := OUT / f"lessons-{level}.jsonl").write_text(
        "".join(json.dumps({"messages": lesson}) + "\n" for lesson in lessons)
    )
    told = DOMAINS.format(world=WORLD, level=level, domains=1000, turns=TURNS, episodes=1)
    lesson = TRAINED.format(episodes=len(lessons), judged=200).replace("[sft]", f'[sft]\npath = "{path}"')
    train(folder, lesson + told, new, 0)
    return folder / "supervised"


def right_calls(folder: Path) -> tuple[float, float]:
    """In how many of the last judged episodes the customer was found, and then a record read, at once."""
    [path] = (folder / "evaluations").glob("*after-SFT*.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        episodes = [json.loads(line)["messages"] for line in lines]
    results = [[m["content"] for m in said if m["role"] == "tool"][:2] for said in episodes]
    well = [[not result.startswith("Error") for result in found] for found in results]
    found = sum([bool(ok) and ok[0] for ok in well]) / len(well)
    return found, sum([len(ok) == 2 and all(ok) for ok in well]) / len(well)


def run(level: int, domains: int, seed: int, policy: Path) -> dict[str, Any]:
    """Train and judge; what became of it."""
    began = time.perf_counter()
    told = DOMAINS.format(world=WORLD, level=level, domains=domains, turns=TURNS, episodes=EPISODES)
    config = TRAINED.format(episodes=EPISODES, judged=200) + told
    events = train(OUT / f"level-{level}" / f"{domains}-{seed}", config, policy, seed)
    judged = {e["stage"]: e for e in events if e["event"] == "evaluation"}
    last = [e for e in events if e["event"] == "sft"][-1]
    found, read = right_calls(OUT / f"level-{level}" / f"{domains}-{seed}")
    return {
        "level": level,
        "domains": domains,
        "seed": seed,
        "before": {key: judged["as given"][key] for key in SHOWN},
        "trained": {key: judged["after SFT"][key] for key in SHOWN},
        "found": found,
        "read": read,
        "loss": last.get("loss"),
        "wall": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--domains", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="measure all of it anew")
    args = parser.parse_args()
    if args.fresh:
        RESULTS.unlink(missing_ok=True)
    for seed in args.seeds:
        for domains in args.domains:
            if any(
                (r["level"], r["domains"], r["seed"]) == (args.level, domains, seed) for r in kept(RESULTS)
            ):
                continue
            measured = run(args.level, domains, seed, base(args.level))
            results = [*kept(RESULTS), measured]
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            write(results)
    write(kept(RESULTS))


def write(results: Iterable[dict[str, Any]]) -> None:
    """The table of docs/results.md."""
    rows = []
    for r in sorted(results, key=lambda r: (r["level"], r["domains"], r["seed"])):
        before, after = r["before"], r["trained"]
        head = (
            f"| {r['domains']:,} | {r['seed']} | {before['pass@1']:.1%} | {r['found']:.1%} | {r['read']:.1%} "
        )
        rows.append(head + f"| {after['pass@1']:.1%} | {spanned(after)} | {r['wall']:.0f} |")
    section(
        "tooluse_curve",
        [
            "| domains | seed | solved before | finds | and reads | solves | 95% interval | seconds |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"{EPISODES:,} gold episodes each, once. {os.cpu_count()} cores, "
            f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}.",
        ],
    )


if __name__ == "__main__":
    main()
