"""What the README says is printed is printed, for every command of it that is quick."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from forge_envs import cli as envs_cli
from forge_train import cli
from forge_train.config import load

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS: dict[str, str] = {}
for _, block in BLOCKS:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, printed = part.partition("\n")
        COMMANDS[line.partition("  #")[0].strip()] = printed

NAMED = re.compile(r"(?:`|^\$ |^)(forge-(?:train|envs)) ([a-z][\w-]*)", re.MULTILINE)
QUICK = [
    "forge-envs list",
    "forge-train config warmup",
    "forge-train collect gold --world forge_envs:Forge/Retail-v0 --arg size=tiny --tasks 20 --out runs/gold",
]


def holds(told: str, expected: str) -> None:
    """Every line of `expected` stands in `told`, in order; "…" stands for lines that are left out."""
    lines = iter([line.rstrip() for line in told.splitlines()])
    for line in expected.splitlines():
        if line.strip() not in ("", "…"):
            assert any(line.rstrip() == found for found in lines), f"{line!r} is not printed:\n{told}"


@pytest.mark.parametrize("command", QUICK)
def test_a_command_prints_what_stands_under_it(command: str, tmp_path: Path) -> None:
    program, *words = command.split()
    module = {"forge-envs": "forge_envs.cli", "forge-train": "forge_train.cli"}[program]
    run = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert COMMANDS[command].strip()
    holds(run.stdout, COMMANDS[command])


def test_the_ten_lines_print_what_stands_under_them(capsys: pytest.CaptureFixture[str]) -> None:
    at = next(i for i, (kind, _) in enumerate(BLOCKS) if kind == "python")
    exec(BLOCKS[at][1], {})
    holds(capsys.readouterr().out, BLOCKS[at + 1][1])


def test_every_command_that_a_page_or_an_example_names_is_there() -> None:
    known = {
        name: next(act.choices for act in parser._actions if isinstance(act, argparse._SubParsersAction))
        for name, parser in (("forge-train", cli._parser()), ("forge-envs", envs_cli._parser()))
    }
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.py")]
    named = [
        (path.name, name, command) for path in pages for name, command in NAMED.findall(path.read_text())
    ]
    assert len(named) > 100
    assert [one for one in named if one[2] not in known[one[1]]] == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.stem
)
def test_a_world_of_a_page_can_be_made_as_it_is_typed(page: Path) -> None:
    typed = "".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    for make in re.finditer(r"\b(gym|gymnasium)\.make\(\s*[\"']([^\"']*)", typed):
        assert re.search(
            rf"^import gymnasium{' as gym' if make[1] == 'gym' else ''}\b", typed[: make.start()], re.M
        )
        assert ":" in make[2] or "import forge_envs" in typed[: make.start()], f"{make[2]}: which module?"


def test_every_command_and_every_file_of_the_page_is_there() -> None:
    known = subprocess.run(
        [sys.executable, "-m", "forge_train.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    for command in COMMANDS:
        if command.startswith("forge-train"):
            assert f" {command.split()[1]} " in f"{known} ".replace("\n", " ")
    for name in re.findall(r"\]\(([\w./]+)\)|(?:^|[ `])(forge_train/recipes/\w+\.toml)", README):
        path = ROOT / (name[0] or name[1])
        assert path.exists(), f"{path} is not there"
    assert load(cli.GRPO).run.steps == 100
