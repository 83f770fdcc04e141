"""What a run has kept to imitate: its demonstrations, and round by round the episodes of its own that passed.

    kept/step-000002.json.gz     what the update of step 2 kept

Written before the update, so that a run that goes on from a checkpoint finds what earlier rounds kept, and
writes again, alike, what it repeats.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from forge_train.config import DistillConfig
from forge_train.record.run_folder import write_atomic
from forge_train.trajectory import Trajectory


class Library:
    """The episodes that rounds of expert iteration learn beside their own.

    `demonstrations`: those that stand in every round, if `distill.demonstrations`; `amend`: see
    `forge_train.amending`.
    """

    def __init__(
        self,
        folder: Path,
        config: DistillConfig,
        demonstrations: Sequence[Trajectory] = (),
        amend: Callable[[Sequence[Sequence[Trajectory]]], Awaitable[list[Trajectory]]] | None = None,
    ) -> None:
        self.folder = folder / "kept"
        self.config = config
        self.demonstrations = list(demonstrations) if config.demonstrations else []
        self.amend = amend

    async def beside(
        self, step: int, groups: Sequence[Sequence[Trajectory]], kept: Sequence[Trajectory]
    ) -> list[Trajectory]:
        """What else to learn in the round of `step`, which played `groups` and kept some of it: what is clean
        once amended, what earlier rounds kept, oldest first, and the demonstrations.

        Raises ValueError for a file that is damaged.
        """
        amended = await self.amend(groups) if self.amend else []
        if self.config.past:
            self._write(step, [*kept, *amended])
        rounds = range(max(step - self.config.past, 0), step)
        past = [t for earlier in rounds if self._file(earlier).exists() for t in self._read(earlier)]
        return amended + past + self.demonstrations

    def _write(self, step: int, kept: Sequence[Trajectory]) -> None:
        self.folder.mkdir(exist_ok=True)
        text = json.dumps([t.as_dict() for t in kept], separators=(",", ":"))
        write_atomic(self._file(step), gzip.compress(text.encode(), compresslevel=1, mtime=0))

    def _read(self, step: int) -> list[Trajectory]:
        path = self._file(step)
        try:
            return [Trajectory.from_dict(item) for item in json.loads(gzip.decompress(path.read_bytes()))]
        except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
            raise ValueError(
                f"{path} is damaged ({error}): restore it, or remove the run and begin anew"
            ) from None

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}.json.gz"
