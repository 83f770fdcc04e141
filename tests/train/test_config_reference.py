"""The page of all keys is what the sections say, and the commands show it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from forge_train import cli
from forge_train.config import Config, load
from forge_train.config.explain import fields
from forge_train.config.reference import COMMAND, keys, listing, markdown

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == markdown(Config), f"keys changed: {COMMAND}"


def test_every_key_is_there_with_a_type_and_a_line() -> None:
    found = list(keys(Config))
    assert [k.name.replace(".N.", ".0.") for k in found] == [name for name, _ in fields(Config)]
    assert all(k.kind and k.about and k.first for k in found)


@pytest.mark.parametrize(
    ("name", "kind", "default", "bounds"),
    [
        ("run.seed", "int", "0", "0 or more"),
        ("run.out", "text", "", ""),
        ("model.tiny.vocab", "int", "1024", "300 or more"),
        ("worlds.N.id", "text", "", "must be set, not empty"),
        ("worlds.N.args", "table", "{}", ""),
        ("rollout.engine", '"local" or "vllm"', '"local"', ""),
        ("algorithm.clip_low", "float", "0.2", "0 or more, at most 1"),
        ("algorithm.sequence_range", "[float, float]", "", ""),
        ("eval.k", "list of int", "[1, 2, 4]", "above 0"),
        ("optim.eps", "float", "1e-8", "above 0"),
    ],
)
def test_types_defaults_and_bounds_are_told_as_the_file_writes_them(
    name: str, kind: str, default: str, bounds: str
) -> None:
    (key,) = [k for k in keys(Config) if k.name == name]
    assert (key.kind, key.default, key.bounds) == (kind, default, bounds)


def test_the_commands_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--markdown"]) == 0 and capsys.readouterr().out == PAGE.read_text()
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert listing(Config) in capsys.readouterr().out
    assert cli.main(["config", "optim.lr"]) == 0
    whole = capsys.readouterr().out
    assert whole.startswith("optim.lr = 3e-4  (float, above 0)") and "billions of weights" in whole
    assert cli.main(["config", "Clipped", "zzz"]) == 0
    assert "algorithm.clip_low" in capsys.readouterr().out
    assert cli.main(["config", "zzz"]) == 2 and "forge-train config lists all" in capsys.readouterr().err


def test_a_file_is_checked_and_resolved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", str(cli.GRPO), "run.seed=7"]) == 0
    (tmp_path / "whole.toml").write_text(capsys.readouterr().out)
    assert load(tmp_path / "whole.toml") == load(cli.GRPO, ["run.seed=7"])
    assert cli.main(["config", str(cli.GRPO), "run.sed=7"]) == 2
    assert "did you mean run.seed?" in capsys.readouterr().err


def test_help_needs_no_torch_and_may_be_cut_short() -> None:
    code = (
        "import sys\nfrom forge_train import cli\ntry: cli.main(['train', '--help'])\n"
        "except SystemExit: pass\nprint('torch' in sys.modules, file=sys.stderr)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout and run.stderr
    run.stdout.close()  # as `| head` does
    assert run.stderr.read().decode().strip() == "False"
    run.stderr.close()
    run.wait()
