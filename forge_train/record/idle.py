"""Why a step taught nothing, and what to try: groups whose members all earned the same give no gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from forge_train.trajectory import Trajectory


def why_idle(step: int, groups: Sequence[Sequence[Trajectory]], compared: Sequence[Sequence[bool]]) -> str:
    """A sentence on a step in which no group taught; `compared` says who had a verdict that counts."""
    equal: list[float] = []
    short: Counter[str] = Counter()
    for group, counted in zip(groups, compared, strict=True):
        earned = [t.episode_return for t, counts in zip(group, counted, strict=True) if counts]
        if len(earned) > 1:
            equal.append(earned[0])
        else:
            short.update(t.ending for t, counts in zip(group, counted, strict=True) if not counts)
    found, tries = [], []
    if equal:
        low, high = min(equal), max(equal)
        each = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        found.append(f"the members of {len(equal)} groups all earned the same ({each})")
        solved = sum(value >= 1 for value in equal) > len(equal) / 2
        tries.append(
            "harder tasks" if solved else "easier tasks, or supervised training before (sft.episodes)"
        )
        tries.append("a larger rollout.group_size, or rollout.refill")
    if short:
        endings = ", ".join(f"{count} by {ending.replace('_', ' ')}" for ending, count in short.most_common())
        few = len(groups) - len(equal)
        found.append(f"{few} groups had too few members with a verdict (without one: {endings})")
        tries += [TRIES[ending] for ending in short if ending in TRIES]
    return (
        f"step {step} taught nothing: {'; '.join(found)}. The weights stay as they are and no version "
        f"is counted. Try {'; '.join(dict.fromkeys(tries)) or 'looking at the episodes in the report'}"
    )


TRIES = {
    "tokens": 'a larger rollout.max_action, or algorithm.masked without "tokens"',
    "context": 'a larger rollout.max_context, or algorithm.masked without "context"',
    "deadline": "a longer rollout.deadline_s",
    "failed": "mending the machine that failed (the errors are in the report's episodes)",
}
"""What helps when episodes end so."""
