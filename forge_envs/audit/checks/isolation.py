"""Whether an episode is alone: with those before it, beside it, and with the rest of the process."""

from __future__ import annotations

from forge_envs.audit.bench import Rig, differ
from forge_envs.audit.checks.seeds import parted_at
from forge_envs.audit.child import Child
from forge_envs.audit.finding import Defect, Skipped
from forge_envs.audit.play import Act, Reply, Sitting, lines


def episode_isolation(bench: Rig) -> Defect | Skipped | None:
    """Whether an episode is as if it were alone, after others and beside others."""
    if not bench.about["deterministic"]:
        return Skipped("registered as nondeterministic")
    if any(differ(one.turns, two.turns) is not None for one, two in bench.twins):
        return Skipped("the same seed does not give the same episode")
    alone, other = bench.twins[0][0], bench.twins[-1][0]
    with bench.apart() as child:
        return _after(bench, child, alone, other) or _beside(bench, child, alone, other)


def _after(bench: Rig, child: Child, alone: Sitting, other: Sitting) -> Defect | None:
    """The episode again, in a session that has played and in one opened after that."""
    with bench.session(child) as used:
        for before in (other, alone):
            # left in the middle, as a trainer does that runs out of tokens
            used.reset(*before.began)
            used.play(acts(before)[: max(1, len(acts(before)) // 2)])
            played = lines(bench.target, used)
            found = _again(bench, used, alone, "after another episode in the same session", played)
            if found:
                return found
    with bench.session(child) as new:
        return _again(bench, new, alone, "in a session opened after another one", "")


def _again(bench: Rig, session: Sitting, alone: Sitting, when: str, before: str) -> Defect | None:
    session.reset(*alone.began)
    session.play(acts(alone))
    at = differ(session.turns, alone.turns)
    if at is None:
        return None
    return _leak(bench, session, alone.turns, at, when, before)


def _beside(bench: Rig, child: Child, alone: Sitting, other: Sitting) -> Defect | None:
    """Two episodes played in turns."""
    with bench.session(child) as one, bench.session(child) as two:
        pairs = ((one, alone), (two, other))
        for session, model in pairs:
            session.reset(*model.began)
        for turn in range(bench.budget.turns):
            for session, model in pairs:
                session.play(acts(model)[turn : turn + 1])
        for session, model in pairs:
            at = differ(session.turns, model.turns)
            if at is not None:
                beside = lines(bench.target, two if session is one else one)
                return _leak(bench, session, model.turns, at, "beside another session", beside)
    return None


def _leak(bench: Rig, session: Sitting, alone: list[Reply], at: int, when: str, before: str) -> Defect:
    again = lines(bench.target, session)
    return Defect(
        "fact",
        f"{when}, turn {at} of an episode is not what it is alone",
        parted_at(session.turns, alone, at),
        f"# first, or beside it\n{before}\n# then\n{again}" if before else again,
    )


def acts(session: Sitting) -> list[Act]:
    """The actions of what a session has played."""
    return [turn.action for turn in session.turns if turn.action is not None]


def global_randomness(bench: Rig) -> Defect | Skipped | None:
    """Whether the random generators that a process shares are left alone."""
    if bench.about["remote"]:
        return Skipped("the target runs in another process")
    with bench.apart() as child, bench.session(child) as session:
        before = child.ask("random")
        for seed, task in bench.places[:2]:
            session.reset(seed + 1, task)
            session.play(bench.wander(session)[:4])
            after = child.ask("random")
            moved = [name for name in before if before[name] != after[name]]
            if moved:
                return Defect(
                    "fact",
                    f"the process's own generator {' and '.join(moved)} is seeded or drawn from",
                    "its state after an episode is another one than before",
                    "import random, numpy\n"
                    "print(hash(random.getstate()), hash(numpy.random.get_state()[1].tobytes()))\n"
                    f"{lines(bench.target, session)}\n"
                    "print(hash(random.getstate()), hash(numpy.random.get_state()[1].tobytes()))",
                )
    return None
