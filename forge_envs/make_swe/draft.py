"""A failing test as scripts that may show its failure without it; whether one does, only a run tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from forge_envs.make_swe.checks import REFUSALS, called, is_check, refused, suspects
from forge_envs.make_swe.edits import Function, Source
from forge_envs.make_swe.fixtures import Given
from forge_envs.make_swe.names import BUILTIN, CannotTell, bound, changed, joined_imports, needed
from forge_envs.make_swe.package import is_test
from forge_envs.make_swe.plausible import plausible
from forge_envs.make_swe.witness import SHOW

LONGEST_SCRIPT = 28
"""Lines."""
INDENT = "    "
KEPT = ("bound", "needed", "all", "checks")
"""What a script keeps of the statements before: those that bind the names in question, also those that may
change what they stand for, all, all and the calls of checks. A run tells which is enough."""
QUIET = frozenset({"subTest", "catch_warnings", "warns", "deprecated_call", "suppress"})
"""Contexts that a script does without."""


@dataclass(frozen=True)
class Retelling:
    """A script, and what its last statement is about."""

    test: str
    before: str
    """All but the last statement."""
    last: str
    """The last statement, as a user would write it; empty when it only checks."""
    value: str
    """The expression whose value may be wrong, empty when the last statement has none."""
    depth: int = 0
    """How deep the last statement lies in blocks that the script keeps."""
    after: str = ""
    refuses: bool = False
    """Whether an exception is what the test wants."""
    callee: str = ""
    """What the expression calls, if that is a plain name."""

    def script(self, how: str) -> str:
        """The whole, with the value given to `how`; with the last statement as it is where `how` is empty."""
        last = f"{how}({self.value})" if how and self.value else self.last or self.value
        lines = [self.before, indented(last, self.depth), self.after]
        return "\n".join(part for part in lines if part) + "\n"


@dataclass(frozen=True)
class _Step:
    """A statement on the way to the failing one."""

    node: ast.stmt
    depth: int
    head: str = ""
    """The opening line of a block that is kept."""


def indented(text: str, depth: int) -> str:
    """A text with all its lines moved to the right."""
    return "\n".join(INDENT * depth + line if line else line for line in text.split("\n"))


def drafts(
    nodeid: str, facts: Mapping[str, Any], place: tuple[str, int], files: Mapping[str, bytes]
) -> Iterator[Retelling]:
    """Scripts of a failing test, the likeliest first; none where it cannot be told alone."""
    try:
        source = Source(place[0], files.get(place[0], b""))
    except (SyntaxError, ValueError):
        return
    beside = [path for path in files if str(PurePosixPath(path).parent) == _folder(place[0])]
    near = {PurePosixPath(path).stem for path in beside if is_test(path)}  # what it tests may lie there too
    near |= {PurePosixPath(path).parts[0] for path in files if "test" in PurePosixPath(path).parts[0].lower()}
    for line, name, values in reversed(facts.get("frames", [])):
        inside = [f for f in source.functions() if f.node.name == name and _spans(f.node, line)]
        function = max(inside, key=lambda f: f.node.lineno, default=None)
        if function is not None:
            given = Given(source, function, near, files, facts, values, own=function.line == place[1])
            yield from _of_function(nodeid, function, line, given)


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _spans(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or 0)


def _of_function(nodeid: str, function: Function, line: int, given: Given) -> Iterator[Retelling]:
    try:
        steps, last, depth, refuses = _way(function.node.body, line, given)
    except (CannotTell, SyntaxError):
        return
    call = refused(last)
    targets = [call] if call is not None else suspects(last)
    plain = (
        call is None and not is_check(last) and not isinstance(last, (ast.If, ast.While, ast.For, ast.With))
    )
    seen = set[str]()
    for keep in KEPT:
        for target in [*targets, *([None] if plain else [])]:
            try:
                draft = _draft(nodeid, function, given, (steps, last, depth), target, keep, plain)
            except (CannotTell, SyntaxError):  # or its parts do not stand alone
                continue
            known = draft.script(SHOW) in seen or draft.script("").count("\n") > LONGEST_SCRIPT
            if not known and plausible(draft.script("")):
                seen.add(draft.script(SHOW))
                yield Retelling(**{**vars(draft), "refuses": refuses or call is not None})


def _way(
    body: Sequence[ast.stmt], line: int, given: Given, depth: int = 0
) -> tuple[list[_Step], ast.stmt, int, bool]:
    """The statements before the failing one, that one, its depth, and whether it must raise."""
    before = []
    for statement in body:
        if not _spans(statement, line):
            before.append(_Step(statement, depth))
            continue
        opened, inner, must = _opened(statement, line, given, depth)
        if inner is None:
            return before, statement, depth, False
        deeper = depth + 1 if opened and opened[-1].head else depth
        found = next((i for i in inner if _spans(i, line)), None)
        if found is None:  # a `with raises` in which nothing was raised
            if not must:
                return before, statement, depth, False
            steps = [*before, *opened, *(_Step(s, deeper) for s in inner[:-1])]
            return steps, inner[-1], deeper, True
        steps, last, at, refuses = _way(inner, line, given, deeper)
        return [*before, *opened, *steps], last, at, refuses or must
    raise CannotTell("the failing line is in no statement")


def _opened(
    node: ast.stmt, line: int, given: Given, depth: int
) -> tuple[list[_Step], list[ast.stmt] | None, bool]:
    """What goes before the body of a block, the body, and whether something in it must raise."""
    if isinstance(node, (ast.With, ast.AsyncWith)):
        names = [called(item.context_expr) for item in node.items]
        if any(name in REFUSALS for name in names):
            return [], node.body, True
        if not any(_spans(inner, line) for inner in node.body):
            return [], None, False
        if all(name in QUIET for name in names):
            return [], node.body, False
        items = ", ".join(given.text(i.context_expr) + _named(given, i.optional_vars) for i in node.items)
        word = "async with" if isinstance(node, ast.AsyncWith) else "with"
        return [_Step(node, depth, f"{word} {items}:")], node.body, False
    if isinstance(node, ast.If):
        block = next((b for b in (node.body, node.orelse) if any(_spans(i, line) for i in b)), None)
        return [], block, False
    if isinstance(node, ast.Try):
        return [], next((b for b in (node.body, node.orelse) if any(_spans(i, line) for i in b)), None), False
    if isinstance(node, (ast.For, ast.AsyncFor)) and any(_spans(i, line) for i in node.body):
        steps = [_Step(ast.parse(text).body[0], depth, "") for text in given.values_of(node.target)]
        return steps, node.body, False
    return [], None, False


def _named(given: Given, node: ast.expr | None) -> str:
    return f" as {given.text(node)}" if node is not None else ""


def _draft(
    nodeid: str,
    function: Function,
    given: Given,
    way: tuple[list[_Step], ast.stmt, int],
    target: ast.expr | None,
    keep: str,
    plain: bool,
) -> Retelling:
    """One script: what it is about, and which of the statements before are kept. Raises CannotTell."""
    steps, last, depth = way
    value = given.text(target) if target is not None else ""
    end = given.text(last) if plain else ""
    lines = _before(steps, given, needed(ast.parse(value or end)), keep)
    if keep in ("bound", "needed"):
        lines, value = _without_name(lines, value, depth)
    if value and not any(given.literals.keys() & needed(ast.parse(_whole(text))) for _, text in lines):
        value = given.filled(value)
    goal = ast.parse(value or end)
    trees = [ast.parse(_whole(text)) for _, text in lines]
    wanted, have = needed(goal).union(*map(needed, trees)), set[str]().union(*map(bound, trees))
    imports, setup = given.giving(wanted, have)
    if keep in ("bound", "needed"):
        setup = _of_use(setup, wanted)
    waits = isinstance(function.node, ast.AsyncFunctionDef) or "await " in value + end
    body = [indented(text, at + waits) for at, text in lines]
    if waits:
        imports = joined_imports(["import asyncio", *imports])
        body = ["async def main():", *body]
    gap = [""] if imports else []
    setup = [f"{text}\n" if text.startswith(("def ", "class ", "@", "async ")) else text for text in setup]
    before = "\n".join([*imports, *gap, *setup, *body])
    made = ast.parse(value, mode="eval").body if value else None
    callee = ast.unparse(made.func) if isinstance(made, ast.Call) else ""
    callee = callee if callee.replace(".", "").isidentifier() and callee not in BUILTIN else ""
    after = "\nasyncio.run(main())" if waits else ""
    return Retelling(nodeid, before, end, value, depth + waits, after, callee=callee)


def _without_name(lines: list[tuple[int, str]], value: str, depth: int) -> tuple[list[tuple[int, str]], str]:
    """What a name was just given, in place of the name."""
    statement = (
        ast.parse(lines[-1][1]).body[0] if lines and lines[-1][0] == depth and value.isidentifier() else None
    )
    if isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == [value]:
        return lines[:-1], ast.get_source_segment(lines[-1][1], statement.value) or value
    return lines, value


def _whole(text: str) -> str:
    """A statement, or the opening line of a block with something in it."""
    return f"{text}\n pass" if text.endswith(":") else text


def _before(steps: list[_Step], given: Given, wanted: set[str], keep: str) -> list[tuple[int, str]]:
    """The statements that are kept, with their depths: all, or those that the wanted names come from."""
    kept: list[tuple[int, str]] = []
    for step in reversed(steps):
        if step.head:
            kept.append((step.depth, step.head))
            wanted = wanted | needed(ast.parse(_whole(step.head)))
            continue
        text = _kept(step.node, given, keep)
        if not text:
            continue
        tree = ast.parse(text)
        if keep == "bound" and not bound(tree) & wanted:
            continue
        if keep == "needed" and not changed(tree) & wanted:
            continue
        # what it gives anew was of no use before; a run tells whether that was right
        wanted = (wanted - _given_anew(tree) if keep in ("bound", "needed") else wanted) | needed(tree)
        kept.append((step.depth, text))
    return kept[::-1]


def _of_use(setup: list[str], wanted: set[str]) -> list[str]:
    """What is set up without what only gives names that nothing later asks for."""
    kept = list[str]()
    for text in reversed(setup):
        tree = ast.parse(text)
        if not isinstance(tree.body[0], ast.Assign) or changed(tree) & wanted:
            kept.append(text)
            wanted = wanted | needed(tree)
    return kept[::-1]


def _given_anew(tree: ast.Module) -> set[str]:
    """The names that a statement gives new values, whatever they were."""
    (statement,) = tree.body
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    names = [target for t in targets for target in (t.elts if isinstance(t, ast.Tuple) else [t])]
    return {name.id for name in names if isinstance(name, ast.Name)}


def _kept(node: ast.stmt, given: Given, keep: str) -> str:
    """A statement as the script has it; empty for one that it does without."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return ""
    if isinstance(node, ast.Assign) and given.text(node.value) in map(given.text, node.targets):
        return ""  # `x = self.x`, once it is no method
    if isinstance(node, (ast.Global, ast.Nonlocal, ast.Return)) or any(
        isinstance(inner, (ast.Yield, ast.YieldFrom)) for inner in ast.walk(node)
    ):
        raise CannotTell("it is a generator, or ends before")
    if not is_check(node):
        return given.text(node)
    if keep != "checks" or isinstance(node, ast.With):
        return ""
    calls = [target for target in suspects(node) if any(isinstance(n, ast.Call) for n in ast.walk(target))]
    return given.text(calls[0]) if calls else ""
