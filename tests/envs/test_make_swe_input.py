"""What make-swe is given: build tools, what tests need, what it refuses, advice that can help."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from forge_envs.make_swe.advice import about_install, about_tests, lacking
from forge_envs.make_swe.errors import MakeError
from forge_envs.make_swe.package import Package, fetch, is_test
from forge_envs.make_swe.unfit import generated

FILES = {"shelf.py": b"def a():\n    return 1\n", "tests/test_shelf.py": b"def test_a():\n    pass\n"}
TOOLS = {
    "setuptools": b"[project]\nname='a'\ndependencies=['b']\n[project.optional-dependencies]\ntest=['c']\n",
    "groups": b"[project]\nname='a'\ndependencies=['b']\n[dependency-groups]\n"
    b"more=['c>1']\ntest=[{include-group='more'}, 'd']\n",
    "poetry": b"[tool.poetry]\nname='a'\n[build-system]\nrequires=['poetry-core']\n"
    b"[tool.poetry.group.dev.dependencies]\npython='^3.8'\nblack='^22'\nhypothesis='^6.1'\nfreezegun={version='*'}\n",
    "pdm": b"[project]\nname='a'\ndependencies=[]\n[tool.pdm.dev-dependencies]\ntest=['c', 'pytest>6']\n",
    "hatch": b"[project]\nname='a'\ndependencies=[]\n"
    b"[tool.hatch.envs.hatch-test]\nextra-dependencies=['c']\n",
}


@pytest.mark.parametrize(
    ("tool", "wanted"),
    [
        ("setuptools", ["b", "/testbed[test]"]),
        ("groups", ["b", "c>1", "d"]),
        ("poetry", ["hypothesis>=6.1", "freezegun", "/testbed"]),
        ("pdm", ["c", "pytest>6"]),
        ("hatch", ["c"]),
    ],
)
def test_what_tests_need_is_read_from_every_tool(tool, wanted):
    package = Package("a", "1", {**FILES, "pyproject.toml": TOOLS[tool]}, extra=("z",))
    assert package.needs == [*wanted, "z"]


def test_requirements_in_files_are_read():
    files = {"requirements-test.txt": b"# for tests\nc==1  # exactly\n-r other.txt\nflake8\n",
             "setup.cfg": b"[options]\ntests_require =\n    d\n"}  # fmt: skip
    assert Package("a", "1", {**FILES, **files}).needs == ["c==1", "d"]


def test_requirements_that_setuptools_wrote_are_read():
    text = b"jsonpointer>=1.9\n\n[:python_version < '3.2']\nordered\n\n[docs]\nsphinx\n\n[test]\nhypothesis\n"
    files = {**FILES, "a.egg-info/requires.txt": text, "PKG-INFO": b"Name: a\n"}
    assert Package("a", "1", files).needs == [
        "jsonpointer>=1.9",
        "ordered; python_version < '3.2'",
        "hypothesis",
    ]
    told = {**files, "PKG-INFO": b"Name: a\nRequires-Dist: b\n"}
    assert Package("a", "1", told).needs == ["b"]


def test_archives_have_times_that_wheels_can_hold():
    with tarfile.open(fileobj=io.BytesIO(Package("a", "1", FILES).archive)) as tar:
        assert {member.mtime for member in tar} == {
            1_704_067_200
        }  # 2024; flit writes zip files, from 1980 on


def test_packages_of_other_needs_are_other_packages():
    assert Package("a", "1", FILES).digest != Package("a", "1", FILES, extra=("z",)).digest


@pytest.mark.parametrize(
    ("path", "test"),
    [("pkg/tests.py", True), ("pkg/a_tests.py", True), ("test.py", True), ("pkg/testing.py", False)],
)
def test_unittests_own_names_are_tests(path, test):
    assert is_test(path) is test


def git(folder: Path, *words: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def checkout(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return folder


def test_a_checkout_with_submodules_is_refused_by_name(tmp_path):
    other = checkout(tmp_path / "other", {"x.txt": b"x"})
    root = checkout(tmp_path / "root", FILES)
    git(root, "submodule", "add", str(other), "vendor/other")
    git(root, "commit", "-q", "-m", "y")
    with pytest.raises(
        MakeError, match=r"it has submodules \(vendor/other\), which a task repository cannot hold"
    ):
        fetch(str(root), tmp_path)


def test_a_folder_with_empty_submodules_or_lfs_pointers_is_refused(tmp_path):
    modules = b'[submodule "a"]\n\tpath = deep/a\n\turl = x\n'
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    cases = (
        ("m", {".gitmodules": modules}, r"submodules without files \(deep/a\)"),
        ("l", {"tests/data.bin": pointer}, r"pointers of Git LFS \(tests/data.bin\)"),
    )
    for name, files, said in cases:
        for path, data in {**FILES, **files}.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(data)
        with pytest.raises(MakeError, match=said):
            fetch(str(tmp_path / name), tmp_path)


@pytest.mark.parametrize(
    ("path", "data", "is_generated"),
    [
        ("a/_version.py", b"version = '1'\n", True),
        ("a/tables.py", b"# This file is auto-generated by tools/make.py\nX = 1\n", True),
        ("a/t.py", b"# DO NOT EDIT\nX = 1\n", True),
        ("a/t.py", b'"""Numbers."""\n\n\ndef generated(x):\n    return x\n', False),
    ],
)
def test_bugs_do_not_belong_into_generated_sources(path, data, is_generated):
    assert generated(path, data) is is_generated
    assert (path in Package("a", "1", {path: data}).sources) is not is_generated


@pytest.mark.parametrize(
    ("said", "need"),
    [
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "needs the network"),
        ("_tkinter.TclError: no display name and no $DISPLAY environment variable", "needs a display"),
        ("AssertionError: 1 != 2", ""),
    ],
)
def test_what_no_box_has_is_named(said, need):
    assert lacking([said]) == need


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ERROR: No matching distribution found for nosuch>=3", "no nosuch>=3 for the image's Python 3.11"),
        ("ERROR: Package 'a' requires a different Python: 3.11.2 not in '>=3.12'", "wants Python >=3.12"),
        ("error: command 'x86_64-linux-gnu-gcc' failed: No such file", "compiled by x86_64-linux-gnu-gcc"),
        ("something else", "Its own build fails"),
    ],
)
def test_advice_about_an_installation_is_about_what_failed(said, advice):
    assert advice in about_install(said)


@pytest.mark.parametrize(
    ("run", "said", "advice"),
    [
        ({"end": "timeout"}, "", "They needed more than 60 s: allow more with --timeout"),
        ({"end": "done"}, "E   ModuleNotFoundError: No module named 'hypothesis'", "import hypothesis"),
        ({"end": "done"}, "error: unrecognized arguments: --cov=a", "--cov=a"),
        ({"end": "done"}, "E  fixture 'mocker' not found", "fixture 'mocker' not found"),
        ({"end": "done"}, "requests.exceptions.ConnectionError: Max retries exceeded", "need the network"),
        ({"end": "done"}, "assert 1 == 2", "choose another release"),
    ],
)
def test_advice_about_tests_is_about_what_was_seen(run, said, advice):
    told = about_tests(run, said, [], 60.0)
    assert advice in told
    assert ("--timeout" in told) is (run["end"] == "timeout")
