"""What a search finds and a visit reads: pages, hits and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WebPage:
    """One page of a web or of a user's corpus. Links stand in the text as `[words](address)`."""

    address: str
    """Unique; what `visit` is given, e.g. "people/ana-duarte" or a file's path."""
    title: str
    text: str
    date: str = ""
    """The day it was written, as 2031-05-07; "" where it is not known."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One line of a search's result."""

    address: str
    title: str
    snippet: str
    date: str = ""


class PageLibrary(Protocol):
    """Where pages are searched and read: an index here, or an endpoint of the user's."""

    def search(self, query: str, limit: int) -> Sequence[Hit]:
        """The best hits, best first; none is an empty list. Raises MachineError where a machine failed."""
        ...

    def page(self, address: str) -> WebPage | None:
        """The page of an address, None where there is none."""
        ...
