"""Corrections between engine and learner, through the learner: what they do to a gradient, what they tell."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3ForCausalLM

from forge_train.config import LossConfig, OptimConfig
from forge_train.learn.batch import samples
from forge_train.learn.learner import Learner
from forge_train.trajectory import WORLD, Segment, TokenAdvantages, Trajectory

FEW = settings(max_examples=10)
SEEDS = st.integers(0, 2**16)
CORRECTIONS = {
    "token": LossConfig(),
    "icepop": LossConfig(importance_cap=5.0, importance_range=(0.5, 5.0)),
    "sequence": LossConfig(importance_level="sequence", importance_cap=5.0),
    "geometric": LossConfig(importance_cap=0, sequence_range=(0.8, 1.25)),
}


def made(**optim: object) -> Learner:
    config = Qwen3Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, initializer_range=0.2, tie_word_embeddings=False, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return Learner(Qwen3ForCausalLM(config), OptimConfig.model_validate({"grad_clip": 1e9} | optim))


def plays(learner: Learner, seed: int, gap: float = 0.0) -> list[Trajectory]:
    """Two-segment trajectories; the engine's logprobs are the learner's, less up to `gap`."""
    rng = random.Random(seed)
    group = []
    for _ in range(4):
        trajectory = Trajectory("g", rewards=[0.0, 0.0])
        for action in range(2):
            segment = Segment()
            segment.hear([rng.randrange(64) for _ in range(3)])
            said = [rng.randrange(64) for _ in range(rng.randint(1, 4))]
            segment.act(said, [0.0] * len(said), action)
            trajectory.segments.append(segment)
        group.append(trajectory)
    for trajectory, rows in zip(group, learner.logprobs(group), strict=True):
        for segment, row in zip(trajectory.segments, rows, strict=True):
            segment.logprobs = [
                lp - rng.uniform(-gap, gap) if a != WORLD else 0.0
                for lp, a in zip(row, segment.action, strict=True)
            ]
    return group


def gradient(learner: Learner, group, advantages, loss) -> tuple[torch.Tensor, dict[str, float]]:
    caught: list[torch.Tensor] = []
    learner.optimizer.register_step_pre_hook(
        lambda *_: caught.append(torch.cat([p.grad.flatten() for p in learner.model.parameters()]))
    )
    metrics = learner.update(group, advantages, loss)
    return caught[0], metrics


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).norm() <= 1e-5 * b.norm() + 1e-8)


def credit(seed: int) -> list[list[float]]:
    rng = random.Random(seed)
    return [[rng.uniform(-1, 1) for _ in range(2)] for _ in range(4)]


@pytest.mark.parametrize("name", CORRECTIONS)
@given(seed=SEEDS)
@FEW
def test_on_policy_the_gradient_is_that_of_reinforce(name, seed):
    learner = made()
    group = plays(learner, seed)
    ours, metrics = gradient(learner, group, credit(seed), CORRECTIONS[name])
    reinforce, _ = gradient(made(), group, credit(seed), LossConfig(objective="nll"))
    assert same(ours, reinforce)
    assert metrics["importance"] == pytest.approx(1) and metrics["importance_masked"] == 0
    assert metrics["mismatch_k3"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", CORRECTIONS)
@given(seed=SEEDS)
@FEW
def test_off_policy_every_token_weighs_what_its_ratio_says_by_definition(name, seed):
    """The same gradient as REINFORCE with the weights, computed here in plain Python, in the advantages."""
    config, learner = CORRECTIONS[name], made()
    group = plays(learner, seed, gap=0.7)
    advantages, weighted = credit(seed), []
    for trajectory, rows, row in zip(group, learner.logprobs(group), advantages, strict=True):
        gaps, actions = [], []
        for segment, proximal in zip(trajectory.segments, rows, strict=True):
            written = [i for i, a in enumerate(segment.action) if a != WORLD]
            gaps += [proximal[i] - segment.logprobs[i] for i in written]
            actions += [segment.action[i] for i in written]
        mean = math.exp(math.fsum(gaps) / len(gaps))
        weights = {
            "token": [min(math.exp(g), 2.0) for g in gaps],
            "icepop": [math.exp(g) if 0.5 <= math.exp(g) <= 5 else 0.0 for g in gaps],
            "sequence": [min(math.exp(math.fsum(gaps)), 5.0)] * len(gaps),
            "geometric": [float(0.8 <= mean <= 1.25)] * len(gaps),
        }[name]
        weighted.append(TokenAdvantages(w * row[a] for w, a in zip(weights, actions, strict=True)))
    expected, _ = gradient(made(), group, weighted, LossConfig(objective="nll"))
    for micro_tokens in (1, 4096):
        ours, _ = gradient(made(micro_tokens=micro_tokens), group, advantages, config)
        assert same(ours, expected)


def test_the_mismatch_is_told():
    learner = made()
    group = plays(learner, 0)
    for segment in group[0].segments:
        segment.logprobs = [lp - 3.0 if lp else 0.0 for lp in segment.logprobs]
    off = group[0].sampled / sum(t.sampled for t in group)
    ones = [[1.0, 1.0]] * 4
    metrics = made().update(group, ones, LossConfig(importance_range=(0.5, 5.0), sequence_range=(0.99, 1.01)))
    assert metrics["logprob_gap"] == pytest.approx(3 * off, abs=1e-5)
    assert metrics["logprob_gap_max"] == pytest.approx(3, abs=1e-5)
    assert metrics["mismatch_k3"] == pytest.approx((math.exp(3) - 1 - 3) * off, rel=1e-4)
    assert metrics["importance_truncated"] == metrics["importance_masked"] == pytest.approx(off)
    assert metrics["sequence_masked"] == pytest.approx(off) and metrics["sequence_truncated"] == 0
    assert metrics["sequence_ratio"] == pytest.approx(1 + (math.exp(3) - 1) * off, rel=1e-4)


def test_what_is_left_out_does_not_raise_the_weight_of_the_rest():
    learner, loss = made(), LossConfig(importance_cap=0, sequence_range=(0.99, 1.01))
    group = plays(learner, 0)
    whole, _ = gradient(made(), group, [[0.0, 0.0], *[[1.0, 1.0]] * 3], loss)
    for segment in group[0].segments:
        segment.logprobs = [lp - 3.0 if lp else 0.0 for lp in segment.logprobs]
    masked, _ = gradient(made(), group, [[1.0, 1.0]] * 4, loss)
    assert same(masked, whole)


@pytest.mark.parametrize("name", ["sequence", "geometric"])
def test_minibatches_and_a_silent_segment_keep_trajectories_whole(name):
    """The factor is of both segments, also where one of them has no signal and is not trained."""
    learner = made()
    group = plays(learner, 1, gap=0.7)
    half = [[a, 0.0] for a, _ in credit(1)]
    metrics = made().update(group, half, CORRECTIONS[name].model_copy(update={"minibatches": 2}))
    whole = made().update(group, credit(1), CORRECTIONS[name])
    for figure in ("sequence_ratio", "sequence_masked", "sequence_truncated"):
        assert metrics[figure] == pytest.approx(whole[figure], abs=1e-5)


class TestTokenAdvantages:
    def test_reach_their_tokens_over_segments(self):
        (first, *_), learner = plays(made(), 3), made()
        told = TokenAdvantages(range(first.sampled))
        found = samples([first], [told])
        assert torch.cat([s.advantage_N for s in found]).tolist() == list(told)
        by_action = [5.0, 6.0]
        spread = TokenAdvantages(by_action[a] for s in first.segments for a in s.action if a != WORLD)
        ours, _ = gradient(learner, [first], [spread], LossConfig())
        assert same(ours, gradient(made(), [first], [by_action], LossConfig())[0])

    def test_which_do_not_fit_are_refused(self):
        (first, *_) = plays(made(), 3)
        with pytest.raises(ValueError, match=rf"{first.sampled + 1} advantages for {first.sampled} tokens"):
            samples([first], [TokenAdvantages([1.0] * (first.sampled + 1))])

    def test_are_told_from_one_per_action_by_their_type_alone(self):
        segment = Segment()
        segment.hear([1])
        segment.act([2], [-1.0], 1)
        segment.act([3], [-1.0], 0)
        trajectory = Trajectory("g", segments=[segment], rewards=[0.0, 0.0])
        assert samples([trajectory], [[7.0, 8.0]])[0].advantage_N.tolist() == [8.0, 7.0]
        assert samples([trajectory], [TokenAdvantages([7.0, 8.0])])[0].advantage_N.tolist() == [7.0, 8.0]
