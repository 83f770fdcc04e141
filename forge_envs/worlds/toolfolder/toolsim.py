"""Forge/ToolSim-v0: tools of a folder that a model simulates, judged by a rubric."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from forge_envs.env import opening
from forge_envs.messages import Message, Observation, ToolCall
from forge_envs.people.chat import chat_of
from forge_envs.people.judges import Verdict, judge_of
from forge_envs.rewards import Score
from forge_envs.worlds.toolfolder.env import FolderEpisode, FolderWorld
from forge_envs.worlds.toolfolder.simulator import LLMToolSimulator
from forge_envs.worlds.toolfolder.tasks import FolderTask

Chance = Annotated[float, Field(ge=0, le=1)]


@dataclass(kw_only=True)
class SimulatedEpisode(FolderEpisode):
    """A customer, and the model that runs the tools; without one, the rows."""

    simulator: LLMToolSimulator | None = None
    done: list[ToolCall] = field(default_factory=list)
    """Calls that were not refused."""
    refused: list[ToolCall] = field(default_factory=list)
    judged: tuple[Verdict, ...] = ()
    """What the judge found at the end, with its reasons."""

    def met(self) -> list[bool]:
        """For each errand, whether what a rule can see of it was done."""
        found = []
        for number, errand in enumerate(self.task.errands):
            wanted, made = errand.call, self.refused if errand.refused else self.done
            called = errand.refused or any(_same(call, wanted) for call in made if wanted is not None)
            heard = number in self.customer.heard or not errand.to_hear
            # What a model answered is not what the rows hold: only the judge can tell whether it was told.
            found.append(called and (heard or (self.simulator is not None and not errand.refused)))
        return found


def _same(call: ToolCall, wanted: ToolCall) -> bool:
    """Whether a call is the one that was wanted; it may say more."""
    given = call.arguments
    return call.name == wanted.name and all(
        name in given and given[name] == value for name, value in wanted.arguments.items()
    )


class ToolSimEnv(FolderWorld[SimulatedEpisode]):
    """Tools of a folder of schemas that a model simulates: a world model that keeps a state, in which calls
    succeed, fail in part, or meet an edge case. What was done is judged by a rubric.

    ## Action Space

    A text (`Utterance`): prose to the customer, or calls of the domain's tools in the world's grammar. Which
    tools there are depends on the task; the opening tells them.

    ## Observation Space

    What is new (`Messages`): the results of calls, or the customer's answer.

    ## Rewards

    The outcome, at the end: 1 if every item of the rubric is met, else 0. By rule (`calls`): each wish has
    the call that carries it out or finds it out, and that call was not refused; the customer heard each value
    (only where no model runs the tools) and each refusal. By the judge, if there is one (`judge`): a
    statement for each wish. A simulator or judge without an answer of use ends the episode without a verdict.

    ## Starting State

    As in Forge/ToolFolder-v0; the same rows are the state that the simulator begins with.

    ## Episode End

    Terminated when the customer leaves. Truncated after `max_turns`, or when a model fails.

    ## Information

    `task`, `turn`, `turn_reward`, `parts`, and at the end `outcome`; `error` if a model failed.

    ## Arguments

    - `path`: a folder with files of tool schemas, or one such file.
    - `simulator`: the model that runs the tools, as "openai:MODEL@URL" (`forge_envs.people.chat`); "" runs
      them by rule. A model needs a judge.
    - `judge`: the model that judges, likewise; "" leaves it to the rules.
    - `partial`: how likely a call succeeds in part only.
    - `edge`: how likely a call is an edge case.
    - `split`: "train" or "test"; whole domains are held out for the test.
    - `level`: 1 to 5 as in Forge/ToolFolder-v0; 0 mixes them.
    - `domain`: one domain alone, by its id; "" is all of them.
    - `user`: "scripted", or a model as "openai:MODEL@URL".

    ## Version History

    - v0: first version.
    """

    def __init__(
        self,
        *,
        simulator: str = "",
        judge: str = "",
        partial: Chance = 0.1,
        edge: Chance = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if partial + edge > 1:
            raise ValueError(f"partial={partial}, edge={edge}: together they are at most 1")
        if simulator and not simulator.startswith("openai:"):
            raise ValueError(f'simulator={simulator!r}: known are "" (rules) and openai:MODEL@URL')
        self._simulator = chat_of(simulator) if simulator else None
        self._judge = judge_of(judge, held=True)
        if self._simulator is not None and self._judge is None:
            raise ValueError(
                f"simulator={simulator!r}: no rule checks what a model answers; give judge=openai:MODEL@URL"
            )
        if self._simulator is not None or self._judge is not None:
            self.metadata = {**self.metadata, "quick": False}  # type: ignore[misc]  # waits
        self.partial, self.edge = partial, edge

    @property
    def toolkit(self) -> object:
        """The model, or the episode's rows."""
        return self.playing.simulator or self.playing.store

    def begin(self, task: FolderTask) -> tuple[SimulatedEpisode, Observation]:
        """The simulator's first state, and the customer's first wish."""
        user, customer = self.people(task)
        simulator = None
        if self._simulator is not None:
            state = {name: dict(base.rows) for name, base in task.bases.items()}
            seed = int(self.np_random.integers(2**31))
            simulator = LLMToolSimulator(
                self._simulator, task.domain, state, seed, partial=self.partial, edge=self.edge
            )
        state_of = SimulatedEpisode(
            task=task, store=task.open_store(), customer=customer, user=user, simulator=simulator
        )
        first = Message(role="user", content=user.open())
        return state_of, opening(task.rules, [first], self._schemas.value)

    def progress(self) -> float:
        """The share of wishes of which a rule can see that they were met."""
        met = self.playing.met()
        return sum(met) / len(met)

    def grade(self) -> Score:
        """All wishes, by rule and by the judge."""
        state = self.playing
        met = all(state.met())
        parts = {"calls": float(met)}
        if self._judge is not None and met:  # the others earn 0 whatever a judge says
            statements = [errand.statement for errand in state.task.errands]
            state.judged = self._judge.verdicts(statements, state.transcript, self.grammar)
            parts["judge"] = float(all(verdict.met for verdict in state.judged))
        return Score(float(all(parts.values())), parts)

    def _call(self, call: ToolCall) -> tuple[Message, str | None]:
        message, fault = super()._call(call)
        if fault is None:
            self.playing.done.append(call)
        elif fault == "refused":
            self.playing.refused.append(call)
        return message, fault
