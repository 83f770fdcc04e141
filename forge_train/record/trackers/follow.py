"""From the run folder to trackers, in threads that nothing waits for.

What the folder is told, its listeners are told (`RunFolder.listeners`); figures wait in a queue for the
thread of their tracker. A tracker that is down, slow or broken fills its queue, and what finds no room is
dropped and counted: a run never stops, and never goes slower, for the sake of a tracker.
"""

from __future__ import annotations

import json
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forge_train.config import Config, flatten
from forge_train.config.watching import TRACKERS
from forge_train.record.run_folder import RunFolder, write_atomic
from forge_train.record.step_metrics import learning_speed
from forge_train.record.trackers.tracker import About, Tracker

IDS = "trackers.json"
"""Of the run folder: the id of each tracker's run."""
ROOM = 1000
"""Calls that wait for one tracker, at most."""
MOST_FAILURES = 5
"""Calls that may fail one after the other; then a tracker is not asked any more."""
CLOSE_S = 20.0
"""Seconds that the end of a run waits for all trackers together."""
_REFUSED = re.compile(r"[^\w./ -]")
"""Letters that some tracker does not take in a name."""
Call = Callable[[Tracker], None]


@contextmanager
def followed(config: Config, folder: RunFolder, *, close_s: float = CLOSE_S) -> Iterator[Followers]:
    """Let the trackers of `config` follow what `folder` is told until the block ends.

    Raises ValueError, before anything is played, for a library or a class that is not there.
    """
    made = {name: kind_of(name) for name in config.run.trackers}
    followers = Followers(config, folder, made)
    folder.listeners.append(followers.hear)
    failed = True
    try:
        yield followers
        failed = False
        if (report := folder.path / "report.html").is_file():
            followers.keep(report)
    finally:
        folder.listeners.remove(followers.hear)
        followers.close(failed, close_s)


def kind_of(name: str) -> Callable[..., Tracker]:
    """The class of a tracker by its name, or by "module:Class". Raises ValueError."""
    where, _, attribute = TRACKERS.get(name, name).partition(":")
    if name in TRACKERS and find_spec(name) is None:
        raise ValueError(
            f"run.trackers = [\"{name}\"]: {name} is not installed: pip install 'forge-envs[{name}]', "
            "or leave it out"
        )
    try:
        kind: Callable[..., Tracker] = getattr(import_module(where), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f'run.trackers = ["{name}"]: no such class ({error}); write it as "module:Class", or use one of '
            f"{', '.join(TRACKERS)}"
        ) from None
    return kind


class Followers:
    """The trackers of a run."""

    def __init__(
        self, config: Config, folder: RunFolder, kinds: Mapping[str, Callable[..., Tracker]]
    ) -> None:
        self._path = folder.path / IDS
        self._resumed = folder.resumed
        self._lock = threading.Lock()
        self._ids: dict[str, str] = _known(self._path) if folder.resumed else {}
        flat = flatten(config.model_dump(mode="json", exclude_none=True))

        def maker(name: str, kind: Callable[..., Tracker]) -> Callable[[], Tracker]:
            about = About(config.run.name, folder.path, flat, self._ids.get(name))
            return lambda: kind(about, **config.run.tracker_args.get(name, {}))

        self.all = [Follower(name, maker(name, kind), self._made) for name, kind in kinds.items()]

    def hear(self, kind: str, record: Mapping[str, Any]) -> None:
        """Something was written into the run folder: "metrics", or the name of an event."""
        if kind == "resume" and self._resumed:
            self._tell(lambda tracker: tracker.rewind(record["step"]))
        told = figures(kind, record)
        if told is not None and told[1]:
            step, values = told
            self._tell(lambda tracker: tracker.log(step, values))

    def keep(self, path: Path) -> None:
        """Hand every tracker a file."""
        self._tell(lambda tracker: tracker.keep(path))

    def close(self, failed: bool, seconds: float) -> None:
        """Give all together so many seconds to write what they hold."""
        until = time.monotonic() + seconds
        for follower in self.all:
            follower.finish(failed)
        for follower in self.all:
            follower.wait(max(until - time.monotonic(), 0.0), seconds)

    def _tell(self, call: Call) -> None:
        for follower in self.all:
            follower.tell(call)

    def _made(self, name: str, tracker: Tracker) -> None:
        with self._lock:
            self._ids[name] = tracker.id
            write_atomic(self._path, json.dumps(self._ids, indent=1).encode())


class Follower:
    """One tracker, and the thread that makes it and calls it."""

    def __init__(self, name: str, make: Callable[[], Tracker], made: Callable[[str, Tracker], None]) -> None:
        self.name = name
        self.told = self.dropped = 0
        self._why = ""
        self._make, self._made = make, made
        self._failures = 0
        self._waiting: queue.Queue[Call | None] = queue.Queue()
        self._failed = False
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def tell(self, call: Call) -> None:
        """Let the thread make `call`, or drop it where too many wait. Never blocks."""
        self.told += 1
        if self._waiting.qsize() < ROOM:
            self._waiting.put(call)
        else:
            self._lose(f"{ROOM} calls wait for it already")

    def finish(self, failed: bool) -> None:
        """Nothing comes any more."""
        self._failed = failed
        self._waiting.put(None)

    def wait(self, seconds: float, given: float) -> None:
        """Wait for what it still holds, and say what was lost."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._lose(f"it was not done within {given:.0f} s", self._waiting.qsize())
        if self.dropped:
            say(
                f"tracker {self.name}: {self.dropped} of {self.told} entries did not arrive ({self._why}); "
                "metrics.jsonl and events.jsonl in the run folder have them all"
            )

    def _lose(self, why: str, count: int = 1) -> None:
        """One message for the first trouble, a count at the end."""
        if not self._why:
            say(f"tracker {self.name}: {why}. The run goes on; drop it from run.trackers to do without")
        self._why = self._why or why
        self.dropped += count

    def _work(self) -> None:
        tracker: Tracker | None = None
        try:
            tracker = self._make()
            self._made(self.name, tracker)
        except BaseException as error:  # a library may raise SystemExit; this is its own thread
            self._lose(f"it could not begin ({_brief(error)})", 0)
        while (call := self._waiting.get()) is not None:
            if tracker is None or self._failures >= MOST_FAILURES:
                self._lose("it is not there any more")
                continue
            try:
                call(tracker)
                self._failures = 0
            except BaseException as error:
                self._failures += 1
                self._lose(_brief(error))
        if tracker is not None:
            try:
                tracker.close(self._failed)
            except BaseException as error:
                self._lose(f"closing: {_brief(error)}", 0)


def figures(kind: str, record: Mapping[str, Any]) -> tuple[int, dict[str, float]] | None:
    """What is worth a curve in a line of the run folder: its step and figures; None for other lines.

    >>> figures("metrics", {"step": 3, "loss": 0.5, "seconds": {"total": 2.0}, "endings": {}})
    (3, {'train/loss': 0.5, 'train/seconds/total': 2.0})
    >>> figures("evaluation", {"step": 8, "stage": "after RL", "world": "Own/Shop-v0", "pass@1": 0.25})
    (8, {'eval/Own/Shop-v0/pass_1': 0.25})
    >>> figures("checkpoint", {"step": 8}) is None
    True
    """
    if kind == "metrics":
        step, prefix, left_out = record["step"], "train", {"step"}
        record = {**record, "flops_per_second": learning_speed(record)}
    elif kind == "evaluation":
        step, prefix, left_out = record["step"], f"eval/{record.get('world', '')}", {"step", "time"}
    elif kind == "sft":
        step, prefix, left_out = record["batch"], "sft", {"step", "time", "batch"}
    else:
        return None
    return step, dict(_numbers({k: v for k, v in record.items() if k not in left_out}, prefix))


def _numbers(tree: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        name = f"{prefix}/{_REFUSED.sub('_', str(key))}"
        if isinstance(value, Mapping):
            yield from _numbers(value, name)
        elif hasattr(value, "item") or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield name, float(value)


def _known(path: Path) -> dict[str, str]:
    try:
        ids = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in ids.items()} if isinstance(ids, dict) else {}


def _brief(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else f"{text[:297]}..."


def say(text: str) -> None:
    """A line beside whatever else the terminal shows."""
    print(f"forge-train: {text}", file=sys.stderr)
