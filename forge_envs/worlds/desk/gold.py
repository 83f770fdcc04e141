"""The exemplary agent of a service desk: asks, looks up, lists, does, reports; and proof that this works."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, Generic, TypeVar

from forge_envs.errors import ToolError
from forge_envs.messages import ToolCall
from forge_envs.tables import Row
from forge_envs.tools import Tool
from forge_envs.worlds.desk.customer import Customer, choose, listing
from forge_envs.worlds.desk.goals import DeskTask, Goal, Key
from forge_envs.worlds.desk.tools import ServiceDesk

DeskTaskT = TypeVar("DeskTaskT", bound=DeskTask)


class Exemplar(ABC, Generic[DeskTaskT]):
    """Writes the gold of one task, goal by goal. A world says what it asks for, looks up and lists."""

    record: ClassVar[tuple[str, str]]
    """The argument that names what a goal is about, and the table it is in, as `ServiceDesk.record`."""
    reader: ClassVar[str]
    """The tool that reads one of these."""
    topics: Mapping[str, str]
    """What may be asked for, in words."""
    package: ClassVar[str]
    """Where its lines.toml lies."""

    def __init__(self, task: DeskTaskT, voice: int) -> None:
        self.task = task
        self.voice = voice
        self.tiny = task.size == "tiny"
        self.actions: list[str | ToolCall] = []
        self.profile_read = False
        self.read: set[str] = set()

    def play(self) -> list[str | ToolCall]:
        """Prose and calls, one a turn, that meet all goals."""
        for n, goal in enumerate(self.task.goals):
            needs = [self.topics[need] for need in self.needs(goal, first=n == 0)]
            if needs:
                self.say("ask", needs=listing(needs))
            self.look_up(goal, first=n == 0)
            if goal.forbidden:
                self._refuse(goal)
            elif goal.fact:
                self.say(f"tell_{self.manner(goal)}", **self.words(goal))
            else:
                self._write(goal)
        return self.actions

    def manner(self, goal: Goal) -> str:
        """How the places are called where a goal is spoken about."""
        return goal.fact if goal.fact and not goal.forbidden else goal.kind

    @abstractmethod
    def needs(self, goal: Goal, *, first: bool) -> Iterable[str]:
        """The topics to ask about before anything else."""

    @abstractmethod
    def look_up(self, goal: Goal, *, first: bool) -> None:
        """Read all that the answer, or the call, follows from."""

    @abstractmethod
    def words(self, goal: Goal) -> dict[str, str]:
        """All that sentences about a goal may mention."""

    def words_of_refusal(self, goal: Goal) -> dict[str, str]:
        """All that a no to a goal may mention."""
        return {"id": goal.subject}

    # -- what a world's own steps are made of --------------------------------------------------------

    def say(self, place: str, **words: str) -> None:
        """Speak."""
        voice = self.voice + 7 * len(self.actions)
        self.actions.append(choose(self.package, place, voice, self.tiny, **words))

    def call(self, name: str, **arguments: object) -> None:
        """Call a tool."""
        self.actions.append(ToolCall(name, arguments))

    def act(self, call: ToolCall) -> None:
        """Carry out what was agreed."""
        self.actions.append(call)

    def subject(self, goal: Goal) -> Row:
        """The row that a goal is about; empty if it is about none."""
        rows: Mapping[str, Row] = getattr(self.task, self.record[1]).rows
        return rows[goal.subject] if goal.subject else {}

    def read_profile(self) -> None:
        """Read who the customer is, once."""
        if not self.profile_read:
            self.call("get_user_details", user_id=self.task.customer_id)
            self.profile_read = True

    def read_subject(self, goal: Goal) -> None:
        """Read what the goal is about; when its id is unknown, the customer's ones until it is found.

        What the customer says is somebody else's stays closed: that is refused unread.
        """
        if not goal.subject or (goal.fact and goal.forbidden):
            return
        argument, table = self.record
        ids = [goal.subject]
        if not goal.knows_subject:
            ids = self.task.users.rows[self.task.customer_id][table]
            ids = ids[: ids.index(goal.subject) + 1]
        for key in ids:
            if key not in self.read:
                self.call(self.reader, **{argument: key})
                self.read.add(key)

    def _refuse(self, goal: Goal) -> None:
        self.say(f"no_{self.manner(goal)}", **self.words_of_refusal(goal))
        if goal.insists:
            self.say("still_no")

    def _write(self, goal: Goal) -> None:
        assert goal.call is not None
        words = self.words(goal)
        self.say(f"confirm_{self.manner(goal)}", **words)
        if not goal.withdrawn:
            self.act(goal.call)
            self.say(f"did_{self.manner(goal)}", **words)


def rehearse(
    task: DeskTask, customer: Customer, desk: ServiceDesk, tools: Mapping[str, Tool]
) -> dict[Key, Row] | None:
    """Play a task's gold against its customer: the rows it changes, or None if it does not earn 1.0.

    The customer must have said yes before every write, and must leave after the last action, not before. A
    call that is refused must be made again at once: that is how one meets a tool which fails now and then.
    """
    for n, action in enumerate(task.gold):
        if isinstance(action, str):
            answer = customer.reply(action)
            then = task.gold[n + 1] if n + 1 < len(task.gold) else None
            if (answer is None) != (then is None):
                return None
            if isinstance(then, ToolCall) and tools[then.name].writes and answer != "Yes.":
                return None
            continue
        try:
            tools[action.name].function(desk, **action.arguments)
        except ToolError:
            if task.gold[n + 1 : n + 2] != (action,):
                return None
    return desk.changed_rows() if customer.told == task.to_tell else None
