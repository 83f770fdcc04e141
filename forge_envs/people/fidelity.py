"""Do users keep to their notes? Stored conversations held against the tasks they were about, by fixed rules.

early_disclosure  told a fact before anybody asked for it
contradiction     said a value that is not in their notes, or agreed to what they do not want
premature_stop    left while what they came for was neither told nor done
out_of_character  spoke as the agent does, wrote a tool call, or read out their notes

The rules are made to be right when they speak, not to find everything: a paraphrase that no rule knows goes
unseen. So the rates are lower bounds, and compare one model of a user with another on the same tasks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import gymnasium as gym

from forge_envs.env import AgentEnv
from forge_envs.errors import MachineError
from forge_envs.messages import ToolCall
from forge_envs.people.chat import ChatSpec
from forge_envs.people.stored import Stored

FAULTS = ("early_disclosure", "contradiction", "premature_stop", "out_of_character")
CONFIDENCE_Z = 1.96
"""Standard deviations on either side of 95 %."""


class Watch(Protocol):
    """Follows one conversation, knowing the task. A world's `watch(task_id)` makes one."""

    def call(self, call: ToolCall) -> None:
        """The agent made a call, which the user does not see."""
        ...

    def hear(self, prose: str) -> None:
        """The agent said something to the user."""
        ...

    def say(self, line: str) -> Iterable[tuple[str, str]]:
        """The user said something; what is wrong with it, as (fault, why)."""
        ...

    def leave(self) -> Iterable[tuple[str, str]]:
        """The user left on what was said last; what is wrong with that."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, to be looked at by a person."""

    fault: str
    task: str
    where: str
    agent: str
    """What the agent had said last."""
    user: str
    """What the user said to it; "" if they left."""
    why: str


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a fault occurs: the mean over tasks of the share of their episodes that have it.

    The interval is Wilson's (1927) with tasks, not episodes, as the sample: episodes of one task are alike.
    """

    episodes: int
    """Episodes that have it."""
    findings: int
    """All of it, several an episode."""
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.1%} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class Fidelity:
    """What was found of one user."""

    user: str
    episodes: int
    tasks: int
    failed: int
    """Episodes that a machine ended; they are left out."""
    rates: Mapping[str, Rate]
    examples: list[Finding] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.user}: {self.episodes} episodes of {self.tasks} tasks, {self.failed} failed"]
        for fault, rate in self.rates.items():
            lines.append(f"  {fault:<17} {rate.episodes:>5} episodes  {rate.findings:>5} times  {rate}")
        for found in self.examples:
            lines += [f"  {found.fault}: {found.why}", f"    {found.where}, task {found.task}"]
            lines.append(f"       agent: {_short(found.agent)}")
            lines.append(f"        user: {_short(found.user) or '(leaves)'}")
        return "\n".join(lines)


def fidelity(
    episodes: Iterable[Stored],
    *,
    world: str = "",
    args: Mapping[str, Any] | None = None,
    user: str = "",
    examples: int = 3,
) -> list[Fidelity]:
    """Judge the users of stored episodes, one result a user model.

    `world`, `args` and `user` say what the files do not, or otherwise; at most `examples` of each fault are
    kept. Raises ValueError for a world that cannot be made or has no rules, and TaskError for its tasks.
    """
    kinds = _Kinds(world, args or {})
    by_user: dict[str, _Tally] = {}
    try:
        for episode in episodes:
            tally = by_user.setdefault(user or user_of(episode.args), _Tally())
            if episode.failed:
                tally.failed += 1
            else:
                tally.add(episode.task, list(_findings(episode, kinds.of(episode))))
    finally:
        kinds.close()
    return [tally.result(name, examples) for name, tally in sorted(by_user.items())]


def user_of(args: Mapping[str, Any]) -> str:
    """The user that a world's arguments name, without where it is served.

    >>> user_of({"user": "openai:qwen3@http://host/v1#temperature=0.7"}), user_of({})
    ('qwen3', 'scripted')
    """
    named = str(args.get("user", "scripted"))
    return ChatSpec.parse(named).model if named.startswith("openai:") else named


def wilson(share: float, count: int) -> tuple[float, float]:
    """The interval of a share of `count` (Wilson 1927), which says something where the share is 0, too.

    >>> [round(end, 3) for end in wilson(0.0, 40)]
    [0.0, 0.088]
    """
    z2 = CONFIDENCE_Z**2 / count
    middle = share + z2 / 2
    half = CONFIDENCE_Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


# -- one conversation ----------------------------------------------------------------------------------

_AGENT = re.compile(
    "|".join(
        (
            r"how (?:can|may) (?:i|we) (?:help|assist)",
            r"\b(?:i|we)(?:'ll| can| will) (?:gladly |happily )?(?:help|assist) you",
            r"anything else (?:i|we) can",
            r"let me (?:check|verify|look|pull|find)\b.{0,20}\byour",
            r"\b(?:i|we)(?:'ve| have) (?:now |successfully )?"
            r"(?:cancell?ed|updated|processed|booked|refunded|exchanged|modified|changed|sent) (?:your|the)",
            r"your (?:order|reservation|booking|refund|request|return) (?:has been|is now|was|will be) ",
            r"thank you for (?:contacting|calling|reaching out)",
            r"\b(?:i|we)(?:'ll| will) (?:transfer|connect) you",
            r"as an ai\b|language model",
        )
    ),
    re.IGNORECASE,
)
_SYNTAX = re.compile(r"</?(?:tool_call|tool_response|think)>|\{\s*\"(?:name|arguments)\"\s*:|<\|\w+\|>")
_NOTES = re.compile(r"###|\bif asked:|\b(?:my|your) (?:notes|instructions|persona|scenario)\b", re.IGNORECASE)


def out_of_character(line: str, tools: Collection[str]) -> Iterator[tuple[str, str]]:
    """What of a line no customer would say."""
    for found, what in (
        (_SYNTAX.search(line), "wrote the form of a tool call"),
        (_AGENT.search(line), "spoke as the agent"),
        (_NOTES.search(line), "read out their notes"),
    ):
        if found:
            yield "out_of_character", f"{what}: {found[0]!r}"
            return
    called = next((name for name in tools if "_" in name and name in line), None)
    if called is not None:
        yield "out_of_character", f"named the agent's tool {called}"


def _findings(episode: Stored, env: AgentEnv[Any, Any]) -> Iterator[Finding]:
    """The faults of one episode, in order."""
    watch: Watch = env.watch(episode.task)  # type: ignore[attr-defined]  # _Kinds has looked
    agent = ""
    last = ""
    for message in episode.messages:
        last, content = message["role"], message["content"]
        found: Iterable[tuple[str, str]] = ()
        if last == "user":
            found = [*watch.say(content), *out_of_character(content, env.tools)]
        elif last == "assistant":
            action = env.grammar.parse(content)
            for call in action.calls:
                watch.call(call)
            if action.calls or action.error is not None:
                last = "call"  # nobody heard it
            else:
                agent = action.prose
                watch.hear(agent)
        for fault, why in found:
            yield Finding(fault, episode.task, episode.where, agent, content, why)
    # Prose that nobody answered made the user leave, unless something else broke the episode off.
    if last == "assistant" and episode.ending in ("", "terminated"):
        for fault, why in watch.leave():
            yield Finding(fault, episode.task, episode.where, agent, "", why)


class _Kinds:
    """The environments whose tasks the episodes are of, each made once."""

    def __init__(self, world: str, args: Mapping[str, Any]) -> None:
        self.world, self.args = world, args
        self._envs: dict[str, AgentEnv[Any, Any]] = {}

    def of(self, episode: Stored) -> AgentEnv[Any, Any]:
        """The world of an episode, with nobody in it. Raises ValueError."""
        world = self.world or episode.world
        if not world:
            raise ValueError(f"{episode.where} does not say which world it is of: name it with --world")
        args = {k: v for k, v in {**episode.args, **self.args}.items() if k not in ("user", "judge")}
        key = f"{world} {sorted(args.items())!r}"
        if key not in self._envs:
            self._envs[key] = self._make(world, args, episode.where)
        return self._envs[key]

    def _make(self, world: str, args: dict[str, Any], where: str) -> AgentEnv[Any, Any]:
        try:
            env = gym.make(world, **args).unwrapped
        except (gym.error.Error, ImportError, TypeError, ValueError, MachineError) as error:
            raise ValueError(f"{where}: world {world!r} with {args} cannot be made: {error}") from None
        if not isinstance(env, AgentEnv) or not hasattr(env, "watch"):
            raise ValueError(f"{where}: world {world!r} has no notes that its user could be held to")
        return env

    def close(self) -> None:
        """Close them all."""
        for env in self._envs.values():
            env.close()


class _Tally:
    """Findings of one user, as they come."""

    def __init__(self) -> None:
        self.failed = 0
        self._by_task: dict[str, list[set[str]]] = {}
        self._findings: list[Finding] = []

    def add(self, task: str, findings: list[Finding]) -> None:
        self._by_task.setdefault(task, []).append({found.fault for found in findings})
        self._findings += findings

    def result(self, user: str, examples: int) -> Fidelity:
        kept = [f for fault in FAULTS for f in [f for f in self._findings if f.fault == fault][:examples]]
        return Fidelity(
            user=user,
            episodes=sum(map(len, self._by_task.values())),
            tasks=len(self._by_task),
            failed=self.failed,
            rates={fault: self._rate(fault) for fault in FAULTS} if self._by_task else {},
            examples=kept,
        )

    def _rate(self, fault: str) -> Rate:
        having = [[fault in faults for faults in episodes] for episodes in self._by_task.values()]
        mean = sum(sum(one) / len(one) for one in having) / len(having)
        times = sum(found.fault == fault for found in self._findings)
        return Rate(sum(map(sum, having)), times, mean, *wilson(mean, len(having)))


def _short(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:157]}..."
