"""The exemplary agent of a shop: what it says and does for a task, and proof that this works."""

from __future__ import annotations

from forge_envs.messages import ToolCall
from forge_envs.tables import Row, Table
from forge_envs.tools import tools_of
from forge_envs.worlds.desk import gold
from forge_envs.worlds.desk.customer import listing
from forge_envs.worlds.desk.goals import Goal, Key
from forge_envs.worlds.retail.customer import ShopCustomer
from forge_envs.worlds.retail.database import ShopDatabase
from forge_envs.worlds.retail.goals import RetailTask
from forge_envs.worlds.retail.tools import Shop

_NEEDS = {
    "fact": (),
    "cancel": ("reason",),
    "address": ("address",),
    "home": ("address",),
    "payment": ("payment",),
    "modify": ("options", "payment"),
    "exchange": ("options", "payment"),
    "return": ("items", "refund"),
}
TOPICS = {
    "email": "your email",
    "identity": "your email (or name and zip code)",
    "order": "the order number",
    "reason": "the reason",
    "address": "the new address",
    "payment": "the payment method",
    "refund": "the payment method for the refund",
    "items": "the item",
    "options": "the item and the options you want",
}
"""What the agent asks for, in words."""
_TOOLS = tools_of(Shop)


def gold_actions(task: RetailTask, database: ShopDatabase, voice: int) -> list[str | ToolCall]:
    """Prose and calls, one a turn, that meet all goals of the task."""
    return _Gold(task, database, voice).play()


class _Gold(gold.Exemplar[RetailTask]):
    record = Shop.record
    reader = "get_order_details"
    package = __package__
    topics = TOPICS

    def __init__(self, task: RetailTask, database: ShopDatabase, voice: int) -> None:
        super().__init__(task, voice)
        self.database = database

    def needs(self, goal: Goal, *, first: bool) -> list[str]:
        """The customer's identity at first, the order, and what the kind of request takes."""
        needs = ["email" if self.tiny and self.task.email else "identity"] if first else []
        if not goal.knows_subject:
            needs.append("order")
        if not goal.forbidden:
            needs += _NEEDS[goal.kind]
        return needs

    def look_up(self, goal: Goal, *, first: bool) -> None:
        """Find the customer at first; then the profile, the order and products as far as they matter."""
        if first:
            self._identify()
        if not goal.knows_subject or "payment" in goal.details:
            self.read_profile()
        self.read_subject(goal)
        if goal.call is not None and "new_item_ids" in goal.call.arguments:
            held = {item["item_id"]: item["product_id"] for item in self.subject(goal)["items"]}
            for item_id in goal.call.arguments["item_ids"]:
                self.call("get_product_details", product_id=held[item_id])

    def _identify(self) -> None:
        if self.task.email:
            self.call("find_user_id_by_email", email=self.task.email)
        else:
            first, last = self.task.name.split(" ", 1)
            self.call("find_user_id_by_name_zip", first_name=first, last_name=last, zip=self.task.zip)

    def words_of_refusal(self, goal: Goal) -> dict[str, str]:
        """The order, and how it stands."""
        return {"id": goal.subject, "status": self.subject(goal)["status"]}

    def words(self, goal: Goal) -> dict[str, str]:
        """All that sentences about a goal may mention."""
        order = self.subject(goal)
        arguments = goal.call.arguments if goal.call else {}
        words = {"id": goal.subject, "truth": goal.truth, "reason": arguments.get("reason", "")}
        if "address1" in arguments:
            parts = [arguments[key] for key in ("address1", "address2", "city", "state")]
            words["address"] = ", ".join(part for part in parts if part) + f" {arguments['zip']}"
        if order:
            payment = order["payment_history"][0]
            words |= {"old": payment["payment_method_id"], "amount": self._money(payment["amount"])}
            words["source"] = words["old"].rsplit("_", 1)[0].replace("_", " ")
            words["city"] = order["address"]["city"]
        words["method"] = arguments.get("payment_method_id", words.get("old", ""))
        if "item_ids" in arguments:
            held = {item["item_id"]: item for item in order["items"]}
            items = [held[item_id] for item_id in arguments["item_ids"]]
            words["items"] = listing([f"{item['name']} {item['item_id']}" for item in items])
            if "new_item_ids" in arguments:
                words |= self._swaps(items, arguments["new_item_ids"])
        return words

    def _swaps(self, items: list[Row], new_ids: list[str]) -> dict[str, str]:
        """The exchange of items in words: looks up what the agent must have looked up."""
        parts, difference = [], 0.0
        for item, new_id in zip(items, new_ids, strict=True):
            variant = self.database.products.rows[item["product_id"]]["variants"][new_id]
            difference += variant["price"] - item["price"]
            parts.append(f"{item['name']} {item['item_id']} for {new_id}")
        return {"swaps": listing(parts), "amount": self._money(round(difference, 2))}

    def _money(self, amount: float) -> str:
        return f"{amount:.2f}" if self.tiny else f"{'-' if amount < 0 else ''}${abs(amount):.2f}"


def rehearse(task: RetailTask, database: ShopDatabase) -> dict[Key, Row] | None:
    """Play a task's gold against its customer: the rows it changes, or None if it does not earn 1.0."""
    shop = Shop(database=database, users=Table(task.users), orders=Table(task.orders))
    return gold.rehearse(task, ShopCustomer(task), shop, _TOOLS)
