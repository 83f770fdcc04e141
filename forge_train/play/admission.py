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

There is no clock and no queue here: the trainer runs this code in real
time and `forge_train.simulator.simulate` in virtual time.
"""

from __future__ import annotations

from collections.abc import Mapping


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
    """

    def __init__(
        self,
        groups: int,
        max_lag: int,
        *,
        updates: int | None = None,
        version: int = 0,
        started: int = 0,
        waiting: Mapping[int, int] | None = None,
    ) -> None:
        """`groups` of one update; nothing starts that would come after `updates`, the last.

        A run that continues has taken `version` updates and started `started` groups, of which those
        `waiting`, with the versions they started with, are not trained yet.
        """
        if groups < 1 or max_lag < 0:
            raise ValueError(
                f"groups={groups}, max_lag={max_lag}: at least one group, and a lag of 0 or more"
            )
        self.groups = groups
        self.max_lag = max_lag
        self.version = version
        """Updates so far, those whose weights the engine has."""
        self.started = started
        """Groups started so far; the index of the next one."""
        self.updates = updates
        self._began = dict(waiting or {})
        self._ready: set[int] = set()
        self._taken = version * groups

    @property
    def room(self) -> int:
        """Groups that may start now."""
        ahead = self.version + 1 + self.max_lag
        last = ahead if self.updates is None else min(ahead, self.updates)
        return max(0, last * self.groups - self._taken - len(self._began))

    @property
    def playing(self) -> list[int]:
        """Groups that are started and not finished, oldest first."""
        return sorted(self._began.keys() - self._ready)

    @property
    def due(self) -> list[int]:
        """The groups of the next update, as far as they have started."""
        return sorted(self._began)[: self.groups]

    def lag(self, index: int) -> int:
        """Updates since group `index` started."""
        return self.version - self._began[index]

    def start(self) -> int:
        """Start the next group; returns its index."""
        assert self.room > 0
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
        if len(due) < self.groups or not self._ready.issuperset(due):
            return None
        return self.take_these(due)

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
