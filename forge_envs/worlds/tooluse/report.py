"""What a generated set is like: coverage, depth, duplicates, solvability, and leaks between splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from forge_envs.errors import NotInstalled, TaskError
from forge_envs.worlds.desk.tasks import LEVELS
from forge_envs.worlds.tooluse.domain import ToolDomain
from forge_envs.worlds.tooluse.domains import addresses, domain_of, schema, tool_names
from forge_envs.worlds.tooluse.env import ToolUseEnv
from forge_envs.worlds.tooluse.goals import ToolUseTask
from forge_envs.worlds.tooluse.graph import communities, edges, flow
from forge_envs.worlds.tooluse.tasks import content, find_task, task_name


@dataclass
class Study:
    """What was counted in the tasks of some domains."""

    domains: list[str] = field(default_factory=list)
    themes: set[str] = field(default_factory=set)
    tasks: int = 0
    impossible: list[str] = field(default_factory=list)
    """Ids that no task came about for."""
    duplicates: int = 0
    unsolved: list[str] = field(default_factory=list)
    """Tasks whose gold did not earn 1.0 when it was played."""
    silent: list[str] = field(default_factory=list)
    """Tasks that silence earned something in."""
    tools: Counter[str] = field(default_factory=Counter)
    """Tools of all domains: "needed", "called" by some gold, "distractor", "called distractor"."""
    arguments: Counter[str] = field(default_factory=Counter)
    """Their arguments: "needed", "given"; and values of enumerations, "value" and "value given"."""
    depths: Counter[int] = field(default_factory=Counter)
    """Calls in the longest chain of a gold -> tasks."""
    turns: Counter[int] = field(default_factory=Counter)
    levels: Counter[int] = field(default_factory=Counter)
    edges: int = 0
    communities: int = 0
    unexplained: Counter[str] = field(default_factory=Counter)
    names: dict[str, str] = field(default_factory=dict)
    """The set of tool names of each domain."""
    schemas: dict[str, str] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)
    """What makes each task the one it is."""

    def as_dict(self) -> dict[str, Any]:
        """All of it, for a file of JSON."""
        return {
            "domains": len(self.domains),
            "themes": len(self.themes),
            "tasks": self.tasks,
            "impossible": len(self.impossible),
            "duplicates": self.duplicates,
            "unsolved": len(self.unsolved),
            "silent": len(self.silent),
            "tools": dict(self.tools),
            "arguments": dict(self.arguments),
            "depths": {str(depth): self.depths[depth] for depth in sorted(self.depths)},
            "turns": {str(turns): self.turns[turns] for turns in sorted(self.turns)},
            "levels": {str(level): self.levels[level] for level in sorted(self.levels)},
            "edges": self.edges,
            "communities": self.communities,
            "unexplained": sum(self.unexplained.values()),
            "domains_alike": len(self.names) - len(set(self.names.values())),
        }


def study(
    size: str,
    split: str,
    domains: int,
    tasks: int,
    *,
    first: int = 0,
    only: str = "",
    plays: bool = True,
    show: Callable[[str], None] | None = None,
) -> Study:
    """Draw so many tasks of so many domains, look at them, and play them if asked to.

    Args:
        size: of the domains.
        split: "train" or "test".
        domains: how many; those before `first` are left out.
        tasks: of each domain, the levels by turns.
        first: where to begin.
        only: domains of this theme alone.
        plays: play gold and silence.
        show: is told how far it is.
    """
    found = Study()
    env = ToolUseEnv(split=split, size=size, theme=only) if plays else None
    for n, address in enumerate(addresses(size, split, domains, only)[first:], first):
        if show is not None and n % 50 == 0:
            show(f"{split}: {n} of {domains} domains, {found.tasks} tasks")
        ids = [task_name(address, 1 + i % len(LEVELS), i) for i in range(tasks)]
        _look(found, domain_of(address), ids)
        for task_id in ids if env is not None else ():
            assert env is not None
            _play(found, env, task_id)
    return found


def _look(found: Study, domain: ToolDomain, ids: Iterable[str]) -> None:
    """Count what the tasks of one domain are like."""
    found.domains.append(domain.address)
    found.themes.add(domain.theme)
    found.names[domain.address], found.schemas[domain.address] = tool_names(domain), schema(domain)
    found.edges += len(edges(domain))
    try:
        found.communities += len(communities(domain))
    except NotInstalled:
        found.communities = 0
    called, given, values = set[str](), set[tuple[str, str]](), set[tuple[str, str, str]]()
    for task_id in ids:
        try:
            task = find_task(task_id)
        except TaskError:
            found.impossible.append(task_id)
            continue
        found.tasks += 1
        found.levels[task.level] += 1
        same = digest(task)
        found.duplicates += same in found.seen
        found.seen.add(same)
        seen_flow = flow(task)
        found.depths[seen_flow.depth] += 1
        found.turns[len(task.gold)] += 1
        found.unexplained.update(seen_flow.unexplained)
        for call in seen_flow.calls:
            called.add(call.name)
            given |= {(call.name, name) for name in call.arguments}
            values |= {(call.name, name, str(value)) for name, value in call.arguments.items()}
    for spec in domain.specs.values():
        sort = "needed" if spec.needed else "distractor"
        found.tools[sort] += 1
        found.tools[f"{sort}, called"] += spec.name in called
        for param in spec.params if spec.needed else ():
            found.arguments["needed"] += 1
            found.arguments["given"] += (spec.name, param.name) in given
            for value in param.schema.get("enum", ()):
                found.arguments["enumerated values"] += 1
                found.arguments["enumerated values, given"] += (spec.name, param.name, value) in values


def digest(task: ToolUseTask) -> bytes:
    """What makes a task the one it is, however it is said, in few bytes."""
    return hashlib.blake2b(repr(content(task)).encode(), digest_size=12).digest()


def merged(one: Study, other: Study) -> Study:
    """Two studies of different domains as one."""
    whole = Study()
    for entry in fields(Study):
        first, second = getattr(one, entry.name), getattr(other, entry.name)
        both = (
            first | second
            if isinstance(first, set | dict) and not isinstance(first, Counter)
            else first + second
        )
        setattr(whole, entry.name, both)
    whole.duplicates += len(one.seen & other.seen)
    return whole


def _play(found: Study, env: ToolUseEnv, task_id: str) -> None:
    """Play gold, and silence."""
    try:
        gold = env.gold_actions(task_id)
    except TaskError:
        return
    for actions, wanted, failed in ((gold, 1.0, found.unsolved), ([""] * env.max_turns, 0.0, found.silent)):
        env.reset(options={"task": task_id})
        outcome = None
        for action in actions:
            _, _, terminated, truncated, info = env.step(action)
            if terminated or truncated:
                outcome = info["outcome"]
                break
        if outcome != wanted:
            failed.append(task_id)


@dataclass(frozen=True)
class Leaks:
    """What domains of two splits have in common; all of it should be empty but the themes."""

    names: tuple[str, ...]
    schemas: tuple[str, ...]
    themes: tuple[str, ...]
    held_out: tuple[str, ...]
    """Themes that only the test split has."""


def leaks(train: Study, test: Study) -> Leaks:
    """What leaks from one split to the other."""
    return Leaks(
        _both(train.names.values(), test.names.values()),
        _both(train.schemas.values(), test.schemas.values()),
        _both(train.themes, test.themes),
        tuple(sorted(test.themes - train.themes)),
    )


def _both(one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(one) & set(other)))


def told(train: Study, test: Study) -> Sequence[str]:
    """The report as lines."""
    between = leaks(train, test)
    lines = []
    for split, one in (("train", train), ("test", test)):
        tools, arguments = one.tools, one.arguments
        lines += [
            f"{split}: {one.tasks:,} tasks of {len(one.domains):,} domains from {len(one.themes)} themes",
            f"  solved by gold {one.tasks - len(one.unsolved):,}; by silence {len(one.silent)}; "
            f"the same twice {one.duplicates}; none came about {len(one.impossible)}",
            f"  tools called {_share(tools['needed, called'], tools['needed'])}; arguments given "
            f"{_share(arguments['given'], arguments['needed'])}; enumerated values given "
            f"{_share(arguments['enumerated values, given'], arguments['enumerated values'])}",
            f"  distractors {tools['distractor']:,}, called {tools['distractor, called']}",
            f"  depth of calls {_spread(one.depths)}; actions of gold {_spread(one.turns)}",
            f"  dependency edges {one.edges:,}; communities {one.communities or 'not counted (networkx)'}; "
            f"arguments from nowhere {sum(one.unexplained.values())}",
        ]
    lines += [
        f"shared by train and test: {len(between.names)} sets of tool names, {len(between.schemas)} schemas, "
        f"{len(between.themes)} themes",
        f"themes in test alone: {', '.join(between.held_out) or 'none'}",
    ]
    return lines


def _share(some: int, whole: int) -> str:
    return f"{some:,} of {whole:,} ({some / max(whole, 1):.1%})"


def _spread(counted: Counter[int]) -> str:
    """A histogram in one line.

    >>> _spread(Counter({2: 3, 4: 1}))
    '2: 3, 4: 1'
    """
    return ", ".join(f"{key}: {counted[key]:,}" for key in sorted(counted))
