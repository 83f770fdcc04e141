"""The exemplary agent: what it says and does for a task, step by step, and proof that this works."""

from __future__ import annotations

from forge_envs.errors import ToolError
from forge_envs.messages import ToolCall
from forge_envs.tables import Row, Table
from forge_envs.worlds.desk.goals import Goal, Key
from forge_envs.worlds.desk.wording import listing
from forge_envs.worlds.retail import wording
from forge_envs.worlds.retail.customer import Customer
from forge_envs.worlds.retail.database import Database
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


def gold_actions(task: RetailTask, database: Database, voice: int) -> list[str | ToolCall]:
    """Prose and calls, one a turn, that meet all goals of the task."""
    return _Gold(task, database, voice).play()


class _Gold:
    def __init__(self, task: RetailTask, database: Database, voice: int) -> None:
        self.task = task
        self.database = database
        self.voice = voice
        self.tiny = task.size == "tiny"
        self.actions: list[str | ToolCall] = []
        self.profile_read = False
        self.orders_read: set[str] = set()

    def play(self) -> list[str | ToolCall]:
        for n, goal in enumerate(self.task.goals):
            self._meet(goal, first=n == 0)
        return self.actions

    def _say(self, place: str, **words: str) -> None:
        self.actions.append(wording.choose(place, self.voice + 7 * len(self.actions), self.tiny, **words))

    def _call(self, name: str, **arguments: object) -> None:
        self.actions.append(ToolCall(name, arguments))

    def _meet(self, goal: Goal, *, first: bool) -> None:
        self._ask(goal, first)
        if first:
            self._identify()
        if not self.profile_read and (not goal.knows_subject or "payment" in goal.details):
            self._call("get_user_details", user_id=self.task.customer_id)
            self.profile_read = True
        if goal.subject:
            self._read_order(goal)
        if goal.fact:
            self._tell(goal) if not goal.forbidden else self._refuse(goal)
        elif goal.forbidden:
            self._refuse(goal)
        else:
            self._write(goal)

    def _ask(self, goal: Goal, first: bool) -> None:
        needs = ["email" if self.tiny and self.task.email else "identity"] if first else []
        if not goal.knows_subject:
            needs.append("order")
        if not goal.forbidden:
            needs += _NEEDS[goal.kind]
        if needs:
            self._say("ask", needs=listing([wording.TOPICS[need] for need in needs]))

    def _identify(self) -> None:
        if self.task.email:
            self._call("find_user_id_by_email", email=self.task.email)
        else:
            first, last = self.task.name.split(" ", 1)
            self._call("find_user_id_by_name_zip", first_name=first, last_name=last, zip=self.task.zip)

    def _read_order(self, goal: Goal) -> None:
        """Read the goal's order; when its number is unknown, read the customer's orders until it is found."""
        ids = [goal.subject]
        if not goal.knows_subject:
            ids = self.task.users.rows[self.task.customer_id]["orders"]
            ids = ids[: ids.index(goal.subject) + 1]
        for order_id in ids:
            if order_id not in self.orders_read:
                self._call("get_order_details", order_id=order_id)
                self.orders_read.add(order_id)
        if goal.call is not None and "new_item_ids" in goal.call.arguments:
            held = {
                item["item_id"]: item["product_id"] for item in self.task.orders.rows[goal.subject]["items"]
            }
            for item_id in goal.call.arguments["item_ids"]:
                self._call("get_product_details", product_id=held[item_id])

    def _tell(self, goal: Goal) -> None:
        order = self.task.orders.rows[goal.subject]
        self._say(f"tell_{goal.fact}", **self._words(goal, order), truth=goal.truth)

    def _refuse(self, goal: Goal) -> None:
        order = self.task.orders.rows[goal.subject]
        self._say(f"no_{goal.kind}", id=goal.subject, status=order["status"])
        if goal.insists:
            self._say("still_no")

    def _write(self, goal: Goal) -> None:
        assert goal.call is not None
        order = self.task.orders.rows[goal.subject] if goal.subject else {}
        words = self._words(goal, order)
        self._say(f"confirm_{goal.kind}", **words)
        if not goal.withdrawn:
            self.actions.append(goal.call)
            self._say(f"did_{goal.kind}", **words)

    def _words(self, goal: Goal, order: Row) -> dict[str, str]:
        """All that sentences about a goal may mention."""
        arguments = goal.call.arguments if goal.call else {}
        words = {"id": goal.subject, "reason": arguments.get("reason", "")}
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


def rehearse(task: RetailTask, database: Database) -> dict[Key, Row] | None:
    """Play a task's gold against its customer: the rows it changes, or None if it does not earn 1.0."""
    shop = Shop(database=database, users=Table(task.users), orders=Table(task.orders))
    customer = Customer(task)
    for n, action in enumerate(task.gold):
        if isinstance(action, str):
            left = customer.reply(action) is None
            if left != (n == len(task.gold) - 1):
                return None
            continue
        try:
            getattr(shop, action.name)(**action.arguments)
        except ToolError:
            return None
    return shop.changed_rows() if customer.told == task.to_tell else None
