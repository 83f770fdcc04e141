"""τ²-bench's own code as an oracle: plays episodes that others wrote, and says how they end.

Run by an interpreter that has τ²-bench's dependencies, with its `src` on PYTHONPATH and its data folder in
TAU2_DATA_DIR; it imports nothing of this project. Reads episodes as JSON lines from standard input,

    {"domain": "retail", "task": "0", "messages": [{"text": "…", "calls": [{"name", "arguments"}]}, …]}

and writes a line for each: the reward, how it ended, which calls were errors, and the rows that changed. The
orchestrator, the tools, the environment's replay and the evaluators are the official ones. Two things are
made quicker, and with `--slow N` every N-th episode is run without them and must end the same: a database is
copied row by row when a row is asked for, and compared by the rows that changed instead of a hash of all.
A judge model is not asked: what it would judge counts as met.

In telecom both sides act: an episode's "user" is what the customer does and says, message by message, and
with "solo" there is none. Its databases are small and copied whole. Two things of its code outlive an episode
there, or differ from run to run, and are made as in a fresh process: how well the VPN's server works, and the
ids of new bills, which are all called "B?".
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import json
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lazy_rows import Lazy
from loguru import logger

logger.remove()


class Registry:
    """In place of the official one, whose imports need libraries for speech, search and models."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}

    def get_env_constructor(self, name: str) -> Any:
        return self.made[name]


registry = Registry()
sys.modules["tau2.registry"] = types.SimpleNamespace(registry=registry)  # type: ignore[assignment]
sys.modules["tau2.utils.llm_utils"] = types.SimpleNamespace(  # type: ignore[assignment]
    generate=None, get_cost=lambda messages: (0.0, 0.0)
)
for package in ("tau2", "tau2.orchestrator"):  # for the same reason, without what their __init__ imports
    folder = next(path for place in sys.path if (path := Path(place, *package.split("."))).is_dir())
    sys.modules[package] = types.ModuleType(package)
    sys.modules[package].__path__ = [str(folder)]

import tau2.environment.environment as environment_module  # noqa: E402
import tau2.evaluator.evaluator as evaluator_module  # noqa: E402
import tau2.orchestrator.orchestrator as orchestrator_module  # noqa: E402
from tau2.data_model.message import AssistantMessage, ToolCall, ToolMessage, UserMessage  # noqa: E402
from tau2.data_model.simulation import RewardInfo, SimulationRun  # noqa: E402
from tau2.data_model.tasks import RewardType, Task  # noqa: E402
from tau2.environment.environment import Environment  # noqa: E402
from tau2.evaluator.evaluator import EvaluationType, evaluate_simulation  # noqa: E402
from tau2.orchestrator.orchestrator import Orchestrator  # noqa: E402
from tau2.user.user_simulator import DummyUser  # noqa: E402

PATIENCE = 4
STOP = "###STOP###"


class Domain:
    """A domain of τ²-bench whose environments cost little."""

    def __init__(self, name: str) -> None:
        self.name = name
        module = importlib.import_module(f"tau2.domains.{name}.environment")
        self.slow = module.get_environment
        self.tasks: dict[str, Task] = {task.id: task for task in module.get_tasks(None)}
        made: Environment = self.slow()
        self.policy = made.policy
        self.sides = {
            side: kit for side, kit in (("tools", made.tools), ("user_tools", made.user_tools)) if kit
        }
        self.tables = {
            side: {field: getattr(kit.db, field) for field in type(kit.db).model_fields}
            for side, kit in self.sides.items()
        }
        self.texts = {
            side: {
                field: {key: _text(row) for key, row in table.items()}
                for field, table in self._rows(side, kit.db).items()
            }
            for side, kit in self.sides.items()
        }

    def mended(self) -> None:
        """Undo what an earlier episode did to all later ones."""

    def _rows(self, side: str, db: Any) -> dict[str, dict[str, Any]]:
        """All rows of a side, table by table."""
        return {
            field: {key: row.model_dump() for key, row in getattr(db, field).items()}
            for field in type(db).model_fields
        }

    def quick(self, solo_mode: bool = False) -> Environment:
        """A fresh environment over lazy tables."""
        kits: dict[str, Any] = {}
        for side, kit in self.sides.items():
            fresh = copy.copy(kit)
            fresh.db = type(kit.db).model_construct(
                **{field: Lazy(table) for field, table in self.tables[side].items()}
            )
            fresh.get_db_hash = lambda side=side, db=fresh.db: _text(self._changed(side, db))
            kits[side] = fresh
        return Environment(domain_name=self.name, policy=self.policy, **kits)

    def changed(self, environment: Environment) -> dict[str, Any]:
        """The rows of an environment that are not as it began, "table/key" -> row."""
        return {
            key: row
            for side in self.sides
            for key, row in self._changed(side, getattr(environment, side).db).items()
        }

    def _changed(self, side: str, db: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field, rows in self._own(db).items():
            for key, row in rows.items():
                if _text(row) != self.texts[side][field].get(key):
                    found[f"{field}/{key}"] = row
        return found

    def _own(self, db: Any) -> dict[str, dict[str, Any]]:
        tables = {field: getattr(db, field) for field in type(db).model_fields}
        return {
            field: {
                key: row.model_dump(warnings=False)
                for key, row in (table.own() if isinstance(table, Lazy) else table).items()
            }
            for field, table in tables.items()
        }


def _text(row: Any) -> str:
    return json.dumps(row, sort_keys=True, default=str)


class Telecom(Domain):
    """The domain whose tables are lists, and whose customer has a phone."""

    def __init__(self) -> None:
        super().__init__("telecom")
        self.packed = [pickle.dumps(self.sides[side].db) for side in ("tools", "user_tools")]
        self._vpn = type(self.sides["user_tools"]).default_vpn_details.model_dump()
        self.known = {bill.bill_id for bill in self.sides["tools"].db.bills} | {"B1234321"}

    def quick(self, solo_mode: bool = False) -> Environment:
        """A fresh environment over whole copies."""
        databases = [pickle.loads(packed) for packed in self.packed]
        environment = self.slow(*databases)
        environment.solo_mode = solo_mode  # without comparing the names of all tools again
        environment.policy = self.policy
        return environment

    def mended(self) -> None:
        """Undo what an earlier episode did to all later ones."""
        kit = type(self.sides["user_tools"])
        kit.default_vpn_details = type(kit.default_vpn_details)(**self._vpn)

    def _rows(self, side: str, db: Any) -> dict[str, dict[str, Any]]:
        dumped = db.model_dump(warnings=False)
        if side == "user_tools":
            return {"phone": dumped}
        return {name: {row[f"{name[:-1]}_id"]: row for row in rows} for name, rows in dumped.items()}

    def _own(self, db: Any) -> dict[str, dict[str, Any]]:
        side = "tools" if type(db) is type(self.sides["tools"].db) else "user_tools"
        return self._rows(side, db)

    def _changed(self, side: str, db: Any) -> dict[str, Any]:
        found = super()._changed(side, db)
        bills = [key.partition("/")[2] for key in found if key.startswith("bills/")]
        text = json.dumps(found, default=str)
        for bill_id in bills:
            if bill_id not in self.known:
                text = text.replace(bill_id, "B?")
        return json.loads(text)


class GymAgent:
    """Says what it was given to say; then nothing more is asked of it. Its name lets it work alone."""

    def __init__(self, messages: list[dict[str, Any]], solo: bool) -> None:
        self.messages, self.solo = iter(messages), solo

    def get_init_state(self, message_history: Any = None) -> None: ...

    def set_seed(self, seed: int) -> None: ...

    def stop(self, *_: Any) -> None: ...

    def is_stop(self, message: AssistantMessage) -> bool:
        return self.solo and STOP in (message.content or "")

    def generate_next_message(self, message: Any, state: None) -> tuple[AssistantMessage, None]:
        said = next(self.messages, None)
        if said is None:
            raise EndOfScript
        calls = [ToolCall(id=f"c{n}", **call) for n, call in enumerate(said["calls"])] or None
        if self.solo and any(call["name"] == "done" for call in said["calls"]):  # as LLMSoloAgent has it
            return AssistantMessage(role="assistant", content=STOP), None
        return AssistantMessage(role="assistant", content=said["text"] or None, tool_calls=calls), None


class EndOfScript(Exception):
    """The agent has nothing more to say, and the episode is not over."""


class Customer:
    """Says their case, agrees to questions, and takes anything else as the last word."""

    def get_init_state(self, message_history: Any = None) -> dict[str, bool]:
        return {"begun": bool(message_history)}

    def set_seed(self, seed: int) -> None: ...

    def stop(self, *_: Any) -> None: ...

    def generate_next_message(self, message: Any, state: dict[str, bool]) -> tuple[UserMessage, Any]:
        text = "Please help me."
        if state["begun"]:
            text = "Yes, please." if (message.content or "").strip().endswith("?") else STOP
        state["begun"] = True
        return UserMessage(role="user", content=text), state


class Actor(Customer):
    """Does and says what they were given to, from their first line on, and then leaves."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.messages = iter(messages)

    def generate_next_message(self, message: Any, state: dict[str, bool]) -> tuple[UserMessage, Any]:
        said = next(self.messages, {"text": STOP, "calls": []})
        calls = [ToolCall(id=f"u{n}", requestor="user", **call) for n, call in enumerate(said["calls"])]
        return UserMessage(role="user", content=said["text"] or None, tool_calls=calls or None), state


class Oracle:
    """All domains, and how an episode in them ends."""

    def __init__(self) -> None:
        self.domains: dict[str, Domain] = {}
        # Figures for a report, which no verdict looks at, and dear.
        evaluator_module.get_tool_types = lambda kit: {}
        # Copies of messages that nobody changes.
        environment_module.deepcopy = orchestrator_module.deepcopy = copy.copy
        evaluator_module.NLAssertionsEvaluator.calculate_reward = classmethod(
            lambda *_, **__: RewardInfo(reward=1.0, reward_breakdown={RewardType.NL_ASSERTION: 1.0})
        )

    def play(self, episode: dict[str, Any], *, slow: bool = False) -> dict[str, Any]:
        """How it ends: reward, reason, errors, changed rows."""
        name = episode["domain"]
        if name not in self.domains:
            self.domains[name] = Telecom() if name == "telecom" else Domain(name)
        domain, solo = self.domains[name], episode.get("solo", False)
        domain.mended()
        task = domain.tasks[episode["task"]]
        if "basis" in episode:
            task = task.model_copy(deep=True)
            task.evaluation_criteria.reward_basis = [RewardType(part) for part in episode["basis"]]
        make = domain.slow if slow else domain.quick
        registry.made[name] = make
        environment = make(solo_mode=True) if solo else make()
        user = Actor(episode["user"]) if "user" in episode else Customer()
        orchestrator = Orchestrator(
            domain=name,
            agent=GymAgent(episode["messages"], solo),
            user=DummyUser() if solo else user,
            solo_mode=solo,
            environment=environment,
            task=task,
            max_steps=episode.get("steps", 200),
        )
        run: SimulationRun | None = None
        with contextlib.suppress(EndOfScript):
            run = orchestrator.run()
        reward, reason = 0.0, "script"
        if run is not None:
            reason = run.termination_reason.value
            try:
                told = evaluate_simulation(run, task, EvaluationType.ALL, solo_mode=solo, domain=name)
                reward = told.reward
            except (
                AttributeError
            ):  # an assertion on settings that a customer made something else than settings
                print(f"no verdict on {episode['task']}, {episode.get('change')}", file=sys.stderr)
        answers = [message for message in orchestrator.trajectory if isinstance(message, ToolMessage)]
        return {
            "reward": reward,
            "ended": reason,
            "errors": "".join("x" if answer.error else "." for answer in answers),
            "rows": domain.changed(environment),
            "said": ["Error" if answer.error else answer.content for answer in answers],
            "told": [answer.content for answer in answers if answer.error],
        }


def answers(oracle: Oracle, every: int) -> Iterator[dict[str, Any]]:
    """One for each line of standard input."""
    for n, line in enumerate(sys.stdin):
        episode = json.loads(line)
        found = oracle.play(episode)
        if every and n % every == 0:
            slow = oracle.play(episode, slow=True)
            assert slow == found, f"the quick way differs: {episode}\n{found}\n{slow}"
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slow", type=int, default=0, help="run every N-th episode without short cuts, too")
    for found in answers(Oracle(), parser.parse_args().slow):
        print(json.dumps(found, sort_keys=True, default=str), flush=True)


if __name__ == "__main__":
    main()
