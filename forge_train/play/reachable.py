"""Whether a chat endpoint is there, before hundreds of episodes wait for it; and what fits into it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2

from forge_train.play.chat_player import ChatEndpoint
from forge_train.play.renderer import Message
from forge_train.play.room import refuse_cramped
from forge_train.play.world_pool import World

PATIENCE = 10.0
"""Seconds in which an endpoint must answer anything at all."""


def refuse_unreachable(endpoint: ChatEndpoint) -> None:
    """Raise ValueError when nobody listens at the address, or when what listens is one path further down.

    Anything else that it may answer is told by the first request of an episode.
    """
    url, key = endpoint.url.rstrip("/"), endpoint.key and os.environ[endpoint.key]
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx2.Client(trust_env=False, timeout=PATIENCE, headers=headers) as http:
        answer = _asked(http, f"{url}/models")
        if answer.status_code != 404 or urlsplit(url).path.rstrip("/").endswith("/v1"):
            return
        below = _asked(http, f"{url}/v1/models")
    if below.status_code not in (404, 405):
        raise ValueError(f"{url}: no chat endpoint there, but one at {url}/v1; write @{url}/v1")


def _asked(http: httpx2.Client, url: str) -> httpx2.Response:
    """What a GET brings; a server that takes its time says as much as one without such a path."""
    for again in (True, False):
        try:
            return http.get(url)
        except httpx2.TimeoutException:
            return httpx2.Response(408)
        except httpx2.TransportError as error:
            problem = error
        if again:
            time.sleep(1.0)
    address = url.removesuffix("/models")
    raise ValueError(
        f"nobody answers at {address} ({problem}); start the server, or mend the address"
    ) from None


def refuse_cramped_endpoint(
    endpoint: ChatEndpoint, world: World, tasks: Sequence[str], *, action: int
) -> None:
    """`refuse_cramped` by the tokens that a vLLM server counts; other servers count none."""
    root = endpoint.url.rstrip("/").removesuffix("/v1")
    key = endpoint.key and os.environ[endpoint.key]
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx2.Client(trust_env=False, timeout=PATIENCE, headers=headers) as http:

        def tokens(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
            tools = [tool for m in messages for tool in m.get("tools") or ()]
            plain = [{k: v for k, v in m.items() if k != "tools"} for m in messages]
            body = {"model": endpoint.model, "messages": plain} | ({"tools": tools} if tools else {})
            return dict(http.post(f"{root}/tokenize", json=body).raise_for_status().json())

        try:
            longest = tokens([{"role": "user", "content": "Hello."}])["max_model_len"]
            if not isinstance(longest, int):
                return

            def count(messages: Sequence[Message]) -> int:
                return int(tokens(messages)["count"])

            refuse_cramped(world, tasks, count, context=longest, action=action, key="--max-model-len")
        except (httpx2.HTTPError, KeyError, TypeError):
            return
