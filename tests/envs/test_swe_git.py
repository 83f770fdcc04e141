"""How an episode starts: the future of the repository is gone, its present and past are as they were."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest

from forge_envs.sandbox import Sandbox, provider
from forge_envs.worlds.swe import git

IDENTITY = {
    name: "a" for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
}
HISTORY = r"""
set -e
git init -q -b main .
printf '*.log\n__pycache__\n.pytest_cache\n' > .gitignore
echo kept > past.txt; git add -A; git commit -qm past; git tag v1
echo base > a.txt; git add -A; git commit -qm base
git tag -a v2 -m 'release two'
git checkout -q -b next
echo SECRET-branch > fix.txt; git add -A; git commit -qm 'the fix SECRET-message'
git tag v3; git tag -a v4 -m 'SECRET-tag'
git checkout -q main
echo SECRET-stash > a.txt; git stash -q
echo SECRET-dangling | git hash-object -w --stdin
echo SECRET-amended > b.txt; git add b.txt; git commit -qm SECRET-amended; git reset -q --hard HEAD~1
git clone -q --bare . ../origin.git; git remote add origin ../origin.git; git fetch -q --all
git branch remote-copy origin/next
echo SECRET-head > .git/ORIG_HEAD
git notes add -m SECRET-note HEAD~1
mkdir -p pkg/__pycache__ .pytest_cache/v x.egg-info
echo SECRET > pkg/__pycache__/a.pyc; echo SECRET > .pytest_cache/v/ids; echo SECRET > x.egg-info/SOURCES.txt
echo meta > x.egg-info/PKG-INFO; echo ignored > run.log; echo dirty >> past.txt; echo new > 'a new file'
"""
EVERYTHING = """
{ git log --all --format='%H %s'; git reflog --all; git tag; git stash list; git remote -v; git notes list
  git cat-file --batch-all-objects --batch-check='%(objectname)' | git cat-file --batch
  git fsck --lost-found --no-reflogs; grep -r SECRET . ; } 2>&1
"""


@pytest.fixture
def box() -> Iterator[Sandbox]:
    box = provider("process").open("")
    yield box
    box.close()


def start(box: Sandbox) -> tuple[str, str]:
    """Start an episode; our folder, and the tree."""
    data = io.BytesIO()
    tarfile.open(fileobj=data, mode="w").close()
    box.write(".forge-tools.tar", data.getvalue())
    tools, _, tree = run(box, git.start(scrub=True)).rstrip().split("\n")[-3:]
    return tools, tree.strip("[]")


def run(box: Sandbox, command: str) -> str:
    done = box.run(command, env=IDENTITY, tail=100_000)
    assert done.code == 0, done.output
    return done.output


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("detached", [False, True])
def test_the_future_is_gone(box: Sandbox, packed: bool, detached: bool) -> None:
    run(box, HISTORY)
    if packed:
        run(box, "git gc -q")
    if detached:
        run(box, "git checkout -q --detach")
    before = run(box, "git rev-parse HEAD; git log --format='%H %s'; git status --short")
    assert "SECRET" in run(box, EVERYTHING)
    start(box)
    after = run(box, EVERYTHING + "true")
    assert "SECRET" not in after and "dangling" not in after
    assert run(box, "git rev-parse HEAD; git log --format='%H %s'; git status --short") == before
    assert run(box, "git tag").split() == ["v1", "v2"], "those of the past are known to everybody"
    assert run(box, "cat a.txt past.txt x.egg-info/PKG-INFO run.log") == "base\nkept\ndirty\nmeta\nignored\n"
    run(box, "git fsck --strict")


INNER = r"""
set -e
git init -q -b main ../inner; cd ../inner
echo base > a.txt; git add -A; git commit -qm base
echo SECRET > a.txt; git commit -qam SECRET-inside
cd ../work; git init -q -b main .
git -c protocol.file.allow=always submodule --quiet add ../inner module
git -C module checkout -q HEAD~1
git add -A; git commit -qm base
cp -a ../inner vendored; git -C vendored checkout -q HEAD~1
"""


def test_repositories_inside_have_no_future_either(box: Sandbox) -> None:
    run(box, INNER)
    search = "for place in . module vendored; do git -C $place log --all --format=%s; done"
    assert run(box, search).count("SECRET-inside") == 2
    tools, tree = start(box)
    objects = "find . -name .git -o -path './.git/modules*'; git cat-file --batch-all-objects --batch-check"
    assert "SECRET" not in run(box, f"{search}; {EVERYTHING} true")
    assert run(box, objects).split("\n")[0] == "./.git" and "./.git/" not in run(box, objects)
    assert run(box, "git status --short; cat module/a.txt vendored/a.txt") == "?? vendored/\nbase\nbase\n"
    run(box, "echo mine > module/a.txt; echo mine > vendored/a.txt")
    run(box, git.take(tools, tree))
    patch = run(box, f"cat {tools}/take/patch")
    assert "diff --git a/vendored/a.txt" in patch and "module" not in patch


def test_a_folder_without_git_starts_as_well(box: Sandbox) -> None:
    run(box, "echo x > a; mkdir __pycache__; touch __pycache__/a.pyc")
    tools, tree = start(box)
    run(box, "echo y > a; echo z > b")
    run(box, git.take(tools, tree))
    patch = run(box, f"cat {tools}/take/patch")
    assert "-x\n+y\n" in patch and "+z\n" in patch and "__pycache__" not in patch


@pytest.mark.parametrize(
    "command",
    [
        "git commit -qam mine",
        "git checkout -q -b other; git commit -qam mine; git gc -q",
        "git add -A; git rm -q --cached past.txt",
        "git stash -q; git stash pop -q",
        "git config diff.noprefix true; git config color.ui always; git config core.pager false",
        "git config core.fsmonitor false; git config diff.external false; git config core.autocrlf true",
        "mkdir -p inner; cd inner; git init -q; echo x > y",
        "git update-index --assume-unchanged a.txt; git update-index --skip-worktree past.txt",
        "export GIT_DIR=/nowhere; echo 'a.txt' >> .git/info/exclude",
    ],
)
def test_a_patch_is_what_changed_whatever_git_was_told(box: Sandbox, command: str) -> None:
    run(box, HISTORY)
    tools, tree = start(box)
    run(box, "echo mine > a.txt; rm 'a new file'; printf 'bin\\0' > 'my file'; chmod +x past.txt")
    run(box, command)
    run(box, git.take(tools, tree))
    patch = run(box, f"cat {tools}/take/patch")
    lines = [line for line in patch.splitlines() if line.startswith("diff --git")]
    assert lines == [
        "diff --git a/a new file b/a new file",
        "diff --git a/a.txt b/a.txt",
        "diff --git a/my file b/my file",
        "diff --git a/past.txt b/past.txt",
    ]
    assert "-base\n+mine\n" in patch and "GIT binary patch" in patch and "new mode 100755" in patch
