"""The policy of a run: a model and its tokenizer, from nothing, from a folder, or from a checkpoint."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from forge_train import sft, tiny
from forge_train.agents.build import agent_reader
from forge_train.config import Config
from forge_train.engine import Engine
from forge_train.engines.copied import CopiedEngine
from forge_train.engines.local import LocalEngine
from forge_train.learn.kernels import fuse_kernels
from forge_train.learn.learner import Learner
from forge_train.learn.lora import adapter_state, add_lora, load_adapter
from forge_train.learn.plain_weights import full_weights, model_weights
from forge_train.play.context import words_of
from forge_train.play.format import Format, read_template, settle
from forge_train.play.hearing import readers_of, require_heard
from forge_train.play.past import Limits
from forge_train.play.renderer import Renderer, renderer_for
from forge_train.play.world_pool import World
from forge_train.record import checkpoint
from forge_train.record.checkpoint import Checkpoint
from forge_train.record.pretrained import load_pretrained
from forge_train.seeds import derive_seed
from forge_train.trajectory import Trajectory

TOKENIZER_TEXTS = 512
"""Texts that a tiny model's tokenizer is trained on: demonstrations, and openings of tasks as far as those
are fewer."""


def gold(config: Config, worlds: Mapping[str, World], count: int) -> list[sft.Messages]:
    """`count` gold episodes of the train splits, spread evenly over the worlds."""
    share, more = divmod(count, len(config.worlds))
    return [
        messages
        for i, world in enumerate(config.worlds)
        if share + (i < more)
        for messages in sft.gold_episodes(
            worlds[world.label], worlds[world.label].tasks(world.split, share + (i < more))
        )
    ]


def lessons(config: Config, worlds: Mapping[str, World], renderer: Renderer) -> list[list[Trajectory]]:
    """The batches of supervised training."""
    return list(sft.batches(shown(config, worlds, renderer), config.sft, seed=config.run.seed))


def shown(config: Config, worlds: Mapping[str, World], renderer: Renderer) -> list[Trajectory]:
    """The demonstrations as tokens."""
    limits = Limits(config.rollout.max_context, config.rollout.max_action)
    stored = demonstrations(config, worlds)
    learn = config.sft.learn
    return sft.trajectories(stored, renderer, worlds.values(), config.context, limits, learn)


def demonstrations(
    config: Config, worlds: Mapping[str, World], most: int | None = None
) -> list[sft.Messages]:
    """What supervised training is shown, at most `most`: stored episodes, or gold ones of the worlds."""
    count = config.sft.episodes if most is None else min(most, config.sft.episodes)
    if config.sft.path:
        return sft.read_episodes(Path(config.sft.path).expanduser())[:count]
    return gold(config, worlds, count)


def imitated(
    config: Config, worlds: Mapping[str, World], renderer: Renderer
) -> Callable[[int], Sequence[Trajectory]] | None:
    """What an update of each step imitates beside (`ptx`), a function of the seed; None where nothing."""
    if not config.algorithm.ptx_weight:
        return None
    settings, seed = config.ptx, config.run.seed
    if path := settings.path or config.sft.path:
        stored = sft.read_episodes(Path(path).expanduser())[: settings.episodes]
    else:
        stored = gold(config, worlds, settings.episodes)
    pool = sft.trajectories(stored, renderer, worlds.values())
    count = min(settings.batch * config.algorithm.minibatches, len(pool))
    return lambda step: random.Random(derive_seed(seed, "ptx", step)).sample(pool, count)


def heard(config: Config, worlds: Mapping[str, World]) -> list[sft.Messages]:
    """What a tiny model's tokenizer should know: demonstrations, and what worlds say first to other tasks.

    No gold beyond the demonstrations: how they are said would be known of tasks nobody showed.
    """
    episodes = demonstrations(config, worlds, TOKENIZER_TEXTS)
    share = -(-(TOKENIZER_TEXTS - len(episodes)) // len(config.worlds))
    for world in config.worlds if share > 0 else ():
        found = worlds[world.label]
        episodes += sft.openings(found, found.tasks(world.split, min(share, world.tasks)))
    return episodes


def make_policy(config: Config, worlds: Mapping[str, World], saved: Checkpoint | None) -> tuple[Any, Any]:
    """Model and tokenizer: the checkpoint's, the one at `model.path`, or a tiny one with random weights.

    With `model.lora_rank` the model carries adapters: new ones, or the checkpoint's.
    """
    settings = config.model
    # A checkpoint holds adapters merged, and apart in its state: begin with the model as the run did.
    if saved is not None and not settings.lora_rank:
        model, tokenizer = checkpoint.load_model(saved.path)
    elif settings.path:
        dtype = getattr(torch, settings.dtype) if settings.lora_rank else torch.float32
        model, tokenizer = load_pretrained(settings.path, dtype=dtype)
    else:
        texts = [*tiny.texts_of(heard(config, worlds)), *words_of(config.context)]
        tokenizer = tiny.train_tokenizer(texts, settings.tiny.vocab)
        seed = derive_seed(config.run.seed, "model")
        positions = max(tiny.POSITIONS, config.rollout.max_context)
        model = tiny.tiny_model(tokenizer, settings.tiny, seed=seed, positions=positions)
    if settings.chat_template:
        tokenizer.chat_template = read_template(settings.chat_template)
    if settings.lora_rank:
        # Nothing else will move: it is kept in the precision it is computed with.
        model.to(getattr(torch, settings.dtype))
        seed = derive_seed(config.run.seed, "adapters")
        add_lora(model, rank=settings.lora_rank, alpha=settings.lora_alpha, seed=seed)
        if saved is not None:
            load_adapter(model, saved.state()["adapter"])
    return model, tokenizer


def make_renderer(
    config: Config, model: Any, tokenizer: Any, worlds: Mapping[str, World], *, began: float
) -> Renderer:
    """How the policy is spoken to; the tokenizer carries the settings from now on.

    `began`: the time that a template which reads the clock is told, in seconds since 1970. Raises ValueError
    for a template that cannot carry an episode, and for worlds that would not hear its calls.
    """
    settings, thinking = config.model, config.thinking
    settle(
        tokenizer,
        model,
        Format(
            renderer=settings.renderer,
            past=thinking.past,
            began=began,
            args=settings.template_args,
            budget=thinking.budget,
            early_stop=thinking.early_stop,
            context=config.context.model_dump(exclude_defaults=True),
        ),
    )
    renderer = renderer_for(tokenizer)
    require_heard(
        renderer, readers_of(worlds.values()) if not config.agent.used else [agent_reader(config.agent)]
    )
    return renderer


@dataclass(slots=True)
class Current:
    """Whoever trains the model at this stage: engines with weights of their own ask it for new ones."""

    learner: Learner | None = None

    def buckets(self, dtype: torch.dtype | None = None) -> Iterator[Mapping[str, Tensor]]:
        """The plain model's weights, some at a time."""
        assert self.learner is not None, "weights change by a learner"
        return self.learner.weights(dtype)

    def weights_of(self, model: Any, dtype: torch.dtype | None) -> Iterator[Mapping[str, Tensor]]:
        """The same, of the model itself while nobody has begun to learn."""
        return model_weights(model, dtype) if self.learner is None else self.learner.weights(dtype)

    def adapter_of(self, model: Any) -> dict[str, Tensor]:
        """Its adapters, likewise."""
        return adapter_state(model) if self.learner is None else self.learner.adapter()


def make_engine(
    config: Config,
    model: Any,
    tokenizer: Any,
    current: Current,
    *,
    device: torch.device,
    spread: bool,
    logs: Path,
) -> Engine:
    """What samples: in process on the learner's weights, on a copy of them, or on servers.

    `spread`: the learner's weights will lie on several processes, so that no engine can read them.
    """
    if config.model.kernels == "liger":
        fuse_kernels(model, device.type)
    plain = not config.model.lora_rank
    if config.rollout.engine == "vllm":
        from forge_train.engines.build import vllm_engine

        weights = partial(current.weights_of, model)
        adapter = partial(current.adapter_of, model)
        return vllm_engine(config, model, tokenizer, logs, weights=weights, adapter=adapter)
    if plain and not spread:
        return LocalEngine(model.to(device), max_context=config.rollout.max_context)
    copied = _plain_copy(model, has_adapters=not plain).to(device)
    return CopiedEngine(copied, current.buckets, max_context=config.rollout.max_context)


def _plain_copy(model: Any, *, has_adapters: bool) -> Any:
    """A copy with its adapters merged."""
    if not has_adapters:
        return copy.deepcopy(model)
    return plain_model(model, full_weights(model))


def plain_model(like: Any, weights: Mapping[str, Tensor]) -> Any:
    """A model of the config of `like`, whole and without adapters, with these weights."""
    with torch.random.fork_rng(devices=[]):
        plain = AutoModelForCausalLM.from_config(like.config, dtype=like.dtype)
    plain.load_state_dict(weights, strict=False)  # a tied head has no weights of its own
    return plain.eval()
