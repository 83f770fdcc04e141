"""What learns, where and how it is played and judged: the other sections of a config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from forge_train.config.section import Section
from forge_train.config.watching import ProfileConfig, check_trackers


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


PlainTable = Annotated[dict[str, Any], BeforeValidator(lambda v: _plain(v) if isinstance(v, dict) else v)]


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
    keep_optimizer: PositiveInt = 2
    """Of these, the newest that keep the optimizer's state, which is twice the model. From one without it
    nothing is continued or replayed to the bit; 1 is enough for a run that is never damaged."""
    keep_groups: NonNegativeInt = 2
    """Groups of each step whose episodes are stored for the report; 0 stores none."""
    max_bugs: NonNegativeInt = 0
    """Episodes that may fail by a bug in a world before the run stops. A bug is not the agent's fault."""
    changed_tasks: bool = False
    """Go on with a run although its tasks are not those it began with (`tasks.json` of its folder)."""
    trackers: tuple[str, ...] = Field(default=(), strict=False)
    """Where figures go beside the run folder: tensorboard, wandb, mlflow, trackio, or a "module:Class" of
    your own (docs/trackers.md). One that is down costs the run nothing."""
    tracker_args: dict[str, PlainTable] = Field(default_factory=dict)
    """Arguments of each, a table by its name, for example wandb = { project = "desks", mode = "offline" }."""
    profile: ProfileConfig = ProfileConfig()
    """Steps that torch's profiler records."""

    @property
    def folder(self) -> Path:
        """Where the run lives on disk."""
        return Path(self.out or f"runs/{self.name}").expanduser()

    @model_validator(mode="after")
    def _watched(self) -> Self:
        check_trackers(self.trackers, self.tracker_args)
        return self


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
    tied: bool = False
    """Whether the embeddings are the head, too. Copying is then learned once and not for each token: the way
    where what must be said are names that were never said before (docs/search.md)."""

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
    chat_template: str = ""
    """File with a chat template (jinja) in place of the tokenizer's own; it stays with every checkpoint."""
    template_args: PlainTable = Field(default_factory=dict)
    """Arguments of the chat template, for example {enable_thinking = false} of Qwen3."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the learner's forward pass; on cuda the default is bfloat16. Weights and optimizer stay
    float32: small updates count. With LoRA only the adapters do; the frozen weights are kept in it, too."""
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?|mps)$")
    """Where the model lives: cpu, cuda, cuda:N or mps. With torchrun: cpu, or cuda for a GPU each."""
    lora_rank: NonNegativeInt = 0
    """Train adapters of this rank (LoRA, arXiv 2106.09685) and freeze the rest; 0 trains everything."""
    lora_alpha: PositiveFloat = 32.0
    """An adapter's update is scaled by lora_alpha / lora_rank."""
    kernels: Literal["torch", "liger"] = "torch"
    """liger: fused kernels for training on a GPU."""

    @model_validator(mode="before")
    @classmethod
    def _follow_the_device(cls, told: Any) -> Any:
        """What is not said follows the device; a resolved config says all of it."""
        if isinstance(told, Mapping) and str(told.get("device", "cpu")).startswith("cuda"):
            return {"dtype": "bfloat16", **told}
        return told


class WorldConfig(Section):
    """One world to learn in: `gymnasium.make(id, **args)`."""

    id: str = Field(min_length=1)
    """Gymnasium id, with the module that registers it: `forge_envs:Forge/Retail-v0`."""
    args: PlainTable = Field(default_factory=dict)
    """Arguments of the world's constructor; they reproduce it, so only plain values."""
    eval_args: PlainTable = Field(default_factory=dict)
    """Arguments that differ where the policy is judged: another model for a user, a longer limit of turns."""
    weight: PositiveFloat = 1.0
    """Share of groups drawn from this world, relative to the others."""
    name: str | None = None
    """Name in metrics; by default the id without its module. Needed when one id is used twice."""
    split: str = Field(default="train", min_length=1)
    """Tasks to train on."""
    tasks: PositiveInt = 4096
    """How many of them; epochs repeat when a run needs more."""
    budget: NonNegativeInt = 0
    """Tokens that the policy may say in an episode of training, all actions together; an episode is cut off
    there and ends by tokens (Kimi K2's budget control). See `shaping.budget_penalty`. 0: no such limit."""

    @property
    def label(self) -> str:
        """`name`, or the id without its module."""
        return self.name or self.id.split(":")[-1]


WORKER_ATTEMPTS = 3
"""How often a group may be played, or a worker in Ray started, when workers die of it."""
WORKER_START_S = 300.0
"""Seconds a worker may take to start: a process, imports, worlds, a tokenizer."""
WORKER_GRACE_S = 60.0
"""Seconds a worker may take to answer a short call, or to hand in a group after its deadline."""


class RolloutConfig(Section):
    """How episodes are played while training."""

    engine: Literal["local", "vllm"] = "local"
    """local: in process, on the learner's weights. vllm: servers, see [vllm]."""
    group_size: PositiveInt = 8
    """Episodes of one task that are compared with each other."""
    groups: PositiveInt = 16
    """Tasks of one step; `group_size * groups` episodes feed one update."""
    placement: Literal["separate", "colocated"] = "separate"
    """separate: servers and learner have GPUs of their own. colocated: the same ones in turn. Servers sleep
    while the learner works, and its moments lie in main memory while they play; leave its weights room with
    vllm.flags = ["--gpu-memory-utilization", "0.7"]. Only with engine = "vllm" and max_lag = 0."""
    max_lag: NonNegativeInt = 0
    """Updates between the weights a group starts with and those it trains. 0 is synchronous; more lets
    groups be played while the learner works. Nothing is ever dropped for being late."""
    deterministic: bool = False
    """Play in waves, so that a run ends in the same weights to the bit however long worlds and sampling take,
    also with max_lag: see docs/token_flow.md. A wave takes as long as its slowest world, and nothing is
    sampled in an update. Only with engine = "local", and all groups that may play at once in flight."""
    min_members: int = Field(default=2, ge=2)
    """A group is trained on when so many of its members can be compared; failed machines leave theirs."""
    spare: NonNegativeInt = 0
    """Groups under way beyond those of an update, which trains the first `groups` to finish (M of N). The
    others are the oldest of the next one, late by at most max_lag + spare / groups, rounded up; none is
    dropped. Each update leans towards what is quick; with `refill`, towards what is quick and teaches."""
    refill: NonNegativeInt = 0
    """Groups of one update that may be played in place of ones whose members all earned the same: those
    teach nothing (dynamic sampling of DAPO, arXiv 2503.14476 §3.2). Once so many are, any group will do."""
    in_flight: PositiveInt = 256
    """Episodes at once: more keep the engine's batch full and cost memory. As many threads wait for worlds
    that are not quick, up to 1,024 for each."""
    workers: Literal["local", "ray"] = "local"
    """local: episodes are played in process. ray: in Ray actors, on the cluster that RAY_ADDRESS names or
    else on one started here; they reach the engine over HTTP."""
    worker_count: PositiveInt = 4
    """Ray actors; `in_flight` is shared among them."""
    max_context: NonNegativeInt = 0
    """Longest episode in tokens, the world's words included; 0 is what the model, and servers that run
    already, take at most."""
    max_action: PositiveInt = 128
    """Longest action in tokens, the stop token included."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature. At 0 the members of a group are equal and nothing is learned. There is no top-p
    or top-k here: tokens they cut off make the ratio of learner to engine biased."""
    deadline_s: PositiveFloat = 600.0
    """Seconds after which an episode is given up, so that one hung world cannot stop the run. What it waits
    in line for a thread, a seat in the engine or room on a server is not counted."""

    @property
    def latest(self) -> int:
        """Most updates by which a group is ever late."""
        return self.max_lag - (-self.spare // self.groups)

    @property
    def patience(self) -> float:
        """Seconds in which the groups of an update must be there: all that may play, at their slowest.

        A place that gets free is taken at once, so the last ends within all work over all places, and the
        longest chain (Graham 1966): a group, then refills one after the other. One more is to spare.
        """
        slowest, places = self.deadline_s, self.in_flight
        if self.workers == "ray":  # lost with its worker and begun anew, until it counts as failed
            slowest = WORKER_ATTEMPTS * (self.deadline_s + WORKER_GRACE_S + WORKER_START_S)
            places -= places % (self.worker_count * self.group_size)
        episodes = ((1 + self.max_lag) * self.groups + self.spare + self.refill) * self.group_size
        return slowest * (episodes / places + 2 + self.refill)

    @model_validator(mode="after")
    def _in_waves(self) -> Self:
        at_once = ((1 + self.max_lag) * self.groups + self.refill) * self.group_size
        if self.deterministic and self.engine != "local":
            raise ValueError(
                f'deterministic = true with engine = "{self.engine}": a server batches what comes when it '
                'comes, and rounds accordingly; set engine = "local"'
            )
        if self.deterministic and self.in_flight < at_once:
            raise ValueError(
                f"deterministic = true: {at_once} episodes may play at once, and with in_flight = "
                f"{self.in_flight} some wait for others; set in_flight = {at_once}"
            )
        return self

    @model_validator(mode="after")
    def _reach(self) -> Self:
        if self.workers == "ray" and self.engine != "vllm":
            raise ValueError(
                f'workers = "ray": its actors reach engines over HTTP, and engine is "{self.engine}"; '
                'set engine = "vllm", or workers = "local"'
            )
        if self.workers == "ray" and self.in_flight < self.worker_count * self.group_size:
            raise ValueError(
                f"worker_count = {self.worker_count}: each needs room for a group of {self.group_size}; "
                f"set in_flight = {self.worker_count * self.group_size} or more (it is {self.in_flight})"
            )
        return self

    @model_validator(mode="after")
    def _turns(self) -> Self:
        if self.placement == "colocated" and self.engine != "vllm":
            raise ValueError(
                f'placement = "colocated": engine = "{self.engine}" has the learner\'s own weights, so that '
                'nothing can sleep; set placement = "separate", or engine = "vllm"'
            )
        if self.placement == "colocated" and self.max_lag:
            raise ValueError(
                f'placement = "colocated": servers sleep in an update, but max_lag = {self.max_lag} '
                'has them play; set max_lag = 0, or placement = "separate"'
            )
        if self.placement == "colocated" and self.spare:
            raise ValueError(
                f'placement = "colocated": servers sleep in an update, but spare = {self.spare} leaves '
                'groups over that play on; set spare = 0, or placement = "separate"'
            )
        return self

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.min_members > max(self.group_size, 2):
            raise ValueError(
                f"min_members = {self.min_members}: a group has only {self.group_size} (group_size)"
            )
        if self.max_context and self.max_action >= self.max_context:
            raise ValueError(
                f"max_action = {self.max_action}: it must be below max_context ({self.max_context}), "
                "or no prompt fits before the first action"
            )
        return self


class VLLMConfig(Section):
    """vLLM servers that sample, with rollout.engine = "vllm"; in an environment of their own."""

    urls: tuple[str, ...] = Field(default=(), strict=False)
    """Servers that run already (`forge-train serve`); empty starts `count` of them on this machine."""
    count: PositiveInt = 1
    """Servers to start; with several GPUs, `gpus` says which are whose."""
    python: str = ".venv-vllm/bin/python"
    """Interpreter of the environment vLLM is installed in (`make vllm`)."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address of this machine at which servers we start listen and are reached. For workers on other machines
    it is that of a network you trust: whoever reaches a server controls it."""
    port: NonNegativeInt = 0
    """Port of the first server, the others follow; 0 takes free ones."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Precision of the servers, and of the weights that are sent to them."""
    flags: tuple[str, ...] = Field(default=(), strict=False)
    """More arguments of the servers, for example ["--tensor-parallel-size", "2"]."""
    gpus: tuple[str, ...] = Field(default=(), strict=False)
    """CUDA_VISIBLE_DEVICES of each server we start, for example ["0,1", "2,3"]; empty leaves it as it is."""
    env: dict[str, str] = Field(default_factory=dict)
    """More environment of the servers, for example VLLM_CPU_KVCACHE_SPACE = "1" (GB)."""
    transfer: Literal["folder", "adapter", "nccl"] = "folder"
    """How weights travel: a folder of safetensors, a LoRA adapter, or NCCL between GPUs."""
    folder: str = ""
    """Where weights are written for the servers; empty is memory. Several machines need a shared place."""
    in_flight: PositiveInt = 256
    """Requests at once on one server; more wait here, which is not their own time."""
    deadline_s: PositiveFloat = 300.0
    """Seconds until an action is given up, retries included, and not what it waits for room here."""
    attempt_s: PositiveFloat = 120.0
    """Seconds one server has to answer before another is asked."""
    attempts: PositiveInt = 4
    """Answers that may fail before an action is given up. A full server is waited for, not counted."""
    health_s: PositiveFloat = 5.0
    """Seconds between looks at each server."""
    load_s: PositiveFloat = 300.0
    """Seconds a server has to take new weights."""
    checksums: bool = False
    """Compare checksums of all weights after every load, not only when a server's logprobs are in doubt:
    exact, and slow, as it hashes the whole model on each server's CPU. vLLM has them from 0.32."""
    start_s: PositiveFloat = 600.0
    """Seconds a server has to start."""
    restarts: NonNegativeInt = 10
    """Times a server of ours that ended is started again."""

    @field_validator("urls")
    @classmethod
    def _addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or "/v1" in parts.path:
                raise ValueError(f'"{url}" is no address of a server; write it as "http://host:8000"')
        return tuple(url.rstrip("/") for url in urls)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if len(set(self.urls)) != len(self.urls):
            raise ValueError(f"urls = {list(self.urls)}: one server is named twice")
        if self.gpus and len(self.gpus) != self.count:
            raise ValueError(
                f"gpus = {list(self.gpus)}: name those of each server; there are {self.count} (count)"
            )
        return self


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
    distinct: bool = False
    """Pass over tasks whose content (goal and gold) some task of the worlds' train splits has, too: a small
    world asks the same again. Every task that may be trained on is looked at before the run begins."""
    greedy: bool = False
    """Judge at temperature 0, too, each task once: how much of what is missing is only sharpness."""
    transcripts: bool = True
    """Store what was said in held-out plays, in `evaluations` of the run folder."""
    patience: NonNegativeInt = 0
    """Stop when so many evaluations (`run.eval_every`) in a row bring no better checkpoint; 0: never."""

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
