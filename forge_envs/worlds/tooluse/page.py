"""Domains drawn by lot, on a page for a person to read: are these worlds one believes?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from forge_envs.errors import ToolError
from forge_envs.worlds.desk.database import Dice
from forge_envs.worlds.desk.tasks import LEVELS
from forge_envs.worlds.tooluse.customer import Visitor
from forge_envs.worlds.tooluse.domain import ToolDomain
from forge_envs.worlds.tooluse.domains import addresses, domain_of
from forge_envs.worlds.tooluse.goals import ToolUseTask
from forge_envs.worlds.tooluse.gold import office
from forge_envs.worlds.tooluse.policy import policy_of
from forge_envs.worlds.tooluse.tasks import find_task, task_name
from forge_envs.worlds.tooluse.tools import toolbox_of
from forge_envs.worlds.tooluse.words import capital


def page(size: str, split: str, n: int, seed: int, among: int = 1000) -> str:
    """A page of markdown with `n` of the first `among` domains, and a conversation in each."""
    dice = Dice(seed)
    drawn = dice.sample(addresses(size, split, among), n)
    parts = []
    for at, address in enumerate(drawn):
        domain = domain_of(address)
        task = find_task(task_name(address, 1 + at % len(LEVELS), dice.below(100)))
        parts.append(_shown(domain, task, whole=at == 0))
    return "\n\n".join(parts)


def _shown(domain: ToolDomain, task: ToolUseTask, *, whole: bool) -> str:
    """A domain's policy and tools, and a conversation; what all policies say is told where it is `whole`."""
    lines = [re.sub("^#+", "####", line) for line in policy_of(domain).splitlines()[1:]]
    if not whole:
        first, last = lines.index("#### Always"), lines.index("#### What there is")
        lines[first:last] = []
    tools = [
        f"- `{spec.name}({', '.join(param.name for param in spec.params)})` {spec.description}"
        for spec in domain.specs.values()
    ]
    parts = [
        f"### {capital(domain.place)} (`{domain.address}`)",
        "\n".join(lines),
        "#### Tools",
        "\n".join(tools),
        f"#### A conversation (`{task.id}`)",
        "\n".join(transcript(task)),
    ]
    return "\n\n".join(parts)


def transcript(task: ToolUseTask) -> Iterator[str]:
    """A task's gold with what it is answered, line by line."""
    customer, desk, tools = Visitor(task), office(task), toolbox_of(task.domain).tools
    yield f"- **customer**: {customer.open()}"
    for action in task.gold:
        if isinstance(action, str):
            yield f"- **agent**: {action}"
            answer = customer.reply(action)
            yield "- (the customer leaves)" if answer is None else f"- **customer**: {answer}"
            continue
        given = ", ".join(f"{name}={value!r}" for name, value in action.arguments.items())
        try:
            result = str(tools[action.name].function(desk, **action.arguments))
        except ToolError as error:
            result = f"Error: {error}"
        shown = result.replace("\n", " / ")
        yield f"- `{action.name}({given})` -> `{shown}`"
