"""Tries, cuts, attention on trees, and that a learner cannot tell a tree from rows."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from forge_train.config import LossConfig, OptimConfig
from forge_train.learn.advantages import rloo
from forge_train.learn.batch import samples, unique_tokens
from forge_train.learn.edge_attention import attend_edges, edges_of
from forge_train.learn.learner import Learner
from forge_train.learn.packing import microbatches
from forge_train.learn.tile_attention import attend_tiles, tiles_of
from forge_train.learn.tree import cut, grow, pad, trie_of
from forge_train.learn.tree_attention import attend, prepare
from forge_train.trajectory import Segment, Trajectory

VOCAB = 32
FEW = settings(max_examples=12)
MANY = settings(max_examples=60)
SEEDS = st.integers(0, 2**16)
# Three ids and short sequences: shared prefixes, duplicates and sequences within others are common.
SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=12)


def arrays(sequences):
    return [np.array(sequence, dtype=np.int64) for sequence in sequences]


def tree_of(sequences):
    """The whole trie as one tree, and the sequences in its order."""
    found = arrays(sequences)
    trie = trie_of(found)
    ranked = [found[i] for i in trie.order]
    return grow(ranked, trie.shared), ranked


def prefixes(sequences):
    return {tuple(s[:n]) for s in sequences for n in range(1, len(s) + 1)}


class TestTrie:
    @given(SEQUENCES)
    @MANY
    def test_has_one_node_per_distinct_prefix(self, sequences):
        trie = trie_of(arrays(sequences))
        assert trie.size == len(prefixes(sequences))
        assert [sequences[i] for i in trie.order] == sorted(sequences)

    @given(SEQUENCES)
    @MANY
    def test_every_path_spells_its_sequence_at_its_own_depths(self, sequences):
        tree, ranked = tree_of(sequences)
        for sequence, path in zip(ranked, tree.paths, strict=True):
            assert tree.tokens_T[path].tolist() == sequence.tolist()
            assert tree.depth_T[path].tolist() == list(range(len(sequence)))

    @given(SEQUENCES)
    @MANY
    def test_the_interval_rule_is_ancestry(self, sequences):
        """q sees k exactly when k lies on a path at or before q: the definition, path by path."""
        tree, _ = tree_of(sequences)
        t = len(tree.tokens_T)
        expected = torch.zeros(t, t, dtype=torch.bool)
        for path in tree.paths:
            for n, q in enumerate(path.tolist()):
                expected[q, path[: n + 1]] = True
        at = torch.arange(t)
        assert torch.equal((at <= at[:, None]) & (at[:, None] < tree.end_T), expected)

    def test_large_ids_sort_as_numbers(self):
        assert trie_of(arrays([[70_000], [256], [255], [2**31]])).order == (2, 1, 0, 3)

    def test_nothing(self):
        assert trie_of([]).size == 0 and cut(trie_of([]), 4) == []


class TestCut:
    @given(SEQUENCES, st.integers(1, 30))
    @MANY
    def test_runs_follow_each_other_and_fit(self, sequences, max_tokens):
        found = arrays(sequences)
        trie = trie_of(found)
        runs = cut(trie, max_tokens)
        assert [i for run in runs for i in range(len(found))[run]] == list(range(len(found)))
        for run in runs:
            rows = [sequences[i] for i in trie.order[run]]
            size = len(grow([found[i] for i in trie.order[run]], trie.shared[run]).tokens_T)
            assert size == len(prefixes(rows))
            assert size <= max_tokens or len(rows) == 1

    @given(SEQUENCES, st.integers(1, 30))
    @MANY
    def test_no_other_cut_repeats_fewer_positions_or_makes_fewer_runs_of_as_many(self, sequences, max_tokens):
        sequences = sequences[:7]
        trie = trie_of(arrays(sequences))
        ranked = [sequences[i] for i in trie.order]
        best = min(
            (sum(map(len, map(prefixes, runs))), len(runs))
            for runs in partitions(ranked)
            if all(len(run) == 1 or len(prefixes(run)) <= max_tokens for run in runs)
        )
        runs = [ranked[run] for run in cut(trie, max_tokens)]
        assert (sum(map(len, map(prefixes, runs))), len(runs)) == best

    def test_a_group_is_cut_off_before_it_is_cut_up(self):
        """Two openings of 4 with two ends of 3 each, and room for one group and a half."""
        found = arrays([[1] * 4 + [5] * 3, [1] * 4 + [6] * 3, [2] * 4 + [5] * 3, [2] * 4 + [6] * 3])
        assert cut(trie_of(found), 17) == [slice(0, 2), slice(2, 4)]

    def test_room_for_one_token_at_least(self):
        with pytest.raises(ValueError, match="max_tokens=0"):
            cut(trie_of([]), 0)


def partitions(items):
    if not items:
        return [[]]
    return [[items[:n], *rest] for n in range(1, len(items) + 1) for rest in partitions(items[n:])]


class TestAttention:
    @given(SEQUENCES, st.sampled_from(["edges", "tiles"]), st.sampled_from([1, 3, 128]), SEEDS)
    @MANY
    def test_equals_the_dense_mask_and_so_do_its_gradients(self, sequences, kind, size, seed):
        """Also where some queries have no gradient, and behind padding."""
        tree, _ = tree_of(sequences)
        tree = pad(tree, len(tree.tokens_T) + seed % 3)
        t = len(tree.tokens_T)
        at = torch.arange(t)
        mask = (at <= at[:, None]) & (at[:, None] < tree.end_T)
        torch.manual_seed(seed)
        q, k, v = torch.randn(1, 4, t, 8), torch.randn(1, 2, t, 8), torch.randn(1, 2, t, 8)
        weight = torch.randn(1, t, 4, 8) * (torch.rand(1, t, 1, 1) < 0.25 * (seed % 5))
        plan = edges_of(tree.end_T, size - 1, size) if kind == "edges" else tiles_of(tree.end_T, size)
        attend = attend_edges if kind == "edges" else attend_tiles
        found, expected = [], []
        for into, attention in (
            (found, lambda q, k, v: attend(q, k, v, 0.3, plan)),
            (expected, lambda q, k, v: dense(q, k, v, mask, 0.3)),
        ):
            inputs = [x.clone().requires_grad_() for x in (q, k, v)]
            out = attention(*inputs)
            into += [out, *torch.autograd.grad((out * weight).sum(), inputs)]
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, atol=2e-5)

    @given(SEQUENCES, st.integers(0, 6), st.integers(1, 6))
    @MANY
    def test_squares_and_rectangles_are_what_is_seen_each_pair_once(self, sequences, small, longest):
        tree, _ = tree_of(sequences)
        t = len(tree.tokens_T)
        at = torch.arange(t)
        seen = ((at <= at[:, None]) & (at[:, None] < tree.end_T)).int()
        found = torch.zeros(t, t, dtype=torch.int32)
        for q0, q1, k0, k1, square in edges_of(tree.end_T, small, longest).parts():
            if square is None:
                found[q0:q1, k0:k1] += 1
            elif square.mask is None:
                found[q0:q1, k0:k1] += torch.ones(q1 - q0, k1 - k0, dtype=torch.int32).tril()
            else:
                found[q0:q1, k0:k1] += (square.mask[0, 0] == 0).int()
        assert torch.equal(found, seen)

    def test_work_grows_with_the_sequences_not_with_the_square_of_the_tree(self):
        """64 branches of 100 behind an opening of 20: nobody reads more than a path and its own square."""
        tree, _ = tree_of([[0] * 20 + [i] * 100 for i in range(1, 65)])
        tiles = tiles_of(tree.end_T, 50)
        assert sum(tiles.widths) == len(tree.tokens_T) == 6420
        assert max(tiles.spans) <= 120 + 50
        parts = edges_of(tree.end_T).parts()
        assert sum((q1 - q0) * (k1 - k0) for q0, q1, k0, k1, _ in parts) <= 6420 * 120

    def test_under_autocast_all_are_of_one_precision(self):
        """Norms and rotary embeddings leave queries and keys in float32 beside values in bfloat16."""
        tree, _ = tree_of([[1, 2, 3], [1, 2, 4, 5]])
        t, kept = len(tree.tokens_T), []
        plan = edges_of(tree.end_T, 0)
        q, k, v = torch.randn(1, 4, t, 8), torch.randn(1, 2, t, 8), torch.randn(1, 2, t, 8).bfloat16()
        q.requires_grad_()
        with (
            torch.autocast("cpu", torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.dtype) or x, lambda x: x),
        ):
            out, _ = attend(torch.nn.Identity(), q, k, v, None, tree=plan)
        assert out.dtype == torch.bfloat16
        assert kept[:3] == [torch.bfloat16] * 3  # query, key, value
        out.float().sum().backward()
        assert q.grad.dtype == torch.float32


def dense(q, k, v, mask, scale):
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = (q @ k.transpose(2, 3) * scale).masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2)


SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}


def model(kind=Qwen3ForCausalLM, config=Qwen3Config, **extra):
    torch.manual_seed(0)
    return kind(config(**SIZES | extra))


def group(seed: int, size: int = 5) -> list[Trajectory]:
    """Episodes of one task: an opening they share, turns that agree until they fork, at times a rewritten
    history as a second segment, and now and then two episodes that are the same to the end."""
    rng = random.Random(seed)
    words = lambda low, high: [rng.randrange(VOCAB) for _ in range(rng.randint(low, high))]  # noqa: E731
    opening, answers = words(3, 20), [words(1, 4) for _ in range(4)]
    members = []
    for i in range(size):
        trajectory, action = Trajectory("g"), 0
        for _ in range(rng.randint(1, 2)):
            segment = Segment()
            segment.hear(opening)
            for turn in range(rng.randint(1, 4)):
                said = [turn] * 3 if rng.random() < 0.7 else words(1, 6)
                segment.act(said, [rng.uniform(-4, -2) for _ in said], action)
                segment.hear(answers[turn] if rng.random() < 0.8 else words(1, 5))
                action += 1
            trajectory.segments.append(segment)
        trajectory.rewards = [0.0] * (action - 1) + [float(i % 2)]
        members.append(trajectory)
    return members


def learner(packing: str, micro_tokens: int = 4096, **extra) -> Learner:
    optim = OptimConfig(packing=packing, micro_tokens=micro_tokens, grad_clip=1e9)
    return Learner(model(**extra), optim)


def gradient(learner: Learner, members, advantages) -> torch.Tensor:
    caught: list[torch.Tensor] = []
    parameters = list(learner.model.parameters())
    learner.optimizer.register_step_pre_hook(
        lambda *_: caught.append(torch.cat([p.grad.flatten() for p in parameters]))
    )
    learner.update(members, advantages, LossConfig())
    return caught[0]


def flat(rows) -> list[float]:
    return [value for trajectory in rows for segment in trajectory for value in segment]


class TestLearner:
    @given(SEEDS, st.sampled_from([1, 24, 50, 4096]), st.sampled_from([0.7, 1.0]))
    @FEW
    def test_logprobs_equal_those_of_rows(self, seed, micro_tokens, temperature):
        members = group(seed)
        rows = learner("padded").logprobs(members, temperature=temperature)
        tree = learner("tree", micro_tokens).logprobs(members, temperature=temperature)
        assert flat(tree) == pytest.approx(flat(rows), abs=1e-5)

    @given(SEEDS, st.sampled_from([1, 24, 50, 4096]))
    @FEW
    def test_gradients_equal_those_of_rows(self, seed, micro_tokens):
        members = group(seed) + group(seed + 1)
        advantages = rloo(members)
        rows = gradient(learner("padded"), members, advantages)
        tree = gradient(learner("tree", micro_tokens), members, advantages)
        assert rows.norm() > 0
        assert (tree - rows).norm() <= 1e-5 * rows.norm()

    @given(SEEDS, st.randoms(use_true_random=False))
    @FEW
    def test_order_of_trajectories_does_not_matter(self, seed, rng):
        members = group(seed)
        advantages, order = rloo(members), rng.sample(range(5), 5)
        moved = gradient(learner("tree"), [members[i] for i in order], [advantages[i] for i in order])
        kept = gradient(learner("tree"), members, advantages)
        assert (moved - kept).norm() <= 1e-5 * kept.norm()

    def test_tokens_that_several_members_wrote_are_scored_once_and_all_count(self):
        members = group(3, size=1) * 4
        seen = []
        packed = learner("tree")
        packed.model.lm_head.register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0])))
        tree = gradient(packed, members, [[1.0] * len(m.rewards) for m in members])
        assert 4 * sum(seen) <= sum(m.sampled for m in members)
        rows = gradient(learner("padded"), members, [[1.0] * len(m.rewards) for m in members])
        assert (tree - rows).norm() <= 1e-5 * rows.norm()

    @pytest.mark.parametrize(
        ("kind", "config"), [(LlamaForCausalLM, LlamaConfig), (GPT2LMHeadModel, GPT2Config)]
    )
    def test_other_models_with_plain_attention(self, kind, config):
        members, how = group(5), {"kind": kind, "config": config}
        rows = learner("padded", **how).logprobs(members)
        assert flat(learner("tree", **how).logprobs(members)) == pytest.approx(flat(rows), abs=1e-5)

    def test_recomputing_blocks_in_the_backward_keeps_their_tree(self):
        members = group(7)
        packed = learner("tree")
        packed.model.gradient_checkpointing_enable({"use_reentrant": False})
        packed.model.train()  # without dropout, only switches recomputing on
        found = gradient(packed, members, rloo(members))
        expected = gradient(learner("tree"), members, rloo(members))
        assert (found - expected).norm() <= 1e-5 * expected.norm()

    def test_counters(self):
        members = group(11)
        advantages = rloo(members)
        live = [s for s in samples(members, advantages) if not s.silent]
        unique = len(prefixes([tuple(s.tokens[:-1].tolist()) for s in live]))
        assert unique_tokens(live) == unique < sum(s.forwarded for s in live)
        whole = learner("tree").update(members, advantages, LossConfig())
        assert whole["tokens_unique"] == whole["tokens_forwarded"] == unique
        assert whole["amplification"] == 1 and whole["padding"] == 0
        cut_up = learner("tree", 30).update(members, advantages, LossConfig())
        positions = sum(b.positions for b in microbatches(live, 30, "tree"))
        assert cut_up["tokens_forwarded"] == positions > unique
        assert cut_up["amplification"] == pytest.approx(positions / unique)
        rows = learner("padded").update(members, advantages, LossConfig())
        assert rows["tokens_unique"] == unique
        assert rows["amplification"] == pytest.approx(
            rows["tokens_forwarded"] / (1 - rows["padding"]) / unique
        )


class TestPrepare:
    def test_whole_sequences_are_computed_as_before(self):
        plain, prepared = model(), model()
        prepare(prepared)
        ids = torch.randint(VOCAB, (2, 9))
        mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
        for how in ({}, {"attention_mask": mask}):
            assert torch.equal(
                plain(input_ids=ids, **how).logits[mask.bool()],
                prepared(input_ids=ids, **how).logits[mask.bool()],
            )

    def test_a_vocabulary_of_eight_is_enough(self):
        prepare(model(vocab_size=8))

    def test_is_not_written_into_the_model_folder(self, tmp_path):
        prepared = model()
        prepare(prepared)
        prepared.save_pretrained(tmp_path)
        assert "forge_tree" not in (tmp_path / "config.json").read_text()

    @pytest.mark.parametrize(
        ("made", "message"),
        [
            (lambda: model(MistralForCausalLM, MistralConfig, sliding_window=4), "sliding_window = 4"),
            (
                lambda: model(
                    use_sliding_window=True,
                    sliding_window=4,
                    layer_types=["full_attention", "sliding_attention"],
                ),
                "layers of sliding_attention",
            ),
            (
                lambda: BloomForCausalLM(BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=1, n_head=2)),
                "BloomForCausalLM cannot run trees",
            ),
        ],
    )
    def test_what_would_be_wrong_on_a_tree_is_refused(self, made, message):
        refused = made()
        before = refused.config._attn_implementation
        with pytest.raises(ValueError, match=rf'{message}.*optim\.packing = "padded"'):
            Learner(refused, OptimConfig(packing="tree"))
        assert refused.config._attn_implementation == before
        assert Learner(refused, OptimConfig(packing="padded")).version == 0

    def test_attention_that_ignores_the_mask_it_is_given_is_refused(self):
        """Its attention takes no argument it does not know, so a tree never reaches the scores."""
        refused = model()
        for layer in refused.model.layers:
            forward = layer.self_attn.forward
            layer.self_attn.forward = lambda *args, forward=forward, tree=None, **kwargs: forward(
                *args, **{**kwargs, "attention_mask": None}
            )
        with pytest.raises(ValueError, match=r'something else on trees.*optim\.packing = "padded"'):
            Learner(refused, OptimConfig(packing="tree"))
