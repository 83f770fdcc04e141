"""The shop by the contract of τ²-bench, where it is not that of τ-bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from forge_envs.errors import ToolError
from forge_envs.tables import Row, copy_json
from forge_envs.tools import tool
from forge_envs.worlds.retail.tools import Shop


@dataclass(kw_only=True)
class Tau2Shop(Shop):
    """No thoughts; item by item; an order whose items were changed is still open to other changes."""

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

    def _swap(self, order: Row, item_ids: Sequence[str], new_item_ids: Sequence[str]) -> None:
        """As in τ²-bench: every changed item gets the price and options of the last new item."""
        if not item_ids:
            return
        lines = order["items"]
        # Looked up before anything moves: an earlier pair may take the last item's id.
        product_id = next(line for line in lines if line["item_id"] == item_ids[-1])["product_id"]
        last = self.database.products.rows[product_id]["variants"][new_item_ids[-1]]
        for item_id, new_item_id in zip(item_ids, new_item_ids, strict=True):
            line = next(line for line in lines if line["item_id"] == item_id)
            line |= {"item_id": new_item_id, "price": last["price"], "options": copy_json(last["options"])}
