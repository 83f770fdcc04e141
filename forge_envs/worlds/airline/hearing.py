"""What customers of an airline understand."""

from __future__ import annotations

from forge_envs.worlds.desk.hearing import Ear
from forge_envs.worlds.desk.hearing.topics import Topics

_TOPICS = Topics.load("forge_envs.worlds.airline", other="flights")
_NAMES = {
    "fact": "reservation status cabin money flight date",
    "cancel": "cancel annul refund",
    "bags": "bag",
    "cabin": "cabin upgrade",
    "flights": "flight fly date move rebook change switch trip modify",
    "passengers": "passenger name",
    "book": "book reserve reservation trip ticket flight",
    "certificate": "voucher credit",
    "insurance": "insurance",
}
_MARKS = {
    "fact": "share disclose disclosed reveal confidential private friend other",
    "cancel": "cancel annul refund",
    "bags": "bag",
    "cabin": "upgrade cabin",
    "flights": "rebook flight date",
    "passengers": "passenger name",
    "book": "book ticket reservation flight cabin insurance bag",
    "certificate": "voucher credit refund pay",
    "insurance": "insurance",
}
_ALONE = {
    "cancel": "cancel annul",
    "bags": "bag",
    "cabin": "upgrade",
    "flights": "rebook",
    "passengers": "passenger",
    "certificate": "voucher",
    "insurance": "insurance",
}
_CHANGE = "change modify update switch move save make get submit add swap replace"
_DID = {
    "fact": "",
    "cancel": "cancel annul refund remove submit make get save issue credit",
    "bags": f"{_CHANGE} pay book",
    "cabin": f"{_CHANGE} upgrade book refund rebook",
    "flights": f"{_CHANGE} rebook book redirect refund issue pay",
    "passengers": f"{_CHANGE} issue book",
    "book": "book make get save submit add pay issue",
    "certificate": "issue credit add make get submit save refund pay move",
    "insurance": "add make get save book",
}

EAR = Ear(_TOPICS, _NAMES, _MARKS, _ALONE, _DID)
