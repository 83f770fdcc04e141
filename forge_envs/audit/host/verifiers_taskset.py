"""A taskset of verifiers whose tasks are one question: its prompt, one reply, its own score.

Tasks with tools, boxes or several turns are driven by the library's own environments, and refused here.
"""

from __future__ import annotations

import asyncio
from typing import Any

import verifiers.v1 as vf
from verifiers.v1.graph import MessageNode
from verifiers.v1.trace import AgentInfo, Trace, TraceTask
from verifiers.v1.utils.loaders import taskset_class, taskset_config_type

from forge_envs.audit.host.source import Origin
from forge_envs.audit.host.text_env import TextEnv

FIRST = 50
"""Tasks that are read, of tasksets that may be endless."""


def load(name: str, args: dict[str, Any]) -> Origin:
    """The source of the taskset `name`, its config made with `args`."""
    return TasksetSource(name, args)


class TasksetSource(Origin):
    """The first tasks of a taskset."""

    top = 1.0

    def __init__(self, name: str, args: dict[str, Any]) -> None:
        kind = taskset_class(name)
        self.read: list[Any] = []
        for task in kind(taskset_config_type(name)(id=name, **args)):
            self.read.append(task)
            if len(self.read) == FIRST:
                break
        if any(task.NEEDS_CONTAINER for task in self.read):
            raise ValueError(f"taskset {name!r}: its tasks need a container, which this audit does not give")
        if not any(task.data.prompt for task in self.read):
            raise ValueError(f"taskset {name!r}: its tasks have no prompt, so that no single reply is scored")

    def make(self) -> TaskEnv:
        return TaskEnv(self.read)

    def tasks(self, n: int) -> list[str]:
        return [str(i) for i in range(min(n, len(self.read)))]

    def gold(self, task: str | None, seed: int) -> list[str] | None:
        return None


class TaskEnv(TextEnv):
    """One task; a reply is put into a trace of the library's own, and its rewards are summed as it does."""

    def __init__(self, read: list[Any]) -> None:
        self.read, self.task = read, read[0]

    def reset(self, seed: int | None, task: str | None) -> tuple[Any, dict[str, Any]]:
        self.task = self.read[int(task) if task is not None else (seed or 0) % len(self.read)]
        return f"{self.task.data.system_prompt or ''}\n{self.task.data.prompt_text}".strip(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        trace: Any = Trace(
            task=TraceTask(type=type(self.task).__name__, data=self.task.data),
            agent=AgentInfo(config=vf.AgentConfig()),
        )
        message = vf.AssistantMessage(content=action)
        trace.nodes.append(MessageNode(message=message, sampled=True))
        asyncio.run(self.task.score(trace))
        rewards = {name: None if one is None else one.value for name, one in trace.rewards.items()}
        scored = [value for value in rewards.values() if value is not None]
        return "", sum(scored) if scored else None, True, False, {"rewards": rewards}
