"""A world played in a terminal: by a person, by what is piped in, or by its gold."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from forge_envs.env import AgentEnv
from forge_envs.messages import Message, ToolCall
from forge_envs.typed import whole

COLOURS = {"system": "2", "user": "36", "tool": "33", "assistant": "32", "reward": "35"}
HELP = """A line is an action: what you say. A call is a line like  >tool {"key": "value"}
/tools shows the tools, /help this, /quit leaves. An empty line says nothing and takes a turn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what `forge-envs play` can be told."""
    parser.add_argument("world", help="id of a world, e.g. Forge/Retail-v0")
    parser.add_argument("--task", help="task id; by default the seed picks one")
    parser.add_argument("--gold", action="store_true", help="watch the gold actions instead of acting")
    parser.add_argument("--seed", type=whole(0), default=0, help="of what the world draws (default 0)")


def run(args: argparse.Namespace, env: AgentEnv[Any, Any]) -> int:
    """Run `forge-envs play`. Raises TaskError and MachineError for the caller to tell."""
    messages, info = env.reset(seed=args.seed, options={"task": args.task} if args.task else None)
    _say("system", f"{args.world}, task {info['task']}")
    _show(messages)
    return _converse(env, iter(env.gold_actions(info["task"])) if args.gold else _typed(env), args.gold)


def _converse(env: AgentEnv[Any, Any], actions: Iterator[str], echo: bool) -> int:
    """Act until the episode or the actions end."""
    total = 0.0
    for action in actions:
        if echo:
            _say("assistant", action)
        messages, reward, terminated, truncated, info = env.step(action)
        _show(messages)
        if "error" in info:
            print(f"forge-envs: the machine failed: {info['error']}", file=sys.stderr)
            return 1
        total += reward
        _say("reward", f"turn {info['turn']}: turn reward {info['turn_reward']:+.3g}")
        if terminated or truncated:
            how = "over" if terminated else "over at the turn limit"
            _say("reward", f"{how}: outcome {info['outcome']:g}, return {total:g}, parts {info['parts']}")
            return 0
    print("The episode was not finished and has no outcome.")
    return 0


def _typed(env: AgentEnv[Any, Any]) -> Iterator[str]:
    """The actions that a person types, or that are piped in."""
    if sys.stdin.isatty():
        print(HELP)
    for line in _lines():
        if line.startswith(">"):
            try:
                yield _call(env, line[1:])
            except ValueError as error:
                print(f"forge-envs: {line!r}: {error}", file=sys.stderr)
        elif line == "/quit":
            return
        elif line == "/tools":
            for tool in env.tools.values():
                print(f"  {tool.name}: {tool.description}\n    {json.dumps(tool.parameters['properties'])}")
        elif line.startswith("/"):
            print(HELP)
        else:
            yield line


def _lines() -> Iterable[str]:
    if not sys.stdin.isatty():
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    while True:
        try:
            yield input("you> ")
        except EOFError:
            print()
            return


def _call(env: AgentEnv[Any, Any], line: str) -> str:
    """`tool {"key": "value"}` as an action. Raises ValueError."""
    name, _, arguments = line.strip().partition(" ")
    try:
        values = json.loads(arguments or "{}")
    except ValueError as error:
        raise ValueError(f"the arguments are not JSON ({error}); write  >{name} {{...}}") from error
    if not name or not isinstance(values, dict):
        raise ValueError('write  >tool {"key": "value"}')
    return env.grammar.write(calls=[ToolCall(name, values)])


def _show(messages: Iterable[Message]) -> None:
    for message in messages:
        name = message.get("name", "")
        _say(message["role"], message["content"], name)
        if message.get("tools"):
            names = (tool["function"]["name"] for tool in message["tools"])
            _say("system", "tools: " + ", ".join(names))


def _say(role: str, text: str, name: str = "") -> None:
    head = f"{role} {name}".strip().rjust(9)
    if sys.stdout.isatty():
        head = f"\x1b[{COLOURS[role]}m{head}\x1b[0m"
    print(f"{head}  " + text.replace("\n", "\n" + " " * 11), flush=True)
