"""Whether a seed, or a task, decides what an episode is."""

from __future__ import annotations

from contextlib import ExitStack

from forge_envs.audit.bench import Rig, differ
from forge_envs.audit.finding import Defect, Skipped
from forge_envs.audit.play import Reply, lines
from forge_envs.audit.target import shown


def seed_control(bench: Rig) -> Defect | Skipped | None:
    """Whether the same seed begins the same episode."""
    if not bench.about["deterministic"]:
        return Skipped("registered as nondeterministic")
    for one, two in bench.twins:
        if not one.turns[0].same(two.turns[0]):
            return Defect(
                "fact",
                f"reset(seed={one.began[0]}) begins different episodes in two processes",
                parted(one.turns[0], two.turns[0]),
                "# in two processes\n" + lines(bench.target, one, opening=True),
            )
    return None


def episode_determinism(bench: Rig) -> Defect | Skipped | None:
    """Whether the same seed and the same actions give the same episode."""
    if not bench.about["deterministic"]:
        return Skipped("registered as nondeterministic")
    for one, two in bench.twins:
        at = differ(one.turns, two.turns)
        if at == 0:
            return Skipped("the openings differ already")
        if at is not None:
            return Defect(
                "fact",
                f"the same seed and the same actions part at turn {at}",
                parted_at(one.turns, two.turns, at),
                "# in two processes\n" + lines(bench.target, one),
            )
    return None


def group_opening(bench: Rig) -> Defect | Skipped | None:
    """Whether all members of a group, open at once, have the same opening."""
    if not bench.about["deterministic"] and not bench.ids:
        return Skipped("registered as nondeterministic")
    with ExitStack() as stack:
        child = stack.enter_context(bench.apart())
        sessions = [stack.enter_context(bench.session(child)) for _ in range(min(4, bench.budget.sessions))]
        for seed, task in bench.places:
            for i, session in enumerate(sessions):
                session.reset(seed if task is None else seed + i, task)
            for i, session in enumerate(sessions):
                first, mine = sessions[0].turns[0], session.turns[0]
                if first.observation != mine.observation or first.fault != mine.fault:
                    what = f"seed {seed}" if task is None else f"task {task!r}"
                    how = "open at once" if task is None else f"seeds {seed} and {seed + i}"
                    again = lines(bench.target, sessions[0], opening=True) + "\n# in another session\n"
                    return Defect(
                        "fact",
                        f"two members of a group ({what}; {how}) have different openings",
                        parted(first, mine),
                        again + lines(bench.target, session, opening=True),
                    )
    return None


def parted(one: Reply, two: Reply) -> str:
    """How two turns differ, in the first thing in which they do."""
    for name in ("fault", "reward", "over", "truncated"):
        a, b = getattr(one, name), getattr(two, name)
        if a != b:
            return f"{name} {shown(a)} and {shown(b)}"
    a, b = one.text or shown(one.observation, 4000), two.text or shown(two.observation, 4000)
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    begin = max(0, at - 30)
    return f"{shown(a[begin : at + 90])} and {shown(b[begin : at + 90])}"


def parted_at(one: list[Reply], two: list[Reply], at: int) -> str:
    """How two plays differ at a turn, which one of them may not have."""
    if at < len(one) and at < len(two):
        return parted(one[at], two[at])
    return f"{len(one)} and {len(two)} turns"
