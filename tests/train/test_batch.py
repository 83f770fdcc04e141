"""Samples, token weights and micro-batches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forge_train.learn.batch import samples, token_weights
from forge_train.learn.packing import microbatches
from forge_train.trajectory import WORLD, Segment, Trajectory

# One segment: alternating lengths of what the world and the policy wrote.
LENGTHS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3)
PLAYS = st.lists(st.lists(LENGTHS, min_size=1, max_size=2), min_size=1, max_size=5)


def play(segments, group: str = "g") -> tuple[Trajectory, list[float]]:
    """A trajectory with those segments, counting tokens and actions up, and advantages 1, 2, 3, …"""
    trajectory, action, token = Trajectory(group), 0, 1
    for lengths in segments:
        segment = Segment()
        for heard, said in lengths:
            segment.hear(list(range(token, token + heard)))
            token += heard
            segment.act(list(range(token, token + said)), [-0.5] * said, action)
            token += said
            action += 1
        segment.hear([0, 0])
        trajectory.segments.append(segment)
    return trajectory, [float(a + 1) for a in range(action)]


def made(plays):
    trajectories, advantages = zip(*map(play, plays), strict=True)
    return list(trajectories), samples(trajectories, advantages)


@given(PLAYS)
def test_each_sampled_token_is_trained_once_with_its_own_action(plays):
    trajectories, found = made(plays)
    trained = sorted((s.trajectory, s.segment, at) for s in found for at in s.at_N.tolist())
    assert trained == [
        (i, j, at)
        for i, trajectory in enumerate(trajectories)
        for j, segment in enumerate(trajectory.segments)
        for at, action in enumerate(segment.action)
        if action != WORLD
    ]
    for s in found:
        segment = trajectories[s.trajectory].segments[s.segment]
        assert s.action_N.tolist() == [segment.action[at] for at in s.at_N.tolist()]
        assert s.advantage_N.tolist() == [a + 1 for a in s.action_N.tolist()]
        assert s.behaviour_N.tolist() == [segment.logprobs[at] for at in s.at_N.tolist()]


def test_what_follows_the_last_trained_token_is_cut_off():
    trajectory, advantages = play([[(3, 2)]])
    (sample,) = samples([trajectory], [advantages])
    assert sample.tokens.tolist() == [1, 2, 3, 4, 5]
    assert sample.forwarded == 4


def test_segments_without_a_sampled_token_are_no_samples():
    world = Segment()
    world.hear([1, 2])
    assert samples([Trajectory("g", [world, Segment()]), Trajectory("g")], [[], []]) == []


def test_history_shown_again_is_not_trained_again():
    trajectory, advantages = play([[(2, 2)], [(2, 2)]])
    first, second = trajectory.segments
    second.tokens[:0], second.logprobs[:0], second.action[:0] = first.tokens, [0.0] * 6, [WORLD] * 6
    assert [s.at_N.tolist() for s in samples([trajectory], [advantages])] == [[2, 3], [8, 9]]
    second.action[:6] = first.action
    with pytest.raises(ValueError, match="segment 1 trains action 0 again"):
        samples([trajectory], [advantages])


def test_advantages_must_fit():
    trajectory, advantages = play([[(2, 2), (2, 2)]])
    with pytest.raises(ValueError, match="has action 1, but there are 1 advantages"):
        samples([trajectory], [advantages[:1]])
    with pytest.raises(ValueError, match="0 lists of advantages for 1 trajectories"):
        samples([trajectory], [])


def test_a_first_token_that_nothing_predicts_is_refused():
    segment = Segment()
    segment.act([1], [-1.0], action=0)
    with pytest.raises(ValueError, match="begins with a policy token"):
        samples([Trajectory("g", [segment])], [[1.0]])


class TestWeights:
    # Two trajectories: one with actions of 1 and 3 tokens, the second action in a segment of its own;
    # one with a single action of 2 tokens.
    TWO = ([[(1, 1)], [(1, 3)]], [[(2, 2)]])

    @pytest.mark.parametrize(
        ("denominator", "expected"),
        [
            ("token", [[1 / 6], [1 / 6] * 3, [1 / 6] * 2]),
            ("turn", [[1 / 3], [1 / 9] * 3, [1 / 6] * 2]),
            ("trajectory", [[1 / 8], [1 / 8] * 3, [1 / 4] * 2]),
            ("constant", [[1 / 20], [1 / 20] * 3, [1 / 20] * 2]),
        ],
    )
    def test_by_hand(self, denominator, expected):
        _, found = made(self.TWO)
        weights = token_weights(found, denominator, constant=10.0)
        assert [w.tolist() for w in weights] == [pytest.approx(e) for e in expected]

    @given(PLAYS, st.sampled_from(["token", "turn", "trajectory"]))
    def test_means_sum_to_one(self, plays, denominator):
        _, found = made(plays)
        assert sum(w.sum().item() for w in token_weights(found, denominator)) == pytest.approx(1)

    @given(PLAYS)
    def test_every_unit_weighs_the_same(self, plays):
        _, found = made(plays)
        for denominator, unit in (
            ("trajectory", lambda s, a: s.trajectory),
            ("turn", lambda s, a: (s.key, a)),
        ):
            mass: dict[object, float] = {}
            for s, weight_N in zip(found, token_weights(found, denominator), strict=True):
                for a, w in zip(s.action_N.tolist(), weight_N.tolist(), strict=True):
                    mass[unit(s, a)] = mass.get(unit(s, a), 0.0) + w
            assert list(mass.values()) == pytest.approx([1 / len(mass)] * len(mass))

    @pytest.mark.parametrize("constant", [None, 0.0, -1.0])
    def test_constant_must_be_given(self, constant):
        with pytest.raises(ValueError, match=f"constant={constant}"):
            token_weights([], "constant", constant)

    def test_unknown_denominator(self):
        with pytest.raises(ValueError, match="choose token, turn, segment, trajectory or constant"):
            token_weights([], "row")

    def test_nothing_to_weigh(self):
        assert token_weights([], "token") == []


class TestMicrobatches:
    @given(PLAYS, st.integers(1, 60))
    def test_every_sample_is_in_exactly_one(self, plays, max_tokens):
        _, found = made(plays)
        batches = microbatches(found, max_tokens)
        assert sorted(i for b in batches for i in b.samples) == list(range(len(found)))

    @given(PLAYS, st.integers(1, 60))
    def test_budget_holds_unless_one_row_alone_exceeds_it(self, plays, max_tokens):
        _, found = made(plays)
        for batch in microbatches(found, max_tokens):
            assert batch.positions <= max_tokens or len(batch.samples) == 1
            assert batch.tokens_BT.shape[1] == max(found[i].forwarded for i in batch.samples)

    @given(PLAYS, st.integers(1, 60))
    def test_positions_point_at_the_token_before_the_target(self, plays, max_tokens):
        _, found = made(plays)
        for batch in microbatches(found, max_tokens):
            before = batch.tokens_BT.flatten()[batch.at_N].split(list(batch.lengths))
            after = batch.target_N.split(list(batch.lengths))
            for i, before_N, after_N in zip(batch.samples, before, after, strict=True):
                assert torch.equal(before_N, found[i].tokens[found[i].at_N - 1])
                assert torch.equal(after_N, found[i].tokens[found[i].at_N])

    @given(PLAYS)
    def test_rows_are_padded_on_the_right(self, plays):
        _, found = made(plays)
        (batch,) = microbatches(found, 10_000)
        for i, row_T in zip(batch.samples, batch.tokens_BT, strict=True):
            assert torch.equal(row_T[: found[i].forwarded], found[i].tokens[:-1])
            assert not row_T[found[i].forwarded :].any()

    def test_longest_first_ties_in_order(self):
        _, found = made([[[(1, 2)]], [[(1, 5)]], [[(2, 1)]], [[(1, 5)]]])
        assert [b.samples for b in microbatches(found, 10)] == [(1, 3), (0, 2)]
        assert [b.samples for b in microbatches(found, 4)] == [(1,), (3,), (0, 2)]

    def test_no_samples_no_batches(self):
        assert microbatches([], 8) == []

    def test_budget_must_be_positive(self):
        with pytest.raises(ValueError, match="max_tokens=0"):
            microbatches([], 0)
