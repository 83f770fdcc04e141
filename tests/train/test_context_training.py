"""Training where the past is rewritten: the gradient of all segments, engines that see it, whole runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from forge_train.config import (
    AlgorithmConfig,
    Config,
    ContextConfig,
    LossConfig,
    OptimConfig,
    SFTConfig,
    load,
)
from forge_train.engine import Sampling
from forge_train.engines.local import LocalEngine
from forge_train.evaluation.collect import collect_from
from forge_train.evaluation.folder import evaluate_model
from forge_train.learn.advantages import grpo
from forge_train.learn.learner import Learner
from forge_train.play.context import kept_context
from forge_train.play.episode import TokenPlayer
from forge_train.play.world_pool import World
from forge_train.policy import make_policy, make_renderer
from forge_train.record import checkpoint
from forge_train.record.run_folder import read_lines
from forge_train.replay import replay
from forge_train.run import train
from forge_train.sft import read_episodes
from forge_train.trajectory import WORLD, Trajectory
from tests.train.models import qwen3_of
from tests.train.reader import CALL, PAGES, RENDERER, SHORT, Reader, player, read
from tests.train.test_context import KINDS
from tests.train.tokens import tokenizer

TOKENIZER = tokenizer()


def wrong(words: Callable[[str], str], shown: str) -> str:
    """What a reader says, but for a wrong answer."""
    answers = "What is" in shown and "Note all" not in shown
    return f"{words(shown)[:-2]}no" if answers else words(shown)


def group(count: int = 4, room: int = 520, pages: int = 4, **context: Any) -> list[Trajectory]:
    """Members of a group, of which some answer wrong."""
    members = []
    for i in range(count):
        someone = player(room, **context)
        if i % 2:
            words = someone.engine.words  # type: ignore[attr-defined]
            someone.engine.words = partial(wrong, words)  # type: ignore[attr-defined]
        members.append(asyncio.run(read(someone, pages=pages, seed=i)))
    return members


def updated(members: list[Trajectory], **loss: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of one update, and the weights after it."""
    learner = Learner(qwen3_of(TOKENIZER), OptimConfig(grad_clip=1e9, micro_tokens=700))
    caught: list[torch.Tensor] = []
    flat = lambda: torch.cat([p.grad.flatten() for p in learner.model.parameters()])  # noqa: E731
    learner.optimizer.register_step_pre_hook(lambda *_: caught.append(flat()))
    learner.update(members, grpo(members, AlgorithmConfig()), LossConfig(**loss))
    return caught[0], torch.cat([p.detach().flatten() for p in learner.model.parameters()])


@pytest.mark.parametrize("kind", ["resum", "recent"])
def test_with_one_segment_resum_grpo_is_grpo_to_the_bit(kind: str) -> None:
    one, other = updated(group(room=2000)), updated(group(room=2000, **KINDS[kind]))
    assert one[0].norm() > 0 and torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.parametrize(("denominator", "kind"), [("token", "resum"), ("trajectory", "iterresearch")])
def test_over_segments_it_is_the_broadcast_sum_of_independent_sequences(denominator: str, kind: str) -> None:
    # J = sum_g w_g sum_i sum_t min(r A_g, clip(r) A_g), on policy: the gradient of A_g log pi over every
    # token that was sampled, of each segment by itself. ReSum, arXiv 2509.13313.
    members = group(2, room=520, pages=6, max_action=100 if kind == "iterresearch" else 24, **KINDS[kind])
    assert min(len(t.segments) for t in members) > 1 and len({t.outcome for t in members}) == 2
    found, _ = updated(members, objective="nll", denominator=denominator)
    model = qwen3_of(TOKENIZER)
    returns = [t.episode_return for t in members]
    mean = sum(returns) / len(returns)
    std = (sum((r - mean) ** 2 for r in returns) / (len(returns) - 1)) ** 0.5
    total = torch.zeros(())
    for t, earned in zip(members, returns, strict=True):
        share = len(members) * t.sampled if denominator == "trajectory" else sum(m.sampled for m in members)
        for segment in t.segments:
            ids = torch.tensor([segment.tokens])
            logprobs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            own = torch.tensor([a != WORLD for a in segment.action[1:]])
            said = logprobs.gather(1, ids[0, 1:, None])[:, 0][own]
            total = total - (earned - mean) / (std + 1e-6) * said.sum() / share
    total.backward()  # type: ignore[no-untyped-call]
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert (found - expected).norm() <= 1e-4 * expected.norm() and expected.norm() > 0


@pytest.mark.parametrize("kind", ["resum", "iterresearch", "recent"])
def test_an_engine_that_remembers_samples_what_the_rewritten_past_says(kind: str) -> None:
    model = qwen3_of(TOKENIZER, ends=0.9).eval()
    engine = LocalEngine(model, max_context=420)
    given = KINDS[kind] | ({"keep": 0, "trigger": 0.3} if kind == "recent" else {})
    given |= {"summary_tokens": 30} if kind == "resum" else {}
    someone = TokenPlayer(engine, RENDERER, Sampling(max_tokens=60), ContextConfig(**given))
    segments = []
    for seed in range(2):
        t = asyncio.run(read(someone, pages=5, noise=4, seed=seed))
        segments += t.segments[1:]
        for segment in t.segments:
            ids = torch.tensor([segment.tokens])
            with torch.no_grad():
                rows = model(input_ids=ids).logits[0].log_softmax(-1)
            for at, action in enumerate(segment.action):
                if action != WORLD:
                    assert abs(rows[at - 1, segment.tokens[at]].item() - segment.logprobs[at]) < 1e-4
    assert sum(any(a != WORLD for a in s.action) for s in segments) > 1, "something was rewritten"


# --- whole runs ------------------------------------------------------------------------------------


def small(folder: Path, *more: str) -> Config:
    keys = [
        f"context.{key}={json.dumps(value)}"
        for key, value in (SHORT | {"kind": "resum", "last_call": CALL}).items()
    ]
    return load(None, [
        f"worlds.0.id={PAGES}", "worlds.0.args={pages=4, noise=6, talk=true}", "worlds.0.tasks=64",
        f"run.out={folder}", "run.keep_checkpoints=9", "run.keep_optimizer=9",
        f"sft.path={folder}.jsonl", "run.steps=2", "run.threads=1", "run.checkpoint_every=1",
        "model.tiny.hidden=32", "model.tiny.layers=1", "model.tiny.vocab=420", "rollout.max_context=150",
        "rollout.max_action=16", "rollout.groups=2", "rollout.group_size=4", "sft.episodes=32", "sft.lr=1e-2",
        "sft.epochs=4", "sft.batch=8", "eval.tasks=2", "eval.repeats=1", "eval.k=[1]",
        "context.summary_tokens=40", "context.trigger=0.6", *keys, *more,
    ])  # fmt: skip


def write_lessons(config: Config) -> int:
    """Episodes of the reader in the run's own tokens, and how many summaries are in them."""
    worlds = {w.label: World(w.id, w.args, w.label) for w in config.worlds}
    # Gold of the world, while there are no lessons to learn a vocabulary from.
    alone = config.model_copy(update={"sft": SFTConfig(episodes=512)})
    model, made = make_policy(alone, worlds, None)
    renderer = make_renderer(config, model, made, worlds, began=0.0)
    engine = Reader(renderer, config.rollout.max_context)
    someone = TokenPlayer(engine, renderer, Sampling(max_tokens=16), config.context)  # type: ignore[arg-type]
    args = dict(config.worlds[0].args)
    plays = [asyncio.run(read(someone, f"train/{i}", **args)) for i in range(config.sft.episodes)]
    assert all(t.ending == "terminated" and t.outcome == 1.0 for t in plays)
    lines = [json.dumps({"messages": t.info["conversation"]}) + "\n" for t in plays]
    Path(config.sft.path).write_text("".join(lines))
    return sum(t.info["context"]["summaries"] for t in plays)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small(tmp_path_factory.mktemp("context") / "run")
    assert write_lessons(config) >= 2 * config.sft.episodes
    train(config)
    return config.run.folder


def test_a_run_trains_its_summaries_and_is_replayed_to_the_bit(run: Path) -> None:
    lines = read_lines(run / "metrics.jsonl")
    assert len(lines) == 2 and all(line["summaries"] > 1 for line in lines)
    assert all(line["segments"] == line["summaries"] + 1 for line in lines if not line["last_calls"])
    assert all(line["history_tokens"] > 150 or line["tokens_saved"] > 0 for line in lines)
    for step in (0, 1):
        found = replay(run, step)
        assert found.replayed == found.recorded
    page = (run / "report.html").read_text()
    assert "agent, a summary" in page and "tokens of history" in page


def test_whoever_plays_its_checkpoint_sees_what_it_saw(run: Path, tmp_path: Path) -> None:
    newest = run / "checkpoints" / "step-000002"
    _, made = checkpoint.load_model(newest)
    assert kept_context(made) == small(run).context
    judged = evaluate_model(newest, world=None, world_args={}, split="test", tasks=2, repeats=1, seed=0,
                            temperature=1.0, device="cpu")  # fmt: skip
    assert asyncio.run(judged).tasks
    world = World(PAGES, {"pages": 4, "noise": 6, "talk": True})
    counts = asyncio.run(
        collect_from(str(newest), world, "train", 3, tmp_path / "data", sampling=Sampling(max_tokens=16),
                     max_context=150, device="cpu", filters=("validity",))
    )  # fmt: skip
    kept = read_episodes(tmp_path / "data" / "episodes.jsonl") if counts else []
    assert any(message.get("summary") for messages in kept for message in messages)
