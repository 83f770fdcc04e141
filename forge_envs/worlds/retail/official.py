"""The retail domain of τ-bench and τ²-bench, and the one door to all retail worlds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from forge_envs.env import AgentEnv
from forge_envs.tables import Base, Table
from forge_envs.worlds.official.domain import Contract, Domain
from forge_envs.worlds.official.env import open_door
from forge_envs.worlds.retail.database import make_database
from forge_envs.worlds.retail.env import RetailEnv
from forge_envs.worlds.retail.tau2 import Tau2Shop
from forge_envs.worlds.retail.tools import Shop


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
    contracts={"tau1": _shop(Shop), "tau2": _shop(Tau2Shop)},
)


def make_retail(source: str = "synthetic", **arguments: Any) -> AgentEnv[Any]:
    """`RetailEnv` for generated tasks, `OfficialEnv` for "tau1:PATH" and "tau2:PATH".

    Raises ValueError for a source that is neither, or an argument that the one chosen does not take.
    """
    return open_door(RETAIL, RetailEnv, source, arguments)
