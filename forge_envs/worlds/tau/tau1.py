"""Forge/Tau1-v0: τ-bench, the first one."""

from __future__ import annotations

from typing import ClassVar

from forge_envs.messages import Action, Message, Observation, ToolCall
from forge_envs.worlds.tau.domain import Kind
from forge_envs.worlds.tau.env import ENDING, TauEnv


class Tau1Env(TauEnv):
    """The tasks of τ-bench (sierra-research/tau-bench), judged as its own code judges them.

    ## Action Space

    A text (`Utterance`): prose to the customer, or one tool call in the world's grammar. Of several calls in
    one action the first is made, as the official agents do it; prose beside a call is said to nobody.

    ## Observation Space

    What is new (`Messages`): a tool's result, or the customer's answer.

    ## Rewards

    The outcome, at the end: 1 if the database is as the official calls leave it, to the last digit, and the
    agent told the customer every text that the task names; else 0. `turn_weight` adds turn rewards: the share
    of rows and texts achieved, and penalties for calls that are refused.

    ## Starting State

    The benchmark's own database and policy, and the customer's first line.

    ## Episode End

    Terminated when the customer leaves or the agent calls `transfer_to_human_agents`. Truncated after
    `max_turns` actions, by default 30, as the official runner; such an episode earns 0.

    ## Information

    `task`, `turn`, `turn_reward`, `parts`, and at the end `outcome`. `env.unwrapped.gaps` lists the tasks
    whose verdict cannot be told.

    ## Arguments

    - `domain`: "retail" or "airline".
    - `path`: the folder with the benchmark's own files, e.g. a clone. Its tasks are Python: export them as
      `tasks_<split>.json`, a list of {"instruction", "actions": [{"name", "kwargs"}], "outputs"}.
    - `split`: one that the files name, e.g. "train", "test", "dev";
      by default "train", or the first where there is none.
    - `user`: who plays the customer; "scripted" says all at once, agrees to everything and soon leaves; a
      model as "openai:MODEL@URL" (`forge_envs.people.chat`) plays them as written, by a prompt of our
      own, and then gold proves only that the database can be reached.
    - `judge`: no task of τ-bench needs one.
    - `gaps`: "skip" leaves out tasks whose verdict cannot be told here, "play" plays them and judges what can
      be judged.
    - `guard`: texts must be whole words or numbers; the official rule finds "10" in "2010".
    - `max_turns`, `turn_weight`, `strict`, `grammar`, `render_mode`: see AgentEnv.

    ## Version History

    * v0: first version. Before it had an id of its own it was `Forge/Retail-v0` with a `source`.
    """

    kind: ClassVar[Kind] = "tau1"
    turns: ClassVar[int] = 30

    def _answer(self, action: Action) -> tuple[Observation | None, dict[str, float]]:
        first, rest = action.calls[:1], action.calls[1:]
        answer, penalties = super()._answer(action._replace(calls=first))
        if answer is None or self.playing.over:
            return answer, penalties
        unmade = (f"Error: one call a turn: {call.name[:60]!r} was not made." for call in rest)
        return (*answer, *(Message(role="tool", name="error", content=text) for text in unmade)), penalties

    def _call(self, call: ToolCall) -> tuple[Message, str | None]:
        message, fault = super()._call(call)
        if call.name == ENDING:  # with whatever arguments
            self.playing.over = self.playing.ended = True
        return message, fault
