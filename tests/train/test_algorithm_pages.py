"""The pages about algorithms: their configs load, and they name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forge_train.config import load
from forge_train.learn.losses import OBJECTIVES, UNIT_OBJECTIVES
from tests.train.test_config import WORLD

PAGES = Path(__file__).parents[2] / "docs" / "algorithms"
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{i}")
    for page in sorted(PAGES.glob("*.md"))
    for i, block in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_config_of_a_page_loads(block: str, tmp_path: Path) -> None:
    (tmp_path / "page.toml").write_text(block)
    assert load(tmp_path / "page.toml", [WORLD]).algorithm


def test_every_objective_has_its_line() -> None:
    rows = [
        line.split("|")[1] for line in (PAGES / "objectives.md").read_text().splitlines() if line[:3] == "| `"
    ]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {*OBJECTIVES, *UNIT_OBJECTIVES} <= named
