"""BFCL's simulated systems: equal to the official ones on published ground truth, safe against any call."""

from __future__ import annotations

import ast
import copy
import decimal
import json
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forge_envs.errors import TaskError
from forge_envs.worlds.bfcl.backends import BACKENDS, BACKENDS_OF, Backend
from forge_envs.worlds.bfcl.backends.fillers import NAMES, Fillers
from tests.envs.official import DATA

EDITIONS = ("v3", "v4")
CATEGORIES = ("base", "miss_func", "miss_param", "long_context")
FAILED = "Error during execution: "


def answer(backend: Backend, name: str, /, *positional: Any, **named: Any) -> str:
    """What the agent reads: dicts as JSON where they can be, everything else as Python writes it."""
    try:
        result = backend.function(name)(*positional, **named)
        if type(result) is not dict:
            return str(result)
        try:
            return json.dumps(result)
        except (TypeError, ValueError):
            return str(result)
    except Exception as error:
        return f"{FAILED}{error}"


def start(name: str, config: dict[str, Any] | None = None, edition: str = "v4", **more: Any) -> Backend:
    backend = BACKENDS_OF[edition][name]()
    backend.load(config or {}, **more)
    return backend


# -- published ground truth --------------------------------------------------------------------------------


def rows(path: Path) -> Iterator[dict[str, Any]]:
    yield from map(json.loads, path.read_text().splitlines())


def read_call(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    return ast.unparse(node.func), [ast.literal_eval(value) for value in node.args], named


def as_stored(state: Any) -> Any:
    """A state as the oracle has it: by way of JSON, a set as its text."""
    return json.loads(json.dumps(state, default=str))


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("edition", EDITIONS)
def test_every_published_call_answers_and_leaves_what_the_official_code_says(
    edition: str, category: str
) -> None:
    folder = DATA / "bfcl" / edition
    if not folder.exists():
        pytest.skip("no BFCL data")
    fillers = None
    if category == "long_context":
        try:
            fillers = Fillers.installed()
        except TaskError:
            pytest.skip("bfcl-eval is not installed")
    file = f"BFCL_{edition}_multi_turn_{category}.json"
    answers = {row["id"]: row["ground_truth"] for row in rows(folder / "possible_answer" / file)}
    oracle = {row["id"]: row["turns"] for row in rows(folder / "oracle" / f"{category}.jsonl")}
    calls = 0
    for entry in rows(folder / file):
        systems = {name: BACKENDS_OF[edition][name](fillers) for name in entry["involved_classes"]}
        for name, system in systems.items():
            system.load(entry["initial_config"].get(name, {}), long_context=fillers is not None)
        holder = {function: system for system in systems.values() for function in system.functions}
        for turn, said in zip(answers[entry["id"]], oracle[entry["id"]], strict=True):
            read = [read_call(text) for text in turn]
            assert [answer(holder[f], f, *args, **named) for f, args, named in read] == said["results"], (
                entry["id"]
            )
            if said["state"]:
                assert as_stored({n: s.state() for n, s in systems.items()}) == said["state"], entry["id"]
            calls += len(turn)
    assert len(oracle) == 100
    assert calls > 500


@pytest.mark.parametrize("edition", EDITIONS)
def test_functions_are_those_of_the_published_documents(edition: str) -> None:
    folder = DATA / "bfcl" / edition / "multi_turn_func_doc"
    if not folder.exists():
        pytest.skip("no BFCL data")
    documented = {row["name"] for path in folder.glob("*.json") for row in rows(path)}
    assert {name for cls in BACKENDS_OF[edition].values() for name in cls.functions} == documented


# -- what an instance promises -----------------------------------------------------------------------------


@pytest.mark.parametrize("edition", EDITIONS)
def test_what_is_not_a_function_cannot_be_called(edition: str) -> None:
    for name, cls in BACKENDS_OF[edition].items():
        assert cls.official == name
        assert not {"load", "state", "function", "functions"} & set(cls.functions)
        for hidden in ("load", "state", "_start", "__init__", "functions", "nothing", *cls.withdrawn):
            with pytest.raises(LookupError, match="has no function"):
                cls().function(hidden)


def test_complaints_about_arguments_name_the_official_function() -> None:
    assert answer(start("TravelAPI", edition="v3"), "set_budget_limit", "t", 1, x=2) == (
        f"{FAILED}TravelAPI.set_budget_limit() got an unexpected keyword argument 'x'"
    )
    missing = f"{FAILED}GorillaFileSystem.cd() missing 1 required positional argument: 'folder'"
    assert [answer(start("GorillaFileSystem", edition=edition), "cd") for edition in EDITIONS] == [
        missing
    ] * 2


def test_instances_share_nothing_with_each_other_their_configuration_or_the_process() -> None:
    before, digits = random.getstate(), decimal.getcontext().prec
    config = {"tweets": {"7": {"id": 7, "username": "a", "content": "", "tags": [], "mentions": []}}}
    first, second = (start("TwitterAPI", {**config, "authenticated": True}) for _ in range(2))
    state = second.state()
    for call in (("mention", 7, ["b"]), ("post_tweet", "c"), ("mention", 0, ["d"])):
        answer(first, *call)
    assert config["tweets"]["7"]["mentions"] == []
    assert second.state() == state != first.state()
    for name in ("MessageAPI", "TradingBot", "TravelAPI", "VehicleControlAPI", "MathAPI"):
        backend = start(name)
        for function in backend.functions:
            answer(backend, function, *[2] * backend.function(function).__code__.co_argcount)
            answer(backend, function, *[2] * (backend.function(function).__code__.co_argcount - 1))
    assert (random.getstate(), decimal.getcontext().prec) == (before, digits)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_copy_goes_on_as_its_original_does(name: str, copied: Any) -> None:
    original = BACKENDS[name]()
    assert vars(copied(original)).keys() == vars(original).keys()  # before it is loaded too
    original.load(
        {"authenticated": True, "current_user": "USR001", "token_expires_in": 2, "access_token": "t"}
    )
    calls = {
        "MessageAPI": ("send_message", "USR002", "hi"),
        "TradingBot": ("fund_account", 5),
        "TravelAPI": ("register_credit_card", "t", "1", "2", "3", 4),
        "VehicleControlAPI": ("get_current_speed",),
        "TwitterAPI": ("post_tweet", "hi"),
        "TicketAPI": ("create_ticket", "hi"),
        "MathAPI": ("add", 1, 2),
        "GorillaFileSystem": ("mkdir", "a"),
    }
    call, *arguments = calls[name]
    answer(original, call, *arguments)
    other = copied(original)
    assert answer(other, call, *arguments) == answer(original, call, *arguments)
    assert other.state() == original.state()


def test_a_configuration_that_cannot_be_is_named() -> None:
    for name, config in (
        ("GorillaFileSystem", {"root": {"a": {"type": "directory"}}}),
        ("GorillaFileSystem", {"root": {}}),
        ("TwitterAPI", {"tweets": {"x": {}}}),
        ("TradingBot", {"orders": 3}),
        ("VehicleControlAPI", {"doorStatus": None}),
        ("TicketAPI", [1]),
    ):
        with pytest.raises(TaskError, match=name):
            start(name, config)  # type: ignore[arg-type]


# -- long contexts -----------------------------------------------------------------------------------------

SMALL = {
    "FILES_TAIL_USED": ["log.txt"],
    "FILE_CONTENT_EXTENSION": " and so on",
    "POPULATE_FILE_EXTENSION": ["p.jpg"],
    "ORDER_DETAIL_EXTENSION": {"note": "about {symbol}"},
    "CREDIT_CARD_EXTENSION": {"1": {"balance": 5}},
    "BOOKING_RECORD_EXTENSION": {"9": {"card_id": "1", "travel_cost": 2}},
    "WATCH_LIST_EXTENSION": ["LONG"],
}


def small_fillers(folder: Path, **changed: Any) -> Path:
    lines = [f"{name} = {({**SMALL, **changed}).get(name, [])!r}" for name in NAMES.split()]
    (folder / "long_context.py").write_text("\n".join(lines))
    return folder


def test_long_contexts_add_the_fillers_of_a_folder(tmp_path: Path) -> None:
    fillers = Fillers.read(small_fillers(tmp_path))
    tree = {"a": {"type": "file", "content": "x"}, "log.txt": {"type": "file", "content": "y"}}
    files = BACKENDS["GorillaFileSystem"](fillers)
    files.load({"root": {"r": {"type": "directory", "contents": tree}}}, long_context=True)
    assert answer(files, "cat", "a") == '{"file_content": "x and so on"}'
    assert answer(files, "cat", "log.txt") == '{"file_content": "y"}'
    assert answer(files, "ls") == '{"current_directory_content": ["a", "log.txt", "p.jpg"]}'
    assert files.state()["long_context"] is True
    for _ in range(2):  # what one episode pays with a filler's card the next one has again
        travel = BACKENDS["TravelAPI"](fillers)
        travel.load({"token_expires_in": 2, "access_token": "t"}, long_context=True)
        answer(travel, "cancel_booking", "t", "9")
        assert answer(travel, "get_credit_card_balance", "t", "1") == '{"card_balance": 7}'
    bot = BACKENDS["TradingBot"](fillers)
    bot.load({"authenticated": True}, long_context=True)
    assert answer(bot, "get_watchlist") == "['NVDA', 'LONG']"
    assert json.loads(answer(bot, "get_order_details", 12446))["metadata"] == {"note": "about GOOG"}
    assert pickle.loads(pickle.dumps(bot)).state() == bot.state()


def test_fillers_are_read_as_data_and_what_is_wrong_with_them_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no long_context.py under .*install bfcl-eval"):
        Fillers.read(tmp_path)
    file = small_fillers(tmp_path) / "long_context.py"
    file.write_text(file.read_text().replace("WATCH_LIST", "WATCHED"))
    with pytest.raises(TaskError, match="lacks WATCH_LIST_EXTENSION"):
        Fillers.read(file)
    file.write_text(f"WATCH_LIST_EXTENSION = open({str(tmp_path / 'made')!r}, 'w')")
    with pytest.raises(TaskError, match="literals alone"):
        Fillers.read(tmp_path)
    assert not (tmp_path / "made").exists()


# -- files -------------------------------------------------------------------------------------------------


def files(*calls: tuple[Any, ...], edition: str = "v4") -> Backend:
    tree = {"a": {"type": "file", "content": "x"}, "d": {"type": "directory", "contents": {}}}
    backend = start("GorillaFileSystem", {"root": {"r": {"type": "directory", "contents": tree}}}, edition)
    for call in calls:
        answer(backend, *call)
    return backend


def test_a_copied_directory_shares_its_files_and_a_moved_one_its_place() -> None:
    shared = files(
        ("cd", "d"), ("touch", "f"), ("cd", ".."), ("cp", "d", "e"), ("cd", "d"), ("echo", "new", "f")
    )
    assert answer(shared, "cd", "..") == "{}"
    answer(shared, "cd", "e")
    assert answer(shared, "cat", "f") == '{"file_content": "new"}'
    moved = files(("cd", "d"), ("mkdir", "in"), ("cd", ".."), ("mv", "d", "e"), ("cd", "e"), ("cd", "in"))
    moved = pickle.loads(pickle.dumps(moved))
    answer(moved, "cd", "..")  # back to the directory as it was called before
    assert answer(moved, "pwd") == '{"current_working_directory": "/r/d"}'
    answer(moved, "touch", "seen")
    for call in (("cd", "/"), ("cd", "e")):
        answer(moved, *call)
    assert answer(moved, "ls") == '{"current_directory_content": ["in", "seen"]}'


def test_a_directory_inside_itself_and_a_very_deep_one_end_every_walk() -> None:
    endless = files(("cp", "d", "d"))
    assert answer(endless, "find").startswith(f"{FAILED}maximum recursion depth exceeded")
    assert answer(endless, "du").startswith(f"{FAILED}maximum recursion depth exceeded")
    assert endless.state() == files(("cp", "d", "d")).state() != files().state()
    assert copy.deepcopy(endless).state() == endless.state()
    deep = files(*[call for _ in range(3000) for call in (("mkdir", "d"), ("cd", "d"))])
    other = pickle.loads(pickle.dumps(deep))
    assert other.state() == deep.state()
    assert answer(other, "pwd") == answer(deep, "pwd")
    answer(other, "cd", "/")
    assert answer(other, "du").startswith(f"{FAILED}maximum recursion depth exceeded")
    answer(deep, "touch", "x")  # below what a state shows one by one


def test_copies_of_copies_are_not_walked_for_ever() -> None:
    many = files(*[call for n in range(40) for call in (("cp", "d", f"d{n}"), ("cp", f"d{n}", "d"))])
    assert answer(many, "find").startswith(f"{FAILED}maximum recursion depth exceeded")
    assert answer(many, "du").startswith(f"{FAILED}maximum recursion depth exceeded")
    assert many.state() == copy.deepcopy(many).state()


def test_the_third_edition_enters_paths_and_writes_new_files() -> None:
    for edition, entered, written in (("v3", "in", "None"), ("v4", None, "No such file")):
        backend = files(("cd", "d"), ("mkdir", "in"), ("cd", "/"), edition=edition)
        assert written in answer(backend, "echo", "x", "new.txt")
        assert json.loads(answer(backend, "cd", "d/in")).get("current_working_directory") == entered


# -- arithmetic --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "base", "precision", "text"),
    [
        (1000, 10, 5, "{'result': mpf('3.0')}"),
        (2, 10, 30, "{'result': mpf('0.301029995663981195213738894724506')}"),
        (-8, 2, 10, "{'result': mpc(real='3.000000000029', imag='4.532360141806')}"),
        (0, 10, 5, "{'result': mpf('-inf')}"),
        (10, 1, 5, '{"error": ""}'),
        ("1/0", 10, 5, '{"error": ""}'),
        ("e", 10, 5, '{"error": "cannot create mpf from \'e\'"}'),
        (10**40 + 1, 10, 50, "{'result': mpf('40.000000000000000000000000000000000000000043429448181')}"),
        (10, 2, "a", '{"error": "invalid literal for int() with base 10: \'a\'"}'),
        (10, 2, 10**9, '{"error": "a precision of more than 1000 digits cannot be had"}'),
    ],
)
def test_logarithms_are_written_as_published(value: Any, base: Any, precision: Any, text: str) -> None:
    assert answer(start("MathAPI"), "logarithm", value, base, precision) == text


def test_no_number_keeps_the_machine_busy() -> None:
    maths = start("MathAPI")
    assert "Exceeds the limit (4300 digits)" in answer(maths, "power", 10, 10**30)
    assert "Exceeds the limit (4300 digits)" in answer(maths, "power", -3, 14000)
    assert "Exceeds the limit (4300 digits)" in answer(maths, "multiply", 10**4000, 10**4000)
    assert answer(maths, "power", 1, 10**30) == '{"result": 1}'
    assert answer(maths, "round_number", 17, -(10**12)) == '{"result": 0}'
    repeated = answer(start("TravelAPI"), "compute_exchange_rate", "USD", "JPY", "1" * 10**6)
    assert repeated == FAILED
    assert answer(maths, "round_number", 17, -1) == '{"result": 20}'
    assert "invalid operation" in answer(maths, "square_root", 2, 10**12)
    assert "1000" in answer(maths, "logarithm", 2, 10, "9" * 300)
    assert len(answer(maths, "logarithm", "1e999999999", 7, 900)) > 900
