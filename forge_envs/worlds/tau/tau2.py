"""Forge/Tau2-v0: τ²-bench."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from forge_envs.arguments import known
from forge_envs.messages import Action, Message, Observation, ToolCall
from forge_envs.people.users import User, has_left
from forge_envs.tools import Tool
from forge_envs.worlds.tau.customer import CountedHands
from forge_envs.worlds.tau.domain import Kind
from forge_envs.worlds.tau.env import TauEnv, TauEpisode
from forge_envs.worlds.tau.solo import DONE, Nobody, both_sides
from forge_envs.worlds.tau.task import GREETING, TauTask, heard
from forge_envs.worlds.tau.tools import official_tools
from forge_envs.worlds.tau.user import OfficialUser, guidelines

REFUSALS = 10
"""Refused calls, of both sides together, at which an episode is broken off."""


class Tau2Env(TauEnv):
    """The tasks of τ²-bench (sierra-research/tau2-bench), judged as its own code judges them.

    ## Action Space

    A text (`Utterance`): prose to the customer, or tool calls in the world's grammar. Prose beside a call is
    said to nobody, and yet counts among what the agent said, as in τ²-bench.

    ## Observation Space

    What is new (`Messages`): the results of calls, or the customer's answer.

    ## Rewards

    The outcome, at the end: the product of what a task's reward basis names. DB: the database is as the
    official calls leave it, to the last digit. COMMUNICATE: the agent said certain texts. ACTION: it made
    certain calls, or the customer did. ENV_ASSERTION: certain things are true of both sides at the end, such
    as that the phone has service. NL_ASSERTION: a judge model agrees to certain statements. `turn_weight`
    adds turn rewards: the share of all these achieved, and penalties for calls that are refused.

    ## Starting State

    The benchmark's own database and policy, with what the task breaks in them, and the customer's first line.

    ## Episode End

    Terminated when the customer leaves, or at the tenth refused call, which earns 0. Truncated after
    `max_turns` actions, by default 100, which are the 200 steps of the official runner: the last of them is
    answered by nobody, and such an episode earns 0. A handover does not end it.

    ## Information

    `task`, `turn`, `turn_reward`, `parts`, and at the end `outcome`. `env.unwrapped.gaps` lists the tasks
    whose verdict cannot be told.

    ## Arguments

    - `domain`: "retail", "airline", "telecom" or "mock".
    - `path`: the folder with the benchmark's own files, e.g. a clone.
    - `split`: one that the files name, e.g. "train", "test", "base";
      by default "train", or the first where there is none.
    - `user`: who plays the customer; "scripted" says all at once, agrees to everything and soon leaves, and
      in telecom does on their phone what they are asked to and tells what came of it; a
      model as "openai:MODEL@URL" (`forge_envs.people.chat`) plays them as written, by a prompt of our
      own, and then gold proves only that the database can be reached.
    - `protocol`: by whose rules a model plays the customer. "official": the guidelines that lie in the
      checkout, the agent's greeting first, the official marks and native tools; "forge": a prompt of
      our own, whose scores are no τ² scores. `info["protocol"]` says which it was.
    - `judge`: a model as "openai:MODEL@URL" that decides the tasks' natural-language assertions when an
      episode ends; "" has none, and tasks whose verdict needs them are gaps.
    - `gaps`: "skip" leaves out tasks whose verdict cannot be told here, "play" plays them and judges what can
      be judged.
    - `guard`: close loose ends of the official rule: texts must be whole words or numbers, and calls must
      have all of gold's arguments; in telecom, whoever hands the customer over earns nothing unless gold
      does, too, and both sides have looked at something before.
    - `policy`: telecom's manual for phones, "manual" or "workflow".
    - `solo`: the agent has the customer's tools as well, and a ticket instead of the customer; its last call
      is `done`. For domains whose customers have tools.
    - `max_turns`, `turn_weight`, `strict`, `grammar`, `render_mode`: see AgentEnv.

    ## Version History

    * v0: first version. Before it had an id of its own it was `Forge/Retail-v0` with a `source`.
    """

    kind: ClassVar[Kind] = "tau2"
    turns: ClassVar[int] = 100

    def __init__(
        self,
        *,
        protocol: Annotated[str, known(("forge", "official"))] = "forge",
        policy: Annotated[str, known(("manual", "workflow"))] = "manual",
        solo: bool = False,
        **arguments: Any,
    ) -> None:
        self.solo = solo
        super().__init__(**arguments)
        told = self.benchmark.domain.policy
        if told is None and policy != "manual":
            raise ValueError(f"policy={policy!r}: {self.benchmark.domain.name} has one policy; leave it out")
        self._told = "" if told is None else told(self.benchmark.folder, policy, solo=solo)
        self._guidelines = ""
        if protocol == "official":
            if self._chat is None:
                raise ValueError("protocol='official' is for a model: give user='openai:MODEL@URL', too")
            self._guidelines = guidelines(
                self.benchmark.folder, tools=self.benchmark.contract.hands is not None
            )

    @property
    def policy(self) -> str:
        """What the agent is told."""
        return self._told or super().policy

    def _kit(self) -> tuple[type, Mapping[str, Tool]]:
        """The agent's tools; alone it has the customer's, too."""
        if not self.solo:
            return super()._kit()
        kind = both_sides(self.benchmark.domain, self.benchmark.contract)
        return kind, official_tools(kind)

    def _gap(self, task: TauTask) -> str:
        """As for all; and who works alone needs the case written down."""
        return super()._gap(task) or (
            "it has no ticket to work on alone" if self.solo and not task.ticket else ""
        )

    @property
    def protocol(self) -> str:
        """By whose rules a model plays the customer, "forge" or "official"; "" without a model."""
        return "official" if self._guidelines else super().protocol

    def begin(self, task: TauTask) -> tuple[TauEpisode, Observation]:
        """A fresh desk, and the customer's first line; the agent's greeting before it counts as said."""
        state, (system, *first) = super().begin(task)
        if self.solo:
            return state, (system, *first)
        state.told = heard(task, GREETING, guard=self.guard)
        if self._guidelines:
            first.insert(0, Message(role="assistant", content=GREETING))
        return state, (system, *first)

    def customer(self, task: TauTask, hands: CountedHands | None = None) -> User:
        """Whoever plays the customer of a task, by the protocol asked for; alone, there is nobody."""
        if self.solo:
            return Nobody(task.ticket)
        if not self._guidelines or self._chat is None:
            return super().customer(task, hands)
        prompt = f"{self._guidelines}\n\n<scenario>\n{task.scenario}\n</scenario>"
        return OfficialUser(prompt, self._chat, int(self.np_random.integers(2**31)), hands)

    def hear(self, text: str) -> Observation | None:
        """The customer's answer, None when they leave; nothing any more at the limit of steps.

        Alone, there is nobody to talk to: saying anything but the mark that it is done ends the episode.
        """
        if self.solo:
            self.playing.ended = DONE in text
            return None
        if self._at_limit:
            self._tell(text)
            return ()
        return super().hear(text)

    def _answer(self, action: Action) -> tuple[Observation | None, dict[str, float]]:
        state = self.playing
        if action.calls and not has_left(state.user) and not self.solo:
            self._tell(action.prose)
        if self.solo and any(call.name == "done" for call in action.calls):
            action = action._replace(calls=tuple(call for call in action.calls if call.name == "done")[:1])
        answer, penalties = super()._answer(action)
        refused = state.refused + (0 if state.hands is None else state.hands.refused)
        # The limits are looked at after the last word, and win over it.
        if refused >= REFUSALS or (self._at_limit and state.turn < self.max_turns):
            state.over, state.ended = True, False
        return answer, penalties

    def gold(self, task: TauTask) -> list[str]:
        """The official calls, one an action; alone, those of both sides, and then that it is done."""
        if not self.solo:
            return super().gold(task)
        made = [
            self.grammar.write(calls=[replace(call, requestor="assistant")]) for call in self._solution(task)
        ]
        return [*made, self.grammar.write(calls=[ToolCall("done", {})])]

    @property
    def _at_limit(self) -> bool:
        """Whether the official runner has no step left for an answer to this turn.

        It takes two a turn, the agent's and the answer; one for the customer's first line; and two for each
        round of calls that the customer makes.
        """
        state = self.playing
        rounds = 0 if state.hands is None else state.hands.rounds or len(state.hands.made)
        return state.turn + rounds >= self.max_turns
