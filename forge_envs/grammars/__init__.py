"""The grammars in which agents act: how an action, one string, says prose and calls.

Each model family writes calls in its own way; a world reads one of them, which `grammar=` names. What
`write` writes, `parse` reads back equal, and so is what the family's own chat template writes.

>>> action = grammar_of("hermes").parse('Hm. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
>>> action.prose, action.calls[0].name
('Hm.', 'add')

A grammar of one's own: a class with the members of `Grammar`, and `register_grammar(MyGrammar())`.
"""

from __future__ import annotations

from forge_envs.grammars.bash import BASH
from forge_envs.grammars.deepseek import DEEPSEEK
from forge_envs.grammars.gemma import GEMMA
from forge_envs.grammars.glm import GLM
from forge_envs.grammars.grammar import Grammar
from forge_envs.grammars.harmony import HARMONY
from forge_envs.grammars.hermes import HERMES
from forge_envs.grammars.invoke import DSML, MINIMAX, MUSE
from forge_envs.grammars.kimi import KIMI
from forge_envs.grammars.lfm2 import LFM2
from forge_envs.grammars.listed import NEMOTRON, SEED, TOOL_CALLS
from forge_envs.grammars.llama import LLAMA
from forge_envs.grammars.mistral import MISTRAL
from forge_envs.grammars.qwen_xml import QWEN_XML
from forge_envs.grammars.reading import MOST_CALLS
from forge_envs.grammars.registry import (
    GRAMMARS,
    grammar_names,
    grammar_of,
    prose_action,
    register_grammar,
)

for _grammar in (
    HERMES, BASH, SEED, QWEN_XML, LLAMA, MISTRAL, GLM, HARMONY, DEEPSEEK, KIMI, GEMMA, LFM2, DSML, MINIMAX,
    MUSE, NEMOTRON, TOOL_CALLS,
):  # fmt: skip
    register_grammar(_grammar)

__all__ = [
    "BASH",
    "DEEPSEEK",
    "DSML",
    "GEMMA",
    "GLM",
    "GRAMMARS",
    "HARMONY",
    "HERMES",
    "KIMI",
    "LFM2",
    "LLAMA",
    "MINIMAX",
    "MISTRAL",
    "MOST_CALLS",
    "MUSE",
    "NEMOTRON",
    "QWEN_XML",
    "SEED",
    "TOOL_CALLS",
    "Grammar",
    "grammar_names",
    "grammar_of",
    "prose_action",
    "register_grammar",
]
