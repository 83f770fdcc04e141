"""Real runs of TRL's trainer with a tiny policy, and what can be seen of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trl
from transformers.utils import get_json_schema

from forge_envs.adapters import Session, chat_messages
from forge_envs.adapters.trl import ForgeMix, ForgeSpec
from tests.adapters import tiny_policy


class Watch:
    """A reward function that scores nothing and keeps what TRL tells reward functions."""

    __name__ = "watch"

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.masks: list[list[int]] = []
        """Of the text door: which tokens the model wrote."""

    def __call__(self, completions: list[Any], **told: Any) -> list[None]:
        environments = told.get("environments") or [None] * len(completions)
        records = [env.record if env else told["forge"][i] for i, env in enumerate(environments)]
        for i, completion in enumerate(completions):
            row = {"completion": completion, "record": records[i], "ids": told["completion_ids"][i]}
            self.rows.append(row | {"environment": environments[i]})
        return [None] * len(completions)


def train(
    spec: ForgeSpec | ForgeMix, policy: tuple[Any, Any], folder: Path, *, steps: int = 2, most: int = 250
) -> tuple[trl.GRPOTrainer, Watch]:
    """`steps` real steps with groups of 4; what was seen of the rollouts."""
    model, tokenizer = policy
    watch, rollout = Watch(), spec.rollout_func

    def kept(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        assert rollout is not None
        found = rollout(prompts, trainer)
        watch.masks += found["env_mask"]
        return found

    args = trl.GRPOConfig(
        output_dir=str(folder),
        max_steps=steps,
        num_generations=4,
        per_device_train_batch_size=4,
        max_completion_length=most,
        learning_rate=1e-3,
        temperature=0.6,
        max_tool_calling_iterations=8,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        shuffle_dataset=False,
    )
    trainer = trl.GRPOTrainer(
        model=model,
        args=args,
        processing_class=tokenizer,
        train_dataset=spec.train_dataset,
        environment_factory=spec.environment_factory,
        rollout_func=kept if rollout else None,
        reward_funcs=[*spec.reward_funcs, watch],
    )
    trainer.train()
    assert trainer.state.global_step == steps
    return trainer, watch


def lesson(spec: ForgeSpec) -> tuple[list[dict[str, Any]], list[Any]]:
    """Gold of the spec's first task as TRL holds a conversation of tools, and the tools."""
    factory = spec.environment_factory
    assert factory is not None
    tools = [getattr(factory(), name) for name in sorted(vars(factory.type)) if not name.startswith("_")]
    messages = [dict(message) for message in spec.rows[0]["prompt"]]
    with Session(spec.world, json.loads(spec.args)) as session:
        session.begin(spec.tasks[0])
        for action in session.env.gold_actions(spec.tasks[0]):
            prose, calls, _ = session.env.grammar.parse(action)
            call = (calls[0].name, dict(calls[0].arguments)) if calls else ("say", {"message": prose})
            answer = session.call(*call) if calls else session.say(prose)
            messages += [
                tiny_policy.called(*call),
                {"role": "tool", "name": call[0], "content": answer},
            ]
        assert session.outcome == 1.0
    return messages, tools


def tools_policy(spec: ForgeSpec, short: int, whole: int) -> tuple[Any, Any]:
    """A tiny model that knows gold of the first task nearly by heart, and its tokenizer."""
    messages, tools = lesson(spec)
    schemas = [get_json_schema(tool) for tool in tools]
    tokenizer = tiny_policy.tokenizer_of(tiny_policy.text_of(messages, schemas))
    text = tiny_policy.rendered(tokenizer, messages, tools=tools)
    return tiny_policy.policy_of(tokenizer, text, short=short, whole=whole), tokenizer


def text_policy(spec: ForgeSpec, short: int, whole: int) -> tuple[Any, Any]:
    """The same for the text door."""
    messages = [{"role": m["role"], "content": m["content"]} for m in spec.rows[0]["prompt"]]
    with Session(spec.world, json.loads(spec.args)) as session:
        session.begin(spec.tasks[0])
        for action in session.env.gold_actions(spec.tasks[0]):
            told = chat_messages(session.act(action).messages, session.env.grammar)
            messages += [{"role": "assistant", "content": action}, *told]
        assert session.outcome == 1.0
    tokenizer = tiny_policy.tokenizer_of(tiny_policy.text_of(messages, []), 700)
    text = tiny_policy.rendered(tokenizer, messages)
    return tiny_policy.policy_of(tokenizer, text, short=short, whole=whole), tokenizer


def replayed(world: str, args: dict[str, Any], task: str, act: Callable[[Session], None]) -> dict[str, Any]:
    """What the same actions earn when nobody but us plays them."""
    with Session(world, args) as session:
        session.begin(task)
        act(session)
        session.finish()
        return session.record()


def calls_of(completion: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The calls of a completion that have a result: the last message's may have had no room for one."""
    told = sum(message["role"] == "tool" for message in completion)
    made = [call["function"] for message in completion for call in message.get("tool_calls") or ()]
    return [(call["name"], call["arguments"]) for call in made][:told]


def said_in(tokens: Sequence[int], mask: Sequence[int], tokenizer: Any) -> tuple[list[str], list[str]]:
    """The text of a rollout by who wrote it, in turns, and the actions that were complete."""
    texts, actions = [], []
    for sampled, run in itertools.groupby(zip(tokens, mask, strict=True), lambda pair: pair[1]):
        texts.append(tokenizer.decode([token for token, _ in run]))
        if sampled and texts[-1].endswith("<|im_end|>"):
            actions.append(texts[-1].removesuffix("<|im_end|>"))
    return texts, actions
