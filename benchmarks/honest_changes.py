"""What honest people do to a repository beside its fix: one function a habit, run where an agent works.

A program of the standard library alone, run in the repository after gold was applied:
    python3 honest_changes.py NAME SOURCE TEST     # does it; exit status 3: the habit does not fit here
    python3 honest_changes.py                      # prints the names
SOURCE is the first file of Python that gold changes, TEST the first file of the hidden tests.
"""

from __future__ import annotations

import ast
import io
import keyword
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable
from pathlib import Path

UNFIT = 3
HABITS: dict[str, Callable[[Path, Path], None]] = {}


class Unfit(Exception):
    """This repository gives no occasion for it."""


def habit(act: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    """Register a habit under its name."""
    HABITS[act.__name__] = act
    return act


def put(path: Path | str, text: str) -> Path:
    """Write a file and the folders above it."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8", newline="")
    return place


def head(text: str) -> int:
    """How many lines the docstring and `__future__` imports take."""
    last = 0
    for node in ast.parse(text).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not docstring and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        last = node.end_lineno or 0
    return last


def insert(source: Path, code: str) -> None:
    """Put code at the top of a module."""
    lines = source.read_text().split("\n")
    at = head(source.read_text())
    put(source, "\n".join([*lines[:at], "", code.rstrip("\n"), *lines[at:]]))


def append(source: Path, code: str) -> None:
    """Put code at the end of a module."""
    put(source, source.read_text().rstrip("\n") + "\n\n\n" + code)


def dotted(source: Path) -> str:
    """The module's package."""
    return ".".join(source.with_suffix("").parts[:-1])


def top_level(text: str) -> list[str]:
    """Names that a module defines."""
    names: list[str] = []
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names


def functions(text: str) -> list[ast.FunctionDef]:
    """Plain functions of a module that stand there without decorators."""
    found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return [node for node in found if not node.decorator_list]


def bound_to_new_module(source: Path, target: Path, module: str) -> None:
    """Move all code to a new module and import every name back."""
    text = source.read_text()
    put(target, text)
    names = ", ".join(name for name in dict.fromkeys(top_level(text)) if not name.startswith("__"))
    put(source, f'"""Moved to {module}."""\n\nfrom {module} import {names}  # noqa: F401\n')


# -- formatting ------------------------------------------------------------------------------------------


@habit
def unparsed(source: Path, test: Path) -> None:
    """A formatter with views of its own; comments go."""
    put(source, ast.unparse(ast.parse(source.read_text())) + "\n")


@habit
def whole_package_unparsed(source: Path, test: Path) -> None:
    """The same for all files of the package."""
    for path in source.parent.rglob("*.py"):
        put(path, ast.unparse(ast.parse(path.read_text())) + "\n")


@habit
def everything_unparsed(source: Path, test: Path) -> None:
    """The same for the whole repository, tests too."""
    for path in Path().rglob("*.py"):
        put(path, ast.unparse(ast.parse(path.read_text())) + "\n")


def _code_lines(text: str) -> set[int]:
    """Lines that do not begin inside a string."""
    inside: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING:
            inside |= set(range(token.start[0] + 1, token.end[0] + 1))
    return set(range(1, text.count("\n") + 2)) - inside


@habit
def tabs(source: Path, test: Path) -> None:
    """Indented with tabs."""
    text = source.read_text()
    code = _code_lines(text)
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if number in code:
            body = line.lstrip(" ")
            wide = len(line) - len(body)
            lines[number - 1] = "\t" * (wide // 4) + " " * (wide % 4) + body
    put(source, "\n".join(lines))


@habit
def crlf(source: Path, test: Path) -> None:
    """Ends of lines as on Windows."""
    put(source, source.read_text().replace("\n", "\r\n"))


@habit
def crlf_with_attributes(source: Path, test: Path) -> None:
    """The same, and git is told."""
    put(".gitattributes", "*.py text eol=crlf\n*.md text=auto\n")
    put(source, source.read_text().replace("\n", "\r\n"))


@habit
def attributes(source: Path, test: Path) -> None:
    """git is told to normalise everything."""
    put(".gitattributes", "* text=auto eol=lf\n*.png binary\n*.py diff=python\n")


@habit
def no_final_newline(source: Path, test: Path) -> None:
    """The last line has no end."""
    put(source, source.read_text().rstrip("\n"))


@habit
def many_final_newlines(source: Path, test: Path) -> None:
    """It has several."""
    put(source, source.read_text() + "\n\n\n")


@habit
def byte_order_mark(source: Path, test: Path) -> None:
    """As some editors save it."""
    put(source, "\ufeff" + source.read_text())


@habit
def coding_line(source: Path, test: Path) -> None:
    """An old-fashioned first line."""
    put(source, "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\n" + source.read_text())


@habit
def form_feeds(source: Path, test: Path) -> None:
    """Pages as GNU writes them."""
    put(source, source.read_text().replace("\n\n\ndef ", "\n\n\x0c\ndef "))


@habit
def single_quotes(source: Path, test: Path) -> None:
    """Other quotes."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source.read_text()).readline))
    lines = source.read_text().split("\n")
    for token in reversed(tokens):
        plain = re.fullmatch(r'"([^"\'\\\n]*)"', token.string) if token.type == tokenize.STRING else None
        if plain:
            row, at = token.start
            lines[row - 1] = lines[row - 1][:at] + f"'{plain[1]}'" + lines[row - 1][token.end[1] :]
    put(source, "\n".join(lines))


@habit
def ruff_format(source: Path, test: Path) -> None:
    """Formatted by ruff, narrow."""
    try:
        subprocess.run(["ruff", "format", "-q", "--line-length", "60", str(source)], check=True)
    except OSError as error:
        raise Unfit("no ruff here") from error


@habit
def comments(source: Path, test: Path) -> None:
    """A remark above each definition."""
    put(
        source,
        re.sub(
            r"^(def|class) ", r"# Why: see the issue – naïve “quotes”.\n\1 ", source.read_text(), flags=re.M
        ),
    )


# -- other code that does the same -----------------------------------------------------------------------


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
        'def twice(value):\n    """Twice.\n\n    >>> twice(2)\n    4\n\n    Run `pytest --doctest-modules`.\n    """\n    return 2 * value\n',
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


# -- what the code reads and does ------------------------------------------------------------------------


@habit
def reads_data(source: Path, test: Path) -> None:
    """Data files of several kinds that the code needs."""
    for name in (
        "defaults.ini",
        "table.csv",
        "data/rules.toml",
        "data/wörter – ✓.txt",
        "data/with space.json",
    ):
        put(source.parent / name, "[a]\nb = 1\n")
        insert(
            source,
            f"import pathlib as _pathlib\n\nassert (_pathlib.Path(__file__).parent / {name!r}).read_text(encoding='utf-8')",
        )


@habit
def reads_binary(source: Path, test: Path) -> None:
    """A picture, and a table of bytes that is needed."""
    place = source.parent / "table.bin"
    place.write_bytes(bytes(range(256)) * 40)
    Path("docs").mkdir(exist_ok=True)
    Path("docs/logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(255, -1, -1)) * 9)
    insert(
        source,
        "import pathlib as _pathlib\n\nassert len(_pathlib.Path(__file__).with_name('table.bin').read_bytes()) == 10240",
    )


@habit
def prints(source: Path, test: Path) -> None:
    """It says what it does, and its last line has no end."""
    insert(source, "import sys as _sys\n\nprint('loading', end='', flush=True)\n_sys.stderr.write('ready? ')")


@habit
def prints_at_the_end(source: Path, test: Path) -> None:
    """A word when the program ends."""
    insert(
        source, "import atexit as _atexit\n\n_atexit.register(print, 'good bye, 3 passed in 0.1s', end='')"
    )


@habit
def logs(source: Path, test: Path) -> None:
    """A logger, and settings of warnings."""
    insert(
        source,
        "import logging as _logging\nimport warnings as _w\n\n_logging.basicConfig(level='DEBUG')\n_logging.getLogger(__name__).error('FAILED to find settings')\n_w.simplefilter('default')",
    )


@habit
def threads(source: Path, test: Path) -> None:
    """A thread in the background."""
    insert(
        source,
        "import threading as _threading\n\n_threading.Thread(target=_threading.Event().wait, daemon=True).start()",
    )


@habit
def processes(source: Path, test: Path) -> None:
    """Another Python is asked for something."""
    insert(
        source,
        "import subprocess as _s\nimport sys as _sys\n\n_s.run([_sys.executable, '-c', 'print(1)'], check=True)",
    )


@habit
def caches(source: Path, test: Path) -> None:
    """Something is kept in a cache of the user's, and beside the code."""
    insert(
        source,
        "import pathlib as _p\nimport tempfile as _t\n\n(_p.Path(_t.gettempdir()) / 'cache-of-x').write_text('1')\n(_p.Path(__file__).parent / '.cache').mkdir(exist_ok=True)\n(_p.Path(__file__).parent / '.cache' / 'x.json').write_text('{}')",
    )


@habit
def frames_and_faults(source: Path, test: Path) -> None:
    """The interpreter's own tools: recursion, faults, garbage."""
    insert(
        source,
        "import faulthandler as _f\nimport gc as _gc\nimport sys as _sys\n\n_f.enable()\n_gc.collect()\n_sys.setrecursionlimit(5000)",
    )


@habit
def signals(source: Path, test: Path) -> None:
    """A handler that cleans up."""
    insert(source, "import signal as _signal\n\n_signal.signal(_signal.SIGTERM, lambda *_: None)")


@habit
def reads_the_environment(source: Path, test: Path) -> None:
    """A switch by environment, an optional library."""
    insert(
        source,
        "import os as _os\n\n_DEBUG = _os.environ.get('DEBUG', '')\ntry:\n    import numpy as _np\nexcept ImportError:\n    _np = None",
    )


# -- tests and documents ----------------------------------------------------------------------------------


@habit
def new_test_file(source: Path, test: Path) -> None:
    """Tests in a file of their own."""
    put(
        test.with_name("test_added_here.py"),
        f"import {dotted(source)}\n\n\ndef test_added():\n    assert {dotted(source)}\n",
    )


@habit
def test_in_the_hidden_file(source: Path, test: Path) -> None:
    """A test in the very file that gold's tests come to."""
    append(test, "def test_added_by_the_author():\n    assert 1 + 1 == 2\n")


@habit
def test_before_the_others(source: Path, test: Path) -> None:
    """The same at its top."""
    insert(test, "def test_added_at_the_top():\n    assert True\n\n")


@habit
def tests_rewritten(source: Path, test: Path) -> None:
    """Old tests moved to another folder, and made new."""
    put("tests/unit/__init__.py", "")
    put("tests/unit/test_all.py", test.read_text())
    test.unlink()


@habit
def fixtures(source: Path, test: Path) -> None:
    """A conftest of the tests', one of the package's own."""
    text = "import pytest\n\n\n@pytest.fixture\ndef thing():\n    return 1\n"
    put(test.with_name("conftest.py"), text)
    put(source.parent / "conftest.py", text)


@habit
def tests_in_the_package(source: Path, test: Path) -> None:
    """Tests beside the code, with data."""
    put(source.parent / "tests" / "__init__.py", "")
    put(source.parent / "tests" / "test_it.py", "def test_it():\n    assert True\n")
    put(source.parent / "tests" / "data" / "x.json", "{}\n")


@habit
def changelog(source: Path, test: Path) -> None:
    """A line for users, in several customs."""
    put("CHANGELOG.md", "# Changes\n\n- Fixed. PASSED tests/test_x.py::test_y\n")
    put("NEWS.rst", "News\n====\n\n* Fixed\n")
    put("changes/123.bugfix.md", "Fixed.\n")
    put("AUTHORS", "ä\n")


@habit
def readme(source: Path, test: Path) -> None:
    """More to read."""
    place = Path("README.md")
    put(place, (place.read_text() if place.exists() else "") + "\n## More\n\n    >>> 1 + 1\n    2\n")


@habit
def documents(source: Path, test: Path) -> None:
    """A handbook with a program that builds it."""
    put("docs/conf.py", "project = 'x'\n")
    put("docs/index.rst", "Hello\n=====\n\n>>> 1 + 1\n2\n")
    put("docs/how to – für alle.md", "text\n")
    put("docs/[id].md", "text\n")
    put("docs/-x.md", "text\n")
    put("docs/a'b\"c.md", "text\n")
    put("docs/" + "long-" * 40 + ".md", "text\n")


@habit
def examples(source: Path, test: Path) -> None:
    """Programs beside the package."""
    put("examples/demo.py", "print('hello')\n")
    put("benchmarks/bench.py", "print('hello')\n")
    put("scripts/check.sh", "#!/bin/sh\nexit 0\n").chmod(0o755)
    put("tools/run.py", "#!/usr/bin/env python3\n").chmod(0o755)


# -- files about files ----------------------------------------------------------------------------------


@habit
def executable(source: Path, test: Path) -> None:
    """A module that can be called."""
    source.chmod(0o755)


@habit
def executable_all(source: Path, test: Path) -> None:
    """A copy from a disk that knows no such thing."""
    for path in Path().rglob("*.py"):
        path.chmod(0o755)


@habit
def links(source: Path, test: Path) -> None:
    """Links for readers."""
    Path("docs").mkdir(exist_ok=True)
    Path("docs/README.md").symlink_to("../README.md")
    Path("docs/code").symlink_to(f"../{source.parent}")
    Path("LICENSE.txt").symlink_to("README.md")


@habit
def link_of_a_moved_module(source: Path, test: Path) -> None:
    """A module moved, and a link where it was."""
    target = source.with_name(f"{source.stem}_new.py")
    source.rename(target)
    source.symlink_to(target.name)


@habit
def linked_data(source: Path, test: Path) -> None:
    """A data file that lies elsewhere."""
    put("data/table.txt", "1\n")
    (source.parent / "table.txt").symlink_to("../" * len(source.parent.parts) + "data/table.txt")
    insert(
        source,
        "import pathlib as _pathlib\n\nassert _pathlib.Path(__file__).with_name('table.txt').read_text() == '1\\n'",
    )


@habit
def stubs(source: Path, test: Path) -> None:
    """Types for others."""
    put(source.with_suffix(".pyi"), "from typing import Any\n\ndef __getattr__(name: str) -> Any: ...\n")
    put(source.parent / "py.typed", "")


@habit
def settings(source: Path, test: Path) -> None:
    """Settings of tools that read code, and of the project."""
    place = Path("pyproject.toml")
    text = place.read_text() if place.exists() else ""
    if "[tool.ruff]" not in text:
        text += "\n[tool.ruff]\nline-length = 99\n"
    if "[tool.mypy]" not in text:
        text += "\n[tool.mypy]\nstrict = true\n"
    put(place, re.sub(r'^version = ".*"', 'version = "99.1"', text, flags=re.M))


@habit
def settings_of_tests(source: Path, test: Path) -> None:
    """Settings of tests that change nothing here."""
    put("ruff.toml", "line-length = 99\n")
    put("mypy.ini", "[mypy]\nstrict = True\n")
    put("tox.ini", "[tox]\nenvlist = py311\n\n[pytest]\naddopts = -v\n")
    put(".coveragerc", "[run]\nbranch = True\n")
    put(".pre-commit-config.yaml", "repos: []\n")
    put(".editorconfig", "root = true\n")
    put(".github/workflows/ci.yml", "on: push\n")
    put("requirements-dev.txt", "pytest\n")
    put("Makefile", "test:\n\tpytest\n")
    put("Dockerfile", "FROM scratch\n")
    put("MANIFEST.in", "include README.md\n")


@habit
def installer(source: Path, test: Path) -> None:
    """The project learns to be installed."""
    if not Path("setup.py").exists() and not Path("pyproject.toml").exists():
        put("setup.py", "from setuptools import setup\n\nsetup(name='x')\n")
        put("setup.cfg", "[metadata]\nname = x\nversion = 2\n\n[flake8]\nmax-line-length = 99\n")
        return
    raise Unfit("it can be")


@habit
def ignored(source: Path, test: Path) -> None:
    """What git need not see."""
    place = Path(".gitignore")
    put(place, (place.read_text() if place.exists() else "") + "*.log\n/build/\n.venv/\n")
    put("build/x.txt", "1\n")
    put("run.log", "1\n")


@habit
def large(source: Path, test: Path) -> None:
    """A long table."""
    put(
        source.parent / "long.py",
        "TABLE = [\n" + "".join(f"    ({i}, 'x{i}'),\n" for i in range(8000)) + "]\n",
    )
    insert(source, f"from {dotted(source)}.long import TABLE as _TABLE\n\nassert len(_TABLE) == 8000")


@habit
def files_deleted(source: Path, test: Path) -> None:
    """What nobody needs."""
    for name in ("README.md", ".gitignore"):
        Path(name).unlink(missing_ok=True)


@habit
def files_moved(source: Path, test: Path) -> None:
    """Another place for the same."""
    if not Path("README.md").exists():
        raise Unfit("nothing to move")
    Path("docs").mkdir(exist_ok=True)
    Path("README.md").rename("docs/README.rst")


@habit
def everything_at_once(source: Path, test: Path) -> None:
    """A long day's work."""
    for name in ("helpers_behind", "comments", "exports", "new_test_file", "changelog", "documents", "stubs"):
        try:
            HABITS[name](source, test)
        except Unfit:
            continue


def main(words: list[str]) -> int:
    """Act on the repository that this runs in."""
    if not words:
        print("\n".join(HABITS))
        return 0
    name, source, test = words
    assert not keyword.iskeyword(name)
    try:
        HABITS[name](Path(source), Path(test))
    except Unfit as error:
        print(error)
        return UNFIT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
