"""What customers of an airline understand."""

from __future__ import annotations

from forge_envs.worlds.desk.hearing import Ear

_DID = (
    "cancelled|canceled|refunded|changed|updated|modified|moved|rebooked|rescheduled|upgraded|downgraded|"
    "switched|booked|reserved|added|sent|issued|given|credited|replaced"
)
_TOPICS = {
    "identity": (
        "user id|userid|user name|username|customer id|identity|identify|verify|authenticate|who am i|"
        "who are you|your account|your id"
    ),
    "reservation": (
        "reservation id|reservation number|reservation no|reservation code|booking number|booking id|"
        "booking code|booking reference|confirmation number|confirmation code|which reservation|"
        "what reservation|which booking|reservation's number"
    ),
    "reason": "reason|reasons|why",
    "flights": "date|dates|day|when|time|which flight|what flight|flight number|new flight|itinerary",
    "cabin": "cabin|cabins|class",
    "passengers": "passenger|passengers|who|traveler|travelers|traveller|travellers|name|names|dob|born",
    "bags": "bag|bags|baggage|luggage|suitcase|suitcases",
    "insurance": "insurance|insure|insured",
    "payment": "pay|payment|payments|paying|card|method|methods|refund to|refund go|be refunded",
}
_ABOUT = {
    "fact": "reservation booking status cabin total flight date",
    "cancel": "cancel cancelled canceled cancelling cancellation",
    "bags": "bag bags baggage luggage suitcase suitcases",
    "cabin": "cabin class upgrade downgrade business economy",
    "flights": "flight flights fly date move rebook reschedule change changed",
    "passengers": "passenger passengers name names traveler traveller",
    "book": "book booked booking reserve reservation trip",
    "certificate": "certificate certificates compensation compensate compensated voucher",
    "insurance": "insurance insure insured",
}
_CARRIED_OUT = {
    "fact": "",
    "cancel": "cancelled canceled refunded",
    "bags": "added changed updated modified",
    "cabin": "changed updated modified moved upgraded downgraded switched",
    "flights": "changed updated modified moved rebooked rescheduled switched",
    "passengers": "changed updated modified replaced",
    "book": "booked reserved",
    "certificate": "sent issued added given credited",
    "insurance": "added",
}

EAR = Ear(_DID, _TOPICS, _ABOUT, _CARRIED_OUT)
