"""Forge/Polyglot-v0 in containers: every language solves, fails, and does not let itself be fooled."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  (registers the world)
from forge_envs.errors import MachineError
from forge_envs.sandbox.docker import DockerProvider
from forge_envs.testing import check_world
from forge_envs.worlds.polyglot import toolchain
from forge_envs.worlds.polyglot.builtin import Builtin
from forge_envs.worlds.polyglot.judge import judge
from forge_envs.worlds.polyglot.languages import LANGUAGES

TIMEOUT = 180.0


@pytest.fixture(scope="module")
def language(request: pytest.FixtureRequest, docker: DockerProvider, image: Callable[[str], str]) -> str:
    """A language whose image is built."""
    image(f"polyglot-{request.param}")
    return str(request.param)


every_language = pytest.mark.parametrize("language", LANGUAGES, indirect=True)
TRIED = ("rust",)
"""Languages whose worlds are tried each time: a compiled one, and below Python with generated contests. What
a language brings of its own, its toolchain and its runner, is judged in every language; the world around it
is one class."""


@every_language
def test_solutions_pass_and_stubs_fail(language):
    for task_id in Builtin().ids(language):
        task = Builtin().find(task_id)
        expected = LANGUAGES[language].expected(task.tests)
        solved = judge(task, task.files(task.example), sandbox="docker", timeout=TIMEOUT)
        assert solved.passed and solved.share == 1.0, solved.output
        assert solved.results.passed == expected and not solved.results.failed
        stub = judge(task, task.files({}), sandbox="docker", timeout=TIMEOUT)
        assert not stub.passed and stub.share == 0.0 and stub.output, stub.output


@pytest.mark.parametrize(
    "language",
    [pytest.param(name, marks=[] if name in TRIED else pytest.mark.matrix) for name in LANGUAGES],
    indirect=True,
)
def test_a_world_of_one_language_keeps_its_promises(language):
    check_world("Forge/Polyglot-v0", tasks=1, language=language)


HALF = {
    "python": ('raise ValueError(f"a meter has 1 to 9 digits, not {digits}")', "pass"),
    "javascript": ("throw new Error(`a meter has 1 to 9 digits, not ${digits}`);", ""),
    "go": ('return 0, fmt.Errorf("a meter has 1 to 9 digits, not %d", digits)', ""),
    "rust": ("if !(1..=9).contains(&digits) {", "if digits > 12 {"),
    "java": ('throw new IllegalArgumentException("a meter has 1 to 9 digits, not " + digits);', ""),
    "cpp": ('throw std::invalid_argument("a meter has 1 to 9 digits");', ""),
}  # fmt: skip


@every_language
def test_the_share_of_a_solution_that_is_nearly_right(language):
    task = Builtin().find(f"forge/{language}/water-meter")
    old, new = HALF[language]
    files = {path: text.replace(old, new) for path, text in task.example.items()}
    assert files != task.example
    verdict = judge(task, task.files(files), sandbox="docker", timeout=TIMEOUT)
    assert not verdict.passed and 0.8 < verdict.share < 1.0, verdict.output
    assert "digits" in verdict.output.lower() and "/home/forge" not in verdict.output


CHEATS = {
    "python": {
        "leaves": "print('test session starts\\n11 passed in 0.01s')\nimport os\nos._exit(0)",
        "edits the tests": "import os\nos.chmod('water_meter_test.py', 0o644)\n"
        "open('water_meter_test.py', 'w').write('def test_upwards(): pass')\ndef consumption(*a): return 0",
        "fails for nothing": "import _pytest.python\n_pytest.python.Function.runtest = lambda self: None\n"
        "def consumption(*a): return 0",
    },
    "javascript": {
        "leaves": "console.log('Tests: 11 passed, 11 total');\nprocess.exit(0);",
        "fails for nothing": "global.expect = () => new Proxy(() => true, { get: () => () => true });\n"
        "export const consumption = () => 0;",
        "writes the report": "const fs = require('fs');\nprocess.on('exit', () => { fs.writeFileSync("
        "'.forge/report.json', '{\"testResults\": []}'); process.exitCode = 0; });\n"
        "module.exports = { consumption: () => 0 };",
    },
    "go": {
        "leaves": 'package watermeter\n\nimport (\n\t"fmt"\n\t"os"\n)\n\nfunc init() {\n'
        '\tfor _, t := range []string{"NoReadings", "Upwards"} {\n'
        '\t\tfmt.Printf("=== RUN   Test%s\\n--- PASS: Test%s (0.00s)\\n", t, t)\n\t}\n'
        '\tfmt.Println("PASS")\n\tos.Exit(0)\n}\n\n'
        "func Consumption(digits int, readings []int) (int, error) { return 0, nil }\n",
        "fails for nothing": 'package watermeter\n\nimport (\n\t"fmt"\n\t"os"\n\t"regexp"\n\t"testing"\n)\n\n'
        "func TestMain(m *testing.M) {\n"
        '\tsource, _ := os.ReadFile("water_meter_test.go")\n'
        '\tfor _, t := range regexp.MustCompile(`func (Test\\w+)`).FindAllSubmatch(source, -1) {\n'
        '\t\tfmt.Printf("\\x16=== RUN   %s\\n\\x16--- PASS: %s (0.00s)\\n", t[1], t[1])\n\t}\n'
        '\tfmt.Println("\\x16PASS")\n\tos.Exit(0)\n}\n\n'
        "func Consumption(digits int, readings []int) (int, error) { return 0, nil }\n",
    },
    "rust": {
        "leaves": "pub fn consumption(_: u32, _: &[i64]) -> Option<i64> {\n"
        '    println!("test upwards ... ok");\n    std::process::exit(0)\n}\n',
        "fails for nothing": "use std::io::Write;\n"
        "pub fn consumption(_: u32, _: &[i64]) -> Option<i64> {\n"
        '    let source = std::fs::read_to_string("tests/water-meter.rs").unwrap();\n'
        "    let mut said = String::new();\n"
        '    for part in source.split("fn ").skip(1) {\n'
        '        said += &format!("\\ntest {} ... ok\\n", part.split(\'(\').next().unwrap());\n    }\n'
        '    let mut out = std::fs::File::options().write(true).open("/dev/stdout").unwrap();\n'
        "    out.write_all(said.as_bytes()).unwrap();\n"
        "    std::process::exit(0)\n}\n",
    },
    "java": {
        "leaves": "import java.util.List;\n\nclass WaterMeter {\n"
        "    static long consumption(int digits, List<Integer> readings) {\n"
        '        System.out.println("11 tests successful");\n        Runtime.getRuntime().halt(0);\n'
        "        return 0;\n    }\n}\n",
    },
    "cpp": {
        "fails for nothing": '#pragma once\n#include <catch2/catch.hpp>\n#include <vector>\n#undef REQUIRE\n'
        "#define REQUIRE(...) ((void)0)\n#undef REQUIRE_THROWS_AS\n#define REQUIRE_THROWS_AS(...) ((void)0)\n"
        "namespace water_meter {\ninline long long consumption(int, const std::vector<long long>&) {\n"
        "    return 0;\n}\n}\n",
        "leaves": '#pragma once\n#include <cstdlib>\n#include <iostream>\n#include <vector>\n'
        "namespace water_meter {\ninline long long consumption(int, const std::vector<long long>&) {\n"
        '    std::cout << "All tests passed (11 assertions in 11 test cases)" << std::endl;\n'
        "    std::_Exit(0);\n}\n}\n",
    },
}  # fmt: skip


@every_language
def test_a_run_that_only_looks_passed_earns_nothing(language):
    task = Builtin().find(f"forge/{language}/water-meter")
    first = next(iter(task.stubs))
    for name, code in CHEATS[language].items():
        files = {**task.files({}), first: code}
        verdict = judge(task, files, sandbox="docker", timeout=TIMEOUT)
        assert not verdict.passed and verdict.share < 1.0, (name, verdict.output)


def test_contests_are_played_in_containers(docker, image):
    image("polyglot-python")
    check_world("Forge/Polyglot-v0", tasks=1, source="contests", level=1, tries=1)


def test_a_language_without_an_image_is_refused_with_the_command_that_builds_it(docker, monkeypatch):
    monkeypatch.setattr(type(LANGUAGES["go"]), "image", "forge/polyglot-none")
    toolchain.require.cache_clear()
    env = gym.make("Forge/Polyglot-v0", language="go")
    with pytest.raises(MachineError, match=r"Go cannot be played .*forge-envs images polyglot-go"):
        env.reset(seed=0)
    env.close()
