"""What a patch did, asked of the box that it was applied in: not what its text says it would do.

Nobody's program has run in that box yet, so its tools tell the truth.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from forge_envs.sandbox import Result
from forge_envs.worlds.swe import git
from forge_envs.worlds.swe.guard import decides
from forge_envs.worlds.swe.patch import Part, paths_of
from forge_envs.worlds.swe.site import Site, unwell
from forge_envs.worlds.swe.task import SweTask

APPLYING = 300.0
IMPORTED = (".py", ".so", ".pyd")
LEFT_BEHIND = (".orig", ".rej")
"""Ends of what git and patch leave beside a file that did not fit at once."""
ROOTS = (".", "src", "lib")
"""Folders that Python often looks into, whatever `sys.path` says in a plain shell."""
_MARK = "FORGE-EFFECTS "
UNTOLD = 255
"""The exit code of a box that did not say what a patch wrote, so that nothing is taken for nothing."""
BROKEN = "["
"""Stands for settings that cannot be read."""

_APPLY = f"""\
begun=$(date +@%s.%N); sleep 0.01
( {git.APPLY} ); code=$?
printf '\\n{_MARK}'
find . -path ./.git -prune -o ! -type d -newerct "$begun" -printf '%y %P\\0' | base64 -w0
printf '\\n'
find . -path ./.git -prune -o -type l -newerct "$begun" -print0 | while IFS= read -rd '' link; do
  case "$(realpath -m -- "$link")" in "$PWD"/.git/*) ;; "$PWD"/*) continue;; esac; printf '%s\\0' "$link"
done | base64 -w0
echo
exit $code
"""
_LIST = f"""\
python3 -c 'import json, sys; print("{_MARK}" + json.dumps(sys.path))' || echo '{_MARK}[]'
find . -path ./.git -prune -o \\( -type d -o -type l -o -name '*.py' -o -name '*.so' -o -name '*.pyd' \\) \
-printf '%P\\n'
"""


@dataclass(frozen=True)
class Applied:
    """A patch in a box."""

    ran: Result
    files: frozenset[str]
    """What was written: plain files and links."""
    leaving: frozenset[str]
    """Links that lead out of the repository."""

    def beyond(self, named: Iterable[str]) -> str:
        """Why these are not the effects of a patch of the files `named`; empty if they are."""
        if self.leaving:
            return f"the link {min(self.leaving)!r} leads out of the repository"
        strange = self.files - set(named)
        strange -= {path for path in strange if path.endswith(LEFT_BEHIND)}
        if strange:
            return f"the patch writes {min(strange)!r}, which it does not name"
        return ""


def apply(site: Site, patch: bytes) -> Applied:
    """Apply a patch as the official harness does, and see what it wrote. Raises SandboxError."""
    path, first = site.lay("patch.diff", patch)
    ran = site.run(first + _APPLY, timeout=APPLYING, env={"PATCH": path}, tail=10_000_000)
    _, marked, told = ran.output.rpartition(f"\n{_MARK}")
    files, _, leaving = told.strip().partition("\n")
    try:
        names = frozenset(entry[2:] for entry in _entries(files))
        out = frozenset(entry.removeprefix("./") for entry in _entries(leaving))
    except ValueError:  # the box complains between its words: its disk is full, say
        marked = ""
    if not marked:
        return Applied(replace(ran, code=ran.code or UNTOLD), frozenset(), frozenset())
    return Applied(ran, names, out)


def restore(site: Site, settings: Mapping[str, str]) -> list[str]:
    """Put back settings files whose sections about tests the patch changed; these are returned."""
    restored = []
    for path, before in settings.items():
        now = decides(path, text_of(site, path))
        if now is None or now != decides(path, before):
            site.put_back(path, before)
            restored.append(path)
    return restored


def text_of(site: Site, path: str) -> str:
    """What a file of the repository holds; empty where there is none."""
    try:
        return site.box.read(path).decode("utf-8", "replace")
    except OSError:
        return ""
    except ValueError:  # longer than any settings are
        return BROKEN


def _entries(told: str) -> list[str]:
    text = base64.b64decode(told.strip(), validate=True).decode("utf-8", "surrogateescape")
    return [entry for entry in text.split("\0") if entry]


def new_modules(site: Site, task: SweTask, added: Iterable[Part]) -> set[str]:
    """Files among those that a patch adds which make a module importable that is neither in a package of the
    repository nor gold's own: tests may mean another one by its name. A link may be a package whatever its
    name ends with. Raises SandboxError."""
    files = [part.path for part in added if part.is_link or part.path.endswith(IMPORTED)]
    if not files:
        return set()
    ran = site.run(_LIST, timeout=APPLYING, tail=20_000_000)
    _, marked, rest = ran.output.partition(_MARK)
    if ran.code != 0 or not marked:
        raise unwell(f"a fresh box of {task.image!r} did not list its files: {ran.output[-300:]}")
    first, *lines = rest.split("\n")
    there = {line for line in lines if line}
    roots = {*ROOTS, *_inside(first, site.box.workdir)}
    packages = {line.rpartition("/")[0] for line in there if PurePosixPath(line).name == "__init__.py"}
    roots |= {_root(path, packages) for path in paths_of(task.test_patch)}
    known = {(root, _name(path, root)) for root in roots for path in there}
    gold = {(root, _name(path, root)) for root in roots for path in paths_of(task.patch)}
    return {path for path in files if any(_is_new(path, root, known | gold) for root in roots)}


def _root(path: str, packages: Collection[str]) -> str:
    """The folder that pytest puts on the search path for a file of tests: the first that is no package."""
    return next(str(folder) for folder in PurePosixPath(path).parents if str(folder) not in packages)


def _is_new(path: str, root: str, known: set[tuple[str, str]]) -> bool:
    name = _name(path, root)
    return bool(name) and (root, name) not in known


def _name(path: str, root: str) -> str:
    """What `import` says to get a file, or the package that it is in, where `root` is looked into; or ""."""
    place = PurePosixPath(path)
    if root != ".":
        if not place.is_relative_to(root):
            return ""
        place = place.relative_to(root)
    return re.split(r"\.", place.parts[0])[0] if place.parts else ""


def _inside(told: str, workdir: str) -> set[str]:
    """Folders of the repository among those that Python looks into."""
    try:
        places = [PurePosixPath(place) for place in json.loads(told) if isinstance(place, str)]
    except ValueError:
        return set()
    return {str(place.relative_to(workdir)) for place in places if place.is_relative_to(workdir)}
