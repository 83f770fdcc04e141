"""What likeness does not see: tools on one kind of row belong together, and so does what belongs to a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from forge_envs.worlds.toolfolder.graph import LARGEST
from forge_envs.worlds.toolfolder.operations import Operation, operations
from forge_envs.worlds.toolfolder.schema import ToolSchema

SAME = 2.0
"""How much stronger an edge is between two tools of one document on one kind of row."""
_LINKS = 6


@dataclass
class Kinds:
    """The kinds of rows in each document, and which tools are about them."""

    tools: Sequence[ToolSchema]
    bound: dict[tuple[int, int], float] = field(init=False, default_factory=dict)
    """Pairs of tools, by their places, whose edge is stronger than likeness makes it."""
    _known: dict[str, Operation] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        documents: dict[str, list[int]] = {}
        for place, tool in enumerate(self.tools):
            documents.setdefault(_document(tool), []).append(place)
        for places in documents.values():
            at = {self.tools[place].name: place for place in places}
            of_kind: dict[str, list[int]] = {}
            for one in operations([self.tools[place] for place in places])[0]:
                self._known[one.tool.name] = one
                mine = of_kind.setdefault(one.entity, [])
                place = at[one.tool.name]
                self.bound |= {(other, place): SAME for other in mine[-_LINKS:]}
                mine.append(place)

    def joined(self, groups: Sequence[Sequence[ToolSchema]]) -> list[list[ToolSchema]]:
        """The groups, those on what belongs to a row joined to those on the row, if they stay small."""
        home: dict[tuple[str, str], int] = {}
        whole = [list(group) for group in groups]
        for number, group in enumerate(whole):
            for tool in group:
                if tool.name in self._known:
                    home.setdefault((_document(tool), self._known[tool.name].entity), number)
        moved = list(range(len(whole)))
        for number, tools in enumerate(groups):
            for tool in tools:
                for kind in self._known[tool.name].parents.values() if tool.name in self._known else ():
                    above, below = _end(moved, home.get((_document(tool), kind), number)), _end(moved, number)
                    if above != below and len(whole[above]) + len(whole[below]) <= LARGEST:
                        whole[above] += whole[below]
                        whole[below] = []
                        moved[below] = above
        order = {tool.name: place for place, tool in enumerate(self.tools)}
        return [sorted(group, key=lambda tool: order[tool.name]) for group in whole if group]


def _document(tool: ToolSchema) -> str:
    return tool.source.partition(": ")[0]


def _end(moved: list[int], number: int) -> int:
    while moved[number] != number:
        number = moved[number]
    return number
