"""What can be wrong, how it is broken and how it is mended: the cases that tasks are put together from.

As τ²-bench composes its tasks: a case (no service, bad data, no picture messages) and several of its causes
at once, at most one of a kind, each with what breaks it and what mends it, or with nothing that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from forge_envs.messages import ToolCall

Side: TypeAlias = Literal["assistant", "user"]
Break: TypeAlias = tuple[Side, str, dict[str, Any]]
"""(side, function or tool, arguments); arguments that name a field of `LinePlace` get its value."""


@dataclass(frozen=True)
class LinePlace:
    """Whose line it is, and what the customer would add to it."""

    customer_id: str
    line_id: str
    limit: float
    """Gigabytes a month."""
    gigabytes: float
    bill_id: str

    def fill(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments with the values of fields in place of "$field"."""
        return {
            key: getattr(self, value[1:]) if isinstance(value, str) and value.startswith("$") else value
            for key, value in arguments.items()
        }


@dataclass(frozen=True)
class PhoneFault:
    """One cause."""

    kind: str
    """Of each kind there is at most one."""
    breaks: tuple[Break, ...]
    mends: tuple[ToolCall, ...] | None
    """Calls of both sides; None where only a colleague can help."""
    shows: tuple[ToolCall, ...] = ()
    """Calls that show it, where nothing mends it or the agent must look before it does."""
    abroad: bool = False
    carrier: bool = False
    """The agent has to do something about it, too."""


_LINE = {"customer_id": "$customer_id", "line_id": "$line_id"}
_DETAILS = ToolCall("get_details_by_id", {"id": "$line_id"})
_SIM = ToolCall("check_sim_status", {}, "user")
_USAGE = ToolCall("get_data_usage", _LINE)


def _phone(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments, "user")


def _simple(kind: str, breaks: str, mends: str, shows: str = "", **arguments: Any) -> PhoneFault:
    """A fault that one function breaks, one of the phone's tools mends, and perhaps another shows."""
    return PhoneFault(
        kind, (("user", breaks, arguments),), (_phone(mends),), (_phone(shows),) if shows else ()
    )


def _permission(*lost: str) -> PhoneFault:
    given = [{"app_name": "messaging", "permission": name} for name in lost]
    return PhoneFault(
        "permission",
        tuple(("user", "remove_app_permission", one) for one in given),
        tuple(_phone("grant_app_permission", **one) for one in given),
        (_phone("check_app_permissions", app_name="messaging"),),
    )


def _roaming(phone: bool, line: bool) -> PhoneFault:
    """Abroad, with roaming off on the phone, on the line, or on both."""
    switched: Break = ("user", "turn_roaming_off" if phone else "turn_roaming_on", {})
    allowed: Break = ("assistant", "disable_roaming" if line else "enable_roaming", _LINE)
    mends = [ToolCall("enable_roaming", _LINE)] * line + [_phone("toggle_roaming")] * phone
    shows = (_DETAILS,) if line else ()
    return PhoneFault("roaming", (switched, allowed), tuple(mends), shows, abroad=True, carrier=line)


def _mode(mode: str) -> PhoneFault:
    mends = (_phone("set_network_mode_preference", mode="4g_5g_preferred"),)
    shows = (_phone("check_network_mode_preference"),)
    return PhoneFault("mode", (("user", "set_network_mode_preference", {"mode": mode}),), mends, shows)


def _access_point(breaks: str) -> PhoneFault:
    mends = (_phone("reset_apn_settings"), _phone("reboot_device"))
    return PhoneFault("apn", (("user", breaks, {}),), mends, (_phone("check_apn_settings"),))


def _suspended(*, for_good: bool) -> PhoneFault:
    arguments = {**_LINE, "new_bill_id": "$bill_id", "contract_ended": for_good}
    bill = {"customer_id": "$customer_id", "bill_id": "$bill_id"}
    paid = (
        ToolCall("send_payment_request", bill),
        _phone("make_payment"),
        ToolCall("resume_line", _LINE),
        _phone("reboot_device"),
    )
    breaks: tuple[Break, ...] = (
        ("assistant", "suspend_line_for_overdue_bill", arguments),
        ("user", "simulate_network_search", {}),
    )
    shows = (_DETAILS, ToolCall("get_bills_for_customer", {"customer_id": "$customer_id"}))
    return PhoneFault("suspended", breaks, None if for_good else paid, shows, carrier=True)


_AIRPLANE = _simple("airplane", "turn_airplane_mode_on", "toggle_airplane_mode")
_UNSEATED = _simple("sim", "unseat_sim_card", "reseat_sim_card")
_DATA_OFF = _simple("data", "turn_data_off", "toggle_data")
_USED_UP = PhoneFault(
    "usage",
    (("assistant", "set_data_usage", {**_LINE, "data_used_gb": "$limit"}),),
    (ToolCall("refuel_data", {**_LINE, "gb_amount": "$gigabytes"}),),
    (_USAGE,),
    carrier=True,
)
_CALLING = _simple(
    "calling",
    "set_wifi_calling",
    "toggle_wifi_calling",
    "check_wifi_calling_status",
    enabled=True,
    mms_over_wifi=True,
)
_ROAMING = (_roaming(True, False), _roaming(False, True), _roaming(True, True))
CASES: Mapping[str, tuple[PhoneFault, ...]] = {
    "service": (
        _AIRPLANE,
        _UNSEATED,
        *(
            PhoneFault(
                "sim", (("user", "lock_sim_card", {"mode": mode}),), None, (_phone("check_sim_status"),)
            )
            for mode in ("pin", "puk")
        ),
        _access_point("break_apn_settings"),
        _suspended(for_good=False),
        _suspended(for_good=True),
    ),
    "data": (
        _AIRPLANE,
        _DATA_OFF,
        _simple(
            "saver", "turn_data_saver_mode_on", "toggle_data_saver_mode", "check_data_restriction_status"
        ),
        *map(_mode, ("2g_only", "3g_only")),
        _simple("vpn", "break_vpn", "disconnect_vpn", "check_vpn_status"),
        _USED_UP,
        *_ROAMING,
    ),
    "pictures": (
        _AIRPLANE,
        _UNSEATED,
        _DATA_OFF,
        _mode("2g_only"),
        _USED_UP,
        *_ROAMING,
        _CALLING,
        _access_point("break_apn_mms_setting"),
        *(_permission(*lost) for lost in (("sms",), ("storage",), ("sms", "storage"))),
    ),
}
"""Case -> its causes."""
PROOFS: Mapping[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "service": (("assert_service_status", {"expected_status": "connected"}),),
    "data": (("assert_internet_speed", {"expected_speed": 100, "expected_desc": "excellent"}),),
    "pictures": (("assert_can_send_mms", {"expected_status": True}),),
}
"""Case -> functions of the phone that are true when all is well."""
