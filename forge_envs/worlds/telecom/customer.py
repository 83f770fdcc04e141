"""The scripted customer: does on their phone what the agent asks, and tells truly what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from forge_envs.messages import ToolCall
from forge_envs.worlds.telecom.hearing import SWITCHES, Favour, errands

PATIENCE = 4
"""Turns in a row in which nothing is asked of them, and nothing works, after which the customer leaves."""
MOST_ERRANDS = 10
"""What a customer does of one line; after that they have lost the thread."""
_PROOFS = (("speed test", "run_speed_test"), ("mms", "can_send_mms"), ("", "check_status_bar"))
"""A word in the notes -> how this customer sees that all is well again."""
_WELL = re.compile(r"\(Excellent\)|can send MMS|📶")
_WORKS = re.compile(
    r"\b(?:any|some)thing else\b|\bwork(?:s|ing|ed)?\b"
    r"|\b(?:fixed|resolved|solved|mended|better)\b|\btry (?:it )?again\b"
)
_HANDED_OVER = re.compile(r"\btransferr?(?:ed|ing)?\b|\bhuman (?:agent|representative)|\bcolleague|\bescalat")
_WHO = re.compile(
    r"\bname\b|\bnumber\b|who am i|\bidentif|\bverif|date of birth|where are you|abroad|travel|locat"
)
_MONEY = re.compile(r"refuel|more data|add(?:itional)? .*(?:data|gb)|gigabyte|\bplan\b|how much")
_YES_OR_NO = re.compile(r"\b(?:shall|should|may|can|could|would|do|did|are|is|have|will|ok|okay|right)\b")


class PhoneHands(Protocol):
    """What the customer's calls go through (`forge_envs.people.hands.Hands`)."""

    rounds: int

    def use(self, call: ToolCall) -> str:
        """Do it; the result or the refusal."""


@dataclass
class PhoneCustomer:
    """A `User` with a phone. They say at once what is wrong and who they are, answer what is asked, and leave
    when it works again, when they are handed over, or when nothing happens for too long.
    """

    wish: str
    """What they come for, as their notes put it to them."""
    known: str
    """What they can tell about themselves."""
    manners: str
    """How they act; what they would agree to, and how they see that it works."""
    hands: PhoneHands
    line: str = ""
    """What they say first; "" makes it from what they come for and what they know."""
    patience: int = PATIENCE

    def open(self) -> str:
        """The first line; it depends on the task alone."""
        made = " ".join(filter(None, (first_person(self.wish), first_person(self.known))))
        return self.line or made

    def reply(self, text: str) -> str | None:
        """What came of what the agent asked for; None when the customer leaves."""
        if not text:
            return self._wait("Hello? Are you there?")
        heard = errands(text)[:MOST_ERRANDS]
        told = [self._grant(errand) for errand in heard]
        low = text.lower()
        if _HANDED_OVER.search(low) and not heard and not low.rstrip().endswith("?"):
            return None
        told += self._answers(low)
        if told:
            self.patience = PATIENCE
            return "\n".join(told)
        if low.rstrip().endswith("?") and not _WORKS.search(low):
            self.patience = PATIENCE
            return "Yes, please." if _YES_OR_NO.search(low) else first_person(self.wish)
        return self._judge()

    def _answers(self, low: str) -> list[str]:
        """What they say to questions about themselves and what they would pay for."""
        if "?" not in low and not re.search(r"\b(?:please|tell|provide|give|confirm|need)\b", low):
            return []
        told = [first_person(self.known)] if self.known and _WHO.search(low) else []
        if _MONEY.search(low):
            told += [first_person(line) for line in _sentences(self.manners) if _MONEY.search(line.lower())]
        return told

    def _grant(self, errand: Favour) -> str:
        """Do one thing, unless it is so already; what came of it."""
        if errand.call is None:
            return "How exactly? Please tell me what to choose."
        look = SWITCHES[errand.topic].look if errand.on is not None and errand.topic in SWITCHES else ""
        if look:
            seen = self._use(ToolCall(look, {}, "user"))
            if (SWITCHES[errand.topic].on in seen) == errand.on:
                return f"It is {'on' if errand.on else 'off'} already.\n{seen}"
        return self._use(errand.call)

    def _use(self, call: ToolCall) -> str:
        self.hands.rounds += 1
        return self.hands.use(call)

    def _judge(self) -> str | None:
        """See whether it works: if so leave, else say that it does not."""
        notes = f"{self.wish} {self.manners}".lower()
        proof = next(tool for word, tool in _PROOFS if word in notes)
        seen = self._use(ToolCall(proof, {}, "user"))
        return None if _WELL.search(seen) else self._wait(f"It does not work yet.\n{seen}")

    def _wait(self, line: str) -> str | None:
        self.patience -= 1
        return line if self.patience > 0 else None


_PERSONS = (
    (r"\byou mobile data\b", "my mobile data"),
    (r"\byou(?: are|'re)\b", "I am"),
    (r"\byou were\b", "I was"),
    (r"\byourself\b", "myself"),
    (r"\byours\b", "mine"),
    (r"\byour\b", "my"),
    (r"\b(for|to|with|of|from|asks?|tells?|gives?) you\b", r"\1 me"),
    (r"\byou\b", "I"),
)


def first_person(notes: str) -> str:
    """Notes to somebody as that somebody would say them.

    >>> first_person("You are John Smith. Your phone is dead and you want it mended.")
    'I am John Smith. My phone is dead and I want it mended.'
    """
    for pattern, said in _PERSONS:
        notes = re.sub(pattern, said, notes.strip(), flags=re.IGNORECASE)
    return re.sub(r"(?:^|(?<=[.?!]\s))[a-z]", lambda match: match[0].upper(), notes)


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.?!])\s+|\n+", text.strip())


_ASKED = {
    "toggle_airplane_mode": "Please toggle airplane mode.",
    "reseat_sim_card": "Please take out your SIM card and put it back in.",
    "toggle_data": "Please toggle your mobile data switch.",
    "toggle_roaming": "Please toggle data roaming.",
    "toggle_data_saver_mode": "Please toggle data saver.",
    "toggle_wifi": "Please toggle Wi-Fi.",
    "toggle_wifi_calling": "Please toggle Wi-Fi calling.",
    "reset_apn_settings": "Please reset your APN settings.",
    "reboot_device": "Please restart your phone.",
    "connect_vpn": "Please connect your VPN.",
    "disconnect_vpn": "Please disconnect your VPN.",
    "make_payment": "Please pay the bill that I have sent you a request for.",
    "set_network_mode_preference": "Please set your preferred network mode to '{mode}'.",
    "grant_app_permission": "Please grant the {permission} permission to the {app_name} app.",
    "check_status_bar": "Please look at your status bar.",
    "check_network_status": "Please check your network status.",
    "check_network_mode_preference": "Please check which network mode is preferred.",
    "run_speed_test": "Please run a speed test.",
    "check_sim_status": "Please check your SIM card.",
    "check_data_restriction_status": "Please check whether data saver is on.",
    "check_apn_settings": "Please check your APN settings.",
    "check_wifi_status": "Please check your Wi-Fi.",
    "check_wifi_calling_status": "Please check whether Wi-Fi calling is on.",
    "check_vpn_status": "Please check whether a VPN is connected.",
    "check_installed_apps": "Please tell me which apps are installed.",
    "check_app_permissions": "Please check which permissions the {app_name} app has.",
    "can_send_mms": "Please try to send an MMS.",
    "check_payment_request": "Please check whether you have a payment request.",
}


def ask_for(call: ToolCall) -> str:
    """How an agent asks a customer for one of their calls, so that they understand it."""
    line = _ASKED.get(call.name)
    if line is None:
        given = ", ".join(f'{key}="{value}"' for key, value in call.arguments.items())
        return f"Please use {call.name}({given})."
    return line.format(**call.arguments)
