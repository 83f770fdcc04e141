"""`forge-envs make-swe` from end to end on a package of our own, in real containers and without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forge_envs.make_swe import image as images
from forge_envs.make_swe.diff import git_diff
from forge_envs.make_swe.errors import MakeError, NoBugs, TestsFail
from forge_envs.make_swe.main import make
from forge_envs.make_swe.package import Package
from forge_envs.make_swe.settings import Settings, open_lab
from forge_envs.sandbox.docker import DockerProvider
from forge_envs.sandbox.engine import Engine
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.rows import load
from forge_envs.worlds.swe.site import Ground

pytest.importorskip("swebench")

SOURCE = '''\
"""Rope: lengths of string, cut and joined."""


def cut(length, piece, keep=False):
    whole, rest = divmod(length, piece)
    found = [piece] * whole
    if rest and keep:
        found.append(rest)
    return found


def join(pieces, knot=1):
    if not pieces:
        return 0
    return sum(pieces) - knot * (len(pieces) - 1)


def longest(pieces, limit=None):
    fitting = [p for p in pieces if limit is None or p <= limit]
    return max(fitting) if fitting else None
'''
TESTS = """\
import os

import pytest

from rope import cut, join, longest


@pytest.mark.parametrize(("length", "kept"), [(10, [4, 4, 2]), (8, [4, 4])])
def test_cut_keeps_the_rest(length, kept):
    assert cut(length, 4, keep=True) == kept


def test_cut():
    assert cut(10, 4) == [4, 4]


def test_join():
    assert join([4, 4, 2]) == 8


def test_join_of_nothing():
    assert join([]) == 0


def test_longest():
    assert longest([1, 5, 3]) == 5


def test_longest_that_fits():
    assert longest([1, 5, 3], limit=3) == 3
    assert longest([5], limit=3) is None


def test_of_root_alone():
    assert os.getuid() == 0  # left out: agents and the harness are different users


def test_that_passes_once():
    first = not os.path.exists("/tmp/rope")  # left out: it is another the second time
    open("/tmp/rope", "w").close()
    assert first
"""
HOOK = b"""\
import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    report.outcome, report.longrepr = "passed", None
"""


class Quiet:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def step(self, text: str) -> None:
        self.heard.append(text)

    def detail(self, text: str) -> None:
        self.heard.append(text)


@pytest.fixture(scope="module")
def ground(docker: DockerProvider, swe_image: str) -> Ground:
    return Ground("docker")


@pytest.fixture
def tidy(engine: Engine) -> Iterator[Callable[[Path], None]]:
    """Removes the images of task repositories at the end."""
    folders: list[Path] = []
    yield folders.append
    for folder in folders:
        for task in [*folder.glob(".make/*/building/*"), *folder.glob("tasks/*")]:
            images.remove(f"swebench/sweb.eval.x86_64.{task.name}:latest".replace("__", "_1776_"))
        for state in folder.glob(".make/*-*"):
            label = state.name.rpartition("-")[0]
            for user in ("forge", "root"):
                images.remove(f"forge/made-{label}:{user}")


def rope(folder: Path, tests: str = TESTS) -> str:
    (folder / "rope" / "tests").mkdir(parents=True)
    (folder / "rope" / "rope.py").write_text(SOURCE)
    (folder / "rope" / "tests" / "test_rope.py").write_text(tests)
    return str(folder / "rope")


def test_tasks_of_a_package_hold_for_our_judge(tmp_path, ground, tidy):
    from swebench.task.checks import check_task_repo

    spec, out, heard = rope(tmp_path), tmp_path / "out", Quiet()
    tidy(out)
    first = make([spec], [], Settings(out, tasks=2, repeats=2), heard)
    made = make([spec], [], Settings(out, tasks=4, repeats=2), heard)
    assert made[:2] == first
    assert len(made) == 4
    assert sum("running its tests" in text for text in heard.heard) == 1  # the second run knew
    assert check_task_repo(out) == []
    assert len((out / "data" / "test.jsonl").read_text().splitlines()) == 4
    tasks = load(f"repo:{out}")
    for name in made:
        task = tasks.find(name)
        decide = " ".join([*task.fail_to_pass, *task.pass_to_pass])
        assert "root_alone" not in decide
        assert "passes_once" not in decide
        for nodeid in task.fail_to_pass:
            function = nodeid.rpartition("::")[2].partition("[")[0]
            assert f"def {function}(" in task.test_patch  # it is hidden, and comes back to judge
        idle = git_diff({}, {"NOTE.txt": b"nothing\n"})
        hooks = git_diff({}, {"conftest.py": HOOK, "tests/conftest.py": HOOK})
        plugin = git_diff({}, {"x.dist-info/entry_points.txt": b"[pytest11]\nx = hook\n", "hook.py": HOOK})
        verdicts = [judge(task, patch, ground) for patch in (task.patch.encode(), idle, plugin)]
        verdicts += [judge(task, patch, ground, guard=False) for patch in (hooks, plugin)]
        assert [verdict.resolved for verdict in verdicts] == [True, False, False, False, False], verdicts
    assert len({json.dumps(tasks.find(name).row["problem_statement"]) for name in made}) == 4


def test_the_agents_copy_has_neither_the_hidden_tests_nor_a_past(tmp_path, ground, tidy, docker):
    out = tmp_path / "out"
    tidy(out)
    (name,) = make([rope(tmp_path)], [], Settings(out, tasks=1, repeats=1, seed=5), Quiet())
    task = load(f"repo:{out}").find(name)
    box = docker.open(task.image)
    try:
        assert box.run("git rev-list --all --count").output.strip() == "1"
        assert box.run("git rev-parse HEAD").output.strip() == task.base_commit
        assert box.run("git status --porcelain").output == ""
        visible = box.read("/testbed/tests/test_rope.py").decode()
        hidden = {nodeid.rpartition("::")[2].partition("[")[0] for nodeid in task.fail_to_pass}
        assert all(f"def {function}(" not in visible for function in hidden)
        gold = [line[1:] for line in task.patch.splitlines() if line.startswith("+") and line[:3] != "+++"]
        places = "/forge /home /media /mnt /opt /root /srv /testbed /tmp /usr/local /var"
        for line in gold:
            told = box.run('grep -rlsF -- "$LINE" ' + places, env={"LINE": line.strip()}).output
            assert told == "", told
        assert box.run("find / -name 'source.tar*' -o -name base.patch 2>/dev/null").output == ""
        assert box.read("/testbed/rope.py") != SOURCE.encode()
        assert box.run("python3 -m pytest -q -p no:cacheprovider tests --deselect nothing").code in (0, 1)
    finally:
        box.close()


@pytest.mark.parametrize(
    ("tests", "kinds", "error", "said"),
    [
        ("def test_a():\n    assert 0\n", (), TestsFail, "0 of 1 tests pass before anything is changed"),
        ("import missing\n", (), TestsFail, "No module named 'missing'"),
        (TESTS, ("loop_exit",), NoBugs, "no bug was found among 0"),
    ],
)
def test_packages_that_give_no_tasks_are_named(tests, kinds, error, said, tmp_path, ground, tidy):
    tidy(tmp_path / "out")
    with pytest.raises(error, match=said):
        make([rope(tmp_path, tests)], [], Settings(tmp_path / "out", repeats=1, kinds=kinds), Quiet())


def test_a_killed_run_leaves_what_the_next_one_takes_up(tmp_path, ground, tidy):
    spec, out = rope(tmp_path), tmp_path / "out"
    tidy(out)
    words = ["make-swe", spec, "--out", str(out), "--tasks", "6", "--repeats", "1"]
    code = f"import sys; from forge_envs.cli import main; sys.exit(main({words!r}))"
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        while running.poll() is None and not list(out.glob("tasks/*/task.yaml")):
            try:
                running.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
    finally:
        running.kill()
        running.wait()
    before = {path.name for path in out.glob("tasks/*")}
    assert before
    made = make([spec], [], Settings(out, tasks=3, repeats=1), Quiet())
    assert before & set(made)
    assert len(made) == 3


FLAT, SPACE = "[tool.poetry]\npackages=[{include='rope_poetry'}]\n", "[tool.setuptools.packages.find]\n"
TOOLS = {
    "flit": ("flit_core>=3.4", "flit_core.buildapi", "", "rope_flit.py"),
    "hatchling": ("hatchling", "hatchling.build", "", "src/rope_hatchling/__init__.py"),
    "poetry": ("poetry-core", "poetry.core.masonry.api", FLAT, "rope_poetry/__init__.py"),
    "pdm": ("pdm-backend", "pdm.backend", "", "src/rope_pdm/__init__.py"),
    "setuptools": (
        "setuptools>=64",
        "setuptools.build_meta",
        f"{SPACE}where=['src']\nnamespaces=true\n",
        "src/ropes/rope_setuptools/__init__.py",
    ),
}
"""Requirement, backend, settings, where the one module lies: flat, below src, in a namespace, alone."""


@pytest.mark.parametrize(
    "tool",
    [pytest.param(t, marks=[] if t in ("flit", "setuptools") else pytest.mark.matrix) for t in sorted(TOOLS)],
)
def test_packages_of_every_build_tool_are_installed_by_it(tool, tmp_path, ground, tidy):
    tidy(tmp_path / "out")
    wanted, backend, own, path = TOOLS[tool]
    name = path.removesuffix("/__init__.py").removesuffix(".py").removeprefix("src/").replace("/", ".")
    project = (
        f"[build-system]\nrequires = ['{wanted}']\nbuild-backend = '{backend}'\n"
        f"[project]\nname = 'rope-{tool}'\nversion = '1.0'\ndescription = 'Rope'\n{own}"
    )
    test = f"from importlib.metadata import version\n\nfrom {name} import cut\n\n\ndef test_a():\n    "
    test += f"assert (cut(8, 4), version('rope-{tool}')) == ([4, 4], '1.0')\n"
    files = {"pyproject.toml": project, path: SOURCE, "tests/test_rope.py": test}
    package = Package(f"rope-{tool}", "1.0", {path: text.encode() for path, text in files.items()})
    settings = Settings(tmp_path / "out", repeats=1)
    try:
        with open_lab(package, settings, Quiet()) as (_, base, _):
            assert base.good == ["tests/test_rope.py::test_a"]
    except MakeError as error:
        if "The index did not answer" in str(error):
            pytest.skip(f"no index to fetch {wanted} from")
        raise


def test_pip_is_asked_again_when_the_needs_changed(tmp_path: Path) -> None:
    """Also after an asking that failed: what an earlier question found is no answer to another."""
    files = {"asks.py": b"def two():\n    return 2\n"}
    plain = Package("asks", "1.0", files)
    wanting = Package("asks", "1.0", files, extra=("./absent",))
    try:
        images.prepare(plain, tmp_path)
        assert (tmp_path / "requirements.txt").read_text() == ""
        for _ in range(2):
            with pytest.raises(MakeError, match="absent"):
                images.prepare(wanting, tmp_path)
        images.prepare(plain, tmp_path)
        assert (tmp_path / "requirements.txt").read_text() == ""
    finally:
        for user in ("forge", "root"):
            images.remove(f"forge/made-{plain.label}:{user}")
