"""Merging checkpoints on disk: any files, one weight at a time, whole or not at all."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from forge_train import cli
from forge_train.merging import merge as module
from forge_train.merging.merge import merge
from forge_train.merging.methods import Recipe
from forge_train.merging.shards import Planned, write_shard
from forge_train.merging.sources import Source
from forge_train.tiny import train_tokenizer
from tests.train.models import qwen3

TOKENIZER = train_tokenizer(["Say 12. You repeat."], 300)
TWO = Recipe("linear", (1.0, 3.0))


def write(model: Any, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    TOKENIZER.save_pretrained(folder)
    return folder


def moved(model: Any, seed: int) -> Any:
    other = copy.deepcopy(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in other.parameters():
            p += 0.01 * torch.randn_like(p)
    return other


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in one file, an expert in many, another in one."""
    folder = tmp_path_factory.mktemp("experts")
    base = qwen3()
    write(base, folder / "base")
    write(moved(base, 1), folder / "a", max_shard_size="20KB")
    write(moved(base, 2), folder / "b")
    return folder


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def test_the_merged_model_is_what_the_formula_says_and_loads(places, tmp_path):
    out = tmp_path / "out"
    told = merge([places / "a", places / "b"], out, TWO, base=places / "base")
    a, b, found = (weights_in(folder) for folder in (places / "a", places / "b", out))
    assert found.keys() == a.keys()
    for name, value in found.items():
        assert torch.allclose(value, 0.25 * a[name] + 0.75 * b[name], atol=1e-7), name
    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert torch.equal(loaded.lm_head.weight, found["lm_head.weight"])
    assert (out / "tokenizer.json").read_bytes() == (places / "a" / "tokenizer.json").read_bytes()
    assert json.loads((out / "merge.json").read_text()) == told
    assert told["opposed"] > 0.3 and told["entries"] == sum(w.numel() for w in a.values())
    assert not list(tmp_path.glob(".*")) and not list(out.glob(".*"))
    merge([places / "a", places / "b"], tmp_path / "without", TWO)
    without = weights_in(tmp_path / "without")
    assert all(torch.allclose(found[name], without[name], atol=1e-7) for name in a), "whatever the base is"


@pytest.mark.parametrize(
    "method", ["sce", "sce_paper", "task_arithmetic", "ties", "dare_linear", "dare_ties"]
)
def test_each_method_gives_what_it_gives_weight_by_weight(places, tmp_path, method):
    recipe = Recipe(method, (1.0, 1.0), density=0.5)
    merge([places / "a", places / "b"], tmp_path / "out", recipe, base=places / "base")
    base, a, b, found = (
        weights_in(f) for f in (places / "base", places / "a", places / "b", tmp_path / "out")
    )
    for name in ("model.norm.weight", "model.layers.0.mlp.up_proj.weight"):
        if not method.startswith("dare"):
            change = recipe.change([a[name] - base[name], b[name] - base[name]], torch.Generator())
            assert torch.equal(found[name], base[name] + change)
        assert not torch.equal(found[name], base[name])


def test_however_it_is_cut_into_files_the_weights_are_the_same(places, tmp_path):
    recipe = Recipe("dare_ties", (1.0, 1.0), density=0.5, seed=4)
    common = {"base": places / "base"}
    merge([places / "a", places / "b"], tmp_path / "one", recipe, **common)
    merge([places / "a", places / "b"], tmp_path / "many", recipe, **common, shard_bytes=9000)
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 3
    one, many = weights_in(tmp_path / "one"), weights_in(tmp_path / "many")
    assert one.keys() == many.keys() == index["weight_map"].keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    assert index["metadata"]["total_size"] == sum(w.nbytes for w in one.values())
    AutoModelForCausalLM.from_pretrained(tmp_path / "many")


def test_a_killed_merge_leaves_nothing_and_goes_on_where_it_was(places, tmp_path, monkeypatch):
    recipe, out = Recipe("dare_linear", (1.0, 1.0), density=0.5), tmp_path / "out"
    arguments: Any = ([places / "a", places / "b"], out, recipe)
    options: Any = {"base": places / "base", "shard_bytes": 9000}
    written: list[str] = []

    def dies(path: Path, shard: Any, value_of: Any) -> None:
        if len(written) == 3:
            path.with_name(f".{path.name}.part").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(path.name)
        write_shard(path, shard, value_of)

    monkeypatch.setattr(module, "write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        merge(*arguments, **options)
    assert not out.exists()
    before = list(written)
    again: list[str] = []
    monkeypatch.setattr(module, "write_shard", lambda p, s, v: (again.append(p.name), write_shard(p, s, v)))
    told = merge(*arguments, **options)
    assert before and not set(again) & set(before)
    monkeypatch.undo()
    whole = merge(*arguments[:1], tmp_path / "whole", recipe, **options)
    assert told == whole
    one, other = weights_in(out), weights_in(tmp_path / "whole")
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in (tmp_path / "whole").iterdir())


def test_what_another_merge_left_is_not_gone_on_with(places, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def dies(path: Path, shard: Any, value_of: Any) -> None:
        write_shard(path, shard, value_of)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        merge([places / "a", places / "b"], out, Recipe("linear", (1.0, 1.0)), shard_bytes=9000)
    monkeypatch.undo()
    merge([places / "a", places / "b"], out, TWO, shard_bytes=9000)
    a, b, found = (weights_in(folder) for folder in (places / "a", places / "b", out))
    assert all(torch.allclose(found[n], 0.25 * a[n] + 0.75 * b[n], atol=1e-7) for n in a)


def test_one_weight_of_each_is_held_at_a_time(places, tmp_path, monkeypatch):
    reads: list[str] = []
    real = Source.read
    monkeypatch.setattr(Source, "read", lambda self, name: (reads.append(name), real(self, name))[1])
    merge([places / "a", places / "b"], tmp_path / "out", Recipe("sce", (1.0, 1.0)), base=places / "base")
    runs = [name for i, name in enumerate(reads) if i == 0 or reads[i - 1] != name]
    assert len(runs) == len(set(runs)) and len(reads) == 3 * len(runs), "each is read once, one after another"


def test_precision_is_kept_or_the_widest_or_as_asked(places, tmp_path):
    half = AutoModelForCausalLM.from_pretrained(places / "b", dtype=torch.bfloat16)
    write(half, tmp_path / "half")
    both = [tmp_path / "half", tmp_path / "half"]
    merge(both, tmp_path / "kept", TWO)
    assert {w.dtype for w in weights_in(tmp_path / "kept").values()} == {torch.bfloat16}
    same = weights_in(tmp_path / "half")
    assert all(torch.equal(w, same[n]) for n, w in weights_in(tmp_path / "kept").items())
    merge([places / "a", tmp_path / "half"], tmp_path / "widest", TWO)
    assert {w.dtype for w in weights_in(tmp_path / "widest").values()} == {torch.float32}
    assert json.loads((tmp_path / "widest" / "config.json").read_text())["dtype"] == "float32"
    merge([places / "a", places / "b"], tmp_path / "asked", TWO, dtype=torch.bfloat16)
    assert {w.dtype for w in weights_in(tmp_path / "asked").values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "asked").dtype == torch.bfloat16


def test_a_tied_head_is_merged_once_whether_it_is_written_or_not(tmp_path):
    base = qwen3(tied=True)
    write(moved(base, 1), tmp_path / "a")
    write(moved(base, 2), tmp_path / "b")
    file = tmp_path / "b" / "model.safetensors"
    stored = load_file(file)
    save_file(
        stored | {"lm_head.weight": stored["model.embed_tokens.weight"].clone()}, file, {"format": "pt"}
    )
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out", TWO)
    assert "lm_head.weight" not in weights_in(tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.lm_head.weight is model.model.embed_tokens.weight


def other_width(folder: Path, places: Path) -> Path:
    write(qwen3(), folder)
    file = folder / "model.safetensors"
    stored = load_file(file)
    stored["model.norm.weight"] = torch.zeros(16)
    save_file(stored, file, {"format": "pt"})
    return folder


def other_vocabulary(folder: Path, places: Path) -> Path:
    qwen3().save_pretrained(folder)
    train_tokenizer(["Quite other words: zebra, zenith."], 300).save_pretrained(folder)
    return folder


def other_config(folder: Path, places: Path) -> Path:
    shutil.copytree(places / "b", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    return folder


def lacking(folder: Path, places: Path) -> Path:
    shutil.copytree(places / "b", folder)
    stored = load_file(folder / "model.safetensors")
    del stored["model.layers.1.mlp.up_proj.weight"]
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    return folder


def cut_off(folder: Path, places: Path) -> Path:
    shutil.copytree(places / "b", folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return folder


def quantised(folder: Path, places: Path) -> Path:
    shutil.copytree(places / "b", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    return folder


def missing_file(folder: Path, places: Path) -> Path:
    shutil.copytree(places / "a", folder)
    min(folder.glob("*.safetensors")).unlink()
    return folder


def adapter(folder: Path, places: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_width, "model.norm.weight is \\[16\\] instead of \\[32\\]"),
        (other_vocabulary, "its tokenizer gives .* the id"),
        (other_config, "rms_norm_eps is 0.1"),
        (lacking, "it lacks model.layers.1.mlp.up_proj.weight"),
        (cut_off, "cut off within"),
        (quantised, "the model is quantised"),
        (missing_file, "is missing"),
        (adapter, "merge it into its base"),
    ],
)
def test_checkpoints_that_do_not_match_are_refused_before_anything_is_written(places, tmp_path, spoil, words):
    wrong = spoil(tmp_path / "wrong", places)
    with pytest.raises(ValueError, match=words):
        merge([places / "a", wrong], tmp_path / "out", TWO)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["wrong"]


@pytest.mark.parametrize(
    ("experts", "recipe", "words"),
    [
        ("ab", Recipe("sce", (1.0, 1.0)), "say of what with --base"),
        ("a", Recipe("linear", (1.0,)), "give at least two"),
        ("ab", Recipe("linear", (1.0,)), "1 weights for 2 experts"),
        ("ab", Recipe("linear", (1.0, 2.0)), "exists"),
    ],
)
def test_what_cannot_be_merged_is_refused(places, experts, recipe, words):
    with pytest.raises(ValueError, match=words):
        merge([places / name for name in experts], places / "base", recipe)


def test_sce_measures_its_own_weights(places, tmp_path):
    with pytest.raises(ValueError, match="measures its own"):
        merge([places / "a", places / "b"], tmp_path / "o", Recipe("sce", (1.0, 2.0)), base=places / "base")


def test_the_command(places, tmp_path, capsys):
    out = tmp_path / "out"
    typed = ["merge", str(places / "a"), str(places / "b"), "--base", str(places / "base"), "--out", str(out)]
    assert cli.main([*typed, "--density", "0.5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["method"] == "sce" and told["density"] == 0.5 and told["weights"] is None
    assert cli.main(typed) == 2
    assert "exists; choose another folder" in capsys.readouterr().err
    assert cli.main(["merge", str(out), str(places / "b"), "--method", "linear", "--out", f"{out}2"]) == 0
    assert capsys.readouterr().out == f"{out}2\n"
    assert cli.main([*typed[:-1], f"{out}3"]) == 0
    assert "experts oppose each other in " in capsys.readouterr().out


def test_the_bytes_are_safetensors(tmp_path):
    values = {"a": torch.arange(3, dtype=torch.bfloat16), "b": torch.tensor(2.5), "c": torch.zeros(0, 4)}
    shard = [Planned(name, value.dtype, tuple(value.shape)) for name, value in values.items()]
    write_shard(tmp_path / "x.safetensors", shard, lambda one: values[one.name])
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == values.keys() and all(torch.equal(found[n], values[n]) for n in values)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
