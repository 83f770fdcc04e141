"""Six languages, each in a file of its own."""

from __future__ import annotations

from forge_envs.worlds.polyglot.languages.base import Control, Language, Results
from forge_envs.worlds.polyglot.languages.cpp import Cpp
from forge_envs.worlds.polyglot.languages.go import Go
from forge_envs.worlds.polyglot.languages.java import Java
from forge_envs.worlds.polyglot.languages.javascript import JavaScript
from forge_envs.worlds.polyglot.languages.python import Python
from forge_envs.worlds.polyglot.languages.rust import Rust

LANGUAGES: dict[str, Language] = {
    language.name: language for language in (Python(), JavaScript(), Go(), Rust(), Java(), Cpp())
}

__all__ = ["LANGUAGES", "Control", "Language", "Results"]
