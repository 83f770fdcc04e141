"""Contest problems: made from seeds, checked by brute force, judged by what a program answers."""

import json
import zlib
from dataclasses import replace
from itertools import product

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import forge_envs  # noqa: F401  (registers the world)
from forge_envs.errors import TaskError
from forge_envs.worlds.polyglot.contests.family import Recode, key
from forge_envs.worlds.polyglot.contests.generator import LEVELS, Contests, build, identity, solver, split_of
from forge_envs.worlds.polyglot.contests.judge import judge_contest
from forge_envs.worlds.polyglot.contests.problem import FILE, Argument, make_case, program, same_answer

pytestmark = pytest.mark.filterwarnings("ignore:sandbox='process' is no jail")
FAMILIES = {family.name: family for level in LEVELS.values() for family in level}


@pytest.mark.parametrize("name", FAMILIES)
@given(seed=st.integers(0, 2**32))
def test_the_quick_solution_says_what_brute_force_says(name, seed):
    family, rng = FAMILIES[name], np.random.default_rng(seed)
    parameters = family.draw(rng)
    solve = solver(family.solution(parameters))
    for _ in range(5):
        values = family.sample(parameters, rng, 0)
        assert solve(*values) == family.brute(parameters, *values), (parameters, values)


def known(family, values, **parameters):
    p = type(FAMILIES[family].draw(np.random.default_rng(0)))(**parameters)
    return solver(FAMILIES[family].solution(p))(*values)


PLAIN = Recode(1, 0, 0)


@pytest.mark.parametrize(
    ("family", "parameters", "values", "answer"),
    [
        ("sieve", {"code": PLAIN, "keep": "multiple", "kept": 3, "map": "square", "mapped": 0,
                   "fold": "sum"}, ([3, 4, -6, 9],), 9 + 36 + 81),
        ("sieve", {"code": Recode(2, 1, 10), "keep": "above", "kept": 4, "map": "same", "mapped": 0,
                   "fold": "alternating"}, ([2, 9, 4, 0],), 5 - 9 + 9),
        ("tell", {"shift": 1, "words": "long", "size": 3, "letter": "", "tell": "letters"},
         ("bcd b bcde",), 7),
        ("run", {"code": PLAIN, "relation": "rising", "k": 2, "told": "sum"}, ([1, 3, 5, 6, 8, 10],), 9),
        ("window", {"code": PLAIN, "good": "distinct", "k": 2, "count": False}, ([1, 2, 1, 3, 3, 3, 1],), 5),
        ("window", {"code": PLAIN, "good": "sum", "k": 3, "count": True}, ([1, -2, 3],), 4),
        ("spans", {"code": PLAIN, "told": "covered", "k": 2}, ([[1, 5], [7, 4], [10, 10]],), 2),
        ("spans", {"code": PLAIN, "told": "apart", "k": 1}, ([[1, 2], [3, 4], [4, 5]],), 2),
        ("spans", {"code": PLAIN, "told": "pieces", "k": 0}, ([[1, 2], [3, 4], [6, 7]],), 2),
        ("spans", {"code": PLAIN, "told": "points", "k": 1}, ([[1, 2], [4, 5], [9, 9]],), 2),
        ("look", {"code": PLAIN, "look": "greater", "left": False, "seen": "distance", "far": 2},
         ([3, 1, 1, 4, 5],), 2 + 1 + 1),
        ("walk", {"moves": "sides", "a": 1, "b": 0, "turn": 5, "again": 0}, (["111", "9#1", "991"],), 9),
        ("walk", {"moves": "sides", "a": 1, "b": 0, "turn": 5, "again": 0}, (["1#", "#1"],), -1),
        ("mend", {"insert": 1, "delete": 1, "change": 9, "near": 1, "swap": 0}, ("ace", "bce"), 1),
        ("mend", {"insert": 5, "delete": 5, "change": 9, "near": 9, "swap": 2}, ("abc", "acb"), 2),
        ("pack", {"code": Recode(1, 0, 500), "rule": "gap", "k": 2}, (10, [[3, 9], [3, 10], [3, 9]]), 18),
        ("pack", {"code": Recode(1, 0, 500), "rule": "copies", "k": 2}, (10, [[3, 9], [4, 10]]), 28),
        ("climb", {"code": PLAIN, "least": 2, "most": 4, "weigh": False}, ([1, 2, 3, 5, 20, 9],), 4),
    ],
)  # fmt: skip
def test_answers_worked_out_by_hand(family, parameters, values, answer):
    assert known(family, values, **parameters) == answer


@pytest.mark.parametrize("level", LEVELS)
def test_a_seed_makes_one_problem_for_ever(level):
    task = build("train", level, 3)
    build.cache_clear()
    assert build("train", level, 3) == task
    assert len(task.cases) >= 8 and len({case.given for case in task.cases}) == len(task.cases)


def test_problems_do_not_change_from_one_release_to_the_next():
    """Who trains on `contest/train/1/0` today wants to meet the same problem in a year: else it is -v1."""
    ids = Contests(0).ids("test", 6)
    problems = [identity("test", *map(int, task.split("/")[2:])) for task in ids]
    assert zlib.crc32(json.dumps(problems).encode()) == 84046643


@pytest.mark.parametrize("level", [0, *LEVELS])
def test_no_problem_is_there_twice_and_none_in_both_splits(level):
    contests, seen = Contests(level), {}
    for split in ("train", "test"):
        ids = contests.ids(split, 150)
        assert ids[:40] == contests.ids(split, 40)
        for task in ids:
            problem = identity(split, *map(int, task.split("/")[2:]))
            assert problem not in seen, (task, seen.get(problem))
            assert split_of(problem) == split
            seen[problem] = task
    levels = {task.split("/")[2] for task in seen.values()}
    assert levels == ({"1", "2", "3"} if level == 0 else {str(level)})


def test_samples_are_shown_and_hidden_cases_are_not():
    for level, seed in product(LEVELS, range(4)):
        task = build("train", level, seed)
        assert "Examples:" in task.prompt
        assert not any(case.given in task.prompt for case in task.cases if len(case.given) > 12)


UNKNOWN = ["4/0", "1/-1", "1", "1/007", "1/0/0", "1/9999999999999", "x/y", "٣/1", ""]


@pytest.mark.parametrize("task", ["contest/dev/1/0", *(f"contest/train/{rest}" for rest in UNKNOWN)])
def test_an_unknown_problem_is_named(task):
    with pytest.raises(TaskError, match="unknown task"):
        Contests(0).find(task)


def test_draws_come_from_the_split():
    rng = np.random.default_rng(1)
    drawn = [Contests(0).draw("test", rng).id for _ in range(6)]
    assert all(task.startswith("contest/test/") for task in drawn) and len(set(drawn)) == 6


@given(st.lists(st.integers(-99, 99), max_size=5), st.text("ab ", max_size=5), st.integers(-9, 9))
def test_a_program_reads_what_a_case_writes(values, line, number):
    arguments = (Argument("values", "ints", ""), Argument("line", "text", ""), Argument("number", "int", ""),
                 Argument("rows", "rows", ""), Argument("pairs", "pairs", ""))  # fmt: skip
    given_values = (values, line, number, [line, "x"], [[v, number] for v in values])
    case = make_case("stdin", arguments, given_values, 0)
    source = program("stdin", arguments, "def solve(*given):\n    return repr(given)\n")
    said = []
    scope = {"print": said.append}
    source = source.replace("sys.stdin.read()", repr(case.given))
    exec(source, scope)
    assert said == [repr(given_values)]


@pytest.mark.parametrize(
    ("style", "got", "want", "same"),
    [
        ("stdin", " 3\n\n4", "3 4", True), ("stdin", "3 5", "3 4", False), ("stdin", "", "3", False),
        ("stdin", "34", "3 4", False), ("unit", "3", "3", True), ("unit", "true", "1", False),
        ("unit", "[1, 2]", "[1, 2]", True), ("unit", "3 4", "3", False), ("unit", "[" * 5000, "3", False),
    ],
)  # fmt: skip
def test_answers_are_compared_word_by_word_or_as_values(style, got, want, same):
    assert same_answer(style, got, want) == same


def task_of(style):
    return next(task for seed in range(20) if (task := build("train", 1, seed)).style == style)


WRONG = {
    "stdin": {
        "wrong": ("print(-123456)", "the answer is wrong"),
        "silent": ("", "gave no answer"),
        "crash": ("raise KeyError('apple')", "ended with status 1"),
        "exit": ("import sys\nprint(0)\nsys.exit(3)", "ended with status 3"),
        "slow": ("while True: pass", "took more than 0.5 seconds"),
        "spam": ("while True: print('x' * 9999)", "does not"),
        "peek": ("import glob\nprint(open(sorted(glob.glob('cases/*/answer'))[0]).read() or 7)", "does not"),
        "wipe": ("import shutil\nshutil.rmtree('cases')\nprint(1)", "ended with status 1"),
    },
    "unit": {
        "none": ("def solve(*given): pass", "the answer is wrong"),
        "absent": ("x = 1", "ended with status 1"),
        "prints": ("def solve(*given):\n    print(1)\n    raise SystemExit(0)", "gave no answer"),
        "object": ("def solve(*given): return object()", "ended with status 1"),
    },
}


@pytest.mark.parametrize(("style", "name"), [(style, name) for style in WRONG for name in WRONG[style]])
def test_a_wrong_program_fails_and_is_told_why_but_not_the_answer(style, name):
    code, why = WRONG[style][name]
    task = task_of(style)
    task = replace(task, limit=0.5, cases=task.cases[:3])
    verdict = judge_contest(task, {FILE: code}, sandbox="process", timeout=60)
    assert not verdict.passed and verdict.share < 1
    assert why in verdict.output and " of 3 hidden cases pass. Case " in verdict.output


def test_all_cases_together_have_a_time_as_well():
    task = replace(task_of("stdin"), limit=30.0)
    verdict = judge_contest(task, {FILE: "while True: pass"}, sandbox="process", timeout=1.0)
    assert (verdict.passed, verdict.timed_out) == (False, True) and "more than 1 seconds" in verdict.output


def test_a_problem_is_played_like_an_exercise():
    env = gym.make("Forge/Polyglot-v0", source="contests", level=2, sandbox="process", tries=1).unwrapped
    try:
        task = env.task_ids("train", 1)[0]
        (system, user), _ = env.reset(options={"task": task})
        assert "tries" not in system["content"] and FILE in user["content"]
        *_, terminated, _, info = env.step(env.gold_actions(task)[0])
        assert terminated and info["outcome"] == 1.0
        env.reset(options={"task": task})
        messages, *_, terminated, _, info = env.step(f"{FILE}\n```\nprint(0)\n```")
        assert (messages, terminated, info["outcome"]) == ((), True, 0.0)
    finally:
        env.close()


def test_the_parameters_are_the_problem():
    sieve = FAMILIES["sieve"]
    one, other = (sieve.draw(np.random.default_rng(seed)) for seed in (1, 2))
    assert key("sieve", one) == key("sieve", sieve.draw(np.random.default_rng(1))) != key("sieve", other)
