"""The categories of BFCL that are played here, how many entries each has, and those that are not played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from forge_envs.errors import brief

Version: TypeAlias = Literal["v3", "v4"]
Rule: TypeAlias = Literal["turns", "one", "any_order", "none", "some"]
"""How an answer is judged: states and results turn by turn; one call; several in any order; no call; any
call."""
Language: TypeAlias = Literal["python", "java", "javascript"]


@dataclass(frozen=True, slots=True, eq=False)
class Category:
    """One category: a file of questions, and most often one of answers."""

    name: str
    """What v4 calls it."""
    rule: Rule
    entries: dict[Version, int]
    """As published."""
    in_v3: str = ""
    """What v3 calls it, if not the same."""
    language: Language = "python"

    @property
    def has_answers(self) -> bool:
        """Whether there is a file of answers."""
        return self.rule not in ("none", "some")

    def called(self, version: Version) -> str:
        """What a version calls it, in the names of files and entries."""
        return self.in_v3 if version == "v3" and self.in_v3 else self.name

    def file(self, version: Version) -> str:
        """The name of its file of questions, and of the one with answers."""
        return f"BFCL_{version}_{self.called(version)}.json"


def _same(count: int) -> dict[Version, int]:
    return {"v3": count, "v4": count}


CATEGORIES: dict[str, Category] = {
    one.name: one
    for one in (
        Category("multi_turn_base", "turns", _same(200)),
        Category("multi_turn_miss_func", "turns", _same(200)),
        Category("multi_turn_miss_param", "turns", _same(200)),
        Category("multi_turn_long_context", "turns", _same(200)),
        Category("simple_python", "one", _same(400), "simple"),
        Category("simple_java", "one", _same(100), "java", "java"),
        Category("simple_javascript", "one", _same(50), "javascript", "javascript"),
        Category("multiple", "one", _same(200)),
        Category("parallel", "any_order", _same(200)),
        Category("parallel_multiple", "any_order", _same(200)),
        Category("irrelevance", "none", _same(240)),
        Category("live_simple", "one", _same(258)),
        Category("live_multiple", "one", _same(1053)),
        Category("live_parallel", "any_order", _same(16)),
        Category("live_parallel_multiple", "any_order", _same(24)),
        Category("live_irrelevance", "none", {"v3": 882, "v4": 884}),
        Category("live_relevance", "some", {"v3": 18, "v4": 16}),
    )
}
GROUPS: dict[str, tuple[str, ...]] = {
    "multi_turn": tuple(name for name in CATEGORIES if name.startswith("multi_turn")),
    "live": tuple(name for name in CATEGORIES if name.startswith("live")),
    "non_live": tuple(name for name in CATEGORIES if not name.startswith(("live", "multi_turn"))),
}
NOT_PLAYED = {
    "memory": "its agent writes to a memory over several episodes",
    "web_search": "it searches the live web",
    "format_sensitivity": "it varies the official prompts, which are not used here",
}
"""Categories of v4 that are left out, and why."""


def category_names() -> list[str]:
    """What `category` can be: a category, or a group of them."""
    return [*CATEGORIES, *GROUPS]


def chosen(category: str) -> tuple[Category, ...]:
    """The categories that a name means. Raises ValueError."""
    for name, why in NOT_PLAYED.items():
        if isinstance(category, str) and category.startswith(name):
            raise ValueError(f"category={category!r} is not played here: {why}")
    if category not in CATEGORIES and category not in GROUPS:
        raise ValueError(f"category={brief(category)}: known are {', '.join(category_names())}")
    return tuple(CATEGORIES[name] for name in GROUPS.get(category, (category,)))
