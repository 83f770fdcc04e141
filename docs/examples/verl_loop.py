"""One episode through verl's agent loop: `python verl_loop.py TOKENIZER` (a folder or a name on the Hub).

A script that knows the answers stands in for verl's server. To train, write `rows(...)` to a parquet file.
"""

import asyncio
import sys

from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.workers.rollout.replica import TokenOutput

from forge_envs.adapters import Session
from forge_envs.adapters.verl import ForgeAgentLoop, rows


class Answers:
    def __init__(self, actions, tokenizer):
        self.said = iter([tokenizer.encode(f"{a}<|im_end|>", add_special_tokens=False) for a in actions])

    async def generate(self, request_id, *, prompt_ids, sampling_params):
        tokens = next(self.said)
        return TokenOutput(token_ids=tokens, log_probs=[-0.1] * len(tokens), stop_reason="completed")


async def main(name):
    row = rows("Forge/Retail-v0", {"turn_weight": 0.1}, n=1)[0]
    with Session("Forge/Retail-v0") as session:
        actions = session.env.gold_actions(row["extra_info"]["task"])
    tokenizer = AutoTokenizer.from_pretrained(name)
    room = {"prompt_length": 30_000, "response_length": 30_000}
    config, data = (OmegaConf.create(x) for x in ({"actor_rollout_ref": {"rollout": room}}, {}))
    given = (tokenizer, None, None, DictConfigWrap(data), "qwen3")
    loop = ForgeAgentLoop(DictConfigWrap(config), Answers(actions, tokenizer), *given)
    out = await loop.run({"temperature": 1.0}, **row)
    print(f"reward {out.reward_score}: {sum(out.response_mask)} of {len(out.response_ids)} tokens sampled")


asyncio.run(main(sys.argv[1])) if len(sys.argv) == 2 else sys.exit(__doc__)
