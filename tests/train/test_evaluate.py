import asyncio
import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.engine import Sampling
from forge_train.evaluation.evaluate import evaluate, over_tasks, pass_at_k, pass_hat_k, verdict
from forge_train.play.episode import TokenPlayer
from forge_train.play.gold_player import GoldPlayer
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.record.intervals import wilson
from forge_train.show.compare import ungraded
from forge_train.show.results import changed, spanned
from forge_train.trajectory import Trajectory
from tests.train.tokens import Script, tokenizer

ECHO, FOREIGN = (f"tests.train.worlds:Test/{name}-v0" for name in ("Echo", "Foreign"))
RENDERER = ChatML(tokenizer())
counts = st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


def run(world, player, tasks, *, repeats=4, in_flight=16, seed=0, **rest):
    return asyncio.run(
        evaluate(world, player, tasks, repeats=repeats, seed=seed, in_flight=in_flight, deadline=20, **rest)
    )


def sometimes(chance_of):
    """A policy that gives the right number with a chance that depends on it."""

    def say(tokens, seed):
        number = RENDERER.text(tokens).rsplit("Say ", 1)[1].split(".")[0]
        right = np.random.default_rng(seed).random() < chance_of(int(number))
        return RENDERER.encode_action(number if right else "what?")

    return TokenPlayer(Script(say), RENDERER, Sampling())


@given(counts)
def test_both_estimators_are_the_share_of_all_subsets(case):
    n, c = case
    plays = [True] * c + [False] * (n - c)
    for k in range(1, n + 1):
        subsets = list(combinations(plays, k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))
        assert pass_hat_k(n, c, k) == pytest.approx(sum(map(all, subsets)) / len(subsets))


@given(counts)
def test_more_plays_help_one_of_them_and_hurt_all_of_them(case):
    n, c = case
    at, hat = ([f(n, c, k) for k in range(1, n + 1)] for f in (pass_at_k, pass_hat_k))
    assert at == sorted(at) and hat == sorted(hat, reverse=True)
    assert at[0] == pytest.approx(hat[0]) and hat[0] == pytest.approx(c / n)
    if c == n:
        assert set(at) == set(hat) == {1.0}


@given(st.lists(st.floats(0, 1) | st.none(), min_size=1, max_size=12), st.integers(1, 4))
def test_an_estimate_counts_the_tasks_it_stands_on(values, plays):
    estimate = over_tasks(values, [plays] * len(values))
    known = [v for v in values if v is not None]
    if not known:
        assert estimate is None
        return
    assert estimate.mean == pytest.approx(np.mean(known))
    assert (estimate.tasks, estimate.asked) == (len(known), len(values))
    assert ("tasks" in str(estimate)) == (len(known) < len(values))
    if len(known) == 1:
        assert estimate.low is None and "no interval" in str(estimate)
    else:
        assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1 and estimate.low < estimate.high


def test_gold_passes_everything_and_silence_nothing():
    world = World(ECHO)
    gold = run(world, GoldPlayer(RENDERER, world.gold), world.tasks("test", 5))
    assert [(e.mean, e.low, e.high) for e in [*gold.pass_at.values(), *gold.pass_hat.values()]] == [
        (1, wilson(1, 5)[0], 1)
    ] * 6
    assert list(gold.pass_hat) == [1, 2, 4] and gold.endings == {"terminated": 20} and gold.mean_turns == 3
    silence = run(world, sometimes(lambda number: 0), world.tasks("test", 5))
    assert silence.pass_1.mean == silence.pass_1.low == 0
    assert silence.pass_1.high == silence.mean_verdict.high == wilson(0, 5)[1] > 0.4


def test_the_same_seed_gives_the_same_evaluation_whatever_is_in_flight():
    world = World(ECHO, {"turns": 1})
    player = sometimes(lambda number: (number % 4) / 3)
    one, many = (run(world, player, world.tasks("test", 12), in_flight=n) for n in (1, 48))
    assert one == many
    assert one != run(world, player, world.tasks("test", 12), seed=1)
    by_task = {r.task: r.successes for r in one.tasks}
    assert by_task["test/0"] == 0 and by_task["test/3"] == 4
    assert one.pass_hat[4].mean < one.pass_1.mean < one.pass_at[4].mean
    assert one.pass_1.mean == pytest.approx(sum(by_task.values()) / 48)


def test_never_more_plays_in_flight_than_allowed():
    world = World(ECHO)
    run(world, sometimes(lambda number: 1), world.tasks("test", 10), in_flight=3)
    assert len(world._free) == 3


def test_machines_that_fail_are_counted_and_say_nothing_about_the_player():
    world = World(ECHO, {"turns": 2})
    tasks = world.tasks("test", 3)
    fails = {"test/1": 4, "test/2": 3}

    class Flaky(World):
        def start(self, task, seed):
            start = super().start(task, seed)
            if fails.get(task, 0) > 0:
                fails[task] -= 1
                start["options"] = {"task": 7}  # no such task: the world raises
            return start

    found = run(Flaky(ECHO, {"turns": 2}), GoldPlayer(RENDERER, world.gold), tasks)
    assert found.endings == {"terminated": 5, "failed": 7}
    assert found.ungraded == 7 and found.bounds == (pytest.approx((1 + 0 + 1 / 4) / 3), 1.0)
    assert ("with 7 ungraded plays lost, or won", "41.7% to 100.0%") in found.table()
    (told,) = ungraded([found.as_event() | {"stage": "after RL"}])
    assert told[1] == "7 plays ungraded: 41.7% had they been lost, 100.0% won"
    assert [(r.plays, r.failed) for r in found.tasks] == [(4, 0), (0, 4), (1, 3)]
    assert (found.pass_1.mean, found.pass_1.tasks, found.pass_hat[4].tasks) == (1.0, 2, 1)
    assert found.tasks[1].mean_verdict is None
    assert str(found.pass_1).endswith(", 2 of 3 tasks")
    assert str(found.pass_hat[4]) == "100.0%, no interval, 1 of 3 tasks"

    fails |= {task: 99 for task in tasks}
    nothing = run(Flaky(ECHO), GoldPlayer(RENDERER, world.gold), tasks)
    assert nothing.pass_1 is None and nothing.mean_turns is None and nothing.mean_verdict is None


def test_running_out_of_room_or_time_is_a_play_lost():
    world = World(ECHO)
    player = TokenPlayer(Script(lambda *_: [50] * 9), RENDERER, Sampling(max_tokens=4))
    found = run(world, player, world.tasks("test", 2))
    assert found.endings == {"tokens": 8} and found.pass_1.mean == 0 and found.pass_1.tasks == 2
    slow = TokenPlayer(Script(lambda *_: [50], latency=9), RENDERER, Sampling())
    late = asyncio.run(evaluate(world, slow, ["test/0"], repeats=2, seed=0, in_flight=9, deadline=0.05))
    assert late.endings == {"deadline": 2} and late.pass_1.mean == 0


def test_a_world_without_outcomes_is_judged_by_its_return():
    world = World(FOREIGN)
    found = run(
        world, TokenPlayer(Script(lambda *_: RENDERER.encode_action("x")), RENDERER, Sampling()), ["seed:3"]
    )
    assert found.pass_1.mean == 1.0
    assert verdict(Trajectory("g", rewards=[0.2, 0.3])) == 0.5
    assert verdict(Trajectory("g", rewards=[0.2, 0.3], ending="tokens")) == 0.0
    assert verdict(Trajectory("g", rewards=[0.2, 0.3], outcome=0.0)) == 0.0


def test_progress_sees_every_play_and_the_result_is_json():
    world, seen = World(ECHO), []
    found = run(
        world, GoldPlayer(RENDERER, world.gold), world.tasks("test", 3), ks=[1, 3], progress=seen.append
    )
    assert len(seen) == 12 and {t.outcome for t in seen} == {1.0}
    data = json.loads(json.dumps(found.as_dict()))
    assert data["pass_hat"]["3"] == {
        "mean": 1.0, "low": wilson(1, 3)[0], "high": 1.0, "tasks": 3, "asked": 3,
    }  # fmt: skip
    assert found.table() == [
        ("pass@1", "100.0% [43.9, 100.0]"),
        ("pass@3", "100.0% [43.9, 100.0]"),
        ("pass^3", "100.0% [43.9, 100.0]"),
        ("mean outcome", "100.0% [43.9, 100.0]"),
        ("mean turns", "3.0"),
        ("ended: terminated", "12"),
        ("digest of the tasks", found.digest),
    ]


@pytest.mark.parametrize(
    ("tasks", "options", "hint"),
    [
        ([], {}, "at least one"),
        (["a", "a"], {}, "none twice"),
        (["a"], {"repeats": 0}, "repeats=0"),
        (["a"], {"in_flight": 0}, "in_flight=0"),
        (["a"], {"ks": [5]}, r"ks=\[5\]"),
        (["a"], {"ks": [0]}, r"ks=\[0\]"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(tasks, options, hint):
    with pytest.raises(ValueError, match=hint):
        run(World(ECHO), GoldPlayer(RENDERER, lambda task: []), tasks, **options)


def test_one_graded_play_of_forty_is_no_certainty():
    world = World(ECHO)
    tasks = world.tasks("test", 40)

    class Down(World):
        def start(self, task, seed):
            return super().start(task, seed) | ({} if task == tasks[0] else {"options": {"task": 7}})

    found = run(Down(ECHO), GoldPlayer(RENDERER, world.gold), tasks, repeats=1)
    assert str(found.pass_1) == "100.0%, no interval, 1 of 40 tasks"
    event = found.as_event()
    assert (event["low"], event["high"], event["counted"], event["asked"]) == (None, None, 1, 40)
    assert spanned(event) == "no interval, 1 of 40 tasks"


def test_stages_are_compared_task_by_task():
    world = World(ECHO, {"turns": 1})
    tasks = world.tasks("test", 12)
    before = run(world, sometimes(lambda number: number % 4 / 4), tasks)
    after = run(world, sometimes(lambda number: (1 + number % 4) / 4), tasks)
    change = changed(before.as_event(), after.as_event())
    assert change.mean == pytest.approx(after.pass_1.mean - before.pass_1.mean) and change.tasks == 12
    assert 0 < change.low < change.mean < change.high and change.worse == 0
    alone = np.hypot(*(e.pass_1.high - e.pass_1.low for e in (before, after)))
    assert change.high - change.low < alone, "tasks differ more than stages"
    same = changed(before.as_event(), before.as_event())
    assert same.mean == 0 and same.low < 0 < same.high and (same.better, same.worse) == (0, 0)
