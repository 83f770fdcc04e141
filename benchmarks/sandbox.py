"""What a box made of a container costs: start to first command, one `run`, many at once, what a kill leaves.

`overhead` is paired: in every round the same command runs by `run`, by the SDK's bare exec and by the program
`docker exec`, in random order, in the same container; the figure is the median of the differences.
Run: python benchmarks/sandbox.py [--rounds 60] [--episodes 32] [--image forge/swe]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forge_envs.sandbox import Limits, Sandbox
from forge_envs.sandbox.container import Container
from forge_envs.sandbox.docker import DockerProvider
from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.reaper import OWNER

RESULTS = Path(__file__).parent / "results" / "sandbox.json"
AFTER = 60.0
"""Seconds after a kill at which containers are counted."""
OWNER_SCRIPT = """
import sys, threading, time
from forge_envs.sandbox.docker import DockerProvider
provider, ready = DockerProvider(), []
def play():
    box = provider.open(sys.argv[1])
    ready.append(box)
    while True:
        box.run("(setsid sleep 99 &); echo x; sleep 0.2")
for _ in range(int(sys.argv[2])):
    threading.Thread(target=play, daemon=True).start()
while len(ready) < int(sys.argv[2]):
    time.sleep(0.1)
print("playing", flush=True)
time.sleep(3600)
"""


def timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def spread(seconds: list[float], unit: float = 1.0) -> dict[str, float]:
    """Median, 90th percentile and worst."""
    ordered = sorted(value * unit for value in seconds)
    return {
        "median": round(statistics.median(ordered), 4),
        "p90": round(ordered[int(0.9 * (len(ordered) - 1))], 4),
        "worst": round(ordered[-1], 4),
    }


@contextmanager
def opened(provider: DockerProvider, image: str, limits: Limits | None = None) -> Iterator[Container]:
    box = provider.open(image, limits=limits or Limits())
    assert isinstance(box, Container)
    try:
        yield box
    finally:
        box.close()


def starts(image: str, rounds: int) -> dict[str, Any]:
    """Seconds from `open` to the end of the first command: with an empty pool, and with a ready box."""
    cold, warm, first = [], [], []

    def play(provider: DockerProvider) -> float:
        start = time.perf_counter()
        with opened(provider, image) as box:
            first.append(timed(lambda: box.run("true")))
            return time.perf_counter() - start

    provider = DockerProvider(warm=0)
    with opened(provider, image):  # connects, and asks the image what it has: once in a process
        pass
    for _ in range(rounds):
        cold.append(play(provider))
    provider.close()
    provider = DockerProvider(warm=1)
    for _ in range(2):
        play(provider)
    for _ in range(rounds):
        until = time.monotonic() + 60.0
        while not provider.ready and time.monotonic() < until:
            time.sleep(0.02)
        assert provider.ready, "the pool stays empty"
        warm.append(play(provider))
    provider.close()
    return {"cold_s": spread(cold), "warm_s": spread(warm), "first_command_s": spread(first)}


def overhead(image: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of one `run` beyond those of an exec without anything around it."""
    provider, engine = DockerProvider(warm=0), Engine()
    program = shutil.which("docker")
    with opened(provider, image) as box:

        def bare() -> None:
            made = engine.api.exec_create(box.id, ["bash", "-c", "echo hello"], user="forge")["Id"]
            assert engine.api.exec_start(made) == b"hello\n"
            assert engine.api.exec_inspect(made)["ExitCode"] == 0

        def ours() -> None:
            assert box.run("echo hello").output == "hello\n"

        def by_program() -> None:
            argv = [str(program), "exec", "-u", "forge", box.id, "bash", "-c", "echo hello"]
            assert subprocess.run(argv, capture_output=True, check=True).stdout == b"hello\n"

        ways = {"run": ours, "sdk": bare, **({"docker_exec": by_program} if program else {})}
        times: dict[str, list[float]] = {name: [] for name in ways}
        rng = random.Random(0)
        for number in range(rounds + 3):
            for name in rng.sample(list(ways), len(ways)):
                took = timed(ways[name])
                if number >= 3:
                    times[name].append(took)
    provider.close()
    found: dict[str, Any] = {f"{name}_ms": spread(seconds, 1e3) for name, seconds in times.items()}
    for other in times.keys() - {"run"}:
        beyond = [mine - theirs for mine, theirs in zip(times["run"], times[other], strict=True)]
        found[f"run_beyond_{other}_ms"] = round(1e3 * statistics.median(beyond), 2)
    return found


def flood(image: str) -> dict[str, float]:
    """What an endless output costs this process in memory and computing."""
    provider = DockerProvider(warm=0)
    with opened(provider, image) as box:
        box.run("true")
        before, used = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
        result = box.run("yes", timeout=10.0)
        after = resource.getrusage(resource.RUSAGE_SELF)
    provider.close()
    return {
        "output_mb": round((result.elided + len(result.output)) / 2**20),
        "kept_characters": len(result.output),
        "memory_grew_mb": round((after.ru_maxrss - before.ru_maxrss) / 1024, 1),
        "own_cpu_s": round(time.process_time() - used, 2),
    }


def disk(image: str) -> dict[str, float]:
    """How far beyond its limit a box gets that writes, or claims, as fast as it can."""
    limits, found = Limits(disk_mb=256), {}
    provider, engine = DockerProvider(warm=0), Engine()
    ways = {
        "writing": "for i in $(seq 400); do head -c 100M /dev/zero > x$i; done",
        "claiming": "for i in $(seq 100); do fallocate -l 100M x$i; done; sleep 60",
    }
    for name, command in ways.items():
        with opened(provider, image, limits) as box:
            began = time.perf_counter()
            result = box.run(command, timeout=120.0)
            found[f"{name}_s_until_killed"] = round(time.perf_counter() - began, 2)
            found[f"{name}_mb_at_the_end"] = round(engine.size(box.id) / 2**20)
            found[f"{name}_code"] = result.code
    provider.close()
    return {"limit_mb": 256, **found}


def many(image: str, episodes: int) -> dict[str, Any]:
    """Episodes of eight commands, all at once, each on a thread."""
    provider = DockerProvider()
    opens, runs = [], []
    lock = threading.Lock()

    def play(number: int) -> bool:
        start = time.perf_counter()
        box: Sandbox = provider.open(image)
        with lock:
            opens.append(time.perf_counter() - start)
        for turn in range(8):
            start = time.perf_counter()
            said = box.run(f"(setsid sleep 99 &); echo {number}.{turn}").output
            with lock:
                runs.append(time.perf_counter() - start)
            if said != f"{number}.{turn}\n":
                return False
        box.close()
        return True

    start = time.perf_counter()
    with ThreadPoolExecutor(episodes) as threads:
        right = sum(threads.map(play, range(episodes)))
    took = time.perf_counter() - start
    provider.close()
    return {
        "episodes": episodes, "right": right, "wall_s": round(took, 2),
        "open_s": spread(opens), "run_s": spread(runs), "runs_per_s": round(len(runs) / took, 2),
    }  # fmt: skip


def killed(image: str, boxes: int) -> dict[str, Any]:
    """Containers left of an owner that was killed in the middle of its commands."""
    engine = Engine()
    argv = [sys.executable, "-c", OWNER_SCRIPT, image, str(boxes)]
    owner = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None and owner.stdout.readline() == "playing\n"

    def left() -> int:
        found = engine.api.containers(all=True, filters={"label": OWNER})
        return sum(f"/{owner.pid}/" in box["Labels"][OWNER] for box in found)

    before = left()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    start, none_since = time.monotonic(), None
    while (passed := time.monotonic() - start) < AFTER:
        count = left()
        none_since = None if count else none_since or round(passed, 1)
        time.sleep(0.5)
    return {"before": before, "left_after_60_s": left(), "none_left_after_s": none_since}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--image", default="forge/swe")
    args = parser.parse_args()
    info = Engine().api.info()
    machine = {
        "python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0], "docker": info["ServerVersion"], "storage": info["Driver"],
        "cgroups": info.get("CgroupVersion"), "kernel": info["KernelVersion"],
    }  # fmt: skip
    found: dict[str, Any] = {"image": args.image, "machine": machine}
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "starts": lambda: starts(args.image, max(5, args.rounds // 4)),
        "overhead": lambda: overhead(args.image, args.rounds),
        "flood": lambda: flood(args.image),
        "disk": lambda: disk(args.image),
        "many": lambda: many(args.image, args.episodes),
        "killed": lambda: killed(args.image, 8),
    }
    for name, part in parts.items():
        found[name] = part()
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    found["machine"]["load_average_at_the_end"] = os.getloadavg()[0]
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
