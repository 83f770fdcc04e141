"""The report of a run: one HTML file, made from the run folder alone, that opens anywhere, offline."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from forge_train.record.evaluation_result import lost_of, shares
from forge_train.record.run_folder import read_lines, rollout_files, standing, step_of, write_atomic
from forge_train.record.step_metrics import learning_speed
from forge_train.show.charts import Chart, Format, Number, Point, Series, draw, tell
from forge_train.show.compare import ungraded, whole_way
from forge_train.show.live import duration
from forge_train.show.results import changed, spanned
from forge_train.show.trace import trace
from forge_train.show.transcript import choose, episode

Line = dict[str, Any]
Names = Mapping[str, tuple[str | tuple[str, ...], ...]]
"""What a curve is called, and the metrics it may come from."""

SHOWN_STEPS = 4
"""Steps whose episodes are shown: the first, the last, and some between."""

ENDINGS = ("terminated", "max_turns", "tokens", "context", "deadline", "failed", "cancelled")
SPENT = (
    "generate", "world", "wait", "placement", "logprobs", "values", "update", "weights", "checkpoint",
    "other",
)  # fmt: skip
"""Parts of a step, bottom to top. A synchronous run plays its groups (generate, world) and then learns; in an
overlapped one the learner only waits for those that are not there yet."""


def write_report(folder: Path) -> Path:
    """Write `folder/report.html` and return its path. Parts that the run lacks are left out.

    Raises ValueError when `folder` is not a run.
    """
    folder = Path(folder)
    if not (folder / "config.toml").is_file():
        raise ValueError(f"{folder}: no run here (no config.toml); give the folder of a run, as in runs/demo")
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html", "jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"percent": _percent, "signed": _signed, "duration": duration}
    html = templates.get_template("report.html.jinja").render(gather(folder))
    path = folder / "report.html"
    write_atomic(path, html.encode("utf-8"))
    return path


def gather(folder: Path) -> dict[str, Any]:
    """Everything the template shows, from the files of the run."""
    text = (folder / "config.toml").read_text(encoding="utf-8")
    config = tomllib.loads(text)
    history = read_lines(folder / "events.jsonl")
    events = standing(history)
    metrics = [_accounted(line) for line in read_lines(folder / "metrics.jsonl")]
    evaluations = _evaluations(events)
    worlds = list(dict.fromkeys(e["world"] for e in evaluations))
    charts = [draw(c) for c in [*_curves(metrics, evaluations, worlds), _supervised(events)] if not c.empty]
    others = [draw(c) for c in _other_curves(metrics)]
    return {
        "again": again(config),
        "judged": judged(config),
        "distinct": config.get("eval", {}).get("distinct", False),
        "name": str(config.get("run", {}).get("name", folder.name)),
        "folder": folder.resolve().name,
        "config": text,
        "facts": _facts(config, events, metrics),
        "stages": _stages(evaluations),
        "heads": _heads(evaluations, worlds),
        "tasks": _tasks(evaluations, worlds),
        "charts": charts,
        "others": others,
        "trace": trace(history),
        "steps": _episodes(folder),
        "environment": _environment(events),
        "resumes": sum(e["event"] == "open" for e in events),
    }


def judged(config: Mapping[str, Any]) -> bool:
    """Whether the folder is that of an evaluation, which trains nothing: it has no number of steps."""
    return "steps" not in config.get("run", {}) and "tasks" in config.get("eval", {})


def again(config: Mapping[str, Any]) -> str:
    """The command that does it again, into another folder."""
    if not judged(config):
        return "forge-train train run.toml run.out=runs/again"
    asked, rollout, worlds = config["eval"], config.get("rollout", {}), config.get("worlds") or [{}]
    words = ["forge-train", "eval", "--engine", str(config.get("model", {}).get("path", ""))]
    words += ["--world", str(worlds[0].get("id", ""))]
    for key, value in (worlds[0].get("args") or {}).items():
        words += ["--arg", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    words += [f"--{key}={asked[key]}" for key in ("split", "tasks", "repeats", "temperature") if key in asked]
    words += [f"--seed={config.get('run', {}).get('seed', 0)}"]
    names = {"max_action": "max-action", "in_flight": "in-flight", "deadline_s": "deadline"}
    words += [f"--{flag}={rollout[key]}" for key, flag in names.items() if key in rollout]
    return shlex.join([*words, "--out", "runs/again"])


# -- results -------------------------------------------------------------------------------------------


def _evaluations(events: Iterable[Line]) -> list[Line]:
    """Evaluations with every key the template reads; of two for one stage, world and step the last."""
    found: dict[tuple[str, str, int], Line] = {}
    for event in events:
        if event["event"] != "evaluation":
            continue
        score = event.get("pass@1")
        stage, world = str(event.get("stage", "evaluation")), str(event.get("world", ""))
        step = int(event.get("step") or 0)
        low, high = event.get("low"), event.get("high")
        found.pop((stage, world, step), None)
        found[stage, world, step] = {
            "stage": stage,
            "world": world,
            "step": step,
            "score": None if score is None else float(score),
            "low": None if low is None else float(low),
            "high": None if high is None else float(high),
            "span": spanned(event),
            "hat": {int(k): v for k, v in (event.get("pass^k") or {}).items() if int(k) > 1},
            "lost": lost_of(event),
            "reasons": list((event.get("reasons") or {}).items()),
            "greedy": (event.get("greedy") or {}).get("pass@1"),
            "turns": event.get("turns"),
            "seconds": event.get("seconds"),
            "tasks": event.get("tasks") or [],
        }
    return list(found.values())


def _named(evaluations: Sequence[Line]) -> list[Line]:
    """Those of a stage, the last where a run was prolonged; the ones on the way are in the curve."""
    stages = [e for e in evaluations if not re.fullmatch(r"step \d+", e["stage"])]
    named = list({(e["stage"], e["world"]): e for e in stages}.values()) or list(evaluations)
    before: dict[str, Line] = {}
    for e in named:
        e["change"] = changed(before.get(e["world"]), e)
        before[e["world"]] = e
    return named


def _stages(evaluations: Sequence[Line]) -> dict[str, Any]:
    """The table of results."""
    rows = _named(evaluations)
    return {
        "rows": rows,
        "ks": sorted({k for e in rows for k in e["hat"]}),
        "many": len({e["world"] for e in rows}) > 1,
        "greedy": any(e["greedy"] is not None for e in rows),
    }


def _heads(evaluations: Sequence[Line], worlds: Sequence[str]) -> list[Line]:
    """Where each world began and where it ended."""
    heads = []
    for world in worlds:
        rows = [e for e in _named(evaluations) if e["world"] == world]
        heads.append({"world": world, "first": rows[0], "last": rows[-1], "one": len(rows) == 1})
    return heads


def _tasks(evaluations: Sequence[Line], worlds: Sequence[str]) -> list[Line]:
    """Success by task, a row per stage, tasks in the order of the last stage."""
    tables = []
    for world in worlds:
        rows = [
            (e["stage"], {t["task"]: t for t in e["tasks"]})
            for e in _named(evaluations)
            if e["world"] == world
        ]
        rows = [(stage, tasks) for stage, tasks in rows if tasks]
        if not rows:
            continue
        order = sorted(rows[-1][1], key=lambda task: (-(_share(rows[-1][1][task]) or 0.0), task))
        cells = [
            (stage, [(task, _share(tasks[task]), tasks[task]) for task in order if task in tasks])
            for stage, tasks in rows
        ]
        tables.append({"world": world, "rows": cells, "count": len(order)})
    return tables


def _share(task: Mapping[str, Any]) -> Number:
    """None where machines took all plays away."""
    return shares([task]).get(str(task["task"]))


# -- curves --------------------------------------------------------------------------------------------


def _column(metrics: Sequence[Line], *keys: str | tuple[str, ...]) -> list[Number]:
    """A metric over steps by the first of its names that a step has; a tuple reaches into tables."""

    def value(line: Any, key: str | tuple[str, ...]) -> Number:
        for part in (key,) if isinstance(key, str) else key:
            line = line.get(part) if isinstance(line, dict) else None
        return float(line) if isinstance(line, int | float) else None

    return [next((v for key in keys if (v := value(line, key)) is not None), None) for line in metrics]


def _curves(metrics: Sequence[Line], evaluations: Sequence[Line], worlds: Sequence[str]) -> list[Chart]:
    """What every run is judged by, most important first."""
    xs = [float(line["step"]) for line in metrics]

    def lines(title: str, note: str, names: Names, **options: Any) -> Chart:
        found = [Series(name, _column(metrics, *keys)) for name, keys in names.items()]
        return Chart(title, note, xs, [s for s in found if any(v is not None for v in s.values)], **options)

    def stack(title: str, note: str, key: str, wanted: Sequence[str], form: Format) -> Chart:
        kinds = {name: None for name in wanted} | {
            n: None for m in metrics for n in m.get(key) or {} if n != "total"
        }
        columns = {n: _column(metrics, (key, n)) for n in kinds}
        if form == "percent":
            sums = [sum(c[i] or 0.0 for c in columns.values()) or 1.0 for i in range(len(xs))]
            columns = {n: [(v or 0.0) / s for v, s in zip(c, sums, strict=True)] for n, c in columns.items()}
        found = [Series(n.replace("_", " "), c) for n, c in columns.items() if any(c)]
        return Chart(title, note, xs, found, kind="stack", format=form)

    # One colour for a world, whether it is a curve or a dot.
    names = list(dict.fromkeys([*(n for m in metrics[:1] for n in m.get("worlds") or {}), *worlds]))
    by_world = {name: (("worlds", name, "success"),) for name in names} if len(names) > 1 else {}
    success: Names = {"while training": ("success",), **by_world}
    points = [
        Point(
            e["step"],
            score,
            e["low"] if e["low"] is not None else score,
            e["high"] if e["high"] is not None else score,
            _point(e, worlds),
            2 + names.index(e["world"]) % 6,
        )
        for e in evaluations
        if (score := e["score"]) is not None
    ]
    return [
        lines("Success", "Share of episodes solved. Dots: held-out tasks with their 95% interval.", success,
              format="percent", points=points, dots="" if by_world else "held-out tasks"),
        lines("Return", "What an episode earned, and the part that came from turn rewards.",
              {"return": ("return",), "turn rewards": ("turn_reward",)}),
        lines("Entropy", "How undecided the policy is, in nats per token. A fall to 0 ends exploration.",
              {"entropy": ("entropy",)}),
        lines("Gradient norm", "Before clipping.", {"gradient norm": ("grad_norm",)}),
        lines("Engine against learner",
              "|Δ logprob| of a token. Same weights: rounding, or a bug; older ones: how far they moved.",
              {"mean": ("logprob_gap", "identity_mean"), "largest": ("logprob_gap_max", "identity_max")},
              log=True),
        lines("Distance from the sampling policy", "KL in nats per token, and the clipped share of tokens.",
              {"KL": ("kl",), "clipped": ("clipped",)}),
        lines("Single tokens",
              "The largest ratio of probabilities, and the part of the gradient that 1% of the tokens hold.",
              {"largest ratio": ("ratio_max",), "1% of the tokens": ("top_tokens_share",)}, log=True),
        lines("Turns", "Actions of an episode.", {"turns": ("turns",)}),
        lines("Tokens", "Tokens the policy wrote in an episode.", {"tokens": ("tokens_per_episode",)}),
        stack("How episodes end", "Share of the episodes of a step.", "endings", ENDINGS, "percent"),
        stack("Where the time goes", "Seconds of a step.", "seconds", SPENT, "seconds"),
        *_lag(metrics, xs),
    ]  # fmt: skip


def _accounted(line: Line) -> Line:
    """Metrics of a step with its learning speed, and all its seconds told: what no part names is `other`."""
    seconds, speed = line.get("seconds"), learning_speed(line)
    line = line if speed is None else {**line, "flops_per_second": speed}
    if not isinstance(seconds, dict) or "other" in seconds:
        return line
    known = {k: v for k, v in seconds.items() if isinstance(v, int | float)}
    total = known.pop("total", 0.0)
    rest = total - sum(known.values())
    # Less than that is rounding and bookkeeping, and would only be one more colour.
    return line | {"seconds": seconds | {"other": rest}} if rest > 0.005 * total else line


def _lag(metrics: Sequence[Line], xs: Sequence[float]) -> list[Chart]:
    """How late training was; of a synchronous run there is nothing to show."""
    found = [
        Series(name, _column(metrics, ("lag", key)))
        for name, key in (("mean of tokens", "mean"), ("oldest group", "group_max"))
    ]
    if not any(v for s in found for v in s.values):
        return []
    shown = [s for s in found if any(v is not None for v in s.values)]
    return [Chart("Lag", "Updates between the weights that sampled and those that were trained.", xs, shown)]


def _point(evaluation: Line, worlds: Sequence[str]) -> str:
    where = f" in {evaluation['world']}" if len(worlds) > 1 else ""
    return f"{evaluation['stage']}{where}: {_percent(evaluation['score'])} ({evaluation['span']})"


def _supervised(events: Iterable[Line]) -> Chart:
    """The loss of supervised training; a batch that a resumed run saw again counts once."""
    losses = {int(e["batch"]): e.get("loss") for e in events if e["event"] == "sft" and "batch" in e}
    xs = sorted(losses)
    note = "Negative log-likelihood per token of gold actions."
    return Chart("Supervised training", note, xs, [Series("loss", [losses[x] for x in xs])], x_label="batch")


def _other_curves(metrics: Sequence[Line]) -> list[Chart]:
    """Numbers of a step that no curve above shows: a new metric needs no change here."""
    known = {"step", "success", "return", "turn_reward", "entropy", "grad_norm", "logprob_gap",
             "identity_mean", "logprob_gap_max", "identity_max", "kl", "clipped", "turns",
             "tokens_per_episode", "ratio_max", "top_tokens_share"}  # fmt: skip
    names = dict.fromkeys(
        k for m in metrics for k, v in m.items() if k not in known and isinstance(v, int | float)
    )
    xs = [float(line["step"]) for line in metrics]
    return [Chart(n.replace("_", " "), "", xs, [Series(n, _column(metrics, n))]) for n in names]


# -- episodes and setup --------------------------------------------------------------------------------


def _episodes(folder: Path) -> list[Line]:
    """Best, middle and worst episode of a few steps, evenly from the first stored to the last."""
    files = rollout_files(folder)
    last = len(files) - 1
    shown = sorted({round(i * last / (SHOWN_STEPS - 1)) for i in range(SHOWN_STEPS)}) if files else []
    found = []
    for i in shown:
        picked = [{"rank": rank, **episode(record)} for rank, record in choose(read_lines(files[i]))]
        if picked:
            found.append({"step": step_of(files[i]), "episodes": picked})
    return found


def _facts(
    config: Mapping[str, Any], events: Sequence[Line], metrics: Sequence[Line]
) -> list[tuple[str, str]]:
    """A few words on what was run."""
    model, rollout = config.get("model", {}), config.get("rollout", {})
    tiny = model.get("tiny", {})
    shape = f"tiny, {tiny.get('layers')} layers of {tiny.get('hidden')}" if tiny else "tiny"
    worlds = ", ".join(
        str(w.get("name") or str(w.get("id", "")).split(":")[-1]) for w in config.get("worlds", [])
    )
    asked = config.get("eval", {})
    if judged(config):
        plays = f"{asked['tasks']} of {asked.get('split', 'test')}, {asked.get('repeats', 1)} plays each"
        what = [("tasks", plays), ("temperature", str(asked.get("temperature", "")))]
        facts = [("world", worlds), ("model", str(model.get("path") or shape)), *what]
        facts += [("seed", str(config.get("run", {}).get("seed", "")))]
        return [(key, value) for key, value in [*facts, *_begun(events)] if value]
    seconds = sum(v for v in _column(metrics, ("seconds", "total")) if v)
    found = [e for e in events if e["event"] == "evaluation" and "world" in e and "pass@1" in e]
    facts = [
        ("world", worlds),
        ("model", str(model.get("path") or shape)),
        ("estimator", str(config.get("algorithm", {}).get("advantage", ""))),
        ("updates", f"{len(metrics)} of {config.get('run', {}).get('steps', '?')}"),
        ("episodes per update", str(int(rollout.get("groups", 0)) * int(rollout.get("group_size", 0)) or "")),
        ("time in updates", duration(seconds) if seconds else ""),
        ("seed", str(config.get("run", {}).get("seed", ""))),
    ]
    facts += [*whole_way(found), *ungraded(found)]
    return [(key, value) for key, value in [*facts, *_begun(events)] if value]


def _begun(events: Sequence[Line]) -> list[tuple[str, str]]:
    times = [e["time"] for e in events if isinstance(e.get("time"), int | float)]
    return [("begun", datetime.fromtimestamp(times[0], UTC).strftime("%Y-%m-%d %H:%M UTC"))] if times else []


def _environment(events: Sequence[Line]) -> list[tuple[str, str]]:
    """Versions and machine of the last process that wrote the run."""
    found = [e["environment"] for e in events if isinstance(e.get("environment"), dict)]
    if not found:
        return []
    last = found[-1]
    rows = [
        ("command", last.get("command")),
        ("machine", last.get("machine")),
        ("python", last.get("python")),
    ]
    rows += sorted((last.get("versions") or {}).items())
    return [(str(key), str(value)) for key, value in rows if value]


def _percent(value: Number) -> str:
    """A share as people say it."""
    return "–" if value is None else f"{100 * value:.1f}%"


def _signed(value: float) -> str:
    """A number whose sign matters, with a real minus."""
    text = f"{abs(value):.2f}" if abs(value) >= 0.005 or value == 0 else tell(abs(value), "number")
    return ("−" if value < 0 else "+" if value > 0 else "") + text
