"""Expert iteration: what is kept, how an update goes over it, and rounds that go on to the same numbers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train import cli, tiny
from forge_train.amending import Amender
from forge_train.config import AlgorithmConfig, Config, ConfigError, DistillConfig, load
from forge_train.evaluation.collect import Speaker
from forge_train.learn.kept import is_clean, kept, temper, tempered
from forge_train.learn.passes import Passes
from forge_train.play.episode import play
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.record.library import Library
from forge_train.record.run_folder import read_lines
from forge_train.replay import replay
from forge_train.run import train
from forge_train.trajectory import Segment, TokenAdvantages, Trajectory
from tests.train.worlds import Coin

KEPT = AlgorithmConfig(advantage="kept", objective="nll")


class Short(Coin):
    """Say something short: a newborn policy does now and then, and can learn to."""

    def gold_actions(self, task: str) -> list[str]:
        return ["a"]

    def step(self, action: str) -> Any:
        short = len(action) < 24
        done = short or len(self.said) == 2
        self.said.append(action)
        parts = {} if short else {"refused": -0.1}
        info = {"parts": parts, **({"outcome": float(short)} if done else {})}
        return ({"role": "user", "content": "On."},), float(short), done, False, info


if "Test/Short-v0" not in gym.registry:
    gym.register("Test/Short-v0", entry_point=Short)


def played(
    said: int, *, outcome: float = 1.0, refused: float = 0.0, mistakes: tuple[int, ...] = (), turns: int = 3
) -> Trajectory:
    """An episode of `turns` turns of two tokens; `said` makes it differ from others."""
    segment = Segment()
    for turn in range(turns):
        segment.hear([7])
        segment.act([said, turn], [-0.5, -0.5], turn)
    info: dict[str, Any] = {"parts": {"refused": refused} if refused else {}, "mistakes": list(mistakes)}
    return Trajectory(
        "g", [segment], [0.0] * turns, [0.0] * turns, outcome=outcome, versions=[0] * turns, info=info
    )


EPISODES = st.lists(
    st.builds(
        played,
        st.integers(0, 3),
        outcome=st.sampled_from([0.0, 0.5, 1.0]),
        refused=st.sampled_from([0.0, -0.1]),
        turns=st.integers(1, 3),
    ),
    max_size=8,
)


@given(EPISODES, st.integers(1, 4))
def test_what_is_kept_is_clean_and_new_and_not_too_much(group: list[Trajectory], most: int) -> None:
    rows = kept(group, KEPT.model_copy(update={"keep": most}))
    chosen = [t for t, row in zip(group, rows, strict=True) if any(row)]
    assert all(
        set(row) <= {0.0, 1.0} and len(row) == len(t.versions) for t, row in zip(group, rows, strict=True)
    )
    assert all(is_clean(t, KEPT.flawless) for t in chosen) and len(chosen) <= most
    said = [str(t.segments) for t in chosen]
    assert len(set(said)) == len(said)
    clean = {str(t.segments) for t in group if is_clean(t, KEPT.flawless)}
    assert len(chosen) == min(most, len(clean)), "as many as there are"


@given(EPISODES)
def test_who_comes_first_decides_only_between_clean_ones(group: list[Trajectory]) -> None:
    everything = KEPT.model_copy(update={"keep": 99})
    backwards = kept(group[::-1], everything)[::-1]
    for t, row, other in zip(group, kept(group, everything), backwards, strict=True):
        alike = [u for u in group if u.segments == t.segments and is_clean(u, KEPT.flawless)]
        assert any(row) == any(other) or len(alike) > 1


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=5),
    st.floats(0, 2),
    st.sets(st.integers(0, 4)),
    st.sampled_from(["all", "first_mistake"]),
)
def test_failures_are_tempered_and_successes_are_not(
    row: list[float], weight: float, mistakes: set[int], blame: str
) -> None:
    how = AlgorithmConfig(negative_weight=weight, blame=blame)  # type: ignore[arg-type]
    t = played(1, turns=len(row), mistakes=tuple(sorted(mistakes)))
    found = tempered(t, row, how)
    last = min(mistakes, default=99) if blame == "first_mistake" else 99
    assert found == [a if a >= 0 else a * weight if i <= last else 0.0 for i, a in enumerate(row)]
    by_token = tempered(t, TokenAdvantages(a for a in row for _ in range(2)), how)
    assert isinstance(by_token, TokenAdvantages)
    assert list(by_token) == [a for a in found for _ in range(2)], "by token it says the same"


def test_by_default_nothing_is_tempered() -> None:
    row = [-1.0, 2.0]
    assert temper([[played(1, turns=2)]], [[row]], AlgorithmConfig())[0][0] is row


@given(st.sets(st.integers(0, 30), min_size=1), st.integers(1, 4), st.integers(1, 9), st.integers(0, 9))
def test_each_pass_takes_each_episode_once(which: set[int], epochs: int, batch: int, seed: int) -> None:
    passes = Passes(DistillConfig(epochs=epochs, batch=batch))
    parts = passes.parts(sorted(which), seed=seed)
    each = len(parts) // epochs
    for epoch in range(epochs):
        mine = parts[epoch * each : (epoch + 1) * each]
        assert sorted(i for part in mine for i in part) == sorted(which)
        assert all(len(part) <= batch for part in mine)
    assert parts == passes.parts(sorted(which), seed=seed)


@given(st.integers(1, 60), st.integers(0, 80), st.sampled_from(["linear", "cosine", "constant"]))
def test_the_rate_of_an_update_rises_to_its_peak_and_falls(steps: int, warmup: int, schedule: str) -> None:
    config = DistillConfig(epochs=1, lr=2.0, warmup=warmup, schedule=schedule)  # type: ignore[arg-type]
    rates = Passes(config).rates(steps)
    assert len(rates) == steps and all(0 < rate <= 2.0 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if schedule == "linear" and steps > 2 * warmup:
        assert rates[-1] == pytest.approx(2.0 / (steps - warmup))


def test_the_library_holds_the_rounds_that_are_asked_for_and_the_demonstrations(tmp_path: Path) -> None:
    shown, rounds = [played(9)], [[played(i)] for i in range(4)]
    library = Library(tmp_path, DistillConfig(epochs=1, past=2, demonstrations=True), shown)
    beside = [asyncio.run(library.beside(step, [], new)) for step, new in enumerate(rounds)]
    assert beside[0] == shown
    assert beside[3] == [*rounds[1], *rounds[2], *shown]
    again = Library(tmp_path, DistillConfig(epochs=1, past=2, demonstrations=True), shown)
    assert asyncio.run(again.beside(2, [], rounds[2])) == beside[2], "a round that is repeated"
    (tmp_path / "kept" / "step-000002.json.gz").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"step-000002\.json\.gz is damaged"):
        asyncio.run(again.beside(3, [], rounds[3]))


def rounds_of(folder: Path, *more: str) -> Config:
    """Some rounds in which a small policy learns to be short."""
    return load(
        cli.GRPO,
        [
            "run.threads=1", "run.steps=3", "run.checkpoint_every=1", "model.tiny.hidden=32",
            "model.tiny.layers=1", "model.tiny.vocab=300", "sft.episodes=8", "sft.epochs=1", "sft.warmup=0",
            "sft.schedule=cosine", "rollout.groups=12", "rollout.group_size=2", "rollout.max_action=16",
            "rollout.max_context=", "worlds.0.id=tests.train.test_distill:Test/Short-v0", "worlds.0.args={}",
            "eval.tasks=8", "eval.repeats=1", "eval.k=[1]", "optim.lr=", "optim.warmup=", "optim.schedule=",
            "optim.decay_steps=", "algorithm.advantage=kept", "algorithm.objective=nll", "distill.epochs=2",
            "distill.batch=4", "distill.lr=1e-2", "distill.past=1", "distill.demonstrations=true",
            "distill.amend=true",
            f'run.out="{folder}"', *more,
        ],
    )  # fmt: skip


def told(folder: Path) -> list[dict[str, Any]]:
    """Metrics without the clocks."""
    lines = read_lines(folder / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.endswith("seconds")} for line in lines]


def test_rounds_learn_go_on_exactly_and_leave_weights_that_others_begin_with(tmp_path: Path) -> None:
    train(rounds_of(tmp_path / "whole"))
    for steps in (1, 2, 3):
        train(rounds_of(tmp_path / "parts", f"run.steps={steps}"))
    whole = told(tmp_path / "whole")
    assert told(tmp_path / "parts") == whole
    for before, line in zip([None, *whole], whole, strict=False):
        assert line["trained"] == 24 and line["version"] == line["step"]
        assert line["beside"] >= 8 + (before["kept"] if before else 0), "and what was amended"
        steps = 2 * -(-(line["kept"] + line["beside"]) // 4)
        assert line["optimizer_steps"] == steps and line["lr"] == 1e-2
    assert whole[-1]["success"] > whole[0]["success"], "it became short"
    model = tmp_path / "whole" / "supervised"
    train(rounds_of(tmp_path / "more", f'model.path="{model}"', "sft.epochs=0", "run.steps=1"))
    stages = [
        e["stage"] for e in read_lines(tmp_path / "more" / "events.jsonl") if e["event"] == "evaluation"
    ]
    assert stages == ["as given", "after RL"]
    again = told(tmp_path / "more")[0]
    assert (again["success"], again["kept"], again["loss"]) == tuple(
        whole[0][key] for key in ("success", "kept", "loss")
    ), "a branch is what the run itself would have been"


def test_a_round_is_replayed_where_it_learned_only_from_what_it_played(tmp_path: Path) -> None:
    alone = ["distill.past=0", "distill.amend=false", "distill.demonstrations=false", "run.steps=1"]
    train(rounds_of(tmp_path / "alone", *alone))
    found = replay(tmp_path / "alone", 0)
    assert found.replayed == found.recorded and found.recorded["optimizer_steps"] > 0
    with pytest.raises(ValueError, match="a replay has only that"):
        replay(tmp_path / "alone", 0, ["distill.amend=true"])


LONG = "this is by far too long to be clean"


def test_what_was_solved_in_spite_of_mistakes_is_played_again_without_them(tmp_path: Path) -> None:
    config = rounds_of(tmp_path, "worlds.0.name=w")
    world = World(config.worlds[0].id, {}, "w")
    renderer = ChatML(tiny.train_tokenizer(["some words of a world"], 300))

    def plays(*actions: list[str]) -> list[Trajectory]:
        speakers = [Speaker(lambda _, said=said: said) for said in actions]  # type: ignore[misc]
        return [
            asyncio.run(play(world, one, "train/3", seed=0, group="g", deadline=60.0)) for one in speakers
        ]

    solved, failed, clean = plays([LONG, "b"], [LONG, LONG, LONG], ["a"])
    assert [t.info.get("mistakes") for t in (solved, failed, clean)] == [[0], [0, 1, 2], None]
    mend = Amender(config, {"w": world}, renderer)
    [mended] = asyncio.run(mend([[solved, failed, solved], [solved, clean], [failed]]))
    [segment] = mended.segments
    said = renderer.text([t for t, a in zip(segment.tokens, segment.action, strict=True) if a == 0])
    assert said == "b" and len(mended.versions) == 1 and is_clean(mended, ("refused",))
    assert mended.group == solved.group


def test_supervised_training_anneals_to_its_own_end(tmp_path: Path) -> None:
    train(
        rounds_of(
            tmp_path, "run.steps=0", "sft.schedule=linear", "sft.lr=1e-2", "sft.warmup=1", "sft.batch=2"
        )
    )
    rates = [e["lr"] for e in read_lines(tmp_path / "events.jsonl") if e["event"] == "sft"]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-2 * 2 / 3, 1e-2 / 3])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["algorithm.objective=clipped"], 'so far from those that sampled; use "nll"'),
        (["algorithm.minibatches=2"], "leave algorithm.minibatches out"),
        (["sft.episodes=0"], "there are none; set sft.episodes"),
        (["algorithm.advantage=gae", "algorithm.masked="], "asks a critic, which such rounds do not train"),
        (["distill.amend=true", "algorithm.advantage=rloo"], 'keeps nothing; use "kept"'),
        (["distill.amend=true", "agent.command=['true']"], "leave amend out"),
        (["distill.epochs=0"], "only rounds learn it; set epochs"),
        (["optim.lr=1e-5"], "a rate of their own; use distill.lr"),
        (
            ["distill.amend=false", "algorithm.advantage=rloo", "algorithm.keep=2"],
            'keep = 2: .* use "kept"',
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, said: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        rounds_of(tmp_path, *said)


def test_a_group_of_one_can_be_kept(tmp_path: Path) -> None:
    assert rounds_of(tmp_path, "rollout.group_size=1").rollout.group_size == 1
    with pytest.raises(ConfigError, match="compares the members"):
        rounds_of(tmp_path, "rollout.group_size=1", "algorithm.advantage=rloo")


def test_an_override_takes_back_what_a_file_says() -> None:
    plain = load(cli.GRPO, ["optim.schedule=", "optim.decay_steps="]).optim
    assert (plain.schedule, plain.decay_steps) == ("constant", None)
    assert load(cli.GRPO, ["worlds.0.name=", "run.out="]).run.out is None
