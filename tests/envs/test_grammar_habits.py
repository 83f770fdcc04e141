"""What models write beside the format they were asked for: other shapes of calls, and what is no call."""

import pytest

from forge_envs.grammars import GRAMMARS, grammar_of
from forge_envs.messages import Action

SPEAKING = [name for name, grammar in GRAMMARS.items() if grammar.prose_alone]
CALL = '{"name": "look", "arguments": {"item": "a"}}'
LLAMA_CALL = '{"name": "look", "parameters": {"item": "a"}}'
LOOK = [("look", {"item": "a"})]


def read(grammar, text):
    """Names and arguments of the calls in a text that must be read."""
    action = grammar_of(grammar).parse(text)
    assert action.error is None, action.error
    return [(call.name, call.arguments) for call in action.calls]


# -- calls without a mark, and calls in formats that no grammar here reads -------------------------------

BARE = (
    f"I will look.\n{LLAMA_CALL}",
    f"Sure: {CALL}",
    f"I will look.\n\n```json\n{CALL}\n```",
    f"```tool_call\n{CALL}\n```",
    f"{CALL}\nI have looked.",
    f"{CALL}\n{CALL}",
    f"I look twice.\n{CALL}, {CALL}",
    f"<tools>\n{CALL}\n</tools>",
    f"<function_call>{CALL}</function_call>",
    f"<tool_calls>[{CALL}]</tool_calls>",
    f"functools[{CALL}]",
    '{"parameters": {"item": "a"}, "name": "look"}',
    '{"type": "function", "function": "look", "parameters": {"item": "a"}}',
    '{"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": '
    '{"name": "look", "arguments": "{}"}}]}',
    '{"function_call": {"name": "look", "arguments": "{}"}}',
    '{"tool": "look", "args": {"item": "a"}}',
    '{"action": "look", "action_input": {"item": "a"}}',
    '[{"tool_call_id": "0", "tool_name": "look", "parameters": {}}]',
    "{'name': 'look', 'parameters': {'item': 'a'}}",
    '[look(item="a")]',
    '[look(item="a"), look()]',
    'look{"item": "a"}',
    'look[ARGS]{"item": "a"}',
)
READ_BY = {"tool_calls": {BARE[9]}, "llama": {*BARE[:11]}, "mistral": {*BARE[-2:]}}
UNREAD = (
    f"<|tool_call|>[{CALL}]",
    f"<|action_start|><|plugin|>{CALL}<|action_end|>",
    f"<TOOL_CALL>{CALL}</TOOL_CALL>",
    '<tool_call name="look">{"item": "a"}</tool_call>',
    '<function_calls>look(item="a")</function_calls>',
    '```tool_code\nlook(item="a")\n```',
    '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "look", "parameters": {}}]<|END_ACTION|>',
    "<start_function_call>call:look{item:<escape>a<escape>}<end_function_call>",
    'Thought: I look.\nAction: look\nAction Input: {"item": "a"}',
)


@pytest.mark.parametrize("name", SPEAKING)
@pytest.mark.parametrize("text", (*BARE, *UNREAD))
def test_no_call_reaches_the_customer_whatever_its_shape(name, text):
    action = grammar_of(name).parse(text)
    assert action.error or action.calls
    if text in BARE and text not in READ_BY.get(name, ()):
        assert action.error and "; write " in action.error and action.calls == ()


@pytest.mark.parametrize("name", SPEAKING)
@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ann Lee", "type": "gold", "id": 5}',
        '```json\n{"name": "Mug", "options": {"size": "M"}}\n```',
        "```python\nCALLS = [{'name': 'look', 'arguments': {}}]\nrun(CALLS)\n```",
        "[Order placed (today)]",
        "[f(x)] and [g(y)]",
        "Size{M}",
        "f{x}",
        "See module=functions.load",
        "<order><id>5</id></order>",
        "Action: none is needed.",
    ],
)
def test_what_a_customer_may_be_told_is_no_call(name, text):
    assert grammar_of(name).parse(text) == Action(text)


@pytest.mark.parametrize("name", sorted({*SPEAKING} - {"llama"}))
@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Bob", "arguments": "I was late"}',
        '{"name": "x", "parameters": "none"}',
        'The config `{"name": "look", "arguments": {}}` is what I would write, and here it stays.',
    ],
)
def test_words_are_no_call(name, text):
    assert grammar_of(name).parse(text) == Action(text)


# -- what a family writes around its calls ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "prose", "calls"),
    [
        ("llama", f"[{LLAMA_CALL}]", "", LOOK),
        ("llama", f"[{LLAMA_CALL}, {LLAMA_CALL}]", "", LOOK * 2),
        ("llama", f"<|python_tag|>[{LLAMA_CALL}]<|eom_id|>", "", LOOK),
        ("llama", f"{LLAMA_CALL}, {LLAMA_CALL}", "", LOOK * 2),
        ("llama", f"I look.\n```json\n{LLAMA_CALL}\n```", "I look.", LOOK),
        ("llama", f"```\n{LLAMA_CALL}; {LLAMA_CALL}\n```", "", LOOK * 2),
        ("llama", f"```\nx\n```\n{LLAMA_CALL}", "```\nx\n```", LOOK),
        ("llama", f"{LLAMA_CALL} I used {{look}}.", "I used {look}.", LOOK),
        ("kimi", "◁think▷so◁/think▷Good bye.", "Good bye.", []),
    ],
)  # fmt: skip
def test_what_stands_around_calls_is_not_spoken(name, text, prose, calls):
    assert read(name, text) == calls
    assert grammar_of(name).parse(text).prose == prose


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("llama", LLAMA_CALL + "}", "more after the object"),
        ("llama", f"[{LLAMA_CALL}", "not JSON"),
        ("llama", f'{{"type": "function", "function": {LLAMA_CALL}}}', "more after the object"),
        ("llama", '{"type": "function", "function": "look", "parameters": {}}', "JSON of another form"),
        ("deepseek", "function<｜tool▁sep｜>look\n```json\n{}\n```", "outside a call"),
    ],
)
def test_what_is_nearly_a_call_is_told(name, text, hint):
    action = grammar_of(name).parse(text)
    assert action.calls == () and hint in (action.error or "")


# -- what is left of a value or of a turn ------------------------------------------------------------------


GLM_CALL = "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>\n</tool_call>"
QWEN_CALL = "<tool_call>\n<function=f>\n<parameter=a>\nx\n</parameter>\n</function>\n</tool_call>"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("glm", f"{GLM_CALL} y</arg_value>\n</tool_call>"),
        ("glm", GLM_CALL.removeprefix("<tool_call>")),
        ("qwen_xml", f"{QWEN_CALL}\ny\n</parameter>\n</function>\n</tool_call>"),
        ("kimi", "functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>"),
    ],
)
def test_half_a_value_is_not_run(name, text):
    action = grammar_of(name).parse(text)
    assert action.calls == () and "outside a call" in (action.error or "")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("hermes", "<|im_start|>assistant\n"),
        ("qwen_xml", "<|im_start|>assistant\n"),
        ("glm", "<|assistant|>\n"),
        ("llama", "<|start_header_id|>assistant<|end_header_id|>\n\n"),
        ("deepseek", "<｜Assistant｜>"),
        ("kimi", "<|im_assistant|>assistant<|im_middle|>"),
        ("harmony", "<|start|>assistant<|channel|>final<|message|>"),
        *((name, "\ufeff") for name in SPEAKING),
    ],
)
def test_the_end_of_the_prompt_is_not_spoken(name, start):
    assert grammar_of(name).parse(start + "Good bye.") == Action("Good bye.")


def test_a_call_has_so_many_arguments_and_no_more():
    arguments = "".join(f"<parameter=k{n}>1</parameter>" for n in range(1001))
    action = grammar_of("qwen_xml").parse(f"<tool_call><function=f>{arguments}</function></tool_call>")
    assert action.calls == () and "at most 1000" in (action.error or "")


def test_lines_that_end_with_crlf_are_lines():
    text = "<tool_call>\n<function=f >\n<parameter=a>\nx\ny\n</parameter>\n</function>\n</tool_call>\n"
    text = text.replace("\n", "\r\n")
    assert read("qwen_xml", text) == [("f", {"a": "x\r\ny"})]
    assert read("qwen_xml", text.replace("\r\nx", "\n\r\nx").replace("y\r", "y\r\r")) == [
        ("f", {"a": "\r\nx\r\ny\r\r"})
    ]


# -- thoughts ----------------------------------------------------------------------------------------------

HERMES = f"<tool_call>{CALL}</tool_call>"


@pytest.mark.parametrize(
    ("text", "prose", "many"),
    [
        (f"{HERMES}<think>Done?</think>", "", 1),
        (f"{HERMES}<think>Done?</think>{HERMES}", "", 2),
        (f"Now.{HERMES}<think>a <think> b</think>{HERMES}<think>c", "Now.", 2),
        (f"<think>y</think>{HERMES}\n<think>z</think>Good bye.", "Good bye.", 1),
        # what a thought quotes does not run
        (f"<think>{HERMES}<think>x</think>{HERMES}", "", 1),
        (f"I could {HERMES}<think>x</think> or not.</think>Hello", "Hello", 0),
        (f"<think>{HERMES}</think><think>z</think>Hello", "Hello", 0),
        (f"{HERMES}<think>I could {HERMES}</think>", "", 1),
        ("<think>a</think>b<think>c</think>d", "d", 0),
    ],
)
def test_a_thought_behind_a_call_takes_only_itself(text, prose, many):
    assert read("hermes", text) == LOOK * many
    assert grammar_of("hermes").parse(text).prose == prose


# -- bash and harmony --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "cat <<A <<'B'\n```\nA\n```x\n```\nB\nls",
        "cat <<EOF > 'a b'\n```\nEOF",
        "cat <<EOF | grep 'x\n```\nEOF\n'",
    ],
)
def test_a_line_may_open_several_here_documents(command):
    assert read("bash", f"```bash\n{command}\n```\nand\n```\nx\n```") == [("bash", {"command": command})]


@pytest.mark.parametrize(
    "command", ["cat <<'EOF' > f\n```python\nx\n```\n EOF", "cat <<EOF > f\n```", "cat <<A <<B\nA\n```"]
)
def test_half_a_here_document_is_not_run(command):
    action = grammar_of("bash").parse(f"```bash\n{command}\n```\nand\n```\nx\n```")
    assert action.calls == () and "here-document" in (action.error or "")


def test_a_shift_is_no_here_document():
    assert read("bash", "```bash\necho $((1<<N))\npython -c 'print(a << b)'\n```\n```\nx\n```")


@pytest.mark.parametrize("to", [" to= <|constrain|>json", " <|constrain|>json", ""])
def test_a_call_to_nobody_is_not_said(to):
    action = grammar_of("harmony").parse(f'<|channel|>commentary{to}<|message|>{{"item": "a"}}<|call|>')
    assert action.prose == "" and "to=functions.NAME" in (action.error or "")
