"""`forge-train data`: samples made of what is there already, for `sft` to learn."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forge_train.typed import count, whole


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make it known."""
    one = commands.add_parser(
        "data",
        help="make training data of pages, stored plays and episodes",
        epilog="The same command goes on where it stopped; report.json tells what was dropped and why.",
    )
    kinds = one.add_subparsers(required=True, metavar="recipe")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, required=True, help="folder; the same command continues it")
    common.add_argument("--longest", type=count, help="drop samples of more characters")
    common.add_argument("--seed", type=int, default=0)
    by = argparse.ArgumentParser(add_help=False)
    by.add_argument("--by", metavar="openai:MODEL@URL", help="a model writes; by default nobody does")
    by.add_argument("--temperature", type=float, default=1.0, help="of the model")

    fas = kinds.add_parser("fas", parents=[common, by], help="of pages: plans with a first call, and answers")
    fas.add_argument(
        "pages", type=Path, help="JSON lines with address, title, text; or a folder of .md and .txt"
    )
    fas.add_argument("--questions", type=count, default=4, help="of each entity, at most")
    fas.add_argument("--distractors", type=whole(0), default=4, help="facts beside those of an answer")
    fas.add_argument("--entities", type=count, help="the first ones alone")
    fas.add_argument("--unjudged", action="store_true", help="keep reasoning that the model does not support")
    fas.set_defaults(command=_fas)

    has = kinds.add_parser(
        "has", parents=[common, by], help="of stored plays: choices among actions, a verdict"
    )
    has.add_argument("plays", type=Path, help="the folder of a collection, or its plays.jsonl")
    has.add_argument("--options", type=count, default=3, help="other actions of a choice")
    has.add_argument("--steps", type=count, default=4, help="choices of an episode, at most")
    has.set_defaults(command=_has)

    rounds = kinds.add_parser("rounds", parents=[common], help="of plays in rounds: the accepted runs")
    rounds.add_argument(
        "plays", type=Path, nargs="+", help="folders of collections, those of later rounds last"
    )
    rounds.add_argument("--most", type=count, default=1, help="runs of a task")
    rounds.add_argument("--least", type=count, default=2, help="rounds that a run must have")
    rounds.set_defaults(command=_rounds)

    fuse = kinds.add_parser(
        "fuse", parents=[common], help="of two files of episodes: with and without thoughts"
    )
    fuse.add_argument("thinking", type=Path, help="episodes whose actions think")
    fuse.add_argument("plain", type=Path, help="episodes to be learned without a thought")
    fuse.add_argument("--silent", type=float, default=0.5, help="share of the thinking ones without /think")
    fuse.set_defaults(command=_fuse)

    mix = kinds.add_parser("mix", help="of several files: shares, in stages of length")
    mix.add_argument("sources", nargs="+", metavar="FILE=SHARE", help="episodes and their share by length")
    mix.add_argument("--out", type=Path, required=True, help="folder")
    mix.add_argument("--stages", type=count, nargs="+", required=True, help="longest sample of each stage")
    mix.add_argument("--again", type=float, default=0.0, help="share of short samples in later stages")
    mix.add_argument("--tokens", metavar="MODEL", help="count tokens of this model, not characters")
    mix.add_argument("--seed", type=int, default=0)
    mix.set_defaults(command=_mix)


def _fas(args: argparse.Namespace) -> int:
    from forge_train.recipes.synthesis.fas import first_order
    from forge_train.recipes.synthesis.writers import ModelWriter

    with _told("entities") as progress:
        options: dict[str, Any] = {"questions": args.questions, "distractors": args.distractors}
        options |= {
            "entities": args.entities,
            "longest": args.longest,
            "seed": args.seed,
            "progress": progress,
        }

        async def work(chat: Any) -> dict[str, Any]:
            if chat is None:
                return await first_order(args.pages, args.out, **options)
            writer = ModelWriter(chat, judged=not args.unjudged)
            return await first_order(args.pages, args.out, by=args.by, write=writer.draft, **options)

        report = _run(args, work)
    return _show(report, args.out / "episodes.jsonl")


def _has(args: argparse.Namespace) -> int:
    from forge_train.recipes.synthesis.has import higher_order
    from forge_train.recipes.synthesis.writers import ModelSampler

    with _told("plays") as progress:
        options: dict[str, Any] = {"options": args.options, "steps": args.steps, "longest": args.longest}
        options |= {"seed": args.seed, "progress": progress}

        async def work(chat: Any) -> dict[str, Any]:
            if chat is None:
                return await higher_order(args.plays, args.out, **options)
            sampler = ModelSampler(chat)
            return await higher_order(args.plays, args.out, by=args.by, sample=sampler.action, **options)

        report = _run(args, work)
    return _show(report, args.out / "episodes.jsonl")


def _rounds(args: argparse.Namespace) -> int:
    from forge_train.recipes.synthesis.rounds import accepted_rounds

    limits = {"most": args.most, "least": args.least, "longest": args.longest}
    with _told("runs") as progress:
        report = accepted_rounds(args.plays, args.out, **limits, progress=progress)
    return _show(report, args.out / "episodes.jsonl")


def _fuse(args: argparse.Namespace) -> int:
    from forge_train.recipes.synthesis.fuse import fuse

    limits = {"silent": args.silent, "longest": args.longest, "seed": args.seed}
    with _told("episodes") as progress:
        report = fuse(args.thinking, args.plain, args.out, **limits, progress=progress)
    return _show(report, args.out / "episodes.jsonl")


def _mix(args: argparse.Namespace) -> int:
    from forge_train.recipes.synthesis.mix import mix
    from forge_train.recipes.synthesis.shelf import length_of

    shares = {}
    for text in args.sources:
        name, equals, share = text.rpartition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise ValueError(f"{text!r}: write it as FILE=SHARE, e.g. data/fas=2")
    length = _tokens(args.tokens) if args.tokens else length_of
    report = mix(shares, args.out, stages=args.stages, again=args.again, seed=args.seed, length=length)
    return _show(report, args.out / "stage-1.jsonl")


def _tokens(model: str) -> Callable[[dict[str, Any]], int]:
    """Tokens of a sample, as `sft` would make them."""
    from transformers import AutoTokenizer

    from forge_train.play.renderer import renderer_for
    from forge_train.sft import trajectory_of

    renderer = renderer_for(AutoTokenizer.from_pretrained(model))
    return lambda line: sum(len(s.tokens) for s in trajectory_of(line["messages"], renderer).segments)


def _run(args: argparse.Namespace, work: Callable[[Any], Any]) -> dict[str, Any]:
    """Do asynchronous work, with a model where `--by` names one."""
    from forge_train import interrupt
    from forge_train.engine import Sampling
    from forge_train.play.chat_player import ChatEndpoint, ChatPlayer

    async def whole() -> dict[str, Any]:
        if args.by is None:
            return dict(await work(None))
        chat = ChatPlayer(
            ChatEndpoint.parse(args.by), Sampling(temperature=args.temperature, max_tokens=2048)
        )
        try:
            return dict(await work(chat))
        finally:
            await chat.close()

    return interrupt.run(whole())


@contextmanager
def _told(what: str) -> Iterator[Callable[[int], None]]:
    """A function that counts pieces of work of a total known with the first of them."""
    from forge_train.show.live import Progress

    shown: list[Progress] = []

    def advance(total: int) -> None:
        if not shown:
            shown.append(Progress(what, total=total))
            shown[0].__enter__()
        shown[0].advance()

    try:
        yield advance
    finally:
        for progress in shown:
            progress.__exit__(None, None, None)


def _show(report: dict[str, Any], path: Path) -> int:
    print(json.dumps(report, indent=1))
    print(f'sft.path = "{path}"')
    return 0
