"""The retail domain of τ-bench and τ²-bench: the tools of our shop, as each benchmark's own code has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from forge_envs.errors import ToolError
from forge_envs.tables import Base, Row, Table, copy_json
from forge_envs.tools import tool
from forge_envs.worlds.desk.tools import ServiceDesk
from forge_envs.worlds.retail.database import make_database
from forge_envs.worlds.retail.tools import Shop
from forge_envs.worlds.tau.domain import Contract, Domain
from forge_envs.worlds.tau.tools import python_sum, same_tool


@dataclass(kw_only=True)
class Tau1Shop(Shop):
    """The shop by τ-bench's contract, which stores whatever it is given."""

    @same_tool(ServiceDesk.calculate)
    def calculate(self, expression: str) -> str:
        """As Python counts."""
        return python_sum(expression)


@dataclass(kw_only=True)
class Tau2Shop(Tau1Shop):
    """The shop by τ²-bench's contract: no thoughts; item by item; an order whose items were changed is still
    open to other changes; addresses are text and amounts are floats.
    """

    keeps_items: ClassVar[bool] = False
    think = None  # type: ignore[assignment]  # takes the tool away

    @tool()
    def get_item_details(self, item_id: str) -> str:
        """Read one item of a product: its options, price and availability.

        Args:
            item_id: The item id (not a product id), e.g. '1234567890'.
        """
        for product in self.database.products.rows.values():
            if item_id in product["variants"]:
                return json.dumps(product["variants"][item_id], ensure_ascii=False)
        raise ToolError("there is no such item")

    @tool()
    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the customer over to a human, when asked for one or when no tool can solve the case. Tell the
        customer afterwards.

        Args:
            summary: What the customer needs, in a sentence.
        """
        return "The customer is being handed over to a human agent."

    def _look_open(self, order_id: str) -> Row:
        if order_id not in self.orders:
            raise ToolError("there is no such order")
        order = self.orders.peek(order_id)
        if "pending" not in order["status"]:
            raise ToolError(f"the order is {order['status']}, not pending")
        return order

    def _transaction(self, kind: str, amount: float, method_id: str) -> Row:
        return super()._transaction(kind, float(amount), method_id)

    def _address(self, *lines: str) -> Row:
        if not all(isinstance(line, str) for line in lines):
            raise ToolError("every line of an address is text")
        return super()._address(*lines)

    def _swap(self, order: Row, item_ids: Sequence[str], new_item_ids: Sequence[str]) -> None:
        """As in τ²-bench: every changed item gets the price and options of the last new item."""
        lines, last = order["items"], {}
        # Looked up before anything moves: an earlier pair may take the last item's id.
        for item_id, new_item_id in zip(item_ids, new_item_ids, strict=True):
            product_id = next(line for line in lines if line["item_id"] == item_id)["product_id"]
            last = self.database.products.rows[product_id]["variants"][new_item_id]
        for item_id, new_item_id in zip(item_ids, new_item_ids, strict=True):
            line = next(line for line in lines if line["item_id"] == item_id)
            line |= {"item_id": new_item_id, "price": last["price"], "options": copy_json(last["options"])}


def _shop(kind: type[Shop]) -> Contract:
    def prepare(tables: Mapping[str, Base]) -> Callable[[], Shop]:
        database = make_database(tables["users"], tables["orders"], tables["products"])
        return lambda: kind(database=database, users=Table(database.users), orders=Table(database.orders))

    return Contract(tools=kind, prepare=prepare, changing=("users", "orders"))


RETAIL = Domain(
    name="retail",
    address=f"{__name__}:RETAIL",
    fields={
        "users": ("name", "address", "email", "payment_methods", "orders"),
        "orders": ("order_id", "user_id", "address", "items", "fulfillments", "status", "payment_history"),
        "products": ("name", "product_id", "variants"),
    },
    nulls={
        "orders": (
            "cancel_reason",
            "exchange_items",
            "exchange_new_items",
            "exchange_payment_method_id",
            "exchange_price_difference",
            "return_items",
            "return_payment_method_id",
        )
    },
    contracts={"tau1": _shop(Tau1Shop), "tau2": _shop(Tau2Shop)},
)
