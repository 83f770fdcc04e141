"""A run in which everything goes wrong now and then."""

from __future__ import annotations

import asyncio
from pathlib import Path

from forge_train.config import Config, load
from forge_train.engines.unreliable import UnreliableEngine
from forge_train.record.run_folder import RunFolder
from forge_train.run import Run


def rehearse(config: Config, *, fails: float = 0.0, hangs: float = 0.0, late: float = 0.0) -> Run:
    """All stages of `config`, with an engine of which some requests fail, hang or are late."""
    with RunFolder.create(config) as folder:
        run = Run(config, folder)
        run.engine = UnreliableEngine(  # type: ignore[assignment]
            run.engine, fails=fails, hangs=hangs, late=late, delay=0.2
        )
        asyncio.run(run.all())
    return run


def main(file: Path, fails: float) -> None:
    """What a process of its own does with a config."""
    rehearse(load(file), fails=fails)
