"""A byte-level tokenizer with ChatML's special tokens, and an engine that says what it is told to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from forge_train.engine import Completion, Sampling

CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def tokenizer(
    special: Sequence[str] = CHATML, eos: str = "<|im_end|>", text: str = ""
) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(special) + 40,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(
        [text or "user assistant system tool\n\n  the order is the order"] * 2, trainer
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, bos_token=special[-1])


def special_tokens_of(template: str) -> list[str]:
    """Every spelling in a chat template that looks like a control token."""
    return sorted(set(re.findall(r"<[|｜][^|｜<>\s]+[|｜]>|<\w*turn\|?>|<\|\w+>|<\w+\|>", template)))


class Script:
    """An engine whose words are `say(tokens so far, seed)`; counts who is open."""

    reproducible = True

    def __init__(
        self, say: Callable[[Sequence[int], int], list[int]], max_context: int = 4096, latency: float = 0
    ):
        self.say, self.max_context, self.latency, self.version = say, max_context, latency, 0
        self.open: set[str] = set()
        self.seeds: list[int] = []

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        assert len(tokens) + sampling.max_tokens <= self.max_context
        self.open.add(conversation)
        self.seeds.append(seed)
        said = self.say(list(tokens), seed)
        await asyncio.sleep(self.latency)
        cut = said[: sampling.max_tokens]
        finish = "stop" if cut[-1] in sampling.stop else "length"
        return Completion(cut, [-0.5] * len(cut), finish, self.version)

    def forget(self, conversation: str) -> None:
        self.open.discard(conversation)

    async def weights_changed(self, version: int) -> None:
        self.version = version

    async def close(self) -> None:
        pass
