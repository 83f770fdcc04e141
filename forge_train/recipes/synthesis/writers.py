"""Who writes in a person's stead: a model behind a chat endpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from forge_train.play.chat_player import ChatPlayer
from forge_train.recipes.synthesis.fas import Draft
from forge_train.recipes.synthesis.memory import Fact
from forge_train.recipes.synthesis.questions import Asked

_JSON = re.compile(r"\{.*\}", re.DOTALL)
PLAN = """You are shown a question. You can search pages by words, but have not searched yet, and you must \
not guess the answer. Say in a few sentences what is asked for, what has to be found first and why, and give \
the words of your first search.

Answer with one JSON object and nothing else: {"analysis": "...", "query": "..."}"""
REASON = """You are shown a question and facts, of which some have nothing to do with it. Answer in two \
steps: first say which facts matter and what follows from them, then draw the conclusion. The answer is a \
name as it stands in the facts.

Answer with one JSON object and nothing else: {"first": "...", "second": "...", "answer": "..."}"""
JUDGE = """You are shown a question, its right answer, and somebody's reasoning. Is every step of the \
reasoning supported by the facts that are given, with nothing made up?

Answer with one JSON object and nothing else: {"supported": true or false}"""


class ModelWriter:
    """Drafts of a model; with `judged`, only those whose reasoning it finds supported."""

    def __init__(self, chat: ChatPlayer, *, judged: bool = True) -> None:
        self.chat = chat
        self.judged = judged

    async def draft(self, asked: Asked, given: Sequence[Fact], seed: int) -> Draft | None:
        """What the model writes for a question; None where it cannot be read or is not supported. Raises
        EngineFailed when no answer can be had."""
        question = f"Question: {asked.text}"
        facts = "\n".join(f"{number}. {fact.text}" for number, fact in enumerate(given, 1))
        plan = await self._ask(PLAN, question, seed, ("analysis", "query"))
        found = await self._ask(REASON, f"{question}\n\nFacts:\n{facts}", seed, ("first", "second", "answer"))
        if plan is None or found is None:
            return None
        if self.judged:
            told = f"{question}\n\nFacts:\n{facts}\n\nRight answer: {asked.answer}"
            told += f"\n\nReasoning: {found[0]} {found[1]}"
            if not await self._supported(told, seed):
                return None
        return Draft(plan[0], plan[1], (found[0], found[1]), found[2])

    async def _ask(self, rules: str, text: str, seed: int, names: Sequence[str]) -> list[str] | None:
        told = read_object(await self._said(rules, text, seed))
        values = [told.get(name) for name in names]
        return (
            [str(value) for value in values]
            if all(isinstance(v, str) and v.strip() for v in values)
            else None
        )

    async def _supported(self, text: str, seed: int) -> bool:
        return read_object(await self._said(JUDGE, text, seed)).get("supported") is True

    async def _said(self, rules: str, text: str, seed: int) -> str:
        messages = [{"role": "system", "content": rules}, {"role": "user", "content": text}]
        return (await self.chat.ask(messages, (), seed, 0)).action


class ModelSampler:
    """What a model would do next in a stored episode."""

    def __init__(self, chat: ChatPlayer) -> None:
        self.chat = chat

    async def action(self, messages: Sequence[Mapping[str, Any]], seed: int) -> str:
        """Its action after these messages. Raises EngineFailed when none can be had."""
        tools = [tool for message in messages for tool in message.get("tools") or ()]
        plain = [{key: m[key] for key in ("role", "content", "name") if key in m} for m in messages]
        return (await self.chat.ask(plain, tools, seed, 0)).action


def read_object(text: str) -> dict[str, Any]:
    """The JSON object in an answer; {} where there is none.

    >>> read_object('Sure: {"a": 1}'), read_object("{no}")
    ({'a': 1}, {})
    """
    match = _JSON.search(text)
    try:
        found = json.loads(match[0]) if match else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
