"""The critic: which states have values, what they learn, exact continuation."""

from __future__ import annotations

import ast
import copy
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen3ForCausalLM

from forge_train.config import AlgorithmConfig, CriticConfig, OptimConfig
from forge_train.learn import critic as module
from forge_train.learn.critic import Critic, fit, value_loss
from forge_train.learn.gae import Targets, targets_of
from forge_train.learn.kernels import recompute_blocks
from forge_train.learn.masks import trained_endings
from forge_train.trajectory import WORLD, Ending, Segment, TokenAdvantages, Trajectory
from tests.train.models import VOCAB, qwen3

FEW = settings(max_examples=12)
SEEDS = st.integers(0, 2**16)
GAE = AlgorithmConfig(advantage="gae")
DENOMINATORS = ["token", "turn", "trajectory", "constant"]


def policy(seed: int = 0) -> Qwen3ForCausalLM:
    return qwen3(seed).eval()


def made(*, spoken: bool = True, optim: dict[str, Any] | None = None, **config: Any) -> Critic:
    """A critic; with `spoken` its head is random instead of zero, so that values tell states apart."""
    critic = Critic(
        policy(),
        CriticConfig.model_validate({"clip": 0.0, "minibatches": 1, "policy_waits": 0} | config),
        OptimConfig.model_validate({"grad_clip": 1e9} | (optim or {})),
    )
    if spoken:
        torch.manual_seed(1)
        torch.nn.init.normal_(critic.model.head.weight)
    return critic


def plays(seed: int, count: int = 4, ending: Ending = "terminated") -> list[Trajectory]:
    """Trajectories of one group: one or two segments, one to three actions in each, returns 0 or 1."""
    rng = random.Random(seed)
    words = lambda low, high: [rng.randrange(VOCAB) for _ in range(rng.randint(low, high))]  # noqa: E731
    opening = words(3, 6)
    group = []
    for i in range(count):
        trajectory, action = Trajectory("g", ending=ending), 0
        for _ in range(rng.randint(1, 2)):
            segment = Segment()
            segment.hear(opening)
            for _ in range(rng.randint(1, 3)):
                segment.hear(words(1, 5))
                said = words(1, 5)
                segment.act(said, [rng.uniform(-6, -2) for _ in said], action)
                action += 1
            segment.hear(words(0, 3))
            trajectory.segments.append(segment)
        trajectory.rewards = [0.0] * (action - 1) + [float(i % 2)]
        group.append(trajectory)
    return group


def dense(critic: Critic, tokens: list[int]) -> torch.Tensor:
    """Values after each token of one plain row."""
    hidden = critic.model.backbone(input_ids=torch.tensor([tokens]), use_cache=False).last_hidden_state
    return critic.model.head(hidden)[0, :, 0]


def targets(critic: Critic, group: list[Trajectory], advantage: str = "gae") -> list[Targets]:
    return targets_of(group, critic.values(group), AlgorithmConfig(advantage=advantage))


def flat(critic: Critic) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in critic.model.parameters() if p.grad is not None])


def gradient(
    critic: Critic, group: list[Trajectory], told: list[Targets], loss: AlgorithmConfig
) -> torch.Tensor:
    caught: list[torch.Tensor] = []
    critic.optimizer.register_step_pre_hook(lambda *_: caught.append(flat(critic)))
    assert critic.update(group, told, loss)["value_steps"] == 1
    return caught[0]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).norm() <= 1e-5 * b.norm() + 1e-8)


def equal(a: Any, b: Any) -> bool:
    """Bitwise equality of nested states."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def loss_of(denominator: str, **more: Any) -> AlgorithmConfig:
    constant = {"constant": 50.0} if denominator == "constant" else {}
    return AlgorithmConfig.model_validate({"advantage": "gae", "denominator": denominator} | constant | more)


class TestValues:
    @given(SEEDS, st.sampled_from(["padded", "tree"]), st.sampled_from([1, 40, 4096]))
    @FEW
    def test_are_those_of_the_states_before_the_policys_tokens(self, seed, packing, micro_tokens):
        critic = made(optim={"packing": packing, "micro_tokens": micro_tokens})
        group = plays(seed)
        for trajectory, row in zip(group, critic.values(group), strict=True):
            expected = []
            for segment in trajectory.segments:
                after = dense(critic, segment.tokens).tolist()
                expected += [after[i - 1] for i, a in enumerate(segment.action) if a != WORLD]
            assert row == pytest.approx([*expected, 0.0], abs=2e-5)

    @pytest.mark.parametrize("ending", ["context", "tokens", "deadline"])
    def test_an_episode_that_was_cut_off_goes_on_from_its_last_state(self, ending: Ending) -> None:
        critic = made()
        over, cut = plays(3), plays(3, ending=ending)
        for trajectory, ended, row in zip(cut, critic.values(over), critic.values(cut), strict=True):
            last = dense(critic, trajectory.segments[-1].tokens)[-1].item()
            assert row[:-1] == pytest.approx(ended[:-1], abs=1e-5)
            assert ended[-1] == 0.0
            assert row[-1] == pytest.approx(last, abs=1e-5) and last != 0

    def test_which_endings_go_on_is_configured(self) -> None:
        cut = plays(3, ending="tokens")
        assert all(row[-1] == 0 for row in made(bootstrap=["deadline"]).values(cut))
        assert all(row[-1] != 0 for row in made(bootstrap=["tokens"]).values(cut))

    def test_a_last_segment_in_which_nothing_was_said_yet_is_a_state_too(self) -> None:
        critic, (trajectory,) = made(), plays(3, count=1, ending="deadline")
        trajectory.segments.append(Segment())
        trajectory.segments[-1].hear([5, 6, 7])
        row = critic.values([trajectory])[0]
        assert len(row) == trajectory.sampled + 1
        assert row[-1] == pytest.approx(dense(critic, [5, 6, 7])[-1].item(), abs=1e-5)

    def test_nothing_said_nothing_expected(self) -> None:
        assert made().values([Trajectory("g", ending="deadline"), *plays(0, count=1)])[0] == [0.0]
        assert made().values([]) == []

    def test_begin_at_zero(self) -> None:
        assert all(value == 0 for row in made(spoken=False).values(plays(0)) for value in row)

    def test_what_the_world_says_last_matters_only_where_the_episode_goes_on(self) -> None:
        critic = made()
        for ending, moves in (("terminated", False), ("deadline", True)):
            (trajectory,) = plays(5, count=1, ending=ending)  # type: ignore[arg-type]
            before = critic.values([trajectory])[0]
            trajectory.segments[-1].hear([9, 9])
            after = critic.values([trajectory])[0]
            assert after[:-1] == pytest.approx(before[:-1], abs=1e-5)
            assert (after[-1] != pytest.approx(before[-1], abs=1e-6)) == moves


class TestLoss:
    NUMBERS = st.lists(st.floats(-3, 3, width=16), min_size=4, max_size=4).map(torch.tensor)

    @given(NUMBERS, NUMBERS, NUMBERS)
    def test_clipping_never_makes_an_error_smaller(self, value, before, target):
        plain, _ = value_loss(value, before, target, 0)
        held, clipped = value_loss(value, before, target, 0.2)
        assert torch.allclose(plain, (value - target) ** 2 / 2)
        assert (held >= plain).all() and torch.equal(clipped, (held > plain).float())

    @pytest.mark.parametrize(
        ("value", "flows"),
        [(0.1, True), (0.3, False), (-0.3, True), (0.6, False), (1.4, True)],
        ids=["inside", "ran ahead", "ran away", "far ahead", "far beyond the return"],
    )
    def test_a_value_that_moved_far_enough_towards_its_return_is_left_alone(self, value, flows):
        leaf = torch.tensor([value], requires_grad=True)
        loss, _ = value_loss(leaf, torch.tensor([0.0]), torch.tensor([0.7]), 0.2)
        loss.sum().backward()
        assert leaf.grad is not None and bool(leaf.grad) is flows

    @given(SEEDS, st.sampled_from(DENOMINATORS), st.sampled_from(["gae", "turn_gae"]))
    @FEW
    def test_is_the_declared_mean_over_steps_computed_directly(self, seed, denominator, advantage):
        critic, group = made(), plays(seed)
        loss = loss_of(denominator, advantage=advantage)
        told = targets_of(group, critic.values(group), loss)
        parts: dict[object, list[torch.Tensor]] = {}
        for i, (trajectory, one) in enumerate(zip(group, told, strict=True)):
            returns, written = dict(zip(one.at, one.returns, strict=True)), 0
            for segment in trajectory.segments:
                after = dense(critic, segment.tokens)
                for place, action in enumerate(segment.action):
                    if action == WORLD:
                        continue
                    if written in returns:
                        unit = {"turn": (i, action), "trajectory": i}.get(denominator, 0)
                        error = (after[place - 1] - returns[written]) ** 2 / 2
                        parts.setdefault(unit, []).append(error)
                    written += 1
        if denominator == "constant":
            expected = torch.stack(parts[0]).sum() / (50.0 * len(group))
        else:
            expected = torch.stack([torch.stack(p).mean() for p in parts.values()]).mean()
        expected.backward()
        assert same(gradient(made(), group, told, loss), flat(critic))

    @given(SEEDS, st.sampled_from(DENOMINATORS), st.sampled_from(["padded", "tree"]))
    @FEW
    def test_micro_batching_cannot_change_the_gradient(self, seed, denominator, packing):
        group, loss = plays(seed), loss_of(denominator)
        told = targets(made(), group)
        whole = gradient(made(), group, told, loss)
        assert whole.norm() > 0
        for micro_tokens in (1, 20):
            optim = {"packing": packing, "micro_tokens": micro_tokens}
            assert same(gradient(made(optim=optim), group, told, loss), whole)


class TestUpdate:
    def test_learns_to_foretell_returns(self) -> None:
        critic, group = made(spoken=False, lr=3e-3), plays(0)
        explained = [critic.update(group, targets(critic, group), GAE)["value_explained"] for _ in range(40)]
        assert explained[0] == 0 and explained[-1] > 0.9

    def test_the_policy_is_not_touched(self) -> None:
        model, group = policy(), plays(0)
        before = copy.deepcopy(model.state_dict())
        critic = Critic(model, CriticConfig(), OptimConfig())
        critic.update(group, targets(critic, group), GAE)
        assert equal(dict(model.state_dict()), dict(before))
        backbone = critic.model.backbone.state_dict()
        assert not equal(dict(backbone), {k: before[f"model.{k}"] for k in backbone})

    def test_figures(self) -> None:
        critic, group = made(lr=1e-2, clip=1e-4, minibatches=2, epochs=3), plays(0)
        told = targets(critic, group)
        metrics = critic.update(group, told, GAE)
        values, returns = ([x for e in told for x in getattr(e, name)] for name in ("values", "returns"))
        assert metrics["value"] == pytest.approx(math.fsum(values) / len(values))
        assert metrics["value_return"] == pytest.approx(math.fsum(returns) / len(returns))
        assert metrics["value_steps"] == 6 == critic.steps and critic.version == 1
        assert metrics["value_skipped"] == 0 and metrics["value_grad_norm"] > 0 and metrics["value_loss"] > 0
        assert 0 < metrics["value_clipped"] <= 1 and metrics["value_seconds"] > 0

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_gradient_that_is_not_finite_is_not_applied(self, bad: float) -> None:
        critic, group = made(), plays(0)
        before, told = critic.state_dict(), targets(critic, group)
        told[0].returns[0] = bad
        metrics = critic.update(group, told, GAE)
        assert metrics["value_skipped"] == 1 and metrics["value_steps"] == 0
        assert equal(critic.state_dict() | {"version": 0}, before)

    def test_nothing_to_learn_from_is_an_update_of_nothing(self) -> None:
        critic = made()
        assert critic.update([], [], GAE)["value_steps"] == 0
        assert critic.version == 1

    def test_the_learning_rate_warms_up_and_never_decays(self) -> None:
        critic, group = made(lr=1e-3, warmup=2, optim={"schedule": "linear", "decay_steps": 3}), plays(0)
        rates = []
        for _ in range(5):
            critic.update(group, targets(critic, group), GAE)
            rates.append(critic.optimizer.param_groups[0]["lr"])
        assert rates == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3, 1e-3])

    def test_explained_variance(self) -> None:
        assert fit([0.5, 0.5], [0.0, 1.0])["value_explained"] == 0
        assert fit([1.0, 0.0], [0.0, 1.0])["value_explained"] == -3
        assert fit([3.0], [1.0])["value_explained"] == 0, "equal returns have nothing to explain"
        assert fit([], []) == {}


class TestJudge:
    def test_credit_is_of_those_with_a_verdict_or_cut_off(self) -> None:
        group = plays(0, count=5)
        group[1].ending, group[2].ending, group[3].ending = "failed", "context", "cancelled"
        credit, metrics = made().assign_credit([group[:2], group[2:]], GAE)
        lengths = [[len(row) for row in rows] for rows in credit]
        assert lengths == [[group[0].sampled, 0], [group[2].sampled, 0, group[4].sampled]]
        assert all(isinstance(row, TokenAdvantages) for rows in credit for row in rows if row)
        assert metrics["policy_waits"] == 0 and metrics["value_steps"] == 1

    def test_out_of_room_counts_as_nothing_earned_when_the_config_says_so(self) -> None:
        narrow = CriticConfig(bootstrap=())
        told = AlgorithmConfig(advantage="gae", masked=("deadline",))
        assert trained_endings(GAE, narrow) == {"terminated", "max_turns"}
        assert trained_endings(told, narrow) == {"terminated", "max_turns", "context", "tokens"}
        assert trained_endings(GAE, CriticConfig()) == {
            "terminated", "max_turns", "context", "tokens", "deadline",
        }  # fmt: skip

    def test_turns_get_one_number_each(self) -> None:
        group = plays(0)
        (rows,), _ = made().assign_credit([group], AlgorithmConfig(advantage="turn_gae"))
        assert [len(row) for row in rows] == [len(t.rewards) for t in group]

    def test_equal_returns_still_teach(self) -> None:
        group = [t for t in plays(0, count=6) if t.rewards[-1] == 1]
        (rows,), _ = made().assign_credit([group], GAE)
        assert all(any(row) for row in rows)

    def test_while_the_critic_warms_up_only_it_learns(self) -> None:
        critic, group = made(policy_waits=2), plays(0)
        for waits in (True, True, False):
            before = critic.state_dict()
            assert critic.policy_waits is waits
            (rows,), metrics = critic.assign_credit([group], GAE)
            assert metrics["policy_waits"] == waits
            assert all(bool(row) is not waits for row in rows)
            assert not equal(critic.state_dict()["model"], before["model"])

    def test_advantages_are_from_before_the_critic_learned(self) -> None:
        critic, group = made(lr=1e-2), plays(0)
        expected = targets(critic, group)
        (rows,), _ = critic.assign_credit([group], GAE)
        assert rows == [e.advantages for e in expected]

    def test_nobody_played(self) -> None:
        assert made().assign_credit([[], []], GAE)[0] == [[], []]


class TestState:
    def test_continuing_from_a_saved_state_is_exact_to_the_bit(self, tmp_path: Path) -> None:
        config = {"lr": 1e-2, "warmup": 3, "minibatches": 2, "epochs": 2, "clip": 0.2, "policy_waits": 2}
        first = made(**config)
        first.assign_credit([plays(0)], GAE)
        torch.save(first.state_dict(), tmp_path / "state.pt")
        second = made(spoken=False, **config)
        second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        for seed in (1, 2):
            (ours, figures), (theirs, others) = (c.assign_credit([plays(seed)], GAE) for c in (first, second))
            assert ours == theirs
            assert {**figures, "value_seconds": 0} == {**others, "value_seconds": 0}
        assert equal(first.state_dict(), second.state_dict())

    def test_a_saved_state_does_not_follow_the_critic(self) -> None:
        critic = made()
        critic.assign_credit([plays(0)], GAE)
        state = critic.state_dict()
        kept = copy.deepcopy(state)
        critic.assign_credit([plays(0)], GAE)
        assert equal(state, kept) and not equal(state, critic.state_dict())


def test_bfloat16_runs_under_autocast_on_float32_weights() -> None:
    half = Critic(policy(), CriticConfig(), OptimConfig(), dtype="bfloat16")
    full = Critic(policy(), CriticConfig(), OptimConfig())
    for critic in (half, full):
        torch.manual_seed(1)
        torch.nn.init.normal_(critic.model.head.weight)
    a, b = ([v for row in c.values(plays(0)) for v in row] for c in (half, full))
    assert a != b and a == pytest.approx(b, abs=0.5)
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert half.assign_credit([plays(0)], GAE)[1]["value_steps"] == 4


def test_blocks_that_are_computed_again_are_the_critics_own() -> None:
    """A copy of a model whose blocks were wrapped must not lead back to the policy's."""
    wrapped, group = policy(), plays(0)
    recompute_blocks(wrapped)
    told = targets(made(), group)
    for model in (policy(), wrapped):
        critic = Critic(
            model,
            CriticConfig(clip=0.0, minibatches=1),
            OptimConfig(grad_clip=1e9, gradient_checkpointing=True),
        )
        torch.manual_seed(1)
        torch.nn.init.normal_(critic.model.head.weight)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(torch.nan)
        assert same(gradient(critic, group, told, GAE), gradient(made(), group, told, GAE))


def test_a_policy_that_cannot_be_copied_is_refused() -> None:
    class Wrapped(torch.nn.Module):
        """What a library may make of a model: its base is no plain model any more."""

        def __init__(self) -> None:
            super().__init__()
            self.base_model = torch.nn.Linear(2, 2)

    with pytest.raises(ValueError, match="Wrapped is wrapped by a library or sharded"):
        Critic(Wrapped(), CriticConfig(), OptimConfig())  # type: ignore[arg-type]


def test_the_critic_knows_no_world_and_no_server() -> None:
    for name in ("critic", "gae", "losses"):
        tree = ast.parse((Path(module.__file__).parent / f"{name}.py").read_text())
        imported = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert not {i.split(".")[0] for i in imported} & {"forge_envs", "vllm"}
