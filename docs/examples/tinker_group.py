"""A group of four episodes through the Tinker cookbook's own rollouts: `python tinker_group.py [TOKENIZER]`.

A script that knows the answers stands in for the sampling service, so no key is asked. To train, give
`ForgeDatasetBuilder` to `tinker_cookbook.rl.train.Config` with `rollout_error_tolerance=True`.
"""

import asyncio
import sys

from tinker_cookbook.completers import TokenCompleter, TokensWithLogprobs
from tinker_cookbook.rl.rollout_strategy import RetryOnFailure
from tinker_cookbook.rl.rollouts import do_group_rollout

from forge_envs.adapters import Session
from forge_envs.adapters.tinker import ForgeDatasetBuilder


class Answers(TokenCompleter):
    def __init__(self, tokenizer, actions):
        self.tokenizer, self.actions = tokenizer, actions

    async def __call__(self, model_input, stop, *, max_tokens=None):
        turn = self.tokenizer.decode(model_input.to_ints()).count("<|im_start|>assistant") - 1
        tokens = self.tokenizer.encode(self.actions[turn] + "<|im_end|>", add_special_tokens=False)
        return TokensWithLogprobs(tokens, [0.0] * len(tokens))


async def main(model):
    given = {"world": "Forge/Retail-v0", "args": {"turn_weight": 0.1}, "model_name": model}
    sizes = {"batch_size": 2, "group_size": 4, "n": 8, "test_split": None}
    train, _ = await ForgeDatasetBuilder(**given, **sizes, renderer_name="qwen3_instruct")()
    group = train.get_batch(0)[0]
    with Session(group.world) as session:
        actions = session.env.gold_actions(group.task)
    result = await do_group_rollout(group, Answers(group.renderer.tokenizer, actions), RetryOnFailure())
    print(group.task, result.get_total_rewards(), len(result.trajectories_G[0].transitions), "turns")


asyncio.run(main(*sys.argv[1:] or ["Qwen/Qwen3-4B-Instruct-2507"]))
