"""`forge-train select`: what a person types to see what selection among several plays is worth."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forge_train.typed import count, whole


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make it known."""
    one = commands.add_parser(
        "select",
        help="of several plays of a task hand in one, by votes, confidence, written tests or a judge",
        epilog="Plays come from forge-train collect --repeats N --top-logprobs K; nothing is played again.",
    )
    one.add_argument("plays", type=Path, help="the folder of a collection, or its plays.jsonl")
    one.add_argument("--by", nargs="+", metavar="NAME", help="selectors; by default all that the plays allow")
    one.add_argument("--n", type=count, nargs="+", help="of how many plays; by default 1, 2, 4, 8, ...")
    one.add_argument("--window", type=count, default=2048, help="tokens of a sliding window of confidence")
    one.add_argument("--tail", type=count, default=2048, help="last tokens of a play that count for tail")
    one.add_argument("--finished", action="store_true", help="prefer plays that ended by themselves")
    one.add_argument("--draws", type=count, default=64, help="subsets of a task's plays that are tried")
    one.add_argument("--tests", type=Path, help="plays of a tester: run what it wrote on what these wrote")
    one.add_argument("--in-flight", type=count, default=1, help="tasks whose tests run at once, with --tests")
    one.add_argument("--judge", metavar="openai:MODEL@URL", help="a model that compares plays, too")
    one.add_argument("--judge-group", type=whole(2), default=2, help="plays that it compares at once")
    one.add_argument("--synthesis", metavar="openai:MODEL@URL", help="a model that answers from all plays")
    one.add_argument("--last", type=count, default=3, help="last messages of a play that it reads")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--out", type=Path, help="write what --by's one selector hands in, of all plays")
    one.add_argument("--json", action="store_true", help="print the table as JSON")
    one.set_defaults(command=select)


def select(args: argparse.Namespace) -> int:
    """Show what each selector is worth over N; write what one of them chose."""
    from forge_train import interrupt
    from forge_train.selection.candidates import read_plays
    from forge_train.selection.confidence import Windows
    from forge_train.selection.selectors import SELECTORS
    from forge_train.selection.table import refuse, table

    if args.out is not None and len(args.by or ()) != 1:
        raise ValueError("--out writes what one selector hands in: name one with --by")
    groups, verdicts = read_plays(args.plays)
    if args.tests is not None:
        groups = _tested(args, groups)
    fewest = min(map(len, groups))
    ns = sorted(set(args.n or [2**i for i in range(fewest.bit_length())]))
    recorded = [c for group in groups for c in group]
    able = [
        name for name, s in SELECTORS.items() if not s.needs or any(getattr(c, s.needs) for c in recorded)
    ]
    names = args.by or able
    refuse(groups, names, ns, str(args.plays))
    windows = Windows(args.window, args.tail)
    common: dict[str, Any] = {"seed": args.seed}
    rows = table(
        groups, verdicts, names, ns, windows=windows, finished=args.finished, draws=args.draws, **common
    )
    if args.judge is not None:
        rows += interrupt.run(_judge(args, groups, verdicts, ns))
    if args.synthesis is not None:
        rows += interrupt.run(_synthesis(args, groups, verdicts, ns))
    if args.out is not None:
        _write(args, groups, windows)
    if args.json:
        print(json.dumps([row.as_dict() for row in rows], indent=1))
        return 0
    _show(rows, ns, len(groups), fewest)
    return 0


def _tested(args: argparse.Namespace, groups: Any) -> Any:
    """The groups with what written tests say of their patches, but those of which they say nothing."""
    from forge_train.selection import self_play
    from forge_train.selection.candidates import plays_file, read_plays
    from forge_train.show.live import Progress

    folder = plays_file(args.plays).parent
    fixing, fixer = self_play.world_of(args.plays)
    testing, tester = self_play.world_of(args.tests)
    try:
        with Progress("patches x tests", total=len(groups)) as progress:
            found, lost = self_play.scored(
                groups,
                read_plays(args.tests)[0],
                fixer,
                tester,
                folder / self_play.KEPT,
                at_once=args.in_flight,
                progress=progress.advance,
            )
    finally:
        fixing.close()
        testing.close()
    for task, why in lost.items():
        print(f"forge-train: {task} is left out: {why}", file=sys.stderr)
    return found


async def _judge(args: argparse.Namespace, groups: Any, verdicts: Any, ns: Sequence[int]) -> list[Any]:
    from forge_train.engine import Sampling
    from forge_train.play.chat_player import ChatEndpoint, ChatPlayer
    from forge_train.selection.candidates import plays_file
    from forge_train.selection.table import JUDGE, judged
    from forge_train.selection.tournament import ModelReferee
    from forge_train.show.live import Progress

    chat = ChatPlayer(ChatEndpoint.parse(args.judge), Sampling(temperature=0.0, max_tokens=1024))
    folder = plays_file(args.plays).parent
    referee = ModelReferee(chat, folder / "comparisons.jsonl", seed=args.seed)
    try:
        with Progress(f"{JUDGE} {chat.endpoint.model}", total=len(groups) * len(ns)) as progress:
            rows = await judged(
                groups,
                verdicts,
                referee,
                ns,
                size=args.judge_group,
                seed=args.seed,
                progress=progress.advance,
            )
    finally:
        await chat.close()
    if referee.unread:
        print(f"{referee.unread} answers of the judge named no attempt; the first was taken")
    return rows


async def _synthesis(args: argparse.Namespace, groups: Any, verdicts: Any, ns: Sequence[int]) -> list[Any]:
    from forge_train.engine import Sampling
    from forge_train.play.chat_player import ChatEndpoint, ChatPlayer
    from forge_train.selection.candidates import played_world, plays_file
    from forge_train.selection.synthesis import SYNTHESIS, Synthesiser, synthesised
    from forge_train.show.live import Progress

    folder, world = plays_file(args.plays).parent, played_world(args.plays)
    chat = ChatPlayer(ChatEndpoint.parse(args.synthesis), Sampling(temperature=0.0, max_tokens=1024))
    writer = Synthesiser(chat, folder / "syntheses.jsonl", last=args.last, seed=args.seed)
    try:
        with Progress(f"{SYNTHESIS} {chat.endpoint.model}", total=len(groups) * len(ns)) as progress:
            return await synthesised(
                groups, verdicts, writer, world, ns, seed=args.seed, progress=progress.advance
            )
    finally:
        await chat.close()
        world.close()


def _write(args: argparse.Namespace, groups: Any, windows: Any) -> None:
    from forge_train.record.run_folder import read_lines, write_atomic
    from forge_train.selection.candidates import plays_file
    from forge_train.selection.table import choose

    plays = read_lines(plays_file(args.plays))
    lines = {(p["task"], p["repetition"]): p for p in plays if p["error"] is None}
    chosen = [choose(group, args.by[0], windows=windows, finished=args.finished) for group in groups]
    text = "".join(json.dumps(lines[c.task, c.repetition], ensure_ascii=False) + "\n" for c in chosen)
    write_atomic(args.out, text.encode())


def _show(rows: Sequence[Any], ns: Sequence[int], tasks: int, plays: int) -> None:
    from rich.console import Console
    from rich.table import Table

    out = Console()
    table = Table(
        title=f"success by number of plays: {tasks} tasks, {plays} plays of each",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("selector")
    for n in ns:
        table.add_column(f"N = {n}", justify="right")
    table.add_column(f"gain at N = {ns[-1]}", justify="right")
    for name in dict.fromkeys(row.selector for row in rows):
        mine = {row.n: row for row in rows if row.selector == name}
        cells = [str(mine[n].success) if n in mine else "" for n in ns]
        last = mine.get(ns[-1])
        table.add_row(name, *cells, str(last.gain) if last is not None and last.gain is not None else "")
    out.print(table)
