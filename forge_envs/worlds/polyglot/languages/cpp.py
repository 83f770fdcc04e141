"""C++: cmake and make, whose last step runs the tests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from forge_envs.worlds.polyglot.languages.base import REPORT, Changed, Control, Language, Results
from forge_envs.worlds.polyglot.languages.junit import read_catch
from forge_envs.worlds.polyglot.languages.retold import blanked, retold

_CASE = re.compile(r"\bTEST_CASE\(\s*((?:\"(?:[^\"\\\n]|\\.)*\"\s*)+)")
_BLOCK = re.compile(r'^[ \t]*TEST_CASE\(\s*"(?P<name>[^"\\\n]+)"', re.MULTILINE)
_CLAIMS = re.compile(r"\b(?:REQUIRE|CHECK)\(")
_TURNS = (
    (r"\b(REQUIRE|CHECK)\(", r"\1_FALSE("),
    (r"\b(REQUIRE|CHECK)_FALSE\(", r"\1("),
)
_BENCHMARK = re.compile(r"^#if defined\(EXERCISM_INCLUDE_BENCHMARK\).*?^#endif", re.MULTILINE | re.DOTALL)
_LITERAL = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"")


class Cpp(Language):
    """The exercise's own CMakeLists.txt; Catch is the image's, parsed and compiled beforehand."""

    name, title, fence = "cpp", "C++", "cpp"
    tools = ("g++", "cmake", "make")
    probe = "g++ -dumpfullversion && cmake --version | head -1 && make --version | head -1"
    least = (9,)
    install = "apt-get install g++ make cmake catch2 libboost-date-time-dev"
    report = f"{REPORT}/report.xml"
    begins = r"TEST_CASE\b"
    noise = (r"^-- .*\n?", r"^\[ *\d+%\] .*\n?", r"^gmake\[\d\].*\n?")

    def expected(self, tests: Mapping[str, str]) -> Counter[str]:
        """`TEST_CASE`s by name, benchmarks left out, which nobody asks for."""
        found: Counter[str] = Counter()
        for text in tests.values():
            for match in _CASE.finditer(_BENCHMARK.sub("", text)):
                found[re.sub(r"\\(.)", r"\1", "".join(_LITERAL.findall(match[1])))] += 1
        return found

    def plant(self, text: str, control: Control) -> str:
        """A test case at the end."""
        return f'{text}\n\nTEST_CASE("{control.name}") {{\n    REQUIRE(1 == 2);\n}}\n'

    def named(self, words: Sequence[str]) -> str:
        """A sentence."""
        return " ".join(words)

    def retell(self, text: str, control: Control) -> Changed | None:
        """A test case."""
        return retold(text, blanked(text), _BLOCK, _CLAIMS, _TURNS, control)

    def command(self, name: str, tests: Mapping[str, str]) -> str:
        """Configure and make, which runs the tests; then once more for the report."""
        make = 'cmake -DEXERCISM_RUN_ALL_TESTS=1 "${catch[@]}" -G "Unix Makefiles" . && make -j2'
        report = f"[ -x ./{name} ] && ./{name} -r xml -o {REPORT}/report.xml"
        return f"{_CATCH}; {make}; code=$?; {report}; exit $code"

    def results(self, report: str, output: str) -> Results:
        """From Catch's XML."""
        return read_catch(report)


_CATCH = "catch=(); [ -d /opt/catch ] && catch=(-DEXERCISM_TEST_SUITE=1 -DCatch2_DIR=/opt/catch)"
