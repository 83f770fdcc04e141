"""RFT for IterResearch (WebResearcher, arXiv 2509.13309): the accepted runs of one or several collections.

    loss = - sum_j log p(r_j | s_{j-1}),  s_{j-1} = (question, report_{j-1}, action_{j-1}, what came of it)

over the runs whose answer matched exactly. A run is a play that was collected under `context.kind =
"iterresearch"`; what it was shown and wrote stands in it as `lesson`. `sft` under the same [context] makes of
it one segment a round, in which that round's words alone are learned, so each r_j counts once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_train.recipes.synthesis.shelf import Made, Shelf, episode
from forge_train.record.run_folder import read_lines
from forge_train.trajectory import SUCCESS

_REPORT = re.compile(r"<report>.*?</report>", re.DOTALL)


def accepted_rounds(
    sources: Sequence[Path],
    out: Path,
    *,
    most: int = 1,
    least: int = 2,
    longest: int | None = None,
    progress: Callable[[int], None] = lambda total: None,
) -> dict[str, Any]:
    """Write the accepted runs, at most `most` of a task and only those of `least` rounds or more; return the
    filter report. Collections of later rounds of rejection sampling are given after those of earlier ones.

    Raises ValueError for files without plays and for a folder of other settings.
    """
    if most < 1 or least < 1:
        raise ValueError(f"most={most}, least={least}: both are at least 1")
    files = [path / "plays.jsonl" if path.is_dir() else path for path in sources]
    stored = [(str(file), play) for file in files for play in read_lines(file)]
    if not stored:
        raise ValueError(f"{', '.join(map(str, files))}: there are no plays; forge-train collect makes some")
    settings = {"recipe": "rounds", "sources": [str(path) for path in sources], "most": most, "least": least}
    shelf = Shelf(out, settings, longest=longest)
    taken: Counter[str] = Counter()
    keys = []
    for number, (source, play) in enumerate(stored):
        key = f"{source}/{play['task']}/{play['repetition']}/{number}"
        keys.append(key)
        reason = fault_of_run(play, least)
        if not reason and taken[play["task"]] >= most:
            reason = "enough of its task"
        taken[play["task"]] += not reason
        if not shelf.there(key):
            facts = {"task": play["task"], "world": play["world"], "outcome": play["outcome"]}
            samples = () if reason else (episode(play["lesson"], "run", **facts),)
            shelf.put(Made(key, samples, reason))
        progress(len(stored))
    return shelf.finish(keys)


def fault_of_run(play: Mapping[str, Any], least: int) -> str:
    """Why a play is no accepted run of `least` rounds; empty if it is one."""
    if play["error"] is not None:
        return "a machine failed"
    if play["ending"] != "terminated":
        return f"it ended by {play['ending']}"
    if play["outcome"] < SUCCESS:
        return "its answer is not right"
    if "lesson" not in play:
        return "it was not played in rounds"
    said = [m["content"] for m in play["lesson"] if m["role"] == "assistant" and m.get("sampled")]
    if len(said) < least:
        return f"fewer than {least} rounds"
    if not all(_REPORT.search(text) for text in said[:-1]):
        return "a round without a report"
    return ""
