"""What customers of a shop understand."""

from __future__ import annotations

from forge_envs.worlds.desk.hearing import Ear
from forge_envs.worlds.desk.hearing.topics import Topics

_TOPICS = Topics(
    {
        "email": ["(email|emails|e-mail)", "mail address"],
        "name": ["(name|names|zip|surname|postcode|postal)", "post code", "(spelt|spelled|spelling)"],
        "identity": [
            "(identity|identify|identification|authenticate|identifying)",
            "verify (you|your|yourself|who|my|it|that)",
            "verification",
            "who (be|am|are|is) (i|you|this|that|speaking|on|it)",
            "who (i|you) (am|are|be|have)",
            "(find|locate|open|pull) (up)? (you|your)",
            "your (account|profile)",
            "whom (i|am|do)",
            "(you|you be) (are)? who",
            "and you are",
            "who the",
            "really you",
            "security",
            "speaking (to|with)",
            "talking (to|with)",
        ],
        "order": [
            "order (id|no|confirmation|#)",
            "(id|number) (of|on|for|from) (the|your|that|this) order",
            "(which|what) (order|of your order)",
            "order (is|was|are|do|be) (it|this|that|the|you)",
            "which (one|ones)? (is)? (this|it|that) (one)? about",
            "order (in|does|did)? question",
            "which (of)? (your|these|those|the)? order",
            "order is this",
            "<id> or <id>",
            "and the order",
            "more than one order",
            "pending orders",
        ],
        "reason": [
            "(reason|why|motive)",
            "how come",
            "(what|whats) (made|makes|prompting|prompted|happened|happen|changed|go|went|is wrong|is the matter|be the matter|be wrong|led)",
            "(by)? mistake",
            "(no longer|not) (need|want)",
            "(prompting|prompted)",
            "what for",
            "damaged",
            "something come up",
            "(background|behind) ",
        ],
        "address": [
            "(address|street)",
            "where (should|shall|to|do|would|is|are|will|it|you|can|the|be)",
            "(ship|deliver|delivered|send|sent|go|going) to (which|what|where)",
            "(new|which|what) (place|home|house|location)",
            "(city|state) and",
            "shipping address",
            "where",
        ],
        "payment": [
            "(payment|pay|pay.ing|card|money)",
            "gift card",
            "refund (to|go|onto|back|method|be)",
            "(how|where) (should|shall|do|would|will|is|can|you|may) (i|we|you|the|your)? (like|want|prefer|send|issue|put|be)? (your|the|a)? (refund|money|amount|difference)",
            "(settle|cover|paid|charge) the",
            "(refund|refunded) you",
            "for the refund",
            "(like|want|prefer) (the|your) refund",
            "(paid|pay) with",
            "account to which",
            "your <money> to go",
            "be refunded",
            "(charge|bill|billed|charged|debit) ",
            "(which|what) method",
        ],
        "items": [
            "(item|items|option|options|colour|variant|variants|product|products|instead)",
            "(what|which) (would|do|should|shall|will|did) (you|i|we)",
            "would you like",
            "(send|sending|going|give|giving) (it)? back",
            "(which|what) (size|model|type|kind|one|ones|features|version|brand|style|part|parts|thing|things)",
            "(size|model|type|material|pieces|capacity|length|width|switch|preference|prefer)",
            "in exchange",
            "(one|pick|choose) (of)? these",
            "(for|to) what",
        ],
    },
    other="items",
)
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
    "fact": "share disclose disclosed reveal confidential private",
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
