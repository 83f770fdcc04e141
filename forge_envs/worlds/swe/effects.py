"""What a patch did, asked of the box that it was applied in: not what its text says it would do.

Nobody's program has run in that box yet, so its tools tell the truth.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from forge_envs.sandbox import Result
from forge_envs.worlds.swe import git
from forge_envs.worlds.swe.patch import paths_of
from forge_envs.worlds.swe.site import Site, unwell
from forge_envs.worlds.swe.task import SweTask

APPLYING = 300.0
IMPORTED = (".py", ".so", ".pyd")
LEFT_BEHIND = (".orig", ".rej")
"""Ends of what git and patch leave beside a file that did not fit at once."""
ROOTS = (".", "src", "lib")
"""Folders that Python often looks into, whatever `sys.path` says in a plain shell."""
_MARK = "FORGE-EFFECTS "

_APPLY = f"""\
begun=$(date +@%s.%N); sleep 0.01
( {git.APPLY} ); code=$?
printf '\\n{_MARK}'
find . -path ./.git -prune -o ! -type d -newerct "$begun" -printf '%y %P\\0' | base64 -w0
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
    links: frozenset[str]

    def beyond(self, named: Iterable[str]) -> str:
        """Why these are not the effects of a patch of the files `named`; empty if they are."""
        strange = self.files - set(named)
        strange -= {path for path in strange if path.endswith(LEFT_BEHIND)}
        if strange:
            return f"the patch writes {min(strange)!r}, which it does not name"
        return ""


def apply(site: Site, patch: bytes) -> Applied:
    """Apply a patch as the official harness does, and see what it wrote. Raises SandboxError."""
    path = site.put("patch.diff", patch)
    ran = site.run(_APPLY, timeout=APPLYING, env={"PATCH": path}, tail=10_000_000)
    _, marked, told = ran.output.rpartition(f"\n{_MARK}")
    if not marked:
        return Applied(ran, frozenset(), frozenset())
    entries = base64.b64decode(told.strip()).decode("utf-8", "surrogateescape").split("\0")
    kinds = {entry[2:]: entry[0] for entry in entries if entry}
    links = frozenset(name for name, kind in kinds.items() if kind != "f")
    return Applied(ran, frozenset(kinds), links)


def new_modules(site: Site, task: SweTask, added: Iterable[str]) -> set[str]:
    """Files among those that a patch adds which make a module importable that is neither in a package of the
    repository nor gold's own: tests may mean another one by its name. Raises SandboxError."""
    files = [path for path in added if path.endswith(IMPORTED)]
    if not files:
        return set()
    ran = site.run(_LIST, timeout=APPLYING, tail=20_000_000)
    _, marked, rest = ran.output.partition(_MARK)
    if ran.code != 0 or not marked:
        raise unwell(f"a fresh box of {task.image!r} did not list its files: {ran.output[-300:]}")
    first, *lines = rest.split("\n")
    there = {line for line in lines if line}
    roots = {*ROOTS, *_inside(first, site.box.workdir)}
    roots |= {str(PurePosixPath(path).parent) for path in paths_of(task.test_patch)}
    known = {(root, _name(path, root)) for root in roots for path in there}
    gold = {(root, _name(path, root)) for root in roots for path in paths_of(task.patch)}
    return {path for path in files if any(_is_new(path, root, known | gold) for root in roots)}


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
