"""How far a recipe is, as a table in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from forge_train.recipes.stages import Manifest, Stage
from forge_train.show.fitting import table_of
from forge_train.show.live import duration


def show_stages(manifest: Manifest, at: Stage | None, console: Console | None = None) -> None:
    """Every stage, whether it is done, what it took and what it tells; `at` is the one that begins now."""
    rows = []
    for stage in manifest.stages:
        told = manifest.told.get(stage.name, {})
        done = manifest.done(stage)
        state = "done" if done else "now" if stage is at else "stopped" if told else ""
        seconds = duration(told["seconds"]) if told.get("seconds") else ""
        rows.append([stage.name, state, seconds, headline(told.get("facts", {})) if done else stage.about])
    console = console or Console()
    done_so_far = sum(row[1] == "done" for row in rows)
    title = f"{manifest.out}: {manifest.recipe}, {done_so_far} of {len(rows)} stages done"
    console.print()
    console.print(
        table_of(("stage", "", "time", "what"), rows, [0, 1, 3, 2], console, title=title, left=(0, 1, 3))
    )
    console.print()


def headline(facts: dict[str, Any]) -> str:
    """What a stage tells of itself, in a few words.

    >>> headline({"kept": 60, "plays": 64}), headline({"updates": 0, "lessons": 12})
    ('60 of 64 plays kept', '12 batches imitated')
    """
    if "kept" in facts:
        return f"{facts['kept']:,} of {facts['plays']:,} plays kept"
    if "updates" in facts:
        if not facts["updates"]:
            return f"{facts.get('lessons', 0)} batches imitated"
        return (
            f"{facts['updates']} updates, {facts['episodes']:,} episodes, {facts['sampled_tokens']:,} tokens"
        )
    if "method" in facts:
        return f"{len(facts['experts'])} experts by {facts['method']}"
    if "samples" in facts:
        return f"{facts['samples']} attempts of {facts['model']} at each task"
    if "models" in facts:
        return f"{facts['models']} models, {facts['worlds']} worlds, {facts['tasks']} tasks each"
    return ", ".join(f"{value:,} {key}" for key, value in facts.items() if isinstance(value, int))
