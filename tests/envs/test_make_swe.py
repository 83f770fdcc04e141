"""From a package to a task, but for the containers: files, tests, what fails, is told, is written."""

import io
import json
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_envs import cli
from forge_envs.make_swe import store
from forge_envs.make_swe.arguments import read_severity
from forge_envs.make_swe.bugs import Record
from forge_envs.make_swe.choose import Chooser, weigh
from forge_envs.make_swe.diff import git_diff
from forge_envs.make_swe.edits import Source
from forge_envs.make_swe.errors import MakeError, NoTests, UnknownPackage
from forge_envs.make_swe.hide import CannotHide, hide
from forge_envs.make_swe.kinds import Bug, kind_names, plant
from forge_envs.make_swe.lab import Baseline, load, save, token
from forge_envs.make_swe.leaks import leaks
from forge_envs.make_swe.main import make
from forge_envs.make_swe.package import Package, fetch, from_sdist
from forge_envs.make_swe.release import fetch_pair
from forge_envs.make_swe.settings import Settings
from forge_envs.sandbox.progress import Lines

pytest.importorskip("swebench")

SOURCE = """\
# Shelves hold what fits on them.


def fits(width, free, margin=0):
    return width + margin <= free


def widest(books, free):
    found = [b for b in books if fits(b, free)]
    return max(found) if found else None


def forever(x):
    while x > 0:
        x = x - 1
    return x
"""
TESTS = """\
import pytest

from shelf import fits, forever, widest


@pytest.mark.parametrize("width", [1, 2, 3])
def test_fits(width):
    assert fits(width, 3)


class TestWidest:
    def test_of_some(self):
        books = [5, 2, 3]
        assert widest(books, 4) == 3

    def test_of_none(self):
        assert widest([], 4) is None


def test_forever():
    assert forever(3) == 0
"""
FILES = {"shelf.py": SOURCE.encode(), "tests/test_shelf.py": TESTS.encode(), "README.md": b"Shelves\n"}
PLACES = {
    "tests/test_shelf.py::test_fits[1]": ("tests/test_shelf.py", 6),
    "tests/test_shelf.py::test_fits[2]": ("tests/test_shelf.py", 6),
    "tests/test_shelf.py::test_fits[3]": ("tests/test_shelf.py", 6),
    "tests/test_shelf.py::TestWidest::test_of_some": ("tests/test_shelf.py", 12),
    "tests/test_shelf.py::TestWidest::test_of_none": ("tests/test_shelf.py", 16),
    "tests/test_shelf.py::test_forever": ("tests/test_shelf.py", 20),
}
BASE = Baseline(["tests"], [], sorted(PLACES), 0, 0.1, PLACES, {"shelf.py:8": [*PLACES][3:5]})


@pytest.fixture
def shelf() -> Package:
    return Package("shelf", "1.0", FILES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, data in FILES.items():
        (tmp_path / "shelf" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shelf" / path).write_bytes(data)
    return tmp_path / "shelf"


def play(folder: Path, tmp_path: Path, *items: dict, timeout: float = 300.0) -> list[dict]:
    """The driver on a folder of this machine."""
    from forge_envs.make_swe import driver

    out = tmp_path / "out.jsonl"
    job = {
        "root": str(folder),
        "out": str(out),
        "args": ["-q", "--tb=no", "-p", "no:cacheprovider"],
        "targets": ["tests"],
        "timeout": timeout,
        "items": items,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    subprocess.run([sys.executable, driver.__file__, str(tmp_path / "job.json")], cwd=folder, check=True)
    return [json.loads(line) for line in out.read_text().splitlines()]


# -- packages ------------------------------------------------------------------------------------------------


def test_a_folder_a_checkout_and_an_sdist_are_the_same_package(folder, tmp_path):
    plain = fetch(str(folder), tmp_path)
    assert plain.files == FILES
    assert (plain.targets, plain.sources, plain.installs, plain.needs) == (["tests"], ["shelf.py"], False, [])
    with tarfile.open(tmp_path / "shelf-1.0.tar.gz", "w:gz") as tar:
        tar.add(folder, "shelf-1.0")
    sdist = fetch(str(tmp_path / "shelf-1.0.tar.gz"), tmp_path)
    assert (sdist.label, sdist.files) == ("shelf-1.0", FILES)
    assert sdist.archive == plain.archive == replace(plain, files=dict(reversed(FILES.items()))).archive
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    (folder / "not_tracked.py").write_text("")
    checkout = fetch(str(folder), tmp_path)
    assert checkout.files == FILES
    assert checkout.version.startswith("0+g")


def test_what_a_package_needs_is_read_from_its_metadata():
    head = b"Name: a\nProvides-Extra: test\nRequires-Dist: b>1\nRequires-Dist: c; extra == 'test'\n\n"
    project = b"[project]\nname = 'a'\n[dependency-groups]\ntest = ['hypothesis']\n"
    package = Package("a", "1", {"PKG-INFO": head, "pyproject.toml": project})
    assert package.needs == ["b>1", "hypothesis", "/testbed[test]"]
    assert Package("a", "1", {"setup.py": b""}).needs == ["/testbed"]  # only pip can know


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("no such thing", UnknownPackage, "no file or folder here and no package: write NAME==VERSION"),
        ("./missing-1.0.tar.gz", UnknownPackage, "the path of a source distribution"),
        ("empty", MakeError, "is empty; give a checkout"),
        ("broken-1.0.tar.gz", MakeError, r"is no source distribution \(.tar.gz or .zip\)"),
    ],
)
def test_specs_that_mean_nothing_are_refused_by_name(spec, error, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken-1.0.tar.gz").write_bytes(b"no archive")
    with pytest.raises(error, match=said):
        fetch(spec, tmp_path)


def test_a_package_without_tests_is_refused_before_an_image_is_built(tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "bare.py").write_text("x = 1\n")
    with pytest.raises(NoTests, match="give a git checkout of the package instead"):
        make([str(tmp_path / "bare")], [], Settings(tmp_path / "out"), Lines())


def test_an_archive_of_two_folders_is_no_sdist(tmp_path):
    with tarfile.open(tmp_path / "two-1.tar.gz", "w:gz") as tar:
        for name in ("a/x.py", "b/y.py"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(MakeError, match="one folder, this archive 2"):
        from_sdist(tmp_path / "two-1.tar.gz")


@pytest.mark.parametrize("pair", ["tabulate", "tabulate==1:1", "tabulate==0.9.0"])
def test_pairs_are_written_one_way(pair, tmp_path):
    with pytest.raises(ValueError, match="write two releases as NAME==OLD:NEW"):
        fetch_pair(pair, tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "make tasks of what"),
        (["a==1", "--tasks", "0"], "--tasks: '0'"),
        (["a==1", "--kinds", "nonsense"], "unknown kinds of bugs: nonsense"),
        (["./nothing here"], "no file or folder here"),
    ],
)
def test_the_command_line_names_mistakes(words, said, tmp_path, capsys):
    assert cli.main(["make-swe", *words, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_without_a_daemon_the_command_line_says_how_to_start_one(folder, tmp_path):
    pytest.importorskip("docker")
    words = ["make-swe", str(folder), "--out", str(tmp_path / "out")]
    code = f"import sys; from forge_envs.cli import main; sys.exit(main({words!r}))"
    quiet = {"DOCKER_HOST": "tcp://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=quiet, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no Docker daemon answers" in done.stderr


# -- the driver ----------------------------------------------------------------------------------------------


def test_the_driver_traces_tells_and_puts_files_back(folder, tmp_path):
    bug = SOURCE.replace("<= free", "< free")
    many = [*PLACES][3:5]
    first, quick, full = play(
        folder,
        tmp_path,
        {"key": "base", "trace": True},
        {"key": "quick", "files": {"shelf.py": bug}, "select": many},
        {"key": "full", "files": {"shelf.py": bug}, "select": [*PLACES][:3]},
    )
    assert set(first["tests"].values()) == {"passed"}
    assert {nodeid: tuple(place) for nodeid, place in first["places"].items()} == PLACES
    assert ["shelf.py", 4] in first["reached"]["tests/test_shelf.py::test_fits[1]"]
    assert ["shelf.py", 13] not in first["reached"]["tests/test_shelf.py::test_fits[1]"]
    assert (quick["stage"], set(quick["tests"])) == ("quick", set(many))  # these tests do not notice
    assert full["stage"] == "full"
    failed = {nodeid for nodeid, status in full["tests"].items() if status == "failed"}
    assert failed == {"tests/test_shelf.py::test_fits[3]"}
    facts = full["failures"][failed.pop()]
    ((line, name, values),) = facts["frames"]
    assert (line, name, values["width"]) == (8, "test_fits", "3")
    assert facts["indices"] == {"width": 2}
    assert (facts["type"], facts["params"]) == ("AssertionError", {"width": "3"})
    assert (folder / "shelf.py").read_text() == SOURCE


def test_the_driver_survives_what_hangs_dies_and_does_not_parse(folder, tmp_path):
    hangs = SOURCE.replace("x = x - 1", "x = x + 1")
    dies = "import os\nos._exit(3)\n"
    found = play(
        folder,
        tmp_path,
        {"key": "dies", "files": {"shelf.py": dies}},
        {"key": "broken", "files": {"shelf.py": "def ("}},
        {"key": "new", "files": {"shelf.py": None, "shelf/__init__.py": SOURCE}},
    )
    found += play(folder, tmp_path, {"key": "hangs", "files": {"shelf.py": hangs}}, timeout=2.0)[-1:]
    assert [result["end"] for result in found] == ["crash", "done", "done", "timeout"]
    assert [weigh(result, BASE).reason for result in found] == ["crash", "collection", "survived", "timeout"]
    assert (folder / "shelf.py").exists()
    assert not (folder / "shelf" / "__init__.py").exists()


# -- which bugs ----------------------------------------------------------------------------------------------


def all_bugs() -> list[Bug]:
    source = Source("shelf.py", SOURCE.encode())
    return [bug for function in source.functions() for bug in plant(source, function, kind_names())]


def test_bugs_take_turns_and_the_seed_decides():
    def order(seed: int) -> list[Bug]:
        chooser = Chooser(all_bugs(), seed)
        found = []
        while bug := chooser.next():
            found.append(bug)
            chooser.keep(bug)
        return found

    assert order(1) == order(1) != order(2)
    assert sorted(bug.key for bug in order(1)) == sorted(bug.key for bug in all_bugs())
    first = order(3)[:6]
    assert len({bug.kind for bug in first}) == 6
    assert len({bug.function for bug in first}) == 3


RUN = {"end": "done", "broken": [], "exit": 1, "stage": "full", "failures": {}}
ALL = dict.fromkeys(PLACES, "passed")
ONE = [*PLACES][3]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tests": ALL | {ONE: "failed"}, "failures": {ONE: {"type": "AssertionError"}}}, ""),
        ({"tests": ALL}, "survived"),
        ({"tests": ALL, "stage": "quick"}, "survived"),
        ({"tests": ALL | {ONE: "error"}}, "survived"),  # nothing could be told of it
        ({"tests": {ONE: "failed"}, "failures": {ONE: {}}}, "tests vanish"),
        ({"tests": dict.fromkeys(PLACES, "failed"), "failures": {ONE: {}}}, "too many fail"),
        ({"tests": ALL | {ONE: "failed"}, "failures": {ONE: {"type": "NameError"}}}, "fails at first touch"),
        ({"tests": ALL, "broken": ["tests/test_shelf.py: SyntaxError"]}, "collection"),
        ({"tests": {}, "exit": 3}, "collection"),
        ({"end": "timeout"}, "timeout"),
        ({"end": "crash"}, "crash"),
    ],
)
def test_what_makes_a_task(change, reason):
    trial = weigh(RUN | change, BASE)
    assert trial.reason == reason
    if not reason:
        assert trial.failed == (ONE,)
        assert set(trial.passed) == set(PLACES) - {ONE}


def test_severity_is_the_share_of_tests_that_fail():
    many = {f"t.py::test_{i}": ("t.py", i) for i in range(100)}
    base = replace(BASE, good=[*many], places=many)

    def reason(count: int, severity: tuple[float, float], reaching: int = 0) -> str:
        gone = [*many][:count]
        run = RUN | {"tests": dict.fromkeys(many, "passed") | dict.fromkeys(gone, "failed"),
                     "failures": {name: {"type": "ValueError"} for name in gone}}  # fmt: skip
        return weigh(run, base, severity=severity, reaching=[*many][:reaching]).reason

    assert [reason(n, (0.0, 0.1)) for n in (1, 10, 11)] == ["", "", "too many fail"]
    assert [reason(n, (0.05, 0.1)) for n in (4, 5)] == ["too few fail", ""]
    assert reason(3, (0.0, 0.01)) == ""  # a few may always fail
    clumsy = RUN | {"tests": dict.fromkeys(many, "passed") | dict.fromkeys([*many][:2], "failed"),
                    "failures": {name: {"type": "TypeError"} for name in [*many][:2]}}  # fmt: skip
    said = [weigh(clumsy, base, reaching=[*many][:n]).reason for n in (2, 3)]
    assert said == ["fails at first touch", ""]
    # whoever made a change that breaks all of what reaches it would have seen it
    assert [reason(8, (0.0, 0.1), reaching) for reaching in (8, 9, 0)] == ["fails at first touch", "", ""]


@pytest.mark.parametrize("text", ["0", "0.6", "a", "0.3:0.2", "-0.1:0.2"])
def test_severities_that_mean_nothing_are_refused(text):
    with pytest.raises(ValueError, match="write the largest share of the tests"):
        read_severity(text)


def test_tests_are_named_as_swebench_reads_them():
    from swebench.harness.log_parsers import PARSER_REGISTRY

    names = ["t.py::test_a[x - y]", "t.py::test_b[p q]", "t.py::C::test_c"]
    log = "".join(f"PASSED {name}\n" for name in names) + "FAILED t.py::test_d[a - b] - assert 1 == 2\n"
    read = PARSER_REGISTRY["parse_log_pytest"](log, None)
    assert set(read) == {*map(token, names), token("t.py::test_d[a - b]")}


def test_a_killed_run_is_taken_up_where_it_was(tmp_path):
    path = tmp_path / "record.jsonl"
    record = Record(path)
    record["a"], record["b"] = {"x": 1}, "y"
    whole = path.read_text()
    path.write_text(whole + '{"key": "c", "val')
    again = Record(path)
    assert ("c" in again, again["a"], again["b"]) == (False, {"x": 1}, "y")
    assert path.read_text() == whole
    save(BASE, tmp_path / "base.json")
    assert load(tmp_path / "base.json") == BASE


# -- hidden tests --------------------------------------------------------------------------------------------


def test_hidden_tests_are_gone_and_the_rest_stays():
    path = "tests/test_shelf.py"
    after = hide(FILES, {(path, 6), (path, 12)})[path].decode()
    assert "test_fits" not in after
    assert "parametrize" not in after
    assert "    def test_of_none(self):\n        assert widest([], 4) is None\n" in after
    both = hide(FILES, {(path, 12), (path, 16)})[path].decode()
    assert "class TestWidest:\n    pass\n" in both
    assert set(TESTS.splitlines()) >= set(after.splitlines())


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("def test_a():\n    pass\n", 2, "no function begins at line 2"),
        ("def test_a():\n    pass\n\ntest_a.slow = True\n", 1, "other code uses test_a"),
        ("def (", 1, "t.py"),
        ("if 1:\n    def test_a(): pass\nelse:\n    x = 1\n", 2, ""),
    ],
)
def test_tests_that_cannot_be_hidden(text, line, said):
    if not said:
        assert (
            hide({"t.py": text.encode()}, {("t.py", line)})["t.py"] == b"if 1:\n    pass\nelse:\n    x = 1\n"
        )
        return
    with pytest.raises(CannotHide, match=said):
        hide({"t.py": text.encode()}, {("t.py", line)})


# -- what is told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "function", "leak"),
    [
        ("look at shelf.py", "fits", "shelf.py"),
        ("it is on line 12", "fits", "line 12"),
        ("return width + margin < free", "fits", "return width + margin < free"),
        ("see _deep", "A._deep", "_deep"),
    ],
)
def test_leaks_are_found(text, function, leak):
    after = SOURCE.replace("<= free", "< free").encode()
    assert leak in leaks(text, "src/shelf.py", function, SOURCE.encode(), after)


# -- what is written -----------------------------------------------------------------------------------------


def test_the_task_repository_is_swebenchs_and_its_patches_fit(shelf, tmp_path):
    from swebench.task.checks import check_task_repo

    from forge_envs.worlds.swe.rows import load as load_tasks

    bug = next(bug for bug in all_bugs() if bug.function == "fits" and bug.kind == "boundary")
    planted = bug.planted(SOURCE.encode())
    assert planted is not None
    hidden = hide(FILES, {PLACES[[*PLACES][2]]})
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "source.tar.gz").write_bytes(shelf.archive)
    (shared / "requirements.txt").write_text("")
    name = f"forge__{shelf.label}-{bug.key[:8]}"
    draft = store.Unproved(
        name, shelf, {"shelf.py": planted}, {"shelf.py": SOURCE.encode()},
        hidden, {p: FILES[p] for p in hidden}, "An issue.\n",
        ([*map(token, PLACES)][2],), tuple(map(token, [*PLACES][3:])), {"made_by": bug.kind},
    )  # fmt: skip
    out = tmp_path / "out"
    store.write_task(draft, out / "tasks" / name, BASE, shared, "test")
    store.write_config(out, "test")
    assert check_task_repo(out) == []
    assert store.compile_rows(out) == {"test": 1}
    task = load_tasks(f"repo:{out}").find(name)
    assert (task.fail_to_pass, task.watched) == (("tests/test_shelf.py::test_fits[3]",), True)
    rows = [json.loads(line) for line in (out / "data" / "test.jsonl").read_text().splitlines()]
    assert rows[0]["image"] == f"swebench/sweb.eval.x86_64.{name}:latest".replace("__", "_1776_")

    tree = tmp_path / "tree"
    with tarfile.open(out / "tasks" / name / "source.tar.gz") as tar:
        tar.extractall(tree, filter="data")
    for patch in ("base.patch", "gold.patch", "test.patch"):
        subprocess.run(["git", "apply", str(out / "tasks" / name / patch)], cwd=tree, check=True)
        text = (tree / "tests" / "test_shelf.py").read_text()
        assert ("test_fits" in text) == (patch == "test.patch")
        assert ((tree / "shelf.py").read_text() == SOURCE) == (patch != "base.patch")
    assert (tree / "tests" / "test_shelf.py").read_text() == TESTS


def test_a_folder_of_another_dataset_is_left_alone(tmp_path):
    (tmp_path / "sweb.yaml").write_text("datasets: [SWE-bench/SWE-bench]\nsplits: [test]\n")
    with pytest.raises(MakeError, match="give --out a folder of its own"):
        store.write_config(tmp_path, "test")


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a.py", "b/c.txt", "d é.md"]), st.text("ab\n\r é", max_size=12), min_size=1
    ),
    st.dictionaries(
        st.sampled_from(["a.py", "b/c.txt", "e.py"]), st.text("ab\n\r é", max_size=12), min_size=1
    ),
)
def test_patches_turn_one_state_into_the_other(tmp_path_factory, before, after):
    one, other = ({p: t.encode() for p, t in files.items()} for files in (before, after))
    root = tmp_path_factory.mktemp("tree")
    for path, data in one.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(data)
    patch = git_diff(one, other)
    if patch:
        command = ["git", "apply", "--whitespace=nowarn", "-"]
        subprocess.run(command, cwd=root, input=patch, check=True)
    assert {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()} == other
