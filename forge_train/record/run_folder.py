"""The run folder: everything a run leaves behind, and all that a report or a resume needs.

    config.toml                     as resolved
    events.jsonl                    append-only history: start, resume, evaluation, checkpoint, ...
    metrics.jsonl                   one line per step
    rollouts/step-000012.jsonl.gz   some of the step's episodes
    checkpoints/                    see checkpoint.py
    reference/                      whom the policy is held to, see reference_keeper.py
    forge.lock                      held by the one process that writes

A process can be killed at any instant: lines are written whole, a torn last one is repaired on opening, and
everything else is written aside and renamed.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from forge_train.config import Config, dump, load, results_of
from forge_train.config.explain import ConfigError, show
from forge_train.record.environment import environment
from forge_train.trajectory import Trajectory, by_action

LOCK = "forge.lock"
"""Made before anything else, so its presence tells a run folder from one that is somebody's own."""


class RunFolder:
    """The folder of one run, open for writing by this process alone.

    Make it with `RunFolder.create(config)`; close it, or use it as a context manager.
    """

    def __init__(self, path: Path, lock: BinaryIO, resumed: bool):
        self.path = path
        self.resumed = resumed
        """The folder already held this run."""
        self.listeners: list[Callable[[str, Mapping[str, Any]], None]] = []
        """Told of every event by its name, and of "metrics", once they are written."""
        self._lock = lock
        for name in ("events.jsonl", "metrics.jsonl"):
            repair(path / name)
        self._events = _appending(path / "events.jsonl")
        self._metrics = _appending(path / "metrics.jsonl")
        self._last = max((line["step"] for line in read_lines(path / "metrics.jsonl")), default=-1)

    @classmethod
    def create(cls, config: Config) -> RunFolder:
        """Begin the run of `config` in `config.run.folder`, or take it up again where it is there.

        Raises ValueError for a folder that cannot be written, holds something else or a run whose config asks
        for other results, or is being written by another process.
        """
        path = config.run.folder
        try:
            path.mkdir(parents=True, exist_ok=True)
            _refuse_strangers(path)
            lock = _take_lock(path)
        except OSError as error:
            raise ValueError(
                f"run folder {path} cannot be written ({error.strerror or error}); choose another run.out"
            ) from None
        try:
            if resumed := (path / "config.toml").exists():
                _refuse_other_config(path, config)
            (path / "rollouts").mkdir(exist_ok=True)
            (path / "checkpoints").mkdir(exist_ok=True)
            write_atomic(path / "config.toml", dump(config).encode())
            folder = cls(path, lock, resumed)
        except BaseException:
            lock.close()
            raise
        folder.event("open" if resumed else "start", environment=environment())
        return folder

    @property
    def checkpoints(self) -> Path:
        """Where checkpoint.py keeps its folders."""
        return self.path / "checkpoints"

    @property
    def began(self) -> float:
        """When the run began, in seconds since 1970, however often it was taken up again."""
        return float(read_lines(self.path / "events.jsonl")[0]["time"])

    def event(self, event: str, **fields: Any) -> None:
        """Append one event; fields are JSON, `step` is the number of updates done where it applies."""
        append(self._events, {"event": event, "time": round(time.time(), 3), **fields})
        for listener in self.listeners:
            listener(event, fields)

    def metrics(self, step: int, values: Mapping[str, Any]) -> None:
        """Append the metrics of `step`. Steps only go up; `rewind` first to replay some."""
        if step <= self._last:
            raise ValueError(f"metrics of step {step}: step {self._last} is written; rewind({step}) first")
        append(self._metrics, {"step": step, **values})
        self._last = step
        for listener in self.listeners:
            listener("metrics", {"step": step, **values})

    def rollouts(self, step: int, records: Iterable[Mapping[str, Any]]) -> Path:
        """Store episodes of `step`, each as `rollout_record` makes it."""
        path = self.path / "rollouts" / f"step-{step:06d}.jsonl.gz"
        text = "".join(_line(record) for record in records)
        write_atomic(path, gzip.compress(text.encode(), compresslevel=6, mtime=0))
        return path

    def rewind(self, step: int) -> None:
        """Forget metrics and rollouts of `step` and later, which will be replayed.

        Killed half way, the next call finishes it. Events stay: they are history; see `standing`.
        """
        kept = [line for line in read_lines(self.path / "metrics.jsonl") if line["step"] < step]
        write_atomic(self.path / "metrics.jsonl", "".join(map(_line, kept)).encode())
        self._metrics.close()
        self._metrics = _appending(self.path / "metrics.jsonl")
        self._last = max((line["step"] for line in kept), default=-1)
        for path in rollout_files(self.path):
            if step_of(path) >= step:
                path.unlink()
        self.event("resume", step=step)

    def close(self) -> None:
        """Let go of the files and of the lock. Calling it twice is fine."""
        for file in (self._events, self._metrics, self._lock):
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def rollout_record(
    trajectory: Trajectory, advantages: Sequence[float], decode: Callable[[list[int]], str]
) -> dict[str, Any]:
    """A trajectory as it is stored: with the advantage of each action and the text of each token.

    Of advantages by token the mean over each action is kept.
    """
    return {
        **trajectory.as_dict(),
        "advantages": by_action(trajectory, advantages),
        "pieces": [token_pieces(segment.tokens, decode) for segment in trajectory.segments],
    }


def group_records(
    groups: Iterable[Iterable[Trajectory]],
    credit: Iterable[Iterable[Sequence[float]]],
    decode: Callable[[list[int]], str],
) -> list[dict[str, Any]]:
    """The records of groups, with the advantages of each member."""
    decode = _remembering(decode)  # members of a step say much the same
    return [
        rollout_record(trajectory, advantages, decode)
        for group, rows in zip(groups, credit, strict=True)
        for trajectory, advantages in zip(group, rows, strict=True)
    ]


def token_pieces(tokens: Sequence[int], decode: Callable[[list[int]], str]) -> list[str]:
    """The text of each token. A character spread over several tokens is told at its last one.

    >>> table = {1: b"a", 2: b"\\xc3", 3: b"\\xa9"}
    >>> token_pieces([1, 2, 3], lambda ids: b"".join(table[i] for i in ids).decode(errors="replace"))
    ['a', '', 'é']
    """
    decode = _remembering(decode)
    pieces, held, told = [], list[int](), 0
    for token in tokens:
        held.append(token)
        text = decode(held)
        # A torn character decodes to U+FFFD until its last byte is there. Bytes that never become one
        # end after 64 tokens.
        clean = text.rstrip("\ufffd") if len(held) < 64 else text
        pieces.append(clean[told:])
        told = len(clean)
        if clean == text:
            held, told = [], 0
    if held:
        pieces[-1] += decode(held)[told:]
    return pieces


def _remembering(decode: Callable[[list[int]], str]) -> Callable[[list[int]], str]:
    known: dict[tuple[int, ...], str] = {}

    def remembered(tokens: list[int]) -> str:
        key = tuple(tokens)
        if key not in known:
            known[key] = decode(tokens)
        return known[key]

    return remembered


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, gzipped or not; a missing file is empty, a torn end is left out.

    Raises ValueError with file and line when any other line is damaged.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    lines = data.split(b"\n")
    found = []
    for number, line in enumerate(lines, 1):
        item = _parse(line)
        if item is not None:
            found.append(item)
        elif line.strip() and number < len(lines):
            raise ValueError(
                f"{path}: line {number} is damaged ({show(line[:40].decode('utf-8', 'replace'))}); "
                "delete that line"
            )
    return found


def repair(path: Path) -> None:
    """End the line of a JSON-lines file that a kill left torn: complete it, or drop what is no object."""
    if not path.exists():
        return
    data = path.read_bytes()
    ended = data.rfind(b"\n") + 1
    if ended < len(data):
        with open(path, "r+b") as file:
            if _parse(data[ended:]) is not None:
                file.seek(0, os.SEEK_END)
                file.write(b"\n")
            else:
                file.truncate(ended)


def standing(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The events that still hold: those of steps which a later resume replays are left out."""
    kept: list[dict[str, Any]] = []
    for event in events:
        if event.get("event") == "resume":
            kept = [old for old in kept if old.get("step", -1) <= event["step"]]
        kept.append(dict(event))
    return kept


def rollout_files(folder: Path) -> list[Path]:
    """Stored episodes, a file per step, oldest first."""
    return sorted((folder / "rollouts").glob("step-*.jsonl.gz"))


def step_of(path: Path) -> int:
    """The step in a name.

    >>> step_of(Path("rollouts/step-000012.jsonl.gz"))
    12
    """
    return int(path.name.removeprefix("step-").split(".")[0])


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data` such that every reader, and every kill, sees the old or the new file whole."""
    aside = path.with_name(f".{path.name}.tmp")
    with open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames inside `path` survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_strangers(path: Path) -> None:
    """Never mix a run into a folder that holds something else."""
    names = {entry.name for entry in path.iterdir()}
    # What a creation that was killed leaves before there is a config.
    begun = names <= {LOCK, ".config.toml.tmp", "rollouts", "checkpoints"}
    if names and not (LOCK in names and (begun or "config.toml" in names)):
        found = ", ".join(sorted(names)[:3])
        raise ValueError(
            f"{path} is not empty and not a run folder (it holds {found}); choose another run.out"
        )


def _refuse_other_config(path: Path, config: Config) -> None:
    """One folder, one experiment: only what changes no result may differ from the config on disk."""
    try:
        old = results_of(load(path / "config.toml"))
    except ConfigError as error:
        raise ValueError(
            f"{path} holds a run whose config does not load; choose another run.out\n{error}"
        ) from None
    new = results_of(config)
    differing = [
        f"  {key}: {show(old.get(key))} there, {show(new.get(key))} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if differing:
        lines = "\n".join(differing)
        raise ValueError(
            f"{path} holds a run of another config:\n{lines}\n"
            "choose another run.out (or run.name), or use the same values to resume"
        )


def _take_lock(path: Path) -> BinaryIO:
    """Hold the lock file until closed; the system lets go of it when the process dies, however it dies."""
    lock = _appending(path / LOCK)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read(32).decode(errors="replace").strip() or "unknown"
        lock.close()
        raise ValueError(
            f"{path} is being written by another process (pid {holder}); wait for it, stop it, "
            "or choose another run.out"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n".encode())
    return lock


def append(file: BinaryIO, record: Mapping[str, Any]) -> None:
    """One write, so that a kill tears at most this line."""
    data = _line(record).encode()
    if file.write(data) != len(data):
        raise OSError(f"{file.name}: the line was cut short; is the disk full?")


def _appending(path: Path) -> BinaryIO:
    """Unbuffered: what is written is the system's at once, and survives this process."""
    return open(path, "a+b", buffering=0)


def _line(record: Mapping[str, Any]) -> str:
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False, default=_scalar) + "\n"
    except ValueError:
        return json.dumps(_finite(record), ensure_ascii=False, allow_nan=False) + "\n"


def _scalar(value: Any) -> Any:
    """Numbers of numpy and torch as plain ones."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON: {value!r}")


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    number = value if isinstance(value, float) else _scalar(value)
    return number if not isinstance(number, float) or math.isfinite(number) else None


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        item = json.loads(line)
    except ValueError:
        return None
    return item if isinstance(item, dict) else None
