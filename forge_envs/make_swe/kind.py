"""The registry of kinds of bugs, which a kind enters under its own name."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from forge_envs.make_swe.edits import Edit, Source

Maker = Callable[[Source, ast.AST], Iterator[list[Edit]]]
KINDS: dict[str, tuple[tuple[type[ast.AST], ...], Maker]] = {}


def kind(*types: type[ast.AST]) -> Callable[[Maker], Maker]:
    """Register a function as a kind of bug, called for every node of these types that a function owns."""

    def register(maker: Maker) -> Maker:
        KINDS[maker.__name__] = (types, maker)
        return maker

    return register
