"""Whether an agent program plays, and how it is run: the section `agent` of a config."""

from __future__ import annotations

from typing import Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from forge_train.config.section import Section


class AgentConfig(Section):
    """An agent program that plays the worlds instead of our own loop; see docs/black_box_agents.md."""

    command: tuple[str, ...] = Field(default=(), strict=False)
    """Program and arguments, run once per episode in an empty {folder}. That is filled in, and so are
    {prompt}, {task}, {base_url}, {api_key}, {world_url} and {here}, where the trainer was started. It finds
    the policy at OPENAI_BASE_URL and the world at FORGE_WORLD_URL."""
    function: str = Field(default="", pattern=r"^(|[\w.]+:\w+)$")
    """Or a Python function, "module:name", called with a `forge_train.agents.program.Brief`."""
    env: dict[str, str] = Field(default_factory=dict)
    """More environment of the command; filled in likewise."""
    hand_in: bool = False
    """What it prints (or returns) is its last action: for programs that answer, and do not act themselves."""
    grammar: str = Field(default="", pattern=r"^(|[\w.]+:\w+)$")
    """How the policy writes tool calls, "module:name", e.g. "forge_envs.grammars:LLAMA"; empty is Hermes."""
    max_requests: PositiveInt = 500
    """How often it may ask the policy in one episode; then the world grades what stands."""
    grace_s: NonNegativeFloat = 10.0
    """Seconds it has to finish when the world has ended the episode."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address at which the policy is asked. Another than loopback is for programs in containers: every
    request then needs the episode's key."""
    port: NonNegativeInt = 0
    """Its port; 0 takes a free one."""

    @property
    def used(self) -> bool:
        """Whether a program plays."""
        return bool(self.command or self.function)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.command and self.function:
            raise ValueError("command and function: an episode is played by one of them; drop the other")
        return self
