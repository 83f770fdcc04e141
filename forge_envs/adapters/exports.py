"""`forge-envs export FORMAT WORLD`: tasks of a world as the files of another program."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_envs.typed import whole

FORMATS = ("harbor", "openenv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command, but for the world's own."""
    parser.add_argument(
        "format",
        choices=FORMATS,
        help="harbor: task folders of schema 1.4; openenv: a package whose server is the world",
    )
    parser.add_argument("world", help="id of a world, e.g. Forge/SWE-v0")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="gets a folder for each task, or the package"
    )
    parser.add_argument("--task", action="append", default=[], metavar="ID", help="a task; may repeat")
    parser.add_argument("--split", help="the tasks of a split, by default of the world's own")
    parser.add_argument("--n", type=whole(1), metavar="N", help="only the first N of it")
    parser.add_argument("--org", default="forge", help="whose tasks they are, as Harbor names them")
    parser.add_argument("--force", action="store_true", help="replace folders that are there")
    parser.add_argument(
        "--prove",
        action="store_true",
        help="try each folder's own scripts in containers: its solution must earn 1, doing nothing 0",
    )


def run(args: argparse.Namespace, kwargs: Mapping[str, Any]) -> int:
    """Write the folders and name them. Returns 1 if one that was to be proved was not.

    Raises ValueError for what cannot be written, and MachineError.
    """
    if args.format == "openenv":
        return _package(args, kwargs)
    from forge_envs.adapters.harbor.export import export

    if args.task and (args.split is not None or args.n is not None):
        raise ValueError("--task names tasks, --split and --n count them: give one or the other")
    unproved = 0
    written = export(
        args.world,
        kwargs,
        out=args.out,
        tasks=args.task,
        split=args.split,
        n=args.n,
        org=args.org,
        force=args.force,
    )
    try:
        for folder in written:
            told = _proof(folder) if args.prove else ""
            unproved += told.startswith("NOT")
            print(f"{folder}  {told}".rstrip(), flush=True)
    except OSError as error:
        raise ValueError(f"--out {args.out}: {error}") from error
    return 1 if unproved else 0


def _package(args: argparse.Namespace, kwargs: Mapping[str, Any]) -> int:
    from forge_envs.adapters.openenv_package import write_package

    if args.task or args.split or args.n or args.prove or args.force:
        raise ValueError("an OpenEnv package holds a whole world: only --arg and --out are for it")
    try:
        print(*write_package(args.world, args.out, kwargs), sep="\n")
    except OSError as error:
        raise ValueError(f"--out {args.out}: {error}") from error
    return 0


def _proof(folder: Path) -> str:
    from forge_envs.adapters.harbor.trial import proof

    return proof(folder)
