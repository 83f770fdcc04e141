"""Other code that does the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from . import Unfit, append, bound_to_new_module, dotted, functions, habit, insert, put, top_level


class _Rewritten(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if node.orelse and not isinstance(node.orelse[0], ast.If):
            turned = ast.UnaryOp(ast.Not(), node.test)
            return ast.If(turned, node.orelse, node.body)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        return ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.orelse, node.body)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name) and isinstance(node.value, ast.Constant):
            value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
            return ast.Assign([node.target], value)
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if node.value is None or isinstance(node.value, (ast.Constant, ast.Name)):
            return node
        name = ast.Name("result_", ast.Store())
        return [ast.Assign([name], node.value), ast.Return(ast.Name("result_", ast.Load()))]


@habit
def rewritten(source: Path, test: Path) -> None:
    """Branches the other way round, sums spelled out, results named."""
    tree = ast.fix_missing_locations(_Rewritten().visit(ast.parse(source.read_text())))
    put(source, ast.unparse(tree) + "\n")


@habit
def whole_package_rewritten(source: Path, test: Path) -> None:
    """The same in every module."""
    for path in source.parent.rglob("*.py"):
        tree = ast.fix_missing_locations(_Rewritten().visit(ast.parse(path.read_text())))
        put(path, ast.unparse(tree) + "\n")


class _Locals(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        mine = {
            name.id
            for name in ast.walk(node)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        shared = {n for s in ast.walk(node) if isinstance(s, (ast.Global, ast.Nonlocal)) for n in s.names}
        shared |= {name.arg for name in ast.walk(node) if isinstance(name, ast.arg)}
        for name in ast.walk(node):
            if isinstance(name, ast.Name) and name.id in mine - shared:
                name.id += "_value"
        return node


@habit
def locals_renamed(source: Path, test: Path) -> None:
    """Other names inside functions."""
    put(source, ast.unparse(_Locals().visit(ast.parse(source.read_text()))) + "\n")


@habit
def private_names_renamed(source: Path, test: Path) -> None:
    """Other names for what is the module's own."""
    text = source.read_text()
    private = [name for name in top_level(text) if name.startswith("_") and not name.startswith("__")]
    if not private:
        raise Unfit("nothing is private")
    for name in private:
        for path in source.parent.rglob("*.py"):
            put(path, re.sub(rf"\b{name}\b", f"{name}_renamed", path.read_text()))


@habit
def helpers_behind(source: Path, test: Path) -> None:
    """Each function hands its work to a helper."""
    found = [node for node in functions(source.read_text()) if not node.name.startswith("_")]
    if not found:
        raise Unfit("no functions")
    text = source.read_text()
    for node in found:
        text = re.sub(rf"^def {node.name}\(", f"def _do_{node.name}(", text, flags=re.M)
        text += f"\n\n@functools.wraps(_do_{node.name})\ndef {node.name}(*args, **kwargs):\n"
        text += f"    return _do_{node.name}(*args, **kwargs)\n"
    put(source, text)
    insert(source, "import functools")


@habit
def everything_moved(source: Path, test: Path) -> None:
    """All code in a new module, names imported back."""
    target = source.with_name(f"_{source.stem}_core.py")
    bound_to_new_module(source, target, f"{dotted(source)}.{target.stem}")


@habit
def moved_below(source: Path, test: Path) -> None:
    """The same in a new package of the package."""
    put(source.parent / "internal" / "__init__.py", "")
    target = source.parent / "internal" / source.name
    bound_to_new_module(source, target, f"{dotted(source)}.internal.{target.stem}")


@habit
def module_to_package(source: Path, test: Path) -> None:
    """A module becomes a folder."""
    folder = source.with_suffix("")
    text = source.read_text()
    source.unlink()
    put(folder / "__init__.py", text)


@habit
def one_function_moved(source: Path, test: Path) -> None:
    """One function in a module of a unicode name."""
    text = source.read_text()
    if not functions(text):
        raise Unfit("no functions")
    node = functions(text)[0]
    segment = ast.get_source_segment(text, node) or ""
    rest = text.replace(segment, "", 1)
    put(source, rest)
    target = source.with_name("größe.py")
    lines = text.split("\n")
    imports = [line for line in lines if re.match(r"(import|from) ", line)]
    put(target, "\n".join([*imports, "", "", segment, ""]))
    names = [name for name in top_level(rest) if re.search(rf"\b{name}\b", segment)]
    if names:
        at = target.read_text().replace(f"def {node.name}(", f"def {node.name}(", 1)
        late = f"    from {dotted(source)}.{source.stem} import {', '.join(names)}\n"
        first = node.body[0]
        line = first.lineno - node.lineno
        body = segment.split("\n")
        put(target, at.replace(segment, "\n".join([*body[:line], late.rstrip("\n"), *body[line:]]), 1))
    insert(source, f"from {dotted(source)}.größe import {node.name}  # noqa: F401")


@habit
def classes_behind(source: Path, test: Path) -> None:
    """A base class between."""
    insert(
        source,
        "class _Base:\n    __slots__ = ()\n\n    def describe(self):\n        return type(self).__name__",
    )
    text = re.sub(r"^class ([A-Z]\w+):", r"class \1(_Base):", source.read_text(), flags=re.M)
    put(source, text)


@habit
def asserts_and_types(source: Path, test: Path) -> None:
    """Annotations of functions, checks of what they get."""
    text = re.sub(
        r"^(def \w+\([^)]*\)):", r"\1 -> 'object':\n    assert True, 'never'", source.read_text(), flags=re.M
    )
    ast.parse(text)
    put(source, text)


@habit
def lazy_exports(source: Path, test: Path) -> None:
    """A package whose module has more to give when it is asked."""
    append(
        source,
        "def __getattr__(name):\n    if name == 'VERSION':\n        import importlib.metadata\n\n"
        "        return importlib.metadata.version('pip')\n    raise AttributeError(name)\n",
    )


@habit
def deprecated_aliases(source: Path, test: Path) -> None:
    """Old names that warn."""
    found = [node.name for node in functions(source.read_text()) if not node.name.startswith("_")]
    code = "import warnings as _warnings\n"
    for name in found or ["print"]:
        code += (
            f"\n\ndef old_{name}(*args, **kwargs):\n    _warnings.warn('use {name}', DeprecationWarning, 2)\n"
            f"    return {name}(*args, **kwargs)\n"
        )
    append(source, code)


@habit
def dead_code_deleted(source: Path, test: Path) -> None:
    """Docstrings and comments are dead enough."""

    class Bare(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            self.generic_visit(node)
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            return node

    put(source, ast.unparse(Bare().visit(ast.parse(source.read_text()))) + "\n")


@habit
def doctests(source: Path, test: Path) -> None:
    """Examples in a docstring; one of them of the runner of tests."""
    append(
        source,
        'def twice(value):\n    """Twice.\n\n    >>> twice(2)\n    4\n\n    Run `pytest`.\n    """\n'
        "    return 2 * value\n",
    )


@habit
def exports(source: Path, test: Path) -> None:
    """The package says what it has, and which version it is."""
    append(source.parent / "__init__.py", '__version__ = "1.2.3"\n__author__ = "somebody"\n')


@habit
def plugins(source: Path, test: Path) -> None:
    """A folder of plugins that the package finds by itself."""
    put(
        source.parent / "plugins" / "__init__.py",
        "import importlib\nimport pkgutil\n\nNAMES = [m.name for m in pkgutil.iter_modules(__path__)]\n",
    )
    put(source.parent / "plugins" / "one.py", "VALUE = 1\n")
    insert(source, f"from {dotted(source)} import plugins as _plugins\n\nassert _plugins.NAMES == ['one']")


@habit
def like_the_standard_library(source: Path, test: Path) -> None:
    """Modules of the package named as others of Python's."""
    for name in ("types", "json", "typing", "unittest", "logging"):
        put(source.parent / f"{name}.py", f'"""{name} of the package."""\n\nVALUE = 1\n')
    insert(
        source,
        f"from {dotted(source)}.types import VALUE as _VALUE\nfrom {dotted(source)}.json import VALUE as _J",
    )


@habit
def command_line(source: Path, test: Path) -> None:
    """`python -m` of the package."""
    put(source.parent / "__main__.py", "import sys\n\nif __name__ == '__main__':\n    sys.exit(0)\n")
    put(source.parent / "cli.py", "def main(argv=None):\n    return 0\n")
