"""Trackers get every figure, read back from what the real libraries wrote; and they cost the run nothing."""

from __future__ import annotations

import json
import struct
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from forge_train import cli
from forge_train.config import ConfigError, load
from forge_train.record.run_folder import RunFolder, read_lines
from forge_train.record.trackers import follow
from forge_train.record.trackers.follow import followed
from forge_train.run import train
from tests.train.test_run import small

LIBRARIES = ("tensorboard", "wandb", "mlflow")


def config(folder: Path, *more: str) -> Any:
    return load(cli.GRPO, [f'run.out="{folder}"', *more])


def tell(folder: Path, *more: str, steps: range = range(3), start: int = 0) -> None:
    """A run without models: what a run folder is told on the way."""
    asked = config(folder, *more)
    with RunFolder.create(asked) as run, followed(asked, run):
        run.event("sft", step=0, batch=0, loss=2.5, lr=1e-3)
        run.rewind(start)
        for step in steps:
            run.metrics(step, {"success": step / 10, "seconds": {"total": 1.5}, "return": None})
        run.event("evaluation", step=3, stage="after RL", world="Forge/Retail-v0", **{"pass@1": 0.75})
        (folder / "report.html").write_text("<html>the report</html>")


# -- what real libraries wrote -------------------------------------------------------------------------------


def tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for kind in ("train", "eval", "sft"):
        events = EventAccumulator(str(folder / "tensorboard" / kind))
        events.Reload()
        for name in events.Tags()["scalars"]:
            found[name] = [(e.step, e.value) for e in events.Scalars(name)]
    return found


def wandb_rows(folder: Path) -> list[dict[str, Any]]:
    from wandb.proto.wandb_internal_pb2 import Record

    rows = []
    for file in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        for data in log_records(file.read_bytes()[7:]):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") == "history":
                items = {
                    item.key or "/".join(item.nested_key): item.value_json for item in record.history.item
                }
                rows.append({key: json.loads(value) for key, value in items.items()})
    return rows


def log_records(data: bytes) -> list[bytes]:
    """The records of LevelDB's log format: blocks of 32 KiB (the first began 7 bytes before), in pieces of
    checksum, length, kind (1 whole, 2 first, 3 middle, 4 last)."""
    records, held, at = [], b"", 0
    while at + 7 <= len(data):
        left = 32768 - (at + 7) % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        held += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            records.append(held)
            held = b""
    return records


def wandb(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in wandb_rows(folder):
        axis = "batch" if "batch" in row else "step"
        for name, value in row.items():
            if "/" in name:
                found.setdefault(name, []).append((row[axis], value))
    return found


def mlflow(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient((folder / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("forge").experiment_id])
    assert run.data.params["run.name"] == "grpo"
    assert run.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]
    return {
        name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def rounded(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """TensorBoard holds float32."""
    return [(step, round(value, 6)) for step, value in points]


def test_real_trackers_hold_what_the_run_folder_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    tell(tmp_path, f"run.trackers={list(LIBRARIES)}")
    for library in LIBRARIES:
        found = globals()[library](tmp_path)
        assert rounded(found["train/success"]) == [(0, 0.0), (1, 0.1), (2, 0.2)], library
        assert found["train/seconds/total"] == [(0, 1.5), (1, 1.5), (2, 1.5)]
        assert found["eval/Forge/Retail-v0/pass_1"] == [(3, 0.75)]
        assert found["sft/loss"] == [(0, 2.5)]
        assert "train/return" not in found, "a figure that is missing is no 0"


def test_a_resumed_run_continues_the_runs_of_its_trackers(tmp_path: Path) -> None:
    asked = f"run.trackers={list(LIBRARIES)}"
    tell(tmp_path, asked)
    ids = json.loads((tmp_path / "trackers.json").read_text())
    tell(tmp_path, asked, steps=range(2, 5), start=2)
    assert json.loads((tmp_path / "trackers.json").read_text()) == ids
    # TensorBoard takes back what is repeated; the others hold it twice, equal.
    assert [step for step, _ in tensorboard(tmp_path)["train/success"]] == [0, 1, 2, 3, 4]
    assert len({path.name.split("-")[3] for path in (tmp_path / "wandb").glob("offline-run-*")}) == 1
    for library in ("wandb", "mlflow"):
        found = rounded(globals()[library](tmp_path)["train/success"])
        assert sorted({*found}) == [(step, step / 10) for step in range(5)]


# -- trackers that are down ----------------------------------------------------------------------------------


class Odd:
    """A tracker that can fail in every way."""

    made: ClassVar[list[Odd]] = []
    go = threading.Event()

    def __init__(self, about: Any, *, how: str = "") -> None:
        self.about, self.how, self.heard = about, how, list[tuple[int, dict[str, float]]]()
        self.kept: list[str] = []
        self.closed: list[bool] = []
        Odd.made.append(self)
        if how == "make":
            raise SystemExit("no server at http://tracker:1")

    @property
    def id(self) -> str:
        return "odd-1"

    def log(self, step: int, values: Any) -> None:
        if self.how == "hang":
            Odd.go.wait(60)
        if self.how == "raise":
            raise ConnectionError("refused")
        self.heard.append((step, dict(values)))

    def rewind(self, step: int) -> None:
        self.heard.append((step, {"rewound": 1.0}))

    def keep(self, path: Path) -> None:
        self.kept.append(path.name)

    def close(self, failed: bool) -> None:
        self.closed.append(failed)


ODD = "tests.train.test_trackers:Odd"


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    Odd.made.clear()
    Odd.go.clear()
    yield
    Odd.go.set()


def test_a_stranger_s_tracker_hears_a_whole_run_and_gets_the_report(tmp_path: Path) -> None:
    train(small(tmp_path / "run", f'run.trackers=["{ODD}"]'))
    (odd,) = Odd.made
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    told = {step: values for step, values in odd.heard if "train/loss" in values}
    assert {step: values["train/loss"] for step, values in told.items()} == {
        line["step"]: line["loss"] for line in lines if "loss" in line
    }
    assert sum("eval/Forge/Retail-v0/pass_1" in values for _, values in odd.heard) == 3
    assert odd.kept == ["report.html"] and odd.closed == [False]
    assert odd.about.config["rollout.groups"] == 2


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("make", "it could not begin (SystemExit: no server at http://tracker:1)"),
        ("raise", "ConnectionError: refused"),
        ("hang", "50 calls wait for it already"),
    ],
)
def test_a_tracker_that_is_down_costs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    monkeypatch.setattr(follow, "ROOM", 50 if how == "hang" else 1000)
    asked = config(tmp_path, f'run.trackers=["{ODD}"]').model_copy(deep=True)
    asked.run.tracker_args[ODD] = {"how": how}
    with RunFolder.create(asked) as run, followed(asked, run, close_s=0.1):
        began = time.process_time()
        for step in range(100):
            run.metrics(step, {"loss": 0.5})
        assert time.process_time() - began < 2
    assert len(read_lines(tmp_path / "metrics.jsonl")) == 100
    first, last = capsys.readouterr().err.splitlines()
    assert ODD in first and "run.trackers" in first
    assert " of 100 entries did not arrive" in last and "metrics.jsonl" in last
    assert said in first or said in last


def test_what_stops_the_run_is_told_to_the_tracker_and_raised(tmp_path: Path) -> None:
    asked = config(tmp_path, f'run.trackers=["{ODD}"]')
    with pytest.raises(KeyError), RunFolder.create(asked) as run, followed(asked, run):
        raise KeyError("a bug")
    assert [odd.closed for odd in Odd.made] == [[True]] and not Odd.made[0].kept


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (['run.trackers=["wandbb"]'], 'did you mean "wandb"?'),
        (['run.trackers=["wandb", "wandb"]'], "stands there twice"),
        (["run.tracker_args.wandb.mode=offline"], "trackers does not name"),
    ],
)
def test_a_config_that_names_no_tracker_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        load(cli.GRPO, overrides)


@pytest.mark.parametrize("name", ["tests.train.test_trackers:Missing", "no_such_module:Tracker"])
def test_a_class_that_is_not_there_is_refused_before_anything_is_played(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"run.trackers .* no such class"):
        train(small(tmp_path / "run", f'run.trackers=["{name}"]'))
    assert not (tmp_path / "run" / "metrics.jsonl").read_text()


def test_a_library_that_is_not_installed_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"forge-envs\[trackio\]"):
        follow.kind_of("trackio")
