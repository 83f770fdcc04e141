"""Java: what `gradlew test` does, by javac and JUnit's console launcher."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from forge_envs.worlds.polyglot.exercise import Exercise, Puzzle
from forge_envs.worlds.polyglot.languages.base import REPORT, Changed, Control, Language, Results
from forge_envs.worlds.polyglot.languages.junit import read_junit
from forge_envs.worlds.polyglot.languages.retold import blanked, retold

_TEST = re.compile(
    r"@(?:[\w.]+\.)?Test\b(?:\s*@[\w.]+(?:\([^)]*\))?)*\s*(?:(?:public|final)\s+)*void\s+(\w+)\s*\("
)
_BLOCK = re.compile(
    r"^[ \t]*@(?:[\w.]+\.)?Test\b(?:\s*@[\w.]+(?:\([^)]*\))?)*\s*"
    r"(?:(?:public|final)\s+)*void\s+(?P<name>\w+)\s*\(",
    re.MULTILINE,
)
_CLAIMS = re.compile(
    r"\.(?:isEqualTo|isCloseTo|hasSize|containsExactly(?:InAnyOrder)?|containsOnly|hasToString|contains)\("
    r"|\bassert(?:Array)?Equals\("
)
_TURNS = (
    (r"\.isTrue\(\)", ".isFalse()"),
    (r"\.isFalse\(\)", ".isTrue()"),
    (r"\.isEqualTo\(", ".isNotEqualTo("),
    (r"\.containsExactly\(", ".doesNotContain("),
    (r"\.isEmpty\(\)", ".isNotEmpty()"),
    (r"\bassertTrue\(", "assertFalse("),
    (r"\bassertFalse\(", "assertTrue("),
)
_DISABLED = re.compile(r"^[ \t]*@Disabled\([^\n]*\)[ \t]*\n", re.MULTILINE)
_STILL = re.compile(r"@Disabled\b(?:\([^)]*\))?\s*@Test\b|@Test\s*@Disabled\b")
_HELPER = re.compile(r"[A-Z]\w*\.java")
JARS = "/usr/share/java"


class Java(Language):
    """javac, then JUnit 5; gradle itself would have to come from a registry."""

    name, title, fence = "java", "Java", "java"
    tools = ("javac", "java")
    probe = (
        "javac -version 2>&1 | cut -d' ' -f2 && "
        f"ls {JARS}/junit-platform-console.jar {JARS}/assertj-core.jar >/dev/null"
    )
    least = (17,)
    install = "apt-get install openjdk-17-jdk-headless junit5 libassertj-core-java libandroid-json-org-java"
    report = f"{REPORT}/report/TEST-junit-jupiter.xml"
    begins = r"@(?:[\w.]+\.)?Test\b"
    addable = " You may add classes in files of their own beside these."
    noise = (r"^Test run finished after .*\n?", r"^\s*$\n", r"^Thanks for using JUnit!.*\n?")

    def expected(self, tests: Mapping[str, str]) -> Counter[str]:
        """Methods marked `@Test`; the few that stay disabled are not among them."""
        ready = self.unskipped(tests).values()
        return Counter(name for text in ready for name in _TEST.findall(_STILL.sub("", text)))

    def unskipped(self, tests: Mapping[str, str]) -> dict[str, str]:
        """`@Disabled` goes."""
        return {path: _DISABLED.sub("", text) for path, text in tests.items()}

    def plant(self, text: str, control: Control) -> str:
        """A method at the end of the class."""
        body, brace, rest = text.rpartition("}")
        jupiter = "org.junit.jupiter.api"
        method = (
            f"    @{jupiter}.Test\n"
            f"    public void {control.name}() {{\n        {jupiter}.Assertions.assertEquals(1, 2);\n    }}\n"
        )
        return f"{body}\n{method}{brace}{rest}"

    def named(self, words: Sequence[str]) -> str:
        """A method's name."""
        return words[0] + "".join(word.capitalize() for word in words[1:])

    def retell(self, text: str, control: Control) -> Changed | None:
        """A method."""
        return retold(text, blanked(text), _BLOCK, _CLAIMS, _TURNS, control)

    def command(self, name: str, tests: Mapping[str, str]) -> str:
        """Compile everything, then launch the tests."""
        return f"{_COMPILE} && {_LAUNCH}"

    def results(self, report: str, output: str) -> Results:
        """From JUnit's XML."""
        return read_junit(report)

    def foreign(self, puzzle: Puzzle, files: Mapping[str, str]) -> str:
        """A class of a package that no given file is of would stand before a library's own."""
        own = {package for text in puzzle.stubs.values() for package in _packages(text)} | {""}
        for path, text in files.items():
            for package in _packages(text):
                if package not in own:
                    return f"{path} is of the package {package}: keep to the package of the given files."
        return ""

    def may_add(self, path: str, puzzle: Puzzle) -> bool:
        """A helper class in a file of its own, beside the given ones."""
        place = PurePosixPath(path)
        beside = any(PurePosixPath(stub).parent == place.parent for stub in puzzle.stubs)
        test = place.stem.endswith(("Test", "Tests"))
        given = isinstance(puzzle, Exercise) and path in puzzle.support
        return beside and bool(_HELPER.fullmatch(place.name)) and not test and not given


def _packages(text: str) -> list[str]:
    """The packages that a file says it is of; javac reads escapes of letters anywhere, so do we."""
    plain = re.sub(r"\\u+([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    words = re.findall(r"\bpackage\s+([\w.\s]+?)\s*;", blanked(plain))
    return ["".join(word.split()) for word in words]


_PATHS = (
    f"jars=$(cd {JARS} && ls -d $PWD/junit-*.jar $PWD/opentest4j*.jar $PWD/apiguardian-api*.jar "
    "$PWD/assertj-core*.jar $PWD/byte-buddy*.jar $PWD/picocli*.jar $PWD/univocity-parsers*.jar "
    "$PWD/json-latest.jar 2>/dev/null | paste -sd:)"
)
_COMPILE = (
    f"{_PATHS}; mkdir -p {REPORT}/classes && "
    f'javac -encoding UTF-8 -nowarn -proc:none -d {REPORT}/classes -cp "$jars" $(find src -name "*.java")'
)
_LAUNCH = (
    f'java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "{REPORT}/classes:$jars" '
    "org.junit.platform.console.ConsoleLauncher --disable-banner --disable-ansi-colors --details=tree "
    f"--scan-classpath {REPORT}/classes --reports-dir {REPORT}/report"
)
