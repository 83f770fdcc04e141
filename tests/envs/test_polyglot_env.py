"""Forge/Polyglot-v0 played with this machine's Python: the two tries, what is told, what is not believed."""

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  (registers the world)
from forge_envs.errors import MachineError, TaskError
from forge_envs.testing import check_world
from forge_envs.worlds.polyglot import judge as judging
from forge_envs.worlds.polyglot import toolchain
from forge_envs.worlds.polyglot.judge import judge
from forge_envs.worlds.polyglot.languages import LANGUAGES

pytestmark = pytest.mark.filterwarnings("ignore:sandbox='process' is no jail")
TASK = "forge/python/water-meter"
HALF = """
def consumption(digits, readings):
    return sum((b - a) % 10**digits for a, b in zip(readings, readings[1:]))
"""


@pytest.fixture
def world():
    made = []

    def make(**options):
        env = gym.make(
            "Forge/Polyglot-v0", **{"language": "python", "sandbox": "process", **options}
        ).unwrapped
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


def answer(code, name="water_meter.py"):
    return f"{name}\n```python\n{code}\n```"


def test_contests_written_as_diffs_keep_the_promises_of_a_world():
    """Exercises written whole keep them in test_testing.py."""
    options = {"language": "python", "source": "contests", "level": 1, "edit_format": "diff"}
    check_world("Forge/Polyglot-v0", tasks=1, sandbox="process", **options)


def test_the_opening_shows_the_task_and_the_stubs_and_nothing_of_the_tests(world):
    env = world()
    (system, user), info = env.reset(options={"task": TASK})
    assert "expert Python programmer" in system["content"] and "two tries" in system["content"]
    assert (
        "# Water meter" in user["content"]
        and "water_meter.py\n```python\ndef consumption(" in user["content"]
    )
    for secret in ("unittest", "test_", "raise ValueError"):
        assert secret not in system["content"] + user["content"]
    assert info == {"task": TASK, "turn": 0}


@pytest.mark.parametrize("edit_format", ["whole", "diff"])
def test_a_solution_passes_at_the_first_try(world, edit_format):
    env = world(edit_format=edit_format, turn_weight=0.5)
    env.reset(options={"task": TASK})
    messages, reward, terminated, truncated, info = env.step(env.gold_actions(TASK)[0])
    assert (messages, terminated, truncated, info["outcome"], reward) == ((), True, False, 1.0, 1.5)
    assert info["parts"] == {"progress": 1.0, "first_try": 1.0, "tests": 1.0, "well_formed": 1.0}


def test_the_second_try_sees_what_the_tests_say_and_counts_as_much(world):
    env = world()
    env.reset(options={"task": TASK})
    (told,), reward, terminated, _, info = env.step(answer(HALF))
    assert told["role"] == "user" and "test_reading_below_zero" in told["content"]
    assert "you have one more try" in told["content"] and "test_upwards" not in told["content"]
    assert (reward, terminated, info["turn_reward"]) == (0.0, False, pytest.approx(7 / 11))
    for changing in (" in 0.", "/tmp", "deselected"):
        assert changing not in told["content"]
    _, _, terminated, _, info = env.step(env.gold_actions(TASK)[0])
    assert terminated and info["outcome"] == 1.0
    assert info["parts"] == {
        "progress": pytest.approx(4 / 11), "first_try": 0.0, "tests": 1.0, "well_formed": 1.0,
    }  # fmt: skip


def test_two_failed_tries_end_the_episode(world):
    env = world()
    env.reset(options={"task": TASK})
    env.step(answer(HALF))
    messages, reward, terminated, _, info = env.step(answer("def consumption(digits, readings): return 0"))
    assert (messages, reward, terminated, info["outcome"]) == ((), 0.0, True, 0.0)
    assert info["parts"]["tests"] == pytest.approx(2 / 11) and info["parts"]["progress"] < 0


def test_answers_that_cannot_be_used_are_told_three_times_a_try_and_cost(world):
    env = world()
    env.reset(options={"task": TASK})
    for left in (2, 1, 0):
        (told,), _, terminated, _, info = env.step("I would use the modulo.")
        assert not terminated and "there is no code block" in told["content"]
        assert ("If the next one cannot be used either" in told["content"]) == (not left)
        assert info["parts"] == {"malformed": -0.1}
    (told,), *_ = env.step("Still thinking.")
    assert "No file was changed" in told["content"] and "one more try" in told["content"]
    *_, info = env.step(env.gold_actions(TASK)[0])
    assert (
        info["outcome"] == 1.0 and info["parts"]["well_formed"] == 0.0 and info["parts"]["first_try"] == 0.0
    )


def test_an_edit_that_does_not_match_is_told_and_can_be_mended(world):
    env = world(edit_format="diff")
    env.reset(options={"task": TASK})
    gold = env.gold_actions(TASK)[0]
    (told,), *_, info = env.step(gold.replace("def consumption(digits: int,", "def consume(digits: int,", 1))
    assert "These are like them:\ndef consumption(" in told["content"] and "malformed" in info["parts"]
    assert env.step(gold)[-1]["outcome"] == 1.0


def test_an_episode_goes_on_from_its_snapshot(world):
    env, other = world(), world()
    env.reset(options={"task": TASK})
    env.step(answer(HALF))
    other.restore(env.snapshot())
    assert other.playing.edited == {"water_meter.py": f"{HALF}\n"} and other.playing.tries == [False]
    assert other.step(other.gold_actions(TASK)[0])[-1]["outcome"] == 1.0


CHEATS = {
    "leaves before the tests": "import os\nprint('11 passed in 0.01s')\nos._exit(0)",
    "leaves politely": "import sys\nsys.exit(0)",
    "makes every test pass": """
import unittest
unittest.TestCase.run = lambda self, result=None: result.addSuccess(self)
import _pytest.python
_pytest.python.Function.runtest = lambda self: None
def consumption(*a): return 0
""",
    "makes every failure a success": """
import _pytest.runner, os
_pytest.runner.TestReport.outcome = property(lambda self: 'passed', lambda self, value: None)
def consumption(*a): return 0
""",
    "edits the tests": """
import glob, os
for path in glob.glob('*_test.py'):
    os.chmod(path, 0o644)
    open(path, 'w').write('def test_a(): pass')
def consumption(*a): return 0
""",
    "writes the report": """
import atexit, os
def report():
    open('.forge/report.xml', 'w').write('<testsuite><testcase name="test_upwards"/></testsuite>')
    os._exit(0)
atexit.register(report)
def consumption(*a): return 0
""",
    "makes all values equal": """
import unittest
unittest.TestCase.assertEqual = lambda *a: None
class Never:
    def __enter__(self): return self
    def __exit__(self, *a): return True
unittest.TestCase.assertRaises = lambda *a: Never()
import sys, _pytest.outcomes
sys.modules['water_meter_test'] = None
def consumption(*a): raise SystemExit(0)
""",
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_run_that_only_looks_passed_earns_nothing(world, name):
    task = world().find(TASK)
    verdict = judge(task, {"water_meter.py": CHEATS[name]}, sandbox="process", timeout=60)
    assert not verdict.passed and verdict.share < 1, name


def test_a_solution_that_edits_the_tests_after_it_solved_the_task_is_not_believed(world):
    task = world().find(TASK)
    code = task.example["water_meter.py"] + CHEATS["edits the tests"].rpartition("def consumption")[0]
    verdict = judge(task, {"water_meter.py": code}, sandbox="process", timeout=60)
    assert not verdict.passed and "were changed while the tests ran" in verdict.output


def killed_in(seen, *runs):
    """Ends the runs of these numbers; `seen` counts them, since each has a box of its own."""
    return (
        f"import os, pathlib\nseen = pathlib.Path({str(seen)!r})\nseen.touch()\n"
        "seen.write_text(seen.read_text() + '.')\n"
        f"if len(seen.read_text()) in {runs}:\n    os.kill(os.getpid(), 9)\n"
    )


def test_a_control_run_that_is_killed_is_tried_again(world, tmp_path):
    task = world().find(TASK)
    solution = task.example["water_meter.py"]
    verdict = judge(
        task, {"water_meter.py": solution + killed_in(tmp_path / "seen", 2)}, sandbox="process", timeout=60
    )
    assert verdict.passed


def test_who_kills_each_control_run_loses_unless_the_machine_is_unwell(world, tmp_path, monkeypatch):
    task = world().find(TASK)
    seen = tmp_path / "seen"
    files = {"water_meter.py": task.example["water_meter.py"] + killed_in(seen, 2, 3)}
    verdict = judge(task, files, sandbox="process", timeout=60)
    assert not verdict.passed and verdict.share == 0 and "cut short" in verdict.output
    seen.unlink()
    monkeypatch.setattr(judging, "_is_well", lambda *_: False)
    with pytest.raises(MachineError, match="were cut short when they ran again") as caught:
        judge(task, files, sandbox="process", timeout=60)
    assert (caught.value.kind, caught.value.retryable) == ("control", True)


def test_tests_that_are_killed_fail(world, tmp_path):
    files = {"water_meter.py": killed_in(tmp_path / "seen", 1)}
    verdict = judge(world().find(TASK), files, sandbox="process", timeout=60)
    assert not verdict.passed and verdict.share == 0


def test_what_fails_on_a_full_disk_is_the_machines_failure(world, monkeypatch):
    monkeypatch.setattr(judging, "RESERVE", 1 << 60)
    task = world().find(TASK)
    assert judge(task, task.example, sandbox="process", timeout=60).passed
    with pytest.raises(MachineError, match=r"failed on a disk with \d+ MB left") as caught:
        judge(task, {"water_meter.py": HALF}, sandbox="process", timeout=60)
    assert (caught.value.kind, caught.value.retryable) == ("disk_full", True)


READERS = {
    "prints them": "print(text)",
    "writes them past pytest": "os.write(2, text.encode())",
    "raises them": "if digits == 0: raise KeyError(text) from ValueError(text)",
}


@pytest.mark.parametrize("name", READERS)
def test_hidden_tests_that_a_program_prints_are_not_shown(world, name):
    task = world().find(TASK)
    (test,) = task.tests.values()
    calls = [line.strip() for line in test.splitlines() if "consumption(" in line]
    assert len(calls) == 11
    head, _, body = HALF.partition("    return")
    reader = f"    text = open('water_meter_test.py').read()\n    {READERS[name]}\n"
    code = f"import os\n{head}{reader}    return{body}"
    verdict = judge(task, {"water_meter.py": code}, sandbox="process", timeout=60)
    assert "lines of the hidden tests left out" in verdict.output
    quoted = [line for line in calls if line in verdict.output]
    assert len(quoted) <= 4, verdict.output  # of the tests that fail, by pytest itself


def test_a_solution_that_never_ends_is_stopped_and_said_to_be_late(world):
    task = world().find(TASK)
    verdict = judge(task, {"water_meter.py": "while True: pass"}, sandbox="process", timeout=3)
    assert verdict.timed_out and "Tests timed out after 3 seconds." in verdict.output and verdict.share == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "/none"}, "no such folder"),
        ({"language": "cobol"}, "language='cobol'"),
        ({"sandbox": "chroot"}, "sandbox='chroot'"),
        ({"edit_format": "udiff"}, "edit_format='udiff'"),
        ({"split": "dev"}, "split='dev'"),
        ({"timeout": 0}, "timeout=0"),
        ({"tries": 0}, "tries=0"),
        ({"level": 4}, "level=4"),
        ({"level": 2}, "only source='contests' has levels"),
        ({"source": "contests", "language": "go"}, "contests are written in python"),
        ({"grammar": "bash"}, "nothing but bash"),
    ],
)
def test_a_wrong_argument_is_named(options, said):
    with pytest.raises(ValueError, match=said):
        gym.make("Forge/Polyglot-v0", **options)


def test_an_unknown_task_is_named(world):
    with pytest.raises(TaskError, match="forge/python/none"):
        world().reset(options={"task": "forge/python/none"})


@pytest.fixture
def fresh():
    toolchain.require.cache_clear()
    yield
    toolchain.require.cache_clear()


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_language_without_tools_is_refused_by_name_with_what_to_type(world, monkeypatch, fresh, name):
    env = world(language=name)
    monkeypatch.setattr("shutil.which", lambda tool: None)
    with pytest.raises(MachineError) as caught:
        env.reset(seed=0)
    text, language = str(caught.value), LANGUAGES[name]
    assert text.startswith(f"{language.title} cannot be played with sandbox='process': ")
    assert language.tools[0] in text and text.endswith(f"Fix: {language.install}")
    assert caught.value.kind == "toolchain" and not caught.value.retryable


def test_a_language_of_the_wrong_version_is_refused(world, monkeypatch, fresh):
    monkeypatch.setattr(type(LANGUAGES["python"]), "least", (4, 0))
    with pytest.raises(MachineError, match=r"version 3\.\S+ is too old, at least 4\.0 is needed"):
        world().reset(seed=0)


def test_tools_that_do_not_work_are_refused_with_what_they_say(world, monkeypatch, fresh):
    monkeypatch.setattr(type(LANGUAGES["python"]), "probe", "echo no pytest here; false")
    with pytest.raises(MachineError, match=r"fails: no pytest here\. Fix: apt-get install python3"):
        world().reset(seed=0)
