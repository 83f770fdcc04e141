"""Servers that answer as vLLM does and really play: with scripted words, or with the learner's own model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from transformers import AutoModelForCausalLM

from forge_train.engine import Completion, Sampling
from forge_train.engines.local import LocalEngine
from forge_train.play.renderer import ChatML
from tests.train.tokens import tokenizer
from tests.vllm.double import Double


class Roomy(Double):
    """A server with room for whole conversations."""

    async def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        if path == "/v1/models":
            return 200, "", json.dumps({"data": [{"id": "m", "max_model_len": 4096}]}).encode()
        return await super()._answer(path, body)


def answer(said: Completion) -> dict[str, Any]:
    """A completion in vLLM's words."""
    content = [{"token_id": token, "logprob": p} for token, p in zip(said.tokens, said.logprobs, strict=True)]
    span = {"version": str(said.version), "start": 0, "end": len(said.tokens)}
    choice = {"finish_reason": said.finish, "token_ids": said.tokens, "logprobs": {"content": content}}
    return {"choices": [choice | {"weight_versions": [span]}]}


class Talker(Roomy):
    """Its policy says the right number, or, by the request's seed, another one."""

    def _said(self, sampling: dict[str, Any]) -> dict[str, Any]:
        said = ChatML(tokenizer()).encode_action(str(random.Random(sampling["seed"]).randrange(2)))
        return answer(Completion(said, [-0.5 - i for i in range(len(said))], "stop", int(self.version)))


class Served(Roomy):
    """A real policy behind HTTP: the learner's own model."""

    def __init__(self, engine: LocalEngine) -> None:
        super().__init__()
        self.engine = engine
        self.salts: list[str] = []

    async def _generate(self, body: dict[str, Any]) -> tuple[int, str, bytes]:
        asked = body["sampling_params"]
        await self._going.wait()
        self.salts.append(body["cache_salt"])
        name = f"request {len(self.salts)}"
        sampling = Sampling(max_tokens=asked["max_tokens"], stop=tuple(asked["stop_token_ids"]))
        said = await self.engine.complete(body["token_ids"], sampling, conversation=name, seed=asked["seed"])
        self.engine.forget(name)
        return 200, "", json.dumps(answer(said)).encode()


class Loaded(Served):
    """A real policy with weights of its own: those of the folder it was told last, or of the first, if stale.

    `told` hears every request.
    """

    def __init__(self, *, stale: bool = False, told: Callable[[str], None] = lambda what: None) -> None:
        Roomy.__init__(self)
        self.stale, self.told = stale, told
        self.salts = []
        self.sleep_mode = True

    def _hear(self, asked: str) -> None:
        if asked != "/health":
            self.told(asked)
        super()._hear(asked)

    async def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        before = len(self.loads)
        answer = await super()._answer(path, body)
        if len(self.loads) > before and not (self.stale and len(self.loads) > 1):
            model = AutoModelForCausalLM.from_pretrained(self.loads[-1], dtype="float32")
            self.engine = LocalEngine(model, max_context=4096)
        if path == "/update_weight_version":
            self.engine.version = int(self.version)
        return answer
