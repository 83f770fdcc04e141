"""Answers of BFCL that are known to be wrong, by version and id. They are listed, not mended.

`WRONG_GOLD` are those that no agent can give, because the official checker does not take them itself; its
verdict on every attempt is 0. An answer found so when it is read, of data that is not listed here, is told of
in the same way.
"""

from __future__ import annotations

_NO_VALUE = "its answer has no accepted value for {}, which the function requires"
_MIXED = (
    "its answer is a list of texts, numbers and truth values; the checker reads elements of it as texts only"
)

_IN_BOTH = {
    "live_simple_106-63-0": _NO_VALUE.format("auto_loan_payment_start"),
    "live_simple_112-68-0": _NO_VALUE.format("acc_routing_start"),
    "live_multiple_862-181-3": "its answer demands journey_start_time, which the function does not have",
    "live_multiple_964-207-0": "its answer gives question, the function has statement alone",
}
WRONG_GOLD: dict[str, str] = {
    "v3/multi_turn_base_154": "its answer has 6 turns, its question 5: the official runner fails all agents",
    "v3/java_36": _MIXED,
    "v3/java_65": _MIXED,
    "v4/simple_java_36": _MIXED,
    "v4/simple_java_65": _MIXED,
    **{f"{version}/{id}": why for version in ("v3", "v4") for id, why in _IN_BOTH.items()},
}
"""Why no agent can win an entry; such entries are left out unless `wrong_gold="play"`."""
