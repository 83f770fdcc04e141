"""The airline's tools one by one: effects, refusals that change nothing, and no call that crashes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.errors import ToolError
from forge_envs.tables import Base, Row, Table
from forge_envs.tools import BadArguments, tools_of
from forge_envs.worlds.airline.database import database, make_database
from forge_envs.worlds.airline.tools import Airline
from forge_envs.worlds.tau.airline import Tau1Airline

TOOLS = tools_of(Airline)
ANN = {"first_name": "Ann", "last_name": "Lee", "dob": "1980-01-02"}
BOB = {"first_name": "Bob", "last_name": "Lee", "dob": "1981-01-02"}
OPEN = {
    "status": "available",
    "available_seats": {"basic_economy": 0, "economy": 2, "business": 9},
    "prices": {"basic_economy": 60, "economy": 110, "business": 300},
}


def flight(number: str, origin: str, destination: str, departure: str, arrival: str) -> Row:
    return {
        "flight_number": number,
        "origin": origin,
        "destination": destination,
        "scheduled_departure_time_est": departure,
        "scheduled_arrival_time_est": arrival,
        "dates": {
            "2024-05-15": {"status": "delayed"},
            "2024-05-20": copy.deepcopy(OPEN),
            "2024-05-21": copy.deepcopy(OPEN),
        },
    }


def make_airline(kind: type[Airline] = Airline) -> Airline:
    users = {
        "ann_lee_1": {
            "user_id": "ann_lee_1",
            "payment_methods": {
                "credit_card_1": {"source": "credit_card", "id": "credit_card_1"},
                "gift_card_2": {"source": "gift_card", "id": "gift_card_2", "amount": 200.0},
                "certificate_3": {"source": "certificate", "id": "certificate_3", "amount": 50.0},
            },
            "reservations": ["AAA111"],
        }
    }
    reservation = {
        "reservation_id": "AAA111",
        "user_id": "ann_lee_1",
        "origin": "SEA",
        "destination": "BOS",
        "flight_type": "one_way",
        "cabin": "economy",
        "flights": [
            {"origin": "SEA", "destination": "BOS", "flight_number": "F1", "date": "2024-05-20", "price": 100}
        ],
        "passengers": [ANN, BOB],
        "payment_history": [{"payment_id": "credit_card_1", "amount": 200}],
        "created_at": "2024-05-01T00:00:00",
        "total_baggages": 1,
        "nonfree_baggages": 0,
        "insurance": "no",
        "status": None,
    }
    flights = {
        "F1": flight("F1", "SEA", "BOS", "08:00:00", "12:00:00"),
        "F2": flight("F2", "SEA", "DEN", "20:00:00", "01:00:00+1"),
        "F3": flight("F3", "DEN", "BOS", "14:00:00", "18:00:00"),
        "F4": flight("F4", "SEA", "DEN", "09:00:00", "11:00:00"),
    }
    bases = [Base(rows, (Base, {}, ())) for rows in (users, {"AAA111": reservation}, flights)]
    base = make_database(*bases)
    tables = {"users": base.users, "reservations": base.reservations, "flights": base.flights}
    return kind(database=base, **{name: Table(rows) for name, rows in tables.items()})


def call(airline: Airline, name: str, **arguments: Any) -> Any:
    text = tools_of(type(airline))[name].call(airline, arguments)
    return json.loads(text) if text.startswith(("{", "[")) else text


def method(airline: Airline, key: str) -> Row | None:
    found: Row | None = airline.users.peek("ann_lee_1")["payment_methods"].get(key)
    return found


def unchanged(airline: Airline) -> bool:
    tables = (airline.users, airline.reservations, airline.flights)
    return airline.writes == 0 and not any(table.changed() for table in tables)


TRIP = {
    "user_id": "ann_lee_1",
    "origin": "SEA",
    "destination": "BOS",
    "flight_type": "one_way",
    "cabin": "economy",
    "flights": [{"flight_number": "F1", "date": "2024-05-20"}],
    "passengers": [ANN],
    "payment_methods": [
        {"payment_id": "certificate_3", "amount": 50},
        {"payment_id": "gift_card_2", "amount": 90},
        {"payment_id": "credit_card_1", "amount": 50},
    ],
    "total_baggages": 2,
    "nonfree_baggages": 1,
    "insurance": "yes",
}
LEG = {"flight_number": "F1", "date": "2024-05-21"}
MOVE = {"reservation_id": "AAA111", "cabin": "economy", "flights": [LEG], "payment_id": "gift_card_2"}
BAGS = {"reservation_id": "AAA111", "total_baggages": 3, "nonfree_baggages": 2, "payment_id": "gift_card_2"}


def test_lookups_answer_and_refuse() -> None:
    airline = make_airline()
    assert call(airline, "get_user_details", user_id="ann_lee_1")["reservations"] == ["AAA111"]
    assert call(airline, "get_reservation_details", reservation_id="AAA111")["cabin"] == "economy"
    assert call(airline, "get_flight_status", flight_number="F1", date="2024-05-15") == "delayed"
    assert call(airline, "list_all_airports")[0] == {"iata": "SFO", "city": "San Francisco"}
    assert call(airline, "think", thought="hm") == ""
    for name, arguments in [
        ("get_user_details", {"user_id": "bob"}),
        ("get_reservation_details", {"reservation_id": "aaa111"}),
        ("get_flight_status", {"flight_number": "F9", "date": "2024-05-15"}),
        ("get_flight_status", {"flight_number": "F1", "date": "2024-06-15"}),
    ]:
        with pytest.raises(ToolError):
            call(airline, name, **arguments)
    assert unchanged(airline)


def test_searches_find_what_can_be_booked_and_what_connects() -> None:
    airline = make_airline()
    (found,) = call(airline, "search_direct_flight", origin="SEA", destination="BOS", date="2024-05-20")
    assert found["flight_number"] == "F1" and found["prices"] == OPEN["prices"] and "dates" not in found
    for date in ("2024-05-15", "2024-05-22", "soon", ""):
        assert call(airline, "search_direct_flight", origin="SEA", destination="BOS", date=date) == []
        assert call(airline, "search_onestop_flight", origin="SEA", destination="BOS", date=date) == []
    pairs = call(airline, "search_onestop_flight", origin="SEA", destination="BOS", date="2024-05-20")
    # F2 arrives in the night, so its passengers go on the next day.
    assert [[(leg["flight_number"], leg["date"]) for leg in pair] for pair in pairs] == [
        [("F2", "2024-05-20"), ("F3", "2024-05-21")],
        [("F4", "2024-05-20"), ("F3", "2024-05-20")],
    ]


def test_a_booking_charges_every_method_and_takes_seats() -> None:
    airline = make_airline()
    row = call(airline, "book_reservation", **TRIP)
    assert (row["reservation_id"], row["created_at"], row["status"]) == (
        "HATHAT",
        "2024-05-15T15:00:00",
        None,
    )
    assert row["flights"] == [
        {"origin": "SEA", "destination": "BOS", "flight_number": "F1", "date": "2024-05-20", "price": 110}
    ]
    assert method(airline, "certificate_3") is None, "a certificate is used up"
    assert method(airline, "gift_card_2") == {"source": "gift_card", "id": "gift_card_2", "amount": 110.0}
    assert airline.users.peek("ann_lee_1")["reservations"] == ["AAA111", "HATHAT"]
    assert airline.flights.peek("F1")["dates"]["2024-05-20"]["available_seats"]["economy"] == 1
    assert airline.flights.peek("F1")["dates"]["2024-05-21"]["available_seats"]["economy"] == 2
    assert airline.writes == 1


def test_three_bookings_and_three_certificates_are_the_most() -> None:
    airline = make_airline()
    paid = [{"payment_id": "credit_card_1", "amount": 380}]
    trip = {**TRIP, "cabin": "business", "payment_methods": paid}
    ids = [call(airline, "book_reservation", **trip)["reservation_id"] for _ in range(3)]
    assert ids == ["HATHAT", "HATHAU", "HATHAV"]
    for _ in range(3):
        call(airline, "send_certificate", user_id="ann_lee_1", amount=100)
    assert method(airline, "certificate_3221324") == {
        "source": "certificate",
        "id": "certificate_3221324",
        "amount": 100.0,
    }
    with pytest.raises(ToolError, match="no more reservations"):
        call(airline, "book_reservation", **trip)
    with pytest.raises(ToolError, match="no more certificates"):
        call(airline, "send_certificate", user_id="ann_lee_1", amount=100)


def test_a_cancellation_notes_refunds_and_moves_no_money() -> None:
    airline = make_airline()
    row = call(airline, "cancel_reservation", reservation_id="AAA111")
    assert row["status"] == "cancelled"
    assert [paid["amount"] for paid in row["payment_history"]] == [200, -200]
    assert not airline.users.changed() and not airline.flights.changed()


def test_only_more_paid_bags_cost() -> None:
    airline = make_airline()
    row = call(airline, "update_reservation_baggages", **BAGS)
    assert (row["total_baggages"], row["nonfree_baggages"]) == (3, 2)
    assert row["payment_history"][-1] == {"payment_id": "gift_card_2", "amount": 100}
    assert method(airline, "gift_card_2")["amount"] == 100.0  # type: ignore[index]  # it is there
    row = call(airline, "update_reservation_baggages", **{**BAGS, "nonfree_baggages": 0})
    assert len(row["payment_history"]) == 2 and row["nonfree_baggages"] == 0, "nothing is paid back"


def test_another_flight_costs_the_difference_for_all_passengers() -> None:
    airline = make_airline()
    row = call(airline, "update_reservation_flights", **MOVE)
    assert row["flights"][0]["date"] == "2024-05-21" and row["flights"][0]["price"] == 110
    assert row["payment_history"][-1] == {"payment_id": "gift_card_2", "amount": 20}
    assert method(airline, "gift_card_2")["amount"] == 180.0  # type: ignore[index]
    assert not airline.flights.changed(), "a change takes no seats"


def test_flights_that_stay_keep_their_price_unless_the_cabin_changes() -> None:
    stays = {"flight_number": "F1", "date": "2024-05-20"}
    airline = make_airline()
    row = call(airline, "update_reservation_flights", **{**MOVE, "flights": [stays]})
    assert row["flights"][0]["price"] == 100 and len(row["payment_history"]) == 1
    card = {**MOVE, "flights": [stays], "cabin": "business", "payment_id": "credit_card_1"}
    row = call(airline, "update_reservation_flights", **card)
    assert (row["cabin"], row["flights"][0]["price"]) == ("business", 300)
    assert row["payment_history"][-1] == {"payment_id": "credit_card_1", "amount": 400}


def test_the_first_rules_take_no_seats_and_keep_the_cabins_name() -> None:
    airline = make_airline(Tau1Airline)
    assert "status" not in call(airline, "book_reservation", **TRIP)
    assert not airline.flights.changed()
    card = {**MOVE, "cabin": "business", "payment_id": "credit_card_1"}
    row = call(airline, "update_reservation_flights", **card)
    assert (row["cabin"], row["flights"][0]["price"]) == ("economy", 300)


def test_passengers_are_replaced_but_not_counted_anew() -> None:
    airline = make_airline()
    eve = {"first_name": "Eve", "last_name": "Sand", "dob": "1990-01-01"}
    row = call(airline, "update_reservation_passengers", reservation_id="AAA111", passengers=[ANN, eve])
    assert row["passengers"] == [ANN, eve]


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("book_reservation", {**TRIP, "user_id": "bob"}, "no such user"),
        ("book_reservation", {**TRIP, "flights": [{**LEG, "flight_number": "F9"}]}, "no flight F9"),
        ("book_reservation", {**TRIP, "flights": [{**LEG, "date": "2024-06-01"}]}, "does not fly"),
        ("book_reservation", {**TRIP, "flights": [{**LEG, "date": "2024-05-15"}]}, "delayed"),
        ("book_reservation", {**TRIP, "cabin": "basic_economy"}, "only 0 seats"),
        ("book_reservation", {**TRIP, "passengers": [ANN, BOB, ANN]}, "only 2 seats"),
        ("book_reservation", {**TRIP, "insurance": "no"}, "price is 160, but 190"),
        ("book_reservation", {**TRIP, "payment_methods": []}, "but 0 would"),
        (
            "book_reservation",
            {**TRIP, "payment_methods": [{"payment_id": "paypal_1", "amount": 190}]},
            "no payment method paypal_1",
        ),
        (
            "book_reservation",
            {**TRIP, "payment_methods": [{"payment_id": "certificate_3", "amount": 190}]},
            "balance",
        ),
        (
            "book_reservation",
            {**TRIP, "payment_methods": [{"payment_id": "certificate_3", "amount": 20}] * 2},
            "twice",
        ),
        (
            "book_reservation",
            {**TRIP, "payment_methods": [{"payment_id": "credit_card_1", "amount": 189.5}]},
            "whole number",
        ),
        ("cancel_reservation", {"reservation_id": "BBB222"}, "no such reservation"),
        ("update_reservation_baggages", {**BAGS, "payment_id": "certificate_3"}, "certificate"),
        ("update_reservation_baggages", {**BAGS, "payment_id": "gift_card_9"}, "no such payment"),
        ("update_reservation_baggages", {**BAGS, "nonfree_baggages": 5}, "balance"),
        ("update_reservation_flights", {**MOVE, "cabin": "business"}, "balance"),
        ("update_reservation_flights", {**MOVE, "cabin": "basic_economy"}, "only 0 seats"),
        ("update_reservation_passengers", {"reservation_id": "AAA111", "passengers": [ANN]}, "2 passengers"),
        ("send_certificate", {"user_id": "bob", "amount": 100}, "no such user"),
    ],
)
def test_refusals_change_nothing(name: str, arguments: dict[str, Any], why: str) -> None:
    airline = make_airline()
    with pytest.raises(ToolError, match=why):
        call(airline, name, **arguments)
    assert unchanged(airline)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cabin": "first"},
        {"flights": [{"flight_number": "F1"}]},
        {"passengers": [{**ANN, "age": 3}]},
        {"payment_methods": [{"payment_id": "credit_card_1", "amount": float("nan")}]},
        {"payment_methods": [{"payment_id": "credit_card_1", "amount": "190"}]},
        {"total_baggages": "2"},
    ],
)
def test_what_fits_no_schema_is_bad_arguments(wrong: dict[str, Any]) -> None:
    airline = make_airline()
    with pytest.raises(BadArguments):
        call(airline, "book_reservation", **{**TRIP, **wrong})
    assert unchanged(airline)


def test_transfer_ends_the_episode() -> None:
    airline = make_airline()
    call(airline, "transfer_to_human_agents", summary="wants a human")
    assert airline.over


def _arguments() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    base = database("tiny")
    methods = [m for u in base.users.rows.values() for m in u["payment_methods"]]
    dates = st.sampled_from(["2024-05-14", "2024-05-20", "2024-05-21", "x"])
    leg = st.fixed_dictionaries({"flight_number": st.sampled_from([*base.flights.rows, "x"]), "date": dates})
    part = st.fixed_dictionaries(
        {"payment_id": st.sampled_from([*methods, "x"]), "amount": st.integers(-9, 900)}
    )
    known: dict[str, st.SearchStrategy[Any]] = {
        "reservation_id": st.sampled_from([*base.reservations.rows, "HATHAT", "x"]),
        "user_id": st.sampled_from([*base.users.rows, "nobody"]),
        "payment_id": st.sampled_from([*methods, "x"]),
        "flights": st.lists(leg, max_size=2),
        "passengers": st.lists(st.just(ANN), max_size=2),
        "payment_methods": st.lists(part, max_size=2),
        "cabin": st.sampled_from(["basic_economy", "economy", "business"]),
        "flight_type": st.just("one_way"),
        "insurance": st.just("no"),
        "flight_number": st.sampled_from([*base.flights.rows, "x"]),
        "date": dates,
        "origin": st.sampled_from(["SFO", "JFK", "x"]),
        "destination": st.sampled_from(["LAX", "JFK", "x"]),
        "total_baggages": st.integers(-2, 9),
        "nonfree_baggages": st.integers(-2, 9),
        "amount": st.integers(-9, 900),
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
    before = copy.deepcopy((base.users.rows, base.reservations.rows, base.flights.rows))
    airline = Airline(
        database=base,
        users=Table(base.users),
        reservations=Table(base.reservations),
        flights=Table(base.flights),
    )
    tables = (airline.users, airline.reservations, airline.flights)
    for name, arguments in calls:
        writes, changed = airline.writes, copy.deepcopy([table.changed() for table in tables])
        try:
            TOOLS[name].call(airline, arguments)
        except (ToolError, BadArguments):
            assert airline.writes == writes and [table.changed() for table in tables] == changed
        if not TOOLS[name].writes:
            assert [table.changed() for table in tables] == changed
    assert before == (base.users.rows, base.reservations.rows, base.flights.rows)
