"""What a selector sees of a play: what was said, how likely it was, and what it changed. Never the verdict.

Verdicts, reward parts and endings of a world stay apart in `Verdicts`, which only the table reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from forge_train.evaluation.filters import Play
from forge_train.play.world_pool import World
from forge_train.record.run_folder import read_lines
from forge_train.trajectory import SUCCESS

Verdicts = Mapping[tuple[str, int], float]
"""1.0 or 0.0 by task and repetition: whether the play succeeded."""


@dataclass(frozen=True)
class Candidate:
    """One play of a task.

    >>> c = Candidate("t1", 0, ({"role": "assistant", "content": " It is  7. "},), logprobs=(-0.5, -1.5))
    >>> c.answer, c.mean_logprob
    ('It is 7.', -1.0)
    """

    task: str
    repetition: int
    messages: tuple[Mapping[str, Any], ...]
    """All that was said, the opening first."""
    opening: int = 0
    """Messages of the opening."""
    logprobs: tuple[float, ...] = ()
    """Behaviour logprobs of the tokens that the policy wrote; none of the world's."""
    confidence: tuple[float, ...] = ()
    """Confidence of these tokens (`forge_train.engine.Completion`)."""
    effect: tuple[str, ...] | None = None
    """The calls that a tool accepted and that write, in an order of their own; None where nobody knows."""
    tested: tuple[float, ...] = ()
    """S of its patch, one number, where written tests were run on it (`self_play`)."""
    finished: bool = True
    """Whether the player came to an end by itself, and not by a limit on turns, tokens or time."""

    @property
    def answer(self) -> str:
        """The last line of the policy, with white space as one blank."""
        said = [m["content"] for m in self.messages[self.opening :] if m["role"] == "assistant"]
        return " ".join(str(said[-1] or "").split()) if said else ""

    @property
    def result(self) -> tuple[str, ...]:
        """What votes are counted by: the effect on the world, or the answer where none is known."""
        return ("did", *self.effect) if self.effect else ("said", self.answer)

    @property
    def mean_logprob(self) -> float:
        """AvgLogP (arXiv 2511.05951, sec. 3.4.4): the mean over tokens, so that length does not decide."""
        return fmean(self.logprobs) if self.logprobs else float("-inf")


def candidate_of(play: Play) -> Candidate:
    """What selectors may see of a line of plays.jsonl; outcome, parts, error and grading stay behind."""
    effect = play.get("effect")
    return Candidate(
        task=play["task"],
        repetition=play["repetition"],
        messages=tuple(play["messages"]),
        opening=play.get("opening", 0),
        logprobs=tuple(play.get("logprobs", ())),
        confidence=tuple(play.get("confidence", ())),
        effect=None if effect is None else tuple(effect),
        finished=play["ending"] == "terminated",
    )


def plays_file(plays: Path) -> Path:
    """The file of a collection, which may be named by its folder."""
    return plays / "plays.jsonl" if plays.is_dir() else plays


def played_world(plays: Path) -> World:
    """The world in which plays were collected; close it. Raises ValueError where they do not name it."""
    path = plays_file(plays)
    first: Mapping[str, Any] = next(iter(read_lines(path)), {})
    if "world" not in first:
        raise ValueError(f"{path} does not name its world: collect with forge-train collect")
    name = str(first.get("id") or first["world"])  # collections of before 2026-12 have no id
    return World(name if ":" in name else f"forge_envs:{name}", dict(first.get("args") or {}))


def read_plays(folder: Path) -> tuple[list[list[Candidate]], Verdicts]:
    """The candidates of each task, and, apart, whether each succeeded.

    A play that a machine failed is none. Raises ValueError where there is nothing to select from.
    """
    path = plays_file(folder)
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; play first: forge-train collect MODEL --world W --repeats 8 "
            f"--top-logprobs 20 --out {folder}"
        )
    plays = [play for play in read_lines(path) if play["error"] is None]
    by_task: dict[str, dict[int, Candidate]] = {}
    verdicts: dict[tuple[str, int], float] = {}
    for play in plays:  # a play that was repeated after a failure counts as it last ended
        by_task.setdefault(play["task"], {})[play["repetition"]] = candidate_of(play)
        verdicts[play["task"], play["repetition"]] = float(play["outcome"] >= SUCCESS)
    if not by_task:
        raise ValueError(f"{path} holds no play that came to an end; collect some")
    groups = [[found[i] for i in sorted(found)] for found in by_task.values()]
    return groups, verdicts
