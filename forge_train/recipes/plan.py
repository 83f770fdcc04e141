"""What a recipe is to do, in one TOML file: worlds, how much of what, and the keys of its runs.

The tables `every`, `supervised`, `reinforced` and `together` hold keys of a run's config as they stand in its
own file, so that what a recipe does in a stage is what `forge-train train` would do. The table `small` is
laid over the rest with `--small`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeGuard

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationError, model_validator

from forge_train.config import Config, ConfigError, read_tree, set_keys
from forge_train.config.explain import explain
from forge_train.config.section import Section
from forge_train.config.sections import PlainTable

PLANS = Path(__file__).parent / "plans"
"""The recipes that come with the house, NAME.toml."""


class PlannedWorld(Section):
    """A world of a recipe."""

    name: str = Field(pattern=r"^\w[\w-]*$")
    """What it is called in tables and folders."""
    id: str
    """Its id, "module:Name-v0"."""
    kind: Literal["tools", "coding"] = "tools"
    """Which of the two tables of the report it stands in."""
    args: PlainTable = Field(default_factory=dict)
    """Arguments of the world."""
    harder: PlainTable = Field(default_factory=dict)
    """Arguments over those, for the rounds after the first of `iterate`; empty leaves it as it is."""
    demonstrations: PositiveInt = 64
    """Tasks of the train split that the teacher plays, to be imitated."""
    tasks: PositiveInt = 4096
    """Tasks of the train split to reinforce on."""
    steps: NonNegativeInt = 20
    """Updates of its expert (`agentforge`)."""
    next_turn: NonNegativeFloat = 0.0
    """Groups of step-wise samples (Klear-AgentForge eq. 8) for each group of whole episodes; 0 plays none.
    They need a world with gold that calls tools."""


class MergePlan(Section):
    """How experts become one model."""

    method: str = "sce"
    """A method of `forge-train merge`."""
    density: float | None = Field(default=None, gt=0, le=1)
    """Share of each weight's entries that count; by default the method's own."""
    scale: float = 1.0
    """What the merged change is multiplied with."""


class SelectPlan(Section):
    """Choosing one of several attempts at a task."""

    samples: int = Field(default=8, ge=2)
    """Attempts at each task; the table shows 2, 4, 8, ... of them."""
    tasks: NonNegativeInt = 50
    """Held-out tasks of each world; 0 leaves the stage out."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the attempts."""
    top_logprobs: PositiveInt = 20
    """Likeliest tokens over which confidence is measured."""


class JudgePlan(Section):
    """How the models of all stages are judged: on the same held-out tasks, with the same seeds."""

    split: str = "test"
    """Tasks that nothing was trained on."""
    tasks: PositiveInt = 100
    """How many, of each world."""
    repeats: PositiveInt = 2
    """Episodes of each task."""
    temperature: NonNegativeFloat = 1.0
    """0 is greedy."""


class RoundsPlan(Section):
    """Iterated distillation: what a round of it is."""

    count: int = Field(default=2, ge=2)
    """Rounds of collect, imitate, reinforce."""
    repeats: PositiveInt = 4
    """Plays of each task from which the model of a round makes the data of the next."""
    keep: PositiveInt = 1
    """Of these, successes that are kept, at most."""
    tasks: PositiveInt = 256
    """Tasks of each world that it plays for that."""
    steps: NonNegativeInt = 20
    """Updates of a round's reinforcement."""
    demonstrations: bool = True
    """Whether later rounds imitate the first round's demonstrations as well."""


class Plan(Section):
    """A whole recipe."""

    recipe: Literal["agentforge", "iterate"]
    """Which stages there are."""
    seed: NonNegativeInt = 0
    """That of every stage."""
    teacher: str = "gold"
    """Who shows how it is done: gold, openai:MODEL@URL, or the folder of a model or a run."""
    worlds: tuple[PlannedWorld, ...] = Field(strict=False, min_length=1)
    """Where to learn."""
    every: PlainTable = Field(default_factory=dict)
    """Keys of all runs."""
    supervised: PlainTable = Field(default_factory=dict)
    """Keys of runs that imitate."""
    reinforced: PlainTable = Field(default_factory=dict)
    """Keys of runs that reinforce."""
    together: PlainTable = Field(default_factory=dict)
    """Keys of the run over all worlds at once (`agentforge`), over those of `reinforced`."""
    merge: MergePlan = MergePlan()
    """How experts become one model."""
    select: SelectPlan = SelectPlan()
    """Choosing one of several attempts."""
    judge: JudgePlan = JudgePlan()
    """How models are judged."""
    rounds: RoundsPlan = RoundsPlan()
    """Of `iterate`."""

    @model_validator(mode="after")
    def _across(self) -> Self:
        names = [world.name for world in self.worlds]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice:
            raise ValueError(f'worlds: two are called "{twice}"; give each a name of its own')
        for world in self.worlds:
            if world.next_turn and world.kind == "coding":
                raise ValueError(
                    f'worlds: "{world.name}" has next_turn = {world.next_turn:g}, but a turn of code is not '
                    "compared with gold's letter by letter; leave it out"
                )
        return self


def read_plan(name: str, overrides: Sequence[str] = (), *, small: bool = False) -> Plan:
    """The plan NAME that comes with the house, or that of a TOML file; overrides are set last.

    Raises ConfigError for what cannot be done, all mistakes at once.
    """
    path = Path(name) if name.endswith(".toml") else PLANS / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(plan.stem for plan in PLANS.glob("*.toml")))
        raise ConfigError([f"{name}: no such recipe; known are {known}, or give the path of a TOML plan"])
    tree = read_tree(path)
    less = tree.pop("small", {})
    if small:
        if not less:
            raise ConfigError([f"{path}: it has no table [small], which --small would lay over the rest"])
        tree = laid_over(tree, less)
    set_keys(tree, overrides)
    try:
        return Plan.model_validate(tree)
    except ValidationError as error:
        raise ConfigError([f"{path}: {problem}" for problem in explain(error, Plan)]) from None


def laid_over(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `tree`: tables are joined key by key, and so are lists of tables of one length.

    >>> laid_over({"a": {"b": 1, "c": 2}, "w": [{"x": 1, "y": 2}]}, {"a": {"c": 3}, "w": [{"x": 5}]})
    {'a': {'b': 1, 'c': 3}, 'w': [{'x': 5, 'y': 2}]}
    """
    joined = dict(tree)
    for key, value in over.items():
        below = joined.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            joined[key] = laid_over(below, value)
        elif _rows(below) and _rows(value) and len(below) == len(value):
            joined[key] = [laid_over(*pair) for pair in zip(below, value, strict=True)]
        else:
            joined[key] = value
    return joined


def _rows(value: Any) -> TypeGuard[list[Mapping[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def world_tables(world: PlannedWorld, *, harder: bool = False, turns: bool = True) -> list[dict[str, Any]]:
    """The [[worlds]] of a run for a planned world: whole episodes and, with `turns`, single turns of gold."""
    args = {**world.args, **world.harder} if harder else dict(world.args)
    name = hard_name(world) if harder else world.name
    tables = [{"id": world.id, "args": args, "name": name, "tasks": world.tasks}]
    if turns and world.next_turn:
        one = {"world": world.id.rpartition(":")[2], **args}
        tables.append(
            {
                "id": "forge_envs:Forge/NextTurn-v0",
                "args": one,
                "name": f"{name}-turns",
                "tasks": world.tasks,
                "weight": world.next_turn,
            }
        )
    return tables


def hard_name(world: PlannedWorld) -> str:
    """What a world is called with its harder arguments; the same where it has none."""
    return f"{world.name}-harder" if world.harder else world.name


def run_of_plan(
    plan: Plan, name: str, worlds: Sequence[Mapping[str, Any]], *layers: Mapping[str, Any]
) -> dict[str, Any]:
    """The tables of a run: what all runs share, the layers over it, and its worlds.

    Raises ConfigError that names the stage for keys that do not fit, before anything is done.
    """
    tree = laid_over(plan.every, {"run": {"name": name.replace("/", "-"), "seed": plan.seed}})
    for layer in layers:
        tree = laid_over(tree, layer)
    tree["worlds"] = [dict(world) for world in worlds]
    try:
        Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError([f"stage {name}: {problem}" for problem in explain(error, Config)]) from None
    return tree
