"""What of a run's checkpoints stays on disk: few of them, and the optimizer's state in fewer.

Moments are twice the weights. Only going on from a checkpoint needs them, and a run goes on from the newest;
an older one is there for its weights, or for when the newest is damaged.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from forge_train.record.checkpoint import MANIFEST, MOMENTS, candidates
from forge_train.record.run_folder import write_atomic


def thin(folder: Path, keep: int) -> None:
    """Take the optimizer's state out of all checkpoints of `folder` but the `keep` newest.

    Each stays whole at every moment: its manifest forgets the files before they go.
    """
    for old in candidates(folder)[keep:]:
        for moments in old.path.rglob(MOMENTS):
            _forget(old.path, moments.relative_to(old.path).as_posix())
            shutil.rmtree(moments, ignore_errors=True)


def _forget(checkpoint: Path, below: str) -> None:
    manifest = json.loads((checkpoint / MANIFEST).read_bytes())
    files = {name: entry for name, entry in manifest["files"].items() if not name.startswith(f"{below}/")}
    if len(files) < len(manifest["files"]):
        write_atomic(checkpoint / MANIFEST, json.dumps({**manifest, "files": files}, indent=1).encode())
