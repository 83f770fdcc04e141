"""The shop's tools: effects and refusals by hand; what any call may never do."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.errors import ToolError
from forge_envs.tables import Base, Table
from forge_envs.tools import BadArguments, tools_of
from forge_envs.worlds.desk.tools import arithmetic
from forge_envs.worlds.retail.database import database, make_database
from forge_envs.worlds.retail.tools import Shop

TOOLS = tools_of(Shop)
HOME = {
    "address1": "1 Oak Road",
    "address2": "",
    "city": "Reno",
    "country": "USA",
    "state": "NV",
    "zip": "89501",
}
NEW = {
    "address1": "2 Elm Way",
    "address2": "Unit 3",
    "city": "Tulsa",
    "state": "OK",
    "country": "USA",
    "zip": "74101",
}


def order(order_id: str, status: str, method: str, *prices: float) -> dict[str, Any]:
    items = [
        {"name": "Mug", "product_id": "p1", "item_id": f"m{n}", "price": price, "options": {"color": str(n)}}
        for n, price in enumerate(prices)
    ]
    amount = round(sum(prices), 2)
    payment = {"transaction_type": "payment", "amount": amount, "payment_method_id": method}
    return {
        "order_id": order_id,
        "user_id": "ann_lee_1",
        "address": dict(HOME),
        "items": items,
        "fulfillments": [],
        "status": status,
        "payment_history": [payment],
    }


def make_shop() -> Shop:
    users = {
        "ann_lee_1": {
            "name": {"first_name": "Ann", "last_name": "Lee"},
            "address": dict(HOME),
            "email": "Ann.Lee@example.com",
            "payment_methods": {
                "credit_card_1": {
                    "source": "credit_card",
                    "brand": "visa",
                    "last_four": "1",
                    "id": "credit_card_1",
                },
                "paypal_2": {"source": "paypal", "id": "paypal_2"},
                "gift_card_3": {"source": "gift_card", "balance": 20, "id": "gift_card_3"},
            },
            "orders": ["#W1", "#W2", "#W3", "#W4"],
        }
    }
    prices = {"m0": 10.1, "m1": 20.2, "m2": 12.3, "m3": 99.0, "m4": 5.0}
    variants = {
        key: {"item_id": key, "options": {"color": key}, "available": key != "m4", "price": price}
        for key, price in prices.items()
    }
    products = {
        "p1": {"name": "Mug", "product_id": "p1", "variants": variants},
        "p2": {"name": "Cup", "product_id": "p2", "variants": {}},
    }
    orders = {
        "#W1": order("#W1", "pending", "credit_card_1", 10.1, 20.2),
        "#W2": order("#W2", "pending", "gift_card_3", 10.1),
        "#W3": order("#W3", "delivered", "paypal_2", 10.1, 20.2),
        "#W4": order("#W4", "processed", "paypal_2", 10.1),
    }
    bases = [Base(rows, (Base, {}, ())) for rows in (users, orders, products)]
    shop = make_database(*bases)
    return Shop(database=shop, users=Table(shop.users), orders=Table(shop.orders))


def call(shop: Shop, name: str, **arguments: Any) -> Any:
    text = TOOLS[name].call(shop, arguments)
    return json.loads(text) if text.startswith("{") else text


def balance(shop: Shop) -> float:
    return shop.users.peek("ann_lee_1")["payment_methods"]["gift_card_3"]["balance"]


def test_lookups_answer_and_refuse() -> None:
    shop = make_shop()
    assert call(shop, "find_user_id_by_email", email="ANN.lee@EXAMPLE.com") == "ann_lee_1"
    assert (
        call(shop, "find_user_id_by_name_zip", first_name="ann", last_name="LEE", zip="89501") == "ann_lee_1"
    )
    assert call(shop, "get_user_details", user_id="ann_lee_1")["orders"] == ["#W1", "#W2", "#W3", "#W4"]
    assert call(shop, "get_order_details", order_id="#W3")["status"] == "delivered"
    assert call(shop, "get_product_details", product_id="p1")["variants"]["m4"]["available"] is False
    assert call(shop, "list_all_product_types") == {"Cup": "p2", "Mug": "p1"}
    assert call(shop, "think", thought="hm") == ""
    for name, arguments in [
        ("find_user_id_by_email", {"email": "bob@example.com"}),
        ("find_user_id_by_name_zip", {"first_name": "Ann", "last_name": "Lee", "zip": "1"}),
        ("get_user_details", {"user_id": "bob"}),
        ("get_order_details", {"order_id": "W1"}),
        ("get_product_details", {"product_id": "m0"}),
    ]:
        with pytest.raises(ToolError):
            call(shop, name, **arguments)
    assert shop.writes == 0 and not shop.orders.changed() and not shop.users.changed()


def test_cancel_refunds_the_card_later_and_the_gift_card_at_once() -> None:
    shop = make_shop()
    row = call(shop, "cancel_pending_order", order_id="#W1", reason="no longer needed")
    assert (row["status"], row["cancel_reason"]) == ("cancelled", "no longer needed")
    assert row["payment_history"][1:] == [
        {"transaction_type": "refund", "amount": 30.3, "payment_method_id": "credit_card_1"}
    ]
    assert balance(shop) == 20
    call(shop, "cancel_pending_order", order_id="#W2", reason="ordered by mistake")
    assert balance(shop) == 30.1
    assert set(shop.orders.changed()) == {"#W1", "#W2"}


def test_an_address_is_replaced_whole() -> None:
    shop = make_shop()
    assert call(shop, "modify_pending_order_address", order_id="#W1", **NEW)["address"] == NEW
    assert call(shop, "modify_user_address", user_id="ann_lee_1", **NEW)["address"] == NEW
    assert shop.orders.peek("#W2")["address"] == HOME


def test_another_payment_is_charged_before_the_old_one_is_refunded() -> None:
    shop = make_shop()
    row = call(shop, "modify_pending_order_payment", order_id="#W2", payment_method_id="paypal_2")
    assert [(p["transaction_type"], p["payment_method_id"]) for p in row["payment_history"]] == [
        ("payment", "gift_card_3"),
        ("payment", "paypal_2"),
        ("refund", "gift_card_3"),
    ]
    assert balance(shop) == 30.1 and row["status"] == "pending"


def test_items_change_once_and_the_difference_is_not_rounded() -> None:
    shop = make_shop()
    row = call(
        shop,
        "modify_pending_order_items",
        order_id="#W1",
        item_ids=["m0", "m1"],
        new_item_ids=["m2", "m2"],
        payment_method_id="gift_card_3",
    )
    difference = (12.3 - 10.1) + (12.3 - 20.2)
    assert row["payment_history"][1] == {
        "transaction_type": "refund",
        "amount": abs(difference),
        "payment_method_id": "gift_card_3",
    }
    assert balance(shop) == 25.7 and row["status"] == "pending (item modified)"
    assert [(i["item_id"], i["price"], i["options"]) for i in row["items"]] == [
        ("m2", 12.3, {"color": "m2"})
    ] * 2
    for name, arguments in [
        ("cancel_pending_order", {"order_id": "#W1", "reason": "no longer needed"}),
        ("modify_pending_order_address", {"order_id": "#W1", **NEW}),
    ]:
        with pytest.raises(ToolError, match="item modified"):
            call(shop, name, **arguments)


def test_items_of_one_call_are_replaced_one_after_the_other() -> None:
    shop = make_shop()
    row = call(
        shop,
        "modify_pending_order_items",
        order_id="#W1",
        item_ids=["m0", "m1"],
        new_item_ids=["m1", "m2"],
        payment_method_id="paypal_2",
    )
    assert [item["item_id"] for item in row["items"]] == ["m2", "m1"], "the first m1 is the one just put in"


def test_exchange_and_return_note_sorted_items_and_touch_no_money() -> None:
    shop = make_shop()
    row = call(
        shop,
        "exchange_delivered_order_items",
        order_id="#W3",
        item_ids=["m1", "m0"],
        new_item_ids=["m2", "m0"],
        payment_method_id="credit_card_1",
    )
    assert row["status"] == "exchange requested"
    assert (row["exchange_items"], row["exchange_new_items"]) == (["m0", "m1"], ["m0", "m2"])
    assert (row["exchange_payment_method_id"], row["exchange_price_difference"]) == ("credit_card_1", -7.9)
    assert len(row["payment_history"]) == 1
    shop = make_shop()
    row = call(
        shop,
        "return_delivered_order_items",
        order_id="#W3",
        item_ids=["m1", "m0"],
        payment_method_id="gift_card_3",
    )
    assert row["status"] == "return requested" and row["return_items"] == ["m0", "m1"]
    assert row["return_payment_method_id"] == "gift_card_3" and balance(shop) == 20


SWAP = {"item_ids": ["m0"], "new_item_ids": ["m2"], "payment_method_id": "paypal_2"}


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("cancel_pending_order", {"order_id": "#W9", "reason": "no longer needed"}, "no such order"),
        ("cancel_pending_order", {"order_id": "#W3", "reason": "no longer needed"}, "delivered"),
        ("cancel_pending_order", {"order_id": "#W4", "reason": "no longer needed"}, "processed"),
        ("modify_pending_order_address", {"order_id": "#W4", **NEW}, "processed"),
        ("modify_user_address", {"user_id": "bob", **NEW}, "no such user"),
        (
            "modify_pending_order_payment",
            {"order_id": "#W1", "payment_method_id": "paypal_9"},
            "payment method",
        ),
        (
            "modify_pending_order_payment",
            {"order_id": "#W1", "payment_method_id": "credit_card_1"},
            "already",
        ),
        ("modify_pending_order_payment", {"order_id": "#W1", "payment_method_id": "gift_card_3"}, "balance"),
        ("modify_pending_order_items", {"order_id": "#W3", **SWAP}, "delivered"),
        ("modify_pending_order_items", {"order_id": "#W1", **SWAP, "item_ids": ["m9"]}, "m9 is not in"),
        ("modify_pending_order_items", {"order_id": "#W1", **SWAP, "item_ids": ["m0", "m0"]}, "that often"),
        ("modify_pending_order_items", {"order_id": "#W1", **SWAP, "new_item_ids": []}, "length"),
        ("modify_pending_order_items", {"order_id": "#W1", **SWAP, "new_item_ids": ["m4"]}, "not available"),
        ("modify_pending_order_items", {"order_id": "#W1", **SWAP, "new_item_ids": ["x"]}, "not available"),
        (
            "modify_pending_order_items",
            {"order_id": "#W1", **SWAP, "new_item_ids": ["m3"], "payment_method_id": "gift_card_3"},
            "balance",
        ),
        ("exchange_delivered_order_items", {"order_id": "#W1", **SWAP}, "pending"),
        (
            "exchange_delivered_order_items",
            {"order_id": "#W3", **SWAP, "new_item_ids": ["m4"]},
            "not available",
        ),
        (
            "exchange_delivered_order_items",
            {"order_id": "#W3", **SWAP, "payment_method_id": "x"},
            "payment method",
        ),
        (
            "return_delivered_order_items",
            {"order_id": "#W3", "item_ids": ["m0"], "payment_method_id": "credit_card_1"},
            "original",
        ),
        (
            "return_delivered_order_items",
            {"order_id": "#W3", "item_ids": ["m7"], "payment_method_id": "paypal_2"},
            "m7",
        ),
        (
            "return_delivered_order_items",
            {"order_id": "#W1", "item_ids": ["m0"], "payment_method_id": "paypal_2"},
            "pending",
        ),
    ],
)
def test_refusals_change_nothing(name: str, arguments: dict[str, Any], why: str) -> None:
    shop = make_shop()
    with pytest.raises(ToolError, match=why):
        call(shop, name, **arguments)
    assert shop.writes == 0 and not shop.orders.changed() and not shop.users.changed()


def test_payment_can_be_changed_only_once() -> None:
    shop = make_shop()
    call(shop, "modify_pending_order_payment", order_id="#W1", payment_method_id="paypal_2")
    with pytest.raises(ToolError, match="exactly one payment"):
        call(shop, "modify_pending_order_payment", order_id="#W1", payment_method_id="credit_card_1")


def test_a_reason_outside_the_two_is_bad_arguments() -> None:
    with pytest.raises(BadArguments):
        call(make_shop(), "cancel_pending_order", order_id="#W1", reason="too expensive")


def test_transfer_ends_the_episode() -> None:
    shop = make_shop()
    call(shop, "transfer_to_human_agents", summary="wants a human")
    assert shop.over


@pytest.mark.parametrize(
    ("expression", "value"),
    [("2 + 2", "4.0"), ("10.5 / 4", "2.62"), ("-(3 - 5) * 2", "4.0"), ("7 // 2", "3.0"), ("2 ** 3", "8.0")],
)
def test_arithmetic(expression: str, value: str) -> None:
    assert arithmetic(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1/0",
        "2 +",
        "a + 1",
        "9**9**9**9",
        "(" * 150,
        "1 1",
        "()",
        "(1)(2)",
        "__import__('os')",
        "1" * 300,
        "(-8) ** 0.5",
        "..",
        "1" + "+1" * 100,
    ],
)
def test_arithmetic_refuses_what_has_no_value_and_never_takes_long(expression: str) -> None:
    with pytest.raises(ToolError):
        arithmetic(expression)


def _arguments() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    shop = database("tiny")
    orders = st.sampled_from([*shop.orders.rows, "#W0"])
    users = st.sampled_from([*shop.users.rows, "nobody"])
    methods = st.sampled_from(["x", *(m for u in shop.users.rows.values() for m in u["payment_methods"])])
    items = st.sampled_from(["y", *(i for p in shop.products.rows.values() for i in p["variants"])])
    known: dict[str, st.SearchStrategy[Any]] = {
        "order_id": orders,
        "user_id": users,
        "payment_method_id": methods,
        "item_ids": st.lists(items, max_size=3),
        "new_item_ids": st.lists(items, max_size=3),
        "product_id": st.sampled_from(list(shop.products.rows)),
        "reason": st.sampled_from(["no longer needed", "ordered by mistake", "other"]),
    }
    wild = st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.text(max_size=3), max_size=2))

    def of(name: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
        keys = TOOLS[name].parameters["properties"]
        good = st.fixed_dictionaries({key: known.get(key, st.text(max_size=12)) for key in keys})
        bad = st.dictionaries(st.sampled_from([*keys, "extra"]), wild, max_size=4)
        return st.tuples(st.just(name), st.one_of(good, good, good, bad))

    return st.sampled_from(list(TOOLS)).flatmap(of)


@given(st.lists(_arguments(), max_size=12))
def test_no_call_crashes_or_touches_the_shared_rows(calls: list[tuple[str, dict[str, Any]]]) -> None:
    base = database("tiny")
    before = copy.deepcopy((base.users.rows, base.orders.rows, base.products.rows))
    # The same calls on a shop that owns deep copies of all rows must have the same effects.
    own = make_database(*(Base(rows, (Base, {}, ())) for rows in copy.deepcopy(before)), base.size)
    shops = [Shop(database=shop, users=Table(shop.users), orders=Table(shop.orders)) for shop in (base, own)]
    for table in (shops[1].users, shops[1].orders):
        for key in table:
            table.row(key)
    for name, arguments in calls:
        answers = []
        for shop in shops:
            writes, changed = shop.writes, copy.deepcopy(shop.orders.changed())
            try:
                answers.append(TOOLS[name].call(shop, arguments))
            except (ToolError, BadArguments) as error:
                answers.append(str(error))
                assert shop.writes == writes and shop.orders.changed() == changed
        assert answers[0] == answers[1]
    assert shops[0].orders.changed() == shops[1].orders.changed()
    assert shops[0].users.changed() == shops[1].users.changed()
    assert before == (base.users.rows, base.orders.rows, base.products.rows)
