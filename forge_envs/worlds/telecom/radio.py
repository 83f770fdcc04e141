"""What a phone makes of its settings and of where it is: network, data, speed, picture messages."""

from __future__ import annotations

from forge_envs.tables import Row

_MODES = {"4g_only": "4G", "3g_only": "3G", "2g_only": "2G"}
"""Preferred network -> what the phone connects to; whatever else is preferred ends at 4G."""
MODES = ("4g_5g_preferred", *_MODES)
"""Preferences that a phone can be set to."""
_OFF = {
    "network_connection_status": "no_service",
    "network_technology_connected": "none",
    "network_signal_strength": "none",
}
_BARS = {"none": "📵 No Signal", "poor": "📶¹ Poor", "fair": "📶² Fair", "good": "📶³ Good"}
_BARS["excellent"] = "📶⁴ Excellent"
_SPEEDS = {"2G": (0.1, 0.4), "3G": (1.0, 5.0), "4G": (10.0, 100.0), "5G": (50.0, 500.0)}
"""Megabits a second, worst and best."""
_SHARES = {"poor": 0.2, "fair": 0.5, "good": 0.8, "excellent": 1.0}
"""Of the speed, by the strength of the signal."""
_GRADES = ((1, "Very Poor"), (5, "Poor"), (25, "Fair"), (100, "Good"))
"""Below so many megabits a second a speed is called so."""


def sim(device: Row) -> str:
    """How the SIM card is: "active", "missing", "locked_pin" or "locked_puk"."""
    return "missing" if device["sim_card_missing"] else device["sim_card_status"]


def search(device: Row, surroundings: Row) -> None:
    """Look for a network and connect to it, if anything lets the phone."""
    if sim(device) == "active":
        technology = _technology(device, surroundings)
        device["network_connection_status"] = "connected"
        device["network_technology_connected"] = technology
        device["network_signal_strength"] = surroundings["signal_strength"].get(technology, "none")
    else:
        device |= _OFF
    if device["airplane_mode"]:
        device |= _OFF
    if device["active_apn_settings"]["apn_name"] == "broken" or not surroundings["line_active"]:
        device |= _OFF


def _technology(device: Row, surroundings: Row) -> str:
    preference = device["network_mode_preference"]
    if preference == MODES[0] and surroundings["signal_strength"].get("5G", "none") != "none":
        return "5G"
    return _MODES.get(preference, "4G") if isinstance(preference, str) else "4G"


def has_data(device: Row, surroundings: Row) -> bool:
    """Whether mobile data work at all, at whatever speed."""
    if device["airplane_mode"] or device["network_signal_strength"] == "none":
        return False
    if device["network_connection_status"] == "no_service":
        return False
    roams = device["roaming_enabled"] and surroundings["roaming_allowed"]
    if surroundings["is_abroad"] and not roams:
        return False
    return bool(device["data_enabled"]) and not surroundings["mobile_data_usage_exceeded"]


def speed(device: Row, surroundings: Row) -> tuple[float | None, str]:
    """Megabits a second and what they are called; None and why where there is no connection."""
    if not has_data(device, surroundings):
        return None, "No Connection"
    details = device["vpn_details"]
    factor = 1.0
    if device["vpn_connected"] and details and details["server_performance"] == "poor":
        factor = 0.1
    if device["data_saver_mode"]:
        factor *= 0.2
    low, high = _SPEEDS.get(device["network_technology_connected"], (0.0, 0.0))
    share = _SHARES.get(device["network_signal_strength"], 0.0)
    found = round((low + high) / 2.0 * share * factor, 2)
    return found, next((grade for below, grade in _GRADES if found < below), "Excellent")


def can_send_pictures(device: Row, surroundings: Row) -> bool:
    """Whether the messaging app can send an MMS."""
    if not has_data(device, surroundings) or device["network_technology_connected"] == "2G":
        return False
    if device["wifi_calling_enabled"] and device["wifi_calling_mms_over_wifi"]:
        return False  # the carrier takes none over Wi-Fi
    if device["active_apn_settings"]["mmsc_url"] is None:
        return False
    app = device["app_statuses"].get("messaging")
    return app is not None and bool(app["permissions"]["storage"] and app["permissions"]["sms"])


def status_bar(device: Row) -> str:
    """The icons at the top of the screen."""
    icons = []
    if device["airplane_mode"]:
        icons.append("✈️ Airplane Mode")
    else:
        technology = device["network_technology_connected"]
        icons.append(_BARS.get(device["network_signal_strength"], _BARS["none"]))
        icons += [technology] if technology != "none" else []
        if device["data_enabled"] and technology != "none":
            icons.append("📱 Data Enabled")
            icons += ["🔽 Data Saver"] if device["data_saver_mode"] else []
        else:
            icons.append("📵 Data Disabled")
    if device["wifi_enabled"] and device["wifi_connected"]:
        name = device["wifi_ssid"]
        icons.append(f"📡 Connected to {name}" if name else "📡 Enabled")
    if device["vpn_connected"]:
        icons.append("🔒 VPN Connected")
    return " | ".join([*icons, f"🔋 {device['battery_level']}%"])
