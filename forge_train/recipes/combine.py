"""Stages that make one model of several, and one answer of several."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from forge_train.recipes.plan import MergePlan
from forge_train.recipes.stages import Facts
from forge_train.recipes.work import model_of


def merge_stage(
    out: Path, name: str, experts: Sequence[str], plan: MergePlan, *, base: str, seed: int
) -> Facts:
    """Merge the models of `experts`, all trained from that of `base`, into a model folder."""
    from forge_train.merging.merge import merge
    from forge_train.merging.methods import Recipe

    folder = out / name
    if (folder / "config.json").is_file():  # killed between the last file and the manifest's line
        shutil.rmtree(folder)
    how = Recipe(plan.method, (1.0,) * len(experts), density=plan.density, scale=plan.scale, seed=seed)
    told = merge([model_of(out, one) for one in experts], folder, how, base=model_of(out, base))
    return {
        "method": plan.method,
        "experts": list(experts),
        **{key: told[key] for key in ("merged_change", "opposed") if key in told},
    }
