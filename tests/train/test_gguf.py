"""A GGUF asked for by mistake: one line, with the way to a folder that can be trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_train import cli
from forge_train.config.gguf import refuse_gguf
from tests.train.test_run import SMALL

SHOP = ["--world", "forge_envs:Forge/Retail-v0"]


@pytest.fixture(params=["file", "folder", "capitals"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name = "Model.Q4.GGUF" if request.param == "capitals" else "model.Q4_1.gguf"
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / name).write_bytes(b"GGUF")
    return folder if request.param == "folder" else folder / name


@pytest.mark.parametrize("command", ["train", "eval", "collect", "serve"])
def test_gguf_is_refused_with_the_way_to_a_folder(
    command: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    told = {
        "train": ["train", str(cli.GRPO), *SMALL, f"model.path={place}", f"run.out={out}"],
        "eval": ["eval", str(place), *SHOP],
        "collect": ["collect", str(place), *SHOP, "--out", out],
        "serve": ["serve", str(place), "--port", "0", "--logs", out],
    }[command]
    assert cli.main(told) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert ": GGUF holds weights to run, not to train" in line
    assert "config.json" in line and "docs/your_model.md" in line


def test_a_gguf_beside_other_weights_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    refuse_gguf(tmp_path)
    refuse_gguf("owner/name")
