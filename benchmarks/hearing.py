"""How well the scripted customers understand what agents say, and how often they hear what was not said.

Labelled phrases lie in benchmarks/hearing/*.jsonl; a label of false marks a look-alike. The rules are built
on building*.jsonl (and on the patterns of turns.txt); other files are phrases that no builder has seen.
Run: python benchmarks/hearing.py [FILES...] [--misses] [--part all|build|check]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import timeit
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forge_envs.worlds.airline.hearing import EAR as AIRLINE
from forge_envs.worlds.desk.hearing import Ear, agrees
from forge_envs.worlds.retail.hearing import EAR as RETAIL

FOLDER = Path(__file__).parent / "hearing"
RESULTS = Path(__file__).parent / "results" / "hearing.json"
EARS = {"retail": RETAIL, "airline": AIRLINE}
KINDS = {"change_flight": "flights", "baggage": "bags", "compensation": "certificate", "any": "cancel"}
"""Kinds of request that phrases name otherwise than the desks."""
TOPICS = {"user_id": "identity", "flight": "flights"}
SAID = (
    "Thank you, Mia. I have found your order #W1234567 and I am afraid that I cannot cancel it because "
    "it was delivered."
)
"""Twenty words."""


def part_of(text: str) -> str:
    """Two fifths of the phrases are for checking what the others built."""
    return "check" if hashlib.sha256(text.encode()).digest()[0] % 100 < 40 else "build"


def understood(row: dict[str, Any], ear: Ear) -> tuple[bool, set[str]]:
    """Whether a phrase's act is heard at a desk, and the topics of its questions."""
    text, act = row["text"], row["act"]
    if act == "agrees":
        return agrees(text), set()
    heard = ear.listen(text)
    kind = KINDS.get(row["request"], row["request"])
    if kind not in ear.names or (act == "done" and kind == "fact"):
        kind = "cancel"
    topics = {topic for question in heard.questions for topic in question.topics}
    found = {
        "refusal": lambda: ear.refuses(kind, heard),
        "done": lambda: ear.finished(kind, heard),
        "confirm": lambda: heard.confirm,
        "more": lambda: heard.more,
        "question": lambda: bool(topics),
    }[act]()
    return found, topics


def measured(rows: list[dict[str, Any]]) -> Iterator[tuple[str, bool, bool, str]]:
    """(act or topic, label, heard, what to show of a miss) of every phrase, at each of its desks."""
    for row in rows:
        for desk in EARS if row["desk"] == "any" else [row["desk"]]:
            found, topics = understood(row, EARS[desk])
            yield row["act"], row["label"], found, f"{desk}, {row['request']}: {row['text']}"
            if row["act"] == "question" and row["label"]:
                wanted = {
                    TOPICS.get(topic, topic) for topic in row.get("topic", ())
                }  # "I need the following:"
                for topic in sorted(wanted):
                    yield f"asks {topic}", True, topic in topics, f"{desk}: {row['text']} -> {sorted(topics)}"


def table(rows: list[dict[str, Any]], *, misses: bool) -> dict[str, dict[str, list[int]]]:
    """Prints recall and false alarms, and returns their counts."""
    counts: Counter[tuple[str, bool, bool]] = Counter()
    for act, label, found, shown in measured(rows):
        counts[act, label, found] += 1
        if misses and found != label:
            print(f"  {'missed' if label else 'false '} {act:10} {shown!r}")
    acts = sorted({act for act, _, _ in counts}, key=lambda act: (act.startswith("asks"), act))
    result: dict[str, dict[str, list[int]]] = {}
    print(f"{'':18} {'recall':>20} {'false alarms':>20}")
    for act in acts:
        cells = []
        for label, name in ((True, "recall"), (False, "false_alarms")):
            heard, of = counts[act, label, True], counts[act, label, True] + counts[act, label, False]
            cells.append(f"{heard}/{of} {heard / of:7.1%}" if of else "")
            if of:
                result.setdefault(act, {})[name] = [heard, of]
        print(f"{act:18} {cells[0]:>20} {cells[1]:>20}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--misses", action="store_true")
    parser.add_argument("--part", default="all", choices=["all", "build", "check"])
    args = parser.parse_args()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for path in args.files or sorted(FOLDER.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        rows = [row for row in rows if args.part in ("all", part_of(row["text"]))]
        print(f"{path.name}: {len(rows)} phrases")
        kept.setdefault("after", {})[f"{path.stem} {args.part}"] = table(rows, misses=args.misses)
    cost = (
        min(timeit.repeat(lambda: RETAIL._listen(SAID), number=20, repeat=50, timer=time.process_time)) / 20
    )
    print(f"listening to twenty words that were not heard before: {cost * 1e6:.0f} µs")
    kept["after"]["microseconds_of_twenty_words"] = round(cost * 1e6)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
