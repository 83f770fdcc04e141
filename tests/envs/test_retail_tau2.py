"""The retail tools by τ²-bench's contract: where they differ from τ-bench's, on our own small shop."""

from __future__ import annotations

import json

import pytest

from forge_envs.errors import ToolError
from forge_envs.tables import Row, Table
from forge_envs.worlds.retail.database import database
from forge_envs.worlds.retail.tools import Shop
from forge_envs.worlds.tau.retail import Tau2Shop

HOME = {"address1": "1 A", "address2": "", "city": "B", "state": "C", "country": "USA", "zip": "1"}


@pytest.fixture(params=[Shop, Tau2Shop])
def shop(request: pytest.FixtureRequest) -> Shop:
    return open_shop(request.param)


def open_shop(kind: type[Shop]) -> Shop:
    shop = database("small")
    return kind(database=shop, users=Table(shop.users), orders=Table(shop.orders))


def other_items(shop: Shop, order: Row) -> list[str]:
    """For each line of an order, another item of its product that can be had."""
    found = []
    for line in order["items"]:
        variants = shop.database.products.rows[line["product_id"]]["variants"].values()
        found += [v["item_id"] for v in variants if v["available"] and v["item_id"] != line["item_id"]][:1]
    return found


def changeable(shop: Shop) -> Row:
    """A pending order of two lines, each with another item to be had, paid without a gift card."""
    for row in shop.database.orders.rows.values():
        pays = row["payment_history"][0]["payment_method_id"]
        two = len(row["items"]) == 2 == len(other_items(shop, row))
        if row["status"] == "pending" and two and "gift" not in pays:
            return row
    raise AssertionError("the small shop has no such order")


def change(shop: Shop) -> Row:
    order = changeable(shop)
    pays = order["payment_history"][0]["payment_method_id"]
    old = [line["item_id"] for line in order["items"]]
    text = shop.modify_pending_order_items(order["order_id"], old, other_items(shop, order), pays)
    result: Row = json.loads(text)
    return result


def test_changed_items_get_the_last_ones_price_in_tau2(shop: Shop) -> None:
    after = change(shop)["items"]
    variants = [
        shop.database.products.rows[line["product_id"]]["variants"].get(line["item_id"]) for line in after
    ]
    assert after[1]["price"] == variants[1]["price"] and after[1]["options"] == variants[1]["options"]
    same_as = 1 if isinstance(shop, Tau2Shop) else 0
    assert after[0]["price"] == variants[same_as]["price"]
    assert after[0]["options"] == variants[same_as]["options"]


def test_an_order_with_changed_items_is_still_open_in_tau2(shop: Shop) -> None:
    order_id = change(shop)["order_id"]
    if isinstance(shop, Tau2Shop):
        assert json.loads(shop.modify_pending_order_address(order_id, **HOME))["address"] == HOME
    else:
        with pytest.raises(ToolError, match="not pending"):
            shop.modify_pending_order_address(order_id, **HOME)
    with pytest.raises(ToolError, match="not pending"):
        shop.cancel_pending_order(order_id, "no longer needed")


def test_an_item_may_not_become_itself_in_tau2(shop: Shop) -> None:
    order = next(
        row
        for row in shop.database.orders.rows.values()
        if row["status"] == "pending"
        and shop.database.products.rows[row["items"][0]["product_id"]]["variants"][
            row["items"][0]["item_id"]
        ]["available"]
    )
    same = [order["items"][0]["item_id"]]
    pays = order["payment_history"][0]["payment_method_id"]
    if isinstance(shop, Tau2Shop):
        with pytest.raises(ToolError, match="the item it replaces"):
            shop.modify_pending_order_items(order["order_id"], same, same, pays)
        assert shop.writes == 0 and not shop.orders.touched()
    else:
        shop.modify_pending_order_items(order["order_id"], same, same, pays)
        assert shop.writes == 1


def test_a_handover_ends_the_conversation_in_tau1_alone(shop: Shop) -> None:
    shop.transfer_to_human_agents("help")
    assert shop.over == (not isinstance(shop, Tau2Shop))


def test_items_are_read_one_by_one() -> None:
    shop = open_shop(Tau2Shop)
    assert isinstance(shop, Tau2Shop)
    for product in shop.database.products.rows.values():
        for item_id, variant in product["variants"].items():
            assert json.loads(shop.get_item_details(item_id)) == variant
    with pytest.raises(ToolError, match="no such item"):
        shop.get_item_details(product["product_id"])
    with pytest.raises(ToolError, match="no such order"):
        shop.modify_pending_order_address("#W0", **HOME)
