"""What customers of a shop understand."""

from __future__ import annotations

from forge_envs.worlds.desk.hearing import Ear
from forge_envs.worlds.desk.hearing.topics import Topics

_TOPICS = Topics.load("forge_envs.worlds.retail", other="items")
_NAMES = {
    "fact": "order status total tracking",
    "cancel": "cancel annul refund call-off",
    "return": "return refund send",
    "exchange": "exchange swap replace switch",
    "modify": "modify change swap replace exchange update switch",
    "address": "address ship send deliver redirect parcel",
    "home": "address",
    "payment": "pay payment charge money switch",
}
_MARKS = {
    "fact": "share disclose disclosed reveal confidential private friend other",
    "cancel": "cancel annul refund",
    "return": "return refund",
    "exchange": "exchange swap replace",
    "modify": "item colour swap replace exchange",
    "address": "address redirect",
    "home": "address",
    "payment": "",
}
_ALONE = {"cancel": "cancel annul", "return": "return", "exchange": "exchange", "address": "address"}
_CHANGE = "change modify update switch move save make get submit add"
_DID = {
    "fact": "",
    "cancel": "cancel annul refund remove submit make get save",
    "return": "return refund submit make get save credit issue book add",
    "exchange": "exchange swap replace submit make get save switch change issue book",
    "modify": f"swap replace exchange {_CHANGE} upgrade remove refund",
    "address": f"redirect ship replace swap {_CHANGE}",
    "home": f"replace {_CHANGE}",
    "payment": f"pay swap replace credit refund {_CHANGE}",
}

EAR = Ear(_TOPICS, _NAMES, _MARKS, _ALONE, _DID)
