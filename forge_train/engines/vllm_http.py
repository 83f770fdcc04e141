"""One vLLM server over HTTP: the requests a trainer makes of it, each with its own time limit.

Written against vLLM 0.32, started with VLLM_SERVER_DEV_MODE=1, --enable-scale-out and
--logprobs-mode processed_logprobs (`forge_train.engines.server_processes` does so). vLLM itself is never
imported.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal

import httpx2

from forge_train.engine import Sampling

BUSY = frozenset({429, 503})
"""Too many requests, or paused: the same request will do later."""
FLOOR = -9999.0
"""What vLLM writes for a logprob that is no number, or is minus infinity."""
ROUNDING = 1e-2
"""A logprob may be above 0 by so much: that of a certain token, in low precision."""
NOTHING_LOADED = "default"
"""What a server calls its weights until it is told a version."""


class ServerError(Exception):
    """A server did not answer as it should; the text begins with its address.

    `status` is the HTTP status, 200 for an answer without sense and None for none. `retry_after` is in
    seconds, 0 when the server names no time. `told` is what the server wrote of it. `lasting` says that there
    is nobody at this address to be asked, now or later.
    """

    def __init__(
        self,
        url: str,
        what: str,
        *,
        status: int | None = None,
        retry_after: float = 0.0,
        told: str = "",
        lasting: bool = False,
    ) -> None:
        super().__init__(url, what)  # as they came: it is pickled with them
        self.status = status
        self.retry_after = retry_after
        self.told = told
        self.lasting = lasting

    def __str__(self) -> str:
        return ": ".join(self.args)

    @property
    def busy(self) -> bool:
        """Whether the server is well and has no room now."""
        return self.status in BUSY

    @property
    def senseless(self) -> bool:
        """Whether there was an answer, which cannot be used: it may be the request that brings it about."""
        return self.status == 200

    @property
    def refused(self) -> bool:
        """Whether the request itself is at fault, so that no server will answer it."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in (404, 408, 429)


@dataclass(frozen=True, slots=True)
class Generated:
    """What a server sampled for one request; all lists are equally long, `confidence` where asked for."""

    tokens: list[int]
    logprobs: list[float]
    versions: list[str]
    """What the server called the weights that sampled each token."""
    confidence: tuple[float, ...] = ()


class Client:
    """Talks to the server at `url`, for example http://127.0.0.1:8000.

    Every method raises ServerError, after `timeout` seconds at the latest.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        # No proxy of the environment: a server is on this machine or in this cluster.
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers=headers,
            trust_env=False,
            timeout=None,
            limits=httpx2.Limits(max_connections=None),
        )

    async def generate(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        *,
        seed: int,
        salt: str,
        model: str | None,
        timeout: float,
        vocab: int | None = None,
    ) -> Generated:
        """Sample after `tokens`; what was cached under another `salt` is not used.

        `model` names an adapter; None means the model itself. Tokens lie below `vocab`. Closing the
        connection (a cancelled call, a timeout) makes the server drop the request.
        """
        body = {
            "token_ids": list(tokens),
            "cache_salt": salt,
            "sampling_params": {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "max_tokens": sampling.max_tokens,
                "seed": seed,
                "logprobs": sampling.top_logprobs,  # 0: of the sampled token, and of no other
                "stop_token_ids": list(sampling.stop),
                "ignore_eos": True,  # only `stop` ends an action
                "detokenize": False,
            },
        }
        if model is not None:
            body["model"] = model
        answer = await self._post("/inference/v1/generate", body, timeout=timeout)
        try:
            return generated(answer, most=sampling.max_tokens, vocab=vocab, top=sampling.top_logprobs)
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            what = f"an answer that makes no sense ({error!r}): {answer!r:.200}"
            raise ServerError(self.url, what, status=200) from None

    async def health(self, timeout: float) -> None:
        """Return when the server and its engine are alive."""
        await self._send("GET", "/health", timeout=timeout)

    async def models(self, timeout: float) -> dict[str, int | None]:
        """Names of what it serves (the model, and adapters), with the longest sequence of each."""
        answer = await self._get("/v1/models", timeout=timeout)
        try:
            return {model["id"]: model["max_model_len"] for model in answer["data"]}
        except (KeyError, TypeError) as error:
            raise ServerError(self.url, f"/v1/models makes no sense ({error!r}): {answer!r:.200}") from None

    async def version(self, timeout: float) -> str:
        """What the server calls its weights."""
        answer = await self._get("/weight_info", timeout=timeout)
        if not isinstance(answer, dict) or not isinstance(answer.get("weight_version"), str):
            raise ServerError(self.url, f"/weight_info makes no sense: {answer!r:.200}")
        return str(answer["weight_version"])

    async def checksums(self, timeout: float) -> dict[str, str]:
        """Hashes of all tensors, as they lie in memory, by name. A server of an older vLLM has none."""
        answer = await self._post("/weight_checker", {"action": "checksum"}, timeout=timeout)
        found = answer.get("checksums") if isinstance(answer, dict) else None
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise ServerError(self.url, f"/weight_checker makes no sense: {answer!r:.200}", status=200)
        return found

    async def name_version(self, version: str, timeout: float) -> None:
        """Call the weights `version` from now on."""
        await self._post("/update_weight_version", {"new_version": version}, timeout=timeout)

    async def pause(self, timeout: float) -> None:
        """Freeze the requests in flight and queue new ones; all cached keys and values are dropped.

        What is frozen keeps its tokens and is computed anew after `resume`, under the weights of then.
        """
        await self._send("POST", "/pause?mode=keep&clear_cache=true", timeout=timeout)

    async def resume(self, timeout: float) -> None:
        """Go on after `pause`; harmless when there was none."""
        await self._send("POST", "/resume", timeout=timeout)

    async def sleep(self, level: int, timeout: float) -> None:
        """Give back the memory of weights and cache; requests in flight are aborted, new ones queue.

        Level 1 keeps the weights in main memory, level 2 keeps none: they must be loaded anew. Started with
        --enable-sleep-mode; without it a server only stops to sample.
        """
        await self._send("POST", f"/sleep?level={level}&mode=abort", timeout=timeout)

    async def wake(self, part: Literal["weights", "kv_cache"], timeout: float) -> None:
        """Take back the memory of a part; with the last one it samples again. Harmless when it is awake.

        A ServerError too when it is asleep after `kv_cache`, which comes after `weights`.
        """
        answer = await self._post(f"/wake_up?tags={part}", None, timeout=timeout)
        if part == "kv_cache" and (not isinstance(answer, dict) or answer.get("status") != "awake"):
            raise ServerError(self.url, f"it does not wake: {answer!r:.200}")

    async def info(self, timeout: float) -> dict[str, Any]:
        """What it was started with, and where, in vLLM's words (`vllm_config`, `system_env`).

        It may take a while: the server looks at its machine.
        """
        answer = await self._get("/server_info?config_format=json", timeout=timeout)
        if not isinstance(answer, dict) or not isinstance(answer.get("vllm_config"), dict):
            raise ServerError(self.url, f"/server_info makes no sense: {answer!r:.200}")
        return answer

    async def modules(self, timeout: float) -> str:
        """The model that it holds, as a tree of modules with their sizes, of one of its workers."""
        answer = await self._post("/collective_rpc", {"method": "get_model_inspection"}, timeout=timeout)
        told = answer.get("results") if isinstance(answer, dict) else None
        return str(told[0]) if isinstance(told, list) and told else ""

    async def is_sleeping(self, timeout: float) -> bool:
        """Whether its memory was taken from it and not given back."""
        answer = await self._get("/is_sleeping", timeout=timeout)
        return isinstance(answer, dict) and answer.get("is_sleeping") is True

    async def is_paused(self, timeout: float) -> bool:
        """Whether it holds its requests."""
        answer = await self._get("/is_paused", timeout=timeout)
        return isinstance(answer, dict) and answer.get("is_paused") is True

    async def reload(self, folder: Path, timeout: float) -> None:
        """Overwrite the weights with those of a folder of safetensors that the server can read.

        A folder that cannot be loaded ends the server's engine, so check it before.
        """
        kwargs = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        await self._post("/collective_rpc", kwargs, timeout=timeout)

    async def load_adapter(self, name: str, folder: Path, timeout: float) -> None:
        """Serve the LoRA adapter of `folder` as `name`, beside those there are."""
        body = {"lora_name": name, "lora_path": str(folder)}
        await self._send("POST", "/v1/load_lora_adapter", json=body, timeout=timeout)

    async def unload_adapter(self, name: str, timeout: float) -> None:
        """Take no new requests for an adapter."""
        await self._send("POST", "/v1/unload_lora_adapter", json={"lora_name": name}, timeout=timeout)

    async def workers(self, timeout: float) -> int:
        """Processes that hold its weights: tensor, pipeline and data parallel ones together."""
        answer = await self._get("/get_world_size", timeout=timeout)
        if not isinstance(answer, dict) or not isinstance(answer.get("world_size"), int):
            raise ServerError(self.url, f"/get_world_size makes no sense: {answer!r:.200}")
        return int(answer["world_size"])

    async def post(self, path: str, body: Mapping[str, Any] | None, *, timeout: float) -> Any:
        """Any other request, and the JSON of its answer."""
        return await self._post(path, body, timeout=timeout)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _get(self, path: str, *, timeout: float) -> Any:
        return self._json(await self._send("GET", path, timeout=timeout))

    async def _post(self, path: str, body: Mapping[str, Any] | None, *, timeout: float) -> Any:
        return self._json(await self._send("POST", path, json=body, timeout=timeout))

    def _json(self, response: httpx2.Response) -> Any:
        try:
            return response.json()
        except (ValueError, RecursionError):
            what = f"an answer that is no JSON: {response.content[:200]!r}"
            raise ServerError(self.url, what, status=200) from None

    async def _send(self, method: str, path: str, *, timeout: float, json: Any = None) -> httpx2.Response:
        try:
            async with asyncio.timeout(timeout):
                response = await self._http.request(method, path, json=json)
        except TimeoutError:
            raise ServerError(self.url, f"no answer to {path} within {timeout:g} s") from None
        except httpx2.HTTPError as error:
            what, lasting = _network(error)
            raise ServerError(self.url, f"{what} at {path}", lasting=lasting) from None
        if response.status_code >= 400:
            raise ServerError(
                self.url,
                f"status {response.status_code} at {path}: {_told(response)}",
                status=response.status_code,
                retry_after=retry_after(response.headers),
                told=response.text[:2000],
            )
        return response


def generated(answer: Any, *, most: int | None = None, vocab: int | None = None, top: int = 0) -> Generated:
    """What a server's answer says; raises one of the errors of wrong data when it says nothing sound.

    That is one of at most `most` tokens, all below `vocab`, with a logprob and a version each, and with
    those of the `top` likeliest tokens where these are asked for.
    """
    choice = answer["choices"][0]
    if choice["finish_reason"] not in ("stop", "length"):
        raise ValueError(f"finish_reason {choice['finish_reason']!r}")
    tokens = [_token(token, vocab) for token in choice["token_ids"]]
    told = choice["logprobs"]["content"]
    logprobs = [_logprob(entry["logprob"]) for entry in told]
    versions = [""] * len(tokens)
    for span in choice["weight_versions"]:
        versions[span["start"] : span["end"]] = [str(span["version"])] * (span["end"] - span["start"])
    if not tokens or [entry["token_id"] for entry in told] != tokens:
        raise ValueError("tokens and logprobs do not belong together")
    if most is not None and len(tokens) > most:
        raise ValueError(f"{len(tokens)} tokens, and {most} were asked for")
    if len(versions) != len(tokens) or "" in versions:
        raise ValueError("weight_versions do not cover the tokens")
    confidence = tuple(_confidence(entry["top_logprobs"], top) for entry in told) if top else ()
    return Generated(tokens, logprobs, versions, confidence)


def _confidence(told: Any, top: int) -> float:
    """Of the `top` likeliest: the sampled token stands first in the list, whether it is one or not."""
    likeliest = sorted((_logprob(entry["logprob"]) for entry in told), reverse=True)[:top]
    if len(likeliest) < top:
        raise ValueError(f"logprobs of {len(likeliest)} tokens, and {top} were asked for")
    return -math.fsum(likeliest) / top


def _token(told: Any, vocab: int | None) -> int:
    if type(told) is not int or told < 0 or (vocab is not None and told >= vocab):
        raise ValueError(f"token {told!r} is none of the {vocab} that the model has")
    return told


def _logprob(told: Any) -> float:
    if type(told) not in (int, float) or not FLOOR < told <= ROUNDING:  # NaN is neither
        raise ValueError(f"logprob {told!r} is none")
    return float(told)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that an answer asks to be left alone; 0 when it names no time.

    >>> retry_after({"retry-after": "1.5"}), retry_after({"retry-after-ms": "250"}), retry_after({})
    (1.5, 0.25, 0.0)
    """
    text = headers.get("retry-after", "").strip()
    for value, unit in ((headers.get("retry-after-ms", ""), 0.001), (text, 1.0)):
        try:
            wait = float(value) * unit
        except ValueError:
            continue
        return wait if 0 < wait < math.inf else 0.0
    until = _date(text)
    if until is None:
        return 0.0
    now = _date(headers.get("date", ""))  # by the clock that wrote the other date
    return max(0.0, until - (time.time() if now is None else now))


def _date(text: str) -> float | None:
    """An HTTP date in seconds since 1970."""
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _network(error: Exception) -> tuple[str, bool]:
    """An error of the network by name, and whether no later attempt can mend it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            unknown = cause.errno in (socket.EAI_NONAME, socket.EAI_FAIL)
            return f"{type(error).__name__}: no such host (DNS), {cause}", unknown
        if isinstance(cause, ssl.SSLError):
            return f"{type(error).__name__} (TLS): {cause}", isinstance(cause, ssl.SSLCertVerificationError)
        if isinstance(cause, ConnectionRefusedError):
            return f"{type(error).__name__}: connection refused, {cause}", False
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.DecodingError):
        return f"the answer broke off, {type(error).__name__}: {error}", False
    return f"{type(error).__name__}: {error}", isinstance(error, httpx2.UnsupportedProtocol)


def _told(response: httpx2.Response) -> str:
    """The error message in an answer, as far as there is one."""
    try:
        return str(response.json()["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return response.text[:300]
