"""Forge/Agentless-v0 with processes for boxes: edits to the letter, both verdicts, and what is refused."""

from __future__ import annotations

import difflib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import forge_envs  # noqa: F401  # registers the world
from forge_envs.errors import TaskError
from forge_envs.testing import check_world
from forge_envs.worlds.agentless.disguise import disguised
from forge_envs.worlds.agentless.edits import (
    FileEdit,
    apply_edits,
    edits_between,
    named_files,
    patch_of,
    read_edits,
    write_edits,
)
from forge_envs.worlds.agentless.env import AgentlessEnv
from forge_envs.worlds.agentless.gold import only_tests
from forge_envs.worlds.agentless.script import takes_tests, with_tests
from forge_envs.worlds.agentless.wording import drawn, shown_files, shown_tree
from forge_envs.worlds.swe.builtin import builtin_tasks
from forge_envs.worlds.swe.patch import parts
from forge_envs.worlds.swe.task import SweTask

TASK = "forge__ledger-2"
MONEY = "ledger/money.py"
NEW = "tests/test_new.py"


def make(role: str, **arguments: Any) -> AgentlessEnv:
    env = gym.make("Forge/Agentless-v0", role=role, sandbox="process", **arguments).unwrapped
    assert isinstance(env, AgentlessEnv)
    return env


@pytest.fixture(scope="module")
def fixer() -> Iterator[AgentlessEnv]:
    env = make("fixer")
    yield env
    env.close()


@pytest.fixture(scope="module")
def tester() -> Iterator[AgentlessEnv]:
    env = make("tester")
    yield env
    env.close()


def task_of(name: str = TASK) -> SweTask:
    return next(task for task in builtin_tasks() if task.id == name)


def play(env: AgentlessEnv, *actions: str, task: str = TASK) -> tuple[list[str], dict[str, Any]]:
    env.reset(options={"task": task})
    heard, info = [], {}
    for action in actions:
        messages, _, terminated, truncated, info = env.step(action)
        heard += [m["content"] for m in messages]
        if terminated or truncated:
            break
    return heard, info


# -- the contract ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tester_keeps_the_contract() -> None:
    """A fixer keeps it in test_testing.py."""
    check_world("Forge/Agentless-v0", tasks=1, sandbox="process", role="tester")


@pytest.mark.parametrize("role", ["fixer", "tester"])
def test_gold_wins_in_one_answer_where_the_files_are_known(role: str) -> None:
    env = make(role, localised=True)
    opening, _ = env.reset(options={"task": TASK})
    assert f"### {MONEY}" in opening[1]["content"] and "Files of the repository" not in opening[1]["content"]
    (answer,) = env.gold_actions(TASK)
    _, reward, terminated, _, info = env.step(answer)
    assert (reward, terminated, info["outcome"]) == (1.0, True, 1.0), env.playing.verdict


def test_the_opening_shows_issue_and_tree_and_the_first_answer_files(fixer: AgentlessEnv) -> None:
    opening, _ = fixer.reset(options={"task": TASK})
    asked = opening[1]["content"]
    assert "Small negative amounts" in asked and "ledger/\n    __init__.py\n" in asked
    assert "def parse_amount" not in asked
    messages, *_, info = fixer.step(f"Here:\n```\n{MONEY}\nno/such.py\n```")
    assert "def parse_amount" in messages[0]["content"] and info["parts"] == {}


def test_a_first_answer_that_names_nothing_is_told_and_may_be_tried_again(fixer: AgentlessEnv) -> None:
    heard, info = play(fixer, "I do not know.", f"`{MONEY}`")
    assert heard[0].startswith("Error: that names no file") and "def parse_amount" in heard[1]
    heard, info = play(fixer, "I do not know.")
    assert info["parts"] == {"malformed": -0.1}


@pytest.mark.parametrize("role", ["fixer", "tester"])
def test_silence_earns_nothing(role: str) -> None:
    heard, info = play(make(role), *[""] * 9)
    assert heard[0] == "Nothing was said." and info["outcome"] == 0.0 and info["parts"]["fits"] == 0.0


# -- edits ----------------------------------------------------------------------------------------------


def block(path: str, search: str, new: str) -> str:
    return write_edits([FileEdit(path, search, new)])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("Done.", "no SEARCH/REPLACE block"),
        (block(MONEY, "import re\n", "import re\n"), "change nothing"),
        (block(MONEY, "import regex\n", "import re\n"), "does not stand in the file"),
        (block(MONEY, "mport re\n", "import os\n"), "does not stand in the file"),  # no whole line
        (block(MONEY, '    """\n', "    '''\n"), "more than once"),
        (block("ledger/none.py", "x\n", "y\n"), "there is no such file"),
        (block(MONEY, "", "x\n"), "is there already"),
        (block("../out.py", "", "x\n"), "no path of a file"),
        (block(".git/config", "", "x\n"), "no path of a file"),
    ],
)
def test_edits_that_do_not_fit_are_told_and_earn_nothing(fixer: AgentlessEnv, answer: str, why: str) -> None:
    heard, info = play(fixer, MONEY, answer)
    assert why in heard[-1] and heard[-1].endswith("the work ends here.")
    assert info["outcome"] == 0.0 and info["parts"]["fits"] == 0.0 and info["parts"]["malformed"] == -0.1


def test_a_wrong_fix_and_one_of_tests_alone_earn_nothing(fixer: AgentlessEnv) -> None:
    wrong = block(MONEY, "import re\n", "import re  # as before\n")
    _, info = play(fixer, MONEY, wrong)
    assert info["outcome"] == 0.0 and info["parts"]["applied"] == 1.0 and info["parts"]["fail_to_pass"] == 0.0
    _, info = play(fixer, MONEY, block("tests/test_money.py", "", "x\n").replace("test_money", "conftest"))
    assert info["outcome"] == 0.0 and info["parts"]["files_not_judged"] == 1.0


texts = st.lists(st.sampled_from(["a", "b", "  a", "", "x = 1", "    return x"]), max_size=12).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)


@given(texts.filter(str.strip), texts, st.booleans(), st.booleans())
def test_edits_between_two_texts_do_what_they_should_or_there_are_none(
    old: str, new: str, crlf: bool, open_end: bool
) -> None:
    if crlf:
        old, new = old.replace("\n", "\r\n"), new.replace("\n", "\r\n")
    if open_end:
        old, new = old.removesuffix("\n"), new.removesuffix("\n")
    edits = edits_between("a.py", old, new)
    if edits:
        assert apply_edits(read_edits(write_edits(edits)), {"a.py": old}) == {"a.py": new}


@given(st.one_of(st.none(), texts), texts, st.booleans())
def test_patches_are_what_git_applies(old: str | None, new: str, open_end: bool) -> None:
    new = new.removesuffix("\n") if open_end else new
    if old == new:
        return
    patch = patch_of({} if old is None else {"d/a.py": old}, {"d/a.py": new})
    assert [part.path for part in parts(patch)] == ["d/a.py"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, "a\n"),
        (None, ""),
        ("a\nb", "a\nc"),
        ("a\n", "a"),
        ("", "b\n"),
        ("a\r\nb\r\n", "a\r\nc\r\n"),
        ("a\n", ""),
    ],
)
def test_git_makes_of_a_patch_what_was_meant(tmp_path: Path, old: str | None, new: str) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    if old is not None:
        (tmp_path / "a.py").write_bytes(old.encode())
    patch = patch_of({} if old is None else {"a.py": old}, {"a.py": new})
    subprocess.run(["git", "apply", "-"], input=patch, cwd=tmp_path, check=True)
    assert (tmp_path / "a.py").read_bytes() == new.encode()


def test_names_and_shown_files_keep_to_their_budget() -> None:
    tree = ["README.md", *(f"src/m{i}.py" for i in range(200)), *(f"tests/test_{i}.py" for i in range(50))]
    assert shown_tree(tree, "fixer", 10**6) == drawn(tree)
    assert "README" not in shown_tree(tree, "fixer", len(drawn(tree)) - 1)
    for role, mine in (("fixer", "src/"), ("tester", "tests/")):
        for budget in (1_000, 3_000):
            text = shown_tree(tree, role, budget)
            assert mine in text and len(text.rpartition("\n[")[0]) <= budget
    shown = shown_files({"a.x": "x\n" * 100, "b.x": "y\n" * 100}, 251)
    assert shown.count("\nx") == 100 and shown.count("\ny") == 25 and "[150 more characters" in shown
    assert named_files("src/m1.py\n* `m2.py`\nsrc/m1.py\n/etc/passwd", tree, 5) == ["src/m1.py", "src/m2.py"]
    assert len(named_files("\n".join(tree), tree, 3)) == 3


# -- written tests --------------------------------------------------------------------------------------


def written(body: str, path: str = NEW) -> str:
    return block(path, "", body)


HONEST = """\
from ledger import format_amount


def test_cents_below_one_keep_their_sign():
    assert format_amount(-5) == "-0.05"
"""


def outcome(
    tester: AgentlessEnv, body: str, path: str = NEW, task: str = TASK
) -> tuple[float, dict[str, Any], str]:
    _, info = play(tester, MONEY, written(body, path), task=task)
    verdict = tester.playing.verdict
    return info["outcome"], info["parts"], getattr(verdict, "reason", "")


def mine(tester: AgentlessEnv) -> str:
    """Gold of TASK as a whole file, to be changed."""
    return read_edits(tester.grammar.parse(tester.gold_actions(TASK)[-1]).prose)[0].replacement


GOLD_AT_WORK = (
    "import ledger.money\nimport pathlib\nSOURCE = pathlib.Path(ledger.money.__file__).read_text()\n"
)


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ("\n\ndef test_nonsense():\n    assert 1 + 1 == 3\n", "with gold"),
        ("\n\nimport nowhere_at_all\n", "no test was run"),
        ("\n\nimport os\nos.abort()\n", "did not end by themselves"),
        (
            "\n\ndef test_writes():\n    import ledger.money as m\n    open(m.__file__, 'a').write('#')\n",
            "written to while the tests ran",
        ),
    ],
)
def test_what_earns_nothing_beside_a_good_test(tester: AgentlessEnv, added: str, reason: str) -> None:
    earned, _, why = outcome(tester, mine(tester) + added)
    assert earned == 0.0 and reason in why


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def test_x():\n    assert True\n", "no test fails on the code as it was"),
        ("import pytest\n\n@pytest.fixture\ndef a():\n    1 / 0\n\ndef test_x(a):\n    0\n", "no test"),
        ("from ledger.money import of_gold_alone\n\ndef test_x():\n    pass\n", "no test was run"),
        # It comes out otherwise every second time.
        (
            "import pathlib\n\ndef test_x():\n    place = pathlib.Path('.seen')\n"
            "    place.write_text('x' * (place.exists() and len(place.read_text())) + 'x')\n"
            "    assert len(place.read_text()) % 2 == 0\n",
            "tests came out otherwise",
        ),
        # It knows nothing of the bug: any change of the file makes it pass.
        (
            "import hashlib, pathlib\n\ndef test_x():\n"
            "    text = pathlib.Path('ledger/money.py').read_bytes()\n"
            "    assert hashlib.sha256(text).hexdigest() != '{sha}'\n",
            "rewritten to do the same",
        ),
        ("import subprocess\n\ndef test_x():\n    told = subprocess.run(['git', 'status', '-s', 'ledger'], "
         "capture_output=True, text=True).stdout\n    assert 'money' in told\n", "rewritten to do the same"),
    ],
)  # fmt: skip
def test_what_shows_nothing_earns_nothing(tester: AgentlessEnv, body: str, reason: str) -> None:
    import hashlib

    files = task_of().files
    assert files is not None
    body = body.replace("{sha}", hashlib.sha256(files[MONEY].encode()).hexdigest())
    earned, parts, why = outcome(tester, body)
    assert earned == 0.0 and reason in why, why
    assert parts["steady"] == 0.0


def test_without_the_guard_the_paper_pays_a_test_that_looks_at_the_text() -> None:
    env = make("tester", guard=False)
    body = "import pathlib\n\ndef test_x():\n    text = pathlib.Path('ledger/money.py').read_text()\n"
    files = task_of().files
    assert files is not None
    earned, *_ = outcome(env, f"{body}    assert len(text) != {len(files[MONEY])}\n")
    assert earned == 1.0


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            written("def test_x():\n    pass\n") + "\n\n" + block(MONEY, "import re\n", "import os\n"),
            "nothing else",
        ),
        (block(MONEY, "import re\n", "import os\n"), "no test file"),
        (written("x = 1\n", "tests/conftest.py"), "no test file"),
        (written("x = 1\n", "tests/helpers.py"), "no test file"),
        (written("def test_x(:\n"), "no Python"),
        (written("import os\n\ndef test_x():\n    os._exit(0)\n"), "'_exit'"),
        (written("import inspect\n\ndef test_x():\n    inspect.getsource(test_x)\n"), "'getsource'"),
    ],
)
def test_what_a_tester_may_not_write_is_told(tester: AgentlessEnv, answer: str, why: str) -> None:
    heard, info = play(tester, MONEY, answer)
    assert why in heard[-1] and info["outcome"] == 0.0


def test_a_machine_that_fails_is_never_a_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    from forge_envs.sandbox import SandboxError
    from forge_envs.worlds.agentless import written as module

    env = make("tester")
    gold = env.gold_actions(TASK)
    env.reset(options={"task": TASK})
    env.step(gold[0])

    def fails(*_: Any, **__: Any) -> None:
        raise SandboxError("the daemon is away", kind="no_daemon", retryable=True)

    monkeypatch.setattr(module, "open_site", fails)
    *_, truncated, info = env.step(gold[1])
    assert truncated and info["error"]["kind"] == "no_daemon" and "outcome" not in info


def test_scripts_take_a_written_file_in_place_of_the_hidden_ones() -> None:
    for task in builtin_tasks():
        assert takes_tests(task)
        changed = with_tests(task, NEW, "diff --git a/x b/x\nnew file mode 100644\n")
        run = next(line for line in changed.eval_script.split("\n") if "-m pytest" in line)
        assert run == f"python3 -m pytest -rA -p no:cacheprovider {NEW}"
        hidden = [line for line in task.test_patch.split("\n") if line.startswith("+    ")]
        assert hidden and not any(line in changed.eval_script for line in hidden)
    odd = task_of().__class__(**{**vars(task_of()), "eval_script": "./runtests.py"})
    assert not takes_tests(odd)
    with pytest.raises(ValueError, match="stand in for"):
        with_tests(odd, NEW, "")


def test_only_wanted_tests_are_left() -> None:
    text = "import a\n\nclass TestA:\n    def test_x(self):\n        pass\n\n"
    text += "    @a.b\n    def test_y(self):\n        pass\n"
    assert only_tests(text, {"TestA::test_x"}) == text.replace(
        "    @a.b\n    def test_y(self):\n        pass\n", "    pass\n"
    )


# -- rewriting to do the same ---------------------------------------------------------------------------

SOURCES = [
    'def f(x):\n    """Doc."""\n    return x\n',
    "def f(x): return x\n",
    "def f(\n    x,\n): return x\n",
    "class A:\n    @property\n    def f(self):\n        @a\n        def g():\n            return 1\n"
    "        return g\n",
    "async def f():\n\tyield 1\n",
    "def f():\n    return locals()\n",
    "def f():\n    '''only a doc'''\n",
    "def f():\n    global x\n    x = 1",
    "x = '''\ndef f():\n    return 1\n'''\n",
    "def broken(:\n",
]


@pytest.mark.parametrize("source", SOURCES)
def test_a_disguise_is_python_of_the_same_names(source: str) -> None:
    text = disguised(source)
    if "broken" in source:
        assert text == source
        return
    assert text != source
    names = [name for name in compile(text, "a", "exec").co_names]
    assert names == list(compile(source, "a", "exec").co_names)


def test_a_disguise_does_the_same_as_a_whole_module() -> None:
    source = Path(difflib.__file__).read_text()
    text = disguised(source)
    assert text.count("_unused = None") > 30
    check = "import doctest, types, sys; m = types.ModuleType('difflib'); sys.modules['difflib'] = m; "
    check += "exec(compile(sys.stdin.read(), 'd', 'exec'), m.__dict__); "
    check += "print(list(m.unified_diff(['a'], ['b'])), m.SequenceMatcher(None, 'abcd', 'bcde').ratio())"
    told = [
        subprocess.run(
            [sys.executable, "-c", check], input=code, capture_output=True, text=True, check=True
        ).stdout
        for code in (source, text)
    ]
    assert told[0] == told[1] and "0.75" in told[0]


# -- selection ------------------------------------------------------------------------------------------


def test_outcomes_of_written_files_tell_patches_apart(fixer: AgentlessEnv, tester: AgentlessEnv) -> None:
    right = fixer.patch_said(TASK, fixer.gold_actions(TASK))
    wrong = fixer.patch_said(TASK, [block(MONEY, "import re\n", "import re  # as before\n")])
    assert (
        right and wrong and fixer.patch_said(TASK, ["Done."]) is None and fixer.patch_said(TASK, []) is None
    )
    gold = tester.patch_said(TASK, tester.gold_actions(TASK))
    ends = tester.patch_said(TASK, [written("import os\nos.abort()\n", "tests/test_ends.py")])
    assert gold and ends
    before, first, second = (fixer.outcomes(TASK, patch, [ends, gold]) for patch in (None, right, wrong))
    assert before[0] == {} and before[1] and not any(before[1].values())
    assert all(first[1].values()) and second == before


def test_refused_arguments() -> None:
    for wrong in ({"role": "judge"}, {"files": 0}, {"text": 10}, {"split": "nowhere"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(**{"role": "fixer", **wrong})  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="unknown task"):
        make("tester").find("nope")
