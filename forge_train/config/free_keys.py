"""What a resumed run may change, because it changes a step's results by rounding at most.

Where it is computed and in how much memory, what is kept and shown, and how long one waits for what may never
come.
"""

from __future__ import annotations

FREE_KEYS = frozenset(
    f"{section}.{key}"
    for section, keys in {
        "run": (
            "name", "out", "threads", "steps", "eval_every", "checkpoint_every", "keep_checkpoints",
            "keep_optimizer", "keep_groups", "max_bugs", "changed_tasks", "trackers", "tracker_args",
            "profile",
        ),
        "vllm": (
            "urls", "count", "gpus", "python", "host", "port", "folder", "in_flight", "deadline_s",
            "attempt_s", "attempts", "health_s", "load_s", "checksums", "start_s", "restarts", "flags", "env",
            "transfer",
        ),
        "rollout": ("workers", "worker_count", "placement", "in_flight", "deadline_s"),
        "agent": ("host", "port", "grace_s"),
        "eval": ("patience", "transcripts"),
        "sft": ("keep",),
        "rubric": ("record", "deadline_s"),
        "model": ("kernels", "device"),
        "optim": (
            "gradient_checkpointing", "shard", "replicate", "micro_tokens", "packing", "head_mb",
            "peak_tflops",
        ),
    }.items()
    for key in keys
)  # fmt: skip
"""Dotted keys; with one that is a table all in it."""
