"""What a folder of tool schemas comes to: tools in one form, and remarks on what was not taken as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Schema: TypeAlias = dict[str, Any]
"""A JSON schema without references, of `type`, `enum`, `properties`, `required`, `additionalProperties`,
`items`, `anyOf`, bounds, `default`, `format` and `description`; {} is any value."""

Kind = Literal[
    "file",
    "form",
    "version",
    "reference",
    "cycle",
    "type",
    "bounds",
    "dropped",
    "size",
    "name",
    "clash",
    "empty",
    "hidden",
    "injection",
    "rule",
]
KINDS: Mapping[str, str] = {
    "file": "a file that cannot be read, is too large, or is no JSON or YAML",
    "form": "what is no OpenAPI document, MCP list or list of functions, or misses what such a one must have",
    "version": "a version of OpenAPI that is not read",
    "reference": "a reference to what is not there, or that leaves its file",
    "cycle": "a type that contains itself: it is written out to where it begins again",
    "type": "a type that is missing or unknown",
    "bounds": "a bound, default or list of required names that contradicts the rest",
    "dropped": "a constraint that the tool's description tells, or that is left out",
    "size": "a type or text that is cut off, since it is too deep or too long",
    "name": "a name that no tool or argument can have",
    "clash": "two tools, operations, arguments or keys of one name",
    "empty": "a tool without a description",
    "hidden": "a text with invisible characters or marks of chat templates",
    "injection": "a text that talks to the model; it is shown as what it is, a description",
    "rule": "a tool that no rule can simulate",
}
"""What can be found, in words."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that was not taken as it is written.

    >>> print(Remark("version", "old.json", "Swagger 2.0 is not read; convert it to OpenAPI 3", refused=True))
    refused  version    old.json: Swagger 2.0 is not read; convert it to OpenAPI 3
    """

    kind: Kind
    where: str
    """File, and the operation or place in it."""
    text: str
    refused: bool = False
    """The tool or file is left out; else it was mended as the text says."""

    def __str__(self) -> str:
        return f"{'refused' if self.refused else 'mended '}  {self.kind:9}  {self.where}: {self.text}"


class BadSchema(ValueError):
    """A tool that cannot be taken; `kind` as in `Remark`."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """One tool, whatever form it was written in."""

    name: str
    description: str
    parameters: Schema
    """An object: its `properties` are the arguments, `required` those that must be given."""
    returns: Schema | None
    """What it answers, None where that is not declared."""
    writes: bool
    """It changes something, as far as method, annotations and verbs tell."""
    source: str
    """File and operation."""
    api: str
    """What the document calls itself, "" for a list of functions."""
    method: str = ""
    path: str = ""
    """Of an HTTP operation."""

    @property
    def arguments(self) -> dict[str, Schema]:
        """Schemas of the arguments by name."""
        found: dict[str, Schema] = self.parameters["properties"]
        return found

    @property
    def openai(self) -> dict[str, Any]:
        """The OpenAI form, which the agent is shown."""
        shown = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": shown}


@dataclass(eq=False)
class Catalogue:
    """All tools of a folder by name, and all that was found on the way."""

    tools: dict[str, ToolSchema] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """Files that gave at least one tool."""
    seen: int = 0
    """Files that were looked at."""
    _known: set[Remark] = field(default_factory=set, repr=False)

    def note(self, kind: Kind, where: str, text: str, *, refused: bool = False) -> None:
        """Put down a finding; the same one is put down once."""
        finding = Remark(kind, where, text, refused)
        if finding not in self._known:
            self._known.add(finding)
            self.remarks.append(finding)

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind was found, refusals as `kind!`."""
        return dict(sorted(Counter(f.kind + "!" * f.refused for f in self.remarks).items()))

    def report(self) -> str:
        """Everything in words, for a person."""
        head = f"{len(self.tools)} tools from {len(self.files)} of {self.seen} files"
        return "\n".join([head, f"remarks: {self.counts}", *map(str, self.remarks)])
