"""`forge-envs red-team WORLD`: the arguments, the table as it comes, the exit status."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.red_team.attack import attacks_of
from forge_envs.red_team.run import Outcome, attack_polyglot, attack_swe
from forge_envs.typed import seconds
from forge_envs.worlds.polyglot.env import PolyglotEnv
from forge_envs.worlds.swe.env import SweEnv


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed."""
    parser.add_argument("world", help="Forge/SWE-v0 or Forge/Polyglot-v0; --arg source=… names its tasks")
    parser.add_argument(
        "--task", action="append", default=[], metavar="ID", help="by default the first; may repeat"
    )
    parser.add_argument(
        "--attack", action="append", default=[], metavar="NAME", help="only these; may repeat"
    )
    parser.add_argument("--list", action="store_true", help="say what the attacks are and try none")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=120.0,
        help="seconds that the tests of an attack may take (default 120)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace, env: Any) -> int:
    """Attack and print. Returns 0 if no attack earned a reward or went unscored but those known to; else 1.

    Raises ValueError for what cannot be used, MachineError.
    """
    kind = _kind(env)
    found = attacks_of(kind, args.attack)
    if args.list:
        for name, attack in found.items():
            print(f"{name:24} {attack.fault:8} {attack.about}")
        return 0
    try:
        for task in args.task:
            env.find(task)
    except TaskError as error:
        raise ValueError(f"--task {task}: {error}") from error
    tasks = args.task or env.task_ids(None if kind == "polyglot" else env.split, 1)
    tries = attack_swe if kind == "swe" else attack_polyglot
    made = []
    for outcome in tries(env, tasks, args.attack, args.timeout):
        made.append(outcome)
        if not args.json:
            print(line(outcome), flush=True)
    lost = [outcome for outcome in made if not outcome.holds and not outcome.known]
    if args.json:
        print(json.dumps([outcome.as_dict() for outcome in made], indent=2, ensure_ascii=False))
    else:
        fooled = sum(outcome.official == 1.0 for outcome in made)
        print(f"{len(made)} attacks: {fooled} earn 1 from the official harness, {len(lost)} get by our judge")
    if lost:
        print(f"forge-envs: {len(lost)} attacks earned a reward or went unscored", file=sys.stderr)
    return 1 if lost else 0


def line(outcome: Outcome) -> str:
    """One attack as a line of the table."""
    scores = "  ".join("-" if score is None else f"{score:g}" for score in (outcome.official, outcome.ours))
    said = " ".join(outcome.reason.split())[:80]
    return (
        f"{outcome.attack:24} {outcome.fault:8} {outcome.task:28} {scores}  {outcome.seconds:5.1f}s  {said}"
    )


def _kind(env: Any) -> str:
    if isinstance(env, SweEnv):
        return "swe"
    if isinstance(env, PolyglotEnv):
        return "polyglot"
    raise ValueError("only Forge/SWE-v0 and Forge/Polyglot-v0 have a red team; name one of them")
