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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forge_envs.errors import brief
from forge_envs.people.asking import PostSpec, RecordedPost
from forge_envs.worlds.search.page import Hit, WebPage

_LONGEST = {"address": 2000, "title": 1000, "snippet": 10_000, "date": 40}
"""Characters of a field; a page's text is bounded by the spec's `largest`."""


@dataclass(frozen=True, slots=True)
class EndpointSpec(PostSpec):
    """Where a search is (`url`: up to and without /search and /page), and how it is asked.

    >>> EndpointSpec.parse("http://127.0.0.1:8080/v1#deadline=20&record=searches.jsonl").deadline
    20.0
    """

    @classmethod
    def parse(cls, text: str) -> EndpointSpec:
        """Read `URL#key=value&…`. Raises ValueError with the value and the fix."""
        url, _, settings = text.partition("#")
        if not url.startswith(("http://", "https://")) or not url.split("://")[1].strip("/") or " " in url:
            raise ValueError(
                f"search={text!r}: write it as http://HOST:PORT/PATH, e.g. http://127.0.0.1:8080/v1"
            )
        return cls.of(f"search={text}", settings, url=url.rstrip("/"))


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
        self._server = RecordedPost(spec, text)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return search_endpoint, (self._text,)

    def search(self, query: str, limit: int = 10) -> Sequence[Hit]:
        """The endpoint's hits, at most `limit`. Raises MachineError of stage "search"."""
        body = {"query": _sendable(query), "limit": limit}
        return self._server.ask("search", body, functools.partial(read_hits, limit=limit))

    def page(self, address: str) -> WebPage | None:
        """The endpoint's page, None where it says 404. Raises MachineError of stage "page"."""
        asked = _sendable(address)
        read = functools.partial(read_page, address=asked)
        return self._server.ask("page", {"address": asked}, read, absent=True)


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
