"""Forge/Search-v0: research questions over an offline web, each with a proof of its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from pydantic import Field

from forge_envs.arguments import known
from forge_envs.env import AgentEnv, Episode, GrammarName, MaxTurns, opening
from forge_envs.errors import check_count, one_of
from forge_envs.messages import Message, Observation, ToolCall
from forge_envs.people.judges import Verdict, judge_of
from forge_envs.rewards import Score
from forge_envs.tools import tool
from forge_envs.worlds.search.answers import answer_in, right
from forge_envs.worlds.search.corpus import corpus_index
from forge_envs.worlds.search.draw import FEWEST
from forge_envs.worlds.search.embedders import embedder_of
from forge_envs.worlds.search.endpoint import search_endpoint
from forge_envs.worlds.search.fulltext import FullTextIndex
from forge_envs.worlds.search.graph import NOW
from forge_envs.worlds.search.meaning import meaning_index
from forge_envs.worlds.search.naming import SPLITS
from forge_envs.worlds.search.page import PageLibrary
from forge_envs.worlds.search.question import ResearchQuestion
from forge_envs.worlds.search.reading import BUDGET, LEAST_BUDGET, find_page, reading_on, told_hits, told_page
from forge_envs.worlds.search.snippets import flat
from forge_envs.worlds.search.tasks import (
    MOST_ENTITIES,
    OwnTasks,
    SearchTask,
    find_task,
    gold_reading,
    task_name,
)
from forge_envs.worlds.search.walk import LEVELS
from forge_envs.worlds.search.web import WebAddress, library_of, questions_of

RULES = (
    "Find the answer to the user's question in the pages that `search` finds and `visit` shows. Titles, "
    "addresses and links lead from page to page. Pages may be copies, out of date or wrong: where they "
    "disagree, the one with the later date counts. When you know the answer, write it, and nothing but it, "
    "between <answer> and </answer>; that ends the task. One answer counts: a list of guesses is wrong."
)
CONVENTIONS = (
    f" It is the end of {NOW}; what changes is asked for as of now where no year is said. Of a decade, the "
    "years ending in 0 to 3 are early, 4 to 6 mid, 7 to 9 late. Years in office or at a place count from the "
    "first to the last."
)
COMPACT = (
    "Answer the question: search {query}, visit {page, goal, part}, then <answer>…</answer>. Of pages that "
    "disagree the later one counts."
)
NOBODY = "Nobody reads along. Search, visit a page, or write your answer between <answer> and </answer>."
SAME = "The agent's final answer names the same thing as {answer}, and names nothing else besides."


@dataclass(kw_only=True)
class SearchEpisode(Episode[SearchTask]):
    """What the agent has been shown, and what it answered."""

    found: set[int] = field(default_factory=set)
    """Steps of the proof of which a statement was shown."""
    answer: str | None = None
    judged: tuple[Verdict, ...] = ()
    """What the judge found, with its reason."""


class SearchEnv(AgentEnv[SearchTask, SearchEpisode]):
    """Questions whose answers stand in an offline web: search, read, and answer.

    The web is drawn from a seed: entities, facts that change in time, and pages about them, with copies, old
    pages and mistakes; or it is a corpus or a search of your own. Every question has a proof: an answer that
    alone fits, and the pages that state each fact.

    ## Action Space

    `Utterance`: calls of `search` and `visit` in the world's grammar; prose with `<answer>…</answer>` in it
    answers, as WebSailor's agents do (arXiv 2507.02592), and other prose reaches nobody.

    ## Observation Space

    `Messages`: the rules and the question, then hits and pages, cut to `budget` characters.

    ## Rewards

    The outcome, 0 or 1: whether the answer is right, in any usual spelling of a name, number or day. A turn's
    reward is the change of progress: the share of the proof's facts that some visited page has shown.

    ## Starting State

    A question of the `level`: the seed of `reset` draws it, or `options={"task": id}` names it.

    ## Episode End

    Terminated by an answer; truncated after `max_turns` actions, which earns 0; truncated without an outcome
    when a machine (an `endpoint`, the model behind `judge`) fails.

    ## Information

    `task` and `turn`; after a step `turn_reward` and its `parts`; at the end `outcome`, with `exact`,
    `evidence` and, where a judge is asked, `judged` among the parts; `error` if a machine failed.

    ## Arguments

    - `split`: "train" or "test"; no entity's name is in both.
    - `level`: 1 one fact; 2 two facts in a row; 3 three, with vague years; 4 four or five, with one name at
      most; 5 five to seven that make a circle.
    - `entities`: how many people, towns, firms, works, … the web has; 20,000 make some 33,000 pages.
    - `seed`: which web.
    - `results`: hits of a search.
    - `snippets`: whether a hit shows a passage of its page, or title, address and date alone, which is a
      third as long.
    - `budget`: characters of a page that one visit shows.
    - `prompt`: "full" (rules and tool schemas) or "compact" (a line, no schemas), for models of a few million
      parameters.
    - `judge`: a model as "openai:MODEL@URL" that is asked whether an answer which is not the right one word
      for word means the same.
    - `corpus`: a folder of text, Markdown or HTML, or a dump of a wiki, in place of a generated web.
    - `embedding`: a model of meanings, whose hits are fused with those by words: "model2vec:FOLDER" or
      "openai:MODEL@URL" (docs/search_corpus.md).
    - `endpoint`: a search of your own behind HTTP, in place of one (docs/search_corpus.md).
    - `questions`: a file of your questions about either, one JSON object a line; a quarter are "test".
      Questions whose proof does not stand in the corpus are left out: `env.unwrapped.gaps` names them.
    - `max_turns`, `turn_weight`, `strict`, `grammar`, `render_mode`: see AgentEnv.

    ## Version History

    - v0: the first.
    """

    def __init__(
        self,
        *,
        split: Annotated[str, known(SPLITS)] = "train",
        level: Annotated[int, known(LEVELS)] = 1,
        entities: Annotated[int, Field(ge=FEWEST, le=MOST_ENTITIES)] = 2000,
        seed: Annotated[int, Field(ge=0, lt=10**18)] = 0,
        results: Annotated[int, Field(ge=1, le=50)] = 5,
        snippets: bool = True,
        budget: Annotated[int, Field(ge=LEAST_BUDGET, le=1_000_000)] = BUDGET,
        prompt: Annotated[str, known(("full", "compact"))] = "full",
        judge: str = "",
        corpus: str = "",
        embedding: str = "",
        endpoint: str = "",
        questions: str = "",
        max_turns: MaxTurns = 30,
        turn_weight: float = 0.0,
        strict: bool = False,
        grammar: GrammarName = "hermes",
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            max_turns=max_turns,
            turn_weight=turn_weight,
            strict=strict,
            grammar=grammar,
            render_mode=render_mode,
        )
        self.split, self.level, self.entities, self.seed = split, level, entities, seed
        self.results, self.snippets, self.budget = results, snippets, budget
        self._judge = judge_of(judge)
        self._webs: dict[WebAddress, PageLibrary] = {}
        self._embedding = embedding
        self._library, self._own = _own_pages(corpus, embedding, endpoint, questions)
        if embedding:
            embedder_of(embedding)
        if self._own is not None:
            self.splits = tuple(self._own.splits)
            self.split = split if split in self.splits else self.splits[0]
        if self._judge is not None or endpoint or embedding.startswith("openai:"):
            self.metadata = {**self.metadata, "quick": False}  # type: ignore[misc]  # waits
        self._compact = prompt == "compact"
        self._rules = COMPACT if self._compact else RULES if self._own else RULES + CONVENTIONS

    @property
    def gaps(self) -> dict[str, str]:
        """Questions of the user's that are left out, with the reason."""
        return {} if self._own is None else self._own.gaps

    def library(self, task: SearchTask) -> PageLibrary:
        """The pages a task is about."""
        if task.web is None:
            assert self._library is not None
            return self._library
        if task.web not in self._webs:
            self._webs[task.web] = _with_meanings(library_of(task.web), self._embedding)
        return self._webs[task.web]

    # -- the agent's tools ---------------------------------------------------------------------------

    @tool
    def search(self, query: str) -> str:
        """Find pages that have words of the query; the best come first, each with its address and a snippet.

        Args:
            query: words to look for, such as a name and what you want to know of it
        """
        return told_hits(query, self.library(self.task).search(query, self.results), self.snippets)

    @tool
    def visit(self, page: str, goal: str = "", part: int = 0) -> str:
        """Read a page. Of a long one you are shown the passages that fit your goal.

        Args:
            page: the page's address, as a search or a link tells it
            goal: what you want to find there
            part: 1, 2, … read a long page in order instead, part by part
        """
        found = find_page(self.library(self.task), page)
        text = told_page(found, goal, part, self.budget)
        self._note(found.address, text)
        return text

    def _note(self, address: str, text: str) -> None:
        """Remember which steps of the proof the agent has been shown."""
        state, shown = self.playing, ""
        for at, step in enumerate(state.task.question.proof):
            for statement in step.statements if at not in state.found else ():
                if statement.page == address:
                    shown = shown or flat(text)
                    if flat(statement.quote) in shown:
                        state.found.add(at)
                        break

    # -- an episode ----------------------------------------------------------------------------------

    def begin(self, task: SearchTask) -> tuple[SearchEpisode, Observation]:
        """The rules and the question."""
        self.library(task)
        asked = Message(role="user", content=task.question.text)
        return SearchEpisode(task=task), opening(
            self._rules, [asked], () if self._compact else self._schemas.value
        )

    def hear(self, text: str) -> Observation | None:
        """An answer ends the episode; nobody hears anything else."""
        answer = answer_in(text)
        if answer is None:
            return (Message(role="user", content=NOBODY),)
        self.playing.answer = answer
        return None

    def progress(self) -> float:
        """The share of the proof's steps that were shown."""
        steps = len(self.task.question.proof)
        return len(self.playing.found) / steps if steps else 0.0

    def grade(self) -> Score:
        """Whether the answer is right: word for word after normalisation, or to a judge if there is one."""
        state = self.playing
        answer, question = state.answer or "", state.task.question
        exact = float(right(question, answer))
        parts = {"exact": exact, "evidence": self.progress()}
        if self._judge is None:
            return Score(exact, parts)
        if not exact and answer.strip():
            told = [Message(role="user", content=question.text), _said(answer)]
            state.judged = self._judge.verdicts(
                [SAME.format(answer=_spellings(question))], told, self.grammar
            )
        parts["judged"] = float(all(verdict.met for verdict in state.judged)) if state.judged else exact
        return Score(parts["judged"], parts)

    def gold(self, task: SearchTask) -> list[str]:
        """Search and read what the proof needs, then answer."""
        write, actions = self.grammar.write, list[str]()
        for page, goal in gold_reading(task.question, self.library(task), self.results):
            actions.append(write(calls=[ToolCall("search", {"query": goal})]))
            actions.append(write(calls=[ToolCall("visit", {"page": page.address, "goal": goal})]))
            wanted = [
                {flat(statement.quote) for statement in step.statements if statement.page == page.address}
                for step in task.question.proof
            ]
            for part in reading_on(page, wanted, goal, self.budget):
                actions.append(write(calls=[ToolCall("visit", {"page": page.address, "part": part})]))
        return [*actions, f"<answer>{task.question.answer}</answer>"]

    # -- tasks ---------------------------------------------------------------------------------------

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` questions of a split."""
        check_count(n)
        split = self.split if split is None else split
        one_of("split", split, self.splits)
        if self._own is not None:
            return self._own.splits[split][:n]
        web = WebAddress(split, self.entities, self.seed)
        count = len(questions_of(web, self.level))
        return [task_name(web, self.level, at) for at in range(count if n is None else min(n, count))]

    def find(self, task_id: str) -> SearchTask:
        """The task of an id, of any generated web; or of the user's file. Raises TaskError."""
        return find_task(task_id) if self._own is None else self._own.find(task_id)

    def draw(self, rng: np.random.Generator) -> SearchTask:
        """A question of this world's split and level."""
        if self._own is not None:
            ids = self._own.splits[self.split]
            return self._own.find(ids[int(rng.integers(len(ids)))])
        web = WebAddress(self.split, self.entities, self.seed)
        return find_task(task_name(web, self.level, int(rng.integers(len(questions_of(web, self.level))))))


def _own_pages(
    corpus: str, embedding: str, endpoint: str, questions: str
) -> tuple[PageLibrary | None, OwnTasks | None]:
    """The user's pages and questions, if they are given. Raises ValueError for what does not go together."""
    if not (corpus or endpoint or questions):
        return None, None
    if bool(corpus) == bool(endpoint) or not questions:
        raise ValueError(
            f"corpus={corpus!r}, endpoint={endpoint!r}, questions={questions!r}: questions of your own go "
            "with either a corpus or an endpoint, and these with questions"
        )
    if endpoint and embedding:
        raise ValueError(
            f"endpoint={endpoint!r}, embedding={embedding!r}: an endpoint finds pages by itself; leave "
            "embedding out"
        )
    library = _with_meanings(corpus_index(corpus)[0], embedding) if corpus else search_endpoint(endpoint)
    return library, OwnTasks(questions, library, check=bool(corpus))


def _with_meanings(index: FullTextIndex, embedding: str) -> PageLibrary:
    return meaning_index(index, embedding) if embedding else index


def _said(answer: str) -> Message:
    return Message(role="assistant", content=f"The answer is: {answer}")


def _spellings(question: ResearchQuestion) -> str:
    return " or ".join(map(repr, (question.answer, *question.accepted)))
