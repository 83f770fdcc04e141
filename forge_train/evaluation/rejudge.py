"""Stored episodes judged again, after a grader has changed: the same actions in the same world, graded anew.

Each episode is played again with its task, its seed and its own words, and its outcome is that of the world
as it is now. That means something only where the world answers as it did: an episode to which it says
anything else is told apart (`exact` is false), whether a tool changed, a model plays the customer, or a
container prints times. What was never graded (cut off by tokens or the clock, failed) stays out.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_train.play.episode import gather
from forge_train.play.world_pool import Seat, World, WorldFailed
from forge_train.record.run_folder import read_lines, rollout_files, write_atomic
from forge_train.seeds import derive_seed

Line = dict[str, Any]
GRADED = ("terminated", "max_turns")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One episode judged again.

    >>> Verdict("Own/Shop-v0", "t1", 1.0, 0.0, exact=True).changed
    True
    """

    world: str
    task: str
    before: float
    after: float | None
    """None where the world gives no verdict any more."""
    exact: bool
    """Whether the world answered every action as it did then."""
    why: str = ""
    """What was different where it is not exact."""

    @property
    def changed(self) -> bool:
        """Whether the grader's change changed it."""
        return self.exact and self.after != self.before


async def rejudge(
    path: Path, world: str | None = None, args: Mapping[str, Any] | None = None, *, in_flight: int = 32,
    deadline: float = 600.0, progress: Callable[[], None] = lambda: None,
) -> tuple[list[Verdict], Path | None]:  # fmt: skip
    """Judge the stored episodes of a run, or of one file (.jsonl, .jsonl.gz), again.

    World and arguments are those of the run (`config.toml`) or of each line (`plays.jsonl`), or as given.
    Returns the verdicts, and the new file that holds every episode with its new outcome: `rejudged-001.jsonl`
    and so on, beside what was read. Raises ValueError.
    """
    files = rollout_files(path) if path.is_dir() else [path]
    files = files or ([path / "plays.jsonl"] if (path / "plays.jsonl").is_file() else [])
    if not files or not all(file.is_file() for file in files):
        raise ValueError(f"{path} holds no stored episodes; give a run folder, its rollouts, or plays.jsonl")
    lines = [line for file in files for line in _read(file) if _graded(line)]
    if not lines:
        raise ValueError(f"{path}: none of its episodes was graded, so there is nothing to judge again")
    known = _worlds(path)
    places: dict[str, World] = {}
    limit = asyncio.Semaphore(in_flight)

    def place_of(line: Line) -> World:
        name = world or _where(line)
        given = known.get(name, (name, line.get("args", {})))
        chosen = (world, dict(args or {})) if world else (given[0], {**given[1], **(args or {})})
        key = json.dumps(chosen, sort_keys=True)
        if key not in places:
            places[key] = World(str(chosen[0]), chosen[1], _where(line))
        return places[key]

    async def once(line: Line, place: World) -> Verdict:
        async with limit:
            found = await judged(line, place, deadline)
        progress()
        return found

    try:
        seats = [(line, place_of(line)) for line in lines]
        verdicts = await gather(once(line, place) for line, place in seats)
    finally:
        for place in places.values():
            place.close()
    return verdicts, _write(path, lines, verdicts)


async def judged(line: Line, place: World, deadline: float) -> Verdict:
    """Play an episode's own actions again and hear the verdict."""
    info = line.get("info", line)
    task, messages = str(info["task"]), info["messages"]
    before = float(line["outcome"])
    told = list(messages[: info["opening"]])
    seat, broken, why, after = Seat(place, task, _seed(line)), False, "", None
    try:
        async with asyncio.timeout(deadline):
            heard = await seat.reset()
            why = _differs(heard, told, "the opening")
            over = False
            for turn, (action, answer) in enumerate(_turns(messages[info["opening"] :])):
                heard, _, terminated, truncated, found = await seat.step(action)
                over = terminated or truncated
                why = why or _differs(heard, answer, f"the answer to action {turn + 1}")
                if over:
                    after = found.get("outcome")
                    break
            if not over:  # its player left before the world did
                after = (await seat.cut())[4].get("outcome")
    except WorldFailed as failure:
        broken, why = True, str(failure).splitlines()[0]
    except TimeoutError:
        broken, why = True, f"no end within {deadline:g} s"
    finally:
        seat.leave(broken=broken)
    return Verdict(place.name, task, before, None if after is None else float(after), not why, why)


def _turns(messages: Sequence[Line]) -> Iterator[tuple[str, list[Line]]]:
    """Each action with what the world answered."""
    action, answer = None, list[Line]()
    for message in messages:
        if message["role"] == "assistant":
            if action is not None:
                yield action, answer
            action, answer = message["content"], []
        else:
            answer.append(message)
    if action is not None:
        yield action, answer


def _differs(heard: Sequence[Line], told: Sequence[Line], what: str) -> str:
    """What is not as it was, in words; "" where nothing is. Compared as JSON, which it was stored as."""
    now = json.loads(json.dumps(list(heard)))
    if now == list(told):
        return ""
    pairs = [(a.get("content"), b.get("content")) for a, b in zip(now, told, strict=False)]
    first = next(((a, b) for a, b in pairs if a != b), (len(now), len(told)))
    return f"{what} is {str(first[0])[:60]!r} now and was {str(first[1])[:60]!r}"


def _read(file: Path) -> list[Line]:
    try:
        return read_lines(file)
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{file} cannot be read ({error})") from None


def _graded(line: Line) -> bool:
    info = line.get("info", line)
    return line.get("ending") in GRADED and line.get("outcome") is not None and "messages" in info


def _seed(line: Line) -> int:
    """Of the episode; a line of plays.jsonl has that of its command."""
    info = line.get("info", line)
    seed = int(info.get("seed", 0))
    return derive_seed(seed, str(info["task"]), line["repetition"]) if "repetition" in line else seed


def _where(line: Line) -> str:
    return str(line.get("info", line).get("world", ""))


def _worlds(path: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Ids and arguments by name, of the run that a folder or a file belongs to."""
    for folder in (path, *path.resolve().parents):
        if (folder / "config.toml").is_file():
            tables = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8")).get("worlds", [])
            return {t.get("name") or t["id"].split(":")[-1]: (t["id"], t.get("args", {})) for t in tables}
    return {}


def _write(path: Path, lines: Sequence[Line], verdicts: Sequence[Verdict]) -> Path:
    """Everything that was judged, with its new outcome, in a file that was not there."""
    folder = path if path.is_dir() else path.parent
    number = 1
    while (file := folder / f"rejudged-{number:03d}.jsonl").exists():
        number += 1
    rows = [
        {**line, "outcome": v.after, "rejudged": {"before": v.before, "exact": v.exact, "why": v.why}}
        for line, v in zip(lines, verdicts, strict=True)
    ]
    write_atomic(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    return file
