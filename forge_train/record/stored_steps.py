"""The updates of a run that can be done again without playing: their groups, as the journal kept them.

Groups stay on disk until the oldest checkpoint that is kept holds what was learned from them, so that every
update since then is here whole: `run.keep_checkpoints` and `run.checkpoint_every` say how far back that is.
Nothing here writes, so that a run may go on meanwhile.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

from forge_train.record.run_folder import read_lines
from forge_train.trajectory import Trajectory

Group = list[Trajectory]


@dataclass(frozen=True, slots=True)
class Taken:
    """What an update took."""

    groups: list[int]
    rejected: list[int]
    """Groups that it left out as useless; they count in its figures."""
    lags: list[int]


class StoredSteps:
    """What the folder of a run, `path`, holds of its updates."""

    def __init__(self, path: Path) -> None:
        self._path = path / "finished"
        self.taken: dict[int, Taken] = {}
        for event in read_lines(path / "events.jsonl"):
            if event["event"] == "consume":
                # An update done anew, in another way than before: what followed the old one never was.
                self.taken = {k: v for k, v in self.taken.items() if k < event["step"]}
                self.taken[event["step"]] = Taken(event["groups"], event["rejected"], event["lags"])

    def __contains__(self, step: object) -> bool:
        taken = self.taken.get(step) if isinstance(step, int) else None
        return taken is not None and all(self._file(i).is_file() for i in taken.groups + taken.rejected)

    def groups(self, step: int) -> tuple[list[Group], list[Group], list[int]]:
        """Groups that an update took, those it left out, and lags; ValueError where they are damaged."""
        taken = self.taken[step]
        return [self._read(i) for i in taken.groups], [self._read(i) for i in taken.rejected], taken.lags

    def _file(self, index: int) -> Path:
        return self._path / f"{index:08d}.json.gz"

    def _read(self, index: int) -> Group:
        try:
            items = json.loads(gzip.decompress(self._file(index).read_bytes()))
            return [Trajectory.from_dict(item) for item in items]
        except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
            raise ValueError(
                f"{self._file(index)} cannot be read ({error}); its step cannot be replayed"
            ) from None
