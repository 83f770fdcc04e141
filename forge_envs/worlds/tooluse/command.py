"""The command line of `forge-envs tooluse`: a report on a generated set, and a page of domains to read."""

from __future__ import annotations

import argparse
import json
import sys

from forge_envs.typed import file_to_write, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what `forge-envs tooluse` can be told."""
    parser.add_argument("what", choices=("report", "page"), help="count a set, or show some of its domains")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--domains", type=whole(1), help="domains of each split (report 50, page 10)")
    parser.add_argument("--tasks", type=whole(1), default=20, help="tasks of each domain (20)")
    parser.add_argument("--theme", default="", help="domains of this theme alone")
    parser.add_argument("--seed", type=whole(0), default=0, help="by which a page draws its domains")
    parser.add_argument("--no-play", action="store_true", help="do not play gold and silence")
    parser.add_argument(
        "--json", type=file_to_write, metavar="FILE", help="write the counts of the report there too"
    )


def run(args: argparse.Namespace) -> int:
    """Run `forge-envs tooluse`; 1 if the report found a fault. Raises ValueError for the caller to tell."""
    # Here and not above: the command line starts without the world.
    from forge_envs.worlds.tooluse.page import page
    from forge_envs.worlds.tooluse.report import leaks, study, told

    if args.what == "page":
        print(page(args.size, "test", args.domains or 10, args.seed))
        return 0
    sets = [
        study(
            args.size,
            split,
            args.domains or 50,
            args.tasks,
            only=args.theme,
            plays=not args.no_play,
            show=_show,
        )
        for split in ("train", "test")
    ]
    between = leaks(*sets)
    print("\n".join(told(*sets)))
    if args.json is not None:
        found = {split: one.as_dict() for split, one in zip(("train", "test"), sets, strict=True)}
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    wrong = any(one.unsolved or one.silent or one.impossible or one.duplicates for one in sets)
    return int(wrong or bool(between.names or between.schemas))


def _show(line: str) -> None:
    print(line, file=sys.stderr)
