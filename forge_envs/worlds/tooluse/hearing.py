"""The words of a domain: its nouns, verbs and fields, as an ear understands them."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources

from forge_envs.worlds.desk.hearing import VERBS, Ear
from forge_envs.worlds.desk.hearing.topics import Topics
from forge_envs.worlds.desk.hearing.words import Word, lexicon
from forge_envs.worlds.tooluse.domain import Column, Deed, RowKind, ToolDomain
from forge_envs.worlds.tooluse.ear import DomainEar
from forge_envs.worlds.tooluse.theme import Called, Theme, ThemeAction, ThemeField, theme
from forge_envs.worlds.tooluse.words import forms, plural

_GENERIC = frozenset(
    [
        "change",
        "modify",
        "update",
        "switch",
        "move",
        "save",
        "make",
        "get",
        "submit",
        "add",
        "set",
        "swap",
        "replace",
        "exchange",
        "issue",
        "redirect",
        "transfer",
    ]
)
"""Stems of what is done to anything: they name no request by themselves."""
_LIGHT = frozenset(
    [
        "put",
        "set",
        "take",
        "make",
        "give",
        "get",
        "have",
        "do",
        "go",
        "come",
        "bring",
        "turn",
        "let",
        "call",
        "check",
        "look",
        "pick",
        "pull",
        "push",
        "hold",
        "run",
        "sign",
        "on",
        "off",
        "in",
        "out",
        "up",
        "back",
        "to",
        "as",
        "of",
        "for",
        "over",
        "a",
        "the",
    ]
)
_VAGUE = frozenset(["put", "set", "take", "make", "give", "get", "have", "do", "go", "come", "bring", "let"])
_KEPT = frozenset(
    [
        "CONFIRM",
        "CONFIRMED",
        "YES",
        "NO",
        "NOT",
        "NONE",
        "CAN",
        "CANNOT",
        "MAY",
        "SHALL",
        "WILL",
        "WOULD",
        "MUST",
        "BE",
        "HAVE",
        "DO",
        "ME",
        "MY",
        "YOU",
        "YOUR",
        "IT",
        "IF",
    ]
)
"""Classes of words that mean the same at every desk."""
_SHARED = "share disclose disclosed reveal confidential private friend other another"


@functools.lru_cache(maxsize=1024)
def ear_of(domain: ToolDomain) -> Ear:
    """What customers of a domain understand."""
    words = dict(own_words(domain.theme))
    for kind in sorted(domain.kinds.values(), key=lambda kind: kind.role == "record"):
        for noun in (kind.noun, kind.plural):  # two kinds of a theme may share a noun: here it is this one's
            head, stem = noun.split()[-1], "customer" if kind.role == "person" else f"n:{kind.key}"
            words.pop(head.replace("-", " "), None)
            _teach(words, head, stem, "OBJ")
    stems = {key: _verbs(act, words) for key, act in domain.acts.items()}
    named = {key: _fields(act, words) for key, act in domain.acts.items()}
    facts = {
        stem
        for kind in domain.kinds.values()
        for column in kind.columns
        if column.spec.ask
        for stem in _column(column, words)
    }
    names, marks, alone, did = (
        {"fact": facts | {"status"}},
        {"fact": set(_SHARED.split())},
        {},
        {"fact": set[str]()},
    )
    for key, act in domain.acts.items():
        own = stems[key] - _GENERIC
        others = {stem for other, found in stems.items() if other != key for stem in found}
        names[key] = stems[key] | named[key] | (_GENERIC if act.told else set())
        marks[key] = own | named[key]
        alone[key] = own - others
        did[key] = stems[key] | _GENERIC | (VERBS - others)
    topics = Topics(_topics(domain, words), "other")
    lists = [{key: " ".join(found) for key, found in table.items()} for table in (names, marks, alone, did)]
    ear = DomainEar(topics, lists[0], lists[1], lists[2], lists[3], words=words, remembered=256)
    ear.done = {key: frozenset([f"{stem}.ed" for stem in stems[key] - _GENERIC]) for key in domain.acts}
    return ear


@functools.cache
def _told_everywhere() -> dict[str, list[str]]:
    return tomllib.loads(resources.files(__package__).joinpath("topics.toml").read_text("utf-8"))


@functools.lru_cache(maxsize=256)
def own_words(name: str) -> dict[str, Word]:
    """The nouns and verbs of a theme, in all their forms, as words of an ear."""
    drawn_from = theme(name)
    found: dict[str, Word] = {}
    parts: dict[str, Called] = {"person": drawn_from.person, **drawn_from.things, **drawn_from.records}
    for key, part in parts.items():
        stem = "customer" if key == "person" else f"n:{key}"
        for noun in part.nouns:
            head = noun.split()[-1]
            _teach(found, head, stem, "OBJ")
            _teach(found, plural(head), stem, "OBJ")
        for several in part.plurals:
            _teach(found, several.split()[-1], stem, "OBJ")
    for action in drawn_from.actions:
        for word, role in _forms(action):
            _teach(found, word, f"v:{action.key}", role)
    for field in _all_fields(drawn_from):
        for word in [word for name in field.names for word in name.split("_")]:
            if word not in lexicon():
                found.setdefault(word, Word(word, word, "w"))  # no misspelt word: the part "played"
    return found


def _all_fields(drawn_from: Theme) -> Iterator[ThemeField]:
    yield from drawn_from.person.fields
    for thing in drawn_from.things.values():
        yield from thing.fields
    for record in drawn_from.records.values():
        yield from record.fields


def _forms(action: ThemeAction) -> Iterator[tuple[str, str]]:
    """All that an action is called, in all forms, with their roles."""
    for verb, past in zip(action.verbs, action.past, strict=True):
        (base, more), (gone, _) = _main(verb), _main(past.replace(" ", "_"))
        if base in _VAGUE and not more:
            continue  # "taken" is said of anything
        now, going, done = forms(base, gone)
        for some, role in ((now - done, "SVC"), (going, "SVC.ing"), (done, "SVC.ed")):
            for word in some:
                yield f"{word}{more}", role
    for noun in action.acts:
        yield noun.split()[-1], "SVC.noun"
        yield plural(noun.split()[-1]), "SVC.noun"


def _teach(found: dict[str, Word], said: str, stem: str, role: str) -> None:
    said = said.replace("-", " ") if said.count("-") == 1 else said  # "sign-up" is heard in two words
    old = lexicon().get(said)
    if old is not None and (old.role in _KEPT or (old.role.startswith("SVC") and role.startswith("SVC"))):
        return  # it is understood better as it is
    ending = role.partition(".")[2]
    meant = f"{stem}.{ending}" if ending else stem
    found.setdefault(said, Word(meant, meant, role))  # no turn of speech with what is said means it here


def _main(verb: str) -> tuple[str, str]:
    """The word of a verb that carries its sense; where it is light, with the particle after it."""
    words = verb.split("_")
    heavy = [word for word in words if word not in _LIGHT]
    if heavy:
        return heavy[0], ""
    return words[0], "".join(f" {word}" for word in words[1:2])


def _stem(word: str, words: Mapping[str, Word]) -> str:
    found = words.get(word) or lexicon().get(word)
    return found.stem.partition(".")[0] if found else word


def _verbs(act: Deed, words: Mapping[str, Word]) -> set[str]:
    """Stems of all that an act is called."""
    found = {_stem(word, words) for word, _ in _forms(act.spec)}
    if act.spec.does == "pay":
        found |= {_stem("payment", words), _stem("pay", words)}
    return {stem for stem in found if not stem.startswith("n:")}  # "request" may be a noun here


def _column(column: Column, words: Mapping[str, Word]) -> set[str]:
    """Stems of what a field is called, by its last words."""
    return {_stem(name.split("_")[-1], words) for name in column.spec.names} - {"customer"}


def _fields(act: Deed, words: Mapping[str, Word]) -> set[str]:
    """Stems of what an act is about, beside its verb."""
    found = _column(act.column, words) if act.column is not None and act.told else set()
    if act.spec.does == "swap":
        found |= {f"n:{act.kind.thing}"}
    if act.spec.does == "create":
        found |= {f"n:{act.kind.key}"}
    return found


def _firsts(domain: ToolDomain, kind: RowKind) -> list[str]:
    """The first words of all that a kind of record may be called in two."""
    called = (kind.noun, *theme(domain.theme).records[kind.key].nouns)
    return sorted({noun.split()[0] for noun in called if " " in noun})


def _topics(domain: ToolDomain, words: Mapping[str, Word]) -> dict[str, Sequence[str]]:
    """Topic -> turns of speech; what every domain has, then its own nouns and fields."""
    found: dict[str, Sequence[str]] = dict(_told_everywhere())
    for kind in domain.kinds.values():
        noun = f"n:{kind.key}"
        if kind.role == "record":
            firsts = [words[first].said if first in words else first for first in _firsts(domain, kind)]
            first = "|".join(firsts)  # "equipment loan" is a loan
            which = f"({first})? {noun}" if first else noun
            found[f"record:{kind.key}"] = [
                f"which (of)? (your|these|those|the)? {which}",
                f"what {which}",
                f"{noun} (is)? (number|id|code|reference|no|ref|key|numbers|ids)",
                f"(id|number|code|reference|ref|key) (of|on|for|from) (the|your|that|this) {which}",
                f"(id|number|code|reference|ref|key) (is|do) (on|the|your|that|this) (your|the)? {which}",
                f"{noun} (is|was|are|do|be) (it|this|that|the|you)",
                f"(is|was|are|do|be) (it|this|that|the|you) {noun}",
                f"{noun} (in)? question",
                "which (one|ones)",
                "<id> or <id>",
                f"more than one {noun}",
            ]
        elif kind.role == "thing":
            found[f"thing:{kind.key}"] = [noun, "instead"]
    for kind in domain.kinds.values():
        for column in kind.columns:
            topic = f"value:{column.key}"
            found[topic] = [*found.get(topic, ()), *_turns(column, words)]
    return found


def _turns(column: Column, words: Mapping[str, Word]) -> list[str]:
    """What asks for a value of a field."""
    names = [
        [words[part].said if part in words else part for part in name.split("_")]
        for name in column.spec.names
    ]
    turns = [" ".join(name) for name in names]
    turns += [name[-1] for name in names]
    more = {
        "date": ["when", "(which|what) (day|date)", "date", "how long", "until"],
        "choice": ["where", "(which|what) (one|kind|type|option)"],
        "count": ["how many"],
        "money": ["how much"],
    }
    return [*turns, *more.get(column.spec.kind, ())]
