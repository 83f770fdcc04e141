"""What is sent and answered over HTTP, for validation and for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema


def _is_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("it must be text")
    return value


Text = Annotated[Any, AfterValidator(_is_text), WithJsonSchema({"type": "string"})]
"""Any text, with half a surrogate pair too: a world tells the agent, and nobody before it."""
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]


class Form(BaseModel):
    """Strict: a field that is misspelt is told, not dropped."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Kind(Form):
    """A world and the arguments to make it with."""

    world: str = Field(max_length=200, examples=["Forge/Retail-v0"])
    args: dict[str, Any] = Field(default_factory=dict, examples=[{"size": "small", "turn_weight": 0.1}])


class Begin(Kind):
    """A session to begin: of a task, or of one that the seed draws."""

    task: str | None = Field(None, max_length=1000, examples=["retail/small/train/2/1"])
    seed: Seed | None = Field(None, examples=[7])


class Step(Form):
    """One action."""

    action: Text = Field(
        examples=['<tool_call>{"name": "get_order_details", "arguments": {"order_id": "#W1"}}</tool_call>']
    )
    turn: int | None = Field(None, ge=1, examples=[1], description="Its number; makes asking again safe.")


class TasksOf(Kind):
    """Which tasks to name."""

    split: str | None = Field(None, max_length=200, examples=["train"])
    n: int | None = Field(None, ge=1, examples=[100])


class Opened(BaseModel):
    """A session that has begun."""

    session: str = Field(examples=["Vw3dQn0yqY1Cz9kP2JtL5g"])
    messages: list[dict[str, Any]] = Field(examples=[[{"role": "user", "content": "Where is my parcel?"}]])
    info: dict[str, Any] = Field(examples=[{"task": "retail/small/train/2/1", "turn": 0}])
    idle: float = Field(description="Seconds without use after which it ends.", examples=[900.0])


class Acted(BaseModel):
    """What `env.step` gives, by name."""

    messages: list[dict[str, Any]] = Field(
        examples=[[{"role": "tool", "name": "get_order_details", "content": "{…}"}]]
    )
    reward: float = Field(examples=[1.0])
    terminated: bool = Field(examples=[True])
    truncated: bool = Field(examples=[False])
    info: dict[str, Any] = Field(
        examples=[
            {
                "task": "retail/small/train/2/1",
                "turn": 4,
                "turn_reward": 0.5,
                "parts": {"progress": 0.5},
                "outcome": 1.0,
            }
        ]
    )


class EpisodeRecord(BaseModel):
    """What became of a session: its outcome is null while it is open, and for ever if a machine failed."""

    session: str = Field(examples=["Vw3dQn0yqY1Cz9kP2JtL5g"])
    ended: str | None = Field(examples=["over"], description="null while it is open")
    world: str = Field(examples=["Forge/Retail-v0"])
    task: str = Field(examples=["retail/small/train/2/1"])
    outcome: float | None = Field(examples=[1.0])
    reward: float = Field(examples=[1.0])
    parts: dict[str, float] = Field(examples=[{"progress": 1.0}])
    turn_rewards: list[float] = Field(examples=[[0.0, 0.5, 0.5]])
    error: dict[str, Any] | None = Field(examples=[None])


class Spaces(BaseModel):
    """What a client needs to make the spaces of a world."""

    grammar: str = Field(examples=["hermes"])
    tools: list[dict[str, Any]] = Field(examples=[[{"type": "function", "function": {"name": "think"}}]])
    splits: list[str] = Field(examples=[["train", "test"]])


class Tasks(BaseModel):
    """Task ids, always the same ones."""

    tasks: list[str] = Field(examples=[["retail/small/train/2/1"]])


class Worlds(BaseModel):
    """The worlds on offer."""

    worlds: list[dict[str, Any]] = Field(
        examples=[
            [
                {
                    "world": "Forge/Retail-v0",
                    "about": "A shop's customer service, …",
                    "quick": True,
                    "splits": ["train", "test"],
                    "tasks": {"train": ["retail/full/train/1/1"]},
                    "arguments": [{"name": "level", "allowed": "0, 1, 2, …", "default": 0, "meaning": "…"}],
                    "given": {},
                }
            ]
        ]
    )


class Health(BaseModel):
    """That the server is there, and how full it is."""

    status: str = Field(examples=["healthy"])
    sessions: int = Field(examples=[12])
    places: int = Field(examples=[256])


class ErrorRecord(BaseModel):
    """A machine failure, or why a request was refused."""

    kind: str = Field(examples=["timeout"])
    stage: str = Field(examples=["step"])
    retryable: bool = Field(examples=[True])
    message: str = Field(examples=["the world did not come back within 600 s"])


class Refusal(BaseModel):
    """No answer, and never a reward."""

    error: ErrorRecord
