"""Thinking-mode fusion of Qwen3 (arXiv 2505.09388, sec. 4.3): one model that thinks where it is told to.

    /think      thoughts as they were, between <think> and </think>
    /no_think   the same form with an empty block: <think>, a blank line, </think>

The word stands at the end of a user's message, and an action follows the last that was said before it.
Thinking is what a model does unless told, so a share of the thinking samples does without the word.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_train.recipes.synthesis.shelf import Line, Made, Shelf, episode
from forge_train.record.run_folder import read_lines
from forge_train.seeds import derive_seed

THINK, NO_THINK = "/think", "/no_think"
EMPTY = "<think>\n\n</think>\n\n"
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def fuse(
    thinking: Path,
    plain: Path,
    out: Path,
    *,
    silent: float = 0.5,
    longest: int | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda total: None,
) -> dict[str, Any]:
    """Write the samples of both modes and return the filter report.

    `thinking` and `plain` are files of episodes, or folders with `episodes.jsonl`; `silent` is the share
    of the thinking ones without the word. Raises ValueError for files without episodes.
    """
    if not 0 <= silent <= 1:
        raise ValueError(f"silent={silent}: it is a share, from 0 to 1")
    shelf = Shelf(out, _settings(thinking, plain, silent, seed), longest=longest)
    keys = []
    work = [(THINK, line) for line in episodes_of(thinking)] + [
        (NO_THINK, line) for line in episodes_of(plain)
    ]
    for number, (mode, line) in enumerate(work):
        key = f"{mode}/{number}"
        keys.append(key)
        if not shelf.there(key):
            quiet = mode == THINK and random.Random(derive_seed(seed, "fuse", key)).random() < silent
            shelf.put(_made(key, line["messages"], mode, quiet))
        progress(len(work))
    return shelf.finish(keys)


def _settings(thinking: Path, plain: Path, silent: float, seed: int) -> Mapping[str, Any]:
    return {"recipe": "fuse", "thinking": str(thinking), "plain": str(plain), "silent": silent, "seed": seed}


def episodes_of(path: Path) -> list[Line]:
    """The lines of a file of episodes, or of a folder's. Raises ValueError where there are none."""
    file = path / "episodes.jsonl" if path.is_dir() else path
    found = read_lines(file)
    if not found or not all(isinstance(line.get("messages"), list) for line in found):
        raise ValueError(
            f'{file} holds no episodes: each line needs {{"messages": [{{"role", "content"}}, …]}}'
        )
    return found


def _made(key: str, messages: Sequence[Mapping[str, Any]], mode: str, quiet: bool) -> Made:
    if not any(message["role"] == "user" for message in messages):
        return Made(key, reason="no user says anything")
    asked = [m for m in messages if m["role"] == "user" and _flagged(str(m["content"]))]
    if asked:
        return Made(key, reason="a user's message ends with a mode already")
    found: list[dict[str, Any]] = []
    for message in messages:
        one = dict(message)
        if one["role"] == "user" and not quiet:
            one["content"] = f"{str(one['content']).rstrip()} {mode}"
        if one["role"] == "assistant":
            thought, rest = split_thought(one)
            if thought is None:
                return Made(key, reason="thoughts are opened and not closed, or twice")
            if mode == THINK and not thought:
                return Made(key, reason="an action without a thought, to be learned as thinking")
            one.pop("reasoning_content", None)
            one["content"] = (f"<think>\n{thought}\n</think>\n\n" if mode == THINK else EMPTY) + rest
        found.append(one)
    kind = "plain" if mode == NO_THINK else "thinking, by itself" if quiet else "thinking"
    return Made(key, (episode(found, kind),))


def _flagged(text: str) -> bool:
    return text.rstrip().endswith((THINK, NO_THINK))


def split_thought(message: Mapping[str, Any]) -> tuple[str | None, str]:
    """The thought of an assistant message and what is said after it; None for thoughts that are not closed.

    >>> split_thought({"content": "<think>\\nHm.\\n</think>\\n\\nYes."}), split_thought({"content": "Yes."})
    (('Hm.', 'Yes.'), ('', 'Yes.'))
    """
    text = str(message.get("content") or "")
    if beside := message.get("reasoning_content"):
        return (str(beside).strip(), text) if "<think>" not in text else (None, text)
    match = _THOUGHT.match(text)
    rest = text[match.end() :] if match else text
    if "<think>" in rest or "</think>" in rest:
        return None, text
    return (match[1].strip() if match else ""), rest
