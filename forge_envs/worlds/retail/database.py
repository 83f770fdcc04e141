"""A shop drawn from a seed: users, products, orders, in τ-bench's row formats.

The same size gives the same shop on every machine. It is drawn at first use and shared by all episodes.
"""

from __future__ import annotations

import functools
import itertools
import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from forge_envs.tables import Base, Row
from forge_envs.worlds.desk.database import Dice, draw_address, people


@dataclass(frozen=True)
class Product:
    """What a product may be like."""

    price: int
    """The usual one."""
    options: dict[str, tuple[str, ...]]
    """Option name -> its values."""


@dataclass(frozen=True)
class Catalog:
    """All words a shop is drawn from."""

    products: dict[str, Product]


@functools.cache
def catalog() -> Catalog:
    """The words, read once."""
    text = resources.files(__package__).joinpath("catalog.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    palettes = {key: (option, tuple(values)) for key, (option, values) in data["palettes"].items()}
    return Catalog(
        {
            name: Product(price, dict(palettes[key] for key in keys.split()))
            for name, (price, keys) in data["products"].items()
        },
    )


STATUSES = ("pending", "delivered", "processed", "cancelled")


@dataclass(frozen=True)
class ShopSize:
    """How large a shop is and how long its rows are."""

    users: int
    orders: int
    products: int
    options: int
    """Option names per product, at most."""
    variants: tuple[int, int]
    """Fewest and most variants of a product."""
    items: tuple[float, ...]
    """Chances of 1, 2, … items in an order."""
    second_line: float
    """Chance that an address has a second line."""
    own_ids: bool
    """Tasks write their orders under the shop's own order ids first, so that few ids ever occur."""
    facts: tuple[str, ...] = ("status", "total", "tracking", "payment", "city")
    """What customers ask about an order."""


SIZES = {
    "full": ShopSize(500, 1000, 50, 3, (8, 20), (0.2, 0.22, 0.19, 0.18, 0.21), 0.7, False),
    "small": ShopSize(50, 100, 12, 2, (5, 9), (0.4, 0.35, 0.25), 0.5, False),
    "tiny": ShopSize(20, 40, 6, 1, (4, 4), (0.95, 0.05), 0.0, True, ("status", "payment")),
}


@dataclass(frozen=True)
class ShopDatabase:
    """A shop: the rows all episodes share, and the indexes the tools look things up in."""

    size: ShopSize
    users: Base
    orders: Base
    products: Base
    by_email: dict[str, str]
    by_name: dict[tuple[str, str], list[str]]
    product_list: str
    """Product names and ids as JSON, by name."""

    def __reduce__(self) -> tuple[Callable[..., ShopDatabase], tuple[Base, Base, Base, ShopSize]]:
        return make_database, (self.users, self.orders, self.products, self.size)


@functools.lru_cache(maxsize=8)
def make_database(users: Base, orders: Base, products: Base, size: ShopSize = SIZES["full"]) -> ShopDatabase:
    """A shop of these rows, with its indexes. The first user of an email is found."""
    by_email: dict[str, str] = {}
    by_name: dict[tuple[str, str], list[str]] = {}
    for user_id, user in users.rows.items():
        name = user["name"]
        by_email.setdefault(user["email"].lower(), user_id)
        key = (name["first_name"].lower(), name["last_name"].lower())
        by_name.setdefault(key, []).append(user_id)
    names = {product["name"]: product["product_id"] for product in products.rows.values()}
    listing = json.dumps(dict(sorted(names.items())), ensure_ascii=False)
    return ShopDatabase(size, users, orders, products, by_email, by_name, listing)


@functools.cache
def database(size: str) -> ShopDatabase:
    """The shop of a size: "full", "small" or "tiny"."""
    spec = SIZES[size]
    dice = Dice(20_251_107, list(SIZES).index(size))
    products = {row["product_id"]: row for row in _products(dice, spec)}
    users = {row[0]: row[1] for row in _users(dice, spec)}
    stock = list(products.values())
    ids = list(users)
    orders: dict[str, Row] = {}
    for n in range(spec.orders):
        user_id = ids[n % len(ids)] if spec.own_ids or n < len(ids) else dice.choice(ids)
        order_id = fresh_order_id(dice, orders)
        orders[order_id] = draw_order(dice, spec, stock, users[user_id], user_id, order_id, _status(dice))
        users[user_id]["orders"].append(order_id)
    return make_database(
        Base(users, (_base, size, "users")),
        Base(orders, (_base, size, "orders")),
        Base(products, (_base, size, "products")),
        spec,
    )


def _base(size: str, table: str) -> Base:
    base: Base = getattr(database(size), table)
    return base


def _status(dice: Dice) -> str:
    roll = float(dice.rng.random())
    return STATUSES[int(np.searchsorted([0.42, 0.8, 0.9], roll))]


def fresh_order_id(dice: Dice, taken: Any) -> str:
    """An order id that is not taken."""
    while (order_id := f"#W{dice.digits(7)}") in taken:
        pass
    return order_id


def _products(dice: Dice, spec: ShopSize) -> list[Row]:
    rows = []
    for name, product in list(catalog().products.items())[: spec.products]:
        names = list(product.options)[: spec.options]
        combos = list(itertools.product(*(product.options[key] for key in names)))
        few, many = spec.variants
        chosen = dice.sample(combos, min(len(combos), few + dice.below(many - few + 1)))
        variants = {}
        for combo in chosen:
            item_id = dice.digits(10)
            variants[item_id] = {
                "item_id": item_id,
                "options": dict(zip(names, combo, strict=True)),
                "available": dice.chance(0.8),
                "price": _price(dice, product.price),
            }
        rows.append({"name": name, "product_id": dice.digits(10), "variants": variants})
    return rows


def _price(dice: Dice, usual: int) -> float:
    cents = round(usual * 100 * (0.8 + 0.4 * float(dice.rng.random())))
    return (cents - cents % 10 + 1 + dice.below(9)) / 100


def _users(dice: Dice, spec: ShopSize) -> list[tuple[str, Row]]:
    rows: dict[str, Row] = {}
    seen: set[tuple[str, str, str]] = set()
    while len(rows) < spec.users:
        first, last = dice.choice(people().first_names), dice.choice(people().last_names)
        address = draw_address(dice, spec.second_line)
        key = (first, last, address["zip"])
        if key in seen or (spec.own_ids and any(first == other[0] for other in seen)):
            continue
        seen.add(key)
        user_id = f"{first}_{last}_{dice.digits(4)}".lower()
        rows[user_id] = {
            "name": {"first_name": first, "last_name": last},
            "address": address,
            "email": f"{first}.{last}{dice.digits(4)}@example.com".lower(),
            "payment_methods": _payment_methods(dice, spec),
            "orders": [],
        }
    return list(rows.items())


def _payment_methods(dice: Dice, spec: ShopSize) -> dict[str, Row]:
    """One to three methods of different sources, so that "my gift card" names one of them."""
    n = 1 + dice.below(2 if spec.own_ids else 3)
    methods: dict[str, Row] = {}
    for source in dice.sample(("credit_card", "paypal", "gift_card"), n):
        method: Row = {"source": source}
        if source == "credit_card":
            method |= {"brand": dice.choice(("visa", "mastercard")), "last_four": dice.digits(4)}
        elif source == "gift_card":
            method["balance"] = 20 + dice.below(480)
        method["id"] = f"{source}_{dice.digits(7)}"
        methods[method["id"]] = method
    return methods


def draw_order(
    dice: Dice, spec: ShopSize, stock: Sequence[Row], user: Row, user_id: str, order_id: str, status: str
) -> Row:
    """An order of different products in a given status, paid for with one of the user's methods."""
    n = 1 + int(np.searchsorted(np.cumsum(spec.items)[:-1], float(dice.rng.random())))
    items = [line(product, dice.choice(list(product["variants"]))) for product in dice.sample(stock, n)]
    amount = round(sum(item["price"] for item in items), 2)
    method = dice.choice(list(user["payment_methods"]))
    row: Row = {
        "order_id": order_id,
        "user_id": user_id,
        "address": dict(user["address"]),
        "items": items,
        "fulfillments": [],
        "status": status,
        "payment_history": [{"transaction_type": "payment", "amount": amount, "payment_method_id": method}],
    }
    if status in ("delivered", "processed"):
        shipment = {"tracking_id": [dice.digits(12)], "item_ids": [item["item_id"] for item in items]}
        row["fulfillments"].append(shipment)
    elif status == "cancelled":
        refund = {"transaction_type": "refund", "amount": amount, "payment_method_id": method}
        row["payment_history"].append(refund)
        row["cancel_reason"] = dice.choice(("no longer needed", "ordered by mistake"))
    return row


def line(product: Row, item_id: str) -> Row:
    """A variant of a product as an order lists it."""
    variant = product["variants"][item_id]
    return {
        "name": product["name"],
        "product_id": product["product_id"],
        "item_id": item_id,
        "price": variant["price"],
        "options": dict(variant["options"]),
    }
