"""The outline of a report: headings of at most four levels, and the evidence that each section cites."""

from __future__ import annotations

import re
from dataclasses import dataclass

from forge_envs.errors import brief
from forge_envs.worlds.report.claims import CITATION

DEEPEST = 4
MOST_SECTIONS = 40
LONGEST_TITLE = 200
_HEADING = re.compile(r"(#+)(.*)")
FORM = "# Title, then ## Section <citation>id_1, id_2</citation>, one a line"


@dataclass(frozen=True, slots=True)
class OutlineSection:
    """A heading, and the ids of the evidence it cites; one without any only holds those below it."""

    level: int
    title: str
    ids: tuple[str, ...] = ()


def read_outline(text: str) -> tuple[OutlineSection, ...]:
    """The headings of an outline, in order; a citation belongs to the heading it stands behind or under.

    Raises ValueError for one without a cited section, of more than DEEPEST levels, or with a title twice.

    >>> read_outline("# Azul\\n## Its mayor <citation>id_2</citation>")[1]
    OutlineSection(level=2, title='Its mayor', ids=('id_2',))
    """
    found: list[OutlineSection] = []
    for line in text.split("\n"):
        ids = [one.strip() for cited in CITATION.findall(line) for one in cited.split(",") if one.strip()]
        heading = _HEADING.match(CITATION.sub("", line).strip())
        if heading is not None:
            if len(heading[1]) > DEEPEST:
                raise ValueError(f"{brief(line)} has {len(heading[1])} levels; at most {DEEPEST} are read")
            title = " ".join(heading[2].split())
            if not title or len(title) > LONGEST_TITLE:
                raise ValueError(f"a heading has 1 to {LONGEST_TITLE} characters, not {brief(title)}")
            found.append(OutlineSection(len(heading[1]), title))
        if ids and not found:
            raise ValueError(f"a citation stands under a heading; write {FORM}")
        if ids:
            last = found[-1]
            found[-1] = OutlineSection(last.level, last.title, tuple(dict.fromkeys((*last.ids, *ids))))
    titles = [one.title.lower() for one in found]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise ValueError(f"two headings are called {brief(twice)}; each needs its own title")
    if not any(one.ids for one in found):
        raise ValueError(f"no section cites evidence; write {FORM}")
    if len(found) > MOST_SECTIONS:
        raise ValueError(f"{len(found)} headings; at most {MOST_SECTIONS} are read")
    return tuple(found)
