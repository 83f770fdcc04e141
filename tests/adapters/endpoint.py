"""An OpenAI-compatible server over HTTP whose model is a script: the n-th line in each n-th turn."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ABOUT = {"id": "chat-1", "created": 0, "model": "script"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


class Endpoint:
    """Serves while it is open; `asked` holds the bodies of all requests."""

    def __init__(self, lines: Sequence[str], finish: str = "stop") -> None:
        self.asked: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                line = lines[sum(message["role"] == "assistant" for message in body["messages"])]
                streamed = bool(body.get("stream"))
                data = outer.streamed(line, finish) if streamed else outer.whole(line, finish)
                self.send_response(200)
                kind = "text/event-stream" if streamed else "application/json"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def whole(self, line: str, finish: str) -> bytes:
        choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": line}}
        told = {**ABOUT, "object": "chat.completion", "choices": [choice], "usage": USAGE}
        return json.dumps(told).encode()

    def streamed(self, line: str, finish: str) -> bytes:
        chunk = {**ABOUT, "object": "chat.completion.chunk"}
        delta = {"index": 0, "delta": {"role": "assistant", "content": line}, "finish_reason": None}
        end = {"index": 0, "delta": {}, "finish_reason": finish}
        chunks = [
            {**chunk, "choices": [delta]},
            {**chunk, "choices": [end]},
            {**chunk, "choices": [], "usage": USAGE},
        ]
        lines = [json.dumps(one) for one in chunks] + ["[DONE]"]
        return "".join(f"data: {one}\n\n" for one in lines).encode()

    def __enter__(self) -> Endpoint:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
