"""τ-bench's own code as an oracle: plays episodes that others wrote, and says how they end.

As `tau2_oracle.py`, for sierra-research/tau-bench: run with the checkout on PYTHONPATH; `--data` is the
folder with `retail/users.json` and so on. The environment, its tools and its reward are the official ones; a
database is copied row by row when a row is asked for, and compared by the rows that changed. With `--slow N`
every N-th episode is run on whole copies with the official hash, and must end the same.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from lazy_rows import Lazy
from tau_bench.envs.base import Env, to_hashable
from tau_bench.types import RESPOND_ACTION_NAME, Action, Task

STEPS = 30


class Customer:
    """Says their case, agrees to questions, and takes anything else as the last word."""

    def reset(self, instruction: str | None = None) -> str:
        return "Please help me."

    def step(self, content: str) -> str:
        return "Yes, please." if content.strip().endswith("?") else "###STOP###"

    def get_total_cost(self) -> float:
        return 0.0


class World(Env):  # type: ignore[misc]
    """The official environment; what changed is noted before gold is replayed."""

    slow = False
    rows: dict[str, Any]

    def get_data_hash(self) -> str:
        return str(super().get_data_hash()) if self.slow else str(to_hashable(self.changed()))

    def changed(self) -> dict[str, Any]:
        """The rows that are not as they began."""
        found: dict[str, Any] = {}
        for name, table in self.data.items():
            base = self.bases[name]
            keys = table.copied if isinstance(table, Lazy) else table
            for key in keys:
                row = dict.__getitem__(table, key) if key in table else None
                if key not in base or str(to_hashable(row)) != str(to_hashable(base[key])):
                    found[f"{name}/{key}"] = row
        return found

    def calculate_reward(self) -> Any:
        self.rows = copy.deepcopy(self.changed())
        return super().calculate_reward()


class Oracle:
    """The domains, and how an episode in them ends."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.worlds: dict[str, World] = {}

    def world(self, domain: str) -> World:
        """The environment of a domain, made once."""
        if domain not in self.worlds:
            folder = self.data / domain
            bases = {path.stem: json.loads(path.read_text()) for path in folder.glob("[!t]*.json")}
            tasks = [
                Task(user_id=task["user_id"], instruction=task["instruction"], outputs=task["outputs"],
                     actions=[Action(**action) for action in task["actions"]])
                for task in json.loads((folder / "tasks_train.json").read_text())
            ]  # fmt: skip
            made = World.__new__(World)
            made.bases = bases
            World.__init__(
                made,
                data_load_func=lambda: (
                    copy.deepcopy(bases) if made.slow else {name: Lazy(rows) for name, rows in bases.items()}
                ),
                tools=importlib.import_module(f"tau_bench.envs.{domain}.tools").ALL_TOOLS,
                tasks=tasks,
                wiki="",
                rules=[],
                user_strategy="human",
                user_model="",
                task_index=0,
            )
            made.user = Customer()
            made.terminate_tools = ["transfer_to_human_agents"]
            self.worlds[domain] = made
        return self.worlds[domain]

    def play(self, episode: dict[str, Any], *, slow: bool = False) -> dict[str, Any]:
        """How it ends: reward, reason, errors, changed rows."""
        world = self.world(episode["domain"])
        world.slow = slow
        world.reset(task_index=int(episode["task"].rpartition("/")[2]))
        errors, told = "", None
        for step, said in enumerate(episode["messages"]):
            if step == STEPS:
                break
            calls = [Action(name=call["name"], kwargs=call["arguments"]) for call in said["calls"][:1]]
            action = calls[0] if calls else Action(name=RESPOND_ACTION_NAME, kwargs={"content": said["text"]})
            found = world.step(copy.deepcopy(action))
            if calls:
                failed = str(found.observation).startswith(("Error", "Unknown action"))
                errors += "x" if failed else "."
            if found.done:
                told = found
                break
        if told is not None:
            return {"reward": told.reward, "ended": "user_stop", "errors": errors, "rows": world.rows}
        reason = "cut" if len(episode["messages"]) >= STEPS else "script"
        return {"reward": 0.0, "ended": reason, "errors": errors, "rows": world.changed()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--slow", type=int, default=0, help="run every N-th episode without short cuts, too")
    args = parser.parse_args()
    oracle = Oracle(args.data)
    for n, line in enumerate(sys.stdin):
        episode = json.loads(line)
        found = oracle.play(episode)
        if args.slow and n % args.slow == 0:
            slow = oracle.play(episode, slow=True)
            assert slow == found, f"the quick way differs: {episode}\n{found}\n{slow}"
        print(json.dumps(found, sort_keys=True), flush=True)


if __name__ == "__main__":
    main()
