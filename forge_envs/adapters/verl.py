"""An agent loop for verl: a row names world and task, and the world answers what the policy says.

```yaml
# agent_loops.yaml, named by actor_rollout_ref.rollout.agent.agent_loop_config_path
- name: forge
  _target_: forge_envs.adapters.verl.ForgeAgentLoop
```
```python
datasets.Dataset.from_list(rows("Forge/Retail-v0", n=512)).to_parquet("train.parquet")  # data.train_files
```

Sampled tokens are kept as they were sampled, with mask 1 and their log probabilities; what the world says
is appended by verl's Continuous Token builder, with mask 0. The tools are given to the model's own chat
template, so say in `args` which grammar that template teaches, unless it is Hermes; `template_tools: false`
in the YAML writes them into the system message instead, for templates that take none.

A machine that fails raises MachineError out of `run`: with verl's V1 trainer (the default) the session has no
trajectory, and its prompt counts as failed; the older worker ends the whole batch. It is never a score of 0.

## What it cannot carry

- Turn rewards: verl puts `reward_score`, here the return, at the last token. `turn_scores` tells the turn
  rewards, which no advantage of verl's reads, and `forge` the whole record as JSON.
- The end for want of tokens: at `response_length` a world is graded where it stands, without hearing the
  action that was cut.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from forge_envs.adapters.asked import episode_seed, openings
from forge_envs.adapters.library import need
from forge_envs.adapters.session import Session
from forge_envs.adapters.waiting import aside
from forge_envs.adapters.written import chat_messages, split_tools
from forge_envs.errors import MachineError

need("verl", (0, 9), "verl==0.9.1' 'hydra-core>=1.3' 'setuptools<81")

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput  # noqa: E402


def rows(
    world: str,
    args: Mapping[str, Any] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    split: str = "train",
    n: int | None = 512,
    seed: int = 0,
    agent_name: str = "forge",
) -> list[dict[str, Any]]:
    """Rows of a dataset for `data.train_files`: one a task, its opening as the prompt.

    Raises TaskError for an unknown task, what `Session` raises, and MachineError where a world needs a
    machine to begin.
    """
    found = []
    for index, (session, task, opening) in enumerate(openings(world, args, tasks, split, n)):
        told: dict[str, Any] = {"world": world, "args": json.dumps(dict(args or {}))}
        told |= {"task": task, "seed": seed, "index": index}
        found.append(
            {
                "agent_name": agent_name,
                "prompt": chat_messages(opening, session.env.grammar),
                "data_source": world,
                "reward_model": {"style": "world", "ground_truth": ""},
                "extra_info": told,
            }
        )
    return found


class ForgeAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """One episode a run."""

    def __init__(self, *args: Any, template_tools: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.template_tools = template_tools

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Play the row's task. Raises MachineError; ValueError for an opening over `prompt_length`."""
        asked = dict(row["extra_info"])
        with Session(asked["world"], json.loads(asked["args"])) as session:
            seed = episode_seed(asked.get("seed", 0), asked["task"], int(row.get("session_id", 0)))
            opening = await aside(session, session.begin, asked["task"], seed=seed)
            messages, tools = split_tools(opening)
            if tools and not self.template_tools:
                messages, tools = chat_messages(opening, session.env.grammar), []
            tokens = _Tokens(self, messages, tools or None)
            await tokens.open(session.task)
            while not session.over and (action := await tokens.sample(sampling_params)) is not None:
                turn = await aside(session, session.act, action)
                if not turn.over and not await tokens.hear([dict(message) for message in turn.messages]):
                    break
            await aside(session, session.finish)
            return tokens.output(session)


class _Tokens:
    """The tokens of one episode, and to whom they belong."""

    def __init__(
        self, loop: ForgeAgentLoop, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
    ) -> None:
        self.loop, self.messages, self.tools = loop, messages, tools
        self.room: int = loop.rollout_config.response_length
        self.request = uuid4().hex
        self.tokens: list[int] = []
        self.mask: list[int] = []
        self.logprobs: list[float] | None = None
        self.turns = 1
        self.fields: dict[str, Any] = {}
        self.preempted = -1

    async def open(self, task: str) -> None:
        build = self.loop.continuous_token_builder.build_initial_tokens
        self.tokens = await asyncio.to_thread(build, self.messages, tools=self.tools)
        most = self.loop.rollout_config.prompt_length
        if len(self.tokens) > most:  # verl would cut its beginning, the rules and the tools
            raise ValueError(f"the opening of {task} has {len(self.tokens)} tokens: prompt_length is {most}")

    async def sample(self, sampling_params: dict[str, Any]) -> str | None:
        """The next action; None if it was cut for want of room."""
        answer = await self.loop.server_manager.generate(
            request_id=self.request, prompt_ids=self.tokens, sampling_params=sampling_params
        )
        if answer.stop_reason == "aborted":
            raise MachineError("a sample was aborted", kind="aborted", stage="policy", retryable=True)
        if not self.turns - 1:
            self.logprobs = [] if answer.log_probs else None
            self.fields = dict(answer.extra_fields)
        elif (latest := answer.extra_fields.get("max_global_steps")) is not None:
            self.fields["max_global_steps"] = latest
        merged, self.mask, self.logprobs = await self.loop.ct_merge_assistant_token(
            self.tokens, answer.token_ids, self.mask, self.logprobs, answer.log_probs or None
        )
        self.tokens = merged.token_ids
        self.turns += 1
        if answer.num_preempted is not None:
            self.preempted = max(self.preempted, 0) + answer.num_preempted
        if len(self.mask) > self.room or (len(self.mask) == self.room and not self._ended(answer.token_ids)):
            return None
        text = self._text(answer.token_ids)
        self.messages = [*self.messages, {"role": "assistant", "content": text}]
        return text

    async def hear(self, messages: list[dict[str, Any]]) -> bool:
        """Append what the world said; False if there is no room for it and an answer."""
        merged, mask, logprobs = await self.loop.ct_merge_context_msg(
            self.messages, [*self.messages, *messages], self.tokens, self.mask, self.logprobs, self.tools
        )
        if len(mask) >= self.room:
            return False
        self.tokens, self.mask, self.logprobs = merged.token_ids, mask, logprobs
        self.messages = [*self.messages, *messages]
        self.turns += 1
        return True

    def _ended(self, sampled: Sequence[int]) -> bool:
        return bool(sampled) and sampled[-1] == self.loop.tokenizer.eos_token_id

    def _text(self, sampled: Sequence[int]) -> str:
        # Marks of calls are special tokens to some models, so none but the end is left out.
        text: str = self.loop.tokenizer.decode(sampled[:-1] if self._ended(sampled) else sampled)
        return text

    def output(self, session: Session) -> AgentLoopOutput:
        start = len(self.tokens) - len(self.mask)
        record = session.record()
        self.fields |= {
            "turn_scores": record["turn_rewards"],
            "tool_rewards": [],
            "forge": json.dumps(record),
            # The same names for every world: verl looks up the first sample's names in all others.
            "reward_extra_info": {"outcome": record["outcome"], "turn_reward": sum(record["turn_rewards"])},
        }
        return AgentLoopOutput(
            prompt_ids=self.tokens[:start],
            response_ids=self.tokens[start:][: self.room],
            response_mask=self.mask[: self.room],
            response_logprobs=None if self.logprobs is None else self.logprobs[: self.room],
            reward_score=session.reward,
            num_turns=self.turns,
            metrics={"num_preempted": self.preempted},
            extra_fields=self.fields,
        )
