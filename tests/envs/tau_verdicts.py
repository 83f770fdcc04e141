"""How our worlds judge an episode of `tau_episodes`, and what the official code said of it, as stored."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from forge_envs.messages import ToolCall
from forge_envs.worlds.tau.env import TauEnv
from forge_envs.worlds.tau.tau1 import Tau1Env
from forge_envs.worlds.tau.tau2 import Tau2Env

SOURCES = {
    "τ² retail": ("tau2", "retail"),
    "τ² airline": ("tau2", "airline"),
    "τ² mock": ("tau2", "mock"),
    "τ retail": ("tau1", "retail"),
}
"""Name -> benchmark and domain."""
STORED = Path(__file__).with_name("tau_verdicts.json.gz")
DIGITS = 6
"""Of a digest; a wrong verdict goes unseen once in 16 million."""
KINDS: dict[str, type[TauEnv]] = {"tau1": Tau1Env, "tau2": Tau2Env}


def open_env(kind: str, folder: Path) -> TauEnv:
    """The world of a domain's folder, with every task that can begin."""
    split = "base" if folder.name == "mock" else "train"
    return KINDS[kind](domain=folder.name, path=str(folder), split=split, gaps="play")


def ours(env: TauEnv, episode: dict[str, Any]) -> dict[str, Any]:
    """How an episode ends: reward, whether the customer ended it, which calls were errors, changed rows."""
    prefix = f"{env.kind}/{env.benchmark.domain.name}/"
    tasks: Any = env.benchmark.tasks
    known = tasks[prefix + episode["task"]]
    if "basis" in episode:
        tasks[known.id] = dataclasses.replace(known, basis=tuple(episode["basis"]))
    try:
        env.reset(options={"task": known.id})
        errors, info = "", dict[str, Any]()
        for said in episode["messages"]:
            calls = [ToolCall(call["name"], call["arguments"]) for call in said["calls"]]
            messages, *_, info = env.step(env.grammar.write(said["text"], calls))
            if env.kind == "tau1":
                messages = messages[:1]  # of several calls the first is made
            errors += "".join(
                "x" if m["content"].startswith("Error") else "." for m in messages if m["role"] == "tool"
            )
            if "outcome" in info:
                break
    finally:
        tasks[known.id] = known
    ended = "script" if "outcome" not in info else "customer" if env.playing.ended else "cut"
    return {
        "reward": info.get("outcome", 0.0),
        "ended": ended,
        "errors": errors,
        "rows": _changed(env),
    }


def _changed(env: TauEnv) -> dict[str, Any]:
    found = {}
    for name in env.benchmark.contract.changing:
        base = env.benchmark.tables[name].rows
        for key, row in getattr(env.playing.desk, name).touched().items():
            if _text(row) != _text(base.get(key)):
                found[f"{name}/{key}"] = row
    return found


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def official(answer: dict[str, Any]) -> dict[str, Any]:
    """What an oracle answered, in the form of `ours`."""
    ends = {"user_stop": "customer", "script": "script"}
    keys = ("reward", "errors", "rows")
    return {"ended": ends.get(answer["ended"], "cut"), **{key: answer[key] for key in keys}}


def digest(found: dict[str, Any]) -> str:
    """A verdict, its errors and its rows in a few digits."""
    return hashlib.sha256(_text(found).encode()).hexdigest()[:DIGITS]


def stored() -> dict[str, str]:
    """Source -> the digests of its episodes, one after the other."""
    if not STORED.exists():
        return {}
    found: dict[str, str] = json.loads(gzip.decompress(STORED.read_bytes()))
    return found


def store(digests: dict[str, str]) -> None:
    """Write them down; the same digests give the same bytes."""
    STORED.write_bytes(gzip.compress(json.dumps(digests, sort_keys=True).encode(), mtime=0))
