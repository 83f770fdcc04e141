"""What tasks call on either side besides the tools: to begin with something broken, and to assert at the end.

A function is called by its name with arguments from a task's file, and is no tool: nobody in a conversation
can call it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from forge_envs.errors import ToolError
from forge_envs.tables import Row
from forge_envs.worlds.telecom.carrier import Carrier, item, last_month
from forge_envs.worlds.telecom.handset import PERMISSIONS
from forge_envs.worlds.telecom.phone import Phone
from forge_envs.worlds.telecom.radio import can_send_pictures, has_data, speed

Function: TypeAlias = Callable[..., Any]

# -- the carrier's side ------------------------------------------------------------------------------------


def set_data_usage(desk: Carrier, customer_id: str, line_id: str, data_used_gb: float) -> None:
    """Say how much data a line has used."""
    desk.line_of(customer_id, line_id)
    desk.lines.row(line_id)["data_used_gb"] = data_used_gb


def suspend_line_for_overdue_bill(
    desk: Carrier, customer_id: str, line_id: str, new_bill_id: str, contract_ended: bool
) -> None:
    """Suspend a line whose last bill was not paid, and whose contract may have ended as well."""
    if line_id not in desk.lines or desk.lines.peek(line_id)["status"] != "Active":
        raise ToolError("Line must be active to suspend for unpaid bill")
    line = desk.lines.row(line_id)
    amount = desk.plans.peek(line["plan_id"])["price_per_month"]
    if amount <= 0:
        raise ToolError("Amount must be positive for overdue bill")
    held = desk.customer(customer_id)["bill_ids"]
    if any(desk.bills.peek(key)["status"] == "Overdue" for key in held):
        raise ToolError("Customer already has an overdue bill")
    dates = last_month()
    bill = desk.add_bill(new_bill_id, customer_id, dates, "Overdue")
    bill["line_items"].append(item(f"Charge for line {line_id}", amount, "Charge"))
    bill["total_due"] += amount
    line |= {"status": "Suspended", "suspension_start_date": bill["line_items"][0]["date"]}
    if contract_ended:
        line["contract_end_date"] = str(dates[1])


def assert_data_refueling_amount(
    desk: Carrier, customer_id: str, line_id: str, expected_amount: float
) -> bool:
    """So much data was added to a line."""
    return bool(abs(desk.line_of(customer_id, line_id)["data_refueling_gb"] - expected_amount) < 1e-6)


def assert_line_status(desk: Carrier, customer_id: str, line_id: str, expected_status: str) -> bool:
    """A line is so."""
    return bool(desk.line_of(customer_id, line_id)["status"] == expected_status)


def assert_overdue_bill_exists(desk: Carrier, customer_id: str, overdue_bill_id: str) -> bool:
    """A customer has this bill and has not paid it in time."""
    if overdue_bill_id not in desk.customer(customer_id)["bill_ids"]:
        raise ToolError(f"Overdue bill {overdue_bill_id} not found")
    if desk.bills.peek(overdue_bill_id)["status"] != "Overdue":
        raise ToolError(f"Overdue bill {overdue_bill_id} is not overdue")
    return True


def assert_no_overdue_bill(desk: Carrier, overdue_bill_id: str) -> bool:
    """This bill does not exist, or was paid."""
    return overdue_bill_id not in desk.bills or desk.bills.peek(overdue_bill_id)["status"] == "Paid"


# -- the customer's side -----------------------------------------------------------------------------------


def _surround(phone: Phone, **facts: Any) -> None:
    phone.desk.phone.row("surroundings").update(facts)


def set_user_info(phone: Phone, name: str, phone_number: str) -> None:
    """Say whose phone it is."""
    _surround(phone, name=name, phone_number=phone_number)


def set_user_location(phone: Phone, abroad: bool) -> None:
    """Say whether the phone is abroad."""
    _surround(phone, is_abroad=abroad)


def _turn(switch: str, on: bool, search: bool = True) -> Function:
    """A function that sets a switch, in whatever position it is."""

    def turn(phone: Phone) -> None:
        phone.own()[switch] = on
        if search:
            phone.search()

    turn.__doc__ = f"Set {switch} to {on}."
    return turn


def turn_airplane_mode_on(phone: Phone) -> None:
    """Turn airplane mode on."""
    if not phone.fly():
        phone.fly()


def turn_airplane_mode_off(phone: Phone) -> None:
    """Turn airplane mode off."""
    if phone.fly():
        phone.fly()


def unseat_sim_card(phone: Phone) -> None:
    """Take the SIM card out."""
    phone.own()["sim_card_missing"] = True
    phone.search()


def lock_sim_card(phone: Phone, mode: str) -> None:
    """Lock the SIM card, by PIN or PUK, which no tool can mend."""
    if mode in ("pin", "puk"):
        phone.own()["sim_card_status"] = f"locked_{mode}"
    phone.search()


def break_apn_settings(phone: Phone) -> None:
    """Break the access point, so that there is no service."""
    phone.own()["active_apn_settings"]["apn_name"] = "broken"
    phone.search()


def break_apn_mms_setting(phone: Phone) -> None:
    """Lose the address for picture messages."""
    phone.own()["active_apn_settings"]["mmsc_url"] = None


def set_wifi_calling(phone: Phone, enabled: bool, mms_over_wifi: bool | None = None) -> None:
    """Turn calls over Wi-Fi on or off, and picture messages with them."""
    device = phone.own()
    if device["wifi_calling_enabled"] != enabled:
        device["wifi_calling_enabled"] = not device["wifi_calling_enabled"]
    if mms_over_wifi is not None:
        device["wifi_calling_mms_over_wifi"] = mms_over_wifi


def break_vpn(phone: Phone) -> None:
    """Connect to a VPN whose server is slow, and stays so."""
    phone.connect_vpn()
    phone.own()["vpn_details"]["server_performance"] = phone.desk.vpn = "poor"


def remove_app_permission(phone: Phone, app_name: str, permission: str) -> None:
    """Take a permission from an app."""
    permission = permission.lower()
    if app_name in phone.device["app_statuses"] and permission in PERMISSIONS:
        phone.own()["app_statuses"][app_name]["permissions"][permission] = False


def simulate_network_search(phone: Phone) -> None:
    """Look for a network anew."""
    phone.search()


def _is(field: str) -> Function:
    """An assertion that a field of the phone has the value expected."""

    def check(phone: Phone, expected_status: Any) -> bool:
        return bool(phone.device[field] == expected_status)

    check.__doc__ = f"{field} is as expected."
    return check


_STATES = ("connected", "searching", "no_service", "emergency_only")


def assert_service_status(phone: Phone, expected_status: str) -> bool:
    """The phone is so connected."""
    if expected_status not in _STATES:
        raise ToolError(f"{expected_status!r} is none of {', '.join(_STATES)}")
    return bool(phone.device["network_connection_status"] == expected_status)


def assert_mobile_data_status(phone: Phone, expected_status: bool) -> bool:
    """Mobile data work, or do not."""
    return has_data(phone.device, phone.surroundings) == expected_status


def assert_internet_speed(phone: Phone, expected_speed: float, expected_desc: str | None = None) -> bool:
    """Data are at least so fast, and are called so."""
    found, grade = speed(phone.device, phone.surroundings)
    called = expected_desc is None or grade.lower() == expected_desc.lower()
    return (found or 0.0) >= expected_speed and called


def assert_internet_not_excellent(phone: Phone) -> bool:
    """Data are slower than they could be."""
    return speed(phone.device, phone.surroundings)[1] != "Excellent"


def assert_can_send_mms(phone: Phone, expected_status: bool) -> bool:
    """Picture messages can be sent, or cannot."""
    return can_send_pictures(phone.device, phone.surroundings) == expected_status


def assert_mobile_data_usage_exceeded(phone: Phone, expected_status: bool) -> bool:
    """The data of the line are used up, or are not."""
    return bool(phone.surroundings["mobile_data_usage_exceeded"] == expected_status)


def _named(*functions: Function, **more: Function) -> dict[str, Function]:
    return {function.__name__: function for function in functions} | more


CARRIER: Mapping[str, Function] = _named(
    set_data_usage,
    suspend_line_for_overdue_bill,
    assert_data_refueling_amount,
    assert_line_status,
    assert_overdue_bill_exists,
    assert_no_overdue_bill,
)
"""Functions on a `Carrier`."""
PHONE: Mapping[str, Function] = _named(
    set_user_info,
    set_user_location,
    turn_airplane_mode_on,
    turn_airplane_mode_off,
    unseat_sim_card,
    lock_sim_card,
    break_apn_settings,
    break_apn_mms_setting,
    set_wifi_calling,
    break_vpn,
    remove_app_permission,
    simulate_network_search,
    assert_service_status,
    assert_mobile_data_status,
    assert_internet_speed,
    assert_internet_not_excellent,
    assert_can_send_mms,
    assert_mobile_data_usage_exceeded,
    turn_data_on=_turn("data_enabled", True, search=False),
    turn_data_off=_turn("data_enabled", False),
    turn_roaming_on=_turn("roaming_enabled", True),
    turn_roaming_off=_turn("roaming_enabled", False),
    turn_data_saver_mode_on=_turn("data_saver_mode", True, search=False),
    turn_data_saver_mode_off=_turn("data_saver_mode", False, search=False),
    assert_airplane_mode_status=_is("airplane_mode"),
    assert_mobile_roaming_status=_is("roaming_enabled"),
    assert_mobile_data_saver_mode_status=_is("data_saver_mode"),
)
"""Functions on a `Phone`."""


def attempt(function: Function, owner: object, arguments: Row) -> bool:
    """Whether an assertion holds; one that cannot be asked does not."""
    with contextlib.suppress(Exception):
        return bool(function(owner, **arguments))
    return False
