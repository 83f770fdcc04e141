"""What each language finds in test files, plants in them, and reads of a run."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.worlds.polyglot.builtin import Builtin
from forge_envs.worlds.polyglot.languages import LANGUAGES, Control

CONTROL = Control("t0123456789ab", plain=True)

EXPECTED = {
    "python": (
        {"a_test.py": "def test_a(): ...\nclass T:\n  async def test_b(self): ...\n  def helper(self): ...\n",
         "test_utils.py": "def test_no(): ..."},
        {"test_a": 1, "test_b": 1},
    ),
    "javascript": (
        {"a.spec.js": "describe('x', () => {\n test('it\\'s', f);\n xtest(\"two\", f);\n xit(`three`, f);\n"
         " test(\n   'four', f);\n // test('no', f)\n /* test('no', f) */\n const glob = 'a/*';\n"
         " test('two', f)\n"
         " test(`${made} up`, f)\n});"},
        {"it's": 1, "two": 2, "three": 1, "four": 1},
    ),
    "go": (
        {"a_test.go": "func TestA(t *testing.T) {\n}\nfunc TestB(t *testing.T) { t.Run(`x`, f) }\n"
         "func BenchmarkA(b *testing.B) {}\nfunc helper() {}"},
        {"TestA": 1, "TestB": 1},
    ),
    "rust": (
        {"tests/a.rs": "#[test]\nfn a() {}\n#[test]\n#[ignore]\nfn b() {}\nmod m {\n  #[test]\n  /// says\n"
         "  fn a() {}\n}\n#[test] // why\n#[should_panic(expected = \"x\")]\nfn c() {}\nfn helper() {}\n"
         "#[cfg(feature = \"more\")]\n#[test]\n#[ignore]\nfn no() {}\n"
         "#[test]\n#[ignore]\n#[cfg(feature = \"more\")]\nfn nor() {}\n"
         "  #[cfg(feature = \"io\")]\n  mod io {\n    #[test]\n    fn neither() {\n    }\n  }\n"},
        {"a": 2, "b": 1, "c": 1},
    ),
    "java": (
        {"A.java": "class A {\n @BeforeEach\n public void setUp() {}\n @Test\n public void a() {}\n"
         " @Disabled(\"Remove to run test\")\n @Test\n @DisplayName(\"x\")\n void b() {}\n}"},
        {"a": 1, "b": 1},
    ),
    "cpp": (
        {"a.cpp": "TEST_CASE(\"one\", \"[id]\") {}\n#if X\nTEST_CASE(\n    \"a long \"\n"
         "    \"\\\"name\\\"\",\n"
         "    \"[tag]\") {}\n#endif"},
        {"one": 1, 'a long "name"': 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_tests_of_a_file_are_known_without_running_it(name):
    files, expected = EXPECTED[name]
    assert LANGUAGES[name].expected(files) == Counter(expected)


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_control_changes_one_line_of_one_test_and_no_name(name):
    language = LANGUAGES[name]
    for task in Builtin().ids(name):
        tests = language.unskipped(Builtin().find(task).tests)
        for seed in range(20):
            ready, changed = language.change(tests, Control("t0123456789ab", seed))
            assert language.expected(ready) == language.expected(tests)
            assert changed.failing in language.expected(tests) and changed.may_fail(changed.failing)
            pairs = [
                (a, b)
                for path in tests
                for a, b in zip(tests[path].split("\n"), ready[path].split("\n"), strict=True)
                if a != b
            ]
            assert len(pairs) == 1 and changed.text in ready.values()


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_plain_control_is_one_more_test_and_the_rest_stays(name):
    language = LANGUAGES[name]
    for task in Builtin().ids(name):
        tests = language.unskipped(Builtin().find(task).tests)
        ready, changed = language.change(tests, CONTROL)
        (added,) = (language.expected(ready) - language.expected(tests)).elements()
        assert CONTROL.name in added == changed.failing
        assert language.expected(tests) - language.expected(ready) == Counter()


def test_a_row_of_a_table_that_tests_share_is_changed_for_any_of_them():
    tests = {"a_test.go": 'func TestA(t *testing.T) {\n}\nvar rows = []row{\n\t{"a", 1},\n}\n'}
    ready, changed = LANGUAGES["go"].change(tests, Control("Other"))
    assert '{"a", 2}' in ready["a_test.go"] or '{"a", 0}' in ready["a_test.go"]
    assert changed.failing == "" and changed.may_fail("TestA/any")
    tests = {"a_test.go": 'func TestA(t *testing.T) {\n\trows := []row{\n\t{"a", 1},\n}\n}\n'}
    _, changed = LANGUAGES["go"].change(tests, Control("Other"))
    assert changed.may_fail("TestA/any") and not changed.may_fail("TestB")


@pytest.mark.parametrize(
    ("name", "skipped"), [("javascript", "xtest("), ("javascript", "xit("), ("java", "@Disabled")]
)
def test_skipped_tests_are_switched_on(name, skipped):
    files, expected = EXPECTED[name]
    (text,) = LANGUAGES[name].unskipped(files).values()
    assert skipped in str(files) and skipped not in text
    assert LANGUAGES[name].expected({"a": text}) == Counter(expected)


def events(*rows):
    return "\n".join(json.dumps(dict(zip(("Action", "Test", "Output"), row, strict=False))) for row in rows)


REPORTS = {
    "python": (
        '<testsuites><testsuite tests="4"><testcase classname="a" name="test_a" time="0.1"/>'
        '<testcase name="test_b"><failure message="x">trace</failure></testcase>'
        '<testcase name="test_c"><skipped/></testcase><testcase name="test_d"><error/></testcase>'
        "</testsuite></testsuites>",
        ["test_a"], ["test_b", "test_d"],
    ),
    "javascript": (
        '{"success": false, "testResults": [{"assertionResults": ['
        '{"title": "a", "fullName": "x a", "status": "passed"}, {"title": "a", "status": "passed"},'
        '{"title": "b", "status": "failed"}, {"title": "c", "status": "pending"}]}]}',
        ["a", "a"], ["b"],
    ),
    "go": (
        events(("run", "TestA"), ("output", "TestA", "=== RUN   TestA\n"), ("pass", "TestA/one"),
               ("pass", "TestA"),
               ("fail", "TestB"), ("skip", "TestC"), ("fail",)) + "\nprinted by a solution\nFAIL\t{broken",
        ["TestA", "TestA/one"], ["TestB", "TestC"],
    ),
    "rust": (
        "running 4 tests\ntest a ... ok\ntest m::b ... FAILED\ntest c - should panic ... ok\n"
        "test d ... ignored\n"
        "\n"
        "failures:\n    m::b\n\ntest result: FAILED. 2 passed; 1 failed",
        ["a", "c"], ["b", "d"],
    ),
    "java": (
        '<testsuite name="JUnit Jupiter"><testcase name="a()" classname="ATest"><system-out/></testcase>'
        '<testcase name="b()" classname="ATest"><failure type="AssertionError"/></testcase></testsuite>',
        ["a"], ["b"],
    ),
    "cpp": (
        '<Catch name="x"><Group name="x"><TestCase name="one"><Section name="s"><OverallResults'
        ' successes="1"/></Section><OverallResult success="true"/></TestCase>'
        '<TestCase name="two"><OverallResult'
        ' success="false"/></TestCase></Group></Catch>',
        ["one"], ["two"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_report_is_read_test_by_test(name):
    report, passed, failed = REPORTS[name]
    results = LANGUAGES[name].results(report, "")
    assert (results.passed, results.failed) == (Counter(passed), Counter(failed))
    assert results.total == len(passed) + len(failed)


@given(st.sampled_from(list(LANGUAGES)), st.data())
def test_a_report_that_is_cut_off_or_garbled_is_no_error(name, data):
    report, passed, _ = REPORTS[name]
    cut = report[: data.draw(st.integers(0, len(report)))] + data.draw(st.text(max_size=5))
    found = LANGUAGES[name].results(cut, "")
    assert not found.passed - Counter(passed) or name in ("go", "rust")
    LANGUAGES[name].human(cut, "said")


@pytest.mark.parametrize(
    ("name", "output", "clean"),
    [
        ("python", "=== 3 passed in 0.12s ===", "=== 3 passed ==="),
        ("python", "=== 2 failed in 61.00s (0:01:01) ===", "=== 2 failed ==="),
        ("javascript", "✓ adds (5 ms)\nTime:  1.2 s\nDone.", "✓ adds\nDone."),
        ("go", "--- FAIL: TestA (0.00s)\nFAIL\texercise\t0.003s", "--- FAIL: TestA\nFAIL\texercise"),
        ("rust", "   Compiling a v1\ntest result: ok. 1 passed; 1 filtered out; finished in 0.01s",
         "test result: ok. 1 passed;"),
        ("java", "Test run finished after 64 ms\n[ 1 tests found ]", "[ 1 tests found ]"),
        ("cpp", "-- Configuring done\n[ 50%] Building CXX\nAll tests passed", "All tests passed"),
    ],
)  # fmt: skip
def test_what_differs_from_run_to_run_is_cut_out(name, output, clean):
    assert LANGUAGES[name].clean(output) == clean


def test_go_says_what_go_test_says_without_passing_tests():
    said = events(("output", "TestA", "good\n"), ("pass", "TestA"), ("output", "TestB", "=== RUN   TestB\n"),
                  ("output", "TestB", "bad\n"), ("fail", "TestB"), ("output", None, "FAIL\n"))  # fmt: skip
    assert LANGUAGES["go"].human(said, "vet: x\n") == "vet: x\nbad\nFAIL\n"


def test_java_may_add_classes_beside_the_given_ones_and_nothing_else():
    task = Builtin().find("forge/java/water-meter")
    may_add = LANGUAGES["java"].may_add
    assert may_add("src/main/java/Reading.java", task)
    for path in ("src/test/java/Reading.java", "src/main/java/ReadingTest.java", "src/main/java/../A.java",
                 "build.gradle", "src/main/java/reading.java", "Reading.java",
                 "src/main/java/a/B.java"):  # fmt: skip
        assert not may_add(path, task), path
    for name in set(LANGUAGES) - {"java"}:
        assert not LANGUAGES[name].may_add("src/conftest.py", Builtin().find(f"forge/{name}/water-meter"))
