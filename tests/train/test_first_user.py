"""What a first user does wrong, and what goes wrong around them: a line says it, and nothing is lost."""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import tests.train.worlds  # noqa: F401  (registers worlds)
from forge_train import cli
from forge_train.config import VLLMConfig, load
from forge_train.engine import EngineFailed
from forge_train.engines.servers import Servers
from forge_train.record import checkpoint, pretrained
from forge_train.record.idle import why_idle
from forge_train.record.run_folder import read_lines, standing
from forge_train.run import train
from forge_train.show.live import Live
from forge_train.show.report import write_report
from forge_train.show.results import show_run
from forge_train.trajectory import Trajectory
from tests.endpoint import Endpoint
from tests.train.models import saved

ECHO = "Test/Echo-v0"


def judged(endpoint: Endpoint, *more: str) -> list[str]:
    return ["eval", "--engine", endpoint.spec(attempts=1), "--world", ECHO, "--json", *more]


# -- evaluations -----------------------------------------------------------------------------------


def test_an_evaluation_that_the_clock_stopped_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick: list[Any] = []

    def answer(body: dict[str, Any]) -> Any:
        if body["messages"][0]["content"] == "Hello.":
            return "Hello."
        number = body["messages"][1]["content"].split()[1].rstrip(".")
        quick.append(number)
        return number if number == "0" else None

    out = tmp_path / "judged"
    with Endpoint(answer) as endpoint:
        few = ["--tasks", "3", "--repeats", "1", "--deadline", "1.0", "--out", str(out)]
        assert cli.main(judged(endpoint, *few)) == 1
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["endings"] == {"terminated": 1, "deadline": 2}
    assert found["reasons"] == {"the deadline (a longer --deadline or rollout.deadline_s)": 2}
    assert "2 of 3 episodes were stopped by a machine or the clock" in told.err
    html = (out / "report.html").read_text()
    assert "2 of 3 episodes were stopped" in html and "a longer --deadline" in html


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_evaluation_goes_on_and_cut_answers_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def answer(body: dict[str, Any]) -> Any:
        if body["messages"][0]["content"] == "Hello.":
            return "Hello."
        asked.append(body["messages"][1]["content"])
        if len(asked) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        message = {"role": "assistant", "content": "I was about to"}
        if body["messages"][1]["content"] == "Say 1.":
            return {"choices": [{"index": 0, "message": message, "finish_reason": "length"}], "usage": {}}
        return body["messages"][1]["content"].split()[1].rstrip(".")

    out = tmp_path / "judged"
    with Endpoint(answer) as endpoint:
        command = judged(endpoint, "--tasks", "4", "--repeats", "1", "--in-flight", "1", "--out", str(out))
        assert cli.main(command) == 130
        assert cli.GOES_ON in capsys.readouterr().err
        kept = [line["info"]["task"] for line in read_lines(out / "plays.jsonl")]
        assert 0 < len(kept) < 4
        assert cli.main(command) == 0
    assert asked.count("Say 0.") == 3 and asked.count("Say 1.") == 1, "what was kept was not played again"
    found = json.loads(capsys.readouterr().out)
    assert found["endings"] == {"terminated": 3, "tokens": 1}
    cut = next(t for t in read_lines(out / "plays.jsonl") if t["ending"] == "tokens")
    assert cut["info"]["messages"][-1] == {"role": "assistant", "content": "I was about to", "cut": True}


def test_the_report_of_an_evaluation_says_what_it_is(tmp_path: Path) -> None:
    out = tmp_path / "judged"
    with Endpoint(lambda body: "0") as endpoint:
        assert cli.main(judged(endpoint, "--tasks", "2", "--repeats", "2", "--out", str(out))) == 0
        url = endpoint.url
    html = (out / "report.html").read_text()
    assert "0 of ?" not in html and "forge-train train" not in html and "not trained on" not in html
    again = (
        f"forge-train eval --engine &#39;openai:m@{url}#attempts=1&#39; --world {ECHO} --split=test --tasks=2"
    )
    assert again in html and "--out runs/again" in html


@pytest.mark.parametrize("command", ["eval", "collect"])
def test_an_endpoint_that_is_not_there_is_told_at_once(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    began = time.monotonic()
    spec = f"openai:m@http://127.0.0.1:{port}/v1"
    first = (
        ["eval", "--engine", spec] if command == "eval" else ["collect", spec, "--out", str(tmp_path / "o")]
    )
    assert cli.main([*first, "--world", ECHO]) == 2
    assert time.monotonic() - began < 60, "an action alone would be waited for five minutes"
    told = capsys.readouterr().err
    assert f"nobody answers at http://127.0.0.1:{port}/v1" in told and "start the server" in told


def test_an_address_without_its_path_is_mended(capsys: pytest.CaptureFixture[str]) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/v1/models" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    assert cli.main(["eval", "--engine", f"openai:m@{url}", "--world", ECHO]) == 2
    assert f"but one at {url}/v1; write @{url}/v1" in capsys.readouterr().err
    server.shutdown()
    server.server_close()


# -- models ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model"))


def broken(model: Path, to: Path, how: str) -> Path:
    shutil.copytree(model, to)
    if how == "no tokenizer":
        for path in to.glob("token*"):
            path.unlink()
    elif how == "cut weights":
        weights = to / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:3000])
    elif how == "no weights":
        (to / "model.safetensors").unlink()
    return to


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no tokenizer", "a model without a tokenizer (no tokenizer.json); copy"),
        ("cut weights", "no model could be loaded from it ("),
        ("no weights", "no model could be loaded from it ("),
    ],
)
@pytest.mark.parametrize("command", ["eval", "train"])
def test_a_broken_model_is_told_in_a_line(
    command: str, how: str, says: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = broken(model, tmp_path / "broken", how)
    if command == "eval":
        code = cli.main(["eval", str(folder), "--world", ECHO])
    else:
        code = cli.main(["train", str(cli.GRPO), f"model.path={folder}", f"run.out={tmp_path / 'run'}"])
    told = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and says in told[-1] and str(folder) in told[-1]
    assert sum(line.startswith("forge-train:") for line in told) == 1 and len(told[-1]) < 500


def test_a_hub_that_is_away_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert cli.main(["train", str(cli.GRPO), "model.path=Owner/Model-8B", f"run.out={tmp_path / 'run'}"]) == 2
    told = capsys.readouterr().err
    assert 'model.path = "Owner/Model-8B": no such folder, and 127.0.0.1 cannot be reached' in told
    assert "hf download Owner/Model-8B" in told
    with pytest.raises(pretrained.NoModel, match="no name of the hub"):
        pretrained.load_pretrained("so/many/parts")


@pytest.mark.parametrize("command", ["eval", "collect", "train"])
def test_a_gpu_that_is_not_there_is_told_before_anything_is_loaded(
    command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    argv = {
        "eval": ["eval", str(model), "--world", ECHO, "--device", "cuda:7"],
        "collect": ["collect", str(model), "--world", ECHO, "--device", "cuda:7", *out],
        "train": ["train", str(cli.GRPO), "model.device=cuda:7", f"run.out={tmp_path / 'out'}"],
    }[command]
    assert cli.main(argv) == 2
    key = "model.device" if command == "train" else "--device"
    assert f'{key} = "cuda:7": ' in capsys.readouterr().err


def test_servers_that_do_not_answer_are_waited_for_aloud(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    config = VLLMConfig(urls=(url,), start_s=1.5)
    servers = Servers(
        [url],
        config,
        max_context=9,
        transfer=None,
        processes=None,
        version=0,
        health=1.0,
        sleeps=False,
        sizes=None,
    )
    with pytest.raises(EngineFailed, match=r"did not answer within vllm\.start_s = 1\.5 s: .*; start it"):
        asyncio.run(servers.start())
    assert "waiting for a server until" in caplog.text and url in caplog.text


# -- the disk --------------------------------------------------------------------------------------

SMALL = [
    "run.threads=1", "run.checkpoint_every=1", "model.tiny.hidden=32", "model.tiny.layers=1",
    "model.tiny.vocab=300", "sft.episodes=0", "rollout.groups=1", "rollout.group_size=2",
    "rollout.max_action=8", "worlds.0.id=Test/Varied-v0", "worlds.0.args={}", "worlds.0.tasks=8",
    "eval.tasks=1",
    "eval.repeats=1", "eval.k=[1]",
]  # fmt: skip


def test_a_full_disk_at_a_checkpoint_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    command = ["train", str(cli.GRPO), *SMALL, f"run.out={folder}"]
    assert cli.main([*command, "run.steps=1"]) == 0
    whole = checkpoint.latest(folder / "checkpoints")
    assert whole is not None and whole.step == 1
    size = (whole.path / "model.safetensors").stat().st_size
    capsys.readouterr()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))
    try:
        code = cli.main([*command, "run.steps=2"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("forge-train:")]
    assert code == 1 and len(told) == 1
    assert (
        "checkpoint of step 2 could not be written" in told[0] and "what was saved before is whole" in told[0]
    )
    found = checkpoint.latest(folder / "checkpoints")
    assert found is not None and found.step == 1 and found.problem() is None
    assert not list((folder / "checkpoints").glob(".tmp-*")), "half a checkpoint would keep the disk full"
    assert cli.main([*command, "run.steps=2"]) == 0
    assert [line["step"] for line in read_lines(folder / "metrics.jsonl")] == [0, 1]


# -- steps that teach nothing ----------------------------------------------------------------------


def test_a_step_that_teaches_nothing_counts_no_version_and_says_what_to_try(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    worlds = [f"worlds.0.id={ECHO}", "worlds.0.args={}"]  # nobody says the right word: all earn 0
    train(
        load(cli.GRPO, [*SMALL, *worlds, f"run.out={folder}", "run.steps=2", 'algorithm.masked=["deadline"]'])
    )
    lines = read_lines(folder / "metrics.jsonl")
    assert [(line["step"], line["version"], line["idle"]) for line in lines] == [(0, 0, 1), (1, 0, 1)]
    events = standing(read_lines(folder / "events.jsonl"))
    assert not [e for e in events if e["event"] == "weights"], "nothing was sent"
    said = capsys.readouterr().out
    assert "step 0 taught nothing: the members of 1 groups all earned the same (0)" in said
    assert "easier tasks" in said and "rollout.group_size" in said


def play(outcome: float | None, ending: str) -> Trajectory:
    return Trajectory("g", rewards=[outcome or 0.0], outcome=outcome, ending=ending)  # type: ignore[arg-type]


def test_why_a_step_taught_nothing_is_told_by_what_happened() -> None:
    solved = [play(1.0, "terminated"), play(1.0, "terminated")]
    cut = [play(None, "tokens"), play(None, "context")]
    told = why_idle(7, [solved, cut], [[True, True], [False, False]])
    assert "members of 1 groups all earned the same (1)" in told and "harder tasks" in told
    assert "1 groups had too few members with a verdict (without one: 1 by tokens, 1 by context)" in told
    assert "rollout.max_action" in told and "rollout.max_context" in told


# -- what is shown ---------------------------------------------------------------------------------

METRICS = {
    "success": 0.31,
    "return": 0.4, "entropy": 1.21, "grad_norm": 0.00042, "logprob_gap": 1e-6, "turns": 13.4,
    "sampled_tokens": 9000,
    "seconds": {"total": 1065.2, "generate": 40.1, "world": 1.2, "update": 21.3, "weights": 0, "other": 2},
}  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_live_table_drops_columns_and_cuts_none(width: int) -> None:
    console = Console(width=width, record=True, force_terminal=True, file=io.StringIO())
    with Live(100, title="runs/demo", console=console) as live:
        live.under_way(37, 128, 5400, learning=False)
        first = console.export_text(clear=True)
        live.step({"step": 0, **METRICS})
        live.step(METRICS)
    told = console.export_text()
    told = told[told.rindex("runs/demo") :]  # as it stood at the end
    assert "step 0: playing, 37 of 128 episodes" in first
    heading = next(line for line in told.splitlines() if line.startswith("step "))
    names = heading.split()
    known = [
        "step",
        "success",
        "return",
        "entropy",
        "grad",
        "|dlogp|",
        "turns",
        "tok/s",
        "seconds",
        "play",
        "learn",
        "weights",
        "other",
    ]
    assert [name for name in known if name in names] == names and "…" not in heading
    row = told.splitlines()[told.splitlines().index(heading) + 2]
    assert row.split()[0] == "1" and len(row.split()) == len(names), "the step is told, and every cell whole"
    assert len(names) == {40: 5, 60: 8, 80: 10, 120: 13}[width]


@pytest.mark.parametrize("width", [60, 120])
def test_the_table_of_stages_fits(width: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(load(cli.GRPO, [*SMALL, f"run.out={folder}", "run.steps=0"]))
    console = Console(width=width, record=True, file=io.StringIO())
    show_run(folder, console)
    told = console.export_text()
    assert "stage" in told and "success" in told and "…" not in told
    assert "untrained" in told and max(map(len, told.splitlines())) <= width
    assert write_report(folder).is_file()


@pytest.mark.parametrize(
    "words",
    [
        ["collect", "gold", "--world", ECHO, "--out", "o", "--tasks", "-2"],
        ["collect", "gold", "--world", ECHO, "--out", "o", "--keep", "0"],
        ["eval", "m", "--repeats", "0"],
        ["serve", "m", "--count", "0"],
        ["data", "mix", "a=1", "--out", "o", "--stages", "-5"],
        ["difficulty", "c", "--samples", "none"],
        ["select", "c", "--n", "0"],
        ["select", "c", "--window", "-1"],
        ["select", "c", "--in-flight", "0"],
    ],
)
def test_a_count_that_is_none_is_refused_while_the_line_is_read(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert f"{words[-2]}: '{words[-1]}': a whole number of at least 1 is needed" in capsys.readouterr().err
