"""A run that could not begin leaves its folder to the mended config."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from forge_train.record.run_folder import LOCK, RunFolder


@contextmanager
def disowned_on_error(folder: RunFolder) -> Iterator[None]:
    """On a ValueError forget all that a new folder holds, but for its lock; one taken up again is kept."""
    try:
        yield
    except ValueError:
        if not folder.resumed:
            for file in folder.path.iterdir():
                if file.is_file() and file.name != LOCK:
                    file.unlink()
        raise
