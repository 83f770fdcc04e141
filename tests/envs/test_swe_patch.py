"""Patches: what git writes is read back file by file, and nothing else is read at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge_envs.worlds.swe.patch import PatchError, join, parts, paths_of

NAMES = st.text("ab./ \"\\\té数'", min_size=1, max_size=12).filter(
    lambda name: (
        not name.startswith("/")
        and not name.endswith("/")
        and not {"", ".", "..", ".git"} & set(name.split("/"))
    )
)
TREES = st.dictionaries(
    NAMES,
    st.one_of(
        st.text("ab \n\r\\-+@", max_size=60).map(str.encode),
        st.binary(max_size=60),
        st.sampled_from([b"diff --git a/x b/x\n--- a/x\n", b"--- a\n+++ b\n@@ -1 +1 @@\n"]),
    ),
    max_size=4,
).filter(lambda tree: not any(a != b and b.startswith(a + "/") for a in tree for b in tree))


def git(folder: Path, *words: str, data: bytes | None = None) -> bytes:
    options = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false")
    return subprocess.run(
        ["git", *options, *words], cwd=folder, input=data, capture_output=True, check=True
    ).stdout


def fill(folder: Path, tree: dict[str, bytes]) -> None:
    for name, data in tree.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=TREES, after=TREES)
def test_what_git_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("repo")
    git(folder, "init", "-q")
    fill(folder, before)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "x")
    for name in before:
        (folder / name).unlink()
    for place in sorted(folder.rglob("*"), reverse=True):
        if place.is_dir() and ".git" not in place.parts:
            place.rmdir()
    fill(folder, after)
    git(folder, "add", "-A")
    patch = git(folder, "diff", "--cached", "--binary", "--full-index", "--no-renames", "--no-ext-diff")
    changed = git(folder, "diff", "--cached", "--name-only", "--no-renames", "-z").decode().split("\0")[:-1]
    if any(ord(letter) < 32 for name in changed for letter in name):
        with pytest.raises(PatchError, match="control characters"):
            parts(patch)
        return
    found = parts(patch)
    assert sorted(part.path for part in found) == sorted(changed)
    assert join(found) == patch


@pytest.mark.parametrize("letter", ["\t", "\n", "\r", "\x01", "\x7f", "\x85", "\u2028"])
def test_names_with_control_characters_are_refused(letter: str) -> None:
    name = f"conftest.py{letter}x"
    quoted = '"{}/' + "".join(f"\\{byte:03o}" for byte in name.encode()) + '"'
    for told in ("{}/" + name, quoted):
        header = f"diff --git {told.format('a')} {told.format('b')}\n".encode()
        with pytest.raises(PatchError):
            parts(header + b"new file mode 100644\n--- /dev/null\n")


GOOD = b"diff --git a/x.py b/x.py\nindex 1..2 100644\n--- a/x.py\n+++ b/x.py\n@@ -1 +1,2 @@\n-a\n+b\n+c\n"


@pytest.mark.parametrize(
    "patch",
    [
        b"anything",
        b"--- a/conftest.py\n+++ b/conftest.py\n@@ -0,0 +1 @@\n+x\n",
        GOOD + b"--- a/conftest.py\n+++ b/conftest.py\n@@ -0,0 +1 @@\n+x\n",
        GOOD.replace(b"+++ b/x.py", b"+++ b/conftest.py"),
        GOOD.replace(b"--- a/x.py", b"--- a/conftest.py"),
        GOOD.replace(b" b/x.py\nindex", b" b/conftest.py\nindex"),
        GOOD.replace(b"+1,2", b"+1,3"),
        GOOD.replace(b"+1,2", b"+1"),
        GOOD.replace(b"index 1..2 100644", b"rename from x.py\nrename to conftest.py"),
        GOOD.replace(b"x.py", b"../x.py"),
        GOOD.replace(b"x.py", b"/etc/passwd"),
        GOOD.replace(b"x.py", b".git/config"),
        GOOD.replace(b"x.py", b"sub/.GIT/config"),
        GOOD[:-4],
    ],
)
def test_nothing_else_is_read(patch: bytes) -> None:
    with pytest.raises(PatchError):
        parts(patch)


def test_good_is_good() -> None:
    assert [part.path for part in parts(GOOD + GOOD.replace(b"x.py", b"y z.py"))] == ["x.py", "y z.py"]
    assert parts(b"") == []


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_parts_or_refused(patch: bytes) -> None:
    try:
        found = parts(GOOD + patch)
    except PatchError:
        return
    assert join(found).rstrip(b"\n") == (GOOD + patch).rstrip(b"\n")


def test_files_of_a_published_patch() -> None:
    text = "diff --git a/a.py b/b.py\nrename from a.py\nrename to b.py\n--- a/c.py\t2020\n+++ b/c.py\n"
    assert paths_of(text) >= {"a.py", "b.py", "c.py"}
