"""JavaScript: `npm test`, that is jest."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from forge_envs.worlds.polyglot.languages.base import NOTHING, REPORT, Changed, Control, Language, Results
from forge_envs.worlds.polyglot.languages.retold import blanked_script, retold

MODULES = "/opt/exercises/node_modules"
_TEST = re.compile(
    r"""\b(?:test|it|xtest|xit)\(\s*(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`([^`$]*)`)"""
)
_BLOCK = re.compile(
    r"""^[ \t]*(?:test|it)\(\s*(?P<quote>['"`])(?P<name>[^'"`\n]+)(?P=quote)\s*,""", re.MULTILINE
)
_CLAIMS = re.compile(r"\.(?:toBe|toEqual|toStrictEqual|toBeCloseTo|toHaveLength|toContain|toMatchObject)\(")
_TURNS = ((r"\)\.(to[A-Z]\w*\()", r").not.\1"), (r"\.not\.(to[A-Z])", r".\1"))
_SKIPPED = re.compile(r"\b(?:xtest|xit|test\.skip|it\.skip)(?=\()")


class JavaScript(Language):
    """jest, with the packages of the image, or those that `NODE_PATH`'s npm prefix has on the host."""

    name, title, fence = "javascript", "JavaScript", "javascript"
    tools = ("node",)
    probe = f"node --version && test -x {MODULES}/.bin/jest"
    least = (18,)
    install = (
        "install node 18 or newer, then: mkdir -p /opt/exercises && cd /opt/exercises && npm install "
        "jest@29.7.0 babel-jest@29.7.0 @babel/core@7.25.2 @exercism/babel-preset-javascript@0.2.1 "
        "core-js@3.37.1"
    )
    report = f"{REPORT}/report.json"
    begins = r"(?:test|it)\b"
    noise = (r"^Time: .*\n?", r" \([\d.]+ m?s\)")

    def expected(self, tests: Mapping[str, str]) -> Counter[str]:
        """Titles of tests; those that are put together at run time are not among them."""
        found: Counter[str] = Counter()
        for text in tests.values():
            for match in _TEST.finditer(_without_comments(text)):
                title = next(group for group in match.groups() if group is not None)
                found[re.sub(r"\\(.)", r"\1", title)] += 1
        return found

    def unskipped(self, tests: Mapping[str, str]) -> dict[str, str]:
        """`xtest` becomes `test`."""
        return {path: _SKIPPED.sub("test", text) for path, text in tests.items()}

    def plant(self, text: str, control: Control) -> str:
        """A test at the end, outside all groups."""
        return f"{text}\n\ntest('{control.name}', () => {{\n  expect(1).toEqual(2);\n}});\n"

    def named(self, words: Sequence[str]) -> str:
        """A sentence."""
        return " ".join(words)

    def retell(self, text: str, control: Control) -> Changed | None:
        """A call of `test`."""
        return retold(text, blanked_script(text), _BLOCK, _CLAIMS, _TURNS, control)

    def command(self, name: str, tests: Mapping[str, str]) -> str:
        """What `npm test` runs."""
        return (
            f"ln -sfn {MODULES} node_modules && node node_modules/jest/bin/jest.js ./* --ci "
            f"--json --outputFile={REPORT}/report.json >{REPORT}/stdout"
        )

    def results(self, report: str, output: str) -> Results:
        """From jest's JSON."""
        try:
            suites = json.loads(report)["testResults"]
            tests = [test for suite in suites for test in suite["assertionResults"]]
            ran = [(str(t["title"]), t["status"] == "passed") for t in tests if t["status"] != "pending"]
        except (ValueError, KeyError, TypeError):
            return NOTHING
        return Results.of(ran)


def _without_comments(text: str) -> str:
    return re.sub(r"^[ \t]*(?://[^\n]*$|/\*.*?\*/)", "", text, flags=re.MULTILINE | re.DOTALL)
