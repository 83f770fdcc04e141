"""What tasks call by name: tools of either side, and functions that are none. Unknown names are refused."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.tools import Tool, tools_of
from forge_envs.worlds.tau.domain import Contract
from forge_envs.worlds.tau.task import FunctionCall, TauTask


def function_of(contract: Contract, call: FunctionCall) -> Callable[..., Any]:
    """The function that a task calls, to be given its owner first. Raises KeyError for an unknown one."""
    own = contract.functions.get(call.side, {}).get(call.name)
    if own is not None:
        return own
    return _tools(_side(contract, call.side))[call.name].function


@functools.cache
def _tools(owner: type) -> Mapping[str, Tool]:
    return tools_of(owner)


def check_known(tasks: Sequence[TauTask], contract: Contract) -> None:
    """TaskError if tasks call what this domain does not have: their files are of another version."""
    strange = {task.id: found for task in tasks if (found := next(_strange(task, contract), None))}
    if not strange:
        return
    first, (kind, name, known) = next(iter(strange.items()))
    where = next(task.where for task in tasks if task.id == first)
    raise TaskError(
        f"task {first!r} of {where} calls unknown {kind} {name!r}; known: {known}. {len(strange)} of its "
        f"{len(tasks)} tasks call what is not there: is it of another version?"
    )


def _strange(task: TauTask, contract: Contract) -> Iterator[tuple[str, str, str]]:
    """Kind and name of calls that do not exist, and what does."""
    for gold in task.gold or ():
        side = gold.call.requestor
        if side == "user" and contract.hands is None:
            continue  # the gap says so
        known = _tools(_side(contract, side))
        if gold.call.name not in known:
            yield "tool", gold.call.name, ", ".join(known)
    for call in (*task.setup, *(call for call, _ in task.conditions)):
        if not contract.functions:
            continue  # the gap says so
        try:
            function_of(contract, call)
        except KeyError:
            yield f"function of the {call.side}", call.name, ", ".join(contract.functions[call.side])


def _side(contract: Contract, side: str) -> type:
    """The class whose methods are a side's tools."""
    if side == "assistant" or contract.hands is None:
        return contract.tools
    assert isinstance(contract.hands, type)
    return contract.hands
