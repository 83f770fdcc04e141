"""A small shop in the file formats of τ-bench and τ²-bench, and the official rule written a second time.

The rule follows `reference/benchmarks.md` §2.1 and §2.2 and shares nothing with `forge_envs.worlds.tau`:
it replays what was played on a shop of its own and hashes the whole database.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge_envs.errors import ToolError
from forge_envs.grammars import HERMES
from forge_envs.messages import ToolCall
from forge_envs.tables import Base, Table, copy_json
from forge_envs.tools import BadArguments, tools_of
from forge_envs.worlds.airline.database import make_database as make_airline_database
from forge_envs.worlds.retail.database import database, make_database
from forge_envs.worlds.retail.tools import Shop
from forge_envs.worlds.tau.airline import Tau2Airline
from forge_envs.worlds.tau.retail import Tau2Shop

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TABLES = ("orders", "products", "users")


def call(name: str, **arguments: Any) -> str:
    return HERMES.write(calls=[ToolCall(name, arguments)])


# -- a small shop ------------------------------------------------------------------------------------------


def rows() -> dict[str, dict[str, Any]]:
    """The tables of our tiny shop; a copy."""
    shop = database("tiny")
    return {name: copy_json(dict(getattr(shop, name).rows)) for name in TABLES}


def pending(n: int = 0) -> str:
    """The id of the n-th pending order of the small shop."""
    return [key for key, row in rows()["orders"].items() if row["status"] == "pending"][n]


def cancelling(n: int = 0, **extra: Any) -> dict[str, Any]:
    """A gold action: cancel the n-th pending order."""
    arguments = {"order_id": pending(n), "reason": "no longer needed"}
    return {"action_id": f"c{n}", "name": "cancel_pending_order", "arguments": arguments, **extra}


def task(id: str, **criteria: Any) -> dict[str, Any]:
    """A τ²-bench task with these criteria."""
    told = {"reason_for_call": f"Cancel {pending()}.", "task_instructions": "Be brief.", "domain": "retail"}
    return {"id": id, "user_scenario": {"instructions": told}, "evaluation_criteria": criteria}


def write_tau2(folder: Path, tasks: list[dict[str, Any]], splits: dict[str, list[str]] | None = None) -> str:
    """τ²-bench's files for the small shop; the `source` that reads them."""
    folder = folder / "retail"
    folder.mkdir(parents=True)
    (folder / "db.json").write_text(json.dumps(rows()))
    (folder / "policy.md").write_text("Be kind.\n")
    (folder / "tasks.json").write_text(json.dumps(tasks))
    if splits is not None:
        (folder / "split_tasks.json").write_text(json.dumps(splits))
    return f"tau2:{folder.parent}"


def write_tau1(folder: Path, tasks: list[dict[str, Any]]) -> str:
    """τ-bench's files for the small shop with a test split; the `source` that reads them."""
    folder = folder / "retail"
    folder.mkdir(parents=True)
    for name, table in rows().items():
        (folder / f"{name}.json").write_text(json.dumps(table))
    (folder / "wiki.md").write_text("Be kind.\n")
    (folder / "tasks_test.json").write_text(json.dumps(tasks))
    return f"tau1:{folder.parent}"


# -- the rule, a second time -------------------------------------------------------------------------------


@dataclass
class Played:
    """What an agent did: calls and lines in order, and whether the customer ended it."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    ended: bool = False


def open_retail(kind: str, bases: dict[str, Base]) -> Callable[[], Any]:
    shop = Tau2Shop if kind == "tau2" else Shop
    shared = make_database(bases["users"], bases["orders"], bases["products"])
    return lambda: shop(database=shared, users=Table(bases["users"]), orders=Table(bases["orders"]))


def open_airline(kind: str, bases: dict[str, Base]) -> Callable[[], Any]:
    shared = make_airline_database(bases["users"], bases["reservations"], bases["flights"])
    tables = ("users", "reservations", "flights")
    return lambda: Tau2Airline(database=shared, **{name: Table(bases[name]) for name in tables})


ORDER_NULLS = ("cancel_reason", "return_items", "return_payment_method_id", "exchange_items")
ORDER_NULLS += ("exchange_new_items", "exchange_payment_method_id", "exchange_price_difference")


class Evaluator:
    """The official verdict over a domain's folder of either benchmark."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        airline = folder.name == "airline"
        self.names = ("flights", "reservations", "users") if airline else TABLES
        if kind == "tau2":
            self.data = json.loads((folder / "db.json").read_text())
            for row in self.data["reservations" if airline else "orders"].values():
                for name in ("status",) if airline else ORDER_NULLS:
                    row.setdefault(name, None)
        else:
            self.data = {name: json.loads((folder / f"{name}.json").read_text()) for name in self.names}
        bases = {name: Base(self.data[name], (Base, {}, ())) for name in self.names}
        self.open = (open_airline if airline else open_retail)(kind, bases)
        self.tools = tools_of(type(self.open()))
        self.texts = {
            name: {key: self.text(row) for key, row in sorted(self.data[name].items())} for name in self.names
        }
        self.hashes: dict[str, str] = {}

    def text(self, row: Any) -> str:
        return json.dumps(row, sort_keys=True) if self.kind == "tau2" else repr(hashable(row))

    def hash(self, calls: list[dict[str, Any]]) -> str:
        """The hash of the whole database after these calls; what is refused changes nothing."""
        known = json.dumps([[made["name"], made["arguments"]] for made in calls])
        if known not in self.hashes:
            desk = self.open()
            for made in calls:
                if made["name"] in self.tools:
                    with contextlib.suppress(ToolError, BadArguments):
                        self.tools[made["name"]].call(desk, made["arguments"])
            whole = self.whole({name: self.own(getattr(desk, name, None)) for name in self.names})
            self.hashes[known] = hashlib.sha256(whole.encode()).hexdigest()
        return self.hashes[known]

    def own(self, table: Table | None) -> dict[str, str]:
        """The rows of a desk that are not the shared ones, as text."""
        return {} if table is None else {key: self.text(row) for key, row in table.touched().items()}

    def whole(self, own: dict[str, dict[str, str]]) -> str:
        """The database as the text that is hashed."""
        parts = []
        for name in self.names:
            texts = {**self.texts[name], **own[name]}
            if len(texts) > len(self.texts[name]):
                texts = dict(sorted(texts.items()))
            if self.kind == "tau2":
                parts.append(f'"{name}": {{' + ", ".join(f'"{k}": {v}' for k, v in texts.items()) + "}")
            else:
                parts.append(f"('{name}', (" + ", ".join(f"('{k}', {v})" for k, v in texts.items()) + "))")
        return "{" + ", ".join(parts) + "}" if self.kind == "tau2" else "(" + ", ".join(parts) + ")"

    def verdict(self, task: dict[str, Any], played: Played) -> float:
        """The reward of an episode, judge model aside."""
        if not played.ended:
            return 0.0
        if self.kind == "tau1":
            gold = [{"name": a["name"], "arguments": a["kwargs"]} for a in task["actions"]]
            wanted, basis = task["outputs"], ["DB", "COMMUNICATE"]
        else:
            criteria = task["evaluation_criteria"]
            gold, wanted = criteria.get("actions"), criteria.get("communicate_info") or []
            basis = criteria.get("reward_basis") or ["DB", "COMMUNICATE"]
        reward = 1.0
        if "DB" in basis and gold is not None:
            reward *= self.hash(played.calls) == self.hash(gold)
        if "COMMUNICATE" in basis:
            lines = [line.lower().replace(",", "") for line in played.lines]
            reward *= all(any(want.lower() in line for line in lines) for want in wanted)
        if "ACTION" in basis:
            reward *= all(any(agrees(action, made) for made in played.calls) for action in gold or ())
        return reward


def agrees(action: dict[str, Any], made: dict[str, Any]) -> bool:
    """τ²-bench's comparison of a gold action with a call."""
    if action["name"] != made["name"]:
        return False
    names = action.get("compare_args")
    names = list(made["arguments"]) if names is None else names
    picked = [{k: v for k, v in x["arguments"].items() if k in names} for x in (action, made)]
    return picked[0] == picked[1]


def hashable(value: Any) -> Any:
    """τ-bench's form for hashing: dicts sorted by key, everything as tuples."""
    if isinstance(value, dict):
        return tuple((key, hashable(item)) for key, item in sorted(value.items()))
    if isinstance(value, list):
        return tuple(hashable(item) for item in value)
    return value


def play(env: Any, task_id: str, actions: list[str]) -> tuple[Played, dict[str, Any]]:
    """Act until the episode or the actions end; what was played, and the last info."""
    env.reset(options={"task": task_id})
    played, info = Played(), {}
    for action in actions:
        parsed = HERMES.parse(action)
        *_, terminated, truncated, info = env.step(action)
        played.calls += [{"name": c.name, "arguments": c.arguments} for c in parsed.calls]
        if not parsed.calls:
            played.lines.append(parsed.prose)
        if terminated or truncated:
            played.ended = terminated
            break
    return played, info
