"""The mixture of several files of samples, in stages of context length (AgentFounder: 32k, then 128k).

A sample is in the first stage that it fits into; so the second holds the long ones, and of the others as many
are asked for (`again`). Each stage is a file of its own: train one run on the first, and begin another with
its weights.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_train.recipes.synthesis.fuse import episodes_of
from forge_train.recipes.synthesis.shelf import Line, length_of, write_samples
from forge_train.record.run_folder import write_atomic
from forge_train.seeds import derive_seed

Length = Callable[[Line], int]
"""Of a sample, in what `stages` are given in."""


def mix(
    sources: Mapping[str, float],
    out: Path,
    *,
    stages: Sequence[int],
    again: float = 0.0,
    seed: int = 0,
    length: Length = length_of,
) -> dict[str, Any]:
    """Write `stage-1.jsonl` and so on, and return the report, which `report.json` keeps.

    `sources`: paths of episodes and their shares of a stage, by length; of each the largest part is taken
    with which the shares hold. `stages`: the longest sample of each; `again`: of the later stages the share,
    by length, that short samples have. Raises ValueError for shares and stages that make no sense.
    """
    if not sources or any(share <= 0 for share in sources.values()):
        raise ValueError(f"shares {dict(sources)}: name files, each with a share above 0, e.g. fas=2 has=1")
    if not stages or list(stages) != sorted(set(stages)) or stages[0] < 1:
        raise ValueError(f"stages {list(stages)}: lengths that grow, e.g. 32768 131072")
    if not 0 <= again < 1:
        raise ValueError(f"again={again}: a share from 0 to less than 1")
    known = {name: [(length(line), line) for line in episodes_of(Path(name))] for name in sources}
    too_long = sum(size > stages[-1] for lines in known.values() for size, _ in lines)
    out.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"dropped": {"longer than the last stage": too_long}, "stages": []}
    low = 0
    for number, high in enumerate(stages, 1):
        fresh = {name: [one for one in lines if low < one[0] <= high] for name, lines in known.items()}
        chosen, left = _balanced(fresh, sources, random.Random(derive_seed(seed, "mix", number)))
        if number > 1 and again:
            room = again / (1 - again) * sum(size for size, _ in chosen)
            short = [one for lines in known.values() for one in lines if one[0] <= low]
            random.Random(derive_seed(seed, "again", number)).shuffle(short)
            for one in short:
                if one[0] <= room:
                    room -= one[0]
                    chosen.append(one)
        random.Random(derive_seed(seed, "order", number)).shuffle(chosen)
        write_samples(out / f"stage-{number}.jsonl", [line for _, line in chosen])
        stage = {"longest": high, "samples": len(chosen), "length": sum(size for size, _ in chosen)}
        told["stages"].append({**stage, "left out to keep the shares": left})
        low = high
    write_atomic(out / "report.json", (_json(told) + "\n").encode())
    return told


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=1)


def _balanced(
    lines: Mapping[str, Sequence[tuple[int, Line]]], shares: Mapping[str, float], rng: random.Random
) -> tuple[list[tuple[int, Line]], dict[str, int]]:
    """Of each source as much that the sums of lengths stand in these shares; and how many were left out.

    A source with nothing here has no share here.
    """
    sums = {name: sum(size for size, _ in found) for name, found in lines.items() if found}
    unit = min((total / shares[name] for name, total in sums.items()), default=0.0)
    chosen: list[tuple[int, Line]] = []
    left = {}
    for name in sums:
        order = list(lines[name])
        rng.shuffle(order)
        room, taken = unit * shares[name], 0.0
        before = len(chosen)
        for size, line in order:
            if taken + size <= room + 1e-9:
                taken += size
                chosen.append((size, line))
        left[name] = len(order) - (len(chosen) - before)
    return chosen, left
