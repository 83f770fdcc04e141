"""A generated web on disk: its index and questions are made once, under a lock, and read by all processes."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from forge_envs.errors import TaskError
from forge_envs.worlds.search.building import locked
from forge_envs.worlds.search.drafts import MadeQuestion, draw_questions, from_line, to_line
from forge_envs.worlds.search.draw import draw_graph
from forge_envs.worlds.search.fulltext import FullTextIndex, ensure_index
from forge_envs.worlds.search.graph import FactGraph
from forge_envs.worlds.search.render import RenderedWeb, render

WEB_VERSION = 1
"""Counts up where a release draws another web or other questions of the same seed."""
MOST_QUESTIONS = 2_000
"""Questions of a level, at most; a small web has one for 4 entities, of levels 4 and 5 one for 8."""


_DRAWN_BY = (
    "names.toml",
    "relations.toml",
    "answers.py",
    "draw.py",
    "drafts.py",
    "graph.py",
    "match.py",
    "naming.py",
    "proof.py",
    "render.py",
    "riddle.py",
    "spelling.py",
    "vague.py",
    "walk.py",
    "web.py",
    "wording.py",
)


@dataclass(frozen=True, slots=True, order=True)
class WebAddress:
    """Which web: all that is in it follows from this."""

    split: str
    entities: int
    seed: int

    @property
    def name(self) -> str:
        """As ids and files have it, "train/2000/0"."""
        return f"{self.split}/{self.entities}/{self.seed}"

    def questions(self, level: int) -> int:
        """How many questions of a level are drawn, if the web has as many."""
        return min(self.entities // (4 if level < 4 else 8), MOST_QUESTIONS)


def cache_folder() -> Path:
    """Where generated webs lie: `$XDG_CACHE_HOME/forge/search`, by default under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "forge" / "search" / f"v{WEB_VERSION}-{_code()}"


@functools.cache
def _code() -> str:
    """A mark of the code and the lists that draw webs: what other code drew is never read as this one's."""
    digest = hashlib.blake2b(digest_size=4)
    for name in _DRAWN_BY:
        digest.update(resources.files(__package__).joinpath(name).read_bytes())
    return digest.hexdigest()


def graph_of(web: WebAddress) -> FactGraph:
    """The graph behind a web, drawn again: some two seconds for 20,000 entities."""
    return draw_graph(web.seed, web.entities, web.split)


def drawn(web: WebAddress) -> tuple[FactGraph, RenderedWeb]:
    """The graph of a web and its pages, drawn again."""
    graph = graph_of(web)
    return graph, render(graph, web.seed, web.entities, web.split)


def library_of(web: WebAddress) -> FullTextIndex:
    """The index of a web's pages, built first if it is not there. Raises ValueError where that fails."""
    path = cache_folder() / f"{web.name.replace('/', '-')}.sqlite"
    return ensure_index(path, f"Forge/Search web {WEB_VERSION}/{web.name}", lambda: drawn(web)[1].pages)


class LevelQuestions:
    """The questions of a level of a web, each read when it is asked for."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path, self._lines = path, lines
        self._read = functools.lru_cache(4096)(self._parse)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, number: int) -> MadeQuestion:
        return self._read(number)

    def _parse(self, number: int) -> MadeQuestion:
        try:
            return from_line(self._lines[number])
        except (ValueError, KeyError, TypeError) as error:
            raise TaskError(f"{self.path}, line {number + 2} is broken ({error}); delete the file") from None


@functools.lru_cache(maxsize=64)
def questions_of(web: WebAddress, level: int) -> LevelQuestions:
    """The questions of a level, drawn first if they are not there.

    Raises TaskError for a file of another version or of other pages.
    """
    library = library_of(web)
    path = cache_folder() / f"{web.name.replace('/', '-')}-{level}.jsonl"
    stamp = {"version": WEB_VERSION, "web": web.name, "level": level, "pages": library.digest}
    if not path.is_file():
        with locked(path.with_name(f"{path.name}.lock")):
            if not path.is_file():
                _write(path, web, level, stamp)
    head, *lines = path.read_text(encoding="utf-8").split("\n")
    try:
        found = json.loads(head)
    except ValueError:
        found = head[:80]
    if found != stamp:
        raise TaskError(f"{path} holds questions of {found}, and this web is {stamp}: delete the file")
    return LevelQuestions(path, [line for line in lines if line])


def _write(path: Path, web: WebAddress, level: int, stamp: dict[str, object]) -> None:
    graph, pages = drawn(web)
    made = draw_questions(graph, pages, level, web.questions(level), web.seed, web.entities, web.split)
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with open(new, "w", encoding="utf-8") as file:
            file.write(json.dumps(stamp) + "\n")
            file.writelines(to_line(question) + "\n" for question in made)
        os.replace(new, path)
    except OSError as error:
        raise TaskError(f"{path} cannot be written ({error}); is the disk full?") from None
    finally:
        new.unlink(missing_ok=True)
