"""Forge/Search-v0 as a world: what is shown, what counts as evidence, which answers win, what is refused."""

import json
import multiprocessing
import random

import gymnasium as gym
import pytest

from forge_envs.errors import TaskError
from forge_envs.messages import ToolCall
from forge_envs.testing import check_world
from forge_envs.worlds.search import web as webs
from forge_envs.worlds.search.env import NOBODY, SearchEnv
from forge_envs.worlds.search.graph import NOW
from forge_envs.worlds.search.snippets import flat
from forge_envs.worlds.search.walk import LEVELS
from forge_envs.worlds.search.web import WebAddress, cache_folder, library_of, questions_of
from tests.endpoint import Endpoint

WORLD, SMALL = "Forge/Search-v0", 300


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Webs of these tests, drawn by the code as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        questions_of.cache_clear()
        yield
    questions_of.cache_clear()


def make(**kwargs) -> SearchEnv:
    return gym.make(WORLD, **{"entities": SMALL, **kwargs}).unwrapped


def say(env: SearchEnv, name: str, **arguments) -> str:
    return env.grammar.write(calls=[ToolCall(name, arguments)])


@pytest.mark.parametrize("level", LEVELS)
def test_it_keeps_the_contract_at_every_level(level):
    check_world(WORLD, tasks=3, entities=SMALL, level=level)


@pytest.mark.parametrize("level", LEVELS)
def test_gold_sees_all_evidence_turn_by_turn(level):
    env = make(level=level, turn_weight=1.0, budget=200 if level == 5 else 2400)
    for id in env.task_ids(n=8):
        env.reset(options={"task": id})
        gained = 0.0
        for action in env.gold_actions(id):
            *_, info = env.step(action)
            gained += info["turn_reward"]
        assert info["outcome"] == 1.0 and info["parts"]["exact"] == 1.0
        if level < 5:  # of a page cut to 200 characters the goal may show another line
            assert gained == pytest.approx(1.0) and info["parts"]["evidence"] == 1.0


def test_gold_never_says_what_it_has_not_read():
    env, told_before = make(level=2), 0
    for id in env.task_ids(n=40):
        messages, _ = env.reset(options={"task": id})
        known = " ".join(message["content"] for message in messages)
        for action in env.gold_actions(id)[:-1]:
            (call,) = env.grammar.parse(action).calls
            words = (call.arguments.get("query") or call.arguments["goal"]).split(": ")[0]
            told_before += words in known
            known += env.step(action)[0][0]["content"]
        if env.task.question.kind in ("date", "number"):
            assert env.task.question.answer not in "".join(env.gold_actions(id)[:-1])
    assert told_before > 0.8 * 4 * 40


def test_gold_reads_on_until_it_has_seen_what_it_says():
    env = make(entities=1000, level=1, budget=200)
    seen = 0
    for id in env.task_ids(n=40):
        env.reset(options={"task": id})
        *reading, _ = env.gold_actions(id)
        shown = " ".join(env.step(action)[0][0]["content"] for action in reading)
        seen += flat(env.task.question.answer).casefold() in flat(shown).casefold()
    assert seen >= 38  # a name may be torn apart between two parts, under two headings


def test_gold_visits_what_its_search_listed():
    env, visits, listed = make(level=1, results=3), 0, 0
    for id in env.task_ids():
        env.reset(options={"task": id})
        known = env.task.question.text
        for action in env.gold_actions(id)[:-1]:
            (call,) = env.grammar.parse(action).calls
            if call.name == "visit":
                visits += 1
                listed += f"| {call.arguments['page']} |" in known
            known += env.step(action)[0][0]["content"]
    assert visits > 50 and listed > 0.95 * visits  # a search for the title alone lists 0.89


def test_hits_without_snippets_tell_title_address_and_date_alone():
    long, short = make(), make(snippets=False)
    for env in (long, short):
        env.reset(options={"task": env.task_ids()[0]})
    query = {"query": long.task.question.text}
    told, less = (env.step(say(env, "search", **query))[0][0]["content"] for env in (long, short))
    lines = told.split("\n")
    assert less.split("\n") == [lines[0], *lines[1::2]] and all(" | " in line for line in lines[1::2])


def test_only_a_visit_that_shows_the_quote_is_evidence():
    env = make()
    id = env.task_ids()[0]
    env.reset(options={"task": id})
    (statement, *_) = env.task.question.proof[0].statements
    env.step(say(env, "search", query=env.task.question.text))
    assert env.playing.progress == 0.0
    *_, info = env.step(say(env, "visit", page=statement.page))
    assert info["parts"] == {"progress": 1.0} and info["turn_reward"] == 1.0
    *_, info = env.step(say(env, "visit", page=statement.page))
    assert info["turn_reward"] == 0.0


def test_any_page_that_states_a_step_counts_and_a_page_that_does_not_counts_nothing():
    env, seen = make(), 0
    for id in env.task_ids():
        env.reset(options={"task": id})
        pages = {statement.page for statement in env.task.question.proof[0].statements}
        for page in sorted(pages):
            env.reset(options={"task": id})
            *_, info = env.step(say(env, "visit", page=page))
            assert info["parts"] == {"progress": 1.0}
        seen += len(pages) > 1
    assert seen > 10
    other = next(p.address for p in library_of(env.task.web).pages() if p.address not in pages)
    env.reset(options={"task": id})
    *_, info = env.step(say(env, "visit", page=other))
    assert info["parts"] == {}


def test_an_answer_ends_it_and_other_prose_reaches_nobody():
    env = make()
    id = env.task_ids()[0]
    env.reset(options={"task": id})
    right = env.task.question.answer
    messages, reward, terminated, *_ = env.step(f"I think it is {right}.")
    assert (messages[0]["content"], reward, terminated) == (NOBODY, 0.0, False)
    *_, terminated, _, info = env.step(f"Done. <answer>the {right.upper()}.</answer>")
    assert terminated and info["outcome"] == 1.0 and info["parts"] == {"exact": 1.0, "evidence": 0.0}
    for wrong in (f"{right} or Lornwick", "", f"{right}</answer><answer>Lornwick", "x" * 10_000):
        env.reset(options={"task": id})
        *_, terminated, _, info = env.step(f"<answer>{wrong}</answer>")
        assert terminated and info["outcome"] == 0.0


def test_the_opening_tells_the_rules_by_which_dates_and_vague_words_are_read():
    messages, _ = make(level=5).reset(seed=0)
    rules = messages[0]["content"]
    assert str(NOW) in rules and "later date counts" in rules and "0 to 3 are early" in rules
    assert [tool["function"]["name"] for tool in messages[0]["tools"]] == ["search", "visit"]


def test_a_compact_prompt_tells_the_tools_in_a_line():
    messages, _ = make(prompt="compact").reset(seed=0)
    assert "tools" not in messages[0] and "search {query}" in messages[0]["content"]
    assert len(messages[0]["content"]) < 200


def test_results_and_budget_bound_what_is_shown():
    env = make(results=2, budget=250)
    env.reset(seed=1)
    town = next(p.title for p in library_of(env.task.web).pages() if p.address.startswith("towns/"))
    (found,), *_ = env.step(say(env, "search", query=town))
    assert found["content"].startswith("2 pages found.")
    longest = max(library_of(env.task.web).pages(), key=lambda page: len(page.text))
    (shown,), *_ = env.step(say(env, "visit", page=longest.address, goal="name"))
    assert len(shown["content"]) < 250 + 400 < len(longest.text)


def test_a_page_that_is_not_there_is_refused_with_its_neighbours():
    env = make()
    env.reset(seed=0)
    (told,), *_, info = env.step(say(env, "visit", page="people/nobody-at-all"))
    assert told["content"].startswith("Error: there is no page") and "people/" in told["content"]
    assert info["parts"] == {"refused": -0.05}


# -- a judge ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("met", [True, False])
def test_a_judge_is_asked_about_what_is_not_word_for_word_right_and_counts_under_its_own_name(met):
    with Endpoint(lambda body: json.dumps({"reason": "So it is.", "met": met})) as endpoint:
        env = make(judge=endpoint.spec())
        assert not env.metadata["quick"] and make().metadata["quick"]
        id = env.task_ids()[0]
        env.reset(options={"task": id})
        *_, info = env.step("<answer>somebody whose name I forgot</answer>")
        assert info["parts"] == {"exact": 0.0, "evidence": 0.0, "judged": float(met)}
        assert info["outcome"] == float(met) and len(endpoint.asked) == 1
        shown = json.dumps(endpoint.asked[0])
        assert env.task.question.answer in shown and "somebody whose name I forgot" in shown
        env.reset(options={"task": id})
        *_, info = env.step(f"<answer>{env.task.question.answer}</answer>")
        assert info["parts"]["judged"] == info["parts"]["exact"] == 1.0
        for silent in ("<answer></answer>", "<answer> </answer>"):
            env.reset(options={"task": id})
            assert env.step(silent)[-1]["outcome"] == 0.0
        assert len(endpoint.asked) == 1


# -- webs on disk ----------------------------------------------------------------------------------------


def test_a_web_is_drawn_once_and_all_processes_read_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        found = pool.map(_first_question, range(8))
    assert len(set(found)) == 1
    names = sorted(path.name for path in cache_folder().iterdir() if not path.name.endswith(".lock"))
    assert names == ["test-120-5-2.jsonl", "test-120-5.sqlite"]


def _first_question(_: int) -> str:
    questions_of.cache_clear()
    return questions_of(WebAddress("test", 120, 5), 2)[0].question.text


def test_questions_of_another_version_or_other_pages_are_refused_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    web = WebAddress("train", 100, 0)
    questions_of.cache_clear()
    path = questions_of(web, 1).path
    text = path.read_text()
    for old, new in (
        ('"version": 1', '"version": 0'),
        (library_of(web).digest, "0" * 32),
        (text[:50], "broken"),
    ):
        path.write_text(text.replace(old, new, 1))
        questions_of.cache_clear()
        with pytest.raises(TaskError, match=r"train-100-0-1\.jsonl holds questions of .*delete the file"):
            make(entities=100).reset(seed=0)
    lines = text.split("\n")
    path.write_text("\n".join([lines[0], "{}", *lines[2:]]))
    questions_of.cache_clear()
    with pytest.raises(TaskError, match=r"line 2 is broken"):
        make(entities=100).find("search/train/100/0/1/0")


def test_other_code_draws_webs_of_its_own(monkeypatch):
    before = cache_folder()
    webs._code.cache_clear()
    monkeypatch.setattr(webs, "_DRAWN_BY", webs._DRAWN_BY[1:])
    assert cache_folder() != before
    webs._code.cache_clear()


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "id",
    ["search/train/300/0/1/75", "search/train/300/0/6/0", "search/dev/300/0/1/0", "search/train/99/0/1/0",
     "search/train/300/0/1/01", "search/train/300/0/1/-1", "search/train/300/0/1", "x",
     f"search/train/300/{'9' * 30}/1/0"],
)  # fmt: skip
def test_unknown_tasks_are_named(id):
    with pytest.raises(TaskError, match="unknown task"):
        make().find(id)


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"level": 0}, "level=0: known are 1, 2, 3, 4, 5"),
        ({"entities": 50}, "entities=50"),
        ({"split": "dev"}, "split='dev': known are train, test"),
        ({"budget": 10}, "budget=10"),
        ({"judge": "gpt"}, "judge='gpt'"),
        ({"questions": "q.jsonl"}, "go with either a corpus or an endpoint"),
        ({"corpus": "here"}, "and these with questions"),
        ({"corpus": "here", "endpoint": "http://x", "questions": "q"}, "either a corpus or an endpoint"),
    ],
)
def test_arguments_that_do_not_fit_are_named(kwargs, told):
    with pytest.raises(ValueError, match=told):
        make(**kwargs)


# -- pages of one's own ----------------------------------------------------------------------------------


def test_a_folder_with_questions_is_played_and_a_lost_proof_is_named(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "azul.md").write_text("# Port Azul\n\nPort Azul was founded by Ines Roe in 1871.\n")
    rows = [
        {"question": asked, "answer": answer, "evidence": [{"page": "azul.md", "quote": quote}]}
        for asked, answer, quote in (
            ("Who founded Port Azul?", "Ines Roe", "founded by Ines Roe"),
            ("When was it founded?", "1871", "in 1872"),
        )
    ]
    questions = tmp_path / "questions.jsonl"
    questions.write_text("\n".join(map(json.dumps, rows)))
    env = make(corpus=str(folder), questions=str(questions))
    (split,) = env.splits
    (id,) = env.task_ids(split)
    ((lost, why),) = env.gaps.items()
    assert "no longer says 'in 1872'" in why
    with pytest.raises(TaskError, match=r"is left out: page .azul\.md. no longer says"):
        env.reset(options={"task": lost})
    env.reset(seed=0)
    for action in env.gold_actions(id):
        *_, info = env.step(action)
    assert info["outcome"] == 1.0 and info["parts"]["evidence"] == 1.0
    questions.write_text(json.dumps(rows[1]))
    with pytest.raises(ValueError, match="no proof holds any more"):
        make(corpus=str(folder), questions=str(questions))


def test_wandering_never_earns(random_seed=0):
    env = make(level=2)
    rng = random.Random(random_seed)
    pages = [page.address for page in library_of(WebAddress("train", SMALL, 0)).pages()]
    for id in env.task_ids(n=5):
        env.reset(options={"task": id})
        over = False
        while not over:
            *_, terminated, truncated, info = env.step(say(env, "visit", page=rng.choice(pages)))
            over = terminated or truncated
        assert info["outcome"] == 0.0
