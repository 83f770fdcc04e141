"""From failing tests to an issue whose examples hold as printed: asked in the box before and after."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from forge_envs.make_swe.lab import Lab
from forge_envs.make_swe.package import Package
from forge_envs.make_swe.reproduce import Example, reproduced
from forge_envs.make_swe.statement import About, Issue, write_issue
from forge_envs.make_swe.witness import SHOW

States = Mapping[str, Mapping[str, bytes | None]]
SENTENCE = re.compile(r"\s*(\S[^\n]*(?:\n[^\n]*\S[^\n]*)*)")
LONGEST_DOC = 160


def tell(
    package: Package,
    failures: Mapping[str, Mapping[str, Any]],
    places: Mapping[str, tuple[str, int]],
    files: Mapping[str, bytes],
    lab: Lab,
    states: States,
    *,
    seed: str,
) -> Issue | str:
    """The issue of a change, or why there is none.

    `states` has the files of "bug" and of "gold", `files` the tests. Raises SandboxError.
    """
    python = ""

    def ask(scripts: Sequence[Mapping[str, str]], warm: bool = True) -> Mapping[str, Any]:
        nonlocal python
        found = lab.witness(states, scripts, warm=warm)
        python = found["python"]
        answers: Mapping[str, Any] = found["answers"]
        return answers

    examples = reproduced(failures, places, files, ask)
    if not examples:
        return "no example reproduces"
    about = About(package.name, package.version, python)
    claims = write_issue(about, examples, seed=seed).claims
    asked = [{"text": claim.code, "how": claim.how} for claim in claims]
    answers = ask([*asked, *_doc_script(examples[0])], warm=False)
    for number, claim in enumerate(claims):
        if not claim.holds({key: value[number] for key, value in answers.items()}):
            return "the example as printed does not reproduce"
    doc = _doc([told for value in answers.values() for told in value[len(claims) :]])
    return write_issue(replace(about, doc=doc), examples, seed=seed)


def _doc_script(example: Example) -> list[dict[str, str]]:
    """A script that tells the documentation of what an example calls; none where that is not plain."""
    if not example.draft.callee or example.draft.depth:
        return []
    return [
        {"text": f"{example.draft.before}\nimport inspect\n{SHOW}(inspect.getdoc({example.draft.callee}))\n"}
    ]


def _doc(answers: Sequence[Any]) -> str:
    """The first sentence of a documentation that is the same with and without the bug, else empty."""
    told = {json.dumps(answer and answer["value"]) for answer in answers}
    value = json.loads(told.pop()) if len(told) == 1 else None
    if not value or value["type"] != "str":
        return ""
    paragraph = SENTENCE.match(value["str"])
    first = re.split(r"(?<=[.!?])\s", " ".join(paragraph[1].split()))[0] if paragraph else ""
    return first if 12 <= len(first) <= LONGEST_DOC and first.isprintable() and "`" not in first else ""
