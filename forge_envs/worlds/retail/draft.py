"""A task in the making: a customer, the orders written for it so far, and one goal of each kind."""

from __future__ import annotations

import functools
from collections.abc import Callable

from forge_envs.messages import ToolCall
from forge_envs.tables import Row
from forge_envs.worlds.desk.customer import listing
from forge_envs.worlds.desk.database import Dice, draw_address
from forge_envs.worlds.desk.draft import Draft, Redraw
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.retail.database import (
    STATUSES,
    database,
    draw_order,
    fresh_order_id,
    line,
)
from forge_envs.worlds.retail.goals import REASONS, truth_of


class ShopDraft(Draft):
    """A task in the making, with one goal of each kind."""

    package = __package__

    def __init__(self, size: str, dice: Dice) -> None:
        self.shop = database(size)
        self.spec = self.shop.size
        self.stock = _stock(size)
        super().__init__(
            size,
            dice,
            customers=_customers(size),
            users=self.shop.users.rows,
            held="orders",
            own_ids=self.spec.own_ids,
        )
        self.methods = list(self.user["payment_methods"].values())

    # -- rows and words ------------------------------------------------------------------------------

    def order(self, *statuses: str) -> Row:
        """A new order of the customer in one of the statuses."""
        status = self.dice.choice(statuses)
        if self.old_ids:
            order_id = self.old_ids.pop()
        else:
            order_id = fresh_order_id(self.dice, self.shop.orders.rows)
            if order_id in self.rows:
                raise Redraw
            self.user["orders"].append(order_id)
        row = draw_order(self.dice, self.spec, self.stock, self.user, self.customer_id, order_id, status)
        self.rows[order_id] = row
        return row

    def words(self, place: str, order_id: str = "", knows: bool = True) -> str:
        """The customer's line for a place."""
        name = f"order {order_id}" if knows else "one of my orders"
        if place == "stranger":
            name = order_id
        text = self.say(place, order=name)
        return text[0].upper() + text[1:]

    def goal(self, kind: str, order: Row, call: ToolCall | None, knows: bool = True, **details: str) -> Goal:
        """A goal about an order, in the customer's words."""
        order_id = order["order_id"]
        found = (
            f"It is order {order_id}." if knows else f"It is the order with the {order['items'][0]['name']}."
        )
        return Goal(
            kind,
            self.words(kind, order_id, knows),
            order_id,
            {"order": found, **details},
            call,
            knows_subject=knows,
        )

    # -- one goal of each kind -------------------------------------------------------------------------

    def fact(self, knows: bool = True) -> Goal:
        """Asks for one fact of an order."""
        fact = self.dice.choice(self.spec.facts)
        order = self.order(*(("delivered", "processed") if fact == "tracking" else STATUSES))
        place = "payment_fact" if fact == "payment" else fact
        order_id = order["order_id"]
        found = (
            f"It is order {order_id}." if knows else f"It is the order with the {order['items'][0]['name']}."
        )
        return Goal(
            "fact",
            self.words(place, order_id, knows),
            order_id,
            {"order": found},
            fact=fact,
            truth=truth_of(fact, order),
            knows_subject=knows,
        )

    def cancel(self, order: Row | None = None, knows: bool = True) -> Goal:
        """Cancels a pending order."""
        order = order or self.order("pending")
        reason = self.dice.choice(REASONS)
        said = f"It is {reason}." if reason == REASONS[0] else f"It was {reason}."
        call = ToolCall("cancel_pending_order", {"order_id": order["order_id"], "reason": reason})
        return self.goal("cancel", order, call, knows, reason=said)

    def _new_address(self) -> tuple[dict[str, str], str]:
        drawn = draw_address(self.dice, self.spec.second_line)
        address = {key: drawn[key] for key in ("address1", "address2", "city", "state", "country", "zip")}
        lines = [drawn[key] for key in ("address1", "address2", "city", "state") if drawn[key]]
        return address, f"{', '.join(lines)} {drawn['zip']}, {drawn['country']}."

    def address(self, order: Row | None = None, knows: bool = True) -> Goal:
        """Sends a pending order elsewhere."""
        order = order or self.order("pending")
        address, said = self._new_address()
        call = ToolCall("modify_pending_order_address", {"order_id": order["order_id"], **address})
        return self.goal("address", order, call, knows, address=said)

    def home(self) -> Goal:
        """Changes the customer's default address."""
        address, said = self._new_address()
        call = ToolCall("modify_user_address", {"user_id": self.customer_id, **address})
        return Goal("home", self.words("home"), "", {"address": said}, call)

    def payment(self, order: Row | None = None, knows: bool = True) -> Goal:
        """Pays a pending order with another method."""
        if len(self.methods) < 2:
            raise Redraw
        order = order or self.order("pending")
        paid = order["payment_history"][0]["payment_method_id"]
        method = self.dice.choice([method for method in self.methods if method["id"] != paid])
        call = ToolCall(
            "modify_pending_order_payment",
            {"order_id": order["order_id"], "payment_method_id": method["id"]},
        )
        return self.goal("payment", order, call, knows, payment=f"Use my {_source(method)}.")

    def _swap(self, kind: str, tool: str, order: Row, knows: bool) -> Goal:
        """New options for one or two items of an order."""
        items = self.dice.sample(order["items"], 1 + self.dice.below(min(2, len(order["items"]))))
        new_ids, wishes = [], []
        for item in items:
            variants = self.shop.products.rows[item["product_id"]]["variants"]
            options = [key for key, row in variants.items() if row["available"] and key != item["item_id"]]
            if not options:
                raise Redraw
            new_ids.append(self.dice.choice(options))
            new = line(self.shop.products.rows[item["product_id"]], new_ids[-1])["options"]
            changes = [f"{key} {value}" for key, value in new.items() if value != item["options"][key]]
            wishes.append(f"the {item['name']}, with {listing(changes)}")
        method = self.dice.choice(self.methods)
        arguments = {
            "order_id": order["order_id"],
            "item_ids": [item["item_id"] for item in items],
            "new_item_ids": new_ids,
            "payment_method_id": method["id"],
        }
        wish = "; ".join(wishes)
        return self.goal(
            kind,
            order,
            ToolCall(tool, arguments),
            knows,
            items=f"{wish[0].upper()}{wish[1:]}.",
            payment=f"Use my {_source(method)}.",
        )

    def modify(self, order: Row | None = None, knows: bool = True) -> Goal:
        """Changes items of a pending order."""
        return self._swap("modify", "modify_pending_order_items", order or self.order("pending"), knows)

    def exchange(self, order: Row | None = None, knows: bool = True) -> Goal:
        """Exchanges items of a delivered order."""
        order = order or self.order("delivered")
        return self._swap("exchange", "exchange_delivered_order_items", order, knows)

    def giving_back(self, order: Row | None = None, knows: bool = True) -> Goal:
        """Returns items of a delivered order."""
        order = order or self.order("delivered")
        items = self.dice.sample(order["items"], 1 + self.dice.below(len(order["items"])))
        paid = order["payment_history"][0]["payment_method_id"]
        allowed = [row for row in self.methods if row["id"] == paid or row["source"] == "gift_card"]
        method = self.dice.choice(allowed)
        arguments = {
            "order_id": order["order_id"],
            "item_ids": [item["item_id"] for item in items],
            "payment_method_id": method["id"],
        }
        names = listing([f"the {item['name']}" for item in items])
        return self.goal(
            "return",
            order,
            ToolCall("return_delivered_order_items", arguments),
            knows,
            items=f"T{names[1:]}.",
            payment=f"Use my {_source(method)}.",
        )

    def write(self, knows: bool = True) -> Goal:
        """Any write that takes arguments."""
        makers = [self.address, self.payment, self.modify, self.exchange, self.giving_back]
        n = self.dice.below(len(makers) + knows)
        return self.home() if n == len(makers) else makers[n](None, knows)

    # -- what the policy forbids -------------------------------------------------------------------------

    def forbidden(self) -> Goal:
        """Something the policy forbids."""
        choice = self.dice.below(4)
        insists = self.dice.chance(0.5)
        if choice == 0:
            order_id = self.dice.choice(_order_ids(self.size))
            if self.shop.orders.rows[order_id]["user_id"] == self.customer_id:
                raise Redraw
            said = self.words("stranger", order_id)
            details = {"order": f"It is order {order_id}."}
            return Goal("fact", said, order_id, details, fact="status", truth="refused", insists=insists)
        makers: tuple[tuple[Callable[..., Goal], tuple[str, ...]], ...] = (
            (self.cancel, ("delivered", "processed")),
            (self.giving_back, ("pending", "processed")),
            (self.address, ("delivered", "processed")),
        )
        maker, statuses = makers[choice - 1]
        wish = maker(self.order(*statuses))
        return Goal(
            wish.kind,
            wish.request,
            wish.subject,
            wish.details,
            wish.call,
            truth="refused",
            insists=insists,
        )


def _source(method: Row) -> str:
    return str(method["source"]).replace("_", " ")


@functools.cache
def _stock(size: str) -> list[Row]:
    return list(database(size).products.rows.values())


@functools.cache
def _customers(size: str) -> list[str]:
    return list(database(size).users.rows)


@functools.cache
def _order_ids(size: str) -> list[str]:
    return list(database(size).orders.rows)
