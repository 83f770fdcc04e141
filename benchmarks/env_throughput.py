"""What a step of Forge/Retail-v0 costs: steps a second, rows copied, bytes per living episode.

Whole gold episodes of the mixed level, resets included, scripted customer, through `gymnasium.make`;
no model, no tokenizer. `warm`: every task was drawn before; `cold`: every reset draws a task that nobody
has asked for. With --published, the same for whole official retail episodes, customer stubbed.
Run: python benchmarks/env_throughput.py [--seconds 3] [--size full] [--published tau2:PATH tau1:PATH]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium as gym

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.tables import copy_json
from forge_envs.worlds.retail.database import database
from forge_envs.worlds.retail.tasks import find_task

RESULTS = Path(__file__).parent / "results" / "env_throughput.json"
WORLD = "Forge/Retail-v0"
Script = tuple[str, list[str]]


def scripts(size: str, first: int, n: int) -> list[Script]:
    """Task ids with their gold actions."""
    env: Any = gym.make(WORLD, size=size).unwrapped
    ids = [f"retail/{size}/train/0/{i}" for i in range(first, first + n)]
    return [(task_id, env.gold_actions(task_id)) for task_id in ids]


def play(env: gym.Env[Any, Any], work: list[Script], seconds: float) -> tuple[int, int, float]:
    """Episodes and steps played within about `seconds`, and the time they took."""
    episodes = steps = 0
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < seconds:
        task_id, actions = work[episodes % len(work)]
        env.reset(options={"task": task_id})
        info: dict[str, Any] = {}
        for action in actions:
            info = env.step(action)[-1]
        assert info["outcome"] == 1.0, task_id
        episodes += 1
        steps += len(actions)
    return episodes, steps, now


def counts(work: list[Script], size: str) -> dict[str, float]:
    """Per episode: steps, rows that were copied, rows of the shop."""
    env: Any = gym.make(WORLD, size=size)
    copied = 0
    for task_id, actions in work:
        env.reset(options={"task": task_id})
        for action in actions:
            env.step(action)
        state = env.unwrapped.playing
        copied += len(state.users._own) + len(state.orders._own)
    shop = database(size)
    return {
        "steps_per_episode": sum(len(actions) for _, actions in work) / len(work),
        "rows_copied_per_episode": copied / len(work),
        "rows_in_the_shop": len(shop.users.rows) + len(shop.orders.rows) + len(shop.products.rows),
    }


def deep_copy_ms(size: str) -> float:
    """What a reset would cost that copies the shop."""
    shop = database(size)
    start = time.perf_counter()
    for table in (shop.users, shop.orders, shop.products):
        copy_json(table.rows)
    return (time.perf_counter() - start) * 1e3


def living(size: str, n: int) -> dict[str, float]:
    """Memory of `n` half-played episodes alive at once, each with a task and an env of its own."""
    find_task.cache_clear()
    gc.collect()
    before = resident_bytes()
    envs: list[Any] = []
    for i in range(n):
        env: Any = gym.make(WORLD, size=size)
        task_id = f"retail/{size}/train/0/{i}"
        env.reset(options={"task": task_id})
        actions = env.unwrapped.gold_actions(task_id)
        for action in actions[: len(actions) // 2]:
            env.step(action)
        envs.append(env)
    gc.collect()
    total = resident_bytes() - before
    return {
        "episodes_alive": n,
        "bytes_per_living_episode": total / n,
        "process_mb": resident_bytes() / 2**20,
    }


def resident_bytes() -> int:
    """Resident memory of this process; the peak so far where the system does not tell the present."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def threaded(
    work: list[Script], threads: int, seconds: float, world: str = WORLD, **arguments: Any
) -> tuple[float, float]:
    """Steps of all threads together, one env each: a second, and a second of this process's computing."""
    envs = [gym.make(world, **arguments) for _ in range(threads)]
    start, begun = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(lambda env: play(env, work, seconds), envs))
    steps = sum(steps for _, steps, _ in done)
    return steps / (time.perf_counter() - start), steps / (time.process_time() - begun)


def measure(size: str, seconds: float, alive: int) -> dict[str, Any]:
    """All numbers of one size."""
    start = time.perf_counter()
    database(size)
    result: dict[str, Any] = {"size": size, "build_shop_ms": (time.perf_counter() - start) * 1e3}
    work = scripts(size, 0, 512)
    result |= counts(work, size)
    result["copying_the_shop_ms"] = deep_copy_ms(size)
    env = gym.make(WORLD, size=size)
    play(env, work, 0.2)
    _, steps, took = play(env, work, seconds)
    result["warm_steps_per_s"] = steps / took
    result["warm_steps_per_s_32_threads"], _ = threaded(work, 32, seconds, size=size)
    resets = 0
    start = time.perf_counter()
    while time.perf_counter() - start < min(1.0, seconds):
        env.reset(options={"task": work[resets % len(work)][0]})
        resets += 1
    result["warm_reset_us"] = (time.perf_counter() - start) / resets * 1e6
    start = time.perf_counter()
    n = 300
    for i in range(n):
        find_task(f"retail/{size}/train/0/{10**6 + i}")
    result["draw_task_us"] = (time.perf_counter() - start) / n * 1e6
    per_step = 1 / result["warm_steps_per_s"]
    draw = result["draw_task_us"] / 1e6 / result["steps_per_episode"]
    result["cold_steps_per_s"] = 1 / (per_step + draw)
    return result | living(size, alive)


def measure_official(source: str, seconds: float) -> dict[str, Any]:
    """Steps a second over all tasks of a published benchmark that gold solves.

    Where others compute on the same machine, steps a second of this process's own computing say more.
    """
    start = time.perf_counter()
    kind, _, path = source.partition(":")
    world = f"Forge/{kind.capitalize()}-v0"
    env: Any = gym.make(world, path=path, split="train", gaps="play")
    loaded = time.perf_counter() - start
    ids = env.unwrapped.task_ids()
    work = [(task_id, env.unwrapped.gold_actions(task_id)) for task_id in ids]
    play(env, work, 0.2)
    begun = time.process_time()
    _, steps, took = play(env, work, seconds)
    computing = time.process_time() - begun
    wall, computed = threaded(work, 32, seconds, world=world, path=path, split="train", gaps="play")
    return {
        "source": kind,
        "tasks": len(work),
        "steps_per_episode": sum(len(actions) for _, actions in work) / len(work),
        "load_ms": loaded * 1e3,
        "steps_per_s": steps / took,
        "steps_per_s_32_threads": wall,
        "steps_per_cpu_s": steps / computing,
        "steps_per_cpu_s_32_threads": computed,
    }


LABELS = {
    "steps_per_episode": "steps per gold episode",
    "rows_copied_per_episode": "rows copied per episode",
    "rows_in_the_shop": "rows in the shop",
    "bytes_per_living_episode": "bytes per living episode, its env and task included",
    "process_mb": "MB of the whole process with all alive",
    "warm_steps_per_s": "steps/s, one process, tasks drawn before",
    "warm_steps_per_s_32_threads": "steps/s, 32 threads, tasks drawn before",
    "cold_steps_per_s": "steps/s, every task new (computed from the two above and below)",
    "draw_task_us": "µs to draw a new task and prove it with its gold",
    "warm_reset_us": "µs for a reset to a task drawn before",
    "build_shop_ms": "ms to build the shop, once per process",
    "copying_the_shop_ms": "ms a reset would take that copies the shop",
}


OFFICIAL_LABELS = {
    "tasks": "official tasks of the train split",
    "steps_per_episode": "steps per gold episode",
    "load_ms": "ms to read the benchmark, once per process",
    "steps_per_s": "steps/s, one process",
    "steps_per_s_32_threads": "steps/s, 32 threads",
    "steps_per_cpu_s": "steps/s of its own computing, one process",
    "steps_per_cpu_s_32_threads": "steps/s of its own computing, 32 threads",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", nargs="+", default=["full", "tiny"], choices=["full", "small", "tiny"])
    parser.add_argument("--seconds", type=float, default=3.0, help="per timed measurement")
    parser.add_argument("--alive", type=int, default=4096, help="episodes held at once")
    parser.add_argument("--published", nargs="*", default=[], help='published data, e.g. "tau2:PATH"')
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    results = [measure(size, args.seconds, args.alive) for size in args.size]
    print(f"{WORLD}, mixed level\n{'':66}" + "".join(f"{r['size']:>12}" for r in results))
    for key, label in LABELS.items():
        print(f"{label:66}" + "".join(f"{r[key]:12,.1f}" for r in results))
    official = [measure_official(source, args.seconds) for source in args.published]
    if official:
        print(f"published tasks\n{'':66}" + "".join(f"{r['source']:>12}" for r in official))
        for key, label in OFFICIAL_LABELS.items():
            print(f"{label:66}" + "".join(f"{r[key]:12,.1f}" for r in official))
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "gymnasium": gym.__version__,
    }
    found = {"world": WORLD, "machine": machine, "results": results, "official": official}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
