"""Admission: which groups may start, and which finished ones the next update takes.

The one place where staleness is decided, and it has one dial. A group is late by the updates between the
weights that it started with and the weights that it trains. Nothing is ever dropped for being late (that
starves slow tasks and biases training towards quick ones); instead

- a group may start only while at most (1 + max_lag) * groups are started and not yet trained
  (the capacity rule of AReaL, arXiv 2505.24298 §5.1), and
- an update takes the oldest groups, in the order they were started, and waits for them.

So no group is ever late by more than `max_lag`, a slow one has the time of `max_lag` more updates before
anybody waits for it, and what an update trains on does not depend on who finished first. (Taking whatever
has finished would keep the bound only by luck: as many groups start for every version as are trained, so
one taken early leaves an older one over.) With `max_lag = 0` training is synchronous.

With `spare` groups more are under way than an update takes: M of N, Klear-AgentForge (arXiv 2511.05951)
§2.3. An update then takes the oldest of those that have finished, and slow ones are left over for the next.
That is a bias, and it has a name and a bound: whoever finishes first is trained first, so an update leans
towards short episodes of quick tasks, and slow ones are trained on older weights. But none is lost. A group
left over is the oldest of the next update, one is waited for before it would be late by more than
`max_lag + ceil(spare / groups)` updates, and the last updates start nothing that they would not train, so
over a run every group that was started is trained exactly once. Throwing the slow ones away instead would
never train a task that always takes long.

There is no clock and no queue here: the trainer runs this code in real
time and `forge_train.simulator.simulate` in virtual time.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from forge_train.config import Config


class Admission:
    """The books of one run: groups by index, in the order they were started.

    An update is `take`, then `updated` once the engine has the new weights: between the two nothing new
    may start on the old ones.

    >>> a = Admission(groups=2, max_lag=1)
    >>> [a.start() for _ in range(a.room)]
    [0, 1, 2, 3]
    >>> a.finish(3); a.finish(1); a.due, a.take()  # two have finished, but group 0 is waited for
    ([0, 1], None)
    >>> a.finish(0); a.take()
    [0, 1]
    >>> a.room, a.updated(), a.room
    (0, 1, 2)
    >>> b = Admission(groups=2, max_lag=0, spare=1)
    >>> [b.start() for _ in range(b.room)]
    [0, 1, 2]
    >>> b.finish(2); b.finish(1); b.take()  # group 0 is left over
    [1, 2]
    >>> b.updated(), b.start(), b.start(), b.finish(3), b.finish(4), b.take()  # and now waited for
    (1, 3, 4, None, None, None)
    """

    def __init__(
        self,
        groups: int,
        max_lag: int,
        *,
        spare: int = 0,
        updates: int | None = None,
        version: int = 0,
        started: int = 0,
        waiting: Mapping[int, int] | None = None,
    ) -> None:
        """`groups` of one update, `spare` more under way; nothing starts that would come after `updates`.

        A run that continues has taken `version` updates and started `started` groups, of which those
        `waiting`, with the versions they started with, are not trained yet.
        """
        if groups < 1 or max_lag < 0 or spare < 0:
            raise ValueError(
                f"groups={groups}, max_lag={max_lag}, spare={spare}: at least one group, and 0 or more others"
            )
        self.groups = groups
        self.max_lag = max_lag
        self.spare = spare
        self.latest = max_lag - (-spare // groups)
        """Most updates by which a group is ever late."""
        self.version = version
        """Updates so far, those whose weights the engine has."""
        self.started = started
        """Groups started so far; the index of the next one."""
        self.meant_for = version
        """The update that the group started last is meant for, when the oldest are taken first."""
        self.updates = updates
        self._began = dict(waiting or {})
        self._ready: set[int] = set()
        self._taken = version * groups

    @property
    def room(self) -> int:
        """Groups that may start now."""
        most = (self.version + 1 + self.max_lag) * self.groups + self.spare
        if self.updates is not None:
            most = min(most, self.updates * self.groups)
        return max(0, most - self._taken - len(self._began))

    @property
    def playing(self) -> list[int]:
        """Groups that are started and not finished, oldest first."""
        return sorted(self._began.keys() - self._ready)

    @property
    def due(self) -> list[int]:
        """The groups of the next update, as far as they have started; with `spare`, have finished."""
        return sorted(self._ready if self.spare else self._began)[: self.groups]

    def lag(self, index: int) -> int:
        """Updates since group `index` started."""
        return self.version - self._began[index]

    def start(self) -> int:
        """Start the next group; returns its index."""
        assert self.room > 0
        self.meant_for = (self._taken + len(self._began)) // self.groups
        index = self.started
        self.started += 1
        self._began[index] = self.version
        return index

    def finish(self, index: int, *, useful: bool = True) -> None:
        """Group `index` has been played. One that is not useful leaves, and another may start for it."""
        assert index in self._began and index not in self._ready
        if useful:
            self._ready.add(index)
        else:
            del self._began[index]

    def take(self) -> list[int] | None:
        """The groups of the next update, oldest first; None while they are still being played."""
        due = self.due
        if len(due) < self.groups or not self._ready.issuperset(due) or self._leaves_too_many(due):
            return None
        return self.take_these(due)

    def _leaves_too_many(self, batch: list[int]) -> bool:
        """Whether some group could not be in time for `latest` any more if the next update took `batch`.

        For every k: of those that must be trained within k more updates, these can take k * groups. What they
        cannot must be in the batch. Versions go up with the index, so that the oldest come first in both, and
        nothing is better than to take the oldest.
        """
        if batch == sorted(self._began)[: self.groups]:
            return False
        taken = set(batch)
        left = [0] * (self.latest + 1)
        for index, began in self._began.items():
            left[max(began + self.latest - self.version, 0)] += index not in taken
        return any(count > k * self.groups for k, count in enumerate(accumulate(left)))

    def take_these(self, batch: list[int]) -> list[int]:
        """Take these finished groups, as an update that is being replayed once did."""
        assert len(batch) == self.groups and self._ready.issuperset(batch)
        self._ready.difference_update(batch)
        for index in batch:
            del self._began[index]
        self._taken += self.groups
        return batch

    def updated(self) -> int:
        """The engine has the weights of one more update; returns their version."""
        self.version += 1
        return self.version


def admission_of(config: Config, version: int, *, started: int, waiting: Mapping[int, int]) -> Admission:
    """The books of a run of `config` that has taken `version` updates."""
    rollout = config.rollout
    return Admission(
        rollout.groups,
        rollout.max_lag,
        spare=rollout.spare,
        updates=config.run.steps,
        version=version,
        started=started,
        waiting=waiting,
    )
