"""The judge as files: the modules that it needs, copied from where they are installed, and nothing else.

Found by reading their import statements, so that no list can go stale. Of a package whose `__init__` does
more than the judge asks for, an empty one goes along.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from forge_envs.adapters.harbor.stand_ins import STAND_INS

OURS = "forge_envs"
OFFICIAL = "swebench"
HOLLOW = frozenset({OURS, f"{OURS}.adapters", OFFICIAL, f"{OFFICIAL}.harness"})
"""Packages whose `__init__` registers worlds or imports what judges have no use for."""
ENTRY = f"{OURS}.adapters.harbor.grade"
LATE = {
    "swe": (f"{OURS}.adapters.harbor.grade_swe", f"{OFFICIAL}.harness.utils", f"{OFFICIAL}.harness.grading"),
    "polyglot": (f"{OURS}.adapters.harbor.grade_polyglot",),
}
"""By judge, what is imported inside functions: reading statements at the top of modules does not show it."""
READ = {
    "swe": ("sandbox/supervise.py", "worlds/swe/edit.py", "worlds/swe/watch.py"),
    "polyglot": ("sandbox/supervise.py",),
}
"""By judge, the files that it reads or runs and never imports."""
MAIN = """\
\"\"\"Judges what the agent left; see forge_envs/adapters/harbor/grade.py.\"\"\"

import sys

from forge_envs.adapters.harbor.grade import main

sys.exit(main())
"""


def judge_files(kind: str) -> dict[str, bytes]:
    """A program by path: `python judge/` runs it with nothing but Python's own library.

    `kind` is a key of `LATE`. Raises ValueError where a module wants a library that will not be there.
    """
    found: dict[str, bytes] = {"__main__.py": MAIN.encode()}
    waiting, seen = [ENTRY, *LATE[kind]], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        parent = name.rpartition(".")[0]
        if parent:
            waiting.append(parent)
        if name.partition(".")[0] in STAND_INS:
            continue
        path, source = _module(name)
        found[path] = b"" if name in HOLLOW else source
        if name not in HOLLOW:
            waiting += _wanted(name, path, source)
    for path in READ[kind]:
        found[f"{OURS}/{path}"] = (_root(OURS) / path).read_bytes()
    if kind == "swe":
        found |= {f"{name}.py": text.encode() for name, text in STAND_INS.items()}
        found[f"{OFFICIAL}/LICENSE"] = _license()
    return dict(sorted(found.items()))


def _root(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None, package
    return Path(spec.origin).parent


def _module(name: str) -> tuple[str, bytes]:
    """Path below the program and text of a module or of a package's `__init__`."""
    top, *rest = name.split(".")
    base = _root(top).joinpath(*rest)
    place = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return f"{top}/{place.relative_to(_root(top)).as_posix()}", place.read_bytes()


def _wanted(name: str, path: str, source: bytes) -> Iterator[str]:
    """The modules of ours and of swebench's that a module imports at its top. ValueError for any other."""
    package = name if path.endswith("/__init__.py") else name.rpartition(".")[0]
    for node in _at_top(ast.parse(source).body):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import of {package}"
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            names = [alias.name for alias in node.names]
        for wanted in names:
            top = wanted.partition(".")[0]
            if top in (OURS, OFFICIAL):
                if _is_module(wanted):
                    yield wanted
            elif top not in STAND_INS and top not in sys.stdlib_module_names and top != "pytest":
                raise ValueError(f"{name} imports {wanted}, which is not where a folder is judged")


def _at_top(body: Iterable[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Try):
            yield from _at_top(node.body)


def _is_module(name: str) -> bool:
    top, *rest = name.split(".")
    base = _root(top).joinpath(*rest)
    return base.is_dir() or base.with_suffix(".py").is_file()


def _license() -> bytes:
    try:
        for file in files(OFFICIAL) or ():
            if file.name == "LICENSE":
                return file.read_binary()
    except PackageNotFoundError:  # a checkout on the path
        pass
    return b"swebench is under the MIT licence; its text was not installed beside it.\n"
