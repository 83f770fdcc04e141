import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from forge_envs import world_ids
from forge_envs.cli import main
from tests.envs.worlds import NEEDED

COUNTER = "tests.envs.worlds:Shop/Counter-v0"
SELL = '>sell {"item": "apple", "count": 1}'


SEEDED = (
    ["check", COUNTER],
    ["play", COUNTER],
    ["audit", COUNTER],
    ["make-swe", "a==1", "--out", "x"],
    ["tooluse", "page"],
)
"""Every command with a seed."""


def played(monkeypatch, capsys, lines: list[str], *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    code = main(["play", COUNTER, "--task", "train/apple/1", *args])
    return code, *capsys.readouterr()


def test_list_shows_every_world_with_what_it_is_and_takes(capsys):
    assert main(["list"]) == 0
    out, err = capsys.readouterr()
    for world in world_ids():
        assert world in out
    assert "cannot be made" not in out and out.count('path=""') == len(NEEDED)
    assert "max_turns=30" in out and 'split="train"' in out and err == ""


def test_check_prints_a_line_for_every_promise(capsys):
    assert main(["check", COUNTER, "--tasks", "3", "--arg", "max_turns=5"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == COUNTER and len(out.splitlines()) == 22
    assert all(line.startswith("  ok ") for line in out.splitlines()[1:]) and err == ""


def test_worlds_that_need_something_are_not_checked_and_say_what(capsys, monkeypatch):
    monkeypatch.setattr("forge_envs.cli.world_ids", lambda: ["Forge/Tau1-v0", "Forge/Tau2-v0"])
    assert main(["check", "--all"]) == 0
    out, err = capsys.readouterr()
    first, told, *_ = out.splitlines()
    assert first == "Forge/Tau1-v0" and re.match(r"  not checked: path='': give the folder .*tau-bench", told)
    assert out.count("not checked") == 2 and err == "forge-envs: 2 worlds were not checked\n"
    assert main(["check", "Forge/Tau2-v0"]) == 2
    assert "path='': give the folder" in capsys.readouterr().err


def test_check_goes_on_after_a_broken_promise_and_returns_1(capsys):
    assert main(["check", "tests.envs.worlds:Shop/WrongGold-v0", "--tasks", "3"]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()[1:]
    assert [line.split(":")[0].split("  ")[-1] for line in lines if "FAILED" in line] == ["gold"]
    assert len(lines) == 21 and err == "forge-envs: 1 broken promise\n"


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["check", "Forge/Retial-v0"], "'Forge/Retial-v0'.*Known: Forge/Retail-v0"),
        (["play", "nowhere:Forge/Retail-v0"], "nowhere.*Known: Forge/Retail-v0"),
        (["check", COUNTER, "--arg", "max_turns"], "'max_turns'.*key=value"),
        (["check", COUNTER, "--arg", "max_turns=1"], "max_turns=1"),
        (["check", COUNTER, "--arg", "colour=red"], "colour"),
        (["check", COUNTER, "--tasks", "0"], "--tasks: '0': a whole number of at least 1"),
        (["check", COUNTER, "--tasks", "many"], "many"),
        (["check", COUNTER, "--all"], f"check {COUNTER} --all: .*not both"),
        (["check"], "--all"),
        (["play", COUNTER, "--task", "train/pear/1"], "train/pear/1.*train/apple/1"),
        (["play", "CartPole-v1"], "no AgentEnv"),
        *(([*words, "--seed", "-1"], "--seed: '-1': a whole number of at least 0") for words in SEEDED),
        (["red-team", "Forge/SWE-v0", "--timeout", "nan"], "--timeout: 'nan': a number of seconds"),
        (["audit", "CartPole-v1", "--timeout", "soon"], "--timeout: 'soon': a number of seconds"),
        (["tooluse", "report", "--domains", "0"], "--domains: '0': a whole number of at least 1"),
        (["tooluse", "report", "--json", "/no/such/file"], "--json: '/no/such/file': there is no folder"),
        (["tooluse", "report", "--json", "/"], "--json: '/': that is a folder; name a file"),
        (["audit", "CartPole-v1", "--json", "/no/such/file"], "--json: .*there is no folder /no/such"),
        (["make-swe", "a==1", "--out", __file__], "--out: .*test_cli.py is no folder; name another"),
        (["make-swe", "a==1", "--out", f"{__file__}/below"], "--out: .*test_cli.py is no folder"),
        (["play", "Forge/NextTurn-v0", "--arg", "world=Retail"], "world='Retail'.*as in forge_envs:Forge"),
        (["play", "Forge/NextTurn-v0", "--arg", "world=no_module:A-v0"], "world='no_module:A-v0'"),
        (["play", "Forge/ToolUse-v0", "--arg", "theme=nope"], "theme='nope': known are \"\", allotments"),
        (["dance"], "dance"),
        ([], "COMMAND"),
    ],
)
def test_bad_input_is_named_on_stderr_and_returns_2(args, hint, capsys):
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(hint, err, re.DOTALL), err


def test_help_returns_0(capsys):
    assert main(["--help"]) == 0
    assert "play" in capsys.readouterr().out


def test_a_piped_game_is_played_to_its_end(monkeypatch, capsys):
    code, out, err = played(monkeypatch, capsys, [SELL, "Goodbye", "this comes too late"])
    assert (code, err) == (0, "")
    assert "1 apple, please." in out and "tools: look, sell, close_shop" in out
    assert "tool sell  1 apple sold" in out
    assert "turn 1: turn reward +1\n" in out
    assert out.endswith("over: outcome 1, return 1, parts {'sold': 1.0}\n")
    assert "\x1b" not in out and "late" not in out


def test_a_piped_game_that_stops_early_says_so(monkeypatch, capsys):
    code, out, _ = played(monkeypatch, capsys, [""])
    assert code == 0
    assert "Hello?" in out and out.endswith("The episode was not finished and has no outcome.\n")


def test_commands_and_slips_take_no_turn(monkeypatch, capsys):
    slips = ["/tools", "/help", ">sell {oops", ">", ">sell []"]
    code, out, err = played(monkeypatch, capsys, [*slips, SELL, "/quit", "Goodbye"])
    assert code == 0
    assert "sell: Sell items from stock." in out and "A line is an action" in out
    assert err.count("forge-envs: ") == 3 and "{oops" in err
    assert "turn 1: turn reward +1" in out and "turn 2" not in out


def test_gold_plays_itself(monkeypatch, capsys):
    code, out, _ = played(monkeypatch, capsys, [], "--gold", "--arg", "turn_weight=0.5")
    assert code == 0
    assert "assistant  Here you are, goodbye." in out
    assert "outcome 1, return 1.5" in out


def test_the_turn_limit_is_told(monkeypatch, capsys):
    _, out, _ = played(monkeypatch, capsys, ["", "", ""], "--arg", "max_turns=2")
    assert "over at the turn limit: outcome 0, return 0" in out


@pytest.mark.parametrize("stage", ["reset", "hear"])
def test_a_failed_machine_returns_1(stage, monkeypatch, capsys):
    code, _, err = played(monkeypatch, capsys, ["hello"], "--arg", f"fails={stage}")
    assert code == 1 and "the machine failed" in err and "fire" in err


class Interrupted:
    """A standard input whose reader presses Ctrl-C."""

    def isatty(self) -> bool:
        return False

    def __iter__(self):
        raise KeyboardInterrupt


def test_ctrl_c_leaves_cleanly(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", Interrupted())
    assert main(["play", COUNTER]) == 130
    assert "stopped" in capsys.readouterr().err


def test_at_a_terminal_there_are_prompts_and_colours(monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, lines = Terminal(), iter([SELL, "Goodbye"])
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert main(["play", COUNTER, "--task", "train/apple/1"]) == 0
    assert "\x1b[36m     user\x1b[0m  1 apple, please." in screen.getvalue()
    assert "A line is an action" in screen.getvalue() and "outcome 1" in screen.getvalue()


def test_a_reader_who_has_seen_enough_is_no_error():
    root = Path(__file__).parents[2]
    code = "import sys; from forge_envs.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "play", COUNTER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command, cwd=root, text=True, env={**os.environ, "PYTHONPATH": "."}, **pipes
    ) as game:
        assert "task" in game.stdout.readline()
        game.stdout.close()
        game.stdin.write("\n" * 20)
        game.stdin.close()
        assert (game.wait(60), game.stderr.read()) == (0, "")


def test_defaults_are_told_as_they_are_typed(capsys):
    assert main(["serve", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "(default 1048576)" in told and "(default 900)" in told
    assert main(["audit", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert all(
        f"--{name} N" in told for name in ("seed", "timeout", "start", "sessions", "episodes", "turns")
    )
    assert told.count("(default ") == 6
