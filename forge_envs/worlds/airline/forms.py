"""The objects that tools take: parts of trips, of parties and of payments."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, with_config
from typing_extensions import TypedDict  # pydantic refuses the one of `typing` before Python 3.12

_closed = with_config({"extra": "forbid", "strict": True, "allow_inf_nan": False})


@_closed
class Leg(TypedDict):
    """One flight of a trip."""

    flight_number: Annotated[str, Field(description="The flight's number, e.g. 'FG123'.")]
    date: Annotated[str, Field(description="The day it leaves, e.g. '2024-05-20'.")]


@_closed
class Passenger(TypedDict):
    """Someone who flies."""

    first_name: Annotated[str, Field(description="First name, e.g. 'Ann'.")]
    last_name: Annotated[str, Field(description="Last name, e.g. 'Smith'.")]
    dob: Annotated[str, Field(description="Date of birth, e.g. '1980-12-31'.")]


@_closed
class Payment(TypedDict):
    """A part of what is paid."""

    payment_id: Annotated[
        str, Field(description="A payment method of the profile, e.g. 'credit_card_0000000'.")
    ]
    amount: Annotated[float, Field(description="Dollars that it pays, a whole number.")]
