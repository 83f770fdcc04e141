"""The eight simulated systems of BFCL's multi-turn categories, by their official names.

Each is made without arguments, started by `load(config, long_context)` and compared by `state()`; its
`functions` are what an agent may call. What they answer, refuse and hold equals the official simulators call
by call. `BACKENDS` are those of the fourth edition; `BACKENDS_OF` has those of the third too, which differ in
some functions and texts.
"""

from forge_envs.worlds.bfcl.backends.backend import Backend
from forge_envs.worlds.bfcl.backends.file_system import GorillaFileSystem
from forge_envs.worlds.bfcl.backends.maths import MathAPI
from forge_envs.worlds.bfcl.backends.messages import MessageAPI
from forge_envs.worlds.bfcl.backends.posting import TwitterAPI
from forge_envs.worlds.bfcl.backends.third import (
    ThirdFileSystem,
    ThirdMessageAPI,
    ThirdTicketAPI,
    ThirdTradingBot,
    ThirdTravelAPI,
    ThirdTwitterAPI,
)
from forge_envs.worlds.bfcl.backends.tickets import TicketAPI
from forge_envs.worlds.bfcl.backends.trading import TradingBot
from forge_envs.worlds.bfcl.backends.travel import TravelAPI
from forge_envs.worlds.bfcl.backends.vehicle import VehicleControlAPI

FOURTH: tuple[type[Backend], ...] = (
    GorillaFileSystem,
    MathAPI,
    MessageAPI,
    TwitterAPI,
    TicketAPI,
    TradingBot,
    TravelAPI,
    VehicleControlAPI,
)
THIRD: tuple[type[Backend], ...] = (
    ThirdFileSystem,
    ThirdMessageAPI,
    ThirdTicketAPI,
    ThirdTradingBot,
    ThirdTravelAPI,
    ThirdTwitterAPI,
)
BACKENDS: dict[str, type[Backend]] = {cls.official: cls for cls in FOURTH}
"""The simulated systems of BFCL v4, by official class name."""
BACKENDS_OF: dict[str, dict[str, type[Backend]]] = {
    "v3": {**BACKENDS, **{cls.official: cls for cls in THIRD}},
    "v4": BACKENDS,
}
"""The same by the edition of the data: "v3" (as of July 2025) and "v4"."""

__all__ = ["BACKENDS", "BACKENDS_OF", "Backend"]
