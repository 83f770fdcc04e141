"""TravelAPI: flights, credit cards, a budget."""

from __future__ import annotations

import copy
import random
from datetime import date, datetime
from typing import Any

from forge_envs.worlds.bfcl.backends.backend import Answer, Backend, refusal
from forge_envs.worlds.bfcl.backends.fares import (
    AIRPORTS,
    CLASSES,
    FARES,
    NEAREST,
    PER_DOLLAR,
    seat_price,
)

TODAY = date(2026, 3, 23)
"""The day on which travellers are of age or not. The official simulator asks the clock."""
MOST_REPEATED = 10_000
"""Characters of a text that stands for a number."""
INVOICE = ("travel_date", "travel_from", "travel_to", "travel_class", "travel_cost", "transaction_id")


def times(value: Any, rate: float) -> Any:
    """A product; a text or a list in place of a number is repeated, but not without end."""
    if not isinstance(value, int | float) and hasattr(value, "__len__") and len(value) > MOST_REPEATED:
        raise MemoryError
    return value * rate


class TravelAPI(Backend):
    """Bookings and cards by id; who holds the access token may use both."""

    credit_card_list: dict[str, dict[str, Any]]
    booking_record: dict[str, dict[str, Any]]
    access_token: str | None
    token_type: str | None
    token_expires_in: int | None
    token_scope: str | None
    user_first_name: str | None
    user_last_name: str | None
    budget_limit: float | None
    long_context: bool

    def _start(self, config: dict[str, Any]) -> None:
        self._random = random.Random(config.get("random_seed", 141053))
        self.credit_card_list = config.get("credit_card_list", {})
        self.booking_record = config.get("booking_record", {})
        self.access_token = config.get("access_token")
        self.token_type = config.get("token_type")
        self.token_expires_in = config.get("token_expires_in")
        self.token_scope = config.get("token_scope")
        self.user_first_name = config.get("user_first_name")
        self.user_last_name = config.get("user_last_name")
        self.budget_limit = config.get("budget_limit")
        self.long_context = self._long
        if self.long_context:
            for rows, name in (
                (self.credit_card_list, "CREDIT_CARD"),
                (self.booking_record, "BOOKING_RECORD"),
            ):
                for key, row in self._filler(f"{name}_EXTENSION").items():
                    rows.setdefault(key, row)

    def _no_access(self, access_token: str) -> dict[str, Any] | None:
        """Why this token opens nothing."""
        if self.token_expires_in == 0:
            return refusal("Token expired")
        if access_token != self.access_token:
            self._wrong_token()
            return refusal("Invalid access token")
        return None

    def _wrong_token(self) -> None:
        """What a wrong token costs: nothing."""

    def _number(self, digits: int) -> str:
        return str(self._random.randint(10 ** (digits - 1), 10**digits - 1))

    # -- access ----------------------------------------------------------------------------------------------

    def authenticate_travel(
        self,
        client_id: str,
        client_secret: str,
        refresh_token: str,
        grant_type: str,
        user_first_name: str,
        user_last_name: str,
    ) -> Answer:
        """Get a new access token, whatever is told."""
        self.token_expires_in = 2
        self.access_token = self._number(6)
        self.token_type = "Bearer"
        self.token_scope = grant_type
        self.user_first_name = user_first_name
        self.user_last_name = user_last_name
        return {
            "expires_in": self.token_expires_in,
            "access_token": self.access_token,
            "token_type": self.token_type,
            "scope": grant_type,
        }

    def travel_get_login_status(self) -> Answer:
        """Whether there is a token that has not expired."""
        return {"status": not (self.token_expires_in is None or self.token_expires_in == 0)}

    def verify_traveler_information(
        self, first_name: str, last_name: str, date_of_birth: str, passport_number: str
    ) -> Answer:
        """Whether the user himself wants to travel, is 18 and has a passport of the United States."""
        problem = self._unfit(first_name, last_name, date_of_birth, passport_number)
        if problem is None:
            return {"verification_status": True}
        return {"verification_status": False, "verification_failure": problem}

    def _unfit(self, first_name: str, last_name: str, date_of_birth: str, passport: str) -> str | None:
        own = f"{self.user_first_name} {self.user_last_name}"
        if self.user_first_name != first_name or self.user_last_name != last_name:
            return (
                "Cannot book flight information for another user."
                f"Expected {own}, got {first_name} {last_name}"
            )
        try:
            born = datetime.strptime(date_of_birth, "%Y-%m-%d")
        except ValueError:
            return "Invalid date of birth format. Please use YYYY-MM-DD."
        before_birthday = (TODAY.month, TODAY.day) < (born.month, born.day)
        if TODAY.year - born.year - before_birthday < 18:
            return "Traveler must be at least 18 years old."
        if not passport.startswith("US"):
            return "Passport must be issued by the United States."
        return None

    # -- cards and budget ------------------------------------------------------------------------------------

    def register_credit_card(
        self,
        access_token: str,
        card_number: str,
        expiration_date: str,
        cardholder_name: str,
        card_verification_number: int,
    ) -> Answer:
        """Register a card, with a random balance."""
        if self.token_expires_in is None:
            return refusal("Token not initialized")
        if refused := self._no_access(access_token):
            return refused
        if card_number in self.credit_card_list:
            return refusal("Card already registered")
        card_id = self._number(12)
        self.credit_card_list[card_id] = {
            "card_number": card_number,
            "expiration_date": expiration_date,
            "cardholder_name": cardholder_name,
            "card_verification_number": card_verification_number,
            "balance": int(self._number(5)),
        }
        return {"card_id": card_id}

    def get_all_credit_cards(self) -> Answer:
        """All cards; no token is asked for."""
        return {"credit_card_list": self.credit_card_list}

    def get_credit_card_balance(self, access_token: str, card_id: str) -> Answer:
        """What is on a card."""
        if refused := self._no_access(access_token):
            return refused
        if card_id not in self.credit_card_list:
            known = str(list(self.credit_card_list))
            return refusal(f"Card not registered. Here are a list of card_id's: {known}")
        return {"card_balance": self.credit_card_list[card_id]["balance"]}

    def set_budget_limit(self, access_token: str, budget_limit: float) -> Answer:
        """Set the budget in dollars."""
        if refused := self._no_access(access_token):
            return refused
        self.budget_limit = float(budget_limit)
        return {"budget_limit": self.budget_limit}

    def get_budget_fiscal_year(
        self, lastModifiedAfter: str | None = None, includeRemoved: str | None = None
    ) -> Answer:
        """Always the same year."""
        return {"budget_fiscal_year": "2018"}

    def compute_exchange_rate(self, base_currency: str, target_currency: str, value: float) -> Answer:
        """Dollars in another currency, or the other way round."""
        for currency, rate in PER_DOLLAR.items():
            if base_currency == "USD" and target_currency == currency:
                return {"exchanged_value": self._exchanged(value, rate)}
            if base_currency == currency and target_currency == "USD":
                return {"exchanged_value": round(value / rate, 2)}
        raise ValueError("No available exchange rate for the given currencies.")

    def _exchanged(self, value: float, rate: float) -> float:
        return float(times(value, rate))

    # -- flights ---------------------------------------------------------------------------------------------

    def list_all_airports(self) -> Answer:
        """Codes of all airports."""
        return list(AIRPORTS)

    def get_nearest_airport_by_city(self, location: str) -> Answer:
        """A city's airport."""
        return {"nearest_airport": NEAREST.get(location, "Unknown")}

    def get_flight_cost(
        self, travel_from: str, travel_to: str, travel_date: str, travel_class: str
    ) -> Answer:
        """What a flight costs; in the long-context category, the prices of all flights on that day."""
        price, factor = self._price(travel_from, travel_to, travel_date, travel_class)
        if not self.long_context:
            return {"travel_cost_list": [price]}
        return {"travel_cost_list": [seat_price(fare, factor, travel_date) for fare in FARES.values()]}

    def _price(self, start: str, end: str, day: str, travel_class: str) -> tuple[float, int]:
        if (start, end) not in FARES:
            raise ValueError("No available route for the given airports.")
        factor = next((factor for name, factor in CLASSES.items() if travel_class == name), None)
        if factor is None:
            raise ValueError("Invalid travel class. Options are: economy, business, first.")
        return seat_price(FARES[start, end], factor, day), factor

    def book_flight(
        self,
        access_token: str,
        card_id: str,
        travel_date: str,
        travel_from: str,
        travel_to: str,
        travel_class: str,
    ) -> Answer:
        """Book a flight and pay with a card."""
        if refused := self._no_access(access_token):
            return {"booking_status": False, **refused}
        if problem := self._unbookable(card_id, travel_date, travel_from, travel_to, travel_class):
            return {"booking_status": False, **refusal(problem)}
        try:
            cost, _ = self._price(travel_from, travel_to, travel_date, travel_class)
        except ValueError as error:
            return {"booking_status": False, **refusal(str(error))}
        card = self.credit_card_list[card_id]
        if card["balance"] < cost:
            return {"booking_status": False, **refusal("Insufficient funds")}
        if self.budget_limit is not None and card["balance"] < self.budget_limit:
            return {"booking_status": False, **refusal("Balance is less than budget limit")}
        card["balance"] -= cost
        booking_id, transaction_id = self._number(7), self._number(8)
        self.booking_record[booking_id] = {
            "card_id": card_id,
            "travel_date": travel_date,
            "travel_from": travel_from,
            "travel_to": travel_to,
            "travel_class": travel_class,
            "travel_cost": cost,
            "transaction_id": transaction_id,
        }
        return {
            "booking_id": booking_id,
            "transaction_id": transaction_id,
            "booking_status": True,
            "booking_history": self.booking_record if self.long_context else {},
        }

    def _unbookable(self, card_id: str, day: str, start: str, end: str, travel_class: str) -> str | None:
        if card_id not in self.credit_card_list:
            return "Card not registered"
        if "balance" not in self.credit_card_list[card_id]:
            return "Balance not found"
        if start not in AIRPORTS:
            return f"Invalid departure airport code: {start}"
        if end not in AIRPORTS:
            return f"Invalid destination airport code: {end}"
        try:
            datetime.strptime(day, "%Y-%m-%d")
        except ValueError:
            return "Invalid date format. Use YYYY-MM-DD."
        if travel_class not in CLASSES:
            names = ", ".join(map(repr, CLASSES))
            return f"Invalid travel class. Must be one of {{{names}}}"
        return None

    def cancel_booking(self, access_token: str, booking_id: str) -> Answer:
        """Cancel a booking and pay the card back."""
        if refused := self._no_access(access_token):
            return {"cancel_status": False, **refused}
        if booking_id not in self.booking_record:
            return {"cancel_status": False, **refusal("Booking not found")}
        booking = self.booking_record[booking_id]
        card_id, cost = booking["card_id"], booking["travel_cost"]
        self.credit_card_list[card_id]["balance"] += cost
        del self.booking_record[booking_id]
        return {"cancel_status": True}

    def purchase_insurance(
        self, access_token: str, insurance_type: str, booking_id: str, insurance_cost: float, card_id: str
    ) -> Answer:
        """Insure a booking; what it costs is for the buyer to say."""
        if refused := self._no_access(access_token):
            return {"insurance_status": False, **refused}
        if self.budget_limit is not None and self.budget_limit < insurance_cost:
            return {"insurance_status": False, **refusal("Exceeded budget limit")}
        if booking_id not in self.booking_record:
            return {"insurance_status": False, **refusal("Booking not found")}
        if card_id not in self.credit_card_list:
            return {"insurance_status": False, **refusal("Credit card not registered")}
        self.credit_card_list[card_id]["balance"] -= insurance_cost
        return {"insurance_id": self._number(9), "insurance_status": True}

    # -- records ---------------------------------------------------------------------------------------------

    def retrieve_invoice(
        self, access_token: str, booking_id: str | None = None, insurance_id: str | None = None
    ) -> Answer:
        """A booking's invoice; insurances have none."""
        if refused := self._no_access(access_token):
            return refused
        if booking_id not in self.booking_record:
            return refusal("Booking not found")
        booking = self.booking_record[booking_id]
        return {"invoice": {"booking_id": booking_id, **{name: booking[name] for name in INVOICE}}}

    def get_booking_history(self, access_token: str) -> Answer:
        """All bookings."""
        if refused := self._no_access(access_token):
            return refused
        return {"booking_history": copy.deepcopy(self.booking_record)}

    def contact_customer_support(self, booking_id: str, message: str) -> Answer:
        """Ask for help with a booking; nobody reads it."""
        if booking_id not in self.booking_record:
            return refusal("Booking not found")
        return {
            "customer_support_message": "Thank you for contacting customer support. Your message has been"
            " received and we will get back to you shortly."
        }
