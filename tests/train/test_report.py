"""The report: from any run folder, whole or not, to one safe offline file."""

from __future__ import annotations

import io
import json
import math
import random
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from forge_train.config import load
from forge_train.play.admission import Admission
from forge_train.record.run_folder import RunFolder, rollout_record
from forge_train.show import charts, report
from forge_train.show.charts import BINS, Chart, Point, Series, draw, smooth, ticks
from forge_train.show.report import gather, write_report
from forge_train.show.results import show_run
from forge_train.show.trace import LANES, UPDATES, trace
from forge_train.show.transcript import choose, episode, said
from forge_train.simulator.simulate import simulate
from forge_train.simulator.stages import Placement, Speeds, Workload
from forge_train.trajectory import Segment, Trajectory

SYSTEM = (
    "You are the service desk of a shop. Find out who is speaking before you tell or change anything. "
    "An order can be cancelled while it is pending; a refund goes to the original payment."
)


def letters(text: str) -> list[int]:
    """A tokenizer of words and spaces: enough to look like tokens."""
    table.setdefault("", 0)
    pieces: list[str] = []
    for char in text:
        if pieces and char.isalnum() and pieces[-1][-1:].isalnum() and len(pieces[-1]) < 5:
            pieces[-1] += char
        else:
            pieces.append(char)
    return [table.setdefault(piece, len(table)) for piece in pieces]


table: dict[str, int] = {}


def decode(ids: list[int]) -> str:
    known = list(table)
    return "".join(known[i] for i in ids)


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def play(rng: random.Random, group: str, skill: float) -> Trajectory:
    """A service desk episode: the surer the policy, the better it goes."""
    order = f"#W{rng.randrange(10**6, 10**7)}"
    solved = rng.random() < skill
    user = f"Hi, this is Mia Li (mia.li@mail.org). Please cancel order {order}, I ordered it by mistake."
    found = {"order_id": order, "status": "pending", "items": [{"name": "Desk lamp", "price": 39.5}] * 2}
    turns: list[tuple[str, list[dict[str, Any]], float]] = [
        (call("find_user", email="mia.li@mail.org"), [{"role": "tool", "content": '"mia_li_1183"'}], 0.1),
        (call("get_order", order_id=order), [{"role": "tool", "content": json.dumps(found)}], 0.2),
    ]
    if solved:
        turns += [
            (
                call(
                    "cancel_order",
                    order_id=order,
                    reason="ordered by mistake",
                    refund_to="original payment",
                    note=True,
                ),
                [{"role": "tool", "content": "cancelled"}],
                0.7,
            ),
            ("Done: the order is cancelled.", [{"role": "user", "content": "Thank you! ###STOP###"}], 0.0),
        ]
    else:
        turns += [
            ('<tool_call>{"name": cancel}</tool_call>', [{"role": "tool", "content": "not JSON"}], -0.1)
        ]
        turns += [("", [{"role": "user", "content": "Hello?"}], 0.0)] * rng.randrange(3)
    opening = [
        {
            "role": "system",
            "content": SYSTEM,
            "tools": [{"type": "function", "function": {"name": "get_order"}}],
        },
        {"role": "user", "content": user},
    ]
    segment, messages = Segment(), list(opening)
    segment.hear(letters("".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in opening)))
    for i, (action, answers, _) in enumerate(turns):
        tokens = letters(action + "<|im_end|>")
        segment.act(tokens, [math.log(min(1.0, rng.random() + skill)) for _ in tokens], i)
        segment.hear(
            letters("".join(f"\n<|im_start|>{m['role']}\n{m['content']}<|im_end|>" for m in answers))
        )
        messages += [{"role": "assistant", "content": action}, *answers]
    rewards = [0.1 * reward for _, _, reward in turns]
    rewards[-1] += float(solved)
    return Trajectory(
        group=group,
        segments=[segment],
        rewards=rewards,
        turn_rewards=[reward for _, _, reward in turns],
        outcome=float(solved),
        ending="terminated" if solved else rng.choice(["max_turns", "terminated"]),
        versions=[0] * len(turns),
        info={
            "world": "Forge/Retail-v0", "task": f"retail/tiny/train/1/{rng.randrange(99)}", "seed": 3,
            "opening": 2, "messages": messages, "parts": {"progress": 1.0 if solved else 0.3}, "seconds": 0.2,
        },
    )  # fmt: skip


def scores(rng: random.Random, skill: float, tasks: int = 100) -> dict[str, Any]:
    plays = [
        sum(rng.random() < min(1, max(0, skill + rng.gauss(0, 0.3))) for _ in range(4)) for _ in range(tasks)
    ]
    mean = sum(plays) / 4 / tasks
    return {
        "world": "Forge/Retail-v0", "pass@1": mean, "low": max(0, mean - 0.07), "high": min(1, mean + 0.07),
        "pass@k": {"1": mean, "2": min(1, mean * 1.3)}, "turns": 6.1 - 2 * skill,
        "pass^k": {"1": mean, "2": mean**1.5, "4": mean**2}, "endings": {"terminated": 4 * tasks},
        "tasks": [
            {"task": f"retail/tiny/test/1/{i}", "plays": 4, "successes": s} for i, s in enumerate(plays)
        ],
    }  # fmt: skip


def fake_run(path: Path, steps: int = 60) -> Path:
    """A run folder as training writes it: supervised start, reinforcement, evaluations, episodes."""
    rng = random.Random(0)
    config = load(None, ["worlds.0.id=forge_envs:Forge/Retail-v0", "worlds.0.args.size=tiny", "run.name=demo",
                         f'run.out="{path}"', f"run.steps={steps}", "run.eval_every=20"])  # fmt: skip
    with RunFolder.create(config) as run:
        run.event("evaluation", stage="untrained", step=0, seconds=0.0, **scores(rng, 0.0))
        for batch in range(96):
            run.event(
                "sft", step=0, batch=batch, loss=4 * math.exp(-batch / 20) + 0.2 + rng.random() / 9, lr=1e-3
            )
        run.event("evaluation", stage="after SFT", step=0, seconds=95.0, **scores(rng, 0.3))
        for step in range(steps):
            done = step / max(steps - 1, 1)
            skill = 0.3 + 0.55 * (1 - math.exp(-3 * done))
            success = min(1.0, max(0.0, skill + rng.gauss(0, 0.05)))
            lost = (1 - success) * 128
            run.rollouts(
                step,
                [
                    rollout_record(
                        t, [t.episode_return - 0.5 + rng.gauss(0, 0.1) for _ in t.versions], decode
                    )
                    for g in range(2)
                    for t in (play(rng, f"{step}/{g}", success) for _ in range(8))
                ],
            )
            run.metrics(
                step,
                {
                    "success": success, "return": success + 0.08, "turn_reward": 0.5 + 0.4 * success,
                    "entropy": 1.3 * math.exp(-1.5 * done) + rng.random() / 9,
                    "grad_norm": 0.4 + rng.random() / 3,
                    "logprob_gap": 1e-7 * (1 + rng.random()), "logprob_gap_max": 4e-6 * (1 + rng.random()),
                    "kl": 0.001 + rng.random() / 2000, "clipped": rng.random() / 90, "turns": 6 - 2 * success,
                    "tokens_per_episode": 160 - 50 * success, "sampled_tokens": 15000, "lr": 1e-3,
                    "zero_groups": int(8 * done),
                    "endings": {"terminated": 128 - lost, "max_turns": lost * 0.8, "tokens": lost * 0.2},
                    "seconds": {"generate": 4 + rng.random(), "update": 2 + rng.random() / 3, "weights": 0.01,
                                "total": 7.0},
                    "worlds": {"Forge/Retail-v0": {"success": success}}, "odd": "text",
                    "brand_new": {"nested": 1},
                },
            )  # fmt: skip
            if (step + 1) % 20 == 0 and step + 1 < steps:
                found = scores(rng, skill)
                run.event(
                    "evaluation", stage=f"step {step + 1}", step=step + 1, seconds=95 + 7.0 * step, **found
                )
        run.event("evaluation", stage="after RL", step=steps, seconds=95 + 7.0 * steps, **scores(rng, 0.85))
    return path


class Page(HTMLParser):
    """Checks that tags close in order, and collects what tests look at."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data

    def classes(self, name: str) -> int:
        return sum(name in (attrs.get("class") or "").split() for _, attrs in self.tags)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("report") / "demo", steps=24)


def test_a_whole_run_shows_every_part(run: Path) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    page = Page(path.read_text())
    for word in ("Results", "Curves", "Episodes", "Setup", "untrained", "after SFT", "after RL", "pass^4",
                 "Supervised training", "Where the time goes", "How episodes end", "config.toml",
                 "forge-train train",
                 'cancel_order(', "(said nothing)", "ordered by mistake", "advantage"):  # fmt: skip
        assert word in page.text, word
    assert page.classes("line") >= 12  # curves
    assert page.classes("area") >= 5
    assert page.classes("point") == 4  # evaluations, the one on the way included
    assert page.classes("episode") == 4 * 3
    assert page.classes("malformed") >= 1


def test_the_file_needs_nothing_else(run: Path) -> None:
    page = Page(write_report(run).read_text())
    for tag, attrs in page.tags:
        assert tag not in ("link", "img", "iframe", "object")
        assert not attrs.get("src")
        assert (attrs.get("href") or "#").startswith("#")
    policy = next(attrs["content"] for tag, attrs in page.tags if "http-equiv" in attrs)
    assert policy is not None and "default-src 'none'" in policy


def test_it_is_the_same_for_the_same_run(run: Path) -> None:
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_results_come_from_the_events(run: Path) -> None:
    found = gather(run)
    assert [row["stage"] for row in found["stages"]["rows"]] == ["untrained", "after SFT", "after RL"]
    (head,) = found["heads"]
    assert head["first"]["stage"] == "untrained" and head["last"]["stage"] == "after RL"
    (tasks,) = found["tasks"]
    shares = [share for _, share, _ in tasks["rows"][-1][1]]
    assert len(shares) == 100 and shares == sorted(shares, reverse=True)
    assert ("updates", "24 of 24") in found["facts"]


def folder_with(path: Path, *parts: str) -> Path:
    config = load(None, ["worlds.0.id=a:World-v0", f'run.out="{path}"', "run.name=partial"])
    with RunFolder.create(config) as run:
        if "metrics" in parts:
            run.metrics(0, {"success": 0.5, "seconds": {"total": 1.0}})
        if "sparse" in parts:
            run.metrics(1, {"entropy": None, "endings": None, "strange": [1], "fresh": 2.0})
        if "evaluation" in parts:
            run.event("evaluation", stage="final", step=0, **{"pass@1": 0.5})
        if "rollouts" in parts:
            run.rollouts(0, [])
            run.rollouts(1, [{"group": "g"}])
    return path


@pytest.mark.parametrize(
    "parts",
    [(), ("metrics",), ("evaluation",), ("rollouts",), ("metrics", "sparse", "evaluation", "rollouts")],
)
def test_missing_parts_are_left_out(tmp_path: Path, parts: tuple[str, ...]) -> None:
    page = Page(write_report(folder_with(tmp_path / "r", *parts)).read_text())
    assert "partial" in page.text and "Setup" in page.text
    assert ("50.0%" in page.text) == ("evaluation" in parts)
    assert any(attrs.get("id") == "curves" for _, attrs in page.tags) == bool(
        {"metrics", "evaluation"} & set(parts)
    )
    assert any(attrs.get("id") == "episodes" for _, attrs in page.tags) == ("rollouts" in parts)


def test_only_a_config_is_enough_and_less_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no run here \(no config\.toml\); give the folder of a run"):
        write_report(tmp_path)
    (tmp_path / "config.toml").write_text("")
    assert write_report(tmp_path).stat().st_size > 1000


def test_nothing_said_in_an_episode_becomes_markup(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)> ' \" {{ 7*1777 }} &amp;"
    path = folder_with(tmp_path / "r")
    segment = Segment()
    segment.hear(letters(evil))
    segment.act(letters(evil), [-1.0] * len(letters(evil)), 0)
    messages = [
        {"role": "tool", "content": evil},
        {"role": "assistant", "content": evil},
        {"role": evil, "content": evil},
    ]
    trajectory = Trajectory(
        group=evil, segments=[segment], rewards=[1.0], turn_rewards=[1.0], versions=[0],
        info={"task": evil, "opening": 1, "messages": messages, "parts": {evil: 1.0},
              "error": {"kind": evil}},
    )  # fmt: skip
    config = load(path / "config.toml")
    with RunFolder.create(config) as run:
        run.rollouts(0, [rollout_record(trajectory, [0.5], decode)])
        run.metrics(
            0, {evil: 1.0, "endings": {evil: 3}, "worlds": {evil: {"success": 1}, "b": {"success": 0}}}
        )
        tasks = [{"task": evil, "plays": 1, "successes": 1}]
        run.event("evaluation", stage=evil, world=evil, step=0, tasks=tasks, **{"pass@1": 1.0})
    html = write_report(path).read_text()
    page = Page(html)
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(tag == "img" or any(name.startswith("on") for name in attrs) for tag, attrs in page.tags)
    assert "{{ 7*1777 }}" in page.text and "12439" not in page.text
    assert html.count("</script>") == 1


def test_worlds_have_a_curve_and_a_dot_of_one_colour(tmp_path: Path) -> None:
    path = folder_with(tmp_path / "r")
    with RunFolder.create(load(path / "config.toml")) as run:
        for step in range(3):
            worlds = {"b.with.dots": {"success": 0.2}, "a": {"success": 0.1 * step}}
            run.metrics(step, {"success": 0.3, "worlds": worlds})
        for world in ("a", "b.with.dots"):
            run.event("evaluation", stage="end", world=world, step=3, **{"pass@1": 0.5})
    chart = gather(path)["charts"][0]
    colors = {key["name"]: key["color"] for key in chart["legend"]}
    assert list(colors) == ["while training", "b.with.dots", "a"]
    assert {p["color"] for p in chart["points"] if "in a" in p["label"]} == {colors["a"]}
    assert chart["hover"]["rows"][2]["v"] == [0.0, 0.1, 0.2]
    assert len(gather(path)["heads"]) == 2
    assert "b.with.dots" in Page(write_report(path).read_text()).text


def test_a_replayed_evaluation_counts_once(tmp_path: Path) -> None:
    path = folder_with(tmp_path / "r")
    with RunFolder.create(load(path / "config.toml")) as run:
        for score, step in ((0.1, 10), (0.9, 20)):
            run.event("evaluation", stage=f"step {step}", step=step, **{"pass@1": score})
        run.rewind(10)
        run.event("evaluation", stage="step 20", step=20, **{"pass@1": 0.3})
    assert [row["score"] for row in gather(path)["stages"]["rows"]] == [0.1, 0.3]


def test_a_prolonged_run_has_one_row_per_stage_and_all_dots(tmp_path: Path) -> None:
    path = folder_with(tmp_path / "r")
    with RunFolder.create(load(path / "config.toml")) as run:
        run.event("evaluation", stage="after RL", step=10, **{"pass@1": 0.4})
        run.rewind(10)
        run.event("evaluation", stage="after RL", step=20, **{"pass@1": 0.6})
    found = gather(path)
    assert [row["score"] for row in found["stages"]["rows"]] == [0.6]
    assert len(found["charts"][0]["points"]) == 2


# --- transcripts -----------------------------------------------------------------------------------


def test_best_middle_and_worst_come_from_the_most_telling_group() -> None:
    def record(group: str, earned: float) -> dict[str, Any]:
        return {"group": group, "rewards": [earned]}

    flat = [record("flat", 5.0)] * 4
    told = [record("told", earned) for earned in (0.0, 1.0, 0.4)]
    assert [(rank, r["rewards"]) for rank, r in choose(flat + told)] == [
        ("best", [1.0]), ("middle", [0.4]), ("worst", [0.0]),
    ]  # fmt: skip
    assert [rank for rank, _ in choose(told[:2])] == ["best", "worst"]
    assert [rank for rank, _ in choose(told[:1])] == ["episode"]
    assert choose([]) == []


def test_turns_carry_what_they_earned_and_history_does_not() -> None:
    segment = Segment()
    segment.hear([1, 2])
    segment.act([3], [math.log(0.95)], 0)
    segment.hear([4])
    segment.act([5, 6], [math.log(0.3), math.log(0.01)], 1)
    trajectory = Trajectory(
        group="g", segments=[segment], rewards=[0.1, 1.0], turn_rewards=[0.2, 0.3], outcome=1.0,
        versions=[7, 7],
        info={"opening": 2, "messages": [
            {"role": "user", "content": "a"}, {"role": "assistant", "content": "history"},
            {"role": "assistant", "content": "first"}, {"role": "tool", "content": "x"},
            {"role": "assistant", "content": "second"},
        ]},
    )  # fmt: skip
    shown = episode(rollout_record(trajectory, [0.5, -0.5], lambda ids: "".join(chr(96 + i) for i in ids)))
    own = [line for line in shown["lines"] if line["own"]]
    assert [(line["turn"], line["reward"], line["turn_reward"], line["advantage"]) for line in own] == [
        (1, 0.1, 0.2, 0.5), (2, 1.0, 0.3, -0.5),
    ]  # fmt: skip
    assert [span["action"] for span in shown["spans"]] == [-1, 0, -1, 1]
    assert [span["text"] for span in shown["spans"] if span["action"] < 0] == ["ab", "d"]
    assert [(text, shade) for text, _, shade in shown["spans"][3]["tokens"]] == [("e", 2), ("f", 4)]
    assert (shown["written"], shown["tokens"], shown["returned"]) == (3, 6, 1.1)
    untrained = episode(rollout_record(trajectory, [], lambda ids: ""))
    assert not untrained["trained"] and untrained["spans"][1]["advantage"] is None


@pytest.mark.parametrize(
    ("text", "kinds", "last"),
    [
        ("Hello", ["prose"], "Hello"),
        ("", ["silence"], ""),
        ("<think>hm</think>Yes", ["thought", "prose"], "Yes"),
        (
            'a<tool_call>{"name": "f", "arguments": {"x": [1, "é"]}}</tool_call>',
            ["prose", "call"],
            'f(x=[1, "é"])',
        ),
        ('<tool_call>{"name": "f", "arguments": "{\\"x\\": 1}"}</tool_call>', ["call"], "f(x=1)"),
        ("<tool_call>{nope}</tool_call>", ["malformed"], "{nope}"),
        ("<tool_call>[1]</tool_call>", ["malformed"], "[1]"),
    ],
)
def test_actions_are_taken_apart(text: str, kinds: list[str], last: str) -> None:
    parts = said(text)
    assert [part["kind"] for part in parts] == kinds
    assert parts[-1]["text"] == last


# --- charts ----------------------------------------------------------------------------------------

numbers = st.none() | st.floats(-1e12, 1e12, allow_subnormal=False)


@given(
    st.lists(st.tuples(numbers, numbers), max_size=30),
    st.booleans(),
    st.sampled_from(["lines", "stack"]),
    st.lists(st.floats(0, 1), max_size=2),
)
def test_any_numbers_can_be_drawn(pairs: list[Any], log: bool, kind: Any, points: list[float]) -> None:
    series = [Series("a", [a for a, _ in pairs]), Series("b", [b for _, b in pairs])]
    log = log and kind == "lines"
    dots = [] if log else [Point(1, p, p, p, "p") for p in points]
    xs = [float(i) for i in range(len(pairs))]
    chart = Chart("t", "n", xs, series, kind=kind, log=log, points=dots)
    drawn = draw(chart)
    json.dumps(drawn, allow_nan=False)
    assert len(drawn["hover"]["x"]) == len(pairs)
    assert drawn["y_ticks"] and all(-1 <= y <= 237 for y, _ in drawn["y_ticks"])
    assert all(49 <= x <= 547 for x in drawn["hover"]["x"])


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e6))
def test_ticks_are_even_and_inside(low: float, share: float) -> None:
    width = share * max(abs(low), 1e-3)  # finer than that no axis is: see the padding of a flat curve
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 13
    assert all(low - width / 100 <= t <= low + width * 1.01 for t in found)


def test_smoothing_keeps_constants_slopes_and_gaps() -> None:
    assert smooth([2.0] * 40) == [2.0] * 40
    ramp = [float(i) for i in range(40)]
    assert smooth(ramp) == pytest.approx(ramp)
    assert smooth([1.0, None, 3.0])[1] is None
    jagged = [float(i % 2) for i in range(60)]
    assert max(abs(v - 0.5) for v in smooth(jagged)[5:-5] if v is not None) < 0.1


def test_long_runs_are_averaged() -> None:
    count = 10 * BINS
    chart = Chart(
        "t", "", [float(i) for i in range(count)], [Series("a", [float(i % 10) for i in range(count)])]
    )
    drawn = draw(chart)
    assert len(drawn["hover"]["x"]) == BINS
    assert set(drawn["hover"]["rows"][0]["v"]) == {4.5}


# --- traces ----------------------------------------------------------------------------------------


def played(groups: int, max_lag: int, updates: int = 10, flat: float = 0.0) -> list[dict[str, Any]]:
    """The events of a run, from the simulator; times as the wall clock gives them."""
    work = Workload(
        groups=groups, group_size=2, turns=8, turns_spread=0.8, max_turns=60, tokens=50, tokens_spread=0.5,
        world_s=0.5, world_spread=0.5, grade_s=1.0, opening=100, heard=20, flat=flat,
    )  # fmt: skip
    speeds = Speeds(
        token_s=0.01, sequence_s=0.002, train_rate=400.0, logprob_rate=1600.0, update_s=0.5, weights_s=0.5,
        swap_s=1.0,
    )  # fmt: skip
    place = Placement(4, 4) if max_lag else Placement(8, 8, shared=True)
    done = simulate(work, speeds, place, Admission(groups, max_lag), updates=updates, warmup=0)
    return [e | {"time": 1.7e9 + e["time"]} for e in done.events]


def shifted(events: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    return [e | {"time": e["time"] + seconds} for e in events]


@pytest.mark.parametrize(("groups", "max_lag"), [(1, 0), (4, 0), (4, 1), (6, 4), (50, 2)])
def test_a_trace_shows_updates_and_the_groups_they_took(groups: int, max_lag: int) -> None:
    events = played(groups, max_lag, flat=0.2)
    drawn = trace(events)
    assert drawn is not None
    json.dumps(drawn, allow_nan=False)
    shown = range(drawn["first"], drawn["last"] + 1)
    assert len(shown) == UPDATES and drawn["last"] == 9 - max_lag
    assert [b["words"].split(":")[0] for b in drawn["learner"] if b["kind"] == "update"] == [
        f"update {step}" for step in shown
    ]
    assert len(drawn["loads"]) == UPDATES
    for bar in drawn["learner"] + drawn["bars"]:
        assert drawn["left"] <= bar["x"] and bar["x"] + bar["width"] <= drawn["right"] + 0.6
    rows = sorted({round(b["y"] + b["height"] / 2, 1) for b in drawn["bars"]})
    assert len(rows) <= min(LANES, groups * (1 + max_lag) + groups)
    assert drawn["height"] > rows[-1] + 5
    for row in rows:
        lane = sorted(
            (b["x"], b["width"]) for b in drawn["bars"] if round(b["y"] + b["height"] / 2, 1) == row
        )
        assert all(x + width <= after + 0.6 for (x, width), (after, _) in pairwise(lane))
    words = {b["words"] for b in drawn["bars"]}
    # What the first of them took may have been played before.
    taken = {i for e in events if e["event"] == "consume" and e["step"] in shown[1:] for i in e["groups"]}
    told = {int(w.split(",")[0].removeprefix("group ")) for w in words if "trained by" in w}
    assert {i for i in taken if i % drawn["stride"] == 0} <= told
    assert (drawn["stride"] > 1) == (groups == 50)
    assert max(drawn["lags"]) == min(max_lag, 4)


def test_the_trace_counts_the_learners_share_of_the_time() -> None:
    events = [
        {"event": "start", "time": 0.0},
        {"event": "dispatch", "time": 0.0, "group": 0, "step": 0},
        {"event": "finish", "time": 6.0, "group": 0, "step": 0, "seconds": 6.0, "generate_seconds": 4.0,
         "world_seconds": 2.0, "endings": {"terminated": 2}},
        {"event": "consume", "time": 6.0, "step": 0, "groups": [0], "rejected": [], "lags": [0]},
        {"event": "update", "time": 9.0, "step": 0, "seconds": 3.0},
        {"event": "weights", "time": 10.0, "step": 1, "seconds": 1.0},
    ]  # fmt: skip
    drawn = trace(events)
    assert drawn is not None and drawn["busy"] == pytest.approx(0.3)
    (bar,) = drawn["bars"]
    assert bar["words"] == (
        "group 0, begun with version 0; played for 6 s (engine 4 s, world 2 s); trained by update 0, lag 0"
    )
    assert bar["width"] == pytest.approx(0.6 * (drawn["right"] - drawn["left"]), abs=1.5)
    assert trace(events[:4]) is None and trace(events[4:]) is None and trace([]) is None


def test_a_trace_stays_within_the_process_that_wrote_last() -> None:
    """A run that was continued a day later: the night is not drawn, nor what was repeated twice."""
    first, again = played(4, 1, updates=6), played(4, 1, updates=10)
    night = 86400.0
    opened = first[-1]["time"] + night
    later = [e for e in again if e.get("step", 0) >= 5 or e["event"] == "finish"]
    delay = opened + 1 - min(e["time"] for e in later)
    events = [{"event": "start", "time": first[0]["time"]}, *first, {"event": "open", "time": opened}]
    drawn = trace([*events, *shifted(later, delay)])
    assert drawn is not None and drawn["first"] >= 5
    assert all(text.removesuffix(" s").replace(",", "").isdigit() for _, text in drawn["ticks"])
    assert float(drawn["ticks"][-1][1].removesuffix(" s").replace(",", "")) < 1000


@given(st.data())
def test_any_part_of_a_history_can_be_drawn(data: st.DataObject) -> None:
    events = played(3, 2, updates=5)
    kept = data.draw(st.lists(st.sampled_from(events), unique_by=id, max_size=60))
    drawn = trace(sorted(kept, key=lambda e: e["time"]))
    if drawn is not None:
        json.dumps(drawn, allow_nan=False)
        assert all(b["width"] > 0 for b in drawn["bars"])


@pytest.mark.parametrize("max_lag", [0, 2])
def test_the_report_of_an_overlapped_run(tmp_path: Path, max_lag: int) -> None:
    path = folder_with(tmp_path / "r")
    assert "Trace" not in Page(write_report(path).read_text()).text
    events = played(4, max_lag)
    with RunFolder.create(load(path / "config.toml")) as run:
        for e in events:
            run.event(e["event"], **{k: v for k, v in e.items() if k not in ("event", "time")})
        for step in range(10):
            played_for = {"wait": 1.0} if max_lag else {"generate": 2.0, "world": 3.0}
            seconds = played_for | {"logprobs": 0.5, "update": 4.0, "weights": 0.2}
            run.metrics(
                step,
                {
                    "seconds": seconds | {"total": sum(seconds.values()) + 0.3},
                    "lag": {"mean": 0.7 * max_lag, "max": max_lag, "group_max": max_lag},
                },
            )
    # The clock of the folder is the real one: what matters here are the times of the run.
    lines = (path / "events.jsonl").read_text().splitlines()
    opened = [line for line in lines if '"start"' in line or '"open"' in line]
    old = [json.dumps(json.loads(line) | {"time": 1.7e9 - 1}) for line in opened]
    (path / "events.jsonl").write_text("\n".join([*old, *map(json.dumps, events)]) + "\n")
    page = Page(write_report(path).read_text())
    assert page.classes("work") >= 2 * UPDATES - 1
    assert page.classes(f"lag{max_lag}") >= 4 * UPDATES
    assert "Trace" in page.text and f"Updates {4 - max_lag} to {9 - max_lag}" in page.text
    charts = {chart["title"]: chart for chart in gather(path)["charts"]}
    names = [key["name"] for key in charts["Where the time goes"]["legend"]]
    assert names == [*played_for, "logprobs", "update", "weights", "other"]
    assert charts["Where the time goes"]["hover"]["rows"][-1]["v"] == pytest.approx([0.3] * 10)
    assert ("Lag" in charts) == (max_lag > 0)


def test_every_part_of_a_step_has_a_colour_of_its_own() -> None:
    style = (Path(report.__file__).parent / "report.css.jinja").read_text()
    colours = {charts._color(part) for part in range(len(report.SPENT))}
    assert len(colours) == len(report.SPENT)
    assert all(style.count(f"--c{colour}:") == 2 for colour in colours)  # light and dark


def _plays(task: str, successes: int, plays: int) -> dict[str, Any]:
    return {"task": task, "successes": successes, "plays": plays, "failed": 4 - plays}


def test_what_machines_took_away_is_neither_success_nor_failure(tmp_path: Path) -> None:
    config = load(None, ["worlds.0.id=a:World-v0", f'run.out="{tmp_path}"', "run.name=lost"])
    with RunFolder.create(config) as run:
        common = {"world": "w", "step": 0, "seconds": 1.0, "asked": 2, "endings": {}}
        both = [_plays("a", 1, 4), _plays("b", 2, 4)]
        one = {"pass@1": 1.0, "low": None, "high": None, "counted": 1, "turns": 3.0}
        none = {"pass@1": None, "low": None, "high": None, "counted": 0, "turns": None}
        run.event("evaluation", stage="untrained", **common, tasks=both,
                  **{"pass@1": 0.375, "low": 0.1, "high": 0.7, "counted": 2, "turns": 3.0})  # fmt: skip
        run.event(
            "evaluation", stage="after SFT", **common, **one, tasks=[_plays("a", 4, 4), _plays("b", 0, 0)]
        )
        run.event(
            "evaluation", stage="after RL", **common, **none, tasks=[_plays("a", 0, 0), _plays("b", 0, 0)]
        )
    page = write_report(tmp_path).read_text()
    text = Page(page).text
    assert "no interval, 1 of 2 tasks" in text and "no interval, 0 of 2 tasks" in text
    assert "+75.0, no interval" in text, "the one task that both graded"
    assert page.count('<i class="unknown"') == 3, "no cell of a task that nobody graded says 0"
    out = io.StringIO()
    show_run(tmp_path, Console(file=out, width=200))
    rows = {line[:9].strip(): " ".join(line.split()) for line in out.getvalue().splitlines()}
    assert "37.5% 10.0% to 70.0% 3.0" in rows["untrained"]
    assert "100.0% no interval, 1 of 2 tasks +75.0, no interval" in rows["after SFT"]
    assert "– no interval, 0 of 2 tasks – 1" in rows["after RL"]
