"""Recipes: stages are done once, in order, and again when asked; a kill costs nothing; nothing is mixed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.train.worlds  # noqa: F401  (registers worlds)
from forge_train import cli
from forge_train.config import ConfigError
from forge_train.evaluation.evaluate import NothingPlayed
from forge_train.recipes.agentforge import agentforge
from forge_train.recipes.iterate import iterate
from forge_train.recipes.plan import PLANS, Plan, laid_over, read_plan, run_of_plan, world_tables
from forge_train.recipes.recipes import stages_of
from forge_train.recipes.report import gather, write_recipe_report
from forge_train.recipes.stages import MANIFEST, Facts, Manifest, Stage, do, keys_of, opened
from forge_train.recipes.work import collect_stage, model_of

ROOT = Path(__file__).resolve().parents[2]


def counting(done: list[str], name: str, fail: Callable[[], bool] = lambda: False) -> Callable[[Path], Facts]:
    def work(out: Path) -> Facts:
        if fail():
            raise KeyboardInterrupt
        (out / name).mkdir(parents=True, exist_ok=True)
        done.append(name)
        return {"episodes": len(done)}

    return work


def chain(done: list[str], **settings: Any) -> list[Stage]:
    """a -> b -> d, a -> c."""
    needs = {"a": (), "b": ("a",), "c": ("a",), "d": ("b",)}
    return [
        Stage(name, f"does {name}", counting(done, name), {"lr": settings.get(name, 1)}, above)
        for name, above in needs.items()
    ]


def run(out: Path, stages: list[Stage], again_from: str | None = None) -> Manifest:
    with opened(out, "test", stages) as manifest:
        do(manifest, again_from=again_from)
        return manifest


def test_each_stage_is_done_once_and_in_order(tmp_path: Path) -> None:
    done: list[str] = []
    run(tmp_path / "r", chain(done))
    run(tmp_path / "r", chain(done))
    assert done == ["a", "b", "c", "d"]
    told = json.loads((tmp_path / "r" / MANIFEST).read_text())
    assert told["order"] == ["a", "b", "c", "d"]
    assert all(one["state"] == "done" for one in told["stages"].values())


def test_a_killed_recipe_goes_on_with_the_stage_that_was_under_way(tmp_path: Path) -> None:
    done: list[str] = []
    stages = chain(done)
    kills = iter([True, False])
    stages[2] = replace(stages[2], work=counting(done, "c", lambda: next(kills)))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "r", stages)
    told = json.loads((tmp_path / "r" / MANIFEST).read_text())["stages"]
    assert done == ["a", "b"] and told["c"]["state"] == "begun" and "d" not in told
    run(tmp_path / "r", stages)
    assert done == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("first", "again"), [("a", "abcd"), ("b", "bd"), ("c", "c"), ("d", "d")])
def test_from_does_a_stage_again_and_all_that_reads_it(tmp_path: Path, first: str, again: str) -> None:
    done: list[str] = []
    run(tmp_path / "r", chain(done))
    for name in "abcd":
        (tmp_path / "r" / name / "old").touch()
    done.clear()
    run(tmp_path / "r", chain(done), again_from=first)
    assert done == list(again)
    assert [n for n in "abcd" if not (tmp_path / "r" / n / "old").exists()] == list(again)


def test_other_settings_are_refused_with_their_name_until_the_stage_is_done_again(tmp_path: Path) -> None:
    done: list[str] = []
    run(tmp_path / "r", chain(done))
    with pytest.raises(
        ValueError, match=r"stage b was begun with other settings \(lr was 1 and is 2\).*--from b"
    ):
        run(tmp_path / "r", chain(done, b=2))
    assert done == ["a", "b", "c", "d"], "it is told before anything is done"
    run(tmp_path / "r", chain(done, b=2), again_from="b")
    assert done == ["a", "b", "c", "d", "b", "d"]


def test_what_a_stage_left_and_somebody_removed_is_made_again(tmp_path: Path) -> None:
    done: list[str] = []
    run(tmp_path / "r", chain(done))
    shutil.rmtree(tmp_path / "r" / "c")
    run(tmp_path / "r", chain(done))
    assert done == ["a", "b", "c", "d", "c"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match="is not empty and holds no recipe"):
        run(tmp_path, chain([]))
    done: list[str] = []
    run(tmp_path / "r", chain(done))
    with opened(tmp_path / "r", "test", chain(done)), pytest.raises(ValueError, match="another process"):
        run(tmp_path / "r", chain(done))
    with (
        pytest.raises(ValueError, match="holds the recipe test, not other"),
        opened(tmp_path / "r", "other", []),
    ):
        pass
    with pytest.raises(ValueError, match=r"no such stage; there are a, b, c, d$"):
        run(tmp_path / "r", chain(done), again_from="zebra")
    (tmp_path / "r" / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        run(tmp_path / "r", chain(done))


@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=8), st.integers(0, 7))
def test_a_change_reaches_exactly_what_reads_it(graph: list[set[int]], changed: int) -> None:
    def stages(value: int) -> list[Stage]:
        return [
            Stage(
                str(i),
                "",
                lambda out: {},
                {"x": value if i == changed else 0},
                tuple(str(n) for n in sorted(above) if n < i),
            )
            for i, above in enumerate(graph)
        ]

    before, after = keys_of(stages(0)), keys_of(stages(1))
    reached = {str(changed)} & before.keys()
    for stage in stages(0):
        if reached & set(stage.needs):
            reached.add(stage.name)
    assert {name for name in before if before[name] != after[name]} == reached


# --- plans ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("name", sorted(path.stem for path in PLANS.glob("*.toml")))
def test_every_run_of_every_plan_is_one_that_a_config_allows(name: str, small: bool) -> None:
    stages = stages_of(read_plan(name, small=small))
    assert stages[-1].name == "judge" and len({stage.name for stage in stages}) == len(stages)


def test_what_is_wrong_with_a_plan_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such recipe; known are agentforge, iterate"):
        read_plan("agentforg")
    with pytest.raises(ConfigError, match=r"steps = -1"):
        read_plan("agentforge", ["worlds.0.steps=-1"])
    with pytest.raises(ConfigError, match="a turn of code is not"):
        read_plan("agentforge", ["worlds.2.next_turn=1"])
    with pytest.raises(ConfigError, match='two are called "retail"'):
        read_plan("agentforge", ["worlds.1.name=retail"])
    with pytest.raises(ConfigError, match=r"stage supervised: sft\.lrr"):
        stages_of(read_plan("agentforge", ["supervised.sft.lrr=1"]))
    plan = tmp_path / "mine.toml"
    plan.write_text((PLANS / "agentforge.toml").read_text().partition("[small")[0])
    assert read_plan(str(plan)) == read_plan("agentforge")
    with pytest.raises(ConfigError, match=r"no table \[small\]"):
        read_plan(str(plan), small=True)


def test_a_slip_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom forge_train.cli import main\n"
        "code = main(['recipe', 'agentforge', '--out', 'x', 'sed=1'])\n"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env={"PYTHONPATH": str(ROOT), "PATH": ""}, check=False)  # fmt: skip
    assert done.stdout.strip() == "2 False", done.stderr
    assert "sed = 1: no such key; did you mean seed?" in done.stderr
    assert not (tmp_path / "x").exists()


def test_step_wise_samples_stand_beside_whole_episodes() -> None:
    plan = read_plan("agentforge")
    whole, turns = world_tables(plan.worlds[0])
    assert (whole["name"], turns["name"], turns["weight"]) == ("retail", "retail-turns", 0.25)
    assert turns["args"] == {"world": "Forge/Retail-v0", **whole["args"]}
    assert len(world_tables(plan.worlds[2])) == 1
    assert run_of_plan(plan, "x", [whole, turns])["worlds"] == [whole, turns]


TREES = st.dictionaries(
    st.sampled_from("abc"),
    st.one_of(st.integers(), st.dictionaries(st.sampled_from("xy"), st.integers())),
)


@given(TREES, TREES)
def test_what_is_laid_over_wins_and_nothing_else_changes(tree: dict[str, Any], over: dict[str, Any]) -> None:
    found = laid_over(tree, over)
    assert found.keys() == tree.keys() | over.keys()
    assert laid_over(found, over) == found
    assert all(found[key] == tree[key] for key in tree.keys() - over.keys())


def test_the_plan_of_the_page_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    [block] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "mine.toml"
    path.write_text(block)
    names = [stage.name for stage in stages_of(read_plan(str(path)))]
    told = re.findall(r"^\| `([\w/]+)` \|", page, re.MULTILINE)
    assert list(dict.fromkeys(name.partition("/")[0] for name in names)) == [
        name.removesuffix("/WORLD") for name in told
    ]


# --- whole recipes on a world of one table ------------------------------------------------------------------


def plan_of(recipe: str, **keys: Any) -> Plan:
    tree: dict[str, Any] = {
        "recipe": recipe,
        "worlds": [
            {"name": "echo", "id": "Test/Echo-v0", "demonstrations": 6, "tasks": 16, "steps": 1,
             "args": {"turns": 2}, "harder": {"turns": 3}},
        ],
        "every": {
            "run": {"threads": 1, "checkpoint_every": 1},
            "model": {"tiny": {"hidden": 32, "layers": 1, "vocab": 512}},
            "rollout": {"max_action": 12, "max_context": 512},
            "eval": {"tasks": 2, "repeats": 1, "k": [1]},
        },
        "supervised": {"sft": {"epochs": 1, "batch": 4}},
        "reinforced": {"rollout": {"groups": 2, "group_size": 3}, "algorithm": {"masked": ["deadline"]}},
        "together": {"run": {"steps": 1}},
        "select": {"tasks": 0},
        "judge": {"tasks": 3, "repeats": 1},
        "rounds": {"tasks": 3, "repeats": 2, "steps": 1},
    }  # fmt: skip
    return Plan.model_validate(laid_over(tree, keys))


def judged(out: Path) -> dict[str, Any]:
    return {
        str(p.relative_to(out)): json.loads(p.read_text())["tasks"] for p in (out / "judge").rglob("*.json")
    }


@pytest.mark.slow
def test_the_pipeline_goes_on_after_kills_to_the_same_numbers(tmp_path: Path) -> None:
    stages = agentforge(plan_of("agentforge"))
    assert [s.name for s in stages] == [
        "collect/echo", "data", "supervised", "rl/echo", "together", "judge",
    ]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with opened(whole, "agentforge", stages) as manifest:
        do(manifest)

    def kill(at: str) -> Callable[[Manifest, Stage | None], None]:
        def told(manifest: Manifest, stage: Stage | None) -> None:
            if stage is not None and stage.name == at:
                raise KeyboardInterrupt

        return told

    for at in ("supervised", "rl/echo", "judge"):
        with pytest.raises(KeyboardInterrupt), opened(killed, "agentforge", stages) as manifest:
            do(manifest, told=kill(at))
    with opened(killed, "agentforge", stages) as manifest:
        do(manifest)
    assert judged(whole) == judged(killed) and len(judged(whole)) == 3
    assert manifest.told["rl/echo"]["facts"]["updates"] == 1
    assert model_of(whole, "rl/echo").name == "step-000001"

    page = write_recipe_report(whole).read_text()
    assert page.startswith("<!DOCTYPE html>") and 'href="rl/echo/report.html"' in page
    told = (whole / "report.md").read_text()
    assert "| SFT, RL in echo |" in told and "## Tool use" in told and "## Coding" not in told
    found = gather(whole)
    assert [row["model"] for row in found["tables"][0]["rows"]] == [
        "start",
        "supervised",
        "rl/echo",
        "together",
    ]
    assert all(row["cells"]["echo"].score is not None for row in found["tables"][0]["rows"])


@pytest.mark.slow
def test_each_round_imitates_what_the_one_before_it_could_do(tmp_path: Path) -> None:
    plan = plan_of("iterate")
    stages = iterate(plan)
    assert [s.name for s in stages] == [
        "collect/echo", "data-1", "supervised-1", "rl-1",
        "collect-2/echo", "data-2", "supervised-2", "rl-2", "judge",
    ]  # fmt: skip
    assert stages[3].settings["worlds"][0]["args"] == {"turns": 2}
    assert stages[7].settings["worlds"][0]["args"] == {"turns": 3}
    assert stages[6].needs == ("data-2",) and stages[5].needs == ("collect/echo", "collect-2/echo")
    with opened(tmp_path / "r", "iterate", stages) as manifest:
        do(manifest)
    assert manifest.told["collect-2/echo"]["facts"]["kept"] == 0, "random weights solve nothing"
    assert manifest.told["data-2"]["facts"]["sources"] == {"collect/echo": 6, "collect-2/echo": 0}
    alone = plan_of("iterate", rounds={"demonstrations": False})
    stages = iterate(alone)
    assert stages[5].needs == ("collect-2/echo",)
    with opened(tmp_path / "r", "iterate", stages) as manifest:
        with pytest.raises(ValueError, match=r"collect-2/echo kept nothing, so there is nothing to imitate"):
            do(manifest, again_from="data-2")
        assert not manifest.done(stages[5]) and manifest.done(stages[4])


def test_a_teacher_who_shows_nothing_is_refused(tmp_path: Path) -> None:
    world = {"name": "echo", "id": "Test/Echo-v0", "args": {"fault": "machine"}}
    with pytest.raises(NothingPlayed, match="echo: all 2 plays failed, the last by sandbox in"):
        collect_stage(tmp_path, "collect", world, 2, by="gold", seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["agentforge", pytest.param("iterate", marks=pytest.mark.matrix)])
def test_a_recipe_in_small_goes_from_demonstrations_to_a_report(name: str, tmp_path: Path) -> None:
    if name == "agentforge":
        pytest.importorskip("forge_train.selection", reason="its merge and selection are not there yet")
    out = tmp_path / name
    argv = ["recipe", name, "every.run.threads=1", "--small", "--out", str(out)]
    assert cli.main(argv) == 0
    told = json.loads((out / MANIFEST).read_text())
    assert all(told["stages"][stage]["state"] == "done" for stage in told["order"])
    page = (out / "report.md").read_text()
    assert page.count("## Tool use") == 1 and (out / "report.html").is_file()
    if name == "agentforge":
        assert "| SFT, RL by world, merged |" in page and "## Coding" in page and "### polyglot" in page
    before = (out / MANIFEST).read_bytes()
    assert cli.main(argv) == 0
    assert (out / MANIFEST).read_bytes() == before, "there is nothing left to do"


def test_a_report_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no recipe here \(no recipe\.json\)"):
        write_recipe_report(tmp_path)
    assert cli.main(["recipe", "nothing", "--out", str(tmp_path / "x")]) == 2
