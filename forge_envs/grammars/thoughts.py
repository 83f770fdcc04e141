"""Where a thought ends and the action begins.

A thought stands before the prose and the calls. All that stands before the last `</think>` outside a value
is thought, and so is the rest after a `<think>` that is never closed. So nothing of a thought is spoken or
run, whether it was opened in the action or in the prompt, and whatever tags or calls it quotes; the price is
that prose which quotes a bare `</think>` loses what stands before. A thought that is opened after a call, and
closed, is taken out alone, for some models think between calls. A tag inside a value ends nothing: not in
a call that reads well from its opening tag to its end, nor in a fenced block, as code in an answer is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from itertools import islice

Span = tuple[int, int]

_MOST_FENCES = 1000  # no answer has as many
_FENCE = re.compile(r"^```", re.MULTILINE)


def without_thoughts(
    text: str,
    first: int,
    spans: Callable[[], list[Span]],
    opening: str = "<think>",
    closing: str = "</think>",
) -> str:
    """What is left of an action.

    `first` is where its first call may begin (-1: nowhere), and `spans` tells where calls stand that read
    well, in order; it is asked only if tags stand among them.

    >>> without_thoughts("I could say </think>, but no.</think>Hello", -1, list)
    'Hello'
    """
    end = text.rfind(closing)
    start = end + len(closing) if end >= 0 else 0
    plain = (first < 0 or end < first) and text.find("```", 0, start) < 0
    if plain and text.find(opening, start) < 0:
        return text[start:]
    calls = spans() if first >= 0 else []
    values = sorted([*calls, *_fenced(text, calls)])
    end = _last(text, closing, values)
    if end < 0 and text.lstrip().startswith(opening):
        end = _last(text, closing, calls)  # a thought that was opened here has its end, fence or no fence
    start = end + len(closing) if end >= 0 else 0
    stop = _first(text, opening, start, values)
    parts = [text[start:] if stop < 0 else text[start:stop]]
    for _ in calls:
        before = _last(text, closing, values, max(end, 0))
        start = before + len(closing) if before >= 0 else 0
        stop = _first(text, opening, start, values)
        if not (start <= stop < end and _holds(calls, start, stop)):
            break  # all that stands before `end` is thought
        parts.append(text[start:stop])
        end = before
    return "".join(reversed(parts))


def _fenced(text: str, calls: list[Span]) -> list[Span]:
    """Spans of fenced blocks outside calls; none if they do not pair up, as when a thought ends in one."""
    found = [fence.start() for fence in islice(_FENCE.finditer(text), _MOST_FENCES + 1)]
    fences = [at for at in found if not _inside(at, calls)] if calls else found
    if len(found) > _MOST_FENCES or len(fences) % 2:
        return []
    return list(zip(fences[::2], fences[1::2], strict=True))


def _last(text: str, tag: str, spans: list[Span], end: int | None = None) -> int:
    at = text.rfind(tag, 0, end)
    while at >= 0 and _inside(at, spans):
        at = text.rfind(tag, 0, at)
    return at


def _first(text: str, tag: str, start: int, spans: list[Span]) -> int:
    at = text.find(tag, start)
    while at >= 0 and _inside(at, spans):
        at = text.find(tag, at + 1)
    return at


def _holds(calls: list[Span], start: int, stop: int) -> bool:
    """Whether a call stands between."""
    n = bisect_right(calls, (stop, 0)) - 1
    return n >= 0 and calls[n][0] >= start


def _inside(at: int, spans: list[Span]) -> bool:
    n = bisect_right(spans, (at, len(spans) and spans[-1][1] + 1)) - 1
    return n >= 0 and spans[n][0] <= at < spans[n][1]
