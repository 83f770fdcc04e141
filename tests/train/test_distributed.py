"""Several processes do what one does: same updates, same checkpoints; and none waits for the dead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from forge_train.config import LossConfig, OptimConfig
from forge_train.learn.distributed import Processes, join, spread
from forge_train.learn.kernels import blocks
from forge_train.learn.learner import Learner
from forge_train.record.checkpoint import CheckpointError
from tests.train import ranks
from tests.train.children import Child, places
from tests.train.ranks import (
    CASES,
    CRITICS,
    Case,
    critic_of,
    figures,
    learner_of,
    model_of,
    plays,
    resume,
    save,
    valued,
)

LIMIT = 900
"""Seconds that processes get before they are killed: more than any of their deadlines."""


def start(job: str, folder: Path, size: int = 2) -> list[Child]:
    return [
        Child(ranks.main, job, folder, out=folder / f"said by {rank}", env=place)
        for rank, place in enumerate(places(size))
    ]


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """What one process does in each case."""
    torch.set_num_threads(1)
    found = {}
    for name, case in CASES.items():
        found[name] = figures(learner_of(case, model_of(case.tied), None), case)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What two processes left behind, beside a checkpoint of one process that they continued."""
    place = tmp_path_factory.mktemp("ranks")
    policy = learner_of(Case(), model_of(), None)
    figures(policy, Case())
    save(policy, place / "saved at 1")
    critic = critic_of(Case(), None)
    valued(critic, Case())
    critic.save(place / "critic saved at 1")
    another().save_pretrained(place / "another")
    processes = start("learns", place)
    try:
        for process in processes:
            assert process.wait(LIMIT) == 0, process.said()
        yield place
    finally:
        for process in processes:
            process.kill()


def another() -> torch.nn.Module:
    """A model like the policy, with weights of its own."""
    model = model_of()
    with torch.no_grad():
        model.lm_head.weight *= -1
    return model


def close(a: dict[str, Any], b: dict[str, Any], tolerance: float = 1e-5) -> None:
    # How the work is cut decides which prefixes are forwarded twice, and how rows are padded.
    cut = {"padding", "amplification", "tokens_forwarded", "flops"}
    for mine, theirs in zip(a["metrics"], b["metrics"], strict=True):
        figures = {k: v for k, v in mine.items() if k not in cut}
        assert figures == pytest.approx(
            {k: v for k, v in theirs.items() if k not in cut}, rel=1e-4, abs=tolerance
        )
    for mine, theirs in zip(a["logprobs"], b["logprobs"], strict=True):
        for row, other in zip(mine, theirs, strict=True):
            assert row == pytest.approx(other, abs=10 * tolerance)
    assert a["weights"].keys() == b["weights"].keys()
    for name, weight in a["weights"].items():
        assert torch.allclose(weight, b["weights"][name], rtol=0, atol=tolerance), name


class TestUpdate:
    @pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.dtype == "float32"])
    def test_two_processes_do_what_one_does(self, folder, alone, name):
        close(torch.load(folder / f"{name}.pt"), alone[name], CASES[name].tolerance)

    def test_the_updates_moved_the_weights(self, alone):
        before = dict(model_of().named_parameters())
        moved = [float((before[n] - w).detach().abs().max()) for n, w in alone["sharded"]["weights"].items()]
        assert min(moved) > 1e-4

    def test_bfloat16_computes_in_half_and_keeps_whole_weights(self, folder, alone):
        together = torch.load(folder / "bfloat16.pt")
        assert all(w.dtype == torch.float32 for w in together["weights"].values())
        gap = max(
            float((w - alone["bfloat16"]["weights"][n]).abs().max()) for n, w in together["weights"].items()
        )
        whole = torch.load(folder / "sharded.pt")["weights"]
        off = max(float((w - whole[n]).abs().max()) for n, w in together["weights"].items())
        assert 0 < off < 5e-3 and gap < 5e-3

    def test_adapters_on_half_a_base_learn_in_whole(self, folder, alone):
        """The base is bfloat16 from end to end; together they learn what one learns, within its rounding."""
        together, whole = torch.load(folder / "adapters on half.pt"), alone["adapters on half"]
        before = dict(model_of().to(torch.bfloat16).named_parameters())
        moved = 0
        for name, weight in together["weights"].items():
            assert weight.dtype == torch.bfloat16
            assert torch.allclose(weight.float(), whole["weights"][name].float(), atol=2e-2), name
            moved += not torch.equal(weight, before[name])
        assert moved == 14, "the linear layers of two blocks, and nothing else"

    @pytest.mark.parametrize("name", ["sharded", "adapters"])
    def test_weights_travel_in_half_a_bucket_at_a_time(self, folder, name):
        found = torch.load(folder / f"transfer {name}.pt")
        assert found["taken"].keys() == found["whole"].keys()
        for weight, whole in zip(found["taken"].values(), found["whole"].values(), strict=True):
            assert torch.equal(weight, whole.to(torch.bfloat16).float())
        merging = 0 if name == "sharded" else 3 * 4 * 32 * 64  # a stretch of a layer in float32
        assert 0 < found["peak"] <= ranks.AT_ONCE + merging
        total = sum(size for _, size in found["gathered"])
        assert total == sum(2 * w.numel() for w in found["whole"].values())

    def test_no_process_holds_more_than_the_bucket_it_gathers(self, folder):
        """Rank 1, which sends nothing."""
        gathered = torch.load(folder / "gathered by 1.pt")
        ours = torch.load(folder / "transfer sharded.pt")["gathered"]
        start = next(i for i in range(len(gathered)) if gathered[i : i + len(ours)] == ours)
        assert all(0 < size <= peak <= ranks.AT_ONCE for peak, size in gathered[start : start + len(ours)])

    def test_tied_weights_are_gathered_once(self, folder):
        assert "lm_head.weight" not in torch.load(folder / "tied.pt")["weights"]


class TestReference:
    @pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.held])
    def test_kept_by_two_it_is_that_of_one(self, folder, name):
        """Each process wrote its part; one process takes it and scores as it did when it began."""
        case = CASES[name]
        policy, group = learner_of(case, model_of(), None), plays(4)[0]
        begun = policy.logprobs(group)
        policy.update(*plays(case.count), LossConfig())
        policy.load_reference(folder / f"reference {name}")
        assert policy.reference_logprobs(group) == begun != policy.logprobs(group)

    def test_another_model_is_read_by_one_and_dealt_to_all(self, folder):
        expected = Learner(another(), OptimConfig()).logprobs(plays(4)[0])
        for mine, theirs in zip(torch.load(folder / "by another.pt"), expected, strict=True):
            for row, other in zip(mine, theirs, strict=True):
                assert row == pytest.approx(other, abs=1e-5)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What four processes left behind: two copies of the model, each split over two of them."""
    place = tmp_path_factory.mktemp("copies")
    processes = start("copies", place, size=4)
    try:
        for process in processes:
            assert process.wait(LIMIT) == 0, process.said()
    finally:
        for process in processes:
            process.kill()
    return place


class TestCopies:
    def test_four_processes_do_what_one_does(self, left, alone):
        close(torch.load(left / "two copies.pt"), alone["sharded"])

    def test_their_checkpoint_continues_in_one(self, left):
        close(resume(left / "saved at 4", None), torch.load(left / "went on.pt"))

    def test_each_part_is_written_once(self, left):
        written = [name for p in left.rglob("moments/*.safetensors") for name in load_file(p)]
        assert len(written) == 2 * len(set(written)) > 0, "each half of each moment, once"

    def test_copies_that_do_not_divide_the_processes_are_refused(self):
        processes = object.__new__(Processes)
        object.__setattr__(processes, "size", 8)
        with pytest.raises(ValueError, match=r"optim\.replicate = 3: 8 processes.*divisor"):
            spread(model_of(), processes, copies=3, bfloat16=False)
        with pytest.raises(ValueError, match=r"replicate = 2: with shard = false"):
            OptimConfig(replicate=2, shard=False)


class TestCheckpoint:
    def test_saved_by_two_continues_in_one(self, folder):
        close(resume(folder / "saved at 2", None), torch.load(folder / "went on.pt"))

    def test_saved_by_two_continues_in_two_to_the_bit(self, folder):
        resumed, went_on = (
            torch.load(folder / "saved at 2, loaded at 2.pt"),
            torch.load(folder / "went on.pt"),
        )
        assert resumed["metrics"] == went_on["metrics"]
        assert all(torch.equal(w, went_on["weights"][n]) for n, w in resumed["weights"].items())

    def test_saved_by_one_continues_in_two(self, folder):
        close(torch.load(folder / "saved at 1, loaded at 2.pt"), resume(folder / "saved at 1", None))

    def test_saved_by_one_continues_in_one_to_the_bit(self, tmp_path):
        policy = learner_of(Case(), model_of(), None)
        figures(policy, Case())
        save(policy, tmp_path)
        resumed, went_on = resume(tmp_path, None), figures(policy, Case())
        assert resumed["metrics"] == went_on["metrics"]
        assert all(torch.equal(w, went_on["weights"][n]) for n, w in resumed["weights"].items())

    def test_each_process_writes_its_part(self, folder):
        parts = list((folder / "saved at 2").glob("step-*/moments/*.safetensors"))
        assert len(parts) == 2
        assert not list((folder / "saved at 2").rglob("*.metadata"))  # pickled: loading would run code

    def test_moments_of_another_model_are_refused(self, folder):
        model = model_of(tied=True)
        del model.model.layers[1]
        policy = Learner(model, OptimConfig())
        saved = next((folder / "saved at 1").glob("step-*"))
        policy.load_moments(saved, version=2, steps=2)  # fewer parameters: all of them are there
        with pytest.raises(CheckpointError, match="moments: does not fit"):
            wide = learner_of(Case(), ranks.Qwen3ForCausalLM(_wider()), None)
            wide.load_moments(saved, version=2, steps=2)


class TestCritic:
    @pytest.mark.parametrize("name", CRITICS)
    def test_two_processes_value_and_learn_as_one_does(self, folder, name):
        case = CRITICS[name]
        critic = critic_of(case, None)
        alone, together = valued(critic, case), torch.load(folder / f"critic {name}.pt")
        tolerance = 2e-2 if case.dtype == "bfloat16" else 1e-5
        for mine, theirs in zip(together["metrics"], alone["metrics"], strict=True):
            assert mine == pytest.approx(theirs, rel=10 * tolerance, abs=10 * tolerance)
        for mine, theirs in zip(together["values"], alone["values"], strict=True):
            assert mine == pytest.approx(theirs, abs=10 * tolerance)
        assert max(abs(v) for row in alone["values"] for v in row) > 0.05, "it learned nothing"
        again = critic_of(case, None)
        again.load(folder / f"critic {name}", version=2, steps=critic.steps)
        for (parameter, mine), (_, theirs) in zip(
            again.model.named_parameters(), critic.model.named_parameters(), strict=True
        ):
            assert torch.allclose(mine, theirs, rtol=0, atol=tolerance), parameter
            moment = again.optimizer.state[mine]["exp_avg"], critic.optimizer.state[theirs]["exp_avg"]
            assert torch.allclose(*moment, rtol=0, atol=tolerance), parameter

    def test_saved_by_one_continues_in_two(self, folder):
        critic = critic_of(Case(), None)
        critic.load(folder / "critic saved at 1", version=2, steps=4)
        went_on, together = valued(critic, Case()), torch.load(folder / "critic loaded at 2.pt")
        for mine, theirs in zip(together["values"], went_on["values"], strict=True):
            assert mine == pytest.approx(theirs, abs=1e-4)

    def test_saved_by_one_continues_in_one_to_the_bit(self, tmp_path):
        critic, again = critic_of(Case(), None), critic_of(Case(), None)
        valued(critic, Case())
        critic.save(tmp_path)
        again.load(tmp_path, version=critic.version, steps=critic.steps)
        assert valued(again, Case()) == valued(critic, Case())

    def test_the_state_of_many_is_not_one_dict(self):
        critic = critic_of(Case(), None)
        state = critic.state_dict()
        critic.processes = object.__new__(Processes)
        with pytest.raises(ValueError, match="write it into a checkpoint"):
            critic.state_dict()
        with pytest.raises(ValueError, match="write it into a checkpoint"):
            critic.load_state_dict(state)


def _wider() -> Any:
    config = model_of().config
    config.intermediate_size = 128
    return config


class TestFailure:
    @pytest.mark.parametrize(
        ("job", "survivor", "said"),
        [
            ("dies", 0, "rank 1 ("),
            ("hangs", 0, "no sign of rank 1 ("),
            ("leader dies", 1, "at most, which rollout.deadline_s decides: lost one of rank 0 ("),
        ],
    )
    def test_nobody_waits_for_the_dead(self, tmp_path, job, survivor, said):
        processes = start(job, tmp_path)
        try:
            assert processes[survivor].wait(LIMIT) == 1
        finally:
            for process in processes:
                process.kill()
        output = processes[survivor].said()
        told = [line for line in output.splitlines() if line.startswith("RankFailed: ")]
        assert len(told) == 1 and said in told[0], output

    def test_one_process_is_none(self, monkeypatch):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        assert join() is None

    def test_a_device_that_cannot_be_shared_is_refused(self, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(ValueError, match=r'device = "cuda:3".*each its own GPU'):
            join(device="cuda:3")

    def test_a_model_that_names_no_blocks_is_refused(self):
        with pytest.raises(ValueError, match=r"Linear does not name its blocks.*shard = false"):
            blocks(torch.nn.Linear(2, 2))
