"""Checkpoints: exact, readable by transformers, whole after any kill, and honest about damage."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge_train.config import TinyConfig
from forge_train.record import checkpoint
from forge_train.record.checkpoint import Checkpoint, CheckpointError, latest, load_model, save
from forge_train.tiny import tiny_model, train_tokenizer
from tests.train.children import Child

torch.set_num_threads(1)


def make(seed: int = 0) -> tuple[Any, Any]:
    tokenizer = train_tokenizer(["find the order and refund it", "the user wants a refund"], 320)
    return tiny_model(
        tokenizer, TinyConfig(hidden=16, layers=1, heads=2, kv_heads=1, vocab=320), seed=seed
    ), tokenizer


MODEL, TOKENIZER = make()


def put(folder: Path, step: int, keep: int = 2, **state: Any) -> Path:
    return save(folder, step, model=MODEL, tokenizer=TOKENIZER, state={"step": step, **state}, keep=keep)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_model_tokenizer_and_state_come_back_exactly(tmp_path: Path) -> None:
    optimizer = torch.optim.AdamW(MODEL.parameters(), lr=1e-3)
    MODEL(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    state = {
        "optimizer": optimizer.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "python_rng": random.Random(3).getstate(),
        "counters": OrderedDict(version=7, best=0.5, name="x", none=None, ok=True),
    }
    path = put(tmp_path, 7, **state)
    assert path == tmp_path / "step-000007"
    checkpoint = latest(tmp_path)
    assert checkpoint == Checkpoint(path, 7)
    back = checkpoint.state()
    assert back["python_rng"] == state["python_rng"] and back["counters"] == state["counters"]
    assert torch.equal(back["torch_rng"], state["torch_rng"])
    old, new = state["optimizer"]["state"], back["optimizer"]["state"]
    assert old.keys() == new.keys() and all(torch.equal(old[k]["exp_avg"], new[k]["exp_avg"]) for k in old)

    for model, tokenizer in (
        load_model(path),
        (AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)),
    ):
        weights = model.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in MODEL.state_dict().items())
        text = "refund é the order<|im_end|>\n"
        assert tokenizer.encode(text) == TOKENIZER.encode(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert (tokenizer.eos_token_id, len(tokenizer)) == (TOKENIZER.eos_token_id, len(TOKENIZER))
    assert not load_model(path)[0].training


def test_the_newest_are_kept_and_nothing_else_lies_around(tmp_path: Path) -> None:
    assert latest(tmp_path) is None and latest(tmp_path / "missing") is None
    for step in (1, 2, 10, 9):
        put(tmp_path, step, keep=2)
    assert names(tmp_path) == ["step-000009", "step-000010"]
    put(tmp_path, 10, note="again")  # the same step once more: replaced
    assert names(tmp_path) == ["step-000009", "step-000010"]
    found = latest(tmp_path)
    assert found and found.state() == {"step": 10, "note": "again"}
    put(tmp_path, 11, keep=1)
    assert names(tmp_path) == ["step-000011"]
    with pytest.raises(ValueError, match="keep=0"):
        put(tmp_path, 12, keep=0)


def damage(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped"])
@pytest.mark.parametrize("file", ["model.safetensors", "trainer.pt", "config.json", "tokenizer.json"])
def test_damage_is_told_and_the_one_before_is_used(tmp_path: Path, file: str, how: str) -> None:
    put(tmp_path, 1)
    newest = put(tmp_path, 2)
    damage(newest / file, how)
    words = {"missing": "is missing", "truncated": "bytes instead of", "flipped": "another checksum"}[how]
    with pytest.warns(
        UserWarning, match=rf"{newest} cannot be used: {file} .*{words}.*; going back to .*step-000001"
    ):
        found = latest(tmp_path)
    assert found and found.step == 1
    if file != "config.json" or how != "missing":  # without it the folder is not even a model
        with pytest.raises(CheckpointError, match=f"step-000002 cannot be used: {file}"):
            load_model(newest)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": {"a": 3}}', b'{"files": 1}'])
def test_a_damaged_manifest_counts_as_damage(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path, 1)
    (path / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged\nno whole checkpoint is left"):
        latest(tmp_path)
    (path / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing"):
        latest(tmp_path)


def test_state_holds_data_and_no_code(tmp_path: Path) -> None:
    for bad, where in (
        ({"a": [1, Path("x")]}, r"state\['a'\]\[1\] is a pathlib\..*Path"),
        ({"b": b"raw"}, r"state\['b'\] is a builtins.bytes"),
        ({"s": torch.Size([1])}, r"state\['s'\] is a torch.Size"),
        ({"f": print}, r"state\['f'\] is a builtins"),
        ({"d": {Path("k"): 1}}, r"a key of state\['d'\]"),
    ):
        with pytest.raises(ValueError, match=where):
            put(tmp_path, 1, **bad)
    assert names(tmp_path) == []


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(-9, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=st.dictionaries(st.text(max_size=5), plain, max_size=4))
def test_any_plain_state_round_trips(tmp_path: Path, state: dict[str, Any]) -> None:
    save(tmp_path, 1, model=MODEL, tokenizer=TOKENIZER, state=state, keep=1)
    found = latest(tmp_path)
    assert found and found.state() == state


def test_wrong_paths_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: no such folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        load_model(tmp_path)
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.toml").touch()
    with pytest.raises(CheckpointError, match="the run has no checkpoint yet"):
        load_model(run)
    put(run / "checkpoints", 3)
    assert load_model(run)[1].eos_token_id == load_model(run / "checkpoints")[1].eos_token_id
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="a model without a tokenizer"):
        load_model(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no model could be loaded"):
        load_model(tmp_path)


def test_missing_weights_are_never_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    MODEL.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("lm_head.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 weights are missing, e\.g\. lm_head\.weight"):
        load_model(tmp_path)


def test_dtype_on_request(tmp_path: Path) -> None:
    path = put(tmp_path, 1)
    assert load_model(path)[0].dtype == torch.float32
    assert load_model(path, dtype="bfloat16")[0].dtype == torch.bfloat16


# --- kills -----------------------------------------------------------------------------------------


def whole(folder: Path, allowed: set[tuple[int, int]]) -> None:
    """What is there loads, without a warning, and is one of `allowed`: (step, round)."""
    found = latest(folder)
    assert found is not None
    state = found.state()
    assert (state["step"], state["round"]) in allowed, (state, allowed)
    assert state["step"] == found.step
    assert torch.equal(state["bulk"], torch.full((1000,), state["round"]))


def fork_and_save(folder: Path, step: int, round_: int, die_at: int) -> bool:
    """Save in a child that kills itself at its `die_at`-th touch of a file; True when it was killed."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal seen
            if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"):
                seen += 1
                if seen == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            put(folder, step, round=round_, bulk=torch.full((1000,), round_))
        except BaseException:
            os._exit(3)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def kill_at_every_touch(folder: Path, same_step: bool) -> int:
    """Kill a save at its first, second, ... touch of a file until one gets through; returns how many."""
    put(folder, 1, round=0, bulk=torch.full((1000,), 0))
    put(folder, 2, round=0, bulk=torch.full((1000,), 0))
    held = {(2, 0)}
    for die_at in range(1, 1000):
        new = (2 if same_step else 2 + die_at, die_at)
        killed = fork_and_save(folder, *new, die_at)
        whole(folder, held | {new})
        if not killed:
            assert len(names(folder)) == 2, names(folder)
            return die_at - 1
        state = latest(folder).state()  # type: ignore[union-attr]
        held = {(state["step"], state["round"])}
    raise AssertionError("never got through")


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("same_step", [False, True])
def test_a_kill_at_any_touch_of_a_file_leaves_old_or_new(tmp_path: Path, same_step: bool) -> None:
    assert kill_at_every_touch(tmp_path, same_step) > 20


def put_for_ever(folder: Path) -> None:
    for i in range(1, 10**6):
        put(folder, i, round=i, bulk=torch.full((1000,), i))
        print(i, flush=True)


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_kill_at_any_moment_leaves_old_or_new(tmp_path: Path) -> None:
    place, delays = tmp_path / "saved", random.Random(0)
    place.mkdir()
    for turn in range(2):
        child = Child(put_for_ever, place, out=tmp_path / f"said in {turn}")
        child.until(child.said)
        time.sleep(delays.uniform(0.05, 0.4))
        child.kill()
        told = max(map(int, child.said().split()))
        # Everything told of is there; the one being written may be.
        whole(place, {(told, told), (told + 1, told + 1)})
        for leftover in place.glob("step-*"):
            assert Checkpoint(leftover, 0).problem() is None
        for path in list(place.glob("step-*")):
            for file in path.iterdir():
                file.unlink()
            path.rmdir()


def test_a_large_file_is_not_read_whole_and_still_judged(tmp_path: Path, monkeypatch: Any) -> None:
    """Cut off, pages gone, another file of the same length: each is seen, at the cost of a few stretches."""
    monkeypatch.setattr(checkpoint, "STRETCH", 64)
    monkeypatch.setattr(checkpoint, "STRETCHES", 8)
    path, whole = tmp_path / "weights", bytes(range(256)) * 400
    path.write_bytes(whole)
    before, size = checkpoint._checksum(path), len(whole)
    for damaged in (whole[: size // 2] + bytes(size - size // 2), bytes(size), whole[1:] + b"x"):
        path.write_bytes(damaged)
        assert checkpoint._checksum(path) != before
    path.write_bytes(whole[:1000] + b"?" + whole[1001:])
    assert checkpoint._checksum(path) == before, "between the stretches nothing is read: that is the price"
    path.write_bytes(whole[:-1])
    assert checkpoint._checksum(path) != before
