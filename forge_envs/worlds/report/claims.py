"""Whether a report says what its citations say: sentences against the facts that the cited pages tell.

A sentence stands when it cites evidence, and facts that the cited pages tell account for all of it: every
entity, day, number and noun that it names, and every word that is a sign of a relation. Facts that have ended
stand only where the sentence says when, and the page tells of the end. No model is asked.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from forge_envs.worlds.report.lexicon import Lexicon, Reading, claimed
from forge_envs.worlds.report.phrases import PLACED, ROLES, STAND_INS, bent, plainly_cited
from forge_envs.worlds.search.graph import FactGraph, WebEntity, WebFact
from forge_envs.worlds.search.page import WebPage
from forge_envs.worlds.search.relations import relations
from forge_envs.worlds.search.render import RenderedWeb
from forge_envs.worlds.search.snippets import LINK
from forge_envs.worlds.search.words import plain_words, root

CITATION = re.compile(r"<citation>([^<>]*)</citation>", re.IGNORECASE)
_ID = re.compile(r"id_\d+")
_MARK = re.compile(r"\ue000(\d+)\ue001")
_END = re.compile(r"(?<![.!?])[.!?]++[\"')\]]*(?:\s*\ue000\d+\ue001)*(?=\s|$)|(?<=\ue001)[.!?]")
_PRONOUNS = frozenset("it its he his him she her they their them".split())  # noqa: SIM905
_ENDED = frozenset(("until", "till", "former", "formerly"))
_TABLE_RULE = re.compile(r"^[\s|:-]+$")
_ITEM = re.compile(r"^(?:[-*+#>•\s]+|\d+[.)]\s+)+")
_KEYED = re.compile(r"^[A-Z][a-z]+(?: [a-z]+){0,3}(?::| –| -|;)")
_SPAN = re.compile(
    r"(?:\b(?:from|between) )?\b(?P<since>(?:1\d|20)\d\d) (?:(?:to|until|till|and|through) )?"
    r"(?P<until>(?:1\d|20)\d\d)\b"
    r"|\bsince (?P<start>\d{4})\b|\b(?:until|till) (?P<end>\d{4})\b"
)
_SHORT = re.compile(
    r"\b(b|d|c|ca|[Dd]r|[Mm]rs?|[Mm]s|[Pp]rof|[Ss]t|[JS]r|vs|e\.g|i\.e"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.(?= ?\w)"
)
_NO_LABELS = frozenset("fact value item detail attribute field information property aspect".split())  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class CitedSentence:
    """A sentence of a report and the ids it cites."""

    text: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SentenceVerdict:
    """What was found of a sentence: the facts it tells rightly, and its fault, "" where it has none."""

    sentence: CitedSentence
    facts: frozenset[int]
    """Numbers of facts; those of a symmetric one both."""
    fault: str = ""
    """"uncited", "unknown id", or why it is not supported."""
    wrong: bool = False
    """It says what the web knows to be otherwise: false, out of date, or the wrong way round."""
    claims: bool = True


def sentences_of(text: str) -> list[CitedSentence]:
    """A text taken apart into sentences with their citations, which stand inside them or right behind.

    >>> for one in sentences_of("She was born in Azul <citation>id_1, id_2</citation>. She paints."):
    ...     print(one)
    CitedSentence(text='She was born in Azul.', ids=('id_1', 'id_2'))
    CitedSentence(text='She paints.', ids=())
    """
    cited: list[tuple[str, ...]] = []

    def mark(found: re.Match[str]) -> str:
        cited.append(tuple(one.strip() for one in found[1].split(",") if one.strip()))
        return f"\ue000{len(cited) - 1}\ue001"

    found = []
    plain = _SHORT.sub(r"\1", LINK.sub(r"\1", plainly_cited(re.sub("[\ue000\ue001]", "", text))))
    for line in _rows(CITATION.sub(mark, plain).split("\n")):
        line = re.sub(r"\*+|(?<!\w)_+|(?<!_)_++(?!\w)", "", _ITEM.sub("", line)).strip()
        start = 0
        for end in [match.end() for match in _END.finditer(line)] + [len(line)]:
            piece = line[start:end].strip()
            start = end
            if piece:
                ids = tuple(dict.fromkeys(one for at in _MARK.findall(piece) for one in cited[int(at)]))
                words = re.sub(r"\s+([.!?,;])", r"\1", " ".join(_MARK.sub(" ", piece).split()))
                if any(sign.isalnum() for sign in words):
                    found.append(CitedSentence(words, ids))
                elif found and ids:  # a citation that stands alone belongs to what is before it
                    found[-1] = CitedSentence(found[-1].text, (*found[-1].ids, *ids))
    return found


def _rows(lines: Sequence[str]) -> Iterable[str]:
    """Lines of a text; a row of a table as a line with the names of its columns, or of its first cell."""
    labels: list[str] = []
    for at, line in enumerate(lines):
        text = line.strip()
        if not text or _TABLE_RULE.match(text):
            continue
        if not text.startswith("|"):
            labels = []
            yield text
            continue
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if at + 1 < len(lines) and _TABLE_RULE.match(lines[at + 1].strip() or "."):
            labels = ["" if cell.lower() in _NO_LABELS else cell for cell in cells]
        elif len(cells) == 2 and not any(labels):
            yield f"{cells[0]}: {cells[1]}"
        else:
            named = zip([*labels, *[""] * len(cells)], cells, strict=False)
            yield "; ".join(f"{label}: {cell}" if label else cell for label, cell in named)


class ClaimChecker:
    """Checks sentences against one web."""

    def __init__(self, graph: FactGraph, web: RenderedWeb) -> None:
        self.graph, self.lexicon = graph, Lexicon(graph)
        self._pages = {page.address: page for page in web.pages}
        self._told: dict[str, list[tuple[WebFact, int]]] = {}
        for number, told in web.told.items():
            for one in told:
                self._told.setdefault(one.page, []).append((graph.facts[number], one.year))

    def told_on(self, address: str) -> Sequence[tuple[WebFact, int]]:
        """Facts that a page tells, each with the page's year if it is told as one of its day, else 0."""
        return self._told.get(address, ())

    def supports(self, fact: WebFact, address: str) -> bool:
        """Whether a page tells a fact so that a report of today may say it."""
        return any(one.number == fact.number and _lasts(one, year) for one, year in self.told_on(address))

    def check(
        self, sentence: CitedSentence, evidence: Mapping[str, str], about: Iterable[int] = ()
    ) -> SentenceVerdict:
        """The verdict on a sentence.

        `evidence` leads from ids to addresses; `about` are the entities that a pronoun stands for, those in
        the section's title.
        """
        said, short, pointed = self._read(sentence.text, about)
        if not said.claims and not (
            pointed and (said.words & self.lexicon.signs.keys() or self._bent(said, ()))
        ):
            return SentenceVerdict(sentence, frozenset(), claims=False)
        subjects = {*said.entities, *short}
        wrong = self._wrong(said, subjects)
        if not sentence.ids:
            return SentenceVerdict(sentence, frozenset(), "uncited", wrong)
        unknown = [one for one in sentence.ids if one not in evidence]
        if unknown:
            return SentenceVerdict(sentence, frozenset(), f"unknown id {unknown[0]!r:.40}", wrong)
        addresses = [evidence[one] for one in sentence.ids]
        facts = self._facts(said, subjects, addresses)
        fault = self._unexplained(said, facts, addresses) or self._bent(said, facts)
        fault = fault or _mistimed(said, facts, {*said.entities[:1], *about})
        if said.negated:
            fault, wrong = "it is negated, and no page says what is not", True
        if not fault and self._crossed(said, facts):
            fault, wrong = "it says this of another", True
        if fault:
            return SentenceVerdict(sentence, frozenset(), fault, wrong)
        mirrors = {self.graph.mirror[f.number] for f in facts if f.number in self.graph.mirror}
        return SentenceVerdict(sentence, frozenset({f.number for f in facts} | mirrors))

    def _read(self, text: str, about: Iterable[int]) -> tuple[Reading, frozenset[int], bool]:
        """A sentence, those of `about` whom it means without their names, and whether a word points at them.

        A pronoun, "the firm" or a last name means them, a key with its value ("Born: 2 May 1990") tells of
        them, and so does a sentence that names nobody of their kind ("The mayor is Ana Lor").
        """
        entities = [self.graph.entities[one] for one in dict.fromkeys(about)]
        for one in entities:
            first, _, last = one.name.partition(" ")
            if one.kind == "person" and last and one.name not in text:
                text = re.sub(rf"(?<!{re.escape(first)} )\b{re.escape(last)}\b", one.name, text)
        said = self.lexicon.read(text)
        kinds = {self.graph.entities[one].kind for one in said.entities}
        pointed = bool(_PRONOUNS & set(said.pattern) or _KEYED.match(text))
        short = {one.number for one in entities if pointed or one.kind not in kinds}
        calls = {word for one in entities for word in self._calls(one, one.number in said.entities)}
        called = {
            root(word)
            for at, word in enumerate(said.pattern)
            if word in calls and at and said.pattern[at - 1] in ("the", "this", "that")
        }
        if called:
            short = {one.number for one in entities}
        pointed = pointed or bool(called)
        return dataclasses.replace(said, words=said.words - called), frozenset(short), pointed

    def _calls(self, one: WebEntity, named: bool) -> Iterable[str]:
        """What "the …" may call an entity: its kind, its name's last word, if unnamed a role of today."""
        roles = {fact.relation for fact in self.graph.inward[one.number] if not named and not fact.until}
        told = (
            STAND_INS[one.kind],
            *(ROLES.get(key, "") for key in sorted(roles)),
            one.name.split()[-1].lower(),
        )
        return " ".join(told).split()

    def _facts(self, said: Reading, subjects: set[int], addresses: Sequence[str]) -> list[WebFact]:
        """Facts that the cited pages tell and the sentence says."""
        found = {}
        for address in addresses:
            for fact, year in self.told_on(address):
                named = fact.subject in subjects and _says(fact, said, subjects) and _lasts(fact, year)
                fits = self.lexicon.fits(fact.relation, said.words) or _placed(fact, said)
                if named and fits and _in_time(fact, said):
                    found[fact.number] = fact
        return list(found.values())

    def _crossed(self, said: Reading, facts: Sequence[WebFact]) -> bool:
        """Whether it says the right things of the wrong ones: who taught whom, towns' mayors exchanged."""
        for key in {fact.relation for fact in facts}:
            relation = relations()[key]
            true = {(f"@{fact.subject}", _as_token(fact)) for fact in facts if fact.relation == key}
            if relation.symmetric:
                true |= {(other, one) for one, other in true}
            for pair in claimed(relation, said.pattern):
                kinds = [self.graph.entities[int(one[1:])].kind if one[0] == "@" else "" for one in pair]
                wanted = [relation.subject, relation.object if relation.links else ""]
                if (kinds == wanted and pair not in true) or kinds == wanted[::-1] != wanted:
                    return True
        return False

    def _unexplained(self, said: Reading, facts: Sequence[WebFact], addresses: Sequence[str]) -> str:
        """What of a sentence the facts do not account for, in words."""
        if not facts:
            return "the cited pages tell no fact of it"
        known = {end for fact in facts for end in (fact.subject, fact.object)}
        if missing := [self.graph.entities[one].name for one in said.entities if one not in known]:
            return f"the cited pages do not tell this of {missing[0]}"
        values = {fact.value for fact in facts if fact.object < 0}
        if missing := sorted((said.days | said.nouns) - values):
            return f"the cited pages do not say {missing[0]}"
        numbers = {int(value) for value in values if value.isdecimal()}
        numbers |= {year for fact in facts for year in (fact.since, fact.until) if year}
        if odd := sorted(said.numbers - numbers):
            return f"the cited pages do not say {odd[0]}"
        signs = self.lexicon.signs
        told = {fact.relation for fact in facts}
        if missing := sorted(word for word in said.words if word in signs and not signs[word] & told):
            return f"the cited pages do not say {missing[0]!r}"
        if said.first or said.strange:
            texts = " ".join(self._text(address) for address in addresses)
            if said.first and not re.search(rf"\b{re.escape(said.first)}\b", texts, re.IGNORECASE):
                return f"the cited pages do not name {said.first!r:.60}"
            if missing := [word for word in said.strange if not re.search(rf"\b{re.escape(word)}\b", texts)]:
                return f"the cited pages do not name {missing[0]!r:.60}"
        return ""

    def _bent(self, said: Reading, facts: Sequence[WebFact]) -> str:
        """What makes more or else of the facts than the pages tell, in words."""
        known = {word for fact in facts for word in self.lexicon.words_of(fact.relation)}
        known |= {word for noun in said.nouns for word in plain_words(noun)}
        word = bent(" ".join(one if one[0] not in "@#" else "," for one in said.pattern), known)
        return f"the cited pages do not say {word!r}" if word else ""

    def _text(self, address: str) -> str:
        page = self._pages.get(address, WebPage("", "", ""))
        return f"{page.title} {page.text}"

    def _wrong(self, said: Reading, subjects: set[int]) -> bool:
        """Whether the web knows it to be otherwise.

        Of a relation that it has the signs of, it names what could be meant, and nothing that holds.
        """
        for subject in sorted(subjects):
            by_relation: dict[str, list[WebFact]] = {}
            for fact in self.graph.outward[subject]:
                by_relation.setdefault(fact.relation, []).append(fact)
            for key, facts in by_relation.items():
                relation = relations()[key]
                years = {year for fact in facts for year in (fact.since, fact.until)}
                named = self._objects(relation.object, said, subject, years)
                if not named or not self.lexicon.fits(key, said.words, surely=True):
                    continue
                right = {f.object if f.object >= 0 else f.value for f in facts if _in_time(f, said)}
                if not named & right:
                    return True
        return False

    def _objects(self, kind: str, said: Reading, subject: int, years: set[int]) -> set[int | str]:
        """What a sentence names that could be the object of a relation."""
        if kind == "date":
            return set(said.days)
        if kind == "noun":
            return set()  # one noun may be anybody's
        if kind == "number":
            return {f"{number:09d}" for number in said.numbers - years}
        return {one for one in said.entities if one != subject and self.graph.entities[one].kind == kind}


def _placed(fact: WebFact, said: Reading) -> bool:
    """Whether a sentence only says where something is: "the firm from Azul", "the school in Azul"."""
    if fact.relation not in PLACED or f"@{fact.object}" not in said.pattern:
        return False
    at = said.pattern.index(f"@{fact.object}")
    whose = [word for word in said.pattern[:at] if word[0] == "@"]
    return said.pattern[at - 1 : at] == (PLACED[fact.relation],) and whose[-1:] in ([], [f"@{fact.subject}"])


def _mistimed(said: Reading, facts: Sequence[WebFact], shared: set[int]) -> str:
    """A stretch of years that is none of a fact's, or another's than the sentence says, in words.

    `shared` are those of whom the whole sentence tells; each part's others are whose years it gives.
    """
    for part in said.parts:
        own = {int(word[1:]) for word in part if word[0] == "@"} - shared
        for span in _SPAN.finditer(" ".join(part)):
            since = int(span["since"] or span["start"] or 0)
            until = int(span["until"] or span["end"] or 0)
            whole = bool(span["since"])
            fits = [
                fact
                for fact in facts
                if (not since or fact.since == since)
                and (fact.until == until if until or whole else True)
                and (not own or {fact.subject, fact.object} & own)
            ]
            if not fits and any(fact.since for fact in facts):
                return f"the cited pages do not say {span[0]!r} of this"
    return ""


def _as_token(fact: WebFact) -> str:
    """A fact's object as the pattern of a sentence has it."""
    if fact.object >= 0:
        return f"@{fact.object}"
    return str(int(fact.value)) if fact.value.isdecimal() else f"#{fact.value}"


def _says(fact: WebFact, said: Reading, meant: set[int]) -> bool:
    """Whether a sentence names what a fact says of its subject; `meant` are entities it names or means."""
    if fact.object >= 0:
        return fact.object in meant and bool({fact.object, fact.subject} & set(said.entities))
    return (
        fact.value in said.days
        or fact.value in said.nouns
        or (fact.value.isdecimal() and int(fact.value) in said.numbers)
    )


def _in_time(fact: WebFact, said: Reading) -> bool:
    """Whether a sentence tells a fact as one of its time: what has ended, with its end and that it is one."""
    ended = fact.until in said.numbers and (fact.since in said.numbers or bool(_ENDED & set(said.pattern)))
    return not fact.until or ended


def _lasts(fact: WebFact, year: int) -> bool:
    """Whether a page that tells a fact, of its day where `year` is not 0, proves what can be said today."""
    return not fact.until or not year
