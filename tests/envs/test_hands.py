"""Dual control: tools of the user's own, whose calls the agent never sees."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from forge_envs.errors import MachineError, ToolError
from forge_envs.grammars import HERMES
from forge_envs.messages import ToolCall
from forge_envs.people.chat import chat
from forge_envs.people.hands import Hands
from forge_envs.people.users import MOST_CALLS, Brief, ModelUser
from forge_envs.tools import tool
from tests.endpoint import Endpoint


@dataclass
class Phone:
    """What a customer of a telecom company holds; the line is the company's."""

    line: dict[str, bool]
    presses: list[str] = field(default_factory=list)

    @tool()
    def status(self) -> dict[str, bool]:
        """Look at the screen."""
        return dict(self.line)

    @tool(writes=True)
    def airplane(self, on: bool) -> str:
        """Turn airplane mode on or off.

        Args:
            on: Whether it is to be on.
        """
        if on == self.line["airplane"]:
            raise ToolError("it is that already")
        self.line["airplane"] = on
        return "ok"


BRIEF = Brief("You are Ann.", "Your phone has no signal.", opening="No signal here.")


def use(name: str, **arguments: Any) -> str:
    return HERMES.write(calls=[ToolCall(name, arguments)])


def user(answers: list[Any], brief: Brief = BRIEF) -> Iterator[tuple[ModelUser, Phone, Endpoint]]:
    with Endpoint(lambda body: answers.pop(0) if len(answers) > 1 else answers[0]) as endpoint:
        phone = Phone({"airplane": True})
        yield ModelUser(brief, chat(endpoint.spec()), hands=Hands(phone)), phone, endpoint


def test_calls_are_done_and_only_what_is_said_comes_out() -> None:
    says = ["Look:" + use("status"), use("airplane", on=False), "It works now."]
    for ann, phone, endpoint in user(says):
        ann.open()
        assert ann.reply("Please turn off airplane mode.") == "Look:\n\nIt works now."
        assert phone.line == {"airplane": False}
        assert ann.hands is not None
        assert ann.hands.made == [
            ToolCall("status", {}, "user"),
            ToolCall("airplane", {"on": False}, "user"),
        ]
        system = endpoint.asked[0]["messages"][0]["content"]
        assert system.startswith(BRIEF.prompt) and '"airplane"' in system and "<tool_call>" in system
        results = [m["content"] for m in endpoint.asked[2]["messages"] if "tool_response" in m["content"]]
        assert results == [
            '<tool_response>\n{"airplane": true}\n</tool_response>',
            "<tool_response>\nok\n</tool_response>",
        ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (use("fly"), "there is no tool 'fly'. Tools: status, airplane."),
        (use("airplane", on="no"), "airplane: on='no'"),
        (use("airplane", on=True), "Error: it is that already"),
        ("<tool_call>{oops</tool_call>", "Nothing was done"),
    ],
)
def test_what_goes_wrong_is_told_to_the_user_alone(wrong: str, told: str) -> None:
    for ann, phone, endpoint in user([wrong, "I cannot."]):
        ann.open()
        assert ann.reply("Please turn it on.") == "I cannot." and phone.line == {"airplane": True}
        assert told in endpoint.asked[1]["messages"][-1]["content"]


def test_hands_that_never_rest_are_a_failed_machine() -> None:
    for ann, _, endpoint in user([use("status")]):
        ann.open()
        with pytest.raises(MachineError, match=f"more than {MOST_CALLS} calls") as caught:
            ann.reply("?")
        assert caught.value.stage == "user" and len(endpoint.asked) == MOST_CALLS + 1
        assert len(ann.said) == 2  # what failed was not said


@pytest.mark.parametrize(
    ("answers", "line", "asked"),
    [
        ([f"Let me see. {use('status')}", ""], "Let me see.", 3),
        ([f"Let me see. {use('status')}", "", "It is on."], "Let me see.\n\nIt is on.", 3),
        ([f"Let me see. {use('status')}", "It is on."], "Let me see.\n\nIt is on.", 2),
        ([f"One. {use('status')}", use("status"), f"Two. {use('status')}", ""], "One.\n\nTwo.", 5),
        ([f"Bye. ###STOP### {use('status')}", "Wait, no."], "Bye.\n\nWait, no.", 2),
        ([f"So. {use('status')}", "Thanks. ###STOP###"], None, 2),
        ([f"Bye. ###STOP### {use('status')}", ""], None, 3),
    ],
)
def test_what_is_said_beside_a_call_is_delivered(answers: list[str], line: str | None, asked: int) -> None:
    for ann, _, endpoint in user(list(answers)):
        ann.open()
        assert ann.reply("What does it show?") == line and len(endpoint.asked) == asked
        roles = [one["role"] for one in ann.said]
        assert roles == ["user", "assistant"] * (len(roles) // 2), "they take turns, as templates want it"


def test_hands_without_a_word_are_reminded_and_then_a_failed_machine() -> None:
    for ann, _, endpoint in user([use("status"), ""]):
        ann.open()
        with pytest.raises(MachineError, match="after a reminder") as caught:
            ann.reply("?")
        assert (caught.value.kind, len(endpoint.asked)) == ("empty", 3)


def test_native_calls_of_a_user_are_done() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "airplane", "arguments": '{"on": false}'}}
    answers: list[Any] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "assistant", "content": [{"type": "text", "text": "Off."}]},
    ]
    for ann, phone, _ in user(answers):
        ann.open()
        assert ann.reply("Turn it off.") == "Off." and phone.line == {"airplane": False}


def test_more_calls_at_once_than_a_person_has_hands_for_are_not_done() -> None:
    for ann, phone, endpoint in user([use("airplane", on=False) * (MOST_CALLS + 1), "Hm."]):
        ann.open()
        assert ann.reply("?") == "Hm." and phone.line == {"airplane": True}
        assert "Nothing was done" in endpoint.asked[1]["messages"][-1]["content"]


def test_the_first_line_may_come_after_a_look() -> None:
    for ann, _, _ in user([use("status"), "I am offline."], Brief("You are Bo.", "Your phone is dead.")):
        assert ann.open() == "I am offline." and ann.hands is not None and len(ann.hands.made) == 1


def test_hands_pickle_with_what_they_share() -> None:
    for ann, phone, _ in user(["Yes."]):
        again, line = pickle.loads(pickle.dumps((ann, phone.line)))
        again.hands.use(ToolCall("airplane", {"on": False}))
        assert line == {"airplane": False} and phone.line == {"airplane": True}


def test_a_user_without_hands_says_what_it_says() -> None:
    with Endpoint(lambda body: use("status")) as endpoint:
        ann = ModelUser(BRIEF, chat(endpoint.spec()))
        ann.open()
        assert ann.reply("?") == use("status") and "tool" not in json.dumps(endpoint.asked)
