"""Our tools over τ²-bench's own airline leave the very database that the official code leaves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from forge_envs.errors import ToolError
from forge_envs.tables import Base, Row, Table
from forge_envs.tools import tools_of
from forge_envs.worlds.airline.database import AirlineDatabase, make_database
from forge_envs.worlds.airline.tools import Airline

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TABLES = ("flights", "reservations", "users")

pytestmark = pytest.mark.skipif(
    not (DATA / "tau2" / "airline" / "oracle.json").exists(),
    reason=f"τ²-bench's airline data is not at {DATA}; see reference/benchmarks.md for where it comes from",
)


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Row]]:
    tables: dict[str, dict[str, Row]] = load("tau2/airline/db.json")
    for reservation in tables["reservations"].values():
        reservation.setdefault("status", None)  # the official models write out what the file leaves out
    return tables


@pytest.fixture(scope="module")
def database(rows: dict[str, dict[str, Row]]) -> AirlineDatabase:
    return make_database(**{table: Base(rows[table], (Base, {}, ())) for table in TABLES})


class Hasher:
    """sha256 of the database as sorted JSON, with the text of unchanged rows made once."""

    def __init__(self, rows: dict[str, dict[str, Row]]) -> None:
        self.texts = {table: {key: self.text(row) for key, row in rows[table].items()} for table in TABLES}

    @staticmethod
    def text(row: Row) -> str:
        return json.dumps(row, sort_keys=True, default=str)

    def __call__(self, airline: Airline | None = None) -> str:
        tables = []
        for table in TABLES:
            texts = dict(self.texts[table])
            if airline is not None:
                view: Table = getattr(airline, table)
                # Not `changed()`: a balance of 80 that became 80.0 is equal, yet the hash tells them apart.
                shared = getattr(airline.database, table).rows
                own = (key for key in view if key not in shared or view.peek(key) is not shared[key])
                texts |= {key: self.text(view.peek(key)) for key in own}
            inner = ", ".join(f"{json.dumps(key)}: {text}" for key, text in sorted(texts.items()))
            tables.append(f'"{table}": {{{inner}}}')
        return hashlib.sha256(("{" + ", ".join(tables) + "}").encode()).hexdigest()


def play(database: AirlineDatabase, actions: list[dict[str, Any]]) -> tuple[Airline, list[str]]:
    tables = {table: Table(getattr(database, table)) for table in TABLES}
    airline = Airline(database=database, **tables)
    tools = tools_of(Airline)
    answers = []
    for action in actions:
        try:
            answers.append(tools[action["name"]].call(airline, action["arguments"]))
        except ToolError as error:
            answers.append(f"Error: {error}")
    return airline, answers


def test_every_official_task_ends_in_the_official_database(
    rows: dict[str, dict[str, Row]], database: AirlineDatabase
) -> None:
    oracle, hasher = load("tau2/airline/oracle.json"), Hasher(rows)
    tasks = {task["id"]: task for task in load("tau2/airline/tasks.json")}
    assert hasher() == oracle["base"]["db"]
    wrong, written = [], 0
    for task_id, expected in oracle["tasks"].items():
        actions = tasks[task_id]["evaluation_criteria"]["actions"]
        airline, answers = play(database, actions)
        written += airline.writes
        if hasher(airline) != expected["gold"]["db"]:
            wrong.append(task_id)
        for action, ours, theirs in zip(actions, answers, expected["observations"], strict=True):
            if action["name"] in ("calculate", "get_flight_status", "transfer_to_human_agents"):
                assert ours == theirs
            else:
                assert json.loads(ours) == json.loads(theirs), (task_id, action["name"])
    assert wrong == []
    assert len(oracle["tasks"]) >= 30 and written >= 20
    assert hasher() == oracle["base"]["db"], "the shared rows were changed"


def _shape(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without its prose."""
    kept = {key: value for key, value in schema.items() if key in ("type", "enum", "required")}
    if "properties" in schema:
        kept["properties"] = {key: _shape(value) for key, value in schema["properties"].items()}
    if "items" in schema:
        kept["items"] = _shape(schema["items"])
    return kept


def test_tools_have_the_official_names_arguments_and_enums() -> None:
    """Those of τ-bench v1, whose schemas are the stricter ones, and the one tool that τ² adds."""
    official = {
        entry["function"]["name"]: entry["function"]
        for entry in load("tau1/oracle/airline_tools_schema.json")
    }
    added = {entry["function"]["name"] for entry in load("tau2/airline/tools_schema.json")["assistant"]}
    ours = tools_of(Airline)
    assert set(ours) == set(official) | added
    for name, entry in official.items():
        assert _shape(ours[name].parameters) == _shape(entry["parameters"]), name
        assert list(ours[name].parameters["properties"]) == list(entry["parameters"]["properties"]), name
        assert ours[name].description != entry["description"], "descriptions are our own"


def test_writes_are_marked_as_officially() -> None:
    kinds = load("tau2/airline/tools_schema.json")["types"]
    assert {name: tool.writes for name, tool in tools_of(Airline).items() if name in kinds} == {
        name: kind == "write" for name, kind in kinds.items()
    }
