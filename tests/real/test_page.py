"""What docs/your_model.md says can be typed: its config loads, its commands are ones of ours."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

import pytest

from forge_train.cli import _parser
from forge_train.config import load
from tests.real.page import code_of

COMMANDS = [
    line
    for block in code_of("bash")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("forge-train")
]


def test_its_config_loads(tmp_path: Path) -> None:
    [text] = code_of("toml")
    (tmp_path / "my.toml").write_text(text)
    config = load(tmp_path / "my.toml")
    assert config.model.path == tomllib.loads(text)["model"]["path"] == "smollm2"
    assert config.run.folder == Path("runs/mine")


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_ours(line: str) -> None:
    words = shlex.split(line, comments=True)
    args = _parser().parse_args(words[1:])
    assert args.command.__module__ == "forge_train.cli"
