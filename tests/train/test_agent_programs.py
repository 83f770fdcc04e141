"""Agent programs that are commands: what they are told, how they end, and that nothing of them is left."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from forge_train.agents.program import Brief, Command

BRIEF = Brief(
    task="train/7",
    prompt="Say {task} and {\n'7'.",
    base_url="http://127.0.0.1:9/sessions/x/v1",
    api_key="sk-forge-test",
    world_url="http://127.0.0.1:9/sessions/x/world",
    messages=({"role": "user", "content": "Say 7."},),
)


def run(*words, env=None, deadline=30.0):
    async def go():
        async with asyncio.timeout(deadline):
            return await Command(words, env).run(BRIEF)

    return asyncio.run(go())


def shell(script, **options):
    return run("sh", "-c", script, **options)


def alive(pid):
    """Whether a process runs; a dead one may wait for its parent."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_it_is_told_where_everything_is():
    names = ["OPENAI_BASE_URL", "OPENAI_API_KEY", "FORGE_TASK", "FORGE_WORLD_URL", "X"]
    script = 'printf "%s\\n" "$0" ' + " ".join(f'"${name}"' for name in names)
    ended = run("sh", "-c", script, "{prompt}|{task}|{else}|{", env={"X": "{base_url}/{task}"})
    told = f"{BRIEF.prompt}|train/7|{{else}}|{{\n{BRIEF.base_url}\n{BRIEF.api_key}\n{BRIEF.task}\n"
    assert (ended.code, ended.output) == (0, f"{told}{BRIEF.world_url}\n{BRIEF.base_url}/train/7\n")


def test_it_works_in_an_empty_folder_that_is_removed():
    ended = run("sh", "-c", "ls -A; pwd; echo {folder}; touch file")
    here, told = ended.output.split()
    assert here == told and not os.path.exists(here)


def test_a_failure_keeps_its_last_words():
    ended = shell("echo out; echo 'no such luck' >&2; exit 3")
    assert (ended.code, ended.output, ended.error) == (3, "out\n", "no such luck\n")


def test_it_has_no_input_and_no_terminal():
    assert shell("cat; test -t 0 || echo none").output == "none\n"


def test_of_endless_output_the_end_is_kept():
    ended = shell("yes | head -c 20000000; echo; echo last")
    assert len(ended.output) == 1_000_000 and ended.output.endswith("\nlast\n")


def test_what_cannot_start_is_an_exit_status():
    assert run("sh", "-c", "true", "x" * 4_000_000).code == 126
    assert run("sh", "-c", "true", "\0").code == 126


def test_a_program_that_is_not_there_is_told_at_once():
    with pytest.raises(ValueError, match=r"agent\.command.*no such program"):
        Command(["no-such-program-anywhere"])


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("how", ["ends", "is ended", "does not listen"])
def test_nothing_it_started_outlives_it(tmp_path, how):
    pids = tmp_path / "pids"
    script = f"""
        sleep 300 & echo $! >> {pids}
        setsid sh -c 'echo $$ >> {pids}; exec sleep 300' </dev/null >/dev/null 2>&1 &
        (setsid sh -c 'echo $$ >> {pids}; sleep 300 & wait' &)
        until [ $(wc -l < {pids}) = 3 ]; do sleep 0.01; done
    """
    began = time.monotonic()
    if how == "ends":
        assert shell(script).code == 0
    else:
        stubborn = "trap '' TERM; " if how == "does not listen" else ""
        with pytest.raises(TimeoutError):
            shell(f"{stubborn}{script}\nwhile :; do sleep 0.1; done", deadline=1.0)
    assert time.monotonic() - began < 60, "nobody waits for what is left behind"
    assert [pid for pid in pids.read_text().split() if alive(pid)] == []
