"""`forge-envs audit TARGET`: the arguments, the table as it comes, the files, the exit status."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from forge_envs.audit.bench import Budget
from forge_envs.audit.child import NotStarted
from forge_envs.audit.report import as_json, as_openenv, line, summary
from forge_envs.audit.run import Audit, results
from forge_envs.audit.target import START, Target, target_of

DEFAULT = Budget()
TARGET = """a Gymnasium id (module:Id-v0 too), a world of ours, the address of an OpenEnv server, a Harbor
task folder, or kind:name with a kind of verifiers, gem, textarena, reasoning-gym; or wrapper.py:Class"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed."""
    parser.add_argument("target", help=TARGET)
    parser.add_argument(
        "--checks", default="", metavar="ID,…", help="only these, or only a family (semantic)"
    )
    parser.add_argument("--seed", type=int, default=DEFAULT.seed)
    parser.add_argument("--timeout", type=float, default=DEFAULT.timeout, help="seconds for one answer")
    parser.add_argument("--start", type=float, default=START, help="seconds for the target to load")
    parser.add_argument("--sessions", type=int, default=DEFAULT.sessions, help="opened at once, or in turn")
    parser.add_argument("--episodes", type=int, default=DEFAULT.places, help="played in each way")
    parser.add_argument("--turns", type=int, default=DEFAULT.turns, help="actions of an episode, at most")
    parser.add_argument("--python", default=sys.executable, help="the Python that has the target installed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--openenv-report", type=Path, metavar="FILE", help="write OpenEnv's report form")


def run(args: argparse.Namespace, kwargs: dict[str, Any]) -> int:
    """Audit and print. Returns 0 without findings, 1 with; raises ValueError for what cannot be used."""
    target, budget = _target(args, kwargs), _budget(args)
    files = [path for path in (args.json, args.openenv_report) if path is not None]
    for path in files:
        if not path.absolute().parent.is_dir():
            raise ValueError(f"{path}: there is no folder {path.absolute().parent}")
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


def _budget(args: argparse.Namespace) -> Budget:
    for name in ("timeout", "start"):
        if not (math.isfinite(getattr(args, name)) and getattr(args, name) > 0):
            raise ValueError(f"--{name} {getattr(args, name)}: a number of seconds above 0 is needed")
    for name in ("sessions", "episodes", "turns"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} {getattr(args, name)}: at least 1 is needed")
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: 0 or more")
    return Budget(args.seed, args.timeout, args.sessions, args.episodes, args.turns)
