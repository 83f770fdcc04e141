"""The text door into TRL: a rollout function in which the model's text is the action.

Tokens are never made anew from text. A rollout is the prompt's tokens, then in turns what the model sampled,
to the token, and what the chat template puts around the world's answer; `env_mask` says which is which.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from forge_envs.adapters.session import Session
from forge_envs.adapters.written import chat_messages
from forge_envs.errors import MachineError
from forge_envs.messages import Observation

MARK = "forge"
"""Key of a prompt's first message that says which task it opens: TRL hands a rollout function no more."""
THREADS = 32
"""Most worlds of a batch that step at once."""
SAID = "FORGE-SAYS-THIS"
"""Stands for the model's action where a template is asked what comes after one."""


@dataclass
class Rollout:
    """One episode and its tokens."""

    session: Session
    prompt: list[int]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    sampled: list[int] = field(default_factory=list)
    """1 where the model wrote the token, 0 where the world did."""
    going: bool = True

    def add(self, tokens: Sequence[int], logprobs: Sequence[float] | None, sampled: int) -> None:
        """Append what the model or the world wrote."""
        self.tokens += tokens
        self.logprobs += [0.0] * len(tokens) if logprobs is None else logprobs
        self.sampled += [sampled] * len(tokens)


class TextRollout:
    """A `rollout_func` of GRPOTrainer: plays a batch of prompts of `ForgeSpec(door="text")` to the end.

    It generates as the trainer does (transformers or vLLM, with the trainer's settings) and keeps to
    `max_completion_length` for a whole episode, in which an action without an end token is none: such an
    episode is graded where it stands, as is one whose next answer has no room. Worlds are kept and reused.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seeds = Seeds(seed)
        self._free: dict[tuple[str, str], list[Session]] = defaultdict(list)

    def __call__(self, prompts: list[list[dict[str, Any]]], trainer: Any) -> dict[str, Any]:
        """What TRL wants of a batch, and the column `forge`: what became of each episode.

        Raises ValueError for a prompt that no ForgeSpec made.
        """
        codec = Codec(trainer)
        with ThreadPoolExecutor(min(THREADS, len(prompts))) as pool:
            rollouts = list(pool.map(lambda prompt: self._begun(prompt, codec), prompts))
            exact = self._play(rollouts, trainer, codec, pool)
            records = list(pool.map(_finished, [rollout.session for rollout in rollouts]))
        for rollout in rollouts:
            if not rollout.tokens:  # its world never began, and TRL wants a token
                rollout.add([codec.end], None, 0)
            self._free[_key(rollout.session.world, rollout.session.args)].append(rollout.session)
        return {
            "prompt_ids": [rollout.prompt for rollout in rollouts],
            "completion_ids": [rollout.tokens for rollout in rollouts],
            "logprobs": [rollout.logprobs for rollout in rollouts] if exact else None,
            "env_mask": [rollout.sampled for rollout in rollouts],
            "forge": records,
        }

    def _play(self, rollouts: list[Rollout], trainer: Any, codec: Codec, pool: ThreadPoolExecutor) -> bool:
        """Turn by turn until all are done. Whether the engine told logprobs; transformers' does not."""
        exact: bool = trainer.use_vllm
        while going := [rollout for rollout in rollouts if rollout.going]:
            context = [rollout.prompt + rollout.tokens for rollout in going]
            sampled, logprobs = trainer._generate_single_turn(context, None, {}, 1)
            for i, rollout in enumerate(going):
                room = codec.room - len(rollout.tokens)
                told = logprobs[i][:room] if logprobs is not None else None
                rollout.add(sampled[i][:room], told, 1)
                rollout.going = codec.ended(rollout.tokens)
            acting = [rollout for rollout in going if rollout.going]
            texts = [codec.text(sampled[i]) for i, rollout in enumerate(going) if rollout.going]
            list(pool.map(_step, acting, texts, [codec] * len(acting)))
        return exact

    def _begun(self, prompt: list[dict[str, Any]], codec: Codec) -> Rollout:
        first = prompt[0] if prompt else None  # a plain text has letters
        mark = first.get(MARK) if isinstance(first, dict) else None
        if mark is None:
            raise ValueError(
                f"a prompt without the key {MARK!r}: train on the train_dataset of the same spec"
            )
        world, args, task = json.loads(mark)
        try:
            session = self._free[world, args].pop()
        except IndexError:
            session = Session(world, json.loads(args))
        clean = [{key: value for key, value in message.items() if key != MARK} for message in prompt]
        rollout = Rollout(session, codec.opening(clean))
        with suppress(MachineError):  # the session remembers it
            session.begin(task, seed=self._seeds.next(f"{world} {args} {task}"))
        rollout.going = not session.over
        return rollout


def _key(world: str, args: dict[str, Any]) -> tuple[str, str]:
    return world, json.dumps(args)


def _step(rollout: Rollout, text: str, codec: Codec) -> None:
    try:
        turn = rollout.session.act(text)
    except MachineError:
        rollout.going = False
        return
    if turn.over:
        rollout.going = False
        return
    answer = codec.answer(turn.messages, rollout.session)
    rollout.going = codec.fits(rollout, answer)
    if rollout.going:
        rollout.add(answer, None, 0)


def _finished(session: Session) -> dict[str, Any]:
    with suppress(MachineError):
        session.finish()
    session.env.release()  # it may be long until the next batch
    return session.record()


class Codec:
    """Messages to tokens and tokens to text, with the trainer's tokenizer, template and limits."""

    def __init__(self, trainer: Any) -> None:
        tokenizer = trainer.processing_class
        self.tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        self.options = trainer.chat_template_kwargs
        self.ends: list[int] = trainer.eos_token_ids
        self.end: int = self.tokenizer.eos_token_id
        self.room: int = trainer.max_completion_length
        self.context: int = _context(trainer)

    def opening(self, messages: list[dict[str, Any]]) -> list[int]:
        """Tokens of a prompt, up to where the model speaks."""
        return self._tokens(self._rendered(messages, True))

    def answer(self, messages: Observation, session: Session) -> list[int]:
        """Tokens between the end token of an action and where the model speaks again."""
        told = chat_messages(messages, session.env.grammar)
        before = [{"role": "user", "content": "."}, {"role": "assistant", "content": SAID}]
        _, found, after = self._rendered([*before, *told], True).partition(SAID)
        if not found:
            raise ValueError("the chat template drops what the assistant said: train with one that keeps it")
        for end in self.ends:
            after = after.removeprefix(self.tokenizer.decode([end]))
        return self._tokens(after)

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether an action is complete."""
        return bool(tokens) and tokens[-1] in self.ends

    def text(self, action: Sequence[int]) -> str:
        """An action without its end token, special tokens of calls included."""
        decoded: str = self.tokenizer.decode(action[:-1] if self.ended(action) else action)
        return decoded

    def fits(self, rollout: Rollout, answer: Sequence[int]) -> bool:
        """Whether the model can still say a word after the answer."""
        length = len(rollout.tokens) + len(answer)
        return length < self.room and len(rollout.prompt) + length < self.context

    def _rendered(self, messages: list[dict[str, Any]], speaks: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=speaks, **self.options
        )
        return text

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens


def _context(trainer: Any) -> int:
    if trainer.use_vllm and trainer.vllm_mode == "colocate":
        return int(trainer.vllm_generation.llm.llm_engine.model_config.max_model_len)
    return int(trainer.model.config.get_text_config().max_position_embeddings)


# -- rewards ------------------------------------------------------------------------------------------


def episode_returns(forge: Sequence[dict[str, Any]], **told: Any) -> list[float | None]:
    """The return of each episode, None where a machine failed; and its parts to the metrics."""
    tell(forge, told.get("log_metric"), told.get("log_extra"))
    return [record["reward"] if record["error"] is None else None for record in forge]


def tell(
    records: Sequence[dict[str, Any]],
    log_metric: Callable[[str, float], None] | None,
    log_extra: Callable[[str, list[Any]], None] | None,
) -> None:
    """Means over the scored episodes of a batch as metrics, and what became of each as columns."""
    scored = [record for record in records if record["error"] is None]
    if log_metric is not None:
        log_metric("forge/failed", 1.0 - len(scored) / len(records))
        names = sorted({name for record in scored for name in record["parts"]})
        means: dict[str, Iterable[float]] = {
            "outcome": [record["outcome"] for record in scored],
            **{f"parts/{name}": [record["parts"].get(name, 0.0) for record in scored] for name in names},
            "turns": [len(record["turn_rewards"]) for record in scored],
        }
        for name, values in means.items():
            if found := list(values):
                log_metric(f"forge/{name}", sum(found) / len(found))
    if log_extra is not None:
        log_extra("forge/task", [record["task"] for record in records])
        log_extra("forge/error", [json.dumps(record["error"]) for record in records])


class Seeds:
    """Seeds of episodes: by run seed, task and how often it was played, whatever came first."""

    def __init__(self, seed: int) -> None:
        self._seed, self._played, self._lock = seed, Counter[str](), threading.Lock()

    def next(self, task: str) -> int:
        """A seed for the next episode of a task."""
        with self._lock:
            played = self._played[task]
            self._played[task] += 1
        return int.from_bytes(hashlib.sha256(f"{self._seed} {task} {played}".encode()).digest()[:4], "big")
