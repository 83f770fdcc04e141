"""Stages that make one model of several, and one answer of several."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_train import interrupt
from forge_train.engine import Sampling
from forge_train.evaluation.collect import collect_from
from forge_train.evaluation.folder import limits
from forge_train.play.world_pool import World
from forge_train.recipes.plan import MergePlan, SelectPlan
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


def select_stage(
    out: Path, name: str, plan: SelectPlan, *, model: str, worlds: Sequence[Mapping[str, Any]], split: str,
    seed: int, device: str, rollout: Mapping[str, Any],
) -> Facts:  # fmt: skip
    """Attempt tasks of each world several times with a stage's model: what is what selectors choose worth?

    `worlds` are tables of [[worlds]], `rollout` holds the limits of a run. The plays stay in a folder for
    each world, for `forge-train select`.
    """
    tables = []
    context, action = limits(None, rollout.get("max_context"), rollout.get("max_action"))
    sampling = Sampling(temperature=plan.temperature, max_tokens=action, top_logprobs=plan.top_logprobs)
    for world in worlds:
        folder = out / name / str(world["name"])
        place = World(str(world["id"]), dict(world["args"]), str(world["name"]))
        common: dict[str, Any] = {"repeats": plan.samples, "seed": seed, "max_context": context}
        try:
            interrupt.run(
                collect_from(
                    str(model_of(out, model)), place, split, plan.tasks, folder,
                    sampling=sampling, device=device, **common,
                )
            )  # fmt: skip
        finally:
            place.close()
        tables.append({"world": world["name"], "rows": worth_of(folder, plan.samples, seed)})
    return {"model": model, "samples": plan.samples, "tables": tables}


def worth_of(folder: Path, samples: int, seed: int) -> list[list[str]]:
    """What selection among the plays of a folder is worth: headings, then a row for each selector."""
    from forge_train.selection.candidates import read_plays
    from forge_train.selection.selectors import SELECTORS
    from forge_train.selection.table import table

    groups, verdicts = read_plays(folder)
    fewest = min(map(len, groups))
    ns = [n for n in (2**i for i in range(1, samples.bit_length())) if n <= fewest]
    if not ns:
        raise RuntimeError(
            f"{folder}: a machine took all but one attempt at a task; the same command goes on"
        )
    rows = table(groups, verdicts, list(SELECTORS), ns, seed=seed)
    found = [["selector", *(f"N = {n}" for n in ns), "gain in points"]]
    for selector in dict.fromkeys(row.selector for row in rows):
        mine = {row.n: row for row in rows if row.selector == selector}
        if 1 in mine:  # one play at random, which the others are compared with
            found.append([selector, str(mine[1].success), *[""] * len(ns)])
            continue
        gain = str(mine[ns[-1]].gain).replace(" points", "")
        found.append([selector, *(str(mine[n].success) for n in ns), gain])
    return found
