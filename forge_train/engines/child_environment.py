"""The environment of programs that we start: ours, without what torchrun told this process about itself.

A vLLM server that inherits RANK, MASTER_PORT or TORCHELASTIC_USE_AGENT_STORE takes them for its own: it waits
at a rendezvous where nobody else comes (pytorch#192113). Any program that uses torch.distributed would.
"""

from __future__ import annotations

from collections.abc import Mapping

_PREFIXES = ("TORCHELASTIC_", "PET_")
"""Of torchrun's agent, and of its own arguments."""
_NAMES = frozenset(
    {
        "RANK",
        "LOCAL_RANK",
        "GROUP_RANK",
        "ROLE_RANK",
        "ROLE_NAME",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "GROUP_WORLD_SIZE",
        "ROLE_WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING",
    }
)


def child_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What a program that we start may know of our environment.

    torchrun also gives each of its processes one thread where nobody said how many: no server's wish.

    >>> child_environment({"HOME": "/root", "RANK": "1", "MASTER_PORT": "29500", "CUDA_VISIBLE_DEVICES": "0"})
    {'HOME': '/root', 'CUDA_VISIBLE_DEVICES': '0'}
    """
    left_out = set(_NAMES)
    if "TORCHELASTIC_RUN_ID" in ours:
        left_out.add("OMP_NUM_THREADS")
    return {
        name: value for name, value in ours.items() if name not in left_out and not name.startswith(_PREFIXES)
    }
