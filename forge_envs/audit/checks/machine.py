"""What a target does when the machine under it fails, and whether it gives back what it took."""

from __future__ import annotations

import contextlib
import json
import re
import time

from forge_envs.audit.bench import NOT_AN_ANSWER, Rig
from forge_envs.audit.child import Child, Died, Full, Hung, Raised
from forge_envs.audit.finding import Defect, Skipped
from forge_envs.audit.play import Act, Reply, Sitting, lines

SIGN = re.compile(r"error|fail|refused|unavailable|timeout|exception", re.IGNORECASE)
"""By such a word in `info` a trainer can tell that the machine failed."""
PATIENCE = 5.0
"""Seconds in which a server must notice that a client is gone."""


def machine_failure(bench: Rig) -> Defect | Skipped | None:
    """Whether a failed network or program is told as what it is, and not scored."""
    if bench.about["remote"]:
        return Skipped("the target runs in another process, which cannot be cut off from here")
    gold = bench.gold(bench.places[0]) or []
    with bench.apart() as child, bench.session(child) as session:
        tried = 0
        session.reset(*bench.places[0])
        lately = [*gold, *bench.wander(session)][: bench.budget.turns]
        for actions in (lately, [Act(say="")] if bench.about["talks"] else []):
            if session.reset(*bench.places[0]).fault:
                break
            with contextlib.suppress(*NOT_AN_ANSWER):
                child.ask("sever")
            for turn in session.play(actions)[1:]:
                tried += turn.refused
                if turn.refused and not _told(turn):
                    return _scored(bench, session, turn)
    return None if tried else Skipped("no step reached for a network or another program")


def _told(turn: Reply) -> bool:
    return bool(turn.fault) or isinstance(turn.reward, dict) or bool(SIGN.search(json.dumps(turn.info)))


def _scored(bench: Rig, session: Sitting, turn: Reply) -> Defect:
    after = "and ends the episode" if turn.over else "and goes on"
    return Defect(
        "fact" if turn.over else "suspicion",
        f"a step whose network or program fails earns {turn.number:g} {after}",
        f"after {turn.action}, {turn.refused} connections or programs refused: reward {turn.number:g}, "
        f"info {json.dumps(turn.info)[:200]}, observation {turn.text[:120]!r}",
        f"# with socket.socket.connect, socket.getaddrinfo and subprocess.Popen made to raise after reset\n"
        f"{lines(bench.target, session)}",
    )


def resource_bounds(bench: Rig) -> Defect | Skipped | None:
    """Whether sessions that end leave nothing behind: places, open files, threads, processes."""
    n = bench.budget.sessions
    with bench.apart() as child:
        for _ in range(2):  # what is loaded at first use is no leak
            _brief(bench, child, "close")
        before = child.ask("usage")
        for leave in ("close", "drop") if bench.about["remote"] else ("close",):
            for i in range(n):
                try:
                    _brief(bench, child, leave)
                except (Full, Raised) as error:
                    if leave == "drop" and _room_later(child):
                        continue
                    how = "closed" if leave == "close" else "dropped by their clients"
                    return Defect(
                        "fact",
                        "places of sessions that are gone are not freed",
                        f"no room after {i} sessions were {how}: {error}",
                        f"# {i} times: connect, reset, {leave}; then connect again\n"
                        + "\n".join(bench.target.opening_lines()),
                    )
        after = before if bench.about["remote"] else child.ask("usage")
    for what, count in after.items():
        if count - before[what] >= max(2, n // 2):
            return Defect(
                "fact",
                f"sessions that were closed leave {what} behind",
                f"{before[what]} {what} before and {count} after {n} sessions were opened, played and closed",
                f"# {n} times, then count {what}\n" + _loop(bench),
            )
    return None


def _brief(bench: Rig, child: Child, leave: str) -> None:
    """One short session. A target that fails in it is another check's finding."""
    session = Sitting(child)
    session.reset(*bench.places[0])
    with contextlib.suppress(Raised):
        session.play([session.sample(bench.budget.seed + i) for i in range(2)])
    try:
        child.ask(leave, session=session.id)
    except Raised:
        return
    except (Hung, Died) as error:
        raise Died(f"{leave} did not return: {error}") from error


def _room_later(child: Child) -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            child.ask("close", session=child.ask("open"))
            return True
        except Full:
            time.sleep(0.2)
    return False


def _loop(bench: Rig) -> str:
    seed, task = bench.places[0]
    options = "" if task is None else f', options={{"task": {task!r}}}'
    return "\n".join([*bench.target.opening_lines(), f"env.reset(seed={seed}{options}); env.close()"])


def observation_schema(bench: Rig) -> Defect | Skipped | None:
    """Whether observations lie in the declared space."""
    declared = False
    for one, _ in bench.twins:
        for turn in one.turns:
            declared = declared or turn.fits is not None
            if turn.fits is False:
                after = "reset" if turn.action is None else f"step({turn.action})"
                seen = f"after {after}: {json.dumps(turn.observation)[:300]}"
                again = lines(bench.target, one) + "\nprint(env.observation_space)"
                return Defect("fact", "an observation lies outside the declared space", seen, again)
    return None if declared else Skipped("no space is declared")


def startup_fault(bench: Rig) -> str | None:
    """Why the first episode cannot even begin; None where it can."""
    try:
        with bench.session() as session:
            turn = session.reset(*bench.places[0])
    except (Raised, Hung, Died, Full) as error:
        return f"the first session: {error}"
    return f"the first reset: {turn.fault}" if turn.fault else None
