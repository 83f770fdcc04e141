"""Worlds for SkyRL: a text environment of SkyRL-Gym, its rows, and what a generator does with failures.

```python
datasets.Dataset.from_list(rows("Forge/Retail-v0", {"turn_weight": 0.1}, n=512)).to_parquet("train.parquet")
register_worlds()  # in the driver and in every Ray worker; twice is fine
class Generator(MaskFailures, SkyRLGymGenerator): ...
```

Rewards of steps go to the last token of their turn, so with `turn_weight` SkyRL has turn credit by itself.

SkyRL has no word for a machine that fails. Without `MaskFailures` the env raises MachineError, which ends the
whole `generate`. With it the episode ends with stop reason "env_error" and none of its tokens is trained.

## What it cannot carry

- The reward of a masked episode, a 0, stays in its group's baseline: SkyRL cannot leave a member out.
- An episode that ends at `max_input_length`: SkyRL asks no env about it, so its metrics have no outcome.
- SkyRL's `max_turns` is not read: say it in the world's arguments, and the world grades what is there.
- Templates that know no role `tool` want rows made with `use_tool_role=False`: results are then told as by
  the user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from forge_envs.adapters.asked import episode_seed, openings
from forge_envs.adapters.library import need
from forge_envs.adapters.session import EPISODE_OVER, Session
from forge_envs.adapters.written import as_text, chat_messages
from forge_envs.errors import MachineError
from forge_envs.messages import Observation

need("skyrl-gym", (0, 4), "skyrl-gym==0.4.0")

from skyrl_gym.envs import registration  # noqa: E402
from skyrl_gym.envs.base_text_env import BaseTextEnv  # noqa: E402

ENV = "forge"
ENTRY = "forge_envs.adapters.skyrl:ForgeTextEnv"


def register_worlds(env_id: str = ENV) -> None:
    """Make `env_class="forge"` known to SkyRL-Gym in this process. ValueError if it stands for another."""
    known = registration.registry.get(env_id)
    if known is None:
        registration.register(env_id, ENTRY)
    elif known.entry_point != ENTRY:
        raise ValueError(f"{env_id!r} is already {known.entry_point} in SkyRL-Gym: take another env_id")


def rows(
    world: str,
    args: Mapping[str, Any] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    split: str = "train",
    n: int | None = 512,
    seed: int = 0,
    use_tool_role: bool = True,
    env_class: str = ENV,
) -> list[dict[str, Any]]:
    """Rows of a dataset: one a task, its opening as the prompt, and what the env is made from.

    Raises TaskError for an unknown task, what `Session` raises, and MachineError where a world needs a
    machine to begin.
    """
    found = []
    for session, task, opening in openings(world, args, tasks, split, n):
        prompt = _told(session, opening, use_tool_role)
        told = {"world": world, "args": json.dumps(dict(args or {})), "task": task, "seed": seed}
        told["use_tool_role"] = use_tool_role
        found.append({"prompt": prompt, "env_class": env_class, "data_source": world, **told})
    return found


def _told(session: Session, messages: Observation, use_tool_role: bool) -> list[dict[str, Any]]:
    told = chat_messages(messages, session.env.grammar)
    if use_tool_role or all(message["role"] != "tool" for message in told):
        return told
    return [{"role": "user", "content": as_text(messages)}]


class ForgeTextEnv(BaseTextEnv):  # type: ignore[misc]
    """One episode of the task that a row names."""

    def __init__(self, env_config: Any = None, extras: Mapping[str, Any] | None = None) -> None:
        """Make the world. Raises what `Session` raises, and ValueError for a row that names none."""
        super().__init__()
        row = extras or {}
        missing = {"world", "args", "task"} - set(row)
        if missing:
            raise ValueError(f"the row has no {', '.join(sorted(missing))}: make rows with rows(...)")
        self.session = Session(row["world"], json.loads(row["args"]))
        self._task = str(row["task"])
        self._seed = episode_seed(row.get("seed", 0), self._task, row.get("repetition", 0))
        self._use_tool_role = bool(row.get("use_tool_role", True))
        self._mark = bool(row.get("mark_failures", False))

    def init(self, prompt: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Begin. The opening depends on the task alone, so it equals the row's prompt."""
        try:
            opening = self.session.begin(self._task, seed=self._seed)
        except MachineError as error:
            if not self._mark:
                raise
            return prompt, {"error": error.as_dict()}
        return _told(self.session, opening, self._use_tool_role), {"task": self._task}

    def step(self, action: str) -> dict[str, Any]:
        """Say the model's text. Raises MachineError, unless failures are to be marked."""
        session = self.session
        if session.outcome is not None:
            return _answer([{"role": "user", "content": EPISODE_OVER}], 0.0, True, {})
        try:
            turn = session.act(action)
        except MachineError as error:
            if not self._mark:
                raise
            return _answer([], 0.0, True, {"error": error.as_dict()})
        told = _told(session, turn.messages, self._use_tool_role)
        about = {"turn_reward": turn.turn_reward, "parts": dict(turn.parts), "outcome": session.outcome}
        return _answer(told, turn.reward, turn.over, about)

    def get_metrics(self) -> dict[str, float]:
        """Turns, whether a machine failed, the named parts, and the outcome if there is one."""
        session = self.session
        found = {"turns": float(len(session.turns)), "failed": float(session.error is not None)}
        found |= {f"part_{name}": value for name, value in session.parts.items()}
        return found if session.outcome is None else {**found, "outcome": session.outcome}

    def close(self) -> None:
        """Let go of the world."""
        self.session.close()


def _answer(
    observations: list[dict[str, Any]], reward: float, done: bool, metadata: dict[str, Any]
) -> dict[str, Any]:
    return {"observations": observations, "reward": reward, "done": done, "metadata": metadata}


class MaskFailures:
    """Before `SkyRLGymGenerator` among the bases of a generator: failed episodes are not trained on."""

    def _setup_env_extras(
        self, env_class: str, env_extras: Mapping[str, Any], sampling_params: Any, trajectory_id: Any
    ) -> dict[str, Any]:
        setup = super()._setup_env_extras  # type: ignore[misc]
        extras = {**setup(env_class, env_extras, sampling_params, trajectory_id), "mark_failures": True}
        if trajectory_id is not None:
            extras["repetition"] = trajectory_id.repetition_id
        return extras

    def _post_process_agent_loop_output(self, output: Any, env_extras: Any, trajectory_id: Any) -> Any:
        output = super()._post_process_agent_loop_output(output, env_extras, trajectory_id)  # type: ignore[misc]
        steps = getattr(output, "step_outputs", None)
        steps = [output] if steps is None else steps
        if steps and steps[-1].env_metrics.get("failed"):
            for step in steps:
                step.loss_mask = [0] * len(step.loss_mask)
                one = isinstance(step.reward, float)  # with a custom chat template
                step.reward = 0.0 if one else [0.0] * len(step.response_ids)
                step.stop_reason = "env_error"
        return output
