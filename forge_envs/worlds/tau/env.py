"""Published tasks as an environment: their database and policy, our tools, the official verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np

from forge_envs.arguments import known
from forge_envs.env import AgentEnv, Episode, GrammarName, MaxTurns, StepResult, opening
from forge_envs.errors import TaskError, check_count, one_of
from forge_envs.messages import Action, Message, Observation, ToolCall
from forge_envs.people.chat import chat_of
from forge_envs.people.judges import Verdict, judge_of
from forge_envs.people.users import ModelUser, User, has_left
from forge_envs.rewards import Score
from forge_envs.schemas import Packed
from forge_envs.tools import Tool, tools_of
from forge_envs.worlds.tau.airline import AIRLINE
from forge_envs.worlds.tau.benchmark import Benchmark, load
from forge_envs.worlds.tau.customer import CountedHands, PlainCustomer
from forge_envs.worlds.tau.domain import Desk, Kind
from forge_envs.worlds.tau.fidelity import TauWatch
from forge_envs.worlds.tau.grade import Standing, standing, verdict
from forge_envs.worlds.tau.mock import MOCK
from forge_envs.worlds.tau.retail import RETAIL
from forge_envs.worlds.tau.task import TauTask, heard
from forge_envs.worlds.tau.telecom import TELECOM
from forge_envs.worlds.tau.user import OfficialUser

DOMAINS = {domain.name: domain for domain in (RETAIL, AIRLINE, TELECOM, MOCK)}
UNJUDGED = "its verdict needs a judge model for natural-language assertions: judge=openai:MODEL@URL"
"""The gap of tasks that could be judged."""
ENDING = "transfer_to_human_agents"
"""The tool that ends an episode of τ-bench."""
HANDED_OVER = "YOU ARE BEING TRANSFERRED TO A HUMAN AGENT. PLEASE HOLD ON."
"""What τ²-bench's policies have the agent say after it used that tool."""


@dataclass(kw_only=True)
class TauEpisode(Episode[TauTask]):
    """A desk, a customer, and what the verdict depends on."""

    desk: Desk
    user: User
    hands: CountedHands | None = None
    """What the customer does themselves, in domains where they have tools; the agent never sees it."""
    ended: bool = False
    """The customer left or was handed over; an episode that is cut off earns 0."""
    refused: int = 0
    """Calls of the agent that were refused."""
    made: list[ToolCall] = field(default_factory=list)
    """All calls of the agent."""
    went: set[str] = field(default_factory=set)
    """Tools with which a call of the agent went through."""
    looked: bool | None = None
    """Whether both sides had looked at anything when the agent first handed the customer over."""
    told: set[int] = field(default_factory=set)
    """Which of the texts that must be said were said."""
    judged: tuple[Verdict, ...] = ()
    """What the judge found at the end, with its reasons."""
    measured: tuple[int, int, int, Standing] | None = None
    """After so many writes, texts and calls, how far the episode was."""


class TauEnv(AgentEnv[TauTask, TauEpisode]):
    """What the worlds of both benchmarks share; the arguments are explained at each."""

    kind: ClassVar[Kind]
    turns: ClassVar[int]
    """The official runner's limit."""

    def __init__(
        self,
        *,
        domain: str = "retail",
        path: str = "",
        split: str | None = None,
        user: str = "scripted",
        judge: str = "",
        gaps: Annotated[str, known(("skip", "play"))] = "skip",
        guard: bool = False,
        max_turns: MaxTurns | None = None,
        turn_weight: float = 0.0,
        strict: bool = False,
        grammar: GrammarName = "hermes",
        render_mode: str | None = None,
    ) -> None:
        one_of("domain", domain, [name for name, one in DOMAINS.items() if self.kind in one.contracts])
        self.benchmark: Benchmark = load(DOMAINS[domain], self.kind, path)
        self.toolkit_type, tools = self._kit()
        super().__init__(
            max_turns=self.turns if max_turns is None else max_turns,
            turn_weight=turn_weight,
            strict=strict,
            grammar=grammar,
            render_mode=render_mode,
        )
        self.tools = dict(tools)
        self._schemas = Packed(self.schemas)
        if split is None:
            split = "train" if "train" in self.benchmark.splits else next(iter(self.benchmark.splits))
        one_of("split", split, self.benchmark.splits)
        self._chat, self._judge = chat_of(user), judge_of(judge)
        if self._chat is not None or self._judge is not None:
            self.metadata = {**self.metadata, "quick": False}  # type: ignore[misc]  # waits
        self.split, self.guard, self.plays_gaps = split, guard, gaps == "play"
        self.splits = self._disjoint()
        self.silence_solves = {
            id
            for id in self.benchmark.solved_by_silence
            if self._judge is None or not self.benchmark.tasks[id].needs_judge
        }

    def _kit(self) -> tuple[type, Mapping[str, Tool]]:
        """The class whose methods are the agent's tools, and these as the official code calls them."""
        return self.benchmark.contract.tools, self.benchmark.tools

    @property
    def policy(self) -> str:
        """What the agent is told."""
        return self.benchmark.policy

    @property
    def protocol(self) -> str:
        """By whose rules a model plays the customer, "forge" or "official"; "" without a model."""
        return "" if self._chat is None else "forge"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """As in AgentEnv; `info` says by whose protocol a model plays the customer."""
        messages, info = super().reset(seed=seed, options=options)
        return messages, self._labelled(info)

    def _reward(self, *args: Any) -> StepResult:
        """As in AgentEnv; at the end `info` says by whose protocol a model played the customer."""
        messages, reward, terminated, truncated, info = super()._reward(*args)
        if "outcome" in info:
            info = self._labelled(info)
        return messages, reward, terminated, truncated, info

    def _labelled(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "protocol": self.protocol} if self.protocol else info

    @property
    def gaps(self) -> dict[str, str]:
        """Tasks whose verdict cannot be told here, each with the reason."""
        found = ((task.id, self._gap(task)) for task in self.benchmark.tasks.values())
        return {id: gap for id, gap in found if gap}

    @property
    def toolkit(self) -> object:
        """The episode's desk: its methods are the tools."""
        return self.playing.desk

    def begin(self, task: TauTask) -> tuple[TauEpisode, Observation]:
        """A fresh desk, and the customer's first line."""
        desk, contract = self.benchmark.open_task(task), self.benchmark.contract
        hands = None if contract.hands is None else CountedHands(contract.hands(desk))
        user = self.customer(task, hands)
        state = TauEpisode(task=task, desk=desk, user=user, hands=hands)
        first = Message(role="user", content=user.open())
        return state, opening(self.policy, [first], self._schemas.value)

    def customer(self, task: TauTask, hands: CountedHands | None = None) -> User:
        """Whoever plays the customer of a task, with their hands."""
        if self._chat is None:
            acts = self.benchmark.domain.customer
            return PlainCustomer(task.brief) if acts is None else acts(task, hands)
        return ModelUser(task.brief, self._chat, int(self.np_random.integers(2**31)), hands=hands)

    def _answer(self, action: Action) -> tuple[Observation | None, dict[str, float]]:
        state = self.playing
        if has_left(state.user):  # with the first line; τ² ends there, so what the agent did is no part of it
            state.ended = True
            state.transcript.pop()
            return None, {}
        return super()._answer(action)

    def hear(self, text: str) -> Observation | None:
        """The customer's answer; None when they leave."""
        state = self.playing
        self._tell(text)
        answer = state.user.reply(text)
        state.ended = answer is None
        return None if answer is None else (Message(role="user", content=answer),)

    def progress(self) -> float:
        """The share of rows and texts achieved, among those gold has and those that were changed."""
        return self._measure().share

    def grade(self) -> Score:
        """The official verdict; 0 for an episode that was cut off."""
        state = self.playing
        if self._judge is not None and state.ended:  # the others earn 0 whatever was said
            state.judged = self._judge.verdicts(state.task.assertions, self._evidence(), self.grammar)
        score = verdict(state.task, self._measure(), state.judged)
        if self.guard and self.benchmark.domain.looks is not None and state.looked is not None:
            due = float(state.looked and any(gold.call.name == ENDING for gold in state.task.gold or ()))
            score = Score(score.outcome * due, {**score.parts, "transfer": due})
        return score if state.ended else Score(0.0, {**score.parts, "ended": 0.0})

    def watch(self, task_id: str) -> TauWatch:
        """Who tells whether a customer of this task keeps to their notes. Raises TaskError."""
        return TauWatch(self.benchmark.find(task_id), self.tools)

    def gold(self, task: TauTask) -> list[str]:
        """The official calls, one an action, then a line with all that must be said.

        The official calls may end with a handover, which in τ-bench ends the episode: then it comes last.
        """
        calls = self._solution(task)
        last = [call for call in calls if call.name == ENDING and self.kind == "tau1"]
        actions = [action for call in calls if call not in last for action in self._does(call)]
        facts = "".join(f" {text}." for text in task.communicate)
        if last:
            told = [f"This is what I found:{facts} Do you want to talk to a colleague?"] if facts else []
            return [*actions, *told, self.grammar.write(calls=last[:1])]
        handed = any(call.name == ENDING for call in calls)
        return [*actions, f"{HANDED_OVER if handed else 'Everything is settled.'}{facts}"]

    def _solution(self, task: TauTask) -> list[ToolCall]:
        """The official calls; before a handover that `guard` judges, those with which one looks."""
        calls, looks = [gold.call for gold in task.gold or ()], self.benchmark.domain.looks
        careful = self.guard and looks is not None and any(call.name == ENDING for call in calls)
        return [*looks(task), *calls] if careful and looks is not None else calls

    def _both_looked(self) -> bool:
        """Whether a call of either side has gone through, by whomever."""
        state, hands = self.playing, self.benchmark.contract.hands
        theirs = set(tools_of(hands)) if isinstance(hands, type) else set()
        acted = state.hands is not None and len(state.hands.made) > state.hands.refused
        return bool(state.went - theirs) and (acted or bool(state.went & theirs))

    def _does(self, call: ToolCall) -> list[str]:
        """How the agent brings a call of gold about: it makes it, or asks the customer to."""
        if call.requestor == "assistant":
            return [self.grammar.write(calls=[call])]
        ask = self.benchmark.domain.ask
        return [] if ask is None else [ask(call)]

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` tasks of a split, in its file's order; those with a gap only if they are played."""
        check_count(n)
        split = self.split if split is None else split
        one_of("split", split, self.benchmark.splits)
        ids = self.benchmark.splits[split]
        if not self.plays_gaps:
            ids = tuple(id for id in ids if not self._gap(self.benchmark.tasks[id]))
        return list(ids[:n])

    def find(self, task_id: str) -> TauTask:
        """The task of this id, which may be that of the files alone. Raises TaskError."""
        task = self.benchmark.find(task_id)
        gap = self._gap(task)
        if gap and not self.plays_gaps:
            raise TaskError(f"task {task.id!r} cannot be judged: {gap}; gaps='play' judges the rest of it")
        return task

    def draw(self, rng: np.random.Generator) -> TauTask:
        """A task of this world's split."""
        ids = self.task_ids()
        if not ids:
            raise TaskError(f"no task of split {self.split!r} can be judged; gaps='play' plays them anyway")
        return self.benchmark.tasks[ids[int(rng.integers(len(ids)))]]

    def _evidence(self) -> list[Message]:
        """What a judge is shown: all that was said, with the line with which a model left."""
        state = self.playing
        said = state.user.said if isinstance(state.user, ModelUser | OfficialUser) else []
        last = [Message(role="user", content=str(said[-1]["content"]))] if said else []
        return [*state.transcript, *last]

    def _tell(self, text: str) -> None:
        """Note which of the texts that must be said are in a line of the agent."""
        state = self.playing
        if state.task.communicate:
            state.told |= heard(state.task, text, guard=self.guard)

    def _call(self, call: ToolCall) -> tuple[Message, str | None]:
        state = self.playing
        state.made.append(call)
        message, fault = super()._call(call)
        if call.name == ENDING and state.looked is None:
            state.looked = self._both_looked()
        if fault is None:
            state.went.add(call.name)
        state.refused += fault is not None
        if state.desk.over:
            state.over = state.ended = True
        return message, fault

    def _measure(self) -> Standing:
        """How far the episode is; worked out again only after a write, a text or a call that may count."""
        state = self.playing
        calls = [*state.made, *(state.hands.made if state.hands else ())] if _counts(state.task) else []
        now = state.desk.writes, len(state.told), len(calls)
        if state.measured is None or state.measured[:3] != now:
            at = standing(state.task, self.benchmark, state.desk, state.told, calls, guard=self.guard)
            state.measured = *now, at
        return state.measured[3]

    def _gap(self, task: TauTask) -> str:
        """Why the verdict on a task cannot be told here; "" if it can."""
        return task.gap or (UNJUDGED if task.needs_judge and self._judge is None else "")

    def _disjoint(self) -> tuple[str, ...]:
        """Splits that share no task, the small ones before "base", which holds them all."""
        found: list[str] = []
        seen: set[str] = set()
        for split in sorted(self.benchmark.splits, key=lambda name: name == "base"):
            ids = set(self.task_ids(split))
            if ids and not ids & seen:
                found.append(split)
                seen |= ids
        return tuple(found)


def _counts(task: TauTask) -> bool:
    """Whether calls count in the verdict on a task."""
    return "ACTION" in task.basis
