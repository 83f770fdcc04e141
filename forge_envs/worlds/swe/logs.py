"""Whether the log of an evaluation can be what pytest itself printed.

The official rule reads any line that looks like a result. These checks look at the log as a whole: its
markers stand there once, the summary is the last thing the tests print, and it does not contradict what
was printed while they ran. What a program fakes from the first letter to the exit status passes them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from forge_envs.worlds.swe.task import END, START

EXIT = ">>>>> Test Exit Code"

_EXITS = re.compile(rf"{re.escape(EXIT)}: (-?\d+)")
_SUMMARY = re.compile(r"^=+ short test summary info =+$", re.MULTILINE)
_LAST = re.compile(r"^(?:=+ )?(?:\d+ \w|no tests).* in [\d.]+ ?s(?:econds)?\b.*$", re.MULTILINE)
"""With or without bars: `= 1 failed, 2 passed in 0.12s =`, `2 passed in 0.30 seconds`."""
_BANNER = re.compile(r"^=+ .+ =+$", re.MULTILINE)
_LETTERS = re.compile(r"^\S+\.py (?:<- \S+ )?[.sxXFE]*[FE][.sxXFE]*(?: +\[ *\d+%\])?$", re.MULTILINE)
_STATUS = re.compile(r"^(?:PASSED|FAILED|ERROR|SKIPPED|XFAIL) .*::", re.MULTILINE)
_FAILED = re.compile(r"^(FAILED|ERROR)\b", re.MULTILINE)


@contextmanager
def as_file(log: str) -> Iterator[str]:
    """The path of a log, for who reads only files; it has no name on disk, so nothing can leave it behind."""
    with tempfile.TemporaryFile("w", encoding="utf-8", newline="") as file:
        file.write(log)
        file.seek(0)
        yield f"/dev/fd/{file.fileno()}"


def contradiction(log: str) -> str | None:
    """Why a log is not believed, or None."""
    for marker in (START, END):
        if log.count(marker) > 1:
            return f"the log has {marker!r} {log.count(marker)} times"
    codes = _EXITS.findall(log)  # the shell's trace of the line that prints it, and what that prints
    if len(codes) > 2 or len(set(codes)) > 1:
        return f"the log has {EXIT!r} {len(codes)} times"
    return _pytest_contradiction(log.partition(START)[2].partition(END)[0], "0" in codes)


def _pytest_contradiction(inside: str, went_well: bool) -> str | None:
    """The same for what pytest printed. Sessions that tests print come before it."""
    summaries = list(_SUMMARY.finditer(inside))
    if not summaries:
        return None
    begin = summaries[-1].end()
    end = _LAST.search(inside, begin)
    if end is None:
        return "the log's summary has no end"
    if _STATUS.search(inside, end.end()):
        return "the log goes on with results after its summary"
    failed = _FAILED.search(inside, begin, end.start()) is not None
    if failed and went_well:
        return "the log's summary has failures, and the tests ended with status 0"
    banners = [
        banner.start() for banner in _BANNER.finditer(inside) if "test session starts" not in banner[0]
    ]
    if not failed and _LETTERS.search(inside, 0, banners[0]):
        return "tests failed while they ran, and the log's summary has no failure"
    return None
