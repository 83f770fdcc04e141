"""Worlds made of other worlds."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium as gym
import numpy as np

from forge_envs.arguments import known
from forge_envs.env import PENALTIES, AgentEnv, Episode, Task
from forge_envs.errors import MachineError, TaskError, check_count
from forge_envs.messages import Action, Message, Observation, ToolCall
from forge_envs.rewards import Score
from forge_envs.tools import BadArguments, Toolbox

DRAWS = 200
"""Tasks without a call of gold, one after another, after which a world is taken to have none."""


@dataclass(frozen=True)
class NextTurnTask(Task):
    """One action of a gold episode. `id` is the task's own, an @, and the index of the gold action."""

    base: str
    turn: int
    gold: tuple[ToolCall, ...]
    prose: str
    """What gold says; compared only in an action without calls."""


@dataclass
class NextTurnEpisode(Episode[NextTurnTask]):
    """One action."""

    matched: bool = False


class NextTurn(AgentEnv[NextTurnTask, NextTurnEpisode]):
    """One action of another world's gold, after the gold turns before it, scored by exact match.

    These are the step-wise samples of Klear-AgentForge (arXiv 2511.05951, eq. 8) and of GLM-4.5 (arXiv
    2508.06471), 1 iff FormatCorrect(a_t) and Match(a_t, a*_t), on the true prefix.

    ## Action Space

    `Utterance`: any text, with calls in the other world's grammar. Prose beside calls is not compared.

    ## Observation Space

    `Messages`: the true conversation so far, gold's own lines as role `assistant`. Nothing comes after it.

    ## Rewards

    The outcome is 1 if the action is well formed, so that it could be read and all its calls fit the schemas
    of the tools, and makes the calls that gold makes: the same tools in the same order, the same arguments,
    every field equal; else 0. Where gold speaks, see `prose`. `turn_weight` times the turn's reward is added.

    ## Starting State

    The other world after the gold turns before this one. The seed of `reset` draws a task of that world and
    one of its turns, or `options={"task": "ID@TURN"}` names them.

    ## Episode End

    Terminated after one action.

    ## Information

    `task` and `turn`; after the step `turn_reward`, its `parts` with `match`, and `outcome`.

    ## Arguments

    - `world`: the world whose gold is taken, by id, or an AgentEnv that nobody else plays.
    - `prose`: what of the turns in which gold speaks: "skip", they are no tasks, for there is more than one
      way to put it; "any", any prose without calls matches, for what is learned is when to speak; "exact",
      the same words.
    - `ordered`: several calls of an action must come in gold's order; else in any.
    - `turn_weight`, `strict`, `render_mode`: see AgentEnv; what is malformed earns 0 here in any case.
    - `args`: the other world's own arguments, as `size="tiny"`; its user must be the scripted one.

    ## Version History

    - v0: the first.
    """

    takes_others = True  # they are the other world's

    def __init__(
        self,
        world: str | AgentEnv[Any, Any] = "Forge/Retail-v0",
        *,
        prose: Annotated[str, known(("skip", "any", "exact"))] = "skip",
        ordered: bool = True,
        turn_weight: float = 0.0,
        strict: bool = False,
        render_mode: str | None = None,
        **args: Any,
    ) -> None:
        if isinstance(world, AgentEnv) and args:
            raise ValueError(f"arguments {args} are for a world that is made by id, and {world} is made")
        inner = world if isinstance(world, AgentEnv) else _made(world, args)
        if not isinstance(inner, AgentEnv) or isinstance(inner, NextTurn):
            raise ValueError(f"world={world!r}: NextTurn takes an AgentEnv with gold of several turns")
        if not inner.tools:
            raise ValueError(
                f"world={world!r}: it has no tools, so no turn of its gold makes a call to compare; "
                "NextTurn takes a world with tools"
            )
        self.inner: AgentEnv[Any, Any] = inner
        self.prose, self.ordered = prose, ordered
        self.toolkit_type = inner.toolkit_type or type(inner)
        self.splits = inner.splits
        self.metadata = {**self.metadata, "quick": inner.metadata["quick"]}  # type: ignore[misc]
        super().__init__(
            turn_weight=turn_weight, strict=strict, grammar=inner.grammar.name, render_mode=render_mode
        )
        self._equip(Toolbox(inner.tools))
        self._turns = functools.lru_cache(maxsize=4096)(self._asked)

    # -- tasks -------------------------------------------------------------------------------------

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` turns of a split's gold, task after task; by default those of all its tasks."""
        check_count(n)
        return list(itertools.islice(self._ids(split, n), n))

    def _ids(self, split: str | None, n: int | None) -> Iterator[str]:
        # Most tasks have several turns. Where some have none, fewer than n ids may be found among n tasks.
        for base in self.inner.task_ids(split, n):
            for turn in self._turns(base):
                yield f"{base}@{turn}"

    def find(self, task_id: str) -> NextTurnTask:
        """The task of this id. Raises TaskError."""
        base, _, turn = task_id.rpartition("@")
        turns = self._turns(base or task_id)
        if not turn.isdecimal() or int(turn) not in turns or str(int(turn)) != turn:
            known = ", ".join(f"{base or task_id}@{n}" for n in turns) or "none: its gold makes no calls"
            raise TaskError(f"unknown task {task_id!r}; the turns of that task are {known}")
        action = turns[int(turn)]
        return NextTurnTask(task_id, base, int(turn), action.calls, action.prose)

    def draw(self, rng: np.random.Generator) -> NextTurnTask:
        """A turn of a task that the other world draws."""
        for _ in range(DRAWS):
            base = self.inner.draw(rng).id
            if turns := list(self._turns(base)):
                return self.find(f"{base}@{turns[int(rng.integers(len(turns)))]}")
        raise TaskError(
            f"the gold of {DRAWS} tasks drawn from {self.inner} makes no call, so none has a turn"
        )

    def _asked(self, base: str) -> Mapping[int, Action]:
        """The actions of a task's gold that are asked for, by their index. Raises TaskError."""
        grammar = self.inner.grammar_for(self.inner.find(base))
        actions = map(grammar.parse, self.inner.gold_actions(base))
        return {n: one for n, one in enumerate(actions) if one.calls or (one.prose and self.prose != "skip")}

    def toolbox(self, task: NextTurnTask) -> Toolbox | None:
        """The tools of the other world's task."""
        return self.inner.toolbox(self.inner.find(task.base))

    # -- an episode --------------------------------------------------------------------------------

    def begin(self, task: NextTurnTask) -> tuple[NextTurnEpisode, Observation]:
        """The other world's opening, and its gold up to this turn. Raises MachineError."""
        messages, _ = self.inner.reset(seed=0, options={"task": task.base})
        heard = list(messages)
        for action in self.inner.gold_actions(task.base)[: task.turn]:
            answer, _, terminated, truncated, info = self.inner.step(action)
            if "error" in info:
                raise MachineError(**info["error"])
            if terminated or truncated:
                raise TaskError(
                    f"task {task.id!r}: gold ended the episode in turn {info['turn']}; raise max_turns "
                    f"(it is {self.inner.max_turns}), or use the scripted user"
                )
            heard += [Message(role="assistant", content=action), *answer]
        return NextTurnEpisode(task), tuple(heard)

    def hear(self, text: str) -> Observation | None:
        """Prose is no call: it ends the episode."""
        return None

    def progress(self) -> float:
        """1 once the action was the one of gold."""
        return float(self.playing.matched)

    def grade(self) -> Score:
        """The exact match."""
        return Score(self.progress(), {"match": self.progress()})

    def gold(self, task: NextTurnTask) -> list[str]:
        """The one action."""
        return [self.grammar_for(task).write(calls=task.gold) if task.gold else task.prose]

    def close(self) -> None:
        """Close the other world too."""
        super().close()
        self.inner.close()

    def _answer(self, action: Action) -> tuple[Observation | None, dict[str, float]]:
        """Nothing is run: the action is compared, and that is all."""
        if action.error is not None or not all(map(self._fits, action.calls)):
            return None, {"malformed": PENALTIES["malformed"]}
        self.playing.matched = self._matches(action, self.task)
        return None, {}

    def _fits(self, call: ToolCall) -> bool:
        """Whether a call is one of the actions there are (eq. 1 of the paper): a tool, arguments it takes."""
        tool = self.tools.get(call.name)
        try:
            return tool is not None and tool.check(call.arguments) is not None
        except BadArguments:
            return False

    def _matches(self, action: Action, task: NextTurnTask) -> bool:
        if task.gold:
            return same_calls(action.calls, task.gold, ordered=self.ordered)
        if action.calls or not action.prose:
            return False
        return self.prose == "any" or action.prose == task.prose


def _made(world: str, args: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """The world of an id, which is an argument here: a wrong one is named as every wrong argument is."""
    try:
        return gym.make(world, **args).unwrapped
    except (gym.error.UnregisteredEnv, ModuleNotFoundError, NotImplementedError) as error:
        raise ValueError(
            f"world={world!r}: {error} Worlds are named as in forge_envs:Forge/Retail-v0"
        ) from error


def same_calls(ours: Sequence[ToolCall], theirs: Sequence[ToolCall], *, ordered: bool = True) -> bool:
    """Whether two turns make the same calls, every field equal, and in the same order if they are `ordered`.

    >>> same_calls([ToolCall("pay", {"cents": 100})], [ToolCall("pay", {"cents": 100.0})])
    True
    >>> same_calls([ToolCall("pay", {"cents": 1})], [ToolCall("pay", {"cents": True})])
    False
    """
    if len(ours) != len(theirs):
        return False
    if ordered:
        return all(map(_same_call, ours, theirs))
    left = list(theirs)
    for call in ours:  # being the same is an equivalence: whichever is taken, the rest can be matched or not
        at = next((n for n, other in enumerate(left) if _same_call(call, other)), None)
        if at is None:
            return False
        del left[at]
    return True


def _same_call(a: ToolCall, b: ToolCall) -> bool:
    return a.name == b.name and same_json(a.arguments, b.arguments)


def same_json(a: Any, b: Any) -> bool:
    """Whether two values are the same JSON: 1 and 1.0 are one number, 1 and true are not."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same_json, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)
