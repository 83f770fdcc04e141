"""The cookbook's own rollouts and strategies on our worlds; only the sampling service is a script."""

from __future__ import annotations

import asyncio
import pickle
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

pytest.importorskip("tinker_cookbook")

from tinker_cookbook.completers import TokenCompleter, TokensWithLogprobs
from tinker_cookbook.renderers import Renderer, get_renderer
from tinker_cookbook.rl.rollout_strategy import MinViableGroup, RetryOnFailure
from tinker_cookbook.rl.rollouts import do_group_rollout
from tinker_cookbook.tokenizer_utils import register_tokenizer

from forge_envs import MachineError, TaskError
from forge_envs.adapters.tinker import ForgeDatasetBuilder, ForgeGroupBuilder, ForgeMessageEnv
from forge_envs.worlds.retail.env import RetailEnv
from tests.adapters.gold import ARGS, EXAMPLES, TASK, WORLD, Failing, Open, gold, played
from tests.train.tokens import tokenizer

MODEL = "forge/bytes"
TOKENS = tokenizer()
register_tokenizer(MODEL, lambda: TOKENS)
RENDERERS = {
    "qwen3_instruct": ("<|im_start|>assistant", "<|im_end|>"),
    "role_colon": ("Assistant:", "\n\nUser:"),
}


class Said(TokenCompleter):
    """Says the n-th line in the n-th turn of every episode, however many run at once."""

    def __init__(self, lines: Sequence[str], renderer: str) -> None:
        self.head, end = RENDERERS[renderer]
        self.lines = [TOKENS.encode(line + end, add_special_tokens=False) for line in lines]
        self.prompts: list[str] = []

    async def __call__(self, model_input: Any, stop: Any, *, max_tokens: int | None = None) -> Any:
        prompt = TOKENS.decode(model_input.to_ints())
        self.prompts.append(prompt)
        tokens = self.lines[prompt.count(self.head) - 1]
        await asyncio.sleep(0)
        return TokensWithLogprobs(tokens, [-1.0] * len(tokens))


class Seen(ForgeGroupBuilder):
    """Keeps what became of the episodes that were scored."""

    async def compute_group_rewards(self, trajectory_group: Any, env_group: Any) -> Any:
        self.records = [env.message_env.session.record() for env in env_group]
        return await super().compute_group_rewards(trajectory_group, env_group)


def renderer(name: str) -> Renderer:
    return get_renderer(name, TOKENS, model_name=MODEL)


def group(name: str = "qwen3_instruct", size: int = 3, **rest: Any) -> Seen:
    return Seen(WORLD, ARGS, TASK, renderer(name), size, **rest)


def run(
    builder: ForgeGroupBuilder, lines: Sequence[str], *strategy: Any, name: str = "qwen3_instruct"
) -> Any:
    return asyncio.run(do_group_rollout(builder, Said(lines, name), *strategy))


@pytest.mark.parametrize("name", RENDERERS)
def test_a_group_earns_what_the_same_actions_earn(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Open(monkeypatch)
    builder, direct = group(name), played(gold())
    result = run(builder, gold(), name=name)
    assert builder.records == [direct] * 3
    assert result.get_total_rewards() == pytest.approx([direct["reward"]] * 3)
    for trajectory in result.trajectories_G:
        told = [step.metrics["turn_reward"] for step in trajectory.transitions]
        assert told == direct["turn_rewards"] and trajectory.transitions[-1].metrics["outcome"] == 1.0
        assert sum(s.metrics.get("part/progress", 0.0) for s in trajectory.transitions) == pytest.approx(1.0)
    assert not held.held


@pytest.mark.parametrize("name", RENDERERS)
def test_the_model_is_shown_the_tools_and_all_that_was_said(name: str) -> None:
    completer = Said(gold(), name)
    asyncio.run(do_group_rollout(group(name, 1), completer))
    assert '"get_order_details"' in completer.prompts[0] and "<tool_call>" in completer.prompts[0]
    for earlier, later in zip(completer.prompts, completer.prompts[1:], strict=False):
        assert later.startswith(earlier) and len(later) > len(earlier)


BROKEN: list[tuple[str, str]] = [
    ("<tool_call>\n{oops\n</tool_call>", "malformed"),
    ('<tool_call>\n{"name": "get_order_details"}\n</tool_call>', "malformed"),
    ('Let me.\n<tool_call>\n{"name": "get_order_details", "arguments": {}', "malformed"),
    ('<tool_call>\n{"name": "no_such_tool", "arguments": {}}\n</tool_call>', "malformed"),
]


@pytest.mark.parametrize(("line", "part"), BROKEN)
def test_what_the_renderer_cannot_read_is_told_by_the_world(line: str, part: str) -> None:
    lines, builder = [line, *gold()], group(size=1)
    result = run(builder, lines)
    assert result.trajectories_G[0].transitions[0].metrics[f"part/{part}"] < 0
    assert builder.records == [played(lines)]


def test_a_machine_that_fails_ends_the_run_unless_it_may_be_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    held, failing = Open(monkeypatch), Failing(monkeypatch, range(1))
    with pytest.raises(MachineError, match="no answer"):
        run(group(), gold())
    assert not held.held
    failing.asked = 0
    builder = group()
    result = run(builder, gold(), RetryOnFailure(max_retries=2))
    assert result.get_total_rewards() == pytest.approx([played(gold())["reward"]] * 3)
    assert [error.error_type for error in result.rollout_errors] == ["MachineError"] and not held.held


def test_a_group_may_go_on_without_those_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    Failing(monkeypatch, range(1))
    result = run(group(), gold(), MinViableGroup(min_successful=2, max_retries=0))
    assert len(result.trajectories_G) == 2 and 0.0 not in result.get_total_rewards()
    Failing(monkeypatch, range(1000))
    with pytest.raises(MachineError):
        run(group(), gold(), RetryOnFailure(max_retries=2))


def test_a_machine_that_fails_at_the_opening_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise MachineError("no image", kind="missing", stage="reset", retryable=False)

    monkeypatch.setattr(RetailEnv, "begin", fail)
    with pytest.raises(MachineError, match="no image"):
        run(group(), gold())


def builder_of(**rest: Any) -> ForgeDatasetBuilder:
    given = {"world": WORLD, "args": ARGS, "model_name": MODEL, "renderer_name": "qwen3_instruct"}
    return ForgeDatasetBuilder(**{**given, "batch_size": 2, "group_size": 3, "n": 5, "test_n": 2, **rest})


def test_a_dataset_has_every_task_once_and_its_groups_pickle() -> None:
    train, test = asyncio.run(builder_of()())
    assert test is not None
    batches = [train.get_batch(i) for i in range(len(train))]
    tasks = [builder.task for batch in batches for builder in batch]
    assert len(tasks) == len(set(tasks)) == 5 and [len(batch) for batch in batches] == [2, 2, 1]
    assert len(test) == 1 and not set(tasks) & {builder.task for builder in test.get_batch(0)}
    assert train.get_batch(0)[0] is not train.get_batch(0)[0]
    sent = pickle.loads(pickle.dumps(train.get_batch(1)[0]))
    result = asyncio.run(do_group_rollout(sent, Said(gold(sent.task), "qwen3_instruct")))
    assert result.get_total_rewards() == [played(gold(sent.task), sent.task)["reward"]] * 3
    with pytest.raises(IndexError):
        train.get_batch(3)


def test_sizes_of_none_are_refused_before_anything_is_loaded() -> None:
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"group_size={wrong}: at least 1"):
            group(size=wrong)
        for sizes in ({"batch_size": wrong}, {"group_size": wrong}):
            with pytest.raises(ValueError, match=f"_size={wrong}: at least 1"):
                asyncio.run(builder_of(**sizes, model_name="no/such-tokenizer")())


def test_an_env_that_has_not_begun_gives_no_reward() -> None:
    env = ForgeMessageEnv(WORLD, ARGS, TASK, 0, renderer("qwen3_instruct"))
    with pytest.raises(gym.error.ResetNeeded):
        asyncio.run(env.step({"role": "assistant", "content": "too early"}))


def test_bad_input_is_told() -> None:
    with pytest.raises(gym.error.Error):
        asyncio.run(builder_of(world="Forge/Nothing-v0")())
    with pytest.raises(ValueError, match="nowhere"):
        asyncio.run(builder_of(split="nowhere")())
    unknown = ForgeGroupBuilder(WORLD, {}, "nowhere", renderer("qwen3_instruct"), 2)
    with pytest.raises(TaskError, match="nowhere"):
        run(unknown, gold())


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    TOKENS.save_pretrained(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tinker_group.py", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "tinker_group.py"), run_name="__main__")
    assert "[1.1, 1.1, 1.1, 1.1]" in capsys.readouterr().out
