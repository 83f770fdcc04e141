"""How our worlds judge an episode of `tau_episodes`, and what the official code said of it, as stored."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forge_envs.messages import ToolCall
from forge_envs.worlds.tau.customer import CountedHands
from forge_envs.worlds.tau.env import TauEnv
from forge_envs.worlds.tau.tau1 import Tau1Env
from forge_envs.worlds.tau.tau2 import Tau2Env
from tests.envs.tau_episodes import episodes
from tests.envs.tau_source import Source
from tests.envs.tau_telecom_episodes import TelecomSource, telecom_episodes

SOURCES = {
    "τ² retail": ("tau2", "retail"),
    "τ² airline": ("tau2", "airline"),
    "τ² mock": ("tau2", "mock"),
    "τ² telecom": ("tau2", "telecom"),
    "τ retail": ("tau1", "retail"),
}
"""Name -> benchmark and domain."""
MODES = {"retail": (False,), "airline": (False,), "mock": (False,), "telecom": (False, True)}
"""Domain -> whether its episodes are of an agent that works alone."""
STORED = Path(__file__).with_name("tau_verdicts.json.gz")
DIGITS = 6
"""Of a digest; a wrong verdict goes unseen once in 16 million."""
KINDS: dict[str, type[TauEnv]] = {"tau1": Tau1Env, "tau2": Tau2Env}


def all_episodes(kind: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The episodes of a domain's folder."""
    if folder.name == "telecom":
        return telecom_episodes(TelecomSource(folder))
    return episodes(Source(kind, folder))


def open_env(kind: str, folder: Path, **more: Any) -> TauEnv:
    """The world of a domain's folder, with every task that can begin."""
    split = "base" if folder.name == "mock" else "train"
    return KINDS[kind](domain=folder.name, path=str(folder), split=split, gaps="play", **more)


@dataclasses.dataclass
class Actor:
    """A `User` who does and says what they were given to, and then leaves; it notes what came of it."""

    messages: list[dict[str, Any]]
    hands: CountedHands
    results: list[str]

    def open(self) -> str:
        return self._next() or "?"

    def reply(self, text: str) -> str | None:
        return self._next()

    def _next(self) -> str | None:
        while self.messages:
            said = self.messages.pop(0)
            if not said["calls"]:
                return str(said["text"])
            self.hands.rounds += 1
            for call in said["calls"]:
                self.results.append(self.hands.use(ToolCall(call["name"], call["arguments"], "user")))
        return None


def ours_of_both(env: TauEnv, episode: dict[str, Any]) -> dict[str, Any]:
    """As `ours`, with a customer who acts as the episode has it; and what every call said."""
    tasks: Any = env.benchmark.tasks
    known = tasks[f"tau2/telecom/{episode['task']}"]
    if "basis" in episode:
        tasks[known.id] = dataclasses.replace(known, basis=tuple(episode["basis"]))
    results, info = [], dict[str, Any]()
    try:
        env.reset(options={"task": known.id})
        state = env.playing
        if not episode.get("solo"):
            assert state.hands is not None
            state.user = actor = Actor(list(episode["user"]), state.hands, results)
            actor.open()
        for said in episode["messages"]:
            calls = [ToolCall(call["name"], call["arguments"]) for call in said["calls"]]
            messages, *_, info = env.step(env.grammar.write(said["text"], calls))
            results += [m["content"] for m in messages if m["role"] == "tool" and m.get("name") != "done"]
            if "outcome" in info:
                break
    finally:
        tasks[known.id] = known
    ended = "script" if "outcome" not in info else "customer" if env.playing.ended else "cut"
    said = ["Error" if result.startswith("Error: ") else result for result in results]
    return {
        "reward": info.get("outcome", 0.0),
        "ended": ended,
        "errors": "".join("x" if result.startswith("Error: ") else "." for result in results),
        "rows": _same_ids(_changed(env)),
        "said": _same_ids(said),
    }


def _same_ids(found: Any) -> Any:
    """Data with all ids of new bills, which are random in the official code, called the same."""
    return json.loads(re.sub(r"\bB[0-9a-f]{8}\b", "B?", json.dumps(found)))


def ours(env: TauEnv, episode: dict[str, Any]) -> dict[str, Any]:
    """How an episode ends: reward, whether the customer ended it, which calls were errors, changed rows."""
    if "user" in episode:
        return ours_of_both(env, episode)
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


def official(answer: dict[str, Any], *, both: bool = False) -> dict[str, Any]:
    """What an oracle answered, in the form of `ours`."""
    ends = {"user_stop": "customer", "agent_stop": "customer", "script": "script"}
    keys = ("reward", "errors", "rows", *(("said",) if both else ()))
    told = {key: _same_ids(answer[key]) if both else answer[key] for key in keys}
    return {"ended": ends.get(answer["ended"], "cut"), **told}


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
