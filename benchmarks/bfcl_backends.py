"""Our simulated systems of BFCL beside the official ones: random calls, every answer and state compared.

    python -m benchmarks.bfcl_backends --package PATH [--edition v4] [--sequences 2000] [--seed 0]

`--package` is where `bfcl-eval` is installed or unpacked (the folder that holds `bfcl_eval`); of its modules
only the simulators are imported, which need nothing but mpmath 1.3. Give `--edition v3` with one of July
2025 (2025.7.17), v4 with one of 2026. A sequence takes a random entry's configuration, or none at all, and
plays calls whose arguments come from the entry's ground truth, from what the state holds, or from nowhere:
wrong types, missing and unknown names, odd numbers. Between calls our systems are pickled and copied now and
then. What cannot be equal is counted by the reasons in REASONS; anything else is printed, and the exit code
is 1.
"""

from __future__ import annotations

import argparse
import ast
import copy
import datetime
import importlib
import inspect
import json
import pickle
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from forge_envs.worlds.bfcl.backends import BACKENDS_OF, Backend
from forge_envs.worlds.bfcl.backends.fillers import Fillers
from forge_envs.worlds.bfcl.backends.travel import TODAY
from forge_envs.worlds.bfcl.leaderboard import DOCUMENTS

RESULTS = Path(__file__).parent / "results" / "bfcl_backends.json"
HOME = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
CATEGORIES = ("base", "miss_func", "miss_param", "long_context")
REASONS = {
    "order": "the official text lists a set, in an order that differs between processes; ours is fixed",
    "endless": "a directory copied into itself: Python's complaint about recursion has several wordings",
    "bound": "the official simulator would compute for very long; ours refuses",
}
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 5, 7, 10, 100, 101, 12345, -7, 0.5, -0.0, 0.1, 1e-9, 2.5, 37.5, 1e16,
    1e308, float("inf"), float("-inf"), float("nan"), 10**25, -(10**25), 10**400, "", " ", ".", "..", "/",
    "//", "a", "a/b", "/a", "é", "0", "1", "-3", "1e5", "nan", "inf", "1/3", "2l", "1_000", "USD", "EUR",
    "RMB", "economy", "first", "business", "2024-02-30", "2024-11-11", "2001-01-01", "2020-06-15", "US123",
    "x" * 50, "two\nlines\r\nthree", [], ["a"], [1, 2], [1.5, "a"], [[]], {}, {"a": 1}, {"status":
    "Closed"}, {"title": None, "priority": 9}, ("a",), b"a",
)  # fmt: skip


class Official:
    """The simulators of the installed package, each sequence as in a process of its own."""

    def __init__(self, package: Path) -> None:
        sys.path.insert(0, str(package))
        self.modules = {name: importlib.import_module(f"{HOME}.{file}") for name, file in DOCUMENTS.items()}
        self.fillers = importlib.import_module(f"{HOME}.long_context")
        self.first = {k: copy.deepcopy(v) for k, v in vars(self.fillers).items() if k.isupper()}
        self.modules["TravelAPI"].datetime = _Fixed  # type: ignore[attr-defined]

    def make(self, name: str, config: Any, long_context: bool) -> Any:
        module: ModuleType = self.modules[name]
        for filler, value in self.first.items():
            if hasattr(module, filler):
                setattr(module, filler, copy.deepcopy(value))
        cls = getattr(module, name)
        if name == "TwitterAPI":
            cls.post_tweet.__defaults__ = ([], [])  # shared by all instances of a process
        made = cls()
        if name != "MathAPI":
            made._load_scenario(copy.deepcopy(config), long_context=long_context)
        return made


class _Fixed(datetime.datetime):
    @classmethod
    def today(cls) -> _Fixed:
        return cls(TODAY.year, TODAY.month, TODAY.day)


def told(call: Callable[[], Any]) -> str:
    """The text an agent reads, as the official runner makes it."""
    try:
        result = call()
        if type(result) is dict:
            try:
                return json.dumps(result)
            except Exception:
                return str(result)
        return result if type(result) is str else str(result)
    except Exception as error:
        return f"Error during execution: {error}"


def official_state(instance: Any) -> dict[str, Any]:
    """Public attributes, files and directories as plain data."""
    held = {name: value for name, value in vars(instance).items() if not name.startswith("_")}
    return {
        name: _tree(value, []) if type(value).__name__ == "Directory" else value
        for name, value in held.items()
    }


def _tree(entry: Any, above: list[int]) -> Any:
    if type(entry).__name__ == "File":
        return {"__file__": entry.name, "content": entry.content}
    mark = id(entry.contents)
    if mark in above:
        return {"__dir__": entry.name, "levels_up": len(above) - above.index(mark)}
    inside = {name: _tree(held, [*above, mark]) for name, held in entry.contents.items()}
    return {"__dir__": entry.name, "contents": inside}


def strict(value: Any) -> str:
    """States that differ in a type or an order differ here too."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{strict(held)}" for key, held in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}[" + ",".join(map(strict, value)) + "]"
    return repr(sorted(value)) if isinstance(value, set) else repr(value)


# -- calls -------------------------------------------------------------------------------------------------


def entries(package: Path) -> list[dict[str, Any]]:
    """All multi-turn entries, with the calls of their ground truth."""
    data = package / "bfcl_eval" / "data"
    found = []
    for category in CATEGORIES:
        name = next(data.glob(f"BFCL_v*_multi_turn_{category}.json")).name
        answers = (data / "possible_answer" / name).read_text().splitlines()
        for line, answer in zip((data / name).read_text().splitlines(), answers, strict=True):
            turns = json.loads(answer)["ground_truth"]
            found.append({**json.loads(line), "gold": [call for turn in turns for call in turn]})
    return found


def read_call(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """A call of a ground truth."""
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    positional = [ast.literal_eval(value) for value in node.args]
    named = {str(key.arg): ast.literal_eval(key.value) for key in node.keywords}
    return ast.unparse(node.func), positional, named


def leaves(value: Any) -> Iterator[Any]:
    """Everything that a state holds, keys too."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield key
            yield from leaves(held)
    elif isinstance(value, list | set | tuple):
        for held in value:
            yield from leaves(held)
    else:
        yield value


class Caller:
    """Draws calls. What it knows of a parameter are the values ground truths give it."""

    def __init__(self, rng: random.Random, gold: list[tuple[str, list[Any], dict[str, Any]]]) -> None:
        self.rng = rng
        self.known: dict[str, list[Any]] = {}
        for _, _, named in gold:
            for key, value in named.items():
                self.known.setdefault(key, []).append(value)

    def value(self, parameter: str, seen: list[Any], wild: float) -> Any:
        """An argument: odd, known from a ground truth, or something that the state holds."""
        rng = self.rng
        if rng.random() < wild:
            return copy.deepcopy(rng.choice(ODD))
        if seen and rng.random() < 0.5:
            return copy.deepcopy(rng.choice(seen))
        return copy.deepcopy(rng.choice(self.known.get(parameter) or ODD))

    def arguments(self, function: Any, seen: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments that mostly fit the function."""
        rng = self.rng
        wild = rng.choice((0.0, 0.1, 0.5))
        named: dict[str, Any] = {}
        for parameter in inspect.signature(function).parameters.values():
            optional = parameter.default is not inspect.Parameter.empty
            if rng.random() < (0.5 if optional else 0.98):
                named[parameter.name] = self.value(parameter.name, seen, wild)
        if rng.random() < 0.03:
            named[rng.choice(("x", "path", "self", "user_id"))] = 1
        cut = rng.randint(0, len(named)) if rng.random() < 0.1 else 0
        return list(named.values())[:cut], dict(list(named.items())[cut:])


def too_much(name: str, positional: list[Any], named: dict[str, Any]) -> bool:
    """Whether the official simulator would not come back from this for long."""
    if name not in ("power", "logarithm", "square_root", "round_number"):
        return False
    most = 0.0
    for value in [*positional, *named.values()]:
        try:
            most = max(most, abs(float(value)))
        except (TypeError, ValueError, OverflowError):
            most = max(most, 1e300 if isinstance(value, int) else 0)
    return most > (1000 if name == "logarithm" else 10_000)


def reason(name: str, ours: str, theirs: str) -> str | None:
    """Why two answers may differ; None if they may not."""
    if sorted(ours) == sorted(theirs) and name in ("edit_ticket", "book_flight"):
        return "order"
    if all("maximum recursion depth exceeded" in text for text in (ours, theirs)):
        return "endless"
    return None


class Played:
    """Counts of one run, and what was not equal."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()
        self.faults: list[str] = []

    def fault(self, where: str, ours: str, theirs: str) -> None:
        self.counts["DIFFERENT"] += 1
        at = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
        lo = max(0, at - 60)
        self.faults.append(f"{where}\n  ours   {ours[lo : at + 200]}\n  theirs {theirs[lo : at + 200]}")


def play(
    entry: dict[str, Any],
    official: Official,
    kinds: dict[str, type[Backend]],
    fillers: Fillers,
    rng: random.Random,
    done: Played,
) -> None:
    """One sequence of calls on both sides."""
    long_context = rng.random() < 0.25
    gold = [read_call(text) for text in entry["gold"]]
    caller = Caller(rng, gold)
    bare = rng.random() < 0.15
    names = list(DOCUMENTS) if bare or rng.random() < 0.3 else list(entry["involved_classes"])
    configs = {name: {} if bare else entry["initial_config"].get(name, {}) for name in names}
    theirs = {name: official.make(name, configs[name], long_context) for name in names}
    ours: dict[str, Backend] = {}
    for name in names:
        ours[name] = kinds[name](fillers)
        ours[name].load(configs[name], long_context)
    follow = iter(gold if rng.random() < 0.5 else [])
    for _ in range(rng.randint(4, 30)):
        known = next(follow, None) if rng.random() < 0.7 else None
        name = rng.choice(names)
        if known is not None and (holder := next((n for n in names if known[0] in ours[n].functions), None)):
            name, (function, positional, named) = holder, known
        else:
            function = rng.choice(ours[name].functions)
            pool = [v for v in leaves(official_state(theirs[name])) if not isinstance(v, str) or len(v) < 400]
            positional, named = caller.arguments(getattr(theirs[name], function), pool)
        if too_much(function, positional, named):
            continue
        if rng.random() < 0.2:
            ours = pickle.loads(pickle.dumps(ours)) if rng.random() < 0.5 else copy.deepcopy(ours)
        compare(name, function, positional, named, ours[name], theirs[name], entry["id"], done)


def play_gold(
    entry: dict[str, Any], official: Official, kinds: dict[str, type[Backend]], fillers: Fillers, done: Played
) -> None:
    """The ground truth of an entry on both sides."""
    long_context = "long_context" in entry["id"]
    names = list(entry["involved_classes"])
    configs = {name: entry["initial_config"].get(name, {}) for name in names}
    theirs = {name: official.make(name, configs[name], long_context) for name in names}
    ours = {name: kinds[name](fillers) for name in names}
    for name in names:
        ours[name].load(configs[name], long_context)
    for text in entry["gold"]:
        function, positional, named = read_call(text)
        name = next(name for name in names if function in ours[name].functions)
        compare(name, function, positional, named, ours[name], theirs[name], entry["id"], done)


def compare(
    name: str,
    function: str,
    positional: list[Any],
    named: dict[str, Any],
    our: Backend,
    their: Any,
    entry: str,
    done: Played,
) -> None:
    """The same call on both sides."""
    mine = told(lambda: our.function(function)(*copy.deepcopy(positional), **copy.deepcopy(named)))
    yours = told(lambda: getattr(their, function)(*copy.deepcopy(positional), **copy.deepcopy(named)))
    done.counts["calls"] += 1
    done.functions[f"{name}.{function}"] += 1
    done.counts["raised"] += yours.startswith("Error during execution: ")
    done.counts["refused"] += '"error"' in yours[:40]
    where = f"{entry} {function}(*{positional!r:.200}, **{named!r:.300})"
    if mine != yours:
        why = reason(function, mine, yours)
        if why is None:
            done.fault(where, mine, yours)
        else:
            done.counts[why] += 1
    one, two = strict(our.state()), strict(official_state(their))
    if sorted(one) != sorted(two) or one != two:
        # Attributes may come in another order: compare one by one.
        left, right = our.state(), official_state(their)
        if left.keys() != right.keys() or any(strict(left[key]) != strict(right[key]) for key in left):
            done.fault(f"STATE after {where}", one, two)


def main() -> None:
    """Play, print counts and what differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--edition", choices=list(BACKENDS_OF), default="v4")
    parser.add_argument("--sequences", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=20, help="differences to print")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    official, fillers = Official(options.package), Fillers.read(options.package)
    kinds = BACKENDS_OF[options.edition]
    for name, kind in kinds.items():
        cls = getattr(official.modules[name], name)
        public = {n for n, _ in inspect.getmembers(cls, inspect.isfunction) if not n.startswith("_")}
        assert public == set(kind.functions), (name, public ^ set(kind.functions))
    rng, done, pool = random.Random(options.seed), Played(), entries(options.package)
    for entry in pool:
        play_gold(entry, official, kinds, fillers, done)
    gold = {"entries": len(pool), **done.counts}
    print("ground truth:", gold, flush=True)
    done.counts.clear()
    for _ in range(options.sequences):
        play(rng.choice(pool), official, kinds, fillers, rng, done)
        done.counts["sequences"] += 1
    for fault in done.faults[: options.show]:
        print(fault)
    print("random calls:", dict(done.counts), "least called:", done.functions.most_common()[-3:])
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    package = next(options.package.glob("bfcl_eval-*.dist-info"), options.package).stem
    played = {"seed": options.seed, "functions": len(done.functions), **done.counts}
    found[options.edition] = {"package": package, "ground truth": gold, "random calls": played}
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(1 if done.faults else 0)


if __name__ == "__main__":
    main()
