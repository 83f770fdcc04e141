"""How many of real documents are read as tools, why the others are not, and what becomes of them.

Each path is a folder or a file. Nothing of it is stored: the numbers go to
benchmarks/results/tool_documents.json.

    python -m benchmarks.tool_documents twilio=../twilio-oai/spec/json adyen=../adyen-openapi/json --tasks 100
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.worlds.toolfolder.domain import atlas
from forge_envs.worlds.toolfolder.env import FolderWorld
from forge_envs.worlds.toolfolder.tasks import playable

RESULTS = Path(__file__).parent / "results" / "tool_documents.json"


def measured(path: str, tasks: int) -> dict[str, Any]:
    """What a folder comes to."""
    begun = time.process_time()
    found = atlas(path)
    read = time.process_time() - begun
    catalogue = found.catalogue
    lost = [one for one in catalogue.remarks if one.refused]
    files = {one.where.partition(": ")[0] for one in lost} - set(catalogue.files)
    known = playable(path)
    return {
        "files": catalogue.seen,
        "files with tools": len(catalogue.files),
        "files without, by reason": dict(Counter(one.kind for one in lost if one.where in files)),
        "tools": len(catalogue.tools),
        "tools refused, by reason": dict(Counter(one.kind for one in lost if one.where not in files)),
        "mended, by reason": dict(Counter(one.kind for one in catalogue.remarks if not one.refused)),
        "domains": len(found.domains),
        "tools in domains": sum(len(domain.tools) for domain in found.domains.values()),
        "domains with tasks": len({name for names in known.values() for name in names}),
        "tools in none, by reason": dict(Counter(_reason(why) for why in found.left.values()).most_common(8)),
        "seconds of computing": round(read, 1),
        **(played(path, tasks) if any(known.values()) else {}),
    }


def _reason(why: str) -> str:
    """A reason without the names in it."""
    begin = "no argument says which", "nothing reads or makes", "it is alone with", "it takes the"
    return next((one + " …" for one in begin if why.startswith(one)), why.split(":")[0])


def played(path: str, tasks: int) -> dict[str, Any]:
    """Gold and silence over the first tasks of both splits."""
    env = gym.make("Forge/ToolFolder-v0", path=path).unwrapped
    assert isinstance(env, FolderWorld)
    outcomes = {"gold": Counter[float](), "silence": Counter[float]()}
    ids = [id for split in env.splits for id in env.task_ids(split, tasks)]
    for id in ids:
        for name, actions in (("gold", env.gold_actions(id)), ("silence", [""] * env.max_turns)):
            env.reset(options={"task": id})
            for action in actions:
                *_, terminated, truncated, info = env.step(action)
                if terminated or truncated:
                    break
            outcomes[name][info.get("outcome", -1.0)] += 1
    told = {name: {str(outcome): n for outcome, n in counts.items()} for name, counts in outcomes.items()}
    return {"tasks played": len(set(ids)), **told}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--report", action="store_true", help="print every remark")
    given = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for one in given.folders:
        name, _, path = one.partition("=")
        results[name] = measured(path, given.tasks)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(json.dumps({name: results[name]}, indent=1), flush=True)
        if given.report:
            print(atlas(path).report())


if __name__ == "__main__":
    main()
