"""The simulated systems of one side of a dialogue: calls by name, and results as the official text."""

from __future__ import annotations

import ast
import inspect
import json
import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from forge_envs.messages import ToolCall
from forge_envs.tables import copy_json
from forge_envs.worlds.bfcl.backends import BACKENDS_OF, Backend
from forge_envs.worlds.bfcl.backends.fillers import Fillers
from forge_envs.worlds.bfcl.categories import Version

FAILED = "Error during execution: "
"""How the result of a call begins that raised."""
NEVER = frozenset(("kill", "exit", "quit", "remove", "unlink", "popen", "Popen", "run"))
"""Names that the official runner refuses to call, whatever they would be."""
_CALLED = re.compile(r"\b([a-zA-Z_]\w*)\s*(?=\()")


@dataclass
class Systems:
    """Simulated systems that keep their state between calls. It pickles."""

    named: dict[str, str] = field(default_factory=dict)
    """What the official runner calls each of them; see `_as_written`."""
    running: dict[str, Backend] = field(default_factory=dict)
    """The systems by class name, in the order of the entry."""

    @classmethod
    def start(
        cls,
        owner: str,
        version: Version,
        names: Iterable[str],
        config: Mapping[str, Any],
        fillers: Fillers | None = None,
    ) -> Systems:
        """Start systems, each from its part of the configuration; `fillers` are for long contexts alone.

        Raises TaskError.
        """
        made = cls()
        for name in names:
            called = name.lower() if version == "v3" else name
            made.named[name] = re.sub(r"[-./:]", "_", f"{owner}_{called}_instance")
            made.running[name] = BACKENDS_OF[version][name](fillers)
            made.running[name].load(config.get(name, {}), long_context=fillers is not None)
        return made

    def call(self, call: ToolCall) -> str:
        """The result of a call as the agent reads it. Whatever it raises is told as text."""
        system = self._system(call.name)
        try:
            if call.name in NEVER:
                raise ValueError(f"Function call {call.name} is not allowed.")
            if system is None:
                raise NameError(f"name {call.name[:60]!r} is not defined")
            odd = [key for key in call.arguments if not key.isidentifier() or keyword.iskeyword(key)]
            if odd:
                raise SyntaxError(f"{odd[0][:60]!r} cannot be the name of an argument")
            arguments = {key: self._as_written(value) for key, value in call.arguments.items()}
            result = getattr(self.running[system], call.name)(**arguments)
            return _text(result)
        except Exception as error:  # the official runner tells whatever it is to the agent
            return f"{FAILED}{error}"

    def knows(self, name: str) -> bool:
        """Whether one of the systems has a function of this name."""
        return self._system(name) is not None

    def takes(self, call: ToolCall) -> bool:
        """Whether there is such a function, and it takes arguments of these names."""
        system = self._system(call.name)
        if system is None:
            return False
        try:
            inspect.signature(getattr(self.running[system], call.name)).bind(**call.arguments)
        except TypeError:
            return False
        return True

    def state(self) -> dict[str, dict[str, Any]]:
        """What the official state check compares of each system; a copy."""
        return {name: system.state() for name, system in self.running.items()}

    def _system(self, function: str) -> str | None:
        """The system that a function is of; the last one that has it, as in the official runner."""
        found = [name for name, system in self.running.items() if function in system.functions]
        return found[-1] if found else None

    def _as_written(self, value: Any) -> Any:
        """A value as it comes out of the official runner; a copy, which the systems may keep and change.

        That writes a call as Python text and puts the system's name before everything that looks like a
        call, in texts as well; the name holds that of the model. So "see (1)" becomes "see(1)", and a text
        with "ls(" in it differs between an agent and gold.
        """
        text = repr(value)
        if "(" not in text:
            return copy_json(value)
        return ast.literal_eval(_CALLED.sub(self._named, text))

    def _named(self, hit: re.Match[str]) -> str:
        system = self._system(hit[1])
        return hit[1] if system is None else f"{self.named[system]}.{hit[1]}"


def _text(result: Any) -> str:
    if type(result) is dict:
        try:
            return json.dumps(result)
        except (TypeError, ValueError):
            return str(result)
    return str(result)
