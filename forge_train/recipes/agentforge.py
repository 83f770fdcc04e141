"""The pipeline of Klear-AgentForge (arXiv 2511.05951): imitate, reinforce by world and merge; or all at once.

    collect/WORLD ─┐                      ┌─ rl/WORLD ─┐
    collect/WORLD ─┼─ data ─ supervised ──┼─ rl/WORLD ─┼─ merged ──┬─ select
    collect/WORLD ─┘                      ├─ rl/WORLD ─┘           │
                                          └─ together ─────────────┴─ judge

A world without `steps` gets no expert. With one expert there is nothing to merge, and it stands for itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from forge_train.recipes.combine import merge_stage, select_stage
from forge_train.recipes.plan import Plan, hard_name, laid_over, run_of_plan, world_tables
from forge_train.recipes.stages import Stage
from forge_train.recipes.work import collect_stage, judge_stage, mix_stage, train_stage

Tables = Mapping[str, Any]


def agentforge(plan: Plan) -> list[Stage]:
    """All its stages, in order. Raises ConfigError for keys of its runs that do not fit."""
    whole = [world_tables(world, turns=False)[0] for world in plan.worlds]
    found = demonstrations(plan, whole)
    shown, count = [stage.name for stage in found], sum(world.demonstrations for world in plan.worlds)
    found += mixed(plan, shown, whole, "data", "supervised", count)
    experts = []
    for world in plan.worlds:
        if world.steps:
            name = f"rl/{world.name}"
            experts.append(name)
            own = {"run": {"steps": world.steps}}
            found.append(reinforcement(plan, name, world_tables(world), own, start="supervised"))
    models = ["supervised", *experts]
    if len(experts) > 1:
        found.append(merging(plan, experts))
        models.append("merged")
    if plan.together:
        tables = [table for world in plan.worlds for table in world_tables(world)]
        if "cycle" in plan.together.get("curriculum", {}):  # it says whose turn it is
            tables = [{k: v for k, v in table.items() if k != "weight"} for table in tables]
        found.append(reinforcement(plan, "together", tables, plan.together, start="supervised"))
        models.append("together")
    if plan.select.tasks:
        found.append(selecting(plan, "merged" if "merged" in models else models[-1], whole))
    return [*found, judging(plan, models, whole)]


def demonstrations(plan: Plan, worlds: Sequence[dict[str, Any]]) -> list[Stage]:
    """The teacher shows tasks of every world."""
    found = []
    for world, table in zip(plan.worlds, worlds, strict=True):
        name = f"collect/{world.name}"
        options: dict[str, Any] = {"by": plan.teacher, "seed": plan.seed}
        found.append(
            Stage(
                name,
                f"{world.demonstrations} tasks of {world.name} shown by {plan.teacher}",
                partial(collect_stage, name=name, world=table, tasks=world.demonstrations, **options),
                {"world": table, "tasks": world.demonstrations, **options},
            )
        )
    return found


def mixed(
    plan: Plan, sources: Sequence[str], worlds: Sequence[dict[str, Any]], data: str, run: str, count: int
) -> list[Stage]:
    """Put collected episodes, `count` at most, into one file and imitate it."""
    settings = run_of_plan(
        plan, run, worlds, plan.supervised, {"run": {"steps": 0}, "sft": {"episodes": count}}
    )
    return [
        Stage(
            data,
            "their episodes in one file",
            partial(mix_stage, name=data, sources=sources),
            needs=tuple(sources),
        ),
        Stage(
            run,
            "one model imitates them all",
            partial(train_stage, name=run, tables=settings, data=data),
            settings,
            (data,),
        ),
    ]


def reinforcement(
    plan: Plan, name: str, worlds: Sequence[dict[str, Any]], own: Tables, *, start: str
) -> Stage:
    """Reinforce the model of `start` in these worlds."""
    settings = run_of_plan(plan, name, worlds, plan.reinforced, own)
    names = [str(world["name"]) for world in worlds]
    where = " and ".join(names) if len(names) < 3 else f"{len(names)} worlds at once"
    return Stage(
        name,
        f"reinforced in {where}",
        partial(train_stage, name=name, tables=settings, start=start),
        settings,
        (start,),
    )


def merging(plan: Plan, experts: Sequence[str]) -> Stage:
    """Merge the experts, as changes of the model they all began with."""
    options: dict[str, Any] = {"base": "supervised", "seed": plan.seed}
    return Stage(
        "merged",
        f"{len(experts)} experts merged by {plan.merge.method}",
        partial(merge_stage, name="merged", experts=experts, plan=plan.merge, **options),
        {"merge": plan.merge.model_dump(), **options},
        ("supervised", *experts),
    )


def selecting(plan: Plan, model: str, worlds: Sequence[dict[str, Any]]) -> Stage:
    """Attempt held-out tasks several times with the final model: what is choosing one of them worth?"""
    options = {"model": model, "worlds": list(worlds), "split": plan.judge.split, **_how(plan)}
    return Stage(
        "select",
        f"one of {plan.select.samples} attempts of {model} is chosen",
        partial(select_stage, name="select", plan=plan.select, **options),
        {"select": plan.select.model_dump(), **options},
        (model,),
    )


def _how(plan: Plan) -> dict[str, Any]:
    """How models are played that are no longer trained: seed, device, and the limits of a run."""
    rollout = laid_over(plan.every, plan.reinforced).get("rollout", {})
    return {
        "seed": plan.seed,
        "device": plan.every.get("model", {}).get("device", "cpu"),
        "rollout": {key: rollout[key] for key in ("max_context", "max_action") if key in rollout},
    }


def judging(plan: Plan, models: Sequence[str], worlds: Sequence[dict[str, Any]]) -> Stage:
    """Judge the models of all stages on the same held-out tasks of all worlds."""
    kinds = {name: w.kind for w in plan.worlds for name in (w.name, hard_name(w))}
    options = {"kinds": kinds, **_how(plan)}
    return Stage(
        "judge",
        f"{len(models)} models on {plan.judge.tasks} held-out tasks of {len(worlds)} worlds",
        partial(judge_stage, name="judge", models=models, worlds=worlds, plan=plan.judge, **options),
        {"judge": plan.judge.model_dump(), "models": list(models), "worlds": list(worlds), **options},
        tuple(models),
    )
