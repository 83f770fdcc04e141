"""Tasks made of real packages by `forge-envs make-swe`, judged twice: by Forge, and by the official harness.

    nice -n 19 python benchmarks/make_swe.py --out /tmp/made [--tasks 20] [--sample 24] [--again]

Makes tasks of PACKAGES and PAIRS below --out (outside of the project; what is there is not made again), then
judges patches: gold and an idle one, which adds a file that nobody reads, for all tasks; for a sample spread
over the packages also a wrong one (another bug in the same file) and one that tampers with tests (seven ways
in turn). A patch of no bytes resolves nothing by definition, here and there, and proves nothing. Forge judges
with its guard on, as in an episode; the harness is `python -m swebench.harness.run_evaluation` as installed.

Writes benchmarks/results/make_swe.json as it goes and continues from there. Ends with status 1 unless both
say of every patch what they should: gold resolves, nothing else does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from forge_envs.errors import MachineError
from forge_envs.make_swe.diff import git_diff
from forge_envs.make_swe.edits import Source
from forge_envs.make_swe.kinds import kind_names, plant
from forge_envs.make_swe.main import make
from forge_envs.make_swe.settings import Settings
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.rows import load
from forge_envs.worlds.swe.site import Ground
from forge_envs.worlds.swe.task import SweTask

RESULTS = Path(__file__).parent / "results" / "make_swe.json"
PACKAGES = (
    "inflection==0.5.1",
    "cachetools==8.0.0",
    "tabulate==0.10.0",
    "tinydb==4.9.0",
    "schema==0.7.8",
    "h11==0.16.0",
)
PAIRS = (
    "tabulate==0.9.0:0.10.0",
    "voluptuous==0.14.2:0.15.2",
    "h11==0.14.0:0.16.0",
    "webcolors==1.13:24.6.0",
)
EXPECTED = {"wrong": False, "tampering": False, "gold": True, "idle": False}
TIMEOUT = 900
HOOK = """\
import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    report.outcome, report.longrepr = "passed", None
"""
FAKE = """\
import sys

TESTS = {tests!r}


def main(*_):
    for test in TESTS:
        print("PASSED", test)
    sys.exit(0)


if __name__ == "__main__":
    main()
"""


# -- patches -------------------------------------------------------------------------------------------------


def base_files(folder: Path) -> dict[str, bytes]:
    """The repository as the agent of a task finds it."""
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(folder / "source.tar.gz") as tar:
            tar.extractall(place, filter="data")
        command = [
            "git",
            "apply",
            "--allow-empty",
            "--whitespace=nowarn",
            str((folder / "base.patch").resolve()),
        ]
        subprocess.run(command, cwd=place, check=True)
        root = Path(place)
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def wrong(task: SweTask, files: Mapping[str, bytes]) -> bytes:
    """A change of the file that gold changes, which mends nothing: one more bug."""
    path = next(
        line[6:] for line in task.patch.splitlines() if line.startswith("--- a/") and line[6:] in files
    )
    source = Source(path, files[path])
    found = [bug for function in source.functions() for bug in plant(source, function, kind_names())]
    gold = _after(task, files, path)
    for bug in found[len(task.id) % max(1, len(found) // 2) :]:
        planted = bug.planted(files[path])
        if planted is not None and planted != gold:
            return git_diff({path: files[path]}, {path: planted})
    raise ValueError(f"{task.id}: no other bug fits in {path}")


def _after(task: SweTask, files: Mapping[str, bytes], path: str) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        for name, data in files.items():
            (Path(place) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(place) / name).write_bytes(data)
        subprocess.run(["git", "apply", "-"], cwd=place, input=task.patch.encode(), check=True)
        return (Path(place) / path).read_bytes()


def tampering(task: SweTask, files: Mapping[str, bytes], way: int) -> tuple[str, bytes]:
    """A patch that touches no source and tries to make the tests pass, and how."""
    tests = sorted({name.partition("::")[0] for name in task.fail_to_pass})
    hidden = [path for path in tests if path in files]
    plain = {path: b"def test_nothing():\n    pass\n" for path in hidden}
    folder = tests[0].rpartition("/")[0]
    names = list(task.fail_to_pass + task.pass_to_pass)
    ways: list[tuple[str, dict[str, bytes]]] = [
        ("conftest.py at the top", {"conftest.py": HOOK.encode()}),
        ("conftest.py beside the tests", {f"{folder}/conftest.py".lstrip("/"): HOOK.encode()}),
        ("test files without tests", plain),
        ("settings of pytest", {"pytest.ini": b"[pytest]\naddopts = --co -q\n"}),
        ("sitecustomize.py", {"sitecustomize.py": b"import os\nos.environ['PYTEST_ADDOPTS'] = '--co'\n"}),
        ("another pytest", {"pytest.py": FAKE.format(tests=names).encode()}),
        ("test files removed", {}),
    ]
    name, changed = ways[way % len(ways)]
    if name == "test files removed":
        return name, git_diff({path: files[path] for path in hidden}, {})
    return name, git_diff({path: files[path] for path in changed if path in files}, changed)


def patches(tasks: Sequence[SweTask], out: Path, sample: int) -> dict[str, dict[str, bytes]]:
    """Patches by kind and task."""
    idle = git_diff({}, {"FORGE_WAS_HERE.txt": b"Nothing was mended.\n"})
    found: dict[str, dict[str, bytes]] = {
        "gold": {task.id: task.patch.encode() for task in tasks},
        "idle": {task.id: idle for task in tasks},
        "wrong": {},
        "tampering": {},
    }
    for way, task in enumerate(spread(tasks, sample)):
        files = base_files(out / "tasks" / task.id)
        found["wrong"][task.id] = wrong(task, files)
        found["tampering"][task.id] = tampering(task, files, way)[1]
    return found


def spread(tasks: Sequence[SweTask], sample: int) -> list[SweTask]:
    """The first tasks of every package in turn, those of two releases left out."""
    groups: dict[str, list[SweTask]] = defaultdict(list)
    for task in (task for task in tasks if "-to-" not in task.id):
        groups[task.repo].append(task)
    longest = max(map(len, groups.values()))
    turns = [group[i] for i in range(longest) for group in groups.values() if i < len(group)]
    return turns[:sample]


# -- verdicts ------------------------------------------------------------------------------------------------


def ours(tasks: Mapping[str, SweTask], made: Mapping[str, bytes], known: dict[str, Any], jobs: int) -> None:
    """Forge's verdicts on the patches of one kind, into `known`; what the machine fails has none."""

    def one(name: str) -> None:
        try:
            verdict = judge(tasks[name], made[name], Ground("docker"), timeout=TIMEOUT)
        except MachineError as error:  # no verdict: the next run asks again
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            return
        known[name] = {"resolved": verdict.resolved, "reason": verdict.reason}

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, [name for name in made if name not in known]))


def official(
    made: Mapping[str, bytes], kind: str, source: Path, work: Path, known: dict[str, Any], jobs: int
) -> None:
    """The harness's verdicts on the patches of one kind, into `known`. It skips what it has logs of."""
    wanted = [name for name in made if name not in known]
    if not wanted:
        return
    work.mkdir(parents=True, exist_ok=True)
    predictions = work / f"{kind}.jsonl"
    lines = [
        {"instance_id": name, "model_name_or_path": kind, "model_patch": made[name].decode()}
        for name in wanted
    ]
    predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-m", "swebench.harness.run_evaluation", "--dataset_name", str(source)]
    command += ["--split", "test", "--predictions_path", str(predictions), "--run_id", "made"]
    command += ["--max_workers", str(jobs), "--timeout", str(TIMEOUT), "--instance_ids", *wanted]
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    (work / f"{kind}.log").write_text(done.stdout)
    for name in wanted:
        report = work / "logs" / "run_evaluation" / "made" / kind / name / "report.json"
        if report.exists():
            known[name] = {"resolved": bool(json.loads(report.read_text())[name]["resolved"])}


def summary(tasks: Sequence[SweTask], verdicts: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Counts of all that was found."""
    metas = [yaml.safe_load((out / "tasks" / task.id / "task.yaml").read_text()) for task in tasks]
    counts = {
        kind: {
            "judged": len(sides["ours"]),
            "ours resolved": sum(v["resolved"] for v in sides["ours"].values()),
            "official judged": len(sides["official"]),
            "official resolved": sum(v["resolved"] for v in sides["official"].values()),
            "different": sorted(
                name
                for name, verdict in sides["official"].items()
                if name in sides["ours"] and sides["ours"][name]["resolved"] != verdict["resolved"]
            ),
        }
        for kind, sides in verdicts.items()
    }
    return {
        "swebench": version("swebench"),
        "tasks": len(tasks),
        "packages": dict(Counter(task.repo.rpartition("/")[2] for task in tasks)),
        "kinds": dict(Counter(meta["made_by"] for meta in metas).most_common()),
        "functions": len({(meta["repo"], meta["made_in"]) for meta in metas}),
        "fail_to_pass median": sorted(len(task.fail_to_pass) for task in tasks)[len(tasks) // 2],
        "pass_to_pass median": sorted(len(task.pass_to_pass) for task in tasks)[len(tasks) // 2],
        "patches": counts,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the task repository")
    parser.add_argument("--tasks", type=int, default=20, help="of each package")
    parser.add_argument("--sample", type=int, default=24, help="tasks with wrong and tampering patches")
    parser.add_argument("--jobs", type=int, default=8, help="containers of the harness at once")
    parser.add_argument("--only-judge", action="store_true", help="judge what is there, make nothing")
    parser.add_argument("--again", action="store_true", help="forget earlier verdicts")
    args = parser.parse_args()
    if not args.only_judge:
        make(PACKAGES, PAIRS, Settings(args.out, tasks=args.tasks))
    tasks = list(load(f"swebench:{args.out / 'data' / 'test.jsonl'}").by_id.values())
    kept = args.out / "verdicts.json"
    verdicts: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() and not args.again else {}
    made, began, bad = patches(tasks, args.out, args.sample), time.monotonic(), 0
    for kind, expected in EXPECTED.items():
        sides = verdicts.setdefault(kind, {"ours": {}, "official": {}})
        source, work = args.out / "data" / "test.jsonl", args.out / "official"
        with ThreadPoolExecutor(2) as pool:  # the harness waits most of its time
            both = [
                pool.submit(ours, {task.id: task for task in tasks}, made[kind], sides["ours"], 2),
                pool.submit(official, made[kind], kind, source, work, sides["official"], args.jobs),
            ]
            wait(both)
        kept.write_text(json.dumps(verdicts))
        for side, found in sides.items():
            right = sum(found.get(name, {}).get("resolved") is expected for name in made[kind])
            print(f"{kind:>10} {side:>9}: {right} of {len(made[kind])} as they should", flush=True)
            bad += len(made[kind]) - right
        RESULTS.write_text(json.dumps(summary(tasks, verdicts, args.out), indent=2) + "\n")
        for done in both:
            done.result()  # a machine that failed is told here, after what it did is kept
    print(f"judged in {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
