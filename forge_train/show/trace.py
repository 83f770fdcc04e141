"""Who did what when: some of the last updates of a run as lanes, from its events.

One lane is the learner: updates, and weights on their way to the engines. Every other lane is a place that
admission gives to a group: a bar while it is played, a thin line while it is finished and waits to be
trained. The shade is its lag, the updates between the weights it started with and those it trains.
Works on the events of `forge_train.simulator.simulate` as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forge_train.show.charts import tell, ticks

UPDATES = 6
"""Updates that are shown."""
SHADES = 4
"""The largest lag that has a shade of its own."""
LANES = 36
"""Lanes of groups at most; of more, every second or third ... group is shown."""

WIDTH, LEFT, RIGHT, TOP = 1120, 66, 14, 8
LEARNER, LANE, GAP = 20, 9, 2
"""Heights in pixels: the learner's lane, a group's, and between them."""

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Group:
    index: int
    version: int
    began: float
    finished: float | None
    consumed: float | None
    lag: int | None
    words: str

    def end(self, otherwise: float) -> float:
        """When its place is free again."""
        known = self.finished if self.consumed is None else self.consumed
        return otherwise if known is None else known


def trace(events: Sequence[Event]) -> dict[str, Any] | None:
    """Pixels and strings for the template; None when the events tell of no group or no update.

    `events` are all there are, those of steps that a resumed run repeated included.
    """
    updates = _last(events, "update")
    groups = _groups(events)
    if not updates or not groups:
        return None
    weights = _last(events, "weights")
    low, high, shown = _window(events, updates, weights, groups)
    if not high > low:
        return None
    lanes, stride = _lanes([g for g in groups if g.began < high and g.end(high) > low], high)
    floor = TOP + LEARNER + 10
    height = floor + len(lanes) * (LANE + GAP) + 24

    def px(time: float) -> float:
        at = min(max(time, low), high)
        return round(LEFT + (at - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    learner = [_work(e, f"update {step}", "update", px) for step, e in updates.items() if step in shown]
    moved = [e for e in weights.values() if low < e["time"] <= high]
    learner += [_work(e, f"weights of version {e['step']}", "weights", px) for e in moved]
    bars = [
        bar
        for row, lane in enumerate(lanes)
        for group in lane
        for bar in _bars(group, floor + row * (LANE + GAP), high, px)
    ]
    busy = sum(_span(updates[step], low, high) for step in shown) / (high - low)
    return {
        "width": WIDTH, "height": height, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "floor": floor,
        "learner": learner, "learner_height": LEARNER,
        "bars": bars,
        "loads": [px(e["time"]) for e in moved],
        "ticks": [(px(low + t), tell(t, "seconds")) for t in ticks(0.0, high - low, 8) if t <= high - low],
        "busy": busy,
        "stride": stride,
        "more": any((g.lag or 0) > SHADES for g in groups),
        "lags": sorted({b["lag"] for b in bars if b["lag"] is not None}),
        "untrained": any(b["lag"] is None for b in bars),
        "first": min(shown), "last": max(shown),
        "summary": f"updates {min(shown)} to {max(shown)}: the learner computed for {busy:.0%} of "
                   f"{tell(high - low, 'seconds')}",
    }  # fmt: skip


def _last(events: Iterable[Event], name: str) -> dict[int, Event]:
    """Events of a name by step, in order; of two for one step the last, which a resumed run repeated."""
    found = {int(e["step"]): e for e in events if e["event"] == name and "seconds" in e}
    return dict(sorted(found.items()))


def _groups(events: Sequence[Event]) -> list[_Group]:
    """Every group as it was played last."""
    began = {e["group"]: e for e in events if e["event"] == "dispatch"}
    finished = {e["group"]: e for e in events if e["event"] == "finish"}
    consumed = {
        index: (e, lag)
        for e in events
        if e["event"] == "consume"
        for index, lag in zip(e["groups"], e.get("lags") or [None] * len(e["groups"]), strict=True)
    }
    rejected = {i for e in events if e["event"] == "consume" for i in e.get("rejected", ())}
    found = []
    for index, start in began.items():
        end, (taken, lag) = finished.get(index), consumed.get(index, (None, None))
        if taken is not None and lag is None:
            lag = taken["step"] - start["step"]
        words = _words(start, end, taken, lag, index in rejected)
        # A run that was killed may have finished a group before it was started again.
        over = max(start["time"], end["time"]) if end else None
        found.append(
            _Group(index, start["step"], start["time"], over, taken["time"] if taken else None, lag, words)
        )
    return sorted(found, key=lambda g: (g.began, g.index))


def _words(start: Event, end: Event | None, taken: Event | None, lag: int | None, rejected: bool) -> str:
    """A group, told."""
    words = f"group {start['group']}, begun with version {start['step']}"
    if end is not None and "seconds" in end:
        parts = [("engine", end.get("generate_seconds")), ("world", end.get("world_seconds"))]
        told = ", ".join(f"{name} {tell(s, 'seconds')}" for name, s in parts if s is not None)
        words += f"; played for {tell(end['seconds'], 'seconds')}" + (f" ({told})" if told else "")
    if taken is not None:
        words += f"; trained by update {taken['step']}, lag {lag}"
    elif rejected:
        words += "; nothing to learn from it"
    elif end is None:
        words += "; still played"
    return words


def _window(
    events: Sequence[Event],
    updates: Mapping[int, Event],
    weights: Mapping[int, Event],
    groups: Sequence[_Group],
) -> tuple[float, float, list[int]]:
    """From the end of one update to the end of another, within the last process that wrote the run."""
    opened = max((e["time"] for e in events if e["event"] in ("start", "open")), default=-math.inf)
    known = [step for step, e in updates.items() if e["time"] > opened] or list(updates)[-1:]
    # Of groups that are played during the very last updates it is not known yet what becomes of them.
    unsure = max((g.lag or 0 for g in groups), default=0)
    shown = known[: max(len(known) - unsure, min(len(known), UPDATES))][-UPDATES:]
    before = [e["time"] for step, e in [*updates.items(), *weights.items()] if step <= shown[0]]
    before = [t for t in before if opened <= t <= updates[shown[0]]["time"] - updates[shown[0]]["seconds"]]
    started = [g.began for g in groups if g.began >= opened]
    first = updates[shown[0]]
    low = max(before, default=min([*started, first["time"] - first["seconds"]]))
    ends = [updates[shown[-1]]["time"]]
    ends += [weights[shown[-1] + 1]["time"]] if shown[-1] + 1 in weights else []
    return low, max(ends), shown


def _lanes(groups: Sequence[_Group], high: float) -> tuple[list[list[_Group]], int]:
    """Groups in as few lanes as they fit without overlap, and which share of them: every how-manieth."""
    stride = 1
    while True:
        lanes: list[list[_Group]] = []
        for group in groups:
            if group.index % stride:
                continue
            free = (lane for lane in lanes if lane[-1].end(high) <= group.began)
            lane = next(free, None)
            if lane is None:
                lanes.append([group])
            else:
                lane.append(group)
        if len(lanes) <= LANES:
            return lanes, stride
        stride = max(stride + 1, math.ceil(stride * len(lanes) / LANES))


def _work(event: Event, words: str, kind: str, px: Any) -> dict[str, Any]:
    """A bar of the learner's lane."""
    left, right = px(event["time"] - event["seconds"]), px(event["time"])
    wide = kind == "update" and right - left > 7 * len(words)
    return {
        "x": left,
        "width": max(round(right - left, 1), 0.5),
        "kind": kind,
        "label": words if wide else "",
        "words": f"{words}: {tell(event['seconds'], 'seconds')}",
    }


def _bars(group: _Group, y: float, high: float, px: Any) -> list[dict[str, Any]]:
    """A group: the bar while it is played and, where it waits to be trained, a thin one."""
    parts = [(group.began, group.finished if group.finished is not None else high, LANE)]
    if group.finished is not None and group.consumed is not None:
        parts.append((group.finished, group.consumed, 3))
    bars = []
    for began, ended, tall in parts:
        left, right = px(began), px(ended)
        if right > left:
            bars.append(
                {"x": left, "y": y + (LANE - tall) / 2, "width": max(round(right - left - 1, 1), 0.5),
                 "height": tall, "lag": None if group.lag is None else min(group.lag, SHADES),
                 "words": group.words}
            )  # fmt: skip
    return bars


def _span(event: Event, low: float, high: float) -> float:
    """Seconds of it that lie in the window."""
    began, ended = float(event["time"] - event["seconds"]), float(event["time"])
    return max(0.0, min(ended, high) - max(began, low))
