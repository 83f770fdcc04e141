"""Answers of BFCL that are known to be wrong, by version and id. They are listed, not mended.

`CONTRADICTED` are those that the checker takes though they are not what was asked for. `WRONG_GOLD` are those
that no agent can give, because the official checker does not take them itself; its verdict on every attempt
is 0. An answer found so when it is read, of data that is not listed here, is told of in the same way.
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

_ALL, _FILES = ("base", "miss_func", "miss_param", "long_context"), ("base", "miss_func", "miss_param")
_NOT_ASKED = {
    4: (_ALL, "it posts lines in another order than the sorted one, which is asked for"),
    18: (_FILES, "it posts the difference of two files without the line break that the difference has"),
    30: (_FILES, "it posts a file without its quotation marks; asked for is the file exactly as it is"),
    162: (_ALL, "it computes RMB; the request says RMS"),
    171: (
        _ALL,
        "it books a flight of 10,000 on a budget of 1,428.57, and ends the dictated message otherwise",
    ),
    184: (_ALL, "it ends the dictated message with a full stop that was not dictated"),
}
CONTRADICTED: dict[str, str] = {
    f"{version}/multi_turn_{kind}_{number}": why
    for version in ("v3", "v4")
    for number, (kinds, why) in _NOT_ASKED.items()
    for kind in kinds
}
"""What is wrong with answers that win, and that an agent who does what it is asked may miss; they are
played."""
