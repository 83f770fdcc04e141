"""Harbor task folders as tests write them: one honest task, and the files that spoil it."""

from __future__ import annotations

from pathlib import Path

HONEST = {
    "task.toml": '[task]\nname = "forge/seven"\n[agent]\ntimeout_sec = 60\n[verifier]\ntimeout_sec = 60\n',
    "instruction.md": "Write the number of days in a week to /work/answer.txt.\n",
    "environment/Dockerfile": "FROM forge/debian:bookworm\nUSER root\nRUN mkdir -p /work\nWORKDIR /work\n",
    "tests/test.sh": (
        "#!/bin/bash\n# the verdict is written once, from what the file holds\n"
        'if [ "$(cat /work/answer.txt 2>/dev/null)" = 7 ]; then echo 1; else echo 0; fi'
        " > /logs/verifier/reward.txt\n"
    ),
    "solution/solve.sh": "#!/bin/bash\n# a week, in days, where it is wanted\necho 7 > /work/answer.txt\n",
}


def write(folder: Path, **changed: str) -> str:
    """The honest task with some files changed; `/` is written `__` and `.` is `_dot_` in their names."""
    files = {**HONEST}
    for name, text in changed.items():
        files[name.replace("__", "/").replace("_dot_", ".")] = text
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)
