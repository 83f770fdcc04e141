"""How good is a player? Tasks played several times, success counted per task, intervals over tasks.

Of `n` graded plays of a task, `c` succeed. Then, without bias,

* pass@k = 1 - C(n-c, k) / C(n, k): at least one of k plays succeeds (Chen et al. 2021, eq. 1);
* pass^k = C(c, k) / C(n, k): all k plays succeed (tau-bench, Yao et al. 2024, section 3).

Both are averaged over the tasks with at least k graded plays. The intervals say what another draw of
tasks could have given (`forge_train.record.intervals`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import comb
from statistics import fmean

from forge_train.play.episode import Player, gather, play
from forge_train.play.world_pool import World
from forge_train.record.evaluation_result import Estimate, Evaluation, TaskResult, reasons
from forge_train.record.intervals import interval
from forge_train.record.task_digest import digest_of, digest_of_all
from forge_train.seeds import derive_seed
from forge_train.trajectory import SUCCESS, Trajectory


class NothingPlayed(RuntimeError):
    """No episode had a turn; the text says how they ended."""


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
    played_before: Mapping[int, Trajectory] | None = None,
) -> Evaluation:
    """Play every task `repeats` times, at most `in_flight` plays at once.

    `ks` are the k of pass@k and pass^k (default: 1, 2, 4, ... up to `repeats`); `progress` is called with
    each trajectory as it finishes. Seeds depend on (seed, task, repetition) alone; `played_before` holds
    plays by their seed, which are not played again.
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
        number = derive_seed(seed, task, repetition)
        if played_before is not None and number in played_before:
            return played_before[number]
        async with limit:
            trajectory = await play(
                world,
                player,
                task,
                seed=number,
                group=f"eval/{world.name}/{task}",
                deadline=deadline,
            )
        if progress is not None:
            progress(trajectory)
        return trajectory

    played = await gather(once(task, i) for task in tasks for i in range(repeats))
    by_task = [played[i : i + repeats] for i in range(0, len(played), repeats)]
    found = _summarize(world.name, tasks, by_task, ks)
    return replace(found, digest=digest_of_all({t: digest_of(world.content(t)) for t in tasks}))


def refuse_silent(found: Evaluation) -> None:
    """Raise NothingPlayed when nobody said a word: then there is nothing to be judged or learned from."""
    if found.silent == found.plays:
        why = ", ".join(f"{count} by {reason}" for reason, count in found.reasons.items())
        raise NothingPlayed(f"{found.world}: none of {found.plays} episodes had a turn: {why}")


def _is_silent(played: Trajectory) -> bool:
    """Whether the player said nothing that the world heard, or began to say."""
    said = played.info["messages"][played.info["opening"] :]
    return not played.sampled and all(message["role"] != "assistant" for message in said)


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


def over_tasks(values: Sequence[float | None], plays: Sequence[int]) -> Estimate | None:
    """Mean and interval of a measure over tasks, each with its number of graded plays.

    None marks a task that does not count; without any that does there is no estimate.
    """
    counted = [(value, n) for value, n in zip(values, plays, strict=True) if value is not None]
    known = [value for value, _ in counted]
    if not known:
        return None
    low, high = interval(known, sum(n for _, n in counted)) or (None, None)
    return Estimate(fmean(known), low, high, tasks=len(known), asked=len(values))


def _summarize(
    world: str, tasks: Sequence[str], by_task: Sequence[Sequence[Trajectory]], ks: Sequence[int]
) -> Evaluation:
    results = [_task_result(task, plays) for task, plays in zip(tasks, by_task, strict=True)]
    plays = [r.plays for r in results]

    def passes(chance: Callable[[int, int, int], float]) -> dict[int, Estimate]:
        found = {
            k: over_tasks([chance(r.plays, r.successes, k) if k <= r.plays else None for r in results], plays)
            for k in ks
        }
        return {k: estimate for k, estimate in found.items() if estimate is not None}

    turns = [len(t.rewards) for plays in by_task for t in plays if t.ending != "failed"]
    return Evaluation(
        world=world,
        repeats=len(by_task[0]),
        pass_at=passes(pass_at_k),
        pass_hat=passes(pass_hat_k),
        mean_verdict=over_tasks([r.mean_verdict for r in results], plays),
        mean_turns=fmean(turns) if turns else None,
        endings=dict(Counter(t.ending for plays in by_task for t in plays)),
        silent=sum(_is_silent(t) for plays in by_task for t in plays),
        reasons=reasons([t for plays in by_task for t in plays]),
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
        mean_verdict=fmean(verdicts) if verdicts else None,
        mean_turns=fmean([len(t.rewards) for t in graded]) if graded else None,
    )
