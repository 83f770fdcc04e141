"""Muon beside AdamW, and QK-Clip: against torch's own, by golden numbers, and through checkpoints."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from forge_train.config import AlgorithmConfig, ConfigError, CriticConfig, LossConfig, OptimConfig, load
from forge_train.learn.batch import Batch
from forge_train.learn.critic import Critic
from forge_train.learn.gae import targets_of
from forge_train.learn.learner import Learner
from forge_train.learn.muon import MuonAdamW, hidden_matrices, orthogonal
from forge_train.learn.qk_clip import QKClip, factors
from forge_train.record.checkpoint import CheckpointError
from forge_train.trajectory import Segment, Trajectory
from tests.train.models import qwen3

NLL = LossConfig(objective="nll")
TAU = 17.0
"""Between the largest logits of the first layer's heads, which are 11 to 20."""
WORLD = 'worlds=[{ id = "forge_envs:Forge/Retail-v0" }]'


def plays(count: int, seed: int = 0) -> tuple[list[Trajectory], list[list[float]]]:
    """Trajectories of one turn that share their first tokens, with advantages of both signs."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n: int) -> list[int]:
        return torch.randint(1, 60, (n,), generator=generator).tolist()

    found = []
    for i in range(count):
        segment = Segment()
        segment.hear([7, 8, 9, *draw(2 + i)])
        segment.act(draw(5), [-1.0] * 5, 0)
        segment.hear(draw(3))
        found.append(Trajectory("g", [segment], rewards=[0.0], versions=[0]))
    return found, [[1.0], [-0.5], [0.5], [0.25]][:count]


def llama(**changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
        "initializer_range": 0.4, "attention_bias": True,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**{**shape, **changes}))
    for layer in model.model.layers:
        for part in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            torch.nn.init.normal_(part.bias)
    return model


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


# -- Muon ----------------------------------------------------------------------------------------


class Apart:
    """torch's own two optimizers, as one would use them by hand."""

    def __init__(self, model: Any, optim: OptimConfig) -> None:
        matrices = hidden_matrices(model)
        rest = [p for p in model.parameters() if id(p) not in {id(m) for m in matrices}]
        self.muon = torch.optim.Muon(
            matrices, lr=optim.lr, weight_decay=optim.weight_decay, momentum=optim.momentum,
            nesterov=optim.nesterov, adjust_lr_fn="match_rms_adamw",
        )  # fmt: skip
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": optim.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True)
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]

    def step(self) -> None:
        self.muon.step()
        self.adamw.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.muon.zero_grad(set_to_none)
        self.adamw.zero_grad(set_to_none)


@pytest.mark.parametrize("nesterov", [False, True])
def test_it_is_torchs_muon_and_adamw_to_the_bit(nesterov):
    group, advantages = plays(4)
    settings = {"lr": 1e-2, "weight_decay": 0.1, "warmup": 3, "kind": "muon", "nesterov": nesterov}
    optim = OptimConfig(**settings)
    ours, theirs = Learner(qwen3(), optim), Learner(qwen3(), optim)
    theirs.optimizer = Apart(theirs.model, optim)  # type: ignore[assignment]
    for _ in range(4):
        ours.update(group, advantages, NLL)
        theirs.update(group, advantages, NLL)
    other = weights(theirs.model)
    assert all(torch.equal(w, other[name]) for name, w in weights(ours.model).items())


def test_it_moves_what_is_hidden_and_leaves_the_rest_to_adamw():
    model = qwen3()
    found = {id(p) for p in hidden_matrices(model)}
    names = {name for name, p in model.named_parameters() if id(p) in found}
    assert "model.layers.0.mlp.up_proj.weight" in names and "model.layers.1.self_attn.k_proj.weight" in names
    assert not names & {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"}
    assert all(".layers." in name for name in names)


def test_without_it_the_optimizer_is_what_it_was():
    learner = Learner(qwen3(), OptimConfig())
    assert type(learner.optimizer) is torch.optim.AdamW and len(learner.optimizer.param_groups) == 2
    assert learner.qk_clip is None and learner.model.config._attn_implementation == "forge_tree"
    assert "qk_max" not in learner.update(*plays(2), NLL)


@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 99))
def test_an_orthogonal_update_has_singular_values_near_one(rows, columns, seed):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    s = torch.linalg.svdvals(matrix)
    found = torch.linalg.svdvals(orthogonal(matrix).float())
    assert float(found.max()) < 1.3
    if float(s.min()) > 0.05 * float(s.norm()):  # what is nearly 0 stays small
        assert float(found.min()) > 0.5
    assert torch.equal(orthogonal(4 * matrix), orthogonal(matrix)), "the length does not matter"


def test_an_update_is_as_large_as_adamws():
    """Root mean square of a step: 0.2 lr for a matrix with singular values of 1, whatever its shape."""
    for shape in ((64, 64), (128, 32), (16, 96)):
        p = torch.nn.Parameter(torch.zeros(shape))
        p.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        group = {"params": [p], "muon": True, "momentum": 0.95, "nesterov": False, "weight_decay": 0.0}
        MuonAdamW([group], lr=0.1).step()
        assert float(p.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.1, rel=0.2)


def continued(first: Learner, folder: Path, optim: OptimConfig) -> Learner:
    first.save_moments(folder)
    other = Learner(copy.deepcopy(first.model), optim)
    other.load_moments(folder, version=first.version, steps=first.steps)
    return other


def test_a_checkpoint_continues_to_the_bit(tmp_path):
    optim = OptimConfig(kind="muon", lr=1e-2, schedule="linear", decay_steps=9, weight_decay=0.1)
    group, advantages = plays(4)
    first = Learner(qwen3(), optim)
    first.update(group, advantages, NLL)
    first.update(group, advantages, NLL)
    second = continued(first, tmp_path, optim)
    stored = Learner(qwen3(), optim)
    stored.load_state_dict(first.state_dict())
    for learner in (first, second, stored):
        learner.update(group, advantages, NLL)
    one = weights(first.model)
    for other in (second, stored):
        assert all(torch.equal(w, one[name]) for name, w in weights(other.model).items())


def test_moments_of_the_other_optimizer_are_refused(tmp_path):
    first = Learner(qwen3(), OptimConfig(kind="muon"))
    first.update(*plays(2), NLL)
    with pytest.raises(CheckpointError, match="does not fit"):
        continued(first, tmp_path, OptimConfig())


def test_micro_batches_do_not_change_a_step():
    group, advantages = plays(4)
    found = []
    for tokens in (9, 4096):
        learner = Learner(qwen3(), OptimConfig(kind="muon", lr=1e-2, micro_tokens=tokens))
        learner.update(group, advantages, NLL)
        found.append(weights(learner.model))
    # Sums differ in their last bits, and bfloat16 rounds some of these to the other side.
    assert all(torch.allclose(found[0][name], w, atol=2e-4) for name, w in found[1].items())


def test_it_learns():
    group, _ = plays(4)
    learner = Learner(qwen3(), OptimConfig(kind="muon", lr=1e-2))
    losses = [learner.update(group, [[1.0]] * 4, NLL)["loss"] for _ in range(12)]
    assert losses[-1] < 0.2 * losses[0]


def test_a_critic_learns_by_it_too():
    group, _ = plays(4)
    algorithm = AlgorithmConfig(advantage="gae", masked=())
    critic = Critic(qwen3(), CriticConfig(lr=1e-3), OptimConfig(kind="muon"))
    assert isinstance(critic.optimizer, MuonAdamW)
    for trajectory in group:
        trajectory.outcome, trajectory.rewards = 1.0, [1.0]
    seen = []
    for _ in range(6):
        targets = targets_of(group, critic.values(group), algorithm, 1.0)
        seen.append(critic.update(group, targets, algorithm)["value_loss"])
    assert seen[-1] < seen[0]


# -- QK-Clip -------------------------------------------------------------------------------------


def largest(model: Any, group: list[Trajectory]) -> torch.Tensor:
    """Of each layer and head the largest logit over all pairs up to the last trained token, one by one."""
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    found: list[list[torch.Tensor]] = [[] for _ in plain.model.layers]
    for trajectory in group:
        segment = trajectory.segments[0]
        last = max(i for i, action in enumerate(segment.action) if action >= 0) - 1
        with torch.no_grad():
            logits = logits_of(plain, torch.tensor([segment.tokens[: last + 1]]))
        for i, value in enumerate(logits):
            found[i].append(value.amax((-1, -2)))
    return torch.stack([torch.stack(values).amax(0) for values in found])


def logits_of(model: Any, ids: torch.Tensor) -> list[torch.Tensor]:
    """q k / sqrt(d) of each layer [H, T, T], causal, by the model's own parts."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    found, hidden = [], model.model.embed_tokens(ids)
    positions = torch.arange(ids.shape[1])[None]
    rotary = model.model.rotary_emb(hidden, positions)
    for layer in model.model.layers:
        part, x = layer.self_attn, layer.input_layernorm(hidden)
        shape = (1, ids.shape[1], -1, part.head_dim)
        q, k = (p(x).view(shape).transpose(1, 2) for p in (part.q_proj, part.k_proj))
        q, k = apply_rotary_pos_emb(q, k, *rotary)
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        logits = (q @ k.transpose(2, 3))[0] * part.head_dim**-0.5
        future = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
        found.append(logits.masked_fill(future, -torch.inf))
        hidden = layer(hidden, position_embeddings=rotary, attention_mask=None)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    return found


def still(model: Any, **options: Any) -> Learner:
    """A learner whose steps change nothing themselves."""
    return Learner(model, OptimConfig(**{"lr": 1e-30, "qk_clip": TAU, **options}))


def test_the_golden_factors():
    query_H, key_K = factors(torch.tensor([100 / 150]), 1)
    assert float(query_H) == pytest.approx(0.816497, abs=1e-6) == float(key_K)


@given(st.integers(1, 3), st.integers(1, 4), st.data())
def test_each_head_shrinks_by_its_own_gamma(keys, shared, data):
    gamma = data.draw(st.lists(st.floats(0.01, 1), min_size=keys * shared, max_size=keys * shared))
    query_H, key_K = factors(torch.tensor(gamma), keys)
    assert (query_H * key_K.repeat_interleave(shared)).tolist() == pytest.approx(gamma, rel=1e-5)
    alone = [k for k in range(keys) if min(gamma[k * shared : (k + 1) * shared]) == 1]
    assert all(float(key_K[k]) == 1 for k in alone), "heads without need are left as they are"


@pytest.mark.parametrize("packing", ["padded", "tree", "auto"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_largest_logits_are_seen_and_scaled_back_exactly(packing, checkpointing):
    group, advantages = plays(4)
    model = llama()
    before = largest(model, group)
    learner = still(model, packing=packing, gradient_checkpointing=checkpointing)
    stats = learner.update(group, advantages, NLL)
    assert stats["qk_max"] == pytest.approx(float(before.max()), rel=1e-4)
    assert stats["qk_clipped"] == float((before > TAU).sum()) > 0
    assert (before[0] < TAU).any(), "some heads need nothing"
    # The first layer's inputs are what they were, so that its logits shrink by their gamma and no more.
    assert largest(model, group)[0].tolist() == pytest.approx(before[0].clamp(max=TAU).tolist(), rel=1e-3)
    for _ in range(8):  # later layers see other inputs
        stats = learner.update(group, advantages, NLL)
    assert stats["qk_max"] <= TAU * 1.01


def test_looking_changes_no_gradient():
    group, advantages = plays(4)
    found = []
    for options in ({}, {"qk_clip": 1e6}):
        learner = Learner(llama(), OptimConfig(lr=1e-2, **options))
        stats = learner.update(group, advantages, NLL)
        found.append(weights(learner.model))
    assert stats["qk_clipped"] == 0
    assert all(torch.equal(w, found[1][name]) for name, w in found[0].items())


def test_scoring_and_what_stands_after_the_last_trained_token_do_not_count():
    model = llama()
    group, advantages = plays(2)
    learner = still(model)
    learner.logprobs(group)
    assert learner.qk_clip is not None and learner.qk_clip.taken()["qk_max"] == 0.0
    longer = copy.deepcopy(group)
    for trajectory in longer:
        trajectory.segments[0].hear([1, 2, 3, 4, 5, 6])
    a = still(llama()).update(group, advantages, NLL)["qk_max"]
    b = still(llama(), packing="padded").update(longer, advantages, NLL)["qk_max"]
    assert a == pytest.approx(b, rel=1e-5)


def test_padding_and_what_a_tree_keeps_apart_do_not_count():
    clip = QKClip(llama(), 1.0)
    module = clip.modules[0]
    batch = packed([[1, 2], [1, 2, 3, 4]])
    query, key = torch.zeros(2, 4, 4, 8), torch.ones(2, 2, 4, 8)
    query[0, :, 2] = 99.0  # padding of the first row
    query[1, :, 3] = 1.0
    clip.look_at(batch)
    clip.see(module, query, key, None, 1.0)
    clip.clip()
    assert clip.taken()["qk_max"] == 8.0
    key[:, :, 1] = 99.0
    mask = torch.tensor([4, 2, 4, 4])[None, None, None]  # position 1 is no ancestor of 2 and 3
    clip.look_at(batch)
    clip.see(module, query[1:], key[1:], mask, 1.0)
    clip.clip()
    assert clip.taken()["qk_max"] == 8.0


def packed(rows: list[list[int]]) -> Batch:
    """A padded batch in which the last position of each row is trained."""
    width = max(map(len, rows))
    at_N = torch.tensor([i * width + len(row) - 1 for i, row in enumerate(rows)])
    tokens_BT = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    none_N = torch.zeros(len(rows))
    return Batch((0, 1), tokens_BT, at_N, at_N, none_N, none_N, (1, 1), sum(map(len, rows)))


def test_a_second_stage_looks_through_the_same_attention():
    model = llama()
    for packing in ("padded", "padded", "tree", "padded"):
        stats = still(model, packing=packing).update(*plays(2), NLL)
    assert stats["qk_max"] > 0
    twin = LlamaForCausalLM(model.config)  # of a config that names our attention
    assert twin(torch.tensor([[1, 2]])).logits.shape == (1, 2, 64)


def test_it_is_refused_where_it_does_nothing():
    with pytest.raises(ValueError, match="normalises queries and keys"):
        Learner(qwen3(), OptimConfig(qk_clip=100.0))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optim.kind=muon", "model.lora_rank=4", "model.path=some/model"], "optim.kind = .adamw."),
        (["optim.qk_clip=100"], "Qwen3"),
        (["optim.qk_clip=100", "model.path=some/model", "model.lora_rank=4"], "adapters leave frozen"),
        (["optim.momentum=0.9"], "set that"),
        (["optim.kind=muon", "optim.momentum=1.0"], "less than 1"),
        (["optim.kind=sgd"], "adamw"),
    ],
)
def test_what_does_not_go_together_is_refused_when_the_config_is_read(overrides, words):
    with pytest.raises(ConfigError, match=words):
        load(None, [WORLD, *overrides])


def test_a_config_of_muon_is_read():
    config = load(None, [WORLD, "optim.kind=muon", "optim.nesterov=true"])
    assert (config.optim.kind, config.optim.momentum, config.optim.nesterov) == ("muon", 0.95, True)
