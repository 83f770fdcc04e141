"""Forge/BFCL-v0: the Berkeley Function-Calling Leaderboard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from forge_envs.arguments import known
from forge_envs.env import PENALTIES, AgentEnv, Episode, GrammarName, MaxTurns, opening
from forge_envs.errors import TaskError, check_count, one_of
from forge_envs.grammars import MOST_CALLS
from forge_envs.messages import Action, Message, Observation, ToolCall
from forge_envs.rewards import Score
from forge_envs.tools import Toolbox
from forge_envs.worlds.bfcl.accepted import gold_calls
from forge_envs.worlds.bfcl.categories import category_names
from forge_envs.worlds.bfcl.leaderboard import Leaderboard, load
from forge_envs.worlds.bfcl.match import fault
from forge_envs.worlds.bfcl.systems import FAILED, Systems
from forge_envs.worlds.bfcl.task import BfclTask, Dialogue, OneShot
from forge_envs.worlds.bfcl.verdict import MODEL, start, turn_fault
from forge_envs.worlds.bfcl.wrong_gold import CONTRADICTED

STEPS = 20
"""Actions with calls in one turn; the official runner breaks off at the next, and the entry fails."""
DIALOGUE = (
    "You act for a user by calling functions. Do all that the user asks for, in as many steps as it "
    "takes; results come back after each. When a request is done, or cannot be done with the functions or "
    "facts that you have, say so without a call: then the user goes on."
)
ONE_SHOT = (
    "You are given a request and functions. Answer with the calls that fulfil the request, all of them at "
    "once; you will not see results. If no function serves, or a value that one needs is not given, say so "
    "without a call."
)
DONE = "Done."
NO_CALL = "None of the functions can do this."


@dataclass(kw_only=True)
class BfclEpisode(Episode[BfclTask]):
    """A dialogue with the systems it runs on, or one question."""

    systems: Systems
    results: list[str] = field(default_factory=list)
    """Of all calls so far."""
    steps: int = 0
    """Actions with calls in this turn, those that could not be read among them."""
    called: bool = False
    """Whether anything was called in this turn."""
    turns: list[bool] = field(default_factory=list)
    """Whether each turn that is over was right; a question is one turn."""


class BfclEnv(AgentEnv[BfclTask, BfclEpisode]):
    """The entries of BFCL, the Berkeley Function-Calling Leaderboard, judged as its own code judges them.

    ## Action Space

    A text (`Utterance`): calls in the world's grammar, or prose, which ends the turn of a dialogue. Each
    entry has functions of its own.

    ## Observation Space

    What is new (`Messages`): the results of calls, or what the user says in the next turn. The functions
    ride on the first message; those that were held back ride on the user's message in which they come along.

    ## Rewards

    The outcome, at the end. A dialogue: 1 if every turn was right, in the state of the systems and in the
    results of calls. A question: 1 if the calls are accepted, or if none was made where none should be.
    `turn_weight` adds turn rewards: the share of turns that were right, within a turn that of the results
    that gold would have; and penalties for calls that fail.

    ## Starting State

    What the user says first, and the simulated systems as the entry configures them.

    ## Episode End

    Terminated after the last turn of a dialogue, at the 21st action with calls in one of its turns, which
    earns 0, and after the first action that answers a question. Truncated after `max_turns` actions, which
    the default never reaches.

    ## Information

    `task`, `turn`, `turn_reward`, `parts`, and at the end `outcome`. `env.unwrapped.leaderboard.source` says
    what was read; `env.unwrapped.gaps` lists entries that nobody can win, and `env.unwrapped.doubts` those
    whose gold is not what was asked for, with reasons.

    ## Arguments

    - `category`: one of BFCL's, such as "multi_turn_base" or "live_simple", or a group of them: "multi_turn",
      "live", "non_live".
    - `path`: the folder with the official files, of v3 or v4; "" finds them in the package bfcl-eval, if it
      is installed.
    - `split`: "base" has all entries; "train" and "test" are halves of ours, in which entries that
      belong together stay together.
    - `wrong_gold`: "skip" leaves out entries whose answer the official checker itself does not take; "play"
      plays them.
    - `check_empty_turns`: whether a call is wrong in a turn in which gold calls nothing; the official checker
      does not look at these.
    - `max_turns`, `turn_weight`, `strict`, `grammar`, `render_mode`: see AgentEnv.

    ## Version History

    * v0: first version.
    """

    def __init__(
        self,
        *,
        category: Annotated[str, known(category_names)] = "multi_turn_base",
        path: str = "",
        split: Annotated[str, known(("base", "train", "test"))] = "base",
        wrong_gold: Annotated[str, known(("skip", "play"))] = "skip",
        check_empty_turns: bool = False,
        max_turns: MaxTurns | None = None,
        turn_weight: float = 0.0,
        strict: bool = False,
        grammar: GrammarName = "hermes",
        render_mode: str | None = None,
    ) -> None:
        self.leaderboard: Leaderboard = load(path, category)
        longest = max(len(t.turns) if isinstance(t, Dialogue) else 1 for t in self.leaderboard.tasks.values())
        super().__init__(
            max_turns=longest * (STEPS + 1) if max_turns is None else max_turns,
            turn_weight=turn_weight,
            strict=strict,
            grammar=grammar,
            render_mode=render_mode,
        )
        self.split, self.check_empty_turns = split, check_empty_turns
        self.plays_wrong_gold = wrong_gold == "play"
        self.splits = tuple(half for half in ("train", "test") if self.task_ids(half, 1))
        self.silence_solves = self.leaderboard.solved_by_silence
        self._equip_for(next(iter(self.leaderboard.tasks.values())))

    def toolbox(self, task: BfclTask) -> Toolbox:
        """The functions of a task, those that are held back among them."""
        return self.leaderboard.toolbox(task)

    @property
    def gaps(self) -> dict[str, str]:
        """Tasks that nobody can win by the official rule, each with the reason."""
        return {task.id: task.wrong for task in self.leaderboard.tasks.values() if task.wrong}

    @property
    def doubts(self) -> dict[str, str]:
        """Tasks whose gold wins and is not what was asked for, as far as that is known, with the reason."""
        tasks = self.leaderboard.tasks.values()
        found = ((task.id, CONTRADICTED.get(f"{task.version}/{task.official}")) for task in tasks)
        return {id: why for id, why in found if why}

    def begin(self, task: BfclTask) -> tuple[BfclEpisode, Observation]:
        """Fresh systems, and what is said first."""
        if isinstance(task, Dialogue):
            state = BfclEpisode(task=task, systems=start(task, MODEL, self.leaderboard.fillers))
            return state, opening(DIALOGUE, task.turns[0], task.tools)
        assert isinstance(task, OneShot)
        said, rules = list(task.messages), ONE_SHOT
        if said and said[0]["role"] == "system":
            rules = f"{rules}\n\n{said.pop(0)['content']}"
        return BfclEpisode(task=task, systems=Systems()), opening(rules, said, task.tools)

    def _answer(self, action: Action) -> tuple[Observation | None, dict[str, float]]:
        state = self.playing
        if isinstance(state.task, OneShot):  # one action answers it, and nothing is run
            unread = action.error is not None
            state.turns.append(not unread and not fault(state.task, action.calls))
            state.over = True
            return (), {"malformed": PENALTIES["malformed"]} if unread else {}
        if action.calls or action.error is not None:
            state.steps += 1
        answer = super()._answer(action)
        state.over = state.over or state.steps > STEPS
        return answer

    def _call(self, call: ToolCall) -> tuple[Message, str | None]:
        """The result of one call as the official text, whatever the call is."""
        state = self.playing
        result = state.systems.call(call)
        state.called = True
        state.results.append(result)
        fault = None
        if result.startswith(FAILED):
            fault = "refused" if state.systems.takes(call) else "malformed"
        name = call.name if state.systems.knows(call.name) else "error"
        return Message(role="tool", name=name, content=result), fault

    def hear(self, text: str) -> Observation | None:
        """The end of a turn: what the user says next, or None."""
        state, task = self.playing, self._dialogue
        place = len(state.turns)
        wanted = self.leaderboard.expected(task)[place]
        right = not turn_fault(wanted, state.systems, state.results, called=state.called)
        if self.check_empty_turns and state.called and not wanted.results:
            right = False
        state.turns.append(right)
        state.steps, state.called = 0, False
        return task.turns[place + 1] if place + 1 < len(task.turns) else None

    @property
    def _dialogue(self) -> Dialogue:
        task = self.task
        assert isinstance(task, Dialogue), "a question is over after one action"
        return task

    def progress(self) -> float:
        """The share of turns that were right; of the one in play, the share of gold's results."""
        state = self.playing
        if isinstance(state.task, OneShot):
            return float(state.turns == [True])
        task = self._dialogue
        counted = [place for place, calls in enumerate(task.gold) if calls or self.check_empty_turns]
        now = len(state.turns)
        done = sum(float(state.turns[place]) for place in counted if place < now)
        if state.called and now in counted and task.gold[now]:
            wanted = self.leaderboard.expected(task)[now]
            done += wanted.found(state.results) / len(wanted.results)
        return done / len(counted) if counted else now / len(task.turns)

    def grade(self) -> Score:
        """The official verdict; 0 for a dialogue that was cut off."""
        state = self.playing
        turns = len(state.task.gold) if isinstance(state.task, Dialogue) else 1
        right = sum(state.turns)
        return Score(float(right == turns), {"turns_right": right / turns})

    def gold(self, task: BfclTask) -> list[str]:
        """The official calls, those of a turn in one action, and a word at its end."""
        write = self.grammar_for(task).write
        if isinstance(task, OneShot):
            calls = gold_calls(task)
            if task.category.rule == "some":  # any call is right
                calls = [ToolCall(task.functions[0]["name"], {})]
            return [write(calls=calls) if calls else NO_CALL]
        assert isinstance(task, Dialogue)
        actions = []
        for turn in task.gold[: len(task.turns)]:
            actions += [write(calls=turn[at : at + MOST_CALLS]) for at in range(0, len(turn), MOST_CALLS)]
            actions.append(DONE)
        return actions

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` tasks of a split, in the order of the files."""
        check_count(n)
        split = self.split if split is None else split
        one_of("split", split, ("base", "train", "test"))
        # Next to each other in pairs: some copies of the data have only every second entry.
        half = {"train": 0, "test": 1}.get(split)
        ids = [
            task.id
            for task in self.leaderboard.tasks.values()
            if (not task.wrong or self.plays_wrong_gold) and (half is None or task.group // 2 % 2 == half)
        ]
        return ids[:n]

    def find(self, task_id: str) -> BfclTask:
        """The task of this id, which may be that of the files alone. Raises TaskError."""
        task = self.leaderboard.find(task_id)
        if task.wrong and not self.plays_wrong_gold:
            raise TaskError(
                f"task {task.id!r} cannot be won: {task.wrong}; wrong_gold='play' plays it anyway"
            )
        return task

    def draw(self, rng: np.random.Generator) -> BfclTask:
        """A task of this world's split."""
        ids = self.task_ids()
        if not ids:
            raise TaskError(f"split {self.split!r} of {self.leaderboard.source} is empty")
        return self.leaderboard.tasks[ids[int(rng.integers(len(ids)))]]
