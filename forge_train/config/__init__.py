"""Everything a run can be told, in one TOML file.

`load` reads the file and the overrides of the command line, `dump` writes the resolved result, and
`fingerprint` says whether two configs ask for the same results. A mistake becomes a `ConfigError`
that names the key, the value and the fix; all mistakes are told at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import Field, ValidationError, model_validator

from forge_train.config.agent_program import AgentConfig
from forge_train.config.branching import BRANCHED, BranchingConfig, refuse_branching
from forge_train.config.context import ContextConfig, refuse_context
from forge_train.config.curriculum import CurriculumConfig
from forge_train.config.distill import DistillConfig, refuse_distill
from forge_train.config.explain import ConfigError, explain, show
from forge_train.config.free_keys import FREE_KEYS
from forge_train.config.gguf import refuse_gguf
from forge_train.config.hyperparameters import (
    CRITIC_ESTIMATORS,
    AlgorithmConfig,
    CriticConfig,
    LossConfig,
    OptimConfig,
    Packing,
    SFTConfig,
)
from forge_train.config.learned_text import refuse_learned_text
from forge_train.config.optimizers import refuse_optimizer
from forge_train.config.regularisers import (
    PTXConfig,
    ReferenceConfig,
    asks_reference,
    refuse_reference,
    refuse_regularisers,
)
from forge_train.config.rubric import RubricConfig, refuse_rubric
from forge_train.config.sampling_rules import refuse_sampling
from forge_train.config.section import Section
from forge_train.config.sections import (
    EvalConfig,
    ModelConfig,
    RolloutConfig,
    RunConfig,
    TinyConfig,
    VLLMConfig,
    WorldConfig,
)
from forge_train.config.shaping import ShapingConfig
from forge_train.config.temperature import TemperatureConfig
from forge_train.config.thinking import ThinkingConfig, refuse_thinking
from forge_train.config.unused import refuse_unused

__all__ = [
    "BRANCHED",
    "CRITIC_ESTIMATORS",
    "AgentConfig",
    "AlgorithmConfig",
    "BranchingConfig",
    "Config",
    "ConfigError",
    "ContextConfig",
    "CriticConfig",
    "CurriculumConfig",
    "DistillConfig",
    "EvalConfig",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "PTXConfig",
    "Packing",
    "ReferenceConfig",
    "RolloutConfig",
    "RubricConfig",
    "RunConfig",
    "SFTConfig",
    "ShapingConfig",
    "TemperatureConfig",
    "ThinkingConfig",
    "TinyConfig",
    "VLLMConfig",
    "WorldConfig",
    "asks_reference",
]


class Config(Section):
    """A whole run."""

    run: RunConfig = RunConfig()
    """The run as a whole."""
    model: ModelConfig = ModelConfig()
    """The policy."""
    thinking: ThinkingConfig = ThinkingConfig()
    """What becomes of its thoughts."""
    context: ContextConfig = ContextConfig()
    """What it sees of its past."""
    worlds: tuple[WorldConfig, ...] = Field(strict=False)
    """Where to learn: one or more [[worlds]] tables with id = "module:Name-v0"."""
    rollout: RolloutConfig = RolloutConfig()
    """How episodes are played."""
    curriculum: CurriculumConfig = CurriculumConfig()
    """Which tasks are played when, and which groups are trained."""
    shaping: ShapingConfig = ShapingConfig()
    """What is added to rewards after the verdict."""
    temperature: TemperatureConfig = TemperatureConfig()
    """How the temperature of rollouts moves."""
    agent: AgentConfig = AgentConfig()
    """Who plays them, if it is a program of its own."""
    vllm: VLLMConfig = VLLMConfig()
    """Servers that sample, with rollout.engine = "vllm"."""
    algorithm: AlgorithmConfig = AlgorithmConfig()
    """How rewards become a gradient."""
    branching: BranchingConfig = BranchingConfig()
    """Where episodes branch, for the estimators that compare branches."""
    optim: OptimConfig = OptimConfig()
    """How a gradient changes the weights."""
    critic: CriticConfig = CriticConfig()
    """What PPO expects of the policy."""
    reference: ReferenceConfig = ReferenceConfig()
    """Whom the policy is held to."""
    ptx: PTXConfig = PTXConfig()
    """What it imitates beside."""
    distill: DistillConfig = DistillConfig()
    """Whether to imitate the own successes, round after round."""
    sft: SFTConfig = SFTConfig()
    """What to learn from gold before."""
    rubric: RubricConfig = RubricConfig()
    """What a model is asked to judge, where no rule can."""
    eval: EvalConfig = EvalConfig()
    """How to judge."""

    @property
    def precise(self) -> bool:
        """Whether engine and learner both compute in float32, so that they agree to rounding of it."""
        engine = self.vllm.dtype if self.rollout.engine == "vllm" else "float32"
        return self.model.dtype == engine == "float32"

    @property
    def idle(self) -> float:
        """Seconds in which processes that only help to learn may have nothing to do.

        That is while all worlds are judged and the next groups played, and two hours for what has no clock of
        its own: servers that start, gold episodes, a checkpoint.
        """
        rollout, worlds = self.rollout, len(self.worlds)
        judged = worlds * (1 + self.eval.tasks * self.eval.repeats / rollout.in_flight)
        return 7200.0 + rollout.deadline_s * judged + self.patience

    @property
    def patience(self) -> float:
        """Seconds in which the groups of an update must be there.

        `rollout.patience`, or more where not all in flight can be served at once: who waits in line has no
        deadline, and those in front of them have.
        """
        served = self.vllm.in_flight if self.rollout.engine == "vllm" else SERVED_AT_ONCE
        rounds = 1 + (self.branching.rounds if self.algorithm.advantage in BRANCHED else 0)
        return rounds * self.rollout.patience * max(1.0, self.rollout.in_flight / min(served, SERVED_AT_ONCE))

    @model_validator(mode="after")
    def _groups(self) -> Self:
        if not self.worlds:
            raise ValueError('worlds: none given; add [[worlds]] with id = "module:Name-v0"')
        size, advantage = self.rollout.group_size, self.algorithm.advantage
        if size < 2 and advantage not in CRITIC_ESTIMATORS | {"kept"}:
            raise ValueError(
                f'rollout.group_size = {size}: algorithm.advantage = "{advantage}" compares the members '
                "of a group; use 2 or more"
            )
        if advantage == "max_k" and self.algorithm.best_of > size:
            raise ValueError(
                f"algorithm.best_of = {self.algorithm.best_of}: a group has rollout.group_size = {size} "
                "members to take the best of; raise that, or lower best_of"
            )
        if self.eval.patience and not self.run.eval_every:
            raise ValueError(
                f"eval.patience = {self.eval.patience}: it counts evaluations on the way, and there is none; "
                "set run.eval_every"
            )
        if self.rollout.refill and advantage in CRITIC_ESTIMATORS:
            raise ValueError(
                f'rollout.refill = {self.rollout.refill}: with algorithm.advantage = "{advantage}" a group '
                "whose members all earned the same teaches as much as any other; set it to 0"
            )
        both = [e for e in self.critic.bootstrap if e in (self.algorithm.masked or ())]
        if advantage in CRITIC_ESTIMATORS and both:
            raise ValueError(
                f"algorithm.masked = {list(self.algorithm.masked or ())}: these are not trained on, but "
                f"critic.bootstrap = {list(self.critic.bootstrap)} lets {' and '.join(both)} go on; drop one"
            )
        return self

    @model_validator(mode="after")
    def _across(self) -> Self:
        if self.rollout.workers == "ray" and self.vllm.transfer == "adapter":
            raise ValueError(
                'vllm.transfer = "adapter": workers in Ray do not learn the names of new adapters and would '
                'sample from the model without them; set vllm.transfer = "folder"'
            )
        if self.rollout.workers == "ray" and self.agent.used:
            raise ValueError(
                '[agent] with rollout.workers = "ray": agent programs run where the trainer runs; '
                'set rollout.workers = "local"'
            )
        if self.rollout.deterministic and self.agent.used:
            raise ValueError(
                "rollout.deterministic = true with [agent]: when a program asks is its own affair; set "
                "deterministic = false"
            )
        if self.rollout.placement == "colocated" and self.vllm.transfer == "nccl":
            raise ValueError(
                'vllm.transfer = "nccl": NCCL connects no two processes on one GPU, and rollout.placement = '
                '"colocated" has them there; set vllm.transfer = "folder"'
            )
        refuse_regularisers(self.algorithm, self.reference, self.model.lora_rank)
        refuse_optimizer(self.optim, self.model)
        refuse_distill(self)
        refuse_learned_text(self)
        refuse_thinking(self.thinking, self.rollout, self.agent)
        refuse_branching(self)
        refuse_context(self)
        refuse_rubric(self.rubric, self.worlds, self.rollout, self.algorithm)
        labels = [world.label for world in self.worlds]
        for i, world in enumerate(self.worlds):
            if world.label in labels[:i]:
                raise ValueError(f'worlds.{i}: "{world.label}" is taken; set worlds.{i}.name')
            if world.split == self.eval.split:
                raise ValueError(
                    f'eval.split = "{self.eval.split}": worlds.{i} trains on it, so the score would not '
                    'be one on unseen tasks; use another, e.g. "test"'
                )
        refuse_unused(self)
        refuse_sampling(self)
        return self


SERVED_AT_ONCE = 256
"""Requests that the in-process engine serves at once, unless it is made otherwise."""


def results_of(config: Config) -> dict[str, Any]:
    """The dotted keys and values that decide what a run computes.

    Left out: names and places, the number of steps (a run may be prolonged), what only rounding depends on
    (threads, devices, how work is cut), what is saved, shown and tolerated (`run.*` except the seed), how one
    waits, the servers (`vllm.*` except their precision), and what is not used (the shape of a tiny model).
    """
    flat = flatten(config.model_dump(mode="json"))
    free = [f"{key}." for key in FREE_KEYS]  # a table of them, as vllm.env
    free += ["model.tiny."] if config.model.path else []
    free += ["vllm."] if config.rollout.engine != "vllm" else []
    return {k: v for k, v in flat.items() if k not in FREE_KEYS and not k.startswith(tuple(free))}


def fingerprint(config: Config) -> str:
    """16 hex digits that are equal when two configs ask for the same results; see `results_of`."""
    text = json.dumps(results_of(config), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested tables and lists of tables.

    >>> flatten({"optim": {"lr": 0.1}, "worlds": [{"id": "W-v0"}], "k": [1, 2]})
    {'optim.lr': 0.1, 'worlds.0.id': 'W-v0', 'k': [1, 2]}
    """
    if isinstance(tree, Mapping) and tree:
        items: Iterable[tuple[Any, Any]] = tree.items()
    elif isinstance(tree, list) and tree and all(isinstance(item, Mapping) for item in tree):
        items = enumerate(tree)
    else:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def dump(config: Config) -> str:
    """`config` as TOML with every default written out; `load` reads it back equal."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a config file, apply `section.key=value` overrides in order, and check it all.

    Values are TOML (`3e-4`, `true`, `[1, 2]`, `"text"`); what is not TOML is taken as text, and no value
    (`optim.decay_steps=`) takes back what the file says: the key has its default again.
    Raises ConfigError, which is a ValueError.
    """
    tree = set_keys(read_tree(path) if path is not None else {}, overrides)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        where = f"{path}: " if path is not None else ""
        raise ConfigError([where + problem for problem in explain(error, Config)]) from None
    _check_model_path(config.model.path)
    _check_template(config.model)
    _check_reference(config)
    return config


def set_keys(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`tree` with `key=value` overrides set in order, in place. Raises ConfigError."""
    for override in overrides:
        _apply(tree, override)
    return tree


def read_tree(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, unchecked. Raises ConfigError."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; give the path of a TOML config"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read as text ({error})"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None


def _check_model_path(path: str) -> None:
    """A path that can only be a folder must be one; anything else may be a hub name."""
    refuse_gguf(path)
    local = path.startswith((".", "/", "~", os.sep)) or path.count("/") > 1
    folder = Path(path).expanduser()
    if local and not folder.is_dir():
        raise ConfigError([f'model.path = "{path}": no such folder; give that of a model, or a hub name'])
    if path and folder.is_dir() and not (folder / "config.json").is_file():
        raise ConfigError([f'model.path = "{path}": the folder has no config.json, so it is not a model'])


def _check_reference(config: Config) -> None:
    """A reference is a model like the policy."""
    try:
        refuse_reference(config.reference, config.model.path)
    except ValueError as error:
        raise ConfigError([str(error)]) from None


def _check_template(model: ModelConfig) -> None:
    """A chat template is a file that is there, for a model that is not made here."""
    path = model.chat_template
    if path and not Path(path).expanduser().is_file():
        raise ConfigError([f'model.chat_template = "{path}": no such file; give that of a jinja template'])
    reserved = set(model.template_args) & {"messages", "tools", "add_generation_prompt", "chat_template"}
    if reserved:
        raise ConfigError([f"model.template_args: {min(reserved)} is filled in by the run; leave it out"])


def _apply(tree: dict[str, Any], override: str) -> None:
    """Set one dotted key of `tree`, in place; tables on the way are made."""
    dotted, equals, text = override.partition("=")
    parts = dotted.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError([f'override "{override}": write it as section.key=value, e.g. optim.lr=3e-4'])
    node: Any = tree
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        try:
            key = _slot(node, part, [] if following.isdigit() else {})
        except ValueError as error:
            raise ConfigError([f'override "{override}": {error}']) from None
        parent, node = node, node[key]
    if text.strip() or not isinstance(parent, dict):
        parent[key] = _value(text)
    else:
        del parent[key]


def _slot(node: Any, part: str, new: Any) -> Any:
    """The key or index of `node` that `part` names; where there is nothing yet, `new` is put."""
    if isinstance(node, dict):
        node.setdefault(part, new)
        return part
    if not isinstance(node, list):
        raise ValueError(f'{show(node)} has no key "{part}"')
    if not part.isdigit() or int(part) > len(node):
        raise ValueError(f'"{part}" is no index of a list of {len(node)} (the next free one is {len(node)})')
    if int(part) == len(node):
        node.append(new)
    return int(part)


def _value(text: str) -> Any:
    """`text` as a TOML value, or else as it stands.

    >>> _value("3e-4"), _value("[1, 2]"), _value("grpo")
    (0.0003, [1, 2], 'grpo')
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    # A line break in the text can make more keys than one: then it was never a value.
    return parsed["value"] if len(parsed) == 1 else text.strip()
