"""What one attempt at a chat endpoint came to, when to try again, and what to leave out then."""

from __future__ import annotations

import json
import math
import random
import re
import socket
import ssl
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

OPTIONAL = ("temperature", "seed", "max_completion_tokens", "max_tokens", "response_format")
"""Parameters that a request can do without. `max_tokens` is the old name, for those who reject the new."""

_AGAIN = (408, 409, 425, 429)
_NO_SUCH_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME), socket.EAI_FAIL)
_UNKNOWN = re.compile(
    r"unsupported|not supported|does not support|unrecogni[sz]ed|unknown|unexpected|forbidden|not permitted",
    re.IGNORECASE,
)
_OF_RANGE = re.compile(
    r"between|range|greater than|less than|at (?:most|least)|exceed|too (?:large|high|small|low|big|long)"
    r"|(?:max|min)imum|[<>]=|[≤≥]",
    re.IGNORECASE,
)


class Failed(Exception):
    """One attempt failed; `kind` as in MachineError.

    `useless` says that there was an answer, and that the model's own words are what is wrong with it: the
    same seed would give them again. `rejected` names a parameter that the model does not take.
    """

    def __init__(
        self,
        kind: str,
        what: str,
        *,
        retryable: bool = True,
        retry_after: float = 0.0,
        useless: bool = False,
        rejected: str = "",
    ) -> None:
        super().__init__(what)
        self.kind = kind
        self.retryable = retryable
        self.retry_after = retry_after
        self.useless = useless
        self.rejected = rejected


def refusal(status: int, headers: Mapping[str, str], data: bytes, sent: Collection[str]) -> Failed:
    """A failure from an HTTP status; a request that is itself at fault is not sent again as it is."""
    again = status >= 500 or status in _AGAIN
    told = data[:2000].decode("utf-8", "replace")
    if status == 429 and "insufficient_quota" in told:
        again = False  # OpenAI: the account is empty, which no pause mends
    return Failed(
        "refused",
        f"status {status}: {told[:200]!r}",
        retryable=again,
        retry_after=retry_after(headers),
        rejected=rejected(told, sent) if status in (400, 422) else "",
    )


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that an answer asks to be left alone; 0 when it names no time.

    >>> retry_after({"retry-after": "1.5"}), retry_after({"retry-after-ms": "250"}), retry_after({})
    (1.5, 0.25, 0.0)
    """
    text = headers.get("retry-after", "").strip()
    for value, unit in ((headers.get("retry-after-ms", ""), 0.001), (text, 1.0)):
        try:
            wait = float(value) * unit
        except ValueError:
            continue
        return wait if 0 < wait < math.inf else 0.0
    until = _date(text)
    if until is None:
        return 0.0
    now = _date(headers.get("date", ""))  # by the clock that wrote the other date
    return max(0.0, until - (time.time() if now is None else now))


def _date(text: str) -> float | None:
    """An HTTP date in seconds since 1970."""
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def backoff(failures: int, key: str) -> float:
    """Seconds before the next attempt after so many failures: doubled each time, 10 at most.

    Spread by a hash of the request, so that those who failed together do not return together, and
    the same request waits the same.

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
    for text in _complaints(told):
        named = [
            (found.start(), name)
            for name in OPTIONAL
            if name in sent and (found := re.search(rf"(?<![\w-]){name}(?![\w-])", text))
        ]
        if named and (_UNKNOWN.search(told) or not _OF_RANGE.search(told)):
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


def trimmed(request: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    """A request without some of its parameters; the limit on tokens then goes by its old name.

    >>> trimmed({"seed": 1, "max_completion_tokens": 9}, ["seed", "max_completion_tokens"])
    {'max_tokens': 9}
    """
    kept = {name: value for name, value in request.items() if name not in without}
    if "max_completion_tokens" in without and "max_tokens" not in without:
        kept["max_tokens"] = request["max_completion_tokens"]
    return kept


def unreachable(error: Exception) -> Failed:
    """A failure from an error of the network, told by name; some of them no later attempt can mend."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            lasting = cause.errno in _NO_SUCH_HOST
            what = "no such host (DNS)" if lasting else "the host's name was not resolved (DNS)"
            return _named(error, what, cause, retryable=not lasting)
        if isinstance(cause, ssl.SSLError):
            lasting = isinstance(cause, ssl.SSLCertVerificationError)
            what = "its certificate is not trusted (TLS)" if lasting else "no TLS connection"
            return _named(error, what, cause, retryable=not lasting)
        if isinstance(cause, ConnectionRefusedError):
            return _named(error, "connection refused", cause)
    name = type(error).__name__
    if name in ("RemoteProtocolError", "ReadError", "DecodingError", "CloseError"):
        return _named(error, "the answer broke off", error)
    if name in ("LocalProtocolError", "UnsupportedProtocol", "InvalidURL", "TooManyRedirects"):
        return _named(error, "a request that cannot be sent", error, retryable=False)
    return _named(error, "no connection", error)


def _named(error: Exception, what: str, cause: BaseException, *, retryable: bool = True) -> Failed:
    return Failed("refused", f"{what}, {type(error).__name__}: {cause}", retryable=retryable)


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    for _ in range(20):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__
