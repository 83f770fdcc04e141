"""What a piece of a test needs to run alone: its names, and where the test's file gives them."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import PurePosixPath

from forge_envs.make_swe.edits import Edit, Source, apply_edits

TESTING = frozenset({"pytest", "conftest", "tests", "test"})
"""Modules of tests, and what helps them."""
BUILTIN = frozenset(dir(builtins)) | {"__name__", "__file__"}


class CannotTell(ValueError):
    """A test whose failing part does not stand alone as a script."""


class _Unselfed(ast.NodeTransformer):
    """`self.x` as the plain name `x`."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """An attribute of the instance becomes a name."""
        if isinstance(node.value, ast.Name) and node.value.id in self._names:
            return ast.Name(node.attr, node.ctx)
        return self.generic_visit(node)


def written(source: Source, node: ast.stmt | ast.expr, selves: Iterable[str] = ()) -> str:
    """A statement or expression as it is written, at the left margin, `self.x` as `x`.

    Raises CannotTell when the instance itself is used.
    """
    names = frozenset(selves)
    plain = ast.fix_missing_locations(_Unselfed(names).visit(deepcopy(node)))
    if any(isinstance(inner, ast.Name) and inner.id in names for inner in ast.walk(plain)):
        raise CannotTell("the test's instance is used")
    first = min([node, *getattr(node, "decorator_list", [])], key=source.start)
    start = source.start(first) - (first is not node)  # a decorator begins at its sign
    edits = [
        Edit(source.start(inner) - start, source.end(inner) - len(inner.attr.encode()) - start)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id in names
    ]
    raw = source.data[start : source.end(node)]
    try:
        text = _dedented(apply_edits(raw, edits).decode("utf-8"), node.col_offset, _inside_texts(node, first))
        if ast.dump(_parsed(text, node)) == ast.dump(plain):
            return text
    except (SyntaxError, ValueError):
        pass  # places inside an f-string
    return ast.unparse(plain)


def _inside_texts(node: ast.AST, first: ast.stmt | ast.expr) -> set[int]:
    """The lines, counted from the first one, that begin inside a text: they stay as they are."""
    texts = [n for n in ast.walk(node) if isinstance(n, (ast.Constant, ast.JoinedStr))]
    spans = [(text.lineno, text.end_lineno or 0) for text in texts]
    return {line - first.lineno for start, end in spans for line in range(start + 1, end + 1)}


def _dedented(text: str, margin: int, kept: set[int]) -> str:
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(
        line if number == 0 or number in kept else line[min(margin, len(line) - len(line.lstrip())) :]
        for number, line in enumerate(lines)
    )


def _parsed(text: str, node: ast.AST) -> ast.AST:
    if isinstance(node, ast.expr):
        return ast.parse(text, mode="eval").body
    return ast.parse(text).body[0]


def bound(node: ast.AST) -> set[str]:
    """The names that a statement gives a value to, in its own space."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    found = set[str]()
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in inner.names}
        elif isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(inner.name)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            found.add(inner.id)
        elif isinstance(inner, ast.ExceptHandler) and inner.name:
            found.add(inner.name)
    return found


def needed(node: ast.AST) -> set[str]:
    """The names that a statement or expression reads from outside of it."""
    loads = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Store)}
    inside = set[str]()
    for inner in ast.walk(node):
        if isinstance(inner, ast.arg):
            inside.add(inner.arg)
        elif isinstance(inner, ast.comprehension):
            inside |= bound(inner.target)
        elif isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inside |= {inner.name}.union(*(bound(statement) for statement in inner.body))
    return {name for name in loads - inside if name not in BUILTIN}


def changed(node: ast.AST) -> set[str]:
    """The names whose values a statement may change: bound, called upon, given away."""
    found = bound(node)
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Attribute, ast.Subscript)):
            root: ast.AST = inner
            while isinstance(root, (ast.Attribute, ast.Subscript)):
                root = root.value
            called = isinstance(inner.ctx, ast.Store) or isinstance(inner, ast.Attribute)
            if called and isinstance(root, ast.Name):
                found.add(root.id)
        elif isinstance(inner, ast.Call):
            found |= {a.id for a in inner.args if isinstance(a, ast.Name)}
    return found


class Module:
    """The top level of a test file, for what a piece of it needs."""

    def __init__(self, source: Source, near: Iterable[str]) -> None:
        self.source, self._near = source, frozenset(near)
        self._top: list[ast.stmt] = list(source.tree.body)

    def giving(self, names: Iterable[str]) -> list[str]:
        """The imports and definitions that these names need, in the order of the file. Raises CannotTell."""
        imports, kept, pending, known = dict[str, set[str]](), set[int](), set(names), set[str]()
        while pending:
            name = pending.pop()
            known.add(name)
            number = self._place(name)
            statement = self._top[number]
            kept.add(number)
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                imports.setdefault(str(number), set()).add(name)
            else:
                pending |= needed(statement) - known - bound(statement)
        texts = list[str]()
        for number in sorted(
            kept, key=lambda n: (not isinstance(self._top[n], (ast.Import, ast.ImportFrom)), n)
        ):
            statement = self._top[number]
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                texts += self._imports(statement, imports[str(number)])
            else:
                texts.append(written(self.source, statement))
        return texts

    def _place(self, name: str) -> int:
        stars = None
        for number in range(len(self._top) - 1, -1, -1):
            statement = self._top[number]
            if name in bound(statement):
                return number
            if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
                stars = number
        if stars is None:
            raise CannotTell(f"nothing gives {name}")
        return stars

    def _whole_name(self, node: ast.ImportFrom) -> str:
        """The module that is imported from, for tests that lie within their package: `wheels` for `..`."""
        if not node.level:
            return node.module or ""
        folders = [name for name in PurePosixPath(self.source.path).parts[:-1] if name not in ("src", "lib")]
        base = folders[: len(folders) - node.level + 1]
        whole = ".".join([*base, *([node.module] if node.module else [])])
        if not base or not TESTING.isdisjoint(whole.split(".")):
            raise CannotTell(f"it imports {whole or '.'}, which users of the package do not have")
        return whole

    def _imports(self, node: ast.Import | ast.ImportFrom, names: set[str]) -> Iterator[str]:
        module = self._whole_name(node) if isinstance(node, ast.ImportFrom) else ""
        first, *inner = (module or node.names[0].name).split(".")
        if first in self._near or first in TESTING or not TESTING.isdisjoint(inner):
            raise CannotTell(f"it imports {module or first}, which users of the package do not have")
        for alias in node.names:
            given = alias.asname or alias.name.partition(".")[0]
            if given in names or alias.name == "*":
                renamed = f" as {alias.asname}" if alias.asname else ""
                if isinstance(node, ast.ImportFrom):
                    yield f"from {module} import {alias.name}{renamed}"
                else:
                    yield f"import {alias.name}{renamed}"


def joined_imports(lines: list[str]) -> list[str]:
    """Imports from one module in one line each.

    >>> joined_imports(["from a import b", "import c", "from a import d as e"])
    ['from a import b, d as e', 'import c']
    """
    found: dict[str, list[str]] = {}
    for line in dict.fromkeys(lines):
        if line.startswith("from "):
            head, _, name = line.partition(" import ")
            found.setdefault(head, []).append(name)
        else:
            found[line] = []
    return [f"{head} import {', '.join(names)}" if names else head for head, names in found.items()]
