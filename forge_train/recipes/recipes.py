"""The recipes there are, by the name that a plan gives."""

from __future__ import annotations

from collections.abc import Callable

from forge_train.recipes.agentforge import agentforge
from forge_train.recipes.iterate import iterate
from forge_train.recipes.plan import Plan
from forge_train.recipes.stages import Stage

RECIPES: dict[str, Callable[[Plan], list[Stage]]] = {"agentforge": agentforge, "iterate": iterate}


def stages_of(plan: Plan) -> list[Stage]:
    """The stages of a plan, in order. Raises ConfigError for keys of its runs that do not fit."""
    return RECIPES[plan.recipe](plan)
