"""The rows of a phone company of our own: plans, other people's lines, and one customer drawn for a task."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

from forge_envs.tables import Base, Row
from forge_envs.worlds.desk.database import Dice, draw_address, people
from forge_envs.worlds.telecom.carrier import TODAY, item
from forge_envs.worlds.telecom.phone import ACCESS_POINT

OTHERS = 40
"""Customers beside the one who calls."""
TABLES = ("plans", "customers", "lines", "bills", "devices")
_PLANS = (
    ("Starter", 3.0, 22.0, 6.0),
    ("Everyday", 10.0, 35.0, 4.0),
    ("Commuter", 20.0, 48.0, 3.0),
    ("Household", 40.0, 79.0, 2.5),
    ("Traveller", 60.0, 95.0, 2.0),
)
_MODELS = {
    "phone": ("Nova 5", "Nova 5 Mini", "Atlas One", "Quill X", "Heron 12", "Birch Lite"),
    "tablet": ("Slate 10", "Canvas Air"),
    "watch": ("Tick 3", "Loop S"),
}


@dataclass
class Rows:
    """Rows by table and id, in the making."""

    dice: Dice
    first: int
    """The number of the first id of each kind."""
    tables: dict[str, dict[str, Row]] = field(default_factory=lambda: {name: {} for name in TABLES})

    def new_id(self, table: str, letter: str) -> str:
        """The next free id of a kind."""
        return f"{letter}{self.first + len(self.tables[table])}"

    def customer(self, lines: int) -> Row:
        """A customer with so many lines, their devices and paid bills, and perhaps one in the making."""
        dice, key = self.dice, self.new_id("customers", "C")
        name = f"{dice.choice(people().first_names)} {dice.choice(people().last_names)}"
        home = draw_address(dice, 0.2)
        row: Row = {
            "customer_id": key,
            "full_name": name,
            "date_of_birth": str(datetime.date(1945, 1, 1) + datetime.timedelta(days=dice.below(22_000))),
            "email": f"{name.lower().replace(' ', '.')}{dice.below(100)}@example.com",
            "phone_number": "",
            "address": {
                "street": ", ".join(filter(None, (home["address1"], home["address2"]))),
                "city": home["city"],
                "state": home["state"],
                "zip_code": home["zip"],
            },
            "account_status": "Active",
            "payment_methods": [self._card()],
            "line_ids": [self.line(n == 0) for n in range(lines)],
            "bill_ids": [],
            "created_at": f"{_day(dice, 2019, 1500)} {8 + dice.below(10):02d}:{dice.below(60):02d}:00",
            "last_extension_date": None,
            "goodwill_credit_used_this_year": float(5 * dice.below(5)),
        }
        row["phone_number"] = self.tables["lines"][row["line_ids"][0]]["phone_number"]
        row["bill_ids"] = [self._bill(row, months) for months in range(1 + dice.below(3), 0, -1)]
        if dice.chance(0.4):
            row["bill_ids"].append(self._bill(row, 0))
        self.tables["customers"][key] = row
        return row

    def line(self, is_phone: bool) -> str:
        """The id of a new line that is in good order."""
        dice, key = self.dice, self.new_id("lines", "L")
        plan_id = f"P{1 + dice.below(len(_PLANS))}"
        limit = _PLANS[int(plan_id[1:]) - 1][1]
        self.tables["lines"][key] = {
            "line_id": key,
            "phone_number": f"555-{dice.digits(3)}-{dice.digits(4)}",
            "status": "Active",
            "plan_id": plan_id,
            "device_id": self._device("phone" if is_phone else dice.choice(list(_MODELS))),
            "data_used_gb": round(limit * (0.05 + 0.009 * dice.below(100)), 1),
            "data_refueling_gb": 0.0,
            "roaming_enabled": dice.chance(0.3),
            "contract_end_date": str(TODAY + datetime.timedelta(days=30 + dice.below(700))),
            "last_plan_change_date": str(_day(dice, 2024, 300)) if dice.chance(0.3) else None,
            "last_sim_replacement_date": str(_day(dice, 2023, 600)) if dice.chance(0.2) else None,
            "suspension_start_date": None,
        }
        return key

    def _device(self, kind: str) -> str:
        dice, key = self.dice, self.new_id("devices", "D")
        self.tables["devices"][key] = {
            "device_id": key,
            "device_type": kind,
            "model": dice.choice(_MODELS[kind]),
            "imei": dice.digits(15),
            "is_esim_capable": dice.chance(0.7),
            "activated": True,
            "activation_date": f"{_day(dice, 2023, 700)} {8 + dice.below(10):02d}:00:00",
            "last_esim_transfer_date": None,
        }
        return key

    def _bill(self, customer: Row, months: int) -> str:
        """The id of a bill from so many months ago, which was paid; of this month it is a draft."""
        key = self.new_id("bills", "B")
        start = _month(months - 1)
        end = _month(months - 2) - datetime.timedelta(days=1)
        items = []
        for line_id in customer["line_ids"]:
            price = _PLANS[int(self.tables["lines"][line_id]["plan_id"][1:]) - 1][2]
            items.append(item(f"Charge for line {line_id}", price, "Charge") | {"date": str(start)})
        self.tables["bills"][key] = {
            "bill_id": key,
            "customer_id": customer["customer_id"],
            "period_start": str(start),
            "period_end": str(end),
            "issue_date": str(start),
            "total_due": sum(one["amount"] for one in items),
            "due_date": str(start + datetime.timedelta(days=14)),
            "line_items": items,
            "status": "Paid" if months else "Draft",
        }
        return key

    def _card(self) -> Row:
        dice = self.dice
        return {
            "method_type": dice.choice(("Credit Card", "Debit Card", "PayPal")),
            "account_number_last_4": dice.digits(4),
            "expiration_date": f"{1 + dice.below(12):02d}/{2026 + dice.below(4)}",
        }


def _day(dice: Dice, year: int, days: int) -> datetime.date:
    return datetime.date(year, 1, 1) + datetime.timedelta(days=dice.below(days))


def _month(back: int) -> datetime.date:
    """The first day of the month so many months before this one."""
    months = TODAY.year * 12 + TODAY.month - 1 - back
    return datetime.date(months // 12, months % 12 + 1, 1)


@functools.cache
def company() -> Mapping[str, Base]:
    """Table -> the rows that all tasks share."""
    rows = Rows(Dice(20250225), 1000)
    for n, (name, limit, price, refuel) in enumerate(_PLANS, 1):
        rows.tables["plans"][f"P{n}"] = {
            "plan_id": f"P{n}",
            "name": name,
            "data_limit_gb": limit,
            "price_per_month": price,
            "data_refueling_price_per_gb": refuel,
        }
    for _ in range(OTHERS):
        rows.customer(1 + rows.dice.below(3))
    return {name: Base(found, (_company_table, name)) for name, found in rows.tables.items()}


def _company_table(name: str) -> Base:
    return company()[name]


def draw_phone(dice: Dice) -> dict[str, Row]:
    """A phone in good order, somewhere where 5G is good enough."""
    apps = {"messaging": ("sms", "storage", "phone"), "browser": ("storage", "network")}
    apps |= dict(dice.sample((("maps", ("network",)), ("camera", ("storage",)), ("radio", ("network",))), 2))
    wifi = dice.chance(0.3)
    return {
        "device": {
            "sim_card_status": "active",
            "sim_card_missing": False,
            "airplane_mode": False,
            "network_signal_strength": "good",
            "network_technology_connected": "5G",
            "network_connection_status": "connected",
            "battery_level": 15 + dice.below(85),
            "data_enabled": True,
            "roaming_enabled": dice.chance(0.3),
            "network_mode_preference": "4g_5g_preferred",
            "active_apn_settings": dict(ACCESS_POINT),
            "wifi_enabled": wifi,
            "wifi_connected": False,
            "wifi_ssid": None,
            "wifi_signal_strength": "none",
            "wifi_calling_enabled": False,
            "wifi_calling_mms_over_wifi": False,
            "data_saver_mode": False,
            "vpn_enabled_setting": False,
            "vpn_connected": False,
            "vpn_details": None,
            "app_statuses": {
                name: {
                    "app_name": name,
                    "permissions": {key: key in may for key in ("sms", "storage", "phone", "network")},
                }
                for name, may in apps.items()
            },
        },
        "surroundings": {
            "name": None,
            "phone_number": None,
            "is_abroad": False,
            "roaming_allowed": False,
            "signal_strength": {
                "2G": "poor",
                "3G": "fair",
                "4G": dice.choice(("fair", "good", "excellent")),
                "5G": dice.choice(("fair", "good", "excellent")),
            },
            "mobile_data_usage_exceeded": False,
            "line_active": True,
            "payment_request": None,
        },
    }
