"""Retail tasks alone: the tiny shop, and the rows of all sizes."""

from __future__ import annotations

import json

from forge_envs.worlds.retail.database import SIZES, database
from forge_envs.worlds.retail.tasks import content, find_task
from tests.envs.desks import RETAIL


def test_tiny_splits_share_no_task_though_customers_ask_the_same_again() -> None:
    keys = {
        split: {
            content(find_task(RETAIL.task_id("tiny", split, level, n)))
            for level in (1, 2)
            for n in range(150)
        }
        for split in ("train", "test")
    }
    assert not keys["train"] & keys["test"]
    assert len(keys["train"]) > 250 and len(keys["test"]) > 250


def test_tiny_gold_is_short() -> None:
    for n in range(30):
        assert len(find_task(RETAIL.task_id("tiny", "train", 1, n)).gold) == 4
        assert len(find_task(RETAIL.task_id("tiny", "train", 2, n)).gold) == 6
        task = find_task(RETAIL.task_id("tiny", "train", 1, n))
        assert len(task.orders.rows[task.goals[0].subject]["items"]) <= 2


def test_shops_have_the_sizes_and_row_formats() -> None:
    for size, spec in SIZES.items():
        shop = database(size)
        assert (len(shop.users.rows), len(shop.orders.rows)) == (spec.users, spec.orders)
        assert len(shop.products.rows) == spec.products == len(json.loads(shop.product_list))
        assert len(shop.by_email) == sum(map(len, shop.by_name.values())) == spec.users
        for order_id, order in shop.orders.rows.items():
            assert order_id.startswith("#W") and len(order_id) == 9 and order["order_id"] == order_id
            user = shop.users.rows[order["user_id"]]
            assert order_id in user["orders"]
            assert {payment["payment_method_id"] for payment in order["payment_history"]} <= set(
                user["payment_methods"]
            )
            total = sum(item["price"] for item in order["items"])
            assert order["payment_history"][0]["amount"] == round(total, 2)
            for item in order["items"]:
                variant = shop.products.rows[item["product_id"]]["variants"][item["item_id"]]
                assert (item["price"], item["options"]) == (variant["price"], variant["options"])
        assert {order["status"] for order in shop.orders.rows.values()} == {
            "pending",
            "delivered",
            "processed",
            "cancelled",
        }
        json.dumps([shop.users.rows, shop.orders.rows, shop.products.rows])
