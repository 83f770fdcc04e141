"""Forge/Agentless-v0 on made tasks: gold and idle of both roles, and selection by self-play.

    forge-envs make-swe inflection==0.5.1 --tasks 24 --out made
    python benchmarks/agentless.py --source made

For each task the fixer's and the tester's gold are played, and silence. Then one right patch stands among
wrong ones in every order that a seed draws, and is to be chosen by written tests:

    patches  gold; a comment; gold with the bug of another task; the bug of another task beside the old one; a
             part of gold where it has several
    tests    the tester's gold (FAIL_TO_PASS alone); the hidden test file whole, as an edit of the one that is
             there; a test that expects nonsense; one that passes whatever is done

Patches and tests are answers of the two roles, as plays hold them. That the others are wrong is known, since
tests of FAIL_TO_PASS or PASS_TO_PASS fail with them, or the judge says so. One box at a time. What is done is
kept in a file, and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from forge_envs.worlds.agentless.edits import UnusableAnswer, apply_edits, edits_between, write_edits
from forge_envs.worlds.agentless.env import AgentlessEnv
from forge_envs.worlds.agentless.gold import gold_fix
from forge_envs.worlds.agentless.repository import texts_of
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.patch import paths_of
from forge_envs.worlds.swe.task import SweTask
from forge_train.record.run_folder import read_lines
from forge_train.selection.candidates import Candidate
from forge_train.selection.self_play import Memory, score_patches

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "agentless.json"
WRONG_TEST = "def test_of_nonsense():\n    assert 1 + 1 == 3\n"
EMPTY_TEST = "def test_of_nothing():\n    assert True\n"


def play(env: AgentlessEnv, task: str, actions: Sequence[str]) -> dict[str, Any]:
    """How an episode of these actions ends."""
    start = time.monotonic()
    env.reset(options={"task": task})
    info: dict[str, Any] = {}
    for action in [*actions, *[""] * env.max_turns]:
        *_, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            break
    told = {"outcome": info.get("outcome"), "parts": info.get("parts"), "error": info.get("error")}
    reason = getattr(env.playing.verdict, "reason", "")
    return told | {"reason": reason, "seconds": round(time.monotonic() - start, 1)}


def said(task: str, number: int, answer: str) -> Candidate:
    """An answer as a play."""
    return Candidate(task, number, ({"role": "assistant", "content": answer},))


def wrong_patches(env: AgentlessEnv, task: SweTask, rng: random.Random) -> dict[str, str]:
    """Answers of a fixer that are wrong, by what is wrong with them."""
    paths = sorted(paths_of(task.patch))
    base, fixed = (dict(texts_of(task, env.ground, paths, patch)) for patch in ("", task.patch))
    found = {"a comment": write_edits(_edits(base, {paths[0]: base[paths[0]] + "\n# looked at\n"}))}
    gold = gold_fix(task, env.ground)
    if len(gold) > 1:
        found |= _if_wrong(env, task, "a part of gold", write_edits(gold[:-1]))
    decisive = {*task.fail_to_pass, *task.pass_to_pass}
    others = [one for one in env.tasks.by_id.values() if one.repo == task.repo and one.id != task.id]
    rng.shuffle(others)
    for other in others:
        if len(found) >= 3:
            break
        there = sorted(paths_of(other.patch))
        buggy, right = (dict(texts_of(other, env.ground, there, patch)) for patch in ("", other.patch))
        try:
            if not any(name.startswith("gold and") for name in found):
                # other's repository differs from the fixed one in its own bug alone
                after = {**fixed, **buggy}
                name, answer = f"gold and the bug of {other.id}", _edits(_base(env, task, after), after)
            else:
                name, answer = f"the bug of {other.id} beside the old one", _edits(right, buggy)
                apply_edits(answer, _base(env, task, there))
        except UnusableAnswer:
            continue
        if set(other.fail_to_pass) & decisive:
            found[name] = write_edits(answer)
        else:  # its own tests are not among those that judge this task, but others may notice
            found |= _if_wrong(env, task, name, write_edits(answer))
    return found


def _if_wrong(env: AgentlessEnv, task: SweTask, name: str, answer: str) -> dict[str, str]:
    """An answer by its name if the judge says that it is wrong."""
    patch = env.patch_said(task.id, [answer])
    right = patch is None or judge(task, patch, env.ground, timeout=env.eval_timeout).resolved
    return {} if right else {name: answer}


def _base(env: AgentlessEnv, task: SweTask, paths: Iterable[str]) -> dict[str, str]:
    return dict(texts_of(task, env.ground, sorted(paths)))


def _edits(before: dict[str, str], after: dict[str, str]) -> list[Any]:
    return [edit for path in sorted(after) if before.get(path) != after[path]
            for edit in edits_between(path, before.get(path), after[path])]  # fmt: skip


def written_tests(env: AgentlessEnv, task: SweTask) -> dict[str, str]:
    """Answers of a tester, by what they are."""
    hidden = sorted(path for path in paths_of(task.test_patch) if path.endswith(".py"))
    found = {"gold": env.grammar.parse(env.gold_actions(task.id)[-1]).prose}
    counts = {path: sum(name.startswith(f"{path}::") for name in task.fail_to_pass) for path in hidden}
    path = max(hidden, key=counts.__getitem__)
    before, after = (dict(texts_of(task, env.ground, [path], patch)) for patch in ("", task.test_patch))
    if edits := _edits(before, after):
        found["the hidden file"] = write_edits(edits)
    folder = Path(path).parent
    for name, text in (("nonsense", WRONG_TEST), ("nothing", EMPTY_TEST)):
        new = str(folder / f"test_{name}_of_ours.py")
        found[name] = write_edits(edits_between(new, None, text))
    return found


def choose(fixer: AgentlessEnv, tester: AgentlessEnv, task: str, memory: Memory, seed: int) -> dict[str, Any]:
    """Which patch written tests choose."""
    start, rng = time.monotonic(), random.Random(f"{seed}/{task}")
    right = fixer.grammar.parse(fixer.gold_actions(task)[-1]).prose
    patches = {"gold": right, **wrong_patches(fixer, fixer.find(task), rng)}
    names = list(patches)
    rng.shuffle(names)
    tests = written_tests(tester, tester.find(task))
    fixes = [said(task, i, patches[name]) for i, name in enumerate(names)]
    files = [said(task, i, answer) for i, answer in enumerate(tests.values())]
    scores, ran = score_patches(fixes, files, fixer, tester, memory)
    best = max(range(len(scores)), key=scores.__getitem__)
    shows = [name for name, outcome in zip(tests, ran.before, strict=True) if not all(outcome.values())]
    return {
        "chosen": names[best],
        "first": names[0],
        "scores": dict(zip(names, [round(s, 4) for s in scores], strict=True)),
        "tests that fail at first": shows,
        "seconds": round(time.monotonic() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, help="what make-swe made; by default the builtin tasks")
    parser.add_argument("--sandbox", default="docker")
    parser.add_argument("--tasks", type=int, default=1_000, help="0 writes the results of what is done")
    parser.add_argument("--state", type=Path, default=Path("runs/agentless"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    source = f"repo:{args.source}" if args.source else "builtin"
    make = {"source": source, "sandbox": args.sandbox, "eval_timeout": 300.0}
    fixer, tester = (
        gym.make("forge_envs:Forge/Agentless-v0", role=role, **make).unwrapped for role in ("fixer", "tester")
    )
    assert isinstance(fixer, AgentlessEnv) and isinstance(tester, AgentlessEnv)
    args.state.mkdir(parents=True, exist_ok=True)
    path, memory = args.state / "tasks.jsonl", Memory(args.state / "tested.jsonl")
    done = {line["task"]: line for line in read_lines(path)}
    for task in [i for split in tester.splits for i in tester.task_ids(split)][: args.tasks]:
        if task in done:
            continue
        line: dict[str, Any] = {"task": task}
        for role, env in (("fixer", fixer), ("tester", tester)):
            line[f"{role} idle"] = play(env, task, [])
            line[f"{role} gold"] = play(env, task, env.gold_actions(task))
        line["selection"] = choose(fixer, tester, task, memory, args.seed)
        done[task] = line
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
        chosen = line["selection"]
        golds = [line[f"{role} gold"]["outcome"] for role in ("fixer", "tester")]
        print(task, golds, chosen["chosen"], chosen["scores"], chosen["seconds"], flush=True)
    lines = list(done.values())
    several = [line for line in lines if len(line["selection"]["scores"]) > 1]
    told = {
        "tasks": len(lines),
        **{
            f"{role} {what}": sum(line[f"{role} {what}"]["outcome"] or 0.0 for line in lines) / len(lines)
            for role in ("fixer", "tester")
            for what in ("gold", "idle")
        },
        "machine failures": sum(
            line[f"{role} {what}"]["error"] is not None
            for line in lines
            for role in ("fixer", "tester")
            for what in ("gold", "idle")
        ),
        "patches of a task": sum(len(line["selection"]["scores"]) for line in several) / len(several),
        "right patch chosen": sum(line["selection"]["chosen"] == "gold" for line in several) / len(several),
        "right patch by chance": sum(line["selection"]["first"] == "gold" for line in several) / len(several),
    }
    print(json.dumps(told, indent=1))
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    rows = {line["task"]: line["selection"] for line in lines}
    found[args.source.name if args.source else "builtin"] = {"summary": told, "selection": rows}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
