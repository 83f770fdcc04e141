"""The stages of a recipe, done one after the other, each once: what was done is in `recipe.json`.

    recipe.json     the recipe, its stages, how far it is
    NAME/           a folder for each stage: a run, a model, or files

A stage counts as done when its work has returned. A recipe that was killed goes on with the first stage that
is not, and that goes on by itself where it stopped. What decides the result of a stage (its settings, and
those of the stages it reads) is written down with it: other settings are refused and nothing is mixed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge_train.config import flatten
from forge_train.config.explain import closest, show
from forge_train.record.run_folder import write_atomic

MANIFEST = "recipe.json"
LOCK = "recipe.lock"
Facts = dict[str, Any]
"""What a stage tells of itself: JSON, small."""


@dataclass(frozen=True)
class Stage:
    """One piece of work of a recipe.

    `work` is given the recipe's folder, does the stage there, or goes on with it, and returns its facts.
    """

    name: str
    """Also its folder below the recipe's, as "rl/retail"."""
    about: str
    """What it does, for a person."""
    work: Callable[[Path], Facts] = field(repr=False)
    settings: Mapping[str, Any] = field(repr=False, default_factory=dict)
    """All that decides its result beside what it reads."""
    needs: tuple[str, ...] = ()
    """Stages before it whose results it reads."""


class Manifest:
    """What of a recipe is done, as its folder tells. Make it with `opened`."""

    def __init__(self, out: Path, recipe: str, stages: Sequence[Stage]) -> None:
        self.out = out
        self.stages = stages
        self.keys = keys_of(stages)
        self._path = out / MANIFEST
        self.told: dict[str, dict[str, Any]] = {}
        """Of each stage that was begun: key, state (begun or done), seconds, facts, settings."""
        if self._path.exists():
            data = read_manifest(self._path)
            if data["recipe"] != recipe:
                raise ValueError(
                    f"{out} holds the recipe {data['recipe']}, not {recipe}: choose another --out"
                )
            self.told = data["stages"]
        self.recipe = recipe

    def refuse_changed(self) -> None:
        """Raise ValueError for the first stage that was begun with other settings, naming them."""
        for stage in self.stages:
            told = self.told.get(stage.name)
            if told is None or told["key"] == self.keys[stage.name]:
                continue
            before, now = flatten(told["settings"]), flatten(_plain(stage.settings))
            changed = [
                f"{key} was {show(before.get(key))} and is {show(now.get(key))}"
                for key in sorted(before.keys() | now.keys())
                if before.get(key) != now.get(key)
            ]
            what = "; ".join(changed[:4]) or "what it reads has changed"
            raise ValueError(
                f"{self.out}: stage {stage.name} was begun with other settings ({what}): do it again and all "
                f"that follows from it with --from {stage.name}, or choose another --out"
            )

    def done(self, stage: Stage) -> bool:
        """Whether its work has returned, and what it left is there."""
        told = self.told.get(stage.name, {})
        return told.get("state") == "done" and (self.out / stage.name).exists()

    def begin(self, stage: Stage) -> None:
        """It is under way."""
        before = self.told.get(stage.name, {})
        self.told[stage.name] = {
            "key": self.keys[stage.name],
            "state": "begun",
            "about": stage.about,
            "seconds": before.get("seconds", 0.0),
            "facts": {},
            "settings": _plain(stage.settings),
        }
        self._write()

    def spend(self, stage: Stage, seconds: float, facts: Facts | None = None) -> None:
        """It took so long, now and before; with `facts` it is done."""
        told = self.told[stage.name]
        told["seconds"] = round(told["seconds"] + seconds, 3)
        if facts is not None:
            told |= {"state": "done", "facts": facts}
        self._write()

    def forget(self, first: str) -> list[str]:
        """Remove what `first`, and every stage that reads it, has left; returns their names."""
        names = [stage.name for stage in self.stages]
        if first not in names:
            guess = closest(first, names)
            hint = f'; did you mean "{guess}"?' if guess else ""
            raise ValueError(f"--from {first}: no such stage; there are {', '.join(names)}{hint}")
        gone = {first}
        for stage in self.stages:
            if gone & set(stage.needs):
                gone.add(stage.name)
        found = [name for name in names if name in gone and name in self.told]
        for name in found:
            del self.told[name]
        self._write()  # before the folders: a kill in between leaves nothing that counts as done
        for name in gone:
            if (self.out / name).is_dir():
                shutil.rmtree(self.out / name)
        return found

    def _write(self) -> None:
        order = [stage.name for stage in self.stages]
        data = {"recipe": self.recipe, "order": order, "stages": self.told}
        write_atomic(self._path, json.dumps(data, indent=1, ensure_ascii=False).encode())


def keys_of(stages: Sequence[Stage]) -> dict[str, str]:
    """16 hex digits for each stage, equal where its settings and those of all it reads are."""
    found: dict[str, str] = {}
    for stage in stages:
        missing = [name for name in stage.needs if name not in found]
        assert not missing and stage.name not in found, f"{stage.name} reads {missing} or comes twice"
        text = json.dumps([_plain(stage.settings), [found[n] for n in stage.needs]], sort_keys=True)
        found[stage.name] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return found


@contextmanager
def opened(out: Path, recipe: str, stages: Sequence[Stage]) -> Iterator[Manifest]:
    """The manifest of the recipe in `out`, for this process alone.

    Raises ValueError for a folder that holds something else, or that another process works in.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()) and not (out / LOCK).exists():
            raise ValueError(f"{out} is not empty and holds no recipe: choose another --out")
        lock = open(out / LOCK, "ab")  # noqa: SIM115  (held as long as the recipe runs)
    except OSError as error:
        raise ValueError(
            f"{out} cannot be written ({error.strerror or error}); choose another --out"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{out}: another process is at this recipe; wait for it, or stop it") from None
        yield Manifest(out, recipe, stages)


def do(
    manifest: Manifest,
    *,
    again_from: str | None = None,
    told: Callable[[Manifest, Stage | None], None] = lambda manifest, stage: None,
) -> None:
    """Do what is not done yet, in order; `told` is called before each stage and, with None, at the end.

    `again_from` does that stage again, and all that read it. Raises ValueError for settings that differ from
    those a stage was begun with, before anything is done; what a stage raises ends the recipe there.
    """
    if again_from is not None:
        manifest.forget(again_from)
    manifest.refuse_changed()
    for stage in manifest.stages:
        if manifest.done(stage):
            continue
        manifest.begin(stage)
        told(manifest, stage)
        began = time.monotonic()
        try:
            facts = stage.work(manifest.out)
        except BaseException:
            manifest.spend(stage, time.monotonic() - began)
            raise
        manifest.spend(stage, time.monotonic() - began, facts)
    told(manifest, None)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON reads it back, so that what was written compares equal."""
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """What `recipe.json` holds: recipe, order, stages. Raises ValueError for a damaged one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if {"recipe", "stages"} <= data.keys():
            return dict(data)
    except (ValueError, AttributeError):
        pass
    raise ValueError(f"{path} is damaged: choose another --out, or delete the folder to begin anew")
