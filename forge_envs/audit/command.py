"""`forge-envs audit TARGET`: the arguments, the table as it comes, the files, the exit status."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from forge_envs.audit.bench import Budget
from forge_envs.audit.child import NotStarted
from forge_envs.audit.report import as_json, as_openenv, line, summary
from forge_envs.audit.run import Audit, results
from forge_envs.audit.target import START, Target, target_of
from forge_envs.typed import file_to_write, seconds, whole

DEFAULT = Budget()
TARGET = """a Gymnasium id (module:Id-v0 too), a world of ours, the address of an OpenEnv server, a Harbor
task folder, or kind:name with a kind of verifiers, gem, textarena, reasoning-gym; or wrapper.py:Class"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed."""
    parser.add_argument("target", help=TARGET)
    parser.add_argument(
        "--checks", default="", metavar="ID,…", help="only these, or only a family (semantic)"
    )
    for name, read, default, what in (
        ("seed", whole(0), DEFAULT.seed, "of what is drawn"),
        ("timeout", seconds, DEFAULT.timeout, "seconds for one answer"),
        ("start", seconds, START, "seconds for the target to load"),
        ("sessions", whole(1), DEFAULT.sessions, "opened at once, or in turn"),
        ("episodes", whole(1), DEFAULT.places, "played in each way"),
        ("turns", whole(1), DEFAULT.turns, "actions of an episode, at most"),
    ):
        told = f"{what} (default {default:g})"
        parser.add_argument(f"--{name}", type=read, default=default, metavar="N", help=told)
    parser.add_argument("--python", default=sys.executable, help="the Python that has the target installed")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write everything as JSON")
    parser.add_argument(
        "--openenv-report", type=file_to_write, metavar="FILE", help="write OpenEnv's report form"
    )


def run(args: argparse.Namespace, kwargs: dict[str, Any]) -> int:
    """Audit and print. Returns 0 without findings, 1 with; raises ValueError for what cannot be used."""
    target = _target(args, kwargs)
    budget = Budget(args.seed, args.timeout, args.sessions, args.episodes, args.turns)
    named = [name for name in args.checks.split(",") if name]
    made = []
    try:
        for result in results(target, budget, named):
            made.append(result)
            print(line(result), flush=True)
    except NotStarted as error:
        raise ValueError(f"target {target} never started: {error}") from error
    print(summary(made))
    audit = Audit(str(target), tuple(made))
    if args.json is not None:
        args.json.write_text(json.dumps(as_json(audit), indent=2, ensure_ascii=False) + "\n")
    if args.openenv_report is not None:
        signature = "task.toml" if target.kind == "harbor" else "openenv.yaml"
        report = as_openenv(audit, signature)
        args.openenv_report.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return 1 if audit.findings else 0


def _target(args: argparse.Namespace, kwargs: dict[str, Any]) -> Target:
    made = target_of(args.target, kwargs, args.python)
    return Target(made.kind, made.name, made.args, made.python, args.start)
