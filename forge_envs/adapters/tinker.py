"""Worlds for the Tinker cookbook: a message env, the group of one task, and a dataset of groups.

```python
dataset = ForgeDatasetBuilder(
    world="Forge/Retail-v0", model_name="Qwen/Qwen3-4B-Instruct-2507", renderer_name="qwen3_instruct",
    batch_size=8, group_size=8,
)
config = train.Config(dataset_builder=dataset, rollout_error_tolerance=True, ...)
```

The renderer writes the tools and reads the calls in its model's own way, whatever grammar the world has: what
it read is put together again as an action. A renderer without tools (`role_colon`) leaves the text alone; the
world's own grammar is then explained in the system message.

A machine that fails raises MachineError out of the env. `rollout_error_tolerance=True` (RetryOnFailure) plays
such an episode again in a fresh env, and drops the group when its retries are spent; the cookbook's default,
FailFast, ends the run. It is never a reward of 0.

## What it cannot carry

- Turn rewards: the cookbook adds up the rewards of an episode and has one advantage for all of it. With
  `turn_weight` they are in that sum; each step's metrics tell them, the named parts and the outcome.
- Episodes that the cookbook ends by itself, because a sample has no end or the context is full: the world is
  not asked, and the reward is `failed_parse_reward` or `context_overflow_reward`, 0 if `limits` say no other.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from forge_envs.adapters.asked import asked_tasks, at_least_one, episode_seed
from forge_envs.adapters.library import need
from forge_envs.adapters.session import EPISODE_OVER, Session
from forge_envs.adapters.spoken import action_of
from forge_envs.adapters.waiting import aside
from forge_envs.adapters.written import chat_messages, split_tools
from forge_envs.grammars import Grammar
from forge_envs.messages import Observation

need("tinker-cookbook", (0, 5), "tinker-cookbook==0.5.8")

import chz  # noqa: E402
from tinker_cookbook.renderers import Renderer, get_renderer  # noqa: E402
from tinker_cookbook.rl.message_env import EnvFromMessageEnv, MessageEnv, MessageStepResult  # noqa: E402
from tinker_cookbook.rl.types import Env, EnvGroupBuilder, RLDataset, RLDatasetBuilder  # noqa: E402
from tinker_cookbook.tokenizer_utils import get_tokenizer  # noqa: E402

logger = logging.getLogger(__name__)


class ForgeMessageEnv(MessageEnv):  # type: ignore[misc]
    """One episode of one task; single-use, as the cookbook's envs are."""

    def __init__(self, world: str, args: Mapping[str, Any], task: str, seed: int, renderer: Renderer) -> None:
        self.session = Session(world, args)
        self.example_id = task
        self._task, self._seed, self._renderer = task, seed, renderer
        self._history: list[dict[str, Any]] = []

    async def initial_observation(self) -> list[dict[str, Any]]:
        """The opening. Raises MachineError and TaskError."""
        session = self.session
        messages = await aside(session, session.begin, self._task, seed=self._seed)
        self._history = opened(self._renderer, messages, session.env.grammar)
        return list(self._history)

    async def step(self, message: dict[str, Any]) -> MessageStepResult:
        """Say what the renderer read. Raises MachineError."""
        session = self.session
        if session.outcome is not None:
            return MessageStepResult(0.0, True, [*self._history, {"role": "user", "content": EPISODE_OVER}])
        turn = await aside(session, session.act, said(session.env.grammar, message))
        self._history += [message, *_answers(message, turn.messages)]
        metrics = {"turn_reward": turn.turn_reward, **{f"part/{k}": v for k, v in turn.parts.items()}}
        if session.outcome is not None:
            metrics["outcome"] = session.outcome
        logs = {"task": session.task, "world": session.world}
        return MessageStepResult(turn.reward, turn.over, list(self._history), metrics, logs)


class ForgeTokenEnv(EnvFromMessageEnv):  # type: ignore[misc]
    """The cookbook's env over messages, rendered on the loop's own thread.

    The cookbook renders on threads that share one tokenizer, and Qwen's renderers switch it between reading
    special tokens and splitting them: two at once raise "Already borrowed", or split a header.
    """

    async def _render_in_thread(self, messages: list[dict[str, Any]], **kwargs: Any) -> Any:
        return self.renderer.build_generation_prompt(messages, **kwargs)


def opened(renderer: Renderer, messages: Observation, grammar: Grammar) -> list[dict[str, Any]]:
    """An opening with its tools as the renderer's model knows them, or explained in the world's grammar."""
    plain, tools = split_tools(messages)
    if not tools:
        return plain
    system = plain[0]["content"] if plain[0]["role"] == "system" else ""
    try:
        prefix = renderer.create_conversation_prefix_with_tools([tool["function"] for tool in tools], system)
    except NotImplementedError:
        return chat_messages(messages, grammar)
    return [*prefix, *(plain[1:] if system else plain)]


def said(grammar: Grammar, message: Mapping[str, Any]) -> str:
    """A message of a renderer as an action; thoughts that the renderer took out stay out."""
    content = message["content"]
    if not isinstance(content, str):
        content = "".join(part["text"] for part in content if part["type"] == "text")
    calls = [(call.function.name, call.function.arguments) for call in message.get("tool_calls") or ()]
    unread = [call.raw_text for call in message.get("unparsed_tool_calls") or ()]
    return action_of(grammar, content, calls, [text for text in unread if text not in content])


def _answers(message: Mapping[str, Any], messages: Observation) -> list[dict[str, Any]]:
    """What the world answered, the results of calls in order with the calls' ids."""
    calls = list(message.get("tool_calls") or ())
    told: list[dict[str, Any]] = [dict(m) for m in messages]
    results = [m for m in told if m["role"] == "tool"]
    if len(results) == len(calls):
        for result, call in zip(results, calls, strict=True):
            if call.id is not None:
                result["tool_call_id"] = call.id
    return told


class ForgeGroupBuilder(EnvGroupBuilder):  # type: ignore[misc]
    """The envs of one group: the same task, each with a seed of its own. Pickles, and holds no world."""

    def __init__(
        self,
        world: str,
        args: Mapping[str, Any],
        task: str,
        renderer: Renderer,
        group_size: int,
        seed: int = 0,
        limits: Mapping[str, Any] | None = None,
    ) -> None:
        at_least_one(group_size=group_size)
        self.world, self.args, self.task, self.renderer = world, dict(args), task, renderer
        self.group_size, self.seed = group_size, seed
        self.limits = {"failed_parse_reward": 0.0, "context_overflow_reward": 0.0, **(limits or {})}
        """Further arguments of `EnvFromMessageEnv`, such as `max_trajectory_tokens`."""
        self._made: weakref.WeakSet[Session] = weakref.WeakSet()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _made=weakref.WeakSet())

    async def make_envs(self) -> Sequence[Env]:
        """Fresh envs, whose worlds begin when they are asked for their first observation."""
        return [self._env(member) for member in range(self.group_size)]

    def _env(self, member: int) -> Env:
        seed = episode_seed(self.seed, self.task, member)
        env = ForgeMessageEnv(self.world, self.args, self.task, seed, self.renderer)
        self._made.add(env.session)
        return ForgeTokenEnv(self.renderer, env, **self.limits)

    async def cleanup(self) -> None:
        """Close every world that is still there; never raises."""
        while self._made:
            session = self._made.pop()
            try:
                await aside(session, session.close)
            except Exception:
                logger.exception("a world of %s did not close", self.task)

    def logging_tags(self) -> list[str]:
        """The world's name."""
        return [self.world.rpartition("/")[2]]


class ForgeDataset(RLDataset):  # type: ignore[misc]
    """Batches of groups, one group a task; every batch has builders of its own."""

    def __init__(self, tasks: Sequence[str], batch_size: int, seed: int = 0, **group: Any) -> None:
        at_least_one(batch_size=batch_size)
        self.tasks, self.batch_size, self.seed, self.group = list(tasks), batch_size, seed, group

    def get_batch(self, index: int) -> Sequence[EnvGroupBuilder]:
        """Builders of the tasks of batch `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        tasks = self.tasks[index * self.batch_size : (index + 1) * self.batch_size]
        return [
            ForgeGroupBuilder(task=task, seed=episode_seed(self.seed, index), **self.group) for task in tasks
        ]

    def __len__(self) -> int:
        return -(-len(self.tasks) // self.batch_size)


@chz.chz
class ForgeDatasetBuilder(RLDatasetBuilder):  # type: ignore[misc]
    """Tasks of one world: of `split` to train on, and of `test_split` (None: none) to test on."""

    world: str
    model_name: str
    renderer_name: str
    batch_size: int
    group_size: int
    args: dict[str, Any] = chz.field(default_factory=dict)
    split: str = "train"
    n: int | None = 1024
    test_split: str | None = "test"
    test_n: int | None = 64
    seed: int = 0
    limits: dict[str, Any] = chz.field(default_factory=dict)
    """Further arguments of `EnvFromMessageEnv`, such as `max_trajectory_tokens`."""

    async def __call__(self) -> tuple[ForgeDataset, ForgeDataset | None]:
        """The two datasets.

        Raises ValueError for a size below 1, what `Session` raises, and TaskError for a split without tasks.
        """
        at_least_one(batch_size=self.batch_size, group_size=self.group_size)
        renderer = get_renderer(
            self.renderer_name, get_tokenizer(self.model_name), model_name=self.model_name
        )
        train = self._dataset(renderer, self.split, self.n, self.group_size)
        test = self.test_split and self._dataset(renderer, self.test_split, self.test_n, 1)
        return train, test or None

    def _dataset(self, renderer: Renderer, split: str, n: int | None, group_size: int) -> ForgeDataset:
        return ForgeDataset(
            asked_tasks(self.world, self.args, split=split, n=n),
            self.batch_size,
            self.seed,
            world=self.world,
            args=self.args,
            renderer=renderer,
            group_size=group_size,
            limits=self.limits,
        )
