"""`forge-train recipe`: a whole pipeline as one command that can be killed and given again."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make it known."""
    one = commands.add_parser(
        "recipe",
        help="a whole pipeline: agentforge, iterate, or a plan of yours",
        epilog="The same command goes on where it stopped. docs/recipes.md tells of plans and stages.",
    )
    one.add_argument(
        "name", nargs="?", metavar="NAME|FILE", help="agentforge, iterate, or the path of a TOML plan"
    )
    one.add_argument("set", nargs="*", metavar="key=value", help="keys of the plan, e.g. seed=1")
    one.add_argument("--out", nargs="+", metavar=("DIR", "key=value"), help="folder of the recipe")
    one.add_argument("--small", action="store_true", help="in some minutes, to see that all of it works")
    one.add_argument(
        "--from", dest="again_from", metavar="STAGE", help="do this stage and all it leads to again"
    )
    one.add_argument(
        "--list",
        action="store_true",
        help="show the stages and how far they are (without a name: the recipes); do nothing",
    )
    one.set_defaults(command=recipe)


def recipe(args: argparse.Namespace) -> int:
    """Do the stages of a recipe that are not done yet, then write its report."""
    from forge_train.recipes.plan import PLANS, read_plan

    if args.list and args.name is None:
        print("\n".join(sorted(path.stem for path in PLANS.glob("*.toml"))))
        return 0
    if args.name is None or args.out is None:
        raise ValueError(
            "which recipe, and where? forge-train recipe NAME --out DIR; --list names those that ship"
        )
    out, more = Path(args.out[0]), args.out[1:]
    plan = read_plan(args.name, [*args.set, *more], small=args.small)  # before torch: a slip is told at once

    from forge_train.recipes.recipes import stages_of
    from forge_train.recipes.report import write_recipe_report
    from forge_train.recipes.stages import do, opened
    from forge_train.recipes.table import show_stages

    with opened(out, plan.recipe, stages_of(plan)) as manifest:
        if args.list:
            show_stages(manifest, None)
            return 0
        do(manifest, again_from=args.again_from, told=show_stages)
        print(f"report: {write_recipe_report(out)}")
    return 0
