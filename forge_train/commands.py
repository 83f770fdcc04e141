"""More of what a person types: `forge-train config`, `replay`, `rejudge`, and what has a file of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from forge_train.merging import command as merging
from forge_train.recipes import command as recipe
from forge_train.recipes import data_command as data
from forge_train.selection import command as selection
from forge_train.typed import count


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make them known."""
    recipe.add(commands)
    data.add(commands)
    keys = commands.add_parser(
        "config",
        help="list the keys of a config, or check a file and print all it resolves to",
        epilog="forge-train config lists all keys, forge-train config warmup those with this word, "
        "forge-train config FILE key=value ... prints a file with every default written out",
    )
    keys.add_argument("what", nargs="*", metavar="FILE|WORD", help="a TOML file and overrides, or words")
    keys.add_argument("--markdown", action="store_true", help="print the page docs/config.md")
    keys.set_defaults(command=config)

    again = commands.add_parser(
        "replay", help="one update of a run again, without playing, with other settings"
    )
    again.add_argument("run", type=Path, help="the folder of a run")
    again.add_argument("set", nargs="*", metavar="key=value", help="what is to differ, e.g. optim.lr=1e-6")
    again.add_argument(
        "--step",
        nargs="+",
        required=True,
        metavar=("N", "key=value"),
        help="counted from 0, as in metrics.jsonl",
    )
    again.add_argument("--json", action="store_true", help="print both as JSON")
    again.set_defaults(command=replay)

    judge = commands.add_parser("rejudge", help="stored episodes judged again, after a grader has changed")
    judge.add_argument("path", type=Path, help="a run folder, or a file: step-N.jsonl.gz, plays.jsonl")
    judge.add_argument("--world", help="world id, module:Name-v0, where the file does not tell it")
    judge.add_argument("--arg", action="append", default=[], metavar="key=value", help="a world's argument")
    judge.add_argument("--in-flight", type=count, default=32, help="episodes at once")
    judge.add_argument("--deadline", type=float, default=600.0, help="seconds of one episode")
    judge.add_argument("--json", action="store_true", help="print every verdict as JSON")
    judge.set_defaults(command=rejudge)

    merging.add(commands)
    selection.add(commands)
    hard = commands.add_parser("difficulty", help="how often are the training tasks of a config solved?")
    hard.add_argument("config", type=Path, help="a TOML file")
    hard.add_argument("set", nargs="*", metavar="key=value", help="overrides")
    hard.add_argument("--by", help="gold, openai:MODEL@URL, a model or a run; by default the config's run")
    hard.add_argument("--samples", type=count, default=8, help="plays of each task")
    hard.add_argument("--tasks", type=count, help="of each world; by default all it trains on")
    hard.add_argument("--unsolved", action="store_true", help="only tasks that no play in --out solved")
    hard.add_argument("--out", type=Path, required=True, help="folder; the same command continues it")
    hard.add_argument("--in-flight", type=count, default=32, help="episodes at once")
    hard.add_argument("--deadline", type=float, default=1800.0, help="seconds of one episode")
    hard.add_argument("--device", default="cpu")
    hard.set_defaults(command=difficulty)


def difficulty(args: argparse.Namespace) -> int:
    """Measure tasks and say where the file is that a config names as curriculum.passes."""
    from rich.console import Console

    from forge_train import interrupt
    from forge_train.config import load
    from forge_train.evaluation.difficulty import PASSES, measure, player_of, table
    from forge_train.show.fitting import table_of

    config = load(args.config, args.set)
    limits = {"in_flight": args.in_flight, "deadline": args.deadline, "device": args.device}
    found = interrupt.run(
        measure(
            config,
            args.by or player_of(config),
            args.out,
            samples=args.samples,
            tasks=args.tasks,
            unsolved=args.unsolved,
            **limits,
        )
    )
    console = Console()
    headings = ("world", "tasks", "plays", "never", "sometimes", "always")
    console.print(table_of(headings, table(found), range(6), console, title="solved", left=(0,)))
    print(f'curriculum.passes = "{args.out / PASSES}"')
    return 0


def rejudge(args: argparse.Namespace) -> int:
    """Judge stored episodes again and show whose outcome changed."""
    from forge_train.evaluation.rejudge import rejudge as again
    from forge_train.show.results import show_verdicts

    given = {}
    for text in args.arg:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--arg {text!r}: write it as key=value, e.g. --arg level=1")
        try:
            given[key] = json.loads(value)
        except ValueError:
            given[key] = value
    limits = {"in_flight": args.in_flight, "deadline": args.deadline}
    found, file = asyncio.run(again(args.path, args.world, given, **limits))
    if args.json:
        show(json.dumps([asdict(verdict) for verdict in found], indent=1))
    else:
        show_verdicts(found)
    print(f"every episode with its new outcome: {file}", file=sys.stderr)
    return 0


def replay(args: argparse.Namespace) -> int:
    """Do one update again and show it beside what was recorded."""
    from forge_train.replay import replay as again
    from forge_train.show.results import show_replay

    step, changes = args.step[0], [*args.set, *args.step[1:]]
    if not step.isdecimal():
        raise ValueError(f"--step {step}: give the number of a step, as in metrics.jsonl")
    found = again(args.run, int(step), changes)
    for note in found.notes:
        print(f"forge-train: {note}", file=sys.stderr)
    if args.json:
        show(json.dumps({"recorded": found.recorded, "replayed": found.replayed}, indent=1))
    else:
        title = f"{args.run}, step {step}" + (f" with {' '.join(changes)}" if changes else "")
        show_replay(title, found.recorded, found.replayed)
    return 0


def config(args: argparse.Namespace) -> int:
    """List keys, or resolve a file."""
    from forge_train.config import Config, ConfigError, dump, load
    from forge_train.config.reference import listing, markdown

    what: list[str] = args.what
    if args.markdown:
        if what:
            raise ConfigError([f"--markdown prints the page of all keys: leave {' '.join(what)} out"])
        show(markdown(Config))
    elif what and (what[0].endswith(".toml") or Path(what[0]).is_file()):
        show(dump(load(Path(what[0]), what[1:])))
    else:
        found = listing(Config, what)
        if not found:
            raise ConfigError([f"no key speaks of {' or '.join(what)}; forge-train config lists all"])
        show(found)
    return 0


def show(text: str) -> None:
    """Print a long text; who reads only its beginning (`| head`) may."""
    try:
        print(text.rstrip("\n"), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class HelpWithKeys(argparse.Action):
    """`--help` that ends with the keys of a config; they are read only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show this, and every key")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print and leave."""
        from forge_train.config import Config
        from forge_train.config.reference import listing

        told = "keys, with default, type, bounds and what they are; forge-train config KEY tells the rest:"
        show("\n".join([parser.format_help(), told, "", listing(Config)]))
        parser.exit()
