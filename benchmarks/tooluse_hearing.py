"""What customers of generated domains understand of lines by people who have not seen how they listen.

Each line of benchmarks/hearing_domains/*.jsonl was written for one request of one task of the test split,
knowing nothing but the customer's words, what they can tell and the call. `after yes` is what the customer
hears who has agreed before; without, a report must be heard by itself. A request that is not there any more
(a theme has changed) is counted as lost. Files named building* have been looked at since; others are exams.
Run: python benchmarks/tooluse_hearing.py [FILES...] [--misses]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.worlds.tooluse.customer import Visitor
from forge_envs.worlds.tooluse.tasks import find_task

FOLDER = Path(__file__).parent / "hearing_domains"


def at(row: dict[str, Any], *, agreed: bool = False) -> tuple[Visitor, Any] | None:
    """The customer with the request in hand, and the request; None if there is none like it any more."""
    try:
        task = find_task(row["task"])
    except TaskError:
        return None
    for n, goal in enumerate(task.goals):
        if goal.request == row["request"]:
            return Visitor(task, at=n, agreed=agreed), goal
    return None


def heard(row: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """What was to be understood of a line, and whether it was."""
    found = at(row)
    if found is None:
        yield "lost", True
        return
    customer, goal = found
    act, ear, goal_at = row["act"], customer.ear, customer.at
    said = ear.listen(row["text"])
    if act in ("done", "not_done"):
        customer.reply(row["text"])
        yield act, (customer.heard.get(goal_at) == "done") == (act == "done")
        later = at(row, agreed=True)
        assert later is not None
        later[0].reply(row["text"])
        yield f"{act} after yes", (later[0].heard.get(goal_at) == "done") == (act == "done")
    elif act in ("refused", "not_refused"):
        yield act, ear.refuses(goal.kind, said) == (act == "refused")
    else:
        answer = customer.reply(row["text"]) or ""
        if act == "confirm":
            yield act, said.confirm
            yield "gets a yes", answer.startswith(("Yes", "Wait"))
        elif act == "asks":
            yield act, any(line in answer for line in goal.details.values())
        elif act == "who":
            yield act, "email" in answer or "I am " in answer
        else:
            yield act, goal.truth in customer.heard.values()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--misses", action="store_true")
    args = parser.parse_args()
    for path in args.files or sorted(FOLDER.glob("*.jsonl")):
        right: Counter[str] = Counter()
        all_of: Counter[str] = Counter()
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            for what, well in heard(row):
                all_of[what] += 1
                right[what] += well
                if args.misses and not well:
                    print(f"{what}: {row['text']!r} to {row['request']!r}")
        print(path.name)
        for what, n in sorted(all_of.items()):
            print(f"  {what:20} {right[what]:4}/{n:<4} {right[what] / n:6.1%}")


if __name__ == "__main__":
    main()
