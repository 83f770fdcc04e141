"""Curves as numbers an SVG can hold: scales, ticks and paths. No drawing library, no network.

numbers of a run --Chart--> draw() --> a dict of strings and pixels that the report's template prints
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

WIDTH, HEIGHT = 560, 236
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 12, 30
BINS = 400
"""Points of a curve at most; longer runs are averaged, or the file would grow without showing more."""

Number = float | None
Format = Literal["number", "percent", "seconds"]


@dataclass(frozen=True, slots=True)
class Series:
    """One curve; a value per step, None where it was not measured."""

    name: str
    values: Sequence[Number]


@dataclass(frozen=True, slots=True)
class Point:
    """A measurement with its interval."""

    x: float
    y: float
    low: float
    high: float
    label: str
    color: int = 1


@dataclass(frozen=True, slots=True)
class Chart:
    """What to draw. `xs` are steps, increasing."""

    title: str
    note: str
    xs: Sequence[float]
    series: Sequence[Series]
    kind: Literal["lines", "stack"] = "lines"
    format: Format = "number"
    log: bool = False
    points: Sequence[Point] = field(default=())
    dots: str = ""
    """What the points are, for the legend; empty where they have the colour and meaning of a series."""
    x_label: str = "update"

    @property
    def empty(self) -> bool:
        """Nothing was measured."""
        return not self.points and all(v is None for s in self.series for v in s.values)


def draw(chart: Chart) -> dict[str, Any]:
    """Pixels and strings for the template, and the numbers its hover read-out needs."""
    xs, series = _thinned(chart)
    names = [s.name for s in series]
    values = [_shares_upwards(series, i) for i in range(len(series))] if chart.kind == "stack" else [
        list(s.values) for s in series
    ]  # fmt: skip
    x_low, x_high = _x_domain(chart, xs)
    y_low, y_high = _y_domain(chart, values)

    def px(x: float) -> float:
        return round(LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT), 1)

    def py(y: float) -> float:
        low, high, at = (math.log10(v) for v in (y_low, y_high, y)) if chart.log else (y_low, y_high, y)
        return round(HEIGHT - BOTTOM - (at - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    paths: list[dict[str, Any]] = []
    for i, column in enumerate(values):
        if chart.kind == "stack":
            floor = values[i - 1] if i else [0.0] * len(xs)
            paths.append({"d": _steps(xs, column, floor, px, py), "color": _color(i), "kind": "area"})
            continue
        noisy = sum(v is not None for v in column) >= 20
        if noisy:
            paths.append({"d": _line(xs, column, px, py), "color": _color(i), "kind": "faint"})
        main = smooth(column) if noisy else column
        paths.append({"d": _line(xs, main, px, py), "color": _color(i), "kind": "line"})
        if sum(v is not None for v in column) == 1:
            at = next(j for j, v in enumerate(column) if v is not None)
            paths.append({"d": _dot(px(xs[at]), py(main[at] or 0.0)), "color": _color(i), "kind": "dot"})
    y_ticks = _decades(y_low, y_high) if chart.log else ticks(y_low, y_high)
    return {
        "title": chart.title,
        "note": chart.note,
        "summary": _summary(chart),
        "paths": paths,
        "legend": [{"name": name, "color": _color(i)} for i, name in enumerate(names)]
        + ([{"name": chart.dots, "color": chart.points[0].color}] if chart.dots and chart.points else []),
        "x_label": chart.x_label,
        "x_ticks": [(px(t), tell(t, "number")) for t in ticks(x_low, x_high, 6) if t == int(t)],
        "y_ticks": [(py(t), tell(t, chart.format)) for t in y_ticks],
        "points": [
            {"x": px(p.x), "y": py(p.y), "low": py(p.low), "high": py(p.high), "color": p.color,
             "label": p.label}
            for p in chart.points
        ],
        "hover": {
            "x": [px(x) for x in xs],
            "at": [f"{chart.x_label} {tell(x, 'number')}" for x in xs],
            "format": chart.format,
            "rows": [
                {"name": s.name, "color": _color(i), "v": [_rounded(v) for v in s.values]}
                for i, s in enumerate(series)
            ],
        },
    }  # fmt: skip


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers between low and high, about `wanted` of them.

    >>> ticks(0, 1), ticks(0, 60, 6)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    """
    rough = (high - low) / wanted
    scale = 10 ** math.floor(math.log10(rough))
    unit = next(u for u in (1, 2, 5, 10) if u * scale >= rough * 0.999) * scale
    first, last = math.ceil(low / unit - 1e-9), math.floor(high / unit + 1e-9)
    return [float(f"{i * unit:.12g}") for i in range(first, last + 1)]


def tell(value: float, form: Format) -> str:
    """A number as an axis says it.

    >>> tell(0.25, "percent"), tell(1500, "number"), tell(2e-6, "number"), tell(0.5, "seconds")
    ('25%', '1,500', '2e-06', '0.5 s')
    """
    if form == "percent":
        return f"{100 * value:.4g}%"
    if value and not 1e-3 <= abs(value) < 1e6:
        text = f"{value:.1e}".replace(".0e", "e")
    else:
        text = f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{text} s" if form == "seconds" else text


def smooth(values: Sequence[Number]) -> list[Number]:
    """A line fitted around each point, over about an eighth of the curve; gaps stay gaps.

    Unlike a plain mean it does not drag the ends of a rising curve towards its middle.

    >>> smooth([1.0, 2.0, None, 4.0])
    [1.0, 2.0, None, 4.0]
    """
    reach = max(2, len(values) // 12)
    out: list[Number] = []
    for i, value in enumerate(values):
        if value is None:
            out.append(None)
            continue
        first = max(0, i - reach)
        near = enumerate(values[first : i + reach + 1], first - i)
        window = [(x, y) for x, y in near if y is not None]
        mean_x = sum(x for x, _ in window) / len(window)
        mean_y = sum(y for _, y in window) / len(window)
        squares = sum((x - mean_x) ** 2 for x, _ in window)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in window) / squares if squares else 0.0
        low, high = min(y for _, y in window), max(y for _, y in window)
        out.append(min(max(mean_y - slope * mean_x, low), high))
    return out


def _thinned(chart: Chart) -> tuple[list[float], list[Series]]:
    """At most BINS points, neighbours averaged; a log scale has no place for what is not positive."""
    count = len(chart.xs)
    series = list(chart.series)
    if chart.log:
        series = [Series(s.name, [v if v is not None and v > 0 else None for v in s.values]) for s in series]
    if count <= BINS:
        return list(chart.xs), series
    edges = [round(i * count / BINS) for i in range(BINS + 1)]
    bins = list(pairwise(edges))

    def mean(values: Sequence[Number]) -> Number:
        known = [v for v in values if v is not None]
        return sum(known) / len(known) if known else None

    xs = [chart.xs[(a + b) // 2] for a, b in bins]
    return xs, [Series(s.name, [mean(s.values[a:b]) for a, b in bins]) for s in series]


def _shares_upwards(series: Sequence[Series], upto: int) -> list[Number]:
    """Height of the stack after series `upto`; what was not measured, or is negative, adds nothing."""
    count = len(series[0].values)
    return [sum(max(s.values[i] or 0.0, 0.0) for s in series[: upto + 1]) for i in range(count)]


def _x_domain(chart: Chart, xs: Sequence[float]) -> tuple[float, float]:
    known = [*xs, *(p.x for p in chart.points)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if chart.kind == "stack":
        # A step of a stack is as wide as the gap to its neighbour.
        low, high = low - 0.5, high + 0.5
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _y_domain(chart: Chart, values: Sequence[Sequence[Number]]) -> tuple[float, float]:
    known = [v for column in values for v in column if v is not None]
    known += [v for p in chart.points for v in (p.low, p.high)]
    if chart.log:
        low, high = min(known, default=0.1), max(known, default=1.0)
        return 10 ** math.floor(math.log10(low)), 10 ** (math.floor(math.log10(high)) + 1)
    if chart.format == "percent":
        return 0.0, max([1.0, *known])
    low, high = min(known, default=0.0), max(known, default=1.0)
    if (low >= 0 and low < 0.6 * high) or chart.kind == "stack":
        low = 0.0
    pad = max(0.06 * (high - low), 1e-6 * max(abs(low), abs(high))) or 1.0
    return (low if low == 0 else low - pad), high + pad


def _decades(low: float, high: float) -> list[float]:
    first, last = round(math.log10(low)), round(math.log10(high))
    stride = max(1, math.ceil((last - first) / 5))
    return [10.0**e for e in range(first, last + 1, stride)]


def _line(xs: Sequence[float], values: Sequence[Number], px: Any, py: Any) -> str:
    """An SVG path, interrupted where nothing was measured."""
    parts, pen = [], "M"
    for x, value in zip(xs, values, strict=True):
        parts.append(f"{pen}{px(x)} {py(value)}" if value is not None else "")
        pen = "L" if value is not None else "M"
    return "".join(parts)


def _steps(xs: Sequence[float], tops: Sequence[Number], floors: Sequence[Number], px: Any, py: Any) -> str:
    """The area between two staircases."""
    if not xs:
        return ""
    gap = (xs[-1] - xs[0]) / (len(xs) - 1) if len(xs) > 1 else 1.0
    above = [
        f"{px(x + side)} {py(top or 0.0)}"
        for x, top in zip(xs, tops, strict=True)
        for side in (-gap / 2, gap / 2)
    ]
    below = [
        f"{px(x + side)} {py(low or 0.0)}"
        for x, low in zip(xs, floors, strict=True)
        for side in (-gap / 2, gap / 2)
    ]
    return "M" + "L".join([*above, *reversed(below)]) + "Z"


def _dot(x: float, y: float) -> str:
    return f"M{x - 3} {y}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0"


def _summary(chart: Chart) -> str:
    """The chart in words, for those who do not see it."""
    parts = []
    for s in chart.series:
        known = [v for v in s.values if v is not None]
        if known:
            parts.append(f"{s.name} from {tell(known[0], chart.format)} to {tell(known[-1], chart.format)}")
    parts += [p.label for p in chart.points]
    return f"{chart.title}: " + ("; ".join(parts) or "nothing measured")


def _color(series: int) -> int:
    """One of the ten colours of the style sheet, as many as a step has parts."""
    return series % 10 + 1


def _rounded(value: Number) -> Number:
    return None if value is None else float(f"{value:.4g}")
