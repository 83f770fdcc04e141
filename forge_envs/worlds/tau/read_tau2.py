"""The files of τ²-bench: `db.json`, `policy.md`, `tasks.json`, `split_tasks.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from forge_envs.errors import TaskError
from forge_envs.messages import ToolCall
from forge_envs.people.users import Brief
from forge_envs.tables import Row
from forge_envs.worlds.tau.domain import Domain
from forge_envs.worlds.tau.files import check_table, read_json, read_list
from forge_envs.worlds.tau.task import DEFAULT_BASIS, FunctionCall, GoldCall, Part, TauTask
from forge_envs.worlds.tau.user import scenario

POLICY = "policy.md"


class _Call(BaseModel):
    env_type: Literal["assistant", "user"]
    func_name: str
    arguments: dict[str, Any]


class _Assertion(_Call):
    assert_value: bool = True


class _Start(BaseModel):
    initialization_data: dict[str, Any] | None = None
    initialization_actions: list[_Call] | None = None
    message_history: list[Any] | None = None


class _Action(BaseModel):
    name: str
    arguments: dict[str, Any]
    requestor: Literal["assistant", "user"] = "assistant"
    compare_args: list[str] | None = None


class _Criteria(BaseModel):
    actions: list[_Action] | None = None
    env_assertions: list[_Assertion] | None = None
    communicate_info: list[str] | None = None
    nl_assertions: list[str] | None = None
    reward_basis: list[Part] | None = None


class _Instructions(BaseModel):
    domain: str = ""
    reason_for_call: str
    task_instructions: str
    known_info: str | None = None
    unknown_info: str | None = None


class _Scenario(BaseModel):
    instructions: str | _Instructions
    persona: str | None = None


class _Task(BaseModel):
    id: str
    user_scenario: _Scenario
    evaluation_criteria: _Criteria | None = None
    initial_state: _Start | None = None
    ticket: str | None = None
    user_tools: list[str] | None = None


def read_tables(folder: Path, domain: Domain) -> dict[str, dict[str, Row]]:
    """All tables of the domain, with the nulls that τ²-bench fills in. Raises TaskError."""
    if domain.read is not None:
        return domain.read(folder)
    tables: dict[str, dict[str, Row]] = {}
    for path, names in ((folder / "db.json", domain.fields), (folder / "user_db.json", domain.theirs)):
        database = read_json(path) if names else {}
        if not isinstance(database, dict):
            raise TaskError(f"{path}: the database is no JSON object of tables")
        for name in names:
            blank = dict.fromkeys(domain.nulls.get(name, ()))
            rows = check_table(database.get(name), name, domain, path)
            tables[name] = {
                key: {**row, **{k: None for k in blank if k not in row}} for key, row in rows.items()
            }
    return tables


def read_tasks(folder: Path, where: str, domain: Domain) -> tuple[list[TauTask], dict[str, list[str]]]:
    """All tasks, and which are in which split; without `split_tasks.json` all are in "base".

    Raises TaskError.
    """
    path = folder / "tasks.json"
    prefix = f"tau2/{domain.name}"
    tasks = [_task(f"{prefix}/{task.id}", where, task, domain) for task in read_list(path, _Task)]
    known = {task.id for task in tasks}
    if len(known) < len(tasks):
        raise TaskError(f"{path}: two tasks have the same id")
    split_path = folder / "split_tasks.json"
    if not split_path.exists():
        return tasks, {"base": [task.id for task in tasks]}
    splits = read_json(split_path)
    if not isinstance(splits, dict) or not all(isinstance(ids, list) for ids in splits.values()):
        raise TaskError(f"{split_path} is no JSON object of lists of task ids")
    found = {split: [f"{prefix}/{id}" for id in ids] for split, ids in splits.items()}
    for split, ids in found.items():
        missing = sorted(set(ids) - known)
        if missing:
            raise TaskError(
                f"{split_path}: split {split!r} names tasks that {path.name} lacks: {missing[:5]}"
            )
    return tasks, found


def _task(id: str, where: str, task: _Task, domain: Domain) -> TauTask:
    criteria = task.evaluation_criteria
    no_criteria = criteria is None
    criteria = criteria or _Criteria(reward_basis=[])
    basis = DEFAULT_BASIS if criteria.reward_basis is None else tuple(criteria.reward_basis)
    actions = criteria.actions
    if actions is None and criteria.env_assertions is not None:
        actions = []  # the database is looked at as soon as either is there
    gold = None if actions is None else tuple(_call(action) for action in actions)
    told, start = task.user_scenario.instructions, task.initial_state or _Start()
    functions, asserted = domain.contracts["tau2"].functions, criteria.env_assertions or ()
    return TauTask(
        id=id,
        where=where,
        brief=_brief(task.user_scenario),
        gold=gold,
        communicate=tuple(criteria.communicate_info or ()),
        assertions=tuple(criteria.nl_assertions or ()),
        basis=basis,
        says_basis=no_criteria or criteria.reward_basis is not None,
        gap=_gap(task, criteria, basis, domain),
        scenario=_scenario(task.user_scenario),
        known="" if isinstance(told, str) else told.known_info or "",
        ticket=task.ticket or "",
        setup=tuple(_function(call) for call in start.initialization_actions or () if functions),
        conditions=tuple((_function(one), one.assert_value) for one in asserted if functions),
    )


def _function(call: _Call) -> FunctionCall:
    return FunctionCall(call.env_type, call.func_name, call.arguments)


def _call(action: _Action) -> GoldCall:
    compare = None if action.compare_args is None else tuple(action.compare_args)
    return GoldCall(ToolCall(action.name, action.arguments, action.requestor), compare)


def _scenario(found: _Scenario) -> str:
    told = found.instructions
    return scenario(found.persona, told if isinstance(told, str) else told.model_dump())


def _brief(scenario: _Scenario) -> Brief:
    told = scenario.instructions
    if isinstance(told, str):
        return Brief(persona=scenario.persona or "", goal=told)
    known = (scenario.persona, told.known_info, told.unknown_info)
    return Brief("\n".join(text for text in known if text), told.reason_for_call, told.task_instructions)


def _gap(task: _Task, criteria: _Criteria, basis: tuple[Part, ...], domain: Domain) -> str:
    """What of the verdict we cannot tell."""
    functions = domain.contracts["tau2"].functions
    acts = any(action.requestor == "user" for action in criteria.actions or ())
    start = task.initial_state or _Start()
    if "ENV_ASSERTION" in basis and criteria.env_assertions and not functions:
        return "its verdict needs assertions on the database, which are functions of τ²-bench"
    if task.user_tools or (acts and domain.customer is None):
        return "its customer has tools too"
    if (start.initialization_actions and not functions) or start.initialization_data or start.message_history:
        return "it begins in the middle: it has an initial state"
    return ""
