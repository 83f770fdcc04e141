"""Many processes, one learner: who is there, what each waits for, and how weights are spread.

`torchrun` starts the processes. Rank 0 plays, decides and writes, the others do what it does with the
weights (`lockstep.py`). No wait is without an end: work has a deadline on both sides, and whoever waits in
vain says for whom. A process that dies is noticed at once, since its connections close.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import MethodType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from forge_train.config import OptimConfig
from forge_train.learn.batch import Batch, Sample
from forge_train.learn.kernels import blocks
from forge_train.learn.packing import Prices, collated, deal_packs, microbatches, packs

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

ROLL_CALL_S = 5.0
"""After a failure: how long rank 0 waits for each of the others to say that it is still there."""

IDLE = Sample(
    trajectory=-1,
    segment=-1,
    tokens=torch.zeros(2, dtype=torch.int64),
    at_N=torch.ones(1, dtype=torch.int64),
    action_N=torch.zeros(1, dtype=torch.int64),
    behaviour_N=torch.zeros(1),
    advantage_N=torch.zeros(1),
)
"""What a process forwards, at weight 0, while others have a micro-batch more: gathering weights takes all."""


class RankFailed(RuntimeError):
    """Another process died, hung or never came; the text says which, as far as can be known."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that torchrun started; made by `join`."""

    rank: int
    size: int
    device: torch.device
    names: tuple[str, ...]
    """Each rank with its machine and process id, so that a person finds it."""
    deadline: float
    """Seconds that a collective of an update, and rank 0's wait for the others, may take."""
    idle: float
    """Seconds that the others wait for work of rank 0, which may be busy playing (`Config.idle`)."""
    control: dist.ProcessGroup
    """Where work is waited for: apart, so that its deadline is not that of an update."""

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def tell(self, work: object) -> None:
        """Rank 0: hand `work` to all others, once each has finished what it was told before."""
        with self.waiting("handing out work", roll_call=False):
            dist.monitored_barrier(self.control, timedelta(seconds=self.deadline), wait_all_ranks=True)
            dist.broadcast_object_list([work], src=0)

    def hear(self) -> Any:
        """The others: wait for what rank 0 tells."""
        box = [None]
        limit = f"{self.idle:g} s at most, which rollout.deadline_s decides"
        with self.waiting(f"waiting for work of {self.names[0]}, {limit}", roll_call=False):
            dist.monitored_barrier(self.control, timedelta(seconds=self.idle))
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Everybody's `value`, by rank. All must call it."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of whole copies. All must call it."""
        grads = [p.grad for p in parameters if p.grad is not None]
        for pending in [dist.all_reduce(grad, async_op=True) for grad in grads]:
            pending.wait()

    @contextmanager
    def waiting(self, what: str, *, roll_call: bool = True) -> Iterator[None]:
        """Turn a failed exchange with other processes into RankFailed; other errors pass.

        With NCCL a hung collective does not come back as an error: its watchdog ends the process after
        the deadline, with a text of its own.
        """
        try:
            yield
        except RuntimeError as error:
            if not _is_exchange(error):
                raise
            text = self._missing() if roll_call else str(error)
            named = [self.names[int(rank)] for rank in _missing_ranks(text) if int(rank) < self.size]
            others = [name for rank, name in enumerate(self.names) if rank != self.rank]
            who = f"no sign of {', '.join(named)}" if named else f"lost one of {', '.join(others)}"
            reason = str(error).splitlines()[0][:200]
            raise RankFailed(
                f"{self.names[self.rank]} was {what}: {who}. It died or hung; its own output says why. "
                f"The same command continues from the last checkpoint ({reason})"
            ) from error

    def _missing(self) -> str:
        """Rank 0 learns who is still there; the others answer it. Returns torch's text about it."""
        try:
            dist.monitored_barrier(self.control, timedelta(seconds=ROLL_CALL_S), wait_all_ranks=True)
        except RuntimeError as error:
            return str(error)
        return ""

    def leave(self) -> None:
        """Close the connections. Only after work that went well: it may wait for others."""
        dist.destroy_process_group()


def join(*, device: str = "cpu", deadline: float = 600.0, idle: float = 7200.0) -> Processes | None:
    """Meet the processes that torchrun started; None when there is only this one.

    device: "cuda" is this process's own GPU of the machine. Raises ValueError for a device that several
    processes cannot use, RankFailed when not all come within `deadline` seconds.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return None
    rank = int(os.environ["RANK"])
    if device not in ("cpu", "cuda"):
        raise ValueError(f'device = "{device}": several processes need "cpu" or "cuda" (each its own GPU)')
    place = torch.device(device)
    if device == "cuda":
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    me = f"rank {rank} ({socket.gethostname()}, process {os.getpid()})"
    names: list[Any] = [None] * size
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=timedelta(seconds=deadline)
        )
        control = dist.new_group(backend="gloo", timeout=timedelta(seconds=max(idle, deadline)))
        dist.all_gather_object(names, me)
    except RuntimeError as error:
        raise RankFailed(
            f"{me} waited {deadline:g} s for the others: not all {size} processes came ({error})"
        ) from error
    return Processes(rank, size, place, tuple(names), deadline, idle, control)


def together(what: str) -> Callable[[F], F]:
    """Mark a method that all processes run at once; `what` they are doing, as a person says it.

    `lockstep.lead` makes the others do what rank 0 is asked for.
    """

    def mark(method: F) -> F:
        method.together = what  # type: ignore[attr-defined]
        return method

    return mark


def spread(model: Any, processes: Processes, *, copies: int, bfloat16: bool) -> None:
    """Give each process rank 0's weights, in place: its part of one of `copies` (FSDP2), or, with 0, all.

    On rank 0 `model` is whole; on the others it may lie on the meta device. Parameters keep their dtype
    (float32 as master); with `bfloat16` they are gathered and computed with in bfloat16, gradients are
    summed in float32. Sums, not means: the weights of tokens already are those of the whole step.
    A model that is spread is left as it is. ValueError when it does not name its blocks, and for copies that
    cannot be equally many processes' each.
    """
    if getattr(model, "is_spread", False):
        return
    shard = copies > 0
    if shard and processes.size % copies:
        raise ValueError(
            f"optim.replicate = {copies}: {processes.size} processes do not make so many equal shares; use a "
            "divisor of their number, usually the number of nodes"
        )
    model.is_spread = True
    weights = {name: value.detach() for name, value in model.state_dict().items()} if processes.leads else {}
    if shard:
        _shard(model, processes, copies, bfloat16)
    if processes.leads:
        model.to(processes.device)
    else:
        model.to_empty(device=processes.device)
        if not shard:
            model.tie_weights()
    if shard:
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        set_model_state_dict(model, weights, options=options)
    copied = list(model.buffers()) if shard else [*model.parameters(), *model.buffers()]
    for value in copied:
        dist.broadcast(value.detach(), src=0)


def _shard(model: Any, processes: Processes, copies: int, bfloat16: bool) -> None:
    """FSDP2: one unit per block, one for what surrounds them, and those that `model.exact` names.

    The latter compute with weights as they are. With several copies (HSDP) the processes of one are
    neighbours, which torchrun puts on one machine.
    """
    kind, each = processes.device.type, processes.size // copies
    if copies > 1:
        mesh = init_device_mesh(kind, (copies, each), mesh_dim_names=("copy", "part"))
    else:
        mesh = init_device_mesh(kind, (each,))
    half = torch.bfloat16 if bfloat16 else None
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
    # The outer unit too gives its weights back after a forward: scoring without gradient is followed by
    # no backward that would, and reading weights must always find the parts.
    exact = list(getattr(model, "exact", ()))
    for unit in [*blocks(model), *exact, model]:
        chosen = MixedPrecisionPolicy(reduce_dtype=torch.float32) if unit in exact else policy
        fully_shard(unit, mesh=mesh, mp_policy=chosen, reshard_after_forward=True)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    model.within = MethodType(_run, model)
    register_fsdp_forward_method(model, "within")


def _run(model: nn.Module, run: Callable[..., T], *args: Any) -> T:
    return run(*args)


def within(model: Any, run: Callable[..., T], *args: Any) -> T:
    """`run(*args)` while the weights around the blocks (embedding, norm, head) are whole.

    FSDP gathers weights when a module's forward is called; the learner calls backbone and head apart.
    """
    held: Callable[..., T] | None = getattr(model, "within", None)
    return run(*args) if held is None else held(run, *args)


def gathered(value: Tensor) -> Tensor:
    """The value of a part that is spread, on every process (all must call it); others as they are."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shared_batches(
    found: Sequence[Sample],
    optim: OptimConfig,
    prices: Prices,
    processes: Processes | None,
    device: torch.device,
) -> Iterator[tuple[list[Sample], Batch]]:
    """This process's micro-batches of `found`, each with its samples. All must call it.

    Every process plans for all, so none has to be asked. As many as any other process has, with an idle one
    at the end where it has one less: in each forward all gather weights.
    """
    planned = packs(found, optim.micro_tokens, optim.packing, prices)
    hands = deal_packs(planned, processes.size if processes else 1, prices)
    mine = hands[processes.rank if processes else 0]
    for pack in mine:
        batch = collated(found, pack, optim.micro_tokens, prices)
        yield [found[i] for i in batch.samples], batch.to(device)
    for _ in range(max(map(len, hands)) - len(mine)):
        yield [IDLE], microbatches([IDLE], 1, "padded")[0].to(device)


def _is_exchange(error: RuntimeError) -> bool:
    """gloo raises bare RuntimeErrors, told only by their text."""
    return isinstance(error, dist.DistError) or bool(re.search(r"gloo|monitoredBarrier", str(error)))


def _missing_ranks(text: str) -> list[str]:
    """The ranks that torch says did not come."""
    found = re.search(r"Ranks? ([\d, ]+) failed to pass", text)
    return re.findall(r"\d+", found[1]) if found else []
