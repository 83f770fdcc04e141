"""Endpoints that falter: the same request again, until the deadline, when they ask for it; what is told."""

from __future__ import annotations

import ssl
import subprocess
import time
import warnings
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from forge_envs.errors import MachineError
from forge_envs.people.attempts import backoff, rejected, retry_after
from forge_envs.people.chat import ChatSpec, chat
from forge_envs.people.recording import recording
from tests.endpoint import Endpoint, Raw

ASK = [{"role": "user", "content": "?"}]


def say(answers: list[Any], **settings: Any) -> tuple[str | MachineError, list[dict[str, Any]], float]:
    """What comes of a line when an endpoint answers so, the last for ever; all requests, and the seconds."""
    script = list(answers)
    with Endpoint(lambda body: script.pop(0) if len(script) > 1 else script[0]) as endpoint:
        before = time.monotonic()
        try:
            found: str | MachineError = chat(endpoint.spec(**settings)).say(ASK, seed=7)
        except MachineError as error:
            found = error
        return found, endpoint.asked, time.monotonic() - before


# -- again, and when -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_asked_again_with_the_same_request(status: int) -> None:
    found, asked, _ = say([status, "Yes."])
    assert found == "Yes." and len(asked) == 2 and asked[0] == asked[1]


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 405, 410, 413, 415, 422])
def test_what_stays_wrong_fails_at_once(status: int) -> None:
    found, asked, _ = say([status, "Yes."])
    assert isinstance(found, MachineError) and len(asked) == 1
    assert (found.kind, found.retryable) == ("refused", False) and str(status) in str(found)


def test_an_empty_account_fails_at_once_though_it_is_a_429() -> None:
    found, asked, _ = say([("status", 429, "You exceeded your quota: insufficient_quota"), "Yes."])
    assert isinstance(found, MachineError) and not found.retryable and len(asked) == 1


def test_the_deadline_is_used() -> None:
    found, asked, took = say([500], deadline=2.5)
    assert isinstance(found, MachineError) and found.retryable
    assert took > 1.2 and len(asked) > 4, "it does not give up after four, with most of the time left"


def test_answers_of_no_use_are_given_up_before_the_deadline() -> None:
    cut = {"choices": [{"message": {"content": "I wan"}, "finish_reason": "length"}]}
    found, asked, _ = say([cut])
    assert isinstance(found, MachineError) and (found.kind, len(asked)) == ("rubbish", 4)
    assert [body["seed"] for body in asked] == [7, 8, 9, 10]


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "1.2"},
        {"retry-after-ms": "1200"},
    ],
)
def test_an_endpoint_is_left_alone_for_as_long_as_it_asks(headers: dict[str, str]) -> None:
    found, asked, took = say([Raw(status=429, headers=headers), "Yes."])
    assert found == "Yes." and len(asked) == 2 and took > 1.1


def test_an_endpoint_that_asks_for_more_than_the_deadline_is_given_up_at_once() -> None:
    found, asked, _ = say([Raw(status=503, headers={"Retry-After": "3600"}), "Yes."])
    assert isinstance(found, MachineError) and found.retryable and len(asked) == 1
    assert "asks to wait 3600 s" in str(found)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3), ("1.5", 1.5), (" 2 ", 2), ("0", 0), ("-1", 0), ("nan", 0), ("inf", 0), ("soon", 0), ("", 0),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 99 Oct 2015", 0),
     pytest.param(formatdate(usegmt=True), 0, id="now")],
)  # fmt: skip
def test_what_retry_after_may_say(text: str, seconds: float) -> None:
    assert retry_after({"retry-after": text}) == pytest.approx(seconds, abs=0.1 if "GMT" in text else 1e-9)


def test_a_date_is_read_by_the_clock_that_wrote_it() -> None:
    until, now = formatdate(2_000_000_002, usegmt=True), formatdate(2_000_000_000, usegmt=True)
    assert retry_after({"retry-after": until, "date": now}) == 2
    assert 8 < retry_after({"retry-after": formatdate(time.time() + 10, usegmt=True)}) <= 10
    found, asked, took = say(
        [Raw(status=429, headers={"Retry-After": formatdate(time.time() + 2.5)}), "Yes."]
    )
    assert found == "Yes." and len(asked) == 2 and took > 0.9


def test_pauses_grow_and_are_the_same_for_the_same_request() -> None:
    pauses = [backoff(n, "a") for n in range(1, 40)]
    assert pauses == [backoff(n, "a") for n in range(1, 40)]
    assert pauses[:4] == sorted(pauses[:4]) and max(pauses) <= 10 and min(pauses[7:]) >= 5
    assert len({backoff(3, f"{n}") for n in range(50)}) == 50, "those who failed together come back apart"


# -- parameters that a model does not take -------------------------------------------------------------

UNSUPPORTED = {
    "temperature": [
        '{"error": {"message": "Unsupported value: \'temperature\' does not support 0.0 with this model. '
        'Only the default (1) value is supported.", "param": "temperature", "code": "unsupported_value"}}',
        "temperature is not supported",
        '{"type": "error", "error": {"message": "`temperature` is deprecated for this model."}}',
    ],
    "seed": [
        '{"error": {"message": "Unrecognized request argument supplied: seed"}}',
        '{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not '
        'permitted", "input": {"temperature": 0, "seed": 7}}]}',
        '{"error": {"message": "Invalid JSON payload. Unknown name \\"seed\\": Cannot find field."}}',
    ],
    "max_completion_tokens": [
        '{"error": {"message": "property \'max_completion_tokens\' is unsupported"}}',
        '{"detail": "unknown field max_completion_tokens, did you mean max_tokens?"}',
    ],
}


@pytest.mark.parametrize(
    ("name", "told"), [(name, told) for name in UNSUPPORTED for told in UNSUPPORTED[name]]
)
def test_a_parameter_that_a_model_refuses_is_left_out_from_then_on(name: str, told: str) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return Raw(told.encode(), 400) if name in body else "Yes."

    with Endpoint(answer) as endpoint:
        model = chat(endpoint.spec(attempts=1))
        with pytest.warns(UserWarning, match=f"does not take '{name}'"):
            assert model.say(ASK, seed=7) == "Yes."
        with warnings.catch_warnings(action="error"):
            assert model.say(ASK, seed=8) == "Yes."
    full = {"model", "messages", "temperature", "seed", "max_completion_tokens"}
    least = full - {name} | ({"max_tokens"} if name == "max_completion_tokens" else set())
    assert [set(body) for body in endpoint.asked] == [full, least, least]


def test_a_model_that_takes_nothing_is_asked_with_the_messages_alone() -> None:
    def answer(body: dict[str, Any]) -> Any:
        extra = sorted(set(body) - {"model", "messages"})
        return ("status", 422, f"unexpected argument: {extra[0]}") if extra else "Yes."

    with Endpoint(answer) as endpoint, pytest.warns(UserWarning):
        assert chat(endpoint.spec()).say(ASK, seed=7) == "Yes."
    assert len(endpoint.asked) == 5


@pytest.mark.parametrize(
    "told",
    [
        "temperature must be between 0 and 2",
        "max_completion_tokens is too large: 512. This model supports at most 100.",
        "messages: roles must alternate",
        "temperatures are not supported",
        "no",
    ],
)
def test_a_request_that_is_wrong_otherwise_fails_as_it_is(told: str) -> None:
    found, asked, _ = say([("status", 400, told), "Yes."])
    assert isinstance(found, MachineError) and not found.retryable and len(asked) == 1
    assert rejected("temperature is unknown", ["seed"]) == ""


def test_parameters_are_left_out_by_name_and_recordings_do_not_care_what_was_learnt(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    with Endpoint(lambda body: "Yes.") as endpoint:
        chat(endpoint.spec(without="temperature,seed")).say(ASK, seed=7)
        chat(endpoint.spec(without="max_completion_tokens", max_tokens=9)).say(ASK, seed=7)
        assert not {"temperature", "seed"} & set(endpoint.asked[0])
        assert endpoint.asked[1]["max_tokens"] == 9 and "max_completion_tokens" not in endpoint.asked[1]
        endpoint.answer = lambda body: ("status", 400, "unknown: seed") if "seed" in body else "Yes."
        with pytest.warns(UserWarning):
            chat(endpoint.spec(record=path)).say(ASK, seed=7)
        recording.cache_clear()
        assert chat(endpoint.spec(replay=path)).say(ASK, seed=7) == "Yes."
    with pytest.raises(ValueError, match="without=top_p: 'top_p' is none of temperature, seed"):
        ChatSpec.parse("openai:m@http://x#without=top_p")


# -- no answer at all ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (Raw(b'{"choices": [', length=999), "refused", "the answer broke off"),
        (Raw(b"<html>Bad gateway</html>"), "rubbish", "no chat completion"),
        (Raw(b'{"choices": [{"message"'), "rubbish", "no chat completion"),
        (Raw(b"this is no gzip", headers={"Content-Encoding": "gzip"}), "refused", "the answer broke off"),
        ({"choices": [], "error": {"code": 503, "message": "upstream"}}, "refused", "status 503"),
    ],
)
def test_answers_that_are_none_are_named_and_asked_for_again(answer: Any, kind: str, told: str) -> None:
    found, asked, _ = say([answer, "Yes."])
    assert found == "Yes." and asked[0] == asked[1]
    found, asked, _ = say([answer], attempts=2)
    assert isinstance(found, MachineError) and (found.kind, found.retryable, len(asked)) == (kind, True, 2)
    assert told in str(found)


@pytest.mark.parametrize(
    ("url", "told", "retryable"),
    [
        ("http://127.0.0.1:1/v1", "connection refused", True),
        ("http://no-such-host.invalid/v1", "DNS", None),
        ("http://[::/v1", "cannot be sent", False),
    ],
)
def test_an_endpoint_that_cannot_be_reached_is_named(url: str, told: str, retryable: bool | None) -> None:
    with pytest.raises(MachineError, match=told) as caught:
        chat(f"openai:m@{url}#deadline=0.3").say(ASK, seed=0)
    assert caught.value.kind == "refused" and retryable in (None, caught.value.retryable)


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that nobody trusts."""
    files = [str(folder / "key.pem"), str(folder / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", files[0], "-out", files[1],
         "-days", "1", "-subj", "/CN=127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    return context


def test_a_certificate_that_is_not_trusted_fails_at_once(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = certificate(tmp_path).wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        with pytest.raises(MachineError, match=r"certificate is not trusted \(TLS\)") as caught:
            chat(f"openai:m@https://127.0.0.1:{server.server_port}/v1").say(ASK, seed=0)
    finally:
        server.shutdown()
        server.server_close()
    assert (caught.value.kind, caught.value.retryable) == ("refused", False)


@pytest.mark.parametrize("key", ["two\nlines", "clé"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", key)
    with pytest.raises(ValueError, match="A_KEY holds no key") as caught:
        chat("openai:m@http://127.0.0.1:1#key=A_KEY")
    assert key not in str(caught.value)
