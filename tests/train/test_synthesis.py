"""Data recipes: what is made of pages and plays is true, resumable, and what is dropped is told."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train import sft, tiny
from forge_train.cli import main
from forge_train.config import ContextConfig, LossConfig, OptimConfig, load
from forge_train.learn.learner import Learner
from forge_train.play.past import Limits
from forge_train.play.renderer import ChatML
from forge_train.recipes.synthesis.fas import Draft, first_order
from forge_train.recipes.synthesis.fuse import EMPTY, fuse, split_thought
from forge_train.recipes.synthesis.has import higher_order
from forge_train.recipes.synthesis.memory import Fact, Finder, SourcePage, memory_of, read_pages, sentences
from forge_train.recipes.synthesis.mix import mix
from forge_train.recipes.synthesis.questions import Memory, fault_of
from forge_train.recipes.synthesis.rounds import accepted_rounds
from forge_train.recipes.synthesis.shelf import Made, Shelf, length_of
from forge_train.trajectory import WORLD
from tests.endpoint import Endpoint
from tests.train.models import qwen3_of
from tests.train.test_config import WORLD as A_WORLD

ROOT = Path(__file__).parents[2]
NAMES = ["Ana Duarte", "Bela Korvin", "Cyra Holt", "Dov Amsel", "Edda Brandt", "Fio Lund"]
TOWNS = ["Marrow", "Teal Bay", "Ostwick"]


def pages() -> list[SourcePage]:
    """People who were born in a town and founded a firm each; a firm is a page, a town is one."""
    found = []
    for i, name in enumerate(NAMES):
        town, firm = TOWNS[i % 3], f"{['Oro', 'Vex', 'Lumen', 'Pike', 'Quill', 'Tarn'][i]} Works"
        text = (
            f"# {name}\n\n{name} was born in [{town}](towns/{i % 3}) in 19{40 + i}. "
            f"{name} founded [{firm}](firms/{i}) with {i + 2} friends.\n\n| a | table of {name} |\n"
        )
        found.append(SourcePage(f"people/{i}", name, text))
        found.append(
            SourcePage(f"firms/{i}", firm, f"{firm} makes {['lamps', 'kites', 'bells'][i % 3]} of type {i}.")
        )
    return found + [
        SourcePage(f"towns/{i}", town, f"{town} lies on river number {i}.") for i, town in enumerate(TOWNS)
    ]


def written(folder: Path) -> Path:
    path = folder / "pages.jsonl"
    path.write_text("".join(json.dumps(vars_of(page)) + "\n" for page in pages()))
    return path


def vars_of(page: SourcePage) -> dict[str, str]:
    return {name: getattr(page, name) for name in ("address", "title", "text", "date")}


def samples(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]


# -- memory and questions -------------------------------------------------------------------------


def test_a_memory_holds_statements_by_entity_and_no_tables() -> None:
    memory = memory_of(pages())
    assert {fact.text for fact in memory["Ana Duarte"]} == {
        "Ana Duarte was born in Marrow in 1940.",
        "Ana Duarte founded Oro Works with 2 friends.",
    }
    assert {fact.page for fact in memory["Oro Works"]} == {"people/0", "firms/0"}
    assert len(memory["Marrow"]) == 3
    fact = memory["Oro Works"][0]
    assert fact.without("Oro Works", "[A]") == "Ana Duarte founded [A] with 2 friends."


def test_sentences_end_where_they_end() -> None:
    assert sentences("One is here. Two\nis there!\n\n## No\n\n- Three. four.") == [
        "One is here.",
        "Two\nis there!",
        "Three. four.",
    ]


def test_every_question_has_one_answer_which_it_does_not_tell() -> None:
    facts = memory_of(pages())
    memory, kinds = Memory(facts), set()
    for entity in facts:
        for asked in memory.questions(entity, random.Random(0)):
            if fault_of(asked, memory):
                continue
            kinds.add(asked.kind)
            assert asked.answer == entity and entity not in asked.text
            if asked.kind == "bridge":  # an answer by hand: both lines, filled in with any two entities
                lines = asked.text.splitlines()[1:]
                known = {fact.text for found in facts.values() for fact in found}
                fits = {
                    a
                    for a in facts
                    for b in facts
                    if all(line.replace("[A]", a).replace("[B]", b) in known for line in lines)
                }
                assert fits == {entity}
    assert kinds == {"one", "two", "bridge"}


def test_a_question_that_two_entities_fit_is_none() -> None:
    facts = {
        name: [Fact(f"{name} was born in the old town.", ((name, name),), name)] for name in ("Ana", "Bela")
    }
    memory = Memory(facts)
    [asked] = memory.questions("Ana", random.Random(0))
    assert fault_of(asked, memory) == "another answer fits as well"


def test_bm25_ranks_as_by_hand() -> None:
    finder = Finder([SourcePage(str(i), "", text) for i, text in enumerate(("a b", "a a b b", "c"))])
    assert finder.find("a") == ["0", "1"] or finder.find("a") == ["1", "0"]
    assert finder.find("c") == ["2"] and finder.find("nowhere") == []
    assert finder.rarity("c") > finder.rarity("a")


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "no page with text"), ('{"address": "a", "title": "b"}\n', "page 1 lacks 'text'"),
     ('{"address": "a", "title": 3, "text": "c"}\n', "are texts")],
)  # fmt: skip
def test_bad_pages_are_named(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=why):
        read_pages(path)
    with pytest.raises(ValueError, match="no such file"):
        read_pages(tmp_path / "nothing")


def test_a_folder_of_files_is_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.md").write_text("# Ana\n\nAna was here.")
    (tmp_path / "two_words.txt").write_text("Text.")
    assert [(p.address, p.title) for p in read_pages(tmp_path)] == [
        ("a/one.md", "Ana"),
        ("two_words.txt", "two words"),
    ]


# -- first-order actions --------------------------------------------------------------------------


def test_first_order_actions_are_true_and_resumable(tmp_path: Path) -> None:
    path, finder = written(tmp_path), Finder(pages())
    report = asyncio.run(first_order(path, tmp_path / "fas", questions=3, seed=1))
    found = samples(tmp_path / "fas")
    assert report["kept"] == len(found) > 20 and {s["kind"] for s in found} == {"plan", "reason"}
    facts = {fact.text: fact for known in memory_of(pages()).values() for fact in known}
    for sample in found:
        answer = sample["messages"][-1]
        if sample["kind"] == "plan":
            [call] = answer["tool_calls"]
            assert sample["entity"] not in json.dumps(answer)
            assert finder.find(call["function"]["arguments"]["query"])
        else:
            assert answer["content"].endswith(f"Answer: {sample['entity']}")
            given = sample["messages"][1]["content"].partition("Known facts:\n")[2].splitlines()
            told = [
                given[int(n) - 1].partition(". ")[2] for n in re.findall(r"[Ff]act (\d+)", answer["content"])
            ]
            assert told and any(sample["entity"] in dict(facts[text].names) for text in told)
    again = tmp_path / "again"
    asyncio.run(first_order(path, again, questions=3, seed=1, entities=4))  # as if killed
    work = (again / "work.jsonl").read_bytes()
    (again / "work.jsonl").write_bytes(work[: len(work) - 20])  # the last line torn
    assert asyncio.run(first_order(path, again, questions=3, seed=1)) == report
    assert samples(again) == found
    with pytest.raises(ValueError, match="filled with questions = 3, not 2"):
        asyncio.run(first_order(path, again, questions=2, seed=1))


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        (None, "what was written cannot be read"),
        (Draft("I look.", "river", ("a", "b"), "Nobody"), "the reasoning comes to another answer"),
        (Draft("It is Zeb Orr.", "river", ("a", "b"), "Zeb Orr"), "the plan knows the answer"),
        (Draft("I look.", "zzz", ("a", "b"), "Zeb Orr"), "the first call finds no page that is needed"),
    ],
)
def test_what_a_model_writes_passes_the_same_checks(tmp_path: Path, draft: Draft | None, reason: str) -> None:
    path = tmp_path / "pages.jsonl"
    text = "Zeb Orr swam down the river alone. Zeb Orr kept eleven bees on a roof."
    path.write_text(json.dumps({"address": "z", "title": "Zeb Orr", "text": text}) + "\n")

    async def write(*_: Any) -> Draft | None:
        return draft

    report = asyncio.run(first_order(path, tmp_path / "out", by="scripted", write=write))
    assert report["kept"] == 0 and set(report["dropped"]) == {reason}


def test_a_model_behind_an_endpoint_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(request: Mapping[str, Any]) -> str:
        rules, text = (message["content"] for message in request["messages"])
        if '"query"' in rules:
            query = " ".join(re.findall(r"[a-z]{4,}|\d+", text.splitlines()[-1]))
            return "So: " + json.dumps({"analysis": "I look for what few pages say.", "query": query})
        if '"supported"' in rules:
            return json.dumps({"supported": "1940" not in text})
        names = [name for name in [*NAMES, *TOWNS] if name in text.partition("Facts:")[2]]
        return json.dumps({"first": "One.", "second": "Two.", "answer": names[0] if names else "?"})

    with Endpoint(answer) as endpoint:
        typed = ["data", "fas", str(written(tmp_path)), "--out", str(tmp_path / "o"), "--by", endpoint.spec()]
        assert main([*typed, "--entities", "4", "--distractors", "0"]) == 0
        asked = len(endpoint.asked)
        assert main([*typed, "--entities", "4", "--distractors", "0"]) == 0
        assert asked and len(endpoint.asked) == asked, "nothing is asked twice"
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["kept"] > 0 and "what was written cannot be read" in report["dropped"]
    assert 'sft.path = "' in capsys.readouterr().out


# -- higher-order actions -------------------------------------------------------------------------


def play(
    task: str, repetition: int, actions: Sequence[str], outcome: float = 1.0, **more: Any
) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "S"}, {"role": "user", "content": task}]
    for number, action in enumerate(actions):
        messages += [
            {"role": "assistant", "content": action},
            {"role": "tool", "name": "t", "content": f"R{number}"},
        ]
    base = {
        "task": task,
        "repetition": repetition,
        "world": "w",
        "outcome": outcome,
        "error": None,
        "graded": True,
    }
    return base | {"ending": "terminated", "opening": 2, "messages": messages} | more


def stored(folder: Path, plays: Sequence[Mapping[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "plays.jsonl").write_text("".join(json.dumps(one) + "\n" for one in plays))
    return folder


def test_higher_order_actions_hide_the_real_one_and_end_with_the_verdict(tmp_path: Path) -> None:
    plays = [play("t", i, [f"a{i}", f"b{i}"], outcome=float(i % 2)) for i in range(5)]
    plays += [play("u", 0, ["c", "d"])]
    report = asyncio.run(higher_order(stored(tmp_path / "p", plays), tmp_path / "has", options=3, steps=2))
    assert report["kept"] == 6 and report["dropped"] == {}
    places = set()
    for one, sample in zip(plays, samples(tmp_path / "has"), strict=True):
        for at, (before, now) in enumerate(zip(one["messages"], sample["messages"], strict=False)):
            if before["role"] != "assistant":
                assert now["content"] == before["content"], f"message {at} is the world's real answer"
                continue
            options = re.findall(r"Option \d+:\n(\S+)", now["content"])
            number = int(re.search(r"I will choose option (\d)\.", now["content"])[1])  # type: ignore[index]
            assert len(set(options)) == 4 and options[number - 1] == before["content"]
            places.add(number)
        wanted = "Correct" if one["outcome"] == 1.0 else "Incorrect"
        assert sample["messages"][-1]["content"] == f"My decision is {wanted}."
    assert len(places) > 1, "the real one is not always at the same place"


def test_plays_that_make_no_choice_are_dropped_by_name(tmp_path: Path) -> None:
    plays = [
        play("t", 0, ["a"]),
        play("t", 1, ["a "]),
        play("t", 2, [], graded=True),
        play("t", 3, ["x"], error={"kind": "gone"}),
        play("t", 4, ["y"], graded=False),
    ]
    report = asyncio.run(higher_order(stored(tmp_path / "p", plays), tmp_path / "has", options=4))
    assert report["kept"] == 0
    assert report["dropped"] == {
        "too few other actions at any step": 2,
        "nothing was done in it": 1,
        "a machine failed": 1,
        "it has no verdict": 1,
    }


def test_other_actions_of_a_model_are_different_ones(tmp_path: Path) -> None:
    said = iter(["a", "b", "b", "c", "d"] * 4)

    async def sample(messages: Sequence[Mapping[str, Any]], seed: int) -> str:
        assert messages[-1]["role"] != "assistant"
        return next(said)

    report = asyncio.run(
        higher_order(
            stored(tmp_path / "p", [play("t", 0, ["a"])]), tmp_path / "o", options=2, by="m", sample=sample
        )
    )
    text = samples(tmp_path / "o")[0]["messages"][2]["content"]
    assert report["kept"] == 1 and sorted(re.findall(r"Option \d:\n(\w)", text)) == ["a", "b", "c"]


# -- rounds ---------------------------------------------------------------------------------------


def run_of(task: str, repetition: int, rounds: int = 3, **more: Any) -> dict[str, Any]:
    lesson: list[dict[str, Any]] = [{"role": "user", "content": task}]
    for number in range(rounds):
        lesson.append(
            {
                "role": "assistant",
                "content": f"<report>{task} {number}</report>Look {number}",
                "sampled": True,
            }
        )
        if number < rounds - 1:
            lesson.append({"role": "user", "content": f"Heard {number}"})
    return play(task, repetition, ["x"], lesson=lesson, **more)


def test_accepted_rounds_are_learned_once_each_and_the_rest_is_told(tmp_path: Path) -> None:
    first = [run_of("t", 0, outcome=0.0), run_of("t", 1), run_of("t", 2), run_of("u", 0, rounds=1)]
    later = [run_of("v", 0, ending="tokens"), run_of("v", 1), play("w", 0, ["x"])]
    bare = run_of("x", 0)
    bare["lesson"][1]["content"] = "Look"
    report = accepted_rounds(
        [stored(tmp_path / "a", first), stored(tmp_path / "b", [*later, bare])], tmp_path / "o"
    )
    assert report["kept"] == 2 and report["dropped"] == {
        "its answer is not right": 1,
        "enough of its task": 1,
        "fewer than 2 rounds": 1,
        "it ended by tokens": 1,
        "it was not played in rounds": 1,
        "a round without a report": 1,
    }
    [messages, _] = sft.read_episodes(tmp_path / "o" / "episodes.jsonl")
    renderer = ChatML(tiny.train_tokenizer(tiny.texts_of([messages]), 300))
    context = ContextConfig(kind="iterresearch")
    [run] = sft.trajectories([messages], renderer, (), context, Limits(4096, 512))
    assert len(run.segments) == 3, "a segment a round"
    for number, segment in enumerate(run.segments):
        learned = [t for t, a in zip(segment.tokens, segment.action, strict=True) if a != WORLD]
        assert {a for a in segment.action if a != WORLD} == {number}
        assert renderer.text(learned) == f"<report>t {number}</report>Look {number}"
        seen = renderer.text([t for t, a in zip(segment.tokens, segment.action, strict=True) if a == WORLD])
        assert (f"t {number - 1}" in seen) == (number > 0) and f"t {number - 2}" not in seen


# -- two modes of thinking ------------------------------------------------------------------------


def lines(path: Path, *answers: str, asked: str = "Q") -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"{asked}{i}"}, {"role": "assistant", "content": text}]}
        for i, text in enumerate(answers)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_modes_are_fused_with_an_empty_block_and_words_at_the_end(tmp_path: Path) -> None:
    thinking = lines(
        tmp_path / "a.jsonl", *[f"<think>\nHm {i}.\n</think>\n\nYes {i}." for i in range(40)], "No thought."
    )
    plain = lines(tmp_path / "b.jsonl", "<think>\nGone.\n</think>\n\nNo.", "Plain.", "<think>open", asked="P")
    report = fuse(thinking, plain, tmp_path / "o", silent=0.5)
    kinds = report["kinds"]
    assert kinds["plain"] == 2 and kinds["thinking"] + kinds["thinking, by itself"] == 40
    assert 8 <= kinds["thinking"] <= 32
    assert report["dropped"] == {
        "an action without a thought, to be learned as thinking": 1,
        "thoughts are opened and not closed, or twice": 1,
    }
    for sample in samples(tmp_path / "o"):
        asked, said = (message["content"] for message in sample["messages"])
        if sample["kind"] == "plain":
            assert asked.endswith(" /no_think") and said.startswith(EMPTY) and "Gone" not in said
        else:
            assert asked.endswith(" /think") == (sample["kind"] == "thinking") and "/no_think" not in asked
            assert said.startswith("<think>\nHm") and said.endswith(".")


def test_fused_samples_are_what_the_template_of_qwen3_writes(tmp_path: Path) -> None:
    template = pytest.importorskip("trl.chat_template_utils", reason="TRL ships the template")
    source = getattr(template, "qwen3_chat_template", None)
    if source is None:
        pytest.skip("this TRL has no template of Qwen3")
    import jinja2

    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    asked = [{"role": "user", "content": "Q /no_think"}]
    prompt = env.from_string(source).render(messages=asked, add_generation_prompt=True, enable_thinking=False)
    assert prompt.endswith(f"<|im_start|>assistant\n{EMPTY}")


@given(st.text(alphabet="ab \n", max_size=20), st.text(alphabet="ab .\n", max_size=20))
def test_a_thought_is_split_from_what_is_said(thought: str, rest: str) -> None:
    text = f"<think>\n{thought}\n</think>\n\n{rest.lstrip()}"
    assert split_thought({"content": text}) == (thought.strip(), rest.lstrip())
    assert split_thought({"content": text + "</think>"})[0] is None


# -- mixtures -------------------------------------------------------------------------------------


def sized(path: Path, sizes: Sequence[int]) -> str:
    rows = [
        {
            "kind": path.stem,
            "messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "x" * (n - 4)}],
        }
        for n in sizes
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@given(
    st.lists(st.integers(5, 60), min_size=1, max_size=30),
    st.lists(st.integers(5, 60), min_size=1, max_size=30),
    st.floats(0.2, 5.0),
)
def test_a_mixture_keeps_shares_and_lengths(
    tmp_path_factory: pytest.TempPathFactory, one: list[int], two: list[int], share: float
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    sources = {sized(folder / "a.jsonl", one): share, sized(folder / "b.jsonl", two): 1.0}
    report = mix(sources, folder / "o", stages=[30, 50])
    assert report["dropped"]["longer than the last stage"] == sum(n > 50 for n in one + two)
    low = 0
    for number, high in enumerate((30, 50), 1):
        rows = [
            json.loads(line) for line in (folder / "o" / f"stage-{number}.jsonl").read_text().splitlines()
        ]
        assert all(low < length_of(row) <= high for row in rows)
        fresh = [[n for n in sizes if low < n <= high] for sizes in (one, two)]
        sums = [sum(length_of(row) for row in rows if row["kind"] == kind) for kind in "ab"]
        if all(fresh):
            unit = min(sum(fresh[0]) / share, sum(fresh[1]))
            assert (
                unit * share - high < sums[0] <= unit * share + 1e-6 and unit - high < sums[1] <= unit + 1e-6
            )
        low = high


def test_later_stages_see_short_samples_again(tmp_path: Path) -> None:
    source = sized(tmp_path / "a.jsonl", [10] * 50 + [100] * 5)
    report = mix({source: 1.0}, tmp_path / "o", stages=[20, 200], again=0.2)
    first, second = report["stages"]
    assert first["length"] == 500 and second["length"] == pytest.approx(500 / 0.8, abs=10)
    for wrong in ({"stages": [20, 20]}, {"stages": []}, {"stages": [9], "again": 1.0}):
        with pytest.raises(ValueError, match=r"stages|again"):
            mix({source: 1.0}, tmp_path / "p", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shares"):
        mix({source: 0.0}, tmp_path / "p", stages=[9])


def test_a_shelf_drops_what_is_alike_or_long(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, {"recipe": "x"}, longest=10)
    line = {"kind": "k", "messages": [{"role": "user", "content": "abc"}]}
    shelf.put(Made("a", (line,)))
    shelf.put(Made("b", (line, {"kind": "k", "messages": [{"role": "user", "content": "a" * 11}]})))
    assert shelf.finish(["a", "b"])["dropped"] == {"like another sample": 1, "longer than --longest": 1}


# -- learning all text ----------------------------------------------------------------------------

EPISODE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How many are 7 and 5?"},
    {"role": "assistant", "content": "12."},
    {"role": "user", "content": "And 6?"},
    {"role": "assistant", "content": "18."},
    {"role": "user", "content": "Bye."},
]


@pytest.mark.parametrize("learn", ["text", "after_system"])
def test_all_text_is_learned_as_a_language_model_learns_it(learn: str) -> None:
    import torch

    tokenizer = tiny.train_tokenizer(tiny.texts_of([EPISODE]), 300)
    renderer = ChatML(tokenizer)
    [plain] = sft.trajectories([EPISODE], renderer, ())
    [trajectory] = sft.trajectories([EPISODE], renderer, (), learn=learn)
    [segment] = trajectory.segments
    assert segment.tokens == plain.segments[0].tokens and trajectory.versions == plain.versions
    hidden = 1 if learn == "text" else sft.system_tokens(EPISODE, renderer)
    assert [a == WORLD for a in segment.action] == [i < hidden for i in range(len(segment.tokens))]
    if learn == "after_system":
        assert "Be brief." in renderer.text(segment.tokens[:hidden])
        assert "How" in renderer.text(segment.tokens[hidden:])
    model = qwen3_of(tokenizer)
    ids = torch.tensor([segment.tokens])
    targets = ids.clone()
    targets[0, :hidden] = -100
    expected = model(ids, labels=targets).loss.item()
    for micro in (10_000, 16):
        learner = Learner(qwen3_of(tokenizer), OptimConfig(grad_clip=1e9, micro_tokens=micro))
        stats = learner.update(
            [trajectory, trajectory], [[1.0] * len(plain.versions)] * 2, LossConfig(objective="nll")
        )
        assert stats["loss"] == pytest.approx(expected, abs=1e-4)


def test_all_text_is_refused_where_it_would_count_twice(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("")
    common = [A_WORLD, 'sft.learn="text"']
    assert load(path, [*common, "sft.episodes=3"]).sft.learn == "text"
    for more, why in (
        ([], "no episodes"),
        (["sft.episodes=3", 'context.kind="iterresearch"'], "context.kind"),
        (["sft.episodes=3", 'thinking.past="drop"'], "thinking.past"),
    ):
        with pytest.raises(ValueError, match=why):
            load(path, [*common, *more])


# -- commands and pages ---------------------------------------------------------------------------


def test_the_commands_work_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plays = stored(tmp_path / "p", [play("t", i, [f"a{i}", f"b{i}"]) for i in range(5)])
    runs = stored(tmp_path / "r", [run_of("t", 0)])
    out = {name: str(tmp_path / name) for name in ("fas", "has", "rounds", "fuse", "mix")}
    thinking = str(lines(tmp_path / "a.jsonl", "<think>\nHm.\n</think>\n\nYes."))
    plain = str(lines(tmp_path / "b.jsonl", "No.", asked="P"))
    for typed in (
        ["fas", str(written(tmp_path)), "--out", out["fas"]],
        ["has", str(plays), "--out", out["has"]],
        ["rounds", str(runs), "--out", out["rounds"]],
        ["fuse", thinking, plain, "--out", out["fuse"]],
        ["mix", f"{out['fas']}=2", f"{out['has']}=1", "--out", out["mix"], "--stages", "400", "4000"],
    ):
        assert main(["data", *typed]) == 0, typed
    for name in ("fas", "has", "rounds", "fuse"):
        assert sft.read_episodes(Path(out[name]) / "episodes.jsonl")
    assert sft.read_episodes(Path(out["mix"]) / "stage-2.jsonl")
    capsys.readouterr()
    assert main(["data", "mix", "nothing", "--out", out["mix"], "--stages", "9"]) == 2
    assert "FILE=SHARE" in capsys.readouterr().err


BLOCKS = [
    pytest.param(block, id=f"{name}-{i}")
    for name in ("data_recipes", "agentless")
    for i, block in enumerate(
        re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / f"{name}.md").read_text(), re.DOTALL)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_config_of_these_pages_loads(block: str, tmp_path: Path) -> None:
    (tmp_path / "page.toml").write_text(block)
    assert load(tmp_path / "page.toml", [] if "[[worlds]]" in block else [A_WORLD]).run
