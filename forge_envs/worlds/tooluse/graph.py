"""Which tool's answer feeds which tool's argument: the dependency graph of a domain, by likeness of names.

Gold is a walk on it: `unexplained` finds arguments that neither the customer said nor an earlier answer held.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from forge_envs.errors import NotInstalled, ToolError
from forge_envs.messages import ToolCall
from forge_envs.worlds.tooluse.domain import ToolDomain, ToolSpec
from forge_envs.worlds.tooluse.goals import ToolUseTask
from forge_envs.worlds.tooluse.gold import office
from forge_envs.worlds.tooluse.tools import toolbox_of

LIKE = 0.7
"""Cosine of the words of two names from which one feeds the other."""
_READS = frozenset(("find", "get", "list", "search"))
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


@dataclass(frozen=True)
class Edge:
    """An answer's field that feeds an argument."""

    source: str
    field: str
    target: str
    argument: str
    like: float


def words_of(name: str) -> frozenset[str]:
    """The words of a name, however it is cased.

    >>> sorted(words_of("dueDate") & words_of("due_date") & words_of("DueDate"))
    ['date', 'due']
    """
    return frozenset([word.lower() for word in _WORD.findall(name)])


def likeness(one: str, other: str) -> float:
    """Cosine of the words of two names."""
    first, second = words_of(one), words_of(other)
    return len(first & second) / math.sqrt(max(len(first) * len(second), 1))


def answers_of(domain: ToolDomain, spec: ToolSpec) -> list[str]:
    """The fields of what a tool answers."""
    if spec.op not in _READS:
        return []
    kind = domain.kinds[spec.kind]
    if spec.op == "find" and not domain.finds_row:
        return [kind.id_name]
    if spec.op == "list":
        return [kind.id_name, domain.kinds[kind.thing].label, kind.state]
    return list(kind.fields)


def edges(domain: ToolDomain) -> list[Edge]:
    """The dependency graph of a domain's tools."""
    return list(_edges(domain))


def _edges(domain: ToolDomain) -> Iterator[Edge]:
    for source in domain.specs.values():
        given = answers_of(domain, source)
        for target in domain.specs.values():
            for param in target.params if target is not source else ():
                like, name = max([(likeness(name, param.name), name) for name in given] or [(0.0, "")])
                if like >= LIKE:
                    yield Edge(source.name, name, target.name, param.name, like)


def communities(domain: ToolDomain) -> list[set[str]]:
    """Tools that belong together (Louvain). Raises NotInstalled without networkx."""
    try:
        import networkx
    except ModuleNotFoundError:
        raise NotInstalled("communities of tools need networkx: pip install 'forge-envs[tooluse]'") from None
    graph = networkx.Graph()
    graph.add_nodes_from(domain.specs)
    for edge in edges(domain):
        graph.add_edge(edge.source, edge.target, weight=edge.like)
    found: list[set[str]] = networkx.community.louvain_communities(graph, seed=0)
    return sorted(found, key=lambda tools: sorted(tools))


@dataclass(frozen=True)
class Flow:
    """How a gold's calls hang together."""

    calls: tuple[ToolCall, ...]
    depth: int
    """Calls of the longest chain in which each needs the answer of the one before."""
    unexplained: tuple[str, ...]
    """Arguments whose value was neither said nor answered before."""


def flow(task: ToolUseTask) -> Flow:
    """Play a task's calls and see where each argument came from."""
    desk, tools = office(task), toolbox_of(task.domain).tools
    said = " ".join([line for goal in task.goals for line in (goal.request, *goal.details.values())])
    said = f"{said} {task.email} {task.name} {task.phone}".lower()
    calls, answers, depths, unexplained = [], list[str](), list[int](), []
    for action in task.gold:
        if isinstance(action, str):
            continue
        deepest = 0
        for name, value in action.arguments.items():
            text = str(value).lower()
            found = [depths[n] for n, answer in enumerate(answers) if text in answer]
            deepest = max([deepest, *found])
            if not found and not _said(task, name, text, said):
                unexplained.append(f"{action.name}.{name}")
        try:
            answer = str(tools[action.name].function(desk, **action.arguments))
        except ToolError as error:
            answer = str(error)
        calls.append(action)
        answers.append(answer.lower())
        depths.append(deepest + 1)
    return Flow(tuple(calls), max(depths, default=0), tuple(unexplained))


def _said(task: ToolUseTask, name: str, text: str, said: str) -> bool:
    """Whether a value was said; dates and amounts are said otherwise than they are written."""
    column = next((p.column for s in task.domain.specs.values() for p in s.params if p.name == name), None)
    return text in said or (column is not None and column.spec.kind in ("date", "money"))
