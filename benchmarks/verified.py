"""Rows of SWE-bench Verified, judged twice: by Forge, and by the official harness.

    nice -n 19 python benchmarks/verified.py ROWS.parquet [--only sympy pytest-7] [--play] [--again]

A row takes part if its image is here under the row's own name; none is pulled or built. Two patches: gold,
and an idle one that adds a file nobody reads. (A patch of no bytes resolves nothing by definition, here and
there: the harness runs no test for it, so it would prove nothing.) Forge judges with its guard on, as in an
episode. The harness is `python -m swebench.harness.run_evaluation` as installed. Neither needs a network.

`--play` also plays one row per repository through `gym.make`: a look around, gold by actions, submit.

Writes benchmarks/results/verified.json (or --out) as it goes and continues from there; a row whose image has
changed is judged anew. The harness's logs go to --work. Ends with status 1 if any row is not as it should be:
gold resolves and idle does not, for both. What the machine failed to judge is named, and no verdict.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym

import forge_envs  # noqa: F401  (registers the worlds)
from forge_envs.errors import MachineError, TaskError
from forge_envs.messages import ToolCall
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.rows import load
from forge_envs.worlds.swe.site import Ground
from forge_envs.worlds.swe.task import SweTask

RESULTS = Path(__file__).parent / "results" / "verified.json"
GROUND = Ground("docker")
TIMEOUT = 1_800.0
IDLE = """\
diff --git a/FORGE_WAS_HERE.txt b/FORGE_WAS_HERE.txt
new file mode 100644
--- /dev/null
+++ b/FORGE_WAS_HERE.txt
@@ -0,0 +1 @@
+Nothing was mended.
"""
EXPECTED = {"gold": True, "idle": False}
KNOWN = {
    "psf__requests-2931": "two tests wait for a connection to time out; without a network it fails at once",
    "pylint-dev__pylint-6528": "four tests are skipped where cgroups grant one CPU, as version 1 does",
}
"""Rows whose gold does not resolve without a network, or on some machines, whoever judges."""
LOOK = ("git log --oneline | head -3", "git status --short | head -5", "ls", "python --version")
"""What the played episodes try before they apply gold."""


@dataclass(frozen=True)
class Row:
    """A task, and which image of that name is here."""

    task: SweTask
    image: str

    def patch(self, kind: str) -> str:
        return self.task.patch if kind == "gold" else IDLE


def rows_here(tasks: Sequence[SweTask]) -> list[Row]:
    """The tasks whose images are here. Exits when there are none, or no daemon."""
    import docker
    from docker.errors import DockerException, ImageNotFound

    found: list[Row] = []
    try:
        client = docker.from_env()
        for task in tasks:
            try:
                found.append(Row(task, client.images.get(task.image).id.removeprefix("sha256:")[:12]))
            except ImageNotFound:
                continue
    except DockerException as error:
        sys.exit(f"no Docker daemon answers: {error}; start dockerd, or set DOCKER_HOST")
    if not found:
        name = tasks[0].image
        sys.exit(f"none of the {len(tasks)} images is here; the first is {name!r}: `docker pull` it")
    return found


# -- ours ----------------------------------------------------------------------------------------------


def ours(row: Row, kind: str) -> dict[str, Any]:
    began = time.monotonic()
    found = judge(row.task, row.patch(kind).encode(), GROUND, timeout=TIMEOUT)
    return {
        "resolved": found.resolved,
        "fail_to_pass": round(found.fail_to_pass, 4),
        "pass_to_pass": round(found.pass_to_pass, 4),
        "reason": found.reason,
        "seconds": round(time.monotonic() - began, 1),
    }


# -- theirs --------------------------------------------------------------------------------------------


def official(
    rows: Sequence[Row], kind: str, source: Path, work: Path, jobs: int
) -> dict[str, dict[str, Any]]:
    """The harness's reports by instance_id. It skips those that it has under the same model name."""
    predictions = work / f"{kind}.jsonl"
    model = {row.task.id: f"{kind}-{row.image}" for row in rows}
    lines = [
        {"instance_id": name, "model_name_or_path": model[name], "model_patch": row.patch(kind)}
        for row in rows
        for name in (row.task.id,)
    ]
    predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-m", "swebench.harness.run_evaluation", "--dataset_name", str(source)]
    command += ["--split", "test", "--predictions_path", str(predictions), "--run_id", kind]
    command += ["--max_workers", str(jobs), "--timeout", str(int(TIMEOUT)), "--instance_ids", *model]
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    (work / f"{kind}.log").write_text(done.stdout)
    logs = {name: work / "logs" / "run_evaluation" / kind / model[name] / name for name in model}
    # Its exit status is no verdict: it may stumble in its closing summary, over containers of other programs.
    found = {
        name: _report(folder, name) for name, folder in logs.items() if (folder / "report.json").exists()
    }
    if not found:
        sys.exit(f"the harness made no report; it ended with {done.stdout.strip()[-1500:]}")
    return found


def _report(folder: Path, name: str) -> dict[str, Any]:
    report = json.loads((folder / "report.json").read_text())[name]
    status = report.get("tests_status", {})
    runtime = next(
        (
            line.rpartition("runtime:")[2].split()[0].replace("_", "")
            for line in (folder / "run_instance.log").read_text().splitlines()
            if "Test runtime:" in line
        ),
        "nan",
    )
    return {
        "resolved": bool(report["resolved"]),
        **{key.lower(): _share(status.get(key)) for key in ("FAIL_TO_PASS", "PASS_TO_PASS")},
        "seconds": round(float(runtime), 1),
    }


def _share(found: dict[str, list[str]] | None) -> float:
    good, bad = (len(found["success"]), len(found["failure"])) if found else (0, 1)
    return round(good / (good + bad), 4) if good + bad else 1.0


# -- an episode ----------------------------------------------------------------------------------------


def play(source: str, row: Row) -> dict[str, Any]:
    """One episode as an agent has it: look around, apply gold, submit."""
    env: Any = gym.make("Forge/SWE-v0", source=source).unwrapped
    try:
        began = time.monotonic()
        env.reset(options={"task": row.task.id})
        started = time.monotonic() - began
        looks = [env.grammar.write(calls=[ToolCall("bash", {"command": command})]) for command in LOOK]
        for action in [*looks, *env.gold_actions(row.task.id)]:
            _, reward, terminated, truncated, info = env.step(action)
        return {
            "start_seconds": round(started, 1),
            "seconds": round(time.monotonic() - began, 1),
            "turns": len(looks) + 2,
            "reward": reward,
            "ended": bool(terminated and not truncated),
            "outcome": info.get("outcome"),
        }
    finally:
        env.close()


# -- both ----------------------------------------------------------------------------------------------


class Record:
    """What is known so far, on disk after every verdict."""

    def __init__(self, source: Path, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"rows": {}}
        self.found |= {
            "source": source.name,
            "swebench": version("swebench"),
            "known": KNOWN,
            "machine": {"python": platform.python_version(), "cores": os.cpu_count()},
        }

    def of(self, row: Row) -> dict[str, Any]:
        """A row's own record, empty if its image is another than it was."""
        rows = self.found["rows"]
        if rows.get(row.task.id, {}).get("image") != row.image:
            rows[row.task.id] = {"image": row.image, "ours": {}, "official": {}}
        found: dict[str, Any] = rows[row.task.id]
        return found

    def put(self, row: Row, who: str, kind: str, verdict: dict[str, Any]) -> None:
        with self._lock:
            self.of(row)[who][kind] = verdict
            self.save()

    def save(self) -> None:
        self.found["rows"] = dict(sorted(self.found["rows"].items()))
        self.found["table"] = table(self.found["rows"])
        scratch = self._path.with_suffix(".part")
        scratch.write_text(json.dumps(self.found, indent=1) + "\n")
        scratch.replace(self._path)


def as_expected(record: dict[str, Any]) -> bool:
    """Whether both said of both patches what they should."""
    wanted = list(EXPECTED.items())
    return all(
        record[who].get(kind, {}).get("resolved") is good
        for who in ("ours", "official")
        for kind, good in wanted
    )


def table(rows: dict[str, Any]) -> dict[str, Any]:
    """Counts per repository."""
    counts: dict[str, Any] = {}
    for name, record in rows.items():
        mine = counts.setdefault(
            name.rpartition("-")[0], {"rows": 0, "as_expected": 0, "verdicts": 0, "unlike": 0}
        )
        mine["rows"] += 1
        mine["as_expected"] += as_expected(record)
        for kind in EXPECTED:
            both = [record[who].get(kind, {}).get("resolved") for who in ("ours", "official")]
            mine["verdicts"] += None not in both
            mine["unlike"] += None not in both and both[0] != both[1]
    whole = {
        key: sum(mine[key] for mine in counts.values())
        for key in ("rows", "as_expected", "verdicts", "unlike")
    }
    return {**counts, "all": whole}


def told(name: str, record: dict[str, Any]) -> str:
    found = [record[who].get(kind, {}) for who in ("ours", "official") for kind in EXPECTED]
    cells = [f"{one.get('resolved', '-')!s:5} {one.get('seconds', 0):6.1f} s" for one in found]
    return f"{name:32} " + "  ".join(cells) + ("" if as_expected(record) else f"  <- {KNOWN.get(name, '')}")


def each(rows: Sequence[Row], jobs: int, work: Callable[[Row], None]) -> list[str]:
    """Do something for every row; returns what went wrong with the machine, which is never a verdict."""
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(work, row): row for row in rows}
        for future in as_completed(running):
            try:
                future.result()
            except (MachineError, TaskError) as error:
                failed.append(f"{running[future].task.id}: {error}")
                print(failed[-1], flush=True)
    return failed


def judge_all(record: Record, rows: Sequence[Row], source: Path, work: Path, jobs: int) -> list[str]:
    """Both verdicts on what has none; returns what the machine failed to judge."""

    def mine(row: Row) -> None:
        for kind in EXPECTED:
            if kind not in record.of(row)["ours"]:
                record.put(row, "ours", kind, ours(row, kind))
        print(told(row.task.id, record.of(row)), flush=True)

    failed = each(rows, jobs, mine)
    for kind in EXPECTED:
        pending = [row for row in rows if kind not in record.of(row)["official"]]
        if not pending:
            continue
        print(
            f"the official harness judges {kind} of {len(pending)} rows; its log is {work / kind}.log",
            flush=True,
        )
        reports = official(pending, kind, source, work, jobs)
        for row in pending:
            if row.task.id in reports:
                record.put(row, "official", kind, reports[row.task.id])
            else:
                failed.append(f"{row.task.id}: the harness made no report on {kind}; see {work / kind}.log")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="ROWS.parquet")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of instance ids")
    parser.add_argument("--jobs", type=int, default=1, help="rows judged at a time")
    parser.add_argument(
        "--work", type=Path, default=Path("/tmp/forge-verified"), help="for the harness's logs"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument(
        "--play", action="store_true", help="play an episode of one row per repository as well"
    )
    parser.add_argument("--again", action="store_true", help="judge what has been judged as well")
    options = parser.parse_args()
    source = options.source.resolve()
    try:
        tasks = load(f"swebench:{source}").by_id.values()
    except TaskError as error:
        sys.exit(str(error))
    chosen = [task for task in tasks if any(part in task.id for part in options.only)]
    if not chosen:
        sys.exit(f"none of the {len(tasks)} rows of {source} has any of {options.only} in its instance_id")
    rows = rows_here(chosen)
    work = options.work.resolve() / (time.strftime("%Y%m%d-%H%M%S") if options.again else "")
    work.mkdir(parents=True, exist_ok=True)
    record = Record(source, options.out)
    for row in rows:
        if options.again:
            record.found["rows"].pop(row.task.id, None)
        record.of(row)
    failed = judge_all(record, rows, source, work, options.jobs)
    if options.play:
        episodes = record.found.setdefault("episodes", {})
        for row in {row.task.repo: row for row in reversed(rows)}.values():
            if episodes.get(row.task.id, {}).get("outcome") != 1.0:
                episodes[row.task.id] = play(f"swebench:{source}", row)
            print(f"{row.task.id:32} {episodes[row.task.id]}", flush=True)
            record.save()
    print(f"\n{'':32} ours: gold, idle; official: gold, idle (the harness counts its tests' seconds only)")
    for name, found in record.found["rows"].items():
        print(told(name, found))
    for name, counts in record.found["table"].items():
        print(f"{name:24} {counts}")
    wrong = [row.task.id for row in rows if not as_expected(record.of(row)) and row.task.id not in KNOWN]
    if failed or wrong:
        sys.exit("\n".join([*failed, *(f"{name}: not as it should be" for name in wrong)]))


if __name__ == "__main__":
    main()
