"""TensorBoard: event files in the run folder, one folder for each kind of figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_train.record.trackers.tracker import About


class TensorBoard:
    """Writes below `folder`, by default RUN/tensorboard: `tensorboard --logdir RUN/tensorboard`.

    Updates, evaluations and supervised training count steps of their own, so that each is a run of its own in
    TensorBoard; and what a resumed run repeats is purged from the first alone.
    """

    def __init__(self, about: About, *, folder: str = "", flush_secs: int = 30) -> None:
        self._folder = Path(folder).expanduser() if folder else about.folder / "tensorboard"
        self._flush_secs = flush_secs
        self._writers: dict[str, Any] = {}
        if about.id is None:
            lines = "\n".join(f"    {key} = {value!r}" for key, value in about.config.items())
            self._writer("train").add_text("config", lines)

    @property
    def id(self) -> str:
        """The folder."""
        return str(self._folder)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A scalar each."""
        for name, value in values.items():
            self._writer(name.partition("/")[0]).add_scalar(name, value, step)

    def rewind(self, step: int) -> None:
        """TensorBoard forgets the updates from `step` on."""
        old = self._writers.pop("train", None)
        if old is not None:
            old.close()
        self._writer("train", purge_step=step)

    def keep(self, path: Path) -> None:
        """It has no place for files: the path."""
        self._writer("train").add_text(path.stem, str(path.resolve()))

    def close(self, failed: bool) -> None:
        """Write what is buffered."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, kind: str, purge_step: int | None = None) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        if kind not in self._writers:
            self._writers[kind] = SummaryWriter(
                str(self._folder / kind), purge_step=purge_step, flush_secs=self._flush_secs
            )
        return self._writers[kind]
