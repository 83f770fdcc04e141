"""The scripted customer: answers what is asked, confirms what is right, insists, changes their mind, leaves.

Understands by patterns, so a paraphrase works as well as the gold's words. All state is `Customer`'s fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from forge_envs.worlds.retail.goals import FACTS, Goal, RetailTask

PATIENCE = 4
"""Useless turns after which the customer leaves."""

_SENTENCE = re.compile(r"(?<=[.!?])[\s)\"']+|\n+")
_SIGNAL = re.compile(
    r"""\b(?:
    (?P<else>(?:anything|something)\ (?:else|more)|further\ (?:help|assistance))
    |(?P<confirm>yes\ ?/\ ?no|yes\ or\ no|(?:say|reply|answer)\ (?:with\ )?["']?yes|proceed|go\ ahead|(?:shall|should)\ (?:i|we)
        |do\ you\ (?:confirm|agree|approve|want|wish)|would\ you\ like\ (?:me|us)|confirm|sounds?\ (?:good|right)
        |is\ (?:that|this|it|everything)\ (?:right|correct|ok(?:ay)?|fine|alright)|(?:correct|right|ok(?:ay)?)\?)
    |(?P<ask>please\ (?:provide|give|tell|share|send|state|enter|let)|provide|tell\ me|give\ me|let\ me\ know|share
        |i(?:'ll|\ will|\ would)?\ (?:also\ )?need|need\ (?:to\ know|your)|may\ i|can\ (?:i|you)|could\ (?:i|you)
        |what|which|why|where|who)
    |(?P<refusal>cannot|can\ not|can['’]?t|unable|not\ able|won['’]?t|will\ not|impossible|may\ not|must\ not
        |(?:not|isn['’]?t|aren['’]?t)\ (?:be\ )?(?:possible|allowed|permitted|eligible|something\ (?:i|we)\ can)
        |(?:must|have\ to)\ (?:refuse|decline|deny)|not\ (?:be\ )?(?:cancel+ed|returned|changed|exchanged|modified)
        |against\ (?:our|the|my)\ (?:policy|rules))
    |(?P<done>done|completed?|all\ set|set|taken\ care|success\w*|went\ through|cancel+ed|refunded|returned|requested
        |submitted|arranged|exchanged|swapped|replaced|modified|changed|updated|switched|moved|charged)
    )(?!\w)""",
    re.VERBOSE,
)
"""What a sentence may do: ask, ask for a yes, refuse, claim to be done. One scan finds all of it."""
_TOPIC = re.compile(
    r"""\b(?:
    (?P<email>e-?mails?(?:\ address)?)
    |(?P<name>names?\b|zip|post(?:al)?\ ?code)
    |(?P<identity>identi|verify\b|authenticat|who\ (?:am\ i|are\ you|is\ this)|your\ account\b)
    |(?P<order>orders?(?:'s)?\ (?:id|number|no\b)|(?:which|what)\ order\b)
    |(?P<reason>reason|why\b)
    |(?P<address>address|where\b)
    |(?P<payment>pay|card\b|refund\ (?:to|method|go)|method\b)
    |(?P<items>items?\b|options?\b|colou?rs?\b|variants?\b|products?\b|instead\b|what\ would\ you\ like\b)
    )""",
    re.VERBOSE,
)
"""What a question is about."""
_CONFIRM_FACT = re.compile(
    r"\bconfirm (?:me )?(?:your|the) (?:e-?mail|name|full|zip|identity|address|order (?:id|number))"
)
_CLAUSE = re.compile(r"[,;:]\s|\b(?:but|so|and|because)\b")
_NOT_YET = re.compile(
    r"\b(?:will|would|once|after|before|when|until|if|to be|can be|could be|not|want|like|requested to)\b|n['’]t\b"
)
_PERFECT = r"\b(?:has|have|is|are|was|were|i|i['’]ve|we|it['’]s|been)(?: \w+ly| now| just| been| already| all| also)* (?:{})\b"
_FINISHED = r"\b(?:done|completed?|all set|taken care of|success(?:ful(?:ly)?)?|went through)\b"


def _kind(words: str, done: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(rf"\b(?:{words})"), re.compile(f"{_FINISHED}|{_PERFECT.format(done)}")


_KINDS = {
    "fact": _kind("order", "nothing"),
    "cancel": _kind("cancel", "cancel+ed|refunded"),
    "return": _kind(
        "return|refund|send(?:ing)? back", "returned|requested|submitted|arranged|set up|refunded"
    ),
    "exchange": _kind(
        "exchang|swap|replac", "exchanged|requested|submitted|arranged|set up|swapped|replaced"
    ),
    "modify": _kind(
        "modif|chang|swap|replac|exchang|updat|switch", "modified|changed|updated|swapped|replaced|switched"
    ),
    "address": _kind("address|ship|send|deliver", "changed|updated|modified|set|moved"),
    "home": _kind("address", "changed|updated|modified|set|moved"),
    "payment": _kind("pay|charg|card", "changed|updated|modified|switched|moved|set|charged"),
}
"""What names a kind of request, and what claims that it was carried out."""
_ABOUT = re.compile(
    r"\b(?:that|this|do so|do it|help|possible|allowed|permitted|eligible|policy|rules|request|share|disclose|someone"
    r"|other)"
)
_LOOKUP = re.compile(r"\b(?:find|locate|look|verify|see|understand|hear|without|until|unless)\b")
_ORDER = re.compile(r"#?\bw\d{7}\b")
_METHOD = re.compile(r"\b(?:credit_card|paypal|gift_card)_\d+")
_REASONS = ("no longer needed", "ordered by mistake")


@dataclass(slots=True)
class _Heard:
    """What the agent said, sorted. All text in lower case."""

    text: str
    claims: list[str] = field(default_factory=list)
    """Statements: sentences that neither end in a question mark nor ask for a yes."""
    refusals: list[str] = field(default_factory=list)
    """Statements with a no in them."""
    done: list[str] = field(default_factory=list)
    """Statements that something happened."""
    questions: list[str] = field(default_factory=list)
    """Sentences that ask for something to be told."""
    confirm: bool = False
    """Something wants a yes."""
    more: bool = False
    """Asks whether there is anything else."""


def _sort(text: str) -> _Heard:
    """Sort an utterance by what its sentences do."""
    heard = _Heard(text)
    for sentence in _SENTENCE.split(text):
        if not sentence:
            continue
        signals = {match.lastgroup for match in _SIGNAL.finditer(sentence)}
        asks = "ask" in signals
        confirms = "confirm" in signals
        if confirms and _CONFIRM_FACT.search(sentence):
            confirms, asks = False, True
        question = sentence[-1] == "?"
        heard.confirm |= confirms
        heard.more |= "else" in signals
        if asks or (question and not confirms):
            heard.questions.append(sentence)
        if confirms or question:
            continue
        heard.claims.append(sentence)
        if "refusal" in signals:
            heard.refusals.append(sentence)
        if "done" in signals:
            heard.done.append(sentence)
    return heard


@dataclass(slots=True)
class Customer:
    """A `User`: says the first goal's request, then replies until all goals are settled."""

    task: RetailTask
    at: int = 0
    """Index of the goal in hand."""
    patience: int = PATIENCE
    pushed: bool = False
    """Already insisted on the goal in hand."""
    heard: dict[int, str] = field(default_factory=dict)
    """Goal index -> what the agent said about it: a fact's value, "refused" or "done"."""
    told: int = 0
    """How many of the things they must hear the customer has heard, and truly."""

    def open(self) -> str:
        """The first line; it depends on the task alone."""
        return self.task.goals[0].request

    def reply(self, text: str) -> str | None:
        """The answer to what the agent said; None when the customer leaves."""
        if not text:
            return self._puzzled("Hello? Are you there?")
        goal = self.task.goals[self.at]
        heard = _sort(text.lower())
        answer = self._listen(goal, heard) if heard.claims else ""
        return self._answer(goal, heard) if answer == "" else answer

    # -- what the agent claims -------------------------------------------------------------------

    def _listen(self, goal: Goal, heard: _Heard) -> str | None:
        """React to what was stated; "" if nothing stated settles the goal in hand."""
        refused = bool(heard.refusals) and _refuses(goal, heard.refusals)
        if goal.fact and not (goal.forbidden and refused):
            values = FACTS[goal.fact](" ".join(heard.claims))
            if len(values) > 1:
                return self._puzzled("Which one is it?")
            if values:
                return self._settle(values.pop())
        if refused:
            return self._refused(goal)
        if goal.call is not None and heard.done and _finished(goal, heard.done):
            return self._settle("done")
        return ""

    def _refused(self, goal: Goal) -> str | None:
        if goal.forbidden:
            self._note("refused")
            if not goal.insists or self.pushed:
                return self._settle("refused")
            self.pushed = True
            return "Please make an exception."
        if self.pushed:
            return self._settle("given up")
        self.pushed = True
        return f"I am sure that it is possible. {goal.request}"

    def _note(self, what: str) -> None:
        self.heard[self.at] = what
        goals = self.task.goals
        self.told = sum(bool(goals[n].truth) and said == goals[n].truth for n, said in self.heard.items())

    def _settle(self, what: str) -> str | None:
        """Note what was heard; go on to the next goal, or leave."""
        self._note(what)
        self.at += 1
        self.pushed = False
        if self.at == len(self.task.goals):
            self.at -= 1
            return None
        return f"Thanks. {self.task.goals[self.at].request}"

    # -- what the agent asks ---------------------------------------------------------------------

    def _answer(self, goal: Goal, heard: _Heard) -> str | None:
        told: list[str] = []
        for question in heard.questions:
            self._facts(goal, question, told)
        if told:
            return " ".join(told)
        if heard.confirm:
            return self._confirm(goal, heard.text)
        return self._puzzled(goal.request if heard.more else f"I do not understand. {goal.request}")

    def _facts(self, goal: Goal, question: str, told: list[str]) -> None:
        """Add the answers to the topics a question names, each once."""
        task = self.task
        topics = dict.fromkeys(match.lastgroup or "" for match in _TOPIC.finditer(question))
        if "email" in topics and "name" in topics:
            del topics["name" if task.email else "email"]
        for topic in topics:
            if topic == "email":
                line = f"My email is {task.email}." if task.email else "I do not remember my email."
            elif topic == "name" or (topic == "identity" and not task.email):
                line = f"I am {task.name}, zip {task.zip}."
            elif topic == "identity":
                line = f"My email is {task.email}."
            else:
                line = goal.details.get(topic, "")
            if line and line not in told:
                told.append(line)

    def _confirm(self, goal: Goal, text: str) -> str | None:
        """Yes, if what was listed is what they want; else what is wrong with it."""
        if goal.call is None:
            return self._puzzled(f"Yes. {goal.request}")
        words, _ = _KINDS[goal.kind]
        if not words.search(text):
            others = any(_KINDS[kind][0].search(text) for kind in ("cancel", "return", "exchange"))
            return self._puzzled(f"No. {goal.request}" if others else "What exactly will you do?")
        arguments = goal.call.arguments
        orders = _ORDER.findall(text)
        if goal.knows_order and orders and goal.order_id.lower().lstrip("#") not in " ".join(orders):
            return self._puzzled(f"No, not that order. {goal.request}")
        reason = arguments.get("reason")
        if reason and reason not in text and any(other in text for other in _REASONS):
            return self._puzzled(f"No. {goal.details['reason']}")
        methods = _METHOD.findall(text)
        if "payment_method_id" in arguments and methods and arguments["payment_method_id"] not in methods:
            return self._puzzled(f"No. {goal.details['payment']}")
        if "address1" in arguments and arguments["address1"].lower() not in text:
            return self._puzzled(f"No. {goal.details['address']}")
        if goal.withdrawn:
            self.at += 1
            return f"Wait, I changed my mind. {self.task.goals[self.at].request}"
        return "Yes."

    def _puzzled(self, line: str) -> str | None:
        """A useless turn: say so, and leave when there were too many."""
        self.patience -= 1
        return line if self.patience > 0 else None


def _refuses(goal: Goal, refusals: list[str]) -> bool:
    """A clear no to the goal in hand; not finding an account is none."""
    words, _ = _KINDS[goal.kind]
    return any(
        (words.search(sentence) or _ABOUT.search(sentence)) and not _LOOKUP.search(sentence)
        for sentence in refusals
    )


def _finished(goal: Goal, sentences: list[str]) -> bool:
    """A claim that the goal in hand was carried out."""
    _, done = _KINDS[goal.kind]
    return any(
        done.search(clause) and not _NOT_YET.search(clause)
        for sentence in sentences
        for clause in _CLAUSE.split(sentence)
    )
