"""Fits the weights of the customers' hearing to labelled phrases, patterns and the desks' own sentences.

A message does what one of its sentences does (the largest sum counts), so sentences need no labels; only a
yes is weighed as a whole. The same input gives the same weights, to the byte.
Run: python benchmarks/hearing_fit.py [--part build] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from hearing import FOLDER, part_of
from hearing_turns import phrases

from forge_envs.worlds.airline.gold import TOPICS as AIRLINE_TOPICS
from forge_envs.worlds.desk import hearing
from forge_envs.worlds.desk.customer import lines
from forge_envs.worlds.desk.hearing.acts import ACTS, SCALE
from forge_envs.worlds.desk.hearing.clauses import heard
from forge_envs.worlds.desk.hearing.words import normal, sentences
from forge_envs.worlds.retail.gold import TOPICS as RETAIL_TOPICS

OTHER = {
    "refusal": ("confirm", "done", "question"),
    "confirm": ("refusal", "done", "question"),
    "question": ("refusal", "done", "confirm", "more"),
    "done": ("refusal", "confirm", "question"),
    "more": (),
    "agrees": (),
}
"""What a phrase does not do that does this."""
PLACES = {"ask": "question", "confirm": "confirm", "did": "done", "no": "refusal", "still": "refusal"}
WORDS = {
    "id": "#W1234567",
    "order": "order #W1234567",
    "reservation": "reservation ABC123",
    "amount": "$54.04",
    "method": "credit_card_1234567",
    "old": "paypal_1234567",
    "payments": "$54 by credit_card_1234567",
    "items": "the Mug and the Lamp",
    "swaps": "the Mug for the Mug with color red",
    "bags": "3",
    "insurance": "no",
    "people": "Eve Sand and Ann Lee",
    "flights": "FG101 on 2024-05-20",
    "cabin": "business",
    "status": "delivered",
    "reason": "no longer needed",
    "address": "2 Elm Way, Tulsa, OK 74101",
    "origin": "Boston",
    "destination": "Reno",
    "source": "gift card",
    "city": "Tulsa",
    "truth": "123456789012",
    "needs": "your email and the reason",
}
NEEDS = sorted({*RETAIL_TOPICS.values(), *AIRLINE_TOPICS.values()})
SCRIPT = [
    "I am listening.",
    "I do not understand.",
    "Wait, I changed my mind.",
    "No, not that order.",
    "What exactly will you do?",
    "Please make an exception.",
    "I am sure that it is possible.",
    "Which one is it?",
    "Hello? Are you there?",
    "My email is ann@example.com.",
    "I do not remember my email.",
    "I am Ann Lee, zip 89501.",
    "Use my paypal.",
    "It is order #W1234567.",
    "It is no longer needed.",
    "No. Use my gift card.",
    "My user id is ann_lee_1234.",
    "I am sure that it is possible. Please cancel order #W1234567.",
    "Please cancel order #W1.",
    "No insurance.",
]
"""What a scripted customer says that is no yes."""
COPIES = {"phrase": 2.0, "pattern": 0.7, "line": 4.0}
"""How much each kind of example weighs."""


CAUTION = {"refusal": 0.5, "confirm": 0.9, "question": 0.3, "more": 0.6, "done": 0.6, "agrees": 0.9}
"""How far the sum of an act must lie above what the fit says. Of what it saw a fit is surer than it may be;
these are read off the phrases of a hand that nothing was fitted to: the least that costs recall little."""


def own_lines() -> Iterable[dict[str, Any]]:
    """The sentences that both desks' exemplary agents and scripted customers say."""
    for table in map(lines, ("forge_envs.worlds.retail", "forge_envs.worlds.airline")):
        for place, several in table.items():
            act = PLACES.get(place.partition("_")[0])
            for sentence in several:
                text = sentence.format_map(WORDS)
                if act:
                    yield {"act": act, "label": True, "text": text}
                    if act == "question":  # whatever is asked for
                        yield from (
                            {"act": act, "label": True, "text": sentence.format(needs=needs)}
                            for needs in NEEDS
                        )
                    if act == "confirm":  # what is listed is not done, however one asks
                        yield {"act": "done", "label": False, "text": _unasked(text)}
                        yield {"act": act, "label": True, "text": f"{_unasked(text)} Please reply YES."}
                elif place.startswith("tell_"):
                    for other in ("refusal", "confirm", "question", "more"):
                        yield {"act": other, "label": False, "text": text}
                else:
                    yield {"act": "agrees", "label": False, "text": text}
    yield from ({"act": "agrees", "label": False, "text": text} for text in SCRIPT)
    yield {"act": "agrees", "label": True, "text": "Yes."}


def _unasked(text: str) -> str:
    """What a listing lists, without the question at its end."""
    *head, last = re.split(r"(?<=\.) (?=[A-Z])", text)
    return " ".join(head) or last.removesuffix(" (yes/no)?").removesuffix("?") + "."


def examples(part: str, each: int) -> list[tuple[dict[str, Any], float]]:
    """All labelled texts and their weights."""
    found = []
    for path in sorted(FOLDER.glob("building*.jsonl")):
        rows = map(json.loads, path.read_text("utf-8").splitlines())
        found += [(row, COPIES["phrase"]) for row in rows if part in ("all", part_of(row["text"]))]
    found += [(row, COPIES["pattern"]) for row in phrases(each)]
    return found + [(row, COPIES["line"]) for row in own_lines()]


def targets(row: dict[str, Any]) -> list[float]:
    """1 for what a phrase does, 0 for what it does not, -1 for what nobody said."""
    found = dict.fromkeys(ACTS, -1.0)
    found |= {row["act"]: float(row["label"])}
    if row["label"]:
        found |= dict.fromkeys(OTHER[row["act"]], 0.0)
    return list(found.values())


def features(row: dict[str, Any]) -> list[set[str]]:
    """The features of each sentence, or of all together where the whole is weighed."""
    found = heard(sentences(normal(row["text"])))
    return [set().union(*found)] if row["act"] == "agrees" else list(map(set, found))


def fit(data: list[Any], rows: int, *, rounds: int, rate: float, shrink: float, seed: int) -> Any:
    """Weights by stochastic descent with a rate of its own for each (AdaGrad)."""
    acts = len(ACTS)
    weights = np.zeros((rows, acts))
    weights[0] = -2.0
    power = np.full((rows, acts), 0.05)
    power[0] = 1.0
    dice = random.Random(seed)
    for _ in range(rounds):
        dice.shuffle(data)
        for parts, wanted, weight in data:
            sums = np.array([weights[part].sum(axis=0) for part in parts])
            top = sums.argmax(axis=0)
            best = np.clip(sums[top, range(acts)], -30, 30)
            step = np.where(wanted >= 0, 1 / (1 + np.exp(-best)) - wanted, 0.0) * weight
            if np.abs(step).max() < 0.005:
                continue
            for n, part in enumerate(parts):
                own = np.where(top == n, step, 0.0)
                if own.any():
                    power[part] += own * own
                    weights[part] -= rate * (own + shrink * weights[part]) / np.sqrt(power[part])
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="all", choices=["all", "build", "check"])
    parser.add_argument("--each", type=int, default=24, help="phrases drawn from a short pattern")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--runs", type=int, default=2, help="orders of the examples to average over")
    parser.add_argument(
        "--least", type=float, default=0.2, help="features that never weigh as much are dropped"
    )
    parser.add_argument("--out", type=Path, default=Path(hearing.__file__).parent / "weights.tsv")
    args = parser.parse_args()
    rows = examples(args.part, args.each)
    found = [features(row) for row, _ in rows]
    counts = Counter(name for parts in found for name in set().union(*parts))
    names = ["*", *sorted(name for name, count in counts.items() if count > 1 and "\t" not in name)]
    index = {name: n for n, name in enumerate(names)}
    data = [
        ([np.array([0, *sorted(index[name] for name in part if name in index)]) for part in parts],
         np.array(targets(row)), weight)
        for parts, (row, weight) in zip(found, rows, strict=True) if parts
    ]  # fmt: skip
    runs = [
        fit(list(data), len(names), rounds=args.rounds, rate=0.15, shrink=0.01, seed=seed)
        for seed in range(args.runs)
    ]
    weights = np.mean(runs, axis=0)
    weights[0] -= [CAUTION[act] for act in ACTS]
    kept = [n for n in range(len(names)) if n == 0 or np.abs(weights[n]).max() >= args.least]
    lines = ["\t".join([names[n], " ".join(map(str, np.rint(weights[n] * SCALE).astype(int)))]) for n in kept]
    args.out.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{len(rows)} examples, {len(names)} features, {len(kept)} kept: {args.out}")
    assert not any(re.search(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", names[n]) for n in kept), (
        "a line in a name"
    )


if __name__ == "__main__":
    main()
