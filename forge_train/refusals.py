"""What went wrong, in one line that a person can act on, and the exit code that goes with it.

2: what was asked for cannot be done, and the line says what to change; 1: it stopped under way. Anything
that is none of these is a bug of ours, and keeps its traceback.
"""

from __future__ import annotations

import errno
import warnings

from forge_train.engine import EngineFailed

EXTRAS = {"httpx2", "jinja2", "rich", "safetensors", "tokenizers", "tomli_w", "torch", "transformers"}
"""What the light install lacks of the trainer."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a system says when nothing more can be written."""

PLACES = {getattr(errno, name) for name in ("EACCES", "EEXIST", "EISDIR", "ELOOP", "ENAMETOOLONG", "ENOENT",
                                            "ENOTDIR", "EPERM", "EROFS")}  # fmt: skip
"""What it says of a path that was given wrong."""


def refusal(error: BaseException) -> tuple[str, int] | None:
    """The line and the exit code of an error; None for one that is nobody's fault but ours.

    >>> refusal(ValueError("optim.lr = -1: must be greater than 0"))
    ('optim.lr = -1: must be greater than 0', 2)
    >>> refusal(OSError(28, "No space left on device", "runs/a/events.jsonl"))
    ('stopped: runs/a/events.jsonl: No space left on device; free some, and the same command goes on', 1)
    """
    if isinstance(error, ModuleNotFoundError):
        if (error.name or "").partition(".")[0] not in EXTRAS:
            return None
        return f"{error}: the light install has no trainer; pip install 'forge-envs[train]'", 2
    if isinstance(error, OSError) and not isinstance(error, TimeoutError | ConnectionError):
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in FULL:
            return f"stopped: {where}{error.strerror}; free some, and the same command goes on", 1
        if error.filename and error.errno in PLACES:
            return f"{where}{error.strerror}; choose another path, or mend this one", 2
        return f"stopped: {error}", 1
    if isinstance(error, ValueError):
        return str(error), 2
    if isinstance(error, RuntimeError | EngineFailed | TimeoutError | ConnectionError):
        return f"stopped: {error}", 1
    return None


def first_line(error: BaseException, most: int = 200) -> str:
    """The beginning of what a library says, which may be a page.

    >>> first_line(OSError("no weights\\n(1) try this\\n(2) or that"))
    'no weights'
    """
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text if len(text) <= most else f"{text[:most]}…"


_AS_PYTHON = warnings.formatwarning


def told(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a line for a person (`warnings.formatwarning`); those for developers as Python writes
    them.

    >>> told("two tasks are the same", UserWarning, "run.py", 92)
    'forge-train: two tasks are the same\\n'
    """
    if issubclass(category, UserWarning):
        return f"forge-train: {message}\n"
    return _AS_PYTHON(message, category, filename, lineno, line)
