"""What any trainer should keep, asked of forge_train, TRL, verl and tinker-cookbook in a tiny world.

    python benchmarks/conformance [--only ours trl] [--python verl=PATH --python tinker=PATH] [--out FILE]

A table, rows properties and columns trainers: green, red, or "-" where it is not offered. Under it, for each
red cell, at most three lines of Python that show it (run in this folder) and what they printed. Writes
benchmarks/results/conformance.json; returns 1 when a cell of ours is red. Each library runs in a Python of
its own (`--python NAME=PATH`, else this one), in a child that prints JSON; one that cannot be run has no
column.

`world.py` has the world and the properties. What is asked, and of what:
- ours: `Trainer.credit` (dr_grpo), `Learner.update`; `targets_of` for turns.
- TRL: `GRPOTrainer.train()` for one step as installed, with `rollout_func`, a reward function and
  scale_rewards="none"; loss_type dapo, grpo and dr_grpo for the three divisors. A member that a machine
  failed has the reward None, and is masked by mask_truncated_completions. AsyncGRPOTrainer needs
  FlashAttention 3 and is not asked.
- verl: estimators of `core_algos` and `compute_policy_loss_vanilla`, given the totals that the actor gives it
  (workers/utils/losses.py); `compute_advantage_for_multi_trajectories`. A failed member is not in the batch,
  or its mask is 0.
- tinker-cookbook: `compute_advantages`, `assemble_training_data`. A failed member is not in its group.

A cell is red only where the library's own words promise the property; where they do not, it is not offered.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "conformance.json"
SCRIPTS = {"ours": "ours.py", "trl": "on_trl.py", "verl": "on_verl.py", "tinker": "on_tinker.py"}
MARKS = {"green": "green", "red": "RED", "not offered": "-"}


def examine(name: str, python: str, seconds: float) -> dict[str, Any]:
    """What the child says of its library. Raises RuntimeError where it says nothing, with its last lines."""
    root = str(HERE.parent.parent)
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [python, str(HERE / SCRIPTS[name])], capture_output=True, text=True, timeout=seconds, env=environ
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {python} failed\n" + "\n".join(done.stderr.splitlines()[-3:]))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: rows properties, columns trainers."""
    heads = ["property", *(f"{name} {of['version']}" for name, of in found.items())]
    lines = [heads, ["---"] * len(heads)]
    for name in next(iter(found.values()))["cells"]:
        lines.append([name, *(MARKS[of["cells"][name]["state"]] for of in found.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def reds(found: dict[str, dict[str, Any]]) -> str:
    """Each red cell: what was seen, the lines that show it, and what they printed."""
    said = []
    for trainer, of in found.items():
        for name, cell in of["cells"].items():
            if cell["state"] == "red":
                said.append(f"\n{trainer} {of['version']}, {name}: {cell['seen']}")
                if "lines" in cell:
                    said.append(f"```python\n{cell['lines']}\n# {cell['prints']}\n```")
    return "\n".join(said)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=list(SCRIPTS), metavar="NAME")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=600.0, help="most that one library may take")
    args = parser.parse_args(argv)
    pythons = dict.fromkeys(SCRIPTS, sys.executable)
    for given in args.python:
        name, _, path = given.partition("=")
        if name not in SCRIPTS or not path:
            parser.error(f"--python {given}: write NAME=PATH with a NAME of {', '.join(SCRIPTS)}")
        pythons[name] = path
    found: dict[str, dict[str, Any]] = {}
    for name in args.only:
        try:
            found[name] = examine(name, pythons[name], args.seconds)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            print(f"not asked: {error}", file=sys.stderr)
    if not found:
        return 1
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"trainers": found}, indent=1) + "\n")
    print(table(found), reds(found), sep="\n")
    ours = found.get("ours", {"cells": {}})["cells"].values()
    return int(any(cell["state"] == "red" for cell in ours) or ("ours" in args.only and not ours))


if __name__ == "__main__":
    raise SystemExit(main())
