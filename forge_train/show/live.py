"""What a person sees while something runs: a live table in a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from forge_train.show.fitting import table_of

ROWS = 16
"""Steps that stay visible in the table."""

_COLUMNS = (
    ("step", "step"),
    ("success", "success"),
    ("return", "return"),
    ("entropy", "entropy"),
    ("grad", "grad_norm"),
    ("|dlogp|", "logprob_gap"),
    ("turns", "turns"),
    ("tok/s", "tokens_per_second"),
    ("seconds", "total"),
    ("play", "play"),
    ("learn", "update"),
    ("weights", "weights"),
    ("other", "other"),
)
"""Heading and metric; |dlogp| is how far engine and learner are apart on what was sampled."""
_IMPORTANCE = [0, 1, 8, 2, 4, 6, 7, 9, 10, 3, 5, 11, 12]
"""Columns by index: in a narrow terminal the last ones go first."""
_SAY_EVERY = 30.0
"""Seconds between lines about a step under way, where there is no terminal."""


class Live:
    """Shows the steps of a run. Use as a context manager; give every step's metrics to `step`.

    `total` is the number of steps of the run and `done` how many lie behind when it is resumed.
    """

    def __init__(self, total: int, *, done: int = 0, title: str = "", console: Console | None = None):
        self._console = console or Console()
        self._rows: deque[list[str]] = deque(maxlen=ROWS)
        self._seconds: deque[float] = deque(maxlen=10)
        self._total, self._done, self._title = total, done, title
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[eta]}"),
            console=self._console,
        )
        self._task = self._bar.add_task("steps", total=total, completed=done, eta="")
        self._live = RichLive(console=self._console, auto_refresh=False, transient=False)
        self._doing = ""
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def step(self, metrics: Mapping[str, Any]) -> None:
        """One more step is done; unknown and missing metrics are fine."""
        seconds = dict(metrics.get("seconds") or {})
        self._done += 1
        self._seconds.append(float(seconds.get("total") or 0.0))
        rate = metrics.get("sampled_tokens", 0) / seconds["total"] if seconds.get("total") else None
        played = [seconds[key] for key in ("generate", "world", "wait") if key in seconds]
        values = {**metrics, **seconds, "play": sum(played) if played else None, "tokens_per_second": rate}
        values.setdefault("step", self._done - 1)
        cells = [_cell(values.get(key), key) for _, key in _COLUMNS]
        self._doing, self._began, self._told = "", time.monotonic(), time.monotonic()
        if self._console.is_terminal:
            self._rows.append(cells)
            self._bar.update(self._task, completed=self._done, eta=f"{self.eta} left")
            self._refresh()
        else:
            pairs = zip((name for name, _ in _COLUMNS), cells, strict=True)
            line = "  ".join(f"{name} {cell}" for name, cell in pairs if name != "step" and cell)
            self._console.out(
                f"step {cells[0]} ({self._done}/{self._total})  {line}  eta {self.eta}", highlight=False
            )

    def under_way(self, episodes: int, total: int, tokens: int, *, learning: bool) -> None:
        """How far the step is: episodes that have ended, and tokens sampled since it began."""
        now = time.monotonic()
        spent = max(now - self._began, 1e-3)
        doing = "learning" if learning else f"playing, {min(episodes, total)} of {total} episodes"
        rate = f", {tokens:,} tokens, {tokens / spent:,.0f} a second" if tokens and not learning else ""
        self._doing = f"step {self._done}: {doing}{rate}, {duration(spent)}"
        if self._console.is_terminal:
            self._refresh()
        elif now - self._told >= _SAY_EVERY:
            self._told = now
            self._console.out(self._doing, highlight=False)

    def note(self, text: str) -> None:
        """A line of its own, above the table."""
        self._console.out(text, highlight=False)

    @property
    def eta(self) -> str:
        """Time left at the pace of the last ten steps."""
        if not self._seconds:
            return ""
        return duration(sum(self._seconds) / len(self._seconds) * max(self._total - self._done, 0))

    def _refresh(self) -> None:
        headings = [name for name, _ in _COLUMNS]
        table = table_of(headings, list(self._rows), _IMPORTANCE, self._console, title=self._title or None)
        # Before the first step there are no rows, and a table of headings alone would only be noise.
        shown = [table] if self._rows else [Text(self._title)] if self._title else []
        doing = [Text(self._doing, style="dim", overflow="ellipsis", no_wrap=True)] if self._doing else []
        self._live.update(Group(*shown, *doing, self._bar), refresh=True)


class Progress:
    """Progress of one stretch of work, such as supervised training or an evaluation.

    In a terminal a bar; in a pipe a line at the start, about every tenth, and at the end.
    """

    def __init__(self, what: str, total: int, *, console: Console | None = None):
        self._console = console or Console(stderr=True)  # what is printed is the result alone
        self._what, self._total, self._done = what, total, 0
        self._began = time.monotonic()
        self._bar: RichProgress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[more]}"),
            )
            self._bar = RichProgress(*columns, console=self._console)
            self._task = self._bar.add_task(self._what, total=self._total, more="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, n: int = 1, **values: float) -> None:
        """`n` more are done; `values`, such as loss=0.3, are shown next to the bar."""
        before, self._done = self._done, self._done + n
        more = "  ".join(f"{name} {_cell(value, name)}" for name, value in values.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, more=more)
        elif self._done >= self._total or self._done * 10 // self._total > before * 10 // self._total:
            spent = duration(time.monotonic() - self._began)
            text = f"{self._what} {self._done}/{self._total}  {more}".rstrip()
            self._console.out(f"{text}  {spent}", highlight=False)


def duration(seconds: float) -> str:
    """Time as a person reads it.

    >>> duration(8.44), duration(75), duration(7384)
    ('8.4 s', '1:15', '2:03:04')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    hours, minutes = divmod(rounded // 60, 60)
    return f"{hours}:{minutes:02}:{rounded % 60:02}" if hours else f"{minutes}:{rounded % 60:02}"


def _cell(value: Any, key: str) -> str:
    """A number short enough for a table; nothing for what is missing."""
    if value is None:
        return ""
    if not isinstance(value, int | float) or key == "step":
        return str(value)
    if key == "tokens_per_second":
        return f"{value:,.0f}"
    if key in ("total", "play", "update", "weights", "other"):
        return f"{value:.1f}"
    if value and abs(value) < 0.001:
        return f"{value:.0e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
