"""The rubric of a run, around whoever plays its groups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from forge_train.config import Config
from forge_train.play.curriculum import Draw
from forge_train.play.episode import Player
from forge_train.rubric.judges import EndpointJudge, PolicyJudge
from forge_train.rubric.runner import RubricRunner
from forge_train.trajectory import Trajectory

Runner = Callable[[Draw], Awaitable[list[Trajectory]]]


def with_rubric(config: Config, runner: Runner, policy: Player) -> Runner:
    """`runner` with its groups judged, where the config says so; `policy` judges unless another model does.

    It samples at the temperature of the run, at which the learner scores what it is trained on.
    Raises ValueError for an endpoint or a recording that cannot be used.
    """
    rubric = config.rubric
    if not rubric.used:
        return runner
    return RubricRunner(
        runner,
        PolicyJudge(policy) if rubric.judge == "policy" else EndpointJudge(rubric),
        rubric,
        worlds=[world.label for world in config.worlds],
        seed=config.run.seed,
        group_size=config.rollout.group_size,
        in_flight=config.rollout.in_flight,
    )


async def close_judge(runner: Runner) -> None:
    """Give back what the judge of a runner holds, if it has one."""
    if isinstance(runner, RubricRunner):
        await runner.judge.close()
