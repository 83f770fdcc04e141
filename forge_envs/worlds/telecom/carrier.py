"""The carrier's side: customers, lines, plans, bills and devices, and the agent's tools on them.

The phone's state lies in two more rows of the same desk, so that whoever copies, pickles or compares the desk
has both sides. `settle` carries over what either side did.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from forge_envs.errors import ToolError
from forge_envs.tables import Row, Table, copy_json
from forge_envs.tools import tool

TODAY = datetime.date(2025, 2, 25)
"""The day on which every conversation takes place."""
_FIRST = TODAY.replace(day=1)
_NEXT = (_FIRST + datetime.timedelta(days=32)).replace(day=1)
_AFTER = (_NEXT + datetime.timedelta(days=32)).replace(day=1)
_LAST = (_FIRST - datetime.timedelta(days=1)).replace(day=1)
_DAY, _TWO_WEEKS = datetime.timedelta(days=1), datetime.timedelta(days=14)


@dataclass(kw_only=True)
class Carrier:
    """One episode's rows of both sides; the agent's tools run on it."""

    plans: Table
    customers: Table
    lines: Table
    bills: Table
    devices: Table
    phone: Table
    """Two rows of the customer's side: "device" and "surroundings"."""
    over: bool = False
    writes: int = 0
    salt: str = ""
    """Tells apart the new bills of two desks: their ids are as good as random, and yet always the same."""
    vpn: str = "excellent"
    """How well the server works that a VPN connects to; it stays broken once it was."""

    # -- finding rows ------------------------------------------------------------------------------

    @tool()
    def get_customer_by_phone(self, phone_number: str) -> str:
        """Find the customer to whom a phone number belongs: their contact number, or that of one of their
        lines.

        Args:
            phone_number: The number as it is written, e.g. '555-010-1234'.
        """
        return self.customers_text(self.owner(phone_number))

    @tool()
    def get_customer_by_id(self, customer_id: str) -> str:
        """Read a customer's profile.

        Args:
            customer_id: The customer's id, e.g. 'C1001'.
        """
        return self.customers_text(self.customer(customer_id))

    @tool()
    def get_customer_by_name(self, full_name: str, dob: str) -> str:
        """List the customers of a name who were born on a day; there may be none.

        Args:
            full_name: First and last name.
            dob: The day of birth, YYYY-MM-DD.
        """
        rows = (self.customers.peek(key) for key in self.customers)
        return json.dumps(
            [r for r in rows if r["full_name"].lower() == full_name.lower() and r["date_of_birth"] == dob]
        )

    @tool()
    def get_details_by_id(self, id: str) -> str:
        """Read whatever has an id: a customer (C), line (L), device (D), bill (B) or plan (P).

        Args:
            id: The id, whose first letter says what it is, e.g. 'L1001'.
        """
        kinds = {
            "L": (self.lines, "Line"),
            "D": (self.devices, "Device"),
            "B": (self.bills, "Bill"),
            "C": (self.customers, "Customer"),
            "P": (self.plans, "Plan"),
        }
        if not isinstance(id, str) or id[:1] not in kinds:
            raise ToolError(f"Unknown ID format or type: {id}")
        table, kind = kinds[id[0]]
        return json.dumps(_peek(table, id, kind))

    # -- lines -------------------------------------------------------------------------------------

    @tool(writes=True)
    def suspend_line(self, customer_id: str, line_id: str, reason: str) -> str:
        """Suspend an active line, for six months at most; holding it costs $5 a month.

        Args:
            customer_id: Whose line it is.
            line_id: The line.
            reason: Why, in a few words.
        """
        line = self.line_of(customer_id, line_id)
        if line["status"] != "Active":
            raise ToolError("Line must be active to suspend")
        line = self.lines.row(line_id)
        line |= {"status": "Suspended", "suspension_start_date": str(TODAY)}
        self.writes += 1
        message = "Line suspended successfully. $5/month holding fee will apply."
        return json.dumps({"message": message, "line": line})

    @tool(writes=True)
    def resume_line(self, customer_id: str, line_id: str) -> str:
        """Make a suspended line active again, or one that waits for its activation.

        Args:
            customer_id: Whose line it is.
            line_id: The line.
        """
        line = self.line_of(customer_id, line_id)
        if line["status"] not in ("Suspended", "Pending Activation"):
            raise ToolError("Line must be suspended to resume")
        line = self.lines.row(line_id)
        line |= {"status": "Active", "suspension_start_date": None}
        self.writes += 1
        return json.dumps({"message": "Line resumed successfully", "line": line})

    @tool(writes=True)
    def enable_roaming(self, customer_id: str, line_id: str) -> str:
        """Let a line be used in networks abroad.

        Args:
            customer_id: Whose line it is.
            line_id: The line.
        """
        return self._roaming(customer_id, line_id, True)

    @tool(writes=True)
    def disable_roaming(self, customer_id: str, line_id: str) -> str:
        """No longer let a line be used in networks abroad.

        Args:
            customer_id: Whose line it is.
            line_id: The line.
        """
        return self._roaming(customer_id, line_id, False)

    def _roaming(self, customer_id: str, line_id: str, on: bool) -> str:
        line = self.line_of(customer_id, line_id)
        what = "enabled" if on else "disabled"
        if bool(line["roaming_enabled"]) == on:
            return f"Roaming was already {what}"
        self.lines.row(line_id)["roaming_enabled"] = on
        self.writes += 1
        return f"Roaming {what} successfully"

    # -- bills and data ----------------------------------------------------------------------------

    @tool()
    def get_bills_for_customer(self, customer_id: str, limit: int = 12) -> str:
        """Read a customer's bills, the latest first.

        Args:
            customer_id: Whose bills they are.
            limit: How many at most.
        """
        held = [_peek(self.bills, key, "Bill") for key in self.customer(customer_id)["bill_ids"]]
        return json.dumps(sorted(held, key=lambda bill: bill["issue_date"], reverse=True)[:limit])

    @tool(writes=True)
    def send_payment_request(self, customer_id: str, bill_id: str) -> str:
        """Ask a customer to pay a bill; it then awaits payment. Only one at a time may. Look at the bill
        first: this does not see whether it is paid already.

        Args:
            customer_id: Who is to pay.
            bill_id: The bill, one of theirs.
        """
        customer = self.customer(customer_id)
        if next(self.awaiting(customer), None) is not None:
            raise ToolError("A bill is already awaiting payment for this customer")
        if bill_id not in customer["bill_ids"]:
            raise ToolError(f"Bill {bill_id} not found for customer {customer_id}")
        _peek(self.bills, bill_id, "Bill")
        self.bills.row(bill_id)["status"] = "Awaiting Payment"
        self.writes += 1
        return f"Payment request sent to the customer for bill {bill_id}"

    @tool()
    def get_data_usage(self, customer_id: str, line_id: str) -> str:
        """Read how much data a line has used in this billing cycle, what its plan allows, how much was
        added, and when the cycle ends.

        Args:
            customer_id: Whose line it is.
            line_id: The line.
        """
        line = self.line_of(customer_id, line_id)
        plan = _peek(self.plans, line["plan_id"], "Plan")
        return json.dumps(
            {
                "line_id": line_id,
                "data_used_gb": _said(line["data_used_gb"]),
                "data_limit_gb": _said(plan["data_limit_gb"]),
                "data_refueling_gb": _said(line["data_refueling_gb"]),
                "cycle_end_date": str(_NEXT - _DAY),
            }
        )

    @tool(writes=True)
    def refuel_data(self, customer_id: str, line_id: str, gb_amount: float) -> str:
        """Add data to a line for this billing cycle, at the price of its plan, on the next bill.

        Args:
            customer_id: Whose line it is.
            line_id: The line.
            gb_amount: How many gigabytes, more than 0.
        """
        line = self.line_of(customer_id, line_id)
        if gb_amount <= 0:
            raise ToolError("Refuel amount must be positive")
        price = _peek(self.plans, line["plan_id"], "Plan")["data_refueling_price_per_gb"]
        charge = gb_amount * price
        line = self.lines.row(line_id)
        line["data_refueling_gb"] += gb_amount
        self._charge(customer_id, charge, f"Data refueling: {gb_amount} GB at ${price}/GB")
        self.writes += 1
        added = f"Successfully added {gb_amount} GB of data for line {line_id} for ${charge:.2f}"
        now = _said(line["data_refueling_gb"])
        return json.dumps({"message": added, "new_data_refueling_gb": now, "charge": _said(charge)})

    @tool()
    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the customer over to a human, when asked for one or when neither you nor they can solve the
        case. Tell the customer afterwards.

        Args:
            summary: What the customer needs, in a sentence.
        """
        return "Transfer successful"

    def _charge(self, customer_id: str, amount: float, what: str) -> None:
        """Put a sum on the customer's next bill, which is begun if there is none."""
        held = self.customer(customer_id)["bill_ids"]
        drafts = (key for key in held if _peek(self.bills, key, "Bill")["status"] == "Draft")
        bill_id = next(drafts, None) or self._new_bill(customer_id)
        bill = self.bills.row(bill_id)
        kind = "Credit" if amount < 0 else "Charge"
        bill["line_items"].append(item(what, float(amount), kind))
        bill["total_due"] += amount

    def _new_bill(self, customer_id: str) -> str:
        seed = f"{self.salt}/{customer_id}/{len(self.bills)}"
        bill_id = f"B{hashlib.sha256(seed.encode()).hexdigest()[:8]}"
        dates = _NEXT, _AFTER - _DAY, _NEXT, _NEXT + _TWO_WEEKS
        self.add_bill(bill_id, customer_id, dates, "Draft")
        return bill_id

    # -- what both the tools and the tasks are made of -----------------------------------------------

    def customer(self, customer_id: Any) -> Row:
        """A customer, to read. Raises ToolError."""
        if not isinstance(customer_id, str) or customer_id not in self.customers:
            raise ToolError(f"Customer with ID {customer_id} not found")
        return self.customers.peek(customer_id)

    def owner(self, phone_number: Any) -> Row:
        """Whose number it is, to read. Raises ToolError."""
        for key in self.customers:
            customer = self.customers.peek(key)
            numbers = (_peek(self.lines, line_id, "Line")["phone_number"] for line_id in customer["line_ids"])
            if customer["phone_number"] == phone_number or phone_number in numbers:
                return customer
        raise ToolError(f"Customer with phone number {phone_number} not found")

    def customers_text(self, customer: Row) -> str:
        """A customer as the agent reads it."""
        return json.dumps(customer)

    def line_of(self, customer_id: Any, line_id: Any) -> Row:
        """One of a customer's lines, to read. Raises ToolError."""
        if line_id not in self.customer(customer_id)["line_ids"]:
            raise ToolError(f"Line {line_id} not found for customer {customer_id}")
        return _peek(self.lines, line_id, "Line")

    def line_at(self, phone_number: Any) -> Row:
        """The line with a number, to read. Raises ToolError."""
        for key in self.lines:
            if self.lines.peek(key)["phone_number"] == phone_number:
                return self.lines.peek(key)
        raise ToolError(f"Line with phone number {phone_number} not found")

    def awaiting(self, customer: Row) -> Iterator[Row]:
        """The customer's bills that they were asked to pay."""
        held = (_peek(self.bills, key, "Bill") for key in customer["bill_ids"])
        return (bill for bill in held if bill["status"] == "Awaiting Payment")

    def add_bill(self, bill_id: str, customer_id: str, dates: tuple[datetime.date, ...], status: str) -> Row:
        """A new bill of a customer with nothing on it. `dates`: first and last day, issue, due."""
        start, end, issue, due = map(str, dates)
        row: Row = {"bill_id": bill_id, "customer_id": customer_id, "period_start": start, "period_end": end}
        row |= {"issue_date": issue, "total_due": 0.0, "due_date": due, "line_items": [], "status": status}
        self.bills.add(bill_id, row)
        self.customers.row(customer_id)["bill_ids"].append(bill_id)
        return self.bills.row(bill_id)

    def settle(self) -> None:
        """Carry over from one side to the other: whether the line works and may roam, whether its data are
        used up, what is to be paid and what was.
        """
        phone_number = self.phone.peek("surroundings")["phone_number"]
        if phone_number is None:
            return
        line = self.line_at(phone_number)
        plan = _peek(self.plans, line["plan_id"], "Plan")
        now: Row = {
            "line_active": line["status"] == "Active",
            "roaming_allowed": bool(line["roaming_enabled"]),
            "mobile_data_usage_exceeded": line["data_used_gb"]
            >= plan["data_limit_gb"] + line["data_refueling_gb"],
        }
        request = self.phone.peek("surroundings")["payment_request"]
        if request is not None and request["paid"]:
            _peek(self.bills, request["bill_id"], "Bill")
            self.bills.row(request["bill_id"])["status"] = "Paid"
            request = None
        if request is None:
            bill = next(self.awaiting(self.owner(phone_number)), None)
            if bill is not None:
                request = {"bill_id": bill["bill_id"], "amount_due": bill["total_due"], "paid": False}
        now["payment_request"] = request
        seen = self.phone.peek("surroundings")
        if any(seen[key] != value for key, value in now.items()):
            self.phone.row("surroundings").update(copy_json(now))
            self.writes += 1


def item(description: str, amount: float, kind: str) -> Row:
    """A line of a bill, as of today."""
    return {"description": description, "amount": amount, "date": str(TODAY), "item_type": kind}


def last_month() -> tuple[datetime.date, ...]:
    """First and last day of last month, and when its bill was issued and due."""
    return _LAST, _FIRST - _DAY, _LAST, _LAST + _TWO_WEEKS


def _peek(table: Table, key: Any, kind: str) -> Row:
    """A row, to read. Raises ToolError."""
    if not isinstance(key, str) or key not in table:
        raise ToolError(f"{kind} with ID {key} not found")
    return table.peek(key)


def _said(value: Any) -> Any:
    """A number as a result tells it: as text."""
    return str(value) if isinstance(value, int | float) else value
