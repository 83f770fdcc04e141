"""How to learn: the sections of a config from rewards to weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from forge_train.config.objectives import refuse_objective, with_papers_values
from forge_train.config.section import Section, known

CRITIC_ESTIMATORS = frozenset({"gae", "turn_gae", "bilevel_gae"})
"""Estimators that compare an episode with what a critic expected of it: PPO.

All others compare the members of a group: with one member nothing is left to learn from.
"""
SHIPPED_OBJECTIVES = {
    "auto", "clipped", "ppo", "nll", "cispo", "sapo", "gppo", "ce_gppo", "dppo_tv", "dppo_kl", "gspo",
    "gspo_token", "gspo_turn", "gmpo", "opmd", "opmd_k2", "vespo",
}  # fmt: skip
"""Those of `forge_train.learn.losses`, which imports torch; more may be registered there."""

Packing = Literal["auto", "tree", "padded"]
"""Ways to forward sequences together; see `OptimConfig.packing`."""


class LossConfig(Section):
    """From advantages to one gradient."""

    objective: Annotated[
        str,
        known(
            "objective",
            "learn.losses.OBJECTIVES",
            "learn.losses.UNIT_OBJECTIVES",
            "learn.losses.AUTO",
            shipped=SHIPPED_OBJECTIVES,
        ),
    ] = "auto"
    """Loss of each token, a name in `forge_train.learn.losses.OBJECTIVES`, or of whole turns and
    trajectories, in `UNIT_OBJECTIVES`; auto is `clipped`, and `ppo` for rollouts that are late: then the
    trust region must be around the policy that sampled. Keys that are not said follow it, as its paper has
    them: docs/algorithms/objectives.md."""
    clip_low: float = Field(default=0.2, ge=0, le=1)
    """The ratio of current to proximal probability is clipped below 1 - clip_low; with 1, nowhere."""
    clip_high: NonNegativeFloat = 0.28
    """And above 1 + clip_high; a higher bound above keeps rare tokens alive (DAPO, arXiv 2503.14476)."""
    dual_clip: NonNegativeFloat = 3.0
    """Where the advantage is negative that bounds nothing, and a token that became likelier would push with
    its whole ratio: it pushes with at most this many times its advantage (dual-clip PPO, arXiv 1912.09729,
    whose value is 3). 0: no bound; else more than 1."""
    old_policy: Literal["auto", "proximal", "behaviour", "reference"] = "auto"
    """Whom the ratio is taken to: the learner before the update, and a weight corrects for the engine; or who
    sampled. auto: the latter for rollouts that are late. `clipped` is always the former, `ppo` the latter.
    reference: for opmd, the weights that [reference] names, as in Kimi k1.5 (arXiv 2501.12599)."""
    tau_good: PositiveFloat = 1.0
    """For sapo: how fast the gate closes for good tokens (arXiv 2511.20347)."""
    tau_bad: PositiveFloat = 1.05
    """For sapo: and for bad ones; larger closes faster."""
    beta_low: NonNegativeFloat = 1.0
    """For gppo: what is left of the gradient of bad tokens that the clip decides on; ce_gppo: 0.75."""
    beta_high: NonNegativeFloat = 1.0
    """For gppo: and of good ones (arXiv 2509.20712)."""
    tau: PositiveFloat = 0.1
    """For opmd: how strongly a policy is pulled back to where it was. Kimi's papers do not say theirs."""
    kernel_good: tuple[PositiveFloat, PositiveFloat] = Field(default=(2.0, 3.0), strict=False)
    """For vespo: k and lambda of the kernel of good tokens (arXiv 2602.10693, values of TRL)."""
    kernel_bad: tuple[PositiveFloat, PositiveFloat] = Field(default=(3.0, 2.0), strict=False)
    """For vespo: and of bad ones."""
    off_policy_delta: PositiveFloat | None = None
    """Bad tokens of trajectories that the policy has drifted from by more than so many nats a token are left
    out, e.g. 0.5 (DeepSeek-V3.2, arXiv 2512.02556, Eq. 9)."""
    entropy_weight: NonNegativeFloat = 0.0
    """Bonus for the entropy of the distribution that each trained token was drawn from, in nats."""
    kl_weight: NonNegativeFloat = 0.0
    """Penalty for leaving the reference ([reference]); 0: none."""
    kl_in: Literal["loss", "reward"] = "loss"
    """loss: a term beside the objective. reward: what an action's tokens cost is taken from its reward."""
    kl: Literal["k1", "k2", "k3", "unbiased"] = "k3"
    """Estimate of the divergence, see docs/algorithms/regularisers.md. unbiased: k3 times the ratio to who
    sampled (DeepSeek-V3.2). In the reward only k1, which is then the default."""
    ptx_weight: NonNegativeFloat = 0.0
    """Weight of the mean negative log likelihood of episodes that are worth imitating ([ptx]), in each
    optimizer step (Kimi K2, arXiv 2507.20534)."""
    importance_level: Literal["token", "sequence"] = "token"
    """The ratio of learner's to engine's probability is that of one token, or the product over a trajectory.
    The product is exact and soon far from 1; it costs a forward pass more."""
    importance_cap: NonNegativeFloat = 2.0
    """Largest weight that corrects for the engine's probabilities differing from the learner's; 0: none."""
    importance_range: tuple[float, float] | None = Field(default=None, strict=False)
    """Tokens (trajectories, by level) whose ratio lies outside [low, high] are left out: IcePop."""
    sequence_range: tuple[float, float] | None = Field(default=None, strict=False)
    """Trajectories whose geometric mean ratio lies outside [low, high], e.g. [0.999, 1.001], are left out; it
    costs a forward pass more."""
    denominator: Literal["token", "turn", "segment", "trajectory", "constant"] = "token"
    """What the sum of token losses is divided by, over the whole optimizer step: all trained tokens, a mean
    over the tokens of each turn, segment or trajectory first, or `constant` times the trajectories."""
    constant: PositiveFloat | None = None
    """With denominator = "constant": what the sum over one trajectory is divided by, before the mean over
    trajectories; usually the most tokens a trajectory may write (Dr. GRPO, arXiv 2503.20783)."""
    minibatches: PositiveInt = 1
    """Optimizer steps of one update; above 1 the clipping begins to matter."""

    @model_validator(mode="before")
    @classmethod
    def _follow_the_objective(cls, told: Any) -> Any:
        """What is not said follows objective and kl_in."""
        if not isinstance(told, Mapping):
            return told
        in_reward = {"kl": "k1"} if told.get("kl_in") == "reward" else {}
        return {**in_reward, **with_papers_values(told)}

    @model_validator(mode="after")
    def _divisor(self) -> Self:
        if self.denominator == "constant" and self.constant is None:
            raise ValueError(
                'denominator = "constant": set constant, e.g. the most tokens one trajectory may write'
            )
        if self.denominator != "constant" and self.constant is not None:
            raise ValueError(
                f'constant = {self.constant}: it is used only with denominator = "constant"; '
                f'set that or drop constant (denominator is "{self.denominator}")'
            )
        return self

    @model_validator(mode="after")
    def _bound(self) -> Self:
        if 0 < self.dual_clip <= 1:
            raise ValueError(
                f"dual_clip = {self.dual_clip}: it must be above 1, or tokens that did not change would push "
                "no more; use 3, or 0 for no bound"
            )
        return self

    @model_validator(mode="after")
    def _once(self) -> Self:
        refuse_objective(self.objective, self.importance_level, self.old_policy, self.denominator)
        if self.kl_in == "reward" and self.kl != "k1":
            raise ValueError(
                f'kl = "{self.kl}": in the reward it is that of a token as it was sampled, k1; leave it out, '
                'or set kl_in = "loss"'
            )
        return self

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("importance_range", "sequence_range"):
            bounds = getattr(self, name)
            if bounds is not None and not 0 <= bounds[0] <= 1 <= bounds[1]:
                raise ValueError(
                    f"{name} = {list(bounds)}: low must lie in [0, 1] and high be 1 or more, "
                    "or tokens on which engine and learner agree would be left out"
                )
        return self


class AlgorithmConfig(LossConfig):
    """From rewards to advantages to one gradient."""

    advantage: Annotated[
        str, known("advantage", "learn.advantages.ESTIMATORS", "learn.gae.CRITIC_ESTIMATORS")
    ] = "grpo"
    """Estimator of advantages: one that compares a group (`forge_train.learn.advantages.ESTIMATORS`) or one
    that asks a critic (`forge_train.learn.gae.CRITIC_ESTIMATORS`); the latter is PPO and reads the section
    `critic`."""
    masked: tuple[Literal["max_turns", "context", "tokens", "deadline"], ...] | None = Field(
        default=None, strict=False
    )
    """Episodes with these endings give no gradient; any other is trained, without a verdict as outcome 0.
    Left out of the file: context, tokens and deadline, except what `critic.bootstrap` lets go on.
    Klear-AgentForge masks all four. Failed machines are never trained on."""
    masked_in_baseline: bool = False
    """Whether what a masked episode earned counts in the mean and deviation its group is compared with."""
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount per token, with a critic."""
    gae_lambda: float = Field(default=1.0, ge=0, le=1)
    """Per token: 1 trusts what was earned, 0 what the critic expects next (GAE, arXiv 1506.02438)."""
    turn_gamma: float = Field(default=0.99, ge=0, le=1)
    """Discount per turn, where turns are the steps."""
    turn_lambda: float = Field(default=0.9, ge=0, le=1)
    """`gae_lambda` per turn, where turns are the steps (both values: Turn-PPO, arXiv 2512.17008)."""
    across: Literal["auto", "none", "scale", "whiten"] = "auto"
    """What is done to all advantages of an update together: scale divides by their standard deviation, whiten
    shifts them to mean 0 before; auto whitens with a critic and for the estimators whose papers do."""
    deviation: Literal["unbiased", "biased"] = "unbiased"
    """Standard deviation of a group: divided by its size less one, as torch.std, or by its size."""
    divide: bool = True
    """For gigpo: divide by the standard deviation (F = std), else by 1."""
    turn_share: NonNegativeFloat = 1.0
    """For gigpo: weight of a turn's comparison beside the episode's (omega)."""
    outcome_weight: NonNegativeFloat = 1.0
    """For mt_grpo: weight of the outcome in the turns before the last (alpha)."""
    anchor: Literal["observation", "history"] = "observation"
    """For gigpo: turns are compared that answer the same words of the world, or that have the same past."""
    anchor_similarity: float = Field(default=1.0, gt=0, le=1)
    """For gigpo: below 1, states that resemble each other so much (difflib's ratio) count as the same."""
    best_of: int = Field(default=4, ge=2)
    """For max_k: how many attempts the best is taken of."""
    branch_form: Literal["siblings", "values", "states"] = "siblings"
    """For branch: what a turn is compared with. siblings: the other actions taken in its state, one left out.
    values: the mean return of those that went on before it, and after it (VinePPO, arXiv 2410.01679). states:
    the same of all that came through a state, those that did so by themselves included; no credit where
    nobody else did."""
    branch_train: Literal["auto", "none", "first", "all"] = "auto"
    """For branch: actions of the branches that are trained: none, the first of each, or all. auto: none with
    values, as in VinePPO, else all."""
    shared_prefix: Literal["sum", "mean"] = "sum"
    """For arpo and tree_grpo: an action that several episodes share has the sum of their advantages, which is
    what training each by itself adds up to ("soft" in ARPO, its default), or the mean ("hard")."""
    parts: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    """For gdpo: weight of "outcome" and of each named reward part, the others 0; empty: each 1."""
    keep: PositiveInt = 1
    """For kept: most episodes of a group that are imitated, the first that pass; equal ones count once."""
    flawless: tuple[str, ...] = Field(default=("malformed", "refused"), strict=False)
    """For kept: reward parts that must be 0 in an episode, beside its being solved. By default all actions
    were well formed and the world refused no call."""
    negative_weight: NonNegativeFloat = 1.0
    """What advantages below 0 are multiplied with: where failures are many and noisy, less than 1."""
    blame: Literal["all", "first_mistake"] = "all"
    """first_mistake: an advantage below 0 reaches the turns up to the first that was malformed or refused and
    none after it, whose babble says nothing about the mistake. Episodes without one keep all."""


class OptimConfig(Section):
    """AdamW or Muon, and the schedule."""

    kind: Literal["adamw", "muon"] = "adamw"
    """muon: matrices inside the model's blocks move by orthogonal updates (arXiv 2502.16982), all else by
    AdamW; at the same lr a matrix moves as far as with AdamW."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Share of what Muon remembers of gradients that stays at each step."""
    nesterov: bool = False
    """Muon looks ahead by a step of momentum: not so in Kimi K2 (arXiv 2507.20534), but in torch's
    default."""
    qk_clip: NonNegativeFloat = 0.0
    """Attention heads whose largest logit in a step exceeds this are scaled back to it (QK-Clip of Kimi K2,
    which has 100); 0: none. Models that normalise queries and keys, as Qwen3 does, have no use for it."""

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
    """Positions of one forward pass; bounds memory and never changes a gradient."""
    packing: Packing = "auto"
    """How sequences are forwarded together. tree: what they share, once. padded: each in a row of its own,
    for models whose attention is not plain and full. auto: whichever costs least, for some one, for others
    the other."""
    head_mb: PositiveFloat | None = None
    """Megabytes for the logits of a forward and backward pass: tokens go through the output head in chunks
    that fit. By default 320, on a GPU 2048. Never changes a gradient."""
    head_dtype: Literal["auto", "float32"] = "auto"
    """float32: the output head multiplies in float32 under model.dtype = "bfloat16" too. Logprobs of likely
    tokens then keep more than three digits (MiniMax-M1, arXiv 2506.13585, sec. 3.2)."""
    signal_every: NonNegativeInt = 0
    """Measure every so many updates how much of the gradient is signal: its norm by the sign of the
    advantage, and how far halves of the groups agree. It costs a pass more; 0: never. Only in one process."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third slower."""
    shard: bool = True
    """With torchrun: split weights, gradients and moments over the processes (FSDP2); else each has all."""
    peak_tflops: PositiveFloat | None = None
    """What one device can do at best, in TFLOP/s at model.dtype without sparsity: `mfu` is measured by it. By
    default that of a GPU that forge_train.learn.flops knows; on others, and on a CPU, there is no `mfu`."""
    replicate: PositiveInt = 1
    """With torchrun: hold so many copies, each split over its share of the processes (HSDP). With one a node,
    weights are gathered within a node and only gradients cross the network."""

    @model_validator(mode="after")
    def _shape(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas = {list(self.betas)}: each must lie in [0, 1)")
        if self.replicate > 1 and not self.shard:
            raise ValueError(
                f"replicate = {self.replicate}: with shard = false each process has a copy; leave it out"
            )
        if self.schedule != "constant" and self.decay_steps is None:
            raise ValueError(
                f'schedule = "{self.schedule}": set decay_steps, usually run.steps x algorithm.minibatches'
            )
        if self.decay_steps is not None and self.decay_steps <= self.warmup:
            raise ValueError(f"decay_steps = {self.decay_steps}: it must exceed warmup ({self.warmup})")
        return self


class CriticConfig(Section):
    """What expects a return: a copy of the policy with a value head, trained beside it. Only for PPO."""

    lr: PositiveFloat = 1e-3
    """Learning rate; what is not said here is that of `optim`. A critic stands more than its policy."""
    warmup: NonNegativeInt = 0
    """Optimizer steps of linear warmup from 0."""
    policy_waits: NonNegativeInt = 2
    """First updates in which only the critic learns: advantages from an ignorant one would be noise."""
    minibatches: PositiveInt = 4
    """Optimizer steps of one pass over the trajectories of an update."""
    epochs: PositiveInt = 1
    """Passes over the trajectories of an update."""
    clip: NonNegativeFloat = 0.2
    """A value moves at most so far from what it was before the update, in units of return; 0: anywhere."""
    gae_lambda: float = Field(default=1.0, ge=0, le=1)
    """lambda of the returns that it learns; at 1 they are what was earned, whatever the policy's lambda is
    (decoupled GAE, arXiv 2503.01491)."""
    bootstrap: tuple[Literal["max_turns", "context", "tokens", "deadline"], ...] = Field(
        default=("context", "tokens", "deadline"), strict=False
    )
    """Episodes with these endings were cut off: they are trained on, as if they went on to earn what the
    critic expects. One that is not named here earned what it earned, or is masked: see `algorithm.masked`."""


class SFTConfig(Section):
    """Supervised training on gold or collected episodes before reinforcement."""

    episodes: NonNegativeInt = 0
    """Episodes to learn from, the first ones; 0 skips supervised training."""
    path: str = ""
    """A file of episodes (`forge-train collect`); empty plays the gold of the worlds."""
    epochs: NonNegativeInt = 3
    """Passes over them; 0 only knows them, for `distill.demonstrations` of a run that begins with the weights
    of another."""
    steps: PositiveInt | None = None
    """Stop after so many optimizer steps, whatever the epochs say."""
    learn: Literal["actions", "text", "after_system"] = "actions"
    """What of an episode is learned. actions: what its agent said. text: all of it but the first token, as a
    language model learns (agentic continual pre-training, arXiv 2509.13310). after_system: the same without
    the system's words, so that what the world answers is learned too (Kimi-Dev's agentic mid-training, arXiv
    2509.23045)."""
    batch: PositiveInt = 32
    """Episodes of one optimizer step."""
    lr: PositiveFloat = 1e-3
    """Learning rate; what is not said here is that of `optim`."""
    warmup: NonNegativeInt = 0
    """Optimizer steps of linear warmup from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After warmup; linear and cosine fall to 0 at the last step of this stage, whose number is known."""
    keep: bool = True
    """Leave the weights after this stage in `supervised` of the run folder. Other runs begin with them:
    `model.path = "runs/NAME/supervised"` and `sft.episodes = 0`."""

    @property
    def used(self) -> bool:
        """Whether there is a supervised stage."""
        return bool(self.episodes and self.epochs)
