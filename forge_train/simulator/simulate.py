"""A run in virtual time: the real admission, with work of a given length and machines of a given speed.

    Workload, Speeds, Placement --simulate(admission)--> the events of a run, and what its GPUs did

What decides is `forge_train.play.admission.Admission`, the object that the trainer uses; only the clock is
not real, so a run on 1,024 GPUs takes a minute. The model, all of it:

- An episode is turns; a turn samples tokens, then waits for its world. Worlds never queue.
- Sequences share the engine's GPUs equally. One alone on its GPU samples a token in `token_s`; every other
  one beside it adds `sequence_s` (decoding reads the weights once for all, and each sequence's own cache).
- The learner computes a number of positions in a second and GPU, and has a fixed part in every update.
- Engines stand still while they load weights and go on after it; on shared GPUs also during an update.

Left out: prefill, preemption for want of memory, machines that fail, evaluation.
"""

from __future__ import annotations

import heapq
import math
import random
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from forge_train.play.admission import Admission
from forge_train.simulator.stages import Placement, Speeds, Workload

TASK_SHARE = 0.7
"""Share of the variance of (log) turns that lies between tasks; the rest is between members of a group."""


@dataclass(slots=True)
class Simulation:
    """What happened. Steps, lags and idle shares are those after the warm-up."""

    events: list[dict[str, Any]] = field(default_factory=list)
    """As in events.jsonl: dispatch, finish, consume, update, weights; `time` in seconds."""
    steps: list[dict[str, float]] = field(default_factory=list)
    """Seconds of each update, by part and in total."""
    durations: dict[int, float] = field(default_factory=dict)
    """Seconds each group needs when nothing else runs: a property of its task, not of the schedule."""
    trained: list[int] = field(default_factory=list)
    lags: list[int] = field(default_factory=list)
    """Of the trained groups, in updates."""
    decided: list[int] = field(default_factory=list)
    """Useful groups started early enough that nothing can still happen to them: each is trained or lost."""
    engine_idle: float = 0.0
    """Share of the engine's GPU time, when it was not loading or lent to the learner, without a sequence."""
    learner_idle: float = 0.0
    """Share of the time that the learner had no batch (on GPUs of its own)."""
    idle: float = 0.0
    """Share of all GPU time in which nothing was computed and nothing loaded."""

    @property
    def step_seconds(self) -> float:
        """Mean seconds of an update."""
        return sum(s["total"] for s in self.steps) / len(self.steps)

    def part(self, name: str) -> float:
        """Mean seconds of a part of an update."""
        return sum(s.get(name, 0.0) for s in self.steps) / len(self.steps)

    def lost(self, slowest: float = 1.0) -> float:
        """Share of the decided groups that were not trained, among all or a slowest share of them."""
        by_duration = sorted(self.decided, key=lambda i: -self.durations[i])
        those = by_duration[: max(1, round(slowest * len(by_duration)))]
        return len(set(those) - set(self.trained)) / max(len(those), 1)

    @property
    def length_bias(self) -> float:
        """How far what was trained differs from what was started, by duration: Kolmogorov-Smirnov, 0 to 1."""
        kept = set(self.decided) & set(self.trained)
        return ks_distance((self.durations[i] for i in kept), (self.durations[i] for i in self.decided))


def simulate(
    workload: Workload, speeds: Speeds, placement: Placement, admission: Admission,
    *, updates: int, warmup: int = 2, seed: int = 0,
) -> Simulation:  # fmt: skip
    """Train for `warmup + updates` updates in virtual time.

    The same `seed` gives the same groups in the same order to every placement and every admission.
    """
    if updates < 1 or warmup < 0:
        raise ValueError(f"updates={updates}, warmup={warmup}: at least one update after the warm-up")
    return _Run(
        workload, speeds, placement, admission, warmup=warmup, last=warmup + updates, seed=seed
    ).play()


def ks_distance(a: Iterable[float], b: Iterable[float]) -> float:
    """Largest difference of two empirical distribution functions (Kolmogorov-Smirnov); 1 when one is empty.

    >>> ks_distance([1, 2], [1, 2, 3, 4]), ks_distance([1, 2], [2, 1])
    (0.5, 0.0)
    """
    first, second = sorted(a), sorted(b)
    if not first or not second:
        return float(first != second)
    return max(
        abs(bisect_right(first, x) / len(first) - bisect_right(second, x) / len(second))
        for x in {*first, *second}
    )


class DropsLate(Admission):
    """The foil: it takes whatever finishes first, and throws away what is older than `max_lag`.

    Many asynchronous trainers do so. It never waits for a slow task, and so never trains the slowest.
    """

    def __init__(self, groups: int, max_lag: int) -> None:
        super().__init__(groups, max_lag)
        self._order: list[int] = []

    def finish(self, index: int, *, useful: bool = True) -> None:
        """Group `index` has been played."""
        super().finish(index, useful=useful)
        if useful:
            self._order.append(index)

    def take(self) -> list[int] | None:
        """The groups that finished first."""
        if len(self._order) < self.groups:
            return None
        batch, self._order = self._order[: self.groups], self._order[self.groups :]
        return self.take_these(batch)

    def updated(self) -> int:
        """One more update: what has become too old, played or not, is gone."""
        version = super().updated()
        for index in [i for i in self._began if self.lag(i) > self.max_lag]:
            del self._began[index]
            self._ready.discard(index)
        self._order = [i for i in self._order if i in self._ready]
        return version


# -- what happens ----------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Group:
    index: int
    useful: bool
    began: float = 0.0
    left: int = 0
    positions: int = 0
    """What the learner forwards: shared opening once, then every member's own tokens."""
    world_s: float = 0.0
    sampling: int = 0
    """Members that are on the engine now."""
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class _Episode:
    group: _Group
    tokens: array[float]
    seconds: array[float]
    """Of the world, per turn; the last one with the verdict."""
    turn: int = 0


class _Engine:
    """GPUs that sample. All sequences advance at one pace, so one clock, in tokens, serves all of them."""

    def __init__(self, gpus: int, speeds: Speeds) -> None:
        self._gpus, self._speeds = gpus, speeds
        self._heap: list[tuple[float, int, _Episode]] = []
        self._order = count()
        self._tokens = self._at = 0.0
        self._running = 0
        self._pace = speeds.token_s
        """Seconds per token of every sequence."""
        self.paused = False
        self.idle = self.on = 0.0
        """GPU seconds without a sequence, and GPU seconds in service."""

    def advance(self, now: float) -> None:
        """Let the time up to `now` pass."""
        passed, self._at = now - self._at, now
        if self.paused:
            return
        self.on += passed * self._gpus
        self.idle += passed * max(0, self._gpus - self._running)
        if self._running:
            self._tokens += passed / self._pace

    def begin(self, now: float, episode: _Episode) -> None:
        """A turn of `episode` starts to be sampled."""
        self.advance(now)
        heapq.heappush(self._heap, (self._tokens + episode.tokens[episode.turn], next(self._order), episode))
        episode.group.sampling += 1
        self._load(1)

    def due(self) -> float:
        """When the next turn will be complete, if nothing changes."""
        while self._heap and self._heap[0][2].group.cancelled:
            heapq.heappop(self._heap)
        if self.paused or not self._heap:
            return math.inf
        return self._at + max(0.0, self._heap[0][0] - self._tokens) * self._pace

    def complete(self, now: float) -> _Episode:
        """The turn that is complete now."""
        self.advance(now)
        self._tokens, _, episode = heapq.heappop(self._heap)
        episode.group.sampling -= 1
        self._load(-1)
        return episode

    def cancel(self, now: float, group: _Group) -> None:
        """What `group` samples is wanted no more."""
        self.advance(now)
        group.cancelled = True
        self._load(-group.sampling)

    def _load(self, more: int) -> None:
        self._running += more
        beside = max(0.0, self._running / self._gpus - 1)
        self._pace = self._speeds.token_s + self._speeds.sequence_s * beside


class _Run:
    def __init__(
        self, workload: Workload, speeds: Speeds, placement: Placement, admission: Admission,
        *, warmup: int, last: int, seed: int,
    ) -> None:  # fmt: skip
        assert admission.groups == workload.groups
        self.work, self.speeds, self.placement = workload, speeds, placement
        self.admission = admission
        self._warmup, self._last, self._seed = warmup, last, seed
        self.engine = _Engine(placement.engine_gpus, speeds)
        self.out = Simulation()
        self.now = 0.0
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._playing: dict[int, _Group] = {}
        self._useful: dict[int, int] = {}
        """Version at the start of each useful group."""
        self._positions: dict[int, int] = {}
        self._learning = False
        self._free = self._counted = 0.0
        """Since when the learner has had nothing to do, and since when all is counted."""

    def play(self) -> Simulation:
        """Everything that happens, one thing after the other."""
        self.admit()
        while self.admission.version < self._last:
            due = self.engine.due()
            if not self._timers or due <= self._timers[0][0]:
                assert due < math.inf, "nothing is under way"
                self.now = due
                self.answer(self.engine.complete(due))
            else:
                self.now, _, act, arguments = heapq.heappop(self._timers)
                act(*arguments)
        return self.measured()

    def count_from_here(self) -> None:
        """The warm-up is over."""
        self.engine.idle = self.engine.on = 0.0
        self.out.steps.clear()
        self.out.lags.clear()
        self._counted = self.now

    def measured(self) -> Simulation:
        """Shares of time, once all has happened."""
        out, place = self.out, self.placement
        spent = self.now - self._counted
        waited = 0.0 if place.shared else sum(s["wait"] for s in out.steps)
        out.engine_idle = self.engine.idle / self.engine.on
        out.learner_idle = waited / spent
        out.idle = (self.engine.idle + waited * place.learner_gpus) / (spent * place.gpus)
        # Younger groups may still be under way, and those are the slow ones.
        last = self.admission.version - self.admission.max_lag - 1
        out.decided = [i for i, version in self._useful.items() if version <= last]
        return out

    # -- playing -------------------------------------------------------------------------------

    def admit(self) -> None:
        while self.admission.room:
            version = self.admission.version
            index = self.admission.start()
            self.note("dispatch", group=index, step=version)
            group, episodes = self.draw(index)
            group.began = self.now
            self._playing[index] = group
            if group.useful:
                self._useful[index] = version
            for episode in episodes:
                self.engine.begin(self.now, episode)

    def draw(self, index: int) -> tuple[_Group, list[_Episode]]:
        """Group `index`: the same one whatever has happened so far."""
        work = self.work
        rng = random.Random(f"{self._seed}/{index}")
        task, useful = rng.gauss(), rng.random() >= work.flat
        group = _Group(index, useful, left=work.group_size, positions=work.opening)
        episodes, longest = [], 0.0
        for _ in range(work.group_size):
            own = math.sqrt(TASK_SHARE) * task + math.sqrt(1 - TASK_SHARE) * rng.gauss()
            turns = min(max(1, round(work.turns * math.exp(work.turns_spread * own))), work.max_turns)
            tokens = array("d", (_lognormal(rng, work.tokens, work.tokens_spread) for _ in range(turns)))
            seconds = array("d", (_lognormal(rng, work.world_s, work.world_spread) for _ in range(turns)))
            seconds[-1] += work.grade_s
            episodes.append(_Episode(group, tokens, seconds))
            group.positions += round(sum(tokens)) + turns * work.heard
            group.world_s = max(group.world_s, sum(seconds))
            longest = max(longest, sum(tokens) * self.speeds.token_s + sum(seconds))
        self.out.durations[index] = longest
        self._positions[index] = group.positions
        return group, episodes

    def answer(self, episode: _Episode) -> None:
        """A turn has been sampled: the world answers, which takes its time."""
        self.after(episode.seconds[episode.turn], self.answered, episode)

    def answered(self, episode: _Episode) -> None:
        group = episode.group
        if group.cancelled:
            return
        episode.turn += 1
        if episode.turn < len(episode.tokens):
            self.engine.begin(self.now, episode)
            return
        group.left -= 1
        if group.left == 0:
            del self._playing[group.index]
            spent = round(self.now - group.began, 3)
            self.note(
                "finish", group=group.index, step=self.admission.version, seconds=spent,
                generate_seconds=round(spent - group.world_s, 3), world_seconds=round(group.world_s, 3),
                endings={"terminated": self.work.group_size},
            )  # fmt: skip
            self.admission.finish(group.index, useful=group.useful)
            self.admit()
            self.learn()

    # -- learning ------------------------------------------------------------------------------

    def learn(self) -> None:
        """Begin an update when there is a batch for it."""
        batch = None if self._learning else self.admission.take()
        if batch is None:
            return
        self._learning = True
        if self.placement.shared:
            self.pause()
        step, gpus = self.admission.version, self.placement.learner_gpus
        lags = [step - self._useful[i] for i in batch]
        self.out.trained += batch
        self.out.lags += lags
        self.note("consume", step=step, groups=batch, rejected=[], lags=lags)
        positions = sum(self._positions.pop(i) for i in batch)
        seconds = {
            "wait": self.now - self._free,
            "logprobs": positions / (gpus * self.speeds.logprob_rate),
            "update": positions / (gpus * self.speeds.train_rate) + self.speeds.update_s,
            "weights": self.speeds.swap_s if self.placement.shared else self.speeds.weights_s,
        }
        self.after(seconds["logprobs"] + seconds["update"], self.learned, seconds)

    def learned(self, seconds: dict[str, float]) -> None:
        """The optimizer has stepped: engines stop, and load the new weights."""
        spent = seconds["logprobs"] + seconds["update"]
        self.note("update", step=self.admission.version, seconds=round(spent, 3))
        self.pause()
        self.after(seconds["weights"], self.handed_over, seconds)

    def handed_over(self, seconds: dict[str, float]) -> None:
        """Engines go on, with the new weights; what had to wait for them starts."""
        version = self.admission.updated()
        self.note("weights", step=version, seconds=round(seconds["weights"], 3))
        self.engine.advance(self.now)
        self.engine.paused = False
        for index in self._playing.keys() - set(self.admission.playing):
            self.engine.cancel(self.now, self._playing.pop(index))
        self.out.steps.append(seconds | {"total": self.now - self._free})
        self._free = self.now
        self._learning = False
        if version == self._warmup:
            self.count_from_here()
        if version < self._last:
            self.admit()
            self.learn()

    def pause(self) -> None:
        self.engine.advance(self.now)
        self.engine.paused = True

    # -- time ----------------------------------------------------------------------------------

    def after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), act, arguments))

    def note(self, event: str, **fields: Any) -> None:
        self.out.events.append({"event": event, "time": round(self.now, 3), **fields})


def _lognormal(rng: random.Random, median: float, sigma: float) -> float:
    return median * math.exp(sigma * rng.gauss()) if sigma else median
