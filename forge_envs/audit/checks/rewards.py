"""What is paid, and to whom: to gold, to nobody, to chance, and to those who name everything."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from forge_envs.audit.bench import Place, Rig
from forge_envs.audit.checks.hostile import hostile
from forge_envs.audit.finding import Certainty, Defect, Skipped
from forge_envs.audit.play import Act, Reply, Sitting, lines, total

LITTLE = 0.1
"""What of the best return an agent may earn that does nothing."""
NEAR = 0.9
"""At what of the best return an agent has as good as solved the task."""


def reward_well_formed(bench: Rig) -> Defect | Skipped | None:
    """Whether every reward is a finite number within the declared bounds."""
    bounds = bench.about["bounds"]
    with bench.session() as session:
        for seed, task in bench.places:
            session.reset(seed, task)
            wandered = bench.wander(session)
            for actions in (wandered, [Act(say="")] if bench.about["talks"] else []):
                session.reset(seed, task)
                for turn in session.play(actions)[1:]:
                    if (found := _malformed(turn, bounds)) is not None:
                        return Defect("fact", "a reward is " + found, found, lines(bench.target, session))
    if not bench.about["talks"] or bench.about["remote"]:
        return None  # what nobody would say may take a server down for all that follow
    for one in hostile(bench):
        if not one.turn.fault and (found := _malformed(one.turn, bounds)) is not None:
            return Defect("fact", "a reward is " + found, f"after {one.turn.action}", one.again)
    return None


def _malformed(turn: Reply, bounds: tuple[float, float] | None) -> str | None:
    if turn.fault:
        return None
    if isinstance(turn.reward, dict):
        return f"no finite number but {turn.reward.get('~odd')}"
    if bounds is not None and not bounds[0] - 1e-9 <= turn.number <= bounds[1] + 1e-9:
        return f"{turn.number} outside the declared {list(bounds)}"
    return None


def oracle_max(bench: Rig) -> Defect | Skipped | None:
    """Whether the target's own solution earns the most that can be earned."""
    top = bench.about["top"]
    if top is None:
        return Skipped("the most that can be earned is not known")
    with bench.session() as session:
        known = 0
        for place in bench.places:
            gold = bench.gold(place)
            if gold is None:
                continue
            known += 1
            session.reset(*place)
            turns = session.play(gold)
            if turns[-1].fault:
                return Defect("fact", "its own solution fails", turns[-1].fault, lines(bench.target, session))
            if total(turns) < top - 1e-6:
                seen = f"return {total(turns):g} after {len(turns) - 1} actions of the solution"
                return Defect(
                    "fact", f"its own solution earns less than {top:g}", seen, lines(bench.target, session)
                )
    return None if known else Skipped("the target tells no solution")


def floor_gap(bench: Rig) -> Defect | Skipped | None:
    """Whether silence, chance and an echo of the prompt earn nothing."""
    if not bench.about["talks"]:
        return Skipped("actions are no text: no action stands for silence")
    if not bench.about["alone"]:
        return Skipped("several players take turns, and here all of them say the same")
    best = _best(bench)
    agents: dict[str, Callable[[Sitting, int], Act]] = {
        "silence": lambda session, _: Act(say=""),
        "an agent that repeats what it was told": lambda session, _: Act(say=session.turns[-1].text),
        "a random agent": lambda session, salt: session.sample(bench.budget.seed + salt),
    }
    found = None
    with bench.session() as session:
        for name, agent in agents.items():
            returns = [_played(bench, session, place, agent) for place in bench.places]
            usual = statistics.median(returns)  # one lucky episode is no floor
            told = ", ".join(f"{value:g}" for value in returns)
            again = lines(bench.target, session)
            if best is not None and best > 0 and usual >= NEAR * best:
                of = f"as much as the best known return, {best:g}"
                return Defect("fact", f"{name} earns {of}", f"returns {told}", again)
            if name != "a random agent" and usual > LITTLE * (best or 0.0) and usual > 0 and found is None:
                of = f" of {best:g}" if best is not None else ""
                found = Defect("suspicion", f"{name} earns {usual:.3g}{of}", f"returns {told}", again)
    return found


def _played(bench: Rig, session: Sitting, place: Place, agent: Callable[[Sitting, int], Act]) -> float:
    session.reset(*place)
    for salt in range(bench.budget.turns):
        if session.turns[-1].over or session.turns[-1].fault:
            break
        session.step(agent(session, salt))
    return total(session.turns)


def _best(bench: Rig) -> float | None:
    top = bench.about["top"]
    return None if top is None else float(top)


def canary_floor(bench: Rig) -> Defect | Skipped | None:
    """Whether an answer that names many alternatives is paid like one that knows."""
    best = _best(bench)
    golds = [bench.gold(place) for place in bench.places]
    if best is None or not bench.about["talks"] or not all(gold and len(gold) == 1 for gold in golds):
        return Skipped("no solutions of one answer are known")
    answers = [str(gold[0].say) for gold in golds if gold]
    if len(set(answers)) < 2:
        return Skipped("the solutions are all the same")
    with bench.session() as session:
        hedged: list[float] = []
        wrong: list[float] = []
        for place, answer in zip(bench.places, answers, strict=True):
            others = [one for one in dict.fromkeys(answers) if one != answer]
            # in the middle, so that reading the first or the last of them is no fault
            hedge = "\n".join([others[0], answer, *others[1:], others[0]])
            for text, returns in ((others[0], wrong), (hedge, hedged)):
                session.reset(*place)
                returns.append(total(session.play([Act(say=text)])))
        again = lines(bench.target, session)
    gain = (sum(hedged) - sum(wrong)) / len(hedged)
    if gain <= LITTLE * best:
        return None
    certainty: Certainty = "fact" if gain >= NEAR * best else "suspicion"
    seen = f"all {len(set(answers))} answers at once earn {hedged}, a wrong answer alone {wrong}"
    return Defect(certainty, "an answer that names every alternative is paid", seen, again)
