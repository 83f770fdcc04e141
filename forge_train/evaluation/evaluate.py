"""How good is a player? Tasks played several times, success counted per task, intervals over tasks.

Of `n` graded plays of a task, `c` succeed. Then, without bias,

* pass@k = 1 - C(n-c, k) / C(n, k): at least one of k plays succeeds (Chen et al. 2021, eq. 1);
* pass^k = C(c, k) / C(n, k): all k plays succeed (tau-bench, Yao et al. 2024, section 3).

Both are averaged over the tasks with at least k graded plays. The intervals say what another draw of
tasks could have given: tasks are resampled, plays of one task stay together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from math import comb

import numpy as np
import numpy.typing as npt

from forge_train.play.episode import Player, gather, play
from forge_train.play.world_pool import World
from forge_train.record.evaluation_result import Estimate, Evaluation, TaskResult
from forge_train.seeds import derive_seed
from forge_train.trajectory import Trajectory

Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
CONFIDENCE = 0.95
SUCCESS = 1 - 1e-6


async def evaluate(
    world: World,
    player: Player,
    tasks: Sequence[str],
    *,
    repeats: int,
    seed: int,
    in_flight: int,
    deadline: float,
    ks: Sequence[int] | None = None,
    progress: Callable[[Trajectory], None] | None = None,
) -> Evaluation:
    """Play every task `repeats` times, at most `in_flight` plays at once.

    `ks` are the k of pass@k and pass^k (default: 1, 2, 4, ... up to `repeats`); `progress` is called
    with each trajectory as it finishes. Seeds depend on (seed, task, repetition) alone.
    """
    if not tasks or len(set(tasks)) < len(tasks):
        raise ValueError(f"{len(tasks)} tasks, {len(set(tasks))} different: give at least one and none twice")
    if repeats < 1 or in_flight < 1:
        raise ValueError(f"repeats={repeats}, in_flight={in_flight}: both must be at least 1")
    ks = sorted({2**i for i in range(repeats.bit_length())} if ks is None else set(ks))
    if not ks or ks[0] < 1 or ks[-1] > repeats:
        raise ValueError(f"ks={ks}: each must lie in 1..repeats, and repeats={repeats}")
    limit = asyncio.Semaphore(in_flight)

    async def once(task: str, repetition: int) -> Trajectory:
        async with limit:
            trajectory = await play(
                world,
                player,
                task,
                seed=derive_seed(seed, task, repetition),
                group=f"eval/{world.name}/{task}",
                deadline=deadline,
            )
        if progress is not None:
            progress(trajectory)
        return trajectory

    played = await gather(once(task, i) for task in tasks for i in range(repeats))
    by_task = [played[i : i + repeats] for i in range(0, len(played), repeats)]
    return _summarize(world.name, tasks, by_task, ks, seed)


def verdict(trajectory: Trajectory) -> float:
    """The outcome; the return where the world knows no outcome; 0.0 for a play that was never graded."""
    if not trajectory.trainable:
        return 0.0
    return trajectory.episode_return if trajectory.outcome is None else trajectory.outcome


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k plays succeeds, from c successes in n (Chen et al. 2021, eq. 1).

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    assert 0 <= c <= n >= k >= 1
    return 1 - comb(n - c, k) / comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Chance that all of k plays succeed, from c successes in n (tau-bench, Yao et al. 2024).

    >>> pass_hat_k(4, 2, 2)
    0.16666666666666666
    """
    assert 0 <= c <= n >= k >= 1
    return comb(c, k) / comb(n, k)


def resampled(values_TM: Floats, seed: int) -> list[Estimate | None]:
    """Mean and percentile interval of each column over tasks; NaN marks a task that does not count.

    values_TM: T tasks, M measures. Resampling T tasks with replacement is drawing how often each counts,
    so all resamples (R) together are two matrix products (Efron 1979; the percentile interval).
    """
    tasks = len(values_TM)
    known_TM = ~np.isnan(values_TM)
    filled_TM = np.where(known_TM, values_TM, 0.0)
    times_RT = np.random.default_rng(seed).multinomial(tasks, np.full(tasks, 1 / tasks), size=RESAMPLES)
    with np.errstate(invalid="ignore"):  # a resample may hold no task that counts: NaN, left out below
        means_RM = (times_RT @ filled_TM) / (times_RT @ known_TM)
    tail = (1 - CONFIDENCE) / 2
    estimates: list[Estimate | None] = []
    for column in range(values_TM.shape[1]):
        known = values_TM[known_TM[:, column], column]
        if len(known) == 0:
            estimates.append(None)
            continue
        low, high = np.nanquantile(means_RM[:, column], [tail, 1 - tail])
        estimates.append(Estimate(float(known.mean()), float(low), float(high), len(known)))
    return estimates


def _summarize(
    world: str, tasks: Sequence[str], by_task: Sequence[Sequence[Trajectory]], ks: Sequence[int], seed: int
) -> Evaluation:
    results = [_task_result(task, plays) for task, plays in zip(tasks, by_task, strict=True)]
    nan = float("nan")
    rows = []
    for r in results:
        at = [pass_at_k(r.plays, r.successes, k) if k <= r.plays else nan for k in ks]
        hat = [pass_hat_k(r.plays, r.successes, k) if k <= r.plays else nan for k in ks]
        rows.append([*at, *hat, nan if r.mean_verdict is None else r.mean_verdict])
    *passes, mean_verdict = resampled(np.array(rows), derive_seed(seed, "resampling"))
    turns = [len(t.rewards) for plays in by_task for t in plays if t.ending != "failed"]
    return Evaluation(
        world=world,
        repeats=len(by_task[0]),
        pass_at={k: e for k, e in zip(ks, passes[: len(ks)], strict=True) if e is not None},
        pass_hat={k: e for k, e in zip(ks, passes[len(ks) :], strict=True) if e is not None},
        mean_verdict=mean_verdict,
        mean_turns=float(np.mean(turns)) if turns else None,
        endings=dict(Counter(t.ending for plays in by_task for t in plays)),
        tasks=results,
        usage=dict(sum((Counter(t.info.get("usage", {})) for plays in by_task for t in plays), Counter())),
    )


def _task_result(task: str, plays: Sequence[Trajectory]) -> TaskResult:
    """A failed machine says nothing about the player; running out of room or of time is a play lost."""
    graded = [t for t in plays if t.ending != "failed"]
    verdicts = [verdict(t) for t in graded]
    return TaskResult(
        task=task,
        plays=len(graded),
        successes=sum(v >= SUCCESS for v in verdicts),
        failed=len(plays) - len(graded),
        mean_verdict=float(np.mean(verdicts)) if verdicts else None,
        mean_turns=float(np.mean([len(t.rewards) for t in graded])) if graded else None,
    )
