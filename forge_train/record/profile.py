"""Steps under torch's profiler, each a Chrome trace in the run folder. Not asked for, it costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from forge_train.config import RunConfig

OPEN = "open it at https://ui.perfetto.dev (it stays on your machine) or in chrome://tracing"


@contextmanager
def profiled(run: RunConfig, step: int, say: Callable[[str], None] = print) -> Iterator[None]:
    """Record what happens in the block, on all threads and the GPU, if `run.profile` asks for this step.

    `say` shows the one line that tells where the trace is. What the block raises is raised, with nothing
    written; a trace that cannot be written (a full disk) is said and costs the run nothing.
    """
    if step not in run.profile.steps:
        yield
        return
    import torch
    from torch._C._profiler import _ExperimentalConfig
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    # An update beside the rollouts has a thread of its own, which the profiler would else leave out.
    threads = _ExperimentalConfig(profile_all_threads=True)
    with profile(activities=activities, experimental_config=threads) as recorded:
        yield
    folder = Path(run.profile.folder).expanduser() if run.profile.folder else run.folder / "profile"
    path = folder / f"step-{step:06d}.json.gz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        recorded.export_chrome_trace(str(path))
        size = path.stat().st_size / 1e6
    except (OSError, RuntimeError) as error:
        say(f"profile of step {step}: {path} could not be written ({error}); the run goes on")
    else:
        say(f"profile of step {step}: {path} ({size:.1f} MB); {OPEN}")
