"""The two edit formats: what is read, what is forgiven, what is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.worlds.polyglot.edits import read_diff, read_whole, write_diff, write_whole
from forge_envs.worlds.polyglot.edits.match import Effort, Text
from forge_envs.worlds.polyglot.edits.similar import similar


def replace(whole, search, replacement):
    text = Text(whole, Effort())
    return str(text) if text.replace(search, replacement) else None


FILES = {"src/lib.rs": "fn a() {}\nfn b() {}\n", "src/util.rs": ""}


def block(search, replacement, name="src/lib.rs"):
    return f"{name}\n```rust\n<<<<<<< SEARCH\n{search}=======\n{replacement}>>>>>>> REPLACE\n```\n"


# -- whole files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        "src/lib.rs",
        "**src/lib.rs**",
        "`src/lib.rs`:",
        "### src/lib.rs",
        "# `src/lib.rs`",
        "exercise/src/lib.rs",
        "lib.rs",
        "./src/lib.rs",
    ],
)
def test_a_name_above_a_block_is_recognised_however_it_is_dressed(head):
    answer = read_whole(f"Here it is.\n\n{head}\n```rust\nfn c() {{}}\n```\nDone.", FILES)
    assert (answer.changed, answer.error) == ({"src/lib.rs": "fn c() {}\n"}, None)


def test_a_block_without_a_name_is_the_file_that_was_mentioned_or_the_only_one():
    mentioned = "I change `src/util.rs`, so:\n\n```rust\nnew\n```"
    assert read_whole(mentioned, FILES).changed == {"src/util.rs": "new\n"}
    assert read_whole("```\nnew\n```", {"a.py": "old"}).changed == {"a.py": "new\n"}
    assert "no file name" in read_whole("```\nnew\n```", FILES).error


def test_a_named_block_counts_before_a_nameless_one_and_the_first_of_a_kind_counts():
    text = "```\nexample\n```\n\na.py\n```\nfirst\n```\n\na.py\n```\nsecond\n```"
    assert read_whole(text, {"a.py": ""}).changed == {"a.py": "first\n"}


def test_a_fence_inside_a_file_does_not_end_it():
    text = 'a.py\n````python\nDOC = """\n```\ncode\n```\n"""\n````'
    assert read_whole(text, {"a.py": ""}).changed == {"a.py": 'DOC = """\n```\ncode\n```\n"""\n'}


def test_a_block_that_is_not_closed_goes_to_the_end():
    # as in Aider, which drops the blanks at the end of an answer, and with them the last end of a line
    assert read_whole("a.py\n```\nx = 1\ny = 2\n", {"a.py": ""}).changed == {"a.py": "x = 1\ny = 2"}


def test_files_that_are_not_the_agents_are_left_alone_and_that_is_said():
    cargo = "Cargo.toml\n```toml\n[dependencies]\n```\n"
    alone = read_whole(cargo, FILES)
    assert (alone.changed, alone.error) == ({}, "you may edit only src/lib.rs, src/util.rs, not Cargo.toml")
    both = read_whole(f"{cargo}\nsrc/lib.rs\n```\nnew\n```", FILES)
    assert (both.changed, both.error) == ({"src/lib.rs": "new\n"}, None)
    assert both.notes == ("Cargo.toml is not yours to edit and stays as it is.",)


@pytest.mark.parametrize("name", ["../../etc/passwd.py", "/etc/passwd.py", "tests/lib.rs.bak"])
def test_no_name_leads_outside_the_files(name):
    assert read_whole(f"{name}\n```\nx\n```", FILES).changed == {}
    assert read_diff(block("", "x\n", name), FILES).changed == {}
    assert set(read_diff(block("fn a() {}\n", "x\n", name), FILES).changed) == {"src/lib.rs"}


def test_a_file_may_be_added_where_that_is_allowed():
    text = "src/main/java/Node.java\n```java\nclass Node {}\n```"
    assert read_whole(text, {"src/main/java/A.java": ""}).changed == {}
    added = read_whole(text, {"src/main/java/A.java": ""}, lambda path: path.endswith("Node.java"))
    assert added.changed == {"src/main/java/Node.java": "class Node {}\n"}


@pytest.mark.parametrize("text", ["", "I do not know.", "Use a `dict`."])
def test_an_answer_without_a_block_is_told_how_to_write_one(text):
    assert "src/lib.rs" in read_whole(text, FILES).error
    assert "<<<<<<< SEARCH" in read_diff(text, FILES).error


@pytest.mark.parametrize("name", ["tournament.js", "t.py", "test\\t.c", "tt", "src/t.t"])
@pytest.mark.parametrize("read", [read_whole, read_diff])
def test_a_name_keeps_its_first_and_last_letters(name, read):
    files = {name: "old\n", "other.py": ""}
    write = write_whole if read is read_whole else lambda changed, fence: write_diff(changed, files, fence)
    answer = read(write({name: "new\n"}, "js"), files)
    assert (answer.changed, answer.error) == ({name: "new\n"}, None)


def test_a_line_of_prose_above_a_block_is_no_name_and_that_is_told():
    answer = read_whole("Run it with:\n```bash\npytest\n```", {"a.py": "x\n"})
    assert (
        answer.changed == {}
        and '"Run it with", is no file\'s name' in answer.error
        and "a.py" in answer.error
    )


def test_a_block_without_a_name_among_several_files_refuses_the_whole_answer():
    answer = read_whole("src/lib.rs\n```\nnew\n```\n\n```\nwhose?\n```", FILES)
    assert answer.changed == {} and "no file name" in answer.error


# -- search and replace -----------------------------------------------------------------------------


def test_a_block_replaces_the_lines_it_names():
    answer = read_diff(block("fn b() {}\n", "fn b() { a() }\n"), FILES)
    assert (answer.changed, answer.error) == ({"src/lib.rs": "fn a() {}\nfn b() { a() }\n"}, None)


def test_the_name_of_the_block_before_holds_on():
    text = block("fn a() {}\n", "A\n") + "And:\n<<<<<<< SEARCH\nfn b() {}\n=======\nB\n>>>>>>> REPLACE\n"
    assert read_diff(text, FILES).changed == {"src/lib.rs": "A\nB\n"}


def test_a_block_under_the_wrong_name_goes_to_the_file_it_fits():
    assert read_diff(block("fn a() {}\n", "A\n", "src/util.rs"), FILES).changed == {
        "src/lib.rs": "A\nfn b() {}\n"
    }


def test_an_empty_search_appends():
    assert read_diff(block("", "use x;\n", "src/util.rs"), FILES).changed == {"src/util.rs": "use x;\n"}
    assert read_diff(block("", "fn c() {}\n"), FILES).changed["src/lib.rs"].endswith("fn b() {}\nfn c() {}\n")


def test_what_fails_is_told_with_the_lines_that_were_meant_and_what_works_is_applied():
    text = block("fn a() {}\n", "A\n") + block("fn bb() {}\n", "B\n")
    answer = read_diff(text, FILES)
    assert answer.changed == {"src/lib.rs": "A\nfn b() {}\n"}
    for part in ("1 SEARCH block matched no lines", "fn bb() {}", "These are like them:\nA\nfn b() {}",
                 "The other 1 block was applied: send only what failed"):  # fmt: skip
        assert part in answer.error


def test_a_change_that_was_made_before_is_told():
    answer = read_diff(block("fn x() {}\n", "fn a() {}\n"), FILES)
    assert "The lines after ======= are in src/lib.rs already." in answer.error


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("src/lib.rs\n<<<<<<< SEARCH\nfn a() {}\n", "does not end with a line of ======="),
        (
            "src/lib.rs\n<<<<<<< SEARCH\nfn a() {}\n=======\nx\n",
            "does not end with a line of >>>>>>> REPLACE",
        ),
        ("<<<<<<< SEARCH\nfn a() {}\n=======\nx\n>>>>>>> REPLACE\n", "no file name above it"),
    ],
)
def test_a_block_that_is_not_one_is_told(text, complaint):
    answer = read_diff(text, FILES)
    assert complaint in answer.error and answer.changed == {}


MARKS = ("<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE")


@pytest.mark.parametrize(
    "marks",
    [
        tuple(f"  {mark}" for mark in MARKS),
        tuple(f"\t{mark}  " for mark in MARKS),
        (MARKS[0], MARKS[1], MARKS[1]),
        ("<<<<< SEARCH", "=====", ">>>>> REPLACE"),
        ("<<<<<<<<< SEARCH>", "=========", ">>>>>>>>> REPLACE"),
    ],
)
def test_marks_are_known_indented_with_five_to_nine_signs_and_the_last_may_be_a_divider(marks):
    text = f"src/lib.rs\n```\n{marks[0]}\nfn a() {{}}\n{marks[1]}\nA\n{marks[2]}\n```"
    assert read_diff(text, FILES).changed == {"src/lib.rs": "A\nfn b() {}\n"}
    assert read_diff(text.replace("\n", "\r\n"), FILES).changed == {"src/lib.rs": "A\nfn b() {}\n"}


@pytest.mark.parametrize("name", ["src/lib.r", "src/libb.rs", "scr/lib.rs", "```src/lib.rs", "lib.rs"])
def test_a_name_that_is_nearly_right_is_understood(name):
    assert read_diff(block("fn a() {}\n", "A\n", name), {**FILES, "src/lob.py": ""}).error is None


def test_what_is_not_written_as_a_block_refuses_the_blocks_before_it_too():
    answer = read_diff(block("fn a() {}\n", "A\n") + "<<<<<<< SEARCH\nfn b() {}\n=======\nB\n", FILES)
    assert answer.changed == {} and "no block of the answer was applied" in answer.error


def test_a_missing_mark_inside_a_block_is_told():
    text = "src/lib.rs\n<<<<<<< SEARCH\nfn a() {}\n>>>>>>> REPLACE\n" + block("fn b() {}\n", "B\n")
    assert "A line of ======= or >>>>>>> REPLACE is missing" in read_diff(text, FILES).error


def test_a_file_is_never_left_empty_and_that_is_told():
    answer = read_diff(block("x\n", "", "a.py"), {"a.py": "x\n"})
    assert answer.changed == {} and "cannot be left empty" in answer.error


def test_commands_in_a_shell_block_are_no_edits():
    assert (
        "no SEARCH/REPLACE block"
        in read_diff("```bash\n# a\n# b\n" + block("fn a() {}\n", "A\n").split("\n", 2)[2], FILES).error
    )


# -- how much an agent can ask for ------------------------------------------------------------------


def test_more_blocks_than_are_read_are_refused():
    assert "500 blocks" in read_diff(block("fn a() {}\n", "A\n") * 501, FILES).error
    assert "500 code blocks" in read_whole("src/lib.rs\n```\nx\n```\n" * 501, FILES).error


@pytest.mark.parametrize(
    ("search", "whole"),
    [
        ("x\n x\n" * 40_000, "x\n" * 100_000),
        ("  x\ny\n", "x\n  y\n" * 100_000),
        ("\n" * 200_000 + "...\nq\n", "x\n"),
        ("...\n" * 200_000, "x\n"),
        ("y\n", "x\n" * 1_000_000),
    ],
)
def test_a_search_that_would_take_too_long_is_given_up_and_told(search, whole):
    """Without a bound some of these take hours."""
    answer = read_diff(block(search, search, "a.py"), {"a.py": whole})
    assert answer.changed == {}
    assert "take too long to find" in answer.error and len(answer.error) < 10_000


def test_a_hundred_blocks_in_a_long_file_are_found():
    lines = [f"    line {number}\n" for number in range(2000)]
    text = "".join(
        block(lines[at].lstrip() + lines[at + 1].lstrip(), "x\n", "a.py") for at in range(0, 2000, 20)
    )
    answer = read_diff(text, {"a.py": "".join(lines)})
    assert answer.error is None and answer.changed["a.py"].count("    x\n") == 100


def test_a_message_does_not_grow_with_the_answer():
    text = "".join(f"f{number}.py\n```\nx\n```\n" for number in range(400))
    assert read_whole(text, FILES).error.endswith("f4.py and 395 more")
    long = "".join(block("zzz\n" * 2000, "y\n", f"{number}" * 300) for number in range(9))
    assert len(read_diff(long, FILES).error) < 10_000


# -- where lines stand -------------------------------------------------------------------------------


def test_lines_are_found_as_they_are():
    assert replace("a\nb\nc\n", "b\n", "B\n") == "a\nB\nc\n"
    assert replace("a\nb", "b", "B") == "a\nB\n"


def test_lines_are_found_with_the_indentation_left_out_and_get_it_back():
    whole = "class A:\n    def f(self):\n        return 1\n"
    found = replace(whole, "def f(self):\n    return 1\n", "def f(self):\n    return 2\n")
    assert found == "class A:\n    def f(self):\n        return 2\n"


def test_lines_are_found_with_too_much_indentation():
    assert replace("x = 1\ny = 2\n", "    x = 1\n    y = 2\n", "    x = 3\n") == "x = 3\n"


def test_an_uneven_indentation_is_another_text():
    assert replace("if a:\n        b\n", "if a:\n    b\n", "c\n") is None
    assert replace("  xy\n", "    xy\n", "z\n") is None  # Aider copies "  x" before the z


def test_a_blank_first_line_is_dropped():
    assert replace("a\nb\n", "\na\nb\n", "c\n") == "c\n"


def test_an_elision_stands_for_what_is_left_out():
    whole = "def f():\n    one()\n    two()\n    three()\n    return 1\n"
    found = replace(whole, "def f():\n...\n    return 1\n", "def g():\n...\n    return 2\n")
    assert found == "def g():\n    one()\n    two()\n    three()\n    return 2\n"
    assert replace("a\na\nb\n", "a\n...\nb\n", "c\n...\nb\n") is None  # which a is meant?


def test_nothing_else_is_guessed():
    assert replace("a\nb\n", "A\n", "c\n") is None
    assert similar("completely\ndifferent\n", "xyz\n") == ""


LINES = st.lists(
    st.text(st.characters(codec="ascii", exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e"), max_size=8)
)
TEXTS = LINES.map(lambda lines: "".join(f"{line}\n" for line in lines))


@given(LINES, st.data())
def test_any_lines_of_a_file_can_be_replaced(lines, data):
    start = data.draw(st.integers(0, len(lines)))
    end = data.draw(st.integers(start, len(lines)))
    whole, search = ("".join(f"{line}\n" for line in part) for part in (lines, lines[start:end]))
    if search:
        assert replace(whole, search, search) == whole


@given(st.dictionaries(st.sampled_from(["a.py", "src/b.py", "c.h"]), TEXTS, min_size=1))
def test_whole_files_are_read_as_they_were_written(files):
    assert read_whole(write_whole(files, "python"), files).changed == files


@given(TEXTS, TEXTS.filter(lambda text: not any(mark in text for mark in ("=====", "SEARCH", "REPLACE"))))
def test_a_file_that_is_searched_for_as_a_whole_is_replaced(old, new):
    if any(mark in old for mark in ("=====", "SEARCH", "REPLACE")) or not old.strip() or old == new:
        return
    if not new:
        return  # no block leaves a file empty
    answer = read_diff(write_diff({"a.py": new}, {"a.py": old}, "python"), {"a.py": old})
    assert (answer.changed, answer.error) == ({"a.py": new}, None)


@given(
    st.text(),
    st.sampled_from(["", "src/lib.rs\n", "```\n", "<<<<<<< SEARCH\n", "=======\n", ">>>>>>> REPLACE\n"]),
)
def test_any_text_is_an_answer(text, mark):
    for read in (read_whole, read_diff):
        answer = read(f"{text}{mark}{text}", FILES)
        assert set(answer.changed) <= set(FILES)
        assert answer.error is None or answer.error
