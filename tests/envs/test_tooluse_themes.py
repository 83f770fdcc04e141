"""The themes of Forge/ToolUse-v0 are whole: keys known, sentences fillable, every level can be played."""

import collections
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import forge_envs
from forge_envs.worlds.tooluse.theme import theme as theme_named
from forge_envs.worlds.tooluse.theme import theme_names

FOLDER = Path(forge_envs.__file__).parent / "worlds" / "tooluse" / "themes"
THEMES = {
    path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))
}
SLOT = re.compile(r"\{([^{}]*)\}")
KINDS = {"choice", "count", "money", "date", "code", "flag", "text"}
BUILT_IN = {"name": "text", "email": "text", "phone": "text"}
DOES = {"state", "set", "add", "swap", "create", "pay"}
OPS = {
    "is": {"choice", "flag", "state"},
    "is_not": {"choice", "flag", "state"},
    "at_least": {"count", "money"},
    "at_most": {"count", "money"},
    "within_days": {"date"},
    "beyond_days": {"date"},
}
KEYS = {
    "theme": {"title", "places", "person", "things", "records", "actions", "rules"},
    "person": {"nouns", "plurals", "fields"},
    "thing": {"nouns", "plurals", "labels", "fields"},
    "record": {"nouns", "plurals", "of", "stock", "link", "states", "fields"},
    "field": {"key", "names", "kind", "values", "range", "zero", "pattern", "ask", "tell"},
    "action": {
        *("key", "verbs", "past", "acts", "on", "does", "field", "by", "range", "from", "to"),
        *("reasons", "asks", "defaults", "wish", "doc"),
    },
    "rule": {"action", "when", "text"},
}
FORBIDDEN_VERBS = {"confirm", "find", "tell", "ask", "see", "check", "know", "help", "need", "want", "thank"}
EVERYDAY = {"yes", "no", "other", "none", "new", "first", "day", "today", "ok", "please", "good", "home"}
ASKED_FOR = re.compile(r"\b(e?-?mail|phone|name|number)\b", re.IGNORECASE)
UNSURE = re.compile(r"\b(not|cannot|never|found)\b")
IRREGULAR = {
    "child",
    "person",
    "man",
    "woman",
    "shelf",
    "knife",
    "life",
    "leaf",
    "half",
    "series",
    "species",
    "foot",
}


def fields(holder: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of a person, thing or record by their key."""
    return {field["key"]: field for field in holder["fields"]}


def holders(theme: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Whoever has fields in a theme: the person, the things and the records, by name."""
    return {"person": theme["person"], **theme["things"], **theme["records"]}


def sentences(theme: dict[str, Any]) -> list[str]:
    """What a customer may say in a theme."""
    asked = [
        text for one in holders(theme).values() for field in one["fields"] for text in field.get("ask", [])
    ]
    return asked + [text for action in theme["actions"] for text in action["wish"]]


def known(keys: Any, of: str, where: str) -> None:
    """No key but the known ones: a misspelt one would be lost without a word."""
    assert set(keys) <= KEYS[of], f"{where}: unknown {sorted(set(keys) - KEYS[of])}"


def check_field(field: dict[str, Any], where: str) -> None:
    """One field: its kind, what the kind needs, and what may be said about it."""
    known(field, "field", where)
    assert field["kind"] in KINDS, where
    assert len(field["names"]) >= 2 and len(set(field["names"])) == len(field["names"]), where
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) for name in field["names"]), where
    if field["kind"] in ("choice", "text"):
        values = field["values"]
        assert len(set(values)) == len(values) >= 3, where
        assert all(len(value.split()) <= 3 and not any(c.isdigit() for c in value) for value in values), where
        assert "ask" not in field or not any(map(ASKED_FOR.search, values)), where
        assert not EVERYDAY & {value.lower() for value in values}, where
        for one in values:
            for two in values:
                assert one == two or not re.search(rf"\b{re.escape(one)}\b", two, re.I), (
                    f"{where}: {one} in {two}"
                )
    if field["kind"] in ("count", "money", "date"):
        low, high = field["range"]
        assert low < high, where
    if field["kind"] == "code":
        assert re.fullmatch(r"[A#-]+", field["pattern"]) or "pattern" in field, where
    if field["kind"] == "flag":
        assert "ask" not in field, where
    for text in field.get("ask", []):
        assert not re.search(r"\d", text) and set(SLOT.findall(text)) <= {"it", "It", "thing"}, (
            f"{where}: {text}"
        )
    for text in field.get("tell", []):
        assert SLOT.findall(text) == ["value"], f"{where}: {text}"


def check_holder(holder: dict[str, Any], kind: str, where: str) -> None:
    """A person, a thing or a record: its nouns and its fields."""
    known(holder, kind, where)
    assert len(holder["nouns"]) >= (3 if kind == "person" else 2), where
    assert len(set(holder["nouns"])) == len(holder["nouns"]), where
    for noun in holder["nouns"]:
        assert re.fullmatch(r"[a-z'-]+( [a-z'-]+)?", noun), f"{where}: {noun}"
        assert "plurals" in holder or noun.split()[-1] not in IRREGULAR, f"{where}: {noun} needs plurals"
    assert len(holder.get("plurals", holder["nouns"])) == len(holder["nouns"]), where
    least, most = {"person": (2, 4), "thing": (2, 5), "record": (3, 6)}[kind]
    assert least <= len(holder["fields"]) <= most, f"{where}: {len(holder['fields'])} fields"
    assert len(fields(holder)) == len(holder["fields"]), where
    names = [name for field in holder["fields"] for name in field["names"]]
    assert len(names) == len(set(names)), f"{where}: a name twice in {names}"
    assert not {"id", "name", "email", "phone", "state", "status", "label"} & set(names) - {"status"}, (
        f"{where}: {names}"
    )
    for field in holder["fields"]:
        check_field(field, f"{where}.{field['key']}")


def check_action(theme: dict[str, Any], action: dict[str, Any], where: str) -> None:
    """One action: what it needs is there and fits."""
    known(action, "action", where)
    assert action["does"] in DOES, where
    assert len(action["verbs"]) == len(action["past"]) >= 2, where
    assert len(set(action["verbs"])) == len(action["verbs"]), where
    assert not FORBIDDEN_VERBS & set(action["verbs"]), where
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)?", verb) for verb in action["verbs"]), where
    assert len(action["wish"]) >= 4, where
    assert not any(map(UNSURE.search, action.get("reasons", []))), f"{where}: would be heard as a no"
    slot = {"create": {"thing"}}.get(
        action["does"], set() if action["on"] == "person" else {"it", "It", "verb"}
    )
    for text in action["wish"]:
        found = set(SLOT.findall(text))
        assert found <= slot and not re.search(r"\d", text), f"{where}: {text}"
        assert action["on"] == "person" or found - {"verb"}, f"{where}: says not what: {text}"
        assert text[-1] in ".!?", f"{where}: {text}"
        assert not re.search(r"\b(no|the|an?|another|any|my|your) \{it\}", text, re.I), f"{where}: {text}"
    on = holders(theme)[action["on"]]
    own = {
        **fields(on),
        **({key: {"kind": kind} for key, kind in BUILT_IN.items()} if action["on"] == "person" else {}),
    }
    assert action["on"] == "person" or action["on"] in theme["records"], where
    if action["does"] in ("set", "add", "pay"):
        field = own[action["field"]]
        allowed = {"set": KINDS - {"flag", "money"}, "add": {"count", "money", "date"}, "pay": {"money"}}[
            action["does"]
        ]
        assert field["kind"] in allowed, where
        if action["does"] == "add":
            assert action["by"] == "told" or all(isinstance(by, int) and by for by in action["by"]), where
        if action.get("by") == "told" or (action["does"] == "set" and field["kind"] == "count"):
            low, high = action["range"]
            assert low < high, where
    if action["on"] != "person":
        states = on["states"]
        if action["does"] in ("state", "create"):
            assert action["to"] in states, where
        if action["does"] != "create":
            assert action["from"] and set(action["from"]) <= set(states) - {action.get("to")}, where
    if action["does"] == "create":
        assert action["asks"] and set(action["asks"]) <= set(own), where
        assert not set(action["asks"]) & set(action.get("defaults", {})), where
        rest = set(own) - set(action["asks"])
        assert set(action.get("defaults", {})) == rest, f"{where}: defaults of {rest} are needed"
        for key, value in action["defaults"].items():
            if own[key]["kind"] == "choice":
                assert value in own[key]["values"], f"{where}.{key}"


def kind_of(
    theme: dict[str, Any], action: dict[str, Any], what: str, where: str
) -> tuple[str, dict[str, Any]]:
    """The kind a rule's subject has, and its field."""
    owner, _, key = what.partition(".")
    record = theme["records"].get(action["on"], {})
    if what == "record.state":
        return "state", {"values": list(record["states"])}
    assert owner in ("record", "person", "thing"), where
    assert owner != "record" or action["does"] != "create", f"{where}: there is no record yet"
    assert owner == "person" or action["on"] != "person", f"{where}: a person has no {owner}"
    holder = {
        "record": record,
        "person": theme["person"],
        "thing": theme["things"].get(record.get("of"), {}),
    }[owner]
    field = fields(holder)[key]
    return field["kind"], field


def check_rule(theme: dict[str, Any], rule: dict[str, Any], where: str) -> None:
    """One rule: it can be decided, it does not apply to all or to none, and its text can be filled."""
    known(rule, "rule", where)
    when, action = rule["when"], {one["key"]: one for one in theme["actions"]}[rule["action"]]
    assert set(when) == {"what", "op", "value"} and isinstance(when["value"], list) and when["value"], where
    kind, field = kind_of(theme, action, when["what"], where)
    assert kind in OPS[when["op"]], f"{where}: {when['op']} of {kind}"
    for value in when["value"]:
        if kind in ("choice", "state"):
            assert value in field["values"], f"{where}: {value}"
        elif kind == "flag":
            assert isinstance(value, bool), where
        elif kind == "date":
            low, high = field["range"]
            assert low * high >= 0 and min(abs(low), abs(high)) <= value < max(abs(low), abs(high)), (
                f"{where}: {value}"
            )
        else:
            low, high = field["range"]
            low = 0 if field.get("zero") else low
            assert (low < value <= high) if when["op"] == "at_least" else (low <= value < high), (
                f"{where}: {value}"
            )
    if kind == "state":
        assert set(when["value"]) & set(action["from"]), f"{where}: the tool refuses that state anyway"
    pattern = r"[Nn]ouns?|past|verb"
    for slot in SLOT.findall(rule["text"]):
        what, _, key = slot.partition(":")
        assert slot in ("value", "Value") or re.fullmatch(pattern, what), f"{where}: {slot}"
        if slot.lower() != "value":
            assert key in (
                holders(theme) if what.lower().startswith("n") else {a["key"] for a in theme["actions"]}
            ), f"{where}: {key}"
    needs = kind != "flag" and when["value"] != [0]
    assert ("{value}" in rule["text"].lower()) == needs, f"{where}: {rule['text']}"


@pytest.mark.parametrize("name", THEMES)
def test_theme_is_whole(name: str) -> None:
    """Every key is known, every reference leads somewhere, every minimum is met."""
    theme = THEMES[name]
    known(theme, "theme", name)
    assert len(set(theme["places"])) == len(theme["places"]) >= 4
    check_holder(theme["person"], "person", f"{name}.person")
    assert 1 <= len(theme["things"]) <= 3 and 1 <= len(theme["records"]) <= 3
    assert not set(theme["things"]) & set(theme["records"]) and "person" not in {
        *theme["things"],
        *theme["records"],
    }
    for key, thing in theme["things"].items():
        check_holder(thing, "thing", f"{name}.{key}")
        labels = [label.lower() for label in thing["labels"]]
        assert len(set(labels)) == len(labels) >= 24, f"{name}.{key}: {len(labels)} labels"
        assert not any(c.isdigit() for label in labels for c in label), f"{name}.{key}"
    for key, record in theme["records"].items():
        check_holder(record, "record", f"{name}.{key}")
        assert record["of"] in theme["things"]
        words = [word for words in record["states"].values() for word in words]
        assert len(words) == len(set(words)) and len(record["states"]) >= 2, f"{name}.{key}: {words}"
        choices = {value for field in record["fields"] for value in field.get("values", [])}
        assert not choices & {word.replace("_", " ") for word in words}, f"{name}.{key}"
        assert (
            "stock" not in record or fields(theme["things"][record["of"]])[record["stock"]]["kind"] == "count"
        )
        assert sum("ask" in field for field in record["fields"]) >= 2, f"{name}.{key}: too few facts to ask"
    used = {record["of"] for record in theme["records"].values()}
    assert used == set(theme["things"]), f"{name}: nothing is about {set(theme['things']) - used}"
    assert 6 <= len(theme["actions"]) <= 14 and 4 <= len(theme["rules"]) <= 12, name
    assert len({action["key"] for action in theme["actions"]}) == len(theme["actions"])
    for action in theme["actions"]:
        check_action(theme, action, f"{name}.{action['key']}")
    for number, rule in enumerate(theme["rules"]):
        check_rule(theme, rule, f"{name}: rule {number} on {rule['action']}")


@pytest.mark.parametrize("name", THEMES)
def test_reader_takes_it(name: str) -> None:
    """The reader of the world takes the theme, and finds in it what stands in the file."""
    read = theme_named(name)
    assert (len(read.actions), len(read.rules)) == (len(THEMES[name]["actions"]), len(THEMES[name]["rules"]))


def test_there_are_many() -> None:
    """At least forty themes are there, and the world knows them all."""
    assert theme_names() == tuple(THEMES) and len(THEMES) >= 40


@pytest.mark.parametrize("name", THEMES)
def test_verbs_of_a_record_differ(name: str) -> None:
    """No two actions on one kind share a verb, since a tool is called by the verb and the noun."""
    verbs = collections.Counter(
        (action["on"], verb) for action in THEMES[name]["actions"] for verb in action["verbs"]
    )
    assert [key for key, count in verbs.items() if count > 1] == []


@pytest.mark.parametrize("name", THEMES)
def test_slots_of_docs(name: str) -> None:
    """A tool's description names the words drawn, and nothing unknown."""
    theme = THEMES[name]
    for action in theme["actions"]:
        for slot in SLOT.findall(action["doc"]):
            what, _, key = slot.partition(":")
            known_verb = what in ("verb", "Verb") and key == action["key"]
            assert known_verb or (what in ("noun", "nouns") and key in holders(theme)), f"{name}: {slot}"


@pytest.mark.parametrize("name", THEMES)
def test_every_level_can_be_played(name: str) -> None:
    """Two facts to ask, simple actions, actions with told arguments, and rules over what is stored."""
    theme = THEMES[name]
    actions = theme["actions"]
    facts = max(sum("ask" in field for field in record["fields"]) for record in theme["records"].values())
    simple = [a for a in actions if a["does"] == "state" or (a["does"] == "add" and a["by"] != "told")]
    told = [a for a in actions if a["does"] in ("set", "swap", "create", "pay") or a.get("by") == "told"]
    stored = [
        rule for rule in theme["rules"] if rule["when"]["what"].partition(".")[0] in ("record", "person")
    ]
    assert facts >= 2 and len(simple) >= 2 and len(told) >= 3 and len(stored) >= 4


@pytest.mark.parametrize("name", THEMES)
def test_states_can_be_left(name: str) -> None:
    """In every kind of record some action leads on from where another one ends."""
    theme = THEMES[name]
    for key, record in theme["records"].items():
        on = [action for action in theme["actions"] if action["on"] == key]
        assert any(action["does"] != "create" for action in on), f"{name}.{key}: nothing can be done with it"
        assert {s for a in on if a["does"] != "create" for s in a["from"]} <= set(record["states"])


def test_no_sentence_twice_in_a_theme() -> None:
    """Within one theme no two wishes or questions are alike."""
    for name, theme in THEMES.items():
        counts = collections.Counter(text.lower() for text in sentences(theme) if "{verb}" not in text)
        twice = [text for text, count in counts.items() if count > 1]
        assert twice == [], f"{name}: {twice}"


def test_themes_share_few_sentences() -> None:
    """Themes are written each for itself: no two have more than a few sentences in common."""
    said = {name: {text.lower() for text in sentences(theme)} for name, theme in THEMES.items()}
    names = sorted(said)
    for at, one in enumerate(names):
        for two in names[at + 1 :]:
            assert len(said[one] & said[two]) <= 5, f"{one} and {two}: {sorted(said[one] & said[two])}"


def test_labels_of_themes_differ() -> None:
    """Things are called differently from theme to theme."""
    seen: dict[str, str] = {}
    for name, theme in THEMES.items():
        for label in {label.lower() for thing in theme["things"].values() for label in thing["labels"]}:
            seen.setdefault(label, name)
    labels = [
        label.lower()
        for theme in THEMES.values()
        for thing in theme["things"].values()
        for label in thing["labels"]
    ]
    assert len(seen) >= 0.9 * len(labels)


def test_themes_differ_in_structure() -> None:
    """No two themes have the same counts of things and records and the same list of kinds of actions."""
    shapes = collections.defaultdict(list)
    for name, theme in THEMES.items():
        kinds = tuple(sorted((action["does"], action["on"] == "person") for action in theme["actions"]))
        shapes[len(theme["things"]), len(theme["records"]), kinds].append(name)
    assert [names for names in shapes.values() if len(names) > 2] == []
