"""τ²-bench's telecom files: `db.toml`, `user_db.toml` and the policy in two parts.

Rows are stored as the official code writes them out: fields in its order, dates as text, what a file leaves
out by default. A field that is missing, unknown or of another type is another version's, and refused.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forge_envs.errors import TaskError
from forge_envs.tables import Row
from forge_envs.worlds.tau.files import read_text
from forge_envs.worlds.telecom.phone import ACCESS_POINT

Day: TypeAlias = datetime.date | None
Bars: TypeAlias = Literal["none", "poor", "fair", "good", "excellent"]
Net: TypeAlias = Literal["none", "2G", "3G", "4G", "5G"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Plan(_Strict):
    plan_id: str
    name: str
    data_limit_gb: float
    price_per_month: float
    data_refueling_price_per_gb: float


class _Address(_Strict):
    street: str
    city: str
    state: str
    zip_code: str


class _PaymentMethod(_Strict):
    method_type: Literal["Credit Card", "Debit Card", "PayPal"]
    account_number_last_4: str
    expiration_date: str


class _Customer(_Strict):
    customer_id: str
    full_name: str
    date_of_birth: str
    email: str
    phone_number: str
    address: _Address
    account_status: Literal["Active", "Suspended", "Pending Verification", "Closed"] = "Pending Verification"
    payment_methods: list[_PaymentMethod] = Field(default_factory=list)
    line_ids: list[str] = Field(default_factory=list)
    bill_ids: list[str] = Field(default_factory=list)
    created_at: datetime.datetime | Literal["2025-01-01"] = "2025-01-01"
    last_extension_date: Day = None
    goodwill_credit_used_this_year: float = 0.0


class _Line(_Strict):
    line_id: str
    phone_number: str
    status: Literal["Active", "Suspended", "Pending Activation", "Closed"] = "Pending Activation"
    plan_id: str
    device_id: str | None = None
    data_used_gb: float = 0.0
    data_refueling_gb: float = 0.0
    roaming_enabled: bool = False
    contract_end_date: Day = None
    last_plan_change_date: Day = None
    last_sim_replacement_date: Day = None
    suspension_start_date: Day = None


class _Item(_Strict):
    description: str
    amount: float
    date: datetime.date
    item_type: str


class _Bill(_Strict):
    bill_id: str
    customer_id: str
    period_start: datetime.date
    period_end: datetime.date
    issue_date: datetime.date
    total_due: float
    due_date: datetime.date
    line_items: list[_Item] = Field(default_factory=list)
    status: Literal["Draft", "Issued", "Awaiting Payment", "Paid", "Overdue", "Disputed"] = "Draft"


class _Device(_Strict):
    device_id: str
    device_type: Literal["phone", "router", "tablet", "watch", "other"]
    model: str
    imei: str | None = None
    is_esim_capable: bool
    activated: bool = False
    activation_date: datetime.datetime | None = None
    last_esim_transfer_date: datetime.datetime | None = None


class _Carrier(_Strict):
    plans: list[_Plan] = Field(default_factory=list)
    customers: list[_Customer] = Field(default_factory=list)
    lines: list[_Line] = Field(default_factory=list)
    bills: list[_Bill] = Field(default_factory=list)
    devices: list[_Device] = Field(default_factory=list)


class _AccessPoint(_Strict):
    apn_name: Literal["internet", "broken"] = "internet"
    reset_at_reboot: bool = False
    mms_apn: str | None = ACCESS_POINT["mms_apn"]
    mmsc_url: str | None = ACCESS_POINT["mmsc_url"]
    mms_proxy: str | None = None
    mms_port: int | None = None


class _Vpn(_Strict):
    server_address: str | None = None
    protocol: str | None = None
    server_performance: Literal["unknown", "poor", "fair", "good", "excellent"] = "unknown"


class _Permissions(_Strict):
    sms: bool = False
    storage: bool = False
    phone: bool = False
    network: bool = False


class _App(_Strict):
    app_name: str
    permissions: _Permissions = Field(default_factory=_Permissions)


def _apps() -> dict[str, _App]:
    may = {
        "messaging": _Permissions(sms=True, storage=True, phone=True),
        "browser": _Permissions(storage=True, network=True),
    }
    return {name: _App(app_name=name, permissions=allowed) for name, allowed in may.items()}


class _Handset(_Strict):
    sim_card_status: Literal["active", "missing", "locked_pin", "locked_puk"] = "active"
    sim_card_missing: bool = False
    airplane_mode: bool = False
    network_signal_strength: Bars = "good"
    network_technology_connected: Net = "5G"
    network_connection_status: Literal["connected", "searching", "no_service", "emergency_only"] = "connected"
    battery_level: int = 80
    data_enabled: bool = True
    roaming_enabled: bool = False
    network_mode_preference: Literal["4g_5g_preferred", "4g_only", "3g_only", "2g_only"] = "4g_5g_preferred"
    active_apn_settings: _AccessPoint = Field(default_factory=_AccessPoint)
    wifi_enabled: bool = False
    wifi_connected: bool = False
    wifi_ssid: str | None = None
    wifi_signal_strength: Bars = "none"
    wifi_calling_enabled: bool = False
    wifi_calling_mms_over_wifi: bool = False
    data_saver_mode: bool = False
    vpn_enabled_setting: bool = False
    vpn_connected: bool = False
    vpn_details: _Vpn | None = None
    app_statuses: dict[str, _App] = Field(default_factory=_apps)


class _Request(_Strict):
    bill_id: str
    amount_due: float
    paid: bool = False


_SIGNAL: dict[Net, Bars] = {"2G": "poor", "3G": "fair", "4G": "good", "5G": "excellent"}


class _Surroundings(_Strict):
    name: str | None = None
    phone_number: str | None = None
    is_abroad: bool = False
    roaming_allowed: bool = False
    signal_strength: dict[Net, Bars] = Field(default_factory=lambda: dict(_SIGNAL))
    mobile_data_usage_exceeded: bool = False
    line_active: bool = True
    payment_request: _Request | None = None


class _Phone(_Strict):
    device: _Handset = Field(default_factory=_Handset)
    surroundings: _Surroundings = Field(default_factory=_Surroundings)


def read_telecom(folder: Path) -> dict[str, dict[str, Row]]:
    """All tables of both sides. A folder without `user_db.toml` has the default phone. Raises TaskError."""
    path = folder / "db.toml"
    tables: dict[str, dict[str, Row]] = {}
    for name, rows in _read(path, _Carrier).items():
        key = f"{name[:-1]}_id"
        tables[name] = {row[key]: row for row in rows}
        if not rows and name in ("plans", "customers", "lines"):
            raise TaskError(f"{path}: table {name!r} is empty or not there")
        if len(tables[name]) < len(rows):
            raise TaskError(f"{path}: two rows of {name!r} have the same {key}")
    theirs = folder / "user_db.toml"
    tables["phone"] = _read(theirs, _Phone) if theirs.exists() else _plain(_Phone().model_dump())
    return tables


def _read(path: Path, model: type[BaseModel]) -> Any:
    try:
        data = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise TaskError(f"{path} is not TOML: {error}") from error
    try:
        return _plain(model.model_validate(data).model_dump())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the top"
        more = f", and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        raise TaskError(
            f"{path}: at {place}: {first['msg'].lower()}; got {str(first['input'])[:80]!r}{more}. Is it of "
            "another version of τ²-bench?"
        ) from None


def _plain(value: Any) -> Any:
    """Data with dates as text, as `json.dumps(default=str)` writes them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, datetime.date) else value


def telecom_policy(folder: Path, style: str, *, solo: bool) -> str:
    """What the agent is told: the main policy and how to help with phones. Raises TaskError."""
    alone = "_solo" if solo else ""
    help = f"tech_support_{style}{alone if style == 'workflow' else ''}.md"
    main, support = read_text(folder / f"main_policy{alone}.md"), read_text(folder / help)
    parts = {"main_policy": main, "tech_support_policy": support}
    return "\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in parts.items())
