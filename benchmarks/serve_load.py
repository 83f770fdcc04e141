"""`forge-envs serve` under many clients, good and bad ones, for minutes; and what a step costs over HTTP.

First one client alone: the time of a step and the server's own processor time. Then the crowd: good clients
that play gold, thinking between turns, half of them in a world whose steps wait; crashing ones that cut the
connection in the middle of a step and never come back; stalling ones that idle beyond their lease or send
half a request; and ones that send rubbish. No session of a good client may be lost, none of the others may
outlive its lease, and memory must stay flat.
Run: python benchmarks/serve_load.py [--seconds 600] [--sessions 256] [--idle 30]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from forge_envs import cli, register
from forge_envs.worlds.retail.env import RetailEnv

RESULTS = Path(__file__).parent / "results" / "serve_load.json"
QUICK, WAITING = "Forge/Retail-v0", "Bench/ServeWaiting-v0"
THINKING = (0.5, 3.5)
"""Seconds between two turns of a good client."""


class Waiting(RetailEnv):
    """The shop, each step a tenth of a second later, on a thread."""

    metadata = {**RetailEnv.metadata, "quick": False}  # noqa: RUF012

    def step(self, action: str) -> Any:
        time.sleep(0.1)
        return super().step(action)


class Broken(Exception):
    """The connection ended where an answer should have come."""


class Line:
    """HTTP/1.1 over one connection, as little of it as the client of a benchmark needs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: bytes, length: int | None = None) -> None:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        size = len(body) if length is None else length
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self.writer.write(f"{head}Content-Length: {size}\r\n\r\n".encode() + body)
        await self.writer.drain()

    async def hear(self) -> tuple[int, Any]:
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split()[0]) if "content-length:" in head else -1
            body = await (self.reader.read() if length < 0 else self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.cut()
            raise Broken from error
        if "connection: close" in head:
            self.cut()
        return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else body

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One question; once more where a connection that had been idle is gone."""
        said = b"" if body is None else json.dumps(body).encode()
        for last in (False, True):
            try:
                await self.send(method, path, said)
                return await self.hear()
            except (Broken, ConnectionError):
                self.cut()
                if last:
                    raise
        raise AssertionError

    def cut(self) -> None:
        """No goodbye."""
        if self.writer is not None:
            self.writer.transport.abort()
            self.writer = None


class Crowd:
    """All clients of a run, and what they saw."""

    def __init__(self, port: int, idle: float, ends: float) -> None:
        self.port, self.idle, self.ends = port, idle, ends
        env: Any = gym.make(QUICK).unwrapped
        self.gold = {task: env.gold_actions(task) for task in env.task_ids("train", 200)}
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.latencies: list[float] = []

    def alive(self) -> bool:
        return time.monotonic() < self.ends

    async def begin(self, line: Line, world: str, task: str | None = None) -> str:
        status, told = await line.ask("POST", "/sessions", {"world": world, "task": task})
        if status != 200:
            self.wrong.append(f"begin: {status} {told}")
            await asyncio.sleep(1)
            return ""
        self.seen["sessions"] += 1
        return str(told["session"])

    async def good(self, rng: random.Random) -> None:
        """Plays gold to the end, again and again; asks again for an answer that it did not hear."""
        line, world = Line(self.port), rng.choice((QUICK, WAITING))
        await asyncio.sleep(rng.uniform(0, 5))
        while self.alive():
            task = rng.choice(list(self.gold))
            session = await self.begin(line, world, task)
            told: Any = {}
            for turn, action in enumerate(self.gold[task] if session else (), 1):
                await asyncio.sleep(rng.uniform(*THINKING))
                started = time.perf_counter()
                status, told = await line.ask(
                    "POST", f"/sessions/{session}/step", {"action": action, "turn": turn}
                )
                if world == QUICK:
                    self.latencies.append(time.perf_counter() - started)
                self.seen["steps"] += 1
                if status != 200 or told["info"]["turn"] != turn:
                    self.wrong.append(f"a good session was lost: turn {turn}: {status} {told}")
                    break
            else:
                if session and told["info"].get("outcome") != 1.0:
                    self.wrong.append(f"gold earned {told}")
            self.seen["good episodes"] += 1
        line.cut()

    async def crash(self, rng: random.Random) -> None:
        """Leaves in the middle of a step; its session must be gone after its lease."""
        while self.alive():
            line = Line(self.port)
            session = await self.begin(line, rng.choice((QUICK, WAITING)), rng.choice(list(self.gold)))
            body = json.dumps({"action": "hello"}).encode()
            await line.send("POST", f"/sessions/{session}/step", body)
            line.cut()
            await self.must_be_gone(session, "crashed")
            self.seen["crashes"] += 1

    async def stall(self, rng: random.Random) -> None:
        """Idles beyond its lease, with half a request in the line."""
        while self.alive():
            line = Line(self.port)
            session = await self.begin(line, QUICK, rng.choice(list(self.gold)))
            with contextlib.suppress(Broken, ConnectionError):
                await line.send("POST", f"/sessions/{session}/step", b'{"action": "hel', length=900)
            await self.must_be_gone(session, "stalled")
            line.cut()
            self.seen["stalls"] += 1

    async def must_be_gone(self, session: str, why: str) -> None:
        if not session:
            return
        await asyncio.sleep(self.idle + 5)  # a second for whoever keeps house, and four for a busy machine
        line = Line(self.port)
        status, told = await line.ask("GET", f"/sessions/{session}")
        if not (status == 410 or told.get("ended")):
            self.wrong.append(f"a session outlived its lease ({why}): {status} {told}")
        line.cut()

    async def rubbish(self, rng: random.Random) -> None:
        """Sends what no client should."""
        while self.alive():
            line, kind = Line(self.port), rng.randrange(7)
            try:
                if kind == 0:
                    line.reader, line.writer = await asyncio.open_connection("127.0.0.1", self.port)
                    line.writer.write(rng.randbytes(rng.randrange(1, 5000)) + b"\r\n\r\n")
                    await line.writer.drain()
                    await asyncio.wait_for(line.reader.read(1000), 5)
                    status, told = 400, {}
                elif kind == 1:
                    await line.send("POST", "/sessions", rng.randbytes(300))
                    status, told = await line.hear()
                elif kind == 2:
                    await line.send("POST", "/sessions", b"x" * 2_000_000)
                    status, told = await line.hear()
                elif kind == 3:
                    await line.send("POST", "/sessions", b"[" * 100_000)
                    status, told = await line.hear()
                elif kind == 4:
                    status, told = await line.ask("POST", f"/sessions/{rng.random()}/step", {"action": "x"})
                elif kind == 5:
                    status, told = await line.ask(
                        "POST", "/sessions", {"world": QUICK, "args": {"user": "openai:m@http://x"}}
                    )
                else:
                    status, told = await line.ask("POST", "/sessions", {"world": "os:" + "x" * 5000})
            except (Broken, ConnectionError, TimeoutError):
                status, told = 400, {}
            if status < 400 or status >= 500:
                self.wrong.append(f"rubbish {kind} was answered {status} {told!r:.200}")
            self.seen["rubbish"] += 1
            line.cut()
            await asyncio.sleep(rng.uniform(0.2, 1.0))


def rss_mb(pid: int) -> float:
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith("VmRSS:"):
            return int(row.split()[1]) / 1024
    raise AssertionError


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    at = sorted(seconds)
    return {
        name: round(1000 * at[min(len(at) - 1, int(part * len(at)))], 3)
        for name, part in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    }


async def alone(port: int, pid: int, steps: int = 3000) -> dict[str, Any]:
    """One client, one session after the other: what a step costs."""
    crowd = Crowd(port, 0, 0)
    line, took, spent = Line(port), list[float](), 0.0
    while len(took) < steps:
        session = await crowd.begin(line, QUICK, "retail/full/train/1/1")
        before = processor_seconds(pid)
        for turn in range(1, 30):
            started = time.perf_counter()
            status, told = await line.ask(
                "POST", f"/sessions/{session}/step", {"action": "Hm.", "turn": turn}
            )
            took.append(time.perf_counter() - started)
            assert status == 200, told
            if told["terminated"] or told["truncated"]:
                break
        spent += processor_seconds(pid) - before
        await line.ask("DELETE", f"/sessions/{session}")
    line.cut()
    return {"steps": len(took), "ms": spread(took), "server_cpu_ms": round(1000 * spent / len(took), 3)}


async def watch(crowd: Crowd, port: int, pid: int, curve: list[dict[str, float]]) -> None:
    """Memory and sessions, every five seconds."""
    line, start = Line(port), time.monotonic()
    while crowd.alive():
        _, told = await line.ask("GET", "/health")
        now = round(time.monotonic() - start, 1)
        row = {"second": now, "rss_mb": round(rss_mb(pid), 1), "sessions": told["sessions"]}
        curve.append(row)
        print(json.dumps({**row, "steps": crowd.seen["steps"], "wrong": len(crowd.wrong)}), flush=True)
        await asyncio.sleep(5)
    line.cut()


async def together(port: int, pid: int, args: argparse.Namespace) -> dict[str, Any]:
    crowd = Crowd(port, args.idle, time.monotonic() + args.seconds)
    curve: list[dict[str, float]] = []
    before = processor_seconds(pid)
    clients = [crowd.good(random.Random(i)) for i in range(args.sessions)]
    clients += [crowd.crash(random.Random(i)) for i in range(32)]
    clients += [crowd.stall(random.Random(i)) for i in range(16)]
    clients += [crowd.rubbish(random.Random(i)) for i in range(16)]
    await asyncio.gather(watch(crowd, port, pid, curve), *clients)
    spent = processor_seconds(pid) - before
    await asyncio.sleep(args.idle + 5)
    line = Line(port)
    _, health = await line.ask("GET", "/health")
    _, numbers = await line.ask("GET", "/metrics")
    line.cut()
    held = float(numbers.decode().partition("\nforge_worlds_held ")[2].split()[0])
    late = [row for row in curve if row["second"] > args.seconds / 4]
    slope = np.polyfit([r["second"] / 60 for r in late], [r["rss_mb"] for r in late], 1)[0]
    return {
        "seconds": args.seconds,
        "seen": dict(crowd.seen),
        "wrong": len(crowd.wrong),
        "wrong_examples": [text[:300] for text in crowd.wrong[:5]],
        "most_sessions": max(row["sessions"] for row in curve),
        "left_at_the_end": {"sessions": health["sessions"], "worlds_held": held},
        "step_ms": spread(crowd.latencies),
        "server_processors": round(spent / args.seconds, 2),
        "rss_mb_per_minute_after_the_first_quarter": round(float(slope), 3),
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--sessions", type=int, default=256)
    parser.add_argument("--idle", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--serve", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    register(WAITING, Waiting, listed=False)  # type: ignore[arg-type]
    if args.serve is not None:
        sys.exit(cli.main(["serve", *args.serve]))
    limits = ["--max-sessions", str(2 * args.sessions + 128), "--idle", str(args.idle)]
    command = [sys.executable, __file__, "--serve", "--port", "0", "--worlds", QUICK, WAITING, *limits]
    process, result = subprocess.Popen(command, stdout=subprocess.PIPE, text=True), dict[str, Any]()
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        result |= {
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
            "load_average_before": os.getloadavg(),
            "alone": asyncio.run(alone(port, process.pid)),
        }
        print(json.dumps(result), flush=True)
        result["together"] = asyncio.run(together(port, process.pid, args))
        result["load_average_after"] = os.getloadavg()
    finally:
        process.terminate()
        result["exit_status"] = process.wait(90)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result["together"].items() if key != "curve"}, indent=1))


if __name__ == "__main__":
    main()
