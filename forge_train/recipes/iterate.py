"""Iterated distillation of GLM-4.5 (arXiv 2508.06471): what was reinforced makes the data of the next start.

    collect ─ data-1 ─ supervised-1 ─ rl-1 ─ collect-2 ─ data-2 ─ supervised-2 ─ rl-2 ─ … ─ judge

Each round imitates from the model as it was given, not from the one before: what travels from round to round
is data, of which only successes are kept. From the second round on reinforcement is harder: worlds then have
their `harder` arguments.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from forge_train.recipes.agentforge import demonstrations, judging, mixed, reinforcement
from forge_train.recipes.plan import Plan, world_tables
from forge_train.recipes.stages import Stage
from forge_train.recipes.work import collect_stage


def iterate(plan: Plan) -> list[Stage]:
    """All its stages, in order. Raises ConfigError for keys of its runs that do not fit."""
    easy = [world_tables(world, turns=False)[0] for world in plan.worlds]
    hard = [world_tables(world, turns=False, harder=True)[0] for world in plan.worlds if world.harder]
    rounds = plan.rounds
    shown = [f"collect/{world.name}" for world in plan.worlds]
    count = sum(world.demonstrations for world in plan.worlds)
    found: list[Stage] = []
    models: list[str] = []
    for number in range(1, rounds.count + 1):
        data, run, rl = (f"{name}-{number}" for name in ("data", "supervised", "rl"))
        if number == 1:
            found += demonstrations(plan, easy)
            found += mixed(plan, shown, [*easy, *hard], data, run, count)
        else:
            played = [world_tables(w, turns=False, harder=number > 2)[0] for w in plan.worlds]
            again = [regeneration(plan, number, world, by=models[-1]) for world in played]
            sources = [*(shown if rounds.demonstrations else ()), *(stage.name for stage in again)]
            most = count * rounds.demonstrations + rounds.tasks * rounds.keep * len(again)
            found += [*again, *mixed(plan, sources, [*easy, *hard], data, run, most)]
        tables = [table for w in plan.worlds for table in world_tables(w, harder=number > 1)]
        found.append(reinforcement(plan, rl, tables, {"run": {"steps": rounds.steps}}, start=run))
        models += [run, rl]
    return [*found, judging(plan, models, [*easy, *hard])]


def regeneration(plan: Plan, number: int, world: dict[str, Any], *, by: str) -> Stage:
    """The model of the round before plays the worlds it was reinforced in; its successes are data."""
    rounds, name = plan.rounds, f"collect-{number}/{world['name']}"
    options: dict[str, Any] = {"by": by, "seed": plan.seed, "repeats": rounds.repeats, "keep": rounds.keep}
    return Stage(
        name,
        f"{by} plays {rounds.tasks} tasks of {world['name']}, {rounds.repeats} times each",
        partial(collect_stage, name=name, world=world, tasks=rounds.tasks, needed=False, **options),
        {"world": world, "tasks": rounds.tasks, **options},
        (by,),
    )
