"""The one base class of every world: `reset` and `step` are written here, once.

text --grammar--> Action --+-- malformed --> told to the agent, a penalty
                           +-- calls ------> tools, in order --> tool messages
                           +-- prose ------> hear() ----------> the other party's answer
then progress() -> turn reward, and at the end grade() -> outcome
"""

from __future__ import annotations

import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Self, TypeAlias, TypeVar

import gymnasium as gym
import numpy as np
from pydantic import Field

from forge_envs.arguments import check_arguments, known
from forge_envs.errors import MachineError, TaskError, ToolError, check_options, task_asked
from forge_envs.grammars import Grammar, grammar_names, grammar_of
from forge_envs.messages import Action, Message, Observation, ToolCall
from forge_envs.rewards import Score
from forge_envs.schemas import Packed
from forge_envs.spaces import Messages, Utterance
from forge_envs.task import Task as Task
from forge_envs.tools import BadArguments, Tool, Toolbox, tools_of

StepResult: TypeAlias = tuple[Observation, float, bool, bool, dict[str, Any]]

PENALTIES = {"malformed": 0.1, "refused": 0.05, "unauthorised": 0.1, "unconfirmed": 0.05}
"""What mistakes cost, in turn reward alone: an action or call that could not be read or fits no schema; a
call the world refused; and, in worlds with such rules, one that went through but was made for somebody whom
the agent may not serve, or that changes something without a yes of the other party."""
MOST_FAULTS = 5
"""Of each kind of mistake so many cost in one action; no action loses more by making more of them."""


MaxTurns = Annotated[int, Field(ge=2)]
"""Gymnasium's checker takes one action and expects no end."""
GrammarName = Annotated[str, known(grammar_names)]


TaskT = TypeVar("TaskT", bound=Task)


@dataclass
class Episode(Generic[TaskT]):
    """All that changes while a task is played. A world adds its own fields; everything pickles."""

    task: TaskT
    turn: int = 0
    progress: float = 0.0
    over: bool = False
    transcript: list[Message] = field(default_factory=list)
    """Everything said so far, the agent's lines as role `assistant`."""


EpisodeT = TypeVar("EpisodeT", bound=Episode[Any])


class AgentEnv(gym.Env[Observation, str], ABC, Generic[TaskT, EpisodeT]):
    """A world that is spoken to, of its own kind of task and of episode.

    A world implements `begin`, `hear`, `progress`, `grade`, `gold` and its tasks (`task_ids`, `find`);
    its tools are the `@tool` methods of `toolkit`. Constructor arguments are JSON scalars.

    ## Arguments

    - `max_turns`: actions after which the episode is graded and truncated; at least 2.
    - `turn_weight`: weight of turn rewards in what `step` returns; 0 gives the outcome alone.
    - `strict`: what is malformed ends the episode with outcome 0, so that 1 is earned only where every turn
      was well formed and the task is done (arXiv 2511.05951, eq. 7; GLM-4.5, arXiv 2508.06471); else it is
      told to the agent, who goes on.
    - `grammar`: how actions are written, "hermes" or another of `forge_envs.grammars`, or one of your own.
    - `render_mode`: "ansi" makes `render()` return the conversation as text.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 1, "quick": True}  # type: ignore[misc]
    """`quick`: a step never waits (no HTTP, no container), so a trainer may run it inline.
    `snapshot_leaves_out`, where it is there: in words, what of an episode `restore` does not bring back."""
    splits: tuple[str, ...] = ("train", "test")
    """What `task_ids` can be asked for; no task is in two of them."""
    toolkit_type: type | None = None
    """The class whose `@tool` methods are the agent's tools; by default the world's own."""
    silence_solves: Collection[str] = ()
    """Ids of tasks that saying nothing solves, as some of published benchmarks; our own have none."""

    takes_others: ClassVar[bool] = False
    """True where **kwargs of `__init__` are for somebody else and not for the base class."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse arguments that the world does not take, before any of its code runs. Raises ValueError."""
        made = super().__new__(cls)
        check_arguments(cls, args, kwargs)
        return made

    def __init__(
        self,
        *,
        max_turns: MaxTurns = 30,
        turn_weight: float = 0.0,
        strict: bool = False,
        grammar: GrammarName = "hermes",
        render_mode: str | None = None,
    ) -> None:
        # A world may have worked these out, or annotated them more loosely.
        given = {"max_turns": max_turns, "turn_weight": turn_weight, "strict": strict, "grammar": grammar}
        check_arguments(AgentEnv, (), given)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r}: known are {self.metadata['render_modes']}")
        self.max_turns = max_turns
        self.turn_weight = turn_weight
        self.strict = strict
        self.render_mode = render_mode
        self._grammar = grammar_of(grammar)
        self.action_space: Utterance = Utterance(self._grammar)
        self._equip(Toolbox(tools_of(self.toolkit_type or type(self))))
        if grammar == "bash" and set(self.tools) != {"bash"}:
            raise ValueError(
                f"grammar='bash' says nothing but bash commands; the tools are {list(self.tools)}"
            )
        self.observation_space = Messages()
        self.state: EpisodeT | None = None

    def _equip(self, box: Toolbox) -> None:
        """Give the agent these tools."""
        self.tools: dict[str, Tool] = box.tools
        self._schemas = box.schemas
        """What openings tell of the tools: `_schemas.value`, which all of them share."""
        self.grammar = self._grammar.for_tools(box.schemas.value)
        self.action_space.equip(self.grammar, box.schemas)

    # -- what a world says ---------------------------------------------------------------------

    @abstractmethod
    def begin(self, task: TaskT) -> tuple[EpisodeT, Observation]:
        """A fresh episode and its opening messages, which depend on the task alone."""

    @abstractmethod
    def hear(self, text: str) -> Observation | None:
        """Prose reached the other party, who answers; None ends the episode. `text` may be empty."""

    @abstractmethod
    def progress(self) -> float:
        """How far the task is done, in [0, 1]; turn rewards are its differences, so they telescope."""

    @abstractmethod
    def grade(self) -> Score:
        """The verdict; asked once, when the episode ends."""

    @abstractmethod
    def gold(self, task: TaskT) -> list[str]:
        """Actions that earn outcome 1.0: proof that the task can be solved."""

    @abstractmethod
    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` task ids of a split, always the same ones. ValueError for an unknown split."""

    @abstractmethod
    def find(self, task_id: str) -> TaskT:
        """The task of this id. Raises TaskError."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> TaskT:
        """A task of this world's split at random."""

    @property
    def toolkit(self) -> object:
        """The object the tools run on; here the env itself."""
        return self

    def toolbox(self, task: TaskT) -> Toolbox | None:
        """The tools of this task, in worlds where they differ from task to task; None where they do not.

        `tools`, `schemas`, `grammar` and `action_space` are those of the task in play from `reset` on.
        """
        return None

    # -- Gymnasium -----------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode. `options={"task": id}` picks the task, else the world draws one.

        Raises TaskError for an unknown id and MachineError when what the world runs on fails.
        """
        super().reset(seed=seed)
        check_options(options)
        self.release()
        self.state = None  # if what follows fails, no episode is in play
        task_id = task_asked(options)
        task = self.draw(self.np_random) if task_id is None else self.find(task_id)
        self._equip_for(task)
        state, opening = self.begin(task)
        state.transcript.extend(opening)
        self.state = state
        state.progress = self.progress()
        return self._handed(opening), {"task": task.id, "turn": 0}

    def step(self, action: str) -> StepResult:
        """Say `action`; hear what is new.

        Returns (messages, outcome + turn_weight * turn reward, terminated, truncated, info); `info` has
        `task`, `turn`, `turn_reward`, `parts`, at the end `outcome`, and `error` if a machine failed.
        """
        state = self.state
        if state is None or state.over:
            raise gym.error.ResetNeeded("the episode is over (or never began): call reset() first")
        if not isinstance(action, str):
            raise TypeError(f"an action is one str, not {type(action).__name__}: {action!r}")
        state.turn += 1
        state.transcript.append({"role": "assistant", "content": action})
        try:
            answer, penalties = self._answer(self.grammar.parse(action))
            terminated = answer is None or state.over or self._halts(penalties)
            truncated = not terminated and state.turn >= self.max_turns
            return self._reward(state, answer or (), penalties, terminated, truncated)
        except MachineError as error:
            return self._broken(state, error)

    def truncate(self) -> StepResult:
        """End the episode here, as the turn limit would: graded and truncated, without another turn.

        For callers whose agent has stopped before the world did. Raises ResetNeeded after the end.
        """
        state = self.state
        if state is None or state.over:
            raise gym.error.ResetNeeded("the episode is over (or never began): call reset() first")
        try:
            return self._reward(state, (), {}, False, True)
        except MachineError as error:
            return self._broken(state, error)

    def render(self) -> str | None:
        """The conversation so far as text, in mode "ansi"; else None."""
        if self.render_mode != "ansi":
            return None
        lines = self.state.transcript if self.state else []
        return "\n".join(f"{m['role']:>9}: {m['content']}" for m in lines)

    def close(self) -> None:
        """Release what the episode holds; calling it twice is fine."""
        self.release()
        self.state = None

    # -- what others build on --------------------------------------------------------------------

    @property
    def task(self) -> TaskT:
        """The task in play. It knows the gold: never show it to the agent."""
        task: TaskT = self.playing.task
        return task

    @property
    def playing(self) -> EpisodeT:
        """The episode in play. Raises ResetNeeded before the first reset."""
        if self.state is None:
            raise gym.error.ResetNeeded("no episode is in play: call reset() first")
        return self.state

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """JSON schemas of the tools in the OpenAI form."""
        return [tool.schema for tool in self.tools.values()]

    def gold_actions(self, task_id: str) -> list[str]:
        """`gold` by task id, for those who make training data. Raises TaskError."""
        return self.gold(self.find(task_id))

    def release(self) -> None:
        """Let go of what an episode holds outside this process; worlds with containers override it."""

    def snapshot(self) -> bytes:
        """The episode as bytes; `restore` continues from it, in this env or another of its kind."""
        return pickle.dumps((self.playing, self.np_random.bit_generator.state))

    def restore(self, snapshot: bytes) -> None:
        """Continue from a `snapshot` of one's own: unpickling a stranger's bytes runs a stranger's code."""
        self.release()
        self.state, self.np_random.bit_generator.state = pickle.loads(snapshot)
        self._equip_for(self.task)

    def _equip_for(self, task: TaskT) -> None:
        box = self.toolbox(task)
        if box is not None and box.tools is not self.tools:
            self._equip(box)

    @staticmethod
    def known_grammars() -> list[Grammar]:
        """All that `grammar` may name: whoever brings a model along can try which one reads its calls."""
        return [grammar_of(name) for name in grammar_names()]

    def grammar_for(self, task: TaskT) -> Grammar:
        """The grammar in which actions of a task are written, whatever task is in play."""
        box = self.toolbox(task)
        return self.grammar if box is None else self._grammar.for_tools(box.schemas.value)

    def _handed(self, messages: Observation) -> Observation:
        """The agent's own copies: whatever it does to them reaches no transcript and no other episode."""
        handed = []
        for message in messages:
            mine = message.copy()
            for key, value in message.items():
                if type(value) is not str:
                    mine[key] = self._copied(value)  # type: ignore[literal-required]
            handed.append(mine)
        return tuple(handed)

    def _copied(self, value: Any) -> Any:
        # Most often these are the tools in an opening; the same ones are compared by their addresses.
        return (self._schemas if value == self._schemas.value else Packed(value)).copy()

    # -- one turn ----------------------------------------------------------------------------------

    def _answer(self, action: Action) -> tuple[Observation | None, dict[str, float]]:
        """What the world says to an action, None if that ends the episode; and penalties by name."""
        if action.error is not None:
            text = f"Error: {action.error}. Nothing was run."
            return (Message(role="tool", name="error", content=text),), {"malformed": PENALTIES["malformed"]}
        if not action.calls:
            return self.hear(action.prose), {}
        penalties: dict[str, float] = {}
        messages: list[Message] = []
        for call in action.calls:
            if messages and self.playing.over:
                break
            message, fault = self._call(call)
            if fault is not None:
                cost = penalties.get(fault, 0.0) + PENALTIES[fault]
                penalties[fault] = min(cost, MOST_FAULTS * PENALTIES[fault])
            messages.append(message)
            if self._halts(penalties):  # what was written after it is not run either
                break
        return tuple(messages), penalties

    def _halts(self, penalties: Mapping[str, float]) -> bool:
        """Whether a turn with these penalties ends a strict episode: it was no action of this world.

        Actions are prose, and calls (f, args) with f one of the tools and args in its domain (eq. 1 of the
        paper); malformed is all else: what cannot be read, an unknown tool, arguments that fit no schema.
        """
        return self.strict and "malformed" in penalties

    def _call(self, call: ToolCall) -> tuple[Message, str | None]:
        """The result of one call as the agent reads it, and the name of its fault, if any."""
        tool = self.tools.get(call.name)
        if tool is None:
            text = f"Error: there is no tool {call.name[:60]!r}. Tools: {', '.join(self.tools)}."
            return {"role": "tool", "name": "error", "content": text}, "malformed"
        fault = None
        try:
            result = tool.call(self.toolkit, call.arguments)
        except BadArguments as error:
            result, fault = f"Error: {error}", "malformed"
        except ToolError as error:
            result, fault = f"Error: {error}", "refused"
        content = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        return {"role": "tool", "name": call.name, "content": content}, fault

    def _broken(self, state: EpisodeT, error: MachineError) -> StepResult:
        """The end of an episode that a machine failed: no outcome, whatever the reward says."""
        state.over = True
        return (), 0.0, False, True, {"task": state.task.id, "turn": state.turn, "error": error.as_dict()}

    def _reward(
        self,
        state: EpisodeT,
        answer: Observation,
        penalties: dict[str, float],
        terminated: bool,
        truncated: bool,
    ) -> StepResult:
        if answer:
            state.transcript.extend(answer)
            answer = self._handed(answer)
        before, state.progress = state.progress, self.progress()
        parts = {} if state.progress == before else {"progress": state.progress - before}
        if penalties:
            parts |= {name: -value for name, value in penalties.items()}
        turn_reward = float(sum(parts.values())) if parts else 0.0
        info = {"task": state.task.id, "turn": state.turn, "turn_reward": turn_reward, "parts": parts}
        outcome = 0.0
        if terminated or truncated:
            state.over = True
            # A halted episode earns 0 whatever stands: no judge and no container is asked.
            score = Score(0.0) if self._halts(penalties) else self.grade()
            outcome = info["outcome"] = float(score.outcome)
            parts.update(score.parts)
        return answer, self.turn_weight * turn_reward + outcome, terminated, truncated, info


def opening(system: str, first: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> Observation:
    """Opening messages: the system's words, which carry the tool schemas, then what was said first.

    >>> opening("You are a clerk.", [{"role": "user", "content": "Hi"}])
    ({'role': 'system', 'content': 'You are a clerk.'}, {'role': 'user', 'content': 'Hi'})
    """
    head = Message(role="system", content=system)
    if tools:
        head["tools"] = list(tools)
    return (head, *first)


__all__ = ["AgentEnv", "Episode", "StepResult", "Task", "TaskError", "opening"]
