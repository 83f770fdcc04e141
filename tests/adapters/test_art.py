"""ART's own groups and gathering on our worlds; the served model is a script of real OpenAI types."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("art")

import art
from openai.types.chat import ChatCompletion

from forge_envs import TaskError
from forge_envs.adapters.art import rollout
from forge_envs.grammars import HERMES
from tests.adapters.gold import ARGS, EXAMPLES, TASK, WORLD, Failing, Open, gold, played

Said = dict[str, Any]


def text(action: str) -> Said:
    return {"content": action}


def parsed(action: str) -> Said:
    """As a server tells it that parses calls."""
    prose, calls, _ = HERMES.parse(action)
    told = [
        {
            "id": f"c{i}",
            "type": "function",
            "function": {"name": c.name, "arguments": json.dumps(c.arguments)},
        }
        for i, c in enumerate(calls)
    ]
    return {"content": prose or None, **({"tool_calls": told} if told else {})}


class Client:
    """Says the n-th line in the n-th turn of every episode, and keeps what it was asked."""

    def __init__(self, said: Sequence[Said], finish: str = "stop") -> None:
        self.said, self.finish = said, finish
        self.asked: list[dict[str, Any]] = []
        self.chat = SimpleNamespace(completions=self)

    async def create(self, **asked: Any) -> ChatCompletion:
        self.asked.append(json.loads(json.dumps(asked)))
        await asyncio.sleep(0)
        said = self.said[sum(message["role"] == "assistant" for message in asked["messages"])]
        scores = {"content": [{"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": []}]}
        message = {"role": "assistant", **said}
        choice = {"index": 0, "finish_reason": self.finish, "message": message, "logprobs": scores}
        about = {"id": "0", "object": "chat.completion", "created": 0, "model": asked["model"]}
        return ChatCompletion.model_validate({**about, "choices": [choice]})


def group(client: Client, size: int = 3, **rest: Any) -> art.TrajectoryGroup:
    async def play() -> art.TrajectoryGroup:
        groups = await art.gather_trajectory_groups(
            [
                art.TrajectoryGroup(
                    rollout(client, "m", WORLD, TASK, ARGS, seed=i, **rest) for i in range(size)
                )
            ],
            max_exceptions=size,
            pbar_desc=None,
        )
        return groups[0]

    return asyncio.run(play())


@pytest.mark.parametrize("tell", [text, parsed])
def test_a_group_earns_what_the_same_actions_earn(tell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held, direct = Open(monkeypatch), played(gold())
    client = Client([tell(action) for action in gold()])
    found = group(client)
    assert [one.reward for one in found] == pytest.approx([direct["reward"]] * 3) and not found.exceptions
    for one in found:
        assert one.metrics["outcome"] == 1.0 and one.metrics["turns"] == len(gold())
        assert one.metrics["turn_reward"] == pytest.approx(sum(direct["turn_rewards"]))
        assert {name: one.metrics[f"part_{name}"] for name in direct["parts"]} == direct["parts"]
        choices = [item for item in one.messages_and_choices if not isinstance(item, dict)]
        assert len(choices) == len(gold()) and all(choice.logprobs for choice in choices)
        assert one.metadata["task"] == TASK
    assert not held.held


@pytest.mark.parametrize("tools", [True, False])
def test_the_model_is_given_the_tools_and_all_that_was_said(tools: bool) -> None:
    client = Client([text(action) for action in gold()])
    group(client, 1, tools=tools, temperature=0.7)
    first, *rest = client.asked
    assert ("tools" in first) == tools and ("# Tools" in first["messages"][0]["content"]) != tools
    assert first["logprobs"] is True and first["temperature"] == 0.7 and first["model"] == "m"
    for asked in rest:
        assert asked["messages"][: len(first["messages"])] == first["messages"]


def test_every_call_has_one_result() -> None:
    calls = [parsed(action) for action in gold()]
    one = next(said for said in calls if "tool_calls" in said)["tool_calls"][0]
    broken = {**one, "id": "b", "function": {**one["function"], "arguments": "{oops"}}
    client = Client([{"content": "", "tool_calls": [one, broken]}, text("<tool_call>{oops"), *calls])
    found = group(client, 1)
    record = found.trajectories[0]
    assert record.metrics["outcome"] == 1.0 and record.metrics["part_malformed"] == pytest.approx(-0.2)
    for asked in client.asked[1:]:
        ids: list[str] = []
        for message in asked["messages"]:
            if message["role"] == "tool":
                assert message["tool_call_id"] == ids.pop(0)
            else:
                assert not ids, "a call without its result"
                ids = [call["id"] for call in message.get("tool_calls", ())]


def test_a_machine_that_fails_joins_the_exceptions_and_siblings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Open(monkeypatch)
    Failing(monkeypatch, range(1))
    found = group(Client([text(action) for action in gold()]))
    assert len(found) == 2 and 0.0 not in [one.reward for one in found]
    assert "MachineError" in found.exceptions[0].type and "no answer" in found.exceptions[0].message
    assert not held.held


def test_an_answer_that_was_cut_is_not_heard() -> None:
    found = group(Client([text("Hello, I am")], finish="length"), 1)
    assert found.trajectories[0].reward == 0.0 and found.trajectories[0].metrics["turns"] == 0


def test_bad_input_is_told() -> None:
    client = Client([])
    with pytest.raises(TaskError, match="nowhere"):
        asyncio.run(rollout(client, "m", WORLD, "nowhere"))
    with pytest.raises(ValueError, match="max_trns"):
        asyncio.run(rollout(client, "m", WORLD, TASK, {"max_trns": 3}))
    assert not client.asked


def test_an_answer_without_a_choice_is_a_failed_machine() -> None:
    class Mute(Client):
        async def create(self, **asked: Any) -> ChatCompletion:
            about = {"id": "0", "object": "chat.completion", "created": 0, "model": "m"}
            return ChatCompletion.model_validate({**about, "choices": []})

    found = group(Mute([]))
    assert not found.trajectories and len(found.exceptions) == 3
    assert "server of 'm' answered without a choice" in found.exceptions[0].message


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "art_group.py"))
    assert capsys.readouterr().out.count("1.1 1.0") == 4
