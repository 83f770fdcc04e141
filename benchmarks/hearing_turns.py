"""Phrases drawn from the patterns of benchmarks/hearing/turns.txt."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATTERNS = Path(__file__).parent / "hearing" / "turns.txt"
VERBS = """cancel cancelled cancelling cancellation|refund refunded refunding refund|return returned returning return
exchange exchanged exchanging exchange|swap swapped swapping swap|change changed changing change
modify modified modifying modification|update updated updating update|move moved moving change
upgrade upgraded upgrading upgrade|rebook rebooked rebooking rebooking|book booked booking booking
add added adding addition|replace replaced replacing replacement|switch switched switching switch
cancel canceled canceling cancelation|redirect redirected redirecting redirection|edit edited editing edit
adjust adjusted adjusting adjustment|amend amended amending amendment|remove removed removing removal
reschedule rescheduled rescheduling change|cancel cancelled cancelling cancellation|return returned returning return
change changed changing modification|issue issued issuing voucher|correct corrected correcting correction
exchange exchanged exchanging exchange|refund refunded refunding refund|downgrade downgraded downgrading downgrade
call off|called off|calling off|cancellation""".replace(
    "call off|called off|calling off|cancellation", "void voided voiding cancellation"
)
FORMS = [verb.split() for line in VERBS.split("\n") for verb in line.split("|")]
OBJECTS = """your order|order {ID}|the order|this order|it|that|this one|the reservation|your reservation|your booking
booking {ID}|the ticket|your flight|the items|the item|the flight|your trip|the payment|the payment method|your address
the shipping address|the whole order|a delivered order|the headphones|both items|the bags|an extra bag|the cabin
the passenger|your name|this purchase|that order|the {NOUN}|your {NOUN}|your tickets|reservation {ID}|the return flight
the lamp|a basic economy ticket|the mug and the lamp|that reservation|#{ID}|the itinerary|the seats""".replace(
    "\n", "|"
).split("|")
NOUNS = ["parcel", "shipment", "order", "booking", "flights", "card", "details", "laptop", "backpack", "jacket", "seats", "trip", "keyboard", "camera", "upgrade"]
EXCUSES = ["Sorry, ", "I'm sorry, ", "I'm sorry, but ", "Unfortunately, ", "Unfortunately ", "I'm afraid ", "I'm afraid that ", "Sadly, ", "Regrettably, \nI apologize, but ", "I apologise, ", "My apologies, but ", "Alas, ", "Hmm, ", "Sorry but ", "I'm really sorry, but ", "Thanks for asking, but \nWell, ", "Look, ", "Since it's {STATUS}, ", "Because it has shipped, ", "As it was delivered, ", "I checked, and ", "I've checked with my team and \nDear customer, ", "Thank you for your patience. Unfortunately, ", "Under our policy, ", "At this stage, ", "I see it's {STATUS}, so \nIt's {STATUS}, so ", "I looked into it: ", "I regret that ", "I understand, but ", "We're sorry, ", "Once an order is {STATUS}, "]
EXCUSES = [part for line in EXCUSES for part in line.split("\n")]
NUMBERS = """email|email address|order number|order id|name|full name|zip code|name and zip code|user id|reservation number
booking code|confirmation number|payment method|card|address|new address|date of birth|reason|booking reference|number of bags
travel date|cabin|destination|phone number|last name|flight number|color|size|items""".replace(
    "\n", "|"
).split("|")
METHODS = ["your card", "PayPal", "your Visa", "gift_card_1234567", "your gift card", "the original payment method", "credit_card_7654321", "paypal_1234567"]
STATUSES = "pending delivered processed shipped pending".split()
IDS = ["#W1234567", "#W7654321", "ABC123", "ZFA04Y", "4WQ150", "#W5519203"]
BEFORE = """Thank you.|Thanks, Mia.|I see.|Let me check.|Hi Ann!|Got it.|I understand how you feel.|I've found your order.|Hello!
I looked at {ID}.|Your order is {STATUS}.|Good question.|I know this is frustrating.|Thanks for waiting.|I have checked it.
It was delivered on Monday.|I can see two items in it.|Thank you for the details.|That was quick.|I've had a look at it.""".replace(
    "\n", "|"
).split("|")
AFTER = """Thank you for your understanding.|It is {STATUS}.|The total was $54.04.|I hope you understand.|It takes 5 to 7 days.
{M} was used.|Our team is here every day.|It's order {ID}.|The rest stays as it is.|That is how it stands.""".replace(
    "\n", "|"
).split("|")
CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")


def draw(pattern: str, dice: random.Random) -> str:
    """One phrase of a pattern."""
    verb = dice.choice(FORMS)
    slots = {"V": verb[0], "VED": verb[1], "VING": verb[2], "N": verb[3]}
    several = {
        "O": OBJECTS, "NOUN": NOUNS, "NB": NUMBERS, "M": METHODS, "STATUS": STATUSES, "ID": IDS,
        "END": ["", ".", ".", ".", "!", "..", " :)"], "END2": ["", ".", ".", "!"], "MARK": ["?", "?", ".", ""],
        "MARK2": ["?", ".", ""], "QM": ["?", "?", "?", ".", "", ", please?"], "QM2": ["?", "?", " please", " please?", " pls", ""],
    }  # fmt: skip
    several["SO"] = [*EXCUSES, *[""] * 15]
    text = pattern
    for _ in range(6):
        text = CHOICE.sub(lambda found: dice.choice(found[1].split("|")), text)
        text = SLOT.sub(lambda found: slots.get(found[1]) or dice.choice(several[found[1]]), text)
        if "[" not in text and "{" not in text:
            break
    text = re.sub(r" +", " ", text).strip()
    return text[:1].upper() + text[1:] if dice.random() < 0.7 else text


def blurred(text: str, dice: random.Random) -> str:
    """As somebody writes who is in a hurry, sometimes."""
    if dice.random() < 0.1:
        text = text.replace("'", "")
    if dice.random() < 0.06:
        text = text.replace("'", "’")
    if dice.random() < 0.05:
        text = text.upper()
    return text


def phrases(each: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Labelled phrases: `each` of every pattern, fewer where a pattern has fewer."""
    dice = random.Random(seed)
    act, label = "", False
    for line in PATTERNS.read_text("utf-8").splitlines():
        if line.startswith("== "):
            _, act, sign = line.split()
            label = sign == "+"
        elif line and not line.startswith("#"):
            seen = set()
            many = each * (1 + line.count("|") // 12) // 2
            for _ in range(many):
                text = blurred(draw(line, dice), dice)
                if act != "agrees" and dice.random() < 0.15:
                    text = f"{draw(dice.choice(BEFORE), dice)} {text}"
                if act != "agrees" and dice.random() < 0.1 and text[-1] in ".!?":
                    text = f"{text} {draw(dice.choice(AFTER), dice)}"
                if text not in seen:
                    seen.add(text)
                    yield {"act": act, "label": label, "text": text}
