"""`forge-train demo | train | eval | collect | report | serve`: what a person types.

Exit codes: 0 done, 1 the run stopped (a bug in a world, engine and learner disagree), 2 bad input, 130
interrupted; whatever stopped it, the same command continues a run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forge_train import commands as more
from forge_train import interrupt
from forge_train.refusals import refusal, told
from forge_train.typed import count, whole

FILTERS = "ending, validity, state, calls, format or unrefused; may repeat; by default the first four"
BLIND = "go on although the endpoint does not show the model its tools (openai:)"
RECIPES = Path(__file__).parent / "recipes"
DEMO, GRPO = RECIPES / "demo.toml", RECIPES / "grpo.toml"
CONFIDENCE = "keep logprobs, and confidences over the K likeliest tokens, for forge-train select"
GOES_ON = "the same command goes on where it stopped"
NOTHING = "nothing is kept without --out"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command line; returns the exit code."""
    warnings.formatwarning = told
    ours, for_vllm = _cut(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if not ours:
        parser.print_help(sys.stderr)
        return 2
    args = parser.parse_args(ours, argparse.Namespace(flags=for_vllm))
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: module:World-v0 may lie in the folder one is in
    try:
        return int(args.command(args))
    except KeyboardInterrupt:
        kept = args.command is not evaluate or args.out is not None
        print(f"interrupted; {GOES_ON if kept else NOTHING}", file=sys.stderr)
        return 130
    except Exception as error:
        refused = refusal(error)
        if refused is None:
            raise
        print(f"forge-train: {refused[0]}", file=sys.stderr)
        return refused[1]


def train(args: argparse.Namespace) -> int:
    """Run or continue the stages of a config."""
    from forge_train.config import load

    config = load(args.config, args.set)  # before torch: whoever mistyped a key waits for nothing

    from forge_train import run
    from forge_train.show.compare import compared
    from forge_train.show.results import show_run

    report = run.train(config)
    if report is None:  # another process of several: rank 0 tells
        return 0
    show_run(config.run.folder)
    for what, value in compared(config.run.folder):
        print(f"{what}: {value}")
    print(f"report: {report}")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Judge a checkpoint, any model folder, or a model behind an endpoint, on a world's tasks."""
    from forge_train.show.results import show_evaluation

    if (args.model is None) == (args.engine is None):
        raise ValueError("judge what? Give a model folder, or --engine openai:MODEL@URL")
    common = {
        "world": args.world,
        "world_args": dict(_argument(text) for text in args.arg),
        "split": args.split,
        "tasks": args.tasks,
        "repeats": args.repeats,
        "temperature": args.temperature,
        "seed": args.seed,
    }
    if args.engine is not None:
        from forge_train.evaluation.endpoint import evaluate_endpoint

        limits = {"in_flight": args.in_flight, "deadline": args.deadline, "blind": args.blind}
        evaluation = interrupt.run(
            evaluate_endpoint(
                args.engine, **common, **limits, max_action=args.max_action or 2048, out=args.out
            )
        )
    else:
        from forge_train.evaluation.folder import evaluate_model
        from forge_train.record.best import best_checkpoint

        if args.out is not None:
            raise ValueError("--out is for --engine; a run's own evaluations are in its report")
        model = best_checkpoint(args.model) if args.best else args.model
        room = {"max_context": args.max_context, "max_action": args.max_action}
        evaluation = interrupt.run(evaluate_model(model, **common, **room, device=args.device))
    if args.json:
        print(json.dumps(evaluation.as_dict(), indent=2))
    else:
        show_evaluation(evaluation)
    if args.out is not None:
        print(f"report: {args.out / 'report.html'}", file=sys.stderr)
    if not evaluation.counts:
        print(
            f"forge-train: {evaluation.stopped} of {evaluation.plays} episodes were stopped by a machine or "
            "the clock, so the number says little; the reasons stand in the table",
            file=sys.stderr,
        )
        return 1
    return 0


def collect(args: argparse.Namespace) -> int:
    """Play tasks and keep what is worth imitating."""
    from forge_train.engine import Sampling
    from forge_train.evaluation.collect import collect_from
    from forge_train.evaluation.folder import limits, run_of, world_of

    run = run_of(Path(args.player)) if Path(args.player).is_dir() else None
    longest = args.max_action or (1024 if args.player.startswith("openai:") else None)
    context, action = limits(run, args.max_context, longest)
    world = world_of(run, args.player, args.world, dict(_argument(text) for text in args.arg))
    try:
        counts = interrupt.run(
            collect_from(
                args.player,
                world,
                args.split,
                args.tasks,
                args.out,
                sampling=Sampling(
                    temperature=args.temperature, max_tokens=action, top_logprobs=args.top_logprobs
                ),
                max_context=context,
                device=args.device,
                repeats=args.repeats,
                keep=args.keep,
                seed=args.seed,
                in_flight=args.in_flight,
                deadline=args.deadline,
                parquet=args.parquet,
                blind=args.blind,
                **({"filters": args.filter} if args.filter else {}),
            )
        )
    finally:
        world.close()
    print(json.dumps(counts))
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the report of a run folder."""
    from forge_train.show.report import write_report

    print(write_report(args.run))
    return 0


def serve(args: argparse.Namespace) -> int:
    """Start vLLM servers that a run can use, and keep them up until interrupted."""
    from forge_train.engines.process_groups import refuse_taken
    from forge_train.engines.server_processes import ServerProcesses
    from forge_train.evaluation.serving import copied, keep_serving, name_of, tool_flags

    name, tools = args.name or name_of(args.model), args.tools is not None
    own = "--chat-template" in args.flags
    if args.port:  # before a big model is read
        refuse_taken(args.host, range(args.port, args.port + args.count))
    with copied(args.model, args.logs, args.dtype, tools=tools, template=own) as model:
        servers = ServerProcesses(
            model,
            name=name,
            python=args.python,
            logs=args.logs,
            count=args.count,
            host=args.host,
            port=args.port,
            max_context=args.max_context,
            dtype=args.dtype,
            flags=[*tool_flags(args.tools), *args.flags],
            gpus=args.gpus,
            start_s=args.start_s,
        )
        interrupt.run(keep_serving(servers, args.model, name, tools=tools))
    return 0


def _argument(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"--arg {text!r}: write it as key=value, e.g. --arg level=1")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _cut(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is meant for us, and what `serve` hands to vLLM.

    >>> _cut(["serve", "model", "--", "--enforce-eager"]), _cut(["eval", "--", "model"])
    ((['serve', 'model'], ['--enforce-eager']), (['eval', '--', 'model'], []))
    """
    if argv[:1] == ["serve"] and "--" in argv:
        at = list(argv).index("--")
        return list(argv[:at]), list(argv[at + 1 :])
    return list(argv), []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forge-train", description="Make agents better in their worlds.")
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser("demo", help="a small agent learns Forge/Retail-v0 on this machine")
    demo.add_argument("set", nargs="*", metavar="key=value", help="overrides, e.g. run.seed=1 run.out=runs/b")
    demo.set_defaults(command=train, config=DEMO)

    run = commands.add_parser("train", help="run or continue a config", add_help=False)
    run.add_argument("-h", "--help", action=more.HelpWithKeys)
    run.add_argument("config", type=Path, help="a TOML file")
    run.add_argument("set", nargs="*", metavar="key=value", help="overrides, e.g. optim.lr=1e-5")
    run.set_defaults(command=train)

    judge = commands.add_parser("eval", help="judge a checkpoint on held-out tasks")
    judge.add_argument("model", type=Path, nargs="?", help="a run folder, a checkpoint or any model folder")
    judge.add_argument("--best", action="store_true", help="of a run the best checkpoint, not the newest")
    judge.add_argument("--engine", metavar="openai:MODEL@URL", help="a served model or an API instead")
    judge.add_argument("--world", help="world id; by default that of the run the model belongs to")
    judge.add_argument("--arg", action="append", default=[], metavar="key=value", help="a world's argument")
    judge.add_argument("--split", default="test")
    judge.add_argument("--tasks", type=count, default=100)
    judge.add_argument("--repeats", type=count, default=4, help="episodes of each task")
    judge.add_argument("--temperature", type=float, default=1.0, help="0 is greedy")
    judge.add_argument("--seed", type=int, default=0)
    judge.add_argument("--max-context", type=count, help="tokens of one episode; the run's, else the model's")
    judge.add_argument(
        "--max-action", type=count, help="tokens of one action; the run's, else 256 (2048 with --engine)"
    )
    judge.add_argument("--device", default="cpu")
    judge.add_argument("--in-flight", type=count, default=32, help="episodes at once, with --engine")
    judge.add_argument("--deadline", type=float, default=1800.0, help="seconds of one episode, with --engine")
    judge.add_argument("--blind", action="store_true", help=BLIND)
    judge.add_argument("--out", type=Path, help="new folder for report and episodes, with --engine")
    judge.add_argument("--json", action="store_true", help="print everything as JSON")
    judge.set_defaults(command=evaluate)

    _add_collect(commands)

    write = commands.add_parser("report", help="write the HTML report of a run folder")
    write.add_argument("run", type=Path)
    write.set_defaults(command=report)

    _add_serve(commands)
    more.add(commands)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    server = commands.add_parser(
        "serve",
        help="keep vLLM servers up for runs with rollout.engine=vllm",
        epilog="What follows -- goes to vLLM, e.g. -- --tensor-parallel-size 2.",
    )
    server.add_argument("model", help="a run folder, a checkpoint, any model folder, or a hub name")
    server.add_argument("--count", type=count, default=1, help="servers, each with a copy of the model")
    server.add_argument("--gpus", nargs="+", default=[], help="those of each server, e.g. 0,1 2,3")
    server.add_argument("--host", default="127.0.0.1", help="of this machine; another for a trusted network")
    server.add_argument("--port", type=int, default=8000, help="of the first; the others follow")
    server.add_argument("--python", default=".venv-vllm/bin/python", help="of vLLM's environment (make vllm)")
    server.add_argument(
        "--max-context", type=count, help="tokens of one episode; by default the model's limit"
    )
    server.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    server.add_argument("--name", help="what requests call it; by default the folder's name")
    server.add_argument(
        "--tools", nargs="?", const="hermes", metavar="PARSER", help="hear tool calls; vLLM's parser (hermes)"
    )
    server.add_argument("--start-s", type=float, default=600.0, help="seconds a server may take to start")
    server.add_argument("--logs", type=Path, default=Path("runs/servers"), help="folder for server-N.log")
    server.set_defaults(command=serve)


def _add_collect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    gather = commands.add_parser("collect", help="episodes to imitate: play, filter, keep")
    gather.add_argument("player", help="gold, openai:MODEL@URL, or the folder of a model or a run")
    gather.add_argument("--world", help="world id, module:Name-v0; by default the run's, as it trains there")
    gather.add_argument("--arg", action="append", default=[], metavar="key=value", help="a world's argument")
    gather.add_argument("--out", type=Path, required=True, help="folder; the same command continues it")
    gather.add_argument("--split", default="train")
    gather.add_argument("--tasks", type=count, default=1000)
    gather.add_argument("--repeats", type=count, default=1, help="plays of each task")
    gather.add_argument("--keep", type=count, default=1, help="plays of each task that are kept, at most")
    gather.add_argument("--filter", action="append", help=FILTERS)
    gather.add_argument("--temperature", type=float, default=1.0)
    gather.add_argument("--seed", type=int, default=0)
    gather.add_argument("--in-flight", type=count, default=32, help="episodes at once")
    gather.add_argument("--deadline", type=float, default=1800.0, help="seconds of one episode")
    gather.add_argument(
        "--max-context", type=count, help="tokens of one episode; the run's, else the model's"
    )
    gather.add_argument(
        "--max-action", type=count, help="of one action; the run's, else 256 (1024 of openai:)"
    )
    gather.add_argument("--top-logprobs", type=whole(0), default=0, metavar="K", help=CONFIDENCE)
    gather.add_argument("--device", default="cpu")
    gather.add_argument("--blind", action="store_true", help=BLIND)
    gather.add_argument("--parquet", action="store_true", help="write episodes.parquet too")
    gather.set_defaults(command=collect)


if __name__ == "__main__":
    sys.exit(main())
