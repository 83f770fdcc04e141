"""What policy.md allows, as functions: the generator draws by them, and tests hold golds against them."""

from __future__ import annotations

from collections.abc import Mapping

from forge_envs.tables import Row
from forge_envs.worlds.airline.database import NOW

COVERED = ("illness", "weather")
"""Reasons to cancel that insurance covers."""
REASONS = ("change of plan", "airline cancelled", *COVERED)
_FREE = {"regular": 0, "silver": 1, "gold": 2, "basic_economy": 0, "economy": 1, "business": 2}


def free_bags(membership: str, cabin: str, heads: int) -> int:
    """Checked bags that cost nothing, for a whole party."""
    return heads * (_FREE[membership] + _FREE[cabin])


def nonfree_bags(membership: str, cabin: str, heads: int, bags: int) -> int:
    """How many of so many checked bags are paid for."""
    return max(0, bags - free_bags(membership, cabin, heads))


def statuses(reservation: Row, flights: Mapping[str, Row]) -> list[str]:
    """How each flight of a reservation stands on its day."""
    return [flights[leg["flight_number"]]["dates"][leg["date"]]["status"] for leg in reservation["flights"]]


def may_cancel(reservation: Row, flights: Mapping[str, Row], reason: str) -> bool:
    """Whether a reservation may be cancelled for one of REASONS."""
    known = statuses(reservation, flights)
    if "landed" in known or "flying" in known:
        return False
    recent = reservation["created_at"] >= f"2024-05-14{NOW[10:]}"
    insured = reservation["insurance"] == "yes" and reason in COVERED
    return recent or insured or "cancelled" in known or reservation["cabin"] == "business"


def compensation(user: Row, reservation: Row, flights: Mapping[str, Row]) -> int:
    """Dollars that a customer who complains of a cancelled flight may be sent; 0 if none."""
    loyal = user["membership"] != "regular" or reservation["insurance"] == "yes"
    entitled = loyal or reservation["cabin"] == "business"
    cancelled = "cancelled" in statuses(reservation, flights)
    return 100 * len(reservation["passengers"]) if entitled and cancelled else 0
