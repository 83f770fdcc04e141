"""Users: what a model that plays one is told, how it leaves, endpoints that misbehave, recordings."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.errors import MachineError
from forge_envs.people.chat import ChatSpec, chat
from forge_envs.people.recording import Recording, key_of
from forge_envs.people.users import (
    ENDINGS,
    GREETING,
    LEAVES,
    REMINDER,
    SILENCE,
    Brief,
    ModelUser,
    ScriptedUser,
)
from forge_envs.worlds.retail.env import RetailEnv
from tests.endpoint import Endpoint

BRIEF = Brief("You are Ann.", "1. A refund.", opening="I want my money back.")
FAST = {"deadline": 60, "attempt": 20, "attempts": 2}


def well(body):
    """A reply that follows from the request: its seed and how much was said."""
    return f"seed {body['seed']}, after {len(body['messages'])}"


def failure(answer, **settings):
    """How one reply fails against an endpoint that answers so, and how often that was asked."""
    with Endpoint(answer) as endpoint:
        user = ModelUser(BRIEF, chat(endpoint.spec(**{**FAST, **settings})))
        user.open()
        with pytest.raises(MachineError) as caught:
            user.reply("Why?")
        assert caught.value.stage == "user" and "127.0.0.1" in str(caught.value)
        assert len(user.said) == 2  # what failed was not said
        return caught.value, len(endpoint.asked)


# -- the conversation ----------------------------------------------------------------------------------


def test_the_model_hears_its_notes_and_the_talk_from_its_own_side():
    with Endpoint(well) as endpoint:
        user = ModelUser(BRIEF, chat(endpoint.spec(temperature=0.5, max_tokens=99)), seed=7)
        assert user.open() == "I want my money back." and endpoint.asked == []
        assert user.reply("Why?") == "seed 7, after 4"
        assert user.reply("") == "seed 7, after 6"
    first, second = endpoint.asked
    assert {k: first[k] for k in ("model", "temperature", "max_completion_tokens", "seed")} == {
        "model": "m",
        "temperature": 0.5,
        "max_completion_tokens": 99,
        "seed": 7,
    }
    roles = ["system", "user", "assistant", "user"]
    assert [m["role"] for m in first["messages"]] == roles
    assert [m["content"] for m in first["messages"]] == [
        BRIEF.prompt,
        GREETING,
        "I want my money back.",
        "Why?",
    ]
    assert second["messages"][:4] == first["messages"] and second["messages"][5]["content"] == SILENCE
    assert all(text in BRIEF.prompt for text in ("You are Ann.", "1. A refund.", *ENDINGS))


@pytest.mark.parametrize(("mark", "why"), ENDINGS.items())
def test_a_mark_ends_the_talk_and_says_why(mark, why):
    with Endpoint(lambda body: f"Thank you. {mark}") as endpoint:
        user = ModelUser(BRIEF, chat(endpoint.spec()))
        user.open()
        assert user.reply("Done.") is None and user.ended == why


def test_an_opening_the_model_finds_is_the_same_for_everybody():
    answers = iter(f"Hello, number {n}" for n in range(99))
    with Endpoint(lambda body: next(answers)) as endpoint:
        spec, brief = endpoint.spec(), Brief("You are Bo.", "1. A hat.")
        with ThreadPoolExecutor(8) as pool:
            lines = set(pool.map(lambda seed: ModelUser(brief, chat(spec), seed).open(), range(32)))
        assert len(lines) == 1 and {body["seed"] for body in endpoint.asked} == {0}
        assert ModelUser(Brief("You are Cy.", "1. A hat."), chat(spec)).open() not in lines


@pytest.mark.parametrize(
    ("line", "shown"), [("Never mind. ###STOP###", "Never mind."), ("###TRANSFER###", LEAVES)]
)
def test_a_model_that_leaves_with_its_first_line_has_left(line, shown):
    with Endpoint(lambda body: line) as endpoint:
        user = ModelUser(Brief("You are Bo.", "1. A hat."), chat(endpoint.spec()))
        assert user.open() == shown and user.ended in ("stop", "transfer")
        again = pickle.loads(pickle.dumps(user))
        assert user.reply("Hello?") is None and again.reply("Hello?") is None and len(endpoint.asked) == 1


def test_thoughts_of_the_model_are_not_said():
    lines = ["<think>They ask why.</think>Because.", "aloud?</think> No.", "Yes.<think>Was that right"]
    answers = iter(lines)
    with Endpoint(lambda body: next(answers)) as endpoint:
        user = ModelUser(BRIEF, chat(endpoint.spec()))
        user.open()
        assert [user.reply("?") for _ in lines] == ["Because.", "No.", "Yes."]


@pytest.mark.parametrize("tag", ["thinking", "Think", "reasoning", "seed:think", "scratchpad"])
def test_a_mark_in_a_thought_does_not_end_the_talk(tag):
    with Endpoint(lambda body: f"<{tag}>Is it time for ###STOP###?</{tag}>Not yet.") as endpoint:
        user = ModelUser(Brief("You are Bo.", "1. A hat."), chat(endpoint.spec()))
        assert (user.open(), user.reply("?"), user.ended) == ("Not yet.", "Not yet.", None)


def test_after_an_empty_reply_a_model_is_reminded_once():
    answers = iter(["", "I am here.", {"role": "assistant", "content": None}, ""])
    with Endpoint(lambda body: next(answers)) as endpoint:
        user = ModelUser(BRIEF, chat(endpoint.spec()))
        user.open()
        assert user.reply("Hello?") == "I am here."
        first, second = (body["messages"] for body in endpoint.asked)
        assert first[:-1] == second[:-1] and first[-1]["content"] == "Hello?"
        assert second[-1]["role"] == "user" and REMINDER in second[-1]["content"]
        assert REMINDER not in str(user.said)
        with pytest.raises(MachineError, match="after a reminder") as caught:
            user.reply("Still there?")
        assert (caught.value.kind, len(endpoint.asked)) == ("empty", 4)


def test_a_user_pickles_and_goes_on():
    with Endpoint(well) as endpoint:
        user = ModelUser(BRIEF, chat(endpoint.spec()), seed=3)
        user.open()
        user.reply("Why?")
        again = pickle.loads(pickle.dumps(user))
        assert again == user and again.chat is user.chat
        assert again.reply("And?") == user.reply("And?") == "seed 3, after 6"


# -- endpoints that misbehave --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (lambda body: b"rubbish", "rubbish", "no chat completion"),
        (lambda body: b'{"choices": []}', "rubbish", "no chat completion"),
        (lambda body: b"[" * 100_000, "rubbish", "no chat completion"),
        (lambda body: {"role": "assistant", "content": 3}, "rubbish", "content is no text"),
        (lambda body: {"role": "assistant", "content": [3]}, "rubbish", "content is no text"),
        (lambda body: {"choices": [{"message": {"content": "I wan"}, "finish_reason": "length"}]}, "rubbish",
         "cut off at max_tokens"),
        (lambda body: b" " * (5 << 20), "rubbish", "an answer of more than"),
        (lambda body: "", "empty", "empty reply"),
        (lambda body: "<think>What now?", "empty", "empty reply"),
        (lambda body: {"role": "assistant", "content": None}, "empty", "empty reply"),
        (lambda body: 500, "refused", "status 500"),
        (lambda body: 429, "refused", "status 429"),
    ],
)  # fmt: skip
def test_what_may_pass_is_asked_again_and_then_given_up(answer, kind, told):
    error, asked = failure(answer)
    assert (error.kind, error.retryable, asked) == (kind, True, 2) and told in str(error)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_request_that_is_at_fault_is_not_sent_again(status):
    error, asked = failure(lambda body: status)
    assert (error.kind, error.retryable, asked) == ("refused", False, 1) and str(status) in str(error)


def test_an_endpoint_that_hangs_costs_the_deadline_and_no_more():
    error, asked = failure(lambda body: None, attempt=0.2)
    assert (error.kind, error.retryable, asked) == ("timeout", True, 2)
    error, asked = failure(lambda body: None, attempt=60, deadline=0.2)
    assert (error.kind, asked) == ("timeout", 1)


def test_an_endpoint_that_is_not_there_is_a_refusal():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else takes the port
        spec = f"openai:m@http://127.0.0.1:{taken.getsockname()[1]}/v1#attempts=2"
        with pytest.raises(MachineError, match="ConnectError") as caught:
            chat(spec).say([{"role": "user", "content": "?"}], seed=0)
    assert (caught.value.kind, caught.value.retryable) == ("refused", True)


def test_only_a_line_of_no_use_is_asked_for_with_another_seed():
    cut = {"choices": [{"message": {"content": "The"}, "finish_reason": "length"}]}
    answers = iter([500, cut, b"<html>", 429, "There."])
    with Endpoint(lambda body: next(answers)) as endpoint:
        user = ModelUser(BRIEF, chat(endpoint.spec()), seed=2**31 - 1)
        user.open()
        assert user.reply("?") == "There."
        assert [body["seed"] for body in endpoint.asked] == [2**31 - 1, 2**31 - 1, 0, 0, 0]
        assert len({str(body["messages"]) for body in endpoint.asked}) == 1


def test_no_more_requests_at_once_than_allowed():
    with Endpoint(well) as endpoint:
        shared = chat(endpoint.spec(limit=3))
        with ThreadPoolExecutor(16) as pool:
            said = list(pool.map(lambda n: shared.say([{"role": "user", "content": "?"}], seed=n), range(48)))
        assert said == [f"seed {n}, after 1" for n in range(48)] and endpoint.most_at_once <= 3


def test_waiting_for_a_free_place_ends_at_the_deadline():
    with Endpoint(lambda body: None) as endpoint:
        shared = chat(endpoint.spec(limit=1, deadline=0.3, attempts=1))
        ask = [{"role": "user", "content": "?"}]

        def why(seed):
            with pytest.raises(MachineError) as caught:
                shared.say(ask, seed=seed)
            return caught.value.kind, "no free place" in str(caught.value)

        with ThreadPoolExecutor(6) as pool:
            told = list(pool.map(why, range(6)))
        assert {kind for kind, _ in told} == {"timeout"} and (("timeout", True) in told)
        assert endpoint.most_at_once == 1


def test_half_a_surrogate_pair_becomes_text_that_can_be_written():
    with Endpoint(lambda body: b'{"choices": [{"message": {"content": "ok \\ud800"}}]}') as endpoint:
        line = chat(endpoint.spec()).say([{"role": "user", "content": "?"}], seed=0)
        assert line == "ok ?"


# -- specs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("openai:m", "openai:MODEL@URL"),
        ("openai:m@ftp://x", "openai:MODEL@URL"),
        ("openai:m@http://x#speed=9", "no setting 'speed'; known are temperature"),
        ("openai:m@http://x#temperature=hot", "temperature='hot' is no float"),
        ("openai:m@http://x#temperature=-1", "temperature=-1.0"),
        ("openai:m@http://x#attempts=0", "attempts=0"),
        ("openai:m@http://x#deadline=nan", "deadline=nan"),
        ("openai:m@http://x#record=a&replay=b", "choose one"),
        ("openai:m@http://x#key=NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE is not set"),
        ("openai:m@http://x#replay=/no/such/file", "/no/such/file: no such file"),
    ],
)
def test_a_wrong_spec_is_refused_when_the_world_is_made(spec, told):
    with pytest.raises(ValueError, match=told):
        RetailEnv(user=spec)


def test_a_spec_names_a_model_with_odd_letters_and_an_address_with_a_user():
    spec = ChatSpec.parse("openai:org/m@rev:2@https://me:pw@host/v1/")
    assert (spec.model, spec.url) == ("org/m@rev:2", "https://me:pw@host/v1")


def test_the_key_comes_from_the_environment_and_only_when_it_is_named(monkeypatch):
    monkeypatch.setenv("A_KEY", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "not asked for")
    with Endpoint(well) as endpoint:
        for spec in (endpoint.spec(), endpoint.spec(key="A_KEY")):
            chat(spec).say([{"role": "user", "content": "?"}], seed=0)
        first, second = endpoint.headers
        assert "authorization" not in first and second["authorization"] == "Bearer secret"


def test_without_httpx2_the_extra_is_named():
    code = (
        "import sys; sys.modules['httpx2'] = None\n"
        "from forge_envs.worlds.retail.env import RetailEnv\n"
        "RetailEnv().reset(seed=0)\n"
        "try: RetailEnv(user='openai:m@http://x')\n"
        "except ValueError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'forge-envs[users]'" in run.stdout, run.stderr


def test_an_episode_with_empty_replies_and_a_reminder_plays_again_from_its_recording(tmp_path):
    answers, path = iter(["", "Yes?", "", ""]), tmp_path / "users.jsonl"
    with Endpoint(lambda body: next(answers)) as endpoint:
        for spec in (endpoint.spec(record=path), endpoint.spec(replay=path)):
            user = ModelUser(BRIEF, chat(spec))
            user.open()
            assert user.reply("Hello?") == "Yes?"
            with pytest.raises(MachineError) as caught:
                user.reply("And?")
            assert caught.value.kind == "empty"
        assert len(endpoint.asked) == 4


# -- recordings ----------------------------------------------------------------------------------------


def test_a_damaged_recording_names_the_line_and_a_torn_end_is_dropped(tmp_path):
    path = tmp_path / "users.jsonl"
    book = Recording(path)
    book.add("a", "hi", "one")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key": "b", "rep')
    again = Recording(path)
    assert (len(again), again.find("a"), again.find("b")) == (1, "one", None)
    assert again.add("b", "hi", "two") == "two" and Recording(path).find("b") == "two"
    path.write_bytes(b'{"key": 3}\n' + whole)
    with pytest.raises(ValueError, match="line 1 is no"):
        Recording(path)
    with pytest.raises(ValueError, match="cannot be read"):
        Recording(tmp_path)


def test_a_recording_that_cannot_be_written_is_a_failed_machine(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(MachineError) as caught:
        Recording(tmp_path / "file" / "users.jsonl").add("a", "hi", "one")
    assert caught.value.kind == "recording"


@given(st.dictionaries(st.text(max_size=4), st.text() | st.integers(), max_size=4))
def test_a_key_follows_from_the_request_alone(request):
    assert key_of(request) == key_of(dict(reversed(request.items())))
    assert key_of({**request, "seed!": 1}) != key_of({**request, "seed!": 2})


def test_threads_that_record_the_same_request_agree_on_one_reply(tmp_path):
    book = Recording(tmp_path / "users.jsonl")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: book.add(f"k{n % 5}", "hi", f"reply {n}"), range(200)))
    again = Recording(book.path)
    assert len(again) == 5 and all(again.find(f"k{n % 5}") == reply for n, reply in enumerate(replies))


# -- a script ------------------------------------------------------------------------------------------


def test_a_scripted_user_speaks_first_and_leaves_after_the_last_line() -> None:
    user = ScriptedUser(["One.", "Two."])
    for _ in range(2):  # `open` begins anew
        assert [user.open(), user.reply("a"), user.reply("b"), user.reply("c")] == [
            "One.",
            "Two.",
            None,
            None,
        ]
    assert pickle.loads(pickle.dumps(user)) == user
    with pytest.raises(ValueError, match="at least one"):
        ScriptedUser([])
