"""What takes minutes tells how far it is: a moving line where rich and a terminal are, else plain lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Progress(Protocol):
    """Hears how far something is."""

    def step(self, text: str) -> None:
        """Something worth a line of its own."""
        ...

    def detail(self, text: str) -> None:
        """Something that the next one replaces."""
        ...


class Lines:
    """Steps as plain lines on standard error; details are not shown."""

    def step(self, text: str) -> None:
        """See `Progress.step`."""
        print(text, file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        """See `Progress.detail`."""


class Moving:
    """Steps as lines, the newest detail in a moving line below them."""

    def __init__(self, console: Any, status: Any) -> None:
        self._console, self._status = console, status

    def step(self, text: str) -> None:
        """See `Progress.step`."""
        self._console.print(text, markup=False, highlight=False)

    def detail(self, text: str) -> None:
        """See `Progress.detail`."""
        from rich.markup import escape

        self._status.update(escape(text[: max(20, self._console.width - 6)]))


@contextmanager
def progress(given: Progress | None = None) -> Iterator[Progress]:
    """What was given, else the best that standard error can show."""
    if given is not None:
        yield given
        return
    if sys.stderr.isatty():
        try:
            from rich.console import Console
        except ImportError:
            pass
        else:
            console = Console(stderr=True)
            with console.status("") as status:
                yield Moving(console, status)
            return
    yield Lines()
