"""Expert iteration: what an update does with the episodes that are kept."""

from __future__ import annotations

from typing import Literal, Protocol, Self

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from forge_train.config.agent_program import AgentConfig
from forge_train.config.context import ContextConfig
from forge_train.config.hyperparameters import CRITIC_ESTIMATORS, AlgorithmConfig, SFTConfig
from forge_train.config.section import Section
from forge_train.config.sections import RolloutConfig


class DistillConfig(Section):
    """Expert iteration (arXiv 1705.08439; for language models STaR, 2203.14465, and RFT, 2308.01825).

    A step of the run is then a round: the policy plays `rollout.groups` tasks, `algorithm.advantage = "kept"`
    chooses what is worth imitating, and the update goes over it several times with a rate that falls to 0.
    """

    epochs: NonNegativeInt = 0
    """Times that an update goes over its episodes; 0: once, as `algorithm` and `optim` say, which is
    reinforcement."""
    batch: PositiveInt = 8
    """Episodes of one optimizer step."""
    lr: PositiveFloat = 1e-3
    """Learning rate at the peak of each update; what is not said here is that of `optim`."""
    warmup: NonNegativeInt = 0
    """Optimizer steps of linear warmup from 0, at each update."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """After warmup; linear and cosine fall to 0 at the last step of each update."""
    past: NonNegativeInt = 0
    """Earlier rounds whose kept episodes are learned again beside those of this one."""
    amend: bool = False
    """Where nothing of a group is kept, leave the mistakes (malformed, refused) out of what was solved in
    spite of them and play it again without the policy; it is kept if it is clean then. That is how what was
    never shown, and is seldom right at once, comes to be learned."""
    grounded: NonNegativeInt = 0
    """Where nothing of a group is kept, play its task so many times more without making anything up: a value
    in an action (an id, an address, a number) that nobody said gives way to one of the same form that stands
    in the conversation. What no demonstration shows has no probability that sampling would find."""
    demonstrations: bool = False
    """Learn the episodes of [sft] again in each round."""

    @property
    def used(self) -> bool:
        """Whether steps are rounds of expert iteration."""
        return self.epochs > 0

    @model_validator(mode="after")
    def _of_rounds(self) -> Self:
        idle = {
            "past": self.past,
            "amend": self.amend,
            "grounded": self.grounded,
            "demonstrations": self.demonstrations,
        }
        for key, value in idle.items():
            if value and not self.used:
                raise ValueError(f"{key} = {value}: only rounds learn it; set epochs, or leave it out")
        return self


class Stages(Protocol):
    """What is read here of a `Config`, which knows this module."""

    agent: AgentConfig
    algorithm: AlgorithmConfig
    context: ContextConfig
    distill: DistillConfig
    rollout: RolloutConfig
    sft: SFTConfig


def refuse_distill(config: Stages) -> None:
    """Raise ValueError where the keys of other sections do not go with rounds of expert iteration."""
    distill, algorithm = config.distill, config.algorithm
    if not distill.used:
        return
    asked = f"distill.epochs = {distill.epochs}"
    if algorithm.advantage in CRITIC_ESTIMATORS:
        raise ValueError(
            f'{asked}: algorithm.advantage = "{algorithm.advantage}" asks a critic, which such rounds do not '
            'train; use "kept", or an estimator that compares a group'
        )
    if algorithm.objective != "nll":
        raise ValueError(
            f'{asked}: algorithm.objective = "{algorithm.objective}" trusts no weights so far from those '
            'that sampled; use "nll"'
        )
    if algorithm.minibatches > 1:
        raise ValueError(
            f"{asked}: distill.batch says how many episodes a step has; leave algorithm.minibatches out"
        )
    for key, value in {"amend": distill.amend, "grounded": distill.grounded}.items():
        told = f"distill.{key} = {str(value).lower()}"
        if value and algorithm.advantage != "kept":
            raise ValueError(
                f'{told}: algorithm.advantage = "{algorithm.advantage}" keeps nothing; use "kept"'
            )
        if value and config.agent.used:
            raise ValueError(f"{told} with [agent]: its turns are its own; leave {key} out")
    if distill.grounded and config.context.kind != "full":
        raise ValueError(
            f'distill.grounded = {distill.grounded} with context.kind = "{config.context.kind}": what was '
            'heard is not all there any more; use "full"'
        )
    if distill.grounded and config.rollout.workers == "ray":
        raise ValueError(
            f'distill.grounded = {distill.grounded} with rollout.workers = "ray": such plays are made where '
            'the trainer runs; set rollout.workers = "local"'
        )
    if distill.demonstrations and not config.sft.episodes:
        raise ValueError(
            "distill.demonstrations = true: there are none; set sft.episodes (and sft.epochs = 0 if this run "
            "begins with weights that know them)"
        )
