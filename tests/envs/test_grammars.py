# ruff: noqa: E501 (texts of formats stand on one line each)
"""What every grammar promises: it reads what it wrote, any text in linear time, and says what is wrong."""

import json
import pickle
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forge_envs.grammars import (
    BASH,
    GRAMMARS,
    HERMES,
    MOST_CALLS,
    grammar_names,
    grammar_of,
    register_grammar,
)
from forge_envs.grammars import registry as grammar_registry
from forge_envs.messages import Action, ToolCall
from tests.envs.grammar_cases import ARGUMENTS, JSON, NAMES, TAGS, TEXT, as_json, schemas_of

SPEAKING = [name for name in GRAMMARS if name != "bash"]
CALLS = st.lists(st.builds(ToolCall, NAMES, ARGUMENTS), max_size=3, unique_by=lambda call: call.name)
OF_FORMATS = (*"<[{`", "to=", "]~b]", "\ufeff")
"""What stands in some format's calls or before an action: Hypothesis takes such texts from the code it tests."""
PROSE = TEXT.map(str.strip).filter(lambda text: not any(mark in text for mark in OF_FORMATS))
PIECES = (
    *TAGS, *(mark for grammar in GRAMMARS.values() for mark in grammar.marks), "```bash\n", "\n```", "<<EOF\n",
    '{"name": "a"}', '{"name": "a", "arguments": {"b": [1]}}', "\ud800", "{", '["', "\n", "[ARGS]", "<|message|>",
    "<arg_key>k</arg_key><arg_value>", "<parameter=k>", "to=functions.a", '{"name":"a","parameters":', "; ",
)  # fmt: skip
ANYTHING = st.lists(st.sampled_from(PIECES) | st.text(st.characters(), max_size=4)).map("".join)
LOOK = ToolCall("look", {"item": "an apple", "many": 2})


def read(grammar, text):
    """Names and arguments of the calls in a text that must be read."""
    action = grammar_of(grammar).parse(text)
    assert action.error is None, action.error
    return [(call.name, call.arguments) for call in action.calls]


# -- writing and reading -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPEAKING)
@given(prose=PROSE, calls=CALLS)
@example(prose="", calls=[ToolCall("a", {"b": "</tool_call><think>"})])
@example(
    prose="Yes", calls=[ToolCall("a", {"b": "1", "c": "null", "d": None, "e": [], "f": ' "x" ', "g": "\n"})]
)
def test_what_a_grammar_wrote_it_reads_or_it_refuses_to_write(name, prose, calls):
    grammar = grammar_of(name).for_tools(schemas_of(calls))
    try:
        text = grammar.write(prose, calls)
    except ValueError:
        assert name in ("qwen_xml", "glm") and any("</" in str(call) for call in calls)
        return
    action = grammar.parse(text)
    assert (action.prose, as_json(action.calls), action.error) == (prose, as_json(calls), None)


@given(
    prose=TEXT.map(str.strip),
    calls=st.lists(st.builds(ToolCall, TEXT, st.dictionaries(TEXT, JSON)), max_size=2),
)
@pytest.mark.parametrize("name", GRAMMARS)
def test_whatever_is_written_is_read_back(name, prose, calls):
    grammar = grammar_of(name)
    try:
        text = grammar.write(prose, calls)
    except ValueError:
        return
    action = grammar.parse(text)
    assert (action.prose, as_json(action.calls), action.error) == (prose, as_json(calls), None)


@given(PROSE, st.text().filter(lambda c: "```" not in c and "think>" not in c and "<<" not in c))
@example("why", "")
@example("", "cat <<EOF\n ```python\nEOF\n")
@example("", "cat > a.md <<'EOF'\n```\nx\n```\nEOF\nls")
@example("", "echo '</think>'")
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


def test_what_a_grammar_has_no_words_for_is_refused():
    for prose, calls in (
        ("say <tool_call>", []),
        ("<think>", []),
        ('{"name": "a", "arguments": {}}', []),
        ("", [ToolCall("a", {"b": float("nan")})]),
        ("", [ToolCall("a", {"b": "\ud800"})]),
        ("", [ToolCall("a", {"b": 10**100})]),
        ("", [ToolCall("a", {})] * (MOST_CALLS + 1)),
    ):
        with pytest.raises(ValueError):
            HERMES.write(prose, calls)
    with pytest.raises(ValueError, match="exactly one call"):
        BASH.write("hello")
    with pytest.raises(ValueError, match="exactly one call"):
        BASH.write(calls=[ToolCall("sh", {"command": "ls"})])
    for prose, command in (("", "a\n```\nb"), ("```bash\n", "ls"), ("<think>", "ls")):
        with pytest.raises(ValueError, match="a fence or a thought"):
            BASH.write(prose, [ToolCall("bash", {"command": command})])


# -- any text, in linear time --------------------------------------------------------------------------

NESTED = '{"name": "a", "arguments": ' + '{"a":' * 500 + "1" + "}" * 501
HOSTILE = (
    *PIECES, "x```bash\n", "```a\n", "<<A\n```a\n", "'\n```\n", '"\\', "<tool_call>\n", "</think><tool_call>{",
    '<tool_call>{"name": "a", "arguments": {}}</tool_call>', '<tool_call>{"name": "a", "x": "', "<tool_call>[",
    "<tool_call>" + NESTED, "</arg_value> ", "</parameter>\n", "\n</parameter>", '<think>"', "[TOOL_CALLS][[",
    "<|channel|>analysis<|message|>", " ", '{"a":1}', "(?<", '{"name":"', "<|start|>assistant", "\\u", '"a":1,',
)  # fmt: skip
HEADS = (
    "", "<think>", "</think>", "<tool_call>", '<tool_call>{"name": "a", "arguments": {"b": "', "```bash\n",
    "<tool_call>a<arg_key>b</arg_key><arg_value>", "<tool_call><function=a><parameter=b>", "[TOOL_CALLS][",
    "<|channel|>commentary to=functions.a<|message|>{", '{"name":"a","parameters":{', "<|tool_call_begin|>a",
)  # fmt: skip


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=list(GRAMMARS))
def test_a_megabyte_is_read_in_linear_time(grammar):
    slowest = []
    for head in HEADS:
        for piece in HOSTILE:
            size = 1_000_000 if head == "" else 50_000
            text = head + piece * (size // len(piece)) + ("</think>" if head == "<tool_call>" else "")
            start = time.perf_counter()
            grammar.parse(text)
            slowest.append((time.perf_counter() - start, head, piece))
    assert max(slowest)[0] < 5, max(slowest)  # quadratic would take minutes


# -- thoughts ------------------------------------------------------------------------------------------

GREP = '{"name": "bash", "arguments": {"command": "grep \'</think>\' ."}}'


@pytest.mark.parametrize(
    ("text", "prose", "names"),
    [
        ("hello", "hello", []),
        ("", "", []),
        ("<think>secret <tool_call></think> hello", "hello", []),
        ("<think>never ends <tool_call>", "", []),
        ("opened in the prompt</think>hello", "hello", []),
        ("the tag </think> ends a thought, but not this one.</think>hello", "hello", []),
        ("<think>the tag </think> ends a thought.</think>hello", "hello", []),
        ("I open with <think>, I close with </think>.</think>hello", "hello", []),
        ("I open with <think>.</think>hello", "hello", []),
        ("hello <think>never ends", "hello", []),
        (f"I could <tool_call>{GREP}</tool_call>.</think>hello", "hello", []),
        (f"I write <tool_call>.</think><tool_call>{GREP}</tool_call>", "", ["bash"]),
        (f"<think>ls?</think><tool_call>{GREP}</tool_call>", "", ["bash"]),
        (f"ls?</think>Let me see. <tool_call>{GREP}</tool_call>", "Let me see.", ["bash"]),
        ("a.py\n```\nprint('<think>')\nprint('</think>')\n```", "a.py\n```\nprint('<think>')\nprint('</think>')\n```", []),
        ("so</think>a.py\n```\n'</think>'\n```", "a.py\n```\n'</think>'\n```", []),
        ("let me draft\n```\nx = 1</think>Done.", "Done.", []),
        ('a<tool_call>{"name": "x"}</tool_call>b<tool_call>{"name": "y"}</tool_call>', "ab", ["x", "y"]),
    ],
)  # fmt: skip
def test_thoughts_end_where_the_action_begins(text, prose, names):
    action = HERMES.parse(text)
    assert (action.prose, [call.name for call in action.calls], action.error) == (prose, names, None)


@pytest.mark.parametrize("tag", [*TAGS, "<think>a</think>"])
@pytest.mark.parametrize("name", GRAMMARS)
def test_a_tag_inside_a_value_is_a_value(name, tag):
    value = f"grep '{tag}' ."
    call = ToolCall("bash", {"command": value})
    text = {
        "hermes": f'<tool_call>{{"name": "bash", "arguments": {json.dumps({"command": value})}}}</tool_call>',
        "bash": f"```bash\n{value}\n```",
    }.get(name) or grammar_of(name).for_tools(schemas_of([call])).write("", [call])
    if name == "bash" and tag == "\n```\n":
        assert "inside a quoted text" in BASH.parse(text).error
        return
    for thought in ("", "<think>Hm.</think>", "Hm.</think>"):
        action = grammar_of(name).for_tools(schemas_of([call])).parse(thought + text)
        assert (action.error, action.calls, action.prose) == (None, (call,), "")


# -- calls that are not well made ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"name": "a", "arguments": {"b": NaN}}', "NaN is not JSON"),
        ('{"name": "a", "arguments": {"b": 1e999}}', "too large"),
        ('{"name": "a", "arguments": {"b": ' + "1" * 4300 + "}}", "4300 digits"),
        ('{"name": "a", "arguments": {"b": -' + "1" * 5000 + "}}", "digits"),
        ('{"name": "a", "arguments": {"b": "\\ud800"}}', "surrogate"),
        ("[]", '"name"'),
        ('{"name": 1}', '"name"'),
        ('{"name": "a", "parameters": {}}', "'parameters'"),
        ('{"name": "submit", "oops": {}}', "'oops'"),
        ('{"name": "a", "arguments": {}, "id": 7}', "'id'"),
        ('{"name": "a", "name": "b"}', "'name' stands twice"),
        ('{"name": "a", "arguments": {"b": 1, "b": 2}}', "'b' stands twice"),
        ('{"name": "a", "arguments": {"b": [{"c": 1, "c": 1}]}}', "'c' stands twice"),
        ('{"name": "a", "arguments": "b"}', "must be an object"),
        ('{"name": "a", "arguments": "{\\"b\\": 1}"}', "leave out the quotes"),
        ('{"name": "a", "arguments": ' + '{"a":' * 40 + "1" + "}" * 41, "nested"),
        ('{"name": "a", "arguments": {"b": 1,}}', "no comma"),
        ("{'name': 'a'}", "double quotes"),
        ('{"name": "a", "arguments": {"b": True}}', "true, false"),
        ('{"name": "a", "arguments": {"b": "x\ny"}}', "\\n"),
        ('```json\n{"name": "a"}\n```', "no ```"),
        ('{"name": "a"}{"name": "b"}', "for each call"),
        ('{"name": "a"} and so on', "more after the object"),
    ],
)
def test_hermes_says_why_a_call_cannot_be_read_and_then_none_runs(body, hint):
    action = HERMES.parse(f'ok <tool_call>{{"name": "good"}}</tool_call><tool_call>{body}</tool_call>')
    assert hint in action.error and HERMES.example in action.error
    assert action.calls == ()
    assert action.prose == "ok"


def test_hermes_misses_the_end_of_a_call():
    assert "not closed" in HERMES.parse('<tool_call>{"name": "a"}').error


@pytest.mark.parametrize("name", SPEAKING)
def test_an_action_has_so_many_calls_and_no_more(name):
    grammar = grammar_of(name)
    most = grammar.write("", [LOOK] * MOST_CALLS)
    assert len(grammar.parse(most).calls) == MOST_CALLS
    for more in (most + grammar.write("", [LOOK]), grammar.write("", [LOOK]) * 20_000):
        action = grammar.parse(more)
        assert action.calls == () and f"at most {MOST_CALLS} calls" in action.error


def test_wide_arguments_are_not_deep_ones():
    call = ToolCall("a", {"rows": [{"n": i} for i in range(100)]})
    assert HERMES.parse(HERMES.write(calls=[call])).calls == (call,)


# -- calls in another format ---------------------------------------------------------------------------


@pytest.mark.parametrize("theirs", SPEAKING)
@pytest.mark.parametrize("ours", GRAMMARS)
def test_a_call_in_another_format_is_told_and_not_spoken(ours, theirs):
    grammar, text = grammar_of(ours), grammar_of(theirs).write("", [LOOK])
    if ours == theirs:
        assert grammar.parse(text).calls
        return
    action = grammar.parse(text)
    assert action.calls == () and action.error
    assert f"reads {ours}" in action.error and (theirs in action.error or theirs == "llama")


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "look", "parameters": {"item": "a"}}',
        '{"name": "look", "arguments": {}}',
        '[{"name": "look", "arguments": {}}]',
        '{"name": "look", "parameters": {"item": "a"}',
        '```json\n{"name": "look", "arguments": {}}\n```',
        '{"type": "function", "function": {"name": "look", "arguments": "{}"}}',
        '{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}',
        '<|python_tag|>look.call(item="a")',
        '[TOOL_CALLS] [{"name": "look", "arguments": {}}]',
        '<invoke name="look">',
    ],
)
def test_hermes_knows_calls_of_every_family(text):
    action = HERMES.parse(text)
    assert "this world reads hermes" in action.error and action.prose == ""


@pytest.mark.parametrize("name", SPEAKING)
@pytest.mark.parametrize(
    "text",
    [
        'prose that contains {"a":1}',
        '{"a": 1}',
        '{"name": "Ann", "age": 3}',
        '[{"name": "Ann"}, {"name": "Bob"}]',
        "[1] see the note",
        "Use <b>bold</b> and 3 < 4, or `ls`.",
        "```python\nprint({'name': 'a'})\n```",
        "```bash\nls\n```",
        "I will call the function; the parameters are fine.",
        "<s>was 10</s> now 9",
        "{}",
        "[]",
    ],
)
def test_prose_is_no_call(name, text):
    assert grammar_of(name).parse(text) == Action(text)


# -- what each family writes, as facts of its format ---------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "calls"),
    [
        ("mistral", '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}, "id": "abcdefghi"}]</s>', [("f", {"a": 1})]),
        ("mistral", '[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{}</s>', [("f", {"a": 1}), ("g", {})]),
        ("mistral", '[TOOL_CALLS]f{"a": 1}', [("f", {"a": 1})]),
        ("mistral", 'f[ARGS]{"a": 1}', [("f", {"a": 1})]),
        ("mistral", '[{"name": "f", "arguments": {}}]', [("f", {})]),
        ("mistral", '[THINK]f?[/THINK][TOOL_CALLS]f[ARGS]{"a": "[/THINK]"}', [("f", {"a": "[/THINK]"})]),
        ("llama", '<|python_tag|>{"name": "f", "parameters": {"a": 1}}<|eom_id|>', [("f", {"a": 1})]),
        ("llama", '{"type": "function", "name": "f", "parameters": {}}<|eot_id|>', [("f", {})]),
        ("llama", '{"name": "f", "parameters": {}}; {"name": "g", "arguments": {}}', [("f", {}), ("g", {})]),
        ("llama", 'I look.\n{"name": "f", "parameters": {}}', [("f", {})]),
        ("deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g"
         '<｜tool▁sep｜>{"a": "```"}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>', [("f", {}), ("g", {"a": "```"})]),
        ("kimi", "<think>f?</think><|tool_calls_section_begin|><|tool_call_begin|>functions.f:3"
         "<|tool_call_argument_begin|>{}<|tool_call_end|><|im_end|>", [("f", {})]),
        ("harmony", '<|channel|>analysis<|message|>f?<|end|><|start|>assistant<|channel|>commentary to=functions.f '
         '<|constrain|>json<|message|>{"a": "<|call|>"}<|call|>', [("f", {"a": "<|call|>"})]),
        ("harmony", " to=functions.f<|channel|>commentary json<|message|>{}", [("f", {})]),
        ("glm", "\n<think></think>\n<tool_call>f<arg_key>a</arg_key><arg_value>[1]</arg_value></tool_call><|observation|>",
         [("f", {"a": [1]})]),
        ("qwen_xml", "<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call><|im_end|>", [("f", {"a": 1})]),
        ("qwen_xml", "<tool_call>\n<function=f>\n<parameter=a>x</parameter>\n</function>\n</tool_call>", [("f", {"a": "x"})]),
        ("hermes", '<tool_call>{"name": "f"}</tool_call><|im_end|>\n', [("f", {})]),
    ],
)  # fmt: skip
def test_forms_that_engines_and_generations_leave(name, text, calls):
    assert read(name, text) == calls


@pytest.mark.parametrize(
    ("name", "text", "prose"),
    [
        ("hermes", "Good bye.<|im_end|>", "Good bye."),
        ("llama", "Good bye.<|eot_id|>", "Good bye."),
        ("mistral", "Good bye.</s>", "Good bye."),
        ("kimi", "<think>so</think>Good bye.<|im_end|>", "Good bye."),
        ("harmony", "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final<|message|>Good bye.<|return|>", "Good bye."),
        ("harmony", "<|channel|>commentary<|message|>I look.<|end|>", "I look."),
        ("harmony", "Good bye.", "Good bye."),
    ],
)  # fmt: skip
def test_the_end_of_a_turn_is_not_spoken(name, text, prose):
    assert grammar_of(name).parse(text) == Action(prose)


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("harmony", "analysisI think.assistantfinalHello", "special tokens"),
        ("harmony", "<|channel|>final<|message|>Hi<|end|><|start|>user<|message|>Hi", "another's"),
        ("harmony", "<|channel|>commentary to=functions.f<|message|>{} so", "<|call|>"),
        ("llama", '<|python_tag|>brave_search.call(query="a")', "JSON object"),
        ("llama", '{"name": "f", "parameters": {"a": 1}', "not JSON"),
        ("llama", '{"name": "f", "parameters": {}, "arguments": {}}', "'parameters'"),
        ("mistral", "[TOOL_CALLS]", "name"),
        ("mistral", "[TOOL_CALLS][]", "no call"),
        ("mistral", '[TOOL_CALLS]f[ARGS]"a"', "must be an object"),
        ("kimi", "<|tool_call_begin|>functions.f:0{}", "<|tool_call_argument_begin|>"),
        ("deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n{}<｜tool▁call▁end｜>", "```json"),
        ("glm", "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>a</arg_key>\n<arg_value>2</arg_value>\n</tool_call>", "stands twice"),
        ("glm", "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1", "closed"),
        ("qwen_xml", "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>", "</tool_call>"),
        ("qwen_xml", "<tool_call>\n<function=f>\n<parameter=a>\n1\n</function>\n</tool_call>", "closed"),
    ],
)  # fmt: skip
def test_each_family_is_told_what_is_wrong(name, text, hint):
    action = grammar_of(name).parse(text)
    assert action.calls == () and hint in action.error


def test_bare_values_are_of_the_type_that_the_tool_declares():
    kinds = {
        "zip": {"type": "string"},
        "count": {"type": "integer"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "sure": {"type": "boolean"},
        "rows": {"type": "array", "items": {"type": "string"}},
        "unit": {"enum": ["a", "b"]},
    }
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": kinds}}}]
    values = {
        "zip": "01234",
        "count": "2",
        "note": "None",
        "sure": "True",
        "rows": '["</arg_value></tool_call>"]',
        "unit": "a",
    }
    wanted = {
        "zip": "01234",
        "count": 2,
        "note": None,
        "sure": True,
        "rows": ["</arg_value></tool_call>"],
        "unit": "a",
    }
    glm = "".join(
        f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in values.items()
    )
    (call,) = grammar_of("glm").for_tools(tools).parse(f"<tool_call>f\n{glm}</tool_call>").calls
    assert call.arguments == wanted
    with pytest.raises(ValueError, match="cannot say this"):
        grammar_of("glm").for_tools(tools).write(calls=[ToolCall("f", {"note": "None"})])
    (call,) = grammar_of("glm").parse(f"<tool_call>f\n{glm}</tool_call>").calls  # nothing is known
    assert (
        call.arguments["zip"] == "01234" and call.arguments["note"] == "None" and call.arguments["count"] == 2
    )


# -- bash ----------------------------------------------------------------------------------------------

PAGE = "cat > a.md <<'EOF'\n# Use\n```python\nx = 1\n```\nEOF"


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (f"```bash\n{PAGE}\n```", PAGE),
        (f"I write.\n\n```bash\n{PAGE}\n```\nThen I see\n```\nno errors\n```", PAGE),
        ("```bash\ncat <<-END > a\n```\nx\n```\n\tEND\nls\n```", "cat <<-END > a\n```\nx\n```\n\tEND\nls"),
        ("```bash\ncat <<EOF > a\n```bash\nls\n```\nEOF\n```", "cat <<EOF > a\n```bash\nls\n```\nEOF"),
        ("```bash\r\nls\r\npwd\r\n```\r\n", "ls\npwd"),
        ("```bash  \nls\n```", "ls"),
        ("```mswea_bash_command\nls\n```", "ls"),
        ("```bash\necho $((1 <<n))\n```\nand\n```\nx\n```", "echo $((1 <<n))"),
        ('```bash\necho "</think>"\n```', 'echo "</think>"'),
        ('hm</think>\n```bash\necho "</think>"\n```', 'echo "</think>"'),
        ("<think>I could\n```bash\nrm -rf /\n```\n</think>```bash\nls\n```", "ls"),
        ("```bash\necho don\\'t # don't\n```\n```\nx\n```", "echo don\\'t # don't"),
        ("```bash\nls\n```<|im_end|>", "ls"),
    ],
)
def test_bash_reads_a_block_to_its_own_end(text, command):
    action = BASH.parse(text)
    assert (action.error, action.calls) == (None, (ToolCall("bash", {"command": command}),))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ls", "has no"),
        ("```bash\nls\n```\n```bash\npwd\n```", "has 2"),
        ("```bash\nls", "not closed"),
        ("```bash\necho ```", "not closed"),
        ("```sh\nls\n```", "```sh is not read"),
        ("```bash\npython -c '\nprint(1)\n```\nx\n```\n'\n```", "inside a quoted text"),
        ('<tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>', "hermes format"),
    ],
)
def test_bash_wants_exactly_one_block(text, hint):
    assert hint in BASH.parse(text).error


# -- the registry --------------------------------------------------------------------------------------


class Shout:
    """A stranger's grammar: one call by its name alone, in capital letters."""

    name = "shout"
    prose_alone = True
    example = "CALL TOOL!"
    marks = ("CALL ",)

    def parse(self, text):
        if text.startswith("CALL ") and text.endswith("!"):
            return Action("", (ToolCall(text[5:-1].lower(), {}),))
        return Action(text)

    def write(self, prose="", calls=()):
        return f"CALL {calls[0].name.upper()}!" if calls else prose

    def for_tools(self, tools):
        return self


@pytest.fixture
def strangers(monkeypatch):
    """A registry that forgets what a test registers."""
    monkeypatch.setattr(grammar_registry, "GRAMMARS", before := dict(GRAMMARS))
    grammar_registry._marks.cache_clear()
    yield before
    grammar_registry._marks.cache_clear()


def test_a_stranger_brings_a_grammar(strangers):
    register_grammar(Shout())
    assert grammar_of("shout").parse("CALL LOOK!").calls == (ToolCall("look", {}),)
    assert "shout" in grammar_names()
    assert "in the shout format" in HERMES.parse("CALL LOOK!").error


def test_the_grammar_of_the_page_is_one(strangers):
    page = (Path(__file__).parents[2] / "docs" / "grammars.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    slash = grammar_of("slash")
    assert slash.parse(slash.write(calls=[ToolCall("look", {})])).calls == (ToolCall("look", {}),)
    assert "reads slash" in slash.parse(HERMES.write(calls=[LOOK])).error
    assert all(f"| `{name}`" in page for name in GRAMMARS)


@pytest.mark.parametrize(
    ("member", "value", "error", "hint"),
    [
        ("name", "hermes", ValueError, "taken"),
        ("name", "Shout!", ValueError, "lower-case"),
        ("marks", "CALL ", TypeError, "marks"),
        ("marks", ("",), TypeError, "marks"),
        ("prose_alone", None, TypeError, "prose_alone"),
        ("parse", lambda text: text, TypeError, "an Action"),
    ],
)
def test_what_is_no_grammar_is_refused(strangers, member, value, error, hint):
    grammar = Shout()
    setattr(grammar, member, value)
    with pytest.raises(error, match=hint):
        register_grammar(grammar)


def test_a_grammar_without_a_member_is_refused():
    with pytest.raises(TypeError, match="for_tools"):
        register_grammar(
            type("Half", (), {"name": "half", "prose_alone": True, "example": "", "marks": ()})()
        )


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(ValueError, match=r"known are hermes, bash.*did you mean 'qwen_xml'"):
        grammar_of("qwen-xml")


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=list(GRAMMARS))
def test_grammars_can_be_pickled(grammar):
    twin = pickle.loads(pickle.dumps(grammar.for_tools(schemas_of([LOOK]))))
    if grammar.prose_alone:
        assert twin.parse(twin.write("", [LOOK])).calls == (LOOK,)
