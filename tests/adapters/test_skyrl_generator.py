"""SkyRL's own generator on our worlds; only its inference engine is a script. SkyRL needs Python 3.12."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("skyrl")

from skyrl.train.config import GeneratorConfig, SkyRLGymConfig
from skyrl.train.generators.base import TrajectoryID
from skyrl.train.generators.skyrl_gym_generator import SkyRLGymGenerator

from forge_envs import MachineError
from forge_envs.adapters.skyrl import MaskFailures, register_worlds, rows
from tests.adapters.gold import ARGS, TASK, WORLD, Failing, Open, gold, played
from tests.train.tokens import tokenizer

register_worlds()
TOKENS = tokenizer()
TOKENS.chat_template = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Engine:
    """Says the n-th line in the n-th turn of every episode."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(lines)

    async def generate(self, asked: Any, model: str | None = None) -> dict[str, Any]:
        turn = TOKENS.decode(asked["prompt_token_ids"][0]).count("<|im_start|>assistant") - 1
        tokens = TOKENS.encode(self.lines[turn] + "<|im_end|>", add_special_tokens=False)
        told = {"responses": [self.lines[turn]], "response_ids": [tokens], "stop_reasons": ["stop"]}
        return {**told, "response_logprobs": [[-0.1] * len(tokens)]}

    async def finish_session(self, session_id: str) -> None: ...


class Generator(MaskFailures, SkyRLGymGenerator):
    pass


def generated(kind: type[SkyRLGymGenerator], n: int = 3) -> Any:
    config = GeneratorConfig(max_turns=30, max_input_length=100_000, n_samples_per_prompt=n)
    generator = kind(config, SkyRLGymConfig(), Engine(gold()), TOKENS)
    row = rows(WORLD, ARGS, tasks=[TASK])[0]
    batch = {
        "prompts": [row["prompt"]] * n,
        "env_classes": [row["env_class"]] * n,
        "env_extras": [dict(row) for _ in range(n)],
        "sampling_params": None,
        "trajectory_ids": [TrajectoryID(instance_id="0", repetition_id=i) for i in range(n)],
        "batch_metadata": None,
    }
    return asyncio.run(generator.generate(batch, disable_tqdm=True))


@pytest.mark.parametrize("kind", [SkyRLGymGenerator, Generator])
def test_turn_rewards_stand_at_the_last_tokens_of_their_turns(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, direct = Open(monkeypatch), played(gold())
    out = generated(kind)
    said = [len(TOKENS.encode(line + "<|im_end|>", add_special_tokens=False)) for line in gold()]
    for rewards, mask in zip(out["rewards"], out["loss_masks"], strict=True):
        assert sum(rewards) == pytest.approx(direct["reward"]) and sum(mask) == sum(said)
        ends = [i for i, one in enumerate(mask) if one and (i + 1 == len(mask) or not mask[i + 1])]
        expected = [0.5 * reward for reward in direct["turn_rewards"]]
        expected[-1] += 1.0
        assert [rewards[i] for i in ends] == pytest.approx(expected)
    assert not held.held


def test_a_failed_episode_is_masked_or_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(monkeypatch, range(1))
    with pytest.raises(MachineError, match="no answer"):
        generated(SkyRLGymGenerator)
    failing.asked = 0
    out = generated(Generator)
    failed = [i for i, reason in enumerate(out["stop_reasons"]) if reason == "env_error"]
    assert len(failed) == 1
    for i, (rewards, mask) in enumerate(zip(out["rewards"], out["loss_masks"], strict=True)):
        assert any(mask) == (i not in failed) and bool(sum(rewards)) == (i not in failed)
