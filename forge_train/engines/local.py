"""The in-process engine: samples from the learner's own weights, no server, no second copy.

Requests join and leave a running batch (continuous batching). One asyncio task runs steps while there is
work: let requests in, one forward pass over everything that is to be computed, one token for each request
that is ready for one. What was computed for a conversation stays until it is forgotten, the weights
change, or room is needed; what conversations have in common is computed once (see `pages`).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from forge_train.clock import current
from forge_train.engine import Completion, EngineFailed, Finish, Sampling, completion
from forge_train.engines.attention import Prefill, plan_decode, plan_prefill
from forge_train.engines.decoder import Decoder, Ragged
from forge_train.engines.pages import PAGE, Chain, Pages, common_prefix
from forge_train.engines.requests import Counters, Request
from forge_train.engines.sampler import confidences, sample, uniforms

CACHE_BYTES = 4 << 30
"""Most memory that keys and values take unless the caller says otherwise."""
STEP_TOKENS = 2048
"""Most tokens of one forward pass, decoding rows aside: bounds the memory of activations."""
WORTH_WAITING = 16
"""A request waits for another's prefill when that spares it this many tokens."""


class LocalEngine:
    """An `Engine` on a Hugging Face causal language model (Qwen3, Qwen2, Llama), on its device, in its dtype.

    `slots`: requests that run at once; more wait. `cache_tokens`: tokens whose keys and values are held,
    rounded up to pages; by default what `slots` full contexts need, but at most 4 GiB.
    Weights are read in place; after changing them call `weights_changed`.
    """

    reproducible = True
    shares_weights = True

    def __init__(
        self,
        model: nn.Module,
        *,
        max_context: int,
        slots: int = 256,
        cache_tokens: int | None = None,
        version: int = 0,
    ) -> None:
        if slots < 1 or max_context < 2:
            raise ValueError(f"slots={slots}, max_context={max_context}: need at least 1 slot and 2 tokens")
        self.version = version
        self.max_context = max_context
        self.slots = slots
        self.counters = Counters()
        self._model = model
        self._decoder = decoder = Decoder(model, max_context)
        shape = (len(decoder.layers), decoder.kv_heads, decoder.head_dim)
        token_bytes = 2 * int(np.prod(shape)) * decoder.dtype.itemsize
        if cache_tokens is None:
            longest = -(-max_context // PAGE) * PAGE
            cache_tokens = max(longest, min(slots * longest, CACHE_BYTES // token_bytes))
        if cache_tokens < max_context:
            raise ValueError(
                f"cache_tokens={cache_tokens} cannot hold one context of max_context={max_context} tokens: "
                f"raise it ({token_bytes} bytes a token) or lower max_context"
            )
        self._pages = Pages(shape, -(-cache_tokens // PAGE), decoder.dtype, decoder.device)
        self._chains: dict[str, Chain] = {}  # least recently used first
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._busy: dict[str, Request] = {}
        self._seats = list(range(slots))
        self._table = np.zeros((slots, -(-max_context // PAGE)), dtype=np.int64)
        self._loop: asyncio.Task[None] | None = None
        self.turn: Callable[[str], AbstractAsyncContextManager[Any]] = nullcontext
        """Each request is answered inside of this, by its conversation's name: it may be made to wait."""
        self._closed = False

    # ------------------------------------------------------------------------------------- requests

    async def start(self) -> None:
        """There is nothing to wait for."""

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        """Sample one action after `tokens`; see `Engine`.

        Should the weights change meanwhile, it goes on under the new ones, and `spans` says so.
        Raises ValueError when `tokens` is empty, leaves no room, holds an id the model does not have, or
        when `conversation` is already being continued; RuntimeError when the engine is closed.
        """
        async with self.turn(conversation):
            return await self._complete(tokens, sampling, conversation, seed)

    async def _complete(
        self, tokens: Sequence[int], sampling: Sampling, conversation: str, seed: int
    ) -> Completion:
        if self._closed:
            raise RuntimeError("the engine is closed")
        prompt = list(tokens)
        self._check(prompt, conversation)
        request = Request(
            conversation,
            self._chains.pop(conversation) if conversation in self._chains else Chain(),
            prompt,
            len(prompt),
            min(len(prompt) + sampling.max_tokens, self.max_context),
            sampling,
            seed,
            asyncio.get_running_loop().create_future(),
        )
        self._chains[conversation] = request.chain
        self._busy[conversation] = request
        if (clock := current()) is not None:
            clock.stop()
            request.clock = clock
        self._waiting.append(request)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run(), name="LocalEngine")
        try:
            return await request.future
        finally:
            request.seated()
            if self._busy.get(conversation) is request:  # cancelled: nobody waits for the rest
                self._leave(request)

    def forget(self, conversation: str) -> None:
        """The conversation is over; unknown names are ignored. A request of it in flight runs to its end."""
        chain = self._chains.get(conversation)
        if chain is not None and conversation not in self._busy:
            self._pages.release(self._chains.pop(conversation))
        elif chain is not None:
            del self._chains[conversation]

    async def prove(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        again: Collection[str] = (),
    ) -> dict[str, list[Completion]]:
        """Nothing: the learner's own weights cannot be stale."""
        return {}

    async def weights_changed(self, version: int) -> None:
        """The weights are now those of `version`: drop all keys and values.

        Requests in flight keep what they have sampled and go on under the new weights.
        """
        self.version = version
        self._decoder = Decoder(self._model, self.max_context)
        self._pages.clear()
        for request in reversed(self._running):
            self._seats.append(request.seat)
            self._waiting.appendleft(request)
        self._running = []
        for name in [name for name in self._chains if name not in self._busy]:
            del self._chains[name]
        for request in self._busy.values():
            request.chain = Chain()
            if request.conversation in self._chains:
                self._chains[request.conversation] = request.chain

    async def close(self) -> None:
        """Fail what is in flight and drop all keys and values."""
        self._closed = True
        if self._loop is not None and not self._loop.done():
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        self._fail(RuntimeError("the engine was closed while this request was in flight"))

    def _check(self, prompt: list[int], conversation: str) -> None:
        if not prompt:
            raise ValueError(f"conversation {conversation!r}: there is nothing to continue, tokens is empty")
        if len(prompt) >= self.max_context:
            raise ValueError(
                f"conversation {conversation!r} has {len(prompt)} tokens, which leaves no room below "
                f"max_context={self.max_context}: raise max_context, or end the conversation earlier"
            )
        if min(prompt) < 0 or max(prompt) >= self._decoder.vocab:
            raise ValueError(
                f"conversation {conversation!r} has token ids from {min(prompt)} to {max(prompt)}, the model "
                f"knows 0 to {self._decoder.vocab - 1}: is the tokenizer the model's own?"
            )
        if conversation in self._busy:
            raise ValueError(
                f"conversation {conversation!r} is already being continued: one request at a time, "
                "or a name for each"
            )

    # ------------------------------------------------------------------------------------- the loop

    async def _run(self) -> None:
        """Steps while there is work; between them everybody else gets a turn."""
        try:
            while self._waiting or self._running:
                self._step()
                await asyncio.sleep(0)
        except Exception as error:
            self._fail(error)
        except asyncio.CancelledError:
            self._fail(RuntimeError("the engine's task was cancelled while this request was in flight"))
            raise

    def _fail(self, error: Exception) -> None:
        """Every request gets `error`; what was computed is dropped, since a step may have been cut short."""
        for request in self._busy.values():
            if not request.future.done():
                request.future.set_exception(error)
        self._busy, self._chains, self._running = {}, {}, []
        self._waiting.clear()
        self._seats = list(range(self.slots))
        self._pages.clear()

    @torch.inference_mode()
    def _step(self) -> None:
        """One forward pass."""
        self._admit()
        singles: list[Request] = []
        prefills: list[tuple[Request, int]] = []
        budget = STEP_TOKENS
        for request in self._running:
            count = request.missing
            if count == 1:
                singles.append(request)
            elif budget > 0:
                count = min(count, budget)
                budget -= count
                prefills.append((request, count))
            else:
                continue
            self._make_room(request, request.chain.computed + count)
        with self._decoder.threads(len(singles) + sum(count for _, count in prefills)):
            batch, ready = self._batch(singles, prefills)
            logits = self._decoder.forward(batch, self._pages)
            draws = uniforms([r.seed for r in ready], [len(r.tokens) for r in ready])
            said = sample(logits, [r.sampling for r in ready], draws) if ready else ([], [])
            asked = [i for i, r in enumerate(ready) if r.sampling.top_logprobs]
            if asked:
                found = confidences(logits[asked], [ready[i].sampling for i in asked])
                for i, value in zip(asked, found, strict=True):
                    ready[i].confidence.append(value)
        self.counters.steps += 1
        for request, count in [(r, 1) for r in singles] + prefills:
            fed_back = request.chain.computed + count - max(request.prompt, request.chain.computed)
            self.counters.decoded += max(0, fed_back)
            self.counters.prefilled += count - max(0, fed_back)
            self._pages.computed(request.chain, count)
        for request, token, logprob in zip(ready, *said, strict=True):
            self._said(request, token, logprob)

    def _batch(
        self, singles: list[Request], prefills: list[tuple[Request, int]]
    ) -> tuple[Ragged, list[Request]]:
        """The input of the forward pass, and the requests that get a token from it."""
        device, kv_heads = self._decoder.device, self._decoder.kv_heads
        repeat = self._decoder.heads // kv_heads
        at = np.array([r.chain.computed for r in singles], dtype=np.int64)
        seats = np.array([r.seat for r in singles], dtype=np.int64)
        tokens = [r.tokens[-1] for r in singles]
        positions, pages = [at], [self._table[seats, at // PAGE]]
        wanted, ready = list(range(len(singles))), list(singles)
        plans: list[Prefill] = []
        for request, count in prefills:
            past, first = request.chain.computed, len(tokens)
            tokens += request.tokens[past : past + count]
            places = np.arange(past, past + count)
            held = self._table[request.seat, : -(-(past + count) // PAGE)]
            positions.append(places)
            pages.append(held[places // PAGE])
            plans.append(
                plan_prefill(slice(first, len(tokens)), held, past, repeat, self._decoder.dtype, device)
            )
            if past + count == len(request.tokens):
                wanted.append(len(tokens) - 1)
                ready.append(request)
        batch = Ragged(
            tokens=torch.tensor(tokens, device=device),
            positions=torch.from_numpy(np.concatenate(positions)).to(device),
            pages=torch.from_numpy(np.concatenate(pages)).to(device),
            wanted=torch.tensor(wanted, dtype=torch.int64, device=device),
            singles=len(singles),
            decode=plan_decode(self._table[seats], at + 1, (kv_heads, repeat), device) if singles else None,
            prefills=plans,
        )
        return batch, ready

    def _said(self, request: Request, token: int, logprob: float) -> None:
        """Append a sampled token; hand the action over when it is finished."""
        if not -math.inf < logprob < math.inf:
            self._pages.scrub(request.chain)
            self._leave(request)
            self.forget(request.conversation)
            if not request.future.done():
                what = f"{request.conversation}: the logprob of a token is {logprob}"
                request.future.set_exception(EngineFailed(what, retryable=False))
            return
        request.versions.append(self.version)
        request.tokens.append(token)
        request.logprobs.append(logprob)
        self.counters.sampled += 1
        stopped = token in request.sampling.stop
        if stopped or len(request.tokens) == request.limit:
            finish: Finish = "stop" if stopped else "length"
            said = request.tokens[request.prompt :]
            self._leave(request)
            if not request.future.done():
                request.future.set_result(
                    completion(said, request.logprobs, finish, request.versions, request.confidence)
                )

    # ------------------------------------------------------------------------------------- admission

    def _admit(self) -> None:
        """Let waiting requests in, in order, as seats and pages allow."""
        later: list[Request] = []
        while self._waiting and self._seats:
            request = self._waiting.popleft()
            if self._worth_waiting(request):
                later.append(request)
            elif self._fits(request):
                request.seat = self._seats.pop()
                request.seated()
                self.counters.copied += self._pages.adopt(request.chain)
                self._seat(request)
                self._running.append(request)
            else:
                self._waiting.appendleft(request)
                break
        self._waiting.extendleft(reversed(later))

    def _worth_waiting(self, request: Request) -> bool:
        """Whether someone is just computing what `request` needs: members of a group that start together."""
        own = common_prefix(request.chain.tokens, request.tokens) if request.chain.computed else 0
        for other in self._running:
            if other.missing > WORTH_WAITING:
                have = max(own, other.chain.computed)
                if common_prefix(request.tokens, other.tokens) - have >= WORTH_WAITING:
                    return True
        return False

    def _fits(self, request: Request) -> bool:
        """Make room for all that `request` may need, so that nothing that runs ever has to be thrown out."""
        self._pages.keep(request.chain, request.tokens)
        promised = sum(-(-r.limit // PAGE) - len(r.chain.pages) for r in self._running)
        need = promised - (-request.limit // PAGE) - len(request.chain.pages)
        while self._pages.free < need:
            if not self._evict():
                return False
        return True

    def _evict(self) -> bool:
        """Drop what is kept for the conversation idle for longest; False if that frees nothing more.

        While nothing runs, those that wait are next, last in line first: otherwise they could hold all pages
        between them and none could ever start.
        """
        idle = next((name for name in self._chains if name not in self._busy), None)
        if idle is not None:
            self._pages.release(self._chains.pop(idle))
        else:
            holding = (
                None if self._running else next((r for r in reversed(self._waiting) if r.chain.pages), None)
            )
            if holding is None:
                return False
            self._pages.release(holding.chain)
        self.counters.evictions += 1
        return True

    def _make_room(self, request: Request, length: int) -> None:
        """Pages for `length` tokens: promised at admission, taken when they are needed."""
        before = len(request.chain.pages)
        if before * PAGE < length:
            self._pages.reserve(request.chain, length)
            self._seat(request, before)

    def _seat(self, request: Request, first: int = 0) -> None:
        pages = request.chain.pages
        self._table[request.seat, first : len(pages)] = [page.id for page in pages[first:]]

    def _leave(self, request: Request) -> None:
        """`request` is over, finished or not; what was computed stays for the next turn."""
        del self._busy[request.conversation]
        if request in self._running:
            self._running.remove(request)
            self._seats.append(request.seat)
        else:
            self._waiting.remove(request)
        if self._chains.get(request.conversation) is not request.chain:  # forgotten meanwhile
            self._pages.release(request.chain)
