"""`forge-train serve`: a model behind an address, for runs that sample there and for whoever judges it."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from forge_train.config import Config
from forge_train.config.gguf import refuse_gguf
from forge_train.engines.server_processes import ServerProcesses
from forge_train.engines.weights import Scratch, save_policy
from forge_train.evaluation.folder import run_of
from forge_train.play.renderer import renderer_for
from forge_train.play.served_template import served_template, shows_tools
from forge_train.record.checkpoint import load_model

_WORD_S = 10.0
"""Seconds between words about servers that are starting."""


def name_of(model: str) -> str:
    """What requests call a model: its folder's name, a checkpoint after its run.

    >>> name_of("runs/demo/"), name_of("runs/demo/checkpoints/step-000040"), name_of("Qwen/Qwen3-8B")
    ('demo', 'demo-step-000040', 'Qwen3-8B')
    """
    path = Path(model).expanduser()
    parts = (path.resolve() if path.is_dir() else path).parts
    if len(parts) > 2 and parts[-1] == "adapter":
        parts = parts[:-1]
    return f"{parts[-3]}-{parts[-1]}" if len(parts) > 2 and parts[-2] == "checkpoints" else parts[-1]


def tool_flags(parser: str | None) -> list[str]:
    """What vLLM must be told to hear calls."""
    return [] if parser is None else ["--enable-auto-tool-choice", "--tool-call-parser", parser]


@contextmanager
def copied(
    model: str, above: Path, dtype: str, *, tools: bool, template: bool = False
) -> Iterator[str | Path]:
    """What servers start from: a hub name, or a copy of a folder's model, below `above`.

    A run goes on and removes old checkpoints; a head that is tied would stay stale: see `save_policy`; and a
    chat template that leaves tools out is replaced where `tools` are asked for, or where there is none,
    unless the servers are given another `template`.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        refuse_gguf(folder)
        yield model
        return
    _say(f"reading {folder} …")
    policy, tokenizer = load_model(folder, dtype=dtype)
    if not template and (not tokenizer.chat_template or (tools and not shows_tools(tokenizer))):
        if tokenizer.chat_template:
            _say("its chat template leaves tools out: served with one that shows them as training does")
        tokenizer.chat_template = served_template(tokenizer, renderer_for(tokenizer))
    scratch = Scratch(above)
    try:
        yield save_policy(policy, tokenizer, scratch.path, dtype=getattr(torch, dtype))
    finally:
        scratch.close()


async def keep_serving(servers: ServerProcesses, model: str, name: str, *, tools: bool) -> None:
    """Start servers, say where they are and how they are used, keep them up until this process is ended."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await _started(servers)
        print(told(servers.urls, model, name, tools=tools), flush=True)
        await servers.given_up()
    except asyncio.CancelledError:
        print("stopping", flush=True)
    finally:
        await servers.stop()


def told(urls: Sequence[str], model: str, name: str, *, tools: bool) -> str:
    """What a person wants to know of servers that are up: their name, a config for them, a line to judge."""
    places = ", ".join(f'"{url}"' for url in urls)
    lines = [f'serving {name}; in a config:\n[rollout]\nengine = "vllm"\n[vllm]\nurls = [{places}]']
    if tools:
        folder = Path(model).expanduser()
        run = run_of(folder) if folder.is_dir() else None
        lines.append(f"to judge it:\n{judging_line(f'openai:{name}@{urls[0]}/v1', run)}")
    else:
        lines.append("to judge it with tools, serve it with --tools")
    return "\n".join(lines)


def judging_line(engine: str, run: Config | None) -> str:
    """The command that judges a served model: in the world of its run, or in one to be named."""
    words = ["forge-train", "eval", "--engine", engine]
    if run is None:
        return f"{shlex.join(words)} --world forge_envs:Forge/Retail-v0"
    world = run.worlds[0]
    words += ["--world", world.id]
    for key, value in {**world.args, **world.eval_args}.items():
        words += ["--arg", f"{key}={json.dumps(value)}"]
    return shlex.join([*words, "--max-action", str(run.rollout.max_action)])


async def _started(servers: ServerProcesses) -> None:
    """Start, and say every now and then what the first that has something to say is at."""
    began = time.monotonic()
    starting = asyncio.create_task(servers.start())
    try:
        while not (await asyncio.wait({starting}, timeout=_WORD_S))[0]:
            _say(f"starting, {time.monotonic() - began:.0f} s: {_last(servers.logs)}")
    except asyncio.CancelledError:
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        raise
    starting.result()


def _last(logs: Sequence[Path]) -> str:
    """The last line of the log that was written last."""
    there = [log for log in logs if log.is_file()]
    newest = max(there, key=lambda log: log.stat().st_mtime, default=None)
    lines = [] if newest is None else newest.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "no word yet")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
