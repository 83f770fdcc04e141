"""`forge-envs`: begin, list, check, play, attack, serve, export worlds; audit others'; images; make tasks."""

from __future__ import annotations

import argparse
import difflib
import inspect
import json
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from forge_envs import by_hand
from forge_envs.adapters import exports
from forge_envs.arguments import REQUIRED, WorldArgument, arguments_of
from forge_envs.audit import command as audit
from forge_envs.env import AgentEnv
from forge_envs.errors import MachineError, NotGiven, NotInstalled, TaskError
from forge_envs.make_swe import arguments as make_swe
from forge_envs.new_world import command as new_world
from forge_envs.people.fidelity import fidelity
from forge_envs.people.stored import read_stored
from forge_envs.red_team import command as red_team
from forge_envs.registry import world_ids
from forge_envs.serve import command as serve
from forge_envs.testing import Promise, promises
from forge_envs.typed import whole
from forge_envs.worlds.tooluse import command as tooluse


class Mistake(Exception):
    """What the person typed cannot be used; the text names it and the fix."""


class Missing(Mistake):
    """A world needs what is not installed or not given here; the text says what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0; 1: broken promise or failed machine; 2: bad input; 130: Ctrl-C.

    `check --all` checks what can be checked here; a world whose machine or library is missing is named.
    """
    parser = _parser()
    if not (sys.argv[1:] if argv is None else argv):
        parser.print_help(sys.stderr)
        return 2
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said what was wrong, or printed help
        return int(stop.code or 0)
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: module:World-v0 may lie in the folder one is in
    try:
        return int(args.run(args))
    except Mistake as mistake:
        print(f"forge-envs: {mistake}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("forge-envs", description="Multi-turn worlds for language agents.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the worlds and their arguments")
    listing.set_defaults(run=_list)
    check = commands.add_parser("check", help="prove that worlds keep the contract")
    check.add_argument("world", nargs="?", help="id of a world, e.g. Forge/Retail-v0")
    check.add_argument("--all", action="store_true", help="check every world, plugins included")
    check.add_argument("--tasks", type=whole(1), default=20, help="tasks of every split (default 20)")
    check.add_argument("--seed", type=whole(0), default=0, help="of what is tried (default 0)")
    check.set_defaults(run=_check)
    play = commands.add_parser("play", help="play a world by hand, or pipe in one action per line")
    by_hand.add_arguments(play)
    play.set_defaults(run=_play)
    fidelity = commands.add_parser("fidelity", help="hold the users of stored episodes to their notes")
    fidelity.add_argument("path", nargs="+", type=Path, help="JSON lines, or a folder of collect or eval")
    fidelity.add_argument("--world", default="", help="id of their world, where the file does not say")
    fidelity.add_argument("--user", default="", metavar="NAME", help="who played it, likewise")
    fidelity.add_argument("--examples", type=whole(0), default=3, help="of each fault (default 3)")
    fidelity.add_argument("--json", action="store_true", help="print everything as JSON")
    fidelity.set_defaults(run=_fidelity)
    serving = commands.add_parser("serve", help="worlds for other processes, languages and machines")
    serve.add_arguments(serving)
    serving.set_defaults(run=_serve)
    exporting = commands.add_parser("export", help="write tasks in the form of another program")
    exports.add_arguments(exporting)
    exporting.set_defaults(run=_export)
    auditing = commands.add_parser("audit", help="find what would corrupt training in anybody's environment")
    audit.add_arguments(auditing)
    auditing.set_defaults(run=_audit)
    attacking = commands.add_parser("red-team", help="attack the judge of a coding world")
    red_team.add_arguments(attacking)
    attacking.set_defaults(run=_red_team)
    for command in (check, play, fidelity, serving, exporting, auditing, attacking):
        command.add_argument(
            "--arg",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="argument of the world; may repeat",
        )
    images = commands.add_parser("images", help="build container images, without a registry")
    images.add_argument("name", nargs="*", help="an image, e.g. swe; with none, their names are listed")
    images.add_argument("--all", action="store_true", help="build every image")
    images.add_argument("--from", dest="base", metavar="IMAGE", help="build on this image of a registry")
    images.add_argument("--force", action="store_true", help="build also what is current")
    images.set_defaults(run=_images)
    making = commands.add_parser("make-swe", help="make SWE tasks of a Python package by planting bugs")
    make_swe.add_arguments(making)
    making.set_defaults(run=_make_swe)
    starting = commands.add_parser("new-world", help="begin a world of your own: a project that works")
    new_world.add_arguments(starting)
    starting.set_defaults(run=_new_world)
    generated = commands.add_parser("tooluse", help="what the generated domains of Forge/ToolUse-v0 are like")
    tooluse.add_arguments(generated)
    generated.set_defaults(run=_tooluse)
    return parser


# -- list and check ------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    for world in world_ids():
        try:
            kind = _kind(world)
        except Mistake as mistake:
            print(f"{world}\n    cannot be made: {mistake}")
            continue
        about = " ".join((inspect.getdoc(kind) or kind.__name__).partition("\n\n")[0].split())
        print(textwrap.fill(about, 100, initial_indent=f"{world}\n    ", subsequent_indent="    "))
        arguments, others = arguments_of(kind)
        rest = ["and the arguments of that world"] if others else []
        for line in [*map(_told, arguments.values()), *rest]:
            print(textwrap.fill(line, 100, initial_indent="    ", subsequent_indent="        "))
    print("\nAny of them on another machine: Forge/Remote-v0, url=..., world=... (forge-envs serve)")
    return 0


def _kind(world: str) -> type:
    """The class of a world, which is made only if a function makes it. Raises Mistake."""
    try:
        entry_point = gym.spec(world).entry_point
        creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    except (gym.error.Error, ImportError, AttributeError) as error:
        raise Mistake(str(error)) from error
    if isinstance(creator, type):
        return creator
    env = _make(world, {})
    env.close()
    return type(env.unwrapped)


def _told(argument: WorldArgument) -> str:
    """`name=default (what may be given): what it means`."""
    default = "" if argument.default is REQUIRED else f"={json.dumps(argument.default, default=repr)}"
    return f"{argument.name}{default} ({argument.allowed}): {argument.meaning}".removesuffix(": ")


def _check(args: argparse.Namespace) -> int:
    if args.all and args.world:
        raise Mistake(f"check {args.world} --all: name one world, or say --all, not both")
    if not args.all and not args.world:
        raise Mistake("check what? Name one world, or say --all")
    kwargs, broken, unchecked = _kwargs(args.arg), 0, 0
    if args.world:
        _need_own(args.world, kwargs)
    for world in world_ids() if args.all else [args.world]:
        try:
            _try_out(world, kwargs, args.seed)
            found = promises(world, tasks=args.tasks, seed=args.seed, **kwargs)
        except (Missing, MachineError) as error:
            if isinstance(error, Missing) and not args.all:
                raise
            unchecked += 1
            print(f"{world}\n  not checked: {error}", flush=True)
            continue
        except Mistake as mistake:
            if not args.all:
                raise
            found = iter([Promise("made", False, str(mistake))])  # the fault is not in what was typed
        print(world)
        for promise in found:
            print(f"  {promise}", flush=True)
            broken += not promise.kept
    if broken:
        print(f"forge-envs: {_counted(broken, 'broken promise', 'broken promises')}", file=sys.stderr)
    if unchecked:
        print(f"forge-envs: {_counted(unchecked, 'world was', 'worlds were')} not checked", file=sys.stderr)
    return 1 if broken or (unchecked and not args.all) else 0


def _counted(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _try_out(world: str, kwargs: dict[str, Any], seed: int) -> None:
    """Begin one episode, so that a missing server or container is told once and is no broken promise."""
    env = _make(world, kwargs)
    try:
        env.reset(seed=seed)
    except MachineError:
        raise
    except Exception:  # a bug of the world, which the promises name
        pass
    finally:
        env.close()


def _kwargs(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs; values are JSON where they read as JSON, else text."""
    kwargs: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise Mistake(f"--arg {pair!r}: write it as key=value")
        try:
            kwargs[key] = json.loads(value)
        except ValueError:
            kwargs[key] = value
    return kwargs


def _make(world: str, kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    known = world_ids()
    try:
        return gym.make(world, **kwargs)
    except (gym.error.UnregisteredEnv, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name not in (None, world.rpartition(":")[0]):
            home = str(gym.spec(world).entry_point).partition(":")[0]
            broken = f"{home}.".startswith(f"{error.name}.")  # the world's own module, not a library it needs
            raise (Mistake if broken else Missing)(f"world {world!r}: {error}") from error
        close = difflib.get_close_matches(world.rpartition(":")[2], known, n=3, cutoff=0.4) or known
        raise Mistake(f"unknown world {world!r} ({error}). Known: {', '.join(close)}") from error
    except (NotGiven, NotInstalled) as error:
        raise Missing(str(error)) from error
    except (gym.error.Error, ImportError, AttributeError, TypeError, ValueError) as error:
        raise Mistake(f"world {world!r} with {kwargs}: {error}") from error


# -- images ----------------------------------------------------------------------------------------------


def _images(args: argparse.Namespace) -> int:
    from forge_envs.sandbox import images

    if not (args.all or args.name):
        print(*(f"forge/{name}" for name in images.names()), sep="\n")
        return 0

    def build() -> int:
        for name in images.names() if args.all else args.name:
            print(images.build(name, base=args.base, force=args.force))
        return 0

    return _running(build)


def _make_swe(args: argparse.Namespace) -> int:
    return _running(lambda: make_swe.run(args))


def _new_world(args: argparse.Namespace) -> int:
    return _running(lambda: new_world.run(args))


def _tooluse(args: argparse.Namespace) -> int:
    return _running(lambda: tooluse.run(args))


def _serve(args: argparse.Namespace) -> int:
    return _running(lambda: serve.run(args, _kwargs(args.arg)))


def _audit(args: argparse.Namespace) -> int:
    return _running(lambda: audit.run(args, _kwargs(args.arg)))


def _red_team(args: argparse.Namespace) -> int:
    made = _make(args.world, _kwargs(args.arg))
    try:
        return _running(lambda: red_team.run(args, made.unwrapped))
    finally:
        made.close()


def _export(args: argparse.Namespace) -> int:
    kwargs = _kwargs(args.arg)
    _need_own(args.world, kwargs)
    return _running(lambda: exports.run(args, kwargs))


def _running(command: Callable[[], int]) -> int:
    """Run a command that another module holds; what it raises is told as of ours."""
    try:
        return command()
    except NotInstalled as error:
        raise Missing(str(error)) from error
    except (ValueError, ImportError) as error:
        raise Mistake(str(error)) from error
    except MachineError as error:
        print(f"forge-envs: {error}", file=sys.stderr)
        return 1


def _need_own(world: str, kwargs: dict[str, Any]) -> None:
    """Raises Mistake for an environment that is no world of ours, and what `_make` raises."""
    made = _make(world, kwargs)
    made.close()
    if not isinstance(made.unwrapped, AgentEnv):
        raise Mistake(f"world {world!r} is no AgentEnv; what others made is tried by forge-envs audit")


# -- fidelity --------------------------------------------------------------------------------------------


def _fidelity(args: argparse.Namespace) -> int:
    episodes = (one for path in args.path for one in read_stored(path))
    about = {"world": args.world, "args": _kwargs(args.arg), "user": args.user}
    try:
        found = fidelity(episodes, **about, examples=args.examples)
    except ValueError as error:
        raise Mistake(str(error)) from error
    if args.json:
        print(json.dumps([one.as_dict() for one in found], indent=2, ensure_ascii=False))
    else:
        print(*found, sep="\n")
    return 0


# -- play ------------------------------------------------------------------------------------------------


def _play(args: argparse.Namespace) -> int:
    made = _make(args.world, _kwargs(args.arg))
    env = made.unwrapped
    if not isinstance(env, AgentEnv):
        raise Mistake(f"world {args.world!r} is no AgentEnv: it cannot be played by talking")
    try:
        return by_hand.run(args, env)
    except TaskError as error:
        raise Mistake(str(error)) from error
    except MachineError as error:
        print(f"forge-envs: the machine failed in {error.stage}: {error}", file=sys.stderr)
        return 1
    finally:
        made.close()


if __name__ == "__main__":
    sys.exit(main())
