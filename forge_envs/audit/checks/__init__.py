"""The checks by id, each with the question it answers.

Ids are OpenEnv's own where it names the same thing; what it has no name for is `forge.*`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from forge_envs.audit.bench import Rig
from forge_envs.audit.checks.forgery import reward_forgery
from forge_envs.audit.checks.hostile import host_containment, hostile_text, step_deadline
from forge_envs.audit.checks.isolation import episode_isolation, global_randomness
from forge_envs.audit.checks.leaks import no_solution_leakage, oracle_containment
from forge_envs.audit.checks.machine import machine_failure, observation_schema, resource_bounds
from forge_envs.audit.checks.rewards import canary_floor, floor_gap, oracle_max, reward_well_formed
from forge_envs.audit.checks.seeds import episode_determinism, group_opening, seed_control
from forge_envs.audit.finding import Defect, Skipped

Check: TypeAlias = Callable[[Rig], Defect | Skipped | None]

# What may take the target down comes last: a server is not ours to start again.
CHECKS: dict[str, Check] = {
    "runtime.reward_well_formed": reward_well_formed,
    "runtime.observation_schema": observation_schema,
    "runtime.seed_control": seed_control,
    "runtime.episode_determinism": episode_determinism,
    "runtime.episode_isolation": episode_isolation,
    "runtime.resource_bounds": resource_bounds,
    "runtime.oracle_containment": oracle_containment,
    "semantic.no_solution_leakage": no_solution_leakage,
    "semantic.oracle_max": oracle_max,
    "semantic.floor_gap": floor_gap,
    "semantic.canary_floor": canary_floor,
    "forge.group_opening": group_opening,
    "forge.global_randomness": global_randomness,
    "forge.reward_forgery": reward_forgery,
    "forge.machine_failure": machine_failure,
    "runtime.host_containment": host_containment,
    "forge.hostile_text": hostile_text,
    "forge.step_deadline": step_deadline,
}


def asks(check: Callable[..., object]) -> str:
    """The question a check answers: the first line of its docstring."""
    return (check.__doc__ or "").strip().splitlines()[0].removesuffix(".")


__all__ = ["CHECKS", "Check", "asks"]
