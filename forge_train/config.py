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
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from forge_train.explain import ConfigError, closest, explain, show

GROUP_ESTIMATORS = frozenset({"grpo", "dr_grpo", "rloo"})
"""Estimators that compare the members of a group: with one member nothing is left to learn from."""


def _plain(value: Any, where: str = "args") -> Any:
    """A copy of `value` made of what both TOML and JSON can hold."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    kind = type(value).__name__
    raise ValueError(f"{where} is a {kind}: use text, numbers, true/false, lists or tables of them")


def _known(module: str, registry: str, what: str) -> AfterValidator:
    """Accept the names of a registry; it is imported only when a name is checked."""

    def check(name: str) -> str:
        names = getattr(import_module(f"forge_train.{module}"), registry)
        if name not in names:
            guess = closest(name, names)
            hint = f'; did you mean "{guess}"?' if guess else ""
            raise ValueError(f"no such {what}; known: {', '.join(sorted(names))}{hint}")
        return name

    return AfterValidator(check)


class Section(BaseModel):
    """What all sections share: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class RunConfig(Section):
    """The run as a whole: its name, its length, what it leaves behind."""

    name: str = Field(default="forge", pattern=r"^\w[\w.-]*$")
    """Names the run; letters, digits, dot, dash and underscore."""
    seed: NonNegativeInt = 0
    """The one seed: those of tasks, episodes and weights derive from it by hashing."""
    out: str | None = None
    """Run folder; by default `runs/NAME`."""
    threads: PositiveInt = 2
    """CPU threads of torch. More threads than cores make everything slower."""
    steps: NonNegativeInt = 100
    """Reinforcement steps. 0 stops after supervised training and evaluation; raise it to resume longer."""
    eval_every: NonNegativeInt = 0
    """Evaluate every so many steps; 0 only before and after."""
    checkpoint_every: NonNegativeInt = 10
    """Save every so many steps; 0 only at the end."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints that stay on disk, so that one damaged file never costs the run."""
    keep_groups: NonNegativeInt = 2
    """Groups of each step whose episodes are stored for the report; 0 stores none."""
    max_bugs: NonNegativeInt = 0
    """Episodes that may fail by a bug in a world before the run stops. A bug is not the agent's fault."""

    @property
    def folder(self) -> Path:
        """Where the run lives on disk."""
        return Path(self.out or f"runs/{self.name}").expanduser()


class TinyConfig(Section):
    """A small model with random weights, built on the spot: nothing to download."""

    hidden: PositiveInt = 128
    """Width of the residual stream."""
    layers: PositiveInt = 3
    """Transformer blocks."""
    heads: PositiveInt = 4
    """Attention heads; divides `hidden`."""
    kv_heads: PositiveInt = 2
    """Key and value heads; divides `heads`."""
    vocab: int = Field(default=1024, ge=300)
    """Tokens: 256 bytes, the special ones, and merges learned from the worlds' own texts."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden = {self.hidden}: use a multiple of 2 x heads ({2 * self.heads})")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads = {self.kv_heads}: use a divisor of heads ({self.heads})")
        return self


class ModelConfig(Section):
    """The policy: a Hugging Face model by path, or else a tiny one."""

    path: str = ""
    """Folder or hub name of a causal language model; empty builds `tiny`."""
    tiny: TinyConfig = TinyConfig()
    """Shape of the model to build; not looked at when `path` is set."""
    renderer: Literal["auto", "chatml", "template"] = "auto"
    """How messages become tokens: our ChatML, the tokenizer's own template, or whichever fits."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the learner's forward pass. Weights and optimizer stay float32: small updates count."""
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?|mps)$")
    """Where the model lives: cpu, cuda, cuda:N or mps."""


class WorldConfig(Section):
    """One world to learn in: `gymnasium.make(id, **args)`."""

    id: str = Field(min_length=1)
    """Gymnasium id, with the module that registers it: `forge_envs:Forge/Retail-v0`."""
    args: Annotated[dict[str, Any], BeforeValidator(lambda v: _plain(v) if isinstance(v, dict) else v)] = {}
    """Arguments of the world's constructor; they reproduce it, so only plain values."""
    weight: PositiveFloat = 1.0
    """Share of groups drawn from this world, relative to the others."""
    name: str | None = None
    """Name in metrics; by default the id without its module. Needed when one id is used twice."""
    split: str = Field(default="train", min_length=1)
    """Tasks to train on."""
    tasks: PositiveInt = 4096
    """How many of them; epochs repeat when a run needs more."""

    @property
    def label(self) -> str:
        """`name`, or the id without its module."""
        return self.name or self.id.split(":")[-1]


class RolloutConfig(Section):
    """How episodes are played while training."""

    engine: Literal["local", "scripted"] = "local"
    """local: in process, on the learner's own weights. scripted: fixed replies, for tests."""
    group_size: PositiveInt = 8
    """Episodes of one task that are compared with each other."""
    groups: PositiveInt = 16
    """Tasks of one step; `group_size * groups` episodes feed one update."""
    in_flight: PositiveInt = 256
    """Episodes at once: more keep the engine's batch full and cost memory."""
    max_context: int = Field(default=2048, ge=2)
    """Longest episode in tokens, the world's words included."""
    max_action: PositiveInt = 128
    """Longest action in tokens, the stop token included."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature. At 0 the members of a group are equal and nothing is learned. There is no top-p
    or top-k here: tokens they cut off make the ratio of learner to engine biased."""
    deadline_s: PositiveFloat = 600.0
    """Seconds after which an episode is given up, so that one hung world cannot stop the run."""

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.max_action >= self.max_context:
            raise ValueError(
                f"max_action = {self.max_action}: it must be below max_context ({self.max_context}), "
                "or no prompt fits before the first action"
            )
        return self


class LossConfig(Section):
    """From advantages to one gradient."""

    objective: Annotated[str, _known("losses", "OBJECTIVES", "objective")] = "clipped"
    """Per-token loss, a name in `forge_train.losses.OBJECTIVES`."""
    clip_low: float = Field(default=0.2, ge=0, lt=1)
    """The ratio of current to proximal probability is clipped below 1 - clip_low."""
    clip_high: NonNegativeFloat = 0.28
    """And above 1 + clip_high; a higher bound above keeps rare tokens alive (DAPO, arXiv 2503.14476)."""
    importance_cap: NonNegativeFloat = 2.0
    """Largest weight that corrects for the engine's probabilities differing from the learner's; 0: none."""
    denominator: Literal["token", "turn", "trajectory", "constant"] = "token"
    """What the sum of token losses is divided by, over the whole optimizer step."""
    constant: PositiveFloat | None = None
    """The divisor when `denominator` is constant (Dr. GRPO, arXiv 2503.20783)."""
    minibatches: PositiveInt = 1
    """Optimizer steps of one update; above 1 the clipping begins to matter."""

    @model_validator(mode="after")
    def _divisor(self) -> Self:
        if self.denominator == "constant" and self.constant is None:
            raise ValueError('denominator = "constant": set constant, e.g. the token budget of one update')
        if self.denominator != "constant" and self.constant is not None:
            raise ValueError(
                f'constant = {self.constant}: it is used only with denominator = "constant"; '
                f'set that or drop constant (denominator is "{self.denominator}")'
            )
        return self


class AlgorithmConfig(LossConfig):
    """From rewards to advantages to one gradient."""

    advantage: Annotated[str, _known("advantages", "ESTIMATORS", "advantage")] = "grpo"
    """Estimator of advantages, a name in `forge_train.advantages.ESTIMATORS`."""
    train_out_of_tokens: bool = False
    """Train on episodes that ran out of tokens or context, as outcome 0; else they are left out."""


class OptimConfig(Section):
    """AdamW and its schedule."""

    lr: PositiveFloat = 3e-4
    """Learning rate at its peak. 3e-4 suits the tiny model; billions of weights want about 1e-6."""
    betas: tuple[float, float] = Field(default=(0.9, 0.95), strict=False)
    """Decay of the first and second moment, each in [0, 1)."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay (arXiv 1711.05101)."""
    grad_clip: PositiveFloat = 1.0
    """Largest norm of a gradient; longer ones are scaled down."""
    warmup: NonNegativeInt = 0
    """Optimizer steps of linear warmup from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After warmup; linear and cosine fall to 0 at `decay_steps`."""
    decay_steps: PositiveInt | None = None
    """Optimizer steps until the rate is 0. Apart from run.steps, so that a run can be prolonged."""
    micro_tokens: PositiveInt = 4096
    """Tokens of one forward pass; bounds memory and never changes a gradient."""

    @model_validator(mode="after")
    def _shape(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas = {list(self.betas)}: each must lie in [0, 1)")
        if self.schedule != "constant" and self.decay_steps is None:
            raise ValueError(
                f'schedule = "{self.schedule}": set decay_steps, usually run.steps x algorithm.minibatches'
            )
        if self.decay_steps is not None and self.decay_steps <= self.warmup:
            raise ValueError(f"decay_steps = {self.decay_steps}: it must exceed warmup ({self.warmup})")
        return self


class SFTConfig(Section):
    """Supervised training on gold episodes before reinforcement."""

    episodes: NonNegativeInt = 0
    """Gold episodes to learn from; 0 skips supervised training."""
    epochs: PositiveInt = 3
    """Passes over them."""
    steps: PositiveInt | None = None
    """Stop after so many optimizer steps, whatever the epochs say."""
    batch: PositiveInt = 32
    """Episodes of one optimizer step."""
    lr: PositiveFloat = 1e-3
    """Learning rate; what is not said here is that of `optim`."""
    warmup: NonNegativeInt = 0
    """Optimizer steps of linear warmup from 0."""


class EvalConfig(Section):
    """How a policy is judged."""

    split: str = Field(default="test", min_length=1)
    """Tasks to judge on; never those of training."""
    tasks: PositiveInt = 100
    """How many, of each world."""
    repeats: PositiveInt = 4
    """Episodes of each task."""
    k: tuple[PositiveInt, ...] = Field(default=(1, 2, 4), strict=False)
    """Report pass@k (one of k succeeds) and pass^k (all k succeed) for these; none above `repeats`."""
    temperature: NonNegativeFloat = 1.0
    """0 is greedy; 1 judges the distribution that is trained."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        above = [k for k in self.k if k > self.repeats]
        if above:
            fits = [k for k in self.k if k <= self.repeats]
            raise ValueError(
                f"k = {list(self.k)}: none may exceed repeats ({self.repeats}); "
                f"set k = {fits} or repeats = {max(above)}"
            )
        return self


class Config(Section):
    """A whole run."""

    run: RunConfig = RunConfig()
    """The run as a whole."""
    model: ModelConfig = ModelConfig()
    """The policy."""
    worlds: tuple[WorldConfig, ...] = Field(strict=False)
    """Where to learn: one or more [[worlds]] tables with id = "module:Name-v0"."""
    rollout: RolloutConfig = RolloutConfig()
    """How episodes are played."""
    algorithm: AlgorithmConfig = AlgorithmConfig()
    """How rewards become a gradient."""
    optim: OptimConfig = OptimConfig()
    """How a gradient changes the weights."""
    sft: SFTConfig = SFTConfig()
    """What to learn from gold before."""
    eval: EvalConfig = EvalConfig()
    """How to judge."""

    @model_validator(mode="after")
    def _across(self) -> Self:
        if not self.worlds:
            raise ValueError('worlds: none given; add [[worlds]] with id = "module:Name-v0"')
        size, advantage = self.rollout.group_size, self.algorithm.advantage
        if size < 2 and advantage in GROUP_ESTIMATORS:
            raise ValueError(
                f'rollout.group_size = {size}: algorithm.advantage = "{advantage}" compares the members '
                "of a group; use 2 or more"
            )
        labels = [world.label for world in self.worlds]
        for i, world in enumerate(self.worlds):
            if world.label in labels[:i]:
                raise ValueError(f'worlds.{i}: "{world.label}" is taken; set worlds.{i}.name')
            if world.split == self.eval.split:
                raise ValueError(
                    f'eval.split = "{self.eval.split}": worlds.{i} trains on it, so the score would not '
                    'be one on unseen tasks; use another, e.g. "test"'
                )
        return self


# What a resumed run may change, because it does not change what any step computes.
_FREE = frozenset(
    f"run.{key}"
    for key in (
        "name", "out", "threads", "steps", "eval_every", "checkpoint_every", "keep_checkpoints",
        "keep_groups", "max_bugs",
    )
)  # fmt: skip


def results_of(config: Config) -> dict[str, Any]:
    """The dotted keys and values that decide what a run computes.

    Left out: names and places, the number of steps (a run may be prolonged), threads (rounding only),
    and what is saved, shown and tolerated (`run.*` except the seed), and the unused shape of a tiny model.
    """
    flat = flatten(config.model_dump(mode="json"))
    unused = "model.tiny." if config.model.path else "\0"
    return {k: v for k, v in flat.items() if k not in _FREE and not k.startswith(unused)}


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

    Values are TOML (`3e-4`, `true`, `[1, 2]`, `"text"`); what is not TOML is taken as text.
    Raises ConfigError, which is a ValueError.
    """
    tree = _read(path) if path is not None else {}
    for override in overrides:
        _apply(tree, override)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        where = f"{path}: " if path is not None else ""
        raise ConfigError([where + problem for problem in explain(error, Config)]) from None
    _check_model_path(config.model.path)
    return config


def _read(path: Path) -> dict[str, Any]:
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
    local = path.startswith((".", "/", "~", os.sep)) or path.count("/") > 1
    folder = Path(path).expanduser()
    if local and not folder.is_dir():
        raise ConfigError([f'model.path = "{path}": no such folder; give that of a model, or a hub name'])
    if path and folder.is_dir() and not (folder / "config.json").is_file():
        raise ConfigError([f'model.path = "{path}": the folder has no config.json, so it is not a model'])


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
    parent[key] = _value(text)


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
