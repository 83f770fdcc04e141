"""What the guard adds to a judgement of Forge/SWE-v0 and Forge/Polyglot-v0, in pairs of the same minute.

Judged are gold without the guard (in Polyglot: the exercise's own command in a fresh box, which is all that
Aider's harness asks), gold with it, and what solves nothing with it, one right after the other, in changing
order. Wall seconds are what an episode waits. Processor seconds are those of this process, of the containers
and of Docker's two daemons, which are asked two seconds later, since boxes are removed by somebody else;
whatever else uses containers at that time is counted too, so nothing should.
Run: python benchmarks/judgement_time.py [--rounds 3] [--tasks 4] [--languages python go] [--sandbox docker]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from forge_envs.worlds.polyglot.judge import judge as judge_answer
from forge_envs.worlds.polyglot.judge import tested
from forge_envs.worlds.polyglot.languages import LANGUAGES
from forge_envs.worlds.polyglot.tasks import Exercises
from forge_envs.worlds.swe.builtin import builtin_tasks
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.site import Ground
from forge_envs.worlds.swe.task import SweTask

RESULTS = Path(__file__).resolve().parent / "results" / "judgement_time.json"
CONTAINERS = Path("/sys/fs/cgroup/cpuacct/docker/cpuacct.usage"), Path("/sys/fs/cgroup/docker/cpu.stat")
DAEMONS = {"dockerd", "containerd"}
SETTLING = 2.0
"""Seconds for boxes to be gone before they are counted."""
PLAIN, RIGHT, WRONG = "right, no guard", "right, guard", "wrong, guard"
Judged = dict[str, Callable[[], bool]]


def processor_seconds() -> float:
    """Used so far by this process, by all containers (cgroups of either version), and by Docker's daemons."""
    used = time.process_time()
    if CONTAINERS[0].exists():
        used += int(CONTAINERS[0].read_text()) / 1e9
    elif CONTAINERS[1].exists():
        used += int(CONTAINERS[1].read_text().split()[1]) / 1e6
    for process in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = process.read_text().partition("(")[2].rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        if name in DAEMONS:
            used += sum(map(int, rest.split()[11:15])) / os.sysconf("SC_CLK_TCK")
    return used


def repositories(count: int, sandbox: str) -> Iterator[tuple[str, Judged]]:
    """Judgements of the first built-in tasks."""
    ground = Ground(sandbox)

    def one(task: SweTask, patch: str, guard: bool) -> Callable[[], bool]:
        return lambda: judge(task, patch.encode(), ground, guard=guard, timeout=120.0).resolved

    for task in builtin_tasks()[:count]:
        path = next(line for line in task.patch.splitlines() if line.startswith("--- a/"))[6:]
        idle = (
            f"diff --git a/{path}.txt b/{path}.txt\nnew file mode 100644\n--- /dev/null\n"
            f"+++ b/{path}.txt\n@@ -0,0 +1 @@\n+x\n"
        )
        yield (
            "swe",
            {
                PLAIN: one(task, task.patch, False),
                RIGHT: one(task, task.patch, True),
                WRONG: one(task, idle, True),
            },
        )


def exercises(languages: list[str], sandbox: str) -> Iterator[tuple[str, Judged]]:
    """Judgements of a built-in exercise of each language."""
    for language in languages:
        tasks = Exercises("builtin", language)
        exercise = tasks.find(tasks.ids(None, 1)[0])
        right, wrong = exercise.files(exercise.example), exercise.files({})
        yield (
            f"polyglot {language}",
            {
                PLAIN: lambda e=exercise, f=right: tested(e, f, sandbox, 180.0).passed,  # type: ignore[misc]
                RIGHT: lambda e=exercise, f=right: judge_answer(e, f, sandbox=sandbox, timeout=180.0).passed,  # type: ignore[misc]
                WRONG: lambda e=exercise, f=wrong: judge_answer(e, f, sandbox=sandbox, timeout=180.0).passed,  # type: ignore[misc]
            },
        )


def timed(act: Callable[[], bool], good: bool) -> tuple[float, float]:
    """Wall and processor seconds. Raises AssertionError where the verdict is another."""
    used, begun = processor_seconds(), time.monotonic()
    assert act() is good
    wall = time.monotonic() - begun
    time.sleep(SETTLING)
    return wall, processor_seconds() - used


def measure(groups: list[tuple[str, Judged]], rounds: int) -> dict[str, dict[str, float]]:
    """By group: medians of each judgement and ratios of those with the guard to that without."""
    times: dict[str, list[dict[str, tuple[float, float]]]] = {}
    for group, judged in groups:
        judged[RIGHT]()  # imports, the first boxes
        for turn in range(rounds):
            order = list(judged) if turn % 2 else list(judged)[::-1]
            times.setdefault(group, []).append({k: timed(judged[k], k != WRONG) for k in order})
            print(group, {k: [round(x, 2) for x in v] for k, v in times[group][-1].items()}, flush=True)
    return {group: summary(pairs) for group, pairs in times.items()}


def summary(pairs: list[dict[str, tuple[float, float]]]) -> dict[str, float]:
    """Medians in seconds, and ratios of medians."""
    found: dict[str, float] = {"pairs": len(pairs)}
    for at, unit in enumerate(("wall", "processor")):
        medians = {kind: statistics.median(pair[kind][at] for pair in pairs) for kind in pairs[0]}
        found |= {f"{kind}: {unit} s": round(value, 2) for kind, value in medians.items()}
        found[f"{unit} ratio"] = round(medians[RIGHT] / medians[PLAIN], 2)
        if at == 0:
            found["paired wall ratio"] = round(
                statistics.median(pair[RIGHT][0] / pair[PLAIN][0] for pair in pairs), 2
            )
    return found


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=4, help="of SWE; 0 for none")
    parser.add_argument("--languages", nargs="*", default=list(LANGUAGES))
    parser.add_argument("--sandbox", default="docker")
    args = parser.parse_args()
    groups = [*repositories(args.tasks, args.sandbox), *exercises(args.languages, args.sandbox)]
    before = os.getloadavg()[0]
    found = measure(groups, args.rounds)
    load = [round(value, 1) for value in (before, os.getloadavg()[0])]
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for group, result in found.items():
        kept[f"{group}, {args.sandbox}"] = {**result, "load": load, "processors": os.cpu_count()}
    print(json.dumps(found, indent=2))
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
