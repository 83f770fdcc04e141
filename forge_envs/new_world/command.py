"""The command line of `forge-envs new-world`."""

from __future__ import annotations

import argparse
import shutil
from importlib.resources import files
from pathlib import Path
from shlex import quote
from string import Template

from forge_envs.new_world.names import check_name, title_of

FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "readme.txt",
    "train.toml": "train.toml.txt",
    "{name}/__init__.py": "init.py.txt",
    "{name}/world.py": "world.py.txt",
    "{name}/py.typed": "",
    "tests/test_{name}.py": "test_world.py.txt",
}
"""What is written, and from which file of `scaffold/`."""

NEXT = """{folder} holds a world that works. What comes next:
  cd {folder}
  forge-envs check {name}:{id}
  forge-envs play {name}:{id}
  forge-train train train.toml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what `forge-envs new-world` can be told."""
    parser.add_argument("name", help="name of its package, e.g. corner_shop")
    parser.add_argument("--folder", type=Path, default=Path(), help="where its own folder is made (here)")


def run(args: argparse.Namespace) -> int:
    """Run `forge-envs new-world`. Raises ValueError for the caller to tell."""
    name = check_name(args.name)
    folder = write(name, args.folder)
    print(NEXT.format(folder=quote(str(folder)), name=name, id=id_of(name)))
    return 0


def id_of(name: str) -> str:
    """The id under which the new world is registered."""
    return f"Own/{title_of(name)}-v0"


def write(name: str, above: Path) -> Path:
    """Write the project `above/name`, all of it or nothing. Raises ValueError where something is there."""
    folder = above / name
    try:
        folder.mkdir()
    except FileExistsError:
        raise ValueError(
            f"{folder} is there already, and nothing in it was touched: take another name"
        ) from None
    except OSError as error:
        raise ValueError(f"{folder} cannot be made ({error.strerror}); --folder says where") from error
    try:
        for target, source in FILES.items():
            path = folder / target.format(name=name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(_filled(source, name), encoding="utf-8")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise ValueError(f"{folder} cannot be written ({error.strerror}); --folder says where") from error
        raise
    return folder


def _filled(source: str, name: str) -> str:
    if not source:
        return ""
    text = (files(__package__) / "scaffold" / source).read_text(encoding="utf-8")
    words = {"name": name, "title": title_of(name), "dashed": name.replace("_", "-"), "id": id_of(name)}
    return Template(text).substitute(words)
