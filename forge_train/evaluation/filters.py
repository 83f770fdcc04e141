"""Which plays are worth imitating: AgentScaler's filters (arXiv 2509.13311), in its order.

    ending    the world came to a verdict
    validity  validity control: the exchange is well formed and no line repeats itself
    state     environment-state alignment: the world stands as gold leaves it, and what must be said was said
    calls     function-calling exact match: on a task that changes nothing, gold's calls in gold's order

State proves nothing on a task that reads only, which is why its calls are compared; on one that writes there
are several good ways, and the state decides. A play with errors of tools in it that got there is kept: it
shows how one recovers. Two more are there for who wants them: `format` (every action was one of the world's:
readable, of tools that exist, with arguments that fit) and `unrefused` (the world said no to no call).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from forge_train.play.solution import Call, Solution
from forge_train.trajectory import SUCCESS

Play = dict[str, Any]
"""One line of plays.jsonl."""

WORDS = 8
"""Words of an n-gram."""
MOST_REPEATED = 0.5
"""Share of a line's n-grams that may have stood in it before."""
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


Told = Callable[[str], Solution | None]
"""The solution of a task by its id; None where the world tells none."""


def unknown(task: str) -> None:
    """The `Told` of a world that tells nothing: its plays are filtered by what stands in them alone."""


def _valid(play: Play, told: Told) -> bool:
    solution = told(play["task"])
    said = [m["content"] for m in _after_opening(play) if m["role"] == "assistant"]
    readable = solution is None or all(solution.parse(line).error is None for line in said)
    return alternates(play) and readable and all(repetition(line) <= MOST_REPEATED for line in said)


def alternates(play: Play) -> bool:
    """Whether each line of the agent's says something and is answered before the next, by no empty line."""
    before = ""
    for message in _after_opening(play):
        role, empty = message["role"], not message["content"].strip()
        if (role == before == "assistant") or (empty and role in ("assistant", "user")):
            return False
        before = role
    return True


def repetition(text: str, n: int = WORDS) -> float:
    """The share of a text's n-grams of words that stood in it before; a letter of Chinese, Japanese or
    Korean is a word.

    >>> repetition("one two three four", n=2), repetition("no no no no no", n=2)
    (0.0, 0.75)
    """
    words = _WORD.findall(text)
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    total = grams.total()
    return 1 - len(grams) / total if total else 0.0


def _calls_match(play: Play, told: Told) -> bool:
    solution = told(play["task"])
    if solution is None or not solution.reads_only:
        return True
    made = list(calls_made(play, solution))
    return len(made) == len(solution.calls) and all(map(_same, made, solution.calls))


def calls_made(play: Play, solution: Solution) -> Iterator[Call]:
    """The calls that a tool answered, in order; those answered by an error told the agent nothing."""
    messages = _after_opening(play)
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        answers = []
        for answer in messages[at + 1 :]:
            if answer["role"] != "tool":
                break
            answers.append(answer["content"])
        # A tool that ended the episode leaves the calls after it unmade and unanswered.
        for call, answer in zip(solution.calls_in(message["content"]), answers, strict=False):
            if not answer.startswith("Error:"):
                yield call


def effect_of(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Calls as text that is equal where they do the same, whatever order they were made in.

    >>> effect_of([("pay", {"b": 1, "a": 2}), ("cancel", {})])
    ['["cancel", {}]', '["pay", {"a": 2, "b": 1}]']
    """
    return sorted(json.dumps([name, dict(args)], sort_keys=True, ensure_ascii=False) for name, args in calls)


def _same(a: Any, b: Any) -> bool:
    """Whether two values are the same JSON: 1 and 1.0 are one number, 1 and true are not."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _after_opening(play: Play) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = play["messages"][play.get("opening", 0) :]
    return messages


FILTERS: dict[str, Callable[[Play, Told], bool]] = {
    "ending": lambda play, told: bool(play["graded"]),
    "validity": _valid,
    "state": lambda play, told: play["outcome"] >= SUCCESS,
    "calls": _calls_match,
    "format": lambda play, told: not play["parts"].get("malformed"),
    "unrefused": lambda play, told: not play["parts"].get("refused"),
}
DEFAULT = ("ending", "validity", "state", "calls")


def select(
    plays: Sequence[Play], filters: Sequence[str], keep: int, told: Told = unknown
) -> tuple[list[Play], dict[str, int]]:
    """The plays that pass, at most `keep` of a task, in order; and how many came to which end.

    A play counts under the first filter that drops it. What differs in nothing the agent said is kept once.
    """
    counts = Counter({name: 0 for name in ("kept", "failed", *filters, "repeated", "surplus")})
    kept: list[Play] = []
    by_task: Counter[str] = Counter()
    said: set[tuple[str, ...]] = set()
    for one in plays:
        words = (one["task"], *(m["content"] for m in one["messages"] if m["role"] == "assistant"))
        if one["error"] is not None:
            fate: str | None = "failed"
        else:
            fate = next((name for name in filters if not FILTERS[name](one, told)), None)
        if fate is None and words in said:
            fate = "repeated"
        elif fate is None and by_task[one["task"]] == keep:
            fate = "surplus"
        counts[fate or "kept"] += 1
        if fate is None:
            kept.append(one)
            said.add(words)
            by_task[one["task"]] += 1
    return kept, dict(counts)
