"""What stages leave behind and what later commands take from a run: transcripts, counts, arguments, texts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from forge_train import policy, sft
from forge_train.config import load
from forge_train.evaluation.folder import world_of
from forge_train.play import run_tasks
from forge_train.play.run_tasks import held_out
from forge_train.play.world_pool import World
from forge_train.record.run_folder import read_lines
from forge_train.record.task_digest import digest_of
from forge_train.run import train
from forge_train.show.results import show_run
from tests.train.test_distill import rounds_of

RETAIL = "forge_envs:Forge/Retail-v0"


def test_an_evaluation_keeps_what_was_said_and_tells_of_temperature_0(tmp_path: Path) -> None:
    train(rounds_of(tmp_path, "run.steps=1", "sft.epochs=0", "eval.greedy=true", "eval.repeats=2"))
    assert sorted(p.name for p in (tmp_path / "evaluations").iterdir()) == [
        "step-000000-untrained-Test-Short-v0.jsonl.gz",
        "step-000001-after-RL-Test-Short-v0.jsonl.gz",
    ]
    [before, after] = [e for e in read_lines(tmp_path / "events.jsonl") if e["event"] == "evaluation"]
    plays = read_lines(tmp_path / "evaluations" / "step-000001-after-RL-Test-Short-v0.jsonl.gz")
    assert [p["task"] for p in plays] == sorted(t["task"] for t in after["tasks"] for _ in range(2))
    assert sum(p["outcome"] for p in plays) / len(plays) == after["pass@1"]
    assert all(m["role"] == "assistant" for p in plays for m in p["messages"][1:2])
    assert set(before["greedy"]) == {"pass@1", "low", "high"}
    out = io.StringIO()
    show_run(tmp_path, Console(width=160, file=out))
    assert "at T = 0" in out.getvalue() and f"{after['greedy']['pass@1']:.1%}" in out.getvalue()
    [line] = read_lines(tmp_path / "metrics.jsonl")
    assert line["sampled_so_far"] == line["sampled_tokens"]


def test_tokens_so_far_go_on_with_the_run(tmp_path: Path) -> None:
    for steps in (1, 3):
        train(rounds_of(tmp_path, f"run.steps={steps}", "sft.epochs=0", "eval.transcripts=false"))
    lines = read_lines(tmp_path / "metrics.jsonl")
    total = 0
    for line in lines:
        total += line["sampled_tokens"]
        assert line["sampled_so_far"] == total
    assert len(lines) == 3 and not (tmp_path / "evaluations").exists()


def test_who_plays_a_run_again_gets_its_world_and_its_arguments() -> None:
    told = [
        f"worlds.0.id={RETAIL}",
        'worlds.0.args={size = "tiny", level = 1, max_turns = 8}',
        "worlds.0.eval_args={max_turns = 12}",
        "worlds.0.name=shop",
    ]
    run = load(None, told)
    assert world_of(run, "runs/x", None, {}).args == {"size": "tiny", "level": 1, "max_turns": 8}
    assert world_of(run, "runs/x", "shop", {"level": 2}, judged=True).args == {
        "size": "tiny",
        "level": 2,
        "max_turns": 12,
    }
    other = world_of(run, "runs/x", "tests.train.worlds:Test/Echo-v0", {"turns": 2})
    assert other.args == {"turns": 2}, "another world takes nothing of the run's"
    with pytest.raises(ValueError, match=r"gold belongs to no run: name its world with --world"):
        world_of(None, "gold", None, {})


def test_the_tokenizer_of_a_tiny_model_hears_no_gold_but_what_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    real = sft.gold_episodes
    monkeypatch.setattr(sft, "gold_episodes", lambda world, tasks: asked.extend(tasks) or real(world, tasks))
    config = load(None, [f"worlds.0.id={RETAIL}", 'worlds.0.args={size = "tiny"}', "sft.episodes=5"])
    world = World(RETAIL, {"size": "tiny"})
    texts = policy.heard(config, {world.name: world})
    assert asked == world.tasks("train", 5) and len(texts) == policy.TOKENIZER_TEXTS
    assert all(m["role"] != "assistant" for messages in texts[5:] for m in messages), "openings alone"
    none = load(None, [f"worlds.0.id={RETAIL}", 'worlds.0.args={size = "tiny"}'])
    asked.clear()
    policy.heard(none, {world.name: world})
    assert asked == []


def test_held_out_tasks_can_be_told_to_be_none_of_the_trained_ones_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(RETAIL, {"size": "tiny", "level": 1})
    told = [f"worlds.0.id={RETAIL}", 'worlds.0.args={size = "tiny", level = 1}', "worlds.0.tasks=300"]
    config = load(None, [*told, "eval.tasks=20", "eval.distinct=true"])
    found = held_out(config, {world.name: world}, {world.name: world})[world.name]
    plain = held_out(load(None, [*told, "eval.tasks=20"]), {world.name: world}, {world.name: world})[
        world.name
    ]
    trained = {digest_of(world.content(t)) for t in world.tasks("train", 300)}
    assert len(found) == 20 and not {digest_of(world.content(t)) for t in found} & trained
    assert plain == world.tasks("test", 20) and {digest_of(world.content(t)) for t in plain} & trained
    monkeypatch.setattr(run_tasks, "MOST_SEEN", 1)
    with pytest.raises(ValueError, match=r"only \d+ differ from all trained ones; set eval.tasks = \d+"):
        held_out(load(None, [*told, "eval.tasks=30", "eval.distinct=true"]), *[{world.name: world}] * 2)
