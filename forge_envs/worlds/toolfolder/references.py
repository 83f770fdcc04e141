"""References inside one document: `#/components/schemas/Pet` and what it points at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from forge_envs.worlds.toolfolder.schema import BadSchema

MOST_STEPS = 32
"""References that may point at references."""


@dataclass(frozen=True)
class References:
    """A document in which references are followed.

    >>> References({"a": {"b/c": {"type": "string"}}}).follow({"$ref": "#/a/b~1c"})
    ({'type': 'string'}, ('#/a/b~1c',))
    """

    document: Any

    def follow(self, node: Any) -> tuple[Any, tuple[str, ...]]:
        """What a node means, with its own keys on top, and the references that led there.

        Raises BadSchema for one that leads nowhere, out of the file, or in a circle.
        """
        steps: list[str] = []
        while isinstance(node, dict) and isinstance(node.get("$ref"), str):
            pointer = node["$ref"]
            if pointer in steps or len(steps) == MOST_STEPS:
                raise BadSchema("reference", f"{' -> '.join([*steps, pointer])[:300]} leads nowhere")
            steps.append(pointer)
            target = self._at(pointer)
            beside = {key: value for key, value in node.items() if key != "$ref"}
            node = {**target, **beside} if isinstance(target, dict) else target
        return node, tuple(steps)

    def _at(self, pointer: str) -> Any:
        if not pointer.startswith("#"):
            raise BadSchema(
                "reference", f"{pointer[:100]!r} leaves the file: write it out, nothing is fetched"
            )
        node = self.document
        for part in pointer[1:].split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                raise BadSchema("reference", f"{pointer[:100]!r} points at nothing")
        return node
