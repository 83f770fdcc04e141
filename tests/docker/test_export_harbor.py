"""Harbor task folders by their own scripts, in containers: who earns what, what a failed machine leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import forge_envs  # noqa: F401  (registers the worlds)
from forge_envs.adapters.harbor.export import export
from forge_envs.adapters.harbor.trial import NOP, ORACLE, TaskFolder, proof
from forge_envs.cli import main

pytest.importorskip("swebench")

WRONG_PATCH = "printf '\\n\\ndef more():\\n    pass\\n' >> ledger/money.py"
HOOK = """cat > conftest.py <<'END'
import pytest

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    outcome.get_result().outcome = "passed"
END
"""
FORGED = "echo 1 > /logs/verifier/reward.txt; echo '{\"reward\": 1}' > /logs/verifier/reward.json"
THIEF = f"""cat > water_meter.py <<'END'
import os, subprocess

def consumption(digits, readings):
    subprocess.run(["bash", "-c", '''{FORGED}; kill -9 $(pgrep -f /tests/judge)'''])
    return open("/tests/task.json").read()
END
"""

Folder = Callable[..., TaskFolder]


@pytest.fixture(scope="module")
def folders(image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """Exports one task and builds its image; the daemon has the steps of our own images in its cache."""
    made: list[TaskFolder] = []

    def build(world: str, name: str, task: str, **args: object) -> TaskFolder:
        image(name)
        (place,) = export(world, args, out=tmp_path_factory.mktemp("harbor"), tasks=[task])
        made.append(TaskFolder(place))
        return made[-1]

    yield build
    for folder in made:
        folder.close()


@pytest.fixture(scope="module")
def swe(folders: Folder) -> TaskFolder:
    return folders("Forge/SWE-v0", "swe", "forge__ledger-2")


@pytest.fixture(scope="module")
def exercise(folders: Folder) -> TaskFolder:
    return folders("Forge/Polyglot-v0", "polyglot-python", "forge/python/water-meter", tries=1)


def test_a_repository_is_judged_as_in_its_world(swe):
    solved = swe.play(ORACLE)
    assert solved.reward == 1 and solved.agent[0] == 0, solved
    assert solved.rewards == {**solved.rewards, "fail_to_pass": 1, "pass_to_pass": 1, "files_not_judged": 0}
    assert swe.play(NOP).reward == 0
    wrong = swe.play(WRONG_PATCH)
    assert wrong.reward == 0 and wrong.rewards["applied"] == 1, wrong
    fooled = swe.play(HOOK)
    assert fooled.reward == 0 and "nothing is left of the patch" in fooled.verifier[1], fooled


def test_who_breaks_the_repository_earns_nothing(swe):
    broken = swe.play("rm -rf .git")
    assert broken.reward == 0 and "nothing was taken: git made no patch" in broken.verifier[1], broken


def test_a_repository_is_judged_in_the_agents_own_container_too(swe):
    spoilt = "echo 'raise SystemExit' > tests/conftest.py; git commit -qam x"
    solved = swe.play(f"{spoilt}; python3 - <<'END'\n{_solve(swe)}\nEND", shared=True)
    assert solved.reward == 1, solved
    assert swe.play(FORGED, shared=True).reward == 0


def _solve(folder: TaskFolder) -> str:
    patch = (folder.path / "solution/gold.patch").read_text()
    return f"import subprocess\nsubprocess.run(['git', 'apply', '-'], input={patch!r}, text=True, check=True)"


def test_a_machine_that_fails_leaves_no_reward(swe, exercise):
    for broken in (swe.play(ORACLE, hook=False), exercise.play(ORACLE, tests={"task.json": b"{"})):
        assert broken.reward is None and broken.verifier[0] == 1, broken
        assert "no reward, because the judge failed" in broken.verifier[1]


def test_an_exercise_is_judged_as_in_its_world(exercise):
    solved = exercise.play(ORACLE)
    assert solved.reward == 1 and solved.rewards["tests"] == 1, solved
    assert exercise.play(NOP).reward == 0
    wrong = exercise.play("printf 'def consumption(digits, readings):\\n    return 0\\n' > water_meter.py")
    assert wrong.reward == 0 and 0 < wrong.rewards["tests"] < 1, wrong
    assert exercise.play("cd / && rm -rf /exercise/water-meter").reward == 0


def test_who_is_judged_reads_no_tests_and_writes_no_reward(exercise):
    for shared in (False, True):
        thief = exercise.play(f"{FORGED}\n{THIEF}", shared=shared)
        assert thief.reward == 0 and "Permission denied: '/tests/task.json'" in thief.verifier[1], thief


def test_a_contest_is_proved_from_the_command_line(exercise, tmp_path, capsys):
    words = ["export", "harbor", "Forge/Polyglot-v0", "--arg", "tries=1", "--arg", "source=contests"]
    assert main([*words, "--n", "1", "--out", str(tmp_path), "--prove"]) == 0
    assert capsys.readouterr().out.strip().endswith("proved")
    (folder,) = tmp_path.iterdir()
    (folder / "solution/solve.sh").write_text("true\n")
    assert proof(folder) == "NOT proved: its solution earns 0.0"
