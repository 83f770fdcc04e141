"""Two steps of TRL's GRPOTrainer on Forge/Retail: `python docs/examples/trl_grpo.py [MODEL]`.

MODEL is a folder or a hub name, such as Qwen/Qwen3-0.6B. With none, a tiny random one shows that it runs.
"""

import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from forge_envs.adapters.trl import ForgeSpec

spec = ForgeSpec("Forge/Retail-v0", {"size": "tiny", "level": 1, "prompt": "compact"}, n=8)
if len(sys.argv) > 1:
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], padding_side="left")
else:
    from tiny_random import model, tokenizer
args = GRPOConfig(
    output_dir=tempfile.mkdtemp(),
    max_steps=2,
    num_generations=4,
    per_device_train_batch_size=4,
    max_completion_length=256,
    logging_steps=1,
    report_to="none",
    use_cpu=not torch.cuda.is_available(),
    bf16=torch.cuda.is_available(),
)
trainer = GRPOTrainer(
    model=model,
    args=args,
    processing_class=tokenizer,
    train_dataset=spec.train_dataset,
    environment_factory=spec.environment_factory,
    reward_funcs=spec.reward_funcs,
)
trainer.train()
