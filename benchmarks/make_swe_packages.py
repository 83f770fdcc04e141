"""Tasks of packages that make-swe was not built with: what was made of each, what was dropped, and why.

    nice -n 19 python benchmarks/make_swe_packages.py --out /tmp/strangers [--tasks 10] [--only NAME ...]

Makes up to --tasks tasks of every package in PACKAGES below --out; what is there is not made again, so the
command may be stopped and given again, with more tasks. Each task is proved before it is kept: gold resolves,
nothing done does not. Writes benchmarks/results/make_swe_packages.json after each package; prints a table.
Afterwards benchmarks/issue_examples.py runs the examples of the issues again by code of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.make_swe.main import make
from forge_envs.make_swe.settings import Settings
from forge_envs.sandbox import SandboxError

RESULTS = Path(__file__).parent / "results" / "make_swe_packages.json"
PACKAGES: dict[str, tuple[str, ...]] = {
    "uritemplate==4.1.1": (),
    "jsonpointer==3.0.0": (),
    "cssselect==1.2.0": ("lxml",),
    "xmltodict==0.14.2": (),
    "deepmerge==2.0": (),
    "semantic-version==2.10.0": (),
    "semver==3.0.4": (),
    "parse==1.20.2": (),
    "jsonpatch==1.33": (),
    "toolz==1.0.0": (),
    "natsort==8.4.0": ("hypothesis", "pytest-mock"),
    "itsdangerous==2.2.0": (),
    "humanize==4.12.1": (),
    "wsproto==1.2.0": (),
    "pathspec==0.12.1": (),
    "installer==0.7.0": (),
    "portion==2.6.0": (),
    "prettytable==3.12.0": ("pytest-lazy-fixtures",),
    "iso8601==2.1.0": ("pytz", "hypothesis"),
    "marko==2.1.2": (),
    "parver==0.5": ("hypothesis", "pretend"),
    "furl==2.1.4": (),
    "wcwidth==0.2.13": (),
    "funcy==2.0": ("whatever",),
    "mistune==3.0.2": (),
    "dpath==2.2.0": ("hypothesis", "nose2"),
    "tomlkit==0.13.2": ("pyyaml",),
    "textdistance==4.6.3": ("hypothesis", "numpy"),
    "sqlparse==0.5.3": (),
    "isodate==0.7.2": (),
    "webencodings==0.5.1": (),
    "idna==3.10": (),
    "hyperframe==6.1.0": (),
    "intervaltree==3.1.0": (),
    "tomli-w==1.2.0": (),
}
"""Packages of flit, hatchling, poetry-core, pdm-backend and setuptools, and what their tests need besides."""
TOLD = re.compile(r": (\d+) tasks of (\d+) possible bugs; (.*)")


class Heard:
    """Keeps what make-swe says."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        """A step that began or ended."""
        self.steps.append(text)
        print(f"  {text}", file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        """How far a step is."""


def one(spec: str, needs: tuple[str, ...], out: Path, tasks: int, timeout: float) -> dict[str, Any]:
    """What became of one package."""
    heard, began = Heard(), time.monotonic()
    entry: dict[str, Any] = {"made": 0, "possible": 0, "tried": {}, "why": ""}
    try:
        make([spec], [], Settings(out, tasks=tasks, repeats=2, timeout=timeout, needs=needs), heard)
    except (TaskError, SandboxError, ValueError) as error:
        entry["why"] = str(error).strip()[-400:]
    for step in heard.steps:
        if found := TOLD.search(step):
            entry["made"], entry["possible"] = int(found[1]), int(found[2])
            pairs = (part.partition(" ") for part in re.split(r", (?=\d+ )", found[3]))
            entry["tried"] = {reason: int(count) for count, _, reason in pairs}
    entry["seconds"] = round(time.monotonic() - began)
    return entry


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["| package | possible bugs | tried | made | dropped, and why |", "|---|---|---|---|---|"]
    for spec, entry in found.items():
        tried = sum(entry["tried"].values())
        why = ", ".join(f"{n} {reason}" for reason, n in entry["tried"].items() if reason != "kept")
        why = why or " ".join(entry["why"].splitlines()[-1:])
        lines.append(f"| {spec} | {entry['possible']} | {tried} | {entry['made']} | {why} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the task repository")
    parser.add_argument("--tasks", type=int, default=10, help="of each package")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one run of the tests")
    parser.add_argument("--only", nargs="+", default=[], help="specs, or the beginnings of some")
    args = parser.parse_args()
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for spec, needs in PACKAGES.items():
        if args.only and not spec.startswith(tuple(args.only)):
            continue
        if found.get(spec, {}).get("made", 0) >= args.tasks:
            continue
        print(spec, file=sys.stderr, flush=True)
        found[spec] = one(spec, needs, args.out, args.tasks, args.timeout)
        RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(table(found))
    print(f"\n{sum(entry['made'] for entry in found.values())} tasks of {len(found)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
