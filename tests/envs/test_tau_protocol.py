"""A model as customer by the official protocol of τ²-bench, and by ours, which is labelled as ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forge_envs.probe import play as probed
from forge_envs.worlds.tau.task import GREETING
from forge_envs.worlds.tau.tau2 import Tau2Env
from tests.endpoint import Endpoint
from tests.envs.official import DATA, call, cancelling, pending, task, write_tau2

CANCEL = call("cancel_pending_order", order_id=pending(), reason="no longer needed")
RULES = "Play a customer.\n"


def checkout(tmp_path: Path, **criteria: Any) -> str:
    """A small benchmark with guidelines beside it."""
    path = write_tau2(tmp_path / "domains", [task("a", **({"actions": [cancelling()]} | criteria))])
    (tmp_path / "user_simulator").mkdir()
    (tmp_path / "user_simulator" / "simulation_guidelines.md").write_text(RULES)
    return path


def test_the_guidelines_of_the_checkout_are_the_prompt_and_the_agent_greets(tmp_path: Path) -> None:
    says = iter(["Cancel it, please.", "Yes.", "Thank you, bye! ###STOP###"])
    with Endpoint(lambda body: next(says)) as endpoint:
        env = Tau2Env(
            path=checkout(tmp_path), split="base", user=endpoint.spec(), protocol="official", max_turns=9
        )
        (_, greeting, first), info = env.reset(options={"task": "a"})
        assert greeting == {"role": "assistant", "content": GREETING}
        assert first["content"] == "Cancel it, please." and info["protocol"] == "official"
        env.step("Shall I?")
        env.step(CANCEL)
        *_, terminated, _, info = env.step("It is done.")
    assert terminated and info["outcome"] == 1.0 and info["protocol"] == "official"
    told = f"Domain: retail\n\tReason for call:\n\t\tCancel {pending()}."
    told += "\n\tTask instructions:\n\t\tBe brief."
    system, *talk = endpoint.asked[-1]["messages"]
    assert system["content"] == f"{RULES}\n\n<scenario>\nInstructions:\n\t{told}\n</scenario>"
    assert [one["content"] for one in talk] == [
        GREETING, "Cancel it, please.", "Shall I?", "Yes.", "It is done.",
    ]  # fmt: skip
    assert "tools" not in endpoint.asked[-1]


@pytest.mark.parametrize("protocol", ["forge", "official"])
def test_the_last_line_and_prose_beside_calls_reach_the_judge(tmp_path: Path, protocol: str) -> None:
    def answer(body: dict[str, Any]) -> str:
        if "Statement" in body["messages"][-1]["content"]:
            return '{"reason": "So it is.", "met": true}'
        return "You did fine. ###STOP###" if len(body["messages"]) > 2 else "Cancel it."

    judged = {"nl_assertions": ["It is kind."], "reward_basis": ["DB", "NL_ASSERTION"]}
    with Endpoint(answer) as endpoint:
        path, model = checkout(tmp_path, **judged), endpoint.spec()
        env = Tau2Env(path=path, split="base", user=model, judge=model, protocol=protocol)
        turns = probed(env, "a", [f"I am glad to help. {CANCEL}", "Done."])
    assert turns[-1].info["outcome"] == 1.0 and turns[-1].info["protocol"] == protocol
    shown = endpoint.asked[-1]["messages"][-1]["content"]
    assert "You did fine." in shown and "I am glad to help." in shown


def test_what_the_official_protocol_needs_is_named(tmp_path: Path) -> None:
    path = write_tau2(tmp_path / "domains", [task("a", actions=[cancelling()])])
    with pytest.raises(ValueError, match="give user='openai:MODEL@URL'"):
        Tau2Env(path=path, split="base", protocol="official")
    with pytest.raises(ValueError, match=r"no.* at .*user_simulator.*simulation_guidelines.md"):
        Tau2Env(path=path, split="base", protocol="official", user="openai:m@http://127.0.0.1:9")
    with pytest.raises(ValueError, match="protocol='tau': known are forge, official"):
        Tau2Env(path=path, split="base", protocol="tau")


@pytest.mark.skipif(not (DATA / "tau2" / "mock").exists(), reason=f"τ²-bench's data is not at {DATA}")
def test_native_calls_of_the_customer_run_and_are_shown_to_nobody_else() -> None:
    wants = {"id": "x", "type": "function", "function": {"name": "check_notifications", "arguments": "{}"}}
    says: list[Any] = [
        {"role": "assistant", "content": "I look.", "tool_calls": [wants]},
        "I finished task_1.",
        "###STOP###",
    ]
    with Endpoint(lambda body: says[sum(one["role"] == "assistant" for one in body["messages"])]) as endpoint:
        env = Tau2Env(
            domain="mock", path=str(DATA / "tau2"), split="base", gaps="play", user=endpoint.spec(),
            protocol="official",
        )  # fmt: skip
        (*_, first), _ = env.reset(options={"task": "update_task_with_user_tools"})
        env.step("Fine.")
    assert first["content"] == "I finished task_1."
    names = [tool["function"]["name"] for tool in endpoint.asked[0]["tools"]]
    assert names == ["check_notifications", "dismiss_notification"]
    *_, made, result = endpoint.asked[1]["messages"]
    assert made["tool_calls"][0]["function"]["name"] == "check_notifications"
    assert result["role"] == "tool" and "unread" in result["content"]
    assert result["tool_call_id"] == made["tool_calls"][0]["id"]
    assert "unread" not in json.dumps(env.playing.transcript)
