"""Requests to a chat endpoint: what can be left out, which may do later, and how long until then."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from forge_train.engines.vllm_http import ServerError

OPTIONAL = ("temperature", "top_p", "seed", "max_completion_tokens", "max_tokens")
"""Parameters that a request can do without. `max_tokens` is the old name, for those who reject the new."""
NEEDED = ("model", "messages", "tools", "role", "content", "tool_calls", "tool_call_id")
"""What makes a conversation, and cannot be left out."""

_AGAIN = (408, 409, 425, 429)
_UNKNOWN = re.compile(
    r"unsupported|not supported|does not support|unrecogni[sz]ed|unknown|unexpected|forbidden|not permitted",
    re.IGNORECASE,
)
_OF_RANGE = re.compile(
    r"between|range|greater than|less than|at (?:most|least)|exceed|too (?:large|high|small|low|big|long)"
    r"|(?:max|min)imum|[<>]=|[≤≥]",
    re.IGNORECASE,
)


def without(body: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A request without some parameters, and its messages without fields of these names.

    The limit on tokens then goes by its old name, unless that is left out, too.

    >>> without({"messages": [{"role": "user", "x": 1}], "max_completion_tokens": 9}, ["x"])
    {'messages': [{'role': 'user'}], 'max_completion_tokens': 9}
    >>> without({"messages": [], "max_completion_tokens": 9}, ["max_completion_tokens"])
    {'messages': [], 'max_tokens': 9}
    """
    kept = {name: value for name, value in body.items() if name not in names}
    if "max_completion_tokens" in names and "max_tokens" not in names:
        kept["max_tokens"] = body["max_completion_tokens"]
    if names:
        kept["messages"] = [{k: v for k, v in one.items() if k not in names} for one in body["messages"]]
    return kept


def hopeless(error: ServerError) -> bool:
    """Whether the same request would fail for ever."""
    if error.status == 429 and "insufficient_quota" in error.told:
        return True  # OpenAI: the account is empty, which no pause mends
    status = error.status
    return error.lasting or (status is not None and 400 <= status < 500 and status not in _AGAIN)


def backoff(failures: int, key: str) -> float:
    """Seconds before the next attempt after so many failures: doubled each time, 10 at most.

    Spread by a hash of `key`, so that those who failed together do not return together.

    >>> 0.12 <= backoff(1, "a") <= 0.25 and 5 <= backoff(99, "a") <= 10 and backoff(3, "a") != backoff(3, "b")
    True
    """
    longest = min(0.25 * 2.0 ** min(failures - 1, 10), 10.0)
    return longest * (0.5 + random.Random(f"{key} {failures}").random() / 2)


def rejected(told: str, sent: Collection[str]) -> str:
    """The parameter that a refusal says the model does not take; "" if it names none that can be left out.

    A complaint about a value's range is none: the parameter is taken, and what was asked for is wrong.

    >>> rejected("Unsupported parameter: 'max_tokens', use 'max_completion_tokens'", ["max_tokens", "seed"])
    'max_tokens'
    >>> rejected("temperature must be between 0 and 2", ["temperature"])
    ''
    """
    if _OF_RANGE.search(told) and not _UNKNOWN.search(told):
        return ""
    for text in _complaints(told):
        named = [
            (found.start(), name)
            for name in OPTIONAL
            if name in sent and (found := re.search(rf"(?<![\w-]){name}(?![\w-])", text))
        ]
        if named:
            return min(named)[1]
    return ""


def _complaints(told: str) -> Iterator[str]:
    """What a refusal says, the most exact first: a field for the name, a message, all of it."""
    try:
        body = json.loads(told)
    except (ValueError, RecursionError):
        yield told
        return
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        if isinstance(error.get("param"), str):
            yield error["param"]
        detail = error.get("detail")
        for one in detail if isinstance(detail, list) else ():  # pydantic's own form, which echoes the input
            if isinstance(one, dict) and isinstance(one.get("loc"), list):
                yield " ".join(map(str, one["loc"]))
        if isinstance(error.get("message"), str):
            yield error["message"]
            return
    yield told
