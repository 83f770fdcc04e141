"""The customer's side: a phone with all its switches, and the customer's tools, which are these switches."""

from __future__ import annotations

import functools
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic refuses the one of `typing` before Python 3.12

from forge_envs.errors import ToolError
from forge_envs.tables import Row, copy_json
from forge_envs.tools import tool
from forge_envs.worlds.telecom.handset import NO_VPN, NO_WIFI, Handset, on_or_off
from forge_envs.worlds.telecom.radio import (
    MODES,
    can_send_pictures,
    sim,
    speed,
    status_bar,
)


class AccessPoint(TypedDict, total=False):
    """The settings of an access point (APN)."""

    apn_name: Literal["internet", "broken"]
    reset_at_reboot: bool
    mms_apn: str | None
    mmsc_url: str | None
    mms_proxy: str | None
    mms_port: int | None


class _AccessPoint(AccessPoint):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]


ACCESS_POINT: Row = {
    "apn_name": "internet",
    "reset_at_reboot": False,
    "mms_apn": "mms",
    "mmsc_url": "http://mms.carrier.com/mms/wapenc",
    "mms_proxy": None,
    "mms_port": None,
}
"""The carrier's own settings."""
_SIM = {
    "active": "Your SIM card is active and working.",
    "missing": "No SIM card detected in the phone.",
    "locked_pin": "The SIM card is locked with a PIN code.",
    "locked_puk": "The SIM card is locked with a PUK code.",
}
_ADVICE = {
    "Very Poor": "Connection is very slow. Basic web browsing might be difficult.",
    "Poor": "Connection is slow. Web browsing may be sluggish, streaming difficult.",
    "Fair": "Connection is okay for web browsing and some standard definition streaming.",
    "Good": "Connection is good for most activities, including HD streaming.",
    "Excellent": "Connection is very fast.",
}
_APN_MENDED = "Resetting APN settings..."


@functools.cache
def _access_points() -> TypeAdapter[AccessPoint]:
    return TypeAdapter(_AccessPoint)


def access_point(given: Any) -> Row:
    """Settings as the phone stores them, what was not given by default. Raises ToolError."""
    try:
        return ACCESS_POINT | _access_points().validate_python(given)
    except ValidationError as error:
        raise ToolError(str(error)) from None


class Phone(Handset):
    """The customer's tools."""

    # -- looking -----------------------------------------------------------------------------------

    @tool()
    def check_status_bar(self) -> str:
        """Look at the icons at the top of your screen: signal, mobile data, Wi-Fi, VPN, battery."""
        return f"Status Bar: {status_bar(self.device)}"

    @tool()
    def check_network_status(self) -> str:
        """Look at how your phone is connected: airplane mode, SIM card, signal, type of network, mobile data,
        data roaming, Wi-Fi.
        """
        device = self.device
        lines = [
            f"Airplane Mode: {'ON' if device['airplane_mode'] else 'OFF'}",
            f"SIM Card Status: {sim(device)}",
            f"Cellular Connection: {device['network_connection_status']}",
            f"Cellular Signal: {device['network_signal_strength']}",
            f"Cellular Network Type: {device['network_technology_connected']}",
            f"Mobile Data Enabled: {_yes(device['data_enabled'])}",
            f"Data Roaming Enabled: {_yes(device['roaming_enabled'])}",
            f"Wi-Fi Radio: {'ON' if device['wifi_enabled'] else 'OFF'}",
            f"Wi-Fi Connected: {_yes(device['wifi_connected'])}",
        ]
        if device["wifi_connected"]:
            lines.append(f"Connected Wi-Fi Network: {device['wifi_ssid']}")
        return "\n".join(lines)

    @tool()
    def check_network_mode_preference(self) -> str:
        """Look at which type of network your phone prefers."""
        mode = self.device["network_mode_preference"]
        if not isinstance(mode, str):
            raise ToolError(f"{mode!r} is no network mode")
        return f"Network Mode Preference: {mode}"

    @tool(writes=True)
    def set_network_mode_preference(self, mode: str) -> str:
        """Choose which type of network your phone prefers.

        Args:
            mode: '4g_5g_preferred', '4g_only', '3g_only' or '2g_only'.
        """
        if isinstance(mode, str) and mode not in MODES:
            options = ", ".join(MODES)
            failed = f"Failed to set network mode: '{mode}' is not a valid option."
            return self.with_bar(f"{failed} Please use one of: {options}")
        self.own()["network_mode_preference"] = copy_json(mode)  # of any type: nothing checks it
        self.search()
        if mode is None:
            options = ", ".join(MODES)
            failed = f"Failed to set network mode: '{mode}' is not a valid option."
            return self.with_bar(f"{failed} Please use one of: {options}")
        if not isinstance(mode, str):
            raise ToolError(f"{mode!r} is no network mode")
        return self.with_bar(f"Preferred Network Mode set to: {mode}")

    @tool()
    def run_speed_test(self) -> str:
        """Measure how fast your mobile data are, and what that is enough for."""
        found, grade = speed(self.device, self.surroundings)
        if found is None:
            return f"Speed test failed: {grade}."
        return f"Speed Test Result: {found:.2f} Mbps ({grade}). {_ADVICE[grade]}"

    # -- airplane mode, SIM card ---------------------------------------------------------------------

    @tool(writes=True)
    def toggle_airplane_mode(self) -> str:
        """Turn airplane mode on or off. While it is on, nothing is sent or received."""
        on = self.fly()
        return self.with_bar(f"Airplane Mode is now {on_or_off(on)}.")

    def fly(self) -> bool:
        """Turn airplane mode over; whether it is on now."""
        device = self.own()
        device["airplane_mode"] = on = not device["airplane_mode"]
        if not on:
            device["network_connection_status"] = "searching"
        if on or device["wifi_enabled"]:
            device |= NO_WIFI
        if on and device["vpn_connected"]:
            device |= NO_VPN
        self.search()
        return on

    @tool()
    def check_sim_status(self) -> str:
        """See whether your SIM card works, is missing, or is locked."""
        return _SIM[sim(self.device)]

    @tool(writes=True)
    def reseat_sim_card(self) -> str:
        """Take your SIM card out and put it in again."""
        self.own()["sim_card_missing"] = False
        self.search()
        return self.with_bar("SIM card re-seated successfully.")

    # -- mobile data -------------------------------------------------------------------------------

    @tool(writes=True)
    def toggle_data(self) -> str:
        """Turn mobile data on or off."""
        return self.with_bar(f"Mobile Data is now {on_or_off(self.flip('data_enabled'))}.")

    @tool(writes=True)
    def toggle_roaming(self) -> str:
        """Turn data roaming on or off: whether your phone uses networks abroad."""
        return self.with_bar(f"Data Roaming is now {on_or_off(self.flip('roaming_enabled'))}.")

    @tool()
    def check_data_restriction_status(self) -> str:
        """See whether data saver limits your data."""
        if self.device["data_saver_mode"]:
            return "Data Saver mode is ON (limits data usage)."
        return "Data Saver mode is OFF."

    @tool(writes=True)
    def toggle_data_saver_mode(self) -> str:
        """Turn data saver on or off. It saves data and makes them slower."""
        device = self.own()
        device["data_saver_mode"] = not device["data_saver_mode"]
        return self.with_bar(f"Data Saver Mode is now {on_or_off(device['data_saver_mode'])}.")

    @tool()
    def check_apn_settings(self) -> str:
        """Look at the access point (APN) that your phone uses, and the address for picture messages."""
        settings = self.device["active_apn_settings"]
        name = settings["apn_name"] or "Not Set"
        address = settings["mmsc_url"] or "Not Set"
        note = "(These are technical settings, usually best left unchanged.)"
        return f"Current APN Name: {name}\nMMSC URL (for picture messages): {address}\n{note}"

    @tool(writes=True)
    def set_apn_settings(self, apn_settings: AccessPoint) -> str:
        """Write the settings of the access point (APN); what is left out gets its default.

        Args:
            apn_settings: The settings by name.
        """
        settings = access_point(apn_settings) if isinstance(apn_settings, dict) else copy_json(apn_settings)
        self.own()["active_apn_settings"] = settings  # of any type: nothing checks it
        told = f"APN settings set to: {settings['apn_name']}"
        self.search()
        return self.with_bar(told)

    @tool(writes=True)
    def reset_apn_settings(self) -> str:
        """Have the access point's settings (APN) put back to the carrier's when the phone next starts."""
        self.own()["active_apn_settings"]["reset_at_reboot"] = True
        self.search()
        return self.with_bar("APN settings will reset at reboot.")

    @tool()
    def can_send_mms(self) -> str:
        """Try whether your messaging app can send a picture (MMS)."""
        can = can_send_pictures(self.device, self.surroundings)
        return f"Your messaging app {'can' if can else 'cannot'} send MMS messages."

    @tool(writes=True)
    def reboot_device(self) -> str:
        """Turn your phone off and on again."""
        told = []
        if self.device["active_apn_settings"]["reset_at_reboot"]:
            told.append(_APN_MENDED)
            self.own()["active_apn_settings"] = copy_json(ACCESS_POINT)
        self.own()["network_connection_status"] = "searching"
        self.search()
        return self.with_bar("\n".join([*told, "Restarting network services..."]))


def _yes(value: bool) -> str:
    return "Yes" if value else "No"
