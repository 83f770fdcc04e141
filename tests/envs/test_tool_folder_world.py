"""Domains out of tool schemas: what tools do, the rows behind them, tasks, and who is told what."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from forge_envs.errors import NotGiven, TaskError, ToolError
from forge_envs.messages import ToolCall
from forge_envs.people.users import ModelUser
from forge_envs.worlds.toolfolder.domain import atlas
from forge_envs.worlds.toolfolder.env import FolderWorld
from forge_envs.worlds.toolfolder.fits import misfit
from forge_envs.worlds.toolfolder.folder import read_folder
from forge_envs.worlds.toolfolder.graph import communities, likeness
from forge_envs.worlds.toolfolder.operations import operations
from forge_envs.worlds.toolfolder.talk import PATIENCE, FolderCustomer, Want
from forge_envs.worlds.toolfolder.tasks import ATTEMPTS, draft, playable, task_of
from tests.endpoint import Endpoint
from tests.envs.official import DATA
from tests.envs.tool_files import desk, openapi, shop, small_folder, tracker, write

FOLDER = small_folder()


def make(path: str = FOLDER, world: str = "Forge/ToolFolder-v0", **arguments: Any) -> FolderWorld[Any]:
    env = gym.make(world, path=path, **arguments).unwrapped
    assert isinstance(env, FolderWorld)
    return env


def play(
    env: FolderWorld[Any], id: str, actions: list[str], seed: int = 0
) -> tuple[list[Any], dict[str, Any]]:
    log: list[Any] = [env.reset(seed=seed, options={"task": id})]
    for action in actions:
        log.append(env.step(action))
        if log[-1][2] or log[-1][3]:
            break
    return log, log[-1][-1]


# -- domains -----------------------------------------------------------------------------------------------


def test_tools_that_are_alike_are_a_domain_and_the_order_of_files_is_nothing(tmp_path: Path) -> None:
    tools = list(read_folder(FOLDER).tools.values())
    groups = {frozenset(tool.name for tool in group) for group in communities(tools)}
    assert groups == {
        frozenset(t.name for t in tools if t.source.startswith(file)) for file in ("desk", "shop", "tracker")
    }
    assert {frozenset(tool.name for tool in group) for group in communities(tools[::-1])} == groups
    assert all(0.25 <= cosine <= 1.0001 for cosine in likeness(tools).values())


def test_what_a_tool_does_is_read_off_its_path_or_its_name() -> None:
    found, left = operations(list(read_folder(FOLDER).tools.values()))
    told = {one.tool.name: (one.does, one.entity, one.key, dict(one.parents), one.verb) for one in found}
    assert left == {} and told["reservePet"] == ("action", "pet", "petId", {}, "reserve")
    assert told["listPets"][:2] == ("list", "pet") and told["addPet"][:2] == ("create", "pet")
    assert told["updatePet"][:3] == ("update", "pet", "petId") and told["deletePet"][:3] == (
        "delete",
        "pet",
        "petId",
    )
    assert told["close_issue"] == ("action", "issue", "issue_number", {}, "close")
    assert told["create_booking"] == ("create", "booking", "", {"room_id": "room"}, "")


def test_tools_without_a_rule_are_named_with_the_reason(tmp_path: Path) -> None:
    sums = {
        "name": "calculate_sum",
        "description": "Add.",
        "parameters": {"type": "object", "properties": {}},
    }
    document = openapi({"/health": {"get": {"operationId": "health", "description": "Alive?"}}})
    found = atlas(write(tmp_path / "a", a_json=[sums], b_json=document, shop_json=shop()))
    assert set(found.left) == {"calculate_sum", "health"} and "about no row" in found.left["health"]
    assert "calculate_sum: " in found.report() and list(found.domains) == ["pet"]
    with pytest.raises(TaskError, match=r"no domain with tasks(.|\n)*calculate_sum"):
        make(write(tmp_path / "b", a_json=[sums]))
    with pytest.raises(NotGiven, match="path"):
        make("")


def test_whole_domains_are_held_out_and_one_alone_is_in_both_splits(tmp_path: Path) -> None:
    env = make()
    train, test = (set(playable(FOLDER)[split]) for split in ("train", "test"))
    assert train and test and not train & test
    names = {split: {id.split("/")[2] for id in env.task_ids(split, 40)} for split in env.splits}
    assert names == {"train": train, "test": test}
    alone = make(write(tmp_path / "one", shop_json=shop()))
    assert not set(alone.task_ids("train", 20)) & set(alone.task_ids("test", 20))
    with pytest.raises(ValueError, match="domain='nope'"):
        make(domain="nope")


@pytest.mark.skipif(not (DATA / "bfcl").exists(), reason=f"BFCL's data is not at {DATA}")
def test_bfcls_documents_are_a_world() -> None:
    path = str(DATA / "bfcl" / "v4" / "multi_turn_func_doc")
    assert len(atlas(path).domains) >= 4
    env = make(path, level=5)
    for id in env.task_ids("train", 8) + env.task_ids("test", 8):
        assert play(env, id, env.gold_actions(id))[1]["outcome"] == 1.0


# -- the rows -----------------------------------------------------------------------------------------------


def store(kind: str, number: int = 0) -> Any:
    split = next(split for split, names in playable(FOLDER).items() if kind in names)
    return task_of(FOLDER, f"folder/{split}/{kind}/1/{number}").open_store()


def test_rows_are_made_found_changed_and_taken_away() -> None:
    pets = store("pet")
    before = pets.call("listPets", {})
    one = before[0]
    new = pets.call("addPet", {"name": "Rex", "species": "dog", "price": 9.5})
    assert new["name"] == "Rex" and new in pets.call("listPets", {"species": "dog"})
    assert pets.call("updatePet", {"petId": one["id"], "price": 1.25})["price"] == 1.25
    assert pets.call("getPet", {"petId": one["id"]})["price"] == 1.25
    pets.call("deletePet", {"petId": new["id"]})
    for tool in ("getPet", "deletePet", "updatePet", "reservePet"):
        with pytest.raises(ToolError, match=f"pet {new['id']} was not found"):
            pets.call(tool, {"petId": new["id"], **({"price": 1} if tool == "updatePet" else {})})
    with pytest.raises(ToolError, match="nothing to change"):
        pets.call("updatePet", {"petId": one["id"]})
    free = next(pet for pet in before if pet["status"] == "available" and pet["id"] != one["id"])
    assert pets.call("reservePet", {"petId": free["id"]})["status"] == "reserved"
    with pytest.raises(ToolError, match="reserved already"):
        pets.call("reservePet", {"petId": free["id"]})
    assert {kind for kind, _ in pets.changed()} == {"pet"} and pets.writes == 4


def test_what_belongs_to_a_row_needs_it_and_keeps_it() -> None:
    rooms = store("room")
    room = rooms.call("search_rooms", {})["results"][0]["room_id"]
    booked = rooms.call("create_booking", {"room_id": room, "guest_name": "Ada"})
    assert booked["room_id"] == room
    with pytest.raises(ToolError, match="room 'nowhere' was not found"):
        rooms.call("create_booking", {"room_id": "nowhere", "guest_name": "Ada"})


def test_answers_fit_what_the_tools_declare() -> None:
    for split, names in playable(FOLDER).items():
        for name in names:
            for number in range(5):
                task = task_of(FOLDER, f"folder/{split}/{name}/0/{number}")
                runs = task.open_store()
                for action in task.gold:
                    if isinstance(action, ToolCall):
                        declared = task.domain.operations[action.name].tool.returns
                        try:
                            result = runs.call(action.name, action.arguments)
                        except ToolError:
                            continue
                        assert declared is None or misfit(result, declared) is None, (action, result)


# -- tasks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(6))
def test_gold_earns_all_silence_nothing_and_each_dropped_call_or_line_costs(level: int) -> None:
    env = make(level=level)
    for split in env.splits:
        for id in env.task_ids(split, 8):
            gold, task = env.gold_actions(id), env.find(id)
            assert play(env, id, gold)[1]["outcome"] == 1.0
            assert play(env, id, [""] * env.max_turns)[1]["outcome"] == 0.0
            assert play(env, id, ["I cannot do that."] * env.max_turns)[1]["outcome"] in (
                (0.0, 1.0) if not task.target else (0.0,)
            )
            wanted = [action for action in task.gold if isinstance(action, ToolCall)]
            writes = [
                call for call in wanted if task.domain.operations[call.name].does not in ("get", "list")
            ]
            if writes and task.target:
                kept = [action for action, one in zip(gold, task.gold, strict=True) if one != writes[0]]
                assert play(env, id, kept)[1]["outcome"] == 0.0


def test_no_two_tasks_are_the_same_and_numbers_decide_them() -> None:
    env = make(level=3)
    ids = env.task_ids("train", 60)
    assert len({repr((env.find(id).gold, env.find(id).errands)) for id in ids}) == len(ids)
    found = env.find(ids[7])
    again = draft(found.domain, found.id, 3)
    assert again is not None and (again.gold, again.target) == (found.gold, found.target) and ATTEMPTS > 1
    assert pickle.loads(pickle.dumps(found)).gold == found.gold
    for wrong in (
        "folder/train/pet/9/1",
        "folder/train/nope/1/1",
        f"{ids[0]}/",
        ids[0][:-1] + "01",
        "folder/train/pet/1/²",
    ):
        with pytest.raises(TaskError):
            env.find(wrong)


def test_details_are_told_when_asked_for_and_a_row_that_is_not_there_must_be_told() -> None:
    env = make(level=4)
    tasks = [env.find(id) for id in env.task_ids("train", 60)]
    kept = [one for task in tasks for one in task.errands if one.details]
    lost = [one for task in tasks for one in task.errands if one.refused]
    assert kept and lost
    for errand in kept[:5]:
        customer = FolderCustomer([errand])
        assert customer.open() == errand.request
        words, told = next(iter(errand.details.items()))
        assert told not in errand.request and customer.reply(f"What {words} do you want?") == told
        assert customer.reply("How should it be?") == " ".join(errand.details.values())


# -- the customer -------------------------------------------------------------------------------------------


ASKED = Want("ask", "What is the price of pet 7?", truth="12.5", rivals=frozenset({"9.75", "112.5"}))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("The price is 12.5.", True),
        ("It costs **12.5** at the moment", True),
        ("12.5", True),
        ("It is 112.5.", False),
        ("It is 12.55.", False),
        ("9.75", False),
        ("It is 12.5 or 9.75.", False),
        ("I will look.", False),
        ("Is it 12.5?", True),
        ("No such pet.", False),
    ],
)
def test_the_customer_has_heard_the_value_and_no_other(text: str, told: bool) -> None:
    customer = FolderCustomer([ASKED])
    customer.reply(text)
    assert customer.told == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("There is no such pet.", True),
        ("I couldn't find pet 99.", True),
        ("Unfortunately that pet doesn't exist.", True),
        ("Done, it is deleted.", False),
        ("Pet 99 costs 12.", False),
        ("Shall I delete it?", False),
    ],
)
def test_the_customer_hears_a_no(text: str, told: bool) -> None:
    customer = FolderCustomer([Want("missing", "Please remove pet 99.", refused=True)])
    customer.reply(text)
    assert customer.told == told


def test_the_customers_patience_ends() -> None:
    customer = FolderCustomer([ASKED])
    said = [customer.reply("Hm.") for _ in range(PATIENCE)]
    assert all(said[:-1]) and said[-1] is None


def test_a_model_can_be_the_customer_and_is_not_told_the_answers() -> None:
    with Endpoint(lambda body: "Yes." if len(body["messages"]) < 6 else "###STOP###") as endpoint:
        env = make(user=endpoint.spec(), level=1)
        asks = next(id for id in env.task_ids("train", 60) if env.find(id).errands[0].truth)
        _, info = play(env, asks, [*env.gold_actions(asks), "Anything else?", "Bye."])
        assert info["outcome"] == 1.0 and env.metadata["quick"] is False
        assert isinstance(env.playing.user, ModelUser)
        brief = env.playing.user.brief.prompt
    assert env.task.errands[0].request in brief and env.task.errands[0].truth not in brief


# -- the border ---------------------------------------------------------------------------------------------


def test_calls_are_checked_against_the_schema_that_was_shown() -> None:
    env = make(domain="pet", level=1)
    env.reset(options={"task": env.task_ids(n=1)[0]})
    for name, arguments, told in (
        ("getPet", {"petId": "7"}, "must be of type integer"),
        ("getPet", {}, "petId is missing"),
        ("getPet", {"petId": 1, "x": 1}, "x is not known here"),
        ("addPet", {"name": "a", "species": "cow"}, "must be one of cat, dog, parrot"),
        ("addPet", {"name": "a", "species": "cat", "price": -1}, "at least 0"),
        ("getPet", {"petId": True}, "must be of type integer"),
    ):
        (message,), *_ = env.step(env.grammar.write(calls=[ToolCall(name, arguments)]))
        assert told in message["content"] and message["content"].startswith("Error: ")


def test_tools_are_those_of_the_task_in_play_and_of_a_restored_one() -> None:
    env = make()
    ids = [
        next(id for id in env.task_ids("train", 9) if f"/{kind}/" in id) for kind in playable(FOLDER)["train"]
    ]
    shown = []
    for id in ids:
        (system, _), _ = env.reset(options={"task": id})
        names = [tool["function"]["name"] for tool in system["tools"]]
        assert names == list(env.tools) == [tool["function"]["name"] for tool in env.action_space.tools]  # type: ignore[attr-defined]
        shown.append((names, env.snapshot()))
    for names, snapshot in shown:
        other = make()
        other.restore(snapshot)
        assert list(other.tools) == names


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "tools", tracker_json=tracker())
    assert list(atlas(path).domains) == ["issue"]
    write(tmp_path / "tools", tracker_json=json.dumps(desk()))
    assert list(atlas(path).domains) == ["room"]
