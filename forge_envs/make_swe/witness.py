"""Runs inside a box, by itself: scripts of issues, with the bug and with gold, under two hash seeds each.

`python3 witness.py JOB`: a JSON file with states (files in place), scripts, and where the answers go. Every
state and seed is a fresh Python, every script a fork of it in an empty folder. A script calls `__show__(x)`
to tell a value.
"""

from __future__ import annotations

import ast
import builtins
import code
import contextlib
import io
import json
import linecache
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
from typing import Any, NamedTuple

SHOW = "__show__"
NAME = "example.py"
LONGEST = 2_000
HABITS = (
    {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "4242", "TZ": "Asia/Kolkata", "LC_ALL": "C"},
)
"""What differs between two runs of a script, besides time and chance: what it tells must not."""
PATIENCE = 20.0
"""Seconds for one script."""


class ValueTold(BaseException):
    """Ends a script once its value is told; no script catches it."""


def main(path: str) -> None:
    """Do all that the job asks for."""
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    root = os.path.realpath(job["root"])
    found: dict[str, Any] = {"python": platform.python_version(), "answers": {}}
    for state, files in job["states"].items():
        before: dict[str, FileThen | None] = {}
        try:
            for name, text in files.items():
                full = os.path.join(root, name)
                before[full] = place(full, None if text is None else FileThen(text.encode("latin-1")))
            for number, habits in enumerate(HABITS):
                found["answers"][f"{state}{number}"] = state_of(path, habits)
        finally:
            for full, held in before.items():
                place(full, held)
    with open(job["out"], "w", encoding="utf-8") as out:
        json.dump(found, out)


class FileThen(NamedTuple):
    """What a file holds, and when it was written, in nanoseconds; now, where that is not said."""

    data: bytes
    written: int | None = None


def place(path: str, held: FileThen | None) -> FileThen | None:
    """Write a file, or remove it for None; returns what it held, None if it was not there."""
    before = None
    if os.path.exists(path):
        with open(path, "rb") as file:
            before = FileThen(file.read(), os.stat(path).st_mtime_ns)
    if held is None:
        os.unlink(path)
        return before
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(held.data)
    if held.written is not None:
        os.utime(path, ns=(held.written, held.written))
    return before


def state_of(path: str, habits: dict[str, str]) -> list[Any]:
    """The answers of all scripts in a fresh Python; None for one that hangs or dies."""
    command = [sys.executable, "-B", os.path.abspath(__file__), "--scripts", path]
    done = subprocess.run(command, env={**os.environ, **habits}, stdout=subprocess.PIPE, check=True)
    answers: list[Any] = json.loads(done.stdout)
    return answers


def scripts_of(path: str) -> None:
    """Print the answers of all scripts of a job."""
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    sys.path[0] = ""
    if job.get("warm"):
        warm([script["text"] for script in job["scripts"]])
    answers = []
    for script in job["scripts"]:
        with tempfile.TemporaryDirectory(prefix="forge-script-") as folder:
            answers.append(fork(script, os.path.realpath(job["root"]), folder))
    json.dump(answers, sys.stdout)


def warm(texts: list[str]) -> None:
    """Import what scripts import, so that not each of them has to; what fails will fail in them."""
    lines = {}
    for text in texts:
        with contextlib.suppress(SyntaxError):
            top = [node for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
            lines.update(dict.fromkeys(map(ast.unparse, top)))
    with tempfile.TemporaryDirectory(prefix="forge-script-") as folder, open(os.devnull, "w") as nowhere:
        os.chdir(folder)
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            for line in lines:
                with contextlib.suppress(BaseException):
                    exec(line, {"__name__": "__main__"})
        os.chdir("/")


def fork(script: dict[str, str], root: str, folder: str) -> Any:
    """One script in a child of this process."""
    answer = os.path.join(folder, "answer")
    inside = os.path.join(folder, "inside")
    os.mkdir(inside)
    child = os.fork()
    if child == 0:
        play(script, root, inside, answer)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if time.monotonic() >= until:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
    try:
        with open(answer, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def play(script: dict[str, str], root: str, folder: str, answer: str) -> None:
    """The child: run a script, leave what it did, end at once."""
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        for stream in (1, 2):
            os.dup2(0, stream)
        found = session(script["text"]) if script.get("how") == "session" else run(script["text"], root)
        with open(answer + ".part", "w", encoding="utf-8") as file:
            json.dump(found, file)
        os.rename(answer + ".part", answer)
    finally:
        os._exit(0)


def run(text: str, root: str) -> dict[str, Any]:
    """What a script prints, the value that it tells, and how it ends."""
    found: dict[str, Any] = {"said": "", "value": None, "raised": None}

    def show(value: object) -> None:
        found["value"] = {"repr": shown(repr, value), "str": shown(str, value), "type": type(value).__name__}
        raise ValueTold

    said = io.StringIO()
    linecache.cache[NAME] = (len(text), None, text.splitlines(keepends=True), NAME)
    module = types.ModuleType("__main__")
    sys.modules["__main__"], space = module, vars(module)
    vars(builtins)[SHOW] = show
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        try:
            exec(compile(text, NAME, "exec"), space)
        except ValueTold:
            pass
        except BaseException as error:
            found["raised"] = told(error, root)
    found["said"] = said.getvalue()[:LONGEST]
    return found


def told(error: BaseException, root: str) -> dict[str, Any]:
    """An exception: its last line as a traceback has it, and where it passed."""
    frames = [
        [
            frame.filename if frame.filename == NAME else relative(frame.filename, root),
            frame.lineno,
            frame.name,
        ]
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    own = [frame for frame in frames if frame[0] == NAME]
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else kind.__module__ + "."
    return {
        "type": kind.__name__,
        "last": "".join(traceback.format_exception_only(kind, error))[:LONGEST].strip(),
        "name": module + kind.__qualname__,
        "lines": [frame[1] for frame in own],
        "inside": bool(frames) and frames[-1][0] != NAME,
    }


def relative(path: str, root: str) -> str:
    """A path within the repository, else empty."""
    path = os.path.realpath(path)
    return os.path.relpath(path, root) if path.startswith(root + os.sep) else ""


def shown(how: Any, value: object) -> str:
    """A value as Python writes it; empty for one that cannot be written."""
    try:
        return str(how(value))[: LONGEST + 1]
    except Exception:
        return ""


def session(text: str) -> dict[str, Any]:
    """What a person sees who types the lines of an interactive session: the session with its answers."""
    blocks = re.split(r"^>>> ?", text, flags=re.M)[1:]
    console, seen = code.InteractiveConsole({"__name__": "__main__", "__builtins__": builtins}), []
    for block in blocks:
        lines = block.splitlines()
        typed = lines[:1] + [line[4:] for line in lines[1:] if line.startswith("...")]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            for line in [*typed, *([""] if len(typed) > 1 else [])]:
                console.push(line)
        seen.append(f">>> {typed[0]}" + "".join(f"\n... {line}" for line in typed[1:]))
        if answer := said.getvalue().rstrip("\n"):
            seen.append(answer)
    return {"said": "\n".join(seen)[: 4 * LONGEST], "value": None, "raised": None}


if __name__ == "__main__":
    if sys.argv[1] == "--scripts":
        scripts_of(sys.argv[2])
    else:
        main(sys.argv[1])
