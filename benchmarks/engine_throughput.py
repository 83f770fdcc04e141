"""Sampled tokens a second: the in-process engine against Hugging Face `generate`, on the same conversations.

    python benchmarks/engine_throughput.py [--quick] [--rounds 5] [--threads 1]

64 conversations in 8 groups of 8 share a 300-token opening per group and take 5 turns, each of 20-60 sampled
and 20-120 observed tokens; lengths are forced, so both sides do the same work. `generate` is called turn
by turn on left-padded batches of whole histories, as trainers without an engine do, and is not
asked for logprobs, which the engine always returns. The runs alternate; ratios are within a round, so a busy
machine slows both. Counts of tokens that went through the model come first: they depend on no machine.
Writes benchmarks/results/engine_throughput.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from forge_train.engine import Sampling
from forge_train.engines.local import LocalEngine

VOCAB, OPENING = 1024, 300


@dataclass(frozen=True)
class Script:
    """One conversation: its opening, and per turn how much is sampled and what is observed then."""

    name: str
    opening: list[int]
    lengths: list[int]
    observed: list[list[int]]


def scripts(groups: int, size: int, turns: int, seed: int = 0) -> list[Script]:
    rng = random.Random(seed)

    def tokens(n: int) -> list[int]:
        return [rng.randrange(VOCAB) for _ in range(n)]

    out = []
    for group in range(groups):
        opening = tokens(OPENING)
        for member in range(size):
            lengths = [rng.randint(20, 60) for _ in range(turns)]
            observed = [tokens(rng.randint(20, 120)) for _ in range(turns)]
            out.append(Script(f"{group}/{member}", opening, lengths, observed))
    return out


def tiny_qwen3() -> Qwen3ForCausalLM:
    """Qwen3 with random weights: 3 layers, hidden 128, 4 heads, 2 kv heads, untied, fp32."""
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return Qwen3ForCausalLM(config).eval()


def run_engine(model: Qwen3ForCausalLM, played: list[Script]) -> tuple[float, int]:
    """Seconds, and tokens that went through the model."""
    engine = LocalEngine(model, max_context=2048)

    async def one(script: Script) -> None:
        tokens = list(script.opening)
        for turn, (length, observed) in enumerate(zip(script.lengths, script.observed, strict=True)):
            sampling = Sampling(max_tokens=length)
            said = await engine.complete(tokens, sampling, conversation=script.name, seed=turn)
            tokens += said.tokens + observed
        engine.forget(script.name)

    async def everyone() -> None:
        await asyncio.gather(*(one(script) for script in played))
        await engine.close()

    start = time.perf_counter()
    asyncio.run(everyone())
    seconds = time.perf_counter() - start
    assert engine.counters.sampled == sum(sum(s.lengths) for s in played)
    return seconds, engine.counters.prefilled + engine.counters.decoded


def run_generate(model: Qwen3ForCausalLM, played: list[Script], batch: int) -> tuple[float, int]:
    """Seconds, and positions that went through the model, padding included."""
    forwarded = 0

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        nonlocal forwarded
        forwarded += kwargs["input_ids"].numel()

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    torch.manual_seed(1)
    start = time.perf_counter()
    for first in range(0, len(played), batch):
        members = played[first : first + batch]
        histories = [list(script.opening) for script in members]
        for turn in range(len(members[0].lengths)):
            longest = max(map(len, histories))
            ids = torch.tensor([[0] * (longest - len(h)) + h for h in histories])
            mask = torch.tensor([[0] * (longest - len(h)) + [1] * len(h) for h in histories])
            new = max(script.lengths[turn] for script in members)
            with torch.inference_mode():
                out = model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    do_sample=True,
                    top_k=0,
                    max_new_tokens=new,
                    min_new_tokens=None,
                )
            for script, history, row in zip(members, histories, out.tolist(), strict=True):
                history += row[longest : longest + script.lengths[turn]] + script.observed[turn]
    seconds = time.perf_counter() - start
    hook.remove()
    return seconds, forwarded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small run that only shows that it works")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    groups, turns, rounds, batches = (2, 2, 1, [16]) if args.quick else (8, 5, args.rounds, [16, 32, 64])
    played = scripts(groups, 8, turns)
    sampled = sum(sum(script.lengths) for script in played)
    model = tiny_qwen3()
    run_engine(model, played[:8])  # warm up both
    run_generate(model, played[:4], 4)

    runs: dict[str, list[float]] = {"engine": []} | {f"generate, batch {b}": [] for b in batches}
    forwarded: dict[str, int] = {}
    for _ in range(rounds):
        for name in runs:
            if name == "engine":
                seconds, forwarded[name] = run_engine(model, played)
            else:
                seconds, forwarded[name] = run_generate(model, played, int(name.split()[-1]))
            runs[name].append(seconds)

    rows = []
    for name, seconds in runs.items():
        ratios = [other / own for own, other in zip(runs["engine"], seconds, strict=True)]
        rows.append(
            {
                "run": name,
                "tokens_forwarded": forwarded[name],
                "forwarded_per_sampled": round(forwarded[name] / sampled, 2),
                "sampled_per_second": round(sampled / statistics.median(seconds)),
                "engine_is_faster_by": round(statistics.median(ratios), 2),
            }
        )
        print("  ".join(f"{key}: {value}" for key, value in rows[-1].items()))
    best = min(row["engine_is_faster_by"] for row in rows[1:])
    print(f"{sampled} sampled tokens; against the best batch size the engine is {best}x as fast")
    if not args.quick:
        out = Path(__file__).parent / "results" / "engine_throughput.json"
        out.parent.mkdir(exist_ok=True)
        setting = {"conversations": len(played), "turns": turns, "sampled": sampled}
        setting |= {"threads": args.threads, "rounds": rounds, "torch": torch.__version__}
        out.write_text(json.dumps({"setting": setting, "ratio": best, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
