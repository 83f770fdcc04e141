"""The report of a recipe: one HTML page and one Markdown page, from the recipe's folder alone.

Rows are the models that stages left, columns the worlds, as in the tables of Klear-AgentForge (arXiv
2511.05951): one table for tool use (their table 2), one for coding (their table 3). Every number stands with
its interval of 95% and with its change from the first model that imitated, task by task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from forge_train.recipes.stages import MANIFEST, read_manifest
from forge_train.recipes.table import headline
from forge_train.record.evaluation_result import shares
from forge_train.record.intervals import Difference, paired
from forge_train.record.run_folder import write_atomic
from forge_train.show.live import duration
from forge_train.show.results import evaluations

HERE = Path(__file__).parent
TITLES = {"tools": "Tool use", "coding": "Coding"}
KEPT_ALL = 0.95
"""Share of an expert's success that a merged model should keep."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a model reached in a world, in shares of 1; `change` is from the first model that imitated."""

    score: float | None
    low: float | None = None
    high: float | None = None
    change: Difference | None = None

    @property
    def text(self) -> str:
        """The number alone, in percent.

        >>> Cell(0.8234, 0.75, 0.88).text, Cell(None).text
        ('82.3', '–')
        """
        return "–" if self.score is None else f"{100 * self.score:.1f}"

    @property
    def interval(self) -> str:
        """Its interval, in percent; nothing where there is none.

        >>> Cell(0.8234, 0.75, 0.88).interval
        '[75.0, 88.0]'
        """
        return (
            "" if self.low is None or self.high is None else f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"
        )

    @property
    def moved(self) -> str:
        """The change in points; nothing where there is none to tell."""
        return "" if self.change is None else f"{100 * self.change.mean:+.1f}"

    @property
    def sure(self) -> bool:
        """Whether the interval of the change leaves 0 out."""
        return bool(self.change and self.change.low is not None and self.change.high is not None
                    and self.change.low * self.change.high > 0)  # fmt: skip


def write_recipe_report(out: Path) -> Path:
    """Write `report.html` and `report.md` of the recipe in `out`; returns the path of the former.

    Raises ValueError where there is no recipe.
    """
    if not (out / MANIFEST).is_file():
        raise ValueError(
            f"{out}: no recipe here (no {MANIFEST}); give the folder of `forge-train recipe --out`"
        )
    found = gather(out)
    templates = Environment(
        loader=FileSystemLoader([HERE, HERE.parent / "show"]),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("report.md", "report.html"):
        text = templates.get_template(f"recipe.{name.partition('.')[2]}.jinja").render(found)
        write_atomic(out / name, text.encode("utf-8"))
    return out / "report.html"


def gather(out: Path) -> dict[str, Any]:
    """All that the pages show."""
    manifest = read_manifest(out / MANIFEST)
    told: Mapping[str, Mapping[str, Any]] = manifest["stages"]
    judged = told.get("judge", {})
    facts = judged.get("facts") or {}
    kinds: Mapping[str, str] = facts.get("kinds") or {}
    models: Sequence[str] = judged.get("settings", {}).get("models", ())
    rows = table_rows(out, models, list(kinds))
    return {
        "name": manifest["recipe"],
        "folder": out.resolve().name,
        "facts": _totals(told),
        "tables": [
            {
                "title": TITLES[kind],
                "worlds": [world for world in kinds if kinds[world] == kind],
                "rows": rows,
            }
            for kind in TITLES
            if kind in kinds.values()
        ],
        "asked": facts,
        "kept": kept_rows(rows, list(kinds)),
        "selection": (told.get("select", {}).get("facts") or {}).get("tables", []),
        "stages": [
            {
                "name": name,
                "state": one["state"],
                "about": one["about"],
                "time": duration(one["seconds"]),
                "what": headline(one["facts"]),
                "report": f"{name}/report.html" if (out / name / "report.html").is_file() else None,
            }
            for name, one in told.items()
        ],
    }


def table_rows(out: Path, models: Sequence[str], worlds: Sequence[str]) -> list[dict[str, Any]]:
    """A row for the model before anything was learned, and one for each of `models`: cells by world."""
    from forge_train.recipes.work import judged

    events = {model: {w: judged(out / "judge", model, w) for w in worlds} for model in models}
    base = next((model for model in models if model.startswith("supervised")), None)
    rows = []
    if base is not None:
        before = _before(out / base)
        rows.append(_row("start", {w: before.get(w) for w in worlds}, {}))
    for model in models:
        compared = {} if model == base or base is None else events[base]
        rows.append(_row(model, events[model], compared))
    return rows


def called(stage: str) -> str:
    """What a person calls the model of a stage.

    >>> [called(name) for name in ("start", "supervised", "rl/retail", "rl-2", "merged")]
    ['before', 'SFT', 'SFT, RL in retail', 'SFT, RL, round 2', 'SFT, RL by world, merged']
    """
    name, _, world = stage.partition("/")
    name, _, number = name.partition("-")
    words = {
        "start": "before",
        "supervised": "SFT",
        "rl": f"SFT, RL in {world}" if world else "SFT, RL",
        "merged": "SFT, RL by world, merged",
        "together": "SFT, RL in all at once",
    }.get(name, stage)
    return f"{words}, round {number}" if number else words


def kept_rows(rows: Sequence[Mapping[str, Any]], worlds: Iterable[str]) -> list[dict[str, Any]]:
    """What became of each expert's success in the merged model and in the one that learned all at once."""
    by_model = {row["model"]: row["cells"] for row in rows}
    found = []
    for world in worlds:
        expert = by_model.get(f"rl/{world}", {}).get(world)
        if expert is None or not expert.score:
            continue
        line: dict[str, Any] = {"world": world, "expert": expert}
        for name in ("merged", "together"):
            cell = by_model.get(name, {}).get(world)
            line[name] = cell
            line[f"{name}_kept"] = None if cell is None or cell.score is None else cell.score / expert.score
        found.append(line)
    return found


def _row(
    model: str,
    events: Mapping[str, Mapping[str, Any] | None],
    compared: Mapping[str, Mapping[str, Any] | None],
) -> dict[str, Any]:
    cells = {}
    for world, event in events.items():
        if event is None:
            cells[world] = Cell(None)
            continue
        before = compared.get(world)
        change = paired(shares(before["tasks"]), shares(event["tasks"])) if before else None
        cells[world] = Cell(event["pass@1"], event["low"], event["high"], change)
    return {"model": model, "name": called(model), "cells": cells}


def _before(run: Path) -> dict[str, Mapping[str, Any]]:
    """What a run found of its model before it learned anything, by world."""
    return {e["world"]: e for e in evaluations(run) if e["step"] == 0 and e["stage"] != "after SFT"}


def _totals(told: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    facts = [one.get("facts") or {} for one in told.values()]
    return [
        ("stages done", f"{sum(one['state'] == 'done' for one in told.values())} of {len(told)}"),
        ("time", duration(sum(one["seconds"] for one in told.values()))),
        ("demonstrations", f"{sum(f.get('kept', 0) for f in facts):,}"),
        ("updates", f"{sum(f.get('updates', 0) for f in facts):,}"),
        ("sampled tokens", f"{sum(f.get('sampled_tokens', 0) for f in facts):,}"),
    ]
