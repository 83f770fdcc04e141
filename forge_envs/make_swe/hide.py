"""Take test functions out of test files, so that an agent does not see the tests that judge it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from forge_envs.make_swe.edits import Definition, Edit, Source, apply_edits

MOST = 0.5
"""Share of the test functions that may be hidden."""


class CannotHide(ValueError):
    """A test is not written as a function in the file that its code names."""


def hide(files: Mapping[str, bytes], places: Iterable[tuple[str, int]]) -> dict[str, bytes]:
    """The files that change when the functions at these places (file, line) are gone.

    A class that would be empty keeps a `pass`. Raises CannotHide, also for a function that other code uses.
    """
    wanted: dict[str, set[int]] = {}
    for path, line in places:
        wanted.setdefault(path, set()).add(line)
    return {path: _without(path, files.get(path, b""), lines) for path, lines in sorted(wanted.items())}


def _without(path: str, data: bytes, lines: set[int]) -> bytes:
    try:
        source = Source(path, data)
    except (SyntaxError, ValueError) as error:
        raise CannotHide(f"{path}: {error}") from error
    found = {function.line: function for function in source.functions() if function.line in lines}
    if missing := lines - set(found):
        raise CannotHide(f"{path}: no function begins at line {min(missing)}")
    gone = {function.node for function in found.values()}
    if used := {node.name for node in gone} & _mentioned(source, gone):
        raise CannotHide(f"{path}: other code uses {min(used)}")
    edits = []
    for function in found.values():
        node, parent = function.node, source.parents[function.node]
        start = source.line_start(
            source.start(node.decorator_list[0]) if node.decorator_list else source.start(node)
        )
        block = [statement for statement in getattr(parent, "body", []) if statement not in gone]
        first = min((n for n in gone if source.parents[n] is parent), key=lambda n: n.lineno)
        keep = b""
        if not isinstance(parent, ast.Module) and not block and node is first:
            keep = b" " * node.col_offset + b"pass\n"
        edits.append(Edit(start, source.line_end(source.end(node) - 1), keep))
    after = apply_edits(data, edits)
    try:
        ast.parse(after)
    except SyntaxError as error:
        raise CannotHide(f"{path}: what is left does not parse: {error}") from error
    return after


def _mentioned(source: Source, gone: set[Definition]) -> set[str]:
    """The names that the rest of a file uses."""
    found: set[str] = set()
    pending: list[ast.AST] = [source.tree]
    while pending:
        node = pending.pop()
        if node not in gone:
            found.add(getattr(node, "id", getattr(node, "attr", "")))
            pending.extend(ast.iter_child_nodes(node))
    return found
