"""Airline tasks alone: every kind of request occurs, gold keeps the policy, rows have their formats."""

from __future__ import annotations

import json

import pytest

from forge_envs.worlds.airline.database import (
    SIZES,
    compensation,
    database,
    free_bags,
    may_cancel,
    nonfree_bags,
)
from forge_envs.worlds.airline.draft import SAID
from forge_envs.worlds.airline.tasks import find_task
from tests.envs.desks import AIRLINE


def test_every_kind_of_request_occurs() -> None:
    goals = [goal for n in range(150) for goal in find_task(AIRLINE.task_id("small", "train", 5, n)).goals]
    allowed = {goal.kind for goal in goals if not goal.forbidden}
    assert allowed == {"cancel", "bags", "cabin", "flights", "passengers", "book", "certificate"}
    refused = {goal.kind for goal in goals if goal.forbidden}
    assert refused == {"fact", "cancel", "flights", "certificate", "insurance"}
    facts = {find_task(AIRLINE.task_id("small", "train", 1, n)).goals[0].fact for n in range(60)}
    assert facts == set(SIZES["small"].facts)


@pytest.mark.parametrize("size", ["small", "full"])
def test_what_is_allowed_and_what_is_refused_follows_the_policy(size: str) -> None:
    flights = database(size).flights.rows
    reasons = {said: reason for reason, said in SAID.items()}
    checked = set()
    for level in (2, 3, 4, 5):
        for n in range(80):
            task = find_task(AIRLINE.task_id(size, "train", level, n))
            user = task.users.rows[task.customer_id]
            for goal in task.goals:
                row = task.reservations.rows.get(goal.subject)
                if goal.kind == "cancel":
                    assert may_cancel(row, flights, reasons[goal.details["reason"]]) != goal.forbidden
                elif goal.kind == "flights":
                    assert (row["cabin"] == "basic_economy") == goal.forbidden
                elif goal.kind == "certificate":
                    amount = compensation(user, row, flights)
                    assert goal.forbidden == (amount == 0)
                    assert goal.forbidden or goal.call.arguments["amount"] == amount
                elif goal.kind == "fact":
                    assert (row["user_id"] != task.customer_id) == goal.forbidden
                elif goal.kind in ("bags", "book"):
                    arguments = goal.call.arguments
                    heads = len((row or arguments)["passengers"])
                    cabin = (row or arguments)["cabin"]
                    bags = arguments["total_baggages"]
                    expected = nonfree_bags(user["membership"], cabin, heads, bags)
                    assert arguments["nonfree_baggages"] == expected
                checked.add((goal.kind, goal.forbidden))
    assert len(checked) >= 11


def test_free_bags_grow_with_membership_and_cabin() -> None:
    assert [free_bags("regular", cabin, 1) for cabin in ("basic_economy", "economy", "business")] == [0, 1, 2]
    assert [free_bags(member, "economy", 2) for member in ("regular", "silver", "gold")] == [2, 4, 6]
    assert (nonfree_bags("silver", "economy", 1, 5), nonfree_bags("gold", "business", 1, 3)) == (3, 0)


def test_airlines_have_the_sizes_and_row_formats() -> None:
    for size, spec in SIZES.items():
        airline = database(size)
        users, reservations, flights = (
            airline.users.rows,
            airline.reservations.rows,
            airline.flights.rows,
        )
        assert (len(users), len(reservations)) == (spec.users, spec.reservations)
        assert len(flights) == 2 * spec.routes * spec.departures
        assert len(json.loads(airline.airport_list)) == spec.airports
        for key, row in reservations.items():
            assert row["reservation_id"] == key and key in users[row["user_id"]]["reservations"]
            assert {paid["payment_id"] for paid in row["payment_history"]} <= set(
                users[row["user_id"]]["payment_methods"]
            )
            heads, insured = len(row["passengers"]), row["insurance"] == "yes"
            price = heads * (sum(leg["price"] for leg in row["flights"]) + 30 * insured)
            assert row["payment_history"][0]["amount"] == price + 50 * row["nonfree_baggages"]
            for leg in row["flights"]:
                flight = flights[leg["flight_number"]]
                assert (leg["origin"], leg["destination"]) == (flight["origin"], flight["destination"])
                assert leg["date"] in flight["dates"]
            for before, after in zip(row["flights"], row["flights"][1:], strict=False):
                assert before["destination"] == after["origin"] and before["date"] <= after["date"]
        json.dumps([users, reservations, flights])
