"""Worlds under a million actions that nobody sane writes: random text, mutated gold, calls of all grammars.

Two episodes are played in turns; a share of them is then played again, each alone in a fresh world, and must
be the same to the last byte. Tables and tools that episodes share are hashed before and after. What an action
costs is this thread's own time, because the machine is shared; the wall's time stands beside it.
Run: python benchmarks/fuzz.py [1000000] [--also "Forge/Tau2-v0 domain=mock path=…" …] [--processes 2]
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import multiprocessing
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.env import AgentEnv
from forge_envs.grammars import GRAMMARS, grammar_names
from forge_envs.probe import HOSTILE
from forge_envs.tables import Base
from forge_envs.worlds.airline.database import database as airline
from forge_envs.worlds.retail.database import database as retail

RESULTS = Path(__file__).parent / "results" / "fuzz.json"
LIMIT_MS = 100.0
CHUNK = 2_000
"""Actions that a process plays before it reports."""
LEAST = 20
REPLAYED = 5
"""One pair of episodes in so many is played again, each alone."""
WORLDS: dict[str, dict[str, Any]] = {
    "Forge/Retail-v0": {"size": "small"},
    "Forge/Airline-v0": {"size": "small"},
    "Forge/NextTurn-v0": {"size": "tiny"},
    "Forge/ToolUse-v0": {},
    "Forge/Telecom-v0": {},
    "Forge/Search-v0": {"entities": 300},
    "Forge/Report-v0": {"entities": 300},
}
SHORT = ("Forge/NextTurn-v0", "Forge/Polyglot-v0", "Forge/SWE-v0", "Forge/Agentless-v0")
"""Worlds whose actions cost far more than others'."""
SPLICES = (
    *(mark for grammar in GRAMMARS.values() for mark in grammar.marks),
    "<think>", "</think>", "<tool_call>", "</tool_call>", '{"name": ', '"arguments": ', "```", "```bash\n",
    "{}", "[", "]", "}", '"', "\\", "\\ud800", "\x00", "\u202e", "é", "数", "🙂", "\n", "\r\n", "9" * 5_000,
    "1e999", "NaN", "-0", "null", "true", " " * 3_000, "a" * 20_000, "[" * 3_000, '{"a":' * 300, "yes", "no",
)  # fmt: skip


@dataclass(frozen=True)
class Lane:
    """A world in one grammar."""

    world: str
    grammar: str
    args: tuple[tuple[str, Any], ...]

    def make(self) -> AgentEnv[Any, Any]:
        env: Any = gym.make(self.world, grammar=self.grammar, **dict(self.args)).unwrapped
        return env


@dataclass
class Found:
    """What a chunk saw."""

    lane: Lane
    actions: int = 0
    episodes: int = 0
    replayed: int = 0
    seconds: float = 0.0
    slowest: dict[str, Any] = field(default_factory=lambda: {"cpu_ms": 0.0, "wall_ms": 0.0})
    slow: int = 0
    faults: list[str] = field(default_factory=list)
    """Exceptions, and episodes that another one changed."""


# -- what is said ----------------------------------------------------------------------------------------


def actions(env: AgentEnv[Any, Any], gold: list[str], dice: random.Random) -> Iterator[str]:
    """Endless actions, about half of them near enough to gold to get somewhere."""
    others = [GRAMMARS[name] for name in GRAMMARS if name != env.grammar.name]
    for turn in range(10**9):
        roll = dice.random()
        text = gold[turn % len(gold)] if dice.random() < 0.7 else dice.choice(gold)
        if roll < 0.30:
            yield text
        elif roll < 0.60:
            yield mutated(text, dice)
        elif roll < 0.70:
            yield env.action_space.sample()
        elif roll < 0.80:
            yield mutated(env.action_space.sample(), dice)
        elif roll < 0.90 and others:
            action = env.grammar.parse(text)
            with suppress(ValueError):  # not every grammar has words for every call
                text = dice.choice(others).write(action.prose, action.calls)
            yield text if dice.random() < 0.5 else mutated(text, dice)
        elif roll < 0.95:
            yield dice.choice(HOSTILE)
        else:
            yield noise(dice)


def noise(dice: random.Random) -> str:
    """Random text, some of it of the letters that grammars are made of."""
    letters = dice.choice(
        ('<>/{}[]":,`\\_ \ntool_callthinkname', "abc xyz.?!", "\x00\x7f\u0301\u202e\ud800é数🙂")
    )
    return "".join(dice.choices(letters, k=dice.choice((0, 1, 7, 60, 600))))


def mutated(text: str, dice: random.Random) -> str:
    """A text with one to four changes: cut, doubled, moved, spliced, or one character replaced."""
    for _ in range(dice.randint(1, 4)):
        a, b = sorted((dice.randint(0, len(text)), dice.randint(0, len(text))))
        match dice.randrange(5):
            case 0:
                text = text[:a] + text[b:]
            case 1:
                text = text[:b] + text[a:]
            case 2:
                text = text[b:] + text[:a]
            case 3:
                text = text[:a] + dice.choice(SPLICES) + text[a:]
            case 4:
                text = text[:a] + chr(dice.randrange(32, 0x2FF)) + text[a + 1 :]
    return text[:200_000]


# -- a chunk ---------------------------------------------------------------------------------------------


class Player:
    """One of two episodes that are played in turns."""

    def __init__(self, env: AgentEnv[Any, Any], task: str, seed: int) -> None:
        self.env, self.task, self.seed = env, task, seed
        dice = random.Random(seed)
        env.action_space.seed(seed)
        self.said: list[str] = []
        self.heard = hashlib.sha256()
        self.over = False
        self.hear(env.reset(seed=seed, options={"task": task}))
        self.plan = actions(env, env.gold_actions(task), dice)

    def hear(self, answer: Any) -> None:
        self.heard.update(json.dumps(answer, ensure_ascii=True).encode())

    def step(self, action: str) -> None:
        messages, reward, terminated, truncated, info = self.env.step(action)
        self.hear((messages, reward, terminated, truncated, info))
        self.over = terminated or truncated


def play_chunk(job: tuple[Lane, int, int]) -> Found:
    """Play `n` actions of a lane from a seed."""
    lane, seed, n = job
    found, dice = Found(lane), random.Random(seed)
    begun = time.perf_counter()
    envs = [lane.make(), lane.make()]
    ids = envs[0].task_ids(envs[0].splits[0], 200)
    while found.actions < n:
        try:
            pair = [Player(env, dice.choice(ids), dice.randrange(2**31)) for env in envs]
            while found.actions < n and not all(player.over for player in pair):
                for player in pair:
                    if not player.over:
                        say(player, next(player.plan), found)
            found.episodes += 2
            if dice.randrange(REPLAYED) == 0 and not envs[0].spec.nondeterministic:
                for player in pair:
                    found.replayed += 1
                    compare(lane, player, found)
        except Exception:  # that is what is looked for
            if len(found.faults) < 5:
                found.faults.append(f"{lane}: {traceback.format_exc(limit=-4)}")
            envs = [lane.make(), lane.make()]
            found.actions += 1
    found.seconds = time.perf_counter() - begun
    return found


def say(player: Player, action: str, found: Found) -> None:
    player.said.append(action)
    wall, cpu = time.perf_counter(), time.thread_time()
    player.step(action)
    cpu_ms, wall_ms = (time.thread_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3
    found.actions += 1
    if cpu_ms > LIMIT_MS:  # once may be a garbage collection, or the machine
        cpu_ms = min(cpu_ms, *(retaken(found.lane, player) for _ in range(3)))
    found.slow += cpu_ms > LIMIT_MS
    if cpu_ms > found.slowest["cpu_ms"]:
        found.slowest = {
            "cpu_ms": cpu_ms,
            "wall_ms": wall_ms,
            "characters": len(action),
            "begins": action[:80],
        }


def retaken(lane: Lane, player: Player) -> float:
    """What the last action of an episode costs in a fresh world, in ms of the processor."""
    alone = Player(lane.make(), player.task, player.seed)
    *before, last = player.said
    for action in before:
        alone.step(action)
    gc.collect()
    start = time.thread_time()
    alone.step(last)
    return (time.thread_time() - start) * 1e3


def compare(lane: Lane, player: Player, found: Found) -> None:
    """Play the same again, alone and in a fresh world."""
    alone = Player(lane.make(), player.task, player.seed)
    for action in player.said:
        alone.step(action)
    if alone.heard.digest() != player.heard.digest():
        found.faults.append(f"{lane}: task {player.task}, seed {player.seed}: not as it is alone")


# -- all of it -------------------------------------------------------------------------------------------


def lanes(also: list[str]) -> list[Lane]:
    """Every world in every grammar that it can be played in."""
    worlds = {world: [(world, args)] for world, args in WORLDS.items()}
    for text in also:
        world, *pairs = text.split()
        worlds.setdefault(world, []).append(
            (world, {k: _value(v) for k, v in (p.split("=", 1) for p in pairs)})
        )
    found = []
    for world, args in (one for group in worlds.values() for one in group):
        lanes_of_it, refused = [], ""
        for grammar in grammar_names():
            lane = Lane(world, grammar, tuple(args.items()))
            try:  # bash says bash commands alone
                lane.make()
                lanes_of_it.append(lane)
            except ValueError as error:
                refused = str(error)
        if not lanes_of_it:
            raise ValueError(f"{world} {args}: no grammar can play it: {refused}")
        found += lanes_of_it
    return found


def _value(text: str) -> Any:
    with suppress(ValueError):
        return json.loads(text)
    return text


def shared() -> str:
    """A hash of the tables that episodes share."""
    tables = []
    for made in (database(size) for database in (retail, airline) for size in ("small", "tiny")):
        parts = [(part.name, getattr(made, part.name)) for part in fields(made)]
        tables += [(name, part.rows) for name, part in parts if isinstance(part, Base)]
    assert tables
    return hashlib.sha256(json.dumps(tables, sort_keys=True, default=str).encode()).hexdigest()


def play_all(
    total: int, also: list[str], processes: int, seed: int, told: Callable[[int], None]
) -> list[Found]:
    """Chunks of all lanes in turn, until `total` actions were played."""
    found = lanes(also)
    # An episode of one turn costs ten times as much an action: it gets one in five of a desk's share.
    ways = [lane for n in range(5) for lane in found if n == 0 or lane.world not in SHORT]
    size = max(LEAST, min(CHUNK, total // len(ways)))
    jobs = [(ways[i % len(ways)], seed + i, size) for i in range(-(-total // size))]
    if processes == 1:
        results = map(_hashed, jobs)
        return list(_counted(results, told))
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(_counted(pool.imap_unordered(_hashed, jobs), told))


@cache
def _as_built() -> str:
    return shared()


def _hashed(job: tuple[Lane, int, int]) -> Found:
    built = _as_built()
    found = play_chunk(job)
    if shared() != built:
        found.faults.append(f"{found.lane}: an episode changed a table that all share")
    return found


def _counted(results: Any, told: Callable[[int], None]) -> Iterator[Found]:
    done = 0
    for found in results:
        done += found.actions
        told(done)
        yield found


def summary(results: list[Found]) -> dict[str, Any]:
    """Numbers by world and grammar."""
    rows: dict[str, dict[str, Any]] = {}
    for found in results:
        key = f"{found.lane.world} {dict(found.lane.args).get('domain', '')} {found.lane.grammar}"
        row = rows.setdefault(" ".join(key.split()), {"actions": 0, "episodes": 0, "replayed": 0, "slow": 0})
        for name in ("actions", "episodes", "replayed", "slow"):
            row[name] += getattr(found, name)
        row["faults"] = row.get("faults", 0) + len(found.faults)
        row["slowest"] = max(row.get("slowest", found.slowest), found.slowest, key=lambda one: one["cpu_ms"])
    faults = [fault for found in results for fault in found.faults]
    return {
        "actions": sum(found.actions for found in results),
        "episodes": sum(found.episodes for found in results),
        "replayed": sum(found.replayed for found in results),
        "exceptions_and_changes": len(faults),
        "actions_over_100_ms": sum(found.slow for found in results),
        "slowest": max((found.slowest for found in results), key=lambda one: one["cpu_ms"]),
        "faults": faults[:20],
        "lanes": rows,
    }


def table(result: dict[str, Any]) -> str:
    lines = [f"{'world and grammar':<34}{'actions':>10}{'episodes':>10}{'faults':>8}{'slowest, CPU ms':>17}"]
    for name, row in result["lanes"].items():
        slowest = row["slowest"]["cpu_ms"]
        lines.append(
            f"{name:<34}{row['actions']:>10,}{row['episodes']:>10,}{row['faults']:>8}{slowest:>17.1f}"
        )
    worst = result["slowest"]
    lines.append(
        f"{result['actions']:,} actions, {result['episodes']:,} episodes, {result['replayed']:,} of them "
        f"played again alone; {result['exceptions_and_changes']} exceptions or changes"
    )
    lines.append(
        f"{result['actions_over_100_ms']} actions over 100 ms; the slowest took {worst['cpu_ms']:.1f} ms of "
        f"processor, {worst['wall_ms']:.1f} ms of the wall"
    )
    return "\n".join([*lines, *result["faults"]])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("actions", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--also", nargs="*", default=[], help='more worlds, as "ID key=value …"')
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    begun = time.perf_counter()

    def told(done: int) -> None:
        bar = "█" * int(40 * min(1.0, done / args.actions))
        rate = done / (time.perf_counter() - begun)
        print(f"\r{bar:<40} {done:>10,} actions, {rate:,.0f}/s ", end="", file=sys.stderr, flush=True)

    results = play_all(args.actions, args.also, args.processes, args.seed, told)
    print(file=sys.stderr)
    result = summary(results) | {"seconds": time.perf_counter() - begun, "seed": args.seed}
    print(table(result))
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if result["exceptions_and_changes"] or result["actions_over_100_ms"] else 0


if __name__ == "__main__":
    sys.exit(main())
