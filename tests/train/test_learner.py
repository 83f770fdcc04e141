"""The learner: gradients, figures, exact continuation."""

import copy
import math
import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.config import LossConfig, OptimConfig
from forge_train.learn import learner as module
from forge_train.learn.advantages import rloo
from forge_train.learn.head import score
from forge_train.learn.learner import Learner
from forge_train.learn.losses import OBJECTIVES
from forge_train.learn.trained_model import schedule
from forge_train.trajectory import WORLD, Segment, Trajectory
from tests.train.models import VOCAB, qwen3

FEW = settings(max_examples=15)
SEEDS = st.integers(0, 2**16)


def made(seed: int = 0, **optim) -> Learner:
    return Learner(qwen3(seed), OptimConfig(**({"grad_clip": 1e9} | optim)))


def plays(seed: int, count: int = 5) -> list[Trajectory]:
    """Trajectories of one group: one or two segments, one to three actions in each, returns 0 or 1."""
    rng = random.Random(seed)
    words = lambda low, high: [rng.randrange(VOCAB) for _ in range(rng.randint(low, high))]  # noqa: E731
    group = []
    for i in range(count):
        trajectory, action = Trajectory("g"), 0
        for _ in range(rng.randint(1, 2)):
            segment = Segment()
            for _ in range(rng.randint(1, 3)):
                segment.hear(words(1, 9))
                said = words(1, 6)
                segment.act(said, [rng.uniform(-6, -2) for _ in said], action)
                action += 1
            segment.hear(words(0, 3))
            trajectory.segments.append(segment)
        trajectory.rewards = [0.0] * (action - 1) + [float(i % 2)]
        group.append(trajectory)
    return group


def flat(learner: Learner) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in learner.model.parameters()])


def gradient(learner: Learner, group, advantages, loss) -> torch.Tensor:
    """The gradient the optimizer is given in an update, as one vector."""
    caught: list[torch.Tensor] = []
    learner.optimizer.register_step_pre_hook(lambda *_: caught.append(flat(learner)))
    assert learner.update(group, advantages, loss)["optimizer_steps"] == 1
    return caught[0]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).norm() <= 1e-5 * b.norm() + 1e-9)


def dense_logprobs(learner: Learner, segment: Segment) -> list[float]:
    """Logprob of every token after the first, by the plain forward of one unpadded, explicitly masked row."""
    ids = torch.tensor([segment.tokens])
    with torch.no_grad():
        logits = learner.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].double()
    return [logits[at - 1].log_softmax(-1)[t].item() for at, t in enumerate(segment.tokens) if at]


class TestLogprobs:
    @given(SEEDS, st.sampled_from([1, 40, 4096]))
    @FEW
    def test_equal_those_of_the_plain_masked_forward(self, seed, micro_tokens):
        learner, group = made(micro_tokens=micro_tokens), plays(seed)
        for trajectory, rows in zip(group, learner.logprobs(group), strict=True):
            for segment, row in zip(trajectory.segments, rows, strict=True):
                expected = [0.0, *dense_logprobs(learner, segment)]
                expected = [e if a != WORLD else 0.0 for e, a in zip(expected, segment.action, strict=True)]
                assert row == pytest.approx(expected, abs=2e-5)

    def test_padded_rows_equal_the_ones_with_an_attention_mask(self):
        learner = made()
        short, long = torch.randint(VOCAB, (5,)), torch.randint(VOCAB, (9,))
        ids = torch.nn.utils.rnn.pad_sequence([short, long], batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(5), torch.ones(9)], batch_first=True)
        bare = learner.model(input_ids=ids).logits
        masked = learner.model(input_ids=ids, attention_mask=mask).logits
        assert torch.allclose(bare[mask.bool()], masked[mask.bool()], atol=1e-5)

    def test_without_a_mask_sdpa_is_told_to_be_causal(self, monkeypatch):
        calls = []
        real = torch.nn.functional.scaled_dot_product_attention

        def spy(*args, **kwargs):
            calls.append((kwargs.get("attn_mask"), kwargs.get("is_causal")))
            return real(*args, **kwargs)

        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
        made(packing="padded").logprobs(plays(0))
        assert calls and all(call == (None, True) for call in calls)

    def test_temperature_divides_the_logits(self):
        hidden, targets = torch.randn(6, VOCAB), torch.arange(6)
        logprobs, entropy = score(torch.nn.Identity(), hidden, targets, 0.5)
        expected = torch.distributions.Categorical(logits=hidden / 0.5)
        assert torch.allclose(logprobs, expected.log_prob(targets), atol=1e-5)
        assert torch.allclose(entropy, expected.entropy(), atol=1e-5)

    def test_learn_nothing(self):
        learner = made()
        before = learner.state_dict()
        learner.logprobs(plays(0))
        assert equal(learner.state_dict(), before)


class TestGradient:
    @given(
        SEEDS,
        st.sampled_from(["token", "turn", "trajectory", "constant"]),
        st.sampled_from(sorted(OBJECTIVES)),
    )
    @FEW
    def test_micro_batching_cannot_change_it(self, seed, denominator, objective):
        loss = LossConfig(
            objective=objective, denominator=denominator, constant=50.0 if denominator == "constant" else None
        )
        group = plays(seed)
        whole = gradient(made(micro_tokens=4096), group, rloo(group), loss)
        cut = gradient(made(micro_tokens=20), group, rloo(group), loss)
        alone = gradient(made(micro_tokens=1), group, rloo(group), loss)
        assert whole.norm() > 0
        assert same(cut, whole) and same(alone, whole)

    @given(SEEDS, st.randoms(use_true_random=False))
    @FEW
    def test_order_of_trajectories_does_not_matter(self, seed, rng):
        group = plays(seed)
        advantages, order = rloo(group), rng.sample(range(5), 5)
        moved = gradient(made(), [group[i] for i in order], [advantages[i] for i in order], LossConfig())
        assert same(moved, gradient(made(), group, advantages, LossConfig()))

    @given(SEEDS, st.sampled_from(["token", "turn", "trajectory", "constant"]))
    @FEW
    def test_is_the_declared_mean_computed_directly(self, seed, denominator):
        """Autograd through the plain forward, with the definition of each denominator spelt out."""
        learner, group = made(), plays(seed)
        advantages = rloo(group)
        parts: dict[object, list[torch.Tensor]] = {}
        for i, (trajectory, row) in enumerate(zip(group, advantages, strict=True)):
            for segment in trajectory.segments:
                logprobs = learner.model(input_ids=torch.tensor([segment.tokens])).logits[0].log_softmax(-1)
                for at, (token, action) in enumerate(zip(segment.tokens, segment.action, strict=True)):
                    if action != WORLD:
                        unit = {"turn": (i, action), "trajectory": i}.get(denominator, 0)
                        parts.setdefault(unit, []).append(-row[action] * logprobs[at - 1, token])
        if denominator == "constant":
            expected = torch.stack(parts[0]).sum() / (50.0 * len(group))
        else:
            expected = torch.stack([torch.stack(p).mean() for p in parts.values()]).mean()
        expected.backward()
        direct = flat(learner)
        loss = LossConfig(
            objective="nll", denominator=denominator, constant=50.0 if denominator == "constant" else None
        )
        assert same(gradient(made(), group, advantages, loss), direct)

    @given(SEEDS)
    @FEW
    def test_on_policy_it_is_that_of_reinforce(self, seed):
        learner, group = made(), plays(seed)
        for trajectory, rows in zip(group, learner.logprobs(group), strict=True):
            for segment, row in zip(trajectory.segments, rows, strict=True):
                segment.logprobs = row
        clipped = gradient(learner, group, rloo(group), LossConfig())
        reinforce = gradient(made(), group, rloo(group), LossConfig(objective="nll"))
        assert same(clipped, reinforce)

    def test_what_the_world_says_is_never_a_target(self):
        """The head's rows get gradient only from positions whose next token is trained."""
        learner, (trajectory,) = made(), plays(3, count=1)
        seen = []
        learner.model.lm_head.register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0])))
        gradient(learner, [trajectory], [[1.0] * len(trajectory.rewards)], LossConfig())
        assert sum(seen) == trajectory.sampled

    @given(SEEDS, st.integers(0, VOCAB - 1))
    @FEW
    def test_what_the_world_says_last_changes_nothing(self, seed, token):
        group = plays(seed)
        before = gradient(made(), group, rloo(group), LossConfig())
        for trajectory in group:
            trajectory.segments[0].hear([token, token])
        assert torch.equal(gradient(made(), group, rloo(group), LossConfig()), before)

    def test_the_worlds_recorded_logprobs_are_never_read(self):
        group = plays(1)
        before = gradient(made(), group, rloo(group), LossConfig())
        for trajectory in group:
            for segment in trajectory.segments:
                pairs = zip(segment.logprobs, segment.action, strict=True)
                segment.logprobs = [lp if a != WORLD else float("nan") for lp, a in pairs]
        assert torch.equal(gradient(made(), group, rloo(group), LossConfig()), before)

    @given(SEEDS, st.sampled_from(["token", "trajectory"]))
    @FEW
    def test_a_trajectory_without_a_signal_only_counts_in_the_denominator(self, seed, denominator):
        group = plays(seed, count=4)
        advantages = [[1.0] * len(t.rewards) for t in group]
        loss = LossConfig(objective="nll", denominator=denominator)
        without = gradient(made(), group[:3], advantages[:3], loss)
        silent = gradient(made(), group, [*advantages[:3], [0.0] * len(group[3].rewards)], loss)
        size = len if denominator == "trajectory" else lambda ts: sum(t.sampled for t in ts)
        assert same(silent * (size(group) / size(group[:3])), without)

    def test_chunked_logits_give_the_same(self):
        group = plays(2)
        whole = gradient(made(), group, rloo(group), LossConfig())
        chunked = made(head_mb=0.004)
        assert chunked.head.rows < 10
        assert same(gradient(chunked, group, rloo(group), LossConfig()), whole)


class TestUpdate:
    def test_supervised_training_learns_the_tokens(self):
        learner, group = made(lr=3e-3), plays(0)
        ones, loss = [[1.0] * len(t.rewards) for t in group], LossConfig(objective="nll")
        losses = [learner.update(group, ones, loss)["loss"] for _ in range(60)]
        assert losses[-1] < 0.1 * losses[0]

    def test_reinforcement_makes_the_better_play_likelier(self):
        learner, group = made(lr=1e-3), plays(0)
        sums = lambda: [sum(map(sum, rows)) for rows in learner.logprobs(group)]  # noqa: E731
        before = sums()
        for _ in range(5):
            learner.update(group, rloo(group), LossConfig())
        change = [b - a for a, b in zip(before, sums(), strict=True)]
        assert min(change[1::2]) > max(change[0::2])

    def test_parameters_are_updated_in_place(self):
        learner, group = made(), plays(0)
        held = dict(learner.model.named_parameters())
        before = {name: (p.data_ptr(), p.detach().clone()) for name, p in held.items()}
        learner.update(group, rloo(group), LossConfig())
        for name, p in learner.model.named_parameters():
            assert p.data_ptr() == before[name][0]
            assert not torch.equal(p, before[name][1])

    def test_figures(self):
        learner, group = made(micro_tokens=64), plays(0)
        for trajectory, rows in zip(group, learner.logprobs(group), strict=True):
            for segment, row in zip(trajectory.segments, rows, strict=True):
                segment.logprobs = row
        group[0].segments[0].logprobs = [lp - 0.25 if lp else 0.0 for lp in group[0].segments[0].logprobs]
        advantages = rloo(group)
        advantages[4] = [0.0] * len(advantages[4])
        metrics = learner.update(group, advantages, LossConfig())
        off = sum(a != WORLD for a in group[0].segments[0].action)
        trained = sum(t.sampled for t in group[:4])
        assert metrics["tokens_trained"] == trained
        assert metrics["logprob_gap_max"] == pytest.approx(0.25, abs=1e-5)
        assert metrics["logprob_gap"] == pytest.approx(0.25 * off / trained, abs=1e-5)
        assert metrics["importance"] == pytest.approx(1 + (math.exp(0.25) - 1) * off / trained, abs=1e-4)
        assert metrics["ratio"] == 1 and metrics["clipped"] == 0 and metrics["kl"] > 0
        assert 0 < metrics["entropy"] < 4.16  # ln 64
        assert metrics["skipped_trajectories"] == 1 and metrics["skipped_steps"] == 0
        assert metrics["optimizer_steps"] == 1 and learner.version == 1
        assert metrics["lr"] == 3e-4 and metrics["grad_norm"] > 0 and metrics["seconds"] > 0
        positions = metrics["tokens_forwarded"] / (1 - metrics["padding"])
        assert positions == pytest.approx(round(positions)) and 0 <= metrics["padding"] < 1

    def test_without_any_signal_nothing_moves(self):
        learner, group = made(), plays(0)
        learner.update(
            group, rloo(group), LossConfig()
        )  # momentum, which a step with no gradient would follow
        before = learner.state_dict()
        metrics = learner.update(group, [[0.0] * len(t.rewards) for t in group], LossConfig())
        assert metrics["optimizer_steps"] == 0 and metrics["tokens_forwarded"] == 0
        assert metrics["skipped_trajectories"] == len(group)
        assert learner.version == before["version"] + 1
        assert equal(learner.state_dict() | {"version": 1}, before)

    def test_no_trajectories_is_an_update_of_nothing(self):
        assert made().update([], [], LossConfig())["optimizer_steps"] == 0

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_gradient_that_is_not_finite_is_not_applied(self, bad):
        learner, group = made(), plays(0)
        before = learner.state_dict()
        advantages = rloo(group)
        advantages[1] = [bad] * len(advantages[1])
        metrics = learner.update(group, advantages, LossConfig(objective="nll"))
        assert metrics["skipped_steps"] == 1 and metrics["optimizer_steps"] == 0
        assert equal(learner.state_dict() | {"version": 0}, before)

    def test_a_disagreement_that_is_not_a_number_does_not_look_like_agreement(self):
        learner, group = made(), plays(0)
        at = group[0].segments[0].action.index(0)
        group[0].segments[0].logprobs[at] = float("nan")
        assert math.isnan(learner.update(group, rloo(group), LossConfig())["logprob_gap_max"])
        assert not any(p.isnan().any() for p in learner.model.parameters())

    def test_minibatches_measure_the_ratio_against_the_weights_before_the_update(self):
        learner, group = made(lr=1e-2), plays(0, count=6)
        metrics = learner.update(group, rloo(group), LossConfig(minibatches=3))
        assert metrics["optimizer_steps"] == 3 and learner.steps == 3 and learner.version == 1
        assert metrics["ratio"] != 1
        assert metrics["tokens_trained"] == sum(t.sampled for t in group)

    @given(st.integers(1, 9), st.integers(1, 5), SEEDS)
    def test_minibatches_share_trajectories_out_evenly(self, count, parts, version):
        dealt = module.deal(count, parts, seed=version)
        assert sorted(i for part in dealt for i in part) == list(range(count))
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
        assert dealt == module.deal(count, parts, seed=version)

    def test_the_gradient_is_clipped_by_its_global_norm(self):
        group = plays(0)
        whole = gradient(made(), group, rloo(group), LossConfig())
        clipped = gradient(made(grad_clip=1e-3), group, rloo(group), LossConfig())
        assert whole.norm() > 0.1
        assert same(clipped, whole * 1e-3 / whole.norm())

    def test_only_matrices_decay(self):
        learner = made(weight_decay=0.1)
        for group in learner.optimizer.param_groups:
            assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] > 0}
        assert sum(len(g["params"]) for g in learner.optimizer.param_groups) == len(
            list(learner.model.parameters())
        )

    def test_bfloat16_runs_under_autocast_on_float32_weights(self):
        group, exact = plays(0), made()
        learner = Learner(qwen3(), OptimConfig(), dtype="bfloat16")
        half = [v for rows in learner.logprobs(group) for row in rows for v in row]
        full = [v for rows in exact.logprobs(group) for row in rows for v in row]
        assert half != full and half == pytest.approx(full, abs=0.3)
        assert learner.update(group, rloo(group), LossConfig())["optimizer_steps"] == 1
        assert {p.dtype for p in learner.model.parameters()} == {torch.float32}

    def test_what_it_cannot_do_is_refused(self):
        with pytest.raises(ValueError, match="dtype='float16'"):
            Learner(qwen3(), OptimConfig(), dtype="float16")
        capped = qwen3()
        capped.config.final_logit_softcapping = 30.0
        with pytest.raises(ValueError, match="final_logit_softcapping"):
            Learner(capped, OptimConfig())


class TestSchedule:
    @given(st.integers(0, 10), st.integers(1, 20), st.sampled_from(["constant", "linear", "cosine"]))
    def test_rises_to_one_and_falls_to_zero(self, warmup, length, kind):
        optim = OptimConfig(warmup=warmup, schedule=kind, decay_steps=warmup + length)
        factors = [schedule(s, optim) for s in range(warmup + length + 3)]
        assert all(0 <= f <= 1 for f in factors) and factors[0] > 0
        assert all(a < b for a, b in pairwise(factors[:warmup]))
        assert factors[warmup] == 1
        assert all(a >= b for a, b in pairwise(factors[warmup:]))
        assert factors[-1] == (1 if kind == "constant" else 0)

    def test_drives_the_optimizer(self):
        learner, group = made(lr=1e-3, warmup=2, schedule="linear", decay_steps=4), plays(0)
        rates = [learner.update(group, rloo(group), LossConfig())["lr"] for _ in range(5)]
        assert rates == pytest.approx([5e-4, 1e-3, 1e-3, 5e-4, 0])
        assert learner.optimizer.param_groups[0]["lr"] == 0


def equal(a: object, b: object) -> bool:
    """Bitwise equality of nested states."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


class TestState:
    def test_continuing_from_a_saved_state_is_exact_to_the_bit(self, tmp_path):
        optim, loss = {"lr": 1e-2, "warmup": 2, "weight_decay": 0.1}, LossConfig(minibatches=2)
        first = made(**optim)
        first.update(plays(0), rloo(plays(0)), loss)
        torch.save(first.state_dict(), tmp_path / "state.pt")
        torch.rand(3)
        second = made(seed=7, **optim)
        second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        for seed in (1, 2):
            ours = first.update(plays(seed), rloo(plays(seed)), loss)
            theirs = second.update(plays(seed), rloo(plays(seed)), loss)
            clock = {"seconds": 0, "logprob_seconds": 0}
            assert {**ours, **clock} == {**theirs, **clock}
        assert equal(first.state_dict() | {"rng": 0}, second.state_dict() | {"rng": 0})

    def test_the_random_generator_is_part_of_it(self):
        learner = made()
        state = learner.state_dict()
        drawn = torch.rand(4)
        learner.load_state_dict(state)
        assert torch.equal(torch.rand(4), drawn)

    def test_a_saved_state_does_not_follow_the_learner(self):
        learner, group = made(), plays(0)
        learner.update(group, rloo(group), LossConfig())
        state = learner.state_dict()
        kept = copy.deepcopy(state)
        learner.update(group, rloo(group), LossConfig())
        assert equal(state, kept)

    def test_loading_writes_into_the_same_parameters(self):
        learner, other = made(), made(seed=1)
        places = [p.data_ptr() for p in learner.model.parameters()]
        learner.load_state_dict(other.state_dict())
        assert [p.data_ptr() for p in learner.model.parameters()] == places
        assert equal(learner.state_dict(), other.state_dict())
