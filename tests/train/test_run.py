"""Whole runs on a world of one table: they learn, they resume to the same numbers, they refuse bad input."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from forge_train import cli
from forge_train.config import Config, load
from forge_train.record.journal import Journal
from forge_train.record.run_folder import RunFolder, read_lines, standing
from forge_train.run import Run, train
from tests.train.children import Child, places

ROOT = Path(__file__).resolve().parents[2]

SMALL = [
    "run.steps=3",
    "run.threads=1",
    "run.checkpoint_every=2",
    "model.tiny.hidden=32",
    "model.tiny.layers=1",
    "model.tiny.vocab=512",
    "sft.episodes=24",
    "sft.epochs=1",
    "rollout.groups=2",
    "rollout.group_size=3",
    "rollout.max_action=12",
    "eval.tasks=3",
    "eval.repeats=1",
    "eval.k=[1]",
]


def small(folder: Path, *more: str) -> Config:
    return load(cli.GRPO, [*SMALL, f'run.out="{folder}"', *more])


def steps(folder: Path) -> list[dict[str, Any]]:
    """Metrics without the clock."""
    lines = read_lines(folder / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.endswith("seconds")} for line in lines]


def verdicts(folder: Path) -> list[Any]:
    events = standing(read_lines(folder / "events.jsonl"))
    return [(e["stage"], e["pass@1"], e["endings"]) for e in events if e["event"] == "evaluation"]


def test_a_run_goes_through_all_stages_and_leaves_a_report(tmp_path: Path) -> None:
    report = train(small(tmp_path / "run"))
    assert report.read_text().startswith("<!doctype html>") or "<html" in report.read_text()[:500]
    assert [line["step"] for line in steps(tmp_path / "run")] == [0, 1, 2]
    assert [stage for stage, *_ in verdicts(tmp_path / "run")] == ["untrained", "after SFT", "after RL"]
    for line in steps(tmp_path / "run"):
        assert line["episodes"] == 6 == sum(line["endings"].values())
        behind = steps(tmp_path / "run")[: line["step"]]
        assert line["version"] == sum("idle" not in before for before in behind), (
            "updates that changed something"
        )
        assert line.get("logprob_gap_max", 0.0) < 1e-4, "engine and learner disagree"


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(small(tmp_path / name, f"run.seed={seed}", "sft.episodes=0"))
    assert steps(tmp_path / "a") == steps(tmp_path / "b") != steps(tmp_path / "c")
    assert verdicts(tmp_path / "a") == verdicts(tmp_path / "b")


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_to_the_same_numbers(tmp_path: Path) -> None:
    train(small(tmp_path / "whole", "run.steps=5", "run.checkpoint_every=2"))
    overrides = [*SMALL, "run.steps=5", "run.checkpoint_every=2", f"run.out={tmp_path / 'killed'}"]
    metrics, events = (tmp_path / "killed" / name for name in ("metrics.jsonl", "events.jsonl"))

    def start(name: str) -> Child:
        return Child(cli.main, ["train", str(cli.GRPO), *overrides], out=tmp_path / name)

    def reached(stage: int) -> bool:
        """0: in supervised training; 1, 2: after so many steps beyond a checkpoint."""
        if stage == 0:
            return events.exists() and '"sft"' in events.read_text()
        return metrics.exists() and len(metrics.read_text().splitlines()) >= 2 * stage - 1

    for stage in range(3):
        child = start(f"said in {stage}")
        child.until(partial(reached, stage))
        child.kill()
    last = start("said at last")
    assert last.wait(900) == 0, last.said()
    assert steps(tmp_path / "killed") == steps(tmp_path / "whole")
    assert verdicts(tmp_path / "killed")[-2:] == verdicts(tmp_path / "whole")[-2:]


ODD = [
    "run.threads=1",
    "model.tiny.hidden=32",
    "model.tiny.layers=1",
    "model.tiny.vocab=512",
    "sft.episodes=160",
    "sft.epochs=1",
    "sft.lr=1e-2",
    "sft.warmup=0",
    "rollout.groups=2",
    "rollout.group_size=4",
    "rollout.max_action=16",
    "worlds.0.id=tests.train.test_ppo:Test/Odd-v0",
    "worlds.0.args={}",
    "eval.tasks=2",
    "eval.repeats=1",
    "eval.k=[1]",
]
"""A run in whose world a newborn policy earns something, and not always."""


def test_two_processes_train_and_resume_and_one_takes_over(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["train", str(cli.GRPO), *ODD, f"run.out={folder}"]
    for count in (1, 2):
        if count == 1:
            done = subprocess.run(
                [*torchrun, "-m", "forge_train.cli", *arguments, "run.steps=1"],
                cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        else:  # what torchrun does, without importing torch three times more
            ranks = [
                Child(cli.main, [*arguments, "run.steps=2"], out=tmp_path / f"said by {rank}", env=place)
                for rank, place in enumerate(places(2))
            ]
            assert [rank.wait(900) for rank in ranks] == [0, 0], ranks[0].said()
        assert len(list(folder.glob(f"checkpoints/step-{count:06d}/moments/*.safetensors"))) == 2
    train(load(cli.GRPO, [*ODD, f'run.out="{folder}"', "run.steps=3"]))
    assert [line["step"] for line in steps(folder)] == [0, 1, 2]
    assert all(line["grad_norm"] > 0 and line["optimizer_steps"] == 1 for line in steps(folder))
    stages = [stage for stage, *_ in verdicts(folder)]
    assert stages == ["untrained", "after SFT", "after RL", "after RL", "after RL"]


def test_killed_while_late_it_trains_every_group_once_and_plays_none_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    late = ["rollout.max_lag=1", "run.steps=24", "run.checkpoint_every=2", f"run.out={folder}"]
    command = ["train", str(cli.GRPO), *ODD, *late]
    child = Child(cli.main, command, out=tmp_path / "said at first")
    child.until(lambda: (folder / "metrics.jsonl").exists() and len(steps(folder)) >= 3)
    child.kill()
    before = steps(folder)
    assert len(before) < 24, "it ended before it could be killed"
    again = Child(cli.main, command, out=tmp_path / "said again")
    assert again.wait(900) == 0, again.said()

    assert [line["step"] for line in steps(folder)] == list(range(24))
    assert steps(folder)[: len(before)] == before, "an update is repeated with what it took"
    assert max(line["lag"]["group_max"] for line in steps(folder)) == 1
    events = read_lines(folder / "events.jsonl")
    taken = [e["groups"] for e in events if e["event"] == "consume"]
    assert sorted(i for groups in taken for i in groups) == list(range(48))
    played = [e["group"] for e in events if e["event"] == "finish"]
    assert sorted(played) == list(range(48)), "what was finished is not played again"


def test_a_run_with_lag_is_late_by_no_more_and_tells_so(tmp_path: Path) -> None:
    train(small(tmp_path / "run", "rollout.max_lag=2", "run.steps=4", "sft.episodes=0"))
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["lag"]["group_max"] for line in lines] == [0, 1, 2, 2]
    for line in lines:
        assert line["seconds"].keys() & {"wait", "generate", "world"} == {"wait"}
        assert line["generate_seconds"] > 0, "while groups played beside the learner"
    events = read_lines(tmp_path / "run" / "events.jsonl")
    consumed = [e["groups"] for e in events if e["event"] == "consume"]
    assert consumed == [[0, 1], [2, 3], [4, 5], [6, 7]]
    started = [e["group"] for e in events if e["event"] == "dispatch"]
    assert started == list(range(8)), "nothing starts that no update would take"
    kept = sorted(int(p.name.split(".")[0]) for p in (tmp_path / "run" / "finished").iterdir())
    assert kept == [4, 5, 6, 7], "only what the older checkpoint would need to go on from"


class Patient(Run):
    """Saves only once the loop has had a turn."""

    async def all(self) -> Path:
        self.loop = asyncio.get_running_loop()
        return await super().all()

    def save(self, *args: Any, **kwargs: Any) -> float:
        turn = threading.Event()
        self.loop.call_soon_threadsafe(turn.set)
        assert turn.wait(30), "nothing else went on while it saved"
        return super().save(*args, **kwargs)


def test_a_slow_checkpoint_holds_up_nobody_and_is_counted(tmp_path: Path) -> None:
    config = small(tmp_path / "run", "rollout.max_lag=1", "sft.episodes=0", "run.checkpoint_every=2")
    with RunFolder.create(config) as folder:
        asyncio.run(Patient(config, folder).all())
    events = read_lines(tmp_path / "run" / "events.jsonl")
    saved = {e["step"]: e["seconds"] for e in events if e["event"] == "checkpoint"}
    assert saved.keys() == {0, 2, 3} and min(saved.values()) > 0
    told = [line["seconds"] for line in read_lines(tmp_path / "run" / "metrics.jsonl")]
    assert [s["checkpoint"] for s in told] == [0.0, 0.0, pytest.approx(saved[2], abs=1e-3)]
    assert all(sum(s.values()) - s["total"] <= s["total"] + 1e-9 for s in told), "the total has every part"


def test_bugs_before_the_checkpoint_count_when_the_run_goes_on(tmp_path: Path) -> None:
    config = small(tmp_path / "run", "sft.episodes=0")
    with RunFolder.create(config) as folder:
        for step, bugs in enumerate((1, 4, 6)):
            folder.metrics(step, {"bugs": bugs, "seconds": {"total": 1.0}})
        run = Run(config, folder)
        learner, journal = run.learner(config.optim), Journal(folder)
        assert [run.trainer(learner, journal, start).bugs for start in range(4)] == [0, 1, 4, 6]


def test_a_finished_run_only_shows_what_it_has(tmp_path: Path) -> None:
    config = small(tmp_path / "run", "run.steps=1")
    train(config)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    train(config)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    assert len(verdicts(tmp_path / "run")) == 3


def test_a_run_without_supervision_or_without_reinforcement(tmp_path: Path) -> None:
    train(small(tmp_path / "rl", "sft.episodes=0", "run.steps=1"))
    assert [stage for stage, *_ in verdicts(tmp_path / "rl")] == ["untrained", "after RL"]
    train(small(tmp_path / "sft", "run.steps=0"))
    assert [stage for stage, *_ in verdicts(tmp_path / "sft")] == ["untrained", "after SFT"]


def test_eval_of_a_run_and_of_its_checkpoint_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small(tmp_path / "run", "run.steps=1"))
    told = []
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "step-000001"):
        capsys.readouterr()
        brief = ["--tasks", "3", "--repeats", "1", "--max-action", "12", "--json"]
        assert cli.main(["eval", str(path), *brief]) == 0
        out = capsys.readouterr().out
        told.append(json.loads(out[out.index("{\n") :]))
    assert told[0] == told[1]
    assert told[0]["world"] == "Forge/Retail-v0"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", str(cli.GRPO), "optim.lrr=1"], "optim.lr"),
        (["train", str(cli.GRPO), "optim.lr=fast"], "optim.lr"),
        (["train", str(cli.GRPO), "rollout.group_size=1"], "group_size"),
        (["train", str(cli.GRPO), "worlds.0.id=forge_envs:Forge/Retial-v0", "run.out={tmp}/r"], "Retail"),
        (["train", str(cli.GRPO), "worlds.0.args.level=99", "run.out={tmp}/r"], "99"),
        (["train", str(cli.GRPO), "worlds.0.args.colour=1", "run.out={tmp}/r"], "colour"),
        (["train", str(cli.GRPO), "run.out={tmp}/file"], "file"),
        (["train", "{tmp}/none.toml"], "none.toml"),
        (["eval", "{tmp}/none"], "none"),
        (["eval", "{tmp}", "--arg", "level"], "level"),
        (["report", "{tmp}/none"], "none"),
    ],
)
def test_bad_input_gets_one_clear_message_and_exit_code_2(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert cli.main([a.replace("{tmp}", str(tmp_path)) for a in arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("forge-train: ") and says in err
    assert "Traceback" not in err


def test_a_folder_of_another_config_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small(tmp_path / "run", "run.steps=0", "sft.episodes=0"))
    assert cli.main(["train", str(cli.GRPO), *SMALL, f"run.out={tmp_path / 'run'}", "optim.lr=0.5"]) == 2
    assert "optim.lr" in capsys.readouterr().err
