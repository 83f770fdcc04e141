"""A randomly initialised Qwen3 of a real size through learner and engine: what a machine makes of it.

    python benchmarks/gpu.py --size 8B --device cuda --dtype bfloat16 --engine vllm --recompute    # one H200
    python benchmarks/gpu.py --size 4B --device cuda --dtype bfloat16 --engine vllm --recompute    # one H100
    python benchmarks/gpu.py --engine vllm                                                # tries it on a CPU

Learner: whole `update`s on groups of 8 multi-turn trajectories, positions and sampled tokens a second, and
model FLOPs utilisation: 6 FLOPs for each weight that is multiplied and position, and 12 for each layer,
dimension of its heads and pair of a query with what it attends to (halved: causal), over seconds and the
peak of the device (--peak, in TFLOPS; known for H100, H200 and A100 in bfloat16). Positions are those that
were forwarded, shared prefixes once. Weights, gradients and both moments are fp32, 16 bytes a weight: 131 GB
for 8B. Engine: sampled tokens a second of `--requests` conversations at once, in process or on a vLLM server
of its own (`make vllm`). Peak memory is torch's, of the learner's process; on a CPU the process's own.
Writes benchmarks/results/gpu.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM
from tree_packing import made

from forge_train.config import Config, LossConfig, OptimConfig
from forge_train.engine import Engine, Sampling
from forge_train.engines.local import LocalEngine
from forge_train.learn.learner import Learner
from forge_train.tiny import train_tokenizer
from forge_train.trajectory import Trajectory

HERE = Path(__file__).parent
SIZES = {  # hidden, intermediate, layers, heads, kv heads, tied: the published configs of Qwen3
    "tiny": (64, 192, 2, 2, 1, True),
    "0.6B": (1024, 3072, 28, 16, 8, True),
    "1.7B": (2048, 6144, 28, 16, 8, True),
    "4B": (2560, 9728, 36, 32, 8, True),
    "8B": (4096, 12288, 36, 32, 8, False),
}
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}
"""TFLOPS in dense bfloat16, from the vendor's data sheets."""
MEMBERS, OPENING, PROMPT = 8, 2700, 512


def qwen3(size: str, device: str) -> Qwen3ForCausalLM:
    hidden, intermediate, layers, heads, kv_heads, tied = SIZES[size]
    config = Qwen3Config(
        vocab_size=2048 if size == "tiny" else 151_936,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=32 if size == "tiny" else 128,
        max_position_embeddings=8192,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device(device):
        return Qwen3ForCausalLM(config).eval()


def flops(model: Qwen3ForCausalLM, group: list[Trajectory], positions: float) -> float:
    """Of one update, forward and backward; see the head of this file."""
    config = model.config
    head = model.get_output_embeddings().weight.numel()
    weights = sum(p.numel() for name, p in model.named_parameters() if "embed_tokens" not in name)
    weights += head if config.tie_word_embeddings else 0
    lengths = [len(segment.tokens) for t in group for segment in t.segments]
    pairs = positions * sum(lengths) / len(lengths) / 2
    width = config.num_attention_heads * config.head_dim
    return 6 * weights * positions + 12 * config.num_hidden_layers * width * pairs


def learn(model: Qwen3ForCausalLM, args: argparse.Namespace) -> dict[str, Any]:
    optim = OptimConfig(lr=1e-6, micro_tokens=args.micro_tokens, gradient_checkpointing=args.recompute)
    learner = Learner(model, optim, device=args.device, dtype=args.dtype)
    group, advantages = made(args.groups, OPENING, MEMBERS)
    seconds, told = [], {}
    for _ in range(args.updates + 1):  # the first one compiles and allocates
        began = time.perf_counter()
        told = learner.update(group, advantages, LossConfig())
        seconds.append(time.perf_counter() - began)
    mean = sum(seconds[1:]) / args.updates
    positions = told["tokens_unique"] * told["amplification"]
    rate = flops(model, group, positions) / mean
    peak = args.peak or next(
        (p for name, p in PEAKS.items() if args.device == "cuda" and name in torch.cuda.get_device_name()), 0
    )
    return {
        "update_s": round(mean, 3),
        "positions_per_s": round(positions / mean),
        "trained_tokens_per_s": round(told["tokens_trained"] / mean),
        "tflops": round(rate / 1e12, 3),
        "mfu": round(rate / (peak * 1e12), 4) if peak else None,
    }


async def sample(engine: Engine, requests: int, tokens: int) -> dict[str, Any]:
    """Sampled tokens a second, after a first round that warms up."""
    sampling, told = Sampling(max_tokens=tokens), {}
    await engine.start()
    try:
        for round_ in range(2):
            began = time.perf_counter()
            said = await asyncio.gather(
                *(
                    engine.complete(
                        [(7 * i + j) % 997 + 3 for j in range(PROMPT)],
                        sampling,
                        conversation=f"{round_}/{i}",
                        seed=i,
                    )
                    for i in range(requests)
                )
            )
            seconds = time.perf_counter() - began
            told = {"sampled_per_s": round(sum(len(s.tokens) for s in said) / seconds), "requests": requests}
    finally:
        await engine.close()
    return told


def engine_of(model: Qwen3ForCausalLM, args: argparse.Namespace, folder: Path) -> Engine:
    context = PROMPT + args.tokens + 1
    if args.engine == "local":
        return LocalEngine(model, max_context=context)
    from forge_train.engines.build import vllm_engine

    rollout = {"engine": "vllm", "max_context": context, "max_action": args.tokens}
    flags = ["--gpu-memory-utilization", str(args.utilization)] if args.device == "cuda" else []
    vllm = {"python": args.python, "dtype": args.dtype, "flags": flags}
    config = Config.model_validate({"worlds": [{"id": "none"}], "rollout": rollout, "vllm": vllm})
    return vllm_engine(config, model, train_tokenizer(["order and refund"], 300), folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--engine", choices=["local", "vllm"], default="local")
    parser.add_argument("--python", default=".venv-vllm/bin/python", help="interpreter of vLLM's environment")
    parser.add_argument(
        "--utilization", type=float, default=0.5, help="share of the GPU that the server takes"
    )
    parser.add_argument("--groups", type=int, default=1, help="of 8 trajectories, in an update")
    parser.add_argument("--updates", type=int, default=2, help="after one that warms up")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32, help="of a request")
    parser.add_argument("--micro-tokens", type=int, default=16_384)
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing")
    parser.add_argument("--peak", type=float, default=0.0, help="TFLOPS of the device")
    args = parser.parse_args()
    model = qwen3(args.size, args.device)
    row: dict[str, Any] = {
        "size": args.size,
        "device": args.device,
        "dtype": args.dtype,
        "engine": args.engine,
    }
    row["weights"] = sum(p.numel() for p in model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        row |= asyncio.run(sample(engine_of(model, args, Path(folder)), args.requests, args.tokens))
    row |= learn(model, args)
    cuda = args.device == "cuda"
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    )
    row["peak_gb"] = round(peak / 1e9, 2)
    print(json.dumps(row))
    out = HERE / "results" / "gpu.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
