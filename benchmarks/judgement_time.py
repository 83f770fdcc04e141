"""What a judgement of Forge/SWE-v0 takes, paired with another checkout: same tasks, same minutes.

A worker of each checkout judges the same patch of a task right after the other, each first in every second
round. Patches are gold, and a file of text that solves nothing.
Run: python benchmarks/judgement_time.py OTHER_CHECKOUT [--rounds 5] [--sandbox docker] [--tasks 8]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
RESULTS = HERE / "benchmarks" / "results" / "judgement_time.json"
WORKER = """
import sys, time
from forge_envs.worlds.swe.builtin import builtin_tasks
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.site import Ground
ground = Ground(sys.argv[1])
for line in sys.stdin:
    number, kind, guard = line.split()
    task = builtin_tasks()[int(number)]
    path = next(one for one in task.patch.splitlines() if one.startswith("--- a/"))[6:]
    idle = (f"diff --git a/{path}.txt b/{path}.txt\\nnew file mode 100644\\n--- /dev/null\\n"
            f"+++ b/{path}.txt\\n@@ -0,0 +1 @@\\n+x\\n")
    patch = task.patch if kind == "gold" else idle
    begun = time.monotonic()
    found = judge(task, patch.encode(), ground, guard=guard == "guard", timeout=120.0)
    print(time.monotonic() - begun, int(found.resolved), flush=True)
"""


class Judge:
    """A process that judges with the code of one checkout."""

    def __init__(self, checkout: Path, sandbox: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, sandbox],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, number: int, kind: str, guard: str) -> float:
        """Seconds of one judgement. Raises AssertionError where the verdict is not that of the kind."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{number} {kind} {guard}\n")
        self._process.stdin.flush()
        seconds, resolved = self._process.stdout.readline().split()
        assert bool(int(resolved)) == (kind == "gold"), (number, kind, guard)
        return float(seconds)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def measure(other: Path, sandbox: str, tasks: int, rounds: int) -> dict[str, dict[str, float]]:
    """By kind of judgement: medians of both, in seconds, and the median of the paired ratios."""
    judges = {"now": Judge(HERE, sandbox), "then": Judge(other, sandbox)}
    found: dict[str, list[dict[str, float]]] = {}
    for one in judges.values():
        one.ask(0, "gold", "guard")  # imports, the first box
    for turn in range(rounds):
        order = sorted(judges, reverse=bool(turn % 2))
        for number in range(tasks):
            for kind in ("gold", "idle"):
                times = {name: judges[name].ask(number, kind, "guard") for name in order}
                found.setdefault(kind, []).append(times)
                found.setdefault("all", []).append(times)
    for one in judges.values():
        one.close()
    return {kind: _summary(pairs) for kind, pairs in found.items()}


def _summary(pairs: list[dict[str, float]]) -> dict[str, float]:
    now, then = (statistics.median(pair[name] for pair in pairs) for name in ("now", "then"))
    paired = statistics.median(pair["now"] / pair["then"] for pair in pairs)
    return {
        "pairs": len(pairs),
        "now": round(now, 3),
        "then": round(then, 3),
        "ratio_of_medians": round(now / then, 3),
        "median_of_ratios": round(paired, 3),
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--sandbox", default="docker")
    args = parser.parse_args()
    found = measure(args.other.resolve(), args.sandbox, args.tasks, args.rounds)
    print(json.dumps(found, indent=2))
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**kept, args.sandbox: found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
