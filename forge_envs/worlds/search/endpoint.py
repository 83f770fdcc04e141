"""A search of the user's own behind an HTTP endpoint: searched and read as an index of pages is.

    POST URL/search {"query": "…", "limit": 5}   -> 200 {"hits": [{"address", "title", "snippet", "date"}, …]}
    POST URL/page   {"address": "…"}             -> 200 {"address", "title", "text", "date"}, or 404

Bodies are JSON in UTF-8; `snippet` and `date` may be missing. docs/search_corpus.md has the whole protocol.
Any other answer is a failed machine: it is asked for again until the deadline, then ends the episode without
a verdict, and is never shown to the agent as if it were right. Needs httpx2, which is imported when the first
request is sent (`pip install forge-envs[users]`).
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from forge_envs.errors import MachineError, brief
from forge_envs.people.attempts import Failed, backoff, refusal
from forge_envs.people.posting import JsonPost
from forge_envs.people.recording import Recording, key_of, recording
from forge_envs.worlds.search.page import Hit, WebPage

_MOST_USELESS = 3
"""Answers off the protocol until a request is given up; a server that does not answer is asked longer."""
_LONGEST = {"address": 2000, "title": 1000, "snippet": 10_000, "date": 40}
"""Characters of a field; a page's text is bounded by the spec's `largest`."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """Where a search is, and how it is asked.

    >>> EndpointSpec.parse("http://127.0.0.1:8080/v1#deadline=20&record=searches.jsonl").deadline
    20.0
    """

    url: str
    """Up to and without /search and /page."""
    deadline: float = 60.0
    """Seconds for one answer: waiting for a free place, attempts and the pauses between them."""
    attempt: float = 20.0
    """Seconds the endpoint may take for one attempt."""
    attempts: int = 5
    """Most requests for one answer."""
    limit: int = 16
    """Requests at once, from all environments of a process together."""
    largest: int = 4 << 20
    """Bytes of an answer."""
    key: str = ""
    """Name of the environment variable that holds the API key, which is sent as a bearer token."""
    record: str = ""
    """File in which answers are written down; a request it knows is answered from it."""
    replay: str = ""
    """File from which alone answers are taken; nothing is sent."""

    @classmethod
    def parse(cls, text: str) -> EndpointSpec:
        """Read `URL#key=value&…`. Raises ValueError with the value and the fix."""
        url, _, settings = text.partition("#")
        if not url.startswith(("http://", "https://")) or not url.split("://")[1].strip("/") or " " in url:
            raise ValueError(
                f"search={text!r}: write it as http://HOST:PORT/PATH, e.g. http://127.0.0.1:8080/v1"
            )
        kinds: dict[str, Callable[[str], Any]] = {one.name: type(one.default) for one in fields(cls)[1:]}
        found: dict[str, Any] = {}
        for name, value in parse_qsl(settings, keep_blank_values=True):
            if name not in kinds:
                raise ValueError(f"search={text!r}: no setting {name!r}; known are {', '.join(kinds)}")
            try:
                found[name] = kinds[name](value)
            except ValueError:
                raise ValueError(f"search={text!r}: {name}={value!r} is no number") from None
        return cls(url.rstrip("/"), **found)

    def __post_init__(self) -> None:
        for name in ("deadline", "attempt", "attempts", "limit", "largest"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)}: it must be more than 0")
        if self.record and self.replay:
            raise ValueError(f"record={self.record}, replay={self.replay}: choose one of them")


@functools.cache
def search_endpoint(text: str) -> SearchEndpoint:
    """The endpoint of a spec: one for all environments of this process, so that its limit holds for all."""
    return SearchEndpoint(EndpointSpec.parse(text), text)


class SearchEndpoint:
    """A PageLibrary behind HTTP. Threads may share it; it pickles as its spec.

    Raises ValueError when a recording cannot be used, or the API key or httpx2 is missing.
    """

    def __init__(self, spec: EndpointSpec, text: str) -> None:
        self.spec = spec
        self._text = text
        self._post = JsonPost(spec.url, key=spec.key, limit=spec.limit, text=text, sends=not spec.replay)
        self._book: Recording | None = None
        if spec.record or spec.replay:
            self._book = recording(spec.record or spec.replay, bool(spec.replay))

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return search_endpoint, (self._text,)

    def search(self, query: str, limit: int = 10) -> Sequence[Hit]:
        """The endpoint's hits, at most `limit`. Raises MachineError of stage "search"."""
        body = {"query": _sendable(query), "limit": limit}
        return self._asked("search", body, functools.partial(read_hits, limit=limit))

    def page(self, address: str) -> WebPage | None:
        """The endpoint's page, None where it says 404. Raises MachineError of stage "page"."""
        asked = _sendable(address)
        return self._asked("page", {"address": asked}, functools.partial(read_page, address=asked))

    def _asked(self, path: str, body: Mapping[str, Any], read: Callable[[str], T]) -> T:
        """The answer to a request, out of the recording where it is there."""
        # The address of a server is no part of what was asked: a recording serves whoever has it.
        key, heard = key_of({"path": path, **body}), f"/{path} {json.dumps(body, ensure_ascii=False)[:200]}"
        if self._book is not None and (known := self._book.find(key)) is not None:
            return self._known(known, path, read)
        if self.spec.replay:
            what = f"{self.spec.replay} holds no answer to {heard[:120]}"
            raise MachineError(what, kind="recording", stage=path, retryable=False)
        ends = time.monotonic() + self.spec.deadline
        with self._post.place(self.spec.deadline, path):
            answer = self._answer(path, body, key, ends, read)
        if self._book is None:
            return read(answer)
        return self._known(self._book.add(key, heard, answer), path, read)

    def _known(self, answer: str, path: str, read: Callable[[str], T]) -> T:
        """A recorded answer; a file that somebody edited may hold one of no use."""
        try:
            return read(answer)
        except ValueError as error:
            what = f"{self.spec.record or self.spec.replay} holds an answer of no use: {error}"
            raise MachineError(what, kind="recording", stage=path, retryable=False) from None

    def _answer(
        self, path: str, body: Mapping[str, Any], key: str, ends: float, read: Callable[[str], object]
    ) -> str:
        """Ask until there is an answer of the protocol, or no time or attempt is left."""
        useless = 0
        for attempt in range(1, self.spec.attempts + 1):
            left = max(ends - time.monotonic(), 0.001)
            try:
                answer = self._once(path, body, min(self.spec.attempt, left))
                read(answer)
                return answer
            except Failed as failed:
                failure = failed
            except ValueError as error:
                failure = Failed("rubbish", f"an answer off the protocol: {error}", useless=True)
            useless += failure.useless
            pause = max(failure.retry_after, backoff(attempt, key))
            if not failure.retryable or useless >= _MOST_USELESS or pause >= ends - time.monotonic():
                break
            if attempt < self.spec.attempts:
                time.sleep(pause)
        what = f"{self.spec.url}/{path}: {failure}, attempt {attempt}"
        raise MachineError(what, kind=failure.kind, stage=path, retryable=failure.retryable)

    def _once(self, path: str, body: Mapping[str, Any], timeout: float) -> str:
        """One attempt: the answer's JSON as text, "null" for a page that is not there. Raises Failed."""
        found = self._post.send(f"/{path}", body, timeout=timeout, largest=self.spec.largest, useless=True)
        if found.status == 404 and path == "page":
            return "null"
        if found.status != 200:
            raise refusal(found.status, found.headers, found.data, ())
        try:
            return found.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Failed("rubbish", f"an answer that is not UTF-8: {error}", useless=True) from None


def read_hits(answer: str, *, limit: int) -> tuple[Hit, ...]:
    """The hits of an answer to /search. Raises ValueError for one that is off the protocol.

    >>> read_hits('{"hits": [{"address": "a", "title": "A"}]}', limit=3)
    (Hit(address='a', title='A', snippet='', date=''),)
    """
    told = _json(answer)
    if not isinstance(told, dict) or not isinstance(told.get("hits"), list):
        raise ValueError(f'{{"hits": […]}} was asked for, not {brief(told)}')
    hits = []
    for one in told["hits"]:
        if not isinstance(one, dict):
            raise ValueError(f"a hit is an object, not {brief(one)}")
        given = {name: _field(one, name, "a hit") for name in ("address", "title")}
        hits.append(
            Hit(**given, snippet=_field(one, "snippet", "a hit", ""), date=_field(one, "date", "a hit", ""))
        )
    if len(hits) > limit:
        raise ValueError(f"{len(hits)} hits where at most {limit} were asked for")
    seen = [hit.address for hit in hits]
    if len(set(seen)) < len(seen):
        raise ValueError(f"the address {brief(max(seen, key=seen.count))} twice among the hits")
    return tuple(hits)


def read_page(answer: str, *, address: str) -> WebPage | None:
    """The page of an answer to /page, None for null. Raises ValueError for one that is off the protocol.

    A page whose address is not the one that was asked for is a lie, too.
    """
    told = _json(answer)
    if told is None:
        return None
    if not isinstance(told, dict):
        raise ValueError(f"a page is an object, not {brief(told)}")
    text = told.get("text")
    if not isinstance(text, str):
        raise ValueError(f'a page\'s "text" is a text, not {brief(text)}')
    found = _field(told, "address", "a page")
    if found != address:
        raise ValueError(f"page {brief(found)} where {brief(address)} was asked for")
    return WebPage(found, _field(told, "title", "a page"), _clean(text), _field(told, "date", "a page", ""))


def _field(told: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    value = told.get(name, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (default is None and not value.strip()) or len(value) > _LONGEST[name]:
        raise ValueError(f'{where} has a "{name}" of at most {_LONGEST[name]} characters, not {brief(value)}')
    return _clean(value)


def _json(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON ({error}): {brief(answer)}") from None


def _clean(text: str) -> str:
    """Halves of surrogate pairs, which JSON can hold and no file, are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


_sendable = _clean
