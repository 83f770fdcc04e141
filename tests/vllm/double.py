"""A small HTTP server that answers as vLLM does, late, wrongly or not at all, as a test asks of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, Literal

Mood = Literal["well", "late", "held", "busy", "garbage", "unwell", "refusing", "deaf", "stale"]


class Double:
    """One server on a free port of this machine; `mood` says how requests for tokens are answered.

    well: at once. late: after `delay` seconds. held: once `gate` is set. busy: 503, Retry-After 1.
    garbage: 200 with half an answer. unwell: 500. refusing: 400. deaf: never. stale: at once, from weights
    without a version.

    `faults` are requests of control that fail, by path and query, and `fatal` those it dies of; `drowsy` says
    yes and goes on sleeping.
    `settings` are what it says it was started with, `heard` the requests of control so far, `adapters` the
    folders of those it serves, by name. `checksums` are those of its weights; without, it is an older vLLM.
    Its policy says 7 until `max_tokens`, the last of which is the first stop token, if there is one.
    """

    def __init__(self) -> None:
        self.mood: Mood = "well"
        self.delay = 0.0
        self.gate = asyncio.Event()
        self.healthy = True
        self.version = "default"
        self.paused = False
        self.sleep_mode = self.drowsy = False
        self.settings: dict[str, Any] = {"lora_config": {"max_loras": 2}, "weight_transfer_config": None}
        self.packages = "numpy==2.3.5"
        self.sleeping: set[str] = set()
        self.faults: set[str] = set()
        self.fatal: set[str] = set()
        self.heard: list[str] = []
        self.loads: list[str] = []
        self.adapters: dict[str, str] = {}
        self.checksums: dict[str, str] | None = None
        self.modules = ""
        """The tree of the model that it says it holds."""
        self.asked: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._going = asyncio.Event()
        self._going.set()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> Double:
        """Listen; on the same port as before, when there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def die(self) -> None:
        """Stop listening and break every connection, as a killed process does; what was loaded is lost."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._server, self.version, self.paused = None, "default", False
        self.sleeping.clear()
        self.adapters.clear()
        self._going.set()
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """End, whether it runs or not."""
        if self._server is not None:
            await self.die()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._server is None:  # it died between accepting the connection and this
            writer.transport.abort()
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                sizes = [line.split(":")[1] for line in head if line.lower().startswith("content-length")]
                raw = await reader.readexactly(int(sizes[0]) if sizes else 0)
                asked = head[0].split()[1]
                if asked in self.fatal:
                    await self.die()
                    return
                if asked in self.faults:
                    self.heard.append(asked)
                    status, extra, body = 500, "", b'{"error": {"message": "CUDA error: out of memory"}}'
                else:
                    if b"get_model_inspection" not in raw:
                        self._hear(asked)
                    status, extra, body = await self._answer(
                        asked.split("?")[0], json.loads(raw) if raw else {}
                    )
                text = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode()
                writer.write(text + body)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    def _hear(self, asked: str) -> None:
        """Sleep mode, as vLLM has it: what sleeps is paused, and goes on when every part is awake."""
        path, _, query = asked.partition("?")
        if path not in ("/health", "/inference/v1/generate", "/is_paused", "/is_sleeping", "/server_info"):
            self.heard.append(asked)
        if path == "/sleep":
            self.sleeping = {"weights", "kv_cache"}
            self._going.clear()
        elif path == "/wake_up" and not self.drowsy:
            self.sleeping.discard(query.removeprefix("tags="))
            if not self.sleeping:
                self._going.set()

    async def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        def said(answer: Any) -> tuple[int, str, bytes]:
            return 200, "", json.dumps(answer).encode()

        if path == "/inference/v1/generate":
            return await self._generate(body)
        if not self.healthy:
            await asyncio.Event().wait()
        if path == "/pause":
            self.paused = True
            self._going.clear()
        elif path == "/resume":
            assert not self.sleeping, "it samples without a cache"
            self.paused = False
            self._going.set()
        elif path == "/collective_rpc" and body["method"] == "get_model_inspection":
            return said({"results": [self.modules]})
        elif path == "/collective_rpc":
            assert self.paused or self.sleeping, "weights change while it samples"
            assert "weights" not in self.sleeping, "there is no memory for them"
            self.loads.append(body["kwargs"]["weights_path"])
        elif path == "/update_weight_version":
            self.version = body["new_version"]
        elif path == "/is_paused":
            return said({"is_paused": self.paused})
        elif path == "/is_sleeping":
            return said({"is_sleeping": bool(self.sleeping)})
        elif path == "/weight_info":
            return said({"weight_version": self.version})
        elif path == "/weight_checker" and self.checksums is not None:
            assert body == {"action": "checksum"}
            return said({"checksums": self.checksums})
        elif path in ("/sleep", "/wake_up"):
            return said({"status": "sleeping" if self.sleeping else "awake"})
        elif path == "/server_info":
            model = self.settings.get("model_config", {}) | {"enable_sleep_mode": self.sleep_mode}
            told = {"vllm_config": self.settings | {"model_config": model}}
            return said(told | {"system_env": {"pip_packages": self.packages}})
        elif path == "/v1/models":
            return said({"data": [{"id": name, "max_model_len": 64} for name in ("m", *self.adapters)]})
        elif path == "/v1/load_lora_adapter":
            assert body["lora_name"] not in self.adapters, "vLLM refuses a name that is taken"
            self.adapters[body["lora_name"]] = body["lora_path"]
        elif path == "/v1/unload_lora_adapter":
            del self.adapters[body["lora_name"]]
        elif path != "/health":
            return 404, "", b'{"error": {"message": "Not Found"}}'
        return said({})

    async def _generate(self, body: dict[str, Any]) -> tuple[int, str, bytes]:
        self.asked.append(body)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.delay if self.mood == "late" else 0)
            if self.mood == "held":
                await self.gate.wait()
            await self._going.wait()
            if self.mood == "busy":
                return 503, "Retry-After: 1\r\n", b'{"error": {"message": "no room"}}'
            if self.mood == "unwell":
                return 500, "", b'{"error": {"message": "EngineCore encountered an issue."}}'
            if self.mood == "refusing":
                return 400, "", b'{"error": {"message": "token 999 is out of vocabulary"}}'
            if self.mood == "deaf":
                await asyncio.Event().wait()
            if body.get("model", "m") not in ("m", *self.adapters):
                return 404, "", b'{"error": {"message": "The model does not exist."}}'
            return 200, "", json.dumps(self._said(body["sampling_params"])).encode()
        finally:
            self.at_once -= 1

    def _said(self, sampling: dict[str, Any]) -> dict[str, Any]:
        tokens = [7] * (sampling["max_tokens"] - 1) + (sampling["stop_token_ids"][:1] or [7])
        told = [{"token_id": token, "logprob": -0.5} for token in tokens]
        if self.mood == "garbage":
            told.pop()
        version = "default" if self.mood == "stale" else self.version
        choice = {
            "finish_reason": "stop",
            "token_ids": tokens,
            "logprobs": {"content": told},
            "weight_versions": [{"version": version, "start": 0, "end": len(tokens)}],
        }
        return {"choices": [choice]}


def main(argv: list[str]) -> None:
    """Be a process as `forge_train.engines.server_processes` starts one: -m MODULE --model M ... --port P ...

    "--wrong" among the arguments is one that vLLM does not know; with "--sleepless" it cannot sleep, with
    "--shared" it holds shared memory. The
    arguments and the process id of a worker that it starts are written to the folder NOTES.
    """
    if "--wrong" in argv:
        sys.exit("error: unrecognized arguments: --wrong")
    worker = subprocess.Popen(["sleep", "1000"])
    segment = _segment() if "--shared" in argv else None
    note = {
        "argv": argv,
        "worker": worker.pid,
        "env": dict(os.environ),
        "segment": segment and segment.name,
    }
    path = Path(os.environ["NOTES"], f"started-{os.getpid()}.json")
    path.with_suffix(".part").write_text(json.dumps(note))
    path.with_suffix(".part").rename(path)  # whole when it is seen: tests wait for it to be there

    async def serve() -> None:
        double = Double()
        double.port = int(argv[argv.index("--port") + 1])
        double.sleep_mode = "--enable-sleep-mode" in argv
        if "--max-loras" in argv:
            double.settings["lora_config"] = {"max_loras": int(argv[argv.index("--max-loras") + 1])}
        double.faults = {"/sleep?level=2&mode=abort"} if "--sleepless" in argv else set()
        await double.start()
        await asyncio.Event().wait()

    asyncio.run(serve())


def _segment() -> SharedMemory:
    """Shared memory that stays when the process is killed before it can remove it."""
    made = SharedMemory(create=True, size=16)
    resource_tracker.unregister(f"/{made.name}", "shared_memory")
    return made


if __name__ == "__main__":
    main(sys.argv[1:])
