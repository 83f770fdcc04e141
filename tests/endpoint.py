"""A small OpenAI-compatible chat server on this machine, which behaves or misbehaves as a test asks of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Raw:
    """An HTTP answer, told in full; one whose `length` is more than its body breaks off."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None


Answer = Callable[[dict[str, Any]], Any]
"""From a request to an answer: text or a message for a completion, bytes for the raw body, a number or
("status", number, message) for an HTTP status, Raw for one with headers, None to hang until the
server ends."""


class Endpoint:
    """Serves `answer` at `url`; `asked` keeps every request, `most_at_once` the largest crowd."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.gone = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("/tokenize"):  # which only some servers have
                    self.tell(Raw(status=404), seen=0)
                    return
                with endpoint.lock:
                    endpoint.asked.append(body)
                    endpoint.headers.append({k.lower(): v for k, v in self.headers.items()})
                    endpoint.at_once += 1
                    endpoint.most_at_once = max(endpoint.most_at_once, endpoint.at_once)
                try:
                    self.tell(endpoint.answer(body), seen=10 if body.get("tools") else 9)
                finally:
                    with endpoint.lock:
                        endpoint.at_once -= 1

            def tell(self, answer: Any, seen: int) -> None:
                if answer is None:
                    endpoint.gone.wait(30)
                    self.close_connection = True
                    return
                raw = answer if isinstance(answer, Raw) else _raw(answer, seen)
                length = len(raw.body) if raw.length is None else raw.length
                self.send_response(raw.status)
                for name, value in {"Content-Length": str(length), **raw.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw.body)
                self.close_connection = length != len(raw.body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def spec(self, **settings: Any) -> str:
        """What names a model here."""
        text = "&".join(f"{key}={value}" for key, value in settings.items())
        return f"openai:m@{self.url}" + (f"#{text}" if text else "")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gone.set()
        self._server.shutdown()
        self._server.server_close()


def _raw(answer: Any, seen: int) -> Raw:
    if isinstance(answer, tuple):
        _, status, text = answer
        return Raw(json.dumps({"error": {"message": text}}).encode(), status)
    if isinstance(answer, bytes):
        return Raw(answer)
    return Raw(json.dumps(completion(answer, seen)).encode(), answer if isinstance(answer, int) else 200)


def completion(answer: Any, seen: int = 10) -> dict[str, Any]:
    """A chat completion: of a text, of a message, or one that is given whole; `seen` tokens were asked."""
    if isinstance(answer, int):
        return {"error": {"message": f"status {answer}"}}
    if isinstance(answer, dict) and "choices" in answer:
        return answer
    message = {"role": "assistant", "content": answer} if isinstance(answer, str) else answer
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    usage = {"prompt_tokens": seen, "completion_tokens": 3}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}
