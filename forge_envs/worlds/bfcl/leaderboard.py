"""BFCL's entries of some categories in memory, read once per process."""

from __future__ import annotations

import ast
import functools
import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from forge_envs.errors import TaskError, brief
from forge_envs.messages import Message, ToolCall
from forge_envs.schemas import Packed
from forge_envs.syntax import parse_expression
from forge_envs.tools import Tool, Toolbox
from forge_envs.worlds.bfcl.accepted import gold_calls
from forge_envs.worlds.bfcl.backends import BACKENDS_OF, Backend
from forge_envs.worlds.bfcl.backends.fillers import FILE, Fillers
from forge_envs.worlds.bfcl.categories import Category, Version, chosen
from forge_envs.worlds.bfcl.files import (
    Asking,
    OneAnswer,
    Spoken,
    Talking,
    TurnAnswers,
    locate,
    read_category,
    read_lines,
)
from forge_envs.worlds.bfcl.match import fault
from forge_envs.worlds.bfcl.schemas import tool_schema
from forge_envs.worlds.bfcl.task import BfclTask, Dialogue, OneShot
from forge_envs.worlds.bfcl.verdict import Expected, expectations
from forge_envs.worlds.bfcl.wrong_gold import WRONG_GOLD

log = logging.getLogger(__name__)

MORE_FUNCTIONS = "I have updated some more functions you can choose from. What about now?"
"""What the user says, by the official runner, where functions come along that were held back."""
DOCUMENTS = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
"""Where the functions of each simulated system are described."""


MISPRINTS = {("delete_message", "message_id")}
"""Arguments in the documents of v3 that the official functions do not take."""


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Entries of one folder. Shared by all episodes; nothing in it changes but its caches."""

    folder: Path
    version: Version
    tasks: Mapping[str, BfclTask]
    fillers: Fillers | None
    """What fills the systems of long contexts; None where there are none of these."""
    _expected: dict[str, tuple[Expected, ...]] = field(default_factory=dict)
    _toolboxes: dict[str, Toolbox] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """By category, how many entries there are here, and how many are published."""
        found: dict[str, tuple[int, int]] = {}
        for task in self.tasks.values():
            here, _ = found.get(task.category.name, (0, 0))
            found[task.category.name] = here + 1, task.category.entries[self.version]
        return found

    @property
    def source(self) -> str:
        """What this is, in words.

        For example "BFCL v4, multi_turn_base 100 of 200, in /data/bfcl/v4".
        """
        told = ", ".join(f"{name} {here} of {most}" for name, (here, most) in self.counts.items())
        return f"BFCL {self.version}, {told}, in {self.folder}"

    @functools.cached_property
    def solved_by_silence(self) -> frozenset[str]:
        """Tasks in which nothing should be called."""
        return frozenset(
            id
            for id, task in self.tasks.items()
            if (not any(task.gold) if isinstance(task, Dialogue) else task.category.rule == "none")
        )

    def toolbox(self, task: BfclTask) -> Toolbox:
        """The functions of a task, those that are held back among them; made once."""
        found = self._toolboxes.get(task.id)
        if found is None:
            later = [m for turn in task.turns[1:] for m in turn] if isinstance(task, Dialogue) else []
            schemas = [*task.tools, *(schema for message in later for schema in message.get("tools", ()))]
            tools = map(_tool, schemas)
            found = self._toolboxes[task.id] = Toolbox({tool.name: tool for tool in tools})
        return found

    def find(self, task_id: str) -> BfclTask:
        """The task of this id, with or without "bfcl_<version>/". Raises TaskError."""
        task = self.tasks.get(task_id) or self.tasks.get(f"bfcl_{self.version}/{task_id}")
        if task is None:
            first = next(iter(self.tasks))
            raise TaskError(f"unknown task {task_id!r}: an id of {self.source} is like {first!r}")
        return task

    def expected(self, task: Dialogue) -> tuple[Expected, ...]:
        """What gold comes to, turn by turn; worked out once."""
        found = self._expected.get(task.id)
        if found is None:
            found = self._expected[task.id] = expectations(task, self.fillers)
        return found


def _tool(schema: dict[str, Any]) -> Tool:
    """A function as the agent sees it. What it does is the systems' own affair, and so is what it takes."""
    shown = schema["function"]
    return Tool(
        shown["name"], shown["description"], shown["parameters"], True, _nothing, dict, Packed(schema)
    )


def _nothing(owner: object, /, **arguments: Any) -> None:
    """In place of a function that the systems run by its name."""


def load(path: str, category: str) -> Leaderboard:
    """The entries of a category, or of a group of them, at a path; "" is the installed package.

    Raises NotGiven, ValueError for a folder that has not what was asked for, and TaskError for files that
    cannot be used.
    """
    folder, version = locate(path)
    return _load(folder, version, chosen(category))


@functools.cache
def _load(folder: Path, version: Version, categories: tuple[Category, ...]) -> Leaderboard:
    tasks: dict[str, BfclTask] = {}
    for category in categories:
        read = _dialogues if category.rule == "turns" else _one_shots
        tasks |= {task.id: task for task in read(folder, version, category)}
    made = Leaderboard(folder, version, tasks, _fillers(folder, categories))
    if any(here < most for here, most in made.counts.values()):
        log.warning("not all entries are here: %s", made.source)
    return made


def _fillers(folder: Path, categories: Iterable[Category]) -> Fillers | None:
    """Filler data for long contexts, from the package that the folder is in, else the one installed.

    Raises TaskError where it is needed and not to be had.
    """
    if not any("long_context" in category.name for category in categories):
        return None
    whole = (folder.parent / FILE).is_file()
    return Fillers.read(folder.parent) if whole else Fillers.installed()


# -- one question ----------------------------------------------------------------------------------------


def _one_shots(folder: Path, version: Version, category: Category) -> Iterable[OneShot]:
    entries, answers = read_category(folder, version, category, Asking, OneAnswer)
    for id, entry in entries.items():
        where = f"{folder / category.file(version)}: {id}"
        answer = answers[id].ground_truth if id in answers else []
        if len(entry.question) != 1:
            raise TaskError(f"{where} has {len(entry.question)} turns; those of {category.name} have one")
        if category.has_answers:
            _check_answers(where, entry, answer)
        try:
            tools = tuple(tool_schema(function, category.language) for function in entry.function)
        except TaskError as error:
            raise TaskError(f"{where}: {error}") from None
        task = OneShot(
            id=f"bfcl_{version}/{id}",
            official=id,
            version=version,
            category=category,
            tools=tools,
            wrong=WRONG_GOLD.get(f"{version}/{id}", ""),
            messages=tuple(map(_message, entry.question[0])),
            functions=tuple(entry.function),
            answers=tuple(answer),
        )
        if category.has_answers and not task.wrong and (wrong := fault(task, gold_calls(task))):
            task = replace(task, wrong=f"its own answer is not accepted: {wrong}")
        yield task


def _check_answers(where: str, entry: Asking, answer: Sequence[Mapping[str, Any]]) -> None:
    if not answer or any(len(call) != 1 for call in answer):
        raise TaskError(f"{where}: its answer is no list of calls: {brief(answer)}")
    if not entry.function:
        raise TaskError(f"{where}: it has no functions, and an answer that calls one")


def _message(spoken: Spoken) -> Message:
    if spoken.role not in ("system", "user", "assistant"):
        raise TaskError(f"a message of a question has the role {spoken.role!r}")
    return Message(role=spoken.role, content=spoken.content)  # type: ignore[typeddict-item]


# -- dialogues -------------------------------------------------------------------------------------------


def _dialogues(folder: Path, version: Version, category: Category) -> Iterable[Dialogue]:
    entries, answers = read_category(folder, version, category, Talking, TurnAnswers)
    backends = BACKENDS_OF[version]
    involved = {name for entry in entries.values() for name in entry.involved_classes}
    documents = {name: _document(folder, name, backends[name]) for name in DOCUMENTS if name in involved}
    for id, entry in entries.items():
        where = f"{folder / category.file(version)}: {id}"
        try:
            tools, turns = _offered(entry, documents)
            gold = tuple(
                tuple(_gold_call(text, [backends[name] for name in entry.involved_classes]) for text in turn)
                for turn in answers[id].ground_truth
            )
        except TaskError as error:
            raise TaskError(f"{where}: {error}") from None
        wrong = WRONG_GOLD.get(f"{version}/{id}", "")
        if len(gold) != len(turns):
            wrong = wrong or f"its answer has {len(gold)} turns, its question {len(turns)}"
        yield Dialogue(
            id=f"bfcl_{version}/{id}",
            official=id,
            version=version,
            category=category,
            tools=tuple(tools),
            wrong=wrong,
            turns=turns,
            systems=tuple(entry.involved_classes),
            config=entry.initial_config,
            gold=gold,
        )


def _document(folder: Path, system: str, backend: type[Backend]) -> dict[str, dict[str, Any]]:
    """Schemas of a system's functions by name. Raises TaskError where they are not those of our system."""
    path = folder / "multi_turn_func_doc" / f"{DOCUMENTS[system]}.json"
    found: dict[str, dict[str, Any]] = {}
    for number, row in read_lines(path):
        try:
            schema = tool_schema(row)
        except TaskError as error:
            raise TaskError(f"{path}, line {number}: {error}") from None
        found[schema["function"]["name"]] = schema
    strange = [name for name in found if name not in backend.functions]
    if strange:
        raise TaskError(
            f"{path} describes {len(strange)} functions that {system} does not have here "
            f"({', '.join(strange[:5])}): it is of another version"
        )
    for name, schema in found.items():
        takes = list(inspect.signature(getattr(backend, name)).parameters)[1:]
        given = schema["function"]["parameters"]["properties"]
        more = [key for key in given if key not in takes and (name, key) not in MISPRINTS]
        if more:
            raise TaskError(
                f"{path}: {name} has an argument {more[0]!r}, here it takes {', '.join(takes) or 'none'}: "
                "it is of another version"
            )
    return found


def _offered(
    entry: Talking, documents: Mapping[str, Mapping[str, dict[str, Any]]]
) -> tuple[list[dict[str, Any]], tuple[tuple[Message, ...], ...]]:
    """The functions of the first turn, and what is said in each turn. Raises TaskError."""
    strange = [name for name in entry.involved_classes if name not in documents]
    if strange:
        raise TaskError(f"its system {strange[0]!r} is unknown; known are {', '.join(DOCUMENTS)}")
    offered = [tool for name in entry.involved_classes for tool in documents[name].values()]
    later: dict[int, list[dict[str, Any]]] = {}
    for turn, names in entry.missed_function.items():
        place = int(turn) if turn.isdecimal() else -1
        if not 0 <= place < len(entry.question) or entry.question[place]:
            raise TaskError(f"functions come along in turn {turn!r}, which is none in which nothing is said")
        for name in names:
            held = next((tool for tool in offered if tool["function"]["name"] == name), None)
            if held is None:
                raise TaskError(f"it holds back {name!r}, which none of its systems has")
            offered.remove(held)
            later.setdefault(place, []).append(held)
    turns: list[tuple[Message, ...]] = []
    for place, said in enumerate(entry.question):
        if place in later:
            turns.append((Message(role="user", content=MORE_FUNCTIONS, tools=later[place]),))
        elif said:
            turns.append(tuple(map(_message, said)))
        else:
            raise TaskError(f"nothing is said in turn {place}")
    if not turns:
        raise TaskError("it has no turns")
    return offered, tuple(turns)


def _gold_call(text: str, systems: Sequence[type[Backend]]) -> ToolCall:
    """A call of the answer, which is Python text. Raises TaskError."""
    try:
        call = parse_expression(text.strip())
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("it is no call")
        name = call.func.id
        owners = [system for system in systems if name in system.functions]
        if not owners:
            raise ValueError(f"no system has a function {name!r}")
        takes = list(inspect.signature(getattr(owners[-1], name)).parameters)[1:]
        given = [ast.literal_eval(one) for one in call.args]
        if any(one.arg is None for one in call.keywords):
            raise ValueError("an argument has no name")
        named = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
        return ToolCall(name, {**dict(zip(takes, given, strict=False)), **named})
    except (SyntaxError, ValueError) as error:
        raise TaskError(f"the call {brief(text)} of its answer cannot be read: {error}") from None
