"""The state of a customer's phone, and the tools for what is not the network: Wi-Fi, VPN, apps, bills."""

from __future__ import annotations

from dataclasses import dataclass

from forge_envs.tables import Row
from forge_envs.tools import tool
from forge_envs.worlds.telecom.carrier import Carrier
from forge_envs.worlds.telecom.radio import search, status_bar

PERMISSIONS = ("sms", "storage", "phone", "network")
NO_WIFI: Row = {"wifi_connected": False, "wifi_ssid": None, "wifi_signal_strength": "none"}
NO_VPN: Row = {"vpn_connected": False, "vpn_details": None}


def on_or_off(value: bool) -> str:
    """As the phone says it."""
    return "ON" if value else "OFF"


@dataclass
class Handset:
    """What all of the customer's tools run on. All state is the desk's."""

    desk: Carrier

    @property
    def device(self) -> Row:
        """The phone, to read."""
        return self.desk.phone.peek("device")

    @property
    def surroundings(self) -> Row:
        """Where the phone is and what its line allows, to read."""
        return self.desk.phone.peek("surroundings")

    @property
    def writes(self) -> int:
        """Those of the desk, which both sides share."""
        return self.desk.writes

    @writes.setter
    def writes(self, count: int) -> None:
        self.desk.writes = count

    def settle(self) -> None:
        """Carry over to the carrier's side what was done, and back."""
        self.desk.settle()

    def own(self) -> Row:
        """The phone, to change."""
        self.writes += 1
        return self.desk.phone.row("device")

    def search(self) -> None:
        """Look for a network anew."""
        search(self.own(), self.surroundings)

    def flip(self, switch: str) -> bool:
        """Turn a switch over, and look for a network; how it stands now."""
        device = self.own()
        device[switch] = not device[switch]
        self.search()
        return bool(device[switch])

    def with_bar(self, text: str) -> str:
        """A result, and what the status bar shows after it."""
        return f"{text}\nStatus Bar: {status_bar(self.device)}"

    # -- Wi-Fi, VPN ----------------------------------------------------------------------------------

    @tool()
    def check_wifi_status(self) -> str:
        """See whether Wi-Fi is on, and which network it is connected to."""
        device = self.device
        if not device["wifi_enabled"]:
            return "Wi-Fi is turned OFF."
        if not device["wifi_connected"]:
            return "Wi-Fi is ON but not connected to any network."
        strength = device["wifi_signal_strength"]
        return f"Wi-Fi is ON and connected to '{device['wifi_ssid']}'. Signal strength: {strength}."

    @tool(writes=True)
    def toggle_wifi(self) -> str:
        """Turn Wi-Fi on or off."""
        if self.device["airplane_mode"]:
            return self.with_bar("Cannot change Wi-Fi settings while Airplane Mode is ON.")
        device = self.own()
        device["wifi_enabled"] = on = not device["wifi_enabled"]
        if not on:
            device |= NO_WIFI
        return self.with_bar(f"Wi-Fi is now {on_or_off(on)}.")

    @tool()
    def check_wifi_calling_status(self) -> str:
        """See whether calls go over Wi-Fi."""
        return f"Wi-Fi Calling is currently turned {on_or_off(self.device['wifi_calling_enabled'])}."

    @tool(writes=True)
    def toggle_wifi_calling(self) -> str:
        """Turn calls over Wi-Fi on or off."""
        device = self.own()
        device["wifi_calling_enabled"] = not device["wifi_calling_enabled"]
        return self.with_bar(f"Wi-Fi Calling is now {on_or_off(device['wifi_calling_enabled'])}.")

    @tool()
    def check_vpn_status(self) -> str:
        """See whether you use a VPN, and which."""
        device = self.device
        if device["vpn_connected"]:
            details = device["vpn_details"]
            if not details:
                return "VPN is ON and connected (no specific details available)."
            return f"VPN is ON and connected. Details: {_details(details)}"
        if device["vpn_enabled_setting"]:
            return "VPN is turned ON in settings, but currently not connected."
        return "VPN is turned OFF."

    @tool(writes=True)
    def connect_vpn(self) -> str:
        """Connect to your VPN."""
        if self.device["vpn_connected"]:
            return "VPN already connected."
        self.own().update(
            vpn_connected=True,
            vpn_details={
                "server_address": "192.168.1.1",
                "protocol": "OpenVPN",
                "server_performance": self.desk.vpn,
            },
        )
        return self.with_bar("VPN connected successfully.")

    @tool(writes=True)
    def disconnect_vpn(self) -> str:
        """Disconnect from your VPN."""
        if not self.device["vpn_connected"]:
            return self.with_bar("No active VPN connection to disconnect.")
        self.own().update(NO_VPN)
        return self.with_bar("VPN disconnected successfully.")

    # -- apps --------------------------------------------------------------------------------------

    @tool()
    def check_installed_apps(self) -> str:
        """List the apps on your phone."""
        return f"The following apps are installed on the phone: {', '.join(self.device['app_statuses'])}"

    @tool()
    def check_app_status(self, app_name: str) -> str:
        """Look at one app, and at what it may use.

        Args:
            app_name: The app, e.g. 'messaging'.
        """
        app = self.device["app_statuses"].get(app_name)
        if app is None:
            return f"App '{app_name}' not found on this phone."
        allowed = _allowed(app)
        told = [f"Status for App: {app_name}"]
        told.append(" - Permissions Granted:" if allowed else " - Permissions: None granted.")
        return "\n".join([*told, *(f"   - {name}" for name in allowed)])

    @tool()
    def check_app_permissions(self, app_name: str) -> str:
        """See what an app may use.

        Args:
            app_name: The app, e.g. 'messaging'.
        """
        app = self.device["app_statuses"].get(app_name)
        if app is None:
            return f"App '{app_name}' not found on this phone."
        allowed = _allowed(app)
        if not allowed:
            return f"App '{app_name}' currently has no permissions granted."
        return f"App '{app_name}' has permission for: {', '.join(allowed)}."

    @tool(writes=True)
    def grant_app_permission(self, app_name: str, permission: str) -> str:
        """Let an app use something.

        Args:
            app_name: The app, e.g. 'messaging'.
            permission: What it may use, in lower case: 'sms', 'storage', 'phone' or 'network'.
        """
        apps = self.device["app_statuses"]
        app, permission = apps.get(app_name), permission.lower()
        if app is None:
            return self.with_bar(f"Error. App '{app_name}' not found. Cannot grant permission.")
        if permission not in PERMISSIONS:
            known = f"available permissions: {list(PERMISSIONS)}"
            refused = f"Error. Permission '{permission}' not tracked for app '{app_name}', {known}"
            return self.with_bar(refused)
        self.own()["app_statuses"][app_name]["permissions"][permission] = True
        return self.with_bar(f"Success. Permission '{permission}' granted to app '{app_name}'.")

    # -- bills -------------------------------------------------------------------------------------

    @tool()
    def check_payment_request(self) -> str:
        """See whether you were asked to pay a bill."""
        request = self.surroundings["payment_request"]
        if request is None:
            return "No payment request has been made."
        due = f"{request['amount_due']} USD"
        return f"You have a payment request for bill {request['bill_id']} of {due}."

    @tool(writes=True)
    def make_payment(self) -> str:
        """Pay the bill that you were asked to pay."""
        if self.surroundings["payment_request"] is None:
            return "You do not have a payment request."
        self.desk.writes += 1
        request = self.desk.phone.row("surroundings")["payment_request"]
        request["paid"] = True
        return f"Payment of {request['amount_due']} USD has been made for bill {request['bill_id']}."


def _allowed(app: Row) -> list[str]:
    return [name for name, allowed in app["permissions"].items() if allowed]


def _details(details: Row) -> str:
    """As τ²-bench shows them: a Python dict, with a member of an enum in it."""
    level = details["server_performance"]
    shown = {key: repr(value) for key, value in details.items()}
    shown["server_performance"] = f"<PerformanceLevel.{level.upper()}: {level!r}>"
    return f"{{{', '.join(f'{key!r}: {value}' for key, value in shown.items())}}}"
