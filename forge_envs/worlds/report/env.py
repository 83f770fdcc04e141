"""Forge/Report-v0: a long report over an offline web, planned and written as in WebWeaver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from forge_envs.arguments import known
from forge_envs.env import AgentEnv, Episode, opening
from forge_envs.errors import TaskError, ToolError, brief, check_count, one_of
from forge_envs.messages import Message, Observation, ToolCall
from forge_envs.people.judges import Verdict, judge_of
from forge_envs.rewards import Score
from forge_envs.tools import tool
from forge_envs.worlds.report.bank import EvidenceBank
from forge_envs.worlds.report.outline import OutlineSection, read_outline
from forge_envs.worlds.report.tasks import (
    LEVELS,
    ReportTask,
    ReportWorld,
    find_task,
    gold_sections,
    gold_sentence,
    report_tasks,
    report_world,
)
from forge_envs.worlds.report.verdict import ReportText, ReportVerdict, judge_report
from forge_envs.worlds.search.draw import FEWEST
from forge_envs.worlds.search.reading import BUDGET, LEAST_BUDGET, find_page, told_hits, told_page
from forge_envs.worlds.search.relations import relations
from forge_envs.worlds.search.web import WebAddress, library_of

RULES = """You write reports from an offline web. First you plan: search, visit pages, and write an outline in
which every section cites its evidence. Each page that you visit gets an id in your memory bank.

An outline is headings, # to ####, and behind each section's heading its evidence:
# The title
## A section <citation>id_1, id_2</citation>

When the outline is done, terminate the planning. Then write section by section, in the outline's order:
retrieve the evidence that the section cites, and write its text. Every sentence tells facts that its evidence
states, names whom it is about, and ends with its citation, as in: Ana Lor was born in Azul
<citation>id_1</citation>. Pages may be out of date or mistaken; later ones are right. When all sections are
written, terminate once more."""
RUBRIC = (
    "The report in the agent's write calls reads as connected prose and not as a list.",
    "Each section of the report in the agent's write calls keeps to what its title says.",
    "The report in the agent's write calls says nothing twice.",
)
"""What a judge is asked of a finished report."""
HITS = 5
_GONE = "Talking to nobody: use the tools, and terminate when the report is written."
_FOUND, _OUTLINED, _TOLD = 0.4, 0.1, 0.5
"""Shares of the progress: required facts on pages visited, on pages the outline cites, told by the report."""


@dataclass(kw_only=True)
class ReportEpisode(Episode[ReportTask]):
    """A report that is planned, or written."""

    bank: EvidenceBank = field(default_factory=EvidenceBank)
    outline: tuple[OutlineSection, ...] = ()
    writing: bool = False
    """The planning was terminated."""
    written: list[tuple[str, str]] = field(default_factory=list)
    """Title and text of each section, in the order in which they were written."""
    judged: tuple[Verdict, ...] = ()
    """What the judge found at the end, with its reasons."""

    @property
    def sections(self) -> list[OutlineSection]:
        """The sections to write."""
        return [one for one in self.outline if one.ids]

    def report(self) -> ReportText:
        """What there is of the report."""
        return ReportText(self.outline, tuple(self.written), self.bank.addresses)


class ReportEnv(AgentEnv[ReportTask, ReportEpisode]):
    """Reports over a generated web (that of Forge/Search-v0): pages are searched and visited, an outline
    cites them, and sections are written out of what it cites. Judged by the facts behind the web, without a
    model.

    ## Action Space

    A text (`Utterance`): calls of the tools in the world's grammar. Planning: `search`, `visit`,
    `write_outline`, `terminate`. Writing: `retrieve`, `write`, `terminate`.

    ## Observation Space

    What is new (`Messages`): the results of calls.

    ## Rewards

    The outcome, at the end: 1 if every part is 1, else 0. Of the sentences that claim anything: `cited`, the
    share with evidence that the outline gives the section; `supported`, the share that the cited pages state;
    `consistent`, 1 if none says what the web knows to be otherwise, or was long ago. Of the report:
    `covered`, the share of the required facts that it tells; `structured`, 1 if each section of the outline
    is written once, in order, and nothing is said twice; `length`, 1 if it is within its words. With a judge,
    `rubric` is the share of its statements that are met; it stands beside the outcome and is no part of it.
    `turn_weight` adds turn rewards: the share of the required facts on visited pages (0.4), on those that the
    outline cites (0.1), and told by the report (0.5).

    ## Starting State

    What the report has to tell.

    ## Episode End

    Terminated by the second `terminate`, or by prose without a call once something is written. Truncated
    after `max_turns` actions, or when the index or the judge fails.

    ## Information

    `task`, `turn`, `turn_reward`, `parts`, and at the end `outcome`; `error` if a machine failed.

    ## Arguments

    - `split`: "train" or "test"; no name of one is in the other.
    - `entities`: how many entities the web is about; at least 100.
    - `seed`: which web.
    - `level`: 1 (three facts of one entity), 2 (five of two) or 3 (eight of three); 0 mixes them.
    - `budget`: characters of a page that a visit shows.
    - `judge`: a model that judges style, as "openai:MODEL@URL" (`forge_envs.people.chat`); "" asks nobody.
    - `max_turns`, `turn_weight`, `strict`, `grammar`, `render_mode`: see AgentEnv.

    ## Version History

    * v0: first version.
    """

    def __init__(
        self,
        *,
        split: Annotated[str, known(("train", "test"))] = "train",
        entities: Annotated[int, Field(ge=FEWEST, le=1_000_000)] = 400,
        seed: Annotated[int, Field(ge=0, lt=10**9)] = 0,
        level: Annotated[int, Field(ge=0, le=max(LEVELS))] = 0,
        budget: Annotated[int, Field(ge=LEAST_BUDGET)] = BUDGET,
        judge: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.split, self.level, self.budget = split, level, budget
        self._web = WebAddress(split, entities, seed)
        self._judge = judge_of(judge, held=True)
        if self._judge is not None:
            self.metadata = {**self.metadata, "quick": False}  # type: ignore[misc]  # waits

    # -- tasks ---------------------------------------------------------------------------------------

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` tasks of a split; where levels are mixed, one of each in turn."""
        check_count(n)
        split = self.split if split is None else split
        one_of("split", split, self.splits)
        web = WebAddress(split, self._web.entities, self._web.seed)
        levels = [report_tasks(web, level) for level in ([self.level] if self.level else LEVELS)]
        longest = max(map(len, levels))
        ids = [tasks[at].id for at in range(longest) for tasks in levels if at < len(tasks)]
        return ids[:n]

    def find(self, task_id: str) -> ReportTask:
        """The task of this id. Raises TaskError."""
        return find_task(task_id, self._web)

    def draw(self, rng: np.random.Generator) -> ReportTask:
        """A task of this world's split and level."""
        level = self.level or int(rng.integers(1, len(LEVELS) + 1))
        tasks = report_tasks(self._web, level)
        if not tasks:
            raise TaskError(f"web {self._web.name} has no report of level {level}: give it more entities")
        return tasks[int(rng.integers(len(tasks)))]

    def gold(self, task: ReportTask) -> list[str]:
        """Visit the pages that tell what is required, cite each in its section, tell fact by fact."""
        world, write = report_world(task.web), self.grammar.write
        sections = gold_sections(world, task)
        addresses = list(dict.fromkeys(page for _, facts in sections for _, page in facts))
        ids = {address: f"id_{number}" for number, address in enumerate(addresses, 1)}
        theme = world.graph.entities[task.theme].name
        actions = [write(calls=[ToolCall("search", {"query": theme})])]
        for title, facts in sections:
            for address in dict.fromkeys(page for _, page in facts):
                if f'"{address}"' in "".join(actions):
                    continue
                labels = [relations()[world.graph.facts[number].relation].label for number, _ in facts]
                goal = f"{title}: {', '.join(labels)}"
                actions.append(write(calls=[ToolCall("visit", {"page": address, "goal": goal})]))
        lines = [f"# A report on {theme}"]
        texts = []
        for title, facts in sections:
            cited = ", ".join(dict.fromkeys(ids[page] for _, page in facts))
            lines.append(f"## On {title} <citation>{cited}</citation>")
            told = [
                (gold_sentence(world.graph, world.graph.facts[one])[:-1], ids[page]) for one, page in facts
            ]
            texts.append(
                (f"On {title}", cited, " ".join(f"{t} <citation>{id}</citation>." for t, id in told))
            )
        actions.append(write(calls=[ToolCall("write_outline", {"outline": "\n".join(lines)})]))
        actions.append(write(calls=[ToolCall("terminate", {})]))
        for title, cited, text in texts:
            actions.append(write(calls=[ToolCall("retrieve", {"ids": cited.split(", ")})]))
            actions.append(write(calls=[ToolCall("write", {"section": title, "text": text})]))
        return [*actions, write(calls=[ToolCall("terminate", {})])]

    # -- an episode ----------------------------------------------------------------------------------

    @property
    def _world(self) -> ReportWorld:
        return report_world(self.task.web)

    def begin(self, task: ReportTask) -> tuple[ReportEpisode, Observation]:
        """An empty memory bank, and what the report has to tell."""
        first = Message(role="user", content=task.brief)
        return ReportEpisode(task=task), opening(RULES, [first], self._schemas.value)

    def hear(self, text: str) -> Observation | None:
        """Nobody listens; an agent that has written something and only talks has ended."""
        if self.playing.written:
            return None
        return (Message(role="user", content=_GONE),)

    def progress(self) -> float:
        """How many of the required facts are on visited pages, on cited ones, and told."""
        state, world = self.playing, self._world
        required = state.task.required
        visited = state.bank.addresses
        cited = {visited[one] for section in state.sections for one in section.ids if one in visited}
        found = outlined = 0
        for number in required:
            pages = {told.page for told in world.web.told[number]}
            pages = {page for page in pages if world.checker.supports(world.graph.facts[number], page)}
            found += not pages.isdisjoint(visited.values())
            outlined += not pages.isdisjoint(cited)
        told = len(set(required) & self._verdict().told) if state.written else 0
        return (_FOUND * found + _OUTLINED * outlined + _TOLD * told) / len(required)

    def _verdict(self) -> ReportVerdict:
        task = self.task
        return judge_report(self._world.checker, self.playing.report(), task.required, task.most_words)

    def grade(self) -> Score:
        """The verdict on the report; a judge's rubric beside it."""
        state, verdict = self.playing, self._verdict()
        parts = dict(verdict.parts)
        if self._judge is not None:
            state.judged = self._judge.verdicts(RUBRIC, state.transcript, self.grammar)
            parts["rubric"] = sum(one.met for one in state.judged) / len(RUBRIC)
        return Score(verdict.outcome, parts)

    # -- tools ---------------------------------------------------------------------------------------

    def _phase(self, *, writing: bool) -> None:
        if self.playing.writing is not writing:
            raise ToolError(
                "the planning is over: only retrieve, write and terminate are left"
                if self.playing.writing
                else "write_outline and terminate the planning first"
            )

    @tool
    def search(self, query: str) -> str:
        """Search the web for pages with any of the words.

        Args:
            query: Words to look for.
        """
        self._phase(writing=False)
        return told_hits(query, library_of(self.task.web).search(query, HITS))

    @tool(writes=True)
    def visit(self, page: str, goal: str, part: int = 0) -> str:
        """Read a page and keep it in the memory bank; of a long page, what fits the goal is shown.

        Args:
            page: The page's address, as results of search and links have it.
            goal: What is looked for on the page.
            part: 0 shows what fits the goal; 1, 2 and so on read a long page in order.
        """
        self._phase(writing=False)
        found = find_page(library_of(self.task.web), page)
        shown = told_page(found, goal, part, self.budget)
        entry = self.playing.bank.keep(found, shown)
        return f"Kept as {entry.id}.\n{shown}"

    @tool(writes=True)
    def write_outline(self, outline: str) -> str:
        """Write the outline, or replace it by a better one.

        Args:
            outline: Headings of at most four levels, each section's with <citation>id_1, id_2</citation>.
        """
        self._phase(writing=False)
        state = self.playing
        try:
            found = read_outline(outline)
        except ValueError as error:
            raise ToolError(str(error)) from None
        self._known([one for section in found for one in section.ids])
        state.outline = found
        bank = f" The memory bank has:\n{state.bank.told()}"
        return f"The outline has {len(state.sections)} sections that cite evidence.{bank}"

    @tool(writes=True)
    def terminate(self) -> str:
        """End the planning, once there is an outline; then, when every section is written, the report."""
        state = self.playing
        if state.writing:
            state.over = True
            return "The report is handed in."
        if not state.outline:
            raise ToolError("there is no outline yet: write_outline first")
        state.writing = True
        titles = "; ".join(repr(one.title) for one in state.sections)
        return f"Now write these sections, in this order: {titles}."

    @tool
    def retrieve(self, ids: list[str]) -> str:
        """Read evidence that the outline cites once more.

        Args:
            ids: Ids of the memory bank, such as id_1.
        """
        self._phase(writing=True)
        state = self.playing
        cited = {one for section in state.sections for one in section.ids}
        self._known(ids)
        if odd := [one for one in ids if one not in cited]:
            raise ToolError(f"the outline does not cite {brief(odd[0])}; it cites {', '.join(sorted(cited))}")
        if not ids:
            raise ToolError("ids is empty; name the evidence that the section cites")
        return "\n\n".join(
            f"{one}:\n" + "\n\n".join(state.bank.entries[one].evidence) for one in dict.fromkeys(ids)
        )

    @tool(writes=True)
    def write(self, section: str, text: str) -> str:
        """Write a section of the outline. What is written stays; its evidence is put away.

        Args:
            section: The section's title, as the outline has it.
            text: Sentences, each with its <citation>id_1</citation>.
        """
        self._phase(writing=True)
        state = self.playing
        wanted = [one.title for one in state.sections]
        title = " ".join(section.split()).lstrip("# ")
        found = next((one for one in wanted if one.lower() == title.lower()), None)
        if found is None:
            raise ToolError(f"the outline has no section {brief(section)}; it has {'; '.join(wanted)}")
        done = [one for one, _ in state.written]
        if found in done:
            raise ToolError(f"section {found!r} is written already")
        if not text.strip():
            raise ToolError("the text is empty")
        state.written.append((found, text))
        left = [one for one in wanted if one not in (*done, found)]
        return (
            f"Written. {'Left: ' + '; '.join(left) + '.' if left else 'All sections are written: terminate.'}"
        )

    def _known(self, ids: list[str]) -> None:
        if odd := [one for one in ids if one not in self.playing.bank.entries]:
            known = ", ".join(self.playing.bank.entries) or "nothing: visit pages first"
            raise ToolError(f"the memory bank has no {brief(odd[0])}; it has {known}")
