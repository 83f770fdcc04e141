"""What pytest and unittest give to a test, as statements: parameters, fixtures, what its class sets up."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from forge_envs.make_swe.edits import Function, Source
from forge_envs.make_swe.names import BUILTIN, CannotTell, Module, bound, joined_imports, needed, written

LONGEST_VALUE = 300
SHORT = 60
PREPARING = ("setUpClass", "setup_class", "setUp", "setup_method", "setup")


def is_literal(value: str) -> bool:
    """Whether a value's text is the code of it."""
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return len(value) <= LONGEST_VALUE


class Given:
    """What the names in a function of a test file stand for."""

    def __init__(
        self,
        source: Source,
        function: Function,
        near: Collection[str],
        files: Mapping[str, bytes],
        facts: Mapping[str, Any],
        values: Mapping[str, str],
        *,
        own: bool,
    ) -> None:
        self._source, self._function, self._near, self._files = source, function, near, files
        self._facts, self._values, self._own = facts, values, own
        self._module = Module(source, near)
        self._classes = _classes(source, function)
        arguments = [*function.node.args.posonlyargs, *function.node.args.args]
        self._self = {arguments[0].arg} if self._classes and arguments else set[str]()
        self._self |= {"cls"} if self._classes else set()
        held = facts["params"] if own else values
        self._arguments = {a.arg for a in (*arguments, *function.node.args.kwonlyargs)} - self._self
        self.literals = {
            name: held[name]
            for name in sorted(self._arguments & held.keys())
            if len(held[name]) <= SHORT and is_literal(held[name])
        }
        """Arguments whose values are short, as they are written."""

    def text(self, node: ast.stmt | ast.expr) -> str:
        """A part of the function as a script has it. Raises CannotTell."""
        if getattr(node, "lineno", None) is None:
            return ast.unparse(node)
        inside = node in self._source.parents
        return written(self._source, node, self._self) if inside else _made(node, self._self)

    def filled(self, value: str) -> str:
        """An expression with the test's parameters in place of their names, where they are short."""
        tree = ast.parse(value, mode="eval")
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if not names & self.literals.keys():
            return value
        return ast.unparse(_Filled(self.literals).visit(tree))

    def values_of(self, target: ast.expr) -> list[str]:
        """Assignments of what a loop's names held when the test failed. Raises CannotTell."""
        names = sorted(bound(target))
        if not all(is_literal(self._values.get(name, "?")) for name in names):
            raise CannotTell("a loop goes over values that cannot be written")
        return [f"{name} = {self._values[name]}" for name in names]

    def giving(self, wanted: Iterable[str], have: Collection[str]) -> tuple[list[str], list[str]]:
        """Imports, and statements that give these names. Raises CannotTell."""
        setup, outside, done = list[str](), list[str](), set[str]()
        pending, seen = sorted(set(wanted)), set(have)
        while pending:
            name = pending.pop(0)
            if name in done or (name in seen and name not in self._arguments):
                continue
            done.add(name)
            lines, more = self._one(name)
            if lines is None:
                outside.append(name)
                continue
            setup[:0] = [line for line in lines if line not in setup]
            pending += [other for other in more if other not in done]
        top = self._module.giving(outside)
        every = [*top, *(line for line in setup if line not in top)]
        imports = [line for line in every if line.startswith(("import ", "from "))]
        return joined_imports(imports), [line for line in every if line not in imports]

    def _one(self, name: str) -> tuple[list[str] | None, set[str]]:
        """The statements that give a name, and what they need; None where the module's top gives it."""
        if name in self._arguments:
            return self._argument(name)
        for node in self._classes:
            for statement in node.body:
                if isinstance(statement, ast.FunctionDef) and statement.name == name:
                    return self._helper(statement)
                if not isinstance(statement, ast.FunctionDef) and name in bound(statement):
                    text = written(self._source, statement)
                    return [text], needed(ast.parse(text))
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name in PREPARING:
                    texts = [
                        written(self._source, s, self._of(method)) for s in method.body if not _is_text(s)
                    ]
                    if any(name in bound(ast.parse(text)) for text in texts):
                        more = set[str]().union(*(needed(ast.parse(text)) for text in texts))
                        return texts, more - set[str]().union(*(bound(ast.parse(t)) for t in texts))
        return None, set()

    def _of(self, method: ast.FunctionDef) -> set[str]:
        return {method.args.args[0].arg} if method.args.args else set()

    def _helper(self, method: ast.FunctionDef) -> tuple[list[str], set[str]]:
        """A method of the test's class as a function."""
        if any(isinstance(n, ast.Name) and n.id == "property" for n in method.decorator_list):
            raise CannotTell("a property of the test's class")
        static = any(getattr(n, "id", "") == "staticmethod" for n in method.decorator_list)
        names = set[str]() if static else self._of(method)
        plain = ast.parse(written(self._source, method, set())).body[0]
        assert isinstance(plain, ast.FunctionDef)
        plain.args.args = plain.args.args[len(names) :]
        plain.decorator_list = []
        text = _made(plain, names)
        return [text], needed(ast.parse(text))

    def _argument(self, name: str) -> tuple[list[str], set[str]]:
        params = self._facts["params"]
        if not self._own:
            if not is_literal(self._values.get(name, "?")):
                raise CannotTell(f"{name} is no plain value")
            return [f"{name} = {self._values[name]}"], set()
        if name in params:
            text = params[name] if is_literal(params[name]) else self._parameter(name)
            return [f"{name} = {text}"], needed(ast.parse(text, mode="eval"))
        return self._fixture(name)

    def _parameter(self, name: str) -> str:
        """A parameter as its decorator has it."""
        for node in [self._function.node, *self._classes]:
            for decorator in node.decorator_list:
                if not isinstance(decorator, ast.Call) or len(decorator.args) < 2:
                    continue
                names, rows = _names_of(decorator.args[0]), decorator.args[1]
                index = self._facts["indices"].get(name)
                if name in names and isinstance(rows, (ast.List, ast.Tuple)) and index is not None:
                    row = rows.elts[index] if index < len(rows.elts) else rows
                    cells = _cells(row, len(names))
                    if len(cells) == len(names):
                        return written(self._source, cells[names.index(name)])
        raise CannotTell(f"the value of {name} is not written down")

    def _fixture(self, name: str) -> tuple[list[str], set[str]]:
        if name == "tmp_path":
            return ["from pathlib import Path", "tmp_path = Path.cwd()"], set()
        for source in self._sources():
            for function in source.functions():
                if function.node.name == name and any(
                    "fixture" in ast.unparse(d) for d in function.node.decorator_list
                ):
                    if isinstance(function.node, ast.AsyncFunctionDef):
                        raise CannotTell(f"{name} is asynchronous")
                    return self._inlined(source, function)
        raise CannotTell(f"nothing says what the fixture {name} is")

    def _sources(self) -> Iterable[Source]:
        yield self._source
        for folder in PurePosixPath(self._source.path).parents:
            path = str(folder / "conftest.py")
            if path in self._files:
                try:
                    yield Source(path, self._files[path])
                except (SyntaxError, ValueError):
                    continue

    def _inlined(self, source: Source, function: Function) -> tuple[list[str], set[str]]:
        """The body of a fixture, its result under the fixture's name."""
        node = function.node
        selves = {a.arg for a in node.args.args[:1] if a.arg == "self"}
        texts = list[str]()
        for statement in node.body:
            result = statement.value if isinstance(statement, (ast.Return, ast.Expr)) else None
            if isinstance(result, ast.Yield):
                result, ends = result.value, True
            else:
                ends = isinstance(statement, ast.Return)
            if ends and result is not None:
                texts.append(f"{node.name} = {written(source, result, selves)}")
                break
            if not _is_text(statement):
                texts.append(written(source, statement, selves))
        else:
            raise CannotTell(f"{node.name} gives nothing that can be told")
        inside = set[str]().union(*(bound(ast.parse(t)) for t in texts))
        more = set[str]().union(*(needed(ast.parse(t)) for t in texts)) - inside
        arguments = {a.arg for a in node.args.args} - selves
        if "request" in arguments:
            raise CannotTell(f"{node.name} has parameters of its own")
        self._arguments |= arguments
        if source is not self._source:
            texts = [*Module(source, self._near).giving(more - arguments - BUILTIN), *texts]
            more = arguments
        return texts, more


def _cells(row: ast.expr, count: int) -> list[ast.expr]:
    """The values of one row of parameters."""
    if isinstance(row, ast.Call) and ast.unparse(row.func).endswith("param"):
        return row.args
    return row.elts if count > 1 and isinstance(row, (ast.Tuple, ast.List)) else [row]


class _Filled(ast.NodeTransformer):
    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """A name that is known becomes its value."""
        value = self._values.get(node.id)
        return node if value is None else ast.parse(value, mode="eval").body


def _made(node: ast.AST, selves: Collection[str]) -> str:
    """A part that is not written anywhere, from its tree."""
    text = ast.unparse(node)
    source = Source("made.py", text.encode())
    statement = source.tree.body[0]
    return written(source, statement.value if isinstance(statement, ast.Expr) else statement, selves)


def _classes(source: Source, function: Function) -> list[ast.ClassDef]:
    """The classes around a function and those they come from, as far as the file has them."""
    parent = source.parents.get(function.node)
    found = [parent] if isinstance(parent, ast.ClassDef) else []
    for node in found:
        names = {base.id for base in node.bases if isinstance(base, ast.Name)}
        found += [
            n for n in source.tree.body if isinstance(n, ast.ClassDef) and n.name in names and n not in found
        ]
    return found


def _names_of(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [name.strip() for name in node.value.split(",")]
    elements = node.elts if isinstance(node, (ast.Tuple, ast.List)) else []
    return [str(e.value) for e in elements if isinstance(e, ast.Constant)]


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
