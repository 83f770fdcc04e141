"""What the customer with the phone understands, and what they say to what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from forge_envs.messages import ToolCall
from forge_envs.worlds.telecom.customer import PhoneCustomer, ask_for
from forge_envs.worlds.telecom.env import SettledHands, TelecomEnv
from forge_envs.worlds.telecom.hearing import errands
from forge_envs.worlds.telecom.phone import Phone
from forge_envs.worlds.telecom.tasks import find_task, open_desk

SAID = {
    "Could you please turn off Airplane Mode?": ["toggle_airplane_mode off"],
    "Go to Settings and switch airplane mode off, then restart.": [
        "toggle_airplane_mode off",
        "reboot_device",
    ],
    "Can you check if airplane mode is on? If it is, turn it off.": [
        "check_network_status",
        "toggle_airplane_mode off",
    ],
    "Toggle airplane mode on and then off.": ["toggle_airplane_mode on", "toggle_airplane_mode off"],
    "Please make sure that mobile data is enabled.": ["toggle_data on"],
    "Is mobile data turned on?": ["check_network_status"],
    "I've enabled roaming for your line. Now please turn on data roaming.": ["toggle_roaming on"],
    "Could you take your SIM card out and put it back in?": ["reseat_sim_card"],
    "Check your SIM card. If it is missing, take it out and put it in.": [
        "check_sim_status",
        "reseat_sim_card",
    ],
    "What does your SIM status show?": ["check_sim_status"],
    "Please reset your APN settings, and then reboot the device.": ["reset_apn_settings", "reboot_device"],
    "Do you have a VPN connected? If so, please disconnect it.": ["check_vpn_status", "disconnect_vpn"],
    "Please disable Data Saver, disconnect the VPN and set the network mode to 5G.": [
        "toggle_data_saver_mode off",
        "disconnect_vpn",
        "set_network_mode_preference 4g_5g_preferred",
    ],
    "Switch from 2G to 4G only.": ["set_network_mode_preference 4g_only"],
    "Please call `toggle_wifi_calling()` to turn Wi-Fi Calling OFF.": ["toggle_wifi_calling off"],
    "Grant the messaging app the storage and SMS permissions on your phone.": [
        "grant_app_permission messaging storage",
        "grant_app_permission messaging sms",
    ],
    'Use grant_app_permission(app_name="messaging", permission="sms").': [
        "grant_app_permission messaging sms"
    ],
    "Check what permissions the messaging app has.": ["check_app_permissions messaging"],
    "Please run a speed test and tell me the result.": ["run_speed_test"],
    "Try sending a picture message.": ["can_send_mms"],
    "Check your payment requests and pay the bill.": ["check_payment_request", "make_payment"],
    "Turn your phone off and on again.": ["reboot_device"],
    "1. Turn off airplane mode.\n2. Re-seat the SIM card.\n3. Restart the phone.": [
        "toggle_airplane_mode off",
        "reseat_sim_card",
        "reboot_device",
    ],
    "Please don't restart your phone yet.": [],
    "I have enabled roaming on your line.": [],
    "Your line has been resumed.": [],
    "Would you like me to send a payment request?": [],
    "Let me check your account.": [],
    "": [],
}


def told(call: ToolCall | None, on: bool | None) -> str:
    if call is None:
        return "?"
    return " ".join([call.name, *call.arguments.values(), *([] if on is None else ["on" if on else "off"])])


@pytest.mark.parametrize("text", SAID)
def test_an_agents_words_are_understood(text: str) -> None:
    assert [told(errand.call, errand.on) for errand in errands(text)] == SAID[text]


@pytest.mark.parametrize("name", TelecomEnv().tools)
def test_the_agents_own_tools_are_none_of_the_customers(name: str) -> None:
    assert not [errand for errand in errands(f"I called {name} for you.") if errand.call]


ARGUMENTS: dict[str, dict[str, Any]] = {
    "set_network_mode_preference": {"mode": "3g_only"},
    "grant_app_permission": {"app_name": "messaging", "permission": "storage"},
    "check_app_permissions": {"app_name": "browser"},
    "check_app_status": {"app_name": "messaging"},
    "set_apn_settings": {"apn_settings": {"apn_name": "internet"}},
}


def test_every_tool_can_be_asked_for() -> None:
    hands = SettledHands(object())
    hands.toolkit = Phone(open_desk(find_task("telecom/full/train/1/0")))
    assert len(hands.tools) == 30
    for name in hands.tools:
        call = ToolCall(name, ARGUMENTS.get(name, {}), "user")
        if name == "set_apn_settings":
            line = 'Please use set_apn_settings({"apn_name": "internet"}).'
        else:
            line = ask_for(call)
        assert [errand.call for errand in errands(line)] == [call], line


def customer() -> PhoneCustomer:
    task = find_task("telecom/full/train/1/0")
    return PhoneCustomer(
        "You want excellent speed.",
        "You are Ann Lee, your number is 555-1.",
        "You are content when a speed test says excellent. You would refuel 1.5 GB of data.",
        SettledHands(Phone(open_desk(task))),
    )


def test_the_customer_answers_what_is_asked_and_nothing_more() -> None:
    ann = customer()
    assert ann.open() == "I want excellent speed. I am Ann Lee, my number is 555-1."
    assert ann.reply("May I have your name and number, please?") == "I am Ann Lee, my number is 555-1."
    assert "I would refuel 1.5 GB" in (ann.reply("How much data would you like to add?") or "")
    assert ann.reply("Shall I do that for you?") == "Yes, please."
    assert isinstance(ann.hands, SettledHands) and ann.hands.made == []
    assert ann.reply("You are being transferred to a human agent.") is None


def test_a_switch_that_is_right_already_is_left_alone() -> None:
    ann = customer()
    assert isinstance(ann.hands, SettledHands)
    before = ann.hands.use(ToolCall("check_wifi_calling_status", {}))
    assert "OFF" in before and "already" in (ann.reply("Please turn off Wi-Fi calling.") or "")
    assert ann.hands.use(ToolCall("check_wifi_calling_status", {})) == before


def test_patience_ends_where_nothing_happens_and_comes_back_where_something_does() -> None:
    ann = customer()
    for _ in range(3):
        assert ann.reply("") is not None
    assert ann.reply("Please run a speed test.") is not None
    for _ in range(3):
        assert ann.reply("") is not None
    assert ann.reply("") is None
