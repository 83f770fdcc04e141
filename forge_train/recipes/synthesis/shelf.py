"""A folder of samples that can be filled bit by bit, and tells what was dropped and why.

    work.jsonl       what was done, one line a piece of work: its key, its samples, or why there are none
    episodes.jsonl   the samples, as `sft.path` reads them
    report.json      how many were made, how many dropped and why
    settings.json    what decides the result; other settings are refused

The same command goes on where it stopped: what `work.jsonl` holds is not made again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_train.record.run_folder import append, read_lines, repair, write_atomic

Line = dict[str, Any]
"""A sample: `messages`, and beside them what it was made of."""
ALIKE = "like another sample"
LONG = "longer than --longest"


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one piece of work.

    >>> Made("a").samples, Made("a", reason="no facts").reason
    ((), 'no facts')
    """

    key: str
    samples: tuple[Line, ...] = ()
    reason: str = ""
    """Why there are none."""


def episode(messages: Sequence[Mapping[str, Any]], kind: str, **facts: Any) -> Line:
    """A sample of these messages."""
    return {"kind": kind, **facts, "messages": [dict(message) for message in messages]}


def length_of(line: Mapping[str, Any]) -> int:
    """Characters of a sample: all that is said in it, calls included."""
    return sum(
        len(str(message.get("content") or "")) + len(json.dumps(message.get("tool_calls") or ""))
        for message in line["messages"]
    )


class Shelf:
    """The folder of one command. Make it, `put` what is not `there`, and `finish`."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, longest: int | None = None) -> None:
        """Raises ValueError for a folder that other settings filled."""
        self.folder, self._longest = folder, longest
        folder.mkdir(parents=True, exist_ok=True)
        told = json.dumps({**settings, "longest": longest}, indent=1, sort_keys=True) + "\n"
        path = folder / "settings.json"
        if path.exists() and (before := path.read_text(encoding="utf-8")) != told:
            raise ValueError(f"{folder} {_changed(before, told)}: give the same again, or another --out")
        write_atomic(path, told.encode())
        self._work = folder / "work.jsonl"
        repair(self._work)
        self._done = {line["key"]: line for line in read_lines(self._work)}

    def there(self, key: str) -> bool:
        """Whether this piece of work is done."""
        return key in self._done

    def put(self, made: Made) -> None:
        """Keep what became of a piece of work."""
        line = {"key": made.key, "samples": list(made.samples), "reason": made.reason}
        with open(self._work, "ab", buffering=0) as file:
            append(file, line)
        self._done[made.key] = line

    def finish(self, keys: Sequence[str]) -> dict[str, Any]:
        """Write the samples of these pieces of work in this order, and the report, which is returned."""
        kept: list[Line] = []
        dropped: Counter[str] = Counter()
        seen: set[bytes] = set()
        for key in keys:
            line = self._done[key]
            if line["reason"]:
                dropped[line["reason"]] += 1
            for sample in line["samples"]:
                said = hashlib.blake2b(json.dumps(sample["messages"]).encode()).digest()
                if said in seen:
                    dropped[ALIKE] += 1
                elif self._longest is not None and length_of(sample) > self._longest:
                    dropped[LONG] += 1
                else:
                    seen.add(said)
                    kept.append(sample)
        write_samples(self.folder / "episodes.jsonl", kept)
        report = {
            "work": len(keys),
            "kept": len(kept),
            "kinds": dict(sorted(Counter(sample["kind"] for sample in kept).items())),
            "characters": sum(map(length_of, kept)),
            "dropped": dict(dropped.most_common()),
        }
        write_atomic(self.folder / "report.json", (json.dumps(report, indent=1) + "\n").encode())
        return report


def write_samples(path: Path, samples: Sequence[Line]) -> None:
    """Write samples as JSON lines."""
    text = "".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
    write_atomic(path, text.encode())


def _changed(before: str, now: str) -> str:
    try:
        old, new = json.loads(before), json.loads(now)
    except ValueError:
        return "holds settings that cannot be read"
    name = next(key for key in {**old, **new} if old.get(key) != new.get(key))
    return f"was filled with {name} = {old.get(name)!r}, not {new.get(name)!r}"
