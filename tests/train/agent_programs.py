"""Agent programs for tests: what our own player does, by an OpenAI client and the world's address."""

from __future__ import annotations

from typing import Any

import httpx2
import openai

from forge_train.agents.program import Brief


async def act(brief: Brief, **said: Any) -> dict[str, Any]:
    """Act in the world."""
    async with httpx2.AsyncClient(timeout=60) as http:
        answer = await http.post(brief.world_url, json=said)
        answer.raise_for_status()
        return dict(answer.json())


async def plain(brief: Brief) -> None:
    """The world's messages to the policy, its very words to the world."""
    messages = list(brief.messages)
    tools = messages[0].get("tools")
    how: dict[str, Any] = {"tools": tools, "tool_choice": "none"} if tools else {}
    messages = [{k: v for k, v in m.items() if k != "tools"} for m in messages]
    async with openai.AsyncOpenAI(base_url=brief.base_url, api_key=brief.api_key, max_retries=0) as policy:
        while True:
            answer = await policy.chat.completions.create(model="any", messages=messages, **how)  # type: ignore[call-overload]
            said = answer.choices[0].message
            if answer.choices[0].finish_reason == "length":  # our own player ends there
                raise RuntimeError("out of tokens")
            told = await act(brief, action=said.content)
            if told["over"]:
                return
            messages += [said.model_dump(exclude_none=True), *told["messages"]]
