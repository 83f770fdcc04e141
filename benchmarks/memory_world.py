"""A world that is longer than a small context: pages of noise with facts in them, and a question at the end.

The agent reads page after page. Each page names one key and its number between words that mean nothing; after
the last one the world asks for the number of one key. Who no longer sees that page must have noted it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import gymnasium as gym

ID = "Bench/Memory-v0"
WORDS = ("sun", "rain", "hill", "lake", "wind", "tree", "road", "bird", "snow", "sand")
KEYS = ("A", "B", "C", "D", "E", "F", "G", "H")
FACT = re.compile(r"([A-H]) is (\d\d)\.")
QUESTION = re.compile(r"What is [A-H]\?")
RULES = "Say next to read on. At the end answer with the number alone."


class Memory(gym.Env[Any, Any]):
    """`pages` pages of `noise` words each, then the question. The first `facts` of them hold one each (0: all
    do), a number of `values` many.

    A turn in which a page is asked for is worth nothing; the right number is outcome 1. Whatever else is said
    before the question is as good as "next": a policy is judged by what it remembers. Page and question are
    results of the tool `read`; with `talk` a user tells them.
    """

    metadata = {"quick": True, "render_modes": []}  # noqa: RUF012
    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Text(1_000_000)

    def __init__(
        self, pages: int = 4, noise: int = 12, *, facts: int = 0, values: int = 100, talk: bool = False
    ) -> None:
        if not 1 <= pages <= len(KEYS) or not 0 <= facts <= pages or not 1 <= values <= 100:
            raise ValueError(
                f"pages={pages}, facts={facts}, values={values}: at most {len(KEYS)}, pages, 100"
            )
        self.pages, self.noise, self.talk, self.values = pages, noise, talk, values
        self.count = facts or pages
        self._turn = 0

    def task_ids(self, split: str, n: int) -> list[str]:
        """Tasks are numbers of a split."""
        return [f"{split}/{i}" for i in range(n)]

    def facts(self, task: str) -> tuple[dict[str, str], str]:
        """The numbers by key, in the order of the pages, and the key that is asked for."""
        draw = random.Random(task)
        keys = draw.sample(KEYS, self.count)
        return {key: f"{draw.randrange(self.values):02d}" for key in keys}, draw.choice(keys)

    def gold_actions(self, task: str) -> list[str]:
        """Read all pages, then answer."""
        facts, asked = self.facts(task)
        return ["next"] * self.pages + [facts[asked]]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin with the rules."""
        super().reset(seed=seed)
        self._task = (options or {}).get("task", "train/0")
        self._facts, self._asked = self.facts(self._task)
        self._turn = 0
        opening = {"role": "system", "content": RULES}, {"role": "user", "content": "Begin."}
        return opening, {"task": self._task}

    def truncate(self) -> Any:
        """What stands is nothing: the question was not answered."""
        return (), 0.0, False, True, {"task": self._task, "outcome": 0.0}

    def step(self, action: str) -> Any:
        """The next page, the question, or the verdict."""
        turn, self._turn = self._turn, self._turn + 1
        info: dict[str, Any] = {"task": self._task, "turn": turn, "turn_reward": 0.0}
        if turn > self.pages:
            raise RuntimeError("the episode is over")
        if turn == self.pages:
            said = action.rpartition("</think>")[2].strip()
            outcome = float(said == self._facts[self._asked])
            return (), outcome, True, False, info | {"outcome": outcome}
        words = [random.Random(f"{self._task} {turn} {i}").choice(WORDS) for i in range(self.noise)]
        for key, value in list(self._facts.items())[turn : turn + 1]:
            words.insert(
                random.Random(f"{self._task} {turn}").randrange(self.noise + 1), f"{key} is {value}."
            )
        said = " ".join(words)
        if turn == self.pages - 1:
            said += f" What is {self._asked}?"
        told = {"role": "user"} if self.talk else {"role": "tool", "name": "read"}
        return ({**told, "content": said},), 0.0, False, False, info


def reading(shown: str, ask: str, *, reports: bool = False, keeps: Callable[[str], bool] = bool) -> str:
    """What a good reader says after all that was `shown`; `ask` begins every request for notes.

    It notes the facts that it `keeps` and the question, if that was put; else it reads on or answers. With
    `reports` the facts stand in a report before what it says.
    """
    facts = dict(FACT.findall(shown))
    known = [f"{key} is {value}." for key, value in sorted(facts.items()) if keeps(key)]
    asked = QUESTION.findall(shown)[-1:]
    if ask in shown:  # what is before a summary is gone after it
        return " ".join(known + asked)
    action = facts.get(asked[0][-2], "unknown") if asked else "next"
    return f"<report>{' '.join(known)}</report>{action}" if reports else action


if ID not in gym.registry:
    gym.register(ID, entry_point=Memory)
