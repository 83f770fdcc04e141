"""Stored episodes as a person reads them: who said what, what each turn earned, which tokens are trained."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from forge_train.trajectory import WORLD

Record = Mapping[str, Any]
"""What `run_folder.rollout_record` wrote."""

_SPECIAL = re.compile(r"<tool_call>(?P<call>.*?)</tool_call>|<think>(?P<thought>.*?)</think>", re.DOTALL)

SURPRISE = (0.9, 0.5, 0.2, 0.05)
"""Probabilities between the shades of a token: the paler, the surer the policy was of it."""


def returned(record: Record) -> float:
    """The episode's return."""
    return float(sum(record.get("rewards") or [0.0]))


def choose(records: Sequence[Record]) -> list[tuple[str, Record]]:
    """Best, middle and worst member of the group whose returns differ most: the most telling one."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(str(record.get("group", "")), []).append(record)
    if not groups:
        return []

    def gap(members: Iterable[Record]) -> float:
        returns = [returned(r) for r in members]
        return max(returns) - min(returns)

    members = sorted(max(groups.values(), key=gap), key=returned, reverse=True)
    if len(members) == 1:
        return [("episode", members[0])]
    picked = [("best", members[0]), ("worst", members[-1])]
    if len(members) > 2:
        picked.insert(1, ("middle", members[len(members) // 2]))
    return picked


def episode(record: Record) -> dict[str, Any]:
    """One stored episode for the template."""
    info = record.get("info") or {}
    return {
        "task": str(info.get("task", record.get("group", ""))),
        "world": str(info.get("world", "")),
        "ending": str(record.get("ending", "")),
        "outcome": record.get("outcome"),
        "returned": returned(record),
        "turns": len(record.get("versions") or record.get("rewards") or []),
        "version": next(iter(record.get("versions") or []), None),
        "seconds": info.get("seconds"),
        "parts": sorted((info.get("parts") or {}).items()),
        "error": info.get("error"),
        "trained": bool(record.get("advantages")),
        "lines": lines(record),
        "spans": spans(record),
        "context": info.get("context"),
        "written": sum(a != WORLD for s in record.get("segments") or [] for a in s["action"]),
        "tokens": sum(len(s["tokens"]) for s in record.get("segments") or []),
    }


def lines(record: Record) -> list[dict[str, Any]]:
    """Every message, the agent's own with what their turn earned.

    Of an agent program, which shows its policy what it likes, and where the past is rewritten, these are the
    conversations with the policy; what a segment begins with is told.
    """
    info = record.get("info") or {}
    shown = info.get("conversation")
    messages = shown or info.get("messages") or []
    opening = int(info.get("opening") or 0)
    found, turn = [], 0
    for i, message in enumerate(messages):
        role = str(message.get("role", ""))
        text = _text(message.get("content"))
        own = bool(message.get("sampled")) if shown else role == "assistant" and i >= opening
        line: dict[str, Any] = {"role": role, "own": own, "name": message.get("name")}
        line["cut"] = bool(message.get("cut"))
        line["summary"], line["segment"] = bool(message.get("summary")), message.get("segment")
        if role == "assistant":
            line["parts"] = said(text) + [
                _call(c.get("function", c)) for c in message.get("tool_calls") or []
            ]
        else:
            line["text"] = _pretty(text) if role == "tool" else text
            line["tools"] = [_tool_name(tool) for tool in message.get("tools") or []]
        if own:
            line |= {
                "turn": turn + 1,
                "reward": _at(record.get("rewards"), turn),
                "turn_reward": _at(record.get("turn_rewards"), turn),
                "advantage": _at(record.get("advantages"), turn),
            }
            turn += 1
        found.append(line)
    return found


def said(text: str) -> list[dict[str, str]]:
    """An action in pieces: prose, thoughts, and calls in the Hermes grammar.

    >>> [part["kind"] for part in said('Sure. <tool_call>{"name": "f", "arguments": {}}</tool_call>')]
    ['prose', 'call']
    """
    parts: list[dict[str, str]] = []
    end = 0
    for match in _SPECIAL.finditer(text):
        parts.append({"kind": "prose", "text": text[end : match.start()].strip()})
        if match["thought"] is not None:
            parts.append({"kind": "thought", "text": match["thought"].strip()})
        else:
            parts.append(_called(match["call"]))
        end = match.end()
    parts.append({"kind": "prose", "text": text[end:].strip()})
    told = [part for part in parts if part["kind"] != "prose" or part["text"]]
    return told or [{"kind": "silence", "text": ""}]


def spans(record: Record) -> list[dict[str, Any]]:
    """The token sequence in stretches of one author; segments are told apart.

    A stretch of the world is one text, one of the policy has a (text, logprob, shade) per token.
    """
    found: list[dict[str, Any]] = []
    segments = record.get("segments") or []
    for number, segment in enumerate(segments):
        texts = _at(record.get("pieces"), number) or [f"⟨{token}⟩" for token in segment["tokens"]]
        last = None
        for text, logprob, action in zip(texts, segment["logprobs"], segment["action"], strict=True):
            if action != last:
                found.append({"action": action, "segment": number, "text": "", "tokens": []})
                if action != WORLD:
                    found[-1]["advantage"] = _at(record.get("advantages"), action)
                last = action
            if action == WORLD:
                found[-1]["text"] += text
            else:
                found[-1]["tokens"].append((text, round(logprob, 3), _shade(logprob)))
    return found


def _shade(logprob: float) -> int:
    """0 for what the policy was sure of, up to 4 for what surprised it."""
    return sum(math.exp(min(logprob, 0.0)) < bound for bound in SURPRISE)


def _called(text: str) -> dict[str, str]:
    try:
        return _call(json.loads(text))
    except (ValueError, AttributeError):
        return {"kind": "malformed", "text": text.strip()}


def _call(call: Mapping[str, Any]) -> dict[str, str]:
    arguments = call.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = {"": arguments}
    if not isinstance(arguments, Mapping):
        arguments = {"": arguments}
    told = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items()]
    short = ", ".join(told)
    body = short if len(short) <= 72 else "\n" + "".join(f"    {item},\n" for item in told)
    return {"kind": "call", "text": f"{call.get('name', '?')}({body})"}


def _tool_name(tool: Mapping[str, Any]) -> str:
    return str((tool.get("function") or tool).get("name", "?"))


def _text(content: Any) -> str:
    """The text of a message, also where it comes in parts."""
    if isinstance(content, list):
        return "\n".join(
            str(part.get("text", part)) if isinstance(part, Mapping) else str(part) for part in content
        )
    return "" if content is None else str(content)


def _pretty(text: str) -> str:
    """JSON with line breaks when it is long; anything else as it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if not isinstance(value, dict | list) or len(text) <= 72:
        return text
    return json.dumps(value, indent=2, ensure_ascii=False)


def _at(values: Sequence[Any] | None, index: int) -> Any:
    return values[index] if values is not None and index < len(values) else None
