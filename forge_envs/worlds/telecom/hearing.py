"""What a customer understands of an agent's words: which of their own tools to use, and how.

A line is cut into pieces, at sentences, commas, "and" and "then". A piece names a topic, tells to do
something or asks how something is; what it leaves open ("turn it off") it has from the piece before. A tool
that is named outright is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from forge_envs.messages import ToolCall
from forge_envs.tools import tools_of
from forge_envs.worlds.telecom.phone import Phone
from forge_envs.worlds.telecom.radio import MODES


@dataclass(frozen=True)
class Switch:
    """A topic: what may be done about it, and how one looks at it."""

    words: str
    """What it is called, as a regular expression over lower-case text."""
    do: str = ""
    """The tool that changes it."""
    look: str = ""
    """The tool that shows it."""
    on: str = ""
    """What the look shows when it is on; "" where it cannot be on or off."""
    verbs: str = ""
    """Verbs that ask for the change here and nowhere else."""


SWITCHES = {
    "airplane": Switch(
        "air ?plane|aero ?plane|flight mode",
        "toggle_airplane_mode",
        "check_network_status",
        "Airplane Mode: ON",
    ),
    "sim": Switch(
        r"\bsim\b",
        "reseat_sim_card",
        "check_sim_status",
        verbs="re-?seat|re-?insert|remov|take|eject|put|pop|pull",
    ),
    "roaming": Switch(r"\broam", "toggle_roaming", "check_network_status", "Data Roaming Enabled: Yes"),
    "saver": Switch(
        r"data[- ]?sav|low[- ]data", "toggle_data_saver_mode", "check_data_restriction_status", "mode is ON"
    ),
    "calling": Switch(
        r"wi-?fi[- ]call|calls? over wi-?fi", "toggle_wifi_calling", "check_wifi_calling_status", "turned ON"
    ),
    "wifi": Switch(r"wi-?fi", "toggle_wifi", "check_wifi_status", "Wi-Fi is ON"),
    "vpn": Switch(r"\bvpn\b|virtual private", "disconnect_vpn", "check_vpn_status", "VPN is ON"),
    "apn": Switch(
        r"\bapns?\b|access[- ]point|\bmmsc\b",
        "reset_apn_settings",
        "check_apn_settings",
        verbs="reset|restor",
    ),
    "permission": Switch(
        r"permission|\b(?:access|allow)\b.*(?:storage|sms)",
        "grant_app_permission",
        "check_app_permissions",
        verbs="grant|allow|giv|add",
    ),
    "apps": Switch(
        r"(?:installed|which|what|list of) app|apps? (?:are )?installed", "", "check_installed_apps"
    ),
    "app": Switch(r"messaging app|browser app|app status", "", "check_app_status"),
    "reboot": Switch(
        r"\bre-?(?:boot|start)|power[- ]?cycl|(?:phone|device|it) off and (?:back )?on",
        "reboot_device",
        verbs="re-?boot|re-?start|power|turn|switch",
    ),
    "speed": Switch(
        r"speed ?test|(?:internet|download|data|connection) speed|how fast", "", "run_speed_test"
    ),
    "mms": Switch(
        r"\bmms\b|(?:picture|photo|image|multimedia|group) ?messag|send (?:\w+ )?(?:picture|photo|image)",
        "",
        "can_send_mms",
    ),
    "mode": Switch(
        r"network (?:mode|preference|type|technology)|preferred network|\b[2345]g\b|\blte\b|[2345]g_",
        "set_network_mode_preference",
        "check_network_mode_preference",
        verbs="set|chang|switch|choos|select|prefer",
    ),
    "network": Switch(
        r"network status|(?:connection|cellular) status|network settings", "", "check_network_status"
    ),
    "bar": Switch(
        r"status bar|top of (?:the|your) screen|\bicons?\b|\bsignal\b|\bbars\b", "", "check_status_bar"
    ),
    "pay": Switch(
        r"\bpay\b|\bpaying\b|payment", "make_payment", "check_payment_request", verbs="pay|mak|accept|approv"
    ),
    "data": Switch(
        r"(?:mobile|cellular|cell) data|data (?:connection|switch|toggle|enabled)",
        "toggle_data",
        "check_network_status",
        "Mobile Data Enabled: Yes",
    ),
}
"""Topics, the closer-fitting before the wider: a stretch of text is taken by the first that names it."""

_CUT = re.compile(r"(?<=[.?!:;\n])\s+|\n+|,\s*|\s(?:and|then|after that|afterwards|next)\b\s*")
_ING = r"(?:e|ing|ting|e them|e it)?\b"
_DO = re.compile(
    rf"\b(?:turn|switch|toggl|flip|enabl|disabl|activat|deactivat|set|chang|reset|connect|disconnect|mak){_ING}"
    r"|\b(?:should|must|needs? to) be\b|\bensure\b"
)
_LOOK = re.compile(
    r"\b(?:check|look|see|tell|show|shows|verify|confirm|whether|what|which|how|read|report|view|know"
    r"|let me know|test|run|try|measure|currently|status of)\b|\?"
)
_OFF = re.compile(r"\b(?:off|disabl\w*|deactivat\w*|disconnect\w*)\b")
_ON = re.compile(r"\b(?:on|enabl\w*|activat\w*|connect(?:ing)?)\b")
_IF = re.compile(r"^\W*(?:if|in case|when|unless|once|after|because|since|as soon as)\b")
_NOT = re.compile(
    r"\b(?:don'?t|do not|never|needn'?t|no need|without|instead of|rather than|should not|shouldn'?t)\b"
)
_OURS = re.compile(
    r"^\W*(?:(?:now|so|ok|okay|great|next|also|first|thanks?|thank you)\W+)*"
    r"(?:i|we|i'?ve|i'?ll|we'?ve|we'?ll|i'?m|let me)\b"
)
_OFFER = re.compile(r"\b(?:shall|should|may|can|could|let) i\b(?! ask)|\b(?:like|want) (?:me|us) to\b")
_OFF_AND_ON = re.compile(
    r"\b(?:turn|switch|power)\w* (?:off )?(?:your |the )?(?:phone|device|mobile|handset)?(?: off)?"
    r"(?:,? and|,? then)+ (?:\w+ it )?(?:back )?on\b(?: again)?"
)
_PERMISSIONS = re.compile(
    r"\b(sms|storage|phone|network)(?: permission| access)?\s*(?:,|\band\b|&)+\s*"
    r"(?=(?:the )?(?:sms|storage|phone|network)\b)"
)
_MAY = re.compile(r"\b(sms|storage|network|phone(?= permission| access| \+|['\"`]))")
_ASK = re.compile(r"\b(?:you|please|your)\b")
_TOOL = re.compile(r"\b(" + "|".join(tools_of(Phone)) + r")\b(?:\(([^()]*)\))?")
_PAIR = re.compile(r"""(\w+)\s*[=:]\s*["'“]([^"'”]*)["'”]""")
_QUOTED = re.compile(r"""["'“`]([^"'”`]*)["'”`]""")


@dataclass(frozen=True)
class Favour:
    """One thing the agent wants of the customer."""

    topic: str
    call: ToolCall | None
    """What to do; None where the agent leaves open how."""
    on: bool | None = None
    """The position the switch is to be in; None to turn it over, whatever it is."""


@dataclass
class _Piece:
    text: str
    topics: list[str] = field(default_factory=list)
    do: bool = False
    look: bool = False


def errands(text: str) -> list[Favour]:
    """What the agent wants done or looked at, in order, each once.

    >>> said = "Please turn off airplane mode and restart the phone."
    >>> [(errand.call.name, errand.on) for errand in errands(said)]
    [('toggle_airplane_mode', False), ('reboot_device', None)]
    >>> [errand.call.name for errand in errands("Is your SIM card seated? What does the status bar show?")]
    ['check_sim_status', 'check_status_bar']
    >>> errands("I have enabled roaming on your line."), errands("Do not restart it.")
    ([], [])
    """
    found: list[Favour] = []
    for errand in _all(text.replace("’", "'")):
        if not found or errand != found[-1]:
            found.append(errand)
    return found


def _all(text: str) -> Iterator[Favour]:
    before: list[str] = []
    """Topics of the sentence before, which "it" may mean."""
    for sentence in re.split(r"(?<=[.?!;])\s+|\n+", text):
        named, low = list(_TOOL.finditer(sentence)), sentence.lower()
        if _OFFER.search(low):
            continue
        if not named:
            before = yield from _sentence(_whole(low), before)
        elif not _NOT.search(low) and not _OURS.match(low):
            yield from (_outright(sentence, *match.groups()) for match in named)


def _whole(sentence: str) -> str:
    """A sentence without the "and" of phrases that are one thing."""
    sentence = _OFF_AND_ON.sub("restart the phone", sentence)
    return _PERMISSIONS.sub(r"\1 + ", sentence)


def _outright(sentence: str, name: str, given: str | None) -> Favour:
    """A tool that was named, with the arguments beside it or in its sentence."""
    tool = tools_of(Phone)[name]
    keys = list(tool.parameters["properties"])
    arguments: dict[str, Any] = {k: v for k, v in _PAIR.findall(given or sentence) if k in keys}
    missing = [key for key in keys if key not in arguments]
    if name == "set_apn_settings":
        return Favour("apn", _settings(sentence))
    arguments |= dict(zip(missing, _QUOTED.findall(given or ""), strict=False))
    topic = next((topic for topic, s in SWITCHES.items() if name in (s.do, s.look)), name)
    if any(key not in arguments for key in keys):
        return next(iter(_changes(topic, sentence.lower())), Favour(topic, None))
    low = sentence.lower()
    on = (
        _direction(low.replace(name, ""))
        if SWITCHES.get(topic, Switch("")).on and name.startswith("toggle")
        else None
    )
    return Favour(topic, ToolCall(name, arguments, "user"), on)


def _settings(sentence: str) -> ToolCall | None:
    start, end = sentence.find("{"), sentence.rfind("}")
    try:
        settings = json.loads(sentence[start : end + 1])
    except ValueError:
        return None
    return ToolCall("set_apn_settings", {"apn_settings": settings}, "user")


def _sentence(sentence: str, before: list[str]) -> Generator[Favour, None, list[str]]:
    """Piece by piece; topic and verb are handed on within a sentence, and the topics to the next one."""
    if _OURS.match(sentence) and not _ASK.search(sentence):
        return before
    asks = sentence.rstrip().endswith("?")
    topics = before
    do = look = False
    for text in filter(None, (piece.strip() for piece in _CUT.split(sentence))):
        piece = _read(text, topics)
        if _NOT.search(text) or (_OURS.match(text) and not _LOOK.search(text)):
            do = look = False
            topics = piece.topics or topics
            continue
        if _IF.match(text):
            topics = piece.topics or topics
            continue
        if piece.do or piece.look:
            do, look = piece.do, piece.look
        if not piece.topics and not ((piece.do or (do and _direction(text) is not None)) and topics):
            continue
        topics = piece.topics or topics
        for topic in topics:
            if do and SWITCHES[topic].do:
                yield from _changes(topic, text if piece.topics else f"{topic} {text}")
            elif (look or asks) and SWITCHES[topic].look:
                yield _look(topic, text)
    return topics


def _read(text: str, before: list[str]) -> _Piece:
    """The topics of a piece, and whether it tells to do something about them, or those before, or to look."""
    piece, rest = _Piece(text), text
    found: list[tuple[int, str]] = []
    for topic, switch in SWITCHES.items():
        match = re.search(switch.words, rest)
        if match:
            found.append((match.start(), topic))
            rest = re.sub(switch.words, lambda m: " " * len(m[0]), rest)
    piece.topics = [topic for _, topic in sorted(found)]
    if "app" in piece.topics and len(piece.topics) > 1:
        piece.topics.remove("app")
    if "reboot" in piece.topics:
        piece.topics = ["reboot"]
    meant = piece.topics or (before if re.search(r"\bit\b", text) else [])
    own = [SWITCHES[topic].verbs for topic in meant if SWITCHES[topic].verbs]
    stated = re.search(r"\b(?:is|are|isn't|was)\b", text) and not re.search(
        r"\b(?:make sure|ensure|please)\b", text
    )
    piece.do = bool(_DO.search(text) or any(re.search(rf"\b(?:{verbs}){_ING}", text) for verbs in own))
    piece.do = (piece.do and not stated) or bool(re.search(r"\b(?:make sure|ensure)\b", text))
    piece.look = not piece.do and bool(_LOOK.search(text))
    return piece


def _look(topic: str, text: str) -> Favour:
    arguments = {"app_name": _app(text)} if topic in ("app", "permission") else {}
    return Favour(topic, ToolCall(SWITCHES[topic].look, arguments, "user"))


def _changes(topic: str, text: str) -> Iterator[Favour]:
    """The calls that a piece asks for about a topic."""
    name, arguments = SWITCHES[topic].do, dict[str, str]()
    on = _direction(text)
    if topic == "permission":
        given = _MAY.findall(text)
        for permission in given:
            yield Favour(topic, ToolCall(name, {"app_name": _app(text), "permission": permission}, "user"))
        if not given:
            yield Favour(topic, None)
        return
    if topic == "mode":
        mode = _mode(text)
        yield Favour(topic, ToolCall(name, {"mode": mode}, "user") if mode else None)
        return
    if topic == "vpn":
        name = "connect_vpn" if on else "disconnect_vpn"
    yield Favour(
        topic, ToolCall(name, arguments, "user"), on if SWITCHES[topic].on and topic != "vpn" else None
    )


def _direction(text: str) -> bool | None:
    if _OFF.search(text):
        return False
    return True if _ON.search(text) else None


def _app(text: str) -> str:
    return "browser" if "browser" in text else "messaging"


def _mode(text: str) -> str:
    """The network mode that a piece names; "" for none.

    >>> _mode("switch from 2g to 4g/5g"), _mode("set it to 3g only"), _mode("change it")
    ('4g_5g_preferred', '3g_only', '')
    """
    spelled = next((mode for mode in MODES if mode in text), "")
    text = re.sub(r"(?:from|instead of|rather than|not)\s+(?:\w+ )?[2345]g\b", "", text.replace("lte", "4g"))
    if spelled or "5g" in text or re.search("automatic|fastest|best", text):
        return spelled or MODES[0]
    return next((f"{n}g_only" for n in "432" if f"{n}g" in text), "")
