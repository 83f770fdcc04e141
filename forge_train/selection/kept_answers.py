"""What a model said about several plays of a task, kept in a file, so that nobody is asked twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from forge_train.play.chat_player import ChatPlayer
from forge_train.record.run_folder import append, read_lines, repair
from forge_train.selection.candidates import Candidate


class KeptAnswers:
    """A model behind a chat endpoint; `log` keeps each answer, and what is in it is not asked again."""

    def __init__(self, chat: ChatPlayer, log: Path, *, seed: int = 0) -> None:
        self.chat = chat
        self.seed = seed
        self._log = log
        repair(log)
        self._known = {line["key"]: line for line in read_lines(log)}

    async def ask(self, rules: str, shown: str, candidates: Sequence[Candidate]) -> str:
        """What it says, or said before, to rules and what is shown of the candidates.

        Raises EngineFailed when it cannot be had.
        """
        messages = [{"role": "system", "content": rules}, {"role": "user", "content": shown}]
        asked = json.dumps([self.chat.endpoint.model, self.seed, messages], ensure_ascii=False)
        key = hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()
        if key not in self._known:
            reply = await self.chat.ask(messages, (), self.seed, 0)
            read = [c.repetition for c in candidates]
            line = {"key": key, "task": candidates[0].task, "plays": read, "answer": reply.action}
            with open(self._log, "ab", buffering=0) as file:
                append(file, line)
            self._known[key] = line
        return str(self._known[key]["answer"])
