"""What is done with git inside a box: a clean start, the tree as it stands, and the agent's patch.

Trees and patches are made with a git directory of our own, which borrows the repository's objects and reads
none of its settings: whatever the agent configured, no hook, filter, external diff or monitor runs.
"""

from __future__ import annotations

from shlex import quote

_CLEAN_ENVIRONMENT = r"""
unset $(env | sed -n 's/^\(GIT_[A-Z_]*\)=.*/\1/p')
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1 LC_ALL=C
"""

_OWN = r"""
own() { # own DIR OBJECTS...: use a new git directory that borrows objects
  rm -rf -- "$1" && git init -q --bare --template= "$1"
  printf '%s\n' "${@:2}" > "$1/objects/info/alternates"
  export GIT_DIR=$1 GIT_WORK_TREE=$PWD GIT_INDEX_FILE=$1/index
}
stage() { # bring the index to what the work tree holds, without what tools leave behind
  git add -u --ignore-errors . || true
  git ls-files -oz --exclude-standard -x '__pycache__/' -x '*.py[co]' -x '.pytest_cache/' \
    -x '.mypy_cache/' -x '.ruff_cache/' -x '.hypothesis/' -x '*.egg-info/' | { grep -zv '/$' || true; } |
    git update-index --add -z --stdin
}
"""

_SCRUB = r"""
scrub() { # forget all but the history of HEAD and its tags, and what was cached; HEAD stays where it is
  find . -path ./.git -prune -o -name .git -prune -print0 \
    -o -type d \( -name __pycache__ -o -name .pytest_cache \) -prune -print0 \
    -o -type f \( -name '*.py[co]' -o -path '*.egg-info/SOURCES.txt' \) -print0 | xargs -0r rm -rf --
  [ -d .git ] && git rev-parse -q --verify HEAD > /dev/null || return 0
  for name in $(git remote); do git remote remove "$name"; done
  { git symbolic-ref -q HEAD || true; git for-each-ref --format='%(refname)' --merged=HEAD refs/tags; } |
    sort > "$tools/keep"
  git for-each-ref --format='%(refname)' | sort | comm -23 - "$tools/keep" | sed 's/^/delete /' |
    git update-ref --no-deref --stdin
  find .git -mindepth 1 -maxdepth 1 ! -name HEAD ! -name config ! -name description ! -name hooks \
    ! -name index ! -name info ! -name objects ! -name packed-refs ! -name refs \
    ! -name shallow -exec rm -rf -- {} +
  rm -rf .git/refs/original .git/objects/pack/*.keep
  local loose kinds
  kinds=$(git cat-file --batch-all-objects --unordered --batch-check='%(objecttype)' | grep -c commit || true)
  loose=$(git count-objects | cut -d' ' -f1)
  if [ "$kinds" != "$(git rev-list --count HEAD)" ] || ls .git/objects/pack/*.mtimes > /dev/null 2>&1; then
    rm -rf .git/objects/info/commit-graph* .git/objects/pack/multi-pack-index*
    git repack -adq && git prune --expire=now
  elif [ "$loose" != 0 ]; then
    git prune --expire=now
  fi
}
"""
"""Commits after the base and their tags, remotes, reflogs, stashes and dangling objects go. A repository that
has no commit but those of HEAD loses loose objects only: rewriting a large one takes seconds. Repositories in
it, submodules too, become plain folders."""

APPLY = """\
first=1
for attempt in "git apply --verbose" "git apply --verbose --3way" "git apply --verbose --reject" \\
    "patch --batch --forward --fuzz=5 -p1 -i"; do
  [ $first ] || { git checkout -- .; git clean -fd; }
  first=
  $attempt "$PATCH" && exit 0
done
git apply --check --reverse "$PATCH"
"""
"""Applies the file PATCH as the official harness does: four attempts, from the tree as it was each time; what
is applied already counts."""


_TREE = f"""\
({_CLEAN_ENVIRONMENT}
head=$(git --git-dir="$PWD/.git" rev-parse -q --verify 'HEAD^{{tree}}' || true)
{_OWN}
own "$tools/git" "$PWD/.git/objects"
[ -z "$head" ] || git read-tree "$head"
stage
git write-tree > "$tools/tree") 2>&1
"""


def start(*, scrub: bool, tree: bool = True) -> str:
    """What runs first in a work folder that holds `.forge-tools.tar`.

    The last three lines it prints are the folder of our tools, the search path of commands, and the `tree`
    that the agent starts from in brackets, if it is asked for.
    """
    return f"""\
set -eu
tools=$(mktemp -d)
tar -xf .forge-tools.tar -C "$tools"
rm .forge-tools.tar
if [ -d "$tools/repository" ]; then
  cp -a "$tools/repository/." . && rm -rf "$tools/repository"
  git init -q --template= -b main && git add -A && git commit -q -m 'Initial commit'
fi
{_SCRUB + "scrub" if scrub else ""}
{_TREE if tree else ': > "$tools/tree"'}
path=$PATH
conda=/opt/miniconda3/envs/testbed/bin
[ ! -d $conda ] || path=$conda:$path
printf '\\n%s\\n%s\\n[%s]\\n' "$tools" "$path" "$(cat "$tools/tree")"
"""


def take(tools: str, tree: str) -> str:
    """Leaves the changes since `tree` in the file `take/patch` below our tools."""
    return f"""\
set -eu
{_CLEAN_ENVIRONMENT}
{_OWN}
own {quote(tools)}/take "$PWD/.git/objects" {quote(tools)}/git/objects
git read-tree {tree}
stage
git diff --cached --binary --full-index --no-color --no-ext-diff --no-textconv --no-renames \\
  --ignore-submodules=all --src-prefix=a/ --dst-prefix=b/ {tree} > {quote(tools)}/take/patch
"""
