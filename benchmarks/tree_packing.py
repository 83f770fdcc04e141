"""One update with shared prefixes forwarded once where that pays, optim.packing = "auto", against "padded".

    python benchmarks/tree_packing.py [--quick] [--rounds 3] [--threads 1] [--rollouts runs/demo/rollouts]

Loads, in tokens; members of a group play turns of 30 sampled and 90 observed tokens:
- long: one group of 8, 5 turns after an opening of 2,700, which is what the full-size retail world says first
  (policy and tool schemas). A member goes along with an earlier one for 0 to 4 turns, then forks off.
- short: the same after an opening of 200, in 4 groups.
- alone: 16 episodes that share nothing: here the planner declines, and only its own time is lost.
- demo: with --rollouts, 16 groups that the demo stored (run.keep_groups) from its 60th step on, or its last.

Both sides are the learner's whole `update` (sorting and packing, forward, backward, optimizer step) on the
same model, fp32, micro-batches of 16,384 positions. Rounds alternate and the ratio is taken within a round,
of processor seconds: with one thread they count work and no waiting, so a busy machine changes them little.
Positions depend on no machine. Logprobs and gradients of the two sides are compared, and the script fails
where logprobs differ by more than 1e-5 or gradients by more than 1e-5 of their norm.
Writes benchmarks/results/tree_packing.json.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import random
import statistics
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from forge_train.config import LossConfig, OptimConfig
from forge_train.learn.advantages import grpo
from forge_train.learn.learner import Learner
from forge_train.trajectory import Segment, Trajectory

VOCAB, SAMPLED, OBSERVED, TURNS = 1024, 30, 90, 5
MICRO_TOKENS = 16_384
Load = tuple[list[Trajectory], list[list[float]]]


def tokens(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(VOCAB) for _ in range(count)]


def group(name: str, rng: random.Random, opening: int, size: int) -> list[Trajectory]:
    heard = tokens(rng, opening)
    told: list[list[tuple[list[int], list[int]]]] = []
    members = []
    for i in range(size):
        follows = rng.choice(told)[: rng.randrange(TURNS)] if told else []
        fresh = [(tokens(rng, SAMPLED), tokens(rng, OBSERVED)) for _ in range(TURNS - len(follows))]
        told.append([*follows, *fresh])
        segment = Segment()
        segment.hear(heard)
        for action, (said, answer) in enumerate(told[-1]):
            segment.act(said, [-6.9] * SAMPLED, action)
            segment.hear(answer)
        members.append(Trajectory(name, [segment], rewards=[0.0] * (TURNS - 1) + [float(i % 2)]))
    return members


def made(groups: int, opening: int, size: int = 8) -> Load:
    rng = random.Random(0)
    played = [group(str(i), rng, opening, size) for i in range(groups)]
    return [t for members in played for t in members], [a for members in played for a in grpo(members)]


def alone() -> Load:
    rng = random.Random(0)
    played = [group(str(i), rng, 60, 1)[0] for i in range(16)]
    return played, [[1.0 - 2 * (i % 2)] * TURNS for i in range(16)]


def stored(folder: Path, groups: int = 16) -> Load:
    """Groups of a run's stored episodes, as the trainer would have given them to one update."""
    known = {field.name for field in fields(Trajectory)}
    files = sorted(folder.glob("step-*.jsonl.gz"))
    played: dict[str, list[Trajectory]] = {}
    for file in files[min(60, max(len(files) - groups // 2, 0)) :]:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in map(json.loads, lines):
                row = {"spans": []} | {key: value for key, value in line.items() if key in known}
                played.setdefault(row["group"], []).append(Trajectory.from_dict(row))
    first = list(played.values())[:groups]
    return [t for members in first for t in members], [a for members in first for a in grpo(members)]


def tiny_qwen3(hidden: int, layers: int) -> Qwen3ForCausalLM:
    """Qwen3 with random weights, 4 heads, 2 kv heads, untied, fp32."""
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=hidden // 4,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return Qwen3ForCausalLM(config).eval()


def learner(model: Qwen3ForCausalLM, packing: str) -> Learner:
    optim = OptimConfig.model_validate({"packing": packing, "micro_tokens": MICRO_TOKENS})
    return Learner(copy.deepcopy(model), optim)


def update(model: Qwen3ForCausalLM, load: Load, packing: str) -> tuple[float, dict[str, float], torch.Tensor]:
    """Processor seconds of the first update of `model`, its figures, and its gradient."""
    fresh = learner(model, packing)
    caught: list[torch.Tensor] = []
    parameters = [p for p in fresh.model.parameters()]
    fresh.optimizer.register_step_pre_hook(
        lambda *_: caught.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    )
    start = time.process_time()
    figures = fresh.update(*load, LossConfig(objective="nll"))
    return time.process_time() - start, figures, caught[0]


def logprob_gap(model: Qwen3ForCausalLM, load: Load) -> float:
    found = [learner(model, packing).logprobs(load[0]) for packing in ("auto", "padded")]
    flat = [torch.tensor([v for rows in side for row in rows for v in row]) for side in found]
    return float((flat[0] - flat[1]).abs().max())


def compare(name: str, load: Load, hidden: int, layers: int, rounds: int) -> dict[str, Any]:
    model = tiny_qwen3(hidden, layers)
    gap = logprob_gap(model, load)  # warms both up, too
    seconds: dict[str, list[float]] = {"auto": [], "padded": []}
    figures, gradients = {}, {}
    for _ in range(rounds):
        for packing, taken in seconds.items():
            spent, figures[packing], gradients[packing] = update(model, load, packing)
            taken.append(spent)
    error = float((gradients["auto"] - gradients["padded"]).norm() / gradients["padded"].norm())
    if not (gap <= 1e-5 and error <= 1e-5):
        raise SystemExit(f"{name}: logprobs differ by {gap:.1e}, gradients by {error:.1e} of their norm")
    positions = {p: round(f["amplification"] * f["tokens_unique"]) for p, f in figures.items()}
    row = {
        "load": name,
        "episodes": len(load[0]),
        "tokens_unique": round(figures["auto"]["tokens_unique"]),
        "positions": positions,
        "amplification": {p: round(f["amplification"], 3) for p, f in figures.items()},
        "processor_seconds": {p: round(statistics.median(s), 3) for p, s in seconds.items()},
        "auto_is_faster_by": round(
            statistics.median(p / t for t, p in zip(seconds["auto"], seconds["padded"], strict=True)), 2
        ),
        "logprobs_differ_by": gap,
        "gradients_differ_by": error,
    }
    print("  ".join(f"{key}: {value}" for key, value in row.items()), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small run that only shows that it works")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--rollouts", type=Path, help="stored episodes of a demo run, for the load of the demo"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.quick:
        compare("quick", made(1, 300, 4), 64, 1, 1)
        return
    loads = {"long": made(1, 2700), "short": made(4, 200), "alone": alone()}
    rows = [compare(name, load, 128, 3, args.rounds) for name, load in loads.items()]
    if args.rollouts:
        rows.append(compare("demo", stored(args.rollouts), 192, 2, args.rounds))
    out = Path(__file__).parent / "results" / "tree_packing.json"
    out.parent.mkdir(exist_ok=True)
    setting = {"threads": args.threads, "rounds": args.rounds, "micro_tokens": MICRO_TOKENS}
    out.write_text(
        json.dumps({"setting": setting | {"torch": torch.__version__}, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
