"""What the processes of test_distributed.py run, and what one process does instead.

`main(JOB, FOLDER)` in each, with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set, as torchrun sets them.
torchrun itself would end the others when one process dies, before they can tell.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from forge_train.config import AlgorithmConfig, CriticConfig, LossConfig, OptimConfig, TinyConfig
from forge_train.learn import plain_weights
from forge_train.learn.critic import Critic
from forge_train.learn.distributed import Processes, RankFailed, join
from forge_train.learn.gae import targets_of
from forge_train.learn.learner import Learner
from forge_train.learn.lockstep import dismiss, follow
from forge_train.learn.lockstep import lead as led
from forge_train.learn.lora import adapter_state, add_lora, load_adapter
from forge_train.record import checkpoint
from forge_train.tiny import train_tokenizer
from forge_train.trajectory import Segment, Trajectory
from tests.train.counting import LiveBytes

VOCAB = 64
OPTIM = {"lr": 1e-2, "eps": 1e-3, "grad_clip": 0.5, "micro_tokens": 40}
"""`eps` so large that a rounding error cannot turn the sign of a step."""


@dataclass(frozen=True)
class Case:
    optim: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    tied: bool = False
    count: int = 6
    """Trajectories of an update."""
    lora: int = 0
    """Rank of the adapters."""
    half: bool = False
    """The frozen weights are bfloat16."""
    apart: bool = False
    """Every turn stands in a segment of its own, so that a trajectory is dealt to several processes."""
    held: bool = False
    """The weights at the beginning are remembered as the reference, and there are lessons."""
    tolerance: float = 1e-5
    """How far weights may be from those of one process."""


HELD = {"objective": "opmd", "kl_weight": 0.2, "entropy_weight": 0.1, "ptx_weight": 0.3}
CASES = {
    "sharded": Case(),
    "padded": Case(optim={"packing": "padded"}),
    "copies": Case(optim={"shard": False}),
    "recomputed": Case(optim={"gradient_checkpointing": True}),
    "tied": Case(tied=True),
    "tied copies": Case(tied=True, optim={"shard": False}),
    "chunked": Case(optim={"head_mb": 0.004}),
    "one trajectory": Case(count=1),
    "minibatches": Case(loss={"minibatches": 3}),
    "bfloat16": Case(dtype="bfloat16"),
    "whole trajectories": Case(loss={"objective": "gspo", "clip_low": 0.5, "minibatches": 2}, apart=True),
    "held": Case(loss=HELD, held=True),
    "held copies": Case(loss=HELD, held=True, optim={"shard": False}),
    # Sums of gradients differ in their last bits, and bfloat16 rounds some of these to the other side.
    "muon": Case(optim={"kind": "muon", "weight_decay": 0.1}, tolerance=5e-4),
}
if find_spec("peft"):
    CASES["held adapters"] = Case(loss=HELD, held=True, lora=4)
    CASES["adapters"] = Case(lora=4)
    CASES["adapters on half"] = Case(lora=4, dtype="bfloat16", half=True)


CRITICS = {
    "sharded": Case(),
    "padded": Case(optim={"packing": "padded"}),
    "copies": Case(optim={"shard": False}),
    "recomputed": Case(optim={"gradient_checkpointing": True}),
    "one trajectory": Case(count=1),
    "bfloat16": Case(dtype="bfloat16"),
}
GAE = AlgorithmConfig(advantage="gae")


def model_of(tied: bool = False) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        initializer_range=0.2,
        tie_word_embeddings=tied,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return Qwen3ForCausalLM(config)


def plays(count: int, *, apart: bool = False) -> tuple[list[Trajectory], list[list[float]]]:
    """Trajectories that share an opening, of very different lengths, and their advantages."""
    rng = random.Random(count)
    words = lambda low, high: [rng.randrange(VOCAB) for _ in range(rng.randint(low, high))]  # noqa: E731
    opening, group, advantages = words(8, 8), [], []
    for i in range(count):
        segment = Segment()
        segment.hear(opening)
        turns = 1 + i % 4
        for action in range(turns):
            said = words(1, 6)
            segment.act(said, [rng.uniform(-6, -2) for _ in said], action)
            segment.hear(words(1, 9))
        segments = [segment]
        if apart:
            ends = [i for i, a in enumerate(segment.action[:-1]) if a >= 0 > segment.action[i + 1]]
            segments = [_seen_once(segment, turn, end + 1) for turn, end in enumerate(ends)]
        group.append(Trajectory("g", segments, rewards=[0.0] * turns))
        advantages.append([rng.uniform(-1, 1) for _ in range(turns)])
    return group, advantages


def _seen_once(segment: Segment, turn: int, end: int) -> Segment:
    """All up to `end`, of which only the action of `turn` is the policy's."""
    mine = [action if action == turn else -1 for action in segment.action[:end]]
    return Segment(segment.tokens[:end], segment.logprobs[:end], mine)


def learner_of(case: Case, model: Any, processes: Processes | None) -> Learner:
    optim = OptimConfig(**(OPTIM | case.optim))
    if case.half:
        model.to(torch.bfloat16)
    if case.lora:
        add_lora(model, rank=case.lora, alpha=8.0, seed=0)
        # B begins at 0, where A has no gradient: a start from which both learn.
        load_adapter(model, {n: torch.full_like(p, 0.02) for n, p in adapter_state(model).items()})
    if processes is None:
        return Learner(model, optim, dtype=case.dtype)
    return led(Learner, processes, model, optim, dtype=case.dtype)


def figures(policy: Learner, case: Case) -> dict[str, Any]:
    """Two updates, then everything that can be asked of a learner."""
    group, advantages = plays(case.count, apart=case.apart)
    if case.held:
        policy.remember()
    lessons = plays(5)[0] if case.held else []
    metrics = [policy.update(group, advantages, LossConfig(**case.loss), lessons) for _ in range(2)]
    for each in metrics:
        del each["seconds"], each["logprob_seconds"]
    return {
        "metrics": metrics,
        "logprobs": policy.logprobs(group),
        "weights": {n: w.clone() for bucket in policy.weights(at_once=4000) for n, w in bucket.items()},
    }


def critic_of(case: Case, processes: Processes | None) -> Critic:
    optim, config = OptimConfig(**(OPTIM | case.optim)), CriticConfig(lr=1e-2, minibatches=2, clip=0.1)
    if processes is None:
        return Critic(model_of(), config, optim, dtype=case.dtype)
    return led(Critic, processes, model_of(), config, optim, dtype=case.dtype)


def valued(critic: Critic, case: Case) -> dict[str, Any]:
    """Two updates, and what the critic thinks then; some episodes were cut off and go on."""
    group, _ = plays(case.count)
    for i, trajectory in enumerate(group):
        trajectory.rewards[-1] = float(i % 2 == 0)
        trajectory.ending = "tokens" if i % 3 == 0 else "terminated"
    metrics = []
    for _ in range(2):
        told = targets_of(group, critic.values(group), GAE, 0.9)
        metrics.append(critic.update(group, told, GAE))
        del metrics[-1]["value_seconds"]
    return {"metrics": metrics, "values": critic.values(group)}


def value(folder: Path, processes: Processes) -> None:
    """The same with critics."""
    for name, case in CRITICS.items():
        critic = critic_of(case, processes)
        torch.save(valued(critic, case), folder / f"critic {name}.pt")
        critic.save(folder / f"critic {name}")
    critic = critic_of(Case(), processes)
    critic.load(folder / "critic saved at 1", version=2, steps=4)
    torch.save(valued(critic, Case()), folder / "critic loaded at 2.pt")


def save(policy: Learner, folder: Path) -> None:
    state = {"version": policy.version, "steps": policy.steps}
    words = train_tokenizer(["order and refund"], TinyConfig().vocab)
    checkpoint.save(folder, 2, model=policy, tokenizer=words, state=state, also=policy.save_moments)


def resume(folder: Path, processes: Processes | None) -> dict[str, Any]:
    saved = checkpoint.latest(folder)
    assert saved is not None
    model, _ = checkpoint.load_model(saved.path)
    policy = learner_of(Case(), model, processes)
    policy.load_moments(saved.path, **saved.state())
    return figures(policy, Case())


def lead(folder: Path, processes: Processes) -> None:
    """Everything that is compared with one process, in one go: starting processes is slow."""
    for name, case in CASES.items():
        policy = learner_of(case, model_of(case.tied), processes)
        torch.save(figures(policy, case), folder / f"{name}.pt")
        if name.startswith("held"):
            policy.save_reference(folder / f"reference {name}")
        if name == "held":
            policy.take_reference(folder / "another")
            torch.save(policy.reference_logprobs(plays(4)[0]), folder / "by another.pt")
        if name == "sharded":
            save(policy, folder / "saved at 2")
            torch.save(figures(policy, case), folder / "went on.pt")
    for start in ("saved at 1", "saved at 2"):
        torch.save(resume(folder / start, processes), folder / f"{start}, loaded at 2.pt")
    value(folder, processes)
    transfer(folder, processes)


AT_ONCE = 6200
"""Bytes of a bucket: the largest weight of `model_of` has 4,096 in bfloat16, all together have 45,000."""
GATHERED: list[tuple[int, int]] = []
"""Of each bucket that was gathered here: the most bytes there were at one time, and those of the bucket."""


def counted(gather: Any) -> Any:
    """`Learner.gather`, counting."""

    @wraps(gather)
    def run(self: Learner, names: list[str], dtype: torch.dtype | None = None) -> Any:
        with LiveBytes() as live:
            found = gather(self, names, dtype)
        GATHERED.append((live.peak, sum(w.nbytes for w in found.values())))
        return found

    return run


def let_go(gather: Any) -> Any:
    """A collective that returns when nothing else holds its tensors.

    A thread of gloo's lets them go a moment later, in a quarter of all cases; what is counted here is what
    this process holds.
    """

    def run(*tensors: torch.Tensor, **kwargs: Any) -> None:
        held = [torch._C._storage_Use_Count(t.untyped_storage()._cdata) for t in tensors]
        gather(*tensors, **kwargs)
        until = time.monotonic() + 60
        while [torch._C._storage_Use_Count(t.untyped_storage()._cdata) for t in tensors] != held:
            assert time.monotonic() < until, "gloo holds the tensors of a collective that has ended"
            time.sleep(0)

    return run


def transfer(folder: Path, processes: Processes) -> None:
    """The learner's weights on their way to a server, and what they took of memory on rank 0."""
    for name in ("sharded", "adapters"):
        policy = learner_of(CASES[name], model_of(), processes)
        GATHERED.clear()
        with LiveBytes() as live:
            for bucket in policy.weights(torch.bfloat16, AT_ONCE):
                del bucket
        gathered, taken = list(GATHERED), dict[str, torch.Tensor]()
        for bucket in policy.weights(torch.bfloat16, AT_ONCE):
            taken |= bucket
        found = {"taken": taken, "whole": policy.full_weights(), "peak": live.peak, "gathered": gathered}
        torch.save(found, folder / f"transfer {name}.pt")


def main(job: str, folder: Path) -> None:
    torch.set_num_threads(1)
    processes = join(deadline=15 if job == "hangs" else 240, idle=240)
    assert processes is not None
    if job == "dies" and not processes.leads:
        Learner.take_step = lambda self, rate: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,method-assign,return-value]
    if job == "hangs" and not processes.leads:
        Learner.take_step = lambda self, rate: time.sleep(600)  # type: ignore[assignment,method-assign,return-value]
    Learner.gather = counted(Learner.gather)  # type: ignore[method-assign]
    plain_weights._gather = let_go(plain_weights._gather)
    try:
        if not processes.leads:
            follow(processes)
            torch.save(GATHERED, folder / f"gathered by {processes.rank}.pt")
            return
        if job == "learns":
            lead(folder, processes)
        elif job == "travels":
            transfer(folder, processes)
        elif job == "copies":
            policy = learner_of(Case(optim={"replicate": 2}), model_of(), processes)
            torch.save(figures(policy, Case()), folder / "two copies.pt")
            save(policy, folder / "saved at 4")
            torch.save(figures(policy, Case()), folder / "went on.pt")
        else:
            policy = learner_of(Case(), model_of(), processes)
            if job == "leader dies":
                os.kill(os.getpid(), signal.SIGKILL)
            figures(policy, Case())
        dismiss(processes)
    except RankFailed as error:
        print(f"RankFailed: {error}", flush=True)
        sys.exit(1)
