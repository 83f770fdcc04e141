"""A checkout of the Aider polyglot benchmark: what is read, what is refused. The one here is made up."""

import json

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  (registers the world)
from forge_envs.errors import TaskError
from forge_envs.worlds.polyglot.checkout import Checkout, split_of
from forge_envs.worlds.polyglot.gaps import GAPS, NO_EXAMPLE


def put(root, language, name, files, lists, docs=("instructions.md",)):
    folder = root / language / "exercises" / "practice" / name
    for path, text in {**files, **{f".docs/{doc}": f"{doc} of {name}" for doc in docs}}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / ".meta").mkdir(exist_ok=True)
    (folder / ".meta/config.json").write_text(json.dumps({"files": lists}))
    return folder


PYTHON = {
    "pair.py": "def pair(): ...\n",
    "pair_test.py": "def test_pair(): ...\n",
    ".meta/example.py": "def pair(): return 2\n",
}
LISTS = {"solution": ["pair.py"], "test": ["pair_test.py"], "example": [".meta/example.py"]}


@pytest.fixture
def root(tmp_path):
    put(
        tmp_path,
        "python",
        "pair",
        PYTHON,
        LISTS,
        ("introduction.md", "instructions.md", "instructions.append.md"),
    )
    rust = {
        "src/lib.rs": "", "Cargo.toml": "[package]", "tests/pair.rs": "#[test]\nfn a() {}",
        ".meta/example.rs": "pub fn a() {}", ".meta/Cargo-example.toml": "[dependencies]",
    }  # fmt: skip
    put(tmp_path, "rust", "pair", rust, {
        "solution": ["src/lib.rs", "Cargo.toml"], "test": ["tests/pair.rs"], "example": [".meta/example.rs"],
    })  # fmt: skip
    java = {
        "src/main/java/Pair.java": "class Pair {}", "src/main/java/Given.java": "class Given {}",
        "src/test/java/PairTest.java": "@Test void a() {}", "gradlew": "#!/bin/sh", "build.gradle": "plugins",
        ".meta/src/reference/java/Pair.java": "class Pair { int a; }",
        ".meta/src/reference/java/Helper.java": "class Helper {}",
        ".meta/src/reference/java/Given.java": "class Given { int changed; }",
    }  # fmt: skip
    put(tmp_path, "java", "pair", java, {
        "solution": ["src/main/java/Pair.java"], "test": ["src/test/java/PairTest.java"],
        "example": [path for path in java if path.startswith(".meta")],
        "editor": ["src/main/java/Given.java"],
    })  # fmt: skip
    return tmp_path


def test_an_exercise_is_read_with_what_is_asked_what_is_given_and_what_is_hidden(root):
    task = Checkout(root).find("aider/python/pair")
    assert (
        task.prompt == "introduction.md of pair\n\ninstructions.md of pair\n\ninstructions.append.md of pair"
    )
    assert (task.stubs, task.example) == (
        {"pair.py": PYTHON["pair.py"]},
        {"pair.py": PYTHON[".meta/example.py"]},
    )
    assert task.tests == {"pair_test.py": PYTHON["pair_test.py"]} and task.support == {}


def test_build_files_are_never_the_agents(root):
    task = Checkout(root).find("aider/rust/pair")
    assert list(task.stubs) == ["src/lib.rs"] and task.support == {"Cargo.toml": b"[package]"}
    assert task.example == {"src/lib.rs": "pub fn a() {}"}


def test_files_that_are_given_stay_and_helpers_of_the_reference_are_added(root):
    task = Checkout(root).find("aider/java/pair")
    assert set(task.support) == {"src/main/java/Given.java", "build.gradle"}
    assert set(task.example) == {"src/main/java/Pair.java", "src/main/java/Helper.java"}


def test_the_name_decides_the_split_in_every_language(root):
    names = [f"exercise-{i}" for i in range(40)]
    for name in names:
        for language in ("python", "go"):
            put(root, language, name, PYTHON, LISTS)
    checkout = Checkout(root)
    train, test = (checkout.ids("python", split) for split in ("train", "test"))
    assert len(train) + len(test) == 41 and 10 < len(train) < 31
    assert {split_of(task.rpartition("/")[2]) for task in train} == {"train"}
    assert [task.replace("go", "python") for task in checkout.ids("go", "test")] == [
        task for task in test if not task.endswith("/pair")
    ]


def test_what_cannot_be_played_is_left_out_with_its_reason_and_what_has_no_solution_comes_last(root):
    solved = {"a.rs": "", "tests/a.rs": "#[test]\nfn a() {}", ".meta/example.rs": "use counter::Counter;"}
    lists = {"solution": ["a.rs"], "test": ["tests/a.rs"], "example": [".meta/example.rs"]}
    for full in (*GAPS, *NO_EXAMPLE):
        put(root, *full.split("/"), solved, lists)
    checkout = Checkout(root)
    assert checkout.ids("go") == []
    with pytest.raises(TaskError, match=r"go/counter.*cannot be played: it asks for tests"):
        checkout.find("aider/go/counter")
    assert checkout.ids("rust")[0] == "aider/rust/pair"
    assert checkout.ids("rust")[1:] == [f"aider/{name}" for name in sorted(NO_EXAMPLE)]
    assert checkout.find("aider/rust/poker").example == {}


def test_a_task_without_a_known_solution_has_no_gold(root):
    put(root, "rust", "poker", {"a.rs": "", "tests/a.rs": "#[test]\nfn a() {}"},
        {"solution": ["a.rs"], "test": ["tests/a.rs"]})  # fmt: skip
    env = gym.make("Forge/Polyglot-v0", source=str(root), language="rust").unwrapped
    with pytest.raises(TaskError, match=r"poker.*its reference needs counter"):
        env.gold_actions("aider/rust/poker")


@pytest.mark.parametrize(
    ("files", "lists", "docs", "complaint"),
    [
        (PYTHON, {**LISTS, "test": []}, ("instructions.md",), "has no test files"),
        (PYTHON, {**LISTS, "solution": []}, ("instructions.md",), "has no solution files"),
        (
            {**PYTHON, "pair_test.py": "x = 1"},
            LISTS,
            ("instructions.md",),
            "has no tests: none is in pair_test.py",
        ),
        ({**PYTHON, "pair_test.py": "def ("}, LISTS, ("instructions.md",), "pair_test.py"),
        (PYTHON, {**LISTS, "test": ["gone_test.py"]}, ("instructions.md",), "lacks gone_test.py"),
        (PYTHON, LISTS, (), "has no instructions"),
        (PYTHON, ["no", "lists"], ("instructions.md",), "config.json cannot be read"),
    ],
)
def test_a_broken_exercise_is_named(tmp_path, files, lists, docs, complaint):
    put(tmp_path, "python", "pair", files, lists, docs)
    with pytest.raises(TaskError, match=complaint) as caught:
        Checkout(tmp_path).find("aider/python/pair")
    assert "pair" in str(caught.value)


@pytest.mark.parametrize(
    "task", ["aider/python/none", "aider/cobol/pair", "aider/python/../pair", "pair", "", "forge/python/pair"]
)
def test_an_unknown_task_is_named(root, task):
    with pytest.raises(TaskError, match=r"unknown task .*aider/python/book-store"):
        Checkout(root).find(task)


def test_a_folder_that_is_no_checkout_is_refused_with_the_command_that_makes_one(tmp_path):
    for place, why in ((tmp_path / "none", "no such folder"), (tmp_path, "is no checkout")):
        with pytest.raises(ValueError, match=f"{why}.*git clone"):
            gym.make("Forge/Polyglot-v0", source=str(place))
    (tmp_path / "go/exercises/practice").mkdir(parents=True)
    with pytest.raises(TaskError, match="has no python"):
        Checkout(tmp_path).ids("python")
