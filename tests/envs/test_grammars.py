import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forge_envs.grammars import BASH, GRAMMARS, HERMES
from forge_envs.messages import ToolCall

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TAGS = ("<tool_call>", "</tool_call>", "<think>", "</think>")
CALLS = st.builds(ToolCall, st.text(), st.dictionaries(st.text() | st.sampled_from(TAGS), JSON, max_size=3))
PROSE = st.text().map(str.strip).filter(lambda p: not any(tag in p for tag in (*TAGS, "```bash")))
PIECES = (
    *TAGS,
    "```bash\n",
    "\n```",
    '{"name": "a"}',
    '{"name": "a", "arguments": {"b": [1]}}',
    "\ud800",
    "{",
    "\n",
)
ANYTHING = st.lists(st.sampled_from(PIECES) | st.text(st.characters())).map("".join)


@given(PROSE, st.lists(CALLS, max_size=3))
@example("", [ToolCall("a", {"b": "</tool_call><think>"})])
def test_hermes_reads_what_it_wrote(prose, calls):
    action = HERMES.parse(HERMES.write(prose, calls))
    assert (action.prose, action.calls, action.error) == (prose, tuple(calls), None)


@given(PROSE, st.text().filter(lambda c: "\n```" not in f"\n{c}" and "think>" not in c))
@example("why", "")
@example("", "cat <<EOF\n ```python\nEOF\n")
def test_bash_reads_what_it_wrote(prose, command):
    action = BASH.parse(BASH.write(prose, [ToolCall("bash", {"command": command})]))
    assert (action.prose, action.calls, action.error) == (
        prose,
        (ToolCall("bash", {"command": command}),),
        None,
    )


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=list(GRAMMARS))
@given(text=ANYTHING)
def test_any_text_is_read_and_an_error_means_that_nothing_runs(grammar, text):
    action = grammar.parse(text)
    assert not (action.error and action.calls)
    for part in (action.prose, action.error or "", *(call.name for call in action.calls)):
        part.encode()  # half a surrogate pair would stop every tokenizer


@pytest.mark.parametrize(
    ("text", "prose", "names"),
    [
        ("hello", "hello", []),
        ("", "", []),
        ("<think>secret <tool_call></think> hello", "hello", []),
        ("<think>never ends <tool_call>", "", []),
        ("opened in the prompt</think>hello", "hello", []),
        ("a</think>b<think>c</think>d", "bd", []),
        ('a<tool_call>{"name": "x"}</tool_call>b<tool_call>{"name": "y"}</tool_call>', "ab", ["x", "y"]),
        ('<tool_call>{"name": "x", "arguments": {}, "id": 7}</tool_call>', "", ["x"]),
    ],
)
def test_hermes_takes_prose_and_calls_apart(text, prose, names):
    action = HERMES.parse(text)
    assert (action.prose, [call.name for call in action.calls], action.error) == (prose, names, None)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"name": "a", "arguments": {"b": NaN}}', "NaN is not JSON"),
        ('{"name": "a", "arguments": {"b": "\\ud800"}}', "surrogate"),
        ("[]", '"name"'),
        ('{"name": 1}', '"name"'),
        ('{"name": "a", "arguments": "b"}', "must be an object"),
        ('{"name": "a", "arguments": ' + '{"a":' * 40 + "1" + "}" * 41, "nested"),
    ],
)
def test_hermes_says_why_a_call_cannot_be_read_and_then_none_runs(body, hint):
    action = HERMES.parse(f'ok <tool_call>{{"name": "good"}}</tool_call><tool_call>{body}</tool_call>')
    assert hint in action.error
    assert action.calls == ()
    assert action.prose == "ok"


def test_hermes_misses_the_end_of_a_call():
    assert "not closed" in HERMES.parse('<tool_call>{"name": "a"}').error


def test_wide_arguments_are_not_deep_ones():
    call = ToolCall("a", {"rows": [{"n": i} for i in range(100)]})
    assert HERMES.parse(HERMES.write(calls=[call])).calls == (call,)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ls", "has no"),
        ("```bash\nls\n```\n```bash\npwd\n```", "has 2"),
        ("```bash\nls", "not closed"),
        ("```bash\necho ```", "not closed"),
    ],
)
def test_bash_wants_exactly_one_block(text, hint):
    assert hint in BASH.parse(text).error


def test_what_a_grammar_has_no_words_for_is_refused():
    with pytest.raises(ValueError, match="tags"):
        HERMES.write("say <tool_call>")
    with pytest.raises(ValueError):
        HERMES.write(calls=[ToolCall("a", {"b": float("nan")})])
    with pytest.raises(ValueError, match="exactly one call"):
        BASH.write("hello")
    with pytest.raises(ValueError, match="exactly one call"):
        BASH.write(calls=[ToolCall("sh", {"command": "ls"})])
    for prose, command in (
        ("", "a\n```\nb"),
        ("```bash\n", "ls"),
        ("", "grep '</think>' log"),
        ("<think>", "ls"),
    ):
        with pytest.raises(ValueError, match="a fence or a thought"):
            BASH.write(prose, [ToolCall("bash", {"command": command})])


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=list(GRAMMARS))
@pytest.mark.parametrize("piece", [*PIECES, "x```bash\n"], ids=repr)
def test_a_megabyte_is_read_in_linear_time(grammar, piece):
    text = piece * (1_000_000 // len(piece))
    start = time.perf_counter()
    grammar.parse(text)
    assert time.perf_counter() - start < 5  # quadratic would take minutes
