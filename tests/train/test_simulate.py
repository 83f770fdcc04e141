"""The simulator: on virtual time the trainer's admission gives the schedules that theory says."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.play.admission import Admission
from forge_train.simulator.simulate import DropsLate, Simulation, ks_distance, simulate
from forge_train.simulator.stages import Placement, Speeds, Workload, load

ROOT = Path(__file__).resolve().parents[2]
STAGE_TIMES = ROOT / "benchmarks" / "stage_times.toml"

EVEN = Workload(
    groups=4, group_size=2, turns=10, turns_spread=0.0, max_turns=10, tokens=100, tokens_spread=0.0,
    world_s=1.0, world_spread=0.0, grade_s=5.0, opening=1000, heard=50,
)  # fmt: skip
"""Every episode is 10 turns of 100 tokens and 1 s, and a verdict after 5 s: 25 s on an idle GPU."""
SPEEDS = Speeds(
    token_s=0.01, sequence_s=0.005, train_rate=1000.0, logprob_rate=4000.0,
    update_s=1.0, weights_s=2.0, swap_s=3.0,
)  # fmt: skip
POSITIONS = 4 * (1000 + 2 * 10 * (100 + 50))
"""Of one update: openings once per group."""


def parts(done: Simulation) -> dict[str, float]:
    return {name: done.part(name) for name in ("wait", "logprobs", "update", "weights", "total")}


def test_in_turn_is_playing_and_then_learning() -> None:
    done = simulate(EVEN, SPEEDS, Placement(8, 8, shared=True), Admission(4, 0), updates=3)
    assert parts(done) == pytest.approx(
        {"wait": 25.0, "logprobs": POSITIONS / 8 / 4000, "update": POSITIONS / 8 / 1000 + 1, "weights": 3.0,
         "total": 25 + POSITIONS / 8 / 4000 + POSITIONS / 8 / 1000 + 4}
    )  # fmt: skip
    assert set(done.lags) == {0} and len(done.lags) == 3 * 4
    # Eight sequences on eight GPUs: while the world answers nobody samples.
    assert done.engine_idle == pytest.approx(15 / 25)
    assert done.idle == pytest.approx(15 / done.step_seconds)


def test_sequences_share_a_gpu() -> None:
    alone = simulate(EVEN, SPEEDS, Placement(8, 8, shared=True), Admission(4, 0), updates=1, warmup=0)
    shared = simulate(EVEN, SPEEDS, Placement(2, 2, shared=True), Admission(4, 0), updates=1, warmup=0)
    # Four on each: a token takes 0.01 + 3 x 0.005 s, and ten turns of 100 of them 25 s instead of 10.
    assert shared.part("wait") - alone.part("wait") == pytest.approx(15.0)


@pytest.mark.parametrize("train_rate", [20.0, 80.0, 120.0, 500.0])
def test_at_once_takes_as_long_as_the_longer_of_both(train_rate: float) -> None:
    """The claim of arXiv 2511.05951 §2.3.3: playing and learning overlap, so a step is no longer their sum.

    With a lag of 1 a group that starts after one update is trained by the one after the next: two steps are
    one update and one play at least, and a step is one update at least.
    """
    speeds = replace(SPEEDS, train_rate=train_rate, logprob_rate=1e9, sequence_s=0.0, weights_s=0.0)
    apart = simulate(EVEN, speeds, Placement(8, 8), Admission(4, 1), updates=8)
    playing, learning = 25.0, POSITIONS / 8 / train_rate + 1
    assert apart.part("update") == pytest.approx(learning)
    assert apart.step_seconds == pytest.approx(max(learning, (learning + playing) / 2), rel=1e-5)
    assert apart.step_seconds < max(learning, playing) * 1.001
    assert apart.part("wait") == pytest.approx(max(0.0, (playing - learning) / 2), abs=1e-3)
    assert apart.learner_idle == pytest.approx(apart.part("wait") / apart.step_seconds)
    assert set(apart.lags) == {1}


def test_the_papers_comparison_is_reproduced() -> None:
    """4 + 4 nodes overlapped against 8 in turn: about 32% faster, longer learning, shorter waiting."""
    workload, speeds = load(STAGE_TIMES)
    workload = replace(workload, groups=workload.groups // 4)  # the same per GPU, in a quarter of the time
    shared = simulate(workload, speeds, Placement(16, 16, shared=True), Admission(32, 0), updates=4, warmup=1)
    apart = simulate(workload, speeds, Placement(8, 8), Admission(32, 1), updates=4, warmup=1)
    assert 1.2 < shared.step_seconds / apart.step_seconds < 1.45
    assert apart.part("update") > 1.7 * shared.part("update")
    assert apart.part("wait") < shared.part("wait") / 2


works = st.builds(
    Workload,
    groups=st.integers(1, 4), group_size=st.integers(1, 3),
    turns=st.floats(1, 6), turns_spread=st.floats(0, 1.5), max_turns=st.just(20),
    tokens=st.floats(1, 50), tokens_spread=st.floats(0, 1),
    world_s=st.floats(0, 2), world_spread=st.floats(0, 1), grade_s=st.floats(0, 5),
    opening=st.integers(0, 50), heard=st.integers(0, 50), flat=st.sampled_from([0.0, 0.3]),
)  # fmt: skip
speeds = st.builds(
    replace, st.just(SPEEDS), train_rate=st.floats(10, 1e5), update_s=st.floats(0, 5),
    weights_s=st.floats(0, 2),
)  # fmt: skip
places = st.sampled_from([Placement(1, 1), Placement(4, 2), Placement(3, 3, shared=True)])


@given(works, speeds, places, st.integers(0, 5), st.integers(0, 9))
def test_nothing_is_lost_and_nothing_is_later_than_max_lag(
    work: Workload, speed: Speeds, place: Placement, max_lag: int, seed: int
) -> None:
    done = simulate(work, speed, place, Admission(work.groups, max_lag), updates=8, warmup=0, seed=seed)
    assert max(done.lags) <= max_lag
    assert done.lost() == done.length_bias == 0.0
    assert len(done.trained) == len(set(done.trained)) == 8 * work.groups
    for share in (done.idle, done.engine_idle, done.learner_idle):
        assert -1e-9 <= share <= 1 + 1e-9
    for step in done.steps:
        assert step["total"] == pytest.approx(sum(v for k, v in step.items() if k != "total"))


@settings(max_examples=30)
@given(works, speeds, st.integers(0, 3), st.integers(0, 9))
def test_the_events_tell_the_same_story(work: Workload, speed: Speeds, max_lag: int, seed: int) -> None:
    done = simulate(
        work, speed, Placement(2, 2), Admission(work.groups, max_lag), updates=4, warmup=0, seed=seed
    )
    assert [e["time"] for e in done.events] == sorted(e["time"] for e in done.events)
    of = {name: [e for e in done.events if e["event"] == name] for name in
          ("dispatch", "finish", "consume", "update", "weights")}  # fmt: skip
    assert [e["group"] for e in of["dispatch"]] == list(done.durations)
    began = {e["group"]: e for e in of["dispatch"]}
    assert {e["group"] for e in of["finish"]} <= began.keys()
    assert all(e["time"] >= began[e["group"]]["time"] for e in of["finish"])
    assert [i for e in of["consume"] for i in e["groups"]] == done.trained
    for e in of["consume"]:
        assert e["lags"] == [e["step"] - began[i]["step"] for i in e["groups"]]
    assert [e["step"] for e in of["update"]] == [0, 1, 2, 3]
    assert [e["step"] for e in of["weights"]] == [1, 2, 3, 4]


def test_groups_are_the_same_under_every_schedule() -> None:
    work = replace(EVEN, turns_spread=0.8, world_spread=1.0)
    runs = [
        simulate(work, SPEEDS, place, Admission(4, lag), updates=4)
        for place, lag in ((Placement(8, 8, shared=True), 0), (Placement(3, 5), 2))
    ]
    both = runs[0].durations.keys() & runs[1].durations.keys()
    assert len(both) >= 24
    assert all(runs[0].durations[i] == runs[1].durations[i] for i in both)
    again = simulate(work, SPEEDS, Placement(3, 5), Admission(4, 2), updates=4)
    assert again.events == runs[1].events


def test_dropping_late_groups_starves_the_slow_and_waiting_does_not() -> None:
    work = replace(EVEN, groups=16, turns_spread=0.9, max_turns=100, tokens_spread=0.5, world_spread=0.5)
    speed = replace(SPEEDS, train_rate=5000.0, logprob_rate=20000.0)
    waits = simulate(work, speed, Placement(16, 16), Admission(16, 1), updates=12)
    drops = simulate(work, speed, Placement(16, 16), DropsLate(16, 1), updates=12)
    assert waits.lost() == 0.0 == waits.length_bias
    assert max(waits.lags) == max(drops.lags) == 1
    assert drops.lost() > 0.02 and drops.lost(slowest=0.1) > 2.5 * drops.lost()
    assert drops.length_bias > 0.02
    trained = set(drops.trained)
    kept = [drops.durations[i] for i in drops.decided if i in trained]
    gone = [drops.durations[i] for i in drops.decided if i not in trained]
    assert min(gone) > sum(kept) / len(kept)
    assert drops.step_seconds < waits.step_seconds  # which is why people do it


def test_flat_groups_are_refilled() -> None:
    work = replace(EVEN, flat=0.5, turns_spread=0.3)
    done = simulate(work, SPEEDS, Placement(8, 8), Admission(4, 1), updates=6)
    finished = {e["group"] for e in done.events if e["event"] == "finish"}
    assert len(done.trained) == 8 * 4
    assert len(finished) > 1.5 * len(done.trained)


@given(st.lists(st.integers(0, 9), min_size=1), st.lists(st.integers(0, 9), min_size=1))
def test_ks_distance_is_the_largest_gap(a: list[int], b: list[int]) -> None:
    gaps = [abs(sum(v <= x for v in a) / len(a) - sum(v <= x for v in b) / len(b)) for x in range(10)]
    assert ks_distance(a, b) == ks_distance(b, a) == pytest.approx(max(gaps))
    assert ks_distance(a, random.Random(0).sample(a, len(a))) == 0.0


def test_stage_times_are_read_and_wrong_ones_refused(tmp_path: Path) -> None:
    workload, speed = load(STAGE_TIMES)
    long, faster = load(STAGE_TIMES, "long")
    assert long.turns_spread > workload.turns_spread and long.groups == workload.groups
    assert faster.train_rate > speed.train_rate and faster.token_s == speed.token_s
    file = tmp_path / "times.toml"
    file.write_text(STAGE_TIMES.read_text().replace("grade_s", "grades"))
    with pytest.raises(ValueError, match=r"times\.toml.*grades.*see Workload and Speeds"):
        load(file)
    with pytest.raises(ValueError, match="nowhere"):
        load(STAGE_TIMES, "nowhere")
    with pytest.raises(ValueError, match="as many as the other when shared"):
        Placement(4, 2, shared=True)
    with pytest.raises(ValueError, match="updates=0"):
        simulate(EVEN, SPEEDS, Placement(1, 1), Admission(4, 0), updates=0)
