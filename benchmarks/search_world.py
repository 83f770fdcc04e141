"""Forge/Search-v0 at full size: is every proof right, does gold win, what does guessing earn, how fast is it?

    python benchmarks/search_world.py [--entities 20000] [--questions 2000] [--split train]

Draws the web and the questions of each level, then for each question: the second solver (a SQL join over the
facts) must find the one answer; each quote must stand in its page; the proof must need as many pages as its
level says; gold must earn 1 and silence 0. The closed-book guesser knows the answers of all questions and
says the most frequent one of a question's kind. Counts come first, seconds (of the processor) after.
Writes benchmarks/results/search_world.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.worlds.search.answers import right
from forge_envs.worlds.search.drafts import MadeQuestion
from forge_envs.worlds.search.proof import faults, pages_needed
from forge_envs.worlds.search.riddle import fingerprint
from forge_envs.worlds.search.solver import FactTable
from forge_envs.worlds.search.walk import LEVELS, RULES
from forge_envs.worlds.search.web import WebAddress, graph_of, library_of, questions_of

RESULTS = Path(__file__).parent / "results" / "search_world.json"


def checked(level: int, questions: list[MadeQuestion], table: FactTable, library: Any) -> dict[str, Any]:
    """What the checks of proofs say."""
    needed = [pages_needed(made.question.proof) for made in questions]
    return {
        "questions": len(questions),
        "one_answer": sum(table.answers(made.riddle) == [made.question.answer] for made in questions),
        "quotes_stand": sum(
            statement.quote in library.page(statement.page).text
            for made in questions
            for step in made.question.proof
            for statement in step.statements
        ),
        "quotes": sum(len(step.statements) for made in questions for step in made.question.proof),
        "proofs_stated": sum(not list(faults(made.question, library)) for made in questions),
        "pages_needed": dict(sorted(Counter(needed).items())),
        "enough_pages": sum(pages >= RULES[level].pages for pages in needed),
        "different": len({fingerprint(made.riddle) for made in questions}),
        "shapes": len({fingerprint(made.riddle, shape=True) for made in questions}),
        "circles": sum(made.riddle.circles > 0 for made in questions),
        "kinds": dict(Counter(made.question.kind for made in questions).most_common()),
    }


def played(env: Any, ids: list[str]) -> dict[str, Any]:
    """Gold and silence in each task."""
    won = silent = steps = found = searches = 0
    evidence = 0.0
    seconds = 0.0
    for id in ids:
        actions = env.gold_actions(id)
        began = time.process_time()
        env.reset(options={"task": id})
        for action in actions:
            messages, *_, info = env.step(action)
            if '"search"' in action:
                searches += 1
                found += (
                    f"| {json.loads(actions[steps_after(actions, action)][11:-12])['arguments']['page']}"
                    in (messages[0]["content"])
                )
        seconds += time.process_time() - began
        steps += len(actions)
        won += info["outcome"] == 1.0
        evidence += info["parts"]["evidence"]
        env.reset(options={"task": id})
        over = False
        while not over:
            *_, terminated, truncated, info = env.step("")
            over = terminated or truncated
        silent += info["outcome"]
    return {
        "gold_earns_1": won,
        "gold_evidence": round(evidence / len(ids), 4),
        "silence_earns": silent,
        "steps_of_gold": round(steps / len(ids), 2),
        "gold_searches_that_list_the_page": f"{found}/{searches}",
        "gold_steps_per_cpu_second": round(steps / seconds),
    }


def steps_after(actions: list[str], search: str) -> int:
    """The visit that follows a search."""
    return actions.index(search) + 1


def guessed(questions: list[MadeQuestion]) -> float:
    """What saying the most frequent answer of its kind earns, over all questions."""
    by_kind: dict[str, Counter[str]] = {}
    for made in questions:
        by_kind.setdefault(made.question.kind, Counter())[made.question.answer] += 1
    best = {kind: answers.most_common(1)[0][0] for kind, answers in by_kind.items()}
    return sum(right(made.question, best[made.question.kind]) for made in questions) / len(questions)


def search_ms(library: Any, questions: list[MadeQuestion]) -> dict[str, float]:
    """Searches that nobody made before: for words of questions."""
    took = []
    for made in questions:
        began = time.process_time()
        library.search(made.question.text, 5)
        took.append(1000 * (time.process_time() - began))
    took.sort()
    return {
        "mean": round(statistics.mean(took), 3),
        "p50": round(took[len(took) // 2], 3),
        "p99": round(took[len(took) * 99 // 100], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--entities", type=int, default=20_000)
    parser.add_argument("--questions", type=int, default=2_000, help="of each level")
    parser.add_argument("--split", default="train")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    web = WebAddress(args.split, args.entities, 0)
    began = time.process_time()
    graph = graph_of(web)
    report: dict[str, Any] = {
        "web": web.name,
        "facts": len(graph.facts),
        "machine": f"{platform.processor() or platform.machine()}, Python {platform.python_version()}",
        "cpu_seconds_graph": round(time.process_time() - began, 2),
    }
    began = time.process_time()
    library = library_of(web)
    report |= {"pages": len(library), "cpu_seconds_index": round(time.process_time() - began, 2)}
    table, everything, levels = FactTable(graph), [], {}
    for level in LEVELS:
        began = time.process_time()
        stored = questions_of(web, level)
        drawn = round(time.process_time() - began, 2)
        questions = [stored[at] for at in range(min(args.questions, len(stored)))]
        everything += questions
        told = {"entities": args.entities, "split": args.split, "level": level}
        env: Any = gym.make("Forge/Search-v0", **told, max_turns=16).unwrapped
        row = checked(level, questions, table, library)
        row |= played(env, env.task_ids(n=args.questions))
        levels[level] = row | {"guess_of_level": round(guessed(questions), 4), "cpu_seconds_drawn": drawn}
        print(level, json.dumps(levels[level]), flush=True)
    report |= {
        "levels": levels,
        "questions": len(everything),
        "closed_book_guess": round(guessed(everything), 4),
    }
    report["search_cpu_ms"] = search_ms(library, everything)
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: value for key, value in report.items() if key != "levels"}))


if __name__ == "__main__":
    main()
