"""What customers of a shop understand."""

from __future__ import annotations

from forge_envs.worlds.desk.hearing import Ear

_DID_WORDS = (
    "cancelled|canceled|refunded|returned|requested|submitted|arranged|exchanged|swapped|"
    "replaced|modified|changed|updated|switched|moved|charged"
)
_TOPICS = {
    "email": "email|emails|e-mail|mail address",
    "name": "name|names|zip|postal|postcode|post code",
    "identity": "identity|identify|verify|authenticate|who am i|who are you|your account",
    "order": "order id|order number|order no|which order|what order|order's number|order's id",
    "reason": "reason|reasons|why",
    "address": "address|addresses|where",
    "payment": "pay|payment|payments|paying|card|method|methods|refund to|refund go|be refunded",
    "items": (
        "item|items|option|options|color|colors|colour|colours|variant|variants|product|products|"
        "instead|would you like"
    ),
}
_ABOUT = {
    "fact": "order status total tracking",
    "cancel": "cancel cancelled canceled cancelling cancellation",
    "return": "return returned returning refund refunded send",
    "exchange": "exchange exchanged exchanging swap replace replaced",
    "modify": "modify modified change changed changing changes swap replace exchange update switch",
    "address": "address ship shipped send deliver",
    "home": "address",
    "payment": "pay paid payment charge card",
}
_DID = {
    "fact": "",
    "cancel": "cancelled canceled refunded",
    "return": "returned requested submitted arranged refunded",
    "exchange": "exchanged requested submitted arranged swapped replaced",
    "modify": "modified changed updated swapped replaced switched",
    "address": "changed updated modified moved",
    "home": "changed updated modified moved",
    "payment": "changed updated modified switched moved charged",
}

EAR = Ear(_DID_WORDS, _TOPICS, _ABOUT, _DID)
