"""TRL's GRPOTrainer in the tiny world: a whole training step as installed, its rollouts dictated."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from functools import partial
from importlib.metadata import version
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import trl
import world
from datasets import Dataset
from models import at_table, gradient_at_table, gradient_of_all, qwen
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, PrinterCallback
from world import EOS, GREEN, NOT_OFFERED, PAD, RED, VOCAB, Cell, Group, Library

UNITS = {"token": "dapo", "episode": "grpo", "constant": "dr_grpo"}


def tokenizer() -> Any:
    plain = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCAB)}, unk_token=f"t{PAD}"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token=f"t{PAD}", eos_token=f"t{EOS}", unk_token=f"t{PAD}"
    )


def earned(completions: list[Any], earned: list[float | None], **rest: Any) -> list[float | None]:
    return earned


class Trl:
    """A member that a machine failed has no reward (None) and, without an end token, is masked."""

    units = ("token", "episode", "constant")
    rows = False

    def learn(
        self,
        model: Any,
        groups: list[Group],
        unit: str,
        micro: int | None = None,
        multiple: int | None = None,
    ) -> None:
        size, total = len(groups[0]), sum(map(len, groups))
        waiting = {f"t{i}": deque(group) for i, group in enumerate(groups)}

        def dictated(prompts: list[str], trainer: Any) -> dict[str, Any]:
            said: dict[str, list[Any]] = {
                name: [] for name in ("prompt_ids", "completion_ids", "logprobs", "env_mask", "earned")
            }
            for prompt in prompts:
                e = waiting[prompt].popleft()
                (row,) = e.rows
                at = next(i for i, (_, turn) in enumerate(row) if turn >= 0)
                said["prompt_ids"].append([token for token, _ in row[:at]])
                said["completion_ids"].append([token for token, _ in row[at:]])
                said["env_mask"].append([int(turn >= 0) for _, turn in row[at:]])
                said["logprobs"].append([0.0] * len(row[at:]))
                said["earned"].append(sum(e.rewards) if e.graded else None)
            return said

        with tempfile.TemporaryDirectory() as out:
            args = trl.GRPOConfig(
                output_dir=out,
                max_steps=1,
                num_generations=size,
                per_device_train_batch_size=micro or total,
                gradient_accumulation_steps=total // (micro or total),
                max_completion_length=int(world.CONSTANT),
                loss_type=UNITS[unit],
                scale_rewards="none",
                mask_truncated_completions=any(not e.graded for group in groups for e in group),
                pad_to_multiple_of=multiple,
                beta=0.0,
                max_grad_norm=0.0,
                learning_rate=1e-9,
                shuffle_dataset=False,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            )
            trainer = trl.GRPOTrainer(
                model=model,
                args=args,
                reward_funcs=[earned],
                train_dataset=Dataset.from_list([{"prompt": name} for name in waiting]),
                processing_class=tokenizer(),
                rollout_func=dictated,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()

    def gradient(self, table: Tensor, groups: list[Group], unit: str, *, micro: int | None = None) -> Tensor:
        model = at_table(table)
        return gradient_at_table(model, lambda: self.learn(model, groups, unit, micro))


def padding() -> Cell:
    """Prompts are padded on the left, completions on the right: a model with attention, to multiples of 8."""
    found = []
    for micro, multiple in ((None, None), (None, 8), (1, None)):
        model = qwen()
        learn = partial(Trl().learn, model, world.groups(), "token", micro, multiple)
        found.append(gradient_of_all(model, learn))
    worst = max(world.apart(found[0], other) for other in found[1:])
    return (GREEN if worst <= world.CLOSE else RED), f"more padding, and a row each: {worst:.1e} apart"


SHOWN = {
    "a failed member changes nobody's gradient": (
        "import torch; from world import *; from on_trl import Trl\n"
        'g = [Trl().gradient(table(), x, "episode").norm() for x in (groups(), with_failed())]\n'
        'print(f"loss_type=grpo: gradient {g[0]:.4f}, with masked members {g[1]:.4f}")'
    ),
}
OVERRIDES = {
    "a group of one": (NOT_OFFERED, "num_generations must be at least 2"),
    "a turn's reward moves no later turn": (
        NOT_OFFERED,
        "one advantage a completion; (B, T) is for subclasses",
    ),
}

if __name__ == "__main__":
    world.answer(
        Library(Trl(), version("trl"), {"padding changes nothing": padding}, overrides=OVERRIDES, shown=SHOWN)
    )
