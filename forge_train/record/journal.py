"""The journal: what was started, played and trained, so that a killed run does no work twice.

Three events tell the whole story, in `events.jsonl` of the run folder:

    dispatch  group, step      a group started with the weights of `step`, meant for the update `update`
    finish    group, ...       it has been played; its episodes lie in finished/GROUP.json.gz
    consume   step, groups     the update of `step` took these groups

A run that continues from a checkpoint repeats the updates after it with the very groups they took, plays
again what was under way, with the same seeds, and keeps what was finished and waited.
"""

from __future__ import annotations

import gzip
import json
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forge_train.record.played import Played, RunSoFar
from forge_train.record.run_folder import RunFolder, read_lines
from forge_train.trajectory import Trajectory

Group = list[Trajectory]


class Journal:
    """The journal of one run, opened at the checkpoint of `step`.

    `exact`: the run is synchronous and its engine reproducible, so a step that was cut short is played
    again as a whole: engines repeat their numbers to the bit only for the same requests together.
    `recall`: so many updates back episodes are kept, to be trained once more (`curriculum.recall`).
    """

    def __init__(self, folder: RunFolder, *, step: int = 0, exact: bool = False, recall: int = 0) -> None:
        self._folder = folder
        self._recall = recall
        self._path = folder.path / "finished"
        self._path.mkdir(exist_ok=True)
        self._recorded: dict[int, tuple[list[int], list[int]]] = {}
        self._load(step, exact)

    def _load(self, step: int, exact: bool) -> None:
        began: dict[int, int] = {}
        meant: dict[int, int] = {}
        played: dict[int, Played] = {}
        consumed: dict[int, tuple[list[int], list[int]]] = {}
        for event in read_lines(self._folder.path / "events.jsonl"):
            if event["event"] == "dispatch":
                began[event["group"]] = event["step"]
                meant[event["group"]] = event.get("update", event["step"])
            elif event["event"] == "finish" and "task" in event:
                played[event["group"]] = Played(**{key: event[key] for key in _PLAYED})
            elif event["event"] == "consume":
                # An update done anew, in another way than before: what followed the old one never was.
                consumed = {k: v for k, v in consumed.items() if k < event["step"]}
                consumed[event["step"]] = (event["groups"], event["rejected"])
        self.replayed = step
        """The first step that is not a repetition."""
        while self.replayed in consumed and self._all_there(consumed[self.replayed]):
            self._recorded[self.replayed] = consumed[self.replayed]
            self.replayed += 1
        gone = {i for k, (groups, rejected) in consumed.items() if k < step for i in groups + rejected}
        spoken_for = {i for groups, rejected in self._recorded.values() for i in groups + rejected}
        self.began = {
            i: version
            for i, version in began.items()
            if i not in gone
            and (i in spoken_for or version < self.replayed or (version == self.replayed and not exact))
        }
        """Groups that were started and not trained before the checkpoint: the version each started with."""
        self.left_out = {i for _, rejected in self._recorded.values() for i in rejected}
        """Groups that updates to be repeated left out as useless: those refills are spent on them."""
        self._back = {k: groups for k, (groups, _) in consumed.items() if step - self._recall <= k < step}
        self._taken = {k: groups + rejected for k, (groups, rejected) in self._recorded.items()} | self._back
        self.started = max([*gone, *self.began, -1]) + 1
        """Groups started so far; the index of the next one."""
        self.updates = [meant.get(i, 0) for i in range(self.started)]
        """The update that each of them was meant for."""
        self.history = {
            k: [played[i] for i in groups + rejected if i in played]
            for k, (groups, rejected) in consumed.items()
            if k < self.replayed
        }
        """What became of the groups that updates took."""
        kept = {*self.began, *(i for groups in self._back.values() for i in groups)}
        for path in self._path.glob("*.json.gz"):
            if int(path.name.split(".")[0]) not in kept:
                path.unlink()

    def past(self, warmed: dict[int, float]) -> RunSoFar:
        """What decides what a run that goes on plays next; `warmed` as of `evaluation.warming`."""
        return RunSoFar(self.updates, self.history, warmed)

    def recent(self) -> dict[int, list[Group]]:
        """The groups of the last `recall` updates before the checkpoint, as far as they can be read."""
        return {k: [g for g in map(self._read, groups) if g is not None] for k, groups in self._back.items()}

    def finished(self) -> list[tuple[int, Group, bool | None]]:
        """Groups that were played and not trained before the checkpoint, oldest first.

        With each: whether an update that will be repeated trained it or left it out; None if none did.
        """
        used = {i: i in groups for groups, rejected in self._recorded.values() for i in groups + rejected}
        read = ((i, self._read(i), used.get(i)) for i in sorted(self.began))
        return [(i, group, useful) for i, group, useful in read if group is not None]

    def recorded(self, step: int) -> tuple[list[int], list[int]] | None:
        """The groups an update of this run once took, and those it left out as useless; None if it is new."""
        return self._recorded.get(step)

    def dispatch(self, index: int, version: int, update: int) -> None:
        """Group `index` starts with the weights of `version`; it is meant for `update`."""
        self._folder.event("dispatch", group=index, step=version, update=update)

    def finish(self, index: int, version: int, group: Sequence[Trajectory]) -> None:
        """Group `index` has been played: keep it until a checkpoint holds what was learned from it."""
        file = self._file(index)
        aside = file.with_name(f".{file.name}.tmp")
        text = json.dumps([t.as_dict() for t in group], separators=(",", ":"))
        aside.write_bytes(gzip.compress(text.encode(), compresslevel=1, mtime=0))
        aside.rename(file)
        endings: dict[str, int] = {}
        for t in group:
            endings[t.ending] = endings.get(t.ending, 0) + 1
        self._folder.event(
            "finish",
            group=index,
            step=version,
            endings=endings,
            **(found.told() if (found := Played.of(group)) else {}),
            **{k: round(max(t.info.get(k, 0.0) for t in group), 4) for k in _SECONDS},
        )

    def consume(self, step: int, groups: list[int], rejected: list[int], lags: list[int]) -> None:
        """The update of `step` takes `groups`; `rejected` had nothing to teach and is only counted."""
        self._taken[step] = groups + rejected
        self._folder.event("consume", step=step, groups=groups, rejected=rejected, lags=lags)

    def event(self, event: str, **fields: Any) -> None:
        """Anything else worth a line."""
        self._folder.event(event, **fields)

    def saved(self, step: int) -> None:
        """A checkpoint of `step` holds what was learned before it: those episodes may go."""
        for old in [k for k in self._taken if k < step - self._recall]:
            for index in self._taken.pop(old):
                self._file(index).unlink(missing_ok=True)

    def _file(self, index: int) -> Path:
        return self._path / f"{index:08d}.json.gz"

    def _all_there(self, batch: tuple[list[int], list[int]]) -> bool:
        return all(self._read(i) is not None for i in batch[0] + batch[1])

    def _read(self, index: int) -> Group | None:
        """A stored group; None, with a warning, when the file is damaged: it is played again."""
        try:
            items = json.loads(gzip.decompress(self._file(index).read_bytes()))
            return [Trajectory.from_dict(item) for item in items]
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
            warnings.warn(
                f"{self._file(index)} is damaged ({error}); the group is played again", stacklevel=2
            )
            self._file(index).unlink()
            return None


_PLAYED = ("world", "task", "plays", "solved")
_SECONDS = ("seconds", "generate_seconds", "world_seconds")
