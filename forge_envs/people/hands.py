"""Dual control: tools of the user's own, as the phone of a τ²-bench telecom customer.

The agent asks, the user does, and tells what came of it. Calls and results are the user's alone: they reach
the agent only as what the user says about them, and stay out of the episode's transcript.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from forge_envs.errors import ToolError
from forge_envs.messages import ToolCall
from forge_envs.tools import BadArguments, Tool, tools_of

RULES = """What you can do yourself
You have tools of your own. Use one when the agent asks you to, or to find out what the agent asks; one thing
at a time, and never together with something you say. The agent sees neither your calls nor their results:
afterwards tell in your own words what came of it, and nothing that no result told you.
To use a tool write this and nothing else:
<tool_call>
{"name": "...", "arguments": {...}}
</tool_call>
Your tools:"""


@dataclass
class Hands:
    """What a user can do. It pickles with what it acts on.

    >>> Hands(object()).use(ToolCall("reboot", {}))
    "Error: there is no tool 'reboot'. Tools: ."
    """

    toolkit: object
    """Its `@tool` methods are the user's; it shares what it changes with the agent's toolkit."""
    made: list[ToolCall] = field(default_factory=list)
    """Every call so far, each with requestor "user", refused ones included."""

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The user's tools by name."""
        return tools_of(type(self.toolkit))

    @property
    def prompt(self) -> str:
        """What the user is told of them."""
        schemas = (json.dumps(tool.schema, ensure_ascii=False) for tool in self.tools.values())
        return "\n".join([RULES, *schemas])

    def use(self, call: ToolCall) -> str:
        """Do it; the result or the refusal, as the user reads it."""
        self.made.append(replace(call, requestor="user"))
        tool = self.tools.get(call.name)
        if tool is None:
            return f"Error: there is no tool {call.name[:60]!r}. Tools: {', '.join(self.tools)}."
        try:
            result = tool.call(self.toolkit, call.arguments)
        except (BadArguments, ToolError) as error:
            return f"Error: {error}"
        return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
