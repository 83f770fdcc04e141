"""What to do about a package that gives no tasks: only what can help with what was seen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

SYMPTOMS = (
    (
        "needs the network",
        r"gaierror|Name or service not known|failure in name resolution|Network is unreachable|"
        r"NameResolutionError|ConnectTimeout|Max retries exceeded|URLError|ConnectionError\b|refused",
    ),
    (
        "needs a display",
        r"no display name|cannot connect to X server|couldn't connect to display|DISPLAY environment|"
        r"could not connect to display|Qt platform plugin|No available video device|TclError",
    ),
    ("needs more memory or files than a box has", r"MemoryError|No space left|Too many open files"),
)
"""What tests need that no box has, by what they say when it is missing."""
MODULE = re.compile(r"No module named '?([\w.]+)'?")
OPTION = re.compile(
    r"unrecognized arguments: (.+)|unknown.*?(?:marker|option|hook)[^\n]*|fixture '(\w+)' not found"
)
INSTALLING = (
    (r"No matching distribution found for ([^\s\\]+)",
     "The index has no {0} for the image's Python 3.11: choose a release that does without it"),
    (r"Could not find a version that satisfies the requirement ([^\s\\]+)",
     "The index has no {0} for the image's Python 3.11: choose a release that does without it"),
    (r"requires a different Python: [\d.]+ not in '([^']+)'",
     "It wants Python {0}, and the image has 3.11: choose a release for that"),
    (r"(?:unable to execute|command) '?([\w./+-]*(?:gcc|cc|clang|g\+\+|cargo|rustc|cython))'?",
     "It is compiled by {0}, which the image does not have: tasks are made of pure Python packages"),
    (r"(Max retries exceeded|Read timed out|Temporary failure in name resolution|Connection broken)",
     "The index did not answer ({0}): try again, or set PIP_INDEX_URL for the daemon's builds"),
    (r"LookupError: (setuptools-scm was unable|[^\n]*version)",
     "Its version comes from git, which a task does not have: give its source distribution"),
)  # fmt: skip
"""What pip says, and what can be done about it."""


def lacking(messages: Iterable[str]) -> str:
    """What tests lack in a box, by what they say; empty if that is nothing known."""
    text = "\n".join(messages)
    return next((name for name, pattern in SYMPTOMS if re.search(pattern, text)), "")


def about_install(said: str) -> str:
    """What can be done about an installation that failed."""
    for pattern, advice in INSTALLING:
        if found := re.search(pattern, said):
            return advice.format(found[1])
    return (
        "Its own build fails, as told above: give a folder or source distribution that `pip install .` takes"
    )


def about_tests(run: Mapping[str, object], said: str, messages: Iterable[str], timeout: float) -> str:
    """What can be done about tests that do not pass before anything is changed."""
    text = "\n".join([said, *messages])
    if run.get("end") == "timeout":
        return f"They needed more than {timeout:g} s: allow more with --timeout"
    if run.get("end") == "crash":
        return "Python itself died while they ran: choose another release"
    if need := lacking([text]):
        return f"Its tests {need.replace('needs', 'need', 1)}, which no box has: choose another package"
    if module := MODULE.search(text):
        return f"They import {module[1]}, which is not installed: add what brings it with --needs"
    if option := OPTION.search(text):
        return f"A plugin of pytest is missing ({' '.join(option[0].split())[:80]}): add it with --needs"
    return "They fail in the image's Python 3.11 with what pip installs today: choose another release"
