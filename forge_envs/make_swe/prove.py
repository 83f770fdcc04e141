"""The proof that a task is one: its image built, its tests run with the bug and with gold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from forge_envs.make_swe import image, store
from forge_envs.make_swe.lab import END, LIMITS, written
from forge_envs.sandbox import Sandbox, SandboxError, provider
from forge_envs.worlds.swe.logs import as_file
from forge_envs.worlds.swe.patch import parts

LOG = 16_000_000
"""Characters of a log that are kept at each end."""
GOOD = frozenset({"PASSED", "XFAIL"})
SCRIPT = "/tmp/eval.sh"
GOLD = ".forge-gold.json"
SEARCH = f"""
import json, os, sys
with open("{GOLD}") as file:
    gold = json.load(file)
os.remove("{GOLD}")
for place in sys.path:
    for folder, _, names in os.walk(place if place and not place.startswith(os.getcwd()) else ""):
        for name in names:
            path = os.path.join(folder, name)
            for ending, added in gold.items():
                if path.endswith("/" + ending):
                    with open(path, errors="replace") as file:
                        if set(added) <= {{line.strip() for line in file}}:
                            print(path)
"""
"""Prints the files that Python can import from outside the repository and that have what gold adds."""
ATTEMPTS = 2
"""A machine that is busy enough loses a run, so one refusal is no verdict."""


def prove(folder: Path, timeout: float = 600.0) -> str:
    """Build a task's image and run it; returns why it is no task, empty if it is one.

    Tests that do not do what they should in both runs are taken out of the lists, and the commit is noted.
    Raises SandboxError.
    """
    row = store.row_of(folder)
    try:
        image.build(folder, row["image"])
    except SandboxError as error:
        if error.kind != "build":
            raise
        return f"image: {str(error)[-300:]}"
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            reason = _proof(row, folder, timeout)
        except SandboxError as error:
            if not error.retryable or attempt == ATTEMPTS - 1:
                raise
            continue
        if not reason:
            return ""
    image.remove(row["image"])
    return reason


def _proof(row: Mapping[str, Any], folder: Path, timeout: float) -> str:
    from swebench.harness.utils import make_test_spec

    box = provider("docker").open(row["image"], limits=LIMITS)
    try:
        if copies := elsewhere(box, str(row["patch"])):
            return f"the fix can be imported from {copies[0]}, which is in the image"
        spec = make_test_spec(dict(row))
        first = written(SCRIPT, spec.eval_script) + "git rev-parse HEAD"
        before, commit = _statuses(box, spec, timeout, first)
        apply = "git apply --whitespace=nowarn /tmp/gold.patch && echo applied"
        after, applied = _statuses(box, spec, timeout, written("/tmp/gold.patch", str(row["patch"])) + apply)
    finally:
        box.close()
    if applied.split()[-1:] != ["applied"]:  # it may warn of file modes
        return f"gold does not apply: {applied[-300:]}"
    if before is None or after is None:
        return "the evaluation script gives no results"
    found = {name: (before.get(name) in GOOD, after.get(name) in GOOD) for name in before | after}
    failing = [name for name in row["FAIL_TO_PASS"] if found.get(name) == (False, True)]
    passing = [name for name in row["PASS_TO_PASS"] if found.get(name) == (True, True)]
    if not failing or not passing:
        return f"{len(failing)} tests fail only with the bug, {len(passing)} pass with and without it"
    store.write_tests(folder, failing, passing)
    noted = {"base_commit": commit, "environment_setup_commit": commit}
    store.save_meta(folder, {**store.load_meta(folder), **noted})
    return ""


def elsewhere(box: Sandbox, patch: str) -> list[str]:
    """Files of the image outside the repository that gold's fix can be read in; raises SandboxError.

    These are copies that other packages carry with them, such as pip's of packaging: files of the same name
    in a folder of the same name that have all lines that gold adds.
    """
    gold = {}
    for part in parts(patch.encode()):
        ending = [name for name in PurePosixPath(part.path).parts[-2:] if name not in ("src", "lib")]
        lines = part.data.decode("utf-8", "replace").split("\n")
        added = {line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++ ")}
        gold["/".join(ending)] = sorted(added - {""})
    command = written(GOLD, json.dumps(gold)) + 'python3 -c "$SEARCH"'
    done = box.run(command, env={"SEARCH": SEARCH}, timeout=300.0, tail=100_000)
    if done.code != 0:
        raise SandboxError(f"a search in a fresh box failed: {done.output}", kind="fresh_box", retryable=True)
    return done.output.split("\n")[:-1]


def _statuses(box: Sandbox, spec: Any, timeout: float, first: str) -> tuple[dict[str, str] | None, str]:
    """What swebench's own parser reads in a run of the evaluation script, None where it refuses to; and what
    the command said that ran before it."""
    from swebench.harness.grading import get_logs_eval

    ran = box.run(f"{first}\necho {END}\n/bin/bash {SCRIPT}", timeout=timeout, head=LOG, tail=LOG)
    said, _, log = ran.output.partition(f"{END}\n")
    with as_file(log) as path:
        statuses, valid = get_logs_eval(spec, path)
    return (dict(statuses) if valid and not ran.timed_out else None), said.strip()
