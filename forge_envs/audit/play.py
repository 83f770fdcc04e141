"""Sessions of a target, what they answer, and the lines that would play the same again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge_envs.audit.child import Child, Died, Hung, Raised
from forge_envs.audit.target import Target, folded, shown


@dataclass(frozen=True)
class Act:
    """One action: a text to say, an action in the target's own form, or a shell command."""

    say: str | None = None
    act: Any = None
    line: str | None = None

    def __str__(self) -> str:
        return shown(self._said)

    @property
    def _said(self) -> Any:
        return self.say if self.say is not None else self.line if self.line is not None else self.act

    def python(self) -> str:
        """The action as Python, whole: one that is cut shows nothing again."""
        return folded(self._said) if isinstance(self._said, str) else repr(self._said)


@dataclass(frozen=True)
class Reply:
    """What a target answered to a reset (`action` None) or to an action."""

    action: Act | None
    observation: Any = None
    text: str = ""
    fits: bool | None = None
    admitted: bool | None = None
    """Whether the action lies in the declared space; None where none is declared."""
    reward: Any = 0.0
    """A finite number, or a dict that tells what it was instead."""
    over: bool = False
    truncated: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    refused: int = 0
    """How often the target tried, in this step, what had been severed."""
    fault: str = ""
    """Why there is no answer: what was raised, `hung`, or how the process died."""
    hung: bool = False
    where: Sequence[str] = ()

    @property
    def number(self) -> float:
        """The reward, 0 where it is no number."""
        return float(self.reward) if isinstance(self.reward, int | float) else 0.0

    def same(self, other: Reply) -> bool:
        """Whether two turns look the same to an agent and to a trainer; `info` may hold times."""
        mine = (self.observation, self.reward, self.over, self.truncated, self.fault)
        return mine == (other.observation, other.reward, other.over, other.truncated, other.fault)


class Sitting:
    """One session in a child process; what the target raises becomes a turn with a fault."""

    def __init__(self, child: Child) -> None:
        """Open it. Raises Full, Raised, Hung or Died."""
        self.child = child
        self.id = child.ask("open")
        self.turns: list[Reply] = []
        self.began: tuple[int | None, str | None] = (None, None)

    def reset(self, seed: int | None, task: str | None = None) -> Reply:
        """Begin an episode."""
        self.began = (seed, task)
        self.turns = [self._asked(None, "reset", seed=seed, task=task)]
        return self.turns[0]

    def step(self, action: Act) -> Reply:
        """Act."""
        fields = {"say": action.say, "act": action.act, "line": action.line}
        self.turns.append(self._asked(action, "step", **fields))
        return self.turns[-1]

    def sample(self, seed: int) -> Act:
        """A random action: what the target offers, else nothing."""
        value = self.child.ask("sample", session=self.id, seed=seed)
        return Act(say=value) if isinstance(value, str) else Act(act=value)

    def play(self, actions: Iterable[Act]) -> list[Reply]:
        """Act until the episode or the actions end; all turns of the episode, the opening first."""
        for action in actions:
            if self.turns and (self.turns[-1].over or self.turns[-1].fault):
                break
            self.step(action)
        return self.turns

    def close(self) -> None:
        """End the session."""
        self.child.ask("close", session=self.id)

    def _asked(self, action: Act | None, do: str, **fields: Any) -> Reply:
        try:
            got = self.child.ask(do, session=self.id, **fields)
        except Raised as error:
            return Reply(action, fault=str(error), where=error.told["where"])
        except Hung as error:
            return Reply(action, fault=str(error), hung=True)
        except Died as error:
            return Reply(action, fault=str(error))
        over = got.pop("terminated", False) or got.get("truncated", False)
        return Reply(action, **got, over=over)


def total(turns: Sequence[Reply]) -> float:
    """The return of an episode."""
    return sum(turn.number for turn in turns)


def lines(target: Target, session: Sitting, opening: bool = False) -> str:
    """Python that plays what the session played, or its opening alone."""
    seed, task = session.began
    text = target.opening_lines()
    if target.kind == "reasoning-gym":
        entry = f"data[{task if task is not None else seed}]"
        said = [turn.action.python() for turn in session.turns if turn.action is not None]
        return "\n".join([*text, f"print(data.score_answer({said[-1] if said else None}, {entry}))"])
    if target.kind == "textarena":
        text.append(f"env.reset(num_players=1, seed={seed}); print(env.get_observation())")
    else:
        options = "" if task is None else f', options={{"task": {task!r}}}'
        text.append(f"print(env.reset(seed={seed}{options}))")
    if not opening:
        actions = [turn.action for turn in session.turns if turn.action is not None]
        text += [f"print(env.step({action.python()}))" for action in actions]
    return "\n".join(text)
