"""What a step's loss is made of beside its objective, and objectives that look at whole trajectories."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forge_train.config import AlgorithmConfig, LossConfig
from forge_train.learn.advantages import grpo, rloo
from forge_train.learn.batch import samples, token_weights
from forge_train.learn.kl_reward import charged, drifts
from forge_train.learn.learner import Learner
from forge_train.learn.losses import UNIT_OBJECTIVES
from forge_train.learn.step_loss import divergence
from forge_train.trajectory import WORLD, Segment, Trajectory
from tests.train.models import VOCAB, qwen3
from tests.train.ranks import plays as told_anew
from tests.train.test_learner import flat, gradient, made, plays, same

WHOLE = [{"objective": name} for name in sorted(UNIT_OBJECTIVES)] + [{"off_policy_delta": 0.5}]
"""Losses of which a token's depends on its whole turn or trajectory."""
HELD = {"kl_weight": 0.2, "entropy_weight": 0.1}
PROBABILITIES = st.lists(st.floats(0.05, 1), min_size=3, max_size=3).map(
    lambda row: torch.tensor(row, dtype=torch.float64) / sum(row)
)


def steps(learner: Learner, group: Any, advantages: Any, loss: LossConfig, **more: Any) -> list[Tensor]:
    """The gradients of all optimizer steps of an update."""
    caught: list[Tensor] = []
    learner.optimizer.register_step_pre_hook(lambda *_: caught.append(flat(learner)))
    learner.update(group, advantages, loss, **more)
    return caught


def single(seed: int, count: int = 4) -> list[Trajectory]:
    """Trajectories of one segment each."""
    group = plays(seed, count)
    for trajectory in group:
        last = max(trajectory.segments[0].action)
        trajectory.segments, trajectory.rewards = (
            trajectory.segments[:1],
            [*[0.0] * last, trajectory.rewards[-1]],
        )
    return group


def scored_by(learner: Learner, group: Sequence[Trajectory]) -> None:
    """Write the learner's logprobs into the trajectories, as if it had sampled them."""
    for trajectory, rows in zip(group, learner.logprobs(group), strict=True):
        for segment, row in zip(trajectory.segments, rows, strict=True):
            segment.logprobs = row


def plain_logits(model: Any, segment: Segment) -> tuple[Tensor, list[int]]:
    """Logprobs [n, V] of all words where the policy wrote one, with gradient, and the words it wrote."""
    logprobs = model(input_ids=torch.tensor([segment.tokens])).logits[0].log_softmax(-1)
    at = [i for i, action in enumerate(segment.action) if action != WORLD]
    return logprobs[[i - 1 for i in at]], [segment.tokens[i] for i in at]


class TestWholeTrajectories:
    @pytest.mark.parametrize("config", WHOLE, ids=lambda c: "-".join(map(str, c.values())))
    def test_micro_batches_cannot_cut_what_belongs_together(self, config: dict[str, Any]) -> None:
        """In no step: the second one's weights are no longer those that the ratios are taken to.

        `eps` is so large that a rounding error cannot turn the sign of the first step.
        """
        loss, group = LossConfig(minibatches=2, **config), plays(5)
        assert any(len(t.segments) > 1 for t in group)
        whole, cut, rows = (
            steps(made(lr=1e-2, eps=1e-3, **optim), group, rloo(group), loss)
            for optim in ({}, {"micro_tokens": 1}, {"packing": "padded", "micro_tokens": 30})
        )
        assert len(whole) == 2 and all(step.norm() > 0 for step in whole)
        for other in (cut, rows):
            assert all(same(a, b) for a, b in zip(other, whole, strict=True))

    @pytest.mark.parametrize("config", [*WHOLE, HELD], ids=lambda c: "-".join(map(str, c.values())))
    def test_a_tree_gives_what_rows_give(self, config: dict[str, Any]) -> None:
        """Segments that show the past again share all of it, and so do trajectories their opening."""
        group, advantages = told_anew(5, apart=True)
        advantages = [[row[0]] * len(row) for row in advantages]
        found = []
        for packing in ("tree", "padded"):
            learner = made(packing=packing, micro_tokens=60)
            learner.remember()
            learner.model.load_state_dict(qwen3(seed=2).state_dict())  # away from it
            found.append(steps(learner, group, advantages, LossConfig(**config))[0])
        assert found[0].norm() > 0 and same(*found)

    def test_gspo_over_segments_is_its_formula(self) -> None:
        """Autograd through the plain forward: s is of all that a trajectory said, in whichever segment."""
        learner, group = made(), plays(7)
        bounds = {"clip_low": 0.9, "clip_high": 9.0}
        advantages = rloo(group)
        terms = []
        for trajectory, row in zip(group, advantages, strict=True):
            gaps = []
            for segment in trajectory.segments:
                logprobs, tokens = plain_logits(learner.model, segment)
                sampled = [lp for lp, a in zip(segment.logprobs, segment.action, strict=True) if a != WORLD]
                gaps.append(logprobs[range(len(tokens)), tokens] - torch.tensor(sampled))
            ratio = torch.cat(gaps).mean().exp()
            terms.append(-torch.min(ratio * row[0], ratio.clamp(0.1, 10) * row[0]))
        torch.stack(terms).mean().backward()
        loss = LossConfig(objective="gspo", old_policy="behaviour", **bounds)
        assert same(gradient(made(), group, advantages, loss), flat(learner))

    @pytest.mark.parametrize(("segments", "passes"), [(1, 0), (2, 1)])
    def test_trajectories_are_scored_before_only_where_they_can_be_cut(
        self, segments: int, passes: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        group = single(1) if segments == 1 else plays(1)
        learner, scored = made(), []
        real = learner._logprobs
        monkeypatch.setattr(learner, "_logprobs", lambda *args: scored.append(1) or real(*args))
        learner.update(group, rloo(group), LossConfig(objective="gspo"))
        assert len(scored) == passes

    def test_a_silent_segment_belongs_to_its_trajectory(self) -> None:
        """Its tokens have no advantage, but the ratio is of all that was said."""
        group = [t for t in plays(5) if len(t.segments) > 1][:1]
        first, last = (set(s.action) - {WORLD} for s in (group[0].segments[0], group[0].segments[-1]))
        advantages = [[1.0] * len(first) + [0.0] * len(last)]
        whole = made().update(group, advantages, LossConfig(objective="gspo_token"))
        token = made().update(group, advantages, LossConfig())
        assert token["tokens_trained"] < whole["tokens_trained"] == group[0].sampled


class TestSegments:
    def test_with_one_segment_each_resum_is_grpo(self) -> None:
        group = single(3)
        resum = LossConfig(denominator="segment")
        assert same(
            gradient(made(), group, grpo(group), resum),
            gradient(made(), group, grpo(group), LossConfig(denominator="trajectory")),
        )

    def test_an_advantage_goes_to_all_segments_and_each_counts_once(self) -> None:
        """ReSum-GRPO: 1 / sum_g n_g, and statistics over trajectories, not over segments."""
        group = plays(5)
        found = samples(group, grpo(group))
        weights = token_weights(found, "segment")
        assert len(found) > len(group)
        for sample, weight in zip(found, weights, strict=True):
            assert weight.sum().item() == pytest.approx(1 / len(found))
            assert torch.equal(sample.advantage_N, torch.full_like(weight, grpo(group)[sample.trajectory][0]))


class TestEntropy:
    @given(st.integers(0, 99))
    @settings(max_examples=4)
    def test_its_gradient_is_exact_however_it_is_cut(self, seed: int) -> None:
        learner, group = made(), plays(seed, count=3)
        found = []
        for trajectory in group:
            for segment in trajectory.segments:
                logprobs, _ = plain_logits(learner.model, segment)
                found.append(-(logprobs.exp() * logprobs).sum(-1))
        (-0.1 * torch.cat(found).mean()).backward()
        direct, loss = flat(learner), LossConfig(entropy_weight=0.1)
        nothing = [[0.0] * len(t.rewards) for t in group]
        for optim in ({}, {"micro_tokens": 1}, {"head_mb": 0.004}):
            assert same(gradient(made(**optim), group, nothing, loss), direct)

    def test_it_is_told_without_its_gradient(self) -> None:
        group = plays(0)
        plain = made().update(group, rloo(group), LossConfig())["entropy"]
        assert made().update(group, rloo(group), LossConfig(entropy_weight=0.1))["entropy"] == pytest.approx(
            plain
        )

    def test_it_keeps_a_policy_open(self) -> None:
        group = plays(0)
        ends = []
        for weight in (0.0, 0.5):
            learner = made(lr=1e-2)
            for _ in range(5):
                told = learner.update(group, rloo(group), LossConfig(entropy_weight=weight))["entropy"]
            ends.append(told)
        assert ends[1] > ends[0] + 0.05


def exact(policy: Tensor, reference: Tensor) -> Tensor:
    return (policy * (policy / reference).log()).sum()


class TestDivergence:
    @given(PROBABILITIES, PROBABILITIES, PROBABILITIES)
    def test_means_and_gradients_are_what_they_are_said_to_be(
        self, policy: Tensor, reference: Tensor, sampler: Tensor
    ) -> None:
        """Expectations over three words, added up: what each estimate and its gradient are on average."""
        logits = policy.log().requires_grad_()

        def slope(kind: str, who: Tensor) -> tuple[Tensor, Tensor]:
            found = divergence(logits.log_softmax(-1), reference.log(), who.log(), LossConfig(kl=kind))
            value = (who * found).sum()
            return value.detach(), torch.autograd.grad(value, logits)[0]

        reverse = exact(logits.softmax(-1), reference)
        forward = exact(reference, logits.softmax(-1))
        (down,), (up,) = (torch.autograd.grad(kl, logits) for kl in (reverse, forward))
        for kind in ("k1", "k3"):
            assert torch.allclose(slope(kind, policy)[0], reverse.detach(), atol=1e-9)
        assert torch.allclose(slope("k1", policy)[1], torch.zeros(3, dtype=torch.float64), atol=1e-9)
        assert torch.allclose(slope("k2", policy)[1], down, atol=1e-9)
        assert torch.allclose(slope("k3", policy)[1], up, atol=1e-9)
        value, found = slope("unbiased", sampler)
        assert torch.allclose(value, reverse.detach(), atol=1e-9) and torch.allclose(found, down, atol=1e-9)

    @pytest.mark.parametrize("kind", ["k3", "unbiased"])
    def test_those_of_trl_are_ours(self, kind: str) -> None:
        from tests.train.test_objectives import MASK, trl_loss

        torch.manual_seed(0)
        old, reference = -3 * torch.rand(3, 5), -3 * torch.rand(3, 5)
        moved = (old + 0.3 * torch.randn(3, 5)).requires_grad_()
        given_to = trl_loss(
            moved, MASK, old_per_token_logps=old, ref_per_token_logps=reference, advantages=torch.zeros(3)
        )
        expected = given_to("dapo", 0.2, 0.2, beta=0.5, unbiased=kind == "unbiased")
        ours = divergence(moved, reference, old, LossConfig(kl=kind))[MASK.bool()].mean() * 0.5
        assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
        slopes = [torch.autograd.grad(value, moved, retain_graph=True)[0] for value in (ours, expected)]
        assert torch.allclose(*slopes, atol=1e-6)


class TestReference:
    def drifted(self, **optim: Any) -> tuple[Learner, list[Trajectory]]:
        """A learner that has moved away from its reference, which is what `made` makes."""
        learner, group = made(lr=1e-2, **optim), plays(1)
        learner.remember()
        learner.update(group, rloo(group), LossConfig())
        return learner, group

    def test_scoring_by_it_is_exact_and_leaves_no_trace(self) -> None:
        learner, group = self.drifted()
        before = copy.deepcopy(learner.state_dict())
        assert learner.reference_logprobs(group) == made().logprobs(group) != learner.logprobs(group)
        after = learner.state_dict()
        assert all(torch.equal(after["model"][name], value) for name, value in before["model"].items())

    @pytest.mark.parametrize("kind", ["k1", "k2", "k3", "unbiased"])
    def test_the_gradient_is_that_of_the_formula_however_it_is_cut(self, kind: str) -> None:
        learner, group = self.drifted()
        scored_by(learner, group)
        start, terms = qwen3(), []
        learner.optimizer.zero_grad()
        for trajectory in group:
            for segment in trajectory.segments:
                logprobs, tokens = plain_logits(learner.model, segment)
                with torch.no_grad():
                    held, _ = plain_logits(start, segment)
                chosen, reference = (rows[range(len(tokens)), tokens] for rows in (logprobs, held))
                terms.append(divergence(chosen, reference, chosen.detach(), LossConfig(kl=kind)))
        (0.3 * torch.cat(terms).mean()).backward()
        direct = flat(learner)
        nothing = [[0.0] * len(t.rewards) for t in group]
        for optim in ({}, {"micro_tokens": 1}):
            again, _ = self.drifted(**optim)
            assert same(gradient(again, group, nothing, LossConfig(kl_weight=0.3, kl=kind)), direct)

    @pytest.mark.parametrize("group", [plays(1), single(1)], ids=["segments", "one segment"])
    @pytest.mark.parametrize("optim", [{}, {"micro_tokens": 1}])
    def test_opmd_may_be_pulled_back_to_it(self, optim: dict[str, Any], group: list[Trajectory]) -> None:
        """tau/2 L^2 a trajectory, L to the reference: to the weights before the update it would be 0."""
        learner, _ = self.drifted(**optim)
        L = [
            sum((Tensor(now) - Tensor(then)).sum() for now, then in zip(*rows, strict=True))
            for rows in zip(learner.logprobs(group), learner.reference_logprobs(group), strict=True)
        ]
        rows = [[-0.5 * float(each)] * len(t.rewards) for each, t in zip(L, group, strict=True)]
        loss = {"objective": "opmd", "tau": 0.5, "denominator": "constant", "constant": 1.0}
        plain, nothing = gradient(learner, group, rows, LossConfig(**loss)), [[0.0] * len(r) for r in rows]
        learner, _ = self.drifted(**optim)
        held = gradient(learner, group, nothing, LossConfig(**loss, old_policy="reference"))
        assert same(held, plain) and plain.abs().max() > 1e-3

    def test_a_policy_that_is_its_reference_is_not_pulled(self) -> None:
        learner, group = made(), plays(0)
        learner.remember()
        nothing = [[0.0] * len(t.rewards) for t in group]
        assert gradient(learner, group, nothing, LossConfig(kl_weight=1.0)).abs().max() < 1e-5

    def test_it_holds_a_policy_back(self) -> None:
        group, gone = plays(0), []
        for weight in (0.0, 1.0):
            learner = made(lr=3e-3)
            learner.remember()
            for _ in range(8):
                learner.update(group, rloo(group), LossConfig(kl_weight=weight))
            told = learner.update(group, rloo(group), LossConfig(kl_weight=1e-9))
            gone.append(told["kl_reference"])
        assert gone[1] < 0.5 * gone[0]

    def test_it_is_kept_on_disk_to_the_bit(self, tmp_path: Path) -> None:
        learner, group = self.drifted()
        learner.save_reference(tmp_path / "kept")
        other = made(seed=3)
        other.load_reference(tmp_path / "kept")
        assert other.reference_logprobs(group) == made().logprobs(group)

    def test_it_may_be_another_model_of_the_same_kind(self, tmp_path: Path) -> None:
        qwen3(seed=7).save_pretrained(tmp_path / "other")
        learner, group = made(), plays(0)
        learner.take_reference(tmp_path / "other")
        assert learner.reference_logprobs(group) == made(seed=7).logprobs(group)

    def test_one_of_another_shape_or_none_is_refused(self, tmp_path: Path) -> None:
        other = qwen3()
        other.resize_token_embeddings(VOCAB + 8)
        other.save_pretrained(tmp_path / "other")
        learner, group = made(), plays(0)
        with pytest.raises(
            ValueError, match=r"embed_tokens.*\[72, 32\] instead of \[64, 32\]: another vocabulary"
        ):
            learner.take_reference(tmp_path / "other")
        with pytest.raises(ValueError, match="no model could be loaded"):
            learner.take_reference(tmp_path)
        with pytest.raises(ValueError, match="call remember"):
            learner.update(group, rloo(group), LossConfig(kl_weight=0.1))

    def test_with_moments_forgotten_the_optimizer_begins_anew(self) -> None:
        learner, group = self.drifted()
        learner.remember(forget_moments=True)
        assert not learner.optimizer.state
        fresh = made(lr=1e-2)
        fresh.model.load_state_dict(learner.model.state_dict())
        fresh.version = learner.version
        for each in (learner, fresh):
            each.update(group, rloo(group), LossConfig())
        moved = zip(learner.model.parameters(), fresh.model.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in moved)

    def test_with_adapters_it_is_the_model_without_what_they_learned(self) -> None:
        pytest.importorskip("peft")
        from tests.train.ranks import Case, learner_of, model_of

        learner = learner_of(Case(lora=4), model_of(), None)
        group, advantages = told_anew(4)
        before = learner.logprobs(group)
        learner.remember()
        learner.update(group, advantages, LossConfig())
        assert learner.reference_logprobs(group) == before != learner.logprobs(group)
        kept = sum(value.numel() for value in learner.reference._kept.values())
        assert kept < 0.5 * sum(p.numel() for p in learner.model.parameters()), "no second model"


class TestReward:
    def test_an_action_pays_for_its_tokens(self) -> None:
        learner, group = made(), plays(2)
        learner.remember()
        algorithm = AlgorithmConfig(kl_weight=0.2, kl_in="reward")
        (paid,), told = charged([group], learner, algorithm, 1.0)
        reference = learner.logprobs(group)
        costs = []
        for trajectory, after, rows in zip(group, paid, reference, strict=True):
            for action, reward in enumerate(trajectory.rewards):
                gaps = [
                    sampled - held
                    for segment, row in zip(trajectory.segments, rows, strict=True)
                    for sampled, held, by in zip(segment.logprobs, row, segment.action, strict=True)
                    if by == action
                ]
                costs.append(0.2 * sum(gaps))
                assert after.rewards[action] == pytest.approx(reward - costs[-1], abs=1e-5)
        assert told["kl_reward"] == pytest.approx(sum(costs) / len(costs), abs=1e-5)
        assert group[0].rewards[-1] == 0.0, "what the world said stays as it was"

    def test_what_the_world_says_and_dead_machines_cost_nothing(self) -> None:
        segment = Segment()
        segment.hear([1, 2])
        segment.act([3, 4], [-1.0, -2.0], 0)
        segment.hear([5])
        trajectory = Trajectory("g", [segment], rewards=[1.0], ending="failed")
        assert drifts(trajectory, [[9.0, 9.0, -1.5, -1.5, 9.0]]) == [pytest.approx(0.0)]
        learner = made()
        learner.remember()
        algorithm = AlgorithmConfig(kl_weight=1.0, kl_in="reward")
        assert charged([[trajectory]], learner, algorithm, 1.0) == ([[trajectory]], {})


class TestLessons:
    @pytest.mark.parametrize("micro_tokens", [4096, 1])
    def test_their_gradient_is_added_with_a_mean_of_its_own(self, micro_tokens: int) -> None:
        group, gold = plays(0), plays(9, count=3)
        ones = [[1.0] * len(t.rewards) for t in gold]
        alone = gradient(made(), group, rloo(group), LossConfig())
        nll = gradient(made(), gold, ones, LossConfig(objective="nll"))
        loss = LossConfig(ptx_weight=0.25)
        (both,) = steps(made(micro_tokens=micro_tokens), group, rloo(group), loss, lessons=gold)
        assert same(both, alone + 0.25 * nll)

    def test_they_are_learned_at_temperature_1_and_told(self) -> None:
        group, gold = plays(0), plays(9, count=3)
        nothing = [[0.0] * len(t.rewards) for t in group]
        loss = LossConfig(ptx_weight=1.0)
        hot, cold = (steps(made(), group, nothing, loss, lessons=gold, temperature=t)[0] for t in (0.5, 1.0))
        assert torch.equal(hot, cold)
        told = made().update(group, nothing, loss, gold)
        assert told["loss"] == pytest.approx(told["ptx_nll"], rel=1e-5) and told["tokens_trained"] == 0

    def test_minibatches_share_them_out(self) -> None:
        group, gold = plays(0, count=4), plays(9, count=4)
        loss = LossConfig(ptx_weight=1.0, minibatches=2)
        learner, seen = made(), []
        real = learner._teach
        learner._teach = lambda found, *rest: seen.append({s.trajectory for s in found}) or real(found, *rest)
        learner.update(group, rloo(group), loss, gold)
        assert sorted(i for part in seen for i in part) == [0, 1, 2, 3] and len(seen) == 2
