"""What the agent can do in the shop: sixteen tools with τ-bench's names, arguments, effects and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from forge_envs.errors import ToolError
from forge_envs.tables import Row, Table, copy_json
from forge_envs.tools import tool
from forge_envs.worlds.desk.tools import ServiceDesk
from forge_envs.worlds.retail.database import ShopDatabase


@dataclass(kw_only=True)
class Shop(ServiceDesk):
    """One episode's shop; its methods are the tools.

    Source of every effect: τ-bench v1, retail. Its roundings are kept even where they look accidental,
    since a database is compared by its exact numbers.
    """

    database: ShopDatabase
    users: Table
    orders: Table
    tables: ClassVar[tuple[str, ...]] = ("users", "orders")
    record: ClassVar[tuple[str, str]] = ("order_id", "orders")
    finders: ClassVar[frozenset[str]] = frozenset({"find_user_id_by_email", "find_user_id_by_name_zip"})
    keeps_items: ClassVar[bool] = True
    """Whether an item of a pending order may be modified into itself."""

    @tool()
    def find_user_id_by_email(self, email: str) -> str:
        """Look up a customer's user id by email address. Try this before name and zip code.

        Args:
            email: The customer's email address, e.g. 'name@example.com'.
        """
        user_id = self.database.by_email.get(email.lower())
        if user_id is None:
            raise ToolError("no user has this email")
        return user_id

    @tool()
    def find_user_id_by_name_zip(self, first_name: str, last_name: str, zip: str) -> str:
        """Look up a customer's user id by full name and zip code, for those who cannot give an email.

        Args:
            first_name: First name, e.g. 'Ann'.
            last_name: Last name, e.g. 'Smith'.
            zip: Zip code of the customer's address, e.g. '02139'.
        """
        for user_id in self.database.by_name.get((first_name.lower(), last_name.lower()), ()):
            if self.users.peek(user_id)["address"]["zip"] == zip:
                return user_id
        raise ToolError("no user has this name and zip code")

    @tool()
    def get_user_details(self, user_id: str) -> str:
        """Read a customer's profile: name, address, email, payment methods, order ids.

        Args:
            user_id: The user id, e.g. 'ann_smith_123'.
        """
        if user_id not in self.users:
            raise ToolError("there is no such user")
        return self.users.text(user_id)

    @tool()
    def get_order_details(self, order_id: str) -> str:
        """Read an order: its status, items, address, shipments and payments.

        Args:
            order_id: The order id with its leading '#', e.g. '#W0000000'.
        """
        if order_id not in self.orders:
            raise ToolError("there is no such order")
        return self.orders.text(order_id)

    @tool()
    def get_product_details(self, product_id: str) -> str:
        """Read a product: all its items with their options, prices and availability.

        Args:
            product_id: The product id (not an item id), e.g. '1234567890'.
        """
        if product_id not in self.database.products.rows:
            raise ToolError("there is no such product")
        return Table(self.database.products).text(product_id)

    @tool()
    def list_all_product_types(self) -> str:
        """List the names of all products with their product ids."""
        return self.database.product_list

    @tool(writes=True)
    def cancel_pending_order(
        self, order_id: str, reason: Literal["no longer needed", "ordered by mistake"]
    ) -> str:
        """Cancel a pending order and refund it; say so to the customer and get a 'yes' first. A gift card is
        refunded at once, other methods in 5 to 7 business days.

        Args:
            order_id: The order id with its leading '#', e.g. '#W0000000'.
            reason: Why the customer cancels.
        """
        self._look(order_id, "pending")
        if reason not in ("no longer needed", "ordered by mistake"):
            raise ToolError(f"{reason!r} is no reason to cancel")
        order = self.orders.row(order_id)
        order["status"] = "cancelled"
        order["cancel_reason"] = reason
        refunds = []
        for payment in order["payment_history"]:
            method, amount = payment["payment_method_id"], payment["amount"]
            refunds.append(self._transaction("refund", amount, method))
            if "gift_card" in method:
                self._add_balance(order["user_id"], method, amount)
        order["payment_history"].extend(refunds)
        return self._done(order)

    @tool(writes=True)
    def modify_pending_order_address(
        self, order_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str
    ) -> str:
        """Ship a pending order to another address; list the change to the customer and get a 'yes' first.

        Args:
            order_id: The order id with its leading '#', e.g. '#W0000000'.
            address1: First line of the address, e.g. '12 Main Street'.
            address2: Second line, e.g. 'Apt 3', or ''.
            city: City.
            state: State, e.g. 'CA'.
            country: Country, e.g. 'USA'.
            zip: Zip code, e.g. '02139'.
        """
        self._look_open(order_id)
        address = self._address(address1, address2, city, state, country, zip)
        order = self.orders.row(order_id)
        order["address"] = address
        return self._done(order)

    @tool(writes=True)
    def modify_pending_order_payment(self, order_id: str, payment_method_id: str) -> str:
        """Pay a pending order with another method of the customer; list the change and get a 'yes' first.

        Args:
            order_id: The order id with its leading '#', e.g. '#W0000000'.
            payment_method_id: The new method, from the customer's profile, e.g. 'gift_card_0000000'.
        """
        order = self._look_open(order_id)
        method = self._method(order["user_id"], payment_method_id)
        history = order["payment_history"]
        if len(history) != 1 or history[0]["transaction_type"] != "payment":
            raise ToolError("the order must have exactly one payment and nothing else")
        amount, old = history[0]["amount"], history[0]["payment_method_id"]
        if old == payment_method_id:
            raise ToolError("the order is already paid with this method")
        _check_balance(method, amount)
        order = self.orders.row(order_id)
        order["payment_history"] += [
            self._transaction("payment", amount, payment_method_id),
            self._transaction("refund", amount, old),
        ]
        if method["source"] == "gift_card":
            self._add_balance(order["user_id"], payment_method_id, -amount)
        if "gift_card" in old:
            self._add_balance(order["user_id"], old, amount)
        return self._done(order)

    @tool(writes=True)
    def modify_pending_order_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> str:
        """Change items of a pending order to other items of the same products; possible once per order, so
        collect all changes, list them to the customer and get a 'yes' first.

        Args:
            order_id: The order id with its leading '#', e.g. '#W0000000'.
            item_ids: Items to change, e.g. ['1234567890']; an id may occur more than once.
            new_item_ids: The items to change them to, in the same order.
            payment_method_id: Pays or receives the difference in price, e.g. 'gift_card_0000000'.
        """
        order = self._look(order_id, "pending")
        if not self.keeps_items and any(old == new for old, new in zip(item_ids, new_item_ids, strict=False)):
            raise ToolError("a new item is the item it replaces")
        difference = self._difference(order, item_ids, new_item_ids)
        method = self._method(order["user_id"], payment_method_id)
        _check_balance(method, difference)
        order = self.orders.row(order_id)
        kind = "payment" if difference > 0 else "refund"
        # Not rounded, as in τ-bench.
        order["payment_history"].append(self._transaction(kind, abs(difference), payment_method_id))
        if method["source"] == "gift_card":
            self._add_balance(order["user_id"], payment_method_id, -difference)
        self._swap(order, item_ids, new_item_ids)
        order["status"] = "pending (item modified)"
        return self._done(order)

    @tool(writes=True)
    def modify_user_address(
        self, user_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str
    ) -> str:
        """Change a customer's default address; list the change to the customer and get a 'yes' first.

        Args:
            user_id: The user id, e.g. 'ann_smith_123'.
            address1: First line of the address, e.g. '12 Main Street'.
            address2: Second line, e.g. 'Apt 3', or ''.
            city: City.
            state: State, e.g. 'CA'.
            country: Country, e.g. 'USA'.
            zip: Zip code, e.g. '02139'.
        """
        if user_id not in self.users:
            raise ToolError("there is no such user")
        address = self._address(address1, address2, city, state, country, zip)
        self.users.row(user_id)["address"] = address
        self.writes += 1
        return self.users.text(user_id)

    @tool(writes=True)
    def return_delivered_order_items(self, order_id: str, item_ids: list[str], payment_method_id: str) -> str:
        """Request the return of items of a delivered order, once per order; list it to the customer and get a
        'yes' first.

        Args:
            order_id: The order id with its leading '#', e.g. '#W0000000'.
            item_ids: Items to return, e.g. ['1234567890']; an id may occur more than once.
            payment_method_id: Receives the refund: the order's original method or a gift card.
        """
        order = self._look(order_id, "delivered")
        self._method(order["user_id"], payment_method_id)
        original = order["payment_history"][0]["payment_method_id"]
        if "gift_card" not in payment_method_id and payment_method_id != original:
            raise ToolError("a refund goes to the order's original payment method or to a gift card")
        _check_items(order, item_ids)
        order = self.orders.row(order_id)
        order["status"] = "return requested"
        order["return_items"] = sorted(item_ids)
        order["return_payment_method_id"] = payment_method_id
        return self._done(order)

    @tool(writes=True)
    def exchange_delivered_order_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> str:
        """Request the exchange of items of a delivered order for others of the same products, once per order;
        list all of it to the customer and get a 'yes' first.

        Args:
            order_id: The order id with its leading '#', e.g. '#W0000000'.
            item_ids: Items to give back, e.g. ['1234567890']; an id may occur more than once.
            new_item_ids: The items to receive for them, in the same order.
            payment_method_id: Pays or receives the difference in price, e.g. 'gift_card_0000000'.
        """
        order = self._look(order_id, "delivered")
        difference = round(self._difference(order, item_ids, new_item_ids), 2)
        _check_balance(self._method(order["user_id"], payment_method_id), difference)
        order = self.orders.row(order_id)
        order["status"] = "exchange requested"
        order["exchange_items"] = sorted(item_ids)
        order["exchange_new_items"] = sorted(new_item_ids)
        order["exchange_payment_method_id"] = payment_method_id
        order["exchange_price_difference"] = difference
        return self._done(order)

    # -- what several tools share ----------------------------------------------------------------

    def _look(self, order_id: str, status: str) -> Row:
        """The order, to read only, if it is in this very status; nothing is copied for a refused call."""
        if order_id not in self.orders:
            raise ToolError("there is no such order")
        order = self.orders.peek(order_id)
        if order["status"] != status:
            raise ToolError(f"the order is {order['status']}, not {status}")
        return order

    def _look_open(self, order_id: str) -> Row:
        """The order, to read only, if its address and payment may still change."""
        return self._look(order_id, "pending")

    def _swap(self, order: Row, item_ids: Sequence[str], new_item_ids: Sequence[str]) -> None:
        """Put the new items into the order, pair by pair."""
        for item_id, new_item_id in zip(item_ids, new_item_ids, strict=True):
            item = _first(order, item_id)
            variant = self.database.products.rows[item["product_id"]]["variants"][new_item_id]
            item["item_id"] = new_item_id
            item["price"] = variant["price"]
            item["options"] = copy_json(variant["options"])

    def _transaction(self, kind: str, amount: float, method_id: str) -> Row:
        return {"transaction_type": kind, "amount": amount, "payment_method_id": method_id}

    def _address(
        self, address1: str, address2: str, city: str, state: str, country: str, zip_code: str
    ) -> Row:
        return {
            "address1": address1,
            "address2": address2,
            "city": city,
            "state": state,
            "country": country,
            "zip": zip_code,
        }

    def _done(self, order: Row) -> str:
        self.writes += 1
        return self.orders.text(order["order_id"])

    def _method(self, user_id: str, method_id: str) -> Row:
        method: Row | None = self.users.peek(user_id)["payment_methods"].get(method_id)
        if method is None:
            raise ToolError("the customer has no such payment method")
        return method

    def _add_balance(self, user_id: str, method_id: str, amount: float) -> None:
        method = self.users.row(user_id)["payment_methods"][method_id]
        method["balance"] = round(method["balance"] + amount, 2)

    def _difference(self, order: Row, item_ids: Sequence[str], new_item_ids: Sequence[str]) -> float:
        """What the new items cost more than the old ones, summed pair by pair."""
        _check_items(order, item_ids)
        if len(item_ids) != len(new_item_ids):
            raise ToolError("item_ids and new_item_ids differ in length")
        total: float = 0
        for item_id, new_item_id in zip(item_ids, new_item_ids, strict=True):
            item = _first(order, item_id)
            variants = self.database.products.rows[item["product_id"]]["variants"]
            if new_item_id not in variants or not variants[new_item_id]["available"]:
                raise ToolError(f"item {new_item_id} is not available or not the same product")
            total += variants[new_item_id]["price"] - item["price"]
        return total


def _first(order: Row, item_id: str) -> Row:
    """The first item of an order with this id. An earlier change of the same call may have taken it away."""
    for item in order["items"]:
        if item["item_id"] == item_id:
            found: Row = item
            return found
    raise ToolError(f"item {item_id} is not in the order")


def _check_items(order: Row, item_ids: Sequence[str]) -> None:
    held = [item["item_id"] for item in order["items"]]
    for item_id in item_ids:
        if item_ids.count(item_id) > held.count(item_id):
            raise ToolError(f"item {item_id} is not in the order, or not that often")


def _check_balance(method: Row, amount: float) -> None:
    if method["source"] == "gift_card" and method["balance"] < amount:
        raise ToolError("the gift card's balance is too low")
