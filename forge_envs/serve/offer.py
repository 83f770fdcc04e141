"""What a server offers: which worlds, with which arguments, and what is told about them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from forge_envs.adapters.session import Session
from forge_envs.arguments import REQUIRED, WorldArgument, arguments_of
from forge_envs.errors import MachineError, brief
from forge_envs.serve.faults import Fault
from forge_envs.serve.limits import OPEN_ARGUMENTS, ServeLimits

SHOWN_TASKS = 5
UNUSABLE = (gym.error.Error, ImportError, AttributeError, TypeError, ValueError, MachineError)


@dataclass(frozen=True)
class World:
    """One world on offer."""

    id: str
    given: Mapping[str, Any]
    """Arguments that the operator fixed."""
    open: Mapping[str, WorldArgument]
    """Arguments that a client may give."""
    about: dict[str, Any]
    """What is told of it, as JSON."""


class Offer:
    """The worlds of a server. Making it makes each world once, so that a mistake is told at the start.

    `allow` names arguments that clients may give beyond OPEN_ARGUMENTS; `given` are the operator's own, for
    every world that takes them, and no client changes them. Raises ValueError.
    """

    def __init__(
        self,
        worlds: Sequence[str],
        *,
        limits: ServeLimits,
        given: Mapping[str, Any] | None = None,
        allow: Collection[str] = (),
        skip: bool = False,
    ) -> None:
        self.limits = limits
        self.worlds: dict[str, World] = {}
        self.left_out: dict[str, str] = {}
        """Worlds that cannot be made here and why, if `skip`; else they are a ValueError."""
        taken: set[str] = set()
        for id in worlds:
            try:
                self.worlds[id] = _world(id, given or {}, allow, taken)
            except UNUSABLE as error:
                if not skip:
                    raise ValueError(f"world {id!r} cannot be served: {error}") from error
                self.left_out[id] = str(error)
        if not self.worlds:
            raise ValueError(f"no world can be served: {self.left_out or 'none was named'}")
        for what, names in (("given", set(given or {})), ("allowed", set(allow))):
            if names - taken:
                raise ValueError(f"{sorted(names - taken)}: {what}, but no world that is served takes it")

    def find(self, id: str) -> World:
        """The world of this id. Raises Fault."""
        if id in self.worlds:
            return self.worlds[id]
        near = get_close_matches(id, self.worlds, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise Fault("unknown", f"world {brief(id)}: {hint}served are {', '.join(self.worlds)}")

    def arguments(self, world: World, args: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments with which a client's session is made. Raises Fault."""
        for name, value in args.items():
            if name not in world.open:
                known = ", ".join(world.open)
                raise Fault("argument", f"{brief(name)}: a client may give {known} here, and nothing else")
            fault = world.open[name].fault(value)
            if fault is None and name == "max_turns" and value is not None and value > self.limits.max_turns:
                fault = f"max_turns={value}: this server allows {self.limits.max_turns}"
            if fault is not None:
                raise Fault("argument", fault)
        return {**world.given, **args}

    def make(self, world: World, args: Mapping[str, Any]) -> Session:
        """A session that has not begun; it may wait. Raises Fault for what the world does not take."""
        try:
            return Session(world.id, args)
        except MachineError as error:
            raise Fault.of(error) from error
        except UNUSABLE as error:
            raise Fault("argument", str(error)) from error


def _world(id: str, given: Mapping[str, Any], allow: Collection[str], taken: set[str]) -> World:
    with Session(id, _fitting(id, given)) as session:
        env, args = session.env, session.args
        arguments, _ = arguments_of(type(env))
        taken.update(set(arguments) & (set(given) | set(allow)))
        granted = (OPEN_ARGUMENTS | set(allow)) - set(given)
        free = {name: one for name, one in arguments.items() if name in granted}
        first = " ".join((inspect.getdoc(type(env)) or "").partition("\n\n")[0].split())
        about = {
            "world": id,
            "about": first,
            "quick": env.metadata.get("quick") is True,
            "splits": list(env.splits),
            "tasks": {split: _some(env, split) for split in env.splits},
            "arguments": [_told(one) for one in free.values()],
            "given": json.loads(json.dumps(args, default=repr)),
        }
    return World(id, args, free, about)


def _fitting(id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the operator's arguments that a world takes."""
    if not given:
        return {}
    entry_point = gym.spec(id).entry_point
    kind = load_env_creator(entry_point) if isinstance(entry_point, str) else None
    if not isinstance(kind, type):
        return dict(given)
    arguments, others = arguments_of(kind)
    return {name: value for name, value in given.items() if others or name in arguments}


def _some(env: Any, split: str) -> list[str]:
    try:
        return list(env.task_ids(split, SHOWN_TASKS))
    except ValueError:  # a split that these arguments leave empty
        return []


def _told(argument: WorldArgument) -> dict[str, Any]:
    told = {"name": argument.name, "allowed": argument.allowed, "meaning": argument.meaning}
    if argument.default is not REQUIRED:
        told["default"] = json.loads(json.dumps(argument.default, default=repr))
    return told
