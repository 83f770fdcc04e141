"""What customers of an airline understand."""

from __future__ import annotations

from forge_envs.worlds.desk.hearing import Ear
from forge_envs.worlds.desk.hearing.topics import Topics

_TOPICS = Topics(
    {
        "identity": [
            "user (id|name|number)",
            "(userid|username|identity|identify|identification|authenticate|identifying)",
            "(customer|member) (id|number)",
            "your id",
            "verify (you|your|yourself|who|my|it|that)",
            "verification",
            "who (be|am|are|is) (i|you|this|that|speaking|on|it|calling)",
            "who (i|you) (am|are|be|have)",
            "(find|locate|open|pull) (up)? you",
            "your (account|profile)",
            "whom (i|am|do)",
            "and you are",
            "really you",
            "security",
            "speaking (to|with)",
            "talking (to|with)",
            "who the",
        ],
        "reservation": [
            "(reservation|booking) (id|number|no|code|ref|reference|locator|confirmation)",
            "reservation's number",
            "(id|code|number) (of|on|for|from) (the|your|that|this)? (reservation|trip|ticket|e-ticket|booking)",
            "(which|what) (reservation|of your reservation|trip|booking)",
            "reservation you",
            "confirmation (number|code|id)",
            "(pnr|locator)",
            "record locator",
            "e-ticket",
            "(which|what) (of)? (your|these|those|the)? (reservation|trip)",
            "(six|6) (character|letter|digit|letters|characters|digits)",
            "reservation (is|was|are|do|be) (it|this|that|the|you)",
        ],
        "reason": [
            "(reason|why|motive)",
            "how come",
            "(what|whats) (made|makes|prompting|prompted|happened|happen|changed|go|went|is wrong|is the matter|be the matter|be wrong|led)",
            "change of (plan|plans)",
            "(illness|ill|sick|weather)",
            "(prompting|prompted)",
            "(airline|it) that cancelled",
        ],
        "destination": [
            "where",
            "(airport|airports|destination|headed|heading|origin)",
            "(which|what|from|departure|arrival) (city|cities|airport)",
            "(cities|city)",
            "from (and)? to",
            "(going|flying|fly|travel) to",
        ],
        "flights": [
            "(date|dates|day|days|when|time|itinerary|departure|departures|nonstop|non-stop|direct|stop)",
            "(which|what) (flight|leg|departure|one|option|of)",
            "flight (number|no|id)",
            "number of (the|your) (flight|cancelled)",
            "new flight",
            "(one way|one-way|round trip|round-trip|return trip)",
            "(outbound|inbound|outward)",
            "(morning|evening|afternoon)",
            "which (would|do|suits|should)",
            "flight (did|was|is|are|were)",
        ],
        "cabin": ["(cabin|cabins|class|economy|business)", "(seat|fare) (class|type)"],
        "passengers": [
            "(passenger|passengers|traveller|travellers|traveler|travelers|dob|born|people|ppl|person|companion)",
            "(first|last|full|correct|right|new|whose|which|what|the) (name|names)",
            "(name|names) (and|of|on|in|as)",
            "who (is|are|will|else|be|would|should|all|will be)? (going|flying|travelling|traveling|fly|travel|come|coming|on|in|the|about|it)",
            "(date|dates) of birth",
            "birth",
            "(birthday|birthdate)",
            "names",
            "(spelt|spelled|spelling|spell|written)",
            "(anyone|anybody|someone|somebody) else",
            "who",
        ],
        "bags": [
            "(bag|bags|baggage|luggage|suitcase|suitcases|carry-on)",
            "(checked|check) (in)? (bag|anything)",
            "pieces",
        ],
        "insurance": ["(insurance|insure|insured)", "travel protection", "protection", "(coverage|cover)"],
        "payment": [
            "(payment|pay|pay.ing|card|method)",
            "gift card",
            "(refund|refunded) (to|go|onto|back|method|be)",
            "(which|what) method",
            "be refunded",
            "(charge|bill|billed|charged|debit) ",
            "for the (refund|difference|charge)",
            "(how|where) (should|shall|do|would|will|is|can|you|may) (i|we|you|the|your)? (like|want|prefer|send|issue|put|be|settle|cover)? (your|the|a)? (refund|money|amount|difference)",
        ],
    },
    other="flights",
)
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
    "fact": "share disclose disclosed reveal confidential private",
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
