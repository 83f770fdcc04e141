"""Forge/SWE-v0 with processes for boxes: the contract, both scaffolds, limits, progress, snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  # registers the world
from forge_envs.errors import MachineError, TaskError
from forge_envs.grammars import BASH, HERMES
from forge_envs.messages import ToolCall
from forge_envs.testing import check_world
from forge_envs.worlds.swe.builtin import builtin_tasks
from forge_envs.worlds.swe.env import SweEnv
from forge_envs.worlds.swe.patch import parts
from forge_envs.worlds.swe.scaffold import SENTINELS

TASK = "forge__ledger-2"
QUICK: dict[str, Any] = {"sandbox": "process", "max_turns": 12, "command_timeout": 20.0}


def make(**arguments: Any) -> SweEnv:
    env = gym.make("Forge/SWE-v0", **{**QUICK, **arguments}).unwrapped
    assert isinstance(env, SweEnv)
    return env


@pytest.fixture(scope="module")
def tools() -> Iterator[SweEnv]:
    env = make()
    yield env
    env.close()


@pytest.fixture(scope="module")
def mini() -> Iterator[SweEnv]:
    env = make(scaffold="mini")
    yield env
    env.close()


def call(name: str, **arguments: Any) -> str:
    return HERMES.write(calls=[ToolCall(name, arguments)])


def block(command: str) -> str:
    return BASH.write(calls=[ToolCall("bash", {"command": command})])


def say(env: SweEnv, action: str) -> tuple[str, dict[str, Any]]:
    messages, _, _, _, info = env.step(action)
    return messages[0]["content"], info


# -- the contract ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("scaffold", ["tools", "mini"])
def test_keeps_the_contract(scaffold: str) -> None:
    """Each time, test_testing.py tries `tools` in processes, and tests/docker `mini` in containers."""
    check_world("Forge/SWE-v0", tasks=1, sandbox="process", scaffold=scaffold, max_turns=6)


def test_builtin_tasks() -> None:
    tasks = builtin_tasks()
    assert len(tasks) >= 8 and len({task.repo for task in tasks}) >= 4
    assert {task.split for task in tasks} == {"train", "test"}
    for task in tasks:
        assert task.files is not None
        hidden = [name.partition("::")[2] for name in task.fail_to_pass if name not in task.visible]
        assert hidden and not any(f"{name}(" in text for name in hidden for text in task.files.values())
        assert not any(name in task.statement for name in hidden)
        assert not set(task.fail_to_pass) & set(task.pass_to_pass)


@pytest.mark.parametrize("task", [task.id for task in builtin_tasks()])
def test_gold_wins_and_a_change_that_mends_nothing_loses(tools: SweEnv, task: str) -> None:
    tools.reset(options={"task": task})
    tools.step(call("bash", command="echo >> README.md"))
    assert say(tools, call("submit"))[1]["parts"] == {
        "submitted": 1.0,
        "applied": 1.0,
        "fail_to_pass": 0.0,
        "pass_to_pass": 1.0,
        "files_not_judged": 0.0,
    }
    tools.reset(options={"task": task})
    for action in tools.gold_actions(task):
        *_, terminated, truncated, info = tools.step(action)
    assert (terminated, truncated, info["outcome"]) == (True, False, 1.0), tools.playing.verdict


# -- scaffolds ------------------------------------------------------------------------------------------


def test_tools(tools: SweEnv) -> None:
    opening, _ = tools.reset(options={"task": TASK})
    assert [tool["function"]["name"] for tool in opening[0]["tools"]] == [
        "bash",
        "str_replace_edit",
        "submit",
    ]
    assert "Small negative amounts" in opening[1]["content"]
    assert say(tools, call("bash", command="cat README.md | head -1"))[0] == "# ledger\n[exit status 0]"
    assert say(tools, call("bash", command="exit 3"))[0] == "[exit status 3]"
    edit = {"path": "ledger/money.py", "old": "MOUNT = re", "new": "MOUNT  = re"}
    text, info = say(tools, call("str_replace_edit", **edit))
    assert "     5  _AMOUNT  = re" in text and info["parts"] == {}
    text, info = say(tools, call("str_replace_edit", **edit))
    assert text.startswith("Error: OLD does not occur") and info["parts"] == {"refused": -0.05}
    assert "more than once" in say(tools, call("str_replace_edit", **{**edit, "old": "text"}))[0]
    assert "     1  x" in say(tools, call("str_replace_edit", path="new.py", old="", new="x"))[0]
    assert "NUL" in say(tools, call("bash", command="a\0b"))[0]
    assert "100000" in say(tools, call("str_replace_edit", path="a", old="b" * 10**5, new=""))[0]
    assert "Use a tool" in say(tools, "What now?")[0]
    text, info = say(tools, call("submit"))
    assert text.startswith("Submitted") and info["outcome"] == 0.0 and info["parts"]["applied"] == 1.0


def test_commands_share_files_and_nothing_else(tools: SweEnv) -> None:
    tools.reset(options={"task": TASK})
    tools.step(call("bash", command="cd tests; x=1; echo hello > note"))
    assert say(tools, call("bash", command="cat tests/note; echo $x; ls"))[0].split()[:2] == [
        "hello",
        "README.md",
    ]


def test_mini(mini: SweEnv) -> None:
    opening, _ = mini.reset(options={"task": TASK})
    assert "tools" not in opening[0] and "edit_via_str_replace" in opening[0]["content"]
    assert say(mini, block("echo hi; false"))[0] == "<returncode>1</returncode>\n<output>\nhi\n\n</output>"
    for old, code in (("_AMOUNT = re", 0), ("nowhere", 2), ("text", 3)):
        said = say(mini, block(f"edit_via_str_replace ledger/money.py '{old}' '_AMOUNT  = re'"))[0]
        assert said.startswith(f"<returncode>{code}</returncode>"), said
    assert "written" not in say(mini, block(f"echo no {SENTINELS[0]}"))[0] and not mini.playing.over
    say(mini, block(f"echo {SENTINELS[0]}; false"))
    assert not mini.playing.over, "a command that fails submits nothing"
    _, info = say(mini, "no block at all")
    assert info["parts"] == {"malformed": -0.1}
    said, info = say(mini, block(f"echo {SENTINELS[1]} && git add -A && git diff --cached"))
    assert "+_AMOUNT  = re" in said and info["outcome"] == 0.0 and mini.playing.patch


def test_mini_writes_patches_with_fences(mini: SweEnv) -> None:
    task = mini.find(TASK)
    for more, kept in (("```", "\n```\n"), ("END_OF_PATCH\n```", "base64 -d")):
        fenced = dataclasses.replace(task, patch=f"{task.patch}diff --git a/x b/x\n+\n{more}\n")
        apply, submit = (BASH.parse(action) for action in mini.gold(fenced))
        assert apply.error is submit.error is None and kept in apply.calls[0].arguments["command"]


def test_long_output_keeps_both_ends(tools: SweEnv) -> None:
    tools.reset(options={"task": TASK})
    text, _ = say(tools, call("bash", command="seq 1 100000"))
    assert text.startswith("1\n2\n") and text.endswith("99999\n100000\n[exit status 0]")
    assert "characters left out …]" in text and len(text) < 10_200


def test_a_command_that_takes_too_long_is_stopped() -> None:
    env = make(command_timeout=1.0)
    env.reset(options={"task": TASK})
    text, info = say(env, call("bash", command="echo before; sleep 60"))
    assert text == "before\n[stopped after 1 seconds]" and info["parts"] == {}
    env.close()


# -- endings ----------------------------------------------------------------------------------------------


def test_what_is_not_submitted_earns_nothing() -> None:
    env = make(max_turns=2)
    env.reset(options={"task": TASK})
    env.step(env.gold_actions(TASK)[0])
    *_, terminated, truncated, info = env.step(call("bash", command="true"))
    assert (terminated, truncated, info["outcome"]) == (False, True, 0.0)
    assert info["parts"]["submitted"] == 0.0
    env.close()


def test_a_patch_that_cannot_be_taken_is_not_the_end() -> None:
    env = make(patch_limit=1_000)
    env.reset(options={"task": TASK})
    env.step(call("bash", command="head -c 5000 /dev/urandom > big"))
    text, info = say(env, call("submit"))
    assert "longer than 1000 bytes" in text and "outcome" not in info and info["parts"] == {"refused": -0.05}
    env.step(call("bash", command="rm -rf big; mv .git elsewhere"))
    assert "git made no patch" in say(env, call("submit"))[0]
    env.step(call("bash", command="mv elsewhere .git; printf 'a\\0b' > bin; echo > 'a b'; git stash -u -q"))
    env.step(call("bash", command="git stash pop -q"))
    assert "outcome" in say(env, call("submit"))[1]
    assert env.playing.verdict is not None and env.playing.verdict.applied
    env.close()


def test_commits_belong_to_the_patch_and_caches_do_not(tools: SweEnv) -> None:
    tools.reset(options={"task": TASK})
    tools.step(tools.gold_actions(TASK)[0])
    tools.step(
        call("bash", command="rm .gitignore; python3 -m pytest -q; git add -A; git commit -qm x; git gc -q")
    )
    *_, info = tools.step(call("submit"))
    assert info["outcome"] == 1.0
    assert [part.path for part in parts(tools.playing.patch or b"")] == [".gitignore", "ledger/money.py"]


def test_tests_that_never_end_lose() -> None:
    env = make(eval_timeout=3.0)
    env.reset(options={"task": TASK})
    env.step(call("bash", command="sed -i '1i import time; time.sleep(60)' ledger/money.py"))
    *_, info = env.step(call("submit"))
    assert info["outcome"] == 0.0 and env.playing.verdict is not None
    assert "needed more than 3 s" in env.playing.verdict.reason
    env.close()


# -- progress ---------------------------------------------------------------------------------------------


def test_visible_progress() -> None:
    env = make(visible_progress=True, turn_weight=1.0)
    env.reset(options={"task": TASK})
    _, info = say(env, call("bash", command="sed -i 's/== -1230/== -1170/' tests/test_money.py"))
    assert info["parts"] == {}, "edited tests are not judged"
    _, info = say(env, env.gold_actions(TASK)[0])
    assert info["parts"] == {"progress": 1.0}
    assert say(env, call("bash", command="ls"))[1]["parts"] == {}
    _, info = say(env, call("bash", command="git checkout -q ."))
    assert info["parts"] == {"progress": -1.0}
    env.close()


# -- snapshots --------------------------------------------------------------------------------------------


def test_snapshots_carry_the_folder() -> None:
    env, other = make(), make()
    env.reset(options={"task": TASK})
    env.step(env.gold_actions(TASK)[0])
    env.step(call("bash", command="rm README.md; chmod +x ledger/report.py; git commit -qam mended"))
    snapshot = env.snapshot()
    env.step(call("bash", command="rm -rf ledger"))
    for where in (other, env):
        where.restore(snapshot)
        text, _ = say(
            where, call("bash", command="git log --format=%s; git status --short; ls; ls -l ledger")
        )
        assert text.startswith("mended\nInitial commit\nledger\ntests\n") and "-rwx" in text
        assert say(where, call("submit"))[1]["outcome"] == 1.0
    ended = env.snapshot()
    other.restore(ended)
    with pytest.raises(gym.error.ResetNeeded):
        other.step("")
    env.close()
    other.close()


# -- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"scaffold": "codex"},
        {"sandbox": "vm"},
        {"split": "dev"},
        {"guard": 1},
        {"head": -1},
        {"command_timeout": 0.0},
        {"eval_timeout": float("inf")},
        {"lifetime": -1.0},
        {"patch_limit": 0},
        {"max_turns": 1},
        {"source": "swebench:x.json"},
        {"source": "nowhere"},
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any]) -> None:
    name, value = next(iter(arguments.items()))
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        make(**arguments)


def test_unknown_tasks_are_named(tools: SweEnv) -> None:
    with pytest.raises(TaskError, match="'nothing'"):
        tools.reset(options={"task": "nothing"})


def test_no_daemon_is_a_machine_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from forge_envs import sandbox

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr(sandbox, "_made", {})
    env = make(sandbox="docker")
    with pytest.raises(MachineError, match="no Docker daemon") as caught:
        env.reset()
    assert caught.value.as_dict()["kind"] == "no_daemon"
