"""A task's repository as an answer sees it: which files there are, and what stands in them.

Nothing of an agent's runs here. A box is opened to look and closed at once; what was seen is kept, because
the members of a group ask the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from threading import Lock

from forge_envs.errors import TaskError
from forge_envs.worlds.agentless.edits import is_plain
from forge_envs.worlds.swe.effects import APPLYING, apply
from forge_envs.worlds.swe.site import Ground, Site, open_site, unwell
from forge_envs.worlds.swe.task import SweTask

KEPT = 256
"""Looks that are remembered in a process."""
LARGEST = 1_000_000
"""Bytes of a file that is read."""

_Look = tuple[str, ...] | dict[str, str]
_seen: OrderedDict[tuple[object, ...], _Look] = OrderedDict()
_lock = Lock()


def files_of(task: SweTask, ground: Ground) -> tuple[str, ...]:
    """The files of the repository that git knows or would take, sorted; those with plain names. Raises
    SandboxError."""
    key = ("files", *_key(task, ground))
    found = _known(key)
    if not isinstance(found, tuple):
        site = open_site(task, ground, judged=True)
        try:
            ran = site.run(
                "git -c safe.directory='*' ls-files -co --exclude-standard", timeout=APPLYING, tail=20_000_000
            )
        finally:
            site.close()
        if ran.code != 0:
            raise unwell(f"a fresh box of {task.image!r} did not list its files: {ran.output[-300:]}")
        found = tuple(sorted({line for line in ran.output.split("\n") if is_plain(line)}))
        _remember(key, found)
    return found


def texts_of(task: SweTask, ground: Ground, paths: Collection[str], patch: str = "") -> Mapping[str, str]:
    """The files among `paths` that are there and are UTF-8 text, after `patch`. Raises SandboxError, and
    TaskError for a patch that does not apply."""
    if not paths:
        return {}
    key = ("texts", patch, tuple(paths), *_key(task, ground))
    found = _known(key)
    if not isinstance(found, dict):
        site = open_site(task, ground, judged=True)
        try:
            if patch and apply(site, patch.encode()).ran.code != 0:
                raise TaskError(f"task {task.id!r}: a patch of its own does not apply")
            found = {path: text for path in paths if (text := _text(site, path)) is not None}
        finally:
            site.close()
        _remember(key, found)
    return found


def _text(site: Site, path: str) -> str | None:
    try:
        return site.box.read(path, limit=LARGEST).decode()
    except (OSError, ValueError):  # not there, no file, too long, or no text
        return None


def _key(task: SweTask, ground: Ground) -> tuple[object, ...]:
    return task.id, task.image, task.base_commit, task.patch, ground.sandbox


def _known(key: tuple[object, ...]) -> _Look | None:
    with _lock:
        if key in _seen:
            _seen.move_to_end(key)
        return _seen.get(key)


def _remember(key: tuple[object, ...], look: _Look) -> None:
    with _lock:
        _seen[key] = look
        while len(_seen) > KEPT:
            _seen.popitem(last=False)
