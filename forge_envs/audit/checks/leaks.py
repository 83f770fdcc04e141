"""Whether what should be hidden is shown: in observations, in `info`, in files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forge_envs.audit.bench import Place, Rig
from forge_envs.audit.finding import Defect, Skipped
from forge_envs.audit.play import Act, Reply, lines, total
from forge_envs.audit.target import shown

SECRET = re.compile(
    r"^(the_)?(correct_|gold_|true_|hidden_|secret_|target_|expected_|reference_|oracle_)?"
    r"(answers?|gold|solutions?|target|secret|oracle|ground_?truth|labels?|expected|reference|"
    r"correct|hidden_tests?|test_patch|test_cases|tests|(secret|target|hidden|correct)_?(word|number|code|move))$",
    re.IGNORECASE,
)
"""Names under which a solution is kept."""
LONG = 20
"""Characters of a solution that stand nowhere by chance."""
FORMS = ("{}", "\\boxed{{{}}}", "<answer>{}</answer>", "[{}]", "[guess] {}", "[Submit] {}")
FILES = (
    r"find / -xdev \( -path /proc -o -path /sys -o -path /usr -o -path '*/site-packages' \) -prune -o "
    r"-type f \( -name 'solution*' -o -name 'solve.sh' -o -name '*gold*' -o -name 'test_patch*' "
    r"-o -name 'hidden*test*' -o -name 'expected_output*' -o -path '/tests/*' -o -path '/solution/*' "
    r"-o -path '/oracle/*' \) -readable -print 2>/dev/null | head -20"
)


def no_solution_leakage(bench: Rig) -> Defect | Skipped | None:
    """Whether observations and `info` keep the solution to themselves while the episode is open."""
    with bench.session() as session:
        for place in bench.places:
            gold = bench.gold(place)
            session.reset(*place)
            if gold is None:
                found = _named(bench, place, session.turns)  # what the opening shows needs no action
                found = found or _named(bench, place, session.play(bench.wander(session)[:4]))
            else:
                silent = [Act(say="")] * 4 if bench.about["talks"] else []
                turns = session.play(silent)
                found = _shown(turns, [str(act.say) for act in gold])
            if found is not None:
                certainty, claim, seen, won = found
                again = lines(bench.target, session)
                return Defect(certainty, claim, seen, f"{again}\n# and again\n{won}" if won else again)
    return None


def _open(turns: list[Reply]) -> Iterator[Reply]:
    """The turns an agent acts after."""
    return (turn for turn in turns if not turn.over and not turn.fault)


def _shown(turns: list[Reply], gold: list[str]) -> tuple[Any, str, str, str] | None:
    secrets = [_squash(text) for text in gold if len(_squash(text)) >= 1]
    for turn in _open(turns):
        for path, value in _leaves(turn.info):
            told = _squash(str(value))
            if told in secrets and (len(told) >= 4 or SECRET.match(_last(path))):
                return "fact", "info holds the solution", f"info{path} is {shown(value)}", ""
        everything = _squash(turn.text)
        said = _squash(turn.action.say or "") if turn.action is not None else ""
        for secret in secrets:
            if len(secret) >= LONG and secret in everything and secret not in said:
                where = "the opening" if turn.action is None else f"the answer to {turn.action}"
                return "fact", "an observation shows the solution", f"{where} contains {shown(secret)}", ""
    return None


def _named(bench: Rig, place: Place, turns: list[Reply]) -> tuple[Any, str, str, str] | None:
    """Values under names that solutions have; a fact where saying one wins, with lines that say it."""
    for turn in _open(turns):
        for where, holder in (("info", turn.info), ("observation", turn.observation)):
            for path, value in _leaves(holder):
                if not any(SECRET.match(part) for part in _parts(path)) or value in (None, "", [], {}, False):
                    continue
                seen = f"{where}{path} is {shown(value)}"
                if bench.about["talks"] and (won := _wins(bench, place, str(value))):
                    return "fact", f"{where} holds the solution", f"{seen}; saying {won[0]}", won[1]
                return "suspicion", f"{where} holds what is named like a solution", seen, ""
    return None


def _wins(bench: Rig, place: Place, value: str) -> tuple[str, str] | None:
    with bench.session() as session:
        for form in FORMS:
            session.reset(*place)
            rubbish = session.play([Act(say=form.format("xq"))])
            session.reset(*place)
            turns = session.play([Act(say=form.format(value))])
            if turns[-1].over and total(turns) > max(0.0, total(rubbish)):
                return f"{shown(form.format(value))} earns {total(turns):g}", lines(bench.target, session)
    return None


def _squash(text: str) -> str:
    return "".join(text.split())


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}[{key!r}]")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]")
    else:
        yield path, value


def _parts(path: str) -> list[str]:
    return re.findall(r"\['([^']*)'\]", path)


def _last(path: str) -> str:
    return (_parts(path) or [""])[-1]


def oracle_containment(bench: Rig) -> Defect | Skipped | None:
    """Whether solution and hidden tests lie where the agent can read them."""
    if not bench.about["shell"]:
        return Skipped("the target has no shell")
    with bench.session() as session:
        for place in bench.places:
            session.reset(*place)
            turn = session.step(Act(line=FILES))
            files = [line for line in turn.text.splitlines() if line.startswith("/")]
            if files:
                seen = f"{FILES}\nprints {shown(chr(10).join(files))}"
                return Defect(
                    "suspicion",
                    "files that are named like a solution or hidden tests can be read",
                    seen,
                    lines(bench.target, session),
                )
    return None
